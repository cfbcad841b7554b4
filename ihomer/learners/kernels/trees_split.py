"""Where to split a leaf, and whether to: a leaf's statistics in, a feature and a threshold out.

The merit of a split is the information gain of the multivariate Bernoulli entropy, a sum over
labels (Esteban et al., Knowledge-Based Systems 2024). Distributions of a feature are a mass at
zero and a normal density over what is there, once for the events with a label and once for those
without, which follow by subtraction; a nominal's indicator is exact.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ihomer.instances import FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.trees_slots import drop_row, find_slot, in_sample, mix
from ihomer.learners.kernels.trees_state import (
    CODE,
    DROPPED,
    FIRST,
    FOLLOWING,
    NONE,
    ROW,
    SEEN,
    SHARE,
    TREE,
    Float32Array,
    Forest,
)

HOEFFDING, BERNSTEIN, EVIDENCE = range(3)

LEAST_EVENTS = 5.0  # with the label on, and off: else it has no say
LEAST_CHILD, LEAST_CHILD_SHARE = 10.0, 0.02
FINALISTS = 6  # features whose thresholds are tried, after a look at all of them
STEPS, STEP = 7, 0.4  # thresholds of a numeric feature, but for zero; deviations between them
# A feature is given up when it looks worse than this part of the last finalist; not one that was
# hardly seen yet, which costs little.
DROP, LEAST_SEEN = 0.3, 32.0
PENALTY = 0.5  # evidence asked for each label that has a say
DELTA, TIE = 0.05, 0.05  # of the bounds: significance; part of the entropy that they fall below
PATIENCE = 500.0  # events after which a leaf that finds nothing is split at random


class Options(NamedTuple):
    """How the trees grow.

    Attributes
    ----------
    split_test
        HOEFFDING, BERNSTEIN or EVIDENCE.
    alternates
        1: inner nodes are watched and replaced; 0: not.
    share
        Smallest share of the features in a tree's samples.
    limit
        Bytes that one tree may take.
    """

    split_test: int
    alternates: int
    share: float
    limit: float


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
def _look(
    counts: Float32Array,
    moments: Float32Array,
    row: int,
    on: Float32Array,
    seen: float,
    active: IntArray,
    n_active: int,
) -> float:
    """How unevenly a feature is distributed over the labels: a quick approximation of evidence.

    Chi-squared of being there, of the mean and of the variance, summed over labels.
    """
    found = 0.0
    if row >= 0:
        there = float(counts[row, 0])
        for i in range(n_active):
            c = active[i]
            rate = on[c] / seen
            gap = float(counts[row, c]) - there * rate
            found += gap * gap / (rate * (1.0 - rate))
        rest = max(1.0, seen - there)
        return found * seen / (there * rest)
    sums = moments[~row]
    there = float(sums[0, 0])
    mean = float(sums[0, 1]) / there
    variance = max(0.0, float(sums[0, 2]) / there - mean * mean)
    deviation = math.sqrt(variance)
    apart = 0.0
    for i in range(n_active):
        c = active[i]
        rate = on[c] / seen
        few = float(sums[c, 0])
        gap = few - there * rate
        apart += gap * gap / (rate * (1.0 - rate))
        if deviation > 0.0 and few > 1.0 and there - few > 1.0:
            # The mean and the variance of the label's events against all others', in deviations.
            total = float(sums[c, 1]) / deviation
            moved = total - few * (mean / deviation)
            squares = (
                float(sums[c, 2]) / variance
                - 2.0 * (mean / deviation) * total
                + few * (mean / deviation) * (mean / deviation)
                - few
            )
            found += (moved * moved + 0.5 * squares * squares) / few * there / (there - few)
    rest = seen - there
    if rest >= 1.0:
        found += apart * seen / (there * rest)
    return found


@kernel
def _evidence_at(
    counts: Float32Array,
    moments: Float32Array,
    row: int,
    at: float,
    zero: float,
    on: Float32Array,
    known: float,
    missing: int,
    active: IntArray,
    n_active: int,
    left_of: FloatArray,
) -> float:
    """Sum over labels of the log-likelihood ratio, in nats, of a split against none.

    `at` and `zero` are the threshold and 0 in the units of the sums. ``left_of[i]`` becomes the
    number of events with label ``active[i]`` on the left, ``left_of[n_active]`` that of all; the
    result is -1 where a child would be too small.
    """
    least = max(LEAST_CHILD, LEAST_CHILD_SHARE * known)
    zeros_left = 1.0 if row >= 0 or at >= zero else 0.0
    mean = variance = deviation = there_left = 0.0
    if row >= 0:
        there = float(counts[row, 0])
    else:
        sums = moments[~row]
        there = float(sums[0, 0])
        mean = float(sums[0, 1]) / there
        variance = max(0.0, float(sums[0, 2]) / there - mean * mean)
        deviation = math.sqrt(variance)
        if deviation > 0.0:
            there_left = there * normal_below((at - mean) / deviation)
        else:
            there_left = there if mean <= at else 0.0
    left = (known - there) * zeros_left + there_left
    right = known - left
    if left < least or right < least:
        return -1.0
    left_of[n_active] = left
    none = _xlogx(left) + _xlogx(right) - _xlogx(known)
    found = 0.0
    for i in range(n_active):
        c = active[i]
        # Missing values are left out, the label's own among them.
        n_on = float(on[c]) - (float(counts[missing, c]) if missing >= 0 else 0.0)
        few = float(counts[row, c]) if row >= 0 else float(moments[~row, c, 0])
        left_on = (n_on - few) * zeros_left
        if row < 0 and few > 0.0:
            total = float(moments[~row, c, 1])
            if deviation > 0.0:
                own = max(0.0, float(moments[~row, c, 2]) - total * total / few)
                # Of few values, drawn towards the variance of all as if that were one of them.
                own = math.sqrt((own + variance) / (few + 1.0))
                left_on += few * normal_below((at - total / few) / own)
            elif there_left > 0.0:
                left_on += few
        left_on = max(left_on, left - (known - n_on), 0.0)
        left_on = min(left_on, n_on, left)
        left_of[i] = left_on
        part = (
            _xlogx(left_on)
            + _xlogx(left - left_on)
            + _xlogx(n_on - left_on)
            + _xlogx(right - n_on + left_on)
            - _xlogx(n_on)
            - _xlogx(known - n_on)
            - none
        )
        found += max(0.0, part)
    return found


@kernel
def _bernstein_variance(
    on: Float32Array, seen: float, active: IntArray, n_active: int, left_of: FloatArray
) -> float:
    """Variance of one event's contribution to the gain, in nats squared; labels as independent."""
    total = 0.0
    for i in range(n_active):
        n_on = float(on[active[i]])
        n_off = seen - n_on
        first, second = 0.0, 0.0
        for side in range(2):
            left_off = left_of[n_active] - left_of[i]
            k_on = left_of[i] if side == 0 else n_on - left_of[i]
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


