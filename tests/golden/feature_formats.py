#!/usr/bin/env python3
"""Writes the golden bytes of core/identity and core/feature from the format documents alone, without our C++.

Needs the packages numpy and xxhash. Prints C++ constants; the tests hold a copy of them, so that this script is
only run when a format gets a new version.
"""
import hashlib
import json
import struct

import numpy
import xxhash


def canonical(spec):
    return json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def align(offset):
    return (offset + 63) // 64 * 64


IMPORTANCE, TOKENS, MASKS, PLANE, STATISTICS, PIXELS, REASON, EXCEPTIONS = range(1, 9)
F32, F16, U16, U8, BF16, I8, EXCEPTION = range(1, 8)
DTYPE = {F32: "<f4", F16: "<f2", U16: "<u2", U8: "u1", I8: "i1", EXCEPTION: [("position", "<u4"), ("value", "<f4")]}


def encode(element, array):
    if element != BF16:
        return numpy.asarray(array).astype(DTYPE[element]).tobytes()
    bits = numpy.asarray(array).astype("<f4").view("<u4").astype("<u8")
    upper, lower = bits >> 16, bits & 0xffff
    up = (lower > 0x8000) | ((lower == 0x8000) & (upper % 2 == 1))  # to the nearest, ties to even
    return (upper + up).astype("<u2").tobytes()


def block(kind, flags, codec, geometry, view_digest, view_size, grid, num_tokens, num_masks, width, sections,
          original=None, profile=bytes(32)):
    """sections: (kind, level, type, 2-d array), in the order of the table; original: the digest of the record
    that this is a part of."""
    end = 144 + 40 * len(sections)
    table, body = b"", b""
    for section_kind, level, element, array in sections:
        payload = encode(element, array)
        offset = align(end)
        body += b"\0" * (offset - end) + payload
        rows, columns = numpy.asarray(array).shape
        table += struct.pack("<HHBBBBIIQQQ", section_kind, level, element, 0, 0, 0, rows, columns, offset,
                             len(payload), xxhash.xxh3_64_intdigest(payload))
        end = offset + len(payload)

    def header(digest_low, digest_high, checksum):
        head = b"\x89AFB\r\n\x1a\n" + struct.pack("<IIQ", 1 if codec <= 2 else 2, 144, end)
        head += struct.pack("<BBBBI", kind, flags, codec, 0, len(sections))
        head += struct.pack("<6I", *geometry) + struct.pack("<Q", view_digest)
        head += struct.pack("<6I", view_size, grid, num_tokens, num_masks, width, 0)
        head += profile + struct.pack("<QQQ", digest_low, digest_high, checksum)
        assert len(head) == 144
        return head

    digest = int(original, 16) if original else xxhash.xxh3_128_intdigest(header(0, 0, 0) + table)
    low, high = digest & (2**64 - 1), digest >> 64
    checksum = xxhash.xxh3_64_intdigest(header(low, high, 0) + table)
    return header(low, high, checksum) + table + body, f"{high:016x}{low:016x}"


def show(name, data):
    text = data.hex() if isinstance(data, bytes) else data
    print(f"constexpr char {name}[] =")
    lines = [text[i:i + 96] for i in range(0, len(text), 96)] or [""]
    print("\n".join(f'    "{line}"' for line in lines) + ";")


# Image keys: a PGM of 2 x 2 pixels, and nothing.
show("kKeyOfPgm", sha256(b"P5\n2 2\n255\n\x00\x40\x80\xff")[:32])
show("kKeyOfNothing", sha256(b"")[:32])

# Canonical text.
spec = {"b": [1, {"z": True, "a": "\u00e9\u4e2d\"\\\n\U0001f600"}], "a": -5, "eps": "1e-05", "ratio": [3, 4]}
print("canonical:", canonical(spec))
show("kCanonicalDigest", sha256(canonical(spec).encode()))

# A manifest of two keys, the first of which occurs twice.
keys = sorted([bytes(range(16)), bytes(range(0xf0, 0x100))])
counts = [2, 1]
digest = sha256(b"afterimage-manifest-1\n" + b"".join(k + struct.pack("<I", c) for k, c in zip(keys, counts)))
show("kManifestDigest", digest)
show("kManifestBytes", b"AFTIKEYS" + struct.pack("<IIQQ", 1, 1, 2, 3) + b"".join(keys) +
     struct.pack("<2I", *counts) + bytes.fromhex(digest))
