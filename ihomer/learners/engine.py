"""The learner over ids: batches in, probabilities and decisions out.

It owns the experts, the clusters with their trees, the partition, the detectors and the decision,
and runs them over segments of the stream. What looks across clusters changes only after learned
events whose number is divisible by `STRIDE`, so that results do not depend on how a stream is cut
into batches. Names are none of its business; `IHomer` has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from ihomer.drift.structure import StructureMonitor
from ihomer.drift.watch import Watches
from ihomer.instances import Batch, BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.learners.block import (
    CELL_BYTES,
    EXPERTS,
    FOREST,
    LINEAR,
    PATH,
    WIDTH,
    LabelBlock,
)
from ihomer.learners.cluster import Cluster
from ihomer.learners.decision import make_decision
from ihomer.learners.duty import Duty
from ihomer.learners.executor import Executor
from ihomer.learners.experts.forest import SplitTest
from ihomer.learners.experts.neighbours import NeighbourExpert
from ihomer.learners.experts.network import DenseFeatures
from ihomer.learners.experts.ridge import Gains
from ihomer.learners.kernels.elementary import LOGIT_CLIP
from ihomer.learners.kernels.losses import cluster_losses
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.partition.base import Partitioner
from ihomer.learners.partition.jaccard import JaccardPartitioner
from ihomer.learners.scaling import Scaler, folded, raw_rows, single_precision
from ihomer.learners.segment import OUTER, Segment

LINEAR_SHARE = 0.5  # of the memory that linear experts may take; then features share columns
FOREST_SHARE = 0.25  # of the memory, for the trees of all clusters
FEWEST_COLUMNS = 256

Names = Callable[[], Sequence[str]]  # of all label ids


class Settings(NamedTuple):
    """What an engine is made with; see `IHomer`."""

    objective: str = "subset"
    without: tuple[str, ...] = ()
    trees: int = 5
    split_test: SplitTest = "evidence"
    partition: bool = True
    drift: bool = True
    threads: int = 1
    max_memory_mb: float = 512.0
    seed: int = 0


class Engine:
    """See the module.

    Parameters
    ----------
    settings
        See `IHomer`.

    Attributes
    ----------
    n_learned
        Number of events learned.
    counts
        How many local alarms, global alarms and changes of the partition there have been.
    clusters
        The clusters of labels that have a place; `nursery` holds the others.
    blocks
        The blocks of labels.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.n_learned = 0
        self.counts = {"local_alarms": 0, "global_alarms": 0, "partition_changes": 0}
        # The first block is always there: it knows what is said of labels never seen.
        self.blocks = [LabelBlock(0, settings.seed, settings.without)]
        self.nursery = self._new_cluster(np.zeros(0, dtype=np.int32))
        self.clusters: list[Cluster] = []
        self._cluster_of: IntArray = np.zeros(0, dtype=np.int32)
        # The nursery's labels, cluster 0, have no place yet: below zero for the monitor.
        self._places = self._cluster_of - 1
        self._base = "raw" if "ridge" in settings.without else "ridge"
        self._executor = Executor(settings.threads)
        self._scaler = Scaler()
        off = settings.without
        self._neighbours = None if "neighbours" in off else NeighbourExpert()
        self._gains = None if "ridge" in off else Gains()
        self._dense = None if "net" in off else DenseFeatures()
        self._decision = make_decision(settings.objective, joint="joint" not in off)
        self._partitioner: Partitioner = JaccardPartitioner()
        self._structure = StructureMonitor()
        self._watches = Watches(1)  # of the nursery, then of the clusters, and of all together
        self._nursery_works = True  # from the stride after the first birth in it
        self._apart = False  # label sets have come to lie across clusters since the last stride
        self._duty = Duty(self._base)
        self._most_columns = self._affordable(0)
        self._roomy = (-1, -1)  # columns and labels that there is room for
        self._room(0, 0)

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays."""
        parts = [
            *self.blocks,
            self.nursery,
            *self.clusters,
            self._scaler,
            self._decision,
            self._partitioner,
            self._neighbours,
            self._gains,
            self._dense,
        ]
        return sum(part.memory_bytes for part in parts if part is not None)

    @property
    def weights(self) -> dict[str, float]:
        """Recent mean weight of each expert in the mixture, over the labels."""
        if len(self.blocks) == 1:
            found = self.blocks[0].mixture.weights.tolist()
            return dict(zip(EXPERTS, found, strict=True))
        counts = np.array([max(1, block.count) for block in self.blocks], dtype=np.float64)
        weights = np.array([block.mixture.weights for block in self.blocks], dtype=np.float64)
        means = counts @ weights / counts.sum()
        return dict(zip(EXPERTS, means.tolist(), strict=True))

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
            known yet; decisions; the probability of a label that has never been on.
        """
        n = len(batch)
        scores = np.full((n, batch.n_labels), np.nan)
        on = np.zeros((n, batch.n_labels), dtype=np.bool_)
        reserve = np.empty(n)
        start = 0
        while start < n:
            before = int(learned[start - 1]) if start else 0
            room = STRIDE - self.n_learned % STRIDE
            # The event that fills the stride is the last one of its segment.
            stop = min(n, start + STRIDE, int(learned.searchsorted(before + room)) + 1)
            gained = int(learned[stop - 1]) - before
            segment = batch if stop - start == n else batch.slice(start, stop)
            if not gained:
                # Labels that have been encoded but not learned are not known here yet.
                learned_labels = np.int32(len(self._cluster_of))
                segment = replace(segment, known=np.minimum(segment.known, learned_labels))
            width = segment.n_labels
            part, decided = scores[start:stop], on[start:stop]
            if width < batch.n_labels:
                # A label that is born later in the batch has no column in this segment, and
                # kernels are compiled for contiguous arrays.
                part = np.full((stop - start, width), np.nan)
                decided = np.zeros(part.shape, dtype=np.bool_)
            self._run_segment(segment, columns, gained > 0, part, decided, reserve[start:stop])
            if width < batch.n_labels:
                scores[start:stop, :width] = part
                on[start:stop, :width] = decided
            self.n_learned += gained
            if gained and self.n_learned % STRIDE == 0:
                self._adapt(names)
            start = stop
        return scores, on, reserve

    def _room(self, columns: int, labels: int) -> None:
        """Make room for so many feature columns and labels."""
        if self._roomy == (columns, labels):
            return
        self._roomy = (columns, labels)
        self._scaler.reserve(columns)
        if self._dense is not None:
            self._dense.make_room(columns)
        if self._gains is not None:
            self._gains.make_room(min(columns, self._most_columns), self._most_columns)
        slots = self._dense.slots if self._dense is not None else 0
        while len(self.blocks) * WIDTH < labels:
            block = LabelBlock(len(self.blocks), self.settings.seed, self.settings.without)
            block.begin_like(self.blocks[0])
            self.blocks.append(block)
        for block in self.blocks:
            block.make_room(min(columns, self._most_columns), self._most_columns, slots, labels)

    def _run_segment(
        self,
        batch: Batch,
        columns: int,
        learning: bool,
        scores: FloatArray,
        on: BoolArray,
        reserve: FloatArray,
    ) -> None:
        if learning:
            self._room(columns, batch.n_labels)
            self._admit(batch.n_labels)
        else:
            # Features that nobody has learned have columns of their own all the same.
            columns = max(columns, int(batch.indices.max(initial=-1)) + 1)
        labels = batch.n_labels
        scaled = single_precision(self._scaler.transform(batch))
        neighbours = self._neighbours if self._at_work("neighbours") else None
        if neighbours is not None and learning:
            neighbours.make_room(scaled, batch, columns)
        linear = [name for name in LINEAR if self._at_work(name)]
        narrow = scaled
        if columns > self._most_columns:
            narrow = folded(scaled, self._most_columns)
        raw = narrow
        if "raw" in linear:
            raw = raw_rows(batch)
            if columns > self._most_columns:
                raw = folded(raw, self._most_columns)
        gains = self._gains if self._at_work("ridge") else None
        growing, alone = self._at_work("forest"), len(self.blocks) == 1
        base, outer = self._outer_arrays(len(batch), labels, linear, growing=growing)
        segment = Segment(
            batch,
            raw,
            narrow,
            neighbours,
            linear,
            growing,
            self._at_work(self._base),
            alone,
            base,
            outer,
        )
        # In stages, because each needs what others have made of the segment before; within one,
        # first what takes longest.
        working = self.clusters if growing else []
        if growing and self._nursery_works:
            working = [*working, self.nursery]
        work: list[Callable[[], None]] = [
            partial(cluster.grow, segment, columns, nursery=cluster is self.nursery)
            for cluster in working
        ]
        if neighbours is not None:
            work.append(partial(segment.search, neighbours, scaled))
        if gains is not None:
            work.append(partial(segment.gain, gains, narrow))
        if self._dense is not None and self._at_work("net"):
            work.append(partial(segment.condense, self._dense))
        work += [partial(block.begin, segment) for block in self.blocks]
        self._executor.run(work)
        self._executor.run([partial(block.step, segment) for block in self.blocks])
        if growing and not self._nursery_works:  # as trees say that have never seen a label on
            places = np.concatenate([[0], 1 + self.nursery.members])
            outer[0][:, places], outer[1][:, places] = -LOGIT_CLIP, base[:, places]
        work = [
            partial(cluster.correct, segment, nursery=cluster is self.nursery)
            for cluster in working
        ]
        work += [partial(block.ask, segment) for block in self.blocks]
        self._executor.run(work)
        mixed = np.empty_like(scores)
        self._executor.run(
            [partial(block.finish, segment, mixed, scores, reserve) for block in self.blocks]
        )
        basis = scores if self._decision.calibrated else mixed
        self._executor.run(
            [
                partial(self._decision.run, basis, batch, on),
                *([partial(self._look, batch, scores, reserve)] if learning else []),
            ]
        )

    def _outer_arrays(
        self, n: int, labels: int, linear: Sequence[str], *, growing: bool
    ) -> tuple[Float32Array, Float32Array]:
        """The segment's `base` and `outer`: a single block's own logits need no copies."""
        if not growing:
            return np.zeros((0, 0), dtype=np.float32), np.zeros((len(OUTER), 0, 0), np.float32)
        if len(self.blocks) > 1:
            outer = np.zeros((1 + len(OUTER), n, 1 + labels), dtype=np.float32)
            return outer[0], outer[1:]
        block = self.blocks[0]
        second_order = self._gains is not None and self._at_work("ridge")
        base = block.base(linear, n, second_order=second_order)
        if base is None:
            base = np.zeros((n, 1 + labels), dtype=np.float32)
        return base, block.logits(slice(FOREST, PATH + 1), n)

    def _at_work(self, expert: str) -> bool:
        """Whether an expert works in the present stride."""
        return self._duty.at_work(expert, self.n_learned)

    def _affordable(self, labels: int) -> int:
        """Columns, a power of two for `folded`, that linear experts have memory for."""
        cells = LINEAR_SHARE * self.settings.max_memory_mb * 2**20 / CELL_BYTES
        # Block by block with room to grow.
        width = sum(block.width(labels) for block in self.blocks)
        return max(FEWEST_COLUMNS, 1 << (int(cells / width).bit_length() - 1))

    # What changes at strides.

    def _look(self, batch: Batch, scores: FloatArray, reserve: FloatArray) -> None:
        """Feed the detectors and the partitioner."""
        if self.settings.drift:
            loss = np.zeros((len(batch), 1 + len(self.clusters)))
            counted = np.zeros(loss.shape, dtype=np.int64)
            cluster_losses(
                scores,
                reserve,
                batch.y_indptr,
                batch.y_indices,
                batch.labelled,
                batch.known,
                self._cluster_of,
                loss,
                counted,
            )
            self._watches.collect(loss, counted)
        if self.settings.partition:
            self._partitioner.update(batch.y_indptr, batch.y_indices)
            if (
                self.settings.drift
                and self.clusters
                and self._structure.update(batch.y_indptr, batch.y_indices, self._places)
            ):
                latest = self._structure.latest
                self._apart |= latest is not None and latest.change < 0

    def _admit(self, labels: int) -> None:
        """Put labels born in the coming segment into the nursery."""
        old = len(self._cluster_of)
        if labels > old:
            born = np.arange(old, labels, dtype=np.int32)
            self._cluster_of = np.concatenate([self._cluster_of, np.zeros_like(born)])
            self._places = self._cluster_of - 1
            self.nursery.members = np.concatenate([self.nursery.members, born])

    def _adapt(self, names: Names) -> None:
        """Look at the detectors and at the partition."""
        self._decision.adapt()
        losses = self.blocks[0].losses
        for block in self.blocks[1:]:
            losses += block.losses
        self._duty.adapt(self.n_learned, self.weights, losses.tolist())
        refit = False
        if self.settings.drift:
            *local, loss_risen = self._watches.risen()
            self.counts["local_alarms"] += sum(local)
            if loss_risen:
                self.counts["global_alarms"] += 1
                refit = True
            if self._apart:
                self.counts["global_alarms"] += 1
                self._partitioner.forget(self.n_learned)
                refit = True
        self._apart = False
        if self.settings.partition and (refit or self._partitioner.due(self.n_learned)):
            # The encoder may have read further than the learner has learned.
            self._repartition(list(names()[: len(self._cluster_of)]))
        self._nursery_works = not self.clusters or len(self.nursery.members) > 0
        self._share_columns()

    def _share_columns(self) -> None:
        """Let features share columns of the linear experts where labels have become too many."""
        most = self._affordable(len(self._cluster_of))
        if most >= self._most_columns:
            return
        self._most_columns = most
        self._roomy = (-1, -1)
        for block in self.blocks:
            block.fold(most)
        if self._gains is not None:
            self._gains.fold(most)

    def _repartition(self, names: Sequence[str]) -> None:
        if not self._partitioner.refit(names):
            return
        groups = [np.array(sorted(group), dtype=np.int32) for group in self._partitioner.clusters()]
        priors = np.concatenate([block.priors for block in self.blocks])
        # The first partition often has all labels in one cluster: it is the nursery as it was.
        present = [self.nursery, *self.clusters]
        numbers = {id(cluster): number for number, cluster in enumerate(present)}
        before = {tuple(cluster.members.tolist()): cluster for cluster in present}
        placed = np.concatenate([np.zeros(0, dtype=np.int32), *groups])
        unplaced = np.setdiff1d(np.arange(len(names), dtype=np.int32), placed).astype(np.int32)
        groups.append(unplaced)
        for cluster in present:
            cluster.know_members()
        made = [before.get(tuple(group.tolist())) for group in groups]

        def make(number: int) -> None:
            made[number] = self._regroup(groups[number], priors)

        self._executor.run(
            [partial(make, number) for number, cluster in enumerate(made) if cluster is None]
        )
        *clusters, self.nursery = [cluster for cluster in made if cluster is not None]
        self.clusters = clusters
        self._structure.reset()
        self.counts["partition_changes"] += 1
        budget = FOREST_SHARE * self.settings.max_memory_mb * 2**20 / (1 + len(clusters))
        for number, cluster in enumerate([self.nursery, *clusters]):
            cluster.set_budget(int(budget))
            self._cluster_of[cluster.members] = number
        self._places = self._cluster_of - 1
        self._watches.rearrange([numbers.get(id(c), -1) for c in [self.nursery, *clusters]])

    def _new_cluster(self, members: IntArray) -> Cluster:
        settings = self.settings
        return Cluster(
            members, settings.trees, settings.split_test, settings.seed, settings.without
        )

    def _regroup(self, members: IntArray, priors: FloatArray) -> Cluster:
        """A cluster of `members` that knows what their present clusters do, and all priors."""
        new = self._new_cluster(members)
        present = [self.nursery, *self.clusters]
        sources = [present[number] for number in np.unique(self._cluster_of[members])]
        if sources:
            new.inherit(sources, priors[members], trees="forest" not in self._duty.resting)
        return new
