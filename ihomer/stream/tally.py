"""The counting behind the measures: one compiled pass over a batch of predictions and truths.

In: predicted label sets, scores and true labels of a batch. Out: a `Tally`, arrays from which
`ihomer.stream.figures` makes every figure, for the whole stream and for its last events. It is
here so that scoring costs microseconds per event and its state is plain arrays. An event costs
what its row and its true labels do, however many labels there are.

How many labels there are is not known before the stream ends, so nothing here depends on it. Per
event with T true labels among which U have no score, and S labels with a score, the measures split
into a part of the scored labels and a part of the unscored ones, which are tied at the end of the
ranking; with L labels in the end

- ranking loss = W / (T (L - T)) + U / T, where W counts the (true, false) pairs among the scored
  labels with the false one not below; 0 if T = L. W and U are integers, summed per T.
- label ranking average precision = A + U / L, A being the scored labels' part: an unscored true
  label has the tie's last rank, L, and all T true labels at or above it.
- precision and DCG at k = the scored labels' part + U / (L - S) times the weights of the positions
  S to min(k, L) - 1, nothing if S >= k. U is an integer, summed per S < k and per min(T, k), which
  is all that the ideal DCG depends on.
- propensity-scored precision at k: the same with the unscored true labels' inverse propensities in
  place of U, summed per S < k.
- coverage error = the last rank of a true label, or L if U > 0. A label has been right at k if its
  rank has been within k, or if L is.

So the sums for any L are finite tables: one row per number of true labels, and k x (k + 2) cells.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.stream.ranking import inverse_propensity, propensity_rise, rank_event, ranking_space
from ihomer.stream.reliability import CELLS, SURE, weigh_event, work_space
from ihomer.stream.rows import Rows, align

# Positions in `Tally.counts`: scored events; those predicted exactly; those without true labels;
# where the ring's oldest entry is and how many entries it holds; (event, label) pairs with a
# probability and those of them whose probability is `LIKELY` or more; ranks that hold all true
# labels, summed over the events in which all have a score; number of events in which one has none.
EVENTS, EXACT, EMPTY, OLDEST, USED, PAIRS, LIKELY_PAIRS, DEPTHS, UNBOUNDED = range(9)
COUNTS = 9

# What a label can be in an event, as a column of the label counts. A label that is neither
# predicted nor true is not stored.
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = range(3)
KINDS = 3

# Columns of `Tally.recent_rows`, as the counts are.
HITS, PREDICTED, POSITIVES, SCORED, UNSCORED_POSITIVES, WRONG_PAIRS = range(6)
EVENT_PAIRS, EVENT_LIKELY, DEPTH = range(6, 9)
ROW = 9

# Columns of one event's fractional figures; behind them the gaps of each cell of probability, then
# the ranking figures of `ihomer.stream.ranking`.
EXAMPLE_F1, EXAMPLE_PRECISION, EXAMPLE_RECALL, EXAMPLE_JACCARD, AVERAGE_PRECISION = range(5)
LOG_LOSS, PRIOR_LOG_LOSS = range(5, 7)
FIRST_GAP = 7
FIRST_CUT = FIRST_GAP + CELLS


class Tally(NamedTuple):
    """What has been counted so far; c cuts (values of k) of which K is the largest, f figures.

    Attributes
    ----------
    counts
        int64 (COUNTS,), see `EVENTS` and its neighbours.
    sums
        float64 (f, 2): compensated sums of the fractional figures, and their corrections.
    labels
        int64 (3 room,): entry ``3 label + kind`` counts true positives, false positives and false
        negatives.
    reached
        int32 (room,): number of the first cut that each label has ever been within when it was
        true, ties taken as its last rank; c = none.
    by_positives
        int64 (most true labels of an event + 1, 2) or more rows: per number of true labels, the
        wrong pairs and the unscored true labels.
    unscored_top
        int64 (K, K + 1): unscored true labels of events with fewer than K scores, per number of
        scores and per min(true labels, K).
    recent_rows, recent_values
        int64 (window, ROW) and float64 (window, f): the last events' counts and figures; event e
        stands in row ``e mod window``.
    ring
        int64 (any length): of the last events each label that was predicted or true, as
        ``(3 label + kind) (c + 1)`` plus the number of the first cut that it was within; oldest
        first from ``counts[OLDEST]``, wrapping round.
    cuts
        int64 (c,), ascending.
    discounts
        float64 (K + 1,): entry p is the sum of 1 / log2(position + 2) over the first p positions.
    """

    counts: OffsetArray
    sums: FloatArray
    labels: OffsetArray
    reached: IntArray
    by_positives: OffsetArray
    unscored_top: OffsetArray
    recent_rows: OffsetArray
    recent_values: FloatArray
    ring: OffsetArray
    cuts: OffsetArray
    discounts: FloatArray


@kernel
def _compare_event(hits: int, predicted: int, positives: int, values: FloatArray) -> None:
    """Example-based figures of one event: both sets empty count 1, one empty counts 0."""
    if predicted + positives == 0:
        values[EXAMPLE_F1] = 1.0
        values[EXAMPLE_PRECISION] = 1.0
        values[EXAMPLE_RECALL] = 1.0
        values[EXAMPLE_JACCARD] = 1.0
    else:
        values[EXAMPLE_F1] = 2 * hits / (predicted + positives)
        values[EXAMPLE_PRECISION] = hits / predicted if predicted > 0 else 0.0
        values[EXAMPLE_RECALL] = hits / positives if positives > 0 else 0.0
        values[EXAMPLE_JACCARD] = hits / (predicted + positives - hits)


@kernel
def _add(sums: FloatArray, values: FloatArray) -> None:
    """Add one event's figures, with what each addition loses (Knuth's two-sum) beside the sums.

    The error does not grow with n, and nothing branches.
    """
    for i in range(len(values)):
        before, value = sums[i, 0], values[i]
        after = before + value
        taken = after - before
        sums[i, 1] += (before - (after - taken)) + (value - taken)
        sums[i, 0] = after


@kernel
def _times_true(labels: OffsetArray, label: int) -> float:
    """In how many events a label has been true so far."""
    return float(labels[KINDS * label + TRUE_POSITIVE] + labels[KINDS * label + FALSE_NEGATIVE])


@kernel
def _weigh_missed(
    at: IntArray, truth: IntArray, labels: OffsetArray, events: int, values: FloatArray
) -> int:
    """Count true labels that stand nowhere in the row as pairs of probability 0; how many.

    Only labels that have been true before: of others nobody could have known.
    """
    missed = 0
    for i in range(len(truth)):
        seen = _times_true(labels, truth[i])
        if at[i] < 0 and seen > 0.0:
            missed += 1
            prior = min(1.0 - SURE, max(SURE, (seen + 0.5) / (events + 1.0)))
            values[LOG_LOSS] -= math.log(SURE)
            values[PRIOR_LOG_LOSS] -= math.log(prior)
            values[FIRST_GAP] += 1.0
    return missed


@kernel
def _enter(
    tally: Tally,
    ids: IntArray,
    on: BoolArray,
    is_true: BoolArray,
    truth: IntArray,
    at: IntArray,
    reach: OffsetArray,
    has_wrong: bool,
) -> None:
    """Count one event's predicted and true labels, and put them into the ring, which has room.

    `ids` of the row, or empty: from 0 on; `has_wrong` says whether a predicted label is not true.
    """
    counts, labels, ring = tally.counts, tally.labels, tally.ring
    room, codes = len(ring), len(tally.cuts) + 1
    place = counts[OLDEST] + counts[USED]
    if place >= room:
        place -= room
    if has_wrong:
        for i in range(len(on)):
            if on[i] and not is_true[i]:
                label = np.int64(ids[i]) if len(ids) > 0 else i
                entry = KINDS * label + FALSE_POSITIVE
                labels[entry] += 1
                ring[place] = entry * codes + codes - 1
                counts[USED] += 1
                place += 1
                if place == room:
                    place = 0
    for i in range(len(truth)):
        label = np.int64(truth[i])
        hit = at[i] >= 0 and on[at[i]]
        entry = KINDS * label + (TRUE_POSITIVE if hit else FALSE_NEGATIVE)
        labels[entry] += 1
        tally.reached[label] = min(tally.reached[label], reach[i])
        ring[place] = entry * codes + reach[i]
        counts[USED] += 1
        place += 1
        if place == room:
            place = 0


@kernel
def tally_batch(
    tally: Tally,
    rows: Rows,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    start: int,
) -> int:
    """Count the labelled events of a batch, from event `start` on.

    Parameters
    ----------
    tally
        Changed in place; what is counted per label has room for all ids, and what is counted per
        number of true labels for every event.
    rows
        Of n events.
    y_indptr, y_indices
        int64 (n + 1,) and int32, ascending and below the number of labels within an event.
    labelled
        bool (n,).

    Returns
    -------
    int
        n when done, or the first event that does not fit in the ring; nothing of it is counted.
    """
    n = len(labelled)
    counts, cuts, labels = tally.counts, tally.cuts, tally.labels
    window, room = len(tally.recent_rows), len(tally.ring)
    top = len(tally.unscored_top)
    width = most_true = 0
    for event in range(start, n):
        width = max(width, rows.indptr[event + 1] - rows.indptr[event])
        most_true = max(most_true, y_indptr[event + 1] - y_indptr[event])
    is_true = np.zeros(width, dtype=np.bool_)
    seen = np.zeros(width, dtype=np.float64)
    if not rows.listed:
        for label in range(width):
            seen[label] = _times_true(labels, label)
    places = np.zeros(most_true, dtype=np.int32)
    weights = np.zeros(most_true, dtype=np.float64)
    reach = np.zeros(most_true, dtype=np.int64)
    space = ranking_space(most_true)
    values = np.zeros(len(tally.sums), dtype=np.float64)
    gaps, ranking = values[FIRST_GAP:FIRST_CUT], values[FIRST_CUT:]
    work = work_space(width)

    for event in range(start, n):
        if not labelled[event]:
            continue
        a, b = rows.indptr[event], rows.indptr[event + 1]
        on, scores = rows.on[a:b], rows.scores[a:b]
        ids = rows.ids[a:b]  # empty where they are not listed
        truth = y_indices[y_indptr[event] : y_indptr[event + 1]]
        positives = len(truth)
        at = truth
        if rows.listed:
            at = places[:positives]
            align(ids, truth, at)
        hits = predicted = 0
        for i in range(len(on)):
            predicted += 1 if on[i] else 0
        for i in range(positives):
            if at[i] >= 0:
                hits += 1 if on[at[i]] else 0
        # The window moves on: one event's entries leave the ring, this one's come in.
        slot = counts[EVENTS] % window
        row = tally.recent_rows[slot]
        leaving = 0
        if counts[EVENTS] >= window:
            leaving = row[PREDICTED] + row[POSITIVES] - row[HITS]
        if counts[USED] - leaving + predicted + positives - hits > room:
            return event
        counts[OLDEST] = (counts[OLDEST] + leaving) % room
        counts[USED] -= leaving

        rise = propensity_rise(counts[EVENTS])
        for i in range(positives):
            weights[i] = inverse_propensity(_times_true(labels, truth[i]), rise)
            if at[i] >= 0:
                is_true[at[i]] = True
        if rows.listed:
            for i in range(len(ids)):
                seen[i] = _times_true(labels, ids[i])
        scored, likely, values[LOG_LOSS], values[PRIOR_LOG_LOSS] = weigh_event(
            scores, is_true, seen, counts[EVENTS], work, gaps
        )
        pairs = scored
        if rows.listed:
            pairs += _weigh_missed(at, truth, labels, counts[EVENTS], values)

        _compare_event(hits, predicted, positives, values)
        values[AVERAGE_PRECISION] = 0.0
        ranking[:] = 0.0
        unscored = wrong = depth = 0
        if positives > 0:
            unscored, wrong, depth, values[AVERAGE_PRECISION] = rank_event(
                scores,
                scored,
                at,
                weights[:positives],
                cuts,
                tally.discounts,
                space,
                ranking,
                reach,
            )
            tally.by_positives[positives, 0] += wrong
            tally.by_positives[positives, 1] += unscored
            if scored < top:
                tally.unscored_top[scored, min(positives, top)] += unscored
            counts[DEPTHS] += depth
            counts[UNBOUNDED] += 1 if unscored > 0 else 0
        else:
            counts[EMPTY] += 1
        _enter(tally, ids, on, is_true, truth, at, reach, predicted > hits)
        for i in range(positives):
            if at[i] >= 0:
                is_true[at[i]] = False
                seen[at[i]] += 1.0
        _add(tally.sums, values)
        for i in range(len(values)):  # an assignment of slices takes a second to compile
            tally.recent_values[slot, i] = values[i]
        row[HITS] = hits
        row[PREDICTED] = predicted
        row[POSITIVES] = positives
        row[SCORED] = scored
        row[UNSCORED_POSITIVES] = unscored
        row[WRONG_PAIRS] = wrong
        row[EVENT_PAIRS] = pairs
        row[EVENT_LIKELY] = likely
        row[DEPTH] = depth
        counts[PAIRS] += pairs
        counts[LIKELY_PAIRS] += likely
        counts[EVENTS] += 1
        if hits == predicted and hits == positives:
            counts[EXACT] += 1
    return n
