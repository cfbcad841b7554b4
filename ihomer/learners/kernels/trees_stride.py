"""What changes in the trees at the end of a stride: splits, alternates, memory.

In: the leaves that are due for an attempt to split, the inner nodes that have losses to hand to
their detectors. Out: changed trees. When the losses below an inner node have risen, a second
subtree grows beside it on the same events, and takes its place once it is better, as in a
Hoeffding adaptive tree (Bifet, Gavaldà, IDA 2009).
"""

from __future__ import annotations

import math

import numpy as np

from ihomer.drift.adwin import Window, adwin_update
from ihomer.instances import OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.trees_grow import (
    GRACE,
    NODE_BYTES,
    WATCH_BYTES,
    free_subtree,
    new_leaf,
    review,
    sample_share,
    split,
    tree_bytes,
)
from ihomer.learners.kernels.trees_merit import new_work
from ihomer.learners.kernels.trees_slots import fade_slots, mix, release_slots
from ihomer.learners.kernels.trees_split import Options, best_split
from ihomer.learners.kernels.trees_state import (
    ALTERNATE,
    COLUMNS,
    DEPTH,
    EVENTS,
    FIRST,
    INNER,
    KIND,
    LEAD,
    LEAD_SQUARES,
    LEAF,
    LEFT,
    LOSS,
    LOSSES,
    N_ALTERNATES,
    NEXT,
    NONE,
    OF_DUE,
    OF_NODES,
    OF_WATCHES,
    PAIRS,
    PARENT,
    PLANTED,
    RESTING,
    REVIEWED,
    RIGHT,
    ROOT,
    SEEN,
    SHARE,
    SWITCHED,
    TREE,
    VISITS,
    WATCH,
    Forest,
)

FADE_AT = 1 << 20  # events of a leaf after which its statistics are halved
REVIEW = 1024  # events between two reviews of a tree's leaves
WARNING = 0.002  # significance of a detector; the rest of its setting, in means of losses:
CLOCK, SHORTEST, SILENT = 4, 5, 10  # between looks; either side of a cut; before the first
MOST_ALTERNATES = 4  # of one tree at a time
# ADWIN allows for any values in [0, 1]. Means of 16 losses and more lie close together: stretched,
# they are not taken for steadier than they are, and a change shows after a quarter of the events.
STRETCH = 4.0
LEAST_PAIRS, MOST_PAIRS = 128, 4096  # an alternate is judged, and given up, after so many
JUDGED = 0.1  # significance of that comparison


@kernel
def verdict(n: float, lead: float, squares: float) -> int:
    """1: the alternate is better, -1: it is worse or not better in time, 0: not known yet.

    The empirical Bernstein bound (Audibert, Munos, Szepesvári, TCS 2009) on the mean difference of
    paired losses in [-1, 1].
    """
    if n < LEAST_PAIRS:
        return 0
    mean = lead / n
    variance = max(0.0, squares / n - mean * mean)
    log_term = math.log(3.0 / JUDGED)
    bound = math.sqrt(2.0 * variance * log_term / n) + 6.0 * log_term / n
    if mean > bound:
        return 1
    if mean < -bound or n >= MOST_PAIRS:
        return -1
    return 0


