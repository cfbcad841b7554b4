"""A block of labels: its experts, their mixture, and one probability for each label.

In: a segment of events with everything about it that no label has a part in, and what the
clusters' trees say. Out: probabilities. Labels are cut into blocks by number, 256 to a block, so
that blocks are independent of each other and of the partition: threads share them out, and a
label never moves.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ihomer.instances import Batch, BoolArray, FloatArray, IntArray
from ihomer.learners.arrays import begin_like, grown, nbytes
from ihomer.learners.experts.linear import LinearExpert, padded
from ihomer.learners.experts.network import NetworkExpert
from ihomer.learners.experts.ridge import RidgeExpert
from ihomer.learners.kernels.calibration import calibrate_rows, empty_calibration
from ihomer.learners.kernels.linear import Float32Array
from ihomer.learners.kernels.mixture import empty_mixture, mix_rows
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.kernels.trivial import empty_trivial, trivial_rows
from ihomer.learners.segment import OUTER, Segment

WIDTH = 256  # labels in a block

# Linear experts: the rows they read, AdaGrad's step, what its sums keep at each event.
LINEAR = {
    "raw": ("raw", 0.3, 1.0),
}
CELL_BYTES = 12  # of a column and label in the linear experts
EXPERTS = (*LINEAR, "ridge", "neighbours", "net", *OUTER, "priors", "persistence")


class LabelBlock:
    """The labels ``256 * number`` and on.

    Parameters
    ----------
    number
        Of the block.
    seed
        Of the network's first weights.
    without
        Experts that are switched off, ``"stacking"`` and ``"calibration"``.
    """

    def __init__(self, number: int, seed: int = 0, without: Collection[str] = ()) -> None:
        self.first = number * WIDTH
        self.count = 0
        self._on: BoolArray = np.array([name not in without for name in EXPERTS])
        self._active = self._on.copy()
        self._stacking = "stacking" not in without
        self._calibrated = "calibration" not in without
        self.calibration = empty_calibration()
        self._ids = self._position_of = np.zeros(0, dtype=np.int32)
        self.linear = {
            name: LinearExpert(step, decay, reserve=True)
            for name, (_, step, decay) in LINEAR.items()
            if name not in without
        }
        self.ridge = None if "ridge" in without else RidgeExpert(reserve=True)
        self.net = None if "net" in without else NetworkExpert(self.first, WIDTH, seed)
        self.mixture, self.trivial = empty_mixture(len(EXPERTS), 1), empty_trivial(1)
        self._make_arrays(padded(1))

    def _make_arrays(self, width: int) -> None:
        self._logits = np.zeros((len(EXPERTS), STRIDE, width), dtype=np.float32)
        self._out = np.zeros((STRIDE, width), dtype=np.float32)
        self.mixture = grown(self.mixture, empty_mixture(len(EXPERTS), width))
        self.trivial = grown(self.trivial, empty_trivial(width))

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the arrays."""
        linear = sum(expert.memory_bytes for expert in self.linear.values())
        linear += sum(part.memory_bytes for part in (self.ridge, self.net) if part is not None)
        own = nbytes(self.mixture) + nbytes(self.trivial) + nbytes(self.calibration)
        return linear + own + self._logits.nbytes + self._out.nbytes

    @property
    def losses(self) -> FloatArray:
        """Fading log-loss of each expert, summed over the labels; infinite for one that is off."""
        found = self.mixture.losses[:, : 1 + self.count].sum(axis=1, dtype=np.float64)
        return np.where(self._on, found, np.inf)

    @property
    def priors(self) -> FloatArray:
        """How often each of the block's labels is on, float64 (count,)."""
        state = self.trivial
        found: FloatArray = (state.on[1 : 1 + self.count] + 0.5) / (state.events[0] + 1.0)
        return found

    def width(self, labels: int) -> int:
        """Positions that the linear experts may come to hold for this block, of `labels`."""
        count = min(WIDTH, max(0, labels - self.first))
        return padded(min(1 + WIDTH, 1 + count + count // 2))

    def make_room(self, columns: int, most: int, slots: int, labels: int) -> None:
        """Grow to so many columns, at most `most`, dense slots, and to this part of the labels."""
        self.count = min(WIDTH, max(0, labels - self.first))
        width = 1 + self.count
        if width > self._out.shape[1]:
            # Whole vectors: the kernels' loops over labels then have no remainder.
            self._make_arrays(padded(min(1 + WIDTH, width + width // 2)))
        for expert in self.linear.values():
            expert.make_room(columns, self.count, most)
        if self.ridge is not None:
            self.ridge.make_room(columns, self.count, most)
        if self.net is not None:
            self.net.make_room(slots, self.count)

    def begin(self, segment: Segment, linear: Collection[str]) -> None:
        """Run the linear experts over a segment, those named by `linear` and `ridge`.

        The second-order one's logits go into ``segment.base``, too, before the clusters run;
        while it rests, the first one's.
        """
        batch = segment.batch
        labels, position_of = self._labels(batch.n_labels)
        at = dict(zip(EXPERTS, self._logits[:, : len(batch)], strict=True))
        self._active[:] = self._on
        base = None
        for name, expert in self.linear.items():
            self._active[EXPERTS.index(name)] = name in linear
            if name in linear:
                rows = getattr(segment, LINEAR[name][0])
                expert.run(rows, batch, labels, position_of, at[name])
                base = at[name]
        self._active[EXPERTS.index("ridge")] &= segment.gains is not None
        self._active[EXPERTS.index("forest")] &= segment.growing
        self._active[EXPERTS.index("path")] &= segment.growing and segment.correcting
        if self.ridge is not None and segment.gains is not None:
            self.ridge.run(segment.scaled, segment.gains, batch, labels, position_of, at["ridge"])
            base = at["ridge"]
        if base is None:
            return
        segment.base[:, 1 + self.first : 1 + self.first + self.count] = base[:, 1 : 1 + self.count]
        if self.first == 0:
            segment.base[:, 0] = base[:, 0]

    def _labels(self, labels: int) -> tuple[IntArray, IntArray]:
        """The block's label ids, and the position in the block of each of `labels` ids, or -1."""
        if len(self._position_of) != labels or len(self._ids) != self.count:
            self._ids = np.arange(self.first, self.first + self.count, dtype=np.int32)
            self._position_of = np.full(labels, -1, dtype=np.int32)
            self._position_of[self._ids] = np.arange(1, 1 + self.count)
        return self._ids, self._position_of

    def finish(
        self, segment: Segment, mixed: FloatArray, scores: FloatArray, reserve: FloatArray
    ) -> None:
        """Run the other experts, after `begin` and the clusters, and mix them all.

        Parameters
        ----------
        segment
            Of n events.
        mixed, scores
            float64 (n, labels): probabilities are written for this block's labels, NaN where they
            were not known at the event: the mixture's, and calibrated ones.
        reserve
            float64 (n,): the probability of a label that has never been on; written by block 0.
        """
        batch = segment.batch
        n = len(batch)
        at = dict(zip(EXPERTS, self._logits[:, :n], strict=True))
        active = self._active
        active[EXPERTS.index("neighbours")] &= segment.found is not None
        active[EXPERTS.index("net")] &= segment.dense is not None
        if self.net is not None and segment.dense is not None:
            self.net.run(segment.dense, batch, at["net"])
        for name, outer in zip(OUTER, segment.outer, strict=True):
            if active[EXPERTS.index(name)]:
                at[name][:, 0] = outer[:n, 0]
                at[name][:, 1 : 1 + self.count] = outer[:n, 1 + self.first :][:, : self.count]
        trivial_rows(
            batch.y_indptr,
            batch.y_indices,
            batch.labelled,
            self.first,
            self.trivial,
            at["priors"],
            at["persistence"],
        )
        if segment.neighbours is not None and segment.found is not None:
            segment.neighbours.vote(segment.found, self.first, at["priors"], at["neighbours"])
        mix_rows(
            self._logits,
            active,
            batch.y_indptr,
            batch.y_indices,
            batch.labelled,
            batch.known,
            self.first,
            self._stacking,
            self.mixture,
            self._out,
        )
        out = self._out[:n]
        self._write(out, batch, mixed)
        if self._calibrated:
            calibrate_rows(
                batch.y_indptr,
                batch.y_indices,
                batch.labelled,
                batch.known,
                self.first,
                self.calibration,
                out,
            )
        self._write(out, batch, scores)
        if self.first == 0:
            reserve[:] = out[:, 0]

    def _write(self, out: Float32Array, batch: Batch, scores: FloatArray) -> None:
        part = scores[:, self.first : self.first + self.count]
        part[...] = out[:, 1 : 1 + self.count]
        if batch.known[0] < self.first + self.count:
            part[batch.known[:-1, None] <= self._labels(batch.n_labels)[0]] = np.nan

    def begin_like(self, other: LabelBlock) -> None:
        """Know what `other` knows of labels that were never on."""
        reserve = np.zeros(1, dtype=np.int32)
        for name, expert in self.linear.items():
            expert.make_room(other.linear[name].columns, 0)
            expert.put(reserve, other.linear[name].take(reserve))
        if self.ridge is not None and other.ridge is not None:
            self.ridge.make_room(len(other.ridge.state.weights), 0)
            begin_like(self.ridge.state, other.ridge.state)
        if self.net is not None and other.net is not None:
            self.net.make_room(len(other.net.state.owner), 0)
            begin_like(self.net.state, other.net.state)
        begin_like(self.mixture, other.mixture)
        begin_like(self.trivial, other.trivial)
        begin_like(self.calibration, other.calibration)

    def fold(self, columns: int) -> None:
        """Let features share `columns` columns, so that a growing number of labels has room."""
        for expert in self.linear.values():
            expert.fold(columns)
        if self.ridge is not None:
            self.ridge.fold(columns)
