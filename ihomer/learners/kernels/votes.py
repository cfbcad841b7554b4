"""Nearest neighbours vote: rows and label sets in, each event's neighbours and their votes out.

`search_rows` runs once for all labels: it searches, learns the law by which votes fall with
dissimilarity and with age and how much is left to the prior, and takes the event into the window.
`neighbour_votes` then makes logits of what was found, a block of labels at a time.
"""

from __future__ import annotations

import math

import numpy as np

from ihomer.instances import BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.best import LANES, best_rows
from ihomer.learners.kernels.elementary import log32, sigmoid32
from ihomer.learners.kernels.neighbours import (
    AGE_LIMIT,
    AGEING,
    DENSE,
    EARLIEST,
    ENTRY_LIMIT,
    EVENTS,
    FIRST,
    FRESH,
    GROUP,
    HALVING,
    INDEXED,
    LABEL_LIMIT,
    LEARNED,
    LEAST_FRESH,
    NEIGHBOURS,
    POSITIVES,
    PRICE,
    PRIOR,
    SELDOM,
    SHARPNESS,
    SKETCH,
    SQUARES,
    STOP,
    STRIDE,
    WINDOW,
    NeighbourState,
    index_rows,
    multiply,
    prepare_rows,
    score_rows,
    weigh_columns,
)

STEP = 0.15  # of the law
SCHOOL = 256  # learned events from each of which the law is learned;
PAUSE = 3  # later from one in so many, and not two, since streams may alternate

_LEAST = np.float32(0.02)
_MOST = np.float32(0.98)
_ONE = np.float32(1.0)
_SIGNS = 0x9E3779B1  # an odd multiplier that mixes bits (2^32 / golden ratio)


@kernel
def _weigh(
    state: NeighbourState, found: IntArray, number: int, votes: FloatArray, terms: FloatArray
) -> float:
    """Normalised votes of the rows found, the terms of their logarithms; return the prior's."""
    law = state.law
    price = law[PRICE]
    whole = math.exp(law[PRIOR])
    prior = whole
    for i in range(number):
        age = float(state.age[WINDOW + 1 + found[i] - state.progress[STOP]])
        terms[i, 0] = float(state.score[found[i]]) + price * age - 1.0
        terms[i, 1] = -age
        votes[i] = math.exp(law[SHARPNESS] * terms[i, 0] + law[AGEING] * terms[i, 1])
        whole += votes[i]
    for i in range(number):
        votes[i] /= whole
    return prior / whole


@kernel
def _learn_law(
    y_indptr: OffsetArray,
    y_labels: IntArray,
    on: FloatArray,
    law: FloatArray,
    mass: FloatArray,
    slope: FloatArray,
    met: IntArray,
    events: float,
    found: IntArray,
    number: int,
    votes: FloatArray,
    terms: FloatArray,
    share: float,
    truth: IntArray,
    known: int,
) -> None:
    """Take one AdaGrad step of the law on the log-loss over all known labels.

    The labels that neither a neighbour nor the truth has are summed at once: their probability is
    the prior's share of their prior, and 1 - p is taken for 1.
    """
    many = 0
    for k in range(truth.shape[0]):
        label = truth[k]
        if label < known:
            slope[label] = -1.0
            met[many] = label
            many += 1
    for i in range(number):
        for k in range(y_indptr[found[i]], y_indptr[found[i] + 1]):
            label = y_labels[k]
            if label < known:
                if mass[label] == 0.0 and slope[label] == 0.0:
                    met[many] = label
                    many += 1
                mass[label] += votes[i]
    common, change = 0.0, 0.0
    rest = law[POSITIVES] / events
    for k in range(many):
        label = met[k]
        prior = (on[label] + 0.5) / events
        rest -= prior
        p = min(0.98, max(0.02, mass[label] + share * prior))
        slope[label] = -1.0 / p if slope[label] != 0.0 else 1.0 / (1.0 - p)
        common += slope[label] * p
        change += slope[label] * (prior - p)
    rest = max(0.0, rest)
    common += share * rest
    closer, older = 0.0, 0.0
    for i in range(number):
        own = -common
        for k in range(y_indptr[found[i]], y_indptr[found[i] + 1]):
            own += slope[y_labels[k]]
        closer += own * votes[i] * terms[i, 0]
        older += own * votes[i] * terms[i, 1]
    for k in range(many):
        mass[met[k]] = 0.0
        slope[met[k]] = 0.0
    scale = 1.0 / math.sqrt(max(1, known))
    _step(law, SHARPNESS, closer * scale, 0.0, 40.0)
    _step(law, PRIOR, (share * change + rest * share * (1.0 - share)) * scale, -8.0, 3.0)
    _step(law, AGEING, older * scale, 0.0, 8.0)


@kernel
def _step(law: FloatArray, at: int, gradient: float, low: float, high: float) -> None:
    """One parameter's step, within its limits."""
    law[SQUARES + at] += gradient * gradient
    law[at] = min(high, max(low, law[at] - STEP * gradient / math.sqrt(law[SQUARES + at])))


