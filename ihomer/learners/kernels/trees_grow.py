"""Change the shape of trees: leaves made, split, put to rest and woken, subtrees freed.

In: a node. Out: a changed arena. Which split to make is decided in `trees_split`, when to look in
`trees_stride`.
"""

from __future__ import annotations

import numpy as np

from ihomer.instances import OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.trees_slots import mix, release_slots
from ihomer.learners.kernels.trees_state import (
    ALTERNATE,
    COLUMNS,
    DEPTH,
    FEATURE,
    HELD,
    INNER,
    KIND,
    LEAF,
    LEFT,
    MAX_DEPTH,
    N_ALTERNATES,
    N_COUNTS,
    N_MOMENTS,
    N_NODES,
    N_WATCHES,
    NEXT,
    NONE,
    OF_NODES,
    OF_PENDING,
    OF_WATCHES,
    PARENT,
    PROMISE,
    RESTING,
    RIGHT,
    ROOT,
    SCALE,
    SEEN,
    SHARE,
    THRESHOLD,
    TREE,
    UNUSED,
    WATCH,
    WATCH_BUCKETS,
    WATCH_ROWS,
    WEIGHT,
    Forest,
    Free,
    Nodes,
)

NODE_BYTES = 11 * 4 + 13 * 8 + 8 + 3 * 4
WATCH_BYTES = WATCH_ROWS * (8 + 2 * 8 * (WATCH_BUCKETS + 1)) + 9 * 8 + 4
SLOT_BYTES = 4 * 4 + 8 + 4 + 2 * 4 + 2 * 4
GRACE = 32.0  # events of a leaf between two attempts to split it
PRIOR = 10.0  # pseudo-counts with which the children of a split start
LEAST_FEATURES = 8.0  # in a sample, in expectation
WIDEST = 0.75  # how far from the smallest share to all features the widest sample is

STACK = 3 * (MAX_DEPTH + 2)  # nodes still to visit, when a tree is walked down


@kernel
def tree_bytes(trees: OffsetArray, tree: int, n_labels: int) -> float:
    """Bytes that a tree takes, with `n_labels` columns in use."""
    counts, moments = trees[tree, N_COUNTS], trees[tree, N_MOMENTS]
    return float(
        trees[tree, N_NODES] * (NODE_BYTES + 8 * n_labels)
        + trees[tree, N_WATCHES] * WATCH_BYTES
        + counts * (SLOT_BYTES + 4 * n_labels)
        + moments * (SLOT_BYTES + 12 * n_labels)
    )


@kernel
def sample_share(tree: int, columns: int, share: float) -> float:
    """The share of `columns` features in a sample of a tree: never fewer than a few of them.

    The trees of a forest differ: five steps from `share` to three quarters of the way to all
    features. Where few features matter the wide samples find them, where many do alike the narrow
    ones make trees that differ.
    """
    least = min(1.0, max(share, LEAST_FEATURES / max(1, columns)))
    return least + (1.0 - least) * WIDEST * (tree % 5) / 4.0


@kernel
def new_leaf(
    nodes: Nodes,
    free: Free,
    trees: OffsetArray,
    parent: int,
    depth: int,
    model: int,
    seed: int,
    weight: float,
    share: float,
) -> int:
    """Make a leaf at the rates of a node, as if it had seen `weight` events; there is room.

    Parameters
    ----------
    nodes, free, trees
        Of the forest.
    parent, depth
        Where it hangs; the caller lets the parent know.
    model
        The node, of the same tree.
    seed
        Decides which features are sampled.
    weight
        Less where the model has less.
    share
        The smallest share of features in a sample.
    """
    link, number, positive, on = nodes.link, nodes.number, nodes.positive, nodes.on
    free.tops[OF_NODES] -= 1
    leaf = int(free.nodes[free.tops[OF_NODES]])
    tree = int(link[model, TREE])
    for i in range(link.shape[1]):
        link[leaf, i] = NONE
    for i in range(number.shape[1]):
        number[leaf, i] = 0.0
    link[leaf, PARENT], link[leaf, DEPTH], link[leaf, TREE] = parent, depth, tree
    link[leaf, HELD] = 0
    link[leaf, KIND] = LEAF if depth < MAX_DEPTH else RESTING
    nodes.seed[leaf] = seed
    weight = min(weight, number[model, WEIGHT])
    scale = weight / number[model, WEIGHT]
    for c in range(positive.shape[1]):
        positive[leaf, c] = positive[model, c] * scale
        on[leaf, c] = 0.0
    number[leaf, WEIGHT] = weight
    number[leaf, NEXT] = GRACE
    number[leaf, SHARE] = sample_share(tree, free.tops[COLUMNS], share)
    trees[tree, N_NODES] += 1
    return leaf


