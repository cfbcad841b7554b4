"""Every measure of a multi-label stream, kept up to date in bounded memory.

In: batches of predicted label sets and scores with the true labels. Out: dictionaries of figures,
over the whole stream and over its last events. It is here so that every table, page and command
takes its figures from one home, where they are held against naive twins and scikit-learn.

Labels may turn up while the stream runs. The figures are those of a stream on which all labels had
been declared before the first event: a label that was not known yet was predicted off, had no
score and was not true. How the number of labels enters only at the end: `ihomer.stream.tally`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ihomer.errors import UsageError
from ihomer.instances import Batch, BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.learners.base import Predictions
from ihomer.stream import tally as t
from ihomer.stream.reliability import calibration_error


class _Totals(NamedTuple):
    """Counts and sums over some events, whichever they are."""

    events: int
    exact: int
    empty: int
    pairs: int
    likely: int
    sums: list[float]
    labels: OffsetArray  # int64 (3 room,)
    by_positives: OffsetArray
    unscored_top: OffsetArray


class Measures:
    """Incremental measures of multi-label predictions on a stream.

    With Y true and P predicted label sets over L labels, for n scored events:

    ========================== ==================================== ==========================
    key                        definition                           nothing to divide by
    ========================== ==================================== ==========================
    ``subset_accuracy``        mean of [P = Y]
    ``hamming_loss``           labels in P or Y but not both, per
                               event and label
    ``micro_f1``,              of all (event, label) pairs at once  0
    ``micro_precision``,
    ``micro_recall``
    ``macro_f1``,              mean over the L labels               0 for such a label, also
    ``macro_precision``,                                            for one that never occurs
    ``macro_recall``
    ``example_f1``,            mean over events                     P and Y empty: 1, one of
    ``example_precision``,                                          them empty: 0
    ``example_recall``,
    ``example_jaccard``
    ``precision_at_k``         true labels among the best k, per k
                               (per k even if L < k)
    ``ndcg_at_k``              DCG of the best k over the best DCG
                               possible
    ``one_error``              the best label is not true
    ``ranking_loss``           (true, false) label pairs with the   0 if all labels are true
                               false one not below, per such pair
    ``average_precision``      label ranking average precision
    ``log_loss``,              minus the logarithm of the           NaN
    ``prior_log_loss``         probability of what came true, mean
                               over the pairs with a score
    ``calibration_error``,     distance between probability and     NaN
    ``calibration_error_       rate of true pairs in each of 15
    likely``                   bins, mean over the same pairs
    ========================== ==================================== ==========================

    Those from ``precision_at_k`` to ``average_precision`` are means over the events with true
    labels. A label without a score ranks below every label with one, tied with the others of its
    kind. Ties: ``ranking_loss``, ``ndcg_at_k`` and ``average_precision`` are scikit-learn's
    ``label_ranking_loss``, ``ndcg_score`` and ``label_ranking_average_precision_score``, that is,
    a tie counts as wrong, as the mean over its orders and as its last rank. ``precision_at_k`` and
    ``one_error`` take the mean over the orders of a tie, as nDCG does: what a tie broken by lot
    obtains on average.

    The last four look at scores as probabilities, cut to [0, 1]; an (event, label) pair without a
    score is in none of them. Logarithms are natural, of probabilities no nearer to 0 and 1 than
    1e-6. ``prior_log_loss`` is what the running priors (n_l + 1/2) / (n + 1) obtain on the same
    pairs, n_l counting the events with the label among the n scored before. Bins have equal width;
    ``calibration_error_likely`` is over pairs with a probability of .1 or more.

    Also returned, as integers: ``events`` (scored), ``events_without_labels`` (left out of the
    ranking measures), ``labels`` (L), ``scored_pairs`` and ``likely_pairs`` (those of the last
    four); and ``cardinality``, the mean number of true labels. A mean
    over nothing at all (no event, no label) is NaN.

    Memory: per label 4 counts for the stream, 3 for the window and 2 by number of true labels; per
    event of the window its counts and figures and one number for each label that is predicted or
    true. It does not grow with the stream. Label counts are integers and the fractional sums are
    compensated, so nothing drifts, and no figure depends on how the stream was cut into batches.

    Parameters
    ----------
    window
        Number of events that `rolling` looks back.
    ks
        The values of k.

    Raises
    ------
    UsageError
        `window` or a k is below 1, or a k occurs twice.

    Examples
    --------
    >>> import numpy as np
    >>> measures = Measures()
    >>> measures.update(
    ...     on=np.array([[True, False], [False, True]]),
    ...     scores=np.array([[0.9, 0.2], [0.4, 0.7]]),
    ...     y_indptr=np.array([0, 1, 3]),
    ...     y_indices=np.array([0, 0, 1], dtype=np.int32),
    ...     labelled=np.array([True, True]),
    ... )
    >>> figures = measures.result()
    >>> figures["subset_accuracy"], figures["hamming_loss"], round(figures["micro_f1"], 3)
    (0.5, 0.25, 0.8)

    A third label, declared and never on:

    >>> round(measures.result(n_labels=3)["hamming_loss"], 3)
    0.167
    """

    def __init__(self, window: int = 1000, ks: tuple[int, ...] = (1, 3, 5)) -> None:
        if window < 1:
            raise UsageError(f"window: found {window}, accepted: 1 or more")
        if not ks or min(ks) < 1 or len(set(ks)) < len(ks):
            raise UsageError(f"ks: found {ks}, accepted: one or more distinct numbers from 1")
        self.ks = tuple(ks)
        cuts = np.array(sorted({1, *ks}), dtype=np.int64)  # 1: one-error is made from it
        top = int(cuts[-1])
        figures = t.FIRST_CUT + 2 * len(cuts)
        discounts = np.zeros(top + 1)
        discounts[1:] = np.cumsum(1.0 / np.log2(np.arange(2, top + 2)))
        self._n_labels = 0
        self._tally = t.Tally(
            counts=np.zeros(7, dtype=np.int64),
            sums=np.zeros((figures, 2)),
            labels=np.zeros(0, dtype=np.int64),
            seen=np.zeros(0),
            by_positives=np.zeros((1, 2), dtype=np.int64),
            unscored_top=np.zeros((top, top + 1), dtype=np.int64),
            recent_rows=np.zeros((window, t.ROW), dtype=np.int64),
            recent_values=np.zeros((window, figures)),
            recent_labels=np.zeros(0, dtype=np.int64),
            ring=np.zeros(window, dtype=np.int32),
            cuts=cuts,
            discounts=discounts,
        )

    @property
    def events(self) -> int:
        """Number of scored events."""
        return int(self._tally.counts[t.EVENTS])

    @property
    def n_labels(self) -> int:
        """Number of labels met so far: the most columns that an `update` has had."""
        return self._n_labels

    def update(
        self,
        on: BoolArray,
        scores: FloatArray,
        y_indptr: OffsetArray,
        y_indices: IntArray,
        labelled: BoolArray,
    ) -> None:
        """Score a batch of n events over the L labels known by its end.

        Parameters
        ----------
        on
            bool (n, L): the predicted label sets.
        scores
            float64 (n, L): higher ranks first; NaN = no score.
        y_indptr, y_indices
            int64 (n + 1,) and int32: the true labels as compressed sparse rows of label ids, which
            are below L and ascend within an event.
        labelled
            bool (n,): events that are False here are not scored.

        Raises
        ------
        UsageError
            The shapes do not fit each other, or the true labels are not as described. Nothing of
            the batch is counted then.
        """
        on = np.ascontiguousarray(on, dtype=np.bool_)
        scores = np.ascontiguousarray(scores, dtype=np.float64)
        y_indptr = np.ascontiguousarray(y_indptr, dtype=np.int64)
        y_indices = np.ascontiguousarray(y_indices, dtype=np.int32)
        labelled = np.ascontiguousarray(labelled, dtype=np.bool_)
        n = len(labelled)
        shapes = scores.shape == on.shape and labelled.shape == (n,) and y_indptr.shape == (n + 1,)
        if on.ndim != 2 or len(on) != n or y_indices.ndim != 1 or not shapes:
            raise UsageError(
                f"measures: found on {on.shape}, scores {scores.shape}, y_indptr {y_indptr.shape},"
                f" labelled {labelled.shape}, accepted: (n, L), (n, L), (n + 1,), (n,)"
            )
        width = on.shape[1]
        bad = t.first_bad_truth(y_indptr, y_indices, width)
        if bad >= 0:
            raise UsageError(
                f"measures: the true labels of event {bad} of the batch are not compressed sparse"
                f" rows of ascending ids below {width}"
            )
        self._make_room_for_labels(width)
        done = t.tally_batch(self._tally, on, scores, y_indptr, y_indices, labelled, 0)
        while done < n:
            self._grow_ring()
            done = t.tally_batch(self._tally, on, scores, y_indptr, y_indices, labelled, done)

    def update_batch(self, batch: Batch, predictions: Predictions) -> None:
        """Score `predictions` against the true labels of `batch`; see `update`."""
        self.update(
            predictions.on, predictions.scores, batch.y_indptr, batch.y_indices, batch.labelled
        )

    def result(self, n_labels: int | None = None) -> dict[str, float]:
        """All figures over the whole stream.

        Parameters
        ----------
        n_labels
            L, the number of labels known at the end; it may exceed the labels met, for those that
            were declared and never on. None: the labels met.

        Returns
        -------
        dict
            Keys as in the table of the class, the same ones in the same order always.

        Raises
        ------
        UsageError
            `n_labels` is smaller than the number of labels met.
        """
        tally = self._tally
        totals = _Totals(
            events=self.events,
            exact=int(tally.counts[t.EXACT]),
            empty=int(tally.counts[t.EMPTY]),
            pairs=int(tally.counts[t.PAIRS]),
            likely=int(tally.counts[t.LIKELY_PAIRS]),
            sums=tally.sums.sum(axis=1).tolist(),
            labels=tally.labels,
            by_positives=tally.by_positives,
            unscored_top=tally.unscored_top,
        )
        return self._figures(totals, n_labels)

    def rolling(self, n_labels: int | None = None) -> dict[str, float]:
        """All figures over the last `window` scored events, or fewer at the start.

        The parameter, the result and the error are those of `result`; L is the number of labels
        of the stream, not of the window.
        """
        tally = self._tally
        events = min(self.events, len(tally.recent_rows))
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
        totals = _Totals(
            events=events,
            exact=int(exact.sum()),
            empty=int((positives == 0).sum()),
            pairs=int(rows[:, t.SCORED].sum()),
            likely=int(rows[:, t.LIKELY_SCORED].sum()),
            sums=[math.fsum(column) for column in tally.recent_values[:events].T.tolist()],
            labels=tally.recent_labels,
            by_positives=by_positives,
            unscored_top=unscored_top,
        )
        return self._figures(totals, n_labels)

    def _figures(self, totals: _Totals, n_labels: int | None) -> dict[str, float]:
        if n_labels is None:
            n_labels = self._n_labels
        elif n_labels < self._n_labels:
            raise UsageError(
                f"n_labels: found {n_labels}, accepted: {self._n_labels} or more, the labels met"
            )
        events, sums = totals.events, totals.sums
        per_label = totals.labels.reshape(-1, t.KINDS)
        hits = per_label[:, t.TRUE_POSITIVE]
        predicted = hits + per_label[:, t.FALSE_POSITIVE]
        positives = hits + per_label[:, t.FALSE_NEGATIVE]
        true_positives, n_predicted, n_positives = (
            int(column.sum()) for column in (hits, predicted, positives)
        )
        misses = n_predicted + n_positives - 2 * true_positives
        figures = {
            "subset_accuracy": _mean(totals.exact, events),
            "hamming_loss": _mean(misses, events * n_labels),
            "micro_f1": _ratio(2 * true_positives, n_predicted + n_positives),
            "macro_f1": _macro(2 * hits, predicted + positives, n_labels),
            "micro_precision": _ratio(true_positives, n_predicted),
            "micro_recall": _ratio(true_positives, n_positives),
            "macro_precision": _macro(hits, predicted, n_labels),
            "macro_recall": _macro(hits, positives, n_labels),
            "example_f1": _mean(sums[t.EXAMPLE_F1], events),
            "example_precision": _mean(sums[t.EXAMPLE_PRECISION], events),
            "example_recall": _mean(sums[t.EXAMPLE_RECALL], events),
            "example_jaccard": _mean(sums[t.EXAMPLE_JACCARD], events),
        }
        figures.update(self._ranking_figures(totals, n_labels))
        figures["events"] = events
        figures["events_without_labels"] = totals.empty
        figures["labels"] = n_labels
        figures["cardinality"] = _mean(n_positives, events)
        gaps = sums[t.FIRST_GAP : t.FIRST_CUT]
        all_of, likely_ones = calibration_error(gaps, totals.pairs, totals.likely)
        figures["log_loss"] = _mean(sums[t.LOG_LOSS], totals.pairs)
        figures["prior_log_loss"] = _mean(sums[t.PRIOR_LOG_LOSS], totals.pairs)
        figures["calibration_error"] = all_of
        figures["calibration_error_likely"] = likely_ones
        figures["scored_pairs"] = totals.pairs
        figures["likely_pairs"] = totals.likely
        return figures

    def _ranking_figures(self, totals: _Totals, n_labels: int) -> dict[str, float]:
        cuts = self._tally.cuts.tolist()
        ranked = totals.events - totals.empty
        precisions: dict[int, float] = {}
        gains: dict[int, float] = {}
        for i, k in enumerate(cuts):
            at_precision = t.FIRST_CUT + i
            precision, gain = self._unscored_part(totals.unscored_top, k, n_labels)
            precisions[k] = _mean(totals.sums[at_precision] + precision, ranked)
            gains[k] = _mean(totals.sums[at_precision + len(cuts)] + gain, ranked)
        # Rows of 1 to L - 1 true labels; with all L true no pair can be wrong.
        rows = totals.by_positives[1:n_labels]
        sizes = np.arange(1, len(rows) + 1, dtype=np.int64)
        losses = rows[:, 0] / (sizes * (n_labels - sizes)) + rows[:, 1] / sizes
        unscored_positives = int(totals.by_positives[:, 1].sum())
        last_rank = unscored_positives / n_labels if unscored_positives else 0.0
        return {
            **{f"precision_at_{k}": precisions[k] for k in self.ks},
            **{f"ndcg_at_{k}": gains[k] for k in self.ks},
            "one_error": 1.0 - precisions[1],
            "ranking_loss": _mean(math.fsum(losses.tolist()), ranked),
            "average_precision": _mean(totals.sums[t.AVERAGE_PRECISION] + last_rank, ranked),
        }

    def _unscored_part(
        self, unscored_top: OffsetArray, k: int, n_labels: int
    ) -> tuple[float, float]:
        """Sums of precision and nDCG at k that true labels without a score bring in.

        With S scored labels the unscored ones share the positions S to L - 1, each with the same
        chance of being any of them.
        """
        discounts = self._tally.discounts
        end = min(k, n_labels)
        precision: list[float] = []
        gain: list[float] = []
        scored, positives = np.nonzero(unscored_top[:k])
        for s, p in zip(scored.tolist(), positives.tolist(), strict=True):
            share = int(unscored_top[s, p]) / (n_labels - s)
            precision.append(share * (end - s) / k)
            gain.append(share * float((discounts[end] - discounts[s]) / discounts[min(p, k)]))
        return math.fsum(precision), math.fsum(gain)

    def _make_room_for_labels(self, width: int) -> None:
        self._n_labels = max(self._n_labels, width)
        tally = self._tally
        room = len(tally.by_positives) - 1
        if width <= room:
            return
        room = max(width, 2 * room)
        seen = np.zeros(room)
        seen[: len(tally.seen)] = tally.seen
        labels = np.zeros(t.KINDS * room, dtype=np.int64)
        labels[: len(tally.labels)] = tally.labels
        recent_labels = np.zeros(t.KINDS * room, dtype=np.int64)
        recent_labels[: len(tally.recent_labels)] = tally.recent_labels
        by_positives = np.zeros((room + 1, 2), dtype=np.int64)
        by_positives[: len(tally.by_positives)] = tally.by_positives
        self._tally = tally._replace(
            labels=labels, seen=seen, recent_labels=recent_labels, by_positives=by_positives
        )

    def _grow_ring(self) -> None:
        """Twice the room, oldest entry first; only a window of fuller label sets asks for it."""
        tally = self._tally
        ring = np.zeros(2 * len(tally.ring), dtype=np.int32)
        ring[: len(tally.ring)] = np.roll(tally.ring, -int(tally.counts[t.OLDEST]))
        tally.counts[t.OLDEST] = 0
        self._tally = tally._replace(ring=ring)


def _mean(total: float, n: int) -> float:
    return total / n if n else math.nan


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _macro(part: OffsetArray, whole: OffsetArray, n_labels: int) -> float:
    """Mean of part / whole over the labels, 0 where there is nothing to divide by."""
    some = whole > 0
    # A correctly rounded sum does not change with the zeros of labels that never occurred.
    return _mean(math.fsum((part[some] / whole[some]).tolist()), n_labels)
