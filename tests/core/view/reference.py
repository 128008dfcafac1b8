#!/usr/bin/env python3
"""docs/views.md once more in Python: prints the golden vectors of view_test.cc, fixed_point_test.cc and mask_test.cc.

Nothing but integers; logarithms and the table of roots are computed with more digits than needed, so that they check
the C++ code instead of repeating it.
"""
import hashlib
from fractions import Fraction
from math import floor, gcd, isqrt

MASK32 = 0xFFFFFFFF


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & MASK32, (p0 >> 32) ^ c[3] ^ k[1], p0 & MASK32]
        k = [(k[0] + 0x9E3779B9) & MASK32, (k[1] + 0xBB67AE85) & MASK32]
    return c


class Stream:
    def __init__(self, key, seed, purpose, index=0):
        words = [int.from_bytes(key[4 * i:4 * i + 4], "little") for i in range(4)]
        self.key = [words[0] ^ words[2], words[1] ^ words[3]]
        self.counter = [0, seed, index, purpose]
        self.words = []

    def next32(self):
        if not self.words:
            self.words = philox(self.counter, self.key)
            self.counter[0] += 1
        return self.words.pop(0)

    def next64(self):
        low = self.next32()
        return low | self.next32() << 32

    def below(self, bound):
        while True:
            product = self.next32() * bound
            if product & MASK32 >= 2**32 % bound:
                return product >> 32


def log2_fixed(value):
    """floor(2^32 log2(value)), digit by digit with 200 bits."""
    bits = 200
    exponent = value.bit_length() - 1
    mantissa = (value << bits) >> exponent
    fraction = 0
    for _ in range(32):
        mantissa = mantissa * mantissa >> bits
        fraction *= 2
        if mantissa >= 2 << bits:
            mantissa >>= 1
            fraction += 1
    return exponent * 2**32 + fraction


def exp2_fixed(exponent):
    """The product of 2^(2^-i) with 63 fractional bits, every factor and step rounded down, as docs/views.md says."""
    integer, fraction = exponent >> 32, exponent & MASK32
    value, root = 1 << 63, 2 << 300
    for i in range(32):
        root = isqrt(root << 300)
        if fraction >> (31 - i) & 1:
            value = value * (root >> 237) >> 63
    return value >> (31 - integer)


def rounded(fraction):
    return floor(fraction + Fraction(1, 2))


def between(low, high, word):
    return low + ((high - low) * word >> 32)


