#!/usr/bin/env python3
"""Finds the levels of i4x, i5x and i6x that stand in core/feature/packed_codes.cc.

Needs the package numpy. As Lloyd found those of a quantiser of single values, for values of a normal distribution: the
best path through the trellis for many rows of them, then each level to the mean of the values that it was taken for, and
again. Then rounded to integers of a step. Prints the positive half and the error, in deviations.
"""
import math
import statistics

import numpy

STEPS_IN_DEVIATION = {4: 40, 5: 34, 6: 31}
ROWS, WIDTH, ROUNDS = 400, 1024, 60


def first_levels(count):
    """As dense as the cube root of the density, where most values lie; the rounds move them."""
    normal = statistics.NormalDist(sigma=math.sqrt(3))
    return numpy.array([max(-2.9, min(2.9, normal.inv_cdf((i + 0.5) / count))) for i in range(count)])


def best_levels(levels, rows):
    """Which level each value is taken for, and the mean square error: Viterbi's search, all rows side by side."""
    n, width = rows.shape
    costs = numpy.full((n, 4), numpy.inf)  # state: the path's last bit, and 2 * the one before
    costs[:, 0] = 0
    origins, chosen = numpy.empty((width, n, 4), "u1"), numpy.empty((width, n, 4), "u1")
    for column in range(width):
        nearest, errors = numpy.empty((n, 4), "u1"), numpy.empty((n, 4))
        for subset in range(4):  # 2 * half + parity of the rank in it: every fourth level
            of_subset = levels[(subset >> 1) + 2 * (subset & 1)::4]
            which = numpy.abs(rows[:, column, None] - of_subset).argmin(1)
            nearest[:, subset] = (subset >> 1) + 2 * (subset & 1) + 4 * which
            errors[:, subset] = (rows[:, column] - of_subset[which]) ** 2
        into = numpy.stack([costs[:, [0, 0, 1, 1]] + errors, costs[:, [2, 2, 3, 3]] + errors[:, [1, 0, 3, 2]]])
        second = into[1] < into[0]
        costs = numpy.where(second, into[1], into[0])
        origins[column] = numpy.where(second, [2, 2, 3, 3], [0, 0, 1, 1])
        chosen[column] = numpy.where(second, nearest[:, [1, 0, 3, 2]], nearest)
    taken = numpy.empty((n, width), "u1")
    states, every = costs.argmin(1), numpy.arange(n)
    error = costs.min(1).sum() / rows.size
    for column in reversed(range(width)):
        taken[:, column] = chosen[column, every, states]
        states = origins[column, every, states]
    return taken, error


random = numpy.random.default_rng(1)
for bits, steps in STEPS_IN_DEVIATION.items():
    levels = first_levels(2 << bits)
    for _ in range(ROUNDS):
        rows = random.standard_normal((ROWS, WIDTH))
        taken, _ = best_levels(levels, rows)
        counts = numpy.bincount(taken.ravel(), minlength=len(levels))
        sums = numpy.bincount(taken.ravel(), weights=rows.ravel(), minlength=len(levels))
        counts, sums = counts + counts[::-1], sums - sums[::-1]  # levels lie the same on both sides
        levels = numpy.sort(numpy.where(counts > 0, sums / numpy.maximum(counts, 1), levels))
    positive = numpy.rint(levels[len(levels) // 2:] * steps).astype(int)
    positive[0] = max(positive[0], 1)
    for i in range(1, len(positive)):
        positive[i] = max(positive[i], positive[i - 1] + 1)
    positive[-1] = min(positive[-1], 127)
    for i in reversed(range(len(positive) - 1)):
        positive[i] = min(positive[i], positive[i + 1] - 1)
    rounded = numpy.concatenate([-positive[::-1], positive]) / steps
    _, error = best_levels(rounded, random.standard_normal((ROWS, WIDTH)))
    print(f"{bits} bits, {steps} steps in a deviation, RMSE {math.sqrt(error):.4f}:", *positive)
