"""From probabilities to label sets, by the measure that is to be best.

In: probabilities and, as they come, true label sets. Out: predicted label sets. One decision
serves all clusters, because whether a whole set is right depends on all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, get_args

import numpy as np

from ihomer.errors import UsageError
from ihomer.instances import Batch, BoolArray, FloatArray, IntArray, Labelled
from ihomer.learners.arrays import grown, nbytes
from ihomer.learners.kernels.clustered import LEAST_LEAD
from ihomer.learners.kernels.joint import (
    ALPHA,
    ALPHA_SQUARE,
    CANDIDATES,
    HITS,
    NUMBERS,
    SHARE,
    TRIES,
    WEIGHT,
    JointState,
    joint_rows,
)
from ihomer.learners.kernels.parts import LEAD
from ihomer.learners.kernels.parts import NUMBERS as PART_NUMBERS
from ihomer.learners.kernels.rows import enter_hashes
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.kernels.thresholds import (
    HALF,
    MACRO,
    MICRO,
    ThresholdState,
    empty_thresholds,
    threshold_rows,
)
from ihomer.learners.parts import PartDecision
from ihomer.prepared import Step

Objective = Literal["subset", "hamming", "micro-f1", "macro-f1"]
OBJECTIVES: tuple[str, ...] = get_args(Objective)

MAX_SETS = 4096  # label sets remembered; past it the rarer half is forgotten
MAX_ARENA = 1 << 18  # labels in them
OWN = 2  # decisions by cluster, beside those by whole sets
RACE = 64  # strides after which parts by other clusters serve unless they are worse


class Decision(Protocol):
    """Decides label sets, and learns from the true ones.

    Attributes
    ----------
    calibrated
        Whether it asks for calibrated probabilities, those that are given out, or for the
        mixture's own.
    """

    calibrated: bool

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the arrays."""
        ...

    def held(self, *, learning: bool) -> tuple[object, ...]:
        """What `steps` follow from, beside their arguments; see `PreparedCalls.chain`."""
        ...

    def run(self, scores: FloatArray, batch: Batch, on: BoolArray) -> None:
        """Decide, then learn the labelled events.

        Parameters
        ----------
        scores
            float64 (n, L), probabilities.
        batch
            The same n events; its labelled ones may reach, but not cross, a multiple of `STRIDE`.
        on
            bool (n, L), all False: the decisions are written here.
        """
        ...

    def make_room(self, events: int, entries: int, labels: int, *, learning: bool) -> None:
        """Make room for so many events that have so many labels on, of so many labels."""
        ...

    def steps(
        self,
        scores: FloatArray,
        y: Labelled,
        on: BoolArray,
        own: Sequence[BoolArray],
        *,
        learning: bool,
    ) -> list[Step]:
        """The calls of `run`, after `make_room`.

        Parameters
        ----------
        scores, on
            As of `run`.
        y
            See `Batch.y`.
        own
            `OWN` times bool (n, L), all False: room.
        learning
            Whether events are labelled.
        """
        ...

    def adapt(self) -> None:
        """Tidy up; called when the number of learned events is a multiple of `STRIDE`."""
        ...

    def regroup(self, places: IntArray, *, at_once: bool = False) -> None:
        """Take other clusters; called when the number of learned events is a multiple of `STRIDE`.

        Parameters
        ----------
        places
            int32 (L,): each label's cluster from 0, below zero = in none.
        at_once
            Whether decisions by the present clusters end now.
        """
        ...

    def forget_labels(self, labels: IntArray) -> None:
        """Let ids, ascending, stand for labels that have never been on."""
        ...


def make_decision(objective: str, *, joint: bool = True) -> Decision:
    """The decision for a measure.

    Parameters
    ----------
    objective
        ``"subset"``: whole sets, jointly; ``"hamming"``: labels above one half; ``"micro-f1"``,
        ``"macro-f1"``: labels above half the F1 reached, of all or of each.
    joint
        False: ``"subset"``, too, takes the labels above one half.

    Raises
    ------
    UsageError
        There is no such objective.
    """
    if objective not in OBJECTIVES:
        accepted = ", ".join(map(repr, OBJECTIVES))
        raise UsageError(f"objective: found {objective!r}, accepted: {accepted}")
    if objective == "subset" and joint:
        return JointDecision()
    kinds = {"subset": HALF, "hamming": HALF, "micro-f1": MICRO, "macro-f1": MACRO}
    return ThresholdDecision(kinds[objective])


