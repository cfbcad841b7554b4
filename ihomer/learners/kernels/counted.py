"""How many labels, and of how many clusters: choices by cluster in, the best union out.

Clusters are decided apart, but for two numbers that they make together: the labels that are on,
and the clusters that have any. Each number has a log-factor, learned from how often it came
against how often the clusters by themselves said it would. Sums and maxima over all unions with
the same two numbers are taken cluster by cluster.
"""

from __future__ import annotations

import math

import numpy as np

from ihomer.instances import FloatArray, IntArray
from ihomer.jit import kernel
from ihomer.learners.kernels.joint import F1_WEIGHT
from ihomer.learners.kernels.parts import (
    ACTIVE,
    BY_ACTIVE,
    BY_ACTIVE_SQUARE,
    BY_SIZE,
    BY_SIZE_SQUARE,
    SIZES,
)

NEVER = -1e30  # value of what cannot be
FACTOR_STEP = 0.3
FACTOR_LIMIT = 5.0


@kernel
def begin(chances: FloatArray, values: FloatArray, insides: FloatArray) -> None:
    """Sums and maxima before the first cluster; see `add_cluster`."""
    chances[:] = 0.0
    values[:] = NEVER
    insides[:] = 0.0
    chances[0, 0], values[0, 0] = 1.0, 0.0


@kernel
def add_cluster(
    chance: FloatArray,
    value: FloatArray,
    most: int,
    inside: FloatArray,
    chances: FloatArray,
    values: FloatArray,
    insides: FloatArray,
    came_from: IntArray,
) -> None:
    """Take one more cluster into the sums and the maxima.

    Parameters
    ----------
    chance
        float64 (SIZES,): probability that so many of its labels are on.
    value
        float64 (SIZES,): value of its best part of that size, `NEVER` if there is none.
    most
        Sizes above it cannot be.
    inside
        float64 (SIZES,): sum of the probabilities of the labels of those parts.
    chances, values, insides
        float64 (SIZES, ACTIVE): changed: the sum, the maximum and, of the union that has it, the
        sum of its labels' probabilities; see `begin`.
    came_from
        int32 (SIZES, ACTIVE): written: ``(k * ACTIVE + a) * SIZES + size``, the numbers before
        this cluster and its own size.
    """
    high = min(most, SIZES - 1)
    # Downwards, so that what is still to be read is as it was. The last row and the last column
    # also stand for all larger numbers, and take what comes from themselves.
    for k in range(SIZES - 1, -1, -1):
        last = k == SIZES - 1
        for a in range(ACTIVE - 1, -1, -1):
            total = chances[k, a] * chance[0]
            best, source = values[k, a] + value[0], (k * ACTIVE + a) * SIZES
            for earlier in range(a - 1, a + 1 if a == ACTIVE - 1 else a):
                if earlier < 0:
                    continue
                for before in range(max(0, k - high), k + 1 if last else k):
                    for size in range(max(1, k - before), high + 1 if last else k - before + 1):
                        total += chances[before, earlier] * chance[size]
                        new = values[before, earlier] + value[size]
                        if new > best:
                            best = new
                            source = (before * ACTIVE + earlier) * SIZES + size
            chances[k, a] = total
            values[k, a] = max(NEVER, best)
            cell = source // SIZES
            insides[k, a] = insides[cell // ACTIVE, cell % ACTIVE] + inside[source % SIZES]
            came_from[k, a] = source


@kernel
def best_numbers(
    chances: FloatArray, values: FloatArray, insides: FloatArray, mass: float, numbers: FloatArray
) -> int:
    """The cell ``k * ACTIVE + a`` whose union is best; the first of equals.

    Best is the largest sum of the probability that the union is right and its expected F1 times
    `F1_WEIGHT`, this taken as ``2 sum_S p / (|S| + mass)``.

    Parameters
    ----------
    chances, values, insides
        See `add_cluster`.
    mass
        Sum of the probabilities of all labels.
    numbers
        See `PartState`.
    """
    norm = 0.0
    for k in range(SIZES):
        for a in range(ACTIVE):
            norm += chances[k, a] * math.exp(numbers[BY_SIZE + k] + numbers[BY_ACTIVE + a])
    norm = max(1e-300, norm)
    best, found = -1.0, 0
    for k in range(SIZES):
        for a in range(ACTIVE):
            if values[k, a] > NEVER:
                factor = numbers[BY_SIZE + k] + numbers[BY_ACTIVE + a]
                right = math.exp(min(0.0, values[k, a]) + factor) / norm
                f1 = 2.0 * insides[k, a] / max(1e-9, k + mass)
                if right + F1_WEIGHT * f1 > best:
                    best, found = right + F1_WEIGHT * f1, k * ACTIVE + a
    return found


@kernel
def learn_factors(chances: FloatArray, size: int, active: int, numbers: FloatArray) -> None:
    """One step of AdaGrad of the log-factors on the log-loss of the two numbers.

    Parameters
    ----------
    chances
        float64 (SIZES, ACTIVE): as the clusters by themselves say.
    size, active
        The true numbers.
    numbers
        See `PartState`; changed.
    """
    norm = 0.0
    by_size = np.zeros(SIZES)
    by_active = np.zeros(ACTIVE)
    for k in range(SIZES):
        for a in range(ACTIVE):
            own = chances[k, a] * math.exp(numbers[BY_SIZE + k] + numbers[BY_ACTIVE + a])
            norm += own
            by_size[k] += own
            by_active[a] += own
    norm = max(1e-300, norm)
    for k in range(SIZES):
        slope = by_size[k] / norm - (1.0 if min(size, SIZES - 1) == k else 0.0)
        _step(numbers, BY_SIZE + k, BY_SIZE_SQUARE + k, slope)
    for a in range(ACTIVE):
        slope = by_active[a] / norm - (1.0 if min(active, ACTIVE - 1) == a else 0.0)
        _step(numbers, BY_ACTIVE + a, BY_ACTIVE_SQUARE + a, slope)


@kernel
def _step(numbers: FloatArray, at: int, square: int, slope: float) -> None:
    numbers[square] += slope * slope
    moved = numbers[at] - FACTOR_STEP * slope / math.sqrt(numbers[square])
    numbers[at] = min(FACTOR_LIMIT, max(-FACTOR_LIMIT, moved))
