#!/usr/bin/env python3
"""Prints the view digests of view_test.cc: the geometry of reference.py, the pixels of Pillow.

Needs pillow==12.3.0 (not 13, see docs/views.md), numpy, xxhash.
"""
import os

import numpy as np
import xxhash
from PIL import Image

from reference import crop

import hashlib

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "image", "data")


def print_view(label, image, box, flipped):
    pixels = np.asarray(image)[:, ::-1] if flipped else np.asarray(image)
    digest = xxhash.xxh3_64_intdigest(np.ascontiguousarray(pixels).tobytes())
    print(f'    {{{label}, {{{", ".join(map(str, box))}}}, {str(flipped).lower()}, 0x{digest:016x}}},')


def half_to_even(value):
    return int(round(value / 2.0))


for name in ("photo_420.jpg", "rgba.png"):
    path = os.path.join(DATA, name)
    key = hashlib.sha256(open(path, "rb").read()).digest()[:16]
    stored = Image.open(path).convert("RGBA")
    image = Image.new("RGB", stored.size, (255, 255, 255))
    image.paste(stored.convert("RGB"), mask=stored.getchannel("A"))
    for seed, size in ((0, 224), (1, 224), (2, 28), (3, 28), (4, 64)):
        box, flipped, _ = crop(key, seed, *image.size)
        x, y, w, h = box
        view = image.crop((x, y, x + w, y + h)).resize((size, size), Image.Resampling.BICUBIC)
        print_view(f'"{name}", {seed}, {size}', view, box, flipped)
    for shorter, size in ((32, 28), (256, 224), (47, 40), (33, 20)):
        w, h = image.size
        resized = (shorter, int(shorter * h / w)) if w <= h else (int(shorter * w / h), shorter)
        x, y = half_to_even(resized[0] - size), half_to_even(resized[1] - size)
        view = image.resize(resized, Image.Resampling.BICUBIC).crop((x, y, x + size, y + size))
        print_view(f'"{name}", {shorter}, {size}', view, (x, y, size, size), False)
