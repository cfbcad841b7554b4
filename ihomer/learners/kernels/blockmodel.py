"""The degree-corrected block model of a co-occurrence graph: its score, and moves that raise it.

In: a weighted graph of labels and a division of its nodes into blocks. Out: a division that
describes the graph in fewer nats. Where a division starts from is in `louvain`.

With k_i the degrees, m_B the weight of the edges inside block B, P_B the sum of k_i k_j over its
pairs i < j, N_B its number of nodes, E the weight of all edges, P the sum of k_i k_j over all
pairs, m_o = E - sum m_B, P_o = P - sum P_B and n nodes, the score is ::

    sum_B m_B ln(m_B P / (P_B E)) + m_o ln(m_o P / (P_o E))
    + sum_B N_B ln(N_B / n) - blocks / 2 * ln E

that is the gain over a graph that knows degrees only (Karrer and Newman, Physical Review E 83,
2011), less what it takes to say where each label belongs and how dense each block is. Their P_B
counts loops too; no label occurs with itself, and where a few labels have most of the weight, loops
that cannot be would make structure of nothing. The score is 0 less the last term when all labels
are in one block.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ihomer.instances import FloatArray, OffsetArray
from ihomer.jit import kernel

SWEEPS = 20  # over all nodes, at most, until none moves
ROUNDS = 5  # of merging blocks, then moving nodes
_LEAST = 1e-9  # smaller gains are rounding

_OUTSIDE, _APART, _BLOCKS, _SCALE = 0, 1, 2, 3  # places in `Blocks.totals`


class Graph(NamedTuple):
    """An undirected graph without loops, each edge from both of its ends.

    Attributes
    ----------
    indptr
        int64 (n + 1,).
    indices
        int64 (edges,): neighbours, ascending within a node.
    weights
        float64 (edges,), positive.
    degrees
        float64 (n,): what a node's edges weigh together, loops that are left out included twice.
    sizes
        int64 (n,): how many labels a node stands for.
    """

    indptr: OffsetArray
    indices: OffsetArray
    weights: FloatArray
    degrees: FloatArray
    sizes: OffsetArray


class Blocks(NamedTuple):
    """Sums over blocks; block numbers are below n.

    Attributes
    ----------
    inside, degrees, pairs
        float64 (n,): m_B, the sum of the degrees, P_B.
    sizes
        int64 (n,): N_B.
    totals
        float64 (4,): m_o, P_o, the number of blocks that are not empty, ln(P / E).
    """

    inside: FloatArray
    degrees: FloatArray
    pairs: FloatArray
    sizes: OffsetArray
    totals: FloatArray


@kernel
def block_sums(graph: Graph, block: OffsetArray) -> Blocks:
    """Sum up `block`, int64 (n,), the block of each node."""
    n = block.shape[0]
    indptr, indices, weights = graph.indptr, graph.indices, graph.weights
    inside, degrees, pairs = np.zeros(n), np.zeros(n), np.zeros(n)
    sizes = np.zeros(n, dtype=np.int64)
    totals = np.zeros(4)
    outside, within, total, every = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        b, k = block[i], graph.degrees[i]
        pairs[b] += k * degrees[b]
        within += k * degrees[b]
        every += k * total
        degrees[b] += k
        total += k
        sizes[b] += graph.sizes[i]
        for e in range(indptr[i], indptr[i + 1]):
            if indices[e] < i:
                if block[indices[e]] == b:
                    inside[b] += weights[e]
                else:
                    outside += weights[e]
    totals[_OUTSIDE], totals[_APART] = outside, every - within
    totals[_SCALE] = math.log(2.0 * every / total) if every > 0.0 else 0.0
    for b in range(n):
        totals[_BLOCKS] += sizes[b] > 0
    return Blocks(inside, degrees, pairs, sizes, totals)


@kernel
def _fit(weight: float, pairs: float, scale: float) -> float:
    """The term of a block, or of what lies between blocks: its edges and its P."""
    if weight <= _LEAST or pairs <= 0.0:
        return 0.0
    return weight * (math.log(weight / pairs) + scale)


@kernel
def _place(size: int, n: int) -> float:
    """What it takes to say of a block's labels that they are in it."""
    return size * math.log(size / n) if size > 0 else 0.0


