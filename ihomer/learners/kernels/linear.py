"""Logistic regression for many labels by AdaGrad: sparse rows in, clipped logits out.

It serves raw rows, scaled rows and rows of tree nodes' indicators; what differs is the rows, the
step, the decay, and whether it starts from nothing or corrects what another expert says. Weights
lie feature-major, so the inner loops run
over labels: they vectorise without changing the order of any sum, and the result is the same on
every run.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, Float32Array, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.elementary import LOGIT_CLIP, sigmoid32

# The label axis is padded to whole vectors of eight lanes: a loop's remainder runs one by one.
LANES = 8

# What every gradient adds to its sum at least: a decaying sum never gets to zero.
TRACE = 1e-12

_CLIP = np.float32(LOGIT_CLIP)
_TRACE = np.float32(TRACE)
_ONE = np.float32(1.0)
_ZERO = np.float32(0.0)


class LinearState(NamedTuple):
    """Weights and AdaGrad sums of squared gradients, by column and position.

    Attributes
    ----------
    weights, squares
        float32 (columns, width); the width is a multiple of `LANES`; squares are positive.
    bias, bias_squares
        float32 (width,).
    slope, slope_squares
        float32 (width,): the factor of the logits that are corrected, 1 at first.
    """

    weights: Float32Array
    squares: Float32Array
    bias: Float32Array
    bias_squares: Float32Array
    slope: Float32Array
    slope_squares: Float32Array


@kernel
def fill_births(
    weights: Float32Array, squares: Float32Array, reach: IntArray, rows: int, after: int
) -> None:
    """Bring the first `rows` columns up to `after` positions, with what position 0 has there."""
    for j in range(rows):
        for c in range(reach[j], after):
            weights[j, c] = weights[j, 0]
            squares[j, c] = squares[j, 0]


@kernel
def add_column(
    value: float | np.float32,
    row: Float32Array,
    held: int,
    before: int,
    width: int,
    z: Float32Array,
) -> None:
    """Add a column's part to the logits of the `before` labels known, `width` with the padding.

    Positions that the column does not hold yet, from `held` on, count as position 0.
    """
    if held >= before:
        for c in range(width):
            z[c] += value * row[c]
    else:
        for c in range(held):
            z[c] += value * row[c]
        for c in range(held, before):
            z[c] += value * row[0]


@kernel
def linear_rows(
    indptr: OffsetArray,
    indices: IntArray,
    values: Float32Array,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    known: IntArray,
    members: IntArray,
    position_of: IntArray,
    reserve: int,
    base: Float32Array,
    state: LinearState,
    reach: IntArray,
    step: float,
    base_step: float,
    decay: float,
    out: Float32Array,
) -> None:
    """Predict, then learn each row; AdaGrad per coordinate (Duchi, Hazan, Singer, JMLR 2011).

    A coordinate with gradient g does G <- decay * G + g^2 + `TRACE`, w <- w - step * g / sqrt(G),
    at rows that have its column only.

    Parameters
    ----------
    indptr, indices, values
        Sparse rows, columns ascending, values between -1e4 and 1e4; columns past the state's
        have no weight and learn none.
    y_indptr, y_indices, labelled, known
        As in `Batch`.
    members
        int32 (m,): the label ids that live here, ascending.
    position_of
        int32 (labels,): label id -> its position, reserve + its place in `members`; -1 = not
        here.
    reserve
        1: position 0 learns a label that is never on, and a label born at row t starts as a copy
        of it after the prediction at t. 0: all members are known from the first row on.
    base
        float32 (n, at least reserve + m): logits to correct, which are multiplied by the slope
        and added; where a label is not known yet, position 0's count. (0, 0): none.
    state
        Changed in place by labelled rows; wide enough for reserve + m.
    reach
        int32 (columns,): positions that a column holds; those behind, of labels born since it was
        learned last, still have what position 0 has there, and get it when the column is learned
        next. Copying every column at every birth would cost more than all else on text.
    step, base_step, decay
        Step size of the weights, and without `base` of the bias; with `base`, that of bias and
        slope; what the sums of squares keep (1 = all).
    out
        float32 (n, at least reserve + m): logits within plus and minus `LOGIT_CLIP`, written at
        the positions known at the row; the rest is left alone.
    """
    columns = state.weights.shape[0]
    corrects = base.shape[0] > 0
    rate, keep = np.float32(step), np.float32(decay)
    bias_rate = np.float32(base_step) if corrects else rate
    start = np.zeros(state.bias.shape[0], dtype=np.float32)
    z = np.zeros(state.bias.shape[0], dtype=np.float32)
    error = np.zeros(state.bias.shape[0], dtype=np.float32)
    for t in range(labelled.shape[0]):
        before = reserve + np.searchsorted(members, known[t])
        after = reserve + np.searchsorted(members, known[t + 1])
        width = (after + LANES - 1) // LANES * LANES
        if corrects:
            for c in range(before):
                start[c] = base[t, c]
            for c in range(max(before, reserve), after):
                start[c] = base[t, 0]
        for c in range(width):
            z[c] = state.bias[c] + state.slope[c] * start[c]
        first, last = indptr[t], indptr[t + 1]
        # Cut here, because a test inside the loops below would keep them from vectorising.
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
            state.bias_squares[c] = state.bias_squares[0]
            state.slope[c] = state.slope[0]
            state.slope_squares[c] = state.slope_squares[0]
        for c in range(width):
            error[c] = sigmoid32(z[c])
        for c in range(after, width):
            error[c] = _ZERO  # nobody lives in the padding
        for k in range(y_indptr[t], y_indptr[t + 1]):
            position = position_of[y_indices[k]]
            if position >= 0:
                error[position] -= _ONE
        for k in range(first, last):
            value = values[k]
            row = state.weights[indices[k]]
            sums = state.squares[indices[k]]
            held = reach[indices[k]]
            if held < after:
                for c in range(held, after):
                    row[c] = row[0]
                    sums[c] = sums[0]
                reach[indices[k]] = after
            for c in range(width):
                gradient = error[c] * value
                sums[c] = keep * sums[c] + (gradient * gradient + _TRACE)
                row[c] -= rate * gradient / np.sqrt(sums[c])
        for c in range(width):
            gradient = error[c]
            square = gradient * gradient + _TRACE
            state.bias_squares[c] = keep * state.bias_squares[c] + square
            state.bias[c] -= bias_rate * gradient / np.sqrt(state.bias_squares[c])
        if corrects:
            for c in range(width):
                gradient = error[c] * start[c]
                square = gradient * gradient + _TRACE
                state.slope_squares[c] = keep * state.slope_squares[c] + square
                state.slope[c] -= bias_rate * gradient / np.sqrt(state.slope_squares[c])
