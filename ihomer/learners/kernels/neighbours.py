"""Search a window of recent events: a scaled row in, the most similar events out.

One search per event serves every label. The similarity is a cosine in which each column is
weighted by how much it has said about the labels so far, less a price for age.

Values are rounded to a grid so coarse that every sum of products is exact in float32. A sum then
does not depend on the order of the columns, and a column can be kept in either of two ways,
whichever is faster, without a change of one bit: densely (`dense`) where many events have it, as
a list of (event, value) pairs where few do. For the same reason the dense part can be left to
BLAS, several events at a time, whatever order it adds in.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.best import LOWEST

NEIGHBOURS = 12
WINDOW = 500  # learned events that are searched
ENTRY_LIMIT = 3 << 15  # non-zeros of the window; it gets shorter where rows are longer
LABEL_LIMIT = 1 << 18  # positive labels of the window
STRIDE = 128  # learned events between two looks at the price of age
EARLIEST = 64  # learned events before the first look at the columns' weights
SELDOM = 512  # learned events between two looks once so many are learned; before, at doublings
GROUP = 64  # most events that are compared with the window at a time
FRESH = 128  # most events between two lists by column
LEAST_FRESH = 16  # and fewest
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
PRODUCTS = 1 << 18  # most of one call of BLAS, which takes no threads for so few
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

_ZERO = np.float32(0.0)
_VALUE_GRID = np.float32(VALUE_GRID)
_VALUE_STEP = np.float32(1.0 / VALUE_GRID)
_ROUND = np.float32(12582912.0)  # a float32 plus this has no bits after the point
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
    inverse
        float32 (rows,): 1 / weighted length, 0 for an empty row.
    dense, dense_columns
        float32 (rows, d), int32 (d,): the events' values in dense columns; whose they are.
    posted, posted_rows, posted_values
        int32 (columns + 1,), int32 and float32 (entries,): the other columns' non-zeros up to
        row `progress[INDEXED]`, by column.
    latest, links
        int32 (columns,), (entries, 2): the last of the other columns' non-zeros from that row on,
        -1 = none; for each of them the one before it in its column, and its row.
    place, live
        int32 (columns,): column of `dense` or -1; non-zeros in the window.
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
        INDEXED are in `posted`; columns of `dense` in use, and how many there should be.
    score, products
        float32 (rows,), (GROUP * most events that are compared with it,): scratch.
    mass, slope
        float64 (labels,): scratch, zero between events.
    """

    indptr: OffsetArray
    split: OffsetArray
    columns: IntArray
    values: Float32Array
    y_indptr: OffsetArray
    y_labels: IntArray
    inverse: Float32Array
    dense: Float32Array
    dense_columns: IntArray
    posted: IntArray
    posted_rows: IntArray
    posted_values: Float32Array
    latest: IntArray
    links: IntArray
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
    score: Float32Array
    products: Float32Array
    mass: FloatArray
    slope: FloatArray


