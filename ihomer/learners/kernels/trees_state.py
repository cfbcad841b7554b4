"""The arrays of a forest of multi-label Hoeffding trees, and how they are made larger.

Here is the layout that every kernel of the trees shares: nodes in one arena for all trees of the
forest, the statistics of (leaf, feature) pairs in another, found through a hash table. A slot
holds the statistics of one feature in one leaf: counts while every value was 1 (a nominal's
indicator), sums once a value was not. Only values that are there are counted: what the zeros add
is known from the leaf's own counts. Everything is a flat array, so that it is cheap to copy and
safe to save.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.instances import Float32Array, FloatArray, IntArray, OffsetArray

MAX_DEPTH = 14
NONE = -1

# Fields of `Nodes.link`.
FEATURE, LEFT, RIGHT, PARENT, DEPTH, TREE, ALTERNATE, WATCH, FIRST, KIND, HELD = range(11)
# Kinds of nodes: one that tests a feature, a leaf with estimators, a leaf without.
UNUSED, INNER, LEAF, RESTING = range(4)
# Fields of `Nodes.number`.
THRESHOLD, WEIGHT, SEEN, NEXT, PROMISE, VISITS, SHARE, LOSS, LOSSES, SCALE = range(10)
PAIRS, LEAD, LEAD_SQUARES = range(10, 13)
# Fields of `Slots.link`.
NODE, CODE, FOLLOWING, ROW = range(4)
DROPPED = -(1 << 31)  # the row of a feature that looked too bad to be counted on
# Fields of `Trees.number`: its root, what it holds, events at its last review.
ROOT, N_NODES, N_COUNTS, N_MOMENTS, N_WATCHES, N_ALTERNATES, REVIEWED = range(7)
# The stacks of free places, in the order of `Free.tops`.
OF_NODES, OF_SLOTS, OF_COUNTS, OF_MOMENTS, OF_WATCHES, OF_PENDING, OF_DUE = range(7)
# The rest of `Free.tops`.
COLUMNS, EVENTS, PAUSED, PLANTED, SWITCHED = range(7, 12)

WATCH_ROWS, WATCH_BUCKETS = 16, 4


class Nodes(NamedTuple):
    """One row per node of any tree.

    Attributes
    ----------
    link
        int32 (nodes, 11): feature tested, the two children, parent, depth, tree, root of the
        alternate subtree, detector, first slot, kind, number of slots.
    number
        float64 (nodes, 13): threshold; weight of the rates; events seen by the estimators; events
        at the next attempt to split; recent loss; events that came by; share of the features that
        are sampled; loss since the last look of the detector, number of events in it, what scales
        it; pairs of losses compared with the alternate's, sum of their differences, of squares.
    seed
        int64 (nodes,), 32 bits: decides which features are sampled.
    positive
        float32 (nodes, width): the rates' numerators; column 0 stands for a label never on.
    on
        float32 (nodes, width): events with the label on among those seen by the estimators.
    """

    link: IntArray
    number: FloatArray
    seed: OffsetArray
    positive: Float32Array
    on: Float32Array


class Slots(NamedTuple):
    """Statistics of (leaf, feature) pairs.

    Attributes
    ----------
    link
        int32 (slots, 4): leaf; code = 2 x feature, + 1 for its missing values; the leaf's next
        slot; row of `counts`, or ~row of `moments`.
    shift
        float64 (slots,): the first value; sums are taken relative to it, and in its size.
    counts
        float32 (rows, width): events with a value; in column 0 all, then those with each label on.
    moments
        float32 (rows, width, 3): count, sum of (value - shift) / abs(shift), of its square;
        columns as above.
    look
        float32 (slots,): how good a feature looked at the latest attempt to split.
    table
        int32 (a power of two,): hash table of slot + 1, 0 = empty; linear probing.
    """

    link: IntArray
    shift: FloatArray
    counts: Float32Array
    moments: Float32Array
    look: Float32Array
    table: IntArray


class Watches(NamedTuple):
    """ADWIN windows of inner nodes: the arrays of `ihomer.drift.adwin.Window`, one axis more."""

    buckets: OffsetArray
    totals: FloatArray
    spreads: FloatArray
    counters: OffsetArray
    sums: FloatArray
    latest: FloatArray


class Free(NamedTuple):
    """Stacks of free places: int32 each; ``tops`` (int64) says how many lie on each stack.

    `pending` holds the ids of nodes that are gone but not to be given out yet, `due` the leaves
    and inner nodes that want a look at the next stride; ``tops[7]`` = feature columns seen by
    learned events, ``tops[8]`` = learned events, ``tops[9]`` = 0, or 1 + how many of the nodes that
    are due have been done, if a stride could not be finished for lack of room; ``tops[10]`` and
    ``tops[11]`` count alternates that were planted and that took over.
    """

    nodes: IntArray
    slots: IntArray
    counts: IntArray
    moments: IntArray
    watches: IntArray
    pending: IntArray
    due: IntArray
    tops: OffsetArray


class Forest(NamedTuple):
    """The state of one cluster's forest; `trees` is int64 (trees, 7)."""

    nodes: Nodes
    slots: Slots
    watches: Watches
    free: Free
    trees: OffsetArray


def empty_forest(trees: int) -> Forest:
    """A forest without room, of trees without a root."""
    state = np.zeros((trees, 7), dtype=np.int64)
    state[:, ROOT] = NONE
    nodes = Nodes(
        np.zeros((0, 11), dtype=np.int32),
        np.zeros((0, 13)),
        np.zeros(0, dtype=np.int64),
        np.zeros((0, 1), dtype=np.float32),
        np.zeros((0, 1), dtype=np.float32),
    )
    slots = Slots(
        np.zeros((0, 4), dtype=np.int32),
        np.zeros(0),
        np.zeros((0, 1), dtype=np.float32),
        np.zeros((0, 1, 3), dtype=np.float32),
        np.zeros(0, dtype=np.float32),
        np.zeros(16, dtype=np.int32),
    )
    rows, buckets = WATCH_ROWS, WATCH_BUCKETS + 1
    watches = Watches(
        np.zeros((0, rows), dtype=np.int64),
        np.zeros((0, rows, buckets)),
        np.zeros((0, rows, buckets)),
        np.zeros((0, 4), dtype=np.int64),
        np.zeros((0, 2)),
        np.zeros((0, 3)),
    )
    none = np.zeros(0, dtype=np.int32)
    free = Free(none, none, none, none, none, none, none, np.zeros(12, dtype=np.int64))
    return Forest(nodes, slots, watches, free, state)


def wider(forest: Forest, width: int) -> Forest:
    """`forest` with `width` columns for labels; a new column is a label that was never on."""
    nodes, slots = forest.nodes, forest.slots
    positive = _widened(nodes.positive, width)
    positive[:, nodes.positive.shape[1] :] = nodes.positive[:, :1]
    nodes = nodes._replace(positive=positive, on=_widened(nodes.on, width))
    slots = slots._replace(
        counts=_widened(slots.counts, width), moments=_widened(slots.moments, width)
    )
    return forest._replace(nodes=nodes, slots=slots)


def _widened(array: Float32Array, width: int) -> Float32Array:
    out = np.zeros((array.shape[0], width, *array.shape[2:]), dtype=array.dtype)
    out[:, : array.shape[1]] = array
    return out
