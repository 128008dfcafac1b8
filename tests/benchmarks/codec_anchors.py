#!/usr/bin/env python3
"""Our codecs beside general ones, over the same activations, in turn, on one core.

    PYTHON tests/benchmarks/codec_anchors.py FILE.safetensors [--rounds 15] [--json FILE]

FILE has a tensor per level, images x tokens x channels (`codec_benchmark --write`, or of one's own). Every second image is
calibrated on, the others are measured, as in `afterimage codec-bench`, which runs once a round; between its runs each of the
others encodes and decodes the same planes, one plane (an image's tokens of one level) a call. Rates are GB/s of what would be
fp16, by CPU time; where bytes are shuffled before a general compressor, that is not counted. Needs numpy, safetensors, zstandard, lz4, blosc, blosc2, zfpy, faiss-cpu, zipnn, pysz from PyPI; whichever is not there is named and
left out. Lossless ones get the bytes of fp16 or bf16, lossy ones float32.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLOSC_NTHREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def normalise(values):
    values = values.astype(np.float64)
    values -= values.mean(-1, keepdims=True)
    return (values / np.sqrt((values**2).mean(-1, keepdims=True) + 1e-5)).astype(np.float32)


def as_bf16(values):
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


class Anchor:
    """encode(plane) -> bytes-like, decode(coded) -> what it gives back; `slow` ones run in the first round only."""

    def __init__(self, name, prepare, encode, decode, restore, slow=False):
        self.name, self.prepare, self.encode, self.decode = name, prepare, encode, decode
        self.restore, self.slow = restore, slow


def lossless(name, kind, encode, decode, slow=False, shuffle=False):
    convert = (lambda plane: plane.astype(np.float16)) if kind == "fp16" else as_bf16
    prepare = (lambda plane: shuffled(convert(plane))) if shuffle else convert

    def restore(coded, plane):
        return np.frombuffer(coded, dtype=np.uint8).tobytes() == plane.tobytes()

    return Anchor(f"{name}, {kind}", prepare, encode, decode, restore, slow)


def shuffled(plane):
    return np.ascontiguousarray(plane.view(np.uint8).reshape(-1, 2).T)


def zstd_anchors():
    import zstandard
    for level in (1, 3, 9, 19):
        compressor = zstandard.ZstdCompressor(level=level)
        decompressor = zstandard.ZstdDecompressor()
        for kind in ("fp16", "bf16"):
            yield lossless(f"byte shuffle, zstd {level}", kind, lambda p, c=compressor: c.compress(p),
                           lambda b, d=decompressor: d.decompress(b), slow=level > 3, shuffle=True)


def lz4_anchors():
    import lz4.block
    for kind in ("fp16", "bf16"):
        yield lossless("byte shuffle, LZ4", kind, lz4.block.compress, lz4.block.decompress, shuffle=True)


def blosc_anchors():
    import blosc
    blosc.set_nthreads(1)
    for codec, level in (("zstd", 1), ("zstd", 5), ("lz4", 5)):
        for kind in ("fp16", "bf16"):
            yield lossless(f"blosc, bitshuffle, {codec} {level}", kind,
                           lambda p, c=codec, l=level: blosc.compress(p.tobytes(), typesize=2, clevel=l, shuffle=blosc.BITSHUFFLE, cname=c),
                           blosc.decompress)


def zipnn_anchors():
    import zipnn
    for kind, dtype in (("fp16", "float16"), ("bf16", "bfloat16")):
        codec = zipnn.ZipNN(bytearray_dtype=dtype, threads=1)
        yield lossless("ZipNN", kind, lambda p, c=codec: c.compress(p.tobytes()), lambda b, c=codec: c.decompress(b))


def lossy(name, encode, decode, slow=False):
    return Anchor(name, lambda plane: plane, encode, decode, None, slow)


def faiss_anchors(calibration):
    import faiss
    faiss.omp_set_num_threads(1)
    quantizers = faiss.ScalarQuantizer
    for name, kind in (("8 bit", quantizers.QT_8bit), ("6 bit", quantizers.QT_6bit), ("4 bit", quantizers.QT_4bit)):
        # One for each level, as ours has channels of its own for each level.
        indexes = []
        for plane in calibration:
            index = faiss.IndexScalarQuantizer(plane.shape[-1], kind)
            index.train(plane.reshape(-1, plane.shape[-1]))
            indexes.append(index)
        yield lossy(f"FAISS ScalarQuantizer, {name}", lambda p, i=indexes: None, lambda b, i=indexes: None), indexes


def zfp_anchors(tolerances):
    import zfpy
    for tolerance in tolerances:
        yield lossy(f"zfp, accuracy {tolerance}", lambda p, t=tolerance: zfpy.compress_numpy(p, tolerance=t), zfpy.decompress_numpy)


def sz3_anchors(bounds):
    from pysz import sz, szConfig, szErrorBoundMode
    for bound in bounds:
        config = szConfig()
        config.errorBoundMode = szErrorBoundMode.ABS
        config.absErrorBound = bound

        def encode(plane, c=config):
            return sz.compress(plane, c)[0], plane.shape

        yield lossy(f"SZ3, bound {bound}", encode, lambda b: sz.decompress(b[0], np.float32, b[1])[0], slow=True)


class Measured:
    def __init__(self, name):
        self.name, self.encode, self.decode = name, [], []
        self.bytes_per_value = self.rmse = self.largest = None


def coded_size(coded):
    if isinstance(coded, tuple):
        coded = coded[0]
    return coded.nbytes if isinstance(coded, np.ndarray) else len(coded)


def run_anchor(anchor, planes, measured, indexes=None):
    """`planes`: (level index, float32 plane)."""
    prepared = [(level, anchor.prepare(plane)) for level, plane in planes]
    encoders = [(lambda p, i=index: i.sa_encode(p)) for index in indexes] if indexes else None
    decoders = [(lambda b, i=index: i.sa_decode(b)) for index in indexes] if indexes else None
    begin = time.process_time()
    coded = [(level, (encoders[level] if encoders else anchor.encode)(plane)) for level, plane in prepared]
    encode_time = time.process_time() - begin
    begin = time.process_time()
    decoded = [(decoders[level] if decoders else anchor.decode)(one) for level, one in coded]
    decode_time = time.process_time() - begin
    values = sum(plane.size for _, plane in planes)
    measured.encode.append(2 * values / encode_time)
    measured.decode.append(2 * values / decode_time)
    if measured.bytes_per_value is not None:
        return
    measured.bytes_per_value = sum(coded_size(one) for _, one in coded) / values
    if anchor.restore is not None:
        if not all(anchor.restore(one, plane) for one, (_, plane) in zip(decoded, prepared)):
            sys.exit(f"codec_anchors: {anchor.name} is not lossless")
        return
    errors = np.concatenate([(np.asarray(one).reshape(-1) - plane.reshape(-1)) for one, (_, plane) in zip(decoded, planes)])
    measured.rmse = float(np.sqrt((errors.astype(np.float64)**2).mean()))
    measured.largest = float(np.abs(errors).max())


def run_ours(path, samples, measured):
    command = [os.path.join(ROOT, "build/release/bin/afterimage"), "codec-bench", "--input", path, "--samples", str(samples), "--json"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1])
    for codec in report["codecs"]:
        one = measured.setdefault(codec["codec"], Measured(codec["codec"]))
        total = codec["all"]
        one.encode.append(total["encode_bytes_per_second"])
        one.decode.append(total["decode_bytes_per_second"])
        one.bytes_per_value, one.rmse, one.largest = total["bytes_per_value"], total["rmse"], total["largest_error"]
    one = measured.setdefault("memcpy of fp16", Measured("memcpy of fp16"))
    one.decode.append(report["memcpy_bytes_per_second"])


def ratio(ours, theirs):
    """Median of the rounds' ratios with its bootstrap 95 % interval."""
    ratios = [a / b for a, b in zip(ours, theirs)]
    generator = random.Random(1)
    medians = sorted(statistics.median(generator.choices(ratios, k=len(ratios))) for _ in range(10_000))
    return statistics.median(ratios), medians[250], medians[9750]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    tensors = load_file(arguments.file)
    names = sorted(tensors)
    data = [normalise(tensors[name][:arguments.samples]) for name in names]
    planes = [(level, np.ascontiguousarray(data[level][image])) for image in range(1, len(data[0]), 2) for level in range(len(names))]
    calibration = [np.ascontiguousarray(level[0::2]) for level in data]

    anchors, missing = [], []
    for source in (zstd_anchors, lz4_anchors, blosc_anchors, zipnn_anchors, lambda: faiss_anchors(calibration),
                   lambda: zfp_anchors((0.0625, 0.25)), lambda: sz3_anchors((0.034, 0.125))):
        try:
            for anchor in source():
                anchors.append(anchor if isinstance(anchor, tuple) else (anchor, None))
        except ImportError as error:
            missing.append(str(error))
    measured = {}
    for round_number in range(arguments.rounds):
        run_ours(arguments.file, arguments.samples, measured)
        for anchor, indexes in anchors:
            if anchor.slow and round_number > 0:
                continue
            run_anchor(anchor, planes, measured.setdefault(anchor.name, Measured(anchor.name)), indexes)
        print(f"round {round_number + 1} of {arguments.rounds}", file=sys.stderr)

    for text in missing:
        print(f"left out: {text}")
    print(f"{'':<38} {'bytes/value':>11} {'RMSE':>9} {'largest':>9} {'encode':>8} {'decode':>8}   GB/s")
    for one in measured.values():
        figures = [f"{one.bytes_per_value:11.4f}" if one.bytes_per_value else " " * 11,
                   f"{one.rmse:9.5f}" if one.rmse is not None else " " * 9,
                   f"{one.largest:9.4f}" if one.largest is not None else " " * 9,
                   f"{statistics.median(one.encode) / 1e9:8.3f}" if one.encode else " " * 8,
                   f"{statistics.median(one.decode) / 1e9:8.3f}"]
        print(f"{one.name:<38} {' '.join(figures)}")
    for ours, theirs in (("lossless16", "any, fp16"), ("lossless16-bf16", "any, bf16"), ("i8x", "FAISS ScalarQuantizer, 8 bit"),
                         ("i6x", "FAISS ScalarQuantizer, 6 bit"), ("i4x", "FAISS ScalarQuantizer, 4 bit"), ("i8x", "memcpy of fp16")):
        for one in measured.values():
            if len(one.decode) != arguments.rounds or (one.name != theirs and not one.name.endswith(theirs.removeprefix("any"))):
                continue
            median, low, high = ratio(measured[ours].decode, one.decode)
            print(f"decoding {ours} / {one.name}: {median:.3f} ({low:.3f} to {high:.3f})")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({one.name: vars(one) for one in measured.values()}, file)


if __name__ == "__main__":
    main()