def crop(key, seed, width, height, areas=((1, 5), (1, 1)), aspects=((3, 4), (4, 3)), flip=(1, 2)):
    area = width * height
    low, high = [(area << 16) * n // d for n, d in areas]
    log_low, log_high = [log2_fixed(n) - log2_fixed(d) for n, d in aspects]
    random = Stream(key, seed, 1)
    box = None
    for _ in range(10):
        target = between(low, high, random.next32())
        aspect = exp2_fixed(between(log_low, log_high, random.next32()))
        w = (isqrt(target * aspect) + 2**23) >> 24
        h = (isqrt((target << 64) // aspect) + 2**23) >> 24
        if 0 < w <= width and 0 < h <= height:
            x = random.below(width - w + 1)
            box = (x, random.below(height - h + 1), w, h)
            break
    fallback = box is None
    if fallback:
        w, h = width, height
        if Fraction(width, height) < Fraction(*aspects[0]):
            h = rounded(width / Fraction(*aspects[0]))
        elif Fraction(width, height) > Fraction(*aspects[1]):
            w = rounded(height * Fraction(*aspects[1]))
        w, h = max(w, 1), max(h, 1)
        box = ((width - w) // 2, (height - h) // 2, w, h)
    common = gcd(*flip)
    return box, Stream(key, seed, 2).below(flip[1] // common) < flip[0] // common, fallback


def mask(key, seed, mask_seed, index, weights, count):
    stream = (philox([mask_seed, 0, 0, 3], [0, 0])[0] + index) & MASK32
    random = Stream(key, seed, 3, stream)
    order = []
    for i, weight in enumerate(weights):
        time = 64 * 2**32 - log2_fixed(max(random.next64(), 1))
        rank = (0, -Fraction(weight) / time) if weight > 0 else (1, Fraction(time))
        order.append((rank, i))
    return [i for _, i in sorted(order)[:count]]


def key_of(text):
    return hashlib.sha256(text.encode()).digest()[:16]


if __name__ == "__main__":
    print("// FixedLog2")
    for v in (1, 2, 3, 5, 7, 10, 1000, 65535, 4294967295, 4294967297, 6700417, 123456789012345, 2**63 - 1, 2**63 + 1,
              2**64 - 1, 14142135623730950488 % 2**64):
        print(f"    {{{v}u, {log2_fixed(v)}}},")
    print("// FixedExp2")
    for e in (0, 1, -1, 2**31, -2**31, 2**32, -2**32, 1782545413, -1782545413, 123456789, -987654321, 5 * 2**32 + 777,
              -7 * 2**32 - 12345, 31 * 2**32 - 1, -32 * 2**32, -32 * 2**32 + 1, 10 * 2**32 + 2**30):
        print(f"    {{{e}, {exp2_fixed(e)}u}},")
    print("// ViewRandom")
    s = Stream(key_of("afterimage"), 7, 1)
    print("   ", ", ".join(f"0x{s.next32():08x}" for _ in range(6)))
    s = Stream(key_of("afterimage"), 7, 3, 99)
    print("   ", ", ".join(f"0x{s.next64():016x}" for _ in range(3)))
    s = Stream(key_of("afterimage"), 0, 2)
    print("   ", ", ".join(str(s.below(b)) for b in (1, 2, 10, 1000, 3000000000, 3000000000, 3000000000, 4294967295)))
    print("// geometry: default spec")
    for name, seed, w, h in (("a", 0, 500, 375), ("a", 1, 500, 375), ("b", 0, 500, 375), ("a", 4294967295, 500, 375),
                             ("c", 2, 28, 28), ("d", 3, 1, 1), ("e", 4, 2000, 10), ("f", 5, 10, 2000), ("g", 6, 65500, 4000),
                             ("h", 7, 3, 2), ("i", 8, 64, 48), ("j", 9, 224, 224)):
        box, flipped, fallback = crop(key_of(name), seed, w, h)
        print(f'    {{"{name}", {seed}u, {w}, {h}, {{{", ".join(map(str, box))}}}, {str(flipped).lower()}}},'
              + ("  // the centre fallback" if fallback else ""))
    print("// geometry: area 1/10 to 1/2, aspect 1/2 to 3, flip 3/4")
    for name, seed, w, h in (("a", 0, 640, 480), ("b", 1, 31, 77), ("c", 2, 1000, 1000)):
        box, flipped, _ = crop(key_of(name), seed, w, h, ((1, 10), (1, 2)), ((1, 2), (3, 1)), (3, 4))
        print(f'    {{"{name}", {seed}u, {w}, {h}, {{{", ".join(map(str, box))}}}, {str(flipped).lower()}}},')
    print("// masks: weights (i * 37 % 101) / 1024, 49 patches")
    weights = [Fraction(i * 37 % 101, 1024) for i in range(49)]
    for name, seed, mask_seed, index, count in (("a", 0, 0, 0, 14), ("a", 0, 0, 1, 14), ("a", 1, 0, 0, 14), ("b", 0, 5, 2, 14)):
        print(f'    {{"{name}", {seed}, {mask_seed}, {index}, {{{", ".join(map(str, mask(key_of(name), seed, mask_seed, index, weights, count)))}}}}},')
    print("// random, 49 patches")
    print("   ", ", ".join(map(str, mask(key_of("a"), 0, 0, 0, [1] * 49, 14))))
    print("// weights 0, 1, 0, 2, 0, 0, 2^-149, 2^100: all eight")
    tail = [0, 1, 0, 2, 0, 0, Fraction(1, 2**149), 2**100]
    for index in range(3):
        print("   ", ", ".join(map(str, mask(key_of("a"), 0, 0, index, tail, 8))))
