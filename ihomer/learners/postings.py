"""The learner of many labels: segments of sparse features in, ranked candidates out.

In: segments of the stream. Out: for each event the labels that may be on, with probabilities and
decisions. It owns posting lists and an inverted index, and the arrays that grow with columns and
labels. What an event costs depends on its features alone, not on how many labels there are.

The cost of an event and what it is worth are in ``docs/decisions/0007-many-labels.md``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.instances import Batch, BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.learners.arrays import grown, nbytes
from ihomer.learners.kernels.inverted import DEPTH, EVENTS, MARKS, Inverted, forget_marks
from ihomer.learners.kernels.postings import (
    BEST,
    BIAS,
    CLASSES,
    NEVER,
    Postings,
    forget_entries,
)
from ihomer.learners.kernels.ranking import CANDIDATES, COUNTS, Ranking, rank_segment
from ihomer.learners.kernels.weighing import weigh_rows
from ihomer.learners.scaling import Rows, Scaler, folded, single_precision

# Shares of the memory: the arena of the lists, and what there is for each column.
ENTRY_SHARE, COLUMN_SHARE = 0.5, 0.25
# Bytes of a column: the scaler's and the index's, the list's place, df.
COLUMN_BYTES = 72 + DEPTH * 8 + 4 + 20 + 4
FEWEST_COLUMNS = 256
LEAST_ARENA = 1 << 12
ENTRY_BYTES = 4


class Ranked(NamedTuple):
    """Candidates of a segment.

    Attributes
    ----------
    indptr
        int64 (n + 1,): where each event's candidates begin.
    labels
        int32: ids, the best first, equal ones by id.
    scores
        float64: probabilities.
    on
        bool: decisions.
    """

    indptr: OffsetArray
    labels: IntArray
    scores: FloatArray
    on: BoolArray


class PostingLearner:
    """See the module.

    Parameters
    ----------
    max_memory_mb
        Bound of `memory_bytes` in 2^20 bytes, as far as it grows with features and with what was
        seen together; each label takes 33 bytes beside it.
    half
        Decide by the probability of one half, which is best for Hamming loss; otherwise by half
        the running micro-F1.

    Examples
    --------
    >>> from ihomer.instances import Encoder, Event
    >>> encoder, learner = Encoder(), PostingLearner()
    >>> events = [Event(t, {"a": 1.0} if t % 2 else {"b": 1.0}, on=[f"l{t % 2}"]) for t in range(9)]
    >>> batch = encoder.encode(events)
    >>> found = learner.run(batch, 2)
    >>> last = slice(found.indptr[-2], found.indptr[-1])
    >>> [encoder.labels.name(i) for i in found.labels[last]], found.on[last].tolist()
    (['l0', 'l1'], [True, False])
    """

    def __init__(self, max_memory_mb: float = 512.0, *, half: bool = False) -> None:
        budget = max_memory_mb * 2**20
        self._half = half
        self._most_numbers = int(ENTRY_SHARE * budget / ENTRY_BYTES)
        affordable = int(COLUMN_SHARE * budget / COLUMN_BYTES)
        # A power of two, for `folded`.
        self._most_columns = max(FEWEST_COLUMNS, 1 << (affordable.bit_length() - 1))
        self._scaler = Scaler()
        self._held: IntArray = np.zeros(0, dtype=np.int32)
        self._events = np.zeros(1, dtype=np.int64)
        self._postings = _postings(0, 0, LEAST_ARENA)
        self._inverted = _inverted(0, 0)
        self._ranking = _ranking(0)

    @property
    def n_learned(self) -> int:
        """Number of events learned."""
        return int(self._events[0])

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays."""
        states = (self._postings, self._inverted, self._ranking)
        own = sum(nbytes(state) for state in states) + self._held.nbytes
        return own + self._scaler.memory_bytes

    def run(self, batch: Batch, columns: int) -> Ranked:
        """Predict, then learn each event of a segment.

        Parameters
        ----------
        batch
            Of n events; the labelled ones may reach, but not cross, a multiple of `STRIDE`.
            Unlabelled ones are predicted only.
        columns
            Feature columns in use, the segment's included.
        """
        n = len(batch)
        if batch.labelled.any():
            self._make_room(columns, batch.n_labels)
        rows = self.weighed(batch, columns)
        out = Ranked(
            np.zeros(n + 1, dtype=np.int64),
            np.empty(n * CANDIDATES, dtype=np.int32),
            np.empty(n * CANDIDATES),
            np.empty(n * CANDIDATES, dtype=np.bool_),
        )
        start = 0
        while True:
            start = rank_segment(
                start,
                *rows,
                batch.y_indptr,
                batch.y_indices,
                batch.labelled,
                self._postings,
                self._inverted,
                self._ranking,
                self._most_numbers,
                self._half,
                out.indptr,
                out.labels,
                out.scores,
                out.on,
            )
            if start == n:
                break
            old = len(self._postings.entry)
            self._lengthen(min(self._most_numbers, old + old // 4))
        used = out.indptr[-1]
        # Copies, because the arrays have far more room than most events need.
        return Ranked(
            out.indptr, out.labels[:used].copy(), out.scores[:used].copy(), out.on[:used].copy()
        )

    def forget_labels(self, labels: IntArray) -> None:
        """Let ids stand for labels that have never been on; those that are not known are ignored.

        It looks at every entry, so ids are best forgotten many at a time.
        """
        ranking = self._ranking
        known = labels[labels < len(ranking.times)]
        if not len(known):
            return
        gone = np.zeros(len(ranking.times), dtype=np.bool_)
        gone[known] = True
        forget_entries(gone, self._postings)
        forget_marks(gone, self._inverted)
        ranking.times[known] = 0
        frequent = ranking.frequent[1 : 1 + ranking.frequent[0]]
        left = frequent[~gone[frequent]]
        ranking.frequent[0] = len(left)
        ranking.frequent[1 : 1 + len(left)] = left

    def forget_columns(self, columns: OffsetArray) -> None:
        """Let columns stand for features that were never seen; what is shared stays as it is."""
        self._scaler.forget_columns(columns)
        if len(self._held) < self._most_columns:
            known = columns[columns < len(self._held)]
            self._held[known] = 0
            self._postings.used[known] = 0
            self._postings.given_up[known] = 0
            self._inverted.many[known] = 0

    @property
    def lists(self) -> tuple[Postings, Ranking]:
        """The lists, and what is learned on top of them."""
        return self._postings, self._ranking

    @property
    def most_columns(self) -> int:
        """Columns of the lists, a power of two; features past it share them."""
        return self._most_columns

    def weighed(self, batch: Batch, columns: int) -> Rows:
        """The rows that are looked up; see `weigh_rows`. Labelled events are counted."""
        scaled = single_precision(self._scaler.transform(batch))
        if columns > self._most_columns:
            scaled = folded(scaled, self._most_columns)
        rows = Rows(*map(np.empty_like, scaled))
        weigh_rows(*scaled, batch.labelled, self._held, self._events, *rows)
        return rows

    def _make_room(self, columns: int, labels: int) -> None:
        self._scaler.reserve(columns)
        columns = min(columns, self._most_columns)
        old_columns, old_labels = len(self._held), len(self._ranking.times)
        if columns <= old_columns and labels <= old_labels:
            return
        if columns > old_columns:
            columns = min(self._most_columns, max(columns, old_columns + old_columns // 2, 64))
        if labels > old_labels:
            labels = max(labels, old_labels + old_labels // 2, 64)
        columns, labels = max(columns, old_columns), max(labels, old_labels)
        arena = len(self._postings.entry)
        held = np.zeros(columns, dtype=np.int32)
        held[:old_columns] = self._held
        self._held = held
        self._postings = grown(self._postings, _postings(columns, labels, arena))
        self._inverted = grown(self._inverted, _inverted(columns, labels))
        self._ranking = grown(self._ranking, _ranking(labels))

    def _lengthen(self, arena: int) -> None:
        entry = np.zeros(arena, dtype=np.int32)
        entry[: len(self._postings.entry)] = self._postings.entry
        self._postings = self._postings._replace(entry=entry)


def _postings(columns: int, labels: int, arena: int) -> Postings:
    return Postings(
        start=np.zeros(columns, dtype=np.int64),
        room=np.zeros(columns, dtype=np.int32),
        used=np.zeros(columns, dtype=np.int32),
        given_up=np.zeros(columns, dtype=np.int32),
        entry=np.zeros(arena, dtype=np.int32),
        free=np.full(CLASSES, -1, dtype=np.int64),
        bias=np.full(labels, BIAS, dtype=np.float32),
        bias_square=np.zeros(labels, dtype=np.float32),
        score=np.full(labels, NEVER, dtype=np.float32),
        touched=np.zeros(labels + 1, dtype=np.int32),
        mark=np.zeros(labels, dtype=np.bool_),
        place=np.zeros(labels, dtype=np.int32),
        progress=np.zeros(2, dtype=np.int64),
    )


def _inverted(columns: int, labels: int) -> Inverted:
    return Inverted(
        event=np.zeros(columns * DEPTH, dtype=np.int32),
        value=np.zeros(columns * DEPTH, dtype=np.float32),
        many=np.zeros(columns, dtype=np.int32),
        first=np.zeros(EVENTS, dtype=np.int64),
        length=np.zeros(EVENTS, dtype=np.int32),
        label=np.zeros(MARKS, dtype=np.int32),
        near=np.full(EVENTS, NEVER, dtype=np.float32),
        touched=np.zeros(EVENTS + 1, dtype=np.int32),
        vote=np.full(labels, NEVER, dtype=np.float32),
        progress=np.zeros(2, dtype=np.int64),
    )


def _ranking(labels: int) -> Ranking:
    weights = np.zeros((COUNTS, 3), dtype=np.float32)
    weights[:, 1:] = 1.0
    return Ranking(
        weights=weights,
        squares=np.full((COUNTS, 3), 1e-6, dtype=np.float32),
        times=np.zeros(labels, dtype=np.int32),
        frequent=np.zeros(BEST + 1, dtype=np.int32),
        decided=np.zeros(3),
    )
