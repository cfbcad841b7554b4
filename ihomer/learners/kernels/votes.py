"""Nearest neighbours vote: rows and label sets in, each event's neighbours and their votes out.

`search_rows` runs once for all labels: it searches, learns the law by which votes fall with
dissimilarity and with age and how much is left to the prior, and takes the event into the window.
`neighbour_votes` then makes logits of what was found, a block of labels at a time.
"""

from __future__ import annotations

import math

import numpy as np

from ihomer.instances import BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
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
    HALVING,
    INDEXED,
    LABEL_LIMIT,
    LEARNED,
    NEIGHBOURS,
    POSITIVES,
    PRICE,
    PRIOR,
    SHARPNESS,
    SKETCH,
    SQUARES,
    STOP,
    STRIDE,
    VALUE_GRID,
    WINDOW,
    Float32Array,
    NeighbourState,
    best_rows,
    index_rows,
    on_grid,
    score_rows,
    split_row,
    weigh_columns,
)

STEP = 0.15  # of the law

_LEAST = np.float32(0.02)
_MOST = np.float32(0.98)
_ONE = np.float32(1.0)
_SIGNS = 0x9E3779B1  # an odd multiplier that mixes bits (2^32 / golden ratio)


@kernel
def _weigh(
    state: NeighbourState, found: IntArray, number: int, votes: FloatArray, terms: FloatArray
) -> float:
    """Normalised votes of the rows found, the terms of their logarithms; return the prior's."""
    price = state.law[PRICE]
    whole = math.exp(state.law[PRIOR])
    prior = whole
    for i in range(number):
        age = float(state.age[WINDOW + 1 + found[i] - state.progress[STOP]])
        terms[i, 0] = float(state.score[found[i]]) + price * age - 1.0
        terms[i, 1] = -age
        votes[i] = math.exp(state.law[SHARPNESS] * terms[i, 0] + state.law[AGEING] * terms[i, 1])
        whole += votes[i]
    for i in range(number):
        votes[i] /= whole
    return prior / whole


