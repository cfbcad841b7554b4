"""How good a split of a leaf is: statistics of one feature in, a likelihood ratio out.

Distributions of a feature are a mass at zero and a normal density over what is there, once for the
events with a label and once for those without, which follow by subtraction; a nominal's indicator
is exact.
"""

from __future__ import annotations

import math

import numpy as np

from ihomer.instances import Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.elementary import log32, sigmoid32
from ihomer.learners.kernels.trees_slots import ONES, SEED_FACTOR, sample_limit
from ihomer.learners.kernels.trees_state import CODE, DROPPED, FOLLOWING, NONE, ROW, Slots

LEAST_CHILD, LEAST_CHILD_SHARE = 10.0, 0.02

# Rows of the scratch for the labels that have a say; one array, because a call counts references to
# every array that it is given. ON: events with the label on, of those whose value is not missing;
# FEW: of these, where the feature is there; MEAN, STEEPNESS: mean and 1 / deviation of its values
# there; NONE_OF: log-likelihood without a split; ON_LEFT: events on the left of the threshold,
# behind the labels' that of all; PART: log-likelihood ratio of the split. While features are looked
# at, MEAN and PART hold how often a label is on, and 1 / (rate * (1 - rate)).
ON, FEW, MEAN, STEEPNESS, NONE_OF, ON_LEFT, PART, OF_ALL = range(8)
# In the last row: events whose value is not missing; of these, where the feature is there; mean and
# deviation of the values there.
KNOWN, THERE, CENTRE, DEVIATION = range(4)


@kernel
def _xlogx(x: float) -> float:
    """Return x ln x; 0 at 0."""
    return x * math.log(x) if x > 1e-9 else 0.0


@kernel
def normal_below(z: float) -> float:
    """The standard normal distribution function, to 2e-4 (Page, Applied Statistics 26, 1977)."""
    z = min(8.0, max(-8.0, z))
    return 1.0 / (1.0 + math.exp(-z * (1.5976 + 0.070566 * z * z)))


@kernel
def log_likelihood(on: float, n: float) -> float:
    """The largest log-likelihood, in nats, of `on` among `n` Bernoulli events; -n x entropy."""
    return _xlogx(on) + _xlogx(n - on) - _xlogx(n)


@kernel
def look_at_all(
    slots: Slots,
    slot: int,
    keys: OffsetArray,
    seed: int,
    share: float,
    seen: float,
    active: IntArray,
    n_active: int,
    work: FloatArray,
) -> None:
    """How unevenly each feature is distributed over the labels: a quick approximation of evidence.

    Chi-squared of being there, of the mean and of the variance, summed over labels, goes into
    ``slots.look`` of `slot` and those that follow; -1 where a feature is out of the sample, was
    dropped, or is no feature.
    """
    link, counts, moments, looks = slots.link, slots.counts, slots.moments, slots.look
    limit = sample_limit(share)
    while slot != NONE:
        code, row, at = link[slot, CODE], link[slot, ROW], slot
        slot = int(link[slot, FOLLOWING])
        draw = ((keys[code >> 1] ^ seed) * SEED_FACTOR) & ONES
        if row == DROPPED or code & 1 == 1 or draw >= limit:
            looks[at] = -1.0
            continue
        found = 0.0
        if row >= 0:
            there = float(counts[row, 0])
            for i in range(n_active):
                gap = float(counts[row, active[i]]) - there * work[MEAN, i]
                found += gap * gap * work[PART, i]
            rest = max(1.0, seen - there)
            looks[at] = found * seen / (there * rest)
            continue
        row = ~row
        there = float(moments[row, 0, 0])
        mean = float(moments[row, 0, 1]) / there
        variance = max(0.0, float(moments[row, 0, 2]) / there - mean * mean)
        deviation = math.sqrt(variance)
        spread = deviation > 0.0
        # In deviations from here on.
        per_deviation = 1.0 / deviation if spread else 0.0
        per_variance = 1.0 / variance if spread else 0.0
        mean *= per_deviation
        apart = 0.0
        for i in range(n_active):
            c = active[i]
            few = float(moments[row, c, 0])
            gap = few - there * work[MEAN, i]
            apart += gap * gap * work[PART, i]
            if spread and few > 1.0 and there - few > 1.0:
                # The mean and the variance of the label's events against all others'.
                total = float(moments[row, c, 1]) * per_deviation
                moved = total - few * mean
                squares = float(moments[row, c, 2]) * per_variance
                squares -= mean * (2.0 * total - few * mean) + few
                found += (moved * moved + 0.5 * squares * squares) * there / (few * (there - few))
        rest = seen - there
        if rest >= 1.0:
            found += apart * seen / (there * rest)
        looks[at] = found


@kernel
def new_work(width: int) -> FloatArray:
    """Scratch for `width` columns."""
    return np.zeros((OF_ALL + 1, max(4, width + 1)))


