"""Which of its two representations a learner is in, and how it goes from one to the other.

In: batches. Out: dense predictions of few labels, sparse ones of many. It begins with dense rows
(`Engine`). Where labels become many and features are sparse, posting lists (`PostingLearner`)
learn beside it, first what has been kept of the latest events, and take over once they are as
good. What is decided here is decided at strides, or before an event that brings more labels than
dense rows are for; so it does not depend on how a stream is cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ihomer.drift.events import Kind, LearnerEvent, Level
from ihomer.instances import Batch, BoolArray, FloatArray, OffsetArray
from ihomer.learners.base import Predictions, SparsePredictions
from ihomer.learners.engine import Engine
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.partition.keeper import Names
from ihomer.learners.postings import PostingLearner, Ranked
from ihomer.learners.recent import RecentEvents
from ihomer.vocabulary import ranks_of

# Numbers of labels from which on recent events are kept, and posting lists learn beside dense rows,
# to take over when they are as good; past the last they do so whatever they are worth, because
# dense rows for so many labels cost too much. Measured: see docs/decisions/0007-many-labels.md.
KEEP, BESIDE, TOO_MANY = 64, 512, 2048
FEWEST, MOST = 8, 48  # strides that they learn beside: to take over, and to be given up
MORE = 1.25  # times as many labels are wanted for another try
SPARSE = 8  # features are sparse where an event has at most one in so many
MEMORY_SHARE = 0.5  # of the memory, for the posting lists
FADING = 0.9  # of the comparison, per stride
UNLIKELY = 1e-3  # bound of the probability of a label that is no candidate


Counts: TypeAlias = npt.NDArray[np.integer[Any]] | FloatArray


class _Dense(NamedTuple):
    """What dense rows said of a segment."""

    scores: FloatArray
    on: BoolArray
    reserve: FloatArray


@dataclass(slots=True)
class Answer:
    """Predictions of a batch.

    Attributes
    ----------
    predictions
        Dense or sparse.
    reserve
        float64 (n,): of each event the probability of a label that has none of its own.
    """

    predictions: Predictions | SparsePredictions
    reserve: FloatArray

    def row(self, t: int) -> tuple[FloatArray, BoolArray]:
        """Probabilities and decisions of event `t` for all labels, float64 and bool (L,)."""
        found = self.predictions
        if isinstance(found, Predictions):
            # A label that has been encoded but not learned has no score of its own yet.
            scores = found.scores[t]
            return np.where(np.isnan(scores), self.reserve[t], scores), found.on[t]
        part = slice(found.indptr[t], found.indptr[t + 1])
        scores = np.full(found.n_labels, self.reserve[t])
        scores[found.labels[part]] = found.scores[part]
        on = np.zeros(found.n_labels, dtype=np.bool_)
        on[found.labels[part]] = found.on[part]
        return scores, on


class Representation:
    """See the module.

    Parameters
    ----------
    engine
        The dense representation. It counts the events learned and logs the switch.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._beside: PostingLearner | None = None  # learns too
        self._serving: PostingLearner | None = None  # has taken over
        self._recent = RecentEvents()
        self._labels = 0  # learned
        self._columns, self._values = 0, 0  # columns and values seen
        self._compared = np.zeros(2)  # of dense rows, of posting lists
        self._strides = 0  # that posting lists have learned beside dense rows
        self._given_up_at = 0  # labels there were when they were not as good

    @property
    def sparse(self) -> bool:
        """Whether posting lists have taken over."""
        return self._serving is not None

    @property
    def lists(self) -> PostingLearner | None:
        """The posting lists that serve; None: dense rows do."""
        return self._serving

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays."""
        lists = [learner for learner in (self._beside, self._serving) if learner is not None]
        own = self._recent.memory_bytes + sum(learner.memory_bytes for learner in lists)
        return self._engine.memory_bytes + own

    def run(self, batch: Batch, columns: int, names: Names) -> Answer:
        """Predict, then learn each event of a batch.

        Parameters
        ----------
        batch
            Of n events; unlabelled ones are predicted only.
        columns
            Feature columns in use, the batch's included.
        names
            Gives the names of all label ids.
        """
        one = len(batch) == 1  # whose count is its flag
        learned = (
            batch.labelled.astype(np.int64) if one else np.cumsum(batch.labelled, dtype=np.int64)
        )
        events: OffsetArray = learned - batch.labelled + self._engine.n_learned
        parts: list[_Dense | Ranked] = []
        start, n = 0, len(batch)
        while start < n or not parts:
            before = int(learned[start - 1]) if start else 0
            stop = self._stop(batch, learned, start, before)
            if stop == start < n:
                self._take_over(columns)
                continue
            segment = batch if stop - start == n else batch.slice(start, stop)
            gained = learned[start:stop] - before
            if segment.changes or segment.freed:
                self._follow(segment, 0)
            if self._serving is not None:
                parts.append(self._serving.run(segment, columns))
                gain = int(gained[-1]) if len(gained) else 0
                self._engine.skip(segment.changes, gain, segment.n_labels)
            else:
                parts.append(self._run_dense(segment, gained, columns, names))
            if segment.changes and len(segment):
                self._follow(segment, len(segment))
            start = stop
        return _answer(batch, events, parts, self._engine.name)

    def _stop(self, batch: Batch, learned: OffsetArray, start: int, before: int) -> int:
        """Where the next segment ends; at its start: there are too many labels for dense rows."""
        n = len(batch)
        if self._serving is None and batch.n_labels <= KEEP:
            return n
        room = STRIDE - self._engine.n_learned % STRIDE
        stop = min(n, start + STRIDE, int(learned.searchsorted(before + room)) + 1)
        places = [change.at for change in batch.changes if not change.birth]
        places += [part.at for part in batch.freed]
        stop = min([stop, *(at for at in places if at > start)])
        if self._serving is None:
            many = batch.labelled[start:stop] & (batch.known[start + 1 : stop + 1] > TOO_MANY)
            if many.any():
                stop = start + int(many.argmax())
        return stop

    def _follow(self, segment: Batch, at: int) -> None:
        """Let the posting lists follow ids and columns that change hands at event `at`."""
        changes = [c.label for c in segment.changes if c.at == at and not c.birth]
        freed = [column for part in segment.freed if part.at == at for column in part.columns]
        for lists in (self._beside, self._serving):
            if lists is not None and changes:
                lists.forget_labels(np.array(sorted(changes), dtype=np.int32))
            if lists is not None and freed:
                lists.forget_columns(np.array(sorted(freed), dtype=np.int64))

    def _run_dense(self, segment: Batch, gained: OffsetArray, columns: int, names: Names) -> _Dense:
        engine = self._engine
        before = engine.n_learned
        found = _Dense(*engine.run(segment, gained, columns, names))
        if engine.n_learned == before:
            return found
        self._columns = max(self._columns, segment.columns)
        self._values += len(segment.indices)
        self._labels = segment.n_labels
        if self._beside is not None:
            ranked = self._beside.run(segment, columns)
            self._compared += _merits(segment, found, ranked)
        elif self._labels > KEEP:
            self._recent.add(segment, before, KEEP)
        if engine.n_learned % STRIDE == 0:
            self._decide(columns)
        return found

    def _decide(self, columns: int) -> None:
        """At a stride: whether posting lists begin to learn, take over, or are given up."""
        if self._labels <= BESIDE or self._values * SPARSE > self._columns * self._engine.n_learned:
            return
        if self._beside is None:
            if self._labels > self._given_up_at * MORE:
                self._beside, self._strides = self._begun(columns), 0
                self._compared[:] = 0.0
            return
        self._strides += 1
        dense, sparse = self._compared
        full = self.memory_bytes > self._engine.settings.max_memory_mb * 2**20
        if full or (self._strides >= FEWEST and 0.0 < dense <= sparse):
            self._take_over(columns)
        elif self._strides == MOST:
            self._beside, self._given_up_at = None, self._labels
        self._compared *= FADING

    def _begun(self, columns: int) -> PostingLearner:
        """Posting lists that have learned the recent events."""
        settings = self._engine.settings
        learner = PostingLearner(
            MEMORY_SHARE * settings.max_memory_mb, half=settings.objective == "hamming"
        )
        for segment in self._recent:
            learner.run(segment, columns)
        self._recent.clear()
        return learner

    def _take_over(self, columns: int) -> None:
        engine = self._engine
        self._serving = self._beside or self._begun(columns)
        self._beside = None
        engine.retire()
        engine.log.add(
            LearnerEvent(
                engine.n_learned,
                Kind.SWITCH,
                Level.MODEL,
                "posting lists take over from dense rows",
                statistic=float(self._labels),
                bound=float(BESIDE),
            )
        )


def _merits(batch: Batch, dense: _Dense, ranked: Ranked) -> FloatArray:
    """Of both, over the labelled events: best labels that are true, plus example-based F1."""
    n, labels = dense.on.shape
    true = np.zeros((n, labels), dtype=np.bool_)
    true[np.repeat(np.arange(n), np.diff(batch.y_indptr)), batch.y_indices] = True
    top = np.where(np.isnan(dense.scores), -1.0, dense.scores).argmax(axis=1)
    first, row = ranked.indptr[:-1], np.repeat(np.arange(n), np.diff(ranked.indptr))
    some = np.diff(ranked.indptr) > 0
    best = np.zeros(n, dtype=np.bool_)
    best[some] = true[np.flatnonzero(some), ranked.labels[first[some]]]
    both = np.bincount(row, weights=true[row, ranked.labels] & ranked.on, minlength=n)
    chosen = np.bincount(row, weights=ranked.on, minlength=n)
    size, kept = true.sum(axis=1), batch.labelled
    merits = (
        true[np.arange(n), top] + _f1((dense.on & true).sum(axis=1), dense.on.sum(axis=1), size),
        best + _f1(both, chosen, size),
    )
    return np.array([merit[kept].sum() for merit in merits])


def _f1(both: Counts, chosen: Counts, size: Counts) -> FloatArray:
    """Example-based F1; of two empty sets it is 1."""
    total = chosen + size
    return np.where(total > 0, 2.0 * both / np.maximum(total, 1), 1.0)


def _answer(
    batch: Batch, events: OffsetArray, parts: list[_Dense | Ranked], name: Callable[[int], str]
) -> Answer:
    """All parts as one: dense if all are."""
    dense = [part for part in parts if isinstance(part, _Dense)]
    if len(dense) == len(parts):
        if len(parts) == 1:
            return Answer(Predictions(dense[0].on, dense[0].scores, events), dense[0].reserve)
        n, labels = len(batch), batch.n_labels
        scores, on = np.full((n, labels), np.nan), np.zeros((n, labels), dtype=np.bool_)
        start = 0
        for part in dense:
            stop, width = start + len(part.scores), part.scores.shape[1]
            scores[start:stop, :width], on[start:stop, :width] = part.scores, part.on
            start = stop
        reserve = np.concatenate([part.reserve for part in dense])
        return Answer(Predictions(on, scores, events), reserve)
    ranked = [_ranked(part) if isinstance(part, _Dense) else part for part in parts]
    sizes = np.concatenate([np.diff(part.indptr) for part in ranked])
    whole = Ranked(
        np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)]),
        np.concatenate([part.labels for part in ranked]),
        np.concatenate([part.scores for part in ranked]),
        np.concatenate([part.on for part in ranked]),
    )
    _order_ties(whole, name)
    reserve = np.concatenate(
        [part.reserve if isinstance(part, _Dense) else _least(part) for part in parts]
    )
    return Answer(SparsePredictions(batch.n_labels, *whole, events), reserve)


def _ranked(part: _Dense) -> Ranked:
    """Dense predictions as candidates: all labels that have a score."""
    scored = ~np.isnan(part.scores)
    rows, labels = np.nonzero(scored)
    scores = part.scores[scored]
    order = np.lexsort((labels, -scores, rows))
    indptr = np.concatenate([[0], np.cumsum(scored.sum(axis=1))]).astype(np.int64)
    return Ranked(indptr, labels[order].astype(np.int32), scores[order], part.on[scored][order])


def _least(part: Ranked) -> FloatArray:
    """Of each event a probability below those of all candidates."""
    n = len(part.indptr) - 1
    least = np.full(n, UNLIKELY)
    some = np.diff(part.indptr) > 0
    least[some] = np.minimum(UNLIKELY, part.scores[part.indptr[1:][some] - 1])
    return least / 2.0


def _order_ties(ranked: Ranked, name: Callable[[int], str]) -> None:
    """Put candidates of equal score into the order of their names."""
    row = np.repeat(np.arange(len(ranked.indptr) - 1), np.diff(ranked.indptr))
    same = (ranked.scores[1:] == ranked.scores[:-1]) & (row[1:] == row[:-1])
    if not same.any():
        return
    after, before = np.append(False, same), np.append(same, False)
    tied = np.flatnonzero(after | before)
    run = np.cumsum(~after)[tied]
    labels, place = np.unique(ranked.labels[tied], return_inverse=True)
    ranks = ranks_of([name(label) for label in labels.tolist()])
    order = tied[np.lexsort((ranks[place], run))]
    ranked.labels[tied], ranked.on[tied] = ranked.labels[order], ranked.on[order]
