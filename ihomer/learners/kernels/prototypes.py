"""Prototypes, found online: dense rows in, the few nearest prototypes of each row with weights out.

k-means as the stream runs (MacQueen, 1967): a label that follows where an event lies, and no line
through the features, is a number per prototype. It needs no labels, so all of them share it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel

PROTOTYPES = 128
NEAREST = 8  # prototypes of a row, at most

_EVERY = 3  # learned events between two of the first prototypes
_LEAST_RATE = 0.002  # a prototype follows its events at least so fast
_SPREAD_RATE = 0.001
_NOVEL = 2.0  # a row so many times further out than usual is a prototype of its own
_IDLE = 512  # if one can be had that was nearest to none of so many learned events
_LEAST_WEIGHT = 0.01  # of a prototype, against the nearest one's
_FURTHEST = 4.7  # beyond it weights are less than that, as exp(-4.7) < 0.01
_SMALLEST = 1e-6


class PrototypeState(NamedTuple):
    """Where prototypes are.

    Attributes
    ----------
    places
        float32 (slots, PROTOTYPES).
    owner
        int32 (slots,): the column that the slot's places belong to, -1 = none.
    wins
        float64 (PROTOTYPES,): rows since it was founded to which it was the nearest.
    last
        int64 (PROTOTYPES,): number of learned rows when it last was.
    spread
        float64 (1,): fading mean of the squared distance to the nearest.
    progress
        int64 (2,): learned rows, prototypes founded.
    """

    places: Float32Array
    owner: IntArray
    wins: FloatArray
    last: OffsetArray
    spread: FloatArray
    progress: OffsetArray


@kernel
def _least(bits: IntArray, many: int) -> np.float32:
    """The least of the first `many` numbers, none of them negative, that have these bits.

    Of integers, which are in the same order, because a minimum of floats does not vectorise.
    """
    least = bits[0]
    for k in range(many):
        least = min(least, bits[k])
    return np.float32(np.int32(least).view(np.float32))


@kernel
def _nearest(distance: Float32Array, many: int, furthest: float, nearest: IntArray) -> int:
    """List the least of the first `many` distances up to `furthest`, ties to the lower number.

    Returns
    -------
    int
        How many there are, at most `NEAREST`.
    """
    count = 0
    limit = furthest
    for k in range(many):
        if distance[k] <= limit:
            if count == NEAREST:
                if distance[k] >= distance[nearest[NEAREST - 1]]:
                    continue
                count -= 1
            i = count
            while i > 0 and distance[k] < distance[nearest[i - 1]]:
                nearest[i] = nearest[i - 1]
                i -= 1
            nearest[i] = k
            count += 1
            if count == NEAREST:
                limit = float(distance[nearest[NEAREST - 1]])
    return count


@kernel
def _distances(x: Float32Array, n_used: int, places: Float32Array, distance: Float32Array) -> None:
    """Squared distances to all prototypes."""
    for k in range(PROTOTYPES):
        distance[k] = 0.0
    s = 0
    while s + 4 <= n_used:
        x0, x1, x2, x3 = x[s], x[s + 1], x[s + 2], x[s + 3]
        for k in range(PROTOTYPES):
            d0, d1 = x0 - places[s, k], x1 - places[s + 1, k]
            d2, d3 = x2 - places[s + 2, k], x3 - places[s + 3, k]
            distance[k] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
        s += 4
    while s < n_used:
        x0 = x[s]
        for k in range(PROTOTYPES):
            d0 = x0 - places[s, k]
            distance[k] += d0 * d0
        s += 1


@kernel
def prototype_rows(
    x: Float32Array,
    used: IntArray,
    layouts: IntArray,
    layout_of: IntArray,
    labelled: BoolArray,
    state: PrototypeState,
    nearest: IntArray,
    weights: Float32Array,
    found: IntArray,
    founded: IntArray,
) -> None:
    """List each row's nearest prototypes, then move the nearest one towards a labelled row.

    With D_k the squared distance to prototype k, D its least, m the number of columns and S the
    mean of D over the stream, prototype k has a weight in proportion to
    ``exp(-(D_k - D) m / (2 S))``: a mixture of Gaussians of one common variance S / m.

    Parameters
    ----------
    x, used, layouts, layout_of
        See `dense_rows`. A row that is off has no prototypes and moves none.
    labelled
        bool (n,).
    state
        Changed in place by labelled rows.
    nearest, weights, found
        int32 (n, NEAREST), float32 (n, NEAREST), int32 (n,): the row's prototypes, nearest
        first, ties to the lower number; their weights, of sum 1; how many.
    founded
        int32 (n,): the prototype that starts anew at this row and counts from the next one on;
        -1 = none.
    """
    slots = x.shape[1]
    distance = np.zeros(PROTOTYPES, dtype=np.float32)
    bits = distance.view(np.int32)
    layout = np.int32(-1)
    held = 0
    for t in range(labelled.shape[0]):
        found[t] = 0
        founded[t] = -1
        n_used = used[t]
        if n_used == 0:
            continue
        if layout_of[t] != layout:
            layout = layout_of[t]
            held = 0
            for s in range(slots):
                held += layouts[layout, s] >= 0
                if state.owner[s] != layouts[layout, s]:
                    state.owner[s] = layouts[layout, s]
                    for k in range(PROTOTYPES):
                        state.places[s, k] = 0.0
        _distances(x[t], n_used, state.places, distance)
        n, many = int(state.progress[0]), int(state.progress[1])
        best = -1
        least = 0.0
        if many > 0:
            least = float(_least(bits, many))
            softness = 0.5 * held / max(_SMALLEST, state.spread[0])
            count = _nearest(distance, many, least + _FURTHEST / softness, nearest[t])
            best = int(nearest[t, 0])
            total = 0.0
            for i in range(count):
                weight = math.exp((least - float(distance[nearest[t, i]])) * softness)
                if weight < _LEAST_WEIGHT:
                    count = i
                    break
                weights[t, i] = weight
                total += weight
            for i in range(count):
                weights[t, i] /= total
            found[t] = count
        if not labelled[t]:
            continue
        new = -1
        if many < PROTOTYPES:
            if n % _EVERY == 0:
                new = many
                state.progress[1] += 1
        elif least > _NOVEL * state.spread[0]:
            new = 0
            for i in range(PROTOTYPES):
                if state.last[i] < state.last[new]:
                    new = i
            if n - state.last[new] < _IDLE:
                new = -1
        moved, rate = new, 1.0
        if new >= 0:
            founded[t] = new
            state.wins[new] = 1.0
        elif best >= 0:
            moved = best
            state.wins[best] += 1.0
            rate = max(_LEAST_RATE, 1.0 / state.wins[best])
            state.spread[0] += max(_SPREAD_RATE, 1.0 / (n + 1.0)) * (least - state.spread[0])
        if moved >= 0:
            state.last[moved] = n
            for s in range(n_used):
                place = state.places[s, moved]
                state.places[s, moved] = place + np.float32(rate) * (x[t, s] - place)
        state.progress[0] += 1


def empty_state(slots: int) -> PrototypeState:
    """A state without prototypes for rows of `slots` columns."""
    return PrototypeState(
        np.zeros((slots, PROTOTYPES), dtype=np.float32),
        np.full(slots, -1, dtype=np.int32),
        np.zeros(PROTOTYPES),
        np.zeros(PROTOTYPES, dtype=np.int64),
        np.zeros(1),
        np.zeros(2, dtype=np.int64),
    )
