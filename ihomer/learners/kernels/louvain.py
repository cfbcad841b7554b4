"""Louvain's method: a weighted graph in, a division of its nodes of high modularity out.

It is here as a place to start from: modularity at a low resolution sees the large blocks of a
graph and at a high one the small ones, and each level costs time in proportion to the edges. What
is then kept is decided by another score (`blockmodel`).
"""

from __future__ import annotations

import numpy as np

from ihomer.instances import OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.blockmodel import SWEEPS, Graph, gather_links, nodes_by_block

_LEAST = 1e-12  # smaller gains, relative to the weight of the graph, are rounding


@kernel
def _move_all(
    graph: Graph, block: OffsetArray, total: float, resolution: float, largest: int
) -> int:
    """Move each node to the block that gains most modularity, until none moves."""
    n = block.shape[0]
    degrees, sizes = np.zeros(n), np.zeros(n, dtype=np.int64)
    for i in range(n):
        degrees[block[i]] += graph.degrees[i]
        sizes[block[i]] += graph.sizes[i]
    link = np.zeros(n)
    met = np.empty(n, dtype=np.int64)
    least = _LEAST * total
    moves = 0
    for _ in range(SWEEPS):
        moved = 0
        for i in range(n):
            a = block[i]
            k = graph.degrees[i]
            count = gather_links(graph, block, i, link, met)
            share = resolution * k / total
            best, target = link[a] - share * (degrees[a] - k) + least, a
            for c in range(count):
                b = met[c]
                if b == a or sizes[b] + graph.sizes[i] > largest:
                    continue
                gain = link[b] - share * degrees[b]
                if gain > best:
                    best, target = gain, b
            for c in range(count):
                link[met[c]] = 0.0
            if target != a:
                degrees[a] -= k
                sizes[a] -= graph.sizes[i]
                degrees[target] += k
                sizes[target] += graph.sizes[i]
                block[i] = target
                moved += 1
        moves += moved
        if moved == 0:
            break
    return moves


@kernel
def _aggregated(graph: Graph, block: OffsetArray, count: int) -> Graph:
    """The graph whose nodes are the blocks 0 to `count` - 1, without loops."""
    n = block.shape[0]
    degrees, sizes = np.zeros(count), np.zeros(count, dtype=np.int64)
    for i in range(n):
        degrees[block[i]] += graph.degrees[i]
        sizes[block[i]] += graph.sizes[i]
    first, members = nodes_by_block(block, count)
    indptr = np.zeros(count + 1, dtype=np.int64)
    indices = np.empty(graph.indices.shape[0], dtype=np.int64)
    weights = np.empty(graph.indices.shape[0])
    link = np.zeros(count)
    edges = 0
    for b in range(count):
        start = edges
        for m in range(first[b], first[b + 1]):
            i = members[m]
            for e in range(graph.indptr[i], graph.indptr[i + 1]):
                c = block[graph.indices[e]]
                if c != b:
                    if link[c] == 0.0:
                        indices[edges] = c
                        edges += 1
                    link[c] += graph.weights[e]
        indices[start:edges].sort()
        for e in range(start, edges):
            weights[e] = link[indices[e]]
            link[indices[e]] = 0.0
        indptr[b + 1] = edges
    return Graph(indptr, indices[:edges].copy(), weights[:edges].copy(), degrees, sizes)


@kernel
def louvain(graph: Graph, total: float, resolution: float, largest: int, block: OffsetArray) -> int:
    """Divide a graph by local moves and aggregation, level by level.

    Parameters
    ----------
    graph
        See `Graph`.
    total
        Twice the weight of all edges.
    resolution
        Of modularity: larger makes smaller blocks.
    largest
        No block has more labels.
    block
        int64 (n,), written: blocks, numbered in the order of their first node.

    Returns
    -------
    int
        Number of blocks.

    References
    ----------
    Blondel, Guillaume, Lambiotte, Lefebvre: Fast unfolding of communities in large networks,
    Journal of Statistical Mechanics, 2008. Reichardt and Bornholdt, Physical Review E 74, 2006
    (resolution).
    """
    n = block.shape[0]
    for i in range(n):
        block[i] = i
    level = graph
    count: int = n
    while count > 0:
        part = np.arange(count)
        if _move_all(level, part, total, resolution, largest) == 0:
            break
        rank = np.full(count, -1, dtype=np.int64)
        made = 0
        for i in range(count):
            if rank[part[i]] < 0:
                rank[part[i]] = made
                made += 1
            part[i] = rank[part[i]]
        for i in range(n):
            block[i] = part[block[i]]
        if made == count:
            break
        level = _aggregated(level, part, made)
        count = made
    return count
