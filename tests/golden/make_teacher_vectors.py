"""Makes the golden files of the teachers that /work/shared/golden has none of: registers, SwiGLU, MAE, DeiT.

    pip install torch==2.11.0 transformers==5.23.0 timm==1.0.31
    git clone https://github.com/facebookresearch/dinov2 && git -C dinov2 checkout b8931f7
    python tests/golden/make_teacher_vectors.py --dinov2 dinov2 --out tests/golden

The models are tiny, their weights random, and their forward passes the libraries' own. The format and the way to
compare are those of README.md. Rows of register and distillation tokens are left out of what is stored: class token,
then patches.
"""
import argparse
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

os.environ["XFORMERS_DISABLED"] = "1"
import numpy as np
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from timm.layers import SwiGLUPacked

DIM, DEPTH, HEADS, PATCH, SIZE, ALT_SIZE = 32, 3, 4, 4, 24, 32
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def randomise(model, seed):
    """Every parameter away from its initial value, so that each of them matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith(("gamma", "lambda1")) or (parameter.dim() == 1 and name.endswith("weight")):
                parameter.copy_(1 + 0.3 * noise)
            elif parameter.dim() <= 1:
                parameter.copy_(0.2 * noise)
            else:
                fan_in = parameter[0].numel() if parameter.dim() in (2, 4) else DIM
                parameter.copy_(noise * (1.2 / fan_in**0.5))
    return model.eval()


def hf_forward(model, pixels, **arguments):
    out = model(pixel_values=pixels, output_hidden_states=True, output_attentions=True, **arguments)
    return list(out.hidden_states), out.attentions[-1], out.last_hidden_state


def block_forward(model, pixels):
    """timm's and Meta's: inputs and outputs of the blocks, the softmax before its dropout."""
    hidden, attention, handles = [], [], []
    for block in model.blocks:
        if hasattr(block.attn, "fused_attn"):
            block.attn.fused_attn = False
        handles.append(block.register_forward_hook(lambda module, inputs, output: hidden.append(output)))
    handles.append(model.blocks[0].register_forward_pre_hook(lambda module, inputs: hidden.insert(0, inputs[0])))
    last = model.blocks[-1]
    captured = {}
    handles.append(last.attn.register_forward_pre_hook(lambda module, inputs: captured.update(x=inputs[0])))
    features = model.forward_features(pixels)
    for handle in handles:
        handle.remove()
    x = captured["x"]
    qkv = last.attn.qkv(x).reshape(x.shape[0], x.shape[1], 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
    attention = (qkv[0] @ qkv[1].transpose(-2, -1) / (DIM // HEADS) ** 0.5).softmax(-1)
    return hidden, attention, model.norm(hidden[-1])


def run(forward, model, pixels, extra, prefix):
    """Everything that is stored of one forward pass; `extra` rows follow the class token."""
    with torch.no_grad():
        hidden, attention, final = forward(model, pixels)
    drop = lambda rows: torch.cat([rows[:, :1], rows[:, 1 + extra:]], 1)
    hidden, final = [drop(h) for h in hidden], drop(final)
    assert len(hidden) == DEPTH + 1
    out = {}
    for i, rows in enumerate(hidden):
        if prefix and i < DEPTH:
            continue
        out[f"output.{prefix}hidden.{i}"] = rows
        if not prefix and i > 0:
            out[f"output.target.{i}"] = torch.nn.functional.layer_norm(rows, rows.shape[-1:], eps=1e-5)
    out[f"output.{prefix}importance"] = attention[:, :, 0, 1 + extra:].mean(1)
    out[f"output.{prefix}final_norm"] = final
    return out


def views(count, size, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def normalised(view, mean, std):
    pixels = torch.from_numpy(view).double().permute(0, 3, 1, 2) / 255
    return (pixels - torch.tensor(mean).double().view(1, 3, 1, 1)) / torch.tensor(std).double().view(1, 3, 1, 1)


def make(out, name, model, forward, weights, family, extra, config, notes, package, alt_forward=None, table=None):
    """`table(model, grid)`: the position table that the model used at another grid, class row first."""
    mean, std = IMAGENET
    tensors = {k: v.float().contiguous().clone() for k, v in weights.items()}
    info = {k: {"role": "weight", "dtype": "float32", "shape": list(v.shape)} for k, v in tensors.items()}
    for prefix, size, count, function in (("", SIZE, 2, forward), (f"alt{ALT_SIZE}.", ALT_SIZE, 1, alt_forward)):
        if function is None:
            continue
        view = views(count, size, seed=len(name) + size)
        # What a float32 run is given; the float64 run takes the same values.
        pixels = normalised(view, mean, std).float().contiguous()
        tensors[f"input.{prefix}view"] = torch.from_numpy(view)
        tensors[f"input.{prefix}pixel_values"] = pixels
        single = run(function, model.float(), pixels, extra, prefix)
        sharp = run(function, model.double(), pixels.double(), extra, prefix)
        if prefix:
            sharp[f"output.{prefix}position_table"] = table(model.double(), size // PATCH)
            single[f"output.{prefix}position_table"] = table(model.float(), size // PATCH)
        for key, value in sharp.items():
            largest = value.abs().max().item()
            error = (single[key].double() - value.double()).abs().max().item()
            tensors[key] = value.float().contiguous()
            info[key] = {"role": "output", "dtype": "float32", "shape": list(value.shape), "max_abs": largest,
                         "fp32_error": error, "atol": max(10 * error, 1e-5 * largest)}
        for key in (f"input.{prefix}view", f"input.{prefix}pixel_values"):
            info[key] = {"role": "input", "dtype": str(tensors[key].dtype).removeprefix("torch."),
                         "shape": list(tensors[key].shape)}
    description = {
        "name": name, "kind": "teacher",
        "produced_by": {"script": "make_teacher_vectors.py", "package": package, "class": type(model).__name__,
                        "torch": torch.__version__},
        "config": {"family": family, "num_heads": HEADS, "depth": DEPTH, "patch_size": PATCH, "num_registers": extra,
                   "native_image_size": SIZE, "preprocess_mean": mean, "preprocess_std": std, **config},
        "notes": notes, "tensors": info}
    save_file(tensors, out / f"{name}.safetensors")
    (out / f"{name}.json").write_text(json.dumps(description, indent=1) + "\n")
    print(f"{name}: {os.path.getsize(out / f'{name}.safetensors')} bytes")


def saved_names(model):
    """As save_pretrained writes them, which is not how transformers 5 holds them."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def hf_table(model, grid):
    embeddings = model.embeddings
    tokens = torch.zeros(1, grid * grid + embeddings.position_embeddings.shape[1] - (SIZE // PATCH) ** 2, DIM,
                         dtype=embeddings.position_embeddings.dtype)
    with torch.no_grad():
        table = embeddings.interpolate_pos_encoding(tokens, grid * PATCH, grid * PATCH)
    return torch.cat([table[0, :1], table[0, table.shape[1] - grid * grid:]])


def timm_table(model, grid):
    from timm.layers import resample_abs_pos_embed
    prefix = 0 if model.no_embed_class else model.num_prefix_tokens
    with torch.no_grad():
        table = resample_abs_pos_embed(model.pos_embed, new_size=(grid, grid), old_size=model.patch_embed.grid_size,
                                       num_prefix_tokens=prefix)[0]
    first = table[:1] if prefix else torch.zeros(1, DIM, dtype=table.dtype)
    return torch.cat([first, table[prefix:]])


def make_hf(out):
    common = dict(hidden_size=DIM, num_hidden_layers=DEPTH, num_attention_heads=HEADS, image_size=SIZE, patch_size=PATCH,
                  attn_implementation="eager")
    package = f"transformers {transformers.__version__}"

    model = randomise(transformers.Dinov2WithRegistersModel(
        transformers.Dinov2WithRegistersConfig(num_register_tokens=3, mlp_ratio=2, **common)), 1)
    make(out, "teacher_hf_dinov2_registers", model, hf_forward, saved_names(model), "hf_dinov2", 3,
         {"activation": "gelu (erf)", "layer_norm_eps": 1e-6},
         ["registers enter after the position table was added; resized with antialias (a = -0.5), in float32"],
         package, hf_forward, hf_table)

    model = randomise(transformers.Dinov2Model(
        transformers.Dinov2Config(use_swiglu_ffn=True, mlp_ratio=2, **common)), 2)
    make(out, "teacher_hf_dinov2_swiglu", model, hf_forward, saved_names(model), "hf_dinov2", 0,
         {"activation": "swiglu", "layer_norm_eps": 1e-6},
         ["weights_in makes gate and value, in this order; weights_out(silu(gate) * value)"], package)

    model = randomise(transformers.DeiTModel(transformers.DeiTConfig(intermediate_size=64, **common)), 3)
    make(out, "teacher_hf_deit", model, hf_forward, saved_names(model), "hf_deit", 1,
         {"activation": "gelu (erf)", "layer_norm_eps": 1e-12},
         ["the distillation token has a row in the position table"], package,
         partial(hf_forward, interpolate_pos_encoding=True), hf_table)

    whole = randomise(transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(
        intermediate_size=64, mask_ratio=0.0, decoder_hidden_size=8, decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2, decoder_intermediate_size=8, **common)), 4)
    in_order = lambda pixels: torch.arange((pixels.shape[-1] // PATCH) ** 2).float().expand(pixels.shape[0], -1)
    forward = lambda model, pixels, **more: hf_forward(model, pixels, noise=in_order(pixels), **more)
    weights = saved_names(whole)
    make(out, "teacher_hf_mae", whole.vit, forward, weights, "hf_mae", 0,
         {"activation": "gelu (erf)", "layer_norm_eps": 1e-12},
         ["a whole ViTMAEForPreTraining; nothing is masked and the patches stay in order"], package,
         partial(forward, interpolate_pos_encoding=True), hf_table)


def make_timm(out):
    package = f"timm {timm.__version__}"
    common = dict(img_size=SIZE, patch_size=PATCH, embed_dim=DIM, depth=DEPTH, num_heads=HEADS, mlp_ratio=2,
                  num_classes=5, dynamic_img_size=True)
    gelu = {"activation": "gelu (erf)", "layer_norm_eps": 1e-6}

    for name, no_embed_class, seed in (("teacher_timm_registers", True, 5), ("teacher_timm_registers_embedded", False, 6)):
        model = randomise(VisionTransformer(reg_tokens=3, no_embed_class=no_embed_class, **common), seed)
        make(out, name, model, block_forward, model.state_dict(), "timm_vit", 3, gelu,
             ["no_embed_class: the table has rows for the patches only" if no_embed_class else
              "the table has rows for class token, registers and patches"], package, block_forward, timm_table)

    model = randomise(VisionTransformer(mlp_layer=SwiGLUPacked, act_layer=torch.nn.SiLU, init_values=1e-5,
                                        **{**common, "mlp_ratio": 4}), 7)
    make(out, "teacher_timm_swiglu", model, block_forward, model.state_dict(), "timm_vit", 0,
         {"activation": "swiglu", "layer_norm_eps": 1e-6}, ["mlp.fc1 makes gate and value, in this order"], package)

    model = randomise(VisionTransformerDistilled(**common), 8)
    make(out, "teacher_timm_deit_distilled", model, block_forward, model.state_dict(), "timm_vit", 1, gelu,
         ["dist_token has a row in the position table; head_dist is no part of the features"], package, block_forward,
         timm_table)


def make_mae(out):
    """MAE's encoder is timm's VisionTransformer with a fixed sin-cos table; decoder tensors lie beside it."""
    model = randomise(VisionTransformer(img_size=SIZE, patch_size=PATCH, embed_dim=DIM, depth=DEPTH, num_heads=HEADS,
                                        mlp_ratio=2, num_classes=0), 9)
    grid = torch.arange(SIZE // PATCH).double()
    w = 10000 ** -(torch.arange(DIM // 4).double() / (DIM / 4))
    rows, columns = torch.meshgrid(grid, grid, indexing="ij")
    angles = [columns.reshape(-1, 1) * w, rows.reshape(-1, 1) * w]
    table = torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], 1)
    with torch.no_grad():
        model.pos_embed[0, 0] = 0
        model.pos_embed[0, 1:] = table.float()
    generator = torch.Generator().manual_seed(10)
    decoder = {"mask_token": (1, 1, 8), "decoder_pos_embed": (1, 37, 8), "decoder_embed.weight": (8, DIM),
               "decoder_embed.bias": (8,), "decoder_blocks.0.norm1.weight": (8,), "decoder_norm.weight": (8,),
               "decoder_pred.weight": (48, 8), "decoder_pred.bias": (48,)}
    weights = dict(model.state_dict())
    weights.update({k: torch.randn(shape, generator=generator) for k, shape in decoder.items()})
    make(out, "teacher_mae", model, block_forward, weights, "mae", 0,
         {"activation": "gelu (erf)", "layer_norm_eps": 1e-6},
         ["fixed sin-cos positions, some of the decoder's tensors, not used"], f"timm {timm.__version__}")


def make_dinov2_original(out, checkout):
    sys.path.insert(0, str(checkout))
    from dinov2.layers import Attention, NestedTensorBlock
    from dinov2.models.vision_transformer import DinoVisionTransformer

    def table(model, grid):
        with torch.no_grad():
            tokens = torch.zeros(1, 1 + grid * grid, DIM, dtype=model.pos_embed.dtype)
            return model.interpolate_pos_encoding(tokens, grid * PATCH, grid * PATCH)[0]

    for name, registers, ffn, seed in (("teacher_dinov2_original", 0, "mlp", 11),
                                       ("teacher_dinov2_original_giant", 3, "swiglufused", 12)):
        model = randomise(DinoVisionTransformer(
            img_size=SIZE, patch_size=PATCH, embed_dim=DIM, depth=DEPTH, num_heads=HEADS, mlp_ratio=2,
            block_fn=partial(NestedTensorBlock, attn_class=Attention), init_values=1.0, ffn_layer=ffn, block_chunks=0,
            num_register_tokens=registers, interpolate_antialias=registers > 0,
            interpolate_offset=0.0 if registers else 0.1), seed)
        make(out, name, model, block_forward, model.state_dict(), "dinov2_original", registers,
             {"activation": "gelu (erf)" if ffn == "mlp" else "swiglu", "layer_norm_eps": 1e-6},
             ["without registers the table is resized by (new + 0.1) / old, with them by size with antialias: the "
              "arguments of dinov2/hub/backbones.py"], "facebookresearch/dinov2 b8931f7", block_forward, table)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dinov2", type=Path, required=True, help="a checkout of facebookresearch/dinov2")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    make_hf(arguments.out)
    make_timm(arguments.out)
    make_mae(arguments.out)
    make_dinov2_original(arguments.out, arguments.dinov2)


if __name__ == "__main__":
    main()
