"""What needs no features: no-change, majority, majority-set. They stand in every table.

They are learners like any other, over the same batches as IHomer. As long as `MANY` labels are
known or fewer, each has a score; with more, only those that matter are looked at, and an event
takes the same time however many labels there are. Which of the two it is depends on the labels
that are known at the event, not on the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TypeAlias

import numpy as np

from ihomer.instances import Batch, BoolArray, Encoder, FloatArray, IntArray, OffsetArray
from ihomer.learners.base import Predictions, SparsePredictions, StreamLearner
from ihomer.vocabulary import MOST_REMEMBERED, Change

BASELINES = ("no-change", "majority", "majority-set")
MANY = 4096


def make_baseline(name: str, encoder: Encoder) -> StreamLearner:
    """A fresh baseline by its name in `BASELINES`, reading the ids of `encoder`."""
    classes: dict[str, type[NoChange | Majority | MajoritySet]] = {
        "no-change": NoChange,
        "majority": Majority,
        "majority-set": MajoritySet,
    }
    return classes[name](encoder)


# Ids and scores, the best first, among equals by name; how many of the first are predicted on.
_Ranked: TypeAlias = tuple[list[int], list[float], int]


class _Baseline(ABC):
    """The loop that the three share: predict, then learn."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.n_learned = 0
        self._vacant: set[int] = set()
        self._names: Sequence[str] | None = None  # at the present event; None: as by now
        self._changes: dict[int, list[Change]] = {}  # of the present batch, by event
        self._tables: dict[int, Sequence[str]] = {}  # names, from an event on

    def predict_learn(self, batch: Batch) -> Predictions | SparsePredictions:
        """See `StreamLearner.predict_learn`; sparse if an event knows more than `MANY` labels."""
        self._open(batch)
        events = np.cumsum(batch.labelled, dtype=np.int64) - batch.labelled + self.n_learned
        known = batch.known[: len(batch)].tolist()
        if max(known, default=0) > MANY:
            return self._sparse(batch, known, events)
        shape = (len(batch), batch.n_labels)
        on, scores = np.zeros(shape, dtype=np.bool_), np.full(shape, np.nan)
        for t in range(len(batch)):
            self._follow(t)
            if self.n_learned:
                self._predict(on[t, : known[t]], scores[t, : known[t]])
            if self._vacant:
                nobody = list(self._vacant)
                on[t, nobody], scores[t, nobody] = False, np.nan
            self._learn_event(batch, t)
        self._follow(len(batch))
        return Predictions(on, scores, events)

    def _sparse(self, batch: Batch, known: list[int], events: OffsetArray) -> SparsePredictions:
        indptr = np.zeros(len(batch) + 1, dtype=np.int64)
        ids: list[int] = []
        scores: list[float] = []
        on: list[bool] = []
        for t in range(len(batch)):
            self._follow(t)
            if self.n_learned:
                find = self._candidates if known[t] > MANY else self._all
                found, their_scores, n_on = find(known[t])
                ids += found
                scores += their_scores
                on += [True] * n_on + [False] * (len(found) - n_on)
            indptr[t + 1] = len(ids)
            self._learn_event(batch, t)
        self._follow(len(batch))
        return SparsePredictions(
            batch.n_labels,
            indptr,
            np.array(ids, dtype=np.int32),
            np.array(scores, dtype=np.float64),
            np.array(on, dtype=np.bool_),
            events,
        )

    def _open(self, batch: Batch) -> None:
        self._names, self._changes, self._tables = None, {}, {}
        if batch.changes:
            by_event = groupby(batch.changes, lambda change: change.at)
            self._changes = {t: list(changes) for t, changes in by_event}
            tables = batch.names(self.encoder.labels.names())
            self._tables = {start: names for start, _, names in tables}

    def _follow(self, t: int) -> None:
        """Follow what has happened to ids before event `t` of the batch."""
        self._names = self._tables.get(t, self._names)
        changes = self._changes.pop(t, ())
        for change in changes:
            (self._vacant.discard if change.birth else self._vacant.add)(change.label)
        if changes:
            self._reassign(changes)

    def _name(self, label: int) -> str:
        return self._names[label] if self._names else self.encoder.labels.name(label)

    def _learn_event(self, batch: Batch, t: int) -> None:
        if batch.labelled[t]:
            self._learn(batch.y_indices[batch.y_indptr[t] : batch.y_indptr[t + 1]])
            self.n_learned += 1

    def _all(self, known: int) -> _Ranked:
        """All labels known as candidates."""
        on, scores = np.zeros(known, dtype=np.bool_), np.zeros(known)
        self._predict(on, scores)
        order = np.lexsort((self.encoder.labels.ranks()[:known], -scores))
        if self._vacant:
            order = order[~np.isin(order, list(self._vacant))]
        return order.tolist(), scores[order].tolist(), int(on.sum())

    def _by_name(self, ids: IntArray) -> _Ranked:
        """These labels with a score of 1 as candidates."""
        ranked = sorted(ids.tolist(), key=self._name)
        return ranked, [1.0] * len(ranked), len(ranked)

    @abstractmethod
    def _candidates(self, known: int) -> _Ranked:
        """The labels that matter among those known by now."""

    @abstractmethod
    def _predict(self, on: BoolArray, scores: FloatArray) -> None:
        """Fill the row of the labels known by now; it starts all off, without scores."""

    @abstractmethod
    def _learn(self, positives: IntArray) -> None:
        """Learn one event's label ids, ascending."""

    @abstractmethod
    def _reassign(self, changes: Iterable[Change]) -> None:
        """Keep what is known of labels that have vanished apart from their ids, if they return."""


