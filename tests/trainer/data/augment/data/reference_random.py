#!/usr/bin/env python3
"""trainer/data/augment/augment_random.cc once more in Python: prints the golden numbers of augment_random_test.cc."""
import math
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../../core/view"))
from reference import MASK32, exp2_fixed, log2_fixed, philox  # noqa: E402

MIX = 0x41550004


class Random:
    def __init__(self, seed, epoch, place, purpose):
        self.key, self.counter, self.words, self.spare = [seed & MASK32, seed >> 32], [0, place, epoch, purpose], [], None

    def word(self):
        if not self.words:
            self.words = philox(self.counter, self.key)
            self.counter[0] += 1
        return self.words.pop(0)

    def normal(self):
        if self.spare is not None:
            spare, self.spare = self.spare, None
            return spare
        while True:
            x, y = (2 * self.word() + 1 - 2**32 for _ in range(2))
            square = x * x + y * y
            if square < 2**64:
                break
        ln2 = float.fromhex("0x1.62e42fefa39efp-1")
        factor = math.sqrt(-2 * ln2 * (log2_fixed(square) / 2**32 - 64) / (float(square) / 2**64))
        self.spare = float(y) / 2**32 * factor
        return float(x) / 2**32 * factor

    def beta(self, alpha):
        """Joehnk's, for alpha up to 1."""
        power = lambda e: 0.0 if e <= -32 else exp2_fixed(math.floor(e * 2**32)) / 2**32  # noqa: E731
        while True:
            first, second = ((log2_fixed(self.word() + 1) / 2**32 - 32) / alpha for _ in range(2))
            if power(first) + power(second) <= 1:
                break
        ratio = power(-abs(second - first))
        return 1 / (1 + ratio) if second <= first else ratio / (1 + ratio)


def main():
    random = Random(11, 3, 1, MIX)
    print("normals", [random.normal().hex() for _ in range(4)])
    random = Random(11, 3, 2, MIX)
    print("betas 0.8", [random.beta(0.8).hex() for _ in range(3)])


main()
