#!/usr/bin/env python3
"""Compares the losses and the speed of a cached and an on-line run, step by step.

compare_runs.py CACHED_RUN ONLINE_RUN --steps N --info INFO.json

Reads metrics.jsonl of both run folders and the output of `afterimage info --json`. Prints a table and exits with 1 unless every loss is
equal bit for bit.
"""
import argparse
import json
import pathlib
import statistics
import sys

WARM_UP_STEPS = 10  # allocators, first pages


def steps_of(run, count):
    steps = {}
    for line in (pathlib.Path(run) / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if "loss_hex" in entry and entry["step"] < count:
            steps[entry["step"]] = entry
    return steps


def vit_macs(tokens, width, depth, mlp_width, patch_values):
    """Multiply-accumulates of one forward: patch embedding, qkv and projection, attention, MLP."""
    block = tokens * (4 * width * width + 2 * width * mlp_width) + 2 * tokens * tokens * width
    return (tokens - 1) * patch_values * width + depth * block


def predicted_ratio(info, config):
    feature = info[0]["feature"]
    teacher = feature["teacher"]["architecture"]
    patches = (teacher["image_size"] // teacher["patch_size"]) ** 2
    patch_values = 3 * teacher["patch_size"] ** 2
    teacher_macs = vit_macs(patches + 1, teacher["width"], teacher["depth"], teacher["mlp_width"], patch_values)
    visible = int(patches * (1 - config["mask_ratio"]))
    width = config["width"]
    levels = config["levels"]
    student_macs = vit_macs(visible + 1, width, config["depth"], 4 * width, patch_values)
    student_macs += (visible + 1) * levels * (config["depth"] * width + width * teacher["width"])
    step = 3 * student_macs  # forward, and twice that backward
    return (step + teacher_macs) / step, teacher_macs, student_macs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cached")
    parser.add_argument("online")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--info", required=True)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--levels", type=int, default=5)
    parser.add_argument("--mask-ratio", type=float, default=0.7)
    args = parser.parse_args()

    cached, online = steps_of(args.cached, args.steps), steps_of(args.online, args.steps)
    common = sorted(set(cached) & set(online))
    if len(common) < args.steps:
        sys.exit(f"compare_runs: only {len(common)} of {args.steps} steps are in both runs")
    equal = sum(cached[s]["loss_hex"] == online[s]["loss_hex"] for s in common)
    rate = {
        name: statistics.median(run[s]["images_per_s"] for s in common[WARM_UP_STEPS:])
        for name, run in (("cached", cached), ("online", online))
    }
    wait = 100 * statistics.mean(cached[s]["wait_share"] for s in common[WARM_UP_STEPS:])
    ratio, teacher_macs, student_macs = predicted_ratio(
        json.load(open(args.info)),
        {"width": args.width, "depth": args.depth, "levels": args.levels, "mask_ratio": args.mask_ratio},
    )

    print(f"  step   loss, cached    loss, on line   equal")
    shown = [s for s in common if s in (0, 1, 2) or (s + 1) % 25 == 0]
    for s in shown:
        same = "bit for bit" if cached[s]["loss_hex"] == online[s]["loss_hex"] else "NO"
        print(f"  {s:4d}   {cached[s]['loss']:.9f}     {online[s]['loss']:.9f}     {same}")
    print(f"  {equal} of {len(common)} losses are equal bit for bit")
    print(f"  images/s: cached {rate['cached']:.0f} (waiting {wait:.1f} %), on line {rate['online']:.0f}: "
          f"{rate['cached'] / rate['online']:.2f} x")
    print(f"  predicted by FLOPs: {ratio:.2f} x (teacher {teacher_macs / 1e6:.1f} M, student {student_macs / 1e6:.1f} M "
          f"multiply-accumulates forward)")
    return 0 if equal == len(common) else 1


if __name__ == "__main__":
    sys.exit(main())
