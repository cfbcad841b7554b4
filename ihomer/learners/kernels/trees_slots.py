"""Find, make, fill and free the statistics of (leaf, feature) pairs.

A hash table over all leaves of a forest: a leaf pays only for features that it has seen, and looks
one up at the same cost whether there are ten features or a hundred thousand.
"""

from __future__ import annotations

import math

import numpy as np

from ihomer.instances import IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.trees_state import (
    CODE,
    DROPPED,
    FIRST,
    FOLLOWING,
    HELD,
    KIND,
    N_COUNTS,
    N_MOMENTS,
    NODE,
    NONE,
    OF_COUNTS,
    OF_MOMENTS,
    OF_SLOTS,
    RESTING,
    ROW,
    TREE,
    Forest,
    Slots,
)

ONES = (1 << 32) - 1
# Odd numbers below 2 ** 31: their products with 32 bits stay below 2 ** 63.
_NODE_FACTOR, _CODE_FACTOR, SEED_FACTOR = 0x61C88647, 0x2C1B3C6D, 0x45D9F3B5


@kernel
def mix(value: int) -> int:
    """A hash of 32 bits of which every bit depends on every bit of `value`, of 32 bits too.

    Alternating shifts and products, as in MurmurHash3's finaliser (Appleby 2011).
    """
    value = ((value ^ (value >> 16)) * 0x45D9F3B) & ONES
    value = ((value ^ (value >> 16)) * 0x2C1B3C6D) & ONES
    return value ^ (value >> 16)


@kernel
def fill_keys(keys: OffsetArray, begin: int) -> None:
    """Hashes of the columns' numbers, from column `begin` on."""
    for j in range(begin, keys.shape[0]):
        keys[j] = mix((j + 0x9E3779B9) & ONES)


@kernel
def sample_limit(share: float) -> int:
    """What 32 bits have to stay below with this probability."""
    return math.ceil(share * 4294967296.0)


@kernel
def in_sample(key: int, seed: int, share: float) -> bool:
    """Whether the feature with this key is in the sample of a node with this seed."""
    return bool(((key ^ seed) * SEED_FACTOR) & ONES < sample_limit(share))


@kernel
def home(node: int, code: int, mask: int) -> int:
    """Where the search for a (leaf, code) pair begins in a hash table of mask + 1 places."""
    value = (int(node) * _NODE_FACTOR + int(code) * _CODE_FACTOR) & ONES
    value = ((value ^ (value >> 15)) * SEED_FACTOR) & ONES
    return value & mask


@kernel
def find_slot(table: IntArray, link: IntArray, node: int, code: int) -> int:
    """The slot of a (leaf, code) pair, or NONE."""
    mask = table.shape[0] - 1
    at = home(node, code, mask)
    while table[at] != 0:
        slot = table[at] - 1
        if link[slot, NODE] == node and link[slot, CODE] == code:
            return int(slot)
        at = (at + 1) & mask
    return NONE


@kernel
def enter_slot(table: IntArray, link: IntArray, slot: int) -> None:
    """Put a slot into the table, which has room."""
    mask = table.shape[0] - 1
    at = home(int(link[slot, NODE]), int(link[slot, CODE]), mask)
    while table[at] != 0:
        at = (at + 1) & mask
    table[at] = slot + 1


@kernel
def enter_all(table: IntArray, link: IntArray, used: IntArray) -> None:
    """Put every slot of `used` into an empty table."""
    for i in range(used.shape[0]):
        enter_slot(table, link, used[i])


@kernel
def _leave(table: IntArray, link: IntArray, slot: int) -> None:
    """Take a slot out of the table; those behind it move up, so that no gap hides them."""
    mask = table.shape[0] - 1
    at = home(int(link[slot, NODE]), int(link[slot, CODE]), mask)
    while table[at] != slot + 1:
        at = (at + 1) & mask
    gap = at
    while True:
        at = (at + 1) & mask
        if table[at] == 0:
            break
        other = table[at] - 1
        begin = home(int(link[other, NODE]), int(link[other, CODE]), mask)
        if ((at - begin) & mask) >= ((at - gap) & mask):
            table[gap] = table[at]
            gap = at
    table[gap] = 0


# These are called once for each feature of an event or a leaf. They are handed the arrays that they
# need one by one, because a call counts references to every array that it is given, and a whole
# forest has thirty.


