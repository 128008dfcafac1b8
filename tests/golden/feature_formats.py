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
F32, F16, U16, U8, BF16, I8, EXCEPTION, PACKED4, PACKED5, PACKED6, CODED_F16, CODED_BF16, EZQ, PACKED_PIXELS = range(1, 15)
DTYPE = {F32: "<f4", F16: "<f2", U16: "<u2", U8: "u1", I8: "i1", PACKED4: "u1", PACKED5: "u1", PACKED6: "u1",
         CODED_F16: "u1", CODED_BF16: "u1", EZQ: "u1", PACKED_PIXELS: "u1", EXCEPTION: [("position", "<u4"), ("value", "<f4")]}


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
        version = 5 if 5 <= codec <= 7 else 4 if codec >= 128 else 3 if any(s[2] == PACKED_PIXELS for s in sections) else 1 if codec <= 2 else 2
        head = b"\x89AFB\r\n\x1a\n" + struct.pack("<IIQ", version, 144, end)
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


def profile_of(width, levels):
    """levels: (number, clip of i8x, means, deviations, wide channels)."""
    data = b"AFTIPROF" + struct.pack("<IIII", 2, len(levels), width, 0) + bytes(range(32)) + struct.pack("<QQ", 3, 15)
    for level, clip, mean, sigma, wide in levels:
        data += struct.pack("<IfI", level, clip, len(wide)) + numpy.array(mean, "<f4").tobytes()
        data += numpy.array(sigma, "<f4").tobytes() + numpy.array(wide, "<u2").tobytes()
    return data


# A profile of two levels and three channels, and with what was measured.
profile = profile_of(3, [(level, 1.5 + level, [-0.5, 0.25 * level, 2], [1, 0, 0.375], wide)
                         for level, wide in ((3, [0, 2]), (4, [1]))])
show("kProfileDigest", sha256(profile))
show("kProfileBytes", profile + bytes.fromhex(sha256(profile)))
figures = b"AFTIFIGS" + struct.pack("<IIQ", 3, 0, 32)
figures += struct.pack("<B3xI4d", 4, 3, 1.0039, 0.0058, 0.086, 0.9999)
figures += struct.pack("<B3xI4d", 4, 4, 1.0, 0.0098, 0.05, 0.99995)
figures += struct.pack("<B3xI4d", 128 + 33, 4, 0.557, 0.0195, 0.25, -0.5)
show("kProfileFigures", figures + struct.pack("<Q", xxhash.xxh3_64_intdigest(figures)))

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

# Codec i8x. Level 3: one value of 60 is an exception, a channel without deviation, one with a wide one, a narrower clip.
# Level 4: too many exceptions, so f16.
f4 = numpy.float32
channel = numpy.arange(12)
mean = {3: (channel * 0.25 - 1).astype(f4), 4: numpy.zeros(12, f4)}
sigma = {3: (channel * 0.125 + 0.125).astype(f4), 4: numpy.full(12, 0.0078125, f4)}
sigma[3][0], sigma[3][11] = 0, 8
clip = {3: 4.375, 4: 5}
profile_digest = hashlib.sha256(profile_of(12, [(level, clip[level], mean[level], sigma[level], [])
                                                for level in (3, 4)])).digest()
offsets = (numpy.arange(60).reshape(5, 12) % 7 - 3) * numpy.where(channel == 0, 0.0078125, 0.25)
values = {3: mean[3] + offsets.astype(f4), 4: offsets.astype(f4)}
values[3][4, 5] = 30.5


def i8x(values, mean, sigma, clip):
    step = numpy.clip(sigma * f4(clip) / f4(127), f4(2**-10), f4(11 / 64))
    scaled = (values - mean) * (f4(1) / step)
    fits = numpy.abs(scaled) < 127.5
    exceptions = numpy.array([[(p, values.flat[p]) for p in numpy.flatnonzero(~fits)]], DTYPE[EXCEPTION])
    return numpy.rint(numpy.where(fits, scaled, 0)).astype("i1"), exceptions


rows, exceptions = i8x(values[3], mean[3], sigma[3], clip[3])
assert exceptions.shape[1] == 1 and i8x(values[4], mean[4], sigma[4], clip[4])[1].shape[1] > 1
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

# Codecs i6x, i5x and i4x: 24 channels, of which seven are kept in whole bytes; one exception.
STEPS_IN_SCALE = {4: 40, 5: 34, 6: 31}
POSITIVE = {  # as trellis_levels.py finds them
    4: [2, 7, 12, 17, 22, 27, 32, 38, 43, 50, 56, 64, 73, 85, 101, 125],
    5: [1, 3, 6, 8, 10, 12, 15, 17, 19, 22, 24, 26, 29, 31, 34, 37, 39, 42, 45, 48, 51, 55, 58, 62, 66, 71, 76, 82, 89,
        98, 109, 127],
    6: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21, 22, 23, 24, 25, 27, 28, 29, 30, 31, 33,
        34, 35, 36, 38, 39, 41, 42, 43, 45, 46, 48, 49, 51, 53, 54, 56, 58, 60, 62, 64, 66, 68, 71, 73, 76, 79, 82, 86,
        89, 94, 99, 106, 115, 127]}
