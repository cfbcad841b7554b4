"""Probabilities that mean what they say: those of a block of labels in, corrected ones out.

How much more often labels were on than their probabilities said is kept for a grid of logits,
shared by the labels of a block, and added. It is here because a mixture of experts that learn on
the same events is surer of itself than it should be, on some streams more than on others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.elementary import log32

KNOTS = 25  # of the grid, from logit -6 to 6 at equal distances
FADING = 0.999  # of the counts, per event: a horizon of 1,000 events
PSEUDO = 30.0  # (event, label) pairs without an excess with which every knot begins
MOST = 0.9  # a correction goes this part of the way to 0 or 1 at most

_FARTHEST = np.float32(6.0)
_PER_KNOT = np.float32((KNOTS - 1) / 12.0)
_LAST = np.float32(KNOTS - 1 - 1e-3)
_ONE = np.float32(1.0)
_ZERO = np.float32(0.0)
_MOST = np.float32(MOST)


class CalibrationState(NamedTuple):
    """Fading sums at each knot, float64 (KNOTS,).

    Attributes
    ----------
    pairs
        (Event, label) pairs.
    excess
        Of their labels (1 = on) less their probabilities.
    """

    pairs: FloatArray
    excess: FloatArray


def empty_calibration() -> CalibrationState:
    """A state that has seen nothing and corrects nothing."""
    return CalibrationState(np.zeros(KNOTS), np.zeros(KNOTS))


@kernel
def calibrate_rows(
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    known: IntArray,
    first: int,
    state: CalibrationState,
    p: Float32Array,
) -> None:
    """Correct each row, then count the labelled ones.

    A pair counts at the two knots beside its logit, the nearer it lies the more; the correction is
    interpolated the same way, so that it has no steps.

    Parameters
    ----------
    y_indptr, y_indices, labelled, known
        As in `Batch`.
    first
        The block's first label; label l stands at position 1 + l - first.
    state
        Changed in place by labelled rows, at positions known before them.
    p
        float32 (at least n, W): probabilities, not 0 or 1; overwritten at all positions.
    """
    width = p.shape[1]
    gap = np.empty(KNOTS, dtype=np.float32)
    place = np.empty(width, dtype=np.float32)
    before_correction = np.empty(width, dtype=np.float32)
    on = np.zeros(width, dtype=np.float32)
    for t in range(labelled.shape[0]):
        row = p[t]
        reach = 1 + min(width - 1, max(0, known[t] - first))
        for k in range(KNOTS):
            gap[k] = state.excess[k] / (state.pairs[k] + PSEUDO)
        for c in range(width):
            logit = log32(row[c] / (_ONE - row[c]))
            place[c] = min(_LAST, max(_ZERO, (logit + _FARTHEST) * _PER_KNOT))
            before_correction[c] = row[c]
        for c in range(reach):
            k = int(place[c])
            share = place[c] - np.float32(k)
            change = (_ONE - share) * gap[k] + share * gap[k + 1]
            row[c] += min(_MOST * (_ONE - row[c]), max(-_MOST * row[c], change))
        for c in range(reach, width):
            row[c] = row[0]
        if not labelled[t]:
            continue
        for k in range(y_indptr[t], y_indptr[t + 1]):
            c = y_indices[k] - first + 1
            if 1 <= c < reach:
                on[c] = _ONE
        for k in range(KNOTS):
            state.pairs[k] *= FADING
            state.excess[k] *= FADING
        for c in range(1, reach):
            k = int(place[c])
            share = float(place[c]) - k
            excess = float(on[c]) - float(before_correction[c])
            state.pairs[k] += 1.0 - share
            state.pairs[k + 1] += share
            state.excess[k] += (1.0 - share) * excess
            state.excess[k + 1] += share * excess
        for k in range(y_indptr[t], y_indptr[t + 1]):
            c = y_indices[k] - first + 1
            if 1 <= c < reach:
                on[c] = _ZERO
