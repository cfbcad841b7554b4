"""The decision by cluster, beside the one over whole label sets.

In: probabilities, decisions over whole label sets and, as they come, true ones. Out: the better of
the two decisions. It is here so that a partition pays where whole label sets hardly ever repeat,
and costs nothing where they do.
"""

from __future__ import annotations

import numpy as np

from ihomer.instances import BoolArray, FloatArray, IntArray, Labelled
from ihomer.learners.arrays import nbytes
from ihomer.learners.kernels.clustered import LEAST_LEAD, choose_rows, cluster_rows
from ihomer.learners.kernels.joint import WEIGHT as SET_WEIGHT
from ihomer.learners.kernels.joint import JointState
from ihomer.learners.kernels.parts import (
    ACTIVE,
    ALONE,
    BY_ACTIVE_SQUARE,
    BY_SIZE_SQUARE,
    EVENTS,
    LEAD,
    NUMBERS,
    PARTS,
    SHARE,
    SIZES,
    TRUST,
    TRUST_SQUARE,
    WEIGHT,
    PartState,
    count_sets,
    measure_bonds,
)
from ihomer.learners.kernels.rows import enter_hashes
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.prepared import Step

MAX_PARTS = 1 << 14  # from so many on the rare ones are forgotten
REST = 8  # a decision that does not serve works in every eighth stride
TRIAL = 8  # but in the first ones with a partition
FEWEST = 2  # clusters; below that whole sets are all there is


