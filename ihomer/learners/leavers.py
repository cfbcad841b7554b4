"""Labels that vanish and return, as the engine sees them: ids that are nobody's, and memories.

In: the `Change`s that come with a batch. Out: where the batch has to be cut for them, which
(event, id) pairs mean nothing, and what is kept of a label by its name until it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np

from ihomer.drift.events import Kind, LearnerEvent, Level
from ihomer.instances import Batch, BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.learners.memory import Memory
from ihomer.learners.model import Model
from ihomer.vocabulary import Change


class Leavers:
    """See the module.

    Parameters
    ----------
    budget_bytes
        Memories stay below; the oldest go first.

    Attributes
    ----------
    vacant
        int32, ascending: ids that are nobody's.
    """

    def __init__(self, budget_bytes: float) -> None:
        self.vacant: IntArray = np.zeros(0, dtype=np.int32)
        self.memory_bytes = 0
        self._budget = budget_bytes
        self._kept: dict[str, Memory] = {}
        # When columns were freed last, and, of each memory, how often some had been freed by then.
        self._frees = 0
        self._freed_at: OffsetArray = np.zeros(0, dtype=np.int64)
        self._kept_at: dict[str, int] = {}
        self._told = 0  # ids below have been told of
        # Names since this was last told: of labels that vanished, that returned, that are new.
        self._died: list[str] = []
        self._returned: list[str] = []
        self._born: list[str] = []
        self._reused: set[int] = set()  # ids of the latter two

    def follow(
        self,
        changes: Sequence[Change],
        model: Model | None = None,
        forget: Callable[[IntArray], None] | None = None,
    ) -> None:
        """Keep what is known of labels that vanish, and give back what was known of those born.

        Parameters
        ----------
        changes
            In order; all that came before have been followed.
        model
            What knows; None: nothing is kept nor given back.
        forget
            Called with ids, ascending, that are nobody's from now on.
        """
        for birth, group in groupby(changes, lambda change: change.birth):
            found = list(group)
            ids = np.array(sorted(change.label for change in found), dtype=np.int32)
            if birth:
                self.vacant = np.setdiff1d(self.vacant, ids).astype(np.int32)
                for change in found:
                    self._give_back(change, model)
                continue
            for change in found:
                if model is not None:
                    self._keep(change.name, model.remember(change.label))
            self._died += [change.name for change in found]
            self.vacant = np.union1d(self.vacant, ids).astype(np.int32)
            if forget is not None:
                forget(ids)

    def free(self, columns: OffsetArray, in_use: int, models: Sequence[Model]) -> None:
        """Follow columns, ascending, that features have given back; see `Model.forget_columns`."""
        for model in models:
            model.forget_columns(columns, in_use)
        self._frees += 1
        longest = max(len(self._freed_at), int(columns[-1]) + 1)
        self._freed_at = np.concatenate(
            [self._freed_at, np.zeros(longest - len(self._freed_at), dtype=np.int64)]
        )
        self._freed_at[columns] = self._frees

    def _keep(self, name: str, memory: Memory) -> None:
        self._kept[name] = memory
        self._kept_at[name] = self._frees
        self.memory_bytes += memory.memory_bytes
        while self.memory_bytes > self._budget:
            oldest = next(iter(self._kept))
            self.memory_bytes -= self._kept.pop(oldest).memory_bytes
            del self._kept_at[oldest]

    def _give_back(self, change: Change, model: Model | None) -> None:
        self._reused.add(change.label)
        memory = self._kept.pop(change.name, None)
        if memory is not None:
            self.memory_bytes -= memory.memory_bytes
            stale = np.flatnonzero(self._freed_at > self._kept_at.pop(change.name))
        if memory is None or model is None:
            self._born.append(change.name)
            return
        model.recall(change.label, memory.without(stale))
        self._returned.append(change.name)

    def tell(self, learned: int, labels: int, name: Callable[[int], str]) -> list[LearnerEvent]:
        """What has happened since this was last called.

        Parameters
        ----------
        learned
            Number of events learned.
        labels
            Number of ids by now.
        name
            Gives the name of an id.
        """
        if labels > self._told:
            fresh = [i for i in range(self._told, labels) if i not in self._reused]
            self._born += map(name, fresh)
            self._told = labels
        told = []
        for kind, action, found in (
            (Kind.DEATH, "", self._died),
            (Kind.BIRTH, "warm", self._returned),
            (Kind.BIRTH, "new", self._born),
        ):
            if found:
                labelled = tuple(sorted(found))
                told.append(LearnerEvent(learned, kind, Level.LABEL, action, labels=labelled))
                found.clear()
        self._reused.clear()
        return told

    def cut(self, changes: Sequence[Change], start: int, stop: int) -> int:
        """Where a segment that would end at `stop` ends: at most where something is to be done."""
        for change in changes:
            if change.at >= stop:
                return stop
            if change.at > start and (not change.birth or change.name in self._kept):
                return change.at
        return stop

    def hide(self, batch: Batch, vacant: IntArray, scores: FloatArray, on: BoolArray) -> None:
        """Take scores and decisions away from ids that were nobody's.

        Parameters
        ----------
        batch
            Of n events.
        vacant
            Ids that were nobody's before it.
        scores, on
            (n, labels), changed in place.
        """
        since = dict.fromkeys(vacant.tolist(), 0) if batch.changes else {}
        for change in batch.changes:
            if not change.birth:
                since[change.label] = change.at
            elif change.label in since:
                first = since.pop(change.label)
                scores[first : change.at, change.label] = np.nan
                on[first : change.at, change.label] = False
        if not batch.changes and len(vacant):
            scores[:, vacant] = np.nan
            on[:, vacant] = False
        for label, first in since.items():
            scores[first:, label] = np.nan
            on[first:, label] = False
