"""Events through a forest: rows in, logits and paths out, leaves' statistics filled.

The test-then-train loop of the trees: for each event each tree predicts, then counts. The shape of
the trees changes only between two strides (`trees_stride`).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ihomer.instances import BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.elementary import log32
from ihomer.learners.kernels.linear import LANES
from ihomer.learners.kernels.trees_grow import sample_share, tree_bytes
from ihomer.learners.kernels.trees_slots import (
    SEED_FACTOR,
    home,
    new_slot,
    sample_limit,
    to_moments,
)
from ihomer.learners.kernels.trees_split import Options
from ihomer.learners.kernels.trees_state import (
    ALTERNATE,
    CODE,
    COLUMNS,
    DROPPED,
    EVENTS,
    FEATURE,
    FIRST,
    FOLLOWING,
    HELD,
    INNER,
    KIND,
    LEAD,
    LEAD_SQUARES,
    LEAF,
    LEFT,
    LOSS,
    LOSSES,
    MAX_DEPTH,
    N_ALTERNATES,
    NEXT,
    NODE,
    NONE,
    OF_COUNTS,
    OF_DUE,
    OF_MOMENTS,
    OF_SLOTS,
    PAIRS,
    PAUSED,
    PROMISE,
    RESTING,
    RIGHT,
    ROOT,
    ROW,
    SCALE,
    SEEN,
    SHARE,
    THRESHOLD,
    VISITS,
    WEIGHT,
    Forest,
)
from ihomer.learners.kernels.trees_stride import forest_stride

KeyArray = npt.NDArray[np.uint32]

LIMIT = 1e100  # raw values are cut here, so that their differences stay finite
FARTHEST = 1e12  # the most that a value counts, in units of the first; its square is a float32
HALVE_AT = 1 << 20  # events of a leaf at which its rates are made to count half
# A leaf's slots are gone through, not looked up one by one, unless they are so many times more than
# the features of the event.
WALK = 2
STRIDE = 32  # learned events between two changes of the trees' shape
_ZERO, _LEAST = np.float32(0.0), np.float32(1e-9)
LOOK = 16  # losses whose mean is one value of a detector


@kernel
def route(link: IntArray, number: FloatArray, x: FloatArray, node: int, path: IntArray) -> int:
    """Write the nodes from `node` to its leaf into `path`; their number is returned.

    A missing value goes the way that more events have gone; an absent one is 0.
    """
    length = 0
    path[0] = node
    while link[node, KIND] == INNER:
        value = x[link[node, FEATURE]]
        left, right = link[node, LEFT], link[node, RIGHT]
        if math.isnan(value):
            node = left if number[left, VISITS] >= number[right, VISITS] else right
        else:
            node = left if value <= number[node, THRESHOLD] else right
        length += 1
        path[length] = node
    return length + 1


@kernel
def leaf_loss(
    positive: Float32Array, leaf: int, weight: float, n_labels: int, on: IntArray, n_on: int
) -> float:
    """Sum over labels of the squared error of a leaf's rates, column 0 left out."""
    # Of several partial sums, because each addition to one of them waits for the one before.
    sums_0 = sums_1 = sums_2 = sums_3 = sums_4 = sums_5 = sums_6 = sums_7 = 0.0
    whole = 1 + (n_labels - 1) // 8 * 8
    for c in range(1, whole, 8):
        p_0, p_1 = float(positive[leaf, c]), float(positive[leaf, c + 1])
        p_2, p_3 = float(positive[leaf, c + 2]), float(positive[leaf, c + 3])
        p_4, p_5 = float(positive[leaf, c + 4]), float(positive[leaf, c + 5])
        p_6, p_7 = float(positive[leaf, c + 6]), float(positive[leaf, c + 7])
        sums_0 += p_0 * p_0
        sums_1 += p_1 * p_1
        sums_2 += p_2 * p_2
        sums_3 += p_3 * p_3
        sums_4 += p_4 * p_4
        sums_5 += p_5 * p_5
        sums_6 += p_6 * p_6
        sums_7 += p_7 * p_7
    total = ((sums_0 + sums_4) + (sums_1 + sums_5)) + ((sums_2 + sums_6) + (sums_3 + sums_7))
    for c in range(whole, n_labels):
        p = float(positive[leaf, c])
        total += p * p
    hit = 0.0
    for i in range(n_on):
        hit += positive[leaf, on[i]]
    inverse = 1.0 / weight
    return total * inverse * inverse - 2.0 * hit * inverse + n_on


