"""The learner over ids: batches in, probabilities and decisions out.

It owns the model, which predicts and learns, the partition of its labels, and the detectors, and
cuts the stream into segments for them. What looks across clusters changes only after learned
events whose number is divisible by `STRIDE`, so that results do not depend on how a stream is cut
into batches. Names are none of its business; `IHomer` has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from ihomer.drift.events import EventLog, LearnerEvent, Level
from ihomer.drift.priors import PriorsAlarm, PriorsMonitor
from ihomer.drift.watch import Watches
from ihomer.instances import Batch, BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.learners.backlog import MOST_LABELS, Backlog
from ihomer.learners.challenge import Challenges, event_losses
from ihomer.learners.executor import Executor
from ihomer.learners.kernels.losses import cluster_losses
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.leavers import Leavers
from ihomer.learners.model import Model
from ihomer.learners.partition.cooccurrence import PAIR_BYTES
from ihomer.learners.partition.hierarchy import Hierarchy, make_hierarchy
from ihomer.learners.partition.keeper import Names, PartitionKeeper
from ihomer.learners.partition.kinds import make_partitioner
from ihomer.learners.settings import Settings
from ihomer.learners.teller import Teller
from ihomer.vocabulary import Change

PARTITION_SHARE = 0.125  # of the memory, for the counts of pairs of labels
_MOST_PAIRS = 1 << 20
MEMORY_SHARE = 1 / 64  # of the memory, for what is kept of labels that have vanished

Labels: TypeAlias = tuple[int, ...] | tuple[str, ...]


class Engine:
    """See the module.

    Parameters
    ----------
    settings
        See `IHomer`.
    name
        Gives the name of a label's id.

    Attributes
    ----------
    name
        See above.
    n_learned
        Number of events learned.
    log
        What has happened; whatever adds to it does so at strides.
    model
        What predicts and learns.
    changes
        Number of changes of the vocabulary that have been followed.
    """

    def __init__(self, settings: Settings, name: Callable[[int], str]) -> None:
        self.settings = settings
        self.n_learned = 0
        self.log = EventLog(name=self._name_now)
        self.model = Model(settings, Executor(settings.threads))
        self._keeper = self._make_keeper() if settings.partition else None
        self._priors = PriorsMonitor()
        # The latest since the last stride, with the labels that it names.
        self._priors_told: tuple[int, PriorsAlarm, Labels] | None = None
        self._watches = Watches(1)  # of the nursery, then of the clusters, and of all together
        self._teller = Teller(self.log)
        self._challenges: Challenges | None = None
        if settings.drift:
            self._challenges = Challenges(self._fresh, settings.max_memory_mb * 2**20)
        self._backlog = Backlog()
        self._leavers = Leavers(MEMORY_SHARE * settings.max_memory_mb * 2**20)
        self.name = name
        self._held: dict[int, str] = {}  # names that ids have now; the encoder may be ahead
        self.changes = 0

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        backlog = state.pop("_backlog")
        return {**state, "_backlog": backlog} if backlog.waiting else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.setdefault("_backlog", Backlog())

    @property
    def counts(self) -> dict[str, int]:
        """How many local alarms, global alarms and changes of the partition there have been."""
        return self._teller.counts

    @property
    def n_labels(self) -> int:
        """One more than the largest label id learned, as long as it predicts."""
        return len(self.model.cluster_of)

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays."""
        parts = (
            self.model,
            self._priors,
            self._watches,
            self._keeper,
            self._challenges,
            self._leavers,
            self._backlog,
        )
        return sum(part.memory_bytes for part in parts if part is not None)

    def retire(self) -> None:
        """Let go of all that predicts and learns: another learner has taken over for good."""
        self._catch_up()
        self.model = Model(self.settings, self.model.executor)
        self._challenges = None

    def skip(self, changes: Sequence[Change], gained: int, labels: int) -> None:
        """Count events that another learner has learned, and tell of labels.

        Parameters
        ----------
        changes
            That came with these events.
        gained
            How many events.
        labels
            Number of ids after them.
        """
        if changes:
            forget = None if self._keeper is None else self._keeper.forget_labels
            self._leavers.follow(changes, forget=forget)
            self.changes = changes[-1].number
        self.n_learned += gained
        if gained and self.n_learned % STRIDE == 0:
            self.log.extend(self._leavers.tell(self.n_learned, labels, self.name))

    def hierarchy(self, names: Sequence[str]) -> Hierarchy:
        """The hierarchy of the clusters of labels, whose names by id are given."""
        if self._keeper is None:
            return Hierarchy(None)
        partitioner = self._keeper.partitioner
        if self._backlog.waiting:
            # In a copy: what has been asked for leaves no trace.
            partitioner = deepcopy(partitioner)
            batch = self._backlog.batch()
            partitioner.update(batch.y_indptr, batch.y_indices)
        return make_hierarchy(list(filter(None, partitioner.clusters())), partitioner.counts, names)

    def cluster_numbers(self, names: Sequence[str]) -> dict[str, int]:
        """The number for life of each placed label's cluster, whose names by id are given."""
        if self._keeper is None:
            return {}
        clusters = zip(self._keeper.numbers, self._keeper.clusters(), strict=True)
        return {names[label]: number for number, members in clusters for label in members}

    def run(
        self, batch: Batch, learned: OffsetArray, columns: int, names: Names
    ) -> tuple[FloatArray, BoolArray, FloatArray]:
        """Predict, then learn each event of a batch.

        Parameters
        ----------
        batch
            Of n events; unlabelled ones are predicted only.
        learned
            int64 (n,): how many of them are labelled, up to each.
        columns
            Feature columns in use, the batch's included.
        names
            Gives the names of all label ids.

        Returns
        -------
        scores, on, reserve
            float64 (n, L), bool (n, L), float64 (n,): probabilities, NaN where a label was not
            known yet, or is nobody's; decisions; the probability of a label that has never been on.
        """
        n = len(batch)
        for change in reversed(batch.changes):
            if not change.birth:
                self._held[change.label] = change.name
        changes, freed, vacant = batch.changes, batch.freed, self._leavers.vacant
        scores = np.full((n, batch.n_labels), np.nan)
        on = np.zeros((n, batch.n_labels), dtype=np.bool_)
        reserve = np.empty(n)
        start = 0
        while start < n:
            if changes and changes[0].at <= start:
                changes = self._follow(changes, start)
            if freed and freed[0].at <= start:
                self._leavers.free(np.array(freed[0].columns), columns, self._models())
                freed = freed[1:]
            before = int(learned[start - 1]) if start else 0
            room = STRIDE - self.n_learned % STRIDE
            # The event that fills the stride is the last one of its segment.
            stop = min(n, start + STRIDE, int(learned.searchsorted(before + room)) + 1)
            if changes:
                stop = self._leavers.cut(changes, start, stop)
            if freed:
                stop = min(stop, freed[0].at)
            gained = int(learned[stop - 1]) - before
            segment = batch if stop - start == n else batch.slice(start, stop)
            if not gained:
                # Labels that have been encoded but not learned are not known here yet.
                learned_labels = np.int32(len(self.model.cluster_of))
                segment = replace(segment, known=np.minimum(segment.known, learned_labels))
            width = segment.n_labels
            part, decided = scores[start:stop], on[start:stop]
            if width < batch.n_labels:
                # A label that is born later in the batch has no column in this segment, and
                # kernels are compiled for contiguous arrays.
                part = np.full((stop - start, width), np.nan)
                decided = np.zeros(part.shape, dtype=np.bool_)
            self._run_segment(segment, columns, gained, part, decided, reserve[start:stop])
            if width < batch.n_labels:
                scores[start:stop, :width] = part
                on[start:stop, :width] = decided
            self.n_learned += gained
            self._held.update((each.label, each.name) for each in changes if _born(each, stop))
            if gained and self.n_learned % STRIDE == 0:
                self._catch_up()
                self._adapt(names)
            start = stop
        self._follow(changes, n)
        self._held = {}
        self._leavers.hide(batch, vacant, scores, on)
        return scores, on, reserve

    def _run_segment(
        self,
        batch: Batch,
        columns: int,
        gained: int,
        scores: FloatArray,
        on: BoolArray,
        reserve: FloatArray,
    ) -> None:
        if not gained:
            self.model.run(batch, columns, gained, scores, on, reserve)
            return
        alone = len(batch) == 1 and batch.n_labels <= MOST_LABELS
        if not (alone and self._backlog.follows(batch)):
            self._catch_up()
        if alone:
            # Nobody asks the detectors before the stride ends.
            self.model.run(batch, columns, gained, scores, on, reserve)
            self._backlog.add(batch, scores, reserve)
        else:
            look = partial(self._look, batch, scores, reserve, self.n_learned)
            self.model.run(batch, columns, gained, scores, on, reserve, [look])
        challenges = self._challenges
        if challenges is None:
            return
        challenges.keep(batch, columns)
        if not alone or challenges.challenger is not None:
            losses = event_losses(scores, reserve, batch)
            challenges.challenge(batch, columns, losses)
            if not alone:
                challenges.tell(losses)

    def _catch_up(self) -> None:
        """Show the detectors the single events that have been learned since they last looked."""
        backlog = self._backlog
        waiting = backlog.waiting
        if not waiting:
            return
        batch, scores, reserve = backlog.batch(), backlog.scores, backlog.reserve
        self._look(batch, scores, reserve, self.n_learned - waiting)
        if self._challenges is not None:
            for loss in event_losses(scores, reserve, batch).tolist():
                self._challenges.tell(np.array([loss]))
        backlog.clear()

    def _name_now(self, label: int) -> str:
        return self._held.get(label) or self.name(label)

    def _follow(self, changes: tuple[Change, ...], at: int) -> tuple[Change, ...]:
        """Follow the changes up to event `at` of the batch, and return the others."""
        done = sum(change.at <= at for change in changes)
        if done:
            self._leavers.follow(changes[:done], self.model, self._forget_labels)
            self.changes = changes[done - 1].number
        return changes[done:]

    def _forget_labels(self, labels: IntArray) -> None:
        self._catch_up()
        if self._priors_told is not None:
            told, alarm, named = self._priors_told
            names = [each if isinstance(each, str) else self._name_now(each) for each in named]
            self._priors_told = told, alarm, tuple(names)
        self._priors.forget_labels(labels)
        for model in self._models():
            model.forget_labels(labels[labels < len(model.cluster_of)])
        if self._keeper is not None:
            self._keeper.forget_labels(labels)

    def _models(self) -> list[Model]:
        """The present model and all others that may take over."""
        others = [] if self._challenges is None else self._challenges.models
        return [self.model, *(model for model in others if model is not self.model)]

    # What changes at strides.

    def _look(self, batch: Batch, scores: FloatArray, reserve: FloatArray, before: int) -> None:
        """Feed the detectors and the partitioner; `before`: events learned before the batch."""
        if self.settings.drift:
            loss = np.zeros((len(batch), 1 + len(self.model.clusters)))
            counted = np.zeros(loss.shape, dtype=np.int64)
            cluster_losses(
                scores,
                reserve,
                batch.y_indptr,
                batch.y_indices,
                batch.labelled,
                batch.known,
                self.model.cluster_of,
                loss,
                counted,
            )
            learned = before + batch.labelled.cumsum()
            self._watches.collect(loss, counted, learned)
            found = self._priors.update_many(batch.y_indptr, batch.y_indices, batch.labelled)
            alarm = self._priors.latest
            if found.any() and alarm is not None:
                told = int(learned[np.flatnonzero(found)[-1]])
                self._priors_told = told, alarm, alarm.labels
        if self._keeper:
            self._keeper.update(batch.y_indptr, batch.y_indices)

    def _adapt(self, names: Names) -> None:
        """Look at the detectors and at the partition."""
        self.log.extend(
            self._leavers.tell(self.n_learned, len(self.model.cluster_of), self._name_now)
        )
        self.log.extend(self.model.adapt())
        self._teller.stride(self.n_learned, self.model)
        loss_risen = False
        if self.settings.drift:
            *local, loss_risen = self._watches.risen()
            for place, risen in enumerate(local):
                if risen:
                    alarm = self._watches.alarm(place)
                    told = self._watches.told(place)
                    self._teller.alarm(told, Level.CLUSTER, alarm, place=place)
            if self._priors_told is not None:
                told, priors, labels = self._priors_told
                self._teller.alarm(told, Level.PRIORS, priors, labels=labels)
                self._priors_told = None
            if loss_risen:
                alarm, action = self._watches.alarm(-1), "partition looked at"
                self._teller.alarm(self._watches.told(-1), Level.LOSS, alarm, action)
            if self._challenges is not None:
                found = self._challenges.adapt(self.model, self.n_learned, alarm=loss_risen)
                self._take_over(*found)
        if self._keeper is None:
            return

        def known() -> Sequence[str]:
            # The encoder may have read further than the learner has learned.
            found = list(names()[: len(self.model.cluster_of)])
            for label, name in self._held.items():
                if label < len(found):
                    found[label] = name
            return found

        if self._keeper.adapt(self.n_learned, known, look=loss_risen):
            self._regroup(self._keeper)

    def _regroup(self, keeper: PartitionKeeper) -> None:
        """Give each cluster a learner of its own; labels without a place share the nursery."""
        groups = [np.array(cluster, dtype=np.int32) for cluster in keeper.clusters()]
        placed = np.concatenate([np.zeros(0, dtype=np.int32), *groups])
        known = np.arange(len(self.model.cluster_of), dtype=np.int32)
        unplaced = np.setdiff1d(known, placed).astype(np.int32)
        kept = self.model.regroup([*groups, unplaced])
        self._watches.rearrange(kept)
        if self._challenges is not None:
            self._challenges.regroup([*groups, unplaced])
        self._teller.regrouped(self.n_learned, keeper.numbers, self.model)

    def _fresh(self) -> Model:
        """A model that has learned nothing, of the present clusters."""
        return Model(self.settings, self.model.executor).like(self.model)

    def _take_over(self, model: Model, events: Sequence[LearnerEvent]) -> None:
        """Put `model`, which may be the present one, in charge."""
        self.log.extend(events)
        if model is not self.model:
            self.model = model.like(self.model)
            self._watches = Watches(1 + len(model.clusters))
            model.grove.take_alternates()  # what it did before is not told

    def _make_keeper(self) -> PartitionKeeper:
        """The partition, within its share of the memory."""
        share = PARTITION_SHARE * self.settings.max_memory_mb * 2**20
        pairs = min(_MOST_PAIRS, 1 << (int(share / PAIR_BYTES).bit_length() - 1))
        partitioner = make_partitioner(self.settings.partition, pairs)
        return PartitionKeeper(partitioner, self.log, drift=self.settings.drift, ring_labels=pairs)


def _born(change: Change, at: int) -> bool:
    """Whether it is a birth that comes before event `at`."""
    return change.birth and change.at <= at