channel = numpy.arange(24)
packed_mean, packed_sigma = ((channel % 5) * 0.25 - 0.5).astype(f4), ((channel * 7 % 24 + 1) / 32).astype(f4)
packed_values = packed_mean + ((numpy.arange(120) * 37 % 101 - 50) / 16).reshape(5, 24).astype(f4) * packed_sigma
packed_values[4, 5] = 30.5
packed_wide = [1, 4, 5, 8, 11, 13, 20]
packed_profile_digest = hashlib.sha256(profile_of(24, [(3, 4.5, packed_mean, packed_sigma, packed_wide)])).digest()


def level_of(bits, code, previous, before):
    levels = [-level for level in POSITIVE[bits][::-1]] + POSITIVE[bits]
    return levels[2 * (code ^ before & 1) + (previous & 1)]


def best_codes(bits, scaled, weights, fixed):
    """The path of least square error, all codes tried at each channel. `fixed`: codes of wide channels, by channel."""
    paths = {(0, 0): (0.0, [])}  # the lowest bits of the codes before: the cheapest path that has them
    for channel, value in enumerate(scaled):
        longer = {}
        for (previous, before), (cost, codes) in paths.items():
            for code in [fixed[channel]] if channel in fixed else range(1 << bits):
                error = 0 if channel in fixed else float(value) - level_of(bits, code, previous, before)
                candidate = (cost + error * error * weights[channel], codes + [code])
                longer[code & 1, previous] = min(longer.get((code & 1, previous), candidate), candidate)
        paths = longer
    return min(paths.values())[1]


