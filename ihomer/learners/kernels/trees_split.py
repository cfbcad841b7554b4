"""Where to split a leaf, and whether to: a leaf's statistics in, a feature and a threshold out.

The merit of a split is the information gain of the multivariate Bernoulli entropy, a sum over
labels (Esteban et al., Knowledge-Based Systems 2024); it is computed in `trees_merit`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ihomer.instances import Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.trees_merit import (
    CENTRE,
    DEVIATION,
    KNOWN,
    MEAN,
    OF_ALL,
    PART,
    THERE,
    bernstein_variance,
    evidence_at,
    log_likelihood,
    look_at_all,
    prepare,
)
from ihomer.learners.kernels.trees_slots import (
    drop_row,
    find_slot,
    mix,
)
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
    Forest,
)

HOEFFDING, BERNSTEIN, EVIDENCE = range(3)

LEAST_EVENTS = 5.0  # with the label on, and off: else it has no say
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
        Scratch: int32 (width,), and `new_work` of the width.
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
    for i in range(n_active):
        rate = float(on[active[i]]) / seen
        work[MEAN, i] = rate
        work[PART, i] = 1.0 / (rate * (1.0 - rate))
    # First a look at every feature, to keep a few.
    finalists = np.empty(FINALISTS, dtype=np.int64)
    looks = np.empty(FINALISTS)
    n_finalists, tried = 0, 0
    slot = int(forest.nodes.link[node, FIRST])
    looked = forest.slots.look
    look_at_all(forest.slots, slot, keys, seed, share, seen, active, n_active, work)
    while slot != NONE:
        look = looked[slot]
        if look >= 0.0:
            code = link[slot, CODE]
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
        slot = int(link[slot, FOLLOWING])
    # Then their thresholds.
    best, second, best_key = 0.0, 0.0, 0
    best_variance = 0.0
    for f in range(n_finalists):
        slot = finalists[f]
        code, row, shift = link[slot, CODE], link[slot, ROW], forest.slots.shift[slot]
        unit = abs(shift)
        absent = find_slot(table, link, node, code + 1)
        missing = link[absent, ROW] if absent != NONE else NONE
        prepare(work, counts, moments, row, on, seen, missing, active, n_active)
        known, there = work[OF_ALL, KNOWN], work[OF_ALL, THERE]
        mean, deviation = work[OF_ALL, CENTRE], work[OF_ALL, DEVIATION]
        key = keys[code >> 1]
        mine, mine_at, mine_variance = 0.0, 0.0, 0.0
        thresholds = 1
        zero = -shift / unit
        if row < 0:
            thresholds = STEPS + 1
            if there >= 0.9 * known:
                # Over zeros too, where these are few.
                part = min(1.0, there / known)
                variance = part * (
                    deviation * deviation + (1.0 - part) * (mean - zero) * (mean - zero)
                )
                mean = part * mean + (1.0 - part) * zero
                deviation = math.sqrt(variance)
                thresholds = STEPS
        for step in range(thresholds):
            if row >= 0:
                cut = 0.5
            elif step == STEPS:
                cut = zero
            else:
                cut = mean + STEP * (step - (STEPS - 1) // 2) * deviation
            merit = evidence_at(work, row >= 0, cut, zero, n_active) / seen
            if merit > mine:
                mine = merit
                mine_at = 0.5 if row >= 0 else (0.0 if step == STEPS else shift + unit * cut)
                if options.split_test == BERNSTEIN:
                    mine_variance = bernstein_variance(on, seen, active, n_active, work)
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
        free, trees = forest.free, forest.trees
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
