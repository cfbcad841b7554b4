"""A block of labels: its experts, their mixture, and one probability for each label.

In: a segment of events with everything about it that no label has a part in, and what the
clusters' trees say. Out: probabilities. Labels are cut into blocks by number, 256 to a block, so
that blocks are independent of each other and of the partition: threads share them out, and a
label never moves.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ihomer.instances import BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.learners.arrays import begin_like, grown, nbytes
from ihomer.learners.experts.linear import LinearExpert, padded
from ihomer.learners.experts.network import NetworkExpert
from ihomer.learners.experts.ridge import RidgeExpert
from ihomer.learners.kernels.calibration import calibrate_rows, empty_calibration
from ihomer.learners.kernels.mixture import empty_mixture, mix_rows
from ihomer.learners.kernels.rows import write_rows
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
RIDGE, NEIGHBOURS, NET, FOREST, PATH, PRIORS, PERSISTENCE = range(len(LINEAR), len(EXPERTS))


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
        self._all_on = bool(self._on.all())
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

    def __getstate__(self) -> dict[str, Any]:
        # Where a segment's logits stand is of no use after it.
        scratch = {"_logits": self._logits[:, :0].copy(), "_out": self._out[:0].copy()}
        return {**self.__dict__, **scratch}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_scratch(self._out.shape[1])

    def _make_arrays(self, width: int) -> None:
        self._make_scratch(width)
        self.mixture = grown(self.mixture, empty_mixture(len(EXPERTS), width))
        self.trivial = grown(self.trivial, empty_trivial(width))

    def _make_scratch(self, width: int) -> None:
        self._logits = np.zeros((len(EXPERTS), STRIDE, width), dtype=np.float32)
        self._out = np.zeros((STRIDE, width), dtype=np.float32)

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the arrays."""
        linear = sum(expert.memory_bytes for expert in self.linear.values())
        linear += sum(part.memory_bytes for part in (self.ridge, self.net) if part is not None)
        own = nbytes(self.mixture) + nbytes(self.trivial) + nbytes(self.calibration)
        return linear + own + self._logits.nbytes + self._out.nbytes

    @property
    def active(self) -> BoolArray:
        """Which experts spoke in the latest segment, in the order of `EXPERTS`."""
        return self._active

    @property
    def switched_on(self) -> BoolArray:
        """Which experts there are, in the order of `EXPERTS`."""
        return self._on

    @property
    def logits_of_all(self) -> Float32Array:
        """Where all experts' logits of a segment stand: (experts, `STRIDE`, positions)."""
        return self._logits

    @property
    def calibrated(self) -> bool:
        """Whether probabilities are corrected by how often such ones came true."""
        return self._calibrated

    @property
    def stacking(self) -> bool:
        """Whether the mixture is corrected by a stacked regression."""
        return self._stacking

    @property
    def losses(self) -> FloatArray:
        """Fading log-loss of each expert, summed over the labels; infinite for one that is off."""
        found: FloatArray = np.add.reduce(
            self.mixture.losses[:, : 1 + self.count], axis=1, dtype=np.float64
        )
        if not self._all_on:
            found[~self._on] = np.inf
        return found

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

    def begin(self, segment: Segment) -> None:
        """Run what asks for nothing but rows: the first-order linear experts."""
        batch = segment.batch
        active = self._active
        active[:] = self._on
        for number, (name, expert) in enumerate(self.linear.items()):
            active[number] = name in segment.linear
            if name in segment.linear:
                rows = getattr(segment, LINEAR[name][0])
                labels, position_of = self.ids(batch.n_labels)
                out = self.logits(number, len(batch))
                expert.run(rows, batch, labels, position_of, out)

    def step(self, segment: Segment) -> None:
        """Run the second-order linear expert, after `begin`, with ``segment.gains``.

        What `base` says goes into ``segment.base``.
        """
        batch = segment.batch
        base = self.base(segment.linear, len(batch), second_order=segment.gains is not None)
        if self.ridge is not None and segment.gains is not None:
            labels, position_of = self.ids(batch.n_labels)
            out = self.logits(RIDGE, len(batch))
            self.ridge.run(segment.scaled, segment.gains, batch, labels, position_of, out)
        else:
            self._active[RIDGE] = False
        if base is None or segment.alone or not segment.growing:
            return
        segment.base[:, 1 + self.first : 1 + self.first + self.count] = base[:, 1 : 1 + self.count]
        if self.first == 0:
            segment.base[:, 0] = base[:, 0]

    def ask(self, segment: Segment) -> None:
        """Run the trivial experts and the network, and ask the neighbours, after `begin`."""
        batch = segment.batch
        at = self._logits[:, : len(batch)]
        trivial_rows(
            batch.y_indptr,
            batch.y_indices,
            batch.labelled,
            self.first,
            self.trivial,
            at[PRIORS],
            at[PERSISTENCE],
        )
        if segment.dense is None:
            self._active[NET] = False
        elif self.net is not None:
            self.net.run(segment.dense, batch, at[NET])
        if segment.neighbours is None or segment.found is None:
            self._active[NEIGHBOURS] = False
        else:
            segment.neighbours.vote(segment.found, self.first, at[PRIORS], at[NEIGHBOURS])

    def logits(self, expert: int | slice, n: int) -> Float32Array:
        """Where an expert's logits of `n` events stand, or some experts': (..., n, positions)."""
        return self._logits[expert, :n]

    def base(self, linear: Sequence[str], n: int, *, second_order: bool) -> Float32Array | None:
        """Where the logits stand that path regressions correct; None: no linear expert works.

        They are the second-order expert's; while it rests, the last of `linear`.
        """
        if second_order:
            return self.logits(RIDGE, n)
        return self.logits(EXPERTS.index(linear[-1]), n) if linear else None

    def ids(self, labels: int) -> tuple[IntArray, IntArray]:
        """The block's label ids, and the position in the block of each of `labels` ids, or -1."""
        if len(self._position_of) != labels or len(self._ids) != self.count:
            self._ids = np.arange(self.first, self.first + self.count, dtype=np.int32)
            self._position_of = np.full(labels, -1, dtype=np.int32)
            self._position_of[self._ids] = np.arange(1, 1 + self.count)
        return self._ids, self._position_of

    def finish(
        self, segment: Segment, mixed: FloatArray, scores: FloatArray, reserve: FloatArray
    ) -> None:
        """Mix all experts, after `begin`, `step`, `ask` and the clusters.

        Parameters
        ----------
        segment
            Of n events.
        mixed, scores
            float64 (n, labels): probabilities are written for this block's labels: the mixture's,
            and calibrated ones, these with NaN where a label was not known at the event.
        reserve
            float64 (n,): the probability of a label that has never been on; written by block 0.
        """
        batch = segment.batch
        n = len(batch)
        at = self._logits[:, :n]
        active = self._active
        if not segment.growing:
            active[FOREST] = active[PATH] = False
        elif not segment.correcting:
            active[PATH] = False
        if segment.growing and not segment.alone:
            for expert, outer in zip((FOREST, PATH), segment.outer, strict=True):
                if active[expert]:
                    at[expert, :, 0] = outer[:, 0]
                    own = outer[:, 1 + self.first : 1 + self.first + self.count]
                    at[expert, :, 1 : 1 + self.count] = own
        # Of the other blocks' labels nobody lives in this one's padding.
        known = np.minimum(batch.known, self.first + WIDTH)
        mix_rows(
            self._logits,
            active,
            batch.y_indptr,
            batch.y_indices,
            batch.labelled,
            known,
            self.first,
            self._stacking,
            self.mixture,
            self._out,
        )
        out = self._out[:n]
        mixed[:, self.first : self.first + self.count] = out[:, 1 : 1 + self.count]
        if self._calibrated:
            calibrate_rows(
                batch.y_indptr,
                batch.y_indices,
                batch.labelled,
                known,
                self.first,
                self.calibration,
                out,
            )
        write_rows(out, batch.known, self.first, self.count, scores)
        if self.first == 0:
            reserve[:] = out[:, 0]

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

    def forget_columns(self, columns: OffsetArray) -> None:
        """Let feature columns stand for features that were never seen."""
        for expert in self.linear.values():
            expert.forget_columns(columns[columns < expert.columns].astype(np.int32))
        if self.ridge is not None:
            weights = self.ridge.state.weights
            weights[columns[columns < len(weights)]] = 0.0

    def fold(self, columns: int) -> None:
        """Let features share `columns` columns, so that a growing number of labels has room."""
        for expert in self.linear.values():
            expert.fold(columns)
        if self.ridge is not None:
            self.ridge.fold(columns)
