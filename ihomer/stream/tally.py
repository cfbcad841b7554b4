"""The counting behind the measures: one compiled pass over a batch of predictions and truths.

In: predicted label sets, scores and true labels of a batch. Out: a `Tally`, arrays from which
`ihomer.stream.measures` makes every figure, for the whole stream and for its last events. It is
here so that scoring costs microseconds per event and its state is plain arrays.

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

So the sums for any L are finite tables: one row per number of true labels, and k x (k + 1) cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.stream.reliability import CELLS, weigh_event, work_space

# Positions in `Tally.counts`: scored events; those predicted exactly; those without true labels;
# where the ring's oldest entry is and how many entries it holds; (event, label) pairs with a score
# and those of them whose score is `LIKELY` or more.
EVENTS, EXACT, EMPTY, OLDEST, USED, PAIRS, LIKELY_PAIRS = range(7)

# What a label can be in an event, as a column of the label counts. A label that is neither
# predicted nor true is not stored.
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = range(3)
KINDS = 3

_FEW_LEVELS = 64  # up to here, comparing every score with every level is the faster way

# Columns of `Tally.recent_rows`.
HITS, PREDICTED, POSITIVES, SCORED, UNSCORED_POSITIVES, WRONG_PAIRS, LIKELY_SCORED = range(7)
ROW = 7

# Columns of one event's fractional figures; behind them the gaps of each cell of probability, then
# precision at each cut, then nDCG at each.
EXAMPLE_F1, EXAMPLE_PRECISION, EXAMPLE_RECALL, EXAMPLE_JACCARD, AVERAGE_PRECISION = range(5)
LOG_LOSS, PRIOR_LOG_LOSS = range(5, 7)
FIRST_GAP = 7
FIRST_CUT = FIRST_GAP + CELLS


class Tally(NamedTuple):
    """What has been counted so far; c cuts (values of k) of which K is the largest.

    Attributes
    ----------
    counts
        int64 (7,), see `EVENTS` and its neighbours.
    sums
        float64 (FIRST_CUT + 2c, 2): compensated sums of the fractional figures, and their
        corrections.
    labels
        int64 (3 room,): entry ``3 label + kind`` counts true positives, false positives and false
        negatives.
    seen
        float64 (room,): events that had each label.
    by_positives
        int64 (room + 1, 2): per number of true labels, the wrong pairs and the unscored true
        labels.
    unscored_top
        int64 (K, K + 1): unscored true labels of events with fewer than K scores, per number of
        scores and per min(true labels, K).
    recent_rows, recent_values
        int64 (window, ROW) and float64 (window, FIRST_CUT + 2c): the last events' counts and
        figures; event e stands in row ``e mod window``.
    recent_labels
        int64 (3 room,): `labels` of the last events.
    ring
        int32 (any length): the last events' entries of `labels`, oldest first from
        ``counts[OLDEST]``, wrapping round.
    cuts
        int64 (c,), ascending.
    discounts
        float64 (K + 1,): entry p is the sum of 1 / log2(position + 2) over the first p positions.
    """

    counts: OffsetArray
    sums: FloatArray
    labels: OffsetArray
    seen: FloatArray
    by_positives: OffsetArray
    unscored_top: OffsetArray
    recent_rows: OffsetArray
    recent_values: FloatArray
    recent_labels: OffsetArray
    ring: IntArray
    cuts: OffsetArray
    discounts: FloatArray


@kernel
def first_bad_truth(y_indptr: OffsetArray, y_indices: IntArray, n_labels: int) -> int:
    """First event whose offsets or label ids are out of range or not ascending, or -1."""
    end = 0
    for event in range(len(y_indptr) - 1):
        start, stop = y_indptr[event], y_indptr[event + 1]
        if start != end or stop < start or stop > len(y_indices):
            return event
        end = stop
        previous = -1
        for i in range(start, stop):
            label = y_indices[i]
            if label <= previous or label >= n_labels:
                return event
            previous = label
    return -1


@kernel
def _sort(values: FloatArray, n: int) -> None:
    """Put the first `n` values in ascending order (Shell 1959, gaps of Knuth).

    numpy's sort takes seconds to compile, and there are few values.
    """
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            value = values[i]
            place = i
            while place >= gap and values[place - gap] > value:
                values[place] = values[place - gap]
                place -= gap
            values[place] = value
        gap //= 3


@kernel
def _count_by_level(
    scores: FloatArray, levels: FloatArray, n_levels: int, tied: OffsetArray
) -> None:
    """Labels at each level and between it and the next: one branchless scan for each level."""
    above = 0
    for level in range(n_levels - 1, -1, -1):
        bar = levels[level]
        more = same = 0
        for label in range(len(scores)):
            more += 1 if scores[label] > bar else 0
            same += 1 if scores[label] == bar else 0
        tied[level, 1] = same
        tied[level, 2] = more - above
        above = more + same


@kernel
def _count_by_label(
    scores: FloatArray, levels: FloatArray, n_levels: int, tied: OffsetArray
) -> None:
    """The same with one search for each label: of many levels, less work."""
    for label in range(len(scores)):
        score = scores[label]
        if not score >= levels[0]:  # NaN, too
            continue
        low, high = 0, n_levels
        while high - low > 1:
            middle = (low + high) // 2
            if levels[middle] <= score:
                low = middle
            else:
                high = middle
        if score == levels[low]:
            tied[low, 1] += 1
        else:
            tied[low, 2] += 1


@kernel
def _rank_event(
    scores: FloatArray,
    truth: IntArray,
    cuts: OffsetArray,
    discounts: FloatArray,
    levels: FloatArray,
    tied: OffsetArray,
    values: FloatArray,
) -> tuple[int, int]:
    """Ranking figures of one event with at least one true label, as far as scores reach.

    Parameters
    ----------
    scores, truth
        float64 (L,), NaN = no score; the ids of the true labels.
    levels, tied
        Work space: float64 (L,) and int64 (L, 3).
    values
        Receives the scored labels' part of average precision, precision and nDCG at each cut; those
        of the cuts are 0 before.

    Returns
    -------
    tuple of int
        True labels without a score, and wrong pairs among the labels with one.
    """
    found = 0
    for i in range(len(truth)):
        score = scores[truth[i]]
        if not np.isnan(score):
            levels[found] = score
            found += 1
    # Only the scores of true labels, the levels, matter: every figure follows from how many labels
    # lie above each level and how many are tied with it, so the scores need not be sorted.
    _sort(levels, found)
    n_levels = 0
    for i in range(found):
        if n_levels > 0 and levels[i] == levels[n_levels - 1]:
            tied[n_levels - 1, 0] += 1
        else:
            levels[n_levels] = levels[i]
            tied[n_levels, 0] = 1  # true labels at this level
            tied[n_levels, 1] = 0  # labels at this level
            tied[n_levels, 2] = 0  # labels between this level and the next
            n_levels += 1

    if n_levels <= _FEW_LEVELS:
        _count_by_level(scores, levels, n_levels, tied)
    else:
        _count_by_label(scores, levels, n_levels, tied)

    n_cuts = len(cuts)
    positives = len(truth)
    average_precision = 0.0
    wrong = 0
    ahead = 0  # labels above the level: the level's tie holds positions from here on
    above = 0  # true labels at or above the level
    for level in range(n_levels - 1, -1, -1):
        hits, size = tied[level, 0], tied[level, 1]
        ahead += tied[level, 2]
        end = ahead + size
        above += hits
        average_precision += hits * (above / end)
        wrong += hits * (end - above)
        share = hits / size
        for i in range(n_cuts):
            k = cuts[i]
            if ahead < k:
                last = min(end, k)
                values[FIRST_CUT + i] += share * (last - ahead)
                values[FIRST_CUT + n_cuts + i] += share * (discounts[last] - discounts[ahead])
        ahead = end
    values[AVERAGE_PRECISION] = average_precision / positives
    for i in range(n_cuts):
        k = cuts[i]
        values[FIRST_CUT + i] /= k
        values[FIRST_CUT + n_cuts + i] /= discounts[min(positives, k)]
    return positives - found, wrong


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
    """Add one event's figures, with Neumaier's correction: the error does not grow with n."""
    for i in range(len(values)):
        before, value = sums[i, 0], values[i]
        after = before + value
        if abs(before) >= abs(value):
            sums[i, 1] += (before - after) + value
        else:
            sums[i, 1] += (value - after) + before
        sums[i, 0] = after


@kernel
def tally_batch(
    tally: Tally,
    on: BoolArray,
    scores: FloatArray,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    start: int,
) -> int:
    """Count the labelled events of a batch, from event `start` on.

    Parameters
    ----------
    tally
        Changed in place; what is counted per label has room for L labels.
    on, scores
        bool and float64 (n, L).
    y_indptr, y_indices
        int64 (n + 1,) and int32, ascending and below L within an event.
    labelled
        bool (n,).

    Returns
    -------
    int
        n when done, or the first event that does not fit in the ring; nothing of it is counted.
    """
    n, width = len(labelled), on.shape[1]
    counts, ring = tally.counts, tally.ring
    window, room = len(tally.recent_rows), len(ring)
    top = len(tally.unscored_top)
    is_true = np.zeros(width, dtype=np.bool_)
    entries = np.zeros(width, dtype=np.int32)
    levels = np.zeros(width, dtype=np.float64)
    tied = np.zeros((width, 3), dtype=np.int64)
    values = np.zeros(len(tally.sums), dtype=np.float64)
    gaps = values[FIRST_GAP:FIRST_CUT]
    work = work_space(width)

    for event in range(start, n):
        if not labelled[event]:
            continue
        truth = y_indices[y_indptr[event] : y_indptr[event + 1]]
        positives = len(truth)
        for i in range(positives):
            is_true[truth[i]] = True
        hits = predicted = size = 0
        for label in range(width):
            if on[event, label]:
                predicted += 1
                if is_true[label]:
                    hits += 1
                    entries[size] = KINDS * label + TRUE_POSITIVE
                else:
                    entries[size] = KINDS * label + FALSE_POSITIVE
                size += 1
            elif is_true[label]:
                entries[size] = KINDS * label + FALSE_NEGATIVE
                size += 1
        # The window moves on: one event's entries leave the ring, this one's come in.
        slot = counts[EVENTS] % window
        row = tally.recent_rows[slot]
        leaving = 0
        if counts[EVENTS] >= window:
            leaving = row[PREDICTED] + row[POSITIVES] - row[HITS]
        if counts[USED] - leaving + size > room:
            return event
        scored, likely, values[LOG_LOSS], values[PRIOR_LOG_LOSS] = weigh_event(
            scores[event], is_true, tally.seen, counts[EVENTS], work, gaps
        )
        for i in range(positives):
            is_true[truth[i]] = False
            tally.seen[truth[i]] += 1.0
        place = counts[OLDEST]
        for _ in range(leaving):
            tally.recent_labels[ring[place]] -= 1
            place += 1
            if place == room:
                place = 0
        counts[OLDEST] = place
        counts[USED] -= leaving
        place += counts[USED]
        if place >= room:
            place -= room
        for i in range(size):
            entry = entries[i]
            tally.labels[entry] += 1
            tally.recent_labels[entry] += 1
            ring[place] = entry
            place += 1
            if place == room:
                place = 0
        counts[USED] += size

        _compare_event(hits, predicted, positives, values)
        values[AVERAGE_PRECISION] = 0.0
        values[FIRST_CUT:] = 0.0
        unscored_positives = wrong = 0
        if positives > 0:
            unscored_positives, wrong = _rank_event(
                scores[event], truth, tally.cuts, tally.discounts, levels, tied, values
            )
            tally.by_positives[positives, 0] += wrong
            tally.by_positives[positives, 1] += unscored_positives
            if scored < top:
                tally.unscored_top[scored, min(positives, top)] += unscored_positives
        else:
            counts[EMPTY] += 1
        _add(tally.sums, values)
        for i in range(len(values)):
            tally.recent_values[slot, i] = values[i]
        row[HITS] = hits
        row[PREDICTED] = predicted
        row[POSITIVES] = positives
        row[SCORED] = scored
        row[UNSCORED_POSITIVES] = unscored_positives
        row[WRONG_PAIRS] = wrong
        row[LIKELY_SCORED] = likely
        counts[PAIRS] += scored
        counts[LIKELY_PAIRS] += likely
        counts[EVENTS] += 1
        if hits == predicted and hits == positives:
            counts[EXACT] += 1
    return n
