"""Dense columns, standardised: raw sparse rows in, short float32 rows of the same few columns out.

Experts that look at how features act together (network, prototypes) need every feature of an
event at a fixed place, zeros included. That is affordable for the columns that are there in many
events, and these get a slot each; on sparse text hardly any column does, and the rows are off.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel

STRIDE = 128  # learned events between two looks at which columns are dense
LAYOUTS = 9  # rows of `layouts`: a stride's first layout, and one after 1, 2, 4, ..., 128 events

_ENTER = 0.2  # a column gets a slot when it is non-zero in this share of the events
_LEAVE = 0.1  # and gives it back below this one
_FADE = 1.0 - 1.0 / 32.0  # of the counts behind these shares, at each look
_CLIP = 4.0  # a standardised value further out says no more than this
_LIMIT = 1e100  # raw values are cut here, so that their squares stay finite
_HORIZON = 5_000.0  # events that mean and variance remember
_OUTLIER = 8.0  # a value moves mean and variance as if it were at most so many deviations out,
_SETTLED = 20.0  # once so many have been seen


class DenseState(NamedTuple):
    """Which columns have slots, and their running statistics.

    Attributes
    ----------
    seen, missing
        float64 (columns,): fading counts of non-zero and of missing values.
    slot_of
        int32 (columns,): the column's slot, -1 = none.
    column_of
        int32 (slots,): the slot's column, -1 = free.
    values, mean, variance
        float64 (slots,): number, mean and variance of the values since the column got its slot,
        zeros included.
    events
        float64 (1,): fading count of learned events.
    progress
        int64 (3,): learned events; slots in use or free below one in use; 1 = rows are on.
    """

    seen: FloatArray
    missing: FloatArray
    slot_of: IntArray
    column_of: IntArray
    values: FloatArray
    mean: FloatArray
    variance: FloatArray
    events: FloatArray
    progress: OffsetArray


@kernel
def _assign(state: DenseState) -> None:
    """Give slots to columns that have become dense, take them from those that are no more."""
    events = state.events[0]
    slots = state.column_of.shape[0]
    inside, outside = 0.0, 0.0
    free = 0
    for j in range(state.seen.shape[0]):
        there = events - state.missing[j]
        slot = state.slot_of[j]
        if slot >= 0 and state.seen[j] < _LEAVE * there:
            state.column_of[slot] = -1
            state.slot_of[j] = -1
            state.mean[slot] = state.variance[slot] = 0.0  # so what is absent there stays 0
    for j in range(state.seen.shape[0]):
        seen = state.seen[j]
        if seen > 0.0 and state.slot_of[j] < 0 and seen >= _ENTER * (events - state.missing[j]):
            while free < slots and state.column_of[free] >= 0:
                free += 1
            if free < slots:
                state.column_of[free] = j
                state.slot_of[j] = free
                state.values[free] = 0.0
        if state.slot_of[j] >= 0:
            inside += seen
        else:
            outside += seen
        state.seen[j] = seen * _FADE
        state.missing[j] *= _FADE
    state.events[0] = events * _FADE
    used = slots
    while used > 0 and state.column_of[used - 1] < 0:
        used -= 1
    state.progress[1] = used
    # Where most of what an event holds is in other columns, these few do not stand for it.
    state.progress[2] = 1 if inside > 0.0 and inside >= outside else 0


@kernel
def dense_rows(
    indptr: OffsetArray,
    indices: IntArray,
    values: FloatArray,
    labelled: BoolArray,
    state: DenseState,
    x: Float32Array,
    used: IntArray,
    layouts: IntArray,
    layout_of: IntArray,
) -> None:
    """Standardise the dense columns of each row with the statistics up to and including itself.

    A value becomes (value - mean) / deviation, cut at 4; a missing value and a column that has
    been constant so far become 0. A row longer than the square root of its number of columns is
    brought to that length, so that no event weighs much more than others. Labelled rows move the
    statistics (exponentially fading mean and variance, from equal weights to a horizon of 5,000
    events). Columns that are non-zero in at least a fifth of the recent events have slots; that
    is looked at after 1, 2, 4, ..., 64 learned events and after every 128th. Rows are off while
    other columns hold more than half of the recent non-zero values.

    Parameters
    ----------
    indptr, indices, values, labelled
        A batch's features; its labelled rows may reach, but not cross, a multiple of `STRIDE`.
        Indices past the state's columns are new: they are left out.
    state
        Changed in place by labelled rows.
    x
        float32 (n, slots): the rows, 0 where a slot is free; written up to `used`.
    used
        int32 (n,): the row's slots that may hold something; 0 = the row is off.
    layouts, layout_of
        int32 (LAYOUTS, slots) and (n,): ``layouts[layout_of[t]]`` is `column_of` as row t has
        it; ascending.
    """
    columns = state.seen.shape[0]
    slots = state.column_of.shape[0]
    raw, counts, means, variances = (
        np.zeros(slots),
        np.zeros(slots),
        np.zeros(slots),
        np.zeros(slots),
    )
    layout = 0
    for s in range(slots):
        layouts[0, s] = state.column_of[s]
    for t in range(labelled.shape[0]):
        learn = labelled[t]
        n_used = state.progress[1] if state.progress[2] else np.int64(0)
        for s in range(n_used):
            raw[s] = 0.0
        for k in range(indptr[t], indptr[t + 1]):
            j = indices[k]
            if j >= columns:
                continue
            value = values[k]
            slot = state.slot_of[j]
            if 0 <= slot < n_used:
                raw[slot] = value
            if learn:
                if math.isnan(value):
                    state.missing[j] += 1.0
                else:
                    state.seen[j] += 1.0
        # Without branches, so that it vectorises.
        for s in range(n_used):
            mean, variance, count = state.mean[s], state.variance[s], state.values[s]
            missing = raw[s] != raw[s]
            value = mean if missing else min(_LIMIT, max(-_LIMIT, raw[s]))
            settled = (count >= _SETTLED) & (variance > 0.0)
            reach = _OUTLIER * math.sqrt(variance) if settled else 2.0 * _LIMIT
            moved = min(mean + reach, max(mean - reach, value))
            count = count if missing else min(_HORIZON, count + 1.0)
            share = 0.0 if missing else 1.0 / count
            change = moved - mean
            mean += change * share
            variance = max(0.0, variance + (change * (moved - mean) - variance) * share)
            deviation = math.sqrt(variance)
            varies = deviation > 1e-9 * abs(mean)
            z = (value - mean) / (deviation if varies else 1.0)
            x[t, s] = min(_CLIP, max(-_CLIP, z)) if varies else 0.0
            counts[s], means[s], variances[s] = count, mean, variance
        length, held = np.float32(0.0), 0
        for s in range(n_used):
            length += x[t, s] * x[t, s]
            held += state.column_of[s] >= 0
        if length > held:
            shrink = np.float32(math.sqrt(held / length))
            for s in range(n_used):
                x[t, s] *= shrink
        used[t] = n_used
        layout_of[t] = layout
        if learn:
            for s in range(n_used):
                state.values[s], state.mean[s], state.variance[s] = (
                    counts[s],
                    means[s],
                    variances[s],
                )
            state.events[0] += 1.0
            state.progress[0] += 1
            n = state.progress[0]
            if n % STRIDE == 0 or (n < STRIDE and n & (n - 1) == 0):
                _assign(state)
                if t + 1 < labelled.shape[0]:
                    layout += 1
                    for s in range(slots):
                        layouts[layout, s] = state.column_of[s]


def empty_state(columns: int, slots: int) -> DenseState:
    """A state without events for `columns` columns, of which at most `slots` are dense."""
    return DenseState(
        np.zeros(columns),
        np.zeros(columns),
        np.full(columns, -1, dtype=np.int32),
        np.full(slots, -1, dtype=np.int32),
        np.zeros(slots),
        np.zeros(slots),
        np.zeros(slots),
        np.zeros(1),
        np.zeros(3, dtype=np.int64),
    )
