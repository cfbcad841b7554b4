"""From counts to figures: every measure of some events, given how many labels there are.

In: counts and sums over events, be they all or the last ones. Out: a dictionary of figures. It is
here because the number of labels enters only here: `ihomer.stream.tally` says how.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ihomer.instances import FloatArray, IntArray, OffsetArray
from ihomer.stream import ranking
from ihomer.stream import tally as t
from ihomer.stream.reliability import calibration_error


class Summary:
    """What figures need of labels that are counted no more, of all of them together.

    Parameters
    ----------
    cuts
        Number of the tally's cuts.

    Attributes
    ----------
    labels, ever
        How many they are, and how many of them have been true.
    counts
        Sums of their true positives, false positives and false negatives.
    within
        Of each cut, how many of those that have been true have been within it.
    shares
        float64 (3, 2): sums of their F1, precision and recall, and their corrections.
    """

    def __init__(self, cuts: int) -> None:
        self.labels = self.ever = 0
        self.counts = [0] * t.KINDS
        self.within = [0] * cuts
        self.shares = np.zeros((3, 2))  # and what the additions lose

    def add(self, counts: Sequence[int], reached: int) -> None:
        """Add a label with its counts and the first cut that it has been within."""
        hits, wrong, missed = counts
        self.labels += 1
        self.counts = [a + b for a, b in zip(self.counts, counts, strict=True)]
        if hits + missed:
            self.ever += 1
            for i in range(reached, len(self.within)):
                self.within[i] += 1
        parts = ((2 * hits, 2 * hits + wrong + missed), (hits, hits + wrong), (hits, hits + missed))
        values = np.array([part / whole if part else 0.0 for part, whole in parts])
        before = self.shares[:, 0].copy()
        after = before + values
        taken = after - before
        self.shares[:, 1] += (before - (after - taken)) + (values - taken)  # Knuth's two-sum
        self.shares[:, 0] = after


class Totals(NamedTuple):
    """Counts and sums over some events, whichever they are; c cuts of which K is the largest.

    Attributes
    ----------
    events, exact, empty, pairs, likely, depths, unbounded
        As the positions of `ihomer.stream.tally.Tally.counts`.
    sums
        One for each fractional figure.
    labels
        int64 (m, 3): true positives, false positives and false negatives of labels, which may
        leave out those that were never predicted or true.
    reached
        int32 (m,), of the same labels: first cut that each has been within when true; c = none.
    by_positives, unscored_top
        See `Tally`.
    others
        Labels that are in none of the arrays; None: there are none.
    """

    events: int
    exact: int
    empty: int
    pairs: int
    likely: int
    depths: int
    unbounded: int
    sums: list[float]
    labels: OffsetArray
    reached: IntArray
    by_positives: OffsetArray
    unscored_top: OffsetArray
    others: Summary | None = None


def total_of_all(tally: t.Tally) -> Totals:
    """Totals of the whole stream."""
    counts = tally.counts.tolist()
    return Totals(
        events=counts[t.EVENTS],
        exact=counts[t.EXACT],
        empty=counts[t.EMPTY],
        pairs=counts[t.PAIRS],
        likely=counts[t.LIKELY_PAIRS],
        depths=counts[t.DEPTHS],
        unbounded=counts[t.UNBOUNDED],
        sums=tally.sums.sum(axis=1).tolist(),
        labels=tally.labels.reshape(-1, t.KINDS),
        reached=tally.reached,
        by_positives=tally.by_positives,
        unscored_top=tally.unscored_top,
    )


def total_of_last(tally: t.Tally) -> Totals:
    """Totals of the events in the window; the time does not grow with the number of labels."""
    events = min(int(tally.counts[t.EVENTS]), len(tally.recent_rows))
    rows = tally.recent_rows[:events]
    positives = rows[:, t.POSITIVES]
    by_positives = np.zeros_like(tally.by_positives)
    np.add.at(by_positives, positives, rows[:, [t.WRONG_PAIRS, t.UNSCORED_POSITIVES]])
    unscored_top = np.zeros_like(tally.unscored_top)
    top = len(unscored_top)
    short = rows[(rows[:, t.SCORED] < top) & (positives > 0)]
    cells = short[:, t.SCORED], np.minimum(short[:, t.POSITIVES], top)
    np.add.at(unscored_top, cells, short[:, t.UNSCORED_POSITIVES])
    exact = (rows[:, t.HITS] == rows[:, t.PREDICTED]) & (rows[:, t.HITS] == positives)

    oldest, used = tally.counts[[t.OLDEST, t.USED]].tolist()
    places = np.arange(oldest, oldest + used)
    entries, reach = np.divmod(np.take(tally.ring, places, mode="wrap"), len(tally.cuts) + 1)
    ids, kinds = np.divmod(entries, t.KINDS)
    found, label = np.unique(ids, return_inverse=True)
    labels = np.bincount(t.KINDS * label + kinds, minlength=t.KINDS * len(found))
    reached = np.full(len(found), len(tally.cuts), dtype=np.int32)
    np.minimum.at(reached, label, reach.astype(np.int32))
    return Totals(
        events=events,
        exact=int(exact.sum()),
        empty=int((positives == 0).sum()),
        pairs=int(rows[:, t.EVENT_PAIRS].sum()),
        likely=int(rows[:, t.EVENT_LIKELY].sum()),
        depths=int(rows[:, t.DEPTH].sum()),
        unbounded=int((rows[:, t.UNSCORED_POSITIVES] > 0).sum()),
        sums=[math.fsum(column) for column in tally.recent_values[:events].T.tolist()],
        labels=labels.reshape(-1, t.KINDS).astype(np.int64),
        reached=reached,
        by_positives=by_positives,
        unscored_top=unscored_top,
    )


def figures(
    totals: Totals, n_labels: int, cuts: Sequence[int], ks: Sequence[int], discounts: FloatArray
) -> dict[str, float]:
    """All figures over `n_labels` labels.

    Parameters
    ----------
    totals
        Of the events.
    n_labels
        L; no fewer than are in `totals`.
    cuts, discounts
        Those of the tally.
    ks
        The cuts that are shown, in the order in which they are.
    """
    events, sums = totals.events, totals.sums
    hits = totals.labels[:, t.TRUE_POSITIVE]
    predicted = hits + totals.labels[:, t.FALSE_POSITIVE]
    positives = hits + totals.labels[:, t.FALSE_NEGATIVE]
    others = totals.others or Summary(len(cuts))
    counts = totals.labels.sum(axis=0) + others.counts
    true_positives, false_positives, false_negatives = counts.tolist()
    n_predicted, n_positives = true_positives + false_positives, true_positives + false_negatives
    shares = others.shares.sum(axis=1).tolist()
    misses = n_predicted + n_positives - 2 * true_positives
    gaps = sums[t.FIRST_GAP : t.FIRST_CUT]
    all_of, likely_ones = calibration_error(gaps, totals.pairs, totals.likely)
    at_k = [_figures_at(totals, i, k, n_labels, len(cuts), discounts) for i, k in enumerate(cuts)]
    by_k = dict(zip(cuts, at_k, strict=True))
    return {
        "subset_accuracy": _mean(totals.exact, events),
        "hamming_loss": _mean(misses, events * n_labels),
        "micro_f1": _ratio(2 * true_positives, n_predicted + n_positives),
        "macro_f1": _macro(2 * hits, predicted + positives, n_labels, shares[0]),
        "micro_precision": _ratio(true_positives, n_predicted),
        "micro_recall": _ratio(true_positives, n_positives),
        "macro_precision": _macro(hits, predicted, n_labels, shares[1]),
        "macro_recall": _macro(hits, positives, n_labels, shares[2]),
        "example_f1": _mean(sums[t.EXAMPLE_F1], events),
        "example_precision": _mean(sums[t.EXAMPLE_PRECISION], events),
        "example_recall": _mean(sums[t.EXAMPLE_RECALL], events),
        "example_jaccard": _mean(sums[t.EXAMPLE_JACCARD], events),
        **{f"precision_at_{k}": by_k[k].precision for k in ks},
        **{f"ndcg_at_{k}": by_k[k].gain for k in ks},
        "one_error": 1.0 - by_k[1].precision,
        **_ranking_figures(totals, n_labels),
        "events": events,
        "events_without_labels": totals.empty,
        "labels": n_labels,
        "cardinality": _mean(n_positives, events),
        "log_loss": _mean(sums[t.LOG_LOSS], totals.pairs),
        "prior_log_loss": _mean(sums[t.PRIOR_LOG_LOSS], totals.pairs),
        "calibration_error": all_of,
        "calibration_error_likely": likely_ones,
        "scored_pairs": totals.pairs,
        "likely_pairs": totals.likely,
        **{f"psp_at_{k}": by_k[k].propensity_scored for k in ks},
        "coverage_error": _mean(totals.depths + totals.unbounded * n_labels, events - totals.empty),
        **{f"coverage_at_{k}": by_k[k].coverage for k in ks},
    }


class _AtK(NamedTuple):
    precision: float
    gain: float
    propensity_scored: float
    coverage: float


def _figures_at(
    totals: Totals, i: int, k: int, n_labels: int, n_cuts: int, discounts: FloatArray
) -> _AtK:
    """Figures at k, the cut with number `i`.

    With S scored labels the unscored ones share the positions S to L - 1, each with the same chance
    of being any of them.
    """
    end = min(k, n_labels)
    precision: list[float] = []
    gain: list[float] = []
    scored, positives = np.nonzero(totals.unscored_top[:k])
    for s, p in zip(scored.tolist(), positives.tolist(), strict=True):
        share = int(totals.unscored_top[s, p]) / (n_labels - s)
        precision.append(share * (end - s) / k)
        gain.append(share * float((discounts[end] - discounts[s]) / discounts[min(p, k)]))
    ranked = totals.events - totals.empty
    of_rank = totals.sums[t.FIRST_CUT :]
    weights = of_rank[ranking.BLOCKS * n_cuts :][:k]
    weight = [w * (end - s) / (n_labels - s) for s, w in enumerate(weights) if w]
    found = of_rank[ranking.WEIGHT_FOUND * n_cuts + i] + math.fsum(weight)
    ever = totals.labels[:, t.TRUE_POSITIVE] + totals.labels[:, t.FALSE_NEGATIVE] > 0
    right = ever if n_labels <= k else ever & (totals.reached <= i)
    n_right, n_ever = int(np.count_nonzero(right)), int(np.count_nonzero(ever))
    if totals.others is not None:
        n_ever += totals.others.ever
        n_right += totals.others.ever if n_labels <= k else totals.others.within[i]
    return _AtK(
        _mean(of_rank[ranking.PRECISION * n_cuts + i] + math.fsum(precision), ranked),
        _mean(of_rank[ranking.GAIN * n_cuts + i] + math.fsum(gain), ranked),
        _mean(found, of_rank[ranking.WEIGHT_BEST * n_cuts + i]),
        _mean(n_right, n_ever),
    )


def _ranking_figures(totals: Totals, n_labels: int) -> dict[str, float]:
    ranked = totals.events - totals.empty
    # Rows of 1 to L - 1 true labels; with all L true no pair can be wrong.
    rows = totals.by_positives[1:n_labels]
    sizes = np.arange(1, len(rows) + 1, dtype=np.int64)
    losses = rows[:, 0] / (sizes * (n_labels - sizes)) + rows[:, 1] / sizes
    unscored_positives = int(totals.by_positives[:, 1].sum())
    last_rank = unscored_positives / n_labels if unscored_positives else 0.0
    return {
        "ranking_loss": _mean(math.fsum(losses.tolist()), ranked),
        "average_precision": _mean(totals.sums[t.AVERAGE_PRECISION] + last_rank, ranked),
    }


def _mean(total: float, n: float) -> float:
    return total / n if n else math.nan


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _macro(part: OffsetArray, whole: OffsetArray, n_labels: int, others: float) -> float:
    """Mean of part / whole over the labels, 0 where there is nothing to divide by.

    `others` is the sum over labels that are not in the arrays.
    """
    some = whole > 0
    # A correctly rounded sum does not change with the zeros of labels that never occurred.
    return _mean(math.fsum([*(part[some] / whole[some]).tolist(), others]), n_labels)
