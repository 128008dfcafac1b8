#!/usr/bin/env python3
"""Our networks beside Python's, in turn: speed, and the memory of a training step.

  compare_with_python.py teacher vit_base|vit_small   a forward with importance and every level, beside Hugging
                                                      Face's model returning attentions and hidden states
  compare_with_python.py step vit_small|demo          forward, backward and AdamW on a batch in memory, beside eager
                                                      PyTorch (fused attention, fused AdamW), and beside the
                                                      reference's formulation (what the authors' models_pretrain.py
                                                      computes in a step: every patch embedded, then gathered;
                                                      attention by explicit products; every level mixed and adapted;
                                                      the last norm; the norm of all gradients, which ours tells
                                                      too; AdamW as torch makes it when nothing is said)
  compare_with_python.py memory vit_small|demo        peak memory of those steps, each alone in a fresh process, and
                                                      ours after 100 and after 1,000 steps

Needs torch 2.11 (the LibTorch that we link), transformers and safetensors. Both sides have the same weights and
input, and what they compute is compared first. A round is one timed block of each side, the order changing from
round to round; the waiting side sleeps. The figure is the median of the rounds' ratios with its bootstrap interval.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

NUM_LEVELS = 5


class Ours:
    """network_benchmark, in another process."""

    def __init__(self, program, *arguments):
        environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE")
        self.process = subprocess.Popen([program, *map(str, arguments)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=environment)
        if self.process.stdout.readline() != "ready\n":
            raise SystemExit(f"{program} did not start")

    def _ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return [float(word) for word in self.process.stdout.readline().split()]

    def run(self, times):
        """(wall, cpu, loss) of so many runs."""
        return self._ask(f"run {times}")

    def memory(self):
        """Peak, resident and anonymous resident bytes."""
        return self._ask("memory")

    def save(self):
        self.process.stdin.write("save\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def close(self):
        self.process.stdin.write("quit\n")
        self.process.stdin.close()
        self.process.wait()


class Theirs:
    """A Python function under the same clock."""

    def __init__(self, run_once):
        self.run_once = run_once

    def run(self, times):
        def cpu():
            usage = resource.getrusage(resource.RUSAGE_SELF)
            return usage.ru_utime + usage.ru_stime

        wall_before, cpu_before = time.perf_counter(), cpu()
        loss = 0.0
        for _ in range(times):
            loss = self.run_once()
        return time.perf_counter() - wall_before, cpu() - cpu_before, loss


def bootstrap(ratios):
    generator = random.Random(1)
    medians = sorted(statistics.median(generator.choices(ratios, k=len(ratios))) for _ in range(10_000))
    return statistics.median(ratios), medians[250], medians[9750]


def compare(ours, sides, rounds, times, batch):
    """Prints the images/s of each of `sides` ({name: (side, bar)}) and how many times as fast ours is."""
    everyone = {"ours": ours, **{name: side for name, (side, _) in sides.items()}}
    costs = {name: [] for name in everyone}
    for side in everyone.values():
        side.run(times)  # memory and code are touched
    for number in range(rounds):
        names = list(everyone)
        if number % 2:
            names.reverse()
        for name in names:
            costs[name].append(everyone[name].run(times)[:2])
    for name, values in costs.items():
        wall = statistics.median(value[0] for value in values)
        cpu = statistics.median(value[1] for value in values)
        print(f"{name:22} {times * batch / wall:8.2f} images/s, {1e3 * wall / times:8.1f} ms and "
              f"{1e3 * cpu / times:8.1f} CPU-ms a run (medians)")
    for name, (_, bar) in sides.items():
        for what, index in (("time", 0), ("CPU", 1)):
            ratio, low, high = bootstrap([theirs[index] / own[index] for own, theirs in zip(costs["ours"], costs[name])])
            wanted = f" (wanted: at least {bar})" if what == "time" else ""
            print(f"{name} / ours, {what:4}  {ratio:.3f}, 95 % interval {low:.3f} to {high:.3f}{wanted}")


def same(what, a, b, tolerance):
    difference = (a - b).abs().max().item() / b.abs().max().item()
    print(f"{what}: largest difference {difference:.1e} of the largest value")
    if not difference < tolerance:
        raise SystemExit("the two sides do not compute the same")


# --- the teacher -----------------------------------------------------------------------------------------------------

def hugging_face_model(name):
    import transformers

    torch.manual_seed(3)
    if name == "vit_base":  # openai/clip-vit-base-patch16
        config = transformers.CLIPVisionConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                                               num_attention_heads=12, image_size=224, patch_size=16,
                                               attn_implementation="eager")
        return transformers.CLIPVisionModel(config).eval()
    # facebook/dino-vits16; its preprocessor_config.json has ImageNet's mean and std.
    config = transformers.ViTConfig(hidden_size=384, intermediate_size=1536, num_hidden_layers=12,
                                    num_attention_heads=6, image_size=224, patch_size=16, layer_norm_eps=1e-12,
                                    attn_implementation="eager")
    return transformers.ViTModel(config, add_pooling_layer=False).eval()


def compare_teachers(options, folder):
    batch = options.batch or 16
    model = hugging_face_model(options.model)
    model.save_pretrained(folder)
    with open(f"{folder}/preprocessor_config.json", "w", encoding="ascii") as file:
        json.dump({"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}, file)
    pixels = torch.randn(batch, 3, 224, 224)
    save_file({"pixel_values": pixels}, f"{folder}/input.st")
    ours = Ours(options.program, "teacher", folder, f"{folder}/input.st", f"{folder}/output.st", options.threads,
                model.config.num_attention_heads)

    result = None

    def forward():
        nonlocal result
        with torch.inference_mode():
            result = model(pixels, output_attentions=True, output_hidden_states=True)
        return 0.0

    forward()
    output = load_file(f"{folder}/output.st")
    same("last level", output["hidden"], result.hidden_states[-1], 1e-4)
    same("importance", output["importance"], result.attentions[-1].mean(1)[:, 0, 1:], 1e-4)
    compare(ours, {"Hugging Face": (Theirs(forward), 1.1)}, options.rounds, options.times or 1, batch)
    ours.close()


# --- the step --------------------------------------------------------------------------------------------------------

class Block(nn.Module):
    def __init__(self, width, heads, fused):
        super().__init__()
        self.heads, self.fused = heads, fused
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.act = nn.GELU()

    def attention(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            x = F.scaled_dot_product_attention(q, k, v)
        else:
            x = ((q @ k.transpose(-2, -1)) * (width // self.heads) ** -0.5).softmax(dim=-1) @ v
        return self.proj(x.transpose(1, 2).reshape(batch, length, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(self.act(self.fc1(self.norm2(x))))


class Student(nn.Module):
    """MaskAlign's student with fusion and heads `linear`. `reference`: embeds whole pictures and gathers the visible
    patches, mixes and adapts every level though only the last five have a weight, and applies the last norm."""

    def __init__(self, weights, heads, reference):
        super().__init__()
        kernel = weights["patch_embed.proj.weight"]
        width, _, patch, _ = kernel.shape
        depth = weights["align.mix"].shape[1]
        self.reference = reference
        self.patch_embed = nn.Conv2d(3, width, patch, patch) if reference else nn.Linear(kernel[0].numel(), width)
        self.cls_token = nn.Parameter(weights["cls_token"].clone())
        self.register_buffer("pos_embed", weights["pos_embed"].clone())
        self.blocks = nn.ModuleList(Block(width, heads, fused=not reference) for _ in range(depth))
        if reference:
            self.norm = nn.LayerNorm(width, eps=1e-6)
        self.levels = list(range(1, depth + 1)) if reference else list(range(depth - NUM_LEVELS + 1, depth + 1))
        mix = torch.eye(depth) + 0.01
        self.mix = nn.Parameter(mix if reference else mix[-NUM_LEVELS:].clone())
        self.adaptors = nn.ModuleList(nn.Linear(width, width) for _ in self.levels)
        self.take(weights, depth)

    def take(self, weights, depth):
        with torch.no_grad():
            kernel = weights["patch_embed.proj.weight"]
            self.patch_embed.weight.copy_(kernel if self.reference else kernel.flatten(1))
            self.patch_embed.bias.copy_(weights["patch_embed.proj.bias"])
            for i, block in enumerate(self.blocks):
                for mine, name in ((block.norm1, "norm1"), (block.qkv, "attn.qkv"), (block.proj, "attn.proj"),
                                   (block.norm2, "norm2"), (block.fc1, "mlp.fc1"), (block.fc2, "mlp.fc2")):
                    mine.weight.copy_(weights[f"blocks.{i}.{name}.weight"])
                    mine.bias.copy_(weights[f"blocks.{i}.{name}.bias"])
            self.mix[-NUM_LEVELS:].copy_(weights["align.mix"])
            for level, adaptor in zip(self.levels, self.adaptors):
                if level > depth - NUM_LEVELS:
                    adaptor.weight.copy_(weights[f"align.heads.{level}.weight"])
                    adaptor.bias.copy_(weights[f"align.heads.{level}.bias"])

    def embed(self, pixels, visible):
        """`pixels`: pictures for the reference, rows of the visible patches otherwise."""
        if not self.reference:
            return self.patch_embed(pixels) + self.pos_embed[0, 1:][visible]
        x = self.patch_embed(pixels).flatten(2).transpose(1, 2) + self.pos_embed[:, 1:]
        return torch.gather(x, dim=1, index=visible.unsqueeze(-1).repeat(1, 1, x.shape[-1]))

    def forward(self, pixels, visible):
        x = self.embed(pixels, visible)
        x = torch.cat([(self.cls_token + self.pos_embed[:, :1]).expand(x.shape[0], -1, -1), x], 1)
        hidden = []
        for block in self.blocks:
            x = block(x)
            hidden.append(x)
        if self.reference:
            self.norm(x)
        stacked = torch.stack(hidden)
        mixed = (self.mix @ stacked.flatten(1)).view(len(self.levels), *x.shape)
        return [adaptor(level) for adaptor, level in zip(self.adaptors, mixed)]


def pictures(weights):
    """Pictures [batch, 3, side, side] whose visible patches are the batch's rows; the others are noise."""
    rows, visible = weights["batch.rows"], weights["batch.visible"]
    patch = weights["patch_embed.proj.weight"].shape[-1]
    grid = round((weights["pos_embed"].shape[1] - 1) ** 0.5)
    patches = torch.randn(rows.shape[0], grid * grid, rows.shape[-1])
    patches.scatter_(1, visible.unsqueeze(-1).expand_as(rows), rows)
    return F.fold(patches.transpose(1, 2), grid * patch, kernel_size=patch, stride=patch)