def packed(bits, values, mean, sigma, wide):
    width = values.shape[1]
    scale = numpy.clip(sigma, f4(2**-8), f4(1.5))
    step = scale / f4(STEPS_IN_SCALE[bits])
    step[wide] = numpy.clip(sigma * f4(5) / f4(127), f4(2**-10), f4(11 / 32))[wide]
    scaled = (values - mean) * (f4(1) / step)
    q = numpy.rint(numpy.clip(scaled, -127, 127)).astype("i1")  # as it stays in wide channels
    codes = numpy.array([best_codes(bits, row, scale.astype(float)**2, {c: int(row_q[c]) & 15 for c in wide})
                         for row, row_q in zip(scaled, q)])
    for row, row_codes in zip(q, codes):
        for c in set(range(width)) - set(wide):
            row[c] = level_of(bits, int(row_codes[c]), int(row_codes[c - 1]) if c > 0 else 0,
                              int(row_codes[c - 2]) if c > 1 else 0)
    decoded = q.astype(f4) * step + mean
    half = (width + 1) // 2
    low = numpy.zeros((len(values), 2 * half), "u1")
    low[:, :width] = codes & 15
    rows = [low[:, :half] | low[:, half:] << 4]
    if bits > 4:
        planes, step_bits = (8, 1) if bits == 5 else (4, 2)
        columns = -(-width // planes)
        upper = numpy.zeros((len(values), planes * columns), "u1")
        upper[:, :width] = codes >> 4
        rows.append(sum(upper[:, k * columns:(k + 1) * columns] << (k * step_bits) for k in range(planes)).astype("u1"))
    upper = numpy.zeros((len(values), 2 * -(-len(wide) // 2)), "u1")
    upper[:, :len(wide)] = q.view("u1")[:, wide] >> 4
    rows.append(upper[:, ::2] | upper[:, 1::2] << 4)
    at = numpy.flatnonzero(numpy.abs(values - decoded) > 7 / 16)
    exceptions = numpy.array([[(p, values.flat[p]) for p in at]], DTYPE[EXCEPTION])
    return numpy.hstack(rows), exceptions


for bits, codec, element in ((6, 5, PACKED6), (5, 6, PACKED5), (4, 7, PACKED4)):
    rows, exceptions = packed(bits, packed_values, packed_mean, packed_sigma, packed_wide)
    assert exceptions.shape[1] == 1
    data, _ = block(1, 1, codec, geometry, 0x0123456789abcdef, 4, 2, 5, 0, 24, [
        (IMPORTANCE, 0, F32, importance), (PLANE, 3, element, rows), (STATISTICS, 3, F32, statistics),
        (EXCEPTIONS, 3, EXCEPTION, exceptions)], profile=packed_profile_digest)
    show(f"kBlockI{bits}x", data)

def raw_frame(data):
    return (bytes.fromhex("28b52ffd20") + bytes([len(data)]) + struct.pack("<I", len(data) << 3 | 1)[:3] + data)


# Codecs ezq16 and ezq:66, with the same values: as they are, and predicted from left and up.
for name, codec, units, predictor in (("kBlockEzq16", 11, 64, 0), ("kBlockEzq16Predicted", 11, 64, 1),
                                      ("kBlockEzq66", 128 + 33, 66, 1)):
    step = numpy.clip(packed_sigma * f4(8) / f4(127), f4(units / 1024), f4(1 / 2))
    scaled = (packed_values - packed_mean) * (f4(1) / step)
    fits = numpy.abs(scaled) < 127.5
    exceptions = numpy.array([[(p, packed_values.flat[p]) for p in numpy.flatnonzero(~fits)]], DTYPE[EXCEPTION])
    assert exceptions.shape[1] == 1
    q = numpy.rint(numpy.where(fits, scaled, 0)).astype("i4")
    predicted = q.copy()
    predicted[2] -= q[1]  # the second patch has a neighbour to the left only,
    predicted[3] -= q[1]  # the third above only,
    predicted[4] -= (q[3] + q[2]) >> 1  # the fourth both
    codes = predicted if predictor else q
    coded = bytes([predictor]) + raw_frame((codes & 255).astype("u1").tobytes())
    data, _ = block(1, 1, codec, geometry, 0x0123456789abcdef, 4, 2, 5, 0, 24, [
        (IMPORTANCE, 0, F32, importance), (PLANE, 3, EZQ, [list(coded)]), (STATISTICS, 3, F32, statistics),
        (EXCEPTIONS, 3, EXCEPTION, exceptions)], profile=packed_profile_digest)
    show(name, data)

# Codecs lossless16 and lossless16-bf16, with a Zstandard frame of one raw block (RFC 8878), which any decoder reads.
for name, codec, element, bits_of in (("kBlockLossless16", 8, CODED_F16, encode(F16, plane)),
                                      ("kBlockLosslessBf16", 9, CODED_BF16, encode(BF16, plane))):
    bits = numpy.frombuffer(bits_of, "<u2").astype("u4")
    rotated = (bits << 1 | bits >> 15) & 0xffff
    upper = (rotated >> 8).astype("u1").tobytes()
    coded = (rotated & 255).astype("u1").tobytes() + raw_frame(upper)
    data, _ = block(1, 1, codec, geometry, 0x0123456789abcdef, 4, 2, 5, 0, 3, [
        (IMPORTANCE, 0, F32, importance), (PLANE, 3, element, [list(coded)]), (STATISTICS, 3, F32, statistics),
        (PIXELS, 0, U8, pixels)])
    show(name, data)


# Packed pixels: patches of 12 x 12, which are a slope. Lengths of codes as Huffman's own algorithm has them.
def code_lengths(counts):
    trees = sorted((count, [symbol]) for symbol, count in enumerate(counts) if count)
    lengths = [0] * 256
    if len(trees) == 1:
        lengths[trees[0][1][0]] = 1
    while len(trees) > 1:
        (a, left), (b, right) = trees[:2]
        for symbol in left + right:
            lengths[symbol] += 1
        trees = sorted(trees[2:] + [(a + b, left + right)])
    assert max(lengths) <= 11
    return lengths


def codes_of(lengths):  # RFC 1951, section 3.2.2
    codes, code = {}, 0
    for length in range(1, 12):
        for symbol in range(256):
            if lengths[symbol] == length:
                codes[symbol] = f"{code:0{length}b}"
                code += 1
        code <<= 1
    return codes if len(codes) > 1 else {symbol: "" for symbol in codes}


def packed_pixels(patches):  # n, p, p, 3; predictor gradient, colours less green
    values = patches.astype("i4")
    values = numpy.stack([values[..., 1], values[..., 0] - values[..., 1], values[..., 2] - values[..., 1]], 1)
    predicted = numpy.zeros_like(values)
    predicted[..., 0, 1:] = values[..., 0, :-1]
    predicted[..., 1:, 0] = values[..., :-1, 0]
    predicted[..., 1:, 1:] = values[..., 1:, :-1] + values[..., :-1, 1:] - values[..., :-1, :-1]
    residuals = ((values - predicted) & 255).reshape(len(patches), 3, -1)
    lengths = [code_lengths(numpy.bincount(residuals[:, c].ravel(), minlength=256)) for c in range(3)]
    codes = [codes_of(of_colour) for of_colour in lengths]
    rows = []
    for patch in residuals:
        bits = "".join(codes[c][symbol] for c in range(3) for symbol in patch[c].tolist())
        rows.append(bytes(int(bits[i:i + 8][::-1], 2) for i in range(0, len(bits), 8)))
    flat = sum(lengths, [])
    return (bytes([2, 1]) + bytes(flat[i] | flat[i + 1] << 4 for i in range(0, 768, 2)) +
            b"".join(struct.pack("<H", len(row)) for row in rows) + b"".join(rows) + bytes(8))


k, y, x = numpy.meshgrid(numpy.arange(4), numpy.arange(12), numpy.arange(12), indexing="ij")
slope = numpy.stack([40 + 3 * x + 2 * y + 10 * k, 90 + 2 * x + y + x * y % 3, 200 - x - y], -1)
data, _ = block(1, 1, 2, geometry, 0x0123456789abcdef, 24, 2, tokens, 0, width, [
    (IMPORTANCE, 0, F32, importance), (PLANE, 3, F16, plane), (STATISTICS, 3, F32, statistics),
    (PIXELS, 0, PACKED_PIXELS, [list(packed_pixels(slope))])])
show("kBlockPackedPixels", data)

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
