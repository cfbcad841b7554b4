"""A small network for a block of labels: dense rows and their prototypes in, logits out.

One hidden layer of rectified units, shared by the block's labels, beside one number per
prototype: what features say together (products, exclusive or) and where an event lies. Each part
has a gain per label that sinks to 0 where the part is of no use. Each event is learned once.

Weights lie so that inner loops run over hidden units or over labels: they vectorise without
changing the order of any sum.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.elementary import LOGIT_CLIP, sigmoid32
from ihomer.learners.kernels.prototypes import PROTOTYPES

HIDDEN = 64
_LANES = 16  # partial sums of a scalar product, which `network_rows` adds up; divides HIDDEN

_STEP = np.float32(0.05)
_BIAS_STEP = np.float32(0.3)
_DECAY = np.float32(0.999)
_FIRST_SQUARE = np.float32(1e-3)
_FIRST_BIAS_SQUARE = np.float32(1e-2)
_FIRST_GAIN_SQUARE = np.float32(0.1)
_MOST_GAIN = np.float32(2.0)
# A prototype sees few events, and forgets by them alone.
_PROTOTYPE_STEP = np.float32(0.5)
_PROTOTYPE_DECAY = np.float32(0.99)
_FIRST_PROTOTYPE_SQUARE = np.float32(0.03)
_LOGIT_LIMIT = np.float32(30.0)
_CLIP = np.float32(LOGIT_CLIP)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


class NetworkState(NamedTuple):
    """Weights, and fading sums of squares that set their steps; float32 but for `events`.

    Attributes
    ----------
    first, first_bias
        (slots, HIDDEN), (HIDDEN,): from dense columns to hidden units.
    owner
        int32 (slots,): the column that the row of `first` belongs to, -1 = none.
    gradients, activities
        (HIDDEN,): sums of squares of each unit's error and of its output.
    second, bias
        (positions, HIDDEN), (positions,): from hidden units to labels.
    errors, bias_squares
        (positions,): sums of squares of each label's error.
    lifts, lift_squares
        (PROTOTYPES, positions): from prototypes to labels.
    gains, gain_squares
        (2, positions): of hidden units and of prototypes, in [0, 2].
    draws
        (slots, HIDDEN): uniform in [-1, 1), what the rows of `first` start from.
    events
        float64 (1,): fading count of the events behind `activities`.
    """

    first: Float32Array
    first_bias: Float32Array
    owner: IntArray
    gradients: Float32Array
    activities: Float32Array
    second: Float32Array
    bias: Float32Array
    errors: Float32Array
    bias_squares: Float32Array
    lifts: Float32Array
    lift_squares: Float32Array
    gains: Float32Array
    gain_squares: Float32Array
    draws: Float32Array
    events: FloatArray


@kernel
def _take_layout(layout: IntArray, state: NetworkState) -> None:
    """Start the weights of every slot that has another column than before."""
    held = 0
    for s in range(layout.shape[0]):
        held += layout[s] >= 0
    scale = np.float32(
        math.sqrt(3.0 / max(1, held))
    )  # activities of about 1, whatever the number of columns
    for s in range(layout.shape[0]):
        column = layout[s]
        if state.owner[s] != column:
            state.owner[s] = column
            if column >= 0:
                for h in range(HIDDEN):
                    state.first[s, h] = scale * state.draws[s, h]


@kernel
def _forward(x: Float32Array, n_used: int, state: NetworkState, a: Float32Array) -> None:
    """Outputs of the hidden units."""
    first = state.first
    for h in range(HIDDEN):
        a[h] = state.first_bias[h]
    s = 0
    while s + 4 <= n_used:
        x0, x1, x2, x3 = x[s], x[s + 1], x[s + 2], x[s + 3]
        for h in range(HIDDEN):
            a[h] += (x0 * first[s, h] + x1 * first[s + 1, h]) + (
                x2 * first[s + 2, h] + x3 * first[s + 3, h]
            )
        s += 4
    while s < n_used:
        x0 = x[s]
        for h in range(HIDDEN):
            a[h] += x0 * first[s, h]
        s += 1
    for h in range(HIDDEN):
        a[h] = max(_ZERO, a[h])


@kernel
def network_rows(
    x: Float32Array,
    used: IntArray,
    layouts: IntArray,
    layout_of: IntArray,
    nearest: IntArray,
    weights: Float32Array,
    found: IntArray,
    founded: IntArray,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    known: IntArray,
    first_label: int,
    n_labels: int,
    state: NetworkState,
    out: Float32Array,
) -> None:
    """Predict, then learn each row.

    With a = max(0, b + W x) and q the weights of the prototypes, the logit of label l is
    ``c_l + g_l sum_h V_lh a_h + g'_l sum_k q_k U_kl``; the loss is the sum of the labels'
    log-losses. Steps are AdaGrad's (Duchi, Hazan, Singer, JMLR 2011) with fading sums of
    squares. Those of V and W are factored, as in Adafactor (Shazeer, Stern, ICML 2018): label by
    unit for V, and for W by unit alone, because dense columns have variance 1. V, W and U learn
    as if the gains were 1, so that a part that was of no use can come back. Where a row is off,
    only the labels' biases are at work.

    Parameters
    ----------
    x, used, layouts, layout_of
        See `dense_rows`.
    nearest, weights, found, founded
        See `prototype_rows`.
    y_indptr, y_indices, labelled, known
        As in `Batch`.
    first_label, n_labels
        The block's labels have ids from `first_label`, at most `n_labels` of them.
    state
        Changed in place by labelled rows. Position 0 learns a label that is always off, which
        moves no hidden unit; label l stands at position ``1 + l - first_label``, and starts as a
        copy of position 0 at the row that makes it known.
    out
        float32 (n, positions): logits, cut to plus and minus `LOGIT_CLIP`, of the reserve and of
        the labels known at the row; the rest is left alone.
    """
    width = state.bias.shape[0]
    z = np.zeros(width, dtype=np.float32)
    error = np.zeros(width, dtype=np.float32)
    parts = np.zeros((2, width), dtype=np.float32)
    steps = np.zeros(width, dtype=np.float32)
    a = np.zeros(HIDDEN, dtype=np.float32)
    r = np.zeros(HIDDEN, dtype=np.float32)
    back = np.zeros(HIDDEN, dtype=np.float32)
    lanes = np.zeros(_LANES, dtype=np.float32)
    layout = np.int32(-1)
    for t in range(labelled.shape[0]):
        n_used = used[t]
        before = 1 + min(n_labels, max(0, known[t] - first_label))
        after = 1 + min(n_labels, max(0, known[t + 1] - first_label))
        for c in range(before):
            z[c] = state.bias[c]
        if n_used > 0:
            if layout_of[t] != layout:
                layout = layout_of[t]
                _take_layout(layouts[layout], state)
            _forward(x[t], n_used, state, a)
            for c in range(before):
                for i in range(_LANES):
                    lanes[i] = _ZERO
                for q in range(0, HIDDEN, _LANES):
                    for i in range(_LANES):
                        lanes[i] += state.second[c, q + i] * a[q + i]
                # In a tree, because each addition of a chain would wait for the one before.
                for i in range(8):
                    lanes[i] += lanes[i + 8]
                for i in range(4):
                    lanes[i] += lanes[i + 4]
                parts[0, c] = (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
                parts[1, c] = _ZERO
            for i in range(found[t]):
                k, share = nearest[t, i], weights[t, i]
                for c in range(before):
                    parts[1, c] += share * state.lifts[k, c]
            for c in range(before):
                z[c] += state.gains[0, c] * parts[0, c] + state.gains[1, c] * parts[1, c]
        for c in range(before):
            logit = min(_LOGIT_LIMIT, max(-_LOGIT_LIMIT, z[c]))
            out[t, c] = min(_CLIP, max(-_CLIP, logit))
            error[c] = sigmoid32(logit)
        if not labelled[t]:
            continue
        for c in range(before, after):
            error[c] = error[0]
            for h in range(HIDDEN):
                state.second[c, h] = state.second[0, h]
            state.bias[c] = state.bias[0]
            state.errors[c] = state.errors[0]
            state.bias_squares[c] = state.bias_squares[0]
            for g in range(2):
                parts[g, c] = parts[g, 0]
                state.gains[g, c] = state.gains[g, 0]
                state.gain_squares[g, c] = state.gain_squares[g, 0]
            for k in range(PROTOTYPES):
                state.lifts[k, c] = state.lifts[k, 0]
                state.lift_squares[k, c] = state.lift_squares[k, 0]
        for k in range(y_indptr[t], y_indptr[t + 1]):
            c = 1 + y_indices[k] - first_label
            if 1 <= c < after:
                error[c] -= _ONE
        for c in range(after):
            square = error[c] * error[c]
            state.bias_squares[c] = _DECAY * state.bias_squares[c] + square
            state.bias[c] -= _BIAS_STEP * error[c] / np.sqrt(state.bias_squares[c])
        if n_used == 0:
            continue
        state.events[0] = _DECAY * state.events[0] + 1.0
        count = np.float32(state.events[0])
        for h in range(HIDDEN):
            back[h] = _ZERO
            state.activities[h] = _DECAY * state.activities[h] + a[h] * a[h]
            r[h] = a[h] / np.sqrt(state.activities[h] / count + _FIRST_SQUARE)
        for c in range(after):
            state.errors[c] = _DECAY * state.errors[c] + error[c] * error[c]
            steps[c] = _STEP * error[c] / np.sqrt(state.errors[c])
        for c in range(after):
            gradient = error[c] if c > 0 else _ZERO
            step = steps[c]
            for h in range(HIDDEN):
                weight = state.second[c, h]
                back[h] += gradient * weight
                state.second[c, h] = weight - step * r[h]
        for g in range(2):
            for c in range(after):
                gradient = error[c] * parts[g, c]
                square = _DECAY * state.gain_squares[g, c] + gradient * gradient
                state.gain_squares[g, c] = square
                gain = state.gains[g, c] - _STEP * gradient / np.sqrt(square)
                state.gains[g, c] = min(_MOST_GAIN, max(_ZERO, gain))
        for i in range(found[t]):
            k, share = nearest[t, i], weights[t, i]
            for c in range(after):
                gradient = share * error[c]
                square = _PROTOTYPE_DECAY * state.lift_squares[k, c] + gradient * gradient
                state.lift_squares[k, c] = square
                state.lifts[k, c] -= _PROTOTYPE_STEP * gradient / np.sqrt(square)
        if founded[t] >= 0:
            for c in range(width):
                state.lifts[founded[t], c] = _ZERO
                state.lift_squares[founded[t], c] = _FIRST_PROTOTYPE_SQUARE
        for h in range(HIDDEN):
            if a[h] <= _ZERO:
                back[h] = _ZERO
            state.gradients[h] = _DECAY * state.gradients[h] + back[h] * back[h]
            back[h] = _STEP * back[h] / np.sqrt(state.gradients[h] + _FIRST_SQUARE)
            state.first_bias[h] -= back[h]
        for s in range(n_used):
            value = x[t, s]
            for h in range(HIDDEN):
                state.first[s, h] -= value * back[h]


@functools.lru_cache(maxsize=8)
def _draws(rows: int, seed: int) -> Float32Array:
    """Rows of numbers between -1 and 1; all blocks of a model have the same ones."""
    draws = np.random.default_rng(seed).random((rows, HIDDEN)) * 2.0 - 1.0
    return draws.astype(np.float32)


def empty_state(slots: int, positions: int, seed: int = 0) -> NetworkState:
    """A state without events for `slots` dense columns and `positions` labels, reserve included.

    Weights start at random; the first rows are the same whatever `slots` is.
    """
    single = _draws(slots + 1, seed)
    return NetworkState(
        np.zeros((slots, HIDDEN), dtype=np.float32),
        np.float32(0.2) * single[0],
        np.full(slots, -1, dtype=np.int32),
        np.zeros(HIDDEN, dtype=np.float32),
        np.zeros(HIDDEN, dtype=np.float32),
        np.zeros((positions, HIDDEN), dtype=np.float32),
        np.zeros(positions, dtype=np.float32),
        np.full(positions, _FIRST_SQUARE, dtype=np.float32),
        np.full(positions, _FIRST_BIAS_SQUARE, dtype=np.float32),
        np.zeros((PROTOTYPES, positions), dtype=np.float32),
        np.full((PROTOTYPES, positions), _FIRST_PROTOTYPE_SQUARE, dtype=np.float32),
        np.ones((2, positions), dtype=np.float32),
        np.full((2, positions), _FIRST_GAIN_SQUARE, dtype=np.float32),
        single[1:].copy(),
        np.zeros(1),
    )
