"""The clusters of labels and their trees: one learner for all labels, or one for each cluster.

In: segments, and which labels belong together. Out: the trees' logits. Trees of their own pay for
some partitions only, and cost as much again for each cluster. So all labels begin in one learner.
When labels are put into clusters, learners of these run beside those in service for `TRIAL`
events, from where they stand, and take over if they are measurably better; otherwise they go.
Nothing gets worse meanwhile, because nothing is served that has not been better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ihomer.drift.events import Kind, LearnerEvent, Level
from ihomer.instances import Float32Array, FloatArray, IntArray
from ihomer.learners.cluster import Cluster
from ihomer.learners.executor import Executor
from ihomer.learners.kernels.elementary import LOGIT_CLIP
from ihomer.learners.kernels.losses import tree_gains
from ihomer.learners.paired import compare
from ihomer.learners.segment import OUTER, Segment
from ihomer.learners.settings import Settings

FOREST_SHARE = 0.25  # of the memory, for the trees of all clusters
TRIAL = 2048  # labelled events that clusters' trees are tried on
FIRST_TRIAL = 1024  # events learned before which none begins
BACK_OFF = 3.0  # after one that has failed, none begins before so many times the events learned


class Grove:
    """See the module.

    Parameters
    ----------
    settings, executor
        See `Model`.

    Attributes
    ----------
    clusters
        The clusters of labels that have a place; `nursery` holds the others.
    serving
        The learners whose trees are served, each with its own labels; the first one's are those
        that no other one has, and it tells of labels never seen.
    cluster_of
        int32 (L,): number of each label's cluster in `clusters`, from 1; 0 is the nursery.
    places
        int32 (L,): the same from 0; the nursery's labels, which have no place yet, below zero.
    """

    def __init__(self, settings: Settings, executor: Executor) -> None:
        self._settings = settings
        self._executor = executor
        self.nursery = self._new(np.zeros(0, dtype=np.int32), bare=True)
        self.clusters: list[Cluster] = []
        self.serving = [self._new(np.zeros(0, dtype=np.int32))]
        self.cluster_of: IntArray = np.zeros(0, dtype=np.int32)
        self.places = self.cluster_of - 1
        self._first_works = True  # from the stride after the first birth in it
        # On trial: learners as in `serving`, and what they gain by labelled event.
        self._tried: list[Cluster] = []
        self._gains: FloatArray = np.zeros(0)
        self._untried = False  # the partition has not been on trial
        self._next_trial = FIRST_TRIAL
        self._trial_outer = _nothing()

    @property
    def first_works(self) -> bool:
        """Whether the first of `serving` has labels, or is the only one."""
        return self._first_works

    @property
    def only(self) -> Cluster | None:
        """The only learner; None: there are others, or some on trial."""
        return self.serving[0] if len(self.serving) == 1 and not self._tried else None

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(cluster.memory_bytes for cluster in self._learners())

    def content_bytes(self) -> float:
        """Bytes of all trees, room to grow apart."""
        return sum(
            cluster.forest.content_bytes(1 + len(cluster.members))
            for cluster in self._learners()
            if cluster.forest is not None
        )

    def _learners(self) -> list[Cluster]:
        return [*self.serving, *self._tried]

    def take_alternates(self) -> list[tuple[int, int]]:
        """See `Cluster.take_alternates`; of each learner that serves."""
        return [cluster.take_alternates() for cluster in self.serving]

    def admit(self, labels: int) -> None:
        """Put labels born in the coming segment into the nursery."""
        old = len(self.cluster_of)
        if labels <= old:
            return
        born = np.arange(old, labels, dtype=np.int32)
        self.cluster_of = np.concatenate([self.cluster_of, np.zeros_like(born)])
        self.places = self.cluster_of - 1
        homes = [self.nursery, self.serving[0], *self._tried[:1]]
        for home in homes:
            home.members = np.concatenate([home.members, born])

    # A segment.

    def grow(self, segment: Segment, columns: int) -> list[Callable[[], None]]:
        """Work to be done first; see `Cluster.grow`."""
        if self._tried:
            shape = len(OUTER), len(segment.batch), 1 + segment.batch.n_labels
            self._trial_outer = np.zeros(shape, dtype=np.float32)
        return [
            partial(cluster.grow, own, columns, nursery=first)
            for cluster, own, first in self._working(segment)
        ]

    def correct(self, segment: Segment) -> list[Callable[[], None]]:
        """Work to be done after the linear experts'; see `Cluster.correct`."""
        if not self._first_works:  # as trees say that have never seen a label on
            places = np.concatenate([[0], 1 + self.serving[0].members])
            segment.outer[0][:, places] = -LOGIT_CLIP
            segment.outer[1][:, places] = segment.base[:, places]
        return [
            partial(cluster.correct, own, nursery=first)
            for cluster, own, first in self._working(segment)
        ]

    def compare(self, segment: Segment) -> None:
        """After `correct`: see what the clusters on trial have gained."""
        if not self._tried:
            return
        batch = segment.batch
        gains = np.zeros(len(batch))
        for own, theirs in zip(segment.outer, self._trial_outer, strict=True):
            tree_gains(
                own,
                theirs,
                batch.y_indptr,
                batch.y_indices,
                batch.labelled,
                batch.known,
                gains,
            )
        self._gains = np.concatenate([self._gains, gains[batch.labelled]])
        self._trial_outer = _nothing()  # or the state would tell how the stream was cut

    def _working(self, segment: Segment) -> list[tuple[Cluster, Segment, bool]]:
        """The learners that have work, where each writes, and which tells of labels never seen."""
        first, *others = self.serving
        working = [(cluster, segment, False) for cluster in others]
        if self._first_works:
            working.append((first, segment, True))
        if self._tried:
            tried = replace(segment, alone=False, outer=self._trial_outer)
            working += [(cluster, tried, n == 0) for n, cluster in enumerate(self._tried)]
        return working

    # What changes at strides.

    def adapt(
        self, learned: int, priors: Callable[[], FloatArray], *, growing: bool
    ) -> list[LearnerEvent]:
        """Begin or end a trial where one is due.

        Parameters
        ----------
        learned
            Number of events learned.
        priors
            Gives, float64 (L,), how often the labels are on.
        growing
            Whether trees are at work.

        Returns
        -------
        list of LearnerEvent
            What has happened.
        """
        self._look()
        if not self._tried:
            due = self._untried and growing and learned >= self._next_trial
            if due and len(self.clusters) > 1:
                self._begin(priors())
            return []
        if len(self._gains) < TRIAL:
            return []
        gain, bound = compare([self._gains])
        kind, action = Kind.RESET, "trees of the clusters' own gain too little, and go"
        if gain > bound:
            self.serving = self._tried
            kind, action = Kind.SWITCH, "clusters take over with trees of their own"
        elif len(self.serving) == 1:
            self._next_trial = int(BACK_OFF * learned)
        self._end()
        self._untried = False
        self._look()
        return [LearnerEvent(learned, kind, Level.CLUSTER, action, statistic=gain, bound=bound)]

    def _look(self) -> None:
        self._first_works = len(self.serving) == 1 or len(self.serving[0].members) > 0

    def _begin(self, priors: FloatArray) -> None:
        groups = [cluster.members for cluster in (self.nursery, *self.clusters)]
        for cluster in self.serving:
            cluster.know_members()
        self._tried = [self._new(members) for members in groups]
        self._executor.run([partial(self._inherit, heir, priors) for heir in self._tried])
        self._share_memory()

    def _end(self) -> None:
        self._tried, self._gains = [], np.zeros(0)
        self._share_memory()

    def regroup(self, groups: Sequence[IntArray]) -> list[int]:
        """Put the labels into other clusters; see `Model.regroup`."""
        present = [self.nursery, *self.clusters]
        numbers = {id(cluster): number for number, cluster in enumerate(present)}
        before = {tuple(cluster.members.tolist()): cluster for cluster in present}
        if not self.clusters and len(groups) == 2 and not len(groups[1]):
            before = {tuple(groups[0].tolist()): self.nursery}  # all are together, as they were
        made = [before.get(tuple(group.tolist())) for group in groups]
        *self.clusters, self.nursery = [
            self._new(group, bare=True) if cluster is None else cluster
            for group, cluster in zip(groups, made, strict=True)
        ]
        now = [self.nursery, *self.clusters]
        for number, cluster in enumerate(now):
            self.cluster_of[cluster.members] = number
        self.places = self.cluster_of - 1
        self._untried = True
        self._end()
        return [numbers.get(id(cluster), -1) for cluster in now]

    def forget_labels(self, labels: IntArray, priors: FloatArray) -> None:
        """Let ids, ascending, stand for labels that have never been on, in the nursery."""
        self.nursery, *self.clusters = _without([self.nursery, *self.clusters], labels, priors)
        self.serving = _without(self.serving, labels, priors)
        self.cluster_of[labels] = 0
        self.places = self.cluster_of - 1
        self._end()

    def _share_memory(self) -> None:
        learners = [cluster for cluster in self._learners() if cluster.forest is not None]
        budget = FOREST_SHARE * self._settings.max_memory_mb * 2**20 / max(1, len(learners))
        for cluster in learners:
            cluster.set_budget(int(budget))

    def _new(self, members: IntArray, *, bare: bool = False) -> Cluster:
        """A cluster of `members`; bare: its labels are another learner's."""
        settings = self._settings
        without = (*settings.without, "forest", "path") if bare else settings.without
        return Cluster(members, settings.trees, settings.split_test, settings.seed, without)

    def _inherit(self, heir: Cluster, priors: FloatArray) -> None:
        """Let a new learner know what those that serve know of its labels."""
        sources = [
            cluster
            for cluster in self.serving
            if np.isin(heir.members, cluster.members, assume_unique=True).any()
        ]
        if sources:
            heir.inherit(sources, priors[heir.members])


def _without(clusters: Sequence[Cluster], labels: IntArray, priors: FloatArray) -> list[Cluster]:
    """The same clusters, with `labels` as if they had never been on, in the first one."""
    first, *others = clusters
    members = np.union1d(first.members, labels).astype(np.int32)
    found = [first.with_members(members, labels, priors[members])]
    for cluster in others:
        stay = np.setdiff1d(cluster.members, labels).astype(np.int32)
        changed = len(stay) < len(cluster.members)
        found.append(cluster.with_members(stay, labels, priors[stay]) if changed else cluster)
    return found


def _nothing() -> Float32Array:
    return np.zeros((len(OUTER), 0, 0), dtype=np.float32)
