"""Second-order logistic regression for many labels: scaled rows in, clipped logits out.

Two kernels. `gain_rows` knows no labels: it keeps the inverse ridge matrix of the rows, in full
for a block of the most frequent columns and its diagonal for the rest, and says by how much each
weight answers to an error at a row. `gain_steps` gives every label its step along those gains.
The matrix, which is what costs, is thereby shared by all labels, and a label's step is a multiple
of a row: no root, no division, no sum of squares per weight.

The gains are those of the Kalman filter for a linear model whose weights walk at random, which is
recursive least squares with a limited memory; a label divides them by the mean of its own
p (1 - p), which makes the step Newton's for its log-loss, with the curvature's shape shared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.elementary import LOGIT_CLIP, sigmoid32
from ihomer.learners.kernels.linear import LANES, add_column
from ihomer.learners.kernels.sums import sum32

PRIOR_VARIANCE = 1.0  # of every weight, so a row of length 1 has a logit of variance 1 at first
WALK = 1e-4  # variance that a weight gains at an event, on its way back to the prior's
PENDING = 8  # events after which the matrix is brought up to date, a divisor of `FIRST_CHOICE`
FEWEST = 4  # events that a column of the block has been in
FIRST_CHOICE = 8  # the block is chosen anew at this event and at every power of two after it
HALVINGS = 60  # of the span of energies, to find the edge of the block
LEAST_GAIN = 0.03  # of the row's largest; smaller ones are left out: nothing is lost but time
LEAST_CURVATURE = 0.03  # p (1 - p) of a label counts as this at least
MEMORY = 1000  # events that the mean of p (1 - p) goes back

_CLIP = np.float32(LOGIT_CLIP)
_ONE = np.float32(1.0)
_ZERO = np.float32(0.0)
_WALK = np.float32(WALK)
_KEEP = np.float32(1.0 - WALK / PRIOR_VARIANCE)
_KEEP_BLOCK = np.float32((1.0 - WALK / PRIOR_VARIANCE) ** PENDING)
_WALK_BLOCK = np.float32(PRIOR_VARIANCE * (1.0 - (1.0 - WALK / PRIOR_VARIANCE) ** PENDING))
_MAGNITUDE = np.int32(0x7FFFFFFF)  # of a float32's bits; in that order, magnitudes are integers
_LEAST_GAIN = np.float32(LEAST_GAIN)
_LEAST = np.float32(LEAST_CURVATURE)


class GainState(NamedTuple):
    """The inverse ridge matrix and how often columns occur.

    Attributes
    ----------
    covariance
        float32 (room, room), symmetric: place 0 is the bias, the block's columns follow; zero
        past `progress[1]`. The room is a multiple of `LANES`. It is as of the last multiple of
        `PENDING` learned events.
    steps, across
        float32 (`PENDING`, room) and its transpose: vectors k, one for each event since, zero
        where there was none yet; k k' is to be subtracted from the matrix before what the
        events' walks do to it.
    block
        int32 (room,): the column at each place; -1 for the bias.
    place
        int32 (columns,): the column's place in the block, -1 = not in it.
    variance
        float32 (columns,): the diagonal for the columns outside the block.
    seen
        int64 (columns,): events that had the column.
    energy
        float64 (columns,): sum of its squared values.
    progress
        int64 (2,): learned events, places taken.
    """

    covariance: Float32Array
    steps: Float32Array
    across: Float32Array
    block: IntArray
    place: IntArray
    variance: Float32Array
    seen: OffsetArray
    energy: FloatArray
    progress: OffsetArray


class StepState(NamedTuple):
    """Weights and mean curvature by position.

    Attributes
    ----------
    weights
        float32 (columns, width); the width is a multiple of `LANES`.
    bias, curvature
        float32 (width,); the curvature is the running mean of p (1 - p).
    progress
        int64 (1,): learned events.
    """

    weights: Float32Array
    bias: Float32Array
    curvature: Float32Array
    progress: OffsetArray


@kernel
def choose_block(state: GainState) -> None:
    """Put the columns of largest energy into the block; those that tie at its edge stay out."""
    room, columns = state.block.shape[0], state.place.shape[0]
    rank = np.zeros(columns)
    edge, above = 0.0, 0.0
    for j in range(columns):
        if state.seen[j] >= FEWEST:
            rank[j] = state.energy[j]
            above = max(above, rank[j])
    if columns >= room:
        # Halving finds the least edge that leaves room for what is above it.
        for _ in range(HALVINGS):
            middle, higher = 0.5 * (edge + above), 0
            for j in range(columns):
                if rank[j] > middle:
                    higher += 1
            if higher < room:
                above = middle
            else:
                edge = middle
        edge = above
    old = state.progress[1]
    matrix = state.covariance
    # Those that stay move up, in their order, so that nothing is overwritten before it is read.
    kept = np.zeros(old, dtype=np.int64)
    size = 1
    for i in range(1, old):
        j = state.block[i]
        if rank[j] > edge:
            kept[size] = i
            state.block[size] = j
            size += 1
        else:
            state.variance[j] = matrix[i, i]
            state.place[j] = -1
    for a in range(size):
        for b in range(size):
            matrix[a, b] = matrix[kept[a], kept[b]]
    for a in range(room):
        for b in range(size if a < size else 0, room):
            matrix[a, b] = _ZERO
    for j in range(columns):
        if rank[j] > edge and state.place[j] < 0:
            state.block[size] = j
            matrix[size, size] = state.variance[j]
            size += 1
    for i in range(1, size):
        state.place[state.block[i]] = i
    state.progress[1] = size


@kernel
def settle(state: GainState) -> None:
    """Subtract the pending products from the matrix and let its weights walk.

    Many at once, because the matrix is too large to be read and written at every event.
    """
    size = state.progress[1]
    width = (size + LANES - 1) // LANES * LANES
    k = state.steps
    for a in range(size):
        row = state.covariance[a]
        f = state.across[a]
        f0, f1, f2, f3, f4, f5, f6, f7 = f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7]
        for i in range(width):
            less = (f0 * k[0, i] + f1 * k[1, i]) + (f2 * k[2, i] + f3 * k[3, i])
            less += (f4 * k[4, i] + f5 * k[5, i]) + (f6 * k[6, i] + f7 * k[7, i])
            row[i] = _KEEP_BLOCK * (row[i] - less)
        row[a] += _WALK_BLOCK
    for a in range(width):
        for i in range(PENDING):
            k[i, a] = _ZERO
            state.across[a, i] = _ZERO


@kernel
def _largest(bits: IntArray, size: int) -> np.float32:
    """The largest magnitude among the first float32 numbers, none NaN, that have these bits.

    Of integers, because a maximum of floats does not vectorise.
    """
    most = np.int32(0)
    for i in range(size):
        most = max(most, bits[i] & _MAGNITUDE)
    return np.float32(np.int32(most).view(np.float32))


@kernel
def gain_rows(
    indptr: OffsetArray,
    indices: IntArray,
    values: Float32Array,
    labelled: BoolArray,
    state: GainState,
    out_indptr: OffsetArray,
    out_indices: IntArray,
    out_values: Float32Array,
    out_bias: Float32Array,
) -> None:
    """Gains of each labelled row, P x / (1 + x' P x), and P after it.

    x is the row with a 1 for the bias, P block-diagonal as in `GainState`. First
    P <- P - P x x' P / (1 + x' P x), then P <- P + (1 - P) `WALK`, as weights do that walk at
    random and lean back to the prior's variance 1, so that what is old fades and nothing grows
    past the prior: the block at every event, other columns when they occur.

    Parameters
    ----------
    indptr, indices, values
        Rows of length 1 at most, columns ascending, those past the state's left out.
    labelled
        bool (n,): rows to learn from; the others get no gains.
    state
        Changed in place.
    out_indptr, out_indices, out_values, out_bias
        int64 (n + 1,), int32 and float32 with room for the non-zeros and n times the block's
        room, float32 (n,): gains above `LEAST_GAIN` of the row's largest as sparse rows, columns
        in no particular order, each once; the bias's gain.
    """
    columns, room = state.place.shape[0], state.block.shape[0]
    k = np.zeros(room, dtype=np.float32)
    bits = k.view(np.int32)
    terms = np.zeros(room, dtype=np.float32)
    wide = np.zeros(room, dtype=np.float32)  # x by place, while it is needed
    x = np.zeros(room, dtype=np.float32)
    places = np.zeros(room, dtype=np.int32)
    gains = np.zeros(columns, dtype=np.float32)
    written = 0
    out_indptr[0] = 0
    for t in range(labelled.shape[0]):
        out_bias[t] = _ZERO
        out_indptr[t + 1] = written
        if not labelled[t]:
            continue
        first, last = indptr[t], indptr[t + 1]
        while last > first and indices[last - 1] >= columns:
            last -= 1
        size = state.progress[1]
        width = (size + LANES - 1) // LANES * LANES
        row = state.covariance[0]
        for i in range(width):
            k[i] = row[i]
        spread, inside = _ZERO, 0
        for a in range(first, last):
            j = indices[a]
            value = values[a]
            if state.place[j] >= 0:
                places[inside], x[inside] = state.place[j], value
                inside += 1
            else:
                gains[j] = state.variance[j] * value
                spread += gains[j] * value
        a = 0
        while a + 4 <= inside:
            x0, x1, x2, x3 = x[a], x[a + 1], x[a + 2], x[a + 3]
            p0, p1 = state.covariance[places[a]], state.covariance[places[a + 1]]
            p2, p3 = state.covariance[places[a + 2]], state.covariance[places[a + 3]]
            for i in range(width):
                k[i] += (x0 * p0[i] + x1 * p1[i]) + (x2 * p2[i] + x3 * p3[i])
            a += 4
        while a < inside:
            value = x[a]
            row = state.covariance[places[a]]
            for i in range(width):
                k[i] += value * row[i]
            a += 1
        pending = state.progress[0] % PENDING
        kept = 1.0
        for _ in range(pending):
            kept *= 1.0 - WALK / PRIOR_VARIANCE
        keep, walked = np.float32(kept), np.float32(PRIOR_VARIANCE * (1.0 - kept))
        if pending > 0:
            wide[0] = _ONE
            for a in range(inside):
                wide[places[a]] = x[a]
            for e in range(pending):
                row = state.steps[e]
                for i in range(width):
                    terms[i] = row[i] * wide[i]
                factor = sum32(terms, width)
                for i in range(width):
                    k[i] -= factor * row[i]
            for i in range(width):
                k[i] *= keep
            k[0] += walked
            for a in range(inside):
                k[places[a]] += walked * x[a]
                wide[places[a]] = _ZERO
        for a in range(inside):
            terms[a] = k[places[a]] * x[a]
        total = k[0] + sum32(terms, inside)
        # Rounding must not make a variance negative.
        scale = _ONE / (_ONE + (max(_ZERO, total) + spread))
        out_bias[t] = k[0] * scale
        largest = _largest(bits, size)
        for a in range(first, last):
            if state.place[indices[a]] < 0:
                largest = max(largest, abs(gains[indices[a]]))
        least = _LEAST_GAIN * largest
        # Every one is written, and the next one over it if it is too small: no test to guess.
        for i in range(1, size):
            out_indices[written] = state.block[i]
            out_values[written] = k[i] * scale
            written += int(abs(k[i]) > least)
        for a in range(first, last):
            j = indices[a]
            state.seen[j] += 1
            state.energy[j] += float(values[a]) * float(values[a])
            if state.place[j] < 0:
                if abs(gains[j]) > least:
                    out_indices[written] = j
                    out_values[written] = gains[j] * scale
                    written += 1
                rest = state.variance[j] - gains[j] * (gains[j] * scale)
                state.variance[j] = _KEEP * rest + _WALK
        out_indptr[t + 1] = written
        root = np.sqrt(scale / keep)
        row = state.steps[pending]
        for i in range(width):
            row[i] = k[i] * root
        for i in range(width):
            state.across[i, pending] = row[i]
        state.progress[0] += 1
        events = state.progress[0]
        if events % PENDING == 0:
            settle(state)
        if events >= FIRST_CHOICE and events & (events - 1) == 0:
            choose_block(state)


@kernel
def gain_steps(
    indptr: OffsetArray,
    indices: IntArray,
    values: Float32Array,
    gain_indptr: OffsetArray,
    gain_indices: IntArray,
    gain_values: Float32Array,
    gain_bias: Float32Array,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    known: IntArray,
    members: IntArray,
    position_of: IntArray,
    reserve: int,
    state: StepState,
    reach: IntArray,
    out: Float32Array,
) -> None:
    """Predict, then step each label along the row's gains by (y - p) / its mean of p (1 - p).

    Parameters
    ----------
    indptr, indices, values
        The rows that the gains were made of.
    gain_indptr, gain_indices, gain_values, gain_bias
        What `gain_rows` says.
    y_indptr, y_indices, labelled, known, members, position_of, reserve, reach, out
        As in `linear_rows`.
    state
        Changed in place by labelled rows; as many columns as the `GainState`.
    """
    columns = state.weights.shape[0]
    z = np.zeros(state.bias.shape[0], dtype=np.float32)
    error = np.zeros(state.bias.shape[0], dtype=np.float32)
    for t in range(labelled.shape[0]):
        before = reserve + np.searchsorted(members, known[t])
        after = reserve + np.searchsorted(members, known[t + 1])
        width = (after + LANES - 1) // LANES * LANES
        for c in range(width):
            z[c] = state.bias[c]
        first, last = indptr[t], indptr[t + 1]
        while last > first and indices[last - 1] >= columns:
            last -= 1
        for k in range(first, last):
            value = values[k]
            row = state.weights[indices[k]]
            add_column(value, row, reach[indices[k]], before, width, z)
        for c in range(before):
            out[t, c] = min(_CLIP, max(-_CLIP, z[c]))
        if not labelled[t]:
            continue
        for c in range(before, after):
            z[c] = z[0]
            state.bias[c] = state.bias[0]
            state.curvature[c] = state.curvature[0]
        share = np.float32(1.0 / (min(state.progress[0], MEMORY) + 2))
        for c in range(width):
            p = sigmoid32(z[c])
            state.curvature[c] += (p * (_ONE - p) - state.curvature[c]) * share
            error[c] = -p
        for c in range(after, width):
            error[c] = _ZERO  # nobody lives in the padding
        for k in range(y_indptr[t], y_indptr[t + 1]):
            position = position_of[y_indices[k]]
            if position >= 0:
                error[position] += _ONE
        for c in range(width):
            error[c] /= max(_LEAST, state.curvature[c])
        gain = gain_bias[t]
        for c in range(width):
            state.bias[c] += gain * error[c]
        for k in range(gain_indptr[t], gain_indptr[t + 1]):
            gain = gain_values[k]
            row = state.weights[gain_indices[k]]
            held = reach[gain_indices[k]]
            if held < after:
                for c in range(held, after):
                    row[c] = row[0]
                reach[gain_indices[k]] = after
            for c in range(width):
                row[c] += gain * error[c]
        state.progress[0] += 1