@kernel
def _watch(forest: Forest, node: int, keys: OffsetArray, options: Options) -> None:
    """Hand the mean of a node's latest losses to its detector; plant or judge an alternate."""
    link, number, watches = forest.nodes.link, forest.nodes.number, forest.watches
    trees = forest.trees
    tree, parent = int(link[node, TREE]), int(link[node, PARENT])
    w = link[node, WATCH]
    window = Window(
        watches.buckets[w], watches.totals[w], watches.spreads[w], watches.counters[w],
        watches.sums[w], watches.latest[w],
    )  # fmt: skip
    mean = STRETCH * number[node, LOSS] / number[node, LOSSES]
    warned = adwin_update(window, mean, WARNING, CLOCK, SHORTEST, SILENT)
    number[node, LOSS] = 0.0
    number[node, LOSSES] = 0.0
    other = int(link[node, ALTERNATE])
    if other == NONE:
        if warned and watches.latest[w, 0] > 0.0 and trees[tree, N_ALTERNATES] < MOST_ALTERNATES:
            seed = mix((forest.nodes.seed[node] + int(number[node, VISITS])) & 0xFFFFFFFF)
            link[node, ALTERNATE] = new_leaf(
                forest.nodes,
                forest.free,
                trees,
                parent,
                int(link[node, DEPTH]),
                node,
                seed,
                2.0,
                options.share,
            )
            trees[tree, N_ALTERNATES] += 1
            forest.free.tops[PLANTED] += 1
            number[node, PAIRS] = 0.0
            number[node, LEAD] = 0.0
            number[node, LEAD_SQUARES] = 0.0
        return
    outcome = verdict(number[node, PAIRS], number[node, LEAD], number[node, LEAD_SQUARES])
    if outcome == 0:
        return
    trees[tree, N_ALTERNATES] -= 1
    link[node, ALTERNATE] = NONE
    if outcome < 0:
        free_subtree(forest, other, keys)
        return
    forest.free.tops[SWITCHED] += 1
    if parent == NONE:
        trees[tree, ROOT] = other
    elif link[parent, LEFT] == node:
        link[parent, LEFT] = other
    else:
        link[parent, RIGHT] = other
    free_subtree(forest, node, keys)


@kernel
def forest_stride(
    forest: Forest, keys: OffsetArray, n_labels: int, begin: int, options: Options
) -> int:
    """Go through the nodes that are due, then hold each tree to its memory.

    Parameters
    ----------
    forest
        Changed in place.
    keys
        As of `forest_rows`.
    n_labels
        Columns of labels in use, column 0 included.
    begin
        The first of the nodes that are due and not yet done.

    Returns
    -------
    int
        -1: all done; else the first node that is due and might not find room.
    """
    link, number, on = forest.nodes.link, forest.nodes.number, forest.nodes.on
    free, trees = forest.free, forest.trees
    tops = free.tops
    width = on.shape[1]
    active = np.empty(width, dtype=np.int32)
    work = new_work(width)
    found = np.empty(2)
    for i in range(begin, tops[OF_DUE]):
        if tops[OF_NODES] < 2 or tops[OF_WATCHES] < 1:
            return i
        node = int(free.due[i])
        kind, tree = link[node, KIND], int(link[node, TREE])
        if kind == INNER:
            # A node that was split in this stride may lie here twice.
            if number[node, LOSSES] > 0.0:
                _watch(forest, node, keys, options)
        elif kind == RESTING and link[node, FIRST] != NONE:
            release_slots(forest, node, keys, 0.0)
        elif kind == LEAF:
            share = sample_share(tree, tops[COLUMNS], options.share)
            if share < number[node, SHARE]:
                number[node, SHARE] = share
                release_slots(forest, node, keys, share)
            room = NODE_BYTES * 2 + WATCH_BYTES + 16 * n_labels
            if tree_bytes(trees, tree, n_labels) + room <= options.limit and best_split(
                forest, node, keys, n_labels, options, active, work, found
            ):
                split(forest, node, n_labels, int(found[0]), found[1], options.share, keys)
                continue
            if number[node, SEEN] >= FADE_AT:
                number[node, SEEN] = math.ceil(0.5 * number[node, SEEN])
                for c in range(width):
                    on[node, c] *= np.float32(0.5)
                fade_slots(forest.slots, link[node, FIRST])
            # A leaf that has found nothing in many events looks less often.
            seen = number[node, SEEN]
            number[node, NEXT] = seen + max(GRACE, math.floor(0.1 * seen))
    tops[OF_DUE] = 0
    for tree in range(trees.shape[0]):
        fade = tops[EVENTS] - trees[tree, REVIEWED] >= REVIEW
        if fade:
            trees[tree, REVIEWED] = tops[EVENTS]
        # Asked here, because a call counts references to every array of the forest.
        if fade or tree_bytes(trees, tree, n_labels) > 0.9 * options.limit:
            review(forest, tree, n_labels, fade, options.limit, keys)
    return -1
