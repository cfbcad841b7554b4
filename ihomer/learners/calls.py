"""The kernels' calls for one event, and the room that they write to.

In: a model. Out: calls, in the order in which an event takes them, that are prepared once and run
in one go; see `ihomer.prepared`. It is here so that `ihomer.learners.single` has nothing to say but
what happens to an event, and when.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ihomer.instances import (
    BoolArray,
    Float32Array,
    FloatArray,
    IntArray,
    Labelled,
    OffsetArray,
)
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
    LabelBlock,
)
from ihomer.learners.cluster import Cluster
from ihomer.learners.decision import OWN, Decision
from ihomer.learners.experts.forest import Forest
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
from ihomer.learners.kernels.rows import cut_values, write_rows
from ihomer.learners.kernels.scaling import STRIDE, scale_rows
from ihomer.learners.kernels.trees_rows import forest_rows
from ihomer.learners.kernels.trees_state import MAX_DEPTH
from ihomer.learners.kernels.trivial import trivial_rows
from ihomer.learners.kernels.votes import neighbour_votes, search_rows
from ihomer.learners.scaling import RAW_LIMIT, Rows
from ihomer.prepared import PreparedCalls, Step

if TYPE_CHECKING:
    from ihomer.learners.model import Model


class Calls:
    """Room for one event, and what is called for it.

    All arrays that an event is written to are kept: the calls are prepared for them.
    """

    def __init__(self) -> None:
        self._indptr: OffsetArray = np.zeros(2, dtype=np.int64)
        self._known: IntArray = np.zeros(2, dtype=np.int32)
        self._y_indptr: OffsetArray = np.zeros(2, dtype=np.int64)
        self._labelled: BoolArray = np.zeros(1, dtype=np.bool_)
        self._all: IntArray = np.full(2, np.iinfo(np.int32).max, dtype=np.int32)  # are known
        # What is only predicted has no gains.
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
        # Most arguments seldom are others than in the call before.
        self._call = PreparedCalls()
        self._make_room(64, 16)
        self._make_slots(0)
        self._make_width(0, np.zeros((len(EXPERTS), STRIDE, 8), dtype=np.float32), 8)

    def let_go(self) -> None:
        """Forget prepared calls, and with them arrays that may be nobody else's any more."""
        self._call = PreparedCalls()

    def _make_room(self, values: int, labels: int) -> None:
        """For so many values and labels of an event."""
        self._indices: IntArray = np.zeros(values, dtype=np.int32)
        self._values: FloatArray = np.zeros(values)
        self._scaled_indptr: OffsetArray = np.zeros(2, dtype=np.int64)
        self._scaled_indices: IntArray = np.zeros(values, dtype=np.int32)
        self._scaled: FloatArray = np.zeros(values)
        self._narrow: Float32Array = np.zeros(values, dtype=np.float32)
        self._raw: Float32Array = np.zeros(values, dtype=np.float32)
        self._y_indices: IntArray = np.zeros(labels, dtype=np.int32)
        self._y: Labelled = (self._y_indptr, self._y_indices, self._labelled, self._known)
        self._call.forget_chains()

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
        self._call.forget_chains()

    def _make_width(self, labels: int, logits: Float32Array, width: int) -> None:
        """For so many labels in a block of that width, whose logits stand in `logits`."""
        self._labels, self._logits = labels, logits
        self._at = [logits[expert, :1] for expert in range(len(EXPERTS))]
        self._out: Float32Array = np.zeros((1, width), dtype=np.float32)
        self._scores: FloatArray = np.zeros((1, labels))
        self._mixed: FloatArray = np.zeros((1, labels))
        # Decisions, and room for those that compete.
        self._decided: BoolArray = np.zeros((1 + OWN, 1, labels), dtype=np.bool_)
        self._on: BoolArray = self._decided[0]
        self._own: list[BoolArray] = [*self._decided[1:]]
        self._call.forget_chains()

    def _enough(self, values: int, labels: int) -> None:
        """Make room for so many values and labels of an event."""
        here, marks = len(self._indices), len(self._y_indices)
        if values > here or labels > marks:
            self._make_room(
                2 * values if values > here else here, 2 * labels if labels > marks else marks
            )

    def _room_for_paths(self, forest: Forest) -> None:
        """Make room for the nodes that an event passes."""
        most = MAX_DEPTH * len(forest.state.trees)
        if most > len(self._nodes):
            self._nodes = np.zeros(most, dtype=np.int32)
            self._passed = np.full(most, INDICATOR, dtype=np.float32)
            self._call.forget_chains()

    def _gain(self, model: Model) -> GainRows:
        """Room for the gains of an event that is learned; see `Gains.run`."""
        gains = model.gains
        if gains is None or "ridge" in model.resting:
            return self._no_gains
        room = len(self._indices) + len(gains.state.block)
        if room > len(self._gains.indices):
            self._gains = GainRows(
                np.zeros(2, dtype=np.int64),
                np.zeros(room, dtype=np.int32),
                np.zeros(room, dtype=np.float32),
                np.zeros(1, dtype=np.float32),
            )
            self._call.forget_chains()
        return self._gains

    def _events(self, indices: IntArray, values: FloatArray, before: int, after: int) -> None:
        """Copy an event that has no labels to where the kernels look for it."""
        many = len(indices)
        self._indptr[1] = many
        self._indices[:many], self._values[:many] = indices, values
        self._known[0], self._known[1] = before, after
        self._y_indptr[1] = 0
        self._labelled[0] = False

    def _no_labels(self) -> Labelled:
        """What a batch of one event that is predicted only says of labels."""
        none = np.zeros(0, dtype=np.int32)
        return np.zeros(2, dtype=np.int64), none, np.zeros(1, dtype=np.bool_), self._known

    def _rows(self) -> Rows:
        """The event, scaled."""
        used = int(self._scaled_indptr[1])
        return Rows(self._scaled_indptr, self._scaled_indices[:used], self._narrow[:used])

    def _linear(self, model: Model) -> list[str]:
        """The linear experts that work."""
        return [name for name in model.blocks[0].linear if name not in model.resting]

    def _base(self, model: Model) -> int:
        """The expert that path regressions correct; below zero: none."""
        if model.gains is not None and "ridge" not in model.resting:
            return RIDGE
        linear = self._linear(model)
        return EXPERTS.index(linear[-1]) if linear else -1

    def _held(
        self, model: Model, labels: int, cluster: Cluster | None, *, learning: bool
    ) -> tuple[object, ...]:
        """What all steps of an event follow from, beside what is here; see `PreparedCalls`."""
        block, gains, dense, near = model.blocks[0], model.gains, model.dense, model.neighbours
        ridge, net = block.ridge, block.net
        held = [
            model.resting,
            model.scaler.state,
            *block.ids(labels),
            block.active,
            block.trivial,
            block.mixture,
            block.calibration,
            *model.decision.held(learning=learning),
        ]
        for expert in block.linear.values():
            held += (expert.state, expert.reach)
        if ridge is not None and gains is not None:
            held += (ridge.state, ridge.reach, gains.state)
        if net is not None and dense is not None:
            held += (net.state, dense.state, dense.prototypes)
        if near is not None:
            held.append(near.state)
        if cluster is not None and cluster.forest is not None:
            forest, path = cluster.forest, cluster.path
            held += (cluster.members, cluster.positions(labels), forest.state, forest.options)
            held += (forest.keys, forest.scratch)
            if path is not None:
                held += (path.linear.state, path.linear.reach)
        return tuple(held)

    # The calls of an event, in order.

    def _scale(self, model: Model) -> list[Step]:
        """See `Scaler.transform`, `single_precision` and `raw_rows`."""
        events = (self._indptr, self._indices, self._values, self._labelled)
        rows = (self._scaled_indptr, self._scaled_indices, self._scaled)
        # What stands behind an event's values is of no use, and does no harm.
        return [
            ("scale", scale_rows, *events, model.scaler.state, *rows),
            ("narrow", cut_values, self._scaled, math.inf, self._narrow),
            ("cut", cut_values, self._values, RAW_LIMIT, self._raw),
        ]

    def _ask(self, model: Model, labels: int, gains: GainRows) -> list[Step]:
        """Let all experts but the trees write their logits; see `LabelBlock`."""
        block, at, y, resting = model.blocks[0], self._at, self._y, model.resting
        ids, position_of = block.ids(labels)
        scaled = (self._scaled_indptr, self._scaled_indices, self._narrow)
        steps: list[Step] = []
        for number, (name, (kind, _, _)) in enumerate(LINEAR.items()):
            expert = block.linear.get(name)
            if expert is None or name in resting:
                continue
            rows = (self._indptr, self._indices, self._raw) if kind == "raw" else scaled
            how = (expert.step, BASE_STEP, expert.decay)
            own = (ids, position_of, expert.reserve, NO_BASE, expert.state, expert.reach, *how)
            steps.append((name, linear_rows, *rows, *y, *own, at[number]))
        ridge, shared = block.ridge, model.gains
        if ridge is not None and shared is not None and "ridge" not in resting:
            name = "ridge"
            if gains is not self._no_gains:
                steps.append(("gains", gain_rows, *scaled, self._labelled, shared.state, *gains))
                name = "ridge learns"
            own_ridge = (ids, position_of, ridge.reserve, ridge.state, ridge.reach, at[RIDGE])
            steps.append((name, gain_steps, *scaled, *gains, *y, *own_ridge))
        rates = (0, block.trivial, at[PRIORS], at[PERSISTENCE])
        steps.append(("trivial", trivial_rows, *y[:3], *rates))
        dense, net = model.dense, block.net
        if dense is not None and net is not None and "net" not in resting:
            rows_of = self._dense
            events = (self._indptr, self._indices, self._values, self._labelled)
            near = (self._labelled, dense.prototypes, *rows_of[4:])
            own_net = (net.first_label, net.n_labels, net.state, at[NET])
            steps += [
                ("dense", dense_rows, *events, dense.state, *rows_of[:4]),
                ("prototypes", prototype_rows, *rows_of[:4], *near),
                ("net", network_rows, *rows_of, *y, *own_net),
            ]
        neighbours = model.neighbours
        if neighbours is not None and "neighbours" not in resting:
            state, found = neighbours.state, self._found
            votes = (0, at[PRIORS], at[NEIGHBOURS])
            labels_of = (state.y_indptr, state.y_labels)
            steps += [
                ("search", search_rows, *scaled, *y, state, *found),
                ("vote", neighbour_votes, *labels_of, *found, *votes),
            ]
        return steps

    def _grow(self, model: Model, cluster: Cluster | None) -> tuple[list[Step], list[Step]]:
        """Calls of the trees, which come first, and of the regressions along their paths."""
        if cluster is None or cluster.forest is None:
            return [], []
        forest, path = cluster.forest, cluster.path
        members = (cluster.members, cluster.positions(self._labels))
        events = (self._indptr, self._indices, self._values)
        how = (forest.keys, forest.scratch, forest.state, forest.options, LOGIT_CLIP, 0)
        out = (self._at[FOREST], self._paths, self._nodes)
        first: list[Step] = [("forest", forest_rows, *events, *self._y, *members, *how, *out)]
        if path is None or not model.correcting:
            return first, []
        expert = path.linear
        rows = (self._paths, self._nodes, self._passed)
        steps = (expert.step, BASE_STEP, expert.decay, self._at[PATH])
        base = self._at[self._base(model)]
        own = (*members, expert.reserve, base, expert.state, expert.reach, *steps)
        return first, [("path", linear_rows, *rows, *self._y, *own)]

    def _mix(self, block: LabelBlock) -> list[Step]:
        """Mix what the experts have said; see `LabelBlock.finish`."""
        out, count = self._out, self._labels
        how = (block.active, *self._y, 0, block.stacking, block.mixture, out)
        steps: list[Step] = [
            ("mix", mix_rows, self._logits, *how),
            ("mixed", write_rows, out, self._all, 0, count, self._mixed),
        ]
        if block.calibrated:
            steps.append(("calibrate", calibrate_rows, *self._y, 0, block.calibration, out))
        return [*steps, ("scores", write_rows, out, self._known, 0, count, self._scores)]

    def _decide(self, decision: Decision, *, learning: bool) -> list[Step]:
        """See `Decision.run`."""
        basis = self._scores if decision.calibrated else self._mixed
        return decision.steps(basis, self._y, self._on, self._own, learning=learning)