class PartDecision:
    """Decides cluster by cluster; see `cluster_rows`.

    It counts the parts that label sets have in the clusters. A new partition starts with the
    label sets remembered, cut anew. Memory: below 100 bytes for each part, at most `MAX_PARTS` or
    twice what the label sets remembered have, whichever is more, and a stride's; 132 for each
    cluster.

    Attributes
    ----------
    state
        See `PartState`.
    """

    def __init__(self) -> None:
        numbers = np.zeros(NUMBERS)
        numbers[WEIGHT] = 1.0
        numbers[SHARE] = numbers[TRUST] = 0.5
        numbers[TRUST_SQUARE] = 1.0
        numbers[BY_SIZE_SQUARE : BY_SIZE_SQUARE + SIZES] = 1.0
        numbers[BY_ACTIVE_SQUARE : BY_ACTIVE_SQUARE + ACTIVE] = 1.0
        self.state = _empty(1, np.zeros(0, dtype=np.int32), 0, numbers)
        self._most = MAX_PARTS
        self._strides = 0
        self._works = False

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the arrays."""
        return nbytes(self.state)

    @property
    def works(self) -> bool:
        """Whether it decides at all."""
        return self._works

    def steps(
        self, scores: FloatArray, y: Labelled, numbers: FloatArray, parts: BoolArray, on: BoolArray
    ) -> list[Step]:
        """Calls that replace decisions where its own are better, then learn the labelled events.

        Parameters
        ----------
        scores, y
            See `Decision.steps`.
        numbers
            Whose `LEAD` is that over the decisions `on`.
        parts
            bool (n, L), all False: room for its own decisions.
        on
            bool (n, L): the decisions over whole label sets; changed.
        """
        return [
            ("clusters", cluster_rows, scores, *y, self.state, parts),
            ("choose", choose_rows, *y[:3], parts, numbers, on),
        ]

    @property
    def serves(self) -> bool:
        """Whether its decisions are those served."""
        return self._works and bool(self.state.numbers[LEAD] > LEAST_LEAD)

    def heir(self, places: IntArray, sets: JointState) -> PartDecision:
        """One for other clusters that knows what this one has learned; see `regroup`."""
        new = PartDecision()
        new.state.numbers[:] = self.state.numbers
        new.regroup(places, sets)
        return new

    def regroup(self, places: IntArray, sets: JointState) -> None:
        """Take other clusters.

        Parameters
        ----------
        places
            int32 (L,): each label's cluster from 0, below zero = in none.
        sets
            The label sets remembered.
        """
        clusters = int(places.max(initial=-1)) + 1
        self.state = _empty(1, np.maximum(places, ALONE), clusters, self.state.numbers)
        self._strides = 0
        self._wake(sets)

    def adapt(self, sets: JointState) -> None:
        """Tidy up; called when the number of learned events is a multiple of `STRIDE`."""
        if len(self.state.active) < FEWEST:
            return
        self._strides += 1
        serves = self.state.numbers[LEAD] > LEAST_LEAD
        if not serves and self._strides > TRIAL and self._strides % REST:
            self._works = False
        elif not self._works or self.state.sizes[0] + STRIDE > self._most:
            self._wake(sets)
        else:
            measure_bonds(self.state)

    def _wake(self, sets: JointState) -> None:
        """Count the label sets remembered, and be ready."""
        self._works = len(self.state.active) >= FEWEST
        if not self._works:
            return
        count, entries = int(sets.sizes[0]), int(sets.sizes[1])
        old = self.state
        labels = max(len(old.cluster_of), len(sets.on))
        places = np.full(labels, ALONE, dtype=np.int32)
        places[: len(old.cluster_of)] = old.cluster_of
        self.state = state = _empty(max(1, entries), places, len(old.active), old.numbers)
        state.numbers[WEIGHT] = sets.numbers[SET_WEIGHT]
        state.numbers[EVENTS] = 0.0
        start = sets.start[:count]
        count_sets(state, start, start + sets.size[:count], sets.arena, sets.counts[:count])
        self._most = max(MAX_PARTS, 2 * int(state.sizes[0]))
        measure_bonds(state)

    def make_room(self, entries: int, labels: int) -> None:
        """Make room for so many labels that are on, and for as many labels in all."""
        old = self.state
        if labels > len(old.on):
            places = np.full(labels + labels // 2, ALONE, dtype=np.int32)
            places[: len(old.cluster_of)] = old.cluster_of
            on = np.zeros(len(places))
            on[: len(old.on)] = old.on
            self.state = old = old._replace(cluster_of=places, on=on)
        parts, used = old.sizes.tolist()
        if parts + entries <= len(old.hashes) and used + entries <= len(old.arena):
            return
        new = _empty(2 * (max(parts, used) + entries), old.cluster_of, 0, old.numbers)
        for name in ("hashes", "start", "size", "counts", "bond", "rank"):
            getattr(new, name)[:parts] = getattr(old, name)[:parts]
        new.arena[:used] = old.arena[:used]
        enter_hashes(new.hashes, parts, new.slots)
        self.state = old._replace(
            **{
                name: getattr(new, name)
                for name in (
                    "hashes",
                    "start",
                    "size",
                    "counts",
                    "bond",
                    "rank",
                    "slots",
                    "arena",
                )
            }
        )


def _empty(entries: int, places: IntArray, clusters: int, numbers: FloatArray) -> PartState:
    """No part has been seen; room for `entries` labels of parts."""
    placed = np.flatnonzero(places >= 0)
    members = placed[np.argsort(places[placed], kind="stable")].astype(np.int32)
    first = np.searchsorted(places[members], np.arange(clusters + 1)).astype(np.int64)
    slots = 1 << (2 * entries - 1).bit_length()
    return PartState(
        np.zeros(entries, dtype=np.uint64),
        np.zeros(entries, dtype=np.int64),
        np.zeros(entries, dtype=np.int32),
        np.zeros(entries),
        np.zeros(entries),
        np.full(entries, -1, dtype=np.int32),
        np.full(slots, -1, dtype=np.int32),
        np.zeros(entries, dtype=np.int32),
        np.array(places, dtype=np.int32),
        first,
        members,
        np.full((clusters, PARTS), -1, dtype=np.int32),
        np.zeros(clusters, dtype=np.int32),
        np.zeros(clusters),
        np.zeros((clusters, 2)),
        np.zeros(len(places)),
        np.zeros(2, dtype=np.int64),
        numbers,
    )
