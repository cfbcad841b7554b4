"""Parts of label sets by cluster: label sets in, counts of their parts and how surprising they are.

A part is what a label set has in one cluster of at least two labels. Whole label sets hardly ever
repeat where labels are many; their parts do. A part's bond is the logarithm of how much more often
it is seen than its labels would come together by chance.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ihomer.instances import FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.joint import HashArray, hash_labels

PARTS = 32  # candidates of a cluster: its most frequent parts
ALONE = -1  # the cluster of a label that is in none
SIZES = 9  # numbers of labels told apart: 0 to 7, 8 or more
ACTIVE = 5  # numbers of active clusters told apart: 0 to 3, 4 or more
SHARE_STEP = 0.01
_RENORMALISE = 1e6

# Places in `PartState.numbers`.
EVENTS, WEIGHT, SHARE, TRUST, TRUST_SQUARE, LEAD = range(6)
BY_SIZE = 6  # log-factors of the number of labels
BY_SIZE_SQUARE = BY_SIZE + SIZES
BY_ACTIVE = BY_SIZE_SQUARE + SIZES  # log-factors of the number of active clusters
BY_ACTIVE_SQUARE = BY_ACTIVE + ACTIVE
NUMBERS = BY_ACTIVE_SQUARE + ACTIVE


class PartState(NamedTuple):
    """Parts seen, clusters, and what has been learned about weighing them.

    Attributes
    ----------
    hashes
        uint64 (parts,): of the parts' labels.
    start, size
        int64, int32 (parts,): where a part's labels stand in `arena`, ascending.
    counts
        float64 (parts,): inflating counts.
    bond
        float64 (parts,): at least ``log(1 - share)``; those in `top` as of the last
        `measure_bonds`, the others 0.
    rank
        int32 (parts,): place in its cluster's row of `top`, or -1.
    slots
        int32 (power of two,): open addressing by hash, -1 = free.
    arena
        int32: the parts' labels.
    cluster_of
        int32 (labels,): `ALONE` or the cluster.
    first, members
        int64 (clusters + 1,), int32: cluster b's labels are ``members[first[b]:first[b + 1]]``,
        ascending.
    top
        int32 (clusters, PARTS): the most frequent parts, descending.
    filled
        int32 (clusters,): how many of them there are.
    active
        float64 (clusters,): inflating counts of the events with a label of the cluster.
    none
        float64 (clusters, 2): the bond of the empty part, and its log-probability if labels came
        by chance.
    on
        float64 (labels,): inflating counts of labels.
    sizes
        int64 (2,): parts, entries of the arena in use.
    numbers
        float64 (NUMBERS,): see the constants above.
    """

    hashes: HashArray
    start: OffsetArray
    size: IntArray
    counts: FloatArray
    bond: FloatArray
    rank: IntArray
    slots: IntArray
    arena: IntArray
    cluster_of: IntArray
    first: OffsetArray
    members: IntArray
    top: IntArray
    filled: IntArray
    active: FloatArray
    none: FloatArray
    on: FloatArray
    sizes: OffsetArray
    numbers: FloatArray


@kernel
def _find(state: PartState, labels: IntArray, count: int, h: np.uint64) -> int:
    """Number of the part ``labels[:count]``, or -(slot + 1) of the free slot it would take."""
    mask = np.uint64(state.slots.shape[0] - 1)
    slot = h & mask
    while True:
        found = state.slots[slot]
        if found < 0:
            return -int(slot) - 1
        if state.hashes[found] == h and state.size[found] == count:
            base = state.start[found]
            same = True
            for k in range(count):
                same &= state.arena[base + k] == labels[k]
            if same:
                return int(found)
        slot = (slot + np.uint64(1)) & mask


@kernel
def part_of(
    state: PartState, labels: IntArray, start: int, stop: int, cluster: int, out: IntArray
) -> int:
    """Write those of ``labels[start:stop]`` that are in `cluster`; return how many."""
    count = 0
    for k in range(start, stop):
        if state.cluster_of[labels[k]] == cluster:
            out[count] = labels[k]
            count += 1
    return count


@kernel
def _count_part(state: PartState, cluster: int, labels: IntArray, count: int, by: float) -> None:
    """Add `by` to a part's count, and keep its cluster's row of `top` in order."""
    sizes, counts, rank = state.sizes, state.counts, state.rank
    h = hash_labels(labels, int(np.int64(0)), count)
    found = _find(state, labels, count, h)
    if found < 0:
        slot = -found - 1
        found = int(sizes[0])
        sizes[0] += 1
        state.slots[slot] = found
        state.hashes[found] = h
        state.start[found] = sizes[1]
        state.size[found] = count
        for k in range(count):
            state.arena[sizes[1]] = labels[k]
            sizes[1] += 1
        counts[found] = 0.0
        state.bond[found] = 0.0
        rank[found] = -1
    counts[found] += by
    top = state.top[cluster]
    place = rank[found]
    if place < 0:
        filled = state.filled[cluster]
        if filled < PARTS:
            place = filled
            state.filled[cluster] += 1
        elif counts[top[filled - 1]] < counts[found]:
            place = filled - 1
            rank[top[place]] = -1
        else:
            return
    while place > 0 and counts[top[place - 1]] < counts[found]:
        other = top[place - 1]
        top[place] = other
        rank[other] = place
        place -= 1
    top[place] = found
    rank[found] = place


@kernel
def count_set(state: PartState, labels: IntArray, start: int, stop: int, by: float) -> None:
    """Count a label set's parts; `EVENTS` and `WEIGHT` are the caller's.

    Parameters
    ----------
    state
        It has room for ``stop - start`` parts more.
    labels, start, stop
        The set is ``labels[start:stop]``, ascending, all of them labels that `state` has room for.
    by
        How much it counts.
    """
    part = np.empty(stop - start, dtype=np.int32)
    for k in range(start, stop):
        cluster = int(state.cluster_of[labels[k]])
        state.on[labels[k]] += by
        if cluster == ALONE:
            continue
        # Once per cluster, at its first label.
        again = False
        for j in range(start, k):
            again |= state.cluster_of[labels[j]] == cluster
        if not again:
            state.active[cluster] += by
            _count_part(state, cluster, part, part_of(state, labels, k, stop, cluster, part), by)


@kernel
def count_sets(
    state: PartState, starts: OffsetArray, stops: OffsetArray, labels: IntArray, counts: FloatArray
) -> None:
    """Count many label sets, as `count_set`, set i from ``starts[i]`` to ``stops[i]``."""
    for s in range(counts.shape[0]):
        count_set(state, labels, starts[s], stops[s], counts[s])
        state.numbers[EVENTS] += counts[s]


@kernel
def renormalise(state: PartState) -> None:
    """Divide all counts by the present weight, before they grow without bound."""
    numbers, active, on = state.numbers, state.active, state.on
    weight = numbers[WEIGHT]
    if weight <= _RENORMALISE:
        return
    for p in range(state.sizes[0]):
        state.counts[p] /= weight
    for b in range(active.shape[0]):
        active[b] /= weight
    for c in range(on.shape[0]):
        on[c] /= weight
    numbers[EVENTS] /= weight
    numbers[WEIGHT] = 1.0


@kernel
def log_odds(state: PartState, label: int) -> float:
    """Log-odds of a label's share of all events."""
    half = 0.5 * state.numbers[WEIGHT]
    on = state.on[label] + half
    return math.log(on / max(half, state.numbers[EVENTS] + state.numbers[WEIGHT] - on))


