"""Candidates of an event, ranked: what postings and neighbours say, stacked and calibrated.

In: a segment of scaled rows and label sets, test-then-train. Out: for each event its candidates
with probabilities, best first, and which of them are predicted on. It is here so that the whole
loop over a segment runs in compiled code.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.elementary import log32, sigmoid32
from ihomer.learners.kernels.foremost import LANES, put_in_order, reached, those_from
from ihomer.learners.kernels.inverted import (
    EVENTS,
    NEIGHBOURS,
    Inverted,
    find_neighbours,
    learn_event,
    vote,
)
from ihomer.learners.kernels.postings import (
    BEST,
    NEVER,
    Postings,
    keep_best,
    learn_labels,
    room_needed,
    score_labels,
)

CANDIDATES = 128  # of one event at most
COUNTS = 24  # classes of labels: one for each power of two of how often they were on
LEARNED = 16  # labels of the best scores are learned, and those that are probable:
PROBABLE = np.float32(math.log(0.02 / 0.98))  # from this score on
MOST_LEARNED = 1024  # labels that are off and learned, of one event
SHARE = np.float32(0.01)  # added to a share of votes before its logarithm is taken
SHIFT = np.float32(3.0)
STACK_STEP = np.float32(0.05)
FADING = 0.999  # of the counts behind the running micro-F1
LEAST_THRESHOLD = 0.05


class Ranking(NamedTuple):
    """What is learned on top of the two.

    Attributes
    ----------
    weights, squares
        float32 (`COUNTS`, 3): weights of 1, score and logarithm of votes; sums of squared
        gradients.
    times
        int32 (labels,): events in which a label was on.
    frequent
        int32 (`BEST` + 1,): how many there are, then the labels that were on most often.
    decided
        float64 (3,): fading counts of labels predicted and on, predicted, on.
    """

    weights: Float32Array
    squares: Float32Array
    times: IntArray
    frequent: IntArray
    decided: FloatArray


@kernel
def count_class(count: int) -> int:
    """Number of binary digits of a count, `COUNTS` - 1 at most."""
    # A float's exponent is one less, but for 0; past 2^24, where it is rounded, both are cut.
    exponent = np.float32(count).view(np.int32) >> 23
    return min(COUNTS - 1, max(0, int(exponent) - 126))


@kernel
def threshold(decided: FloatArray) -> float:
    """Probability from which on a label is predicted: half the running micro-F1, with a floor.

    The threshold that maximises F1 is half the F1 that it reaches (Lipton, Elkan, Naryanaswamy,
    2014).
    """
    both = decided[1] + decided[2]
    return max(LEAST_THRESHOLD, decided[0] / both if both > 0.0 else 0.0)


@kernel
def _count_label(label: int, state: Ranking) -> None:
    """Count a label that is on, and keep the most frequent ones in order."""
    frequent, times = state.frequent, state.times
    times[label] += 1
    at, n = 1, frequent[0]
    while at <= n and frequent[at] != label:
        at += 1
    if at > n:
        if n < BEST:
            frequent[0] = n + 1
        elif times[label] > times[frequent[n]]:
            at = n
        else:
            return
        frequent[at] = label
    while at > 1 and times[frequent[at - 1]] < times[label]:
        frequent[at] = frequent[at - 1]
        at -= 1
        frequent[at] = label


@kernel
def rank_segment(
    start: int,
    indptr: OffsetArray,
    indices: IntArray,
    values: Float32Array,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    postings: Postings,
    inverted: Inverted,
    ranking: Ranking,
    most_numbers: int,
    half: bool,
    out_indptr: OffsetArray,
    out_labels: IntArray,
    out_scores: FloatArray,
    out_on: BoolArray,
) -> int:
    """Predict, then learn each event of a segment from `start` on.

    Parameters
    ----------
    start
        First event; what stands before ``out_indptr[start]`` is there already.
    indptr, indices, values
        Scaled rows of length 1.
    y_indptr, y_indices, labelled
        Label sets; an event that is not labelled is predicted only.
    postings, inverted, ranking
        Changed in place. There is room for all columns and labels of labelled events.
    most_numbers
        Size that the arena may grow to.
    half
        Decide by the probability of one half.
    out_indptr
        int64 (n + 1,).
    out_labels, out_scores, out_on
        int32, float64, bool (n * `CANDIDATES`,).

    Returns
    -------
    int
        The event for which the arena has no room, n if there is none.
    """
    n = len(labelled)
    best = np.empty(BEST, dtype=np.int32)
    best_keys = np.empty(BEST, dtype=np.float32)
    near = np.empty(NEIGHBOURS, dtype=np.int32)
    near_keys = np.empty(NEIGHBOURS, dtype=np.float32)
    voted = np.empty(CANDIDATES - BEST, dtype=np.int32)
    voted_scores = np.empty(CANDIDATES - BEST, dtype=np.float32)
    labels = np.empty(CANDIDATES, dtype=np.int32)
    inputs = np.empty((CANDIDATES, 2), dtype=np.float32)
    logits = np.empty(CANDIDATES, dtype=np.float32)
    ranked = np.empty(CANDIDATES, dtype=np.int32)
    sums = np.empty(postings.score.shape[0], dtype=np.float32)
    products = np.empty(EVENTS, dtype=np.float32)
    likely = np.empty(max(EVENTS, postings.score.shape[0]) + 1, dtype=np.int32)
    lanes = np.empty((2, LANES), dtype=np.float32)
    off = np.empty(MOST_LEARNED, dtype=np.int32)
    off_scores = np.empty(MOST_LEARNED, dtype=np.float32)
    weights = ranking.weights
    for t in range(start, n):
        row = indices[indptr[t] : indptr[t + 1]]
        x = values[indptr[t] : indptr[t + 1]]
        y = y_indices[y_indptr[t] : y_indptr[t + 1]]
        if (
            labelled[t]
            and postings.entry.shape[0] < most_numbers
            and postings.progress[1] + room_needed(row, y.shape[0], postings)
            > postings.entry.shape[0]
        ):
            return t
        touched = score_labels(row, x, postings)
        for k in range(1, ranking.frequent[0] + 1):
            label = ranking.frequent[k]
            if postings.score[label] == NEVER:
                postings.score[label] = 0.0
                postings.touched[touched] = label
                touched += 1
        found = find_neighbours(row, x, inverted, products, likely, lanes, near_keys, near)
        n_voted = vote(found, near_keys, near, inverted, voted)
        for i in range(n_voted):
            score = postings.score[voted[i]]
            if score == NEVER:
                score = np.float32(0.0)
            voted_scores[i] = score + postings.bias[voted[i]]
        n_y = y.shape[0]
        own = np.empty(n_y, dtype=np.float32)
        for k in range(n_y):
            score = postings.score[y[k]]
            if score == NEVER:
                score = np.float32(0.0)
            own[k] = score + postings.bias[y[k]]
        for i in range(touched):
            label = np.uint32(postings.touched[i])
            sums[i] = postings.score[label] + postings.bias[label]
            postings.score[label] = NEVER
        n_best, n_off = 0, 0
        least = min(PROBABLE, reached(sums[:touched], BEST, lanes))
        for k in range(those_from(sums[:touched], least, likely)):
            label, score = postings.touched[likely[k]], sums[likely[k]]
            n_best = keep_best(score, label, n_best, BEST, best_keys, best)
            if score > PROBABLE and n_off < MOST_LEARNED:
                off[n_off] = label
                off_scores[n_off] = score
                n_off += 1
        # The candidates: the best scores, then the neighbours' labels that are not among them.
        for i in range(n_best):
            labels[i] = best[i]
            inputs[i, 0] = best_keys[i]
            postings.mark[best[i]] = True
        n_candidates = n_best
        for i in range(n_voted):
            if not postings.mark[voted[i]]:
                labels[n_candidates] = voted[i]
                inputs[n_candidates, 0] = voted_scores[i]
                n_candidates += 1
        for i in range(n_best):
            postings.mark[best[i]] = False
        for i in range(n_candidates):
            label = labels[i]
            share = inverted.vote[label]
            inputs[i, 1] = log32((share if share != NEVER else np.float32(0.0)) + SHARE) + SHIFT
            w = weights[count_class(ranking.times[label])]
            logits[i] = w[0] + w[1] * inputs[i, 0] + w[2] * inputs[i, 1]
        put_in_order(logits, n_candidates, ranked)
        for i in range(n_voted):
            inverted.vote[voted[i]] = NEVER
        bound = 0.5 if half else threshold(ranking.decided)
        at = out_indptr[t]
        n_on = 0
        for i in range(n_candidates):
            p = sigmoid32(logits[ranked[i]])
            out_labels[at + i] = labels[ranked[i]]
            out_scores[at + i] = p
            out_on[at + i] = p >= bound
            if p >= bound:
                n_on += 1
        out_indptr[t + 1] = at + n_candidates
        if labelled[t]:
            for k in range(n_y):
                postings.mark[y[k]] = True
            hits = 0
            for i in range(n_candidates):
                c = ranked[i]
                label = labels[c]
                is_on = postings.mark[label]
                if is_on and out_on[at + i]:
                    hits += 1
                slope = sigmoid32(logits[ranked[i]]) - np.float32(is_on)
                group = count_class(ranking.times[label])
                for k in range(3):
                    value = np.float32(1.0) if k == 0 else inputs[c, k - 1]
                    step = slope * value
                    square = ranking.squares[group, k] + step * step
                    ranking.squares[group, k] = square
                    weights[group, k] -= STACK_STEP * step / np.sqrt(square)
            decided = ranking.decided
            decided[0] = FADING * decided[0] + hits
            decided[1] = FADING * decided[1] + n_on
            decided[2] = FADING * decided[2] + n_y
            # Learn those that are on, the probable ones and the best ones.
            learned = np.empty(n_y + n_off + LEARNED, dtype=np.int32)
            slopes = np.empty(n_y + n_off + LEARNED, dtype=np.float32)
            n_learned = n_y
            for k in range(n_y):
                learned[k] = y[k]
                slopes[k] = sigmoid32(own[k]) - np.float32(1.0)
            for i in range(n_off):
                if not postings.mark[off[i]]:
                    learned[n_learned] = off[i]
                    slopes[n_learned] = sigmoid32(off_scores[i])
                    n_learned += 1
            for i in range(min(n_best, LEARNED)):
                if not postings.mark[best[i]] and best_keys[i] <= PROBABLE:
                    learned[n_learned] = best[i]
                    slopes[n_learned] = sigmoid32(best_keys[i])
                    n_learned += 1
            for k in range(n_y):
                postings.mark[y[k]] = False
            learn_labels(row, x, learned[:n_learned], slopes[:n_learned], n_y, postings)
            learn_event(row, x, y, inverted)
            for k in range(n_y):
                _count_label(y[k], ranking)
    return n