@kernel
def enough(
    merit: float,
    second: float,
    entropy: float,
    variance: float,
    n: float,
    n_active: int,
    tried: int,
    split_test: int,
) -> bool:
    """Whether the best split is to be made.

    Parameters
    ----------
    merit, second
        Gains, in nats per event, of the best feature and of the next one; no split has gain 0.
    entropy
        The leaf's, in nats: the largest gain there could be, so the range of the bounds.
    variance
        Of an event's contribution to the gain.
    n
        Events seen.
    n_active
        Labels that have a say.
    tried
        Features that were compared.
    split_test
        HOEFFDING, BERNSTEIN or EVIDENCE.

    Notes
    -----
    Hoeffding: merit - second > sqrt(R^2 ln(1/delta) / 2n), or the bound is below the tie.
    Bernstein: sqrt(2 V ln(3/delta) / n) + 3 R ln(3/delta) / n instead (Audibert, Munos,
    Szepesvári, TCS 2009). Evidence: the likelihood ratio 2 n merit is, without a relation,
    chi-squared with a degree of freedom per label; it must exceed half of its mean and what the
    largest of `tried` such variables adds to it (Laurent, Massart, Annals of Statistics 2000).
    That is lenient: a split that says nothing costs a forest less than one that comes late.
    """
    if merit <= 0.0:
        return False
    if split_test == EVIDENCE:
        x = math.log(tried)
        return 2.0 * n * merit > PENALTY * n_active + 2.0 * math.sqrt(n_active * x) + 2.0 * x
    if split_test == BERNSTEIN:
        log_term = math.log(3.0 / DELTA)
        bound = math.sqrt(2.0 * variance * log_term / n) + 3.0 * entropy * log_term / n
    else:
        bound = entropy * math.sqrt(math.log(1.0 / DELTA) / (2.0 * n))
    return merit - second > bound or bound < TIE * entropy


