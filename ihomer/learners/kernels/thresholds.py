"""Decisions label by label: a probability against a threshold that suits the target measure.

In: probabilities. Out: labels that are on. The set of highest expected F1 takes all labels above
half of that F1, so the threshold follows half the F1 that is being reached: of all labels
together (micro) or of each label by itself (macro).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel

HALF, MICRO, MACRO = range(3)  # kinds of thresholds
FADING = 0.9995  # of counts, per event
LOWEST = 0.02


class ThresholdState(NamedTuple):
    """Fading counts, float64 (labels,); of all labels together in the first place for `MICRO`.

    Attributes
    ----------
    both
        Predicted and true, half of it by the probabilities, which vary less than what happened.
    either
        Predicted plus true, the latter by halves again.
    """

    both: FloatArray
    either: FloatArray


@kernel
def threshold_rows(
    scores: FloatArray,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    known: IntArray,
    kind: int,
    state: ThresholdState,
    on: BoolArray,
) -> None:
    """Decide each row, then count the labelled ones.

    Parameters
    ----------
    scores
        float64 (n, labels): probabilities; only labels known at a row are looked at.
    y_indptr, y_indices, labelled, known
        As in `Batch`.
    kind
        `HALF`: one half, which minimises the expected Hamming loss. `MICRO`, `MACRO`: half the F1
        reached so far (Lipton, Elkan, Naryanaswamy, ECML PKDD 2014), from `LOWEST` to one half.
    state
        Changed in place by labelled rows; it has room for the labels.
    on
        bool (n, labels), all False: the decisions are written here.
    """
    for t in range(labelled.shape[0]):
        labels = known[t]
        threshold = 0.5
        if kind == MICRO:
            threshold = min(0.5, max(LOWEST, state.both[0] / state.either[0]))
        for c in range(labels):
            if kind == MACRO:
                threshold = min(0.5, max(LOWEST, state.both[c] / state.either[c]))
            on[t, c] = scores[t, c] >= threshold
        if kind == HALF or not labelled[t]:
            continue
        if kind == MICRO:
            state.both[0] *= FADING
            state.either[0] *= FADING
        for c in range(labels):
            at = c if kind == MACRO else 0
            if kind == MACRO:
                state.both[c] *= FADING
                state.either[c] *= FADING
            state.either[at] += 0.5 * scores[t, c]
            if on[t, c]:
                state.both[at] += 0.5 * scores[t, c]
                state.either[at] += 1.0
        for k in range(y_indptr[t], y_indptr[t + 1]):
            label = y_indices[k]
            at = label if kind == MACRO else 0
            state.either[at] += 0.5
            if label < labels and on[t, label]:
                state.both[at] += 0.5


def empty_thresholds(labels: int) -> ThresholdState:
    """Counts of one label set or so with an F1 of one half."""
    return ThresholdState(np.full(labels, 0.5), np.full(labels, 2.0))
