"""What a change does to the label structure: a population in, another one out.

It is here so that a transition can go step by step: each change is a list of smallest steps
(two labels swap their blocks, two blocks merge, one label dies), of which any first part can be
taken. Which labels are affected is drawn once, from the structure that holds when all changes
before it are complete.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass

import numpy as np

from ihomer.connectors.synthetic.parameters import Planned
from ihomer.connectors.synthetic.population import DEAD, Population
from ihomer.connectors.synthetic.uniform import Randomness
from ihomer.errors import UsageError
from ihomer.instances import FloatArray, IntArray, OffsetArray

# A whole multiple of the parts in which an incremental change goes.
_RANK_STEPS = 64


class Change(ABC):
    """A change of the structure.

    Attributes
    ----------
    steps
        How many smallest steps it has.
    affected
        Ids of the labels that it touches, ascending.
    """

    steps: int
    affected: IntArray

    @abstractmethod
    def apply(self, before: Population, done: int) -> Population:
        """`before` with the first `done` steps taken, 1 to `steps`."""


@dataclass(frozen=True)
class Exchange(Change):
    """Pairs of labels swap their blocks; ``pairs`` is int32 (steps, 2)."""

    pairs: IntArray
    steps: int
    affected: IntArray

    def apply(self, before: Population, done: int) -> Population:
        """See `Change.apply`."""
        block = before.block.copy()
        one, other = self.pairs[:done].T
        both_live = (block[one] != DEAD) & (block[other] != DEAD)
        one, other = one[both_live], other[both_live]
        block[one], block[other] = before.block[other], before.block[one]
        return Population(block, before.mass, before.n_blocks)


@dataclass(frozen=True)
class Move(Change):
    """Labels go to other blocks: merges, splits, and deaths (to no block).

    ``labels`` and ``target`` are int32; step i takes those from ``indptr[i]`` to
    ``indptr[i + 1]``.
    """

    labels: IntArray
    target: IntArray
    indptr: OffsetArray
    n_blocks: int
    affected: IntArray

    @property
    def steps(self) -> int:  # type: ignore[override]  # read-only here
        """See `Change.steps`."""
        return len(self.indptr) - 1

    def apply(self, before: Population, done: int) -> Population:
        """See `Change.apply`."""
        block = before.block.copy()
        labels, target = self.labels[: self.indptr[done]], self.target[: self.indptr[done]]
        live = block[labels] != DEAD
        block[labels[live]] = target[live]
        return Population(block, before.mass, max(before.n_blocks, self.n_blocks))


@dataclass(frozen=True)
class Born(Change):
    """New labels join blocks; each step brings one."""

    affected: IntArray
    block: IntArray
    mass: FloatArray

    @property
    def steps(self) -> int:  # type: ignore[override]  # read-only here
        """See `Change.steps`."""
        return len(self.affected)

    def apply(self, before: Population, done: int) -> Population:
        """See `Change.apply`."""
        block, mass = before.block.copy(), before.mass.copy()
        block[self.affected[:done]] = self.block[:done]
        mass[self.affected[:done]] = self.mass[:done]
        return Population(block, mass, before.n_blocks)


@dataclass(frozen=True)
class Rank(Change):
    """Labels get one another's mass; half way it is the geometric mean."""

    affected: IntArray
    ratio: FloatArray  # new mass / old mass
    steps: int

    def apply(self, before: Population, done: int) -> Population:
        """See `Change.apply`."""
        mass = before.mass.copy()
        mass[self.affected] *= self.ratio ** (done / self.steps)
        return Population(before.block, mass, before.n_blocks)


def draw_change(
    where: str, plan: Planned, before: Population, randomness: Randomness, number: int
) -> Change:
    """Draw which labels change `number` affects, and how.

    Raises
    ------
    UsageError
        Nothing is left to change, or too little is left of it.
    """
    purpose = f"change {number} {plan.what}"
    if plan.what == "exchange":
        return _exchange(where, plan, before, randomness.order(purpose, len(before.live)))
    if plan.what in ("merge", "split"):
        return _merge_or_split(where, plan, before, randomness, purpose)
    if plan.what == "born":
        return _born(plan, before, randomness, purpose)
    if plan.what == "dying":
        order = randomness.order(purpose, len(before.live))
        count = max(1, round(plan.size * len(before.live)))
        if count >= len(before.live):
            raise UsageError(
                f"{where}: size: found {plan.size:g}, accepted: a share that leaves a label alive"
            )
        labels = before.live[order[:count]]
        return Move(
            labels,
            np.full(count, DEAD, dtype=np.int32),
            np.arange(count + 1),
            before.n_blocks,
            np.sort(labels),
        )
    order = randomness.order(purpose, len(before.live))
    labels = before.live[order[: max(2, round(plan.size * len(before.live)))]]
    ratio = np.roll(before.mass[labels], 1) / before.mass[labels]
    touched = ratio != 1.0
    if not touched.any():
        raise UsageError(
            f"{where}: what=rank: the labels are equally common, accepted: within or"
            " over above 0, or what=cardinality"
        )
    labels, ratio = labels[touched], ratio[touched]
    by_id = np.argsort(labels)
    return Rank(labels[by_id], ratio[by_id], _RANK_STEPS)