@kernel
def prepare(
    work: FloatArray,
    counts: Float32Array,
    moments: Float32Array,
    row: int,
    on: Float32Array,
    seen: float,
    missing: int,
    active: IntArray,
    n_active: int,
) -> None:
    """Fill in all that does not depend on the threshold."""
    known = seen - (float(counts[missing, 0]) if missing >= 0 else 0.0)
    there = float(counts[row, 0]) if row >= 0 else float(moments[~row, 0, 0])
    mean = variance = 0.0
    if row < 0:
        mean = float(moments[~row, 0, 1]) / there
        variance = max(0.0, float(moments[~row, 0, 2]) / there - mean * mean)
    work[OF_ALL, KNOWN], work[OF_ALL, THERE] = known, there
    work[OF_ALL, CENTRE], work[OF_ALL, DEVIATION] = mean, math.sqrt(variance)
    for i in range(n_active):
        c = active[i]
        # Missing values are left out, the label's own among them.
        n_on = float(on[c]) - (float(counts[missing, c]) if missing >= 0 else 0.0)
        few = float(counts[row, c]) if row >= 0 else float(moments[~row, c, 0])
        work[ON, i] = n_on
        work[FEW, i] = few
        work[NONE_OF, i] = log_likelihood(n_on, known)
        work[MEAN, i] = 0.0
        work[STEEPNESS, i] = 0.0
        if variance > 0.0 and few > 0.0:
            total = float(moments[~row, c, 1])
            own = max(0.0, float(moments[~row, c, 2]) - total * total / few)
            # Of few values, drawn towards the variance of all as if that were one of them.
            work[MEAN, i] = total / few
            work[STEEPNESS, i] = 1.0 / math.sqrt((own + variance) / (few + 1.0))


@kernel
def evidence_at(work: FloatArray, plain: bool, at: float, zero: float, n_active: int) -> float:
    """Sum over labels of the log-likelihood ratio, in nats, of a split against none.

    `at` and `zero` are the threshold and 0 in the units of the sums; `plain` says that every value
    there is 1. ``work[ON_LEFT, i]`` becomes the number of events with the i-th active label on
    the left, ``work[ON_LEFT, n_active]`` that of all; the result is -1 where a child would be too
    small.
    """
    known, there = work[OF_ALL, KNOWN], work[OF_ALL, THERE]
    mean, deviation = work[OF_ALL, CENTRE], work[OF_ALL, DEVIATION]
    least = max(LEAST_CHILD, LEAST_CHILD_SHARE * known)
    zeros_left = 1.0 if plain or at >= zero else 0.0
    there_left = 0.0
    if deviation > 0.0:
        there_left = there * normal_below((at - mean) / deviation)
    elif not plain:
        there_left = there if mean <= at else 0.0
    left = (known - there) * zeros_left + there_left
    right = known - left
    if left < least or right < least:
        return -1.0
    if deviation > 0.0:
        for i in range(n_active):
            z = min(8.0, max(-8.0, (at - work[MEAN, i]) * work[STEEPNESS, i]))
            below = sigmoid32(np.float32(z * (1.5976 + 0.070566 * z * z)))
            work[ON_LEFT, i] = (work[ON, i] - work[FEW, i]) * zeros_left + work[FEW, i] * below
    else:
        whole = 1.0 if there_left > 0.0 else 0.0
        for i in range(n_active):
            work[ON_LEFT, i] = (work[ON, i] - work[FEW, i]) * zeros_left + work[FEW, i] * whole
    per_left, per_right = 1.0 / left, 1.0 / right
    for i in range(n_active):
        n_on = work[ON, i]
        left_on = max(work[ON_LEFT, i], left - (known - n_on), 0.0)
        left_on = min(left_on, n_on, left)
        work[ON_LEFT, i] = left_on
        right_on = n_on - left_on
        p, q = left_on * per_left, right_on * per_right
        work[PART, i] = (
            left_on * log32(np.float32(p))
            + (left - left_on) * log32(np.float32(1.0 - p))
            + right_on * log32(np.float32(q))
            + (right - right_on) * log32(np.float32(1.0 - q))
            - work[NONE_OF, i]
        )
    work[ON_LEFT, n_active] = left
    found = 0.0
    for i in range(n_active):
        found += max(0.0, work[PART, i])
    return found


@kernel
def bernstein_variance(
    on: Float32Array, seen: float, active: IntArray, n_active: int, work: FloatArray
) -> float:
    """Variance of one event's contribution to the gain, in nats squared; labels as independent."""
    total = 0.0
    for i in range(n_active):
        n_on = float(on[active[i]])
        n_off = seen - n_on
        first, second = 0.0, 0.0
        for side in range(2):
            left_off = work[ON_LEFT, n_active] - work[ON_LEFT, i]
            k_on = work[ON_LEFT, i] if side == 0 else n_on - work[ON_LEFT, i]
            k_off = left_off if side == 0 else n_off - left_off
            n_side = k_on + k_off
            if k_on > 0.0 and n_on > 0.0:
                ratio = math.log(k_on / n_side * seen / n_on)
                first += k_on * ratio
                second += k_on * ratio * ratio
            if k_off > 0.0 and n_off > 0.0:
                ratio = math.log(k_off / n_side * seen / n_off)
                first += k_off * ratio
                second += k_off * ratio * ratio
        total += max(0.0, second / seen - (first / seen) ** 2)
    return total