@kernel
def block_score(blocks: Blocks, total: float, n: int) -> float:
    """The score; see the module.

    Parameters
    ----------
    blocks
        Of a division.
    total
        W, twice the weight of all edges.
    n
        Number of labels.
    """
    scale = blocks.totals[_SCALE]
    score = _fit(blocks.totals[_OUTSIDE], blocks.totals[_APART], scale)
    for b in range(blocks.sizes.shape[0]):
        if blocks.sizes[b] > 0:
            score += _fit(blocks.inside[b], blocks.pairs[b], scale)
            score += _place(blocks.sizes[b], n)
    score -= 0.5 * blocks.totals[_BLOCKS] * math.log(max(1.0, 0.5 * total))
    return float(score)


@kernel
def gather_links(
    graph: Graph, block: OffsetArray, i: int, link: FloatArray, met: OffsetArray
) -> int:
    """Weights between node `i` and each block.

    Parameters
    ----------
    graph, block, i
        See `move_nodes`.
    link
        float64 (n,), all 0: weights are added by block.
    met
        int64 (n,): the blocks that have one are written from the start.

    Returns
    -------
    int
        How many there are.
    """
    count = 0
    for e in range(graph.indptr[i], graph.indptr[i + 1]):
        b = block[graph.indices[e]]
        if link[b] == 0.0:
            met[count] = b
            count += 1
        link[b] += graph.weights[e]
    return count


@kernel
def nodes_by_block(block: OffsetArray, count: int) -> tuple[OffsetArray, OffsetArray]:
    """Where each of `count` blocks begins in the list of nodes by block, and that list."""
    n = block.shape[0]
    first = np.zeros(count + 1, dtype=np.int64)
    for i in range(n):
        first[block[i] + 1] += 1
    for b in range(count):
        first[b + 1] += first[b]
    members = np.empty(n, dtype=np.int64)
    at = first[:count].copy()
    for i in range(n):
        members[at[block[i]]] = i
        at[block[i]] += 1
    return first, members


@kernel
def move_nodes(
    graph: Graph,
    block: OffsetArray,
    free: OffsetArray,
    total: float,
    largest: int,
    alone: bool,
    smallest: int,
) -> int:
    """Move single nodes to where they raise the score most, until none does.

    Nodes are looked at in their order; among equal gains the block met first, along a node's
    edges, wins.

    Parameters
    ----------
    graph
        Whose nodes are single labels.
    block
        int64 (n,): block of each node, below n; changed.
    free
        int64 (f,): the nodes that may move.
    total
        See `block_score`.
    largest
        So many labels fit into a block.
    alone
        Whether a node may leave its block for an empty one.
    smallest
        0: see above. Otherwise each node whose block has fewer labels goes, once, to the linked
        block that has room where the score falls least.

    Returns
    -------
    int
        Number of moves.
    """
    n = block.shape[0]
    blocks = block_sums(graph, block)
    inside, degrees, sizes, totals = blocks.inside, blocks.degrees, blocks.sizes, blocks.totals
    pairs, scale = blocks.pairs, blocks.totals[_SCALE]
    price = 0.5 * math.log(max(1.0, 0.5 * total))
    link = np.zeros(n)
    met = np.empty(n, dtype=np.int64)
    empty = np.empty(n, dtype=np.int64)  # a stack of block numbers that are not in use
    unused = 0
    for b in range(n - 1, -1, -1):
        if sizes[b] == 0:
            empty[unused] = b
            unused += 1
    moves = 0
    forced = smallest > 0
    for _ in range(1 if forced else SWEEPS):
        moved = 0
        for f in range(free.shape[0]):
            i = free[f]
            a = block[i]
            if forced and sizes[a] >= smallest:
                continue
            count = gather_links(graph, block, i, link, met)
            k = graph.degrees[i]
            # Without i its block is:
            in_a, k_a, n_a = inside[a] - link[a], degrees[a] - k, sizes[a] - 1
            p_a = pairs[a] - k * k_a
            rest, apart = totals[_OUTSIDE] + link[a], totals[_APART] + k * k_a
            left = _fit(in_a, p_a, scale) + _place(n_a, n) - (price if n_a else 0.0)
            stay = _fit(inside[a], pairs[a], scale) + _place(sizes[a], n) - price
            stay += _fit(totals[_OUTSIDE], totals[_APART], scale)
            best, target = (-np.inf if forced else stay + _LEAST), a
            for c in range(count):
                b = met[c]
                if b == a or sizes[b] >= largest:
                    continue
                more = k * degrees[b]
                gain = left + _fit(inside[b] + link[b], pairs[b] + more, scale)
                gain += _place(sizes[b] + 1, n) - _place(sizes[b], n)
                gain += _fit(rest - link[b], apart - more, scale)
                gain -= _fit(inside[b], pairs[b], scale)
                if gain > best:
                    best, target = gain, b
            if alone and n_a > 0:
                gain = left + _place(1, n) - price + _fit(rest, apart, scale)
                if gain > best:
                    target = empty[unused - 1]
                    unused -= 1
            if target != a:
                b = target
                more = k * degrees[b]
                totals[_OUTSIDE], totals[_APART] = rest - link[b], apart - more
                inside[a], degrees[a], sizes[a], pairs[a] = in_a, k_a, n_a, p_a
                inside[b] += link[b]
                degrees[b] += k
                pairs[b] += more
                sizes[b] += 1
                if n_a == 0:  # nothing of rounding stays
                    inside[a], degrees[a], pairs[a] = 0.0, 0.0, 0.0
                    empty[unused] = a
                    unused += 1
                block[i] = b
                moved += 1
            for c in range(count):
                link[met[c]] = 0.0
        moves += moved
        if moved == 0:
            break
    return moves