class ThresholdDecision:
    """Label by label; see `threshold_rows`."""

    def __init__(self, kind: int) -> None:
        # A threshold of one half is meant for the probabilities that a user sees; those that are
        # learned suit any scale, and the mixture's tells more scores apart.
        self.calibrated = kind == HALF
        self.kind = kind
        self.state: ThresholdState = empty_thresholds(1)

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the arrays."""
        return nbytes(self.state)

    def held(self, *, learning: bool) -> tuple[object, ...]:
        """See `Decision.held`."""
        del learning  # is told to the kernel
        return (self.state,)

    def run(self, scores: FloatArray, batch: Batch, on: BoolArray) -> None:
        """See `Decision.run`."""
        _run(self, scores, batch, on)

    def make_room(self, events: int, entries: int, labels: int, *, learning: bool) -> None:
        """See `Decision.make_room`."""
        del events, entries, learning  # only labels are counted
        labels = max(1, labels)
        if len(self.state.both) < labels:
            self.state = grown(self.state, empty_thresholds(labels + labels // 2))

    def steps(
        self,
        scores: FloatArray,
        y: Labelled,
        on: BoolArray,
        own: Sequence[BoolArray],
        *,
        learning: bool,
    ) -> list[Step]:
        """See `Decision.steps`."""
        del own, learning  # nothing competes
        return [("thresholds", threshold_rows, scores, *y, self.kind, self.state, on)]

    def adapt(self) -> None:
        """See `Decision.adapt`; there is nothing to do."""

    def regroup(self, places: IntArray, *, at_once: bool = False) -> None:
        """See `Decision.regroup`; labels are decided one by one."""

    def forget_labels(self, labels: IntArray) -> None:
        """See `Decision.forget_labels`; only `MACRO` counts by label."""
        if self.kind == MACRO:
            known = labels[labels < len(self.state.both)]
            for array, begun in zip(self.state, empty_thresholds(1), strict=True):
                array[known] = begun[0]


class JointDecision:
    """Whole label sets, or the parts of them in each cluster; see `joint_rows`, `PartDecision`."""

    calibrated = False  # the mixture's own are surer where label sets differ

    def __init__(self) -> None:
        self.state = _empty(4 * STRIDE, 16 * STRIDE, 1)
        self.state.numbers[WEIGHT] = 1.0
        self.state.numbers[SHARE] = 0.5
        self.state.numbers[ALPHA] = 0.7
        self.state.numbers[ALPHA_SQUARE] = 1.0
        # As if a tenth of ten sets had been right: hope first.
        self.state.numbers[HITS] = 1.0
        self.state.numbers[TRIES] = 10.0
        self.parts = PartDecision()
        # By other clusters, until it is better than what serves; its lead; its strides so far.
        self._next: PartDecision | None = None
        self._race = np.zeros(PART_NUMBERS)
        self._strides = 0

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the arrays."""
        coming = 0 if self._next is None else self._next.memory_bytes
        return nbytes(self.state) + self.parts.memory_bytes + coming

    def held(self, *, learning: bool) -> tuple[object, ...]:
        """See `Decision.held`."""
        return self.state, *[parts.state for parts, _ in self._competing(learning=learning)]

    def _competing(self, *, learning: bool) -> list[tuple[PartDecision, FloatArray]]:
        """The parts that are served or compared, with the numbers that have their lead."""
        found = []
        if self.parts.works and (learning or self.parts.serves):
            found.append((self.parts, self.parts.state.numbers))
        coming = self._next
        if coming is not None and coming.works and (learning or self._race[LEAD] > LEAST_LEAD):
            found.append((coming, self._race))
        return found

    def run(self, scores: FloatArray, batch: Batch, on: BoolArray) -> None:
        """See `Decision.run`."""
        _run(self, scores, batch, on)

    def make_room(self, events: int, entries: int, labels: int, *, learning: bool) -> None:
        """See `Decision.make_room`."""
        self._make_room(events, entries, labels)
        for parts, _ in self._competing(learning=learning):
            parts.make_room(entries, labels)

    def steps(
        self,
        scores: FloatArray,
        y: Labelled,
        on: BoolArray,
        own: Sequence[BoolArray],
        *,
        learning: bool,
    ) -> list[Step]:
        """See `Decision.steps`; parts that are neither served nor compared are not asked."""
        steps: list[Step] = [("joint", joint_rows, scores, *y, self.state, on)]
        competing = self._competing(learning=learning)
        for (parts, numbers), room in zip(competing, own, strict=False):
            of = "" if parts is self.parts else "coming "
            for name, *call in parts.steps(scores, y, numbers, room, on):
                steps.append((of + name, *call))
        return steps

    def regroup(self, places: IntArray, *, at_once: bool = False) -> None:
        """See `Decision.regroup`; parts that serve do so until others are better."""
        self._race[LEAD] = self._strides = 0
        if self.parts.serves and not at_once:
            self._next = self.parts.heir(places, self.state)
        else:
            self._next = None
            self.parts.regroup(places, self.state)

    def adapt(self) -> None:
        """See `Decision.adapt`: forget the rarer half of the label sets when there are too many."""
        self.parts.adapt(self.state)
        if self._next is not None:
            self._next.adapt(self.state)
            self._strides += 1
            lead = self._race[LEAD]
            if lead > LEAST_LEAD or self._strides == RACE:
                if lead > -LEAST_LEAD:  # no worse
                    self._next.state.numbers[LEAD] = self.parts.state.numbers[LEAD]
                    self.parts = self._next
                self._next = None
        state = self.state
        sets, used = int(state.sizes[0]), int(state.sizes[1])
        if sets + STRIDE > MAX_SETS or used > MAX_ARENA:
            # Stable, so that among equally frequent sets the older stay.
            self._rebuild(np.sort(np.argsort(-state.counts[:sets], kind="stable")[: sets // 2]))

    def forget_labels(self, labels: IntArray) -> None:
        """See `Decision.forget_labels`: sets with such a label are forgotten."""
        state = self.state
        state.on[labels[labels < len(state.on)]] = 0.0
        n = int(state.sizes[0])
        gone = np.isin(state.arena, labels)
        if gone.any():
            before = np.concatenate([[0], np.cumsum(gone)])
            starts = state.start[:n]
            held = before[starts + state.size[:n]] - before[starts]
            self._rebuild(np.flatnonzero(held == 0))

    def _make_room(self, sets: int, entries: int, labels: int) -> None:
        state = self.state
        held, used, _, _ = state.sizes.tolist()
        sets, entries = sets + held, entries + used
        if len(state.on) < labels:
            wider = np.zeros(labels + labels // 2)
            wider[: len(state.on)] = state.on
            self.state = state = state._replace(on=wider)
        if sets > len(state.hashes) or entries > len(state.arena):
            self._rebuild(np.arange(state.sizes[0]), 2 * sets, 2 * entries)

    def _rebuild(
        self, kept: np.ndarray[tuple[int], np.dtype[np.int64]], sets: int = 0, entries: int = 0
    ) -> None:
        """Lay out the sets `kept` anew, in arrays of at least the present size."""
        old = self.state
        new = _empty(max(sets, len(old.hashes)), max(entries, len(old.arena)), len(old.on))
        n = len(kept)
        for name in ("hashes", "size", "counts", "recent", "stamp"):
            getattr(new, name)[:n] = getattr(old, name)[kept]
        ends = np.cumsum(old.size[kept], dtype=np.int64)
        new.start[:n] = ends - old.size[kept]
        used = int(ends[-1]) if n else 0
        # Of each label in the arena: where its set was, and its place in the set.
        shift = np.repeat(old.start[kept] - new.start[:n], old.size[kept])
        new.arena[:used] = old.arena[np.arange(used) + shift]
        number_of = np.full(int(old.sizes[0]), -1, dtype=np.int32)
        number_of[kept] = np.arange(n)
        top = number_of[old.top[: old.sizes[2]]]
        top = top[top >= 0]
        new.top[: len(top)] = top
        new.rank[top] = np.arange(len(top))
        new.sizes[:] = n, used, len(top), old.sizes[3]
        new.on[:] = old.on
        new.numbers[:] = old.numbers
        enter_hashes(new.hashes, n, new.slots)
        self.state = new


def _run(decision: Decision, scores: FloatArray, batch: Batch, on: BoolArray) -> None:
    """See `Decision.run`."""
    learning = bool(batch.labelled.any())
    decision.make_room(len(batch), len(batch.y_indices), batch.n_labels, learning=learning)
    own = [np.zeros_like(on) for _ in range(OWN)]
    for _, kernel, *arguments in decision.steps(scores, batch.y, on, own, learning=learning):
        kernel(*arguments)


def _empty(sets: int, entries: int, labels: int) -> JointState:
    slots = 1 << (2 * sets - 1).bit_length()
    return JointState(
        np.zeros(sets, dtype=np.uint64),
        np.zeros(sets, dtype=np.int64),
        np.zeros(sets, dtype=np.int32),
        np.zeros(sets),
        np.zeros(sets),
        np.zeros(sets, dtype=np.int64),
        np.zeros(CANDIDATES, dtype=np.int32),
        np.full(sets, -1, dtype=np.int32),
        np.full(slots, -1, dtype=np.int32),
        np.zeros(entries, dtype=np.int32),
        np.zeros(labels),
        np.zeros(4, dtype=np.int64),
        np.zeros(NUMBERS),
    )