@kernel
def new_slot(
    link: IntArray,
    slots: Slots,
    slot_places: IntArray,
    row_places: IntArray,
    tops: OffsetArray,
    trees: OffsetArray,
    node: int,
    code: int,
    value: float,
) -> int:
    """Make the slot of a (leaf, code) pair; the caller has seen to room.

    Parameters
    ----------
    link, slots, tops, trees
        Of the forest.
    slot_places, row_places
        The stacks of free slots, and of free rows of counts if the value is 1, else of moments.
    node, code
        The leaf; 2 x feature, + 1 for missing values.
    value
        The first value.
    """
    tops[OF_SLOTS] -= 1
    slot = slot_places[tops[OF_SLOTS]]
    plain = value == 1.0
    kind = OF_COUNTS if plain else OF_MOMENTS
    tops[kind] -= 1
    row = row_places[tops[kind]]
    if plain:
        counts = slots.counts
        for c in range(counts.shape[1]):
            counts[row, c] = np.float32(0.0)
        trees[link[node, TREE], N_COUNTS] += 1
    else:
        moments = slots.moments
        for c in range(moments.shape[1]):
            for i in range(3):
                moments[row, c, i] = np.float32(0.0)
        trees[link[node, TREE], N_MOMENTS] += 1
    slot_link = slots.link
    slot_link[slot, ROW] = row if plain else ~row
    slot_link[slot, NODE] = node
    slot_link[slot, CODE] = code
    slots.shift[slot] = value
    slot_link[slot, FOLLOWING] = link[node, FIRST]
    link[node, FIRST] = slot
    link[node, HELD] += 1
    enter_slot(slots.table, slot_link, slot)
    return int(slot)


@kernel
def to_moments(
    slots: Slots,
    count_places: IntArray,
    moment_places: IntArray,
    tops: OffsetArray,
    trees: OffsetArray,
    tree: int,
    slot: int,
) -> None:
    """Turn counts of ones into sums relative to 1; the caller has seen to room."""
    counts, moments, slot_link = slots.counts, slots.moments, slots.link
    old = slot_link[slot, ROW]
    tops[OF_MOMENTS] -= 1
    row = moment_places[tops[OF_MOMENTS]]
    for c in range(counts.shape[1]):
        moments[row, c, 0] = counts[old, c]
        moments[row, c, 1] = np.float32(0.0)
        moments[row, c, 2] = np.float32(0.0)
    count_places[tops[OF_COUNTS]] = old
    tops[OF_COUNTS] += 1
    trees[tree, N_COUNTS] -= 1
    trees[tree, N_MOMENTS] += 1
    slot_link[slot, ROW] = ~row


@kernel
def drop_row(
    slot_link: IntArray,
    count_places: IntArray,
    moment_places: IntArray,
    tops: OffsetArray,
    trees: OffsetArray,
    tree: int,
    slot: int,
) -> None:
    """Give a slot's row back, and mark the slot so that it gets no other."""
    row = slot_link[slot, ROW]
    slot_link[slot, ROW] = DROPPED
    if row >= 0:
        count_places[tops[OF_COUNTS]] = row
        tops[OF_COUNTS] += 1
        trees[tree, N_COUNTS] -= 1
    elif row != DROPPED:
        moment_places[tops[OF_MOMENTS]] = ~row
        tops[OF_MOMENTS] += 1
        trees[tree, N_MOMENTS] -= 1


@kernel
def release_slots(forest: Forest, node: int, keys: OffsetArray, share: float) -> None:
    """Free a leaf's slots of features that are not in its sample.

    A share of 0 frees them all, and puts the leaf to rest.
    """
    link, slot_link, table = forest.nodes.link, forest.slots.link, forest.slots.table
    free, trees = forest.free, forest.trees
    slot_places, count_places, moment_places = free.slots, free.counts, free.moments
    tops = free.tops
    seed, tree = forest.nodes.seed[node], link[node, TREE]
    if share == 0.0:
        link[node, KIND] = RESTING
    before = NONE
    slot = link[node, FIRST]
    while slot != NONE:
        following = slot_link[slot, FOLLOWING]
        if share > 0.0 and in_sample(keys[slot_link[slot, CODE] >> 1], seed, share):
            before = slot
        else:
            if before == NONE:
                link[node, FIRST] = following
            else:
                slot_link[before, FOLLOWING] = following
            drop_row(slot_link, count_places, moment_places, tops, trees, tree, slot)
            _leave(table, slot_link, slot)
            slot_places[tops[OF_SLOTS]] = slot
            tops[OF_SLOTS] += 1
            link[node, HELD] -= 1
        slot = following


@kernel
def fade_slots(slots: Slots, slot: int) -> None:
    """Halve the statistics of a leaf's slots, so that no count outgrows what is added to it."""
    while slot != NONE:
        row = slots.link[slot, ROW]
        if row >= 0:
            for c in range(slots.counts.shape[1]):
                slots.counts[row, c] *= np.float32(0.5)
        elif row != DROPPED:
            for c in range(slots.moments.shape[1]):
                for i in range(3):
                    slots.moments[~row, c, i] *= np.float32(0.5)
        slot = slots.link[slot, FOLLOWING]