class Stepper:
    """The step of the recipe: two AdamW groups, smooth L1 over the last five levels."""

    def __init__(self, weights, heads, reference):
        self.reference = reference
        self.model = Student(weights, heads, reference)
        self.visible = weights["batch.visible"]
        self.pixels = pictures(weights) if reference else weights["batch.rows"]
        self.targets = [weights[f"batch.target.{i}"] for i in range(NUM_LEVELS)]
        decayed = [p for name, p in self.model.named_parameters() if p.dim() > 1 and name != "mix"]
        others = [p for name, p in self.model.named_parameters() if p.dim() <= 1 or name == "mix"]
        self.optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05},
                                            {"params": others, "weight_decay": 0.0}],
                                           lr=1e-4, betas=(0.9, 0.95), fused=None if reference else True)

    def __call__(self):
        aligned = self.model(self.pixels, self.visible)[-NUM_LEVELS:]
        loss = sum(2.0 / NUM_LEVELS * F.smooth_l1_loss(a, t) for a, t in zip(aligned, self.targets))
        loss.backward()
        if self.reference:
            torch.stack([p.grad.norm() for p in self.model.parameters() if p.grad is not None]).norm()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()


def same_updates(name, before, ours, side):
    """Whether the first update moved the matrices alike: AdamW's first step is lr times the gradient's sign."""
    differ, count = 0, 0
    for i, block in enumerate(side.model.blocks):
        for linear, key in ((block.qkv, "attn.qkv"), (block.proj, "attn.proj"), (block.fc1, "mlp.fc1"), (block.fc2, "mlp.fc2")):
            first = before[f"blocks.{i}.{key}.weight"]
            differ += ((linear.weight.detach() - ours[f"blocks.{i}.{key}.weight"]).abs() > 1e-2 * 1e-4).sum().item()
            count += first.numel()
            assert (linear.weight.detach() - first).abs().max() > 0.5e-4
    print(f"first update, {name}: {differ} of {count} weights moved otherwise")
    if differ > 1e-3 * count:
        raise SystemExit("the two sides do not compute the same")