once = sha256(b"afterimage-manifest-1\n" + b"".join(k + struct.pack("<I", 1) for k in keys))
show("kOnceBytes", b"AFTIKEYS" + struct.pack("<IIQQ", 1, 0, 2, 2) + b"".join(keys) + bytes.fromhex(once))

# Labels of these three occurrences.
labels = b"AFTILABL" + struct.pack("<IIQ3i", 1, 2, 3, 0, 1, -1)
labels += struct.pack("<I", 3) + b"cat" + struct.pack("<I", 4) + b"b\xc3\xa4r"
show("kLabelDigest", sha256(labels))
show("kLabelBytes", labels + bytes.fromhex(sha256(labels)))

# A profile of two levels and three channels.
profile = b"AFTIPROF" + struct.pack("<IIII", 1, 2, 3, 0) + bytes(range(32)) + struct.pack("<QQ", 3, 15)
for level in (3, 4):
    profile += struct.pack("<I3f3f", level, -0.5, 0.25 * level, 2, 1, 0, 0.375)
show("kProfileDigest", sha256(profile))
show("kProfileBytes", profile + bytes.fromhex(sha256(profile)))

# A record of all tokens: 2 x 2 patches of 2 x 2 pixels, level 3 of width 3.
tokens, width = 5, 3
plane = [[(row * width + column - 7) * 0.375 for column in range(width)] for row in range(tokens)]
statistics = [[row * 0.5 - 1 for row in range(tokens)], [1 / (1 << row) for row in range(tokens)]]
geometry = (640, 480, 10, 20, 300, 200)
pixels = numpy.arange(48).reshape(4, 12) * 5
importance = [[0.5, 0.25, 0.125, 1.0]]
for name, codec in (("F32", 1), ("F16", 2)):
    data, record_digest = block(1, 1, codec, geometry, 0x0123456789abcdef, 4, 2, tokens, 0, width, [
        (IMPORTANCE, 0, F32, importance), (PLANE, 3, codec, plane), (STATISTICS, 3, F32, statistics),
        (PIXELS, 0, U8, pixels)])
    show(f"kBlock{name}", data)
    show(f"kRecordDigest{name}", record_digest)
# bfloat16 holds eight bits of a number: some of these are rounded, up, down and to even.
fine = [[(row * width + column - 7) * 0.375 + (row * width + column) / 1024 for column in range(width)]
        for row in range(tokens)]
data, bf16_digest = block(1, 1, 3, geometry, 0x0123456789abcdef, 4, 2, tokens, 0, width, [
    (IMPORTANCE, 0, F32, importance), (PLANE, 3, BF16, fine), (STATISTICS, 3, F32, statistics), (PIXELS, 0, U8, pixels)])
show("kBlockBf16", data)
show("kRecordDigestBf16", bf16_digest)



def rows_of(tokens, masks):
    return [(IMPORTANCE, 0, F32, importance), (TOKENS, 0, U16, [tokens]), (MASKS, 0, U16, masks),
            (PLANE, 3, F16, [plane[t] for t in tokens]),
            (STATISTICS, 3, F32, [[s[t] for t in tokens] for s in statistics]),
            (PIXELS, 0, U8, [pixels[t - 1] for t in tokens[1:]])]


# What travels of it for the mask [3, 0] of its patches: a part, in the order of the mask.
data, _ = block(1, 1 | 2 | 4, 2, geometry, 0x0123456789abcdef, 4, 2, 3, 1, width, rows_of([0, 4, 1], [[3, 0]]),
                original=record_digest)
show("kBlockPart", data)

# The same view as the policy "visible" stores it, with the masks [3, 0] and [2, 3].
data, _ = block(1, 1, 2, geometry, 0x0123456789abcdef, 4, 2, 4, 2, width, rows_of([0, 1, 3, 4], [[3, 0], [2, 3]]))
show("kBlockVisible", data)