@kernel
def _merge_once(graph: Graph, block: OffsetArray, total: float, largest: int) -> int:
    """Merge pairs of linked blocks that raise the score, the best first, each block once."""
    n = block.shape[0]
    blocks = block_sums(graph, block)
    inside, degrees, sizes, totals = blocks.inside, blocks.degrees, blocks.sizes, blocks.totals
    pairs, scale = blocks.pairs, blocks.totals[_SCALE]
    indptr, indices, weights = graph.indptr, graph.indices, graph.weights
    price = 0.5 * math.log(max(1.0, 0.5 * total))
    first, members = nodes_by_block(block, n)
    room = indices.shape[0] // 2
    one, other = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    # Weight between the two, their own terms' gain, the gain in all.
    between, own, gains = np.empty(room), np.empty(room), np.empty(room)
    link = np.zeros(n)
    met = np.empty(n, dtype=np.int64)
    base = _fit(totals[_OUTSIDE], totals[_APART], scale)
    known = 0
    for b in range(n):
        count = 0
        for m in range(first[b], first[b + 1]):
            i = members[m]
            for e in range(indptr[i], indptr[i + 1]):
                c = block[indices[e]]
                if c > b:
                    if link[c] == 0.0:
                        met[count] = c
                        count += 1
                    link[c] += weights[e]
        for s in range(count):
            c = met[s]
            w = link[c]
            link[c] = 0.0
            if sizes[b] + sizes[c] > largest:
                continue
            more = degrees[b] * degrees[c]
            gain = _fit(inside[b] + inside[c] + w, pairs[b] + pairs[c] + more, scale) + price
            gain -= _fit(inside[b], pairs[b], scale) + _fit(inside[c], pairs[c], scale)
            gain += _place(sizes[b] + sizes[c], n) - _place(sizes[b], n) - _place(sizes[c], n)
            whole = gain + _fit(totals[_OUTSIDE] - w, totals[_APART] - more, scale) - base
            if whole > _LEAST:
                one[known], other[known] = b, c
                between[known], own[known], gains[known] = w, gain, whole
                known += 1
    into = np.full(n, -1, dtype=np.int64)
    merged = 0
    for p in np.argsort(-gains[:known], kind="mergesort"):
        b, c = one[p], other[p]
        if into[b] >= 0 or into[c] >= 0:
            continue
        # What lies outside is no longer what it was when the gain was taken.
        outside = totals[_OUTSIDE] - between[p]
        apart = totals[_APART] - degrees[b] * degrees[c]
        gain = own[p] + _fit(outside, apart, scale)
        if gain - _fit(totals[_OUTSIDE], totals[_APART], scale) <= _LEAST:
            continue
        into[b], into[c] = b, b
        totals[_OUTSIDE], totals[_APART] = outside, apart
        merged += 1
    if merged:
        for i in range(n):
            if into[block[i]] >= 0:
                block[i] = into[block[i]]
    return merged


@kernel
def improve(graph: Graph, block: OffsetArray, total: float, largest: int) -> float:
    """Merge blocks and move nodes in turn while the score rises; returns the score reached.

    Parameters
    ----------
    graph, block, total, largest
        As for `move_nodes`.
    """
    n = block.shape[0]
    free = np.arange(n)
    for _ in range(ROUNDS):
        while _merge_once(graph, block, total, largest):
            pass
        if move_nodes(graph, block, free, total, largest, True, 0) == 0:
            break
    return block_score(block_sums(graph, block), total, n)