@kernel
def _bond(often: float, chance: float, share: float) -> float:
    return math.log(1.0 - share + share * often * math.exp(min(300.0, -chance)))


@kernel
def measure_bonds(state: PartState) -> None:
    """Bonds of the empty part and of the most frequent parts of every cluster."""
    numbers, active, first = state.numbers, state.active, state.first
    none, start = state.none, state.start
    share, events = numbers[SHARE], max(1e-9, numbers[EVENTS])
    for b in range(active.shape[0]):
        nothing = 0.0
        for k in range(first[b], first[b + 1]):
            nothing -= math.log1p(math.exp(log_odds(state, state.members[k])))
        none[b, 0] = _bond(max(0.0, 1.0 - active[b] / events), nothing, share)
        none[b, 1] = nothing
        for q in range(state.filled[b]):
            part = state.top[b, q]
            chance = nothing
            for k in range(start[part], start[part] + state.size[part]):
                chance += log_odds(state, state.arena[k])
            state.bond[part] = _bond(state.counts[part] / events, chance, share)


@kernel
def learn_share(state: PartState, cluster: int, labels: IntArray, count: int) -> None:
    """Move the share of a part's probability that is by its count, not by its labels' chance."""
    numbers = state.numbers
    if numbers[EVENTS] <= 0.0:
        return
    found = _find(state, labels, count, hash_labels(labels, int(np.int64(0)), count))
    often = state.counts[found] / numbers[EVENTS] if found >= 0 else 0.0
    chance = state.none[cluster, 1]
    for k in range(count):
        chance += log_odds(state, labels[k])
    by_count = numbers[SHARE] * often
    by_chance = (1.0 - numbers[SHARE]) * math.exp(max(-700.0, chance))
    moved = by_count / max(1e-300, by_count + by_chance) - numbers[SHARE]
    numbers[SHARE] = min(0.99, max(0.01, numbers[SHARE] + SHARE_STEP * moved))