@kernel
def _count(
    start: int,
    end: int,
    columns: IntArray,
    values: Float32Array,
    sketch: Float32Array,
    live: IntArray,
    seen: Float32Array,
    total: Float32Array,
    square: Float32Array,
    product: Float32Array,
) -> None:
    """Add a row to the columns' statistics."""
    width = sketch.shape[0]  # not a constant, for which the loop is unrolled, not vectorised
    for k in range(start, end):
        j, value = columns[k], values[k]
        live[j] += 1
        seen[j] += _ONE
        total[j] += value
        square[j] += value * value
        for b in range(width):
            product[j, b] += value * sketch[b]


@kernel
def _remember(state: NeighbourState, truth: IntArray, sketch: Float32Array) -> None:
    """Take the event behind the window into it, drop the oldest past its limits, and count."""
    progress, indptr, y_indptr = state.progress, state.indptr, state.y_indptr
    columns, links, latest = state.columns, state.links, state.latest
    live, law = state.live, state.law
    row = progress[STOP]
    end = indptr[row + 1]
    for b in range(SKETCH):
        sketch[b] = 0.0
    at = y_indptr[row]
    for k in range(truth.shape[0]):
        label = truth[k]
        state.y_labels[at] = label
        at += 1
        state.on[label] += 1.0
        sketch[label % SKETCH] += _ONE if ((np.int64(label) * _SIGNS) >> 13) & 1 else -_ONE
    y_indptr[row + 1] = at
    for b in range(SKETCH):
        state.sketch[0, b] += sketch[b]
        state.sketch[1, b] += sketch[b] * sketch[b]
    for k in range(indptr[row], state.split[row]):
        j = columns[k]
        links[k, 0] = latest[j]
        links[k, 1] = row
        latest[j] = k
    _count(
        indptr[row],
        end,
        columns,
        state.values,
        sketch,
        live,
        state.seen,
        state.total,
        state.square,
        state.product,
    )
    progress[STOP] = row + 1
    progress[LEARNED] += 1
    law[EVENTS] += 1.0
    law[POSITIVES] += truth.shape[0]
    first = progress[FIRST]
    while first <= row and (
        row + 1 - first > WINDOW
        or end - indptr[first] > ENTRY_LIMIT
        or at - y_indptr[first] > LABEL_LIMIT
    ):
        for k in range(indptr[first], indptr[first + 1]):
            live[columns[k]] -= 1
        first += 1
    progress[FIRST] = first


@kernel
def _renew(state: NeighbourState) -> None:
    """What happens once a stride: weights, the price of age, the halving of old statistics."""
    progress, total, sketch = state.progress, state.total, state.sketch
    law = state.law
    if progress[LEARNED] % HALVING == 0:
        half = np.float32(0.5)
        for j in range(total.shape[0]):
            total[j] *= half
            state.square[j] *= half
            state.seen[j] *= half
            for b in range(SKETCH):
                state.product[j, b] *= half
        for b in range(SKETCH):
            sketch[0, b] *= 0.5
            sketch[1, b] *= 0.5
        law[EVENTS] *= 0.5
    learned = progress[LEARNED]
    if learned % SELDOM == 0 or learned & (learned - 1) == 0:
        weigh_columns(state)
    law[PRICE] = min(AGE_LIMIT, law[AGEING] / max(1.0, law[SHARPNESS]))