STUDENTS = {"vit_small": {"heads": 6, "batch": 32, "times": 1}, "demo": {"heads": 3, "batch": 128, "times": 5}}
FORMULATIONS = {"eager, fused": {"reference": False}, "the reference's": {"reference": True}}


def compare_steps(options, folder):
    student = STUDENTS[options.model]
    batch = options.batch or student["batch"]
    ours = Ours(options.program, "step", options.model, batch, f"{folder}/student.st", options.threads)
    weights = load_file(f"{folder}/student.st")
    sides = {name: Stepper(weights, student["heads"], **kind) for name, kind in FORMULATIONS.items()}
    for step in range(3):
        loss = ours.run(1)[2]
        for name, side in sides.items():
            same(f"loss, {name}", torch.tensor(loss), torch.tensor(side()), 1e-5)
        if step == 0:
            ours.save()
            updated = load_file(f"{folder}/student.st")
            for name, side in sides.items():
                same_updates(name, weights, updated, side)
    compare(ours, {name: (Theirs(side), bar) for (name, side), bar in zip(sides.items(), (1.0, 1.15))},
            options.rounds, options.times or student["times"], batch)
    ours.close()


def own_memory():
    values = {}
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            key, _, rest = line.partition(":")
            if key in ("VmHWM", "VmRSS", "RssAnon"):
                values[key] = float(rest.split()[0]) * 1024
    return [values["VmHWM"], values["VmRSS"], values["RssAnon"]]


