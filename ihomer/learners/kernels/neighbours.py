"""Search a window of recent events: a scaled row in, the most similar events out.

One search per event serves every label. The similarity is a cosine in which each column is
weighted by how much it has said about the labels so far, less a price for age.

Values are rounded to a grid so coarse that every sum of products is exact in float32. A sum then
does not depend on the order of the columns, and a column can be kept in either of two ways,
whichever is faster, without a change of one bit: densely by event (`dense`) where many events
have it, as a list of (event, value) pairs where few do.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ihomer.instances import FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel

Float32Array = npt.NDArray[np.float32]

NEIGHBOURS = 12
WINDOW = 2000  # learned events that are searched
ENTRY_LIMIT = 1 << 17  # non-zeros of the window; it gets shorter where rows are longer
LABEL_LIMIT = 1 << 18  # positive labels of the window
STRIDE = 128  # learned events between two looks at the columns' weights
EARLIEST = 64  # learned events before the first look
FRESH = 128  # events between two lists by column
SKETCH = 16  # sums that stand for all labels in the columns' weights
HALVING = 4096  # learned events after which the weights' statistics count half
PSEUDO = 2.0  # events that a column's weight is shrunk by
AGE_UNIT = 500.0  # events
AGE_LIMIT = 0.6  # most that log(1 + age / AGE_UNIT) can cost in similarity

# Similarities are sums of multiples of 2^-23 below 2, lengths of multiples of 2^-48 below 16.
VALUE_GRID = 2.0**11
QUERY_GRID = 2.0**12
WEIGHT_GRID = 2.0**26

DENSE_SHARE = 8  # a column is dense from one event of the window in so many
LEAST_DENSE = 32  # and from so many events
# Positions in `progress`.
FIRST, STOP, LEARNED, INDEXED, DENSE, WANTED = range(6)
# Positions in `law`: parameters, their sums of squared gradients, and what follows from them.
SHARPNESS, PRIOR, AGEING, SQUARES, PRICE, EVENTS, POSITIVES, UNSEEN, LAW_SIZE = (
    0,
    1,
    2,
    3,
    6,
    7,
    8,
    9,
    10,
)

_LOWEST = np.float32(-9.0)  # below every score
_ONE = np.float32(1.0)


class NeighbourState(NamedTuple):
    """The window, the columns' statistics and weights, and the law by which neighbours vote.

    Attributes
    ----------
    indptr, split, columns, values
        int64 (rows + 1,), int64 (rows,), int32 and float32 (entries,): stored events; within a
        row the entries from `split` on are in `dense`.
    y_indptr, y_labels
        int64 (rows + 1,), int32 (label entries,): their label sets, ascending.
    length
        float64 (rows,): squared weighted length.
    inverse
        float32 (rows,): 1 / weighted length, 0 for an empty row.
    dense, dense_columns
        float32 (d, rows), int32 (d,): the values of dense columns by event; whose they are.
    posted, posted_rows, posted_values
        int32 (columns + 1,), int32 and float32 (entries,): the other columns' non-zeros up to
        row `progress[INDEXED]`, by column.
    place, live
        int32 (columns,): row in `dense` or -1; non-zeros in the window.
    weight
        float32 (columns,): squared weight, relative to the largest.
    product, total, square, seen
        float32 (columns, SKETCH) and (columns,): sums of value * sketch, value, value^2, and
        number of non-zeros.
    sketch
        float64 (2, SKETCH): sums of the label sketch and of its square.
    on
        float64 (labels,): events with the label on.
    age
        float32 (WINDOW + 1,): log(1 + age / AGE_UNIT), the oldest first.
    law
        float64 (LAW_SIZE,): log-linear law of the votes (see `search_rows`), sums of its squared
        gradients, the price of age, (halved) events, positives, weight of an unseen column.
    progress
        int64 (6,): rows of the window are FIRST to STOP (exclusive); learned events; rows before
        INDEXED are in `posted`; rows of `dense` in use, and how many there should be.
    query, score
        float32 (columns,), (rows,): scratch; `query` is zero between events.
    mass, slope
        float64 (labels,): scratch, zero between events.
    """

    indptr: OffsetArray
    split: OffsetArray
    columns: IntArray
    values: Float32Array
    y_indptr: OffsetArray
    y_labels: IntArray
    length: FloatArray
    inverse: Float32Array
    dense: Float32Array
    dense_columns: IntArray
    posted: IntArray
    posted_rows: IntArray
    posted_values: Float32Array
    place: IntArray
    live: IntArray
    weight: Float32Array
    product: Float32Array
    total: Float32Array
    square: Float32Array
    seen: Float32Array
    sketch: FloatArray
    on: FloatArray
    age: Float32Array
    law: FloatArray
    progress: OffsetArray
    query: Float32Array
    score: Float32Array
    mass: FloatArray
    slope: FloatArray


@kernel
def index_rows(state: NeighbourState) -> None:
    """Decide which columns are dense and list the others' non-zeros by column."""
    first, stop = state.progress[FIRST], state.progress[STOP]
    columns = state.place.shape[0]
    least = max(LEAST_DENSE, (stop - first) // DENSE_SHARE)
    used = state.progress[DENSE]
    changed = False
    for d in range(used):
        j = state.dense_columns[d]
        if j >= 0 and 4 * state.live[j] < least:  # far below, so that few go to and fro
            state.place[j] = -1
            state.dense_columns[d] = -1
            changed = True
    wanted, free, start = 0, 0, 0
    state.posted[0] = 0
    for j in range(columns):
        if state.place[j] < 0 and state.live[j] >= least:
            while free < used and state.dense_columns[free] >= 0:
                free += 1
            if free < state.dense.shape[0]:
                used = max(used, free + 1)
                state.dense_columns[free] = j
                state.place[j] = free
                state.dense[free, first:stop] = 0.0
                changed = True
            wanted += 1
        elif state.place[j] >= 0:
            wanted += 1
        # `posted[j + 1]` runs from the start of column j to its end while the lists are filled.
        state.posted[j + 1] = start
        if state.place[j] < 0:
            start += state.live[j]
    state.progress[DENSE] = used
    state.progress[WANTED] = wanted
    for r in range(first, stop):
        if changed:
            state.split[r] = state.indptr[r + 1]
            split_row(state, r)
        for k in range(state.indptr[r], state.split[r]):
            j = state.columns[k]
            at = state.posted[j + 1]
            state.posted_rows[at] = r
            state.posted_values[at] = state.values[k]
            state.posted[j + 1] = at + 1
    state.progress[INDEXED] = stop


@kernel
def split_row(state: NeighbourState, row: int) -> None:
    """Move a row's entries of dense columns behind the others, and into `dense`."""
    k, end = state.indptr[row], state.split[row]
    while k < end:
        j, value = state.columns[k], state.values[k]
        if state.place[j] >= 0:
            end -= 1
            state.columns[k], state.values[k] = state.columns[end], state.values[end]
            state.columns[end], state.values[end] = j, value
            state.dense[state.place[j], row] = value
        else:
            k += 1
    state.split[row] = end


@kernel
def weigh_columns(state: NeighbourState) -> None:
    """Renew the columns' weights and the lengths of the rows under them.

    With R the mean squared correlation of a column with the label sketch over N events, N R is
    about 1 where there is none. The weight is [(N R + PSEUDO) / (n + PSEUDO)]^(3/8), n being the
    column's non-zeros: evidence per occurrence, which also does what an inverse document
    frequency does. Its square is kept.
    """
    live, weight, law, sketch = state.live, state.weight, state.law, state.sketch
    total, square, product = state.total, state.square, state.product
    length, indptr, split = state.length, state.indptr, state.split
    columns, values = state.columns, state.values
    events = np.float32(law[EVENTS])
    variance = np.zeros(SKETCH, dtype=np.float32)
    used = np.float32(0.0)
    for b in range(SKETCH):
        mean = sketch[0, b] / events
        spread = sketch[1, b] / events - mean * mean
        if spread > 1e-6:
            variance[b] = np.float32(1.0 / spread)
            used += _ONE
    largest = _ONE
    for j in range(state.place.shape[0]):
        if live[j] == 0:
            continue
        mean = total[j] / events
        spread = square[j] / events - mean * mean
        evidence = np.float32(0.0)
        if spread > np.float32(1e-4) * square[j] / events and used > 0:
            for b in range(SKETCH):
                c = product[j, b] - mean * np.float32(sketch[0, b])
                evidence += c * c * variance[b]
            evidence /= events * spread * used
        pseudo = np.float32(PSEUDO)
        root = np.sqrt(np.sqrt((evidence + pseudo) / (state.seen[j] + pseudo)))
        weight[j] = root * root * root
        largest = max(largest, weight[j])
    law[UNSEEN] = on_grid(1.0 / float(largest), WEIGHT_GRID)
    for j in range(state.place.shape[0]):
        relative = float(weight[j]) / float(largest)
        weight[j] = law[UNSEEN] if live[j] == 0 else on_grid(relative, WEIGHT_GRID)
    first, stop = state.progress[FIRST], state.progress[STOP]
    for r in range(first, stop):
        length[r] = 0.0
    for d in range(state.progress[DENSE]):
        j = state.dense_columns[d]
        if j >= 0:
            by = float(weight[j])
            sums, column = length[first:stop], state.dense[d, first:stop]
            for r in range(sums.shape[0]):
                sums[r] += by * float(column[r] * column[r])
    for r in range(first, stop):
        squared = length[r]
        for k in range(indptr[r], split[r]):
            value = float(values[k])
            squared += float(weight[columns[k]]) * (value * value)
        length[r] = squared
        state.inverse[r] = 1.0 / math.sqrt(squared) if squared > 0.0 else 0.0


@kernel
def on_grid(value: float | np.float32, grid: float) -> np.float32:
    """The multiple of 1 / grid nearest to `value`."""
    return np.float32(math.floor(float(value) * grid + 0.5) / grid)


@kernel
def _add_columns(
    score: Float32Array,
    dense: Float32Array,
    first: int,
    stop: int,
    rows: IntArray,
    by: Float32Array,
) -> None:
    """Add eight weighted columns to the scores: one load and store of a score for them all."""
    n = score.shape[0]
    a, b = dense[rows[0], first:stop], dense[rows[1], first:stop]
    c, d = dense[rows[2], first:stop], dense[rows[3], first:stop]
    e, f = dense[rows[4], first:stop], dense[rows[5], first:stop]
    g, h = dense[rows[6], first:stop], dense[rows[7], first:stop]
    wa, wb, wc, wd = by[0], by[1], by[2], by[3]
    we, wf, wg, wh = by[4], by[5], by[6], by[7]
    for r in range(n):
        score[r] += (wa * a[r] + wb * b[r] + wc * c[r] + wd * d[r]) + (
            we * e[r] + wf * f[r] + wg * g[r] + wh * h[r]
        )


@kernel
def score_rows(
    state: NeighbourState, columns: IntArray, values: Float32Array, weighted: FloatArray
) -> None:
    """Score the window's rows against a query: similarity less the price of age.

    Parameters
    ----------
    state
        `score` is written; an empty or unrelated row gets the lowest score.
    columns, values
        The query; columns past the state's are new.
    weighted
        float64, at least as long: scratch.
    """
    first, stop, indexed = state.progress[FIRST], state.progress[STOP], state.progress[INDEXED]
    known = state.place.shape[0]
    state.score[:stop] = 0.0
    own, squared = 0.0, 0.0
    for k in range(columns.shape[0]):
        j, value = columns[k], float(on_grid(values[k], VALUE_GRID))
        weight = float(state.weight[j]) if j < known else state.law[UNSEEN]
        own += weight * (value * value)
        weighted[k] = weight * value
        squared += weighted[k] * weighted[k]
    score = state.score[first:stop]
    if squared == 0.0:
        for r in range(score.shape[0]):
            score[r] = _LOWEST
        return
    norm = math.sqrt(squared)
    waiting = 0
    rows = np.zeros(8, dtype=np.int32)
    by = np.zeros(8, dtype=np.float32)
    for k in range(columns.shape[0]):
        j = columns[k]
        q = on_grid(weighted[k] / norm, QUERY_GRID)
        if j >= known or q == 0.0:
            continue
        if state.place[j] >= 0:
            rows[waiting], by[waiting] = state.place[j], q
            waiting += 1
            if waiting == 8:
                _add_columns(score, state.dense, first, stop, rows, by)
                waiting = 0
        else:
            state.query[j] = q
            for i in range(state.posted[j], state.posted[j + 1]):
                state.score[state.posted_rows[i]] += q * state.posted_values[i]
    if waiting > 0:
        for i in range(waiting, 8):
            by[i] = 0.0
        _add_columns(score, state.dense, first, stop, rows, by)
    for r in range(indexed, stop):
        added = np.float32(0.0)
        for k in range(state.indptr[r], state.split[r]):
            added += state.query[state.columns[k]] * state.values[k]
        state.score[r] += added
    for k in range(columns.shape[0]):
        if columns[k] < known:
            state.query[columns[k]] = 0.0
    scale = np.float32(norm / math.sqrt(own))
    price = np.float32(state.law[PRICE])
    ages, inverse = state.age[WINDOW - score.shape[0] + 1 :], state.inverse[first:stop]
    for r in range(score.shape[0]):
        similarity = score[r] * inverse[r] * scale
        cost = price * ages[r]
        score[r] = similarity - cost if similarity > 0.0 else _LOWEST


@kernel
def best_rows(state: NeighbourState, found: IntArray) -> int:
    """Write the rows with the highest scores, best first, ties newest first; return how many."""
    first = state.progress[FIRST]
    score = state.score[first : state.progress[STOP]]
    best = np.empty(NEIGHBOURS, dtype=np.float32)
    for i in range(NEIGHBOURS):
        best[i] = _LOWEST
    number = 0
    start = score.shape[0]
    while start > 0:
        stop = start
        start = max(0, stop - 64)
        block, worst = score[start:stop], best[NEIGHBOURS - 1]
        better = np.int32(0)
        for r in range(block.shape[0]):  # eight at a time; most blocks have none
            better += np.int32(block[r] > worst)
        if better == 0:
            continue
        for r in range(stop - 1, start - 1, -1):
            value = score[r]
            if value > best[NEIGHBOURS - 1]:
                i = min(number, NEIGHBOURS - 1)
                while i > 0 and best[i - 1] < value:
                    best[i] = best[i - 1]
                    found[i] = found[i - 1]
                    i -= 1
                best[i] = value
                found[i] = first + r
                number = min(NEIGHBOURS, number + 1)
    return number