@kernel
def index_rows(state: NeighbourState) -> None:
    """Decide which columns are dense and list the others' non-zeros by column."""
    progress, place, dense_columns = state.progress, state.place, state.dense_columns
    live, posted, dense = state.live, state.posted, state.dense
    split, indptr = state.split, state.indptr
    first, stop = progress[FIRST], progress[STOP]
    columns = place.shape[0]
    least = max(LEAST_DENSE, (stop - first) // DENSE_SHARE)
    used = progress[DENSE]
    changed = False
    for d in range(used):
        j = dense_columns[d]
        if j >= 0 and 2 * live[j] < least:  # far below, so that few go to and fro
            place[j] = -1
            dense_columns[d] = -1
            changed = True
    wanted, free, start = 0, 0, 0
    posted[0] = 0
    for j in range(columns):
        if place[j] < 0 and live[j] >= least:
            while free < used and dense_columns[free] >= 0:
                free += 1
            if free < dense.shape[1]:
                used = max(used, free + 1)
                dense_columns[free] = j
                place[j] = free
                dense[first:stop, free] = 0.0
                changed = True
            wanted += 1
        elif place[j] >= 0:
            wanted += 1
        # `posted[j + 1]` runs from the start of column j to its end while the lists are filled.
        posted[j + 1] = start
        if place[j] < 0:
            start += live[j]
    state.latest[:] = -1
    progress[DENSE] = used
    progress[WANTED] = wanted
    for r in range(first, stop):
        if changed:
            split[r] = indptr[r + 1]
            split_row(state, r)
        for k in range(indptr[r], split[r]):
            j = state.columns[k]
            at = posted[j + 1]
            state.posted_rows[at] = r
            state.posted_values[at] = state.values[k]
            posted[j + 1] = at + 1
    progress[INDEXED] = stop


@kernel
def split_row(state: NeighbourState, row: int) -> None:
    """Move a row's entries of dense columns behind the others, and into `dense`."""
    split, columns, values = state.split, state.columns, state.values
    place = state.place
    k, end = state.indptr[row], split[row]
    while k < end:
        j, value = columns[k], values[k]
        if place[j] >= 0:
            end -= 1
            columns[k], values[k] = columns[end], values[end]
            columns[end], values[end] = j, value
            state.dense[row, place[j]] = value
        else:
            k += 1
    split[row] = end


@kernel
def weigh_columns(state: NeighbourState) -> None:
    """Renew the columns' weights and the lengths of the rows under them.

    With R the mean squared correlation of a column with the label sketch over N events, N R is
    about 1 where there is none. The weight is [(N R + PSEUDO) / (n + PSEUDO)]^(3/8), n being the
    column's non-zeros: evidence per occurrence, which also does what an inverse document
    frequency does. Its square is kept.
    """
    place, progress, indptr = state.place, state.progress, state.indptr
    values, columns = state.values, state.columns
    live, weight, law, sketch = state.live, state.weight, state.law, state.sketch
    total, square, product = state.total, state.square, state.product
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
    for j in range(place.shape[0]):
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
    for j in range(place.shape[0]):
        relative = float(weight[j]) / float(largest)
        weight[j] = law[UNSEEN] if live[j] == 0 else on_grid(relative, WEIGHT_GRID)
    for r in range(progress[FIRST], progress[STOP]):
        start, end = indptr[r], indptr[r + 1]
        one = other = 0.0  # exact, so there can be two that do not wait for each other
        for k in range(start, end - 1, 2):
            u, v = float(values[k]), float(values[k + 1])
            one += float(weight[columns[k]]) * (u * u)
            other += float(weight[columns[k + 1]]) * (v * v)
        if (end - start) % 2:
            u = float(values[end - 1])
            one += float(weight[columns[end - 1]]) * (u * u)
        squared = one + other
        state.inverse[r] = 1.0 / math.sqrt(squared) if squared > 0.0 else 0.0


@kernel
def on_grid(value: float | np.float32, grid: float) -> np.float32:
    """The multiple of 1 / grid nearest to `value`."""
    return np.float32(np.floor(float(value) * grid + 0.5) / grid)


@kernel
def whole32(value: np.float32) -> np.float32:
    """The integer nearest to a number below 2^22, of two the even one."""
    return np.float32((value + _ROUND) - _ROUND)


@kernel
def prepare_rows(
    state: NeighbourState,
    indptr: OffsetArray,
    indices: IntArray,
    values: Float32Array,
    labelled: BoolArray,
    start: int,
    stop: int,
    rounded_row: Float32Array,
    weighted: FloatArray,
    listed: IntArray,
    ends: OffsetArray,
    queries: Float32Array,
    scales: Float32Array,
) -> None:
    """Make queries of the events `start` to `stop`, and put those to be learned behind the window.

    Parameters
    ----------
    state
        Labelled events are written from row `progress[STOP]` on; nothing counts them yet.
    indptr, indices, values, labelled
        A batch; columns past the state's are new.
    start, stop
        Events of the batch (stop exclusive).
    rounded_row
        float32 (most non-zeros of an event,): scratch.
    weighted, listed, ends
        float64 and int32 (non-zeros of the batch,), int64 (events,): the queries' part in the
        other columns, out: an event's values and columns from `indptr` on, and where they end.
    queries
        float32 (events, d): their part in dense columns, out.
    scales
        float32 (events,): what a dot product with a query and `inverse` lack to a cosine, out; 0
        for an empty query.
    """
    place, dense = state.place, state.dense
    known = place.shape[0]
    row = state.progress[STOP]
    for t in range(start, stop):
        begin, end = indptr[t], indptr[t + 1]
        many = end - begin
        rounded, source, out = rounded_row[:many], values[begin:end], weighted[begin:end]
        zeros = np.int32(0)
        for k in range(many):
            rounded[k] = whole32(source[k] * _VALUE_GRID) * _VALUE_STEP
            zeros += np.int32(rounded[k] == _ZERO)
        at = last = state.indptr[row] if labelled[t] else np.int64(0)
        if labelled[t]:
            last += many - zeros
            state.indptr[row + 1] = last
            dense[row] = 0.0
        own, squared = 0.0, 0.0
        for k in range(many):
            j, value = indices[begin + k], rounded[k]
            weight = float(state.weight[j]) if j < known else state.law[UNSEEN]
            by = weight * float(value)
            own += by * float(value)
            squared += by * by
            out[k] = by
            if labelled[t] and value != _ZERO:
                d = place[j]
                if d >= 0:
                    dense[row, d] = value
                    last -= 1
                to = last if d >= 0 else at
                at += np.int64(d < 0)
                state.columns[to] = j
                state.values[to] = value
        if labelled[t]:
            state.split[row] = at
            state.inverse[row] = 1.0 / math.sqrt(own) if own > 0.0 else 0.0
            row += 1
        query = queries[t - start]
        query[:] = 0.0
        scales[t - start] = 0.0
        ends[t - start] = begin
        if squared == 0.0:
            continue
        scales[t - start] = math.sqrt(squared) / math.sqrt(own)
        by = 1.0 / math.sqrt(squared)
        for k in range(many):
            out[k] = np.floor(out[k] * by * QUERY_GRID + 0.5) / QUERY_GRID
        for k in range(many):
            j = indices[begin + k]
            if j >= known:
                continue
            if place[j] >= 0:
                query[place[j]] = out[k]
            elif out[k] != 0.0:
                listed[ends[t - start]] = j
                weighted[ends[t - start]] = out[k]
                ends[t - start] += 1


@kernel
def multiply(rows: Float32Array, queries: Float32Array, products: Float32Array) -> int:
    """Dot products of all rows with all queries, in blocks of rows; return the rows of a block.

    The block from row r on starts at `products[r * queries.shape[0]]`, query after query.
    """
    n, many = rows.shape[0], queries.shape[0]
    block: int = max(16, PRODUCTS // (many * max(1, rows.shape[1])) // 16 * 16)
    for start in range(0, n, block):
        stop = min(n, start + block)
        out = products[start * many : stop * many].reshape((many, stop - start))
        np.dot(queries, rows[start:stop].T, out)
    return block


@kernel
def score_rows(
    state: NeighbourState,
    begin: int,
    end: int,
    listed: IntArray,
    weighted: FloatArray,
    scale: np.float32,
) -> None:
    """Score the window's rows against a query: similarity less the price of age.

    Parameters
    ----------
    state
        `score` holds the dot products in dense columns and becomes the scores; an unrelated row
        gets the lowest score.
    begin, end, listed, weighted
        The query's part in the other columns, which are all the state's.
    scale
        What dot products lack to cosines.
    """
    progress, posted, links = state.progress, state.posted, state.links
    first, stop = progress[FIRST], progress[STOP]
    for k in range(begin, end):
        j, q = listed[k], np.float32(weighted[k])
        for i in range(posted[j], posted[j + 1]):
            state.score[state.posted_rows[i]] += q * state.posted_values[i]
        at = state.latest[j]
        while at >= 0:
            state.score[links[at, 1]] += q * state.values[at]
            at = links[at, 0]
    score, price = state.score[first:stop], np.float32(state.law[PRICE])
    ages, inverse = state.age[WINDOW - score.shape[0] + 1 :], state.inverse[first:stop]
    for r in range(score.shape[0]):
        similarity = score[r] * inverse[r] * scale
        cost = price * ages[r]
        score[r] = similarity - cost if similarity > _ZERO else LOWEST