# Codec i8x. Level 3: one value of 60 is an exception, a channel without deviation, one with a wide one. Level 4: too many
# exceptions, so f16.
f4 = numpy.float32
channel = numpy.arange(12)
mean = {3: (channel * 0.25 - 1).astype(f4), 4: numpy.zeros(12, f4)}
sigma = {3: (channel * 0.125 + 0.125).astype(f4), 4: numpy.full(12, 0.0078125, f4)}
sigma[3][0], sigma[3][11] = 0, 8
profile = b"AFTIPROF" + struct.pack("<IIII", 1, 2, 12, 0) + bytes(range(32)) + struct.pack("<QQ", 3, 15)
profile += b"".join(struct.pack("<I", level) + mean[level].tobytes() + sigma[level].tobytes() for level in (3, 4))
profile_digest = hashlib.sha256(profile).digest()
offsets = (numpy.arange(60).reshape(5, 12) % 7 - 3) * numpy.where(channel == 0, 0.0078125, 0.25)
values = {3: mean[3] + offsets.astype(f4), 4: offsets.astype(f4)}
values[3][4, 5] = 30.5


def i8x(values, mean, sigma):
    step = numpy.clip(sigma * f4(5) / f4(127), f4(2**-10), f4(11 / 64))
    scaled = (values - mean) * (f4(1) / step)
    fits = numpy.abs(scaled) < 127.5
    exceptions = numpy.array([[(p, values.flat[p]) for p in numpy.flatnonzero(~fits)]], DTYPE[EXCEPTION])
    return numpy.rint(numpy.where(fits, scaled, 0)).astype("i1"), exceptions


rows, exceptions = i8x(values[3], mean[3], sigma[3])
assert exceptions.shape[1] == 1 and i8x(values[4], mean[4], sigma[4])[1].shape[1] > 1
data, i8x_digest = block(1, 1, 4, geometry, 0x0123456789abcdef, 4, 2, 5, 0, 12, [
    (IMPORTANCE, 0, F32, importance), (PLANE, 3, I8, rows), (PLANE, 4, F16, values[4]), (STATISTICS, 3, F32, statistics),
    (STATISTICS, 4, F32, statistics), (PIXELS, 0, U8, pixels), (EXCEPTIONS, 3, EXCEPTION, exceptions)],
    profile=profile_digest)
show("kI8xProfileDigest", profile_digest)
show("kBlockI8x", data)
# What travels of level 3 for the mask [3, 0], without pixels: row 4 becomes row 1.
exceptions["position"] -= 3 * 12
part, _ = block(1, 1 | 2 | 4, 4, geometry, 0x0123456789abcdef, 4, 2, 3, 1, 12, [
    (IMPORTANCE, 0, F32, importance), (TOKENS, 0, U16, [[0, 4, 1]]), (MASKS, 0, U16, [[3, 0]]),
    (PLANE, 3, I8, rows[[0, 4, 1]]), (STATISTICS, 3, F32, [[s[t] for t in (0, 4, 1)] for s in statistics]),
    (EXCEPTIONS, 3, EXCEPTION, exceptions)], original=i8x_digest, profile=profile_digest)
show("kBlockI8xPart", part)

reason = b"not a JPEG file"
data, _ = block(2, 0, 0, (0,) * 6, 0, 0, 0, 0, 0, 0, [(REASON, 0, U8, [list(reason)])])
show("kBlockFailed", data)

# Identities. The view spec's canonical form is core/view's; the mask spec's core/mask's.
view = {"crop": "random_resized_crop", "decode_version": 1, "flip_probability": [1, 2], "generator_version": 1,
        "max_area": [1, 1], "max_aspect": [4, 3], "min_area": [1, 5], "min_aspect": [3, 4], "resize_version": 1,
        "size": 4, "version": 1}
mask = {"mask_seed": 7, "num_masks": 2, "num_visible": 3, "type": "attention", "version": 1}
feature = {
    "geometry": {"grid": 2, "num_levels": 4, "width": 3},
    "normalization": {"eps": "1e-05", "kind": "layer_norm"},
    "preprocessing": {"mean": ["0.5", "0.5", "0.5"], "std": ["0.25", "0.25", "0.25"]},
    "teacher": {"family": "synthetic", "name": "tiny"},
    "version": 1,
    "view": view,
}
feature_id = sha256(canonical(feature).encode())
show("kFeatureId", feature_id)
for name, tokens in (("All", "all"), ("Visible", "visible")):
    stored = {"codec": "f16", "feature_id": feature_id, "levels": [3, 4], "pixels": True, "profile_digest": "0" * 64,
              "tokens": tokens, "version": 1}
    if tokens == "visible":
        stored["mask"] = mask
    show(f"kSetId{name}", sha256(canonical(stored).encode()))
    description = {"feature": feature, "format_version": 1, "layout": {"num_shards": 4, "seeds_per_unit": 2},
                   "set": stored}
    if tokens == "visible":
        print("description:", canonical(description))
