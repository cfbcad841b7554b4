"""What anybody knows of a label: how often it is on, and whether it was on just now.

In: label sets. Out: for each label of a block the logits of its prior and of its persistence
(on after on, on after off). They are here because on streams that are sorted, or that nothing
can be learned from, these two alone beat models that ignore them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.elementary import LOGIT_CLIP, log32

FADING = 0.9995  # of counts, per event: a horizon of 2,000 events
PSEUDO = 2.0  # a conditional rate starts as so many events at the label's prior

_CLIP = np.float32(LOGIT_CLIP)
_PSEUDO = np.float32(PSEUDO)
_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)
_LEAST = np.float32(1e-30)


class TrivialState(NamedTuple):
    """Fading counts of a block's W positions; position 0 is never on.

    Attributes
    ----------
    on
        float64 (W,): events with the label on.
    after, again
        float64 (W,): events that followed one with the label on; those of them with it on.
    previous
        bool (W,): whether the label was on in the last learned event.
    events
        float64 (1,): events.
    """

    on: FloatArray
    after: FloatArray
    again: FloatArray
    previous: BoolArray
    events: FloatArray


def empty_trivial(width: int) -> TrivialState:
    """A state that has seen nothing."""
    return TrivialState(
        np.zeros(width), np.zeros(width), np.zeros(width), np.zeros(width, np.bool_), np.zeros(1)
    )


@kernel
def trivial_rows(
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    first: int,
    state: TrivialState,
    prior: Float32Array,
    persistence: Float32Array,
) -> None:
    """Logits of each row, then count the labelled ones.

    Parameters
    ----------
    y_indptr, y_indices, labelled
        As in `Batch`.
    first
        The block's first label; label l stands at position 1 + l - first.
    state
        Changed in place by labelled rows.
    prior, persistence
        float32 (n, W): logits within plus and minus `LOGIT_CLIP`, for every position. A rate is
        (on + 1/2) / (events + 1), Krichevsky and Trofimov's estimate (IEEE Transactions on
        Information Theory 27, 1981).
    """
    width = state.on.shape[0]
    misses = np.empty(width, dtype=np.float32)
    on = np.empty(width, dtype=np.float32)
    hits = np.empty(width, dtype=np.float32)
    trials = np.empty(width, dtype=np.float32)
    for t in range(labelled.shape[0]):
        events = state.events[0]
        one_more = np.float32(events + 1.0)
        for c in range(width):
            times, again, after = state.on[c], state.again[c], state.after[c]
            was_on = state.previous[c]
            misses[c] = np.float32(events - times)
            on[c] = np.float32(times)
            # What followed events like the last one: again on after on, newly on after off.
            hits[c] = np.float32(again if was_on else times - again)
            trials[c] = np.float32(after if was_on else events - after)
        for c in range(width):
            on_half = on[c] + _HALF
            prior[t, c] = min(_CLIP, max(-_CLIP, log32(on_half / (misses[c] + _HALF))))
        for c in range(width):
            hit = max(_ZERO, hits[c]) + _PSEUDO * ((on[c] + _HALF) / one_more)
            miss = max(_ZERO, trials[c]) + _PSEUDO - hit
            odds = hit / max(_LEAST, miss)
            persistence[t, c] = min(_CLIP, max(-_CLIP, log32(odds)))
        if not labelled[t]:
            continue
        state.events[0] = FADING * state.events[0] + 1.0
        for c in range(width):
            state.on[c] *= FADING
            state.after[c] *= FADING
            state.again[c] *= FADING
            state.after[c] += 1.0 if state.previous[c] else 0.0
        for k in range(y_indptr[t], y_indptr[t + 1]):
            c = y_indices[k] - first + 1
            if 1 <= c < width:
                state.on[c] += 1.0
                if state.previous[c]:
                    state.again[c] += 1.0
        state.previous[:] = False
        for k in range(y_indptr[t], y_indptr[t + 1]):
            c = y_indices[k] - first + 1
            if 1 <= c < width:
                state.previous[c] = True
