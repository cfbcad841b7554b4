"""What needs no features: no-change, majority, majority-set. They stand in every table.

They are learners like any other, over the same batches as IHomer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from ihomer.instances import Batch, BoolArray, Encoder, FloatArray, IntArray
from ihomer.learners.base import Predictions, StreamLearner

BASELINES = ("no-change", "majority", "majority-set")


def make_baseline(name: str, encoder: Encoder) -> StreamLearner:
    """A fresh baseline by its name in `BASELINES`, reading the ids of `encoder`."""
    classes: dict[str, type[NoChange | Majority | MajoritySet]] = {
        "no-change": NoChange,
        "majority": Majority,
        "majority-set": MajoritySet,
    }
    return classes[name](encoder)


class _Baseline(ABC):
    """The loop that the three share: predict, then learn."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.n_learned = 0

    def predict_learn(self, batch: Batch) -> Predictions:
        """See `StreamLearner.predict_learn`."""
        shape = (len(batch), batch.n_labels)
        on, scores = np.zeros(shape, dtype=np.bool_), np.full(shape, np.nan)
        events = np.empty(len(batch), dtype=np.int64)
        for t in range(len(batch)):
            known = int(batch.known[t])
            events[t] = self.n_learned
            if self.n_learned:
                self._predict(on[t, :known], scores[t, :known])
            if batch.labelled[t]:
                self._learn(batch.y_indices[batch.y_indptr[t] : batch.y_indptr[t + 1]])
                self.n_learned += 1
        return Predictions(on, scores, events)

    @abstractmethod
    def _predict(self, on: BoolArray, scores: FloatArray) -> None:
        """Fill the row of the labels known by now; it starts all off, without scores."""

    @abstractmethod
    def _learn(self, positives: IntArray) -> None:
        """Learn one event's label ids, ascending."""


class NoChange(_Baseline):
    """Predicts the label set of the last labelled event; scores 1 and 0."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self._last = np.zeros(0, dtype=np.int32)

    def _predict(self, on: BoolArray, scores: FloatArray) -> None:
        on[self._last] = True
        scores[:] = on

    def _learn(self, positives: IntArray) -> None:
        self._last = positives.copy()


class Majority(_Baseline):
    """Predicts each label that was on in more than half of the events; scores are those rates."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self._counts = np.zeros(16)

    def _predict(self, on: BoolArray, scores: FloatArray) -> None:
        self._make_room(len(on))
        counts = self._counts[: len(on)]
        on[:] = 2.0 * counts > self.n_learned
        scores[:] = counts / self.n_learned

    def _learn(self, positives: IntArray) -> None:
        if len(positives):
            self._make_room(int(positives[-1]) + 1)
        self._counts[positives] += 1.0

    def _make_room(self, labels: int) -> None:
        if labels > len(self._counts):
            self._counts = np.concatenate([self._counts, np.zeros(labels)])


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

    def _learn(self, positives: IntArray) -> None:
        labels = tuple(int(i) for i in positives)
        if labels not in self._counts and len(self._counts) >= self.LIMIT:
            by_count = sorted(self._counts.items(), key=lambda item: item[1])
            self._counts = dict(by_count[len(by_count) // 2 :])
        self._counts[labels] = count = self._counts.get(labels, 0) + 1
        # Smaller is better: more often, then earlier by name.
        if -count <= self._best_key[0]:
            key = (-count, sorted(map(self.encoder.labels.name, labels)))
            if key < self._best_key:
                self._best, self._best_key = labels, key
