"""The clusters of labels and their trees: one learner for all labels, or one for each cluster.

In: segments, and which labels belong together. Out: the trees' logits. Trees of their own pay for
some partitions only, and cost as much again for each cluster. So all labels begin in one learner.
When labels are put into clusters, these learn beside it for `TRIAL` events, from where it stands,
and take over if they are measurably better; otherwise they go, and labels keep one learner.
Nothing gets worse meanwhile, because nothing is served that has not been better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ihomer.drift.events import Kind, LearnerEvent, Level
from ihomer.instances import FloatArray, IntArray
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
    whole
        The learner of all labels; None: each cluster has its own trees, or there is only the
        nursery, which has.
    cluster_of
        int32 (L,): number of each label's cluster in `clusters`, from 1; 0 is the nursery.
    places
        int32 (L,): the same from 0; the nursery's labels, which have no place yet, below zero.
    """

    def __init__(self, settings: Settings, executor: Executor) -> None:
        self._settings = settings
        self._executor = executor
        self.nursery = self._new(np.zeros(0, dtype=np.int32))
        self.clusters: list[Cluster] = []
        self.whole: Cluster | None = None
        self.cluster_of: IntArray = np.zeros(0, dtype=np.int32)
        self.places = self.cluster_of - 1
        self._nursery_works = True  # from the stride after the first birth in it
        # On trial: the nursery's and the clusters' learners, and what they gain by labelled event.
        self._tried: list[Cluster] = []
        self._gains: list[FloatArray] = []
        self._untried = False  # the partition has not been on trial
        self._next_trial = FIRST_TRIAL
        self._trial_outer = np.zeros((len(OUTER), 0, 0), dtype=np.float32)

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
        whole = [] if self.whole is None else [self.whole]
        return [*whole, self.nursery, *self.clusters, *self._tried]

    def _present(self) -> list[Cluster]:
        """The learners in service, the one that tells of labels never seen first."""
        return [self.nursery, *self.clusters] if self.whole is None else [self.whole]

    def take_alternates(self) -> list[tuple[int | None, int, int]]:
        """Place (0: the nursery, None: of all labels) of learners, and their alternate subtrees.

        How many have been planted, and have taken over, since this was last called.
        """
        places: list[int | None] = list(range(1 + len(self.clusters)))
        if self.whole is not None:
            places = [None]
        pairs = zip(places, self._present(), strict=True)
        return [(place, *cluster.take_alternates()) for place, cluster in pairs]

    def admit(self, labels: int) -> None:
        """Put labels born in the coming segment into the nursery."""
        old = len(self.cluster_of)
        if labels <= old:
            return
        born = np.arange(old, labels, dtype=np.int32)
        self.cluster_of = np.concatenate([self.cluster_of, np.zeros_like(born)])
        self.places = self.cluster_of - 1
        homes = [self.nursery, *self._tried[:1]]
        if self.whole is not None:
            homes.append(self.whole)
        for home in homes:
            home.members = np.concatenate([home.members, born])

    # A segment.

    def grow(self, segment: Segment, columns: int) -> list[Callable[[], None]]:
        """Work to be done first; see `Cluster.grow`."""
        work: list[Callable[[], None]] = [
            partial(cluster.grow, segment, columns, nursery=first)
            for cluster, first in self._working()
        ]
        if self._tried:
            batch = segment.batch
            self._trial_outer = np.zeros(
                (len(OUTER), len(batch), 1 + batch.n_labels), dtype=np.float32
            )
            tried = replace(segment, alone=False, outer=self._trial_outer)
            for number, cluster in enumerate(self._tried):
                work.append(partial(cluster.grow, tried, columns, nursery=number == 0))
        return work

    def correct(self, segment: Segment) -> list[Callable[[], None]]:
        """Work to be done after the linear experts'; see `Cluster.correct`."""
        if self.whole is None and not self._nursery_works:
            # As trees say that have never seen a label on.
            places = np.concatenate([[0], 1 + self.nursery.members])
            segment.outer[0][:, places] = -LOGIT_CLIP
            segment.outer[1][:, places] = segment.base[:, places]
        work: list[Callable[[], None]] = [
            partial(cluster.correct, segment, nursery=first) for cluster, first in self._working()
        ]
        if self._tried:
            tried = replace(segment, alone=False, outer=self._trial_outer)
            for number, cluster in enumerate(self._tried):
                work.append(partial(cluster.correct, tried, nursery=number == 0))
        return work

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
        self._gains.append(gains[batch.labelled])

    def _working(self) -> list[tuple[Cluster, bool]]:
        """The learners in service that have work, and which is the nursery's."""
        if self.whole is not None:
            return [(self.whole, True)]
        nursery = [(self.nursery, True)] if self._nursery_works else []
        return [(cluster, False) for cluster in self.clusters] + nursery

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
        self._nursery_works = not self.clusters or len(self.nursery.members) > 0
        if not self._tried:
            due = self._untried and growing and learned >= self._next_trial
            if due and self.whole is not None and len(self.clusters) > 1:
                self._begin(priors())
            return []
        if sum(map(len, self._gains)) < TRIAL:
            return []
        gain, bound = compare(self._gains)
        if gain > bound:
            self.nursery, *self.clusters = self._tried
            self.whole = None
            action = "clusters take over with trees of their own"
        else:
            action = "one learner's trees serve all clusters"
            self._next_trial = int(BACK_OFF * learned)
        self._end()
        self._untried = False
        kind = Kind.SWITCH if self.whole is None else Kind.RESET
        return [LearnerEvent(learned, kind, Level.CLUSTER, action, statistic=gain, bound=bound)]

    def _begin(self, priors: FloatArray) -> None:
        groups = [cluster.members for cluster in (self.nursery, *self.clusters)]
        self._tried = self._heirs(groups, priors, trees=True)

    def _end(self) -> None:
        self._tried, self._gains = [], []
        self._trial_outer = self._trial_outer[:, :0, :0].copy()
        self._share_memory()

    def regroup(self, groups: Sequence[IntArray], priors: FloatArray, *, trees: bool) -> list[int]:
        """Put the labels into other clusters; see `Model.regroup`.

        Parameters
        ----------
        groups
            Label ids, ascending, of each cluster, and last of the labels that have no place.
        priors
            float64 (L,): how often the labels are on.
        trees
            Whether learners of their own take over the present ones' trees.
        """
        present = [self.nursery, *self.clusters]
        numbers = {id(cluster): number for number, cluster in enumerate(present)}
        before = {tuple(cluster.members.tolist()): cluster for cluster in present}
        if self.whole is None and not self.clusters:
            self.whole = self.nursery
            before = {}
            numbers = {}
            if len(groups) == 2 and not len(groups[1]):  # all are together, as they were
                before = {tuple(groups[0].tolist()): self._new(groups[0], bare=True)}
                numbers = {id(cluster): 0 for cluster in before.values()}
        made = [before.get(tuple(group.tolist())) for group in groups]
        fresh = [number for number, cluster in enumerate(made) if cluster is None]
        if self.whole is None:
            heirs = self._heirs([groups[number] for number in fresh], priors, trees=trees)
        else:
            heirs = [self._new(groups[number], bare=True) for number in fresh]
        for number, cluster in zip(fresh, heirs, strict=True):
            made[number] = cluster
        *self.clusters, self.nursery = [cluster for cluster in made if cluster is not None]
        now = [self.nursery, *self.clusters]
        for number, cluster in enumerate(now):
            self.cluster_of[cluster.members] = number
        self.places = self.cluster_of - 1
        self._nursery_works = not self.clusters or len(self.nursery.members) > 0
        self._untried = True
        self._end()
        return [numbers.get(id(cluster), -1) for cluster in now]

    def forget_labels(self, labels: IntArray, priors: FloatArray) -> None:
        """Let ids, ascending, stand for labels that have never been on, in the nursery."""
        nursery = np.union1d(self.nursery.members, labels).astype(np.int32)
        self.nursery = self.nursery.with_members(nursery, labels, priors[nursery])
        for number, cluster in enumerate(self.clusters):
            stay = np.setdiff1d(cluster.members, labels).astype(np.int32)
            if len(stay) < len(cluster.members):
                self.clusters[number] = cluster.with_members(stay, labels, priors[stay])
        if self.whole is not None:
            members = self.whole.members
            self.whole = self.whole.with_members(members, labels, priors[members])
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

    def _heirs(
        self, groups: Sequence[IntArray], priors: FloatArray, *, trees: bool
    ) -> list[Cluster]:
        """Clusters of `groups` that know what the present learners do."""
        present = self._present()
        for cluster in present:
            cluster.know_members()
        heirs = [self._new(members) for members in groups]
        self._executor.run(
            [partial(self._inherit, heir, present, priors, trees=trees) for heir in heirs]
        )
        self._share_memory()
        return heirs

    def _inherit(
        self, heir: Cluster, present: Sequence[Cluster], priors: FloatArray, *, trees: bool
    ) -> None:
        numbers = np.unique(self.cluster_of[heir.members]) if self.whole is None else [0]
        sources = [present[number] for number in numbers]
        if sources:
            heir.inherit(sources, priors[heir.members], trees=trees)
