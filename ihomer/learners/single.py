"""One event, predicted or learned, by the shortest way through a dense model.

In: the features of one event. Out: what `Model.run` makes of a batch of that event, bit for bit.
It is here because a service predicts one event per request, and on the way of the batches most of
the time goes into making arrays of one row: here they are made once, and what only learning asks
for is left out of a prediction. Where a model has more than one block of labels, or trees of single
clusters, it says so, and the batches' way is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ihomer.instances import (
    Batch,
    BoolArray,
    FloatArray,
    IntArray,
)
from ihomer.learners.block import (
    EXPERTS,
    FOREST,
    PATH,
    WIDTH,
)
from ihomer.learners.calls import Calls
from ihomer.learners.cluster import Cluster
from ihomer.learners.experts.forest import Forest
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.segment import Segment
from ihomer.prepared import Step

if TYPE_CHECKING:
    from ihomer.learners.model import Model

NUMBER_OF = {name: number for number, name in enumerate(EXPERTS)}


class Told(NamedTuple):
    """What is said of one event.

    Attributes
    ----------
    scores
        float64 (L,): probabilities of the labels that have been learned; those of ids that are
        nobody's mean nothing.
    on
        bool (L,): decisions; None: not asked for.
    reserve
        Probability of a label that has never been on.
    """

    scores: FloatArray
    on: BoolArray | None
    reserve: float


class Single(Calls):
    """One event; whoever asks holds the model's lock, and reads the answer before."""

    def predict(
        self, model: Model, indices: IntArray, values: FloatArray, columns: int, *, decide: bool
    ) -> Told | None:
        """Probabilities and decisions for one event, or None where that takes the batches' way.

        Parameters
        ----------
        model
            Nothing of it changes.
        indices, values
            int32 and float64 (nnz,), ascending, as in `Batch`.
        columns
            Feature columns in use.
        decide
            Whether decisions are asked for.
        """
        blocks, many = model.blocks, len(indices)
        if many:
            columns = max(columns, int(indices[-1]) + 1)
        growing = "forest" not in model.resting
        grove, block = model.grove, blocks[0]
        trees_of_clusters = growing and (len(grove.serving) > 1 or not grove.first_works)
        if len(blocks) > 1 or columns > model.most_columns or trees_of_clusters:
            return None
        self._enough(many + int(model.scaler.state.progress[1]), 0)
        labels = block.count
        self._events(indices, values, labels, labels)
        self._begin(model, labels)
        decision = model.decision
        decision.make_room(1, 0, labels, learning=False)
        cluster = self._trees(model, columns, labels) if growing else None
        held = self._held(model, labels, cluster, learning=False)

        def asked() -> list[Step]:
            return [*self._scale(model), *self._ask(model, labels, self._no_gains)]

        def mixed() -> list[Step]:
            steps = self._mix(block)
            if decide:
                steps += self._decide(decision, learning=False)
            return steps

        def told() -> list[Step]:
            first, then = self._grow(model, cluster)
            return [*first, *asked(), *then, *mixed()]

        here = not growing or cluster is not None
        # Parts that begin or end to serve have chains of their own: it happens time and again.
        name = ("told", decide, growing, len(held))
        if not (here and self._call.chain(name, held, told, needed="forest")):
            # There is something to make for the trees first.
            self._call.chain("asked", held, asked)
            batch = Batch(self._indptr, indices, values, *self._no_labels())
            segment = self._segment(model, batch)
            grove.serving[0].grow(segment, columns, nursery=True)
            grove.serving[0].correct(segment, nursery=True)
            self._call.chain(("mixed", decide), held, mixed)
        return Told(self._scores[0], self._on[0] if decide else None, float(self._out[0, 0]))

    def learn(
        self,
        model: Model,
        batch: Batch,
        columns: int,
        scores: FloatArray,
        on: BoolArray,
        reserve: FloatArray,
    ) -> bool:
        """Predict, then learn a batch of one labelled event; see `Model.run`.

        Returns
        -------
        bool
            False: nothing was done but make room, and it has to take the batches' way.
        """
        labels = batch.n_labels
        if len(model.blocks) > 1 or labels > WIDTH:
            return False
        model.make_room(columns, labels)
        if len(model.blocks) > 1 or columns > model.most_columns:
            return False
        block, grove, scaling = model.blocks[0], model.grove, model.scaler.state
        most = len(scaling.seen) if scaling.progress[0] < STRIDE else int(scaling.progress[1])
        self._enough(len(batch.indices) + most, len(batch.y_indices))
        before, after = batch.known.tolist()
        self._events(batch.indices, batch.values, before, after)
        on_now = len(batch.y_indices)
        self._y_indptr[1], self._y_indices[:on_now] = on_now, batch.y_indices
        self._labelled[0] = True
        self._begin(model, labels)
        self._call.chain("scaled", (scaling,), lambda: self._scale(model))
        if model.neighbours is not None and "neighbours" not in model.resting:
            model.neighbours.make_room(self._rows(), batch, columns)
        gains = self._gain(model)
        decision = model.decision
        decision.make_room(1, on_now, labels, learning=True)
        growing = "forest" not in model.resting
        cluster = self._room_for_trees(model, columns, labels) if growing else None
        held = self._held(model, labels, cluster, learning=True)

        def asked() -> list[Step]:
            return self._ask(model, labels, gains)

        def mixed() -> list[Step]:
            return [*self._mix(block), *self._decide(decision, learning=True)]

        def behind() -> list[Step]:
            return [*asked(), *self._grow(model, cluster)[1], *mixed()]

        def all_of_it() -> list[Step]:
            return [*self._grow(model, cluster)[0], *behind()]

        if growing and cluster is None:
            segment = self._segment(model, batch)
            for task in grove.grow(segment, columns):
                task()
            self._call.chain("asked and learned", held, asked)
            for task in grove.correct(segment):
                task()
            self._call.chain("mixed and learned", held, mixed)
            grove.compare(segment)
        else:
            name = ("learned", growing, len(held))
            all_done = self._call.chain(name, held, all_of_it, needed="forest")
            if cluster is not None and cluster.forest is not None:
                self._go_on(cluster, cluster.forest, batch, done=int(all_done))
            if not all_done:
                held = self._held(model, labels, cluster, learning=True)
                self._call.chain("behind", held, behind)
            if cluster is not None:
                self._let_nodes_go(cluster)
        scores[0], on[0], reserve[0] = self._scores[0], self._on[0], self._out[0, 0]
        return True

    def _begin(self, model: Model, labels: int) -> None:
        """Look where the block's logits stand, and who works."""
        block = model.blocks[0]
        logits = block.logits_of_all
        if self._labels != labels or self._logits is not logits:
            self._make_width(labels, logits, logits.shape[2])
        slots = 0 if model.dense is None else model.dense.slots
        if self._dense.x.shape[1] != slots:
            self._make_slots(slots)
        self._decided.fill(False)
        active = block.active
        active[:] = block.switched_on
        for name in model.resting:
            active[NUMBER_OF[name]] = False
        if "forest" in model.resting or not model.correcting:
            active[PATH] = False

    def _segment(self, model: Model, batch: Batch) -> Segment:
        """What the trees of all labels are shown."""
        linear = self._linear(model)
        base, outer = model.outer_arrays(1, batch.n_labels, linear, growing=True)
        rows = self._rows()
        return Segment(batch, rows, rows, None, linear, True, model.correcting, True, base, outer)

    def _trees(self, model: Model, columns: int, labels: int) -> Cluster | None:
        """Whose trees predict; None: there is something to make first."""
        cluster = model.grove.serving[0]
        forest, path = cluster.forest, cluster.path
        if forest is None:
            return cluster
        if len(cluster.members) != labels or not forest.ready(columns, labels):
            return None
        if path is not None and model.correcting and not path.ready(forest.nodes, labels):
            return None
        self._room_for_paths(forest)
        return cluster if self._may_correct(model, cluster) else None

    def _room_for_trees(self, model: Model, columns: int, labels: int) -> Cluster | None:
        """Whose trees learn, with room for an event; None: there are others, or none yet."""
        cluster = model.grove.only
        if cluster is None or cluster.forest is None:
            return cluster
        forest, path = cluster.forest, cluster.path
        if len(cluster.members) != labels or not forest.planted:
            return None
        forest.make_room(columns, labels)
        if path is not None:
            path.make_room(forest.nodes, labels)
        self._room_for_paths(forest)
        return cluster if self._may_correct(model, cluster) else None

    def _may_correct(self, model: Model, cluster: Cluster) -> bool:
        """Whether path regressions, if they work, have something to correct."""
        return cluster.path is None or not model.correcting or self._base(model) >= 0

    def _go_on(self, cluster: Cluster, forest: Forest, batch: Batch, *, done: int) -> None:
        """Do what the trees' call has left to do, where there was no room or a stride has ended."""
        members = (cluster.members, cluster.positions(self._labels))
        forest.go_on(batch, *members, self._at[FOREST], self._paths, self._nodes, done)

    def _let_nodes_go(self, cluster: Cluster) -> None:
        """After an event: let path regressions forget nodes that are gone."""
        forest, path = cluster.forest, cluster.path
        if forest is None:
            return
        gone = forest.release()
        if path is not None:
            path.make_room(forest.nodes, self._labels)
            if len(gone):
                path.forget_nodes(gone)
