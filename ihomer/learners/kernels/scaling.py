"""Scale events as they pass: raw sparse rows in, scaled rows of length 1 out.

Feature statistics are counts, shifts and sums over the non-zero values only; what the zeros add
is known in closed form, so an event costs its non-zeros plus the features that are mostly there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel

CLIP = 4.0  # a scaled value further out says no more than this
LIMIT = 1e100  # raw values are cut here, so that squares and their sums stay finite
STRIDE = 128  # learned events between two looks at which features are dense
REFRESH = 16  # and between two at which their deviations are taken; divides `STRIDE`

_LEAST_DEVIATION = 1e-200


class ScalingState(NamedTuple):
    """Running statistics by column, float64 (columns,) unless said otherwise.

    Attributes
    ----------
    seen
        Non-zero values seen.
    missing
        Missing values seen.
    shift
        The first non-zero value; sums are taken relative to it, which keeps their difference
        exact where the mean is large beside the deviation.
    total, square
        Sums of (value - shift) and of its square.
    dense
        int32 (columns,): the first `progress[1]` entries are the dense columns, ascending.
    center, inverse
        From the first stride's end on, at the dense columns' places in `dense`: their means and
        the inverses of their deviations as of `REFRESH`, 0 for one that has been constant.
    progress
        int64 (2,): learned events, number of dense columns.
    """

    seen: FloatArray
    missing: FloatArray
    shift: FloatArray
    total: FloatArray
    square: FloatArray
    dense: IntArray
    center: FloatArray
    inverse: FloatArray
    progress: OffsetArray


@kernel
def _standardise(state: ScalingState) -> None:
    """Means and inverse deviations of the dense columns, with the events that have no value.

    Once in a while, because a root and three divisions per value would cost more than anything
    else about it.
    """
    for place in range(state.progress[1]):
        j = state.dense[place]
        count = state.seen[j]
        offset = state.total[j] / count
        mean = state.shift[j] + offset
        variance = max(0.0, state.square[j] / count - offset * offset)
        share = min(1.0, count / max(1.0, state.progress[0] - state.missing[j]))
        deviation = math.sqrt(share * variance + share * (1.0 - share) * mean * mean)
        state.center[place] = share * mean
        varies = deviation > 1e-9 * abs(mean)
        # The least deviation keeps the inverse finite.
        state.inverse[place] = 1.0 / max(_LEAST_DEVIATION, deviation) if varies else 0.0


@kernel
def _list_dense(state: ScalingState) -> None:
    """Collect the columns that are non-zero in at least half of the events that have them."""
    events = state.progress[0]
    found = 0
    for j in range(state.seen.shape[0]):
        if state.seen[j] > 0 and 2.0 * state.seen[j] >= events - state.missing[j]:
            state.dense[found] = j
            found += 1
    state.progress[1] = found


@kernel
def scale_rows(
    indptr: OffsetArray,
    indices: IntArray,
    values: FloatArray,
    labelled: BoolArray,
    state: ScalingState,
    out_indptr: OffsetArray,
    out_indices: IntArray,
    out_values: FloatArray,
) -> None:
    """Scale each row with the statistics up to and including itself; keep them if it is labelled.

    A column that is mostly there becomes (value - mean) / deviation, any other value / root mean
    square of its non-zeros; both are clipped and the row is brought to length 1. Missing values
    contribute nothing. After the first stride, mean and deviation of a column that is mostly
    there are those of the last event whose number `REFRESH` divides.

    Parameters
    ----------
    indptr, indices, values, labelled
        A batch's features. Indices past the state's columns are new: they are scaled as such and
        not kept.
    state
        Changed in place by labelled rows.
    out_indptr, out_indices, out_values
        int64 (n + 1,), int32, float64: the scaled rows; room for the non-zeros and, for each
        row, the dense columns.
    """
    columns = state.seen.shape[0]
    written = 0
    out_indptr[0] = 0
    for t in range(labelled.shape[0]):
        events = state.progress[0] + 1.0
        settled = state.progress[0] >= STRIDE
        k, end = indptr[t], indptr[t + 1]
        d, n_dense = 0, state.progress[1]
        first = written
        length = 0.0
        while k < end or d < n_dense:
            present = k < end and (d >= n_dense or indices[k] <= state.dense[d])
            is_dense = d < n_dense and (k >= end or state.dense[d] <= indices[k])
            j = indices[k] if present else state.dense[d]
            value = values[k] if present else 0.0
            if present:
                k += 1
            if is_dense:
                d += 1
            known = j < columns
            if math.isnan(value):
                if known and labelled[t]:
                    state.missing[j] += 1.0
                continue
            value = min(LIMIT, max(-LIMIT, value))  # after the test: a limit swallows NaN
            if is_dense and settled:
                if present and labelled[t]:
                    change = value - state.shift[j]
                    state.seen[j] += 1.0
                    state.total[j] += change
                    state.square[j] += change * change
                scaled = (value - state.center[d - 1]) * state.inverse[d - 1]
            else:
                count, missing, shift, total, square = 0.0, 0.0, value, 0.0, 0.0
                if known and state.seen[j] > 0:
                    count, missing, shift = state.seen[j], state.missing[j], state.shift[j]
                    total, square = state.total[j], state.square[j]
                elif known:
                    missing = state.missing[j]
                if present:
                    count += 1.0
                    total += value - shift
                    square += (value - shift) ** 2
                    if known and labelled[t]:
                        state.seen[j] = count
                        state.shift[j] = shift
                        state.total[j] = total
                        state.square[j] = square
                offset = total / count
                mean = shift + offset
                variance = max(0.0, square / count - offset * offset)
                if is_dense:
                    share = min(1.0, count / max(1.0, events - missing))
                    deviation = math.sqrt(share * variance + share * (1.0 - share) * mean * mean)
                    if deviation <= 1e-9 * abs(mean):
                        continue  # constant so far: says nothing
                    scaled = (value - share * mean) / deviation
                else:
                    scaled = value / math.sqrt(variance + mean * mean)
            scaled = min(CLIP, max(-CLIP, scaled))
            if scaled != 0.0:
                out_indices[written] = j
                out_values[written] = scaled
                length += scaled * scaled
                written += 1
        if length > 0.0:
            inverse = 1.0 / math.sqrt(length)
            for i in range(first, written):
                out_values[i] *= inverse
        out_indptr[t + 1] = written
        if labelled[t]:
            state.progress[0] += 1
            if state.progress[0] < STRIDE or state.progress[0] % STRIDE == 0:
                _list_dense(state)
            if state.progress[0] >= STRIDE and state.progress[0] % REFRESH == 0:
                _standardise(state)


def empty_state(columns: int) -> ScalingState:
    """A state without events for `columns` columns."""
    seen, missing, shift, total, square, center, inverse = (np.zeros(columns) for _ in range(7))
    dense, progress = np.zeros(columns, dtype=np.int32), np.zeros(2, dtype=np.int64)
    return ScalingState(seen, missing, shift, total, square, dense, center, inverse, progress)
