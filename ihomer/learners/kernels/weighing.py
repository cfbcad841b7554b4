"""Weigh the features of an event by how rare they are: scaled rows in, rows of length 1 out.

It is here because posting lists and the inverted index cost as much as an event has features: those
that say next to nothing are left out.
"""

from __future__ import annotations

import numpy as np

from ihomer.instances import BoolArray, Float32Array, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.elementary import log32

# A feature with less than this part of the mean squared value of its row is left out. Measured on
# 10,000 labels: a tenth of the features, nothing of the accuracy.
WEAK = np.float32(0.1)

_ONE = np.float32(1.0)


@kernel
def weigh_rows(
    indptr: OffsetArray,
    indices: IntArray,
    values: Float32Array,
    labelled: BoolArray,
    held: IntArray,
    events: OffsetArray,
    out_indptr: OffsetArray,
    out_indices: IntArray,
    out_values: Float32Array,
) -> None:
    """Multiply each value by 1 + log((1 + N) / (1 + df)), drop weak ones, bring to length 1.

    Parameters
    ----------
    indptr, indices, values, labelled
        Scaled rows.
    held
        int32 (columns,): the learned events that have each feature; labelled rows add to it. df
        is that with the row itself. A column past its end is new.
    events
        int64 (1,): learned events. N is that with the row itself.
    out_indptr, out_indices, out_values
        Written; as large as the input.
    """
    columns = held.shape[0]
    written = 0
    out_indptr[0] = 0
    for t in range(labelled.shape[0]):
        begin, end = indptr[t], indptr[t + 1]
        if labelled[t]:
            events[0] += 1
            for k in range(begin, end):
                held[indices[k]] += 1
        itself = 0 if labelled[t] else 1
        total = np.float32(events[0] + itself + 1)
        length = np.float32(0.0)
        for k in range(begin, end):
            j = indices[k]
            df = np.float32(held[j] + itself) if j < columns else _ONE
            value = values[k] * (_ONE + log32(total / (_ONE + df)))
            out_values[written + k - begin] = value
            length += value * value
        least = WEAK * length / np.float32(max(1, end - begin))
        length = np.float32(0.0)
        first = written
        for k in range(begin, end):
            # Nothing is overwritten that is still to be read.
            value = out_values[first + k - begin]
            if value * value > least:
                out_indices[written] = indices[k]
                out_values[written] = value
                length += value * value
                written += 1
        if length > np.float32(0.0):
            inverse = _ONE / np.sqrt(length)
            for k in range(first, written):
                out_values[k] *= inverse
        out_indptr[t + 1] = written
