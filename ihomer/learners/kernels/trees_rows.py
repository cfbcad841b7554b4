"""Events through a forest: rows in, logits and paths out, leaves' statistics filled.

The test-then-train loop of the trees: for each event each tree predicts, then counts. The shape of
the trees does not change here, but only between two strides (`trees_stride`).
"""

from __future__ import annotations

import math

import numpy as np

from ihomer.instances import BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.trees_grow import sample_share, tree_bytes
from ihomer.learners.kernels.trees_slots import home, in_sample, new_slot, to_moments
from ihomer.learners.kernels.trees_split import Options
from ihomer.learners.kernels.trees_state import (
    ALTERNATE,
    CODE,
    COLUMNS,
    DROPPED,
    EVENTS,
    FEATURE,
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
    Float32Array,
    Forest,
)

LIMIT = 1e100  # raw values are cut here, so that their differences stay finite
FARTHEST = 1e12  # the most that a value counts, in units of the first; its square is a float32
HALVE_AT = 1 << 20  # events of a leaf at which its rates are made to count half
STRIDE = 32  # learned events between two changes of the trees' shape
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
    total = 0.0
    inverse = 1.0 / weight
    for c in range(1, n_labels):
        p = positive[leaf, c] * inverse
        total += p * p
    for i in range(n_on):
        total += 1.0 - 2.0 * positive[leaf, on[i]] * inverse
    return total


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
    """Predict, then count each labelled row, from row `start` to the end of the stride.

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
        The first row not done: the stride is full, or there might not be room for that row.
    """
    nodes, slots, trees, free = forest.nodes, forest.slots, forest.trees, forest.free
    link, number, positive, seen_on = nodes.link, nodes.number, nodes.positive, nodes.on
    seeds, tops, due = nodes.seed, free.tops, free.due
    table, slot_link, shifts = slots.table, slots.link, slots.shift
    counts, moments = slots.counts, slots.moments
    slot_places, count_places, moment_places = free.slots, free.counts, free.moments
    mask = table.shape[0] - 1
    one = np.float32(1.0)
    n_trees = trees.shape[0]
    width = 1 + members.shape[0]
    total = np.empty(width)
    on = np.empty(width, dtype=np.int32)
    path = np.empty(MAX_DEPTH + 2, dtype=np.int32)
    other = np.empty(MAX_DEPTH + 2, dtype=np.int32)
    for t in range(start, labelled.shape[0]):
        if t > start and labelled[t - 1] and tops[EVENTS] % STRIDE == 0:
            return t
        first, last = indptr[t], indptr[t + 1]
        leaves = n_trees
        for i in range(n_trees):
            leaves += trees[i, N_ALTERNATES]
        others = 0
        for k in range(first, last):
            if values[k] != 1.0 and not math.isnan(values[k]):
                others += 1
        pairs = leaves * (last - first)
        taken = slot_link.shape[0] - tops[OF_SLOTS]
        # The hash table is kept half empty.
        if (
            tops[OF_SLOTS] < pairs
            or tops[OF_COUNTS] < leaves * (last - first - others)
            or tops[OF_MOMENTS] < leaves * others
            or 2 * (taken + pairs) > table.shape[0]
        ):
            return t
        n_labels = 1 + np.searchsorted(members, known[t + 1])
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
        for c in range(width):
            total[c] = 0.0
        written = path_indptr[t]
        for i in range(n_trees):
            length = route(link, number, x, trees[i, ROOT], path)
            leaf = path[length - 1]
            inverse = 1.0 / number[leaf, WEIGHT]
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
                    steps = route(link, number, x, link[path[d], ALTERNATE], other)
                    leaf = other[steps - 1]
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
                # Written out here, because a call counts references to every array it is given,
                # once for each feature: that took half the time.
                node_share, node_seed = number[leaf, SHARE], seeds[leaf]
                for k in range(first, last):
                    j = indices[k]
                    if not in_sample(keys[j], node_seed, node_share):
                        continue
                    value = values[k]
                    code = 2 * j
                    if math.isnan(value):
                        code += 1
                        value = 1.0
                    elif value == 0.0:
                        continue
                    value = min(LIMIT, max(-LIMIT, value))
                    at = home(leaf, code, mask)
                    slot = table[at] - 1
                    while slot >= 0 and (
                        slot_link[slot, NODE] != leaf or slot_link[slot, CODE] != code
                    ):
                        at = (at + 1) & mask
                        slot = table[at] - 1
                    row = slot_link[slot, ROW] if slot >= 0 else 0
                    if row == DROPPED:
                        continue
                    if slot < 0 or (row >= 0 and value != 1.0):
                        if tree_bytes(trees, i, n_labels) > options.limit:
                            link[leaf, KIND] = RESTING
                            break
                        if slot < 0:
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
                        else:
                            to_moments(slots, count_places, moment_places, tops, trees, i, slot)
                        row = slot_link[slot, ROW]
                    if row >= 0:
                        counts[row, 0] += one
                        for e in range(n_on):
                            counts[row, on[e]] += one
                        continue
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
        for c in range(width):
            p = total[c] / n_trees
            logit = math.log(max(1e-9, p) / max(1e-9, 1.0 - p))
            out[t, c] = min(clip, max(-clip, logit))
        for k in range(first, last):
            x[indices[k]] = 0.0
    return int(labelled.shape[0])
