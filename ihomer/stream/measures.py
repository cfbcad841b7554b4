"""Every measure of a multi-label stream, kept up to date in bounded memory.

In: batches of predicted label sets and scores with the true labels. Out: dictionaries of figures,
over the whole stream and over its last events. It is here so that every table, page and command
takes its figures from one home, where they are held against naive twins and scikit-learn.

Labels may turn up while the stream runs. The figures are those of a stream on which all labels had
been declared before the first event: a label that was not known yet was predicted off, had no
score and was not true. How the number of labels enters only at the end: `ihomer.stream.tally`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ihomer.errors import UsageError
from ihomer.instances import Batch, BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.learners.base import Predictions, SparsePredictions
from ihomer.stream import ranking
from ihomer.stream import tally as t
from ihomer.stream.figures import Totals, figures, total_of_all, total_of_last
from ihomer.stream.rows import Rows, dense_rows, first_bad_truth, sort_rows
from ihomer.stream.vanished import Vanished


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
    ``calibration_error``      distance between probability and     NaN
                               rate of true pairs in each of 15
                               bins, mean over the same pairs
    ``psp_at_k``               weight of the true labels among the  NaN
                               best k, over the most possible
    ``coverage_error``         ranks that hold all true labels      NaN
    ``coverage_at_k``          labels that have ever been true and  NaN
                               within the best k, among those that
                               have ever been true
    ========================== ==================================== ==========================

    Those from ``precision_at_k`` to ``average_precision`` and ``coverage_error`` are means over
    the events with true labels. A label without a score ranks below every label with one, tied
    with the others of its kind. Ties: ``ranking_loss``, ``ndcg_at_k``, ``average_precision`` and
    ``coverage_error`` are scikit-learn's ``label_ranking_loss``, ``ndcg_score``,
    ``label_ranking_average_precision_score`` and ``coverage_error``, that is, a tie counts as
    wrong, as the mean over its orders, as its last rank and as its last rank. ``precision_at_k``,
    ``one_error`` and ``psp_at_k`` take the mean over the orders of a tie, as nDCG does: what a tie
    broken by lot obtains on average; ``coverage_at_k`` takes a tie's last rank.

    From ``log_loss`` to ``calibration_error_likely`` scores are probabilities, cut to [0, 1]; an
    (event, label) pair without a score is in none of them. Logarithms are natural, of
    probabilities no nearer to 0 and 1 than 1e-6. ``prior_log_loss`` is what the running priors
    (n_l + 1/2) / (n + 1) obtain on the same pairs, n_l counting the events with the label among
    the n scored before. Bins have equal width; ``calibration_error_likely`` is over pairs with a
    probability of .1 or more.

    ``psp_at_k`` is propensity-scored precision (Jain, Prabhu, Varma 2016): a true label weighs
    1 / p_l = 1 + C (n_l + B)^-A with C = (ln n - 1) (B + 1)^A, A = .55, B = 1.5, n_l and n as
    above, that is, before the event is learned; C = 0 while n < 3. Sums over all events are
    divided: what was found within k by the most that k labels could have found.

    Sparse predictions give the same figures, bit for bit, where all labels are candidates. Where
    they are not, a label that is no candidate is off and has no score, with one exception: a true
    label that is no candidate and has been true before counts as a pair of probability 0 in
    log-losses and calibration errors, which are over candidates and such labels then. Otherwise
    it would pay to leave labels out. A label that has never been true before could not be known.

    Also returned, as integers: ``events`` (scored), ``events_without_labels`` (left out of the
    ranking measures), ``labels`` (L), ``scored_pairs`` and ``likely_pairs`` (those of
    probabilities); and ``cardinality``, the mean number of true labels. A mean over nothing at all
    (no event, no label) is NaN.

    Memory: per label 28 bytes, and some more for the last that vanished (see `Vanished`); per
    number of true labels of an event 16 bytes; per event of the window its counts and figures and
    8 bytes for each label that is predicted or true. It does not grow with the stream. Label counts
    are integers and the fractional sums are compensated, so nothing drifts, and no figure depends
    on how the stream was cut into batches. Time: per event what its scores and true labels take, be
    the labels as many as they may.

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
        width = t.FIRST_CUT + ranking.BLOCKS * len(cuts) + top
        discounts = np.zeros(top + 1)
        discounts[1:] = np.cumsum(1.0 / np.log2(np.arange(2, top + 2)))
        self._n_labels = 0
        self._vanished = Vanished(len(cuts))
        self._tally = t.Tally(
            counts=np.zeros(t.COUNTS, dtype=np.int64),
            sums=np.zeros((width, 2)),
            labels=np.zeros(0, dtype=np.int64),
            reached=np.zeros(0, dtype=np.int32),
            by_positives=np.zeros((1, 2), dtype=np.int64),
            unscored_top=np.zeros((top, top + 1), dtype=np.int64),
            recent_rows=np.zeros((window, t.ROW), dtype=np.int64),
            recent_values=np.zeros((window, width)),
            ring=np.zeros(window, dtype=np.int64),
            cuts=cuts,
            discounts=discounts,
        )

    @property
    def events(self) -> int:
        """Number of scored events."""
        return int(self._tally.counts[t.EVENTS])

    @property
    def n_labels(self) -> int:
        """Number of labels met so far, vanished ones included.

        Without these it is the most that an `update` has had.
        """
        return self._n_labels + self._vanished.surplus

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
        n = len(labelled)
        if on.ndim != 2 or len(on) != n or scores.shape != on.shape:
            raise UsageError(
                f"measures: found on {on.shape}, scores {scores.shape}, labelled {labelled.shape},"
                " accepted: (n, L), (n, L), (n,)"
            )
        self._update(dense_rows(on, scores), on.shape[1], y_indptr, y_indices, labelled)

    def update_sparse(
        self,
        predictions: SparsePredictions,
        y_indptr: OffsetArray,
        y_indices: IntArray,
        labelled: BoolArray,
    ) -> None:
        """Score a batch of n events of which only some labels are looked at.

        Parameters
        ----------
        predictions
            Of n events; the order of an event's candidates plays no role.
        y_indptr, y_indices, labelled
            As of `update`.

        Raises
        ------
        UsageError
            As of `update`; or candidates are not compressed sparse rows of distinct ids below
            `n_labels`. Nothing of the batch is counted then.
        """
        given = Rows(
            np.ascontiguousarray(predictions.indptr, dtype=np.int64),
            True,
            np.ascontiguousarray(predictions.labels, dtype=np.int32),
            np.ascontiguousarray(predictions.on, dtype=np.bool_),
            np.ascontiguousarray(predictions.scores, dtype=np.float64),
        )
        n, size = len(labelled), given.ids.shape
        if given.indptr.shape != (n + 1,) or given.on.shape != size or given.scores.shape != size:
            raise UsageError(
                f"measures: found indptr {given.indptr.shape}, labels {size}, on {given.on.shape},"
                f" scores {given.scores.shape}, labelled ({n},), accepted: (n + 1,), three of equal"
                " length, (n,)"
            )
        rows = given._replace(
            ids=np.empty_like(given.ids),
            on=np.empty_like(given.on),
            scores=np.empty_like(given.scores),
        )
        bad = sort_rows(given, predictions.n_labels, rows)
        if bad >= 0:
            raise UsageError(
                f"measures: the candidates of event {bad} of the batch are not compressed sparse"
                f" rows of distinct ids below {predictions.n_labels}"
            )
        self._update(rows, predictions.n_labels, y_indptr, y_indices, labelled)

    def update_batch(self, batch: Batch, predictions: Predictions | SparsePredictions) -> None:
        """Score `predictions` against the true labels of `batch`."""
        start = 0
        for change in batch.changes:
            # What a label that returns has been counted for is its own at its first event again.
            at = change.at - change.birth
            if at > start:
                self._update_events(batch, predictions, start, at)
                start = at
            self._make_room(batch.n_labels, 0)
            self._vanished.apply(self._tally, change)
        self._update_events(batch, predictions, start, len(batch))

    def _update_events(
        self, batch: Batch, predictions: Predictions | SparsePredictions, start: int, stop: int
    ) -> None:
        if stop - start < len(batch):
            batch, predictions = batch.slice(start, stop), predictions.slice(start, stop)
        truth = (batch.y_indptr, batch.y_indices, batch.labelled)
        if isinstance(predictions, SparsePredictions):
            self.update_sparse(predictions, *truth)
        else:
            self.update(predictions.on, predictions.scores, *truth)

    def _update(
        self,
        rows: Rows,
        n_labels: int,
        y_indptr: OffsetArray,
        y_indices: IntArray,
        labelled: BoolArray,
    ) -> None:
        y_indptr = np.ascontiguousarray(y_indptr, dtype=np.int64)
        y_indices = np.ascontiguousarray(y_indices, dtype=np.int32)
        labelled = np.ascontiguousarray(labelled, dtype=np.bool_)
        n = len(labelled)
        if labelled.ndim != 1 or y_indptr.shape != (n + 1,) or y_indices.ndim != 1:
            raise UsageError(
                f"measures: found y_indptr {y_indptr.shape}, y_indices {y_indices.shape}, labelled"
                f" {labelled.shape}, accepted: (n + 1,), (positives,), (n,)"
            )
        bad = first_bad_truth(y_indptr, y_indices, n_labels)
        if bad >= 0:
            raise UsageError(
                f"measures: the true labels of event {bad} of the batch are not compressed sparse"
                f" rows of ascending ids below {n_labels}"
            )
        self._n_labels = max(self._n_labels, n_labels)
        self._make_room(n_labels, int(np.diff(y_indptr).max(initial=0)))
        done = t.tally_batch(self._tally, rows, y_indptr, y_indices, labelled, 0)
        while done < n:
            self._grow_ring()
            done = t.tally_batch(self._tally, rows, y_indptr, y_indices, labelled, done)

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
        totals = total_of_all(self._tally)
        labels, reached = self._vanished.counts()
        if len(reached):
            totals = totals._replace(
                labels=np.concatenate([totals.labels, labels]),
                reached=np.concatenate([totals.reached, reached]),
                others=self._vanished.summary,
            )
        return self._figures(totals, n_labels)

    def rolling(self, n_labels: int | None = None) -> dict[str, float]:
        """All figures over the last `window` scored events, or fewer at the start.

        The parameter, the result and the error are those of `result`; L is the number of labels
        of the stream, not of the window.
        """
        return self._figures(total_of_last(self._tally), n_labels)

    def by_label(self, names: Mapping[int, str]) -> dict[str, tuple[int, int, int]]:
        """True positives, false positives and false negatives of each label over the stream.

        Parameters
        ----------
        names
            Of the ids that are somebody's now.

        Returns
        -------
        dict
            By name; labels that were never on or predicted are left out. Of those that have
            vanished the last `MOST_REMEMBERED` are in it.
        """
        rows = self._tally.labels.reshape(-1, t.KINDS)
        counts = self._vanished.named()
        counts |= {name: tuple(rows[i].tolist()) for i, name in names.items() if i < len(rows)}
        return {name: found for name, found in counts.items() if any(found)}

    def _figures(self, totals: Totals, n_labels: int | None) -> dict[str, float]:
        if n_labels is None:
            n_labels = self.n_labels
        elif n_labels < self.n_labels:
            raise UsageError(
                f"n_labels: found {n_labels}, accepted: {self.n_labels} or more, the labels met"
            )
        tally = self._tally
        return figures(totals, n_labels, tally.cuts.tolist(), self.ks, tally.discounts)

    def _make_room(self, n_labels: int, most_true: int) -> None:
        """Room for ids below `n_labels` and for events of `most_true` true labels."""
        tally = self._tally
        old = len(tally.reached)
        if n_labels > old:
            room = max(n_labels, 2 * old)
            labels = np.zeros(t.KINDS * room, dtype=np.int64)
            labels[: len(tally.labels)] = tally.labels
            reached = np.full(room, len(tally.cuts), dtype=np.int32)
            reached[:old] = tally.reached
            tally = tally._replace(labels=labels, reached=reached)
        if most_true >= len(tally.by_positives):
            by_positives = np.zeros((max(most_true + 1, 2 * len(tally.by_positives)), 2), np.int64)
            by_positives[: len(tally.by_positives)] = tally.by_positives
            tally = tally._replace(by_positives=by_positives)
        self._tally = tally

    def _grow_ring(self) -> None:
        """Twice the room, oldest entry first; only a window of fuller label sets asks for it."""
        tally = self._tally
        ring = np.zeros(2 * len(tally.ring), dtype=np.int64)
        ring[: len(tally.ring)] = np.roll(tally.ring, -int(tally.counts[t.OLDEST]))
        tally.counts[t.OLDEST] = 0
        self._tally = tally._replace(ring=ring)
