"""The labels that live, the block of each and how common it is: one state of a label structure.

In: arrays over label ids. Out: the same by block, ready to be drawn from. It is here, free of
time, so that a change of structure is a function from one state to another.

A label's mass is the only weight there is: a block's weight is the mass of its labels. So a label
that moves to another block, and blocks that merge or split, keep how common each label is, and
the drift is of the structure alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ihomer.connectors.synthetic.uniform import Randomness
from ihomer.instances import FloatArray, IntArray, OffsetArray

DEAD = -1


@dataclass(frozen=True)
class Population:
    """One state of the label structure.

    Attributes
    ----------
    block
        int32, by label id; `DEAD` = not alive.
    mass
        float64, by label id, positive.
    n_blocks
        Block ids are below it; a block may be empty.
    """

    block: IntArray
    mass: FloatArray
    n_blocks: int

    @cached_property
    def live(self) -> IntArray:
        """Ids of the labels that live, ascending."""
        return np.flatnonzero(self.block != DEAD).astype(np.int32)

    @cached_property
    def members(self) -> IntArray:
        """Ids of the labels that live, by block, ascending in each."""
        return self.live[np.argsort(self.block[self.live], kind="stable")]

    @cached_property
    def indptr(self) -> OffsetArray:
        """Where each block begins in `members`, int64 (n_blocks + 1,)."""
        sizes = np.bincount(self.block[self.live], minlength=self.n_blocks)
        return np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)

    @cached_property
    def sizes(self) -> OffsetArray:
        """Labels of each block."""
        return np.diff(self.indptr)

    @cached_property
    def weights(self) -> FloatArray:
        """Mass of each block, divided by the whole."""
        mass = np.bincount(
            self.block[self.live], weights=self.mass[self.live], minlength=self.n_blocks
        )
        weights: FloatArray = mass / mass.sum()
        return weights

    @cached_property
    def ends(self) -> FloatArray:
        """Cumulative `weights`, the last one infinite so that a search always finds a block."""
        ends = np.cumsum(self.weights)
        # Nothing may be found behind the last block that has labels.
        ends[np.flatnonzero(self.sizes)[-1] :] = np.inf
        return ends

    @cached_property
    def shares(self) -> FloatArray:
        """Share of each label in its block's mass, by label id; 0 = not alive."""
        shares = np.zeros(len(self.block))
        blocks = self.block[self.live]
        mass = np.bincount(blocks, weights=self.mass[self.live], minlength=self.n_blocks)
        shares[self.live] = self.mass[self.live] / mass[blocks]
        return shares

    def padded(self, blocks: OffsetArray) -> IntArray:
        """Members of each of `blocks` as rows, filled up with `DEAD`: int32 (n, largest size)."""
        sizes = self.sizes[blocks]
        width = int(sizes.max(initial=0))
        columns = np.arange(width)
        inside = columns < sizes[:, None]
        places = np.where(inside, self.indptr[blocks][:, None] + columns, 0)
        return np.where(inside, self.members[places], np.int32(DEAD))


def planted(
    randomness: Randomness, n_labels: int, n_blocks: int, within: float, over: float
) -> Population:
    """The structure at the start: blocks of equal size, give or take one label.

    The label of rank i in the block of rank b has the mass ``b ** -over / sum`` times
    ``i ** -within / sum``, the sums over all blocks and over the block. Which label gets which
    place is random.
    """
    places = np.arange(n_labels, dtype=np.int64)
    block_of_place = places * n_blocks // n_labels
    starts = np.searchsorted(block_of_place, np.arange(n_blocks))
    rank = places - starts[block_of_place] + 1.0
    inner = rank**-within
    inner /= np.bincount(block_of_place, weights=inner)[block_of_place]
    outer = (block_of_place + 1.0) ** -over
    outer /= (np.arange(1.0, n_blocks + 1.0) ** -over).sum()
    labels = randomness.order("places", n_labels)
    block = np.empty(n_labels, dtype=np.int32)
    mass = np.empty(n_labels)
    block[labels] = block_of_place
    mass[labels] = inner * outer
    return Population(block, mass, n_blocks)
