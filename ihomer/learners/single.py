"""One event, predicted or learned, by the shortest way through a dense model.

In: the features of one event. Out: what `Model.run` makes of a batch of that event, bit for bit.
It is here because a service predicts one event per request, and on the way of the batches most of
the time goes into making arrays of one row: here they are made once, and what only learning asks
for is left out of a prediction. Where a model has more than one block of labels, or trees of single
clusters, it says so, and the batches' way is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ihomer.instances import Batch, BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.learners.block import (
    EXPERTS,
    FOREST,
    LINEAR,
    NEIGHBOURS,
    NET,
    PATH,
    PERSISTENCE,
    PRIORS,
    RIDGE,
    WIDTH,
    LabelBlock,
)
from ihomer.learners.experts.linear import BASE_STEP, NO_BASE
from ihomer.learners.experts.network import DenseRows
from ihomer.learners.experts.path import INDICATOR
from ihomer.learners.experts.ridge import GainRows
from ihomer.learners.kernels.calibration import calibrate_rows
from ihomer.learners.kernels.dense import LAYOUTS, dense_rows
from ihomer.learners.kernels.elementary import LOGIT_CLIP
from ihomer.learners.kernels.linear import linear_rows
from ihomer.learners.kernels.mixture import mix_rows
from ihomer.learners.kernels.neighbours import NEIGHBOURS as MOST_NEIGHBOURS
from ihomer.learners.kernels.network import network_rows
from ihomer.learners.kernels.prototypes import NEAREST, prototype_rows
from ihomer.learners.kernels.ridge import gain_rows, gain_steps
from ihomer.learners.kernels.rows import cut_values
from ihomer.learners.kernels.scaling import STRIDE, scale_rows
from ihomer.learners.kernels.trees_rows import forest_rows
from ihomer.learners.kernels.trees_state import MAX_DEPTH
from ihomer.learners.kernels.trivial import trivial_rows
from ihomer.learners.kernels.votes import neighbour_votes, search_rows
from ihomer.learners.scaling import RAW_LIMIT, Rows
from ihomer.learners.segment import Segment
from ihomer.prepared import PreparedCalls

if TYPE_CHECKING:
    from ihomer.learners.model import Model


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


class Single:
    """Room for one event; whoever asks holds the model's lock, and reads the answer before.

    All arrays that an event is written to are kept, so that the calls of kernels can be prepared.
    """

    def __init__(self) -> None:
        self._indptr: OffsetArray = np.zeros(2, dtype=np.int64)
        self._known: IntArray = np.zeros(2, dtype=np.int32)
        self._y_indptr: OffsetArray = np.zeros(2, dtype=np.int64)
        self._y_indices: IntArray = np.zeros(16, dtype=np.int32)
        self._labelled: BoolArray = np.zeros(1, dtype=np.bool_)
        self._y = (self._y_indptr, self._y_indices, self._labelled)
        # What is only predicted has no labels, and no gains.
        self._no_labels_indptr: OffsetArray = np.zeros(2, dtype=np.int64)
        self._no_labels: IntArray = np.zeros(0, dtype=np.int32)
        self._unlabelled: BoolArray = np.zeros(1, dtype=np.bool_)
        self._no_gains: GainRows = GainRows(
            np.zeros(2, dtype=np.int64),
            np.zeros(0, dtype=np.int32),
            np.zeros(0, dtype=np.float32),
            np.zeros(1, dtype=np.float32),
        )
        self._gains = self._no_gains
        self._paths: OffsetArray = np.zeros(2, dtype=np.int64)
        self._nodes: IntArray = np.zeros(0, dtype=np.int32)
        self._passed: Float32Array = np.zeros(0, dtype=np.float32)
        self._found = (
            np.empty((1, MOST_NEIGHBOURS), dtype=np.int32),
            np.empty((1, MOST_NEIGHBOURS), dtype=np.float32),
            np.empty(1, dtype=np.float32),
        )
        self._make_room(64)
        self._make_slots(0)
        self._make_width(0, np.zeros((len(EXPERTS), STRIDE, 8), dtype=np.float32), 8)
        # Most arguments seldom are others than in the call before.
        self._call = PreparedCalls()

    def let_go(self) -> None:
        """Forget prepared calls, and with them arrays that may be nobody else's any more."""
        self._call = PreparedCalls()

    def _make_room(self, values: int) -> None:
        """For so many values of an event."""
        self._indices: IntArray = np.zeros(values, dtype=np.int32)
        self._values: FloatArray = np.zeros(values)
        self._scaled_indptr: OffsetArray = np.zeros(2, dtype=np.int64)
        self._scaled_indices: IntArray = np.zeros(values, dtype=np.int32)
        self._scaled: FloatArray = np.zeros(values)
        self._narrow: Float32Array = np.zeros(values, dtype=np.float32)
        self._raw: Float32Array = np.zeros(values, dtype=np.float32)

    def _make_slots(self, slots: int) -> None:
        """For so many dense columns."""
        self._dense = DenseRows(
            np.zeros((1, slots), dtype=np.float32),
            np.zeros(1, dtype=np.int32),
            np.zeros((LAYOUTS, slots), dtype=np.int32),
            np.zeros(1, dtype=np.int32),
            np.zeros((1, NEAREST), dtype=np.int32),
            np.zeros((1, NEAREST), dtype=np.float32),
            np.zeros(1, dtype=np.int32),
            np.zeros(1, dtype=np.int32),
        )

    def _make_width(self, labels: int, logits: Float32Array, width: int) -> None:
        """For so many labels in a block of that width, whose logits stand in `logits`."""
        self._labels, self._logits = labels, logits
        self._at = [logits[expert, :1] for expert in range(len(EXPERTS))]
        self._out: Float32Array = np.zeros((1, width), dtype=np.float32)
        self._scores: FloatArray = np.zeros((1, labels))
        self._mixed: FloatArray = np.zeros((1, labels))
        self._on: BoolArray = np.zeros((1, labels), dtype=np.bool_)

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
        growing = model.at_work("forest")
        grove, block = model.grove, blocks[0]
        trees_of_clusters = growing and (len(grove.serving) > 1 or not grove.first_works)
        if len(blocks) > 1 or columns > model.most_columns or trees_of_clusters:
            return None
        self._enough(many + int(model.scaler.state.progress[1]), 0)
        labels = block.count
        self._events(indices, values, labels, labels)
        none = (self._no_labels_indptr, self._no_labels, self._unlabelled)
        batch = Batch(self._indptr, indices, values, *none, self._known)
        linear = self._begin(model, labels)
        scaled = self._scale(model)
        self._ask(model, batch, linear, self._no_gains)
        correcting = model.correcting if growing else None
        if growing and not self._trees(model, linear, columns):
            segment = self._segment(model, batch, scaled, linear)
            grove.serving[0].grow(segment, columns, nursery=True)
            grove.serving[0].correct(segment, nursery=True)
        decision = model.decision
        self._mix(block, correcting, decide and not decision.calibrated)
        on = None
        if decide:
            self._on.fill(False)
            basis = self._scores if decision.calibrated else self._mixed
            decision.run(basis, batch, self._on, self._call)
            on = self._on[0]
        return Told(self._scores[0], on, float(self._out[0, 0]))

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
        linear = self._begin(model, labels)
        scaled = self._scale(model)
        if model.neighbours is not None and model.at_work("neighbours"):
            model.neighbours.make_room(scaled, batch, columns)
        growing = model.at_work("forest")
        if growing:
            segment = self._segment(model, batch, scaled, linear)
            for task in grove.grow(segment, columns):
                task()
        self._ask(model, batch, linear, self._gain(model))
        if growing:
            for task in grove.correct(segment):
                task()
        decision = model.decision
        self._mix(block, segment.correcting if growing else None, not decision.calibrated)
        scores[0] = self._scores[0]
        scores[0, before:] = np.nan
        reserve[0] = self._out[0, 0]
        if growing:
            grove.compare(segment)
        # In the caller's arrays: how much room a decision makes depends on their lengths.
        decision.run(scores if decision.calibrated else self._mixed, batch, on)
        return True

    def _enough(self, values: int, labels: int) -> None:
        """Make room for so many values and labels of an event."""
        if values > len(self._indices):
            self._make_room(2 * values)
        if labels > len(self._y_indices):
            self._y_indices = np.zeros(2 * labels, dtype=np.int32)
            self._y = (self._y_indptr, self._y_indices, self._labelled)

    def _events(self, indices: IntArray, values: FloatArray, before: int, after: int) -> None:
        """Copy an event that has no labels to where the kernels look for it."""
        many = len(indices)
        self._indptr[1] = many
        self._indices[:many], self._values[:many] = indices, values
        self._known[0], self._known[1] = before, after
        self._y_indptr[1] = 0
        self._labelled[0] = False

    def _begin(self, model: Model, labels: int) -> list[str]:
        """Look where the block's logits stand; which linear experts work."""
        block = model.blocks[0]
        logits = block.logits_of_all
        if self._labels != labels or self._logits is not logits:
            self._make_width(labels, logits, logits.shape[2])
        block.active[:] = block.switched_on
        return [name for name in block.linear if model.at_work(name)]

    def _mix(self, block: LabelBlock, correcting: bool | None, mixed: bool) -> None:
        """Mix what the experts have said; `correcting` is None where trees rest."""
        active, out = block.active, self._out
        active[FOREST] &= correcting is not None
        active[PATH] &= bool(correcting)
        known = (*self._y, self._known, 0)
        self._call(
            "mix", mix_rows, self._logits, active, *known, block.stacking, block.mixture, out
        )
        if mixed:
            self._mixed[0] = out[0, 1 : 1 + self._labels]
        if block.calibrated:
            self._call("calibrate", calibrate_rows, *known, block.calibration, out)
        self._scores[0] = out[0, 1 : 1 + self._labels]

    def _trees(self, model: Model, linear: Sequence[str], columns: int) -> bool:
        """Let the trees of all labels predict, after `_ask`; False: there is something to make."""
        cluster = model.grove.serving[0]
        forest, path = cluster.forest, cluster.path
        if forest is None:
            return True
        state = forest.state
        if len(cluster.members) != self._labels or not forest.ready(columns, self._labels):
            return False
        correcting = path is not None and model.correcting
        if path is not None and correcting and not path.ready(forest.nodes, self._labels):
            return False
        most = MAX_DEPTH * len(state.trees)
        if most > len(self._nodes):
            self._nodes = np.zeros(most, dtype=np.int32)
            self._passed = np.full(most, INDICATOR, dtype=np.float32)
        labelled = (*self._y, self._known)
        members = (cluster.members, cluster.positions(self._labels))
        events = (self._indptr, self._indices, self._values)
        how = (forest.keys, forest.scratch, state, forest.options, LOGIT_CLIP, 0)
        out = (self._at[FOREST], self._paths, self._nodes)
        if not self._call("forest", forest_rows, *events, *labelled, *members, *how, *out):
            return False  # no room for what is only counted when it is learned
        if path is None or not correcting:
            return True
        second = model.gains is not None and model.at_work("ridge")
        if not second and not linear:
            return False
        base = self._at[RIDGE if second else EXPERTS.index(linear[-1])]
        expert = path.linear
        rows = (self._paths, self._nodes, self._passed)
        steps = (expert.step, BASE_STEP, expert.decay, self._at[PATH])
        own = (*members, expert.reserve, base, expert.state, expert.reach, *steps)
        self._call("path", linear_rows, *rows, *labelled, *own)
        return True

    def _gain(self, model: Model) -> GainRows:
        """Gains of an event that is learned; see `Gains.run`."""
        gains = model.gains
        if gains is None or not model.at_work("ridge"):
            return self._no_gains
        room = len(self._indices) + len(gains.state.block)
        if room > len(self._gains.indices):
            self._gains = GainRows(
                np.zeros(2, dtype=np.int64),
                np.zeros(room, dtype=np.int32),
                np.zeros(room, dtype=np.float32),
                np.zeros(1, dtype=np.float32),
            )
        rows = (self._scaled_indptr, self._scaled_indices, self._narrow, self._labelled)
        self._call("gains", gain_rows, *rows, gains.state, *self._gains)
        return self._gains

    def _scale(self, model: Model) -> Rows:
        """See `Scaler.transform`."""
        events = (self._indptr, self._indices, self._values, self._labelled)
        rows = (self._scaled_indptr, self._scaled_indices, self._scaled)
        self._call("scale", scale_rows, *events, model.scaler.state, *rows)
        used = int(self._scaled_indptr[1])
        self._narrow[:used] = self._scaled[:used]
        return Rows(self._scaled_indptr, self._scaled_indices[:used], self._narrow[:used])

    def _segment(self, model: Model, batch: Batch, scaled: Rows, linear: Sequence[str]) -> Segment:
        """What the trees of all labels are shown."""
        base, outer = model.outer_arrays(1, batch.n_labels, linear, growing=True)
        return Segment(
            batch, scaled, scaled, None, linear, True, model.correcting, True, base, outer
        )

    def _ask(self, model: Model, batch: Batch, linear: Sequence[str], gains: GainRows) -> None:
        """Let all experts but the trees write their logits; see `LabelBlock`."""
        block, at, y = model.blocks[0], self._at, (*self._y, self._known)
        active = block.active
        ids, position_of = block.ids(batch.n_labels)
        scaled = (self._scaled_indptr, self._scaled_indices, self._narrow)
        for number, (name, (kind, _, _)) in enumerate(LINEAR.items()):
            if name not in linear:
                active[number] = False
                continue
            rows = scaled
            if kind == "raw":
                many = len(batch.values)
                cut_values(batch.values, RAW_LIMIT, self._raw[:many])
                rows = (self._indptr, self._indices, self._raw)
            expert = block.linear[name]
            how = (expert.step, BASE_STEP, expert.decay)
            own = (ids, position_of, expert.reserve, NO_BASE, expert.state, expert.reach, *how)
            self._call(name, linear_rows, *rows, *y, *own, at[number])
        ridge = block.ridge
        if ridge is not None and model.at_work("ridge"):
            steps = (ids, position_of, ridge.reserve, ridge.state, ridge.reach, at[RIDGE])
            name = "ridge" if gains is self._no_gains else "ridge learns"
            self._call(name, gain_steps, *scaled, *gains, *y, *steps)
        else:
            active[RIDGE] = False
        rates = (0, block.trivial, at[PRIORS], at[PERSISTENCE])
        self._call("trivial", trivial_rows, *self._y, *rates)
        dense, net = model.dense, block.net
        if dense is None or not model.at_work("net"):
            active[NET] = False
        elif net is not None:
            if self._dense.x.shape[1] != dense.slots:
                self._make_slots(dense.slots)
            rows_of = self._dense
            events = (self._indptr, self._indices, self._values, self._labelled)
            self._call("dense", dense_rows, *events, dense.state, *rows_of[:4])
            near = (self._labelled, dense.prototypes, *rows_of[4:])
            self._call("prototypes", prototype_rows, *rows_of[:4], *near)
            own_net = (net.first_label, net.n_labels, net.state, at[NET])
            self._call("net", network_rows, *rows_of, *y, *own_net)
        neighbours = model.neighbours
        if neighbours is None or not model.at_work("neighbours"):
            active[NEIGHBOURS] = False
        else:
            state, found = neighbours.state, self._found
            self._call("search", search_rows, *scaled, *y, state, *found)
            votes = (0, at[PRIORS], at[NEIGHBOURS])
            labels_of = (state.y_indptr, state.y_labels)
            self._call("vote", neighbour_votes, *labels_of, *found, *votes)
