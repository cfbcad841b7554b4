"""How far one event's probabilities can be trusted: log-loss and the gaps that calibration sums.

In: an event's scores and true labels, and how often each label was on before. Out: the event's
log-loss over its (event, label) pairs, that of the running priors on the same pairs, and for each
cell of probability the sum of truth minus probability. It is here so that the tally stays the home
of counts, and because these are the only measures that take every pair's logarithm: probabilities
are multiplied first and one logarithm is taken for 32 labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, FloatArray, IntArray
from ihomer.jit import kernel

BINS = 15  # of equal width, over [0, 1]
LIKELY = 0.1  # pairs with at least this probability are counted apart as well
# The bins, with the one that holds `LIKELY` cut in two there: cell 1 ends where cell 2 begins.
CELLS = BINS + 1
FIRST_LIKELY_CELL = 2
SURE = 1e-6  # a probability counts as no nearer to 0 or 1 than this in a logarithm

_BLOCK = 32  # labels whose probabilities are multiplied: SURE ** 32 is far above the least number
_LANES = 8
_ROWS = 4  # sums of gaps side by side, so that one addition need not wait for the one before


class WorkSpace(NamedTuple):
    """Room for `weigh_event`.

    Attributes
    ----------
    factors
        float64 (3, padded): probabilities of what came true, the priors', and gaps.
    cells
        int32 (padded,).
    sums
        float64 (4, CELLS).
    """

    factors: FloatArray
    cells: IntArray
    sums: FloatArray


@kernel
def work_space(width: int) -> WorkSpace:
    """Room for events of so many labels."""
    padded = (width + _BLOCK - 1) // _BLOCK * _BLOCK
    return WorkSpace(
        np.zeros((3, padded), dtype=np.float64),
        np.zeros(padded, dtype=np.int32),
        np.zeros((_ROWS, CELLS), dtype=np.float64),
    )


@kernel
def weigh_event(
    scores: FloatArray,
    is_true: BoolArray,
    seen: FloatArray,
    events: int,
    work: WorkSpace,
    gaps: FloatArray,
) -> tuple[int, int, float, float]:
    """Log-loss and calibration gaps of one event; a pair counts where its label has a score.

    Parameters
    ----------
    scores, is_true
        float64 (L,), NaN = no score, cut to [0, 1]; bool (L,).
    seen, events
        float64 (L or more,): how many events had each label on before; and their number n. The
        running prior of a label is (seen + 1/2) / (n + 1) (Krichevsky and Trofimov 1981).
    work
        Of `work_space` for L labels or more.
    gaps
        float64 (CELLS,), receives per cell the sum of truth minus probability.

    Returns
    -------
    scored, likely, loss, prior_loss
        Pairs that count, those with a probability of `LIKELY` or more, and natural log-losses
        summed over the pairs that count, of probabilities no nearer to 0 and 1 than `SURE`.
    """
    width = len(scores)
    factors, cells, sums = work.factors, work.cells, work.sums
    scored = likely = 0
    share = 1.0 / (events + 1.0)
    most = 1.0 - SURE
    for label in range(width):
        score = scores[label]
        there = score == score
        p = score if score > 0.0 else 0.0  # noqa: FURB136 - compiled, max(0, NaN) is NaN
        p = min(1.0, p)
        on = is_true[label]
        kept = min(most, max(SURE, p))
        prior = min(most, max(SURE, (seen[label] + 0.5) * share))
        own = kept if on else 1.0 - kept
        other = prior if on else 1.0 - prior
        gap = 1.0 - p if on else -p
        factors[0, label] = own if there else 1.0
        factors[1, label] = other if there else 1.0
        factors[2, label] = gap if there else 0.0
        bin_of = np.int32(p * BINS)
        cell = bin_of + np.int32(p >= LIKELY)
        cells[label] = cell if cell < CELLS else CELLS - 1
        scored += 1 if there else 0
        likely += 1 if p >= LIKELY else 0

    # The last block is filled up with labels that change nothing.
    padded = (width + _BLOCK - 1) // _BLOCK * _BLOCK
    factors[:2, width:padded] = 1.0

    loss = prior_loss = 0.0
    for first in range(0, padded, _BLOCK):
        product = prior_product = 1.0
        for lane in range(first, first + _LANES):
            a, b, c = lane + _LANES, lane + 2 * _LANES, lane + 3 * _LANES
            product *= (factors[0, lane] * factors[0, a]) * (factors[0, b] * factors[0, c])
            prior_product *= (factors[1, lane] * factors[1, a]) * (factors[1, b] * factors[1, c])
        loss -= math.log(product)
        prior_loss -= math.log(prior_product)

    sums[:] = 0.0
    for label in range(width):
        sums[label % _ROWS, cells[label]] += factors[2, label]
    for i in range(CELLS):
        gaps[i] = (sums[0, i] + sums[1, i]) + (sums[2, i] + sums[3, i])
    return scored, likely, loss, prior_loss


def calibration_error(gaps: Sequence[float], pairs: int, likely: int) -> tuple[float, float]:
    """Expected calibration errors from summed gaps: of all pairs, and of the likely ones.

    The error is the mean over pairs of the distance, in the pair's bin, between the mean
    probability and the share of true pairs (Naeini, Cooper, Hauskrecht 2015); NaN without pairs.

    Parameters
    ----------
    gaps
        One for each cell.
    pairs, likely
        Numbers of pairs.
    """
    first = FIRST_LIKELY_CELL
    whole = [*gaps[: first - 1], gaps[first - 1] + gaps[first], *gaps[first + 1 :]]
    return (
        math.fsum(map(abs, whole)) / pairs if pairs else math.nan,
        math.fsum(map(abs, gaps[first:])) / likely if likely else math.nan,
    )