@kernel
def below(members: IntArray, known: int) -> int:
    """How many of `members`, which ascend, are below `known`."""
    found = members.shape[0]
    while found > 0 and members[found - 1] >= known:
        found -= 1
    return int(found)


@kernel
def forest_rows(
    indptr: OffsetArray,
    indices: IntArray,
    values: FloatArray,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    known: IntArray,
    members: IntArray,
    position_of: IntArray,
    keys: OffsetArray,
    x: FloatArray,
    forest: Forest,
    options: Options,
    clip: float,
    start: int,
    out: Float32Array,
    path_indptr: OffsetArray,
    path_nodes: IntArray,
) -> int:
    """Predict, then count each labelled row, from row `start` on; change the trees at strides.

    Parameters
    ----------
    indptr, indices, values, y_indptr, y_indices, labelled, known
        As in `Batch`, values as they came; indices below ``len(keys)``.
    members
        int32 (m,): label ids of the cluster, ascending; columns 1 to m of the forest are theirs.
    position_of
        int32 (labels,): label id -> its column, less than 1 where it is not of this cluster.
    keys
        int64 (columns,), 32 bits: hashes of the features' names.
    x
        float64 (columns,): scratch, zeros before and after.
    forest
        Changed in place by labelled rows.
    clip
        Logits are cut to this.
    out
        float32 (n, 1 + m): logits of the mean of the trees' rates; column 0: of a label that was
        never on.
    path_indptr, path_nodes
        int64 (n + 1,), int32: the nodes on the trees' paths before learning, roots left out.

    Returns
    -------
    int
        The first row not done: there might not be room for that row or, if ``tops[PAUSED]`` is not
        0, for finishing the stride that ended before it. With room made, call again to go on.
    """
    nodes, slots, trees, free = forest.nodes, forest.slots, forest.trees, forest.free
    link, number, positive, seen_on = nodes.link, nodes.number, nodes.positive, nodes.on
    seeds, tops, due = nodes.seed, free.tops, free.due
    table, slot_link, shifts = slots.table, slots.link, slots.shift
    counts, moments = slots.counts, slots.moments
    slot_places, count_places, moment_places = free.slots, free.counts, free.moments
    mask = table.shape[0] - 1
    one, furthest = np.float32(1.0), np.float32(clip)
    each = np.float32(1.0 / trees.shape[0])
    factor = np.uint32(SEED_FACTOR)
    n_there = 0
    n_trees = trees.shape[0]
    width = 1 + members.shape[0]
    # Whole vectors: what is left over by one would cost as much as several of them.
    padded = (width + LANES - 1) // LANES * LANES
    total = np.empty(padded, dtype=np.float32)
    on = np.empty(width, dtype=np.int32)
    path = np.empty(MAX_DEPTH + 2, dtype=np.int32)
    other = np.empty(MAX_DEPTH + 2, dtype=np.int32)
    n_rows = labelled.shape[0]
    most = 0
    for t in range(start, n_rows):
        most = max(most, indptr[t + 1] - indptr[t])
    hits = np.empty(most, dtype=np.int64)
    given = np.empty(most)
    there_keys = np.empty(most, dtype=np.uint32)
    there_codes = np.empty(most, dtype=np.int64)
    there_values = np.empty(most)
    for t in range(start, n_rows + 1):
        if tops[PAUSED] > 0:
            n_labels = 1 + below(members, known[t])
            undone = forest_stride(forest, keys, n_labels, tops[PAUSED] - 1, options)
            tops[PAUSED] = 1 + undone
            if undone >= 0:
                return t
        if t == n_rows:
            break
        first, last = indptr[t], indptr[t + 1]
        leaves = n_trees
        for i in range(n_trees):
            leaves += trees[i, N_ALTERNATES]
        others = 0
        for k in range(first, last):
            others += int((values[k] != 1.0) & (values[k] == values[k]))  # not a NaN
        if (
            tops[OF_SLOTS] < leaves * (last - first)
            or tops[OF_COUNTS] < leaves * (last - first - others)
            or tops[OF_MOMENTS] < leaves * others
        ):
            return t
        n_labels = 1 + below(members, known[t + 1])
        for k in range(first, last):
            x[indices[k]] = values[k]
        n_on = 0
        if labelled[t]:
            tops[EVENTS] += 1
            for k in range(y_indptr[t], y_indptr[t + 1]):
                position = position_of[y_indices[k]]
                if position > 0:
                    on[n_on] = position
                    n_on += 1
            if last > first:
                tops[COLUMNS] = max(tops[COLUMNS], indices[last - 1] + 1)
        n_there = 0
        for k in range(first, last if labelled[t] else first):
            value = values[k]
            if value != 0.0:
                absent = math.isnan(value)
                there_keys[n_there] = keys[indices[k]]
                there_codes[n_there] = 2 * indices[k] + int(absent)
                there_values[n_there] = 1.0 if absent else min(LIMIT, max(-LIMIT, value))
                n_there += 1
        for c in range(padded):
            total[c] = _ZERO
        written = path_indptr[t]
        for i in range(n_trees):
            length = route(link, number, x, trees[i, ROOT], path)
            leaf = int(path[length - 1])
            inverse = np.float32(1.0 / number[leaf, WEIGHT])
            for c in range(width):
                total[c] += positive[leaf, c] * inverse
            for d in range(1, length):
                path_nodes[written] = path[d]
                written += 1
            if not labelled[t]:
                continue
            served = 0.0
            alternates = trees[i, N_ALTERNATES]
            # The tree itself first, then each alternate that hangs on its path.
            for d in range(-1, length - 1 if alternates > 0 else 0):
                steps = length
                if d >= 0:
                    if link[path[d], ALTERNATE] == NONE:
                        continue
                    steps = route(link, number, x, int(link[path[d], ALTERNATE]), other)
                    leaf = int(other[steps - 1])
                loss = leaf_loss(positive, leaf, number[leaf, WEIGHT], n_labels, on, n_on)
                for e in range(steps):
                    number[other[e] if d >= 0 else path[e], VISITS] += 1.0
                if d < 0:
                    served = loss
                else:
                    node = path[d]
                    scale = number[node, SCALE]
                    gap = min(1.0, served * scale) - min(1.0, loss * scale)
                    number[node, PAIRS] += 1.0
                    number[node, LEAD] += gap
                    number[node, LEAD_SQUARES] += gap * gap
                number[leaf, PROMISE] += loss
                number[leaf, WEIGHT] += 1.0
                for k in range(n_on):
                    positive[leaf, on[k]] += np.float32(1.0)
                if number[leaf, WEIGHT] >= HALVE_AT:
                    number[leaf, WEIGHT] *= 0.5
                    for c in range(positive.shape[1]):
                        positive[leaf, c] *= np.float32(0.5)
                if link[leaf, KIND] != LEAF:
                    continue
                if number[leaf, SEEN] == 0.0:
                    number[leaf, SHARE] = min(
                        number[leaf, SHARE], sample_share(i, tops[COLUMNS], options.share)
                    )
                number[leaf, SEEN] += 1.0
                for k in range(n_on):
                    seen_on[leaf, on[k]] += np.float32(1.0)
                # First the slots of the event's features, then what they count. It is written out
                # here, because a call counts references to every array it is given, once for each
                # feature: that took half the time.
                highest = np.uint32(sample_limit(number[leaf, SHARE]) - 1)
                seed = np.uint32(seeds[leaf])
                n_hits = 0
                wanted = n_there
                walked = link[leaf, HELD] <= WALK * n_there
                if walked:
                    wanted = 0
                    for k in range(n_there):
                        wanted += int(np.uint32((there_keys[k] ^ seed) * factor) <= highest)
                    slot = link[leaf, FIRST]
                    while slot != NONE:
                        code = slot_link[slot, CODE]
                        value = x[code >> 1]
                        absent = code & 1 == 1
                        if value != 0.0 and math.isnan(value) == absent:
                            wanted -= 1
                            if slot_link[slot, ROW] != DROPPED:
                                hits[n_hits] = slot
                                given[n_hits] = 1.0 if absent else min(LIMIT, max(-LIMIT, value))
                                n_hits += 1
                        slot = slot_link[slot, FOLLOWING]
                for k in range(n_there if wanted > 0 else 0):
                    if np.uint32((there_keys[k] ^ seed) * factor) > highest:
                        continue
                    code, value = there_codes[k], there_values[k]
                    at = home(leaf, code, mask)
                    slot = table[at] - 1
                    while slot >= 0 and (
                        slot_link[slot, NODE] != leaf or slot_link[slot, CODE] != code
                    ):
                        at = (at + 1) & mask
                        slot = table[at] - 1
                    if slot >= 0:
                        if walked or slot_link[slot, ROW] == DROPPED:
                            continue
                    else:
                        if tree_bytes(trees, i, n_labels) > options.limit:
                            link[leaf, KIND] = RESTING
                            break
                        slot = new_slot(
                            link,
                            slots,
                            slot_places,
                            count_places if value == 1.0 else moment_places,
                            tops,
                            trees,
                            leaf,
                            code,
                            value,
                        )
                    hits[n_hits] = slot
                    given[n_hits] = value
                    n_hits += 1
                for k in range(n_hits):
                    slot = hits[k]
                    value = given[k]
                    row = slot_link[slot, ROW]
                    if row >= 0:
                        if value == 1.0:
                            counts[row, 0] += one
                            for e in range(n_on):
                                counts[row, on[e]] += one
                            continue
                        if tree_bytes(trees, i, n_labels) > options.limit:
                            link[leaf, KIND] = RESTING
                            break
                        to_moments(slots, count_places, moment_places, tops, trees, i, slot)
                        row = slot_link[slot, ROW]
                    row = ~row
                    shift = shifts[slot]
                    unit = abs(shift)
                    far = FARTHEST * unit
                    gap = np.float32(min(far, max(-far, value - shift)) / unit)
                    square = gap * gap
                    moments[row, 0, 0] += one
                    moments[row, 0, 1] += gap
                    moments[row, 0, 2] += square
                    for e in range(n_on):
                        c = on[e]
                        moments[row, c, 0] += one
                        moments[row, c, 1] += gap
                        moments[row, c, 2] += square
                if number[leaf, SEEN] == number[leaf, NEXT] or link[leaf, KIND] != LEAF:
                    due[tops[OF_DUE]] = leaf
                    tops[OF_DUE] += 1
            for d in range(length - 1 if options.alternates == 1 else 0):
                node = path[d]
                number[node, LOSS] += min(1.0, served * number[node, SCALE])
                number[node, LOSSES] += 1.0
                if number[node, LOSSES] == LOOK:
                    due[tops[OF_DUE]] = node
                    tops[OF_DUE] += 1
        path_indptr[t + 1] = written
        for c in range(padded):
            p = total[c] * each
            logit = log32(max(_LEAST, p) / max(_LEAST, one - p))
            total[c] = min(furthest, max(-furthest, logit))
        for c in range(width):
            out[t, c] = total[c]
        for k in range(first, last):
            x[indices[k]] = 0.0
        if labelled[t] and tops[EVENTS] % STRIDE == 0:
            tops[PAUSED] = 1
    return int(n_rows)