@kernel
def _learn_law(
    state: NeighbourState,
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
    mass, slope, law = state.mass, state.slope, state.law
    events = state.progress[LEARNED] + 1.0
    for i in range(number):
        for k in range(state.y_indptr[found[i]], state.y_indptr[found[i] + 1]):
            mass[state.y_labels[k]] += votes[i]
    common, change = 0.0, 0.0
    rest = law[POSITIVES] / events
    for i in range(-1, number):
        if i < 0:  # the truth first: what the neighbours have beside it is off
            labels = truth
        else:
            labels = state.y_labels[state.y_indptr[found[i]] : state.y_indptr[found[i] + 1]]
        for label in labels:
            if label >= known or slope[label] != 0.0:
                continue
            prior = (state.on[label] + 0.5) / events
            rest -= prior
            p = min(0.98, max(0.02, mass[label] + share * prior))
            slope[label] = -1.0 / p if i < 0 else 1.0 / (1.0 - p)
            common += slope[label] * p
            change += slope[label] * (prior - p)
    rest = max(0.0, rest)
    common += share * rest
    gradient = np.zeros(3)
    gradient[PRIOR] = share * change + rest * share * (1.0 - share)
    for i in range(number):
        own = -common
        for k in range(state.y_indptr[found[i]], state.y_indptr[found[i] + 1]):
            own += slope[state.y_labels[k]]
        gradient[SHARPNESS] += own * votes[i] * terms[i, 0]
        gradient[AGEING] += own * votes[i] * terms[i, 1]
    for i in range(number):
        for k in range(state.y_indptr[found[i]], state.y_indptr[found[i] + 1]):
            mass[state.y_labels[k]] = 0.0
            slope[state.y_labels[k]] = 0.0
    for label in truth:
        slope[label] = 0.0
    scale = 1.0 / math.sqrt(max(1, known))
    for i in range(3):
        g = gradient[i] * scale
        law[SQUARES + i] += g * g
        law[i] -= STEP * g / math.sqrt(law[SQUARES + i])
    law[SHARPNESS] = min(40.0, max(0.0, law[SHARPNESS]))
    law[PRIOR] = min(3.0, max(-8.0, law[PRIOR]))
    law[AGEING] = min(8.0, max(0.0, law[AGEING]))


@kernel
def _remember(
    state: NeighbourState, columns: IntArray, values: Float32Array, truth: IntArray
) -> None:
    """Take an event into the window, drop the oldest past its limits, and count."""
    row = state.progress[STOP]
    end = state.indptr[row]
    squared = 0.0
    for k in range(columns.shape[0]):
        value = on_grid(values[k], VALUE_GRID)
        if value != 0.0:
            j = columns[k]
            state.columns[end] = j
            state.values[end] = value
            end += 1
            squared += float(state.weight[j]) * (float(value) * float(value))
            state.live[j] += 1
            state.seen[j] += _ONE
            state.total[j] += value
            state.square[j] += value * value
    state.length[row] = squared
    state.inverse[row] = 1.0 / math.sqrt(squared) if squared > 0.0 else 0.0
    state.indptr[row + 1] = end
    state.split[row] = end
    sketch = np.zeros(SKETCH, dtype=np.float32)
    at = state.y_indptr[row]
    for label in truth:
        state.y_labels[at] = label
        at += 1
        state.on[label] += 1.0
        sketch[label % SKETCH] += _ONE if ((np.int64(label) * _SIGNS) >> 13) & 1 else -_ONE
    state.y_indptr[row + 1] = at
    for b in range(SKETCH):
        state.sketch[0, b] += sketch[b]
        state.sketch[1, b] += sketch[b] * sketch[b]
    for k in range(state.indptr[row], end):
        product, value = state.product[state.columns[k]], state.values[k]
        for b in range(SKETCH):
            product[b] += value * sketch[b]
    # Dense columns are blank in a new row until it is split.
    for d in range(state.progress[DENSE]):
        state.dense[d, row] = 0.0
    split_row(state, row)
    state.progress[STOP] = row + 1
    state.progress[LEARNED] += 1
    state.law[EVENTS] += 1.0
    state.law[POSITIVES] += truth.shape[0]
    first = state.progress[FIRST]
    while first <= row and (
        row + 1 - first > WINDOW
        or end - state.indptr[first] > ENTRY_LIMIT
        or at - state.y_indptr[first] > LABEL_LIMIT
    ):
        for k in range(state.indptr[first], state.indptr[first + 1]):
            state.live[state.columns[k]] -= 1
        first += 1
    state.progress[FIRST] = first


@kernel
def _renew(state: NeighbourState) -> None:
    """What happens once a stride: weights, the price of age, the halving of old statistics."""
    if state.progress[LEARNED] % HALVING == 0:
        half = np.float32(0.5)
        for j in range(state.total.shape[0]):
            state.total[j] *= half
            state.square[j] *= half
            state.seen[j] *= half
            for b in range(SKETCH):
                state.product[j, b] *= half
        for b in range(SKETCH):
            state.sketch[0, b] *= 0.5
            state.sketch[1, b] *= 0.5
        state.law[EVENTS] *= 0.5
    weigh_columns(state)
    state.law[PRICE] = min(AGE_LIMIT, state.law[AGEING] / max(1.0, state.law[SHARPNESS]))


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
    width = 0
    for t in range(labelled.shape[0]):
        width = max(width, indptr[t + 1] - indptr[t])
    weighted = np.zeros(width)
    found = np.zeros(NEIGHBOURS, dtype=np.int32)
    exact = np.zeros(NEIGHBOURS)
    terms = np.zeros((NEIGHBOURS, 2))
    for t in range(labelled.shape[0]):
        columns = indices[indptr[t] : indptr[t + 1]]
        row = values[indptr[t] : indptr[t + 1]]
        score_rows(state, columns, row, weighted)
        number = best_rows(state, found)
        share = _weigh(state, found, number, exact, terms)
        for i in range(NEIGHBOURS):
            neighbours[t, i] = found[i] if i < number else -1
            votes[t, i] = exact[i] if i < number else 0.0
        shares[t] = share
        if not labelled[t]:
            continue
        truth = y_indices[y_indptr[t] : y_indptr[t + 1]]
        _learn_law(state, found, number, exact, terms, share, truth, known[t])
        _remember(state, columns, row, truth)
        learned = state.progress[LEARNED]
        if learned % STRIDE == 0 or learned == EARLIEST:
            _renew(state)
        if state.progress[STOP] - state.progress[INDEXED] >= FRESH:
            index_rows(state)


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
