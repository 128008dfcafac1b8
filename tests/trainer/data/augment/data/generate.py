#!/usr/bin/env python3
"""Writes pillow_ops.safetensors beside this script: what Pillow makes of a picture, for augment_ops_test.cc.

Needs pillow (made with 12.3.0), timm (made with 1.0.30) and numpy. The operations and level functions are timm's own
(timm.data.auto_augment), at fixed magnitudes instead of drawn ones.
"""
import json
import os
import random
import struct

import numpy as np
import PIL
import timm
from PIL import Image
from timm.data import auto_augment as aa

HERE = os.path.dirname(os.path.abspath(__file__))
FILL = (124, 116, 104)  # timm's fill for ImageNet's mean
# timm's name -> the name of ours in AugmentOp
OPS = {
    "AutoContrast": "auto_contrast", "Equalize": "equalize", "Invert": "invert", "Rotate": "rotate",
    "PosterizeIncreasing": "posterize", "SolarizeIncreasing": "solarize", "SolarizeAdd": "solarize_add",
    "ColorIncreasing": "colour", "ContrastIncreasing": "contrast", "BrightnessIncreasing": "brightness",
    "SharpnessIncreasing": "sharpness", "ShearX": "shear_x", "ShearY": "shear_y",
    "TranslateXRel": "translate_x", "TranslateYRel": "translate_y",
}
MAGNITUDES = ["0", "3.7", "9", "9.63", "10"]


def photo(width, height, seed):
    """Smooth colours, edges and some noise, with a colour of few values."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    rng = np.random.default_rng(seed)
    planes = [110 + 90 * np.sin(x / 5 + c) * np.cos(y / (4 + c)) + 30 * ((x + 2 * y) % 9 > 4) for c in range(3)]
    pixels = np.clip(np.stack(planes, -1) + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)
    pixels[..., 2] = pixels[..., 2] // 64 * 40 + 20
    return Image.fromarray(pixels)


def apply(image, name, magnitude, negative):
    """timm's operation at this magnitude; the coin of the direction falls as told."""
    coin = random.random
    random.random = lambda: 1.0 if negative else 0.0  # timm negates where the number is above 0.5
    try:
        level = aa.LEVEL_TO_ARG[name]
        arguments = level(magnitude, {"translate_pct": 0.45}) if level is not None else ()
    finally:
        random.random = coin
    return aa.NAME_TO_OP[name](image, *arguments, fillcolor=FILL, resample=Image.BICUBIC)


def write(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": "U8", "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def main():
    tensors = {}
    flat = Image.fromarray(np.full((12, 12, 3), (40, 200, 255), np.uint8))
    for picture, image in {"photo": photo(24, 20, 0), "small": photo(9, 9, 1), "flat": flat}.items():
        tensors[picture] = np.asarray(image)
        for name, ours in OPS.items():
            magnitudes = MAGNITUDES if aa.LEVEL_TO_ARG[name] is not None else ["9"]
            if picture != "photo":
                magnitudes = ["9"]
            if ours == "posterize":
                magnitudes = [m for m in magnitudes if m != "10"]  # no bits at all: Pillow 13 refuses what 12 made black
            for magnitude in magnitudes:
                for negative in (False, True):
                    result = apply(image, name, float(magnitude), negative)
                    tensors[f"{picture}.{ours}.{magnitude}.{'-' if negative else '+'}"] = np.asarray(result)
    write(os.path.join(HERE, "pillow_ops.safetensors"), tensors,
          {"pillow": PIL.__version__, "timm": timm.__version__, "fill": ",".join(map(str, FILL))})


main()
