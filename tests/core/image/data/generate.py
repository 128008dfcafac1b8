#!/usr/bin/env python3
"""Writes the picture files beside this script and prints what decode_test.cc expects of them.

Needs pillow==12.3.0, numpy, xxhash. Run once; the files are committed, as encoders differ between versions.
"""
import os
import struct
import zlib

import numpy as np
import xxhash
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))


def photo(width, height, seed=0):
    """Smooth colours, edges and some noise: what a JPEG of a photograph has."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    rng = np.random.default_rng(seed)
    planes = [128 + 100 * np.sin(x / 9 + c) * np.cos(y / (7 + c)) + 40 * ((x + 2 * y) % 23 > 11) for c in range(3)]
    noise = rng.normal(0, 6, (height, width, 3))
    return Image.fromarray(np.clip(np.stack(planes, -1) + noise, 0, 255).astype(np.uint8))


def expect(name, image):
    pixels = np.asarray(image.convert("RGB"))
    digest = xxhash.xxh3_64_intdigest(pixels.tobytes())
    print(f'    {{"{name}", {image.width}, {image.height}, 0x{digest:016x}}},')


def over_white(image):
    rgba = image.convert("RGBA")
    result = Image.new("RGB", image.size, (255, 255, 255))
    result.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
    return result


def write_png(name, width, height, depth, color, rows, extra=()):
    """A PNG without filters, for the kinds that Pillow does not write."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    for kind, body in extra:
        content += chunk(kind, body)
    content += chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b"")
    open(os.path.join(HERE, name), "wb").write(content)


def save(name, image, **options):
    path = os.path.join(HERE, name)
    image.save(path, **options)
    expect(name, over_white(Image.open(path)) if name.endswith((".png", ".webp")) else Image.open(path))


base = photo(61, 47)
save("photo_420.jpg", base, quality=85, subsampling="4:2:0")
save("photo_422.jpg", base, quality=85, subsampling="4:2:2")
save("photo_444.jpg", base, quality=92, subsampling="4:4:4")
save("progressive.jpg", base, quality=80, progressive=True)
save("grey.jpg", base.convert("L"), quality=85)
save("cmyk.jpg", base.convert("CMYK"), quality=90)
save("rgb.png", base)
save("grey.png", base.convert("L"))
save("palette.png", base.quantize(16))
save("palette_alpha.png", base.quantize(8), transparency=bytes([0, 60, 120, 255]))
alpha = base.convert("RGBA")
alpha.putalpha(photo(61, 47, 1).convert("L"))
save("rgba.png", alpha)
save("grey_alpha.png", alpha.convert("LA"))
save("grey_1bit.png", base.convert("1"))
save("lossy.webp", base, quality=80)
save("lossy_alpha.webp", alpha, quality=80)
save("lossless_alpha.webp", alpha, lossless=True, exact=True)
save("grey.pgm", base.convert("L"))
save("rgb.ppm", base)

# 16 bit: the low byte is dropped. The colour 0x1234, 0x5678, 0x9abc is transparent, its neighbour with another low byte is not.
values = (np.arange(8 * 4 * 3, dtype=np.uint32) * 683 + 1000).astype(np.uint16).reshape(4, 8, 3)
values[0, 0] = (0x1234, 0x5678, 0x9ABC)
values[0, 1] = (0x1234, 0x5678, 0x9ABD)
write_png("rgb_16bit.png", 8, 4, 16, 2, [row.astype(">u2").tobytes() for row in values])
expect("rgb_16bit.png", Image.fromarray((values >> 8).astype(np.uint8)))
write_png("rgb_16bit_transparent.png", 8, 4, 16, 2, [row.astype(">u2").tobytes() for row in values],
          [(b"tRNS", struct.pack(">HHH", 0x1234, 0x5678, 0x9ABC))])
high = (values >> 8).astype(np.uint8)
high[0, 0] = 255
expect("rgb_16bit_transparent.png", Image.fromarray(high))
write_png("grey_16bit.png", 8, 4, 16, 0, [row.astype(">u2").tobytes() for row in values[:, :, 1]])
expect("grey_16bit.png", Image.fromarray((values[:, :, 1] >> 8).astype(np.uint8)))