def _exchange(where: str, plan: Planned, before: Population, order: OffsetArray) -> Exchange:
    chosen = before.live[order[: max(2, round(plan.size * len(order)))]]
    # Labels that are about as common are swapped, so that the priors hardly move.
    chosen = chosen[np.argsort(-before.mass[chosen], kind="stable")]
    pairs: list[tuple[int, int]] = []
    waiting: deque[int] = deque()  # all of one block
    blocks = before.block.tolist()
    for label in chosen.tolist():
        if waiting and blocks[waiting[0]] != blocks[label]:
            pairs.append((waiting.popleft(), label))
        else:
            waiting.append(label)
    if not pairs:
        raise UsageError(
            f"{where}: what=exchange: no two labels of different blocks among the"
            f" {len(chosen)} chosen ones, accepted: 2 or more blocks, a larger size"
        )
    both = np.array(pairs, dtype=np.int32)
    return Exchange(both, len(both), np.sort(both.ravel()))


def _merge_or_split(
    where: str, plan: Planned, before: Population, randomness: Randomness, purpose: str
) -> Move:
    least = 1 if plan.what == "merge" else 2
    blocks = np.flatnonzero(before.sizes >= least)
    chosen = blocks[randomness.order(purpose, len(blocks))]
    chosen = chosen[: max(1, round(plan.size * len(blocks)))]
    labels: list[IntArray] = []
    target: list[IntArray] = []
    affected: list[IntArray] = []
    n_blocks = before.n_blocks
    if plan.what == "merge":
        if len(blocks) < 2:
            raise UsageError(f"{where}: what=merge: found {len(blocks)} block, accepted: 2 or more")
        if len(chosen) < 2:
            chosen = blocks[randomness.order(purpose, len(blocks))][:2]
        for one, other in zip(chosen[::2], chosen[1::2], strict=False):
            stay, move = _members(before, int(one)), _members(before, int(other))
            labels.append(move)
            target.append(np.full(len(move), one, dtype=np.int32))
            affected += [stay, move]
    else:
        if not len(blocks):
            raise UsageError(
                f"{where}: what=split: every block has one label, accepted: fewer blocks"
            )
        for one in chosen.tolist():
            members = _members(before, one)
            # Every other one by mass, so that the two halves are about as common.
            ranked = members[np.argsort(-before.mass[members], kind="stable")]
            labels.append(ranked[1::2])
            target.append(np.full(len(ranked[1::2]), n_blocks, dtype=np.int32))
            affected.append(members)
            n_blocks += 1
    indptr = np.concatenate(([0], np.cumsum([len(part) for part in labels]))).astype(np.int64)
    return Move(
        np.concatenate(labels),
        np.concatenate(target),
        indptr,
        n_blocks,
        np.sort(np.concatenate(affected)),
    )


def _members(population: Population, block: int) -> IntArray:
    return population.members[population.indptr[block] : population.indptr[block + 1]]


def _born(plan: Planned, before: Population, randomness: Randomness, purpose: str) -> Born:
    count = max(1, round(plan.size * len(before.live)))
    first = len(before.block)
    blocks = np.flatnonzero(before.sizes)
    joins = blocks[randomness.integers(purpose, 0, count, len(blocks))]
    # As common as some label of the block that it joins.
    place = randomness.uniforms(f"{purpose} mass", 0, count) * before.sizes[joins]
    model = before.members[before.indptr[joins] + place.astype(np.int64)]
    labels = np.arange(first, first + count, dtype=np.int32)
    return Born(labels, joins.astype(np.int32), before.mass[model])


def grown(population: Population, n_labels: int) -> Population:
    """`population` with room for `n_labels`, the new ones not alive."""
    more = n_labels - len(population.block)
    return Population(
        np.concatenate((population.block, np.full(more, DEAD, dtype=np.int32))),
        np.concatenate((population.mass, np.ones(more))),
        population.n_blocks,
    )
