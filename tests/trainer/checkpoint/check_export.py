#!/usr/bin/env python3
"""Loads an export into the real library, strictly, and writes what it computes.

check_export.py versions                            # prints them; fails where a library is absent
check_export.py timm|hf EXPORT OUT [CLASSES POOL]   # OUT: input.pixel_values and output.*, for `forward --compare`;
                                                    # of a classifier input.pixel_values and logits

Needs torch, timm, transformers and safetensors.
"""
import json
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

BATCH = 3


def timm_vit(path, num_classes, pool):
    import timm.models.vision_transformer as vit

    weights = load_file(path)
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["afterimage.config"])
    depth = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    model = vit.VisionTransformer(
        img_size=config["image_size"], patch_size=config["patch_size"], embed_dim=weights["cls_token"].shape[-1],
        depth=depth, num_heads=config["heads"], num_classes=num_classes, global_pool=pool)
    model.load_state_dict(weights, strict=True)
    return model.double().eval(), config["image_size"]


def timm_outputs(path, num_classes, pool):
    model, size = timm_vit(path, num_classes, pool)
    pixels = torch.randn(BATCH, 3, size, size, dtype=torch.float64)
    if num_classes:
        return pixels, {"logits": model(pixels)}
    final, hidden = model.forward_intermediates(pixels, norm=False, output_fmt="NLC", return_prefix_tokens=True)
    tensors = {"output.final_norm": final}
    for i, (patches, prefix) in enumerate(hidden, start=1):
        tensors[f"output.hidden.{i}"] = torch.cat([prefix, patches], 1)
    return pixels, tensors


def hf_outputs(folder, num_classes):
    from transformers import ViTConfig, ViTForImageClassification, ViTModel

    config = ViTConfig.from_pretrained(folder)
    weights = load_file(folder + "/model.safetensors")
    if num_classes:
        fresh = ViTForImageClassification(config)
        loaded = ViTForImageClassification.from_pretrained(folder)
    else:
        fresh = ViTModel(config, add_pooling_layer=False)
        loaded = ViTModel.from_pretrained(folder, add_pooling_layer=False)
    if set(weights) == set(fresh.state_dict()):
        fresh.load_state_dict(weights, strict=True)
    else:  # a transformers that renames on loading: from_pretrained then is the strict one
        _, report = type(fresh).from_pretrained(
            folder, output_loading_info=True, **({} if num_classes else {"add_pooling_layer": False}))
        assert not any(report.values()), report
    pixels = torch.randn(BATCH, 3, config.image_size, config.image_size, dtype=torch.float64)
    model = loaded.double().eval()
    if num_classes:
        return pixels, {"logits": model(pixels).logits}
    out = model(pixels, output_hidden_states=True)
    tensors = {f"output.hidden.{i}": hidden for i, hidden in enumerate(out.hidden_states)}
    tensors["output.final_norm"] = out.last_hidden_state
    return pixels, tensors


def main():
    if sys.argv[1] == "versions":
        import timm
        import transformers

        print(f"torch {torch.__version__}, timm {timm.__version__}, transformers {transformers.__version__}")
        return
    kind, export, out = sys.argv[1:4]
    num_classes = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    pool = sys.argv[5] if len(sys.argv) > 5 else "token"
    torch.manual_seed(0)
    with torch.no_grad():
        pixels, tensors = timm_outputs(export, num_classes, pool) if kind == "timm" else hf_outputs(export, num_classes)
    tensors["input.pixel_values"] = pixels
    save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()}, out)


main()