@kernel
def _active_labels(on: Float32Array, seen: float, n_labels: int, active: IntArray) -> int:
    """Write the columns of the labels that have a say into `active`; their number."""
    found = 0
    for c in range(1, n_labels):
        if on[c] >= LEAST_EVENTS and seen - on[c] >= LEAST_EVENTS:
            active[found] = c
            found += 1
    return found


@kernel
def best_split(
    forest: Forest,
    node: int,
    keys: OffsetArray,
    n_labels: int,
    options: Options,
    active: IntArray,
    work: FloatArray,
    out: FloatArray,
) -> bool:
    """Find the best split of a leaf and say whether to make it.

    Parameters
    ----------
    keys
        Hashes of the features' names: among equal merits the smaller key wins.
    n_labels
        Columns of labels in use, column 0 included.
    active, work
        Scratch: int32 (width,), float64 (3 x width,).
    out
        float64 (2,): feature and threshold; feature -1 where there is none.
    """
    link, number = forest.slots.link, forest.nodes.number
    counts, moments, table = forest.slots.counts, forest.slots.moments, forest.slots.table
    on = forest.nodes.on[node]
    seen = number[node, SEEN]
    share, seed = number[node, SHARE], forest.nodes.seed[node]
    out[0] = -1.0
    n_active = _active_labels(on, seen, n_labels, active)
    entropy = 0.0
    for i in range(n_active):
        entropy -= log_likelihood(float(on[active[i]]), seen) / seen
    if n_active == 0:
        return False
    # First a look at every feature, to keep a few.
    finalists = np.empty(FINALISTS, dtype=np.int64)
    looks = np.empty(FINALISTS)
    n_finalists, tried = 0, 0
    slot = forest.nodes.link[node, FIRST]
    while slot != NONE:
        code = link[slot, CODE]
        row = link[slot, ROW]
        if row != DROPPED and code & 1 == 0 and in_sample(keys[code >> 1], seed, share):
            look = _look(counts, moments, row, on, seen, active, n_active)
            forest.slots.look[slot] = look
            tried += 1
            at = n_finalists
            while at > 0 and (
                look > looks[at - 1]
                or (
                    look == looks[at - 1]
                    and keys[code >> 1] < keys[link[finalists[at - 1], CODE] >> 1]
                )
            ):
                at -= 1
            if at < FINALISTS:
                n_finalists = min(n_finalists + 1, FINALISTS)
                for i in range(n_finalists - 1, at, -1):
                    finalists[i], looks[i] = finalists[i - 1], looks[i - 1]
                finalists[at], looks[at] = slot, look
        slot = link[slot, FOLLOWING]
    # Then their thresholds.
    best, second, best_key = 0.0, 0.0, 0
    best_variance = 0.0
    for f in range(n_finalists):
        slot = finalists[f]
        code, row, shift = link[slot, CODE], link[slot, ROW], forest.slots.shift[slot]
        unit = abs(shift)
        absent = find_slot(table, link, node, code + 1)
        missing = link[absent, ROW] if absent != NONE else NONE
        known = seen - (float(counts[missing, 0]) if missing >= 0 else 0.0)
        key = keys[code >> 1]
        mine, mine_at, mine_variance = 0.0, 0.0, 0.0
        thresholds = 1
        mean = deviation = 0.0
        zero = -shift / unit
        if row < 0:
            there = float(moments[~row, 0, 0])
            mean = float(moments[~row, 0, 1]) / there
            variance = max(0.0, float(moments[~row, 0, 2]) / there - mean * mean)
            thresholds = STEPS + 1
            if there >= 0.9 * known:
                # Over zeros too, where these are few.
                part = min(1.0, there / known)
                variance = part * (variance + (1.0 - part) * (mean - zero) * (mean - zero))
                mean = part * mean + (1.0 - part) * zero
                thresholds = STEPS
            deviation = math.sqrt(variance)
        for step in range(thresholds):
            if row >= 0:
                cut = 0.5
            elif step == STEPS:
                cut = zero
            else:
                cut = mean + STEP * (step - (STEPS - 1) // 2) * deviation
            merit = (
                _evidence_at(
                    counts, moments, row, cut, zero, on, known, missing, active, n_active, work
                )
                / seen
            )
            if merit > mine:
                mine = merit
                mine_at = 0.5 if row >= 0 else (0.0 if step == STEPS else shift + unit * cut)
                if options.split_test == BERNSTEIN:
                    mine_variance = _bernstein_variance(on, seen, active, n_active, work)
        if mine > best or (mine == best and mine > 0.0 and key < best_key):
            second = best
            best, best_key, best_variance = mine, key, mine_variance
            out[0], out[1] = float(code >> 1), mine_at
        elif mine > second:
            second = mine
    if enough(
        best, second, entropy, best_variance, seen, n_active, max(tried, 1), options.split_test
    ):
        return True
    if seen >= PATIENCE:
        return _at_random(forest, node, keys, seen, out)
    if n_finalists == FINALISTS:
        # What looks much worse than any finalist is not counted any more in this leaf.
        worst = DROP * looks[FINALISTS - 1]
        free, trees, looked = forest.free, forest.trees, forest.slots.look
        count_places, moment_places, tops = free.counts, free.moments, free.tops
        tree = forest.nodes.link[node, TREE]
        slot = forest.nodes.link[node, FIRST]
        while slot != NONE:
            row = link[slot, ROW]
            if row != DROPPED and link[slot, CODE] & 1 == 0 and looked[slot] < worst:
                there = counts[row, 0] if row >= 0 else moments[~row, 0, 0]
                if there >= LEAST_SEEN:
                    drop_row(link, count_places, moment_places, tops, trees, tree, slot)
            slot = link[slot, FOLLOWING]
    return False


@kernel
def _at_random(forest: Forest, node: int, keys: OffsetArray, seen: float, out: FloatArray) -> bool:
    """A feature of the sample chosen by hash, split at its mean, if both sides are large."""
    link, moments = forest.slots.link, forest.slots.moments
    seed = forest.nodes.seed[node]
    least = 0.2 * seen
    chosen = -1
    slot = forest.nodes.link[node, FIRST]
    while slot != NONE:
        code, row = link[slot, CODE], link[slot, ROW]
        draw = mix(keys[code >> 1] ^ mix(seed))
        if row != DROPPED and code & 1 == 0 and (chosen < 0 or draw < chosen):
            if row >= 0:
                there = float(forest.slots.counts[row, 0])
                if min(there, seen - there) >= least:
                    chosen = draw
                    out[0], out[1] = float(code >> 1), 0.5
            else:
                there = float(moments[~row, 0, 0])
                mean = float(moments[~row, 0, 1]) / there
                if there >= 0.9 * seen and float(moments[~row, 0, 2]) / there > mean * mean:
                    chosen = draw
                    shift = forest.slots.shift[slot]
                    out[0], out[1] = float(code >> 1), shift + abs(shift) * mean
        slot = link[slot, FOLLOWING]
    return chosen >= 0
