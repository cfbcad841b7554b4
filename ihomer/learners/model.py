"""What predicts and learns: experts, clusters with their trees, their mixture, and the decision.

In: a segment of the stream, at most up to the next stride. Out: probabilities and decisions. It is
all that an engine would have to take a copy of, or to begin anew, and it asks for no detector:
which labels belong together is told to it by `regroup`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np

from ihomer.drift.events import LearnerEvent
from ihomer.instances import (
    Batch,
    BoolArray,
    Float32Array,
    FloatArray,
    IntArray,
    OffsetArray,
)
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
from ihomer.learners.decision import Decision, make_decision
from ihomer.learners.duty import Duty
from ihomer.learners.executor import Executor
from ihomer.learners.experts.neighbours import NeighbourExpert
from ihomer.learners.experts.network import DenseFeatures
from ihomer.learners.experts.ridge import Gains
from ihomer.learners.grove import Grove
from ihomer.learners.memory import Memory, forget, recall, remember
from ihomer.learners.scaling import Scaler, folded, raw_rows, single_precision
from ihomer.learners.segment import OUTER, Segment
from ihomer.learners.settings import Settings
from ihomer.learners.single import Single

LINEAR_SHARE = 0.5  # of the memory that linear experts may take; then features share columns
FEWEST_COLUMNS = 256

# Of all experts together, as measured: of a column and label, of a column, of a label; and of each
# value of the events among which neighbours are looked for.
_CELL_BYTES, _COLUMN_BYTES, _LABEL_BYTES, _ENTRY_BYTES = 24, 512, 8192, 500 * 64


class Model:
    """See the module.

    Parameters
    ----------
    settings
        See `IHomer`.
    executor
        Runs what is independent.

    Attributes
    ----------
    n_learned
        Number of events learned by this model.
    grove
        The clusters of labels, and their trees.
    blocks
        The blocks of labels.
    single
        The way of single events; it is no part of the state.
    """

    def __init__(self, settings: Settings, executor: Executor) -> None:
        self.settings = settings
        self.n_learned = 0
        # The first block is always there: it knows what is said of labels never seen.
        self.blocks = [LabelBlock(0, settings.seed, settings.without)]
        self.grove = Grove(settings, executor)
        self._base = "raw" if "ridge" in settings.without else "ridge"
        self.executor = executor
        self._scaler = Scaler()
        off = settings.without
        self._neighbours = None if "neighbours" in off else NeighbourExpert()
        self._gains = None if "ridge" in off else Gains()
        self._dense = None if "net" in off else DenseFeatures()
        self._decision = make_decision(settings.objective, joint="joint" not in off)
        self._duty = Duty(self._base)
        self._most_columns = self._affordable(0)
        self._roomy = (-1, -1)  # columns and labels that there is room for
        self.single = Single()
        self._room(0, 0)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["single"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.single = Single()

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays."""
        parts = [
            *self.blocks,
            self.grove,
            self._scaler,
            self._decision,
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

    @property
    def nursery(self) -> Cluster:
        """The cluster of the labels that have no place yet."""
        return self.grove.nursery

    @property
    def clusters(self) -> list[Cluster]:
        """The clusters of labels that have a place."""
        return self.grove.clusters

    @property
    def cluster_of(self) -> IntArray:
        """See `Grove`."""
        return self.grove.cluster_of

    @property
    def trees_work(self) -> bool:
        """Whether trees are at work in every stride."""
        return "forest" not in self._duty.resting

    @property
    def scaler(self) -> Scaler:
        """Scales features for all linear experts and for the neighbours."""
        return self._scaler

    @property
    def gains(self) -> Gains | None:
        """Shared steps of the second-order linear experts; None: they are switched off."""
        return self._gains

    @property
    def dense(self) -> DenseFeatures | None:
        """Dense columns, for the networks; None: they are switched off."""
        return self._dense

    @property
    def neighbours(self) -> NeighbourExpert | None:
        """The expert that searches; None: it is switched off."""
        return self._neighbours

    @property
    def decision(self) -> Decision:
        """Makes label sets of probabilities."""
        return self._decision

    @property
    def most_columns(self) -> int:
        """Columns of linear experts, a power of two; features past it share them."""
        return self._most_columns

    def run(
        self,
        batch: Batch,
        columns: int,
        gained: int,
        scores: FloatArray,
        on: BoolArray,
        reserve: FloatArray,
        also: Sequence[Callable[[], None]] = (),
    ) -> None:
        """Predict, then learn each event of a segment.

        Parameters
        ----------
        batch
            Of n events, at most `STRIDE`; the last one at most fills a stride.
        columns
            Feature columns in use, the segment's included.
        gained
            How many of the events are labelled.
        scores, on, reserve
            float64 (n, L), bool (n, L), float64 (n,), written; see `Engine.run`.
        also
            Work that waits for the scores and may be done beside the decision.
        """
        learning = gained > 0
        if (
            learning
            and len(batch) == 1
            and self.executor.threads == 1
            and self.single.learn(self, batch, columns, scores, on, reserve)
        ):
            for task in also:
                task()
            self.n_learned += 1
            return
        if learning:
            self.make_room(columns, batch.n_labels)
        else:
            # Features that nobody has learned have columns of their own all the same.
            columns = max(columns, batch.columns)
        labels = batch.n_labels
        scaled = single_precision(self._scaler.transform(batch))
        neighbours = self._neighbours if self.at_work("neighbours") else None
        if neighbours is not None and learning:
            neighbours.make_room(scaled, batch, columns)
        linear = [name for name in LINEAR if self.at_work(name)]
        narrow = scaled
        if columns > self._most_columns:
            narrow = folded(scaled, self._most_columns)
        raw = narrow
        if "raw" in linear:
            raw = raw_rows(batch)
            if columns > self._most_columns:
                raw = folded(raw, self._most_columns)
        gains = self._gains if self.at_work("ridge") else None
        growing, alone = self.at_work("forest"), len(self.blocks) == 1
        base, outer = self.outer_arrays(len(batch), labels, linear, growing=growing)
        segment = Segment(
            batch,
            raw,
            narrow,
            neighbours,
            linear,
            growing,
            self.correcting,
            alone,
            base,
            outer,
        )
        # In stages, because each needs what others have made of the segment before; within one,
        # first what takes longest.
        work = self.grove.grow(segment, columns) if growing else []
        if neighbours is not None:
            work.append(partial(segment.search, neighbours, scaled))
        if gains is not None:
            work.append(partial(segment.gain, gains, narrow))
        if self._dense is not None and self.at_work("net"):
            work.append(partial(segment.condense, self._dense))
        work += [partial(block.begin, segment) for block in self.blocks]
        self.executor.run(work)
        self.executor.run([partial(block.step, segment) for block in self.blocks])
        work = self.grove.correct(segment) if growing else []
        work += [partial(block.ask, segment) for block in self.blocks]
        self.executor.run(work)
        mixed = np.empty_like(scores)
        self.executor.run(
            [partial(block.finish, segment, mixed, scores, reserve) for block in self.blocks]
        )
        if growing and learning:
            self.grove.compare(segment)
        basis = scores if self._decision.calibrated else mixed
        self.executor.run([partial(self._decision.run, basis, batch, on), *also])
        self.n_learned += gained

    def make_room(self, columns: int, labels: int) -> None:
        """Before learning: make room for so many feature columns and labels, new ones included."""
        self._room(columns, labels)
        self.grove.admit(labels)

    def _room(self, columns: int, labels: int) -> None:
        """Make room for so many feature columns and labels."""
        if self._roomy == (columns, labels):
            return
        self._roomy = (columns, labels)
        before = self._large()
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
        if any(map(operator.is_not, before, self._large())):
            self.single.let_go()  # or what has been replaced would stay in memory for its sake

    def _large(self) -> list[object]:
        """States of the first block that grow with columns and labels together."""
        block = self.blocks[0]
        experts = (block.ridge, block.net, *block.linear.values())
        return [expert.state for expert in experts if expert is not None]

    def outer_arrays(
        self, n: int, labels: int, linear: Sequence[str], *, growing: bool
    ) -> tuple[Float32Array, Float32Array]:
        """The segment's `base` and `outer`: a single block's own logits need no copies."""
        if not growing:
            return np.zeros((0, 0), dtype=np.float32), np.zeros((len(OUTER), 0, 0), np.float32)
        if len(self.blocks) > 1:
            outer = np.zeros((1 + len(OUTER), n, 1 + labels), dtype=np.float32)
            return outer[0], outer[1:]
        block = self.blocks[0]
        second_order = self._gains is not None and self.at_work("ridge")
        base = block.base(linear, n, second_order=second_order)
        if base is None:
            base = np.zeros((n, 1 + labels), dtype=np.float32)
        return base, block.logits(slice(FOREST, PATH + 1), n)

    def at_work(self, expert: str) -> bool:
        """Whether an expert works in the present stride."""
        return self._duty.at_work(expert, self.n_learned)

    @property
    def resting(self) -> set[str]:
        """Who rests in the present stride, `"forest"` for the trees: one object for a stride."""
        return self._duty.now_resting(self.n_learned)

    @property
    def correcting(self) -> bool:
        """Whether path regressions work in the present stride."""
        return self.at_work(self._base)

    def _affordable(self, labels: int) -> int:
        """Columns, a power of two for `folded`, that linear experts have memory for."""
        cells = LINEAR_SHARE * self.settings.max_memory_mb * 2**20 / CELL_BYTES
        # Block by block with room to grow.
        width = sum(block.width(labels) for block in self.blocks)
        return max(FEWEST_COLUMNS, 1 << (int(cells / width).bit_length() - 1))

    # What changes at strides.

    def adapt(self) -> list[LearnerEvent]:
        """Do what is due at the end of a stride, and tell what has happened."""
        self._decision.adapt()
        losses = self.blocks[0].losses
        for block in self.blocks[1:]:
            losses += block.losses
        self._duty.adapt(self.n_learned, self.weights, losses.tolist())
        told = self.grove.adapt(self.n_learned, self._priors, growing=self.trees_work)
        self._share_columns()
        return told

    def _priors(self) -> FloatArray:
        """How often the labels are on, float64 (L,)."""
        return np.concatenate([block.priors for block in self.blocks])

    def forget_labels(self, labels: IntArray) -> None:
        """Let ids, ascending, stand for labels that have never been on, in the nursery.

        A cluster that has no labels any more stays until labels are regrouped.
        """
        for block in self.blocks:
            own = labels[(labels >= block.first) & (labels < block.first + block.count)]
            if len(own):
                forget(block, 1 + own - block.first)
        if self._neighbours is not None:
            self._neighbours.forget_labels(labels)
        self._decision.forget_labels(labels)
        self.grove.forget_labels(labels, self._priors())
        if self.clusters:
            self._decision.regroup(self.grove.places, at_once=True)

    def forget_columns(self, columns: OffsetArray, in_use: int) -> None:
        """Let feature columns, ascending, stand for features that were never seen.

        Splits of trees on such a column stay, and so does what is known of one that is dense.
        `in_use` is the number of columns in use.
        """
        self._scaler.forget_columns(columns)
        if in_use > self._most_columns:
            return  # linear experts have others there, too
        for block in self.blocks:
            block.forget_columns(columns)
        if self._gains is not None:
            self._gains.forget_columns(columns)

    def remember(self, label: int) -> Memory:
        """What is worth keeping of a label that vanishes."""
        block = self.blocks[label // WIDTH]
        return remember(block, 1 + label - block.first)

    def recall(self, label: int, memory: Memory) -> None:
        """Let a label that has just been on know what was kept of it."""
        block = self.blocks[label // WIDTH]
        recall(block, 1 + label - block.first, memory)

    def _share_columns(self) -> None:
        """Let features share columns of the linear experts where labels have become too many."""
        most = self._affordable(len(self.cluster_of))
        if most >= self._most_columns:
            return
        self._most_columns = most
        self._roomy = (-1, -1)
        self.single.let_go()
        for block in self.blocks:
            block.fold(most)
        if self._gains is not None:
            self._gains.fold(most)

    def regroup(self, groups: Sequence[IntArray]) -> list[int]:
        """Put the labels into other clusters, which know what the present ones do.

        Parameters
        ----------
        groups
            Label ids, ascending, of each cluster, and last of the labels that have no place.

        Returns
        -------
        list of int
            For the nursery and then each of the new clusters the number of the present one that
            has the same labels, -1 = there is none.
        """
        kept = self.grove.regroup(groups)
        self._decision.regroup(self.grove.places)
        return kept

    def content_bytes(self, columns: int, entries: float) -> float:
        """About what the model's contents take in memory, room to grow apart.

        Unlike `memory_bytes` it depends on nothing but what has been learned, and so may decide.

        Parameters
        ----------
        columns
            Feature columns seen.
        entries
            Mean number of values in an event.
        """
        labels = len(self.cluster_of)
        width = sum(block.width(labels) for block in self.blocks)
        cells = min(columns, self._most_columns) * width
        fixed = _COLUMN_BYTES * columns + _LABEL_BYTES * width + _ENTRY_BYTES * entries
        return self.grove.content_bytes() + _CELL_BYTES * cells + fixed

    def twin(self) -> Model:
        """A copy that shares nothing that is learned."""
        return deepcopy(self, {id(self.executor): self.executor})

    def like(self, other: Model) -> Model:
        """Itself, now of the labels and clusters that `other` has."""
        labels = len(other.cluster_of)
        columns, _ = self._roomy
        self._room(max(0, columns), labels)
        self.grove.admit(labels)
        self.regroup([*(cluster.members for cluster in other.clusters), other.nursery.members])
        return self
