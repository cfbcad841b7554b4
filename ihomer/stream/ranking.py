"""Where one event's true labels stand in the ranking by score, and what follows from it.

In: an event's scores, where its true labels are among them, how much each of these weighs. Out:
the event's ranking figures as far as scores reach; what true labels without a score add depends on
how many labels there are in the end (`ihomer.stream.tally`). It is here so that the tally stays
the home of counts.

Only the scores of true labels matter: every figure follows from how many labels lie above each of
them and how many are tied with it, so the scores need not be sorted.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ihomer.instances import FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel

# Blocks of an event's ranking figures, each of one number per cut. Behind them stand, per number
# of scores below the largest cut, the weights of true labels without a score.
PRECISION, GAIN, WEIGHT_FOUND, WEIGHT_BEST = range(4)
BLOCKS = 4

_FEW_LEVELS = 64  # up to here, comparing every score with every level is the faster way
_A, _B = 0.55, 1.5  # of the propensities, for data whose own are not known
_RISE = math.pow(_B + 1.0, _A)


class RankingSpace(NamedTuple):
    """Room for `rank_event` of up to T true labels.

    Attributes
    ----------
    levels, order
        float64 and int32 (T,).
    tied
        int64 (T, 3): per level its true labels, its labels, the labels up to the next level.
    """

    levels: FloatArray
    order: IntArray
    tied: OffsetArray


@kernel
def ranking_space(most_true: int) -> RankingSpace:
    """Room for events of up to so many true labels."""
    return RankingSpace(
        np.zeros(most_true, dtype=np.float64),
        np.zeros(most_true, dtype=np.int32),
        np.zeros((most_true, 3), dtype=np.int64),
    )


@kernel
def propensity_rise(events: int) -> float:
    """C of the propensities after so many events, see `inverse_propensity`.

    C = (ln events - 1) (B + 1)^A; 0 where that would be negative, up to the second event.
    """
    return max(0.0, math.log(max(events, 1)) - 1.0) * _RISE


@kernel
def inverse_propensity(seen: float, rise: float) -> float:
    """Weight of a label that was on in `seen` events: the less often, the more.

    1 + C (seen + B)^-A with A = .55, B = 1.5: the inverse of the propensity of Jain, Prabhu, Varma
    (2016) for data whose own A and B are not known.
    """
    return 1.0 + rise * math.exp(-_A * math.log(seen + _B))


@kernel
def _sort(values: FloatArray, order: IntArray, n: int) -> None:
    """Put the first `n` values in ascending order, `order` with them (Shell 1959, Knuth's gaps).

    numpy's sort takes seconds to compile, and there are few values.
    """
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            value, own = values[i], order[i]
            place = i
            while place >= gap and values[place - gap] > value:
                values[place] = values[place - gap]
                order[place] = order[place - gap]
                place -= gap
            values[place] = value
            order[place] = own
        gap //= 3


@kernel
def _count_by_level(
    scores: FloatArray, levels: FloatArray, n_levels: int, tied: OffsetArray
) -> None:
    """Labels at each level and between it and the next: one branchless scan for each level."""
    above = 0
    for level in range(n_levels - 1, -1, -1):
        bar = levels[level]
        more = same = 0
        for label in range(len(scores)):
            more += 1 if scores[label] > bar else 0
            same += 1 if scores[label] == bar else 0
        tied[level, 1] = same
        tied[level, 2] = more - above
        above = more + same


@kernel
def _count_by_label(
    scores: FloatArray, levels: FloatArray, n_levels: int, tied: OffsetArray
) -> None:
    """The same with one search for each label: of many levels, less work."""
    for label in range(len(scores)):
        score = scores[label]
        if not score >= levels[0]:  # NaN, too
            continue
        low, high = 0, n_levels
        while high - low > 1:
            middle = (low + high) // 2
            if levels[middle] <= score:
                low = middle
            else:
                high = middle
        if score == levels[low]:
            tied[low, 1] += 1
        else:
            tied[low, 2] += 1


@kernel
def rank_event(
    scores: FloatArray,
    scored: int,
    at: IntArray,
    weights: FloatArray,
    cuts: OffsetArray,
    discounts: FloatArray,
    space: RankingSpace,
    figures: FloatArray,
    reach: OffsetArray,
) -> tuple[int, int, int, float]:
    """Ranking figures of one event with at least one true label.

    Parameters
    ----------
    scores, scored
        float64 (m,), NaN = no score; how many are not NaN.
    at, weights
        int32 and float64 (T,): place of each true label among the scores, -1 = none; its weight.
    cuts, discounts
        Of `ihomer.stream.tally.Tally`; c cuts of which K is the largest.
    space
        Of `ranking_space`.
    figures
        float64 (`BLOCKS` c + K,), 0 before: receives the scored labels' part of precision, nDCG
        and weight found at each cut; the most weight that could be found at each; and in place
        `scored` of the rest the weight of true labels without a score.
    reach
        int64 (T,), receives the number of the first cut that each true label is within, ties
        taken as its last rank; c = none.

    Returns
    -------
    unscored, wrong, depth, average_precision
        True labels without a score; wrong pairs among the labels with one; how many ranks hold all
        true labels, 0 where one has no score; the scored labels' part of average precision.
    """
    levels, order, tied = space.levels, space.order, space.tied
    n_cuts, positives = len(cuts), len(at)
    found = 0
    unscored_weight = 0.0
    for i in range(positives):
        reach[i] = n_cuts
        score = scores[at[i]] if at[i] >= 0 else math.nan
        if np.isnan(score):
            unscored_weight += weights[i]
        else:
            levels[found] = score
            order[found] = i
            found += 1
    _sort(levels, order, found)
    n_levels = 0
    for i in range(found):
        if n_levels > 0 and levels[i] == levels[n_levels - 1]:
            tied[n_levels - 1, 0] += 1
        else:
            levels[n_levels] = levels[i]
            tied[n_levels, 0] = 1
            tied[n_levels, 1] = 0
            tied[n_levels, 2] = 0
            n_levels += 1

    if n_levels <= _FEW_LEVELS:
        _count_by_level(scores, levels, n_levels, tied)
    else:
        _count_by_label(scores, levels, n_levels, tied)

    average_precision = 0.0
    wrong = 0
    ahead = 0  # labels above the level: the level's tie holds positions from here on
    above = 0  # true labels at or above the level
    for level in range(n_levels - 1, -1, -1):
        hits, size = tied[level, 0], tied[level, 1]
        ahead += tied[level, 2]
        end = ahead + size
        within = 0
        while within < n_cuts and cuts[within] < end:
            within += 1
        weight = 0.0
        for i in range(found - above - hits, found - above):
            weight += weights[order[i]]
            reach[order[i]] = within
        above += hits
        average_precision += hits * (above / end)
        wrong += hits * (end - above)
        share = hits / size
        for i in range(n_cuts):
            k = cuts[i]
            if ahead < k:
                last = min(end, k)
                figures[PRECISION * n_cuts + i] += share * (last - ahead)
                figures[GAIN * n_cuts + i] += share * (discounts[last] - discounts[ahead])
                figures[WEIGHT_FOUND * n_cuts + i] += weight / size * (last - ahead)
        ahead = end
    for i in range(n_cuts):
        k = cuts[i]
        figures[PRECISION * n_cuts + i] /= k
        figures[GAIN * n_cuts + i] /= discounts[min(positives, k)]
    if BLOCKS * n_cuts + scored < len(figures):
        figures[BLOCKS * n_cuts + scored] = unscored_weight
    _add_best(weights, cuts, levels, order, figures[WEIGHT_BEST * n_cuts : BLOCKS * n_cuts])
    return (
        positives - found,
        wrong,
        ahead if found == positives else 0,
        average_precision / positives,
    )


@kernel
def _add_best(
    weights: FloatArray, cuts: OffsetArray, space: FloatArray, order: IntArray, best: FloatArray
) -> None:
    """Sums of the largest weights up to each cut."""
    n = len(weights)
    for i in range(n):
        space[i] = weights[i]
    _sort(space, order, n)
    total = 0.0
    taken = 0
    for i in range(len(cuts)):
        while taken < min(n, cuts[i]):
            taken += 1
            total += space[n - taken]
        best[i] = total
