"""One event that is only predicted, by the shortest way through a dense learner.

In: the features of one event. Out: what `Engine.run` says of a batch of that event, bit for bit.
It is here because a service predicts one event per request, and on the way of the batches most of
the time goes into making arrays of one row: here they are made once, and what only learning asks
for is left out. Where a model has more than one block of labels, or trees of single clusters, it
says so, and the batches' way is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ihomer.instances import Batch, BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.learners.block import (
    FOREST,
    LINEAR,
    NEIGHBOURS,
    NET,
    PATH,
    PERSISTENCE,
    PRIORS,
    RIDGE,
)
from ihomer.learners.engine import Engine
from ihomer.learners.kernels.calibration import calibrate_rows
from ihomer.learners.kernels.mixture import mix_rows
from ihomer.learners.kernels.neighbours import NEIGHBOURS as MOST_NEIGHBOURS
from ihomer.learners.kernels.ridge import gain_steps
from ihomer.learners.kernels.rows import cut_values, write_rows
from ihomer.learners.kernels.scaling import scale_rows
from ihomer.learners.kernels.trivial import trivial_rows
from ihomer.learners.kernels.votes import neighbour_votes, search_rows
from ihomer.learners.model import Model
from ihomer.learners.scaling import RAW_LIMIT, Rows
from ihomer.learners.segment import Segment


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
    """Room for one event; whoever asks holds the model's lock, and reads the answer before."""

    def __init__(self) -> None:
        self._indptr: OffsetArray = np.zeros(2, dtype=np.int64)
        self._known: IntArray = np.zeros(2, dtype=np.int32)
        self._y_indptr: OffsetArray = np.zeros(2, dtype=np.int64)
        self._y_indices: IntArray = np.zeros(0, dtype=np.int32)
        self._labelled: BoolArray = np.zeros(1, dtype=np.bool_)
        # Nothing is learned, so there is no gain.
        self._no_gains = (
            np.zeros(2, dtype=np.int64),
            np.zeros(0, dtype=np.int32),
            np.zeros(0, dtype=np.float32),
            np.zeros(1, dtype=np.float32),
        )
        self._found = (
            np.empty((1, MOST_NEIGHBOURS), dtype=np.int32),
            np.empty((1, MOST_NEIGHBOURS), dtype=np.float32),
            np.empty(1, dtype=np.float32),
        )
        self._scaled_indptr: OffsetArray = np.zeros(2, dtype=np.int64)
        self._scaled_indices: IntArray = np.zeros(0, dtype=np.int32)
        self._scaled: FloatArray = np.zeros(0)
        self._narrow: Float32Array = np.zeros(0, dtype=np.float32)
        self._raw: Float32Array = np.zeros(0, dtype=np.float32)
        self._scores: FloatArray = np.zeros((1, 0))
        self._mixed: FloatArray = np.zeros((1, 0))
        self._on: BoolArray = np.zeros((1, 0), dtype=np.bool_)

    def predict(
        self, engine: Engine, indices: IntArray, values: FloatArray, columns: int, *, decide: bool
    ) -> Told | None:
        """Probabilities and decisions for one event, or None where that takes the batches' way.

        Parameters
        ----------
        engine
            Dense; nothing of it changes.
        indices, values
            int32 and float64 (nnz,), ascending, as in `Batch`.
        columns
            Feature columns in use.
        decide
            Whether decisions are asked for.
        """
        model = engine.model
        blocks, many = model.blocks, len(indices)
        if many:
            columns = max(columns, int(indices[-1]) + 1)
        work = model.at_work
        growing = work("forest")
        grove, block = model.grove, blocks[0]
        labels = block.count
        trees_of_clusters = growing and (len(grove.serving) > 1 or not grove.first_works)
        if len(blocks) > 1 or columns > model.most_columns or trees_of_clusters:
            return None
        self._indptr[1] = many
        self._known[:] = labels
        batch = Batch(
            self._indptr,
            indices,
            values,
            self._y_indptr,
            self._y_indices,
            self._labelled,
            self._known,
        )
        if self._scores.shape[1] != labels:
            self._scores, self._mixed = np.empty((1, labels)), np.empty((1, labels))
            self._on = np.empty((1, labels), dtype=np.bool_)
        linear = [name for name in block.linear if work(name)]
        at, active = block._logits, block._active
        active[:] = block._on
        scaled = self._scale(model, batch)
        if growing:
            segment = self._segment(model, batch, scaled, linear)
            grove.serving[0].grow(segment, columns, nursery=True)
        self._ask(model, batch, scaled, linear)
        if growing:
            grove.serving[0].correct(segment, nursery=True)
            active[PATH] &= segment.correcting
        else:
            active[FOREST] = active[PATH] = False
        mix_rows(
            at,
            active,
            self._y_indptr,
            self._y_indices,
            self._labelled,
            self._known,
            0,
            block._stacking,
            block.mixture,
            block._out,
        )
        out, decision = block._out[:1], model.decision
        if decide and not decision.calibrated:
            self._mixed[0] = out[0, 1 : 1 + labels]
        if block._calibrated:
            calibrate_rows(
                self._y_indptr,
                self._y_indices,
                self._labelled,
                self._known,
                0,
                block.calibration,
                out,
            )
        write_rows(out, self._known, 0, labels, self._scores)
        on = None
        if decide:
            self._on[:] = False
            decision.run(self._scores if decision.calibrated else self._mixed, batch, self._on)
            on = self._on[0]
        return Told(self._scores[0], on, float(out[0, 0]))

    def _scale(self, model: Model, batch: Batch) -> Rows:
        """See `Scaler.transform`."""
        state = model.scaler.state
        room = len(batch.indices) + int(state.progress[1])
        if room > len(self._scaled):
            self._scaled_indices = np.empty(2 * room, dtype=np.int32)
            self._scaled = np.empty(2 * room)
            self._narrow = np.empty(2 * room, dtype=np.float32)
            self._raw = np.empty(2 * room, dtype=np.float32)
        indptr = self._scaled_indptr
        scale_rows(
            batch.indptr,
            batch.indices,
            batch.values,
            batch.labelled,
            state,
            indptr,
            self._scaled_indices,
            self._scaled,
        )
        used = int(indptr[1])
        values = self._narrow[:used]
        values[:] = self._scaled[:used]
        return Rows(indptr, self._scaled_indices[:used], values)

    def _segment(self, model: Model, batch: Batch, scaled: Rows, linear: Sequence[str]) -> Segment:
        """What the trees of all labels are shown."""
        base, outer = model.outer_arrays(1, batch.n_labels, linear, growing=True)
        correcting = model.correcting
        return Segment(batch, scaled, scaled, None, linear, True, correcting, True, base, outer)

    def _ask(self, model: Model, batch: Batch, scaled: Rows, linear: Sequence[str]) -> None:
        """Let all experts but the trees write their logits; see `LabelBlock`."""
        block = model.blocks[0]
        at, active = block._logits, block._active
        ids, position_of = block.ids(batch.n_labels)
        y = (self._y_indptr, self._y_indices, self._labelled)
        for number, (name, (kind, _, _)) in enumerate(LINEAR.items()):
            active[number] &= name in linear
            if name in linear:
                rows = scaled
                if kind == "raw":
                    raw = self._raw[: len(batch.values)]
                    cut_values(batch.values, RAW_LIMIT, raw)
                    rows = Rows(batch.indptr, batch.indices, raw)
                expert = block.linear[name]
                expert.run(rows, batch, ids, position_of, at[number, :1])
        if block.ridge is not None and model.at_work("ridge"):
            ridge = block.ridge
            gain_steps(
                *scaled,
                *self._no_gains,
                *y,
                self._known,
                ids,
                position_of,
                ridge.reserve,
                ridge.state,
                ridge.reach,
                at[RIDGE, :1],
            )
        else:
            active[RIDGE] = False
        trivial_rows(*y, 0, block.trivial, at[PRIORS, :1], at[PERSISTENCE, :1])
        dense = model.dense
        if dense is None or not model.at_work("net"):
            active[NET] = False
        elif block.net is not None:
            block.net.run(dense.transform(batch), batch, at[NET, :1])
        neighbours = model.neighbours
        if neighbours is None or not model.at_work("neighbours"):
            active[NEIGHBOURS] = False
        else:
            state, found = neighbours.state, self._found
            search_rows(*scaled, *y, self._known, state, *found)
            votes = at[NEIGHBOURS, :1]
            neighbour_votes(state.y_indptr, state.y_labels, *found, 0, at[PRIORS, :1], votes)