def measure_memory(options, folder):
    student = STUDENTS[options.model]
    batch = options.batch or student["batch"]
    ours = Ours(options.program, "step", options.model, batch, f"{folder}/student.st", options.threads)
    done = 0
    for steps in (3, 100, options.steps):
        ours.run(steps - done)
        done = steps
        peak, resident, anonymous = (value / 2**20 for value in ours.memory())
        print(f"ours, {steps:5} steps      peak {peak:7.1f} MiB, resident {resident:7.1f}, of it anonymous {anonymous:7.1f}")
    ours.close()
    for name in FORMULATIONS:
        command = [sys.executable, __file__, "python-memory", options.model, "--formulation", name, "--weights",
                   f"{folder}/student.st", "--threads", str(options.threads)]
        peak, resident, anonymous = (value / 2**20 for value in json.loads(subprocess.check_output(command)))
        print(f"{name:20} peak {peak:7.1f} MiB, resident {resident:7.1f}, of it anonymous {anonymous:7.1f} (20 steps)")


def python_memory(options):
    side = Stepper(load_file(options.weights), STUDENTS[options.model]["heads"], **FORMULATIONS[options.formulation])
    for _ in range(20):
        side()
    print(json.dumps(own_memory()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["teacher", "step", "memory", "python-memory"])
    parser.add_argument("model", choices=["vit_base", "vit_small", "demo"])
    parser.add_argument("--program", default=os.path.join(os.path.dirname(__file__),
                                                          "../../build/release/bin/network_benchmark"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--times", type=int, default=0, help="runs in a timed block")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1000, help="of `memory`")
    parser.add_argument("--formulation", help=argparse.SUPPRESS)
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.mode == "python-memory":
        python_memory(options)
        return
    print(f"{options.mode} {options.model}, torch {torch.__version__}, {options.threads} threads, load {os.getloadavg()}")
    with tempfile.TemporaryDirectory() as folder:
        {"teacher": compare_teachers, "step": compare_steps, "memory": measure_memory}[options.mode](options, folder)


if __name__ == "__main__":
    main()
