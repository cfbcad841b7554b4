"""Single events that have been learned and that no detector has looked at yet.

In: events that are learned one by one, with what was said of them. Out: all of them as one batch.
It is here because detectors and partition are asked at strides only, and to show them a hundred
events at once takes little more time than to show them one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ihomer.instances import Batch, BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.learners.kernels.scaling import STRIDE

MOST_LABELS = 256  # with more to look at once saves little, and room for a stride is large


class Backlog:
    """Labels and scores of at most a stride's events, which follow each other.

    Attributes
    ----------
    waiting
        How many there are.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._y_indices: list[IntArray] = []
        self._make_room(0)

    def __getstate__(self) -> dict[str, Any]:
        # Nothing of what has been there before.
        n = self.waiting
        return {
            "_y_indptr": self._y_indptr[: n + 1].copy(),
            "_y_indices": self._y_indices,
            "_known": self._known[: n + 1].copy(),
            "_scores": self._scores[:n].copy(),
            "_reserve": self._reserve[:n].copy(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        n = self.waiting = len(state["_reserve"])
        self._make_room(state["_scores"].shape[1])
        self._y_indices = state["_y_indices"]
        self._y_indptr[: n + 1], self._known[: n + 1] = state["_y_indptr"], state["_known"]
        self._scores[:n], self._reserve[:n] = state["_scores"], state["_reserve"]

    def _make_room(self, labels: int) -> None:
        self._y_indptr: OffsetArray = np.zeros(STRIDE + 1, dtype=np.int64)
        self._known: IntArray = np.zeros(STRIDE + 1, dtype=np.int32)
        self._scores: FloatArray = np.zeros((STRIDE, labels))
        self._reserve: FloatArray = np.zeros(STRIDE)

    def follows(self, batch: Batch) -> bool:
        """Whether a batch of one labelled event can wait behind those that do."""
        if not self.waiting:
            return True
        before, after = batch.known.tolist()
        return (
            self.waiting < STRIDE
            and after == self._scores.shape[1]
            and before == self._known[self.waiting]
        )

    def add(self, batch: Batch, scores: FloatArray, reserve: FloatArray) -> None:
        """Keep copies of a batch that `follows`, and of what was said; see `Engine.run`."""
        at = self.waiting
        if not at:
            labels = scores.shape[1]
            if labels != self._scores.shape[1]:
                self._make_room(labels)
            self._known[0] = batch.known[0]
        self._scores[at], self._reserve[at] = scores[0], reserve[0]
        self._y_indices.append(batch.y_indices.copy())
        self._y_indptr[at + 1] = self._y_indptr[at] + len(batch.y_indices)
        self._known[at + 1] = batch.known[1]
        self.waiting = at + 1

    def batch(self) -> Batch:
        """All that wait, without features."""
        n = self.waiting
        labelled: BoolArray = np.ones(n, dtype=np.bool_)
        return Batch(
            np.zeros(n + 1, dtype=np.int64),
            np.zeros(0, dtype=np.int32),
            np.zeros(0),
            self._y_indptr[: n + 1].copy(),
            np.concatenate([np.zeros(0, dtype=np.int32), *self._y_indices]),
            labelled,
            self._known[: n + 1].copy(),
        )

    @property
    def scores(self) -> FloatArray:
        """What was said of them, float64 (waiting, L)."""
        return self._scores[: self.waiting]

    @property
    def reserve(self) -> FloatArray:
        """And of labels that have never been on, float64 (waiting,)."""
        return self._reserve[: self.waiting]

    def clear(self) -> None:
        """Nothing waits any more."""
        self.waiting = 0
        self._y_indices.clear()

    @property
    def memory_bytes(self) -> int:
        """Bytes of what waits, whatever room there is: a saved model is as large as before."""
        marks = sum(labels.nbytes for labels in self._y_indices)
        return self.scores.nbytes + self.reserve.nbytes + marks