class NoChange(_Baseline):
    """Predicts the label set of the last labelled event; scores 1 and 0."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self._last = np.zeros(0, dtype=np.int32)

    def _predict(self, on: BoolArray, scores: FloatArray) -> None:
        on[self._last] = True
        scores[:] = on

    def _candidates(self, known: int) -> _Ranked:
        del known
        return self._by_name(self._last)

    def _learn(self, positives: IntArray) -> None:
        self._last = positives.copy()

    def _reassign(self, changes: Iterable[Change]) -> None:
        """See `_Baseline._reassign`; a label that vanishes has long left the last set."""


class Majority(_Baseline):
    """Predicts each label that was on in more than half of the events; scores are those rates.

    Candidates are the `SHOWN` most frequent labels, or more where all of these are predicted on.
    """

    SHOWN = 32

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self._former: dict[str, int] = {}
        self._counts = array("q")  # of single numbers faster than numpy's
        self._shown = 0  # that many of the most frequent are kept in order; 0: not yet
        self._top: list[tuple[int, str]] = []  # minus the count, and the name; ascending
        self._top_ids: list[int] = []

    def _predict(self, on: BoolArray, scores: FloatArray) -> None:
        self._make_room(len(on))
        counts = np.frombuffer(self._counts, dtype=np.int64)[: len(on)]
        on[:] = 2 * counts > self.n_learned
        scores[:] = counts / self.n_learned

    def _candidates(self, known: int) -> _Ranked:
        del known
        if not self._shown:
            self._shown = self.SHOWN
            self._rank()
        n = self.n_learned
        while len(self._top) == self._shown and -2 * self._top[-1][0] > n:
            self._shown *= 2
            self._rank()
        n_on = bisect_left(self._top, (-(n // 2), ""))
        return self._top_ids, [count / -n for count, _ in self._top], n_on

    def _learn(self, positives: IntArray) -> None:
        ids, counts = positives.tolist(), self._counts
        if ids:
            self._make_room(ids[-1] + 1)
        for label in ids:
            counts[label] += 1
            if self._shown:
                self._move_up(label, counts[label])

    def _move_up(self, label: int, count: int) -> None:
        """Put `label` where its count, one more than before, says."""
        top, ids = self._top, self._top_ids
        if len(ids) == self._shown and count < -top[-1][0]:
            return
        name = self._name(label)
        place = bisect_left(top, (1 - count, name))
        if place < len(top) and ids[place] == label:
            del top[place], ids[place]
        place = bisect_left(top, (-count, name))
        top.insert(place, (-count, name))
        ids.insert(place, label)
        del top[self._shown :], ids[self._shown :]

    def _rank(self) -> None:
        """Find the most frequent labels among all."""
        counts = np.frombuffer(self._counts, dtype=np.int64)
        seen = np.flatnonzero(counts)
        if len(seen) > self._shown:
            least = np.partition(counts[seen], -self._shown)[-self._shown]
            seen = seen[counts[seen] >= least]
        name = self._name
        ranked = sorted((-int(counts[i]), name(i), i) for i in seen.tolist())
        self._top = [entry[:2] for entry in ranked[: self._shown]]
        self._top_ids = [entry[2] for entry in ranked[: self._shown]]

    def _reassign(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self._make_room(change.label + 1)
            if change.birth:
                self._counts[change.label] += self._former.pop(change.name, 0)
                continue
            self._former[change.name] = self._counts[change.label]
            self._counts[change.label] = 0
            if len(self._former) > MOST_REMEMBERED:
                del self._former[next(iter(self._former))]
        if self._shown:
            self._rank()

    def _make_room(self, labels: int) -> None:
        if labels > len(self._counts):
            self._counts.frombytes(bytes(8 * labels))


class MajoritySet(_Baseline):
    """Predicts the label set seen most often; among equals the one first in order of its names.

    Scores are 1 and 0. At most `LIMIT` different sets are counted; past that the rarer half is
    forgotten, the older ones first among equals.
    """

    LIMIT = 100_000

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self._counts: dict[tuple[int, ...], int] = {}
        self._best: tuple[int, ...] = ()
        self._best_key: tuple[int, list[str]] = (0, [])

    def _predict(self, on: BoolArray, scores: FloatArray) -> None:
        on[list(self._best)] = True
        scores[:] = on

    def _candidates(self, known: int) -> _Ranked:
        del known
        return self._by_name(np.array(self._best, dtype=np.int32))

    def _learn(self, positives: IntArray) -> None:
        labels = tuple(int(i) for i in positives)
        if labels not in self._counts and len(self._counts) >= self.LIMIT:
            by_count = sorted(self._counts.items(), key=lambda item: item[1])
            self._counts = dict(by_count[len(by_count) // 2 :])
        self._counts[labels] = count = self._counts.get(labels, 0) + 1
        # Smaller is better: more often, then earlier by name.
        if -count <= self._best_key[0]:
            key = self._key(labels)
            if key < self._best_key:
                self._best, self._best_key = labels, key

    def _key(self, labels: tuple[int, ...]) -> tuple[int, list[str]]:
        return -self._counts[labels], sorted(map(self._name, labels))

    def _reassign(self, changes: Iterable[Change]) -> None:
        """Forget the sets with a label that has vanished: they cannot be right any more."""
        gone = {change.label for change in changes if not change.birth}
        if not gone:
            return
        self._counts = {
            labels: count for labels, count in self._counts.items() if gone.isdisjoint(labels)
        }
        if not gone.isdisjoint(self._best):
            self._best = min(self._counts, key=self._key, default=())
            self._best_key = self._key(self._best) if self._counts else (0, [])