@kernel
def search_rows(
    indptr: OffsetArray,
    indices: IntArray,
    values: Float32Array,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    known: IntArray,
    state: NeighbourState,
    neighbours: IntArray,
    votes: Float32Array,
    shares: Float32Array,
) -> None:
    """Find each row's neighbours among the learned rows before it; learn the labelled rows.

    A neighbour with similarity s and a younger learned events votes with weight
    exp(SHARPNESS * (s - 1) - AGEING * log(1 + a / AGE_UNIT)), the labels' priors with exp(PRIOR);
    the three are learned by AdaGrad on the log-loss.

    Parameters
    ----------
    indptr, indices, values
        Rows of Euclidean length at most 1; columns past the state's are new.
    y_indptr, y_indices, labelled, known
        As in `Batch`.
    state
        Changed in place by labelled rows, for which it must have room.
    neighbours
        int32 (n, NEIGHBOURS): rows of the state's window, best first, -1 = none.
    votes, shares
        float32 (n, NEIGHBOURS), (n,): the neighbours' votes and the prior's share, together 1.
    """
    on, progress, products = state.on, state.progress, state.products
    score = state.score
    weighted = np.empty(indptr[labelled.shape[0]])
    queries = np.zeros((min(GROUP, labelled.shape[0]), state.dense.shape[1]), dtype=np.float32)
    listed = np.empty(weighted.shape[0], dtype=np.int32)
    ends = np.zeros(queries.shape[0], dtype=np.int64)
    scales = np.zeros(queries.shape[0], dtype=np.float32)
    width = 0
    for t in range(labelled.shape[0]):
        width = max(width, indptr[t + 1] - indptr[t])
    rounded = np.zeros(width, dtype=np.float32)
    found = np.zeros(NEIGHBOURS, dtype=np.int32)
    lanes = np.empty((2, LANES), dtype=np.float32)
    met = np.empty(on.shape[0], dtype=np.int32)
    sketch = np.empty(SKETCH, dtype=np.float32)
    likely = np.empty(WINDOW + 1, dtype=np.int32)
    exact = np.zeros(NEIGHBOURS)
    terms = np.zeros((NEIGHBOURS, 2))
    start = 0
    while start < labelled.shape[0]:
        stop, joined = _group(state, labelled, start)
        many = stop - start
        prepare_rows(
            state,
            indptr,
            indices,
            values,
            labelled,
            start,
            stop,
            rounded,
            weighted,
            listed,
            ends,
            queries,
            scales,
        )
        front, end = progress[FIRST], progress[STOP] + joined
        dense = progress[DENSE] > 0
        block = 16
        if dense:
            block = multiply(state.dense[front:end], queries[:many], products)
        for t in range(start, stop):
            if dense:
                _gather(products, t - start, many, block, score[front:end])
            else:
                score[front:end] = 0.0
            score_rows(state, indptr[t], ends[t - start], listed, weighted, scales[t - start])
            number = best_rows(
                score[progress[FIRST] : progress[STOP]],
                progress[FIRST],
                lanes,
                likely,
                found,
            )
            share = _weigh(state, found, number, exact, terms)
            for i in range(NEIGHBOURS):
                neighbours[t, i] = found[i] if i < number else -1
                votes[t, i] = exact[i] if i < number else 0.0
            shares[t] = share
            if labelled[t]:
                truth = y_indices[y_indptr[t] : y_indptr[t + 1]]
                learned = progress[LEARNED]
                if learned < SCHOOL or learned % PAUSE == 0:
                    _learn_law(
                        state.y_indptr,
                        state.y_labels,
                        on,
                        state.law,
                        state.mass,
                        state.slope,
                        met,
                        learned + 1.0,
                        found,
                        number,
                        exact,
                        terms,
                        share,
                        truth,
                        known[t],
                    )
                _remember(state, truth, sketch)
        start = stop
        count = progress[LEARNED]
        if joined > 0 and (count % STRIDE == 0 or count == EARLIEST):
            _renew(state)
        held, fresh = end - progress[FIRST], end - progress[INDEXED]
        if fresh >= min(FRESH, max(LEAST_FRESH, held // 2)):
            index_rows(state)


@kernel
def _group(state: NeighbourState, labelled: BoolArray, start: int) -> tuple[int, int]:
    """Where the group of events ends that begins at `start`, and how many of it are labelled.

    The weights may be renewed at its end, not before.
    """
    learned, stop = 0, start
    while stop < min(labelled.shape[0], start + GROUP):
        stop += 1
        if labelled[stop - 1]:
            learned += 1
            if (state.progress[LEARNED] + learned) % EARLIEST == 0:
                break
    return stop, learned


@kernel
def _gather(products: Float32Array, query: int, many: int, block: int, score: Float32Array) -> None:
    """Copy what `multiply` made of one of `many` queries."""
    for start in range(0, score.shape[0], block):
        stop = min(score.shape[0], start + block)
        at = start * many + query * (stop - start)
        part, source = score[start:stop], products[at : at + stop - start]
        for r in range(part.shape[0]):
            part[r] = source[r]


@kernel
def neighbour_votes(
    y_indptr: OffsetArray,
    y_labels: IntArray,
    neighbours: IntArray,
    votes: Float32Array,
    shares: Float32Array,
    first: int,
    prior: Float32Array,
    out: Float32Array,
) -> None:
    """Logits of a block's labels from their neighbours' votes.

    Parameters
    ----------
    y_indptr, y_labels
        The label sets of the window that `neighbours` points into.
    neighbours, votes, shares
        As `search_rows` left them, n rows.
    first
        The block's first label; label l stands at position 1 + l - first.
    prior
        float32 (n, W): logits of the labels' priors.
    out
        float32 (n, W): logits within plus and minus `LOGIT_CLIP`, for every position. At position
        0, which nobody has, and at labels not yet born stands what the prior says.
    """
    width = out.shape[1]
    mass = np.zeros(width, dtype=np.float32)
    for t in range(out.shape[0]):
        for c in range(width):
            mass[c] = 0.0
        for i in range(NEIGHBOURS):
            r = neighbours[t, i]
            if r < 0:
                break
            for k in range(y_indptr[r], y_indptr[r + 1]):
                c = y_labels[k] - first + 1
                if 1 <= c < width:
                    mass[c] += votes[t, i]
        share = shares[t]
        for c in range(width):
            p = min(_MOST, max(_LEAST, mass[c] + share * sigmoid32(prior[t, c])))
            out[t, c] = log32(p / (_ONE - p))