@kernel
def free_subtree(forest: Forest, top: int, keys: OffsetArray) -> None:
    """Give back a node and all that hangs below it, alternates included."""
    free, link = forest.free, forest.nodes.link
    stack = np.empty(STACK, dtype=np.int64)
    stack[0] = top
    height = 1
    tree = link[top, TREE]
    while height > 0:
        height -= 1
        node = stack[height]
        if link[node, KIND] == INNER:
            stack[height], stack[height + 1] = link[node, LEFT], link[node, RIGHT]
            height += 2
            if link[node, ALTERNATE] != NONE:
                stack[height] = link[node, ALTERNATE]
                height += 1
                forest.trees[tree, N_ALTERNATES] -= 1
            free.watches[free.tops[OF_WATCHES]] = link[node, WATCH]
            free.tops[OF_WATCHES] += 1
            forest.trees[tree, N_WATCHES] -= 1
        else:
            release_slots(forest, node, keys, 0.0)
        link[node, KIND] = UNUSED
        free.pending[free.tops[OF_PENDING]] = node
        free.tops[OF_PENDING] += 1
        forest.trees[tree, N_NODES] -= 1


@kernel
def split(
    forest: Forest,
    node: int,
    n_labels: int,
    feature: int,
    threshold: float,
    share: float,
    keys: OffsetArray,
) -> None:
    """Turn a leaf into an inner node with two leaves, which start at its rates."""
    nodes, free, watches = forest.nodes, forest.free, forest.watches
    link, number = nodes.link, nodes.number
    tree = link[node, TREE]
    release_slots(forest, node, keys, 0.0)
    for side in range(2):
        seed = mix(nodes.seed[node] + 1 + side)
        link[node, LEFT + side] = new_leaf(
            nodes,
            free,
            forest.trees,
            node,
            int(link[node, DEPTH]) + 1,
            node,
            seed,
            PRIOR,
            share,
        )
    link[node, KIND] = INNER
    link[node, FEATURE] = feature
    number[node, THRESHOLD] = threshold
    free.tops[OF_WATCHES] -= 1
    watch = free.watches[free.tops[OF_WATCHES]]
    link[node, WATCH] = watch
    forest.trees[tree, N_WATCHES] += 1
    for i in range(watches.counters.shape[1]):
        watches.counters[watch, i] = 0
    watches.counters[watch, 2] = 1  # rows in use
    for i in range(watches.buckets.shape[1]):
        watches.buckets[watch, i] = 0
    watches.sums[watch, 0] = 0.0
    watches.sums[watch, 1] = 0.0
    chance = 0.0
    for c in range(1, n_labels):
        rate = nodes.positive[node, c] / number[node, WEIGHT]
        chance += rate * (1.0 - rate)
    number[node, SCALE] = 1.0 / max(0.05, 2.0 * chance)


@kernel
def review(
    forest: Forest, tree: int, n_labels: int, fade: bool, limit: float, keys: OffsetArray
) -> None:
    """Hold a tree to its limit of memory.

    Leaves that promise least rest while it takes more than .9 of the limit. If `fade`, promises
    are halved and the most promising leaf at rest is woken: while the tree takes less than .8 of
    its limit, or when it promises half more than the least promising leaf with estimators, which
    then gives up its place.
    """
    link, number = forest.nodes.link, forest.nodes.number
    stack = np.empty(STACK, dtype=np.int64)
    while True:
        taken = tree_bytes(forest.trees, tree, n_labels)
        if not fade and taken <= 0.9 * limit:
            return
        best, least = NONE, NONE
        stack[0] = forest.trees[tree, ROOT]
        height = 1
        while height > 0:
            height -= 1
            node = stack[height]
            if link[node, KIND] == INNER:
                stack[height], stack[height + 1] = link[node, LEFT], link[node, RIGHT]
                height += 2
                if link[node, ALTERNATE] != NONE:
                    stack[height] = link[node, ALTERNATE]
                    height += 1
                continue
            if fade:
                number[node, PROMISE] *= 0.5
            if link[node, KIND] == LEAF:
                if least == NONE or number[node, PROMISE] < number[least, PROMISE]:
                    least = node
            elif link[node, DEPTH] < MAX_DEPTH and (
                best == NONE or number[node, PROMISE] > number[best, PROMISE]
            ):
                best = node
        if taken > 0.9 * limit:
            if least == NONE:
                return
            release_slots(forest, least, keys, 0.0)
        elif best != NONE:
            swap = taken >= 0.8 * limit
            if swap and (least == NONE or number[best, PROMISE] <= 1.5 * number[least, PROMISE]):
                return
            if swap:
                release_slots(forest, least, keys, 0.0)
            link[best, KIND] = LEAF
            number[best, SEEN] = 0.0
            number[best, NEXT] = GRACE
            for c in range(forest.nodes.on.shape[1]):
                forest.nodes.on[best, c] = 0.0
        fade = False
