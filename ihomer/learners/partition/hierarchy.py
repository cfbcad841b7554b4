"""The clusters' own binary hierarchy: clusters and counts of labels in, a tree out.

Average linkage of the mean Jaccard dissimilarity 1 - n_ij / (n_i + n_j - n_ij) over the pairs of a
label here and one there, of counts that fade. It is here to be looked at and handed on: it prints
as a tree and is written as JSON and in Newick's format.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from ihomer.instances import FloatArray
from ihomer.learners.partition.cooccurrence import Cooccurrence

DELTA = 0.05  # of the bounds
_SHOWN = 8  # labels of a cluster in print


@dataclass(frozen=True, slots=True)
class HierarchyNode:
    """A cluster, or several.

    Attributes
    ----------
    labels
        Names, sorted.
    dissimilarity
        Mean over the pairs of a label of one side and one of the other; of a cluster over all its
        pairs, 0 where it has one label.
    diameter
        Largest dissimilarity of two of its labels; 0 where it has one.
    bound
        Hoeffding's of `dissimilarity`, at a chance of error of `DELTA`: sqrt(ln(1/DELTA) / (2n)),
        n the mean number of events that a pair's dissimilarity rests on, those with either label.
    sides
        The two nodes below; none below a cluster.
    """

    labels: tuple[str, ...]
    dissimilarity: float
    diameter: float
    bound: float
    sides: tuple[HierarchyNode, ...] = ()

    @property
    def size(self) -> int:
        """Number of labels."""
        return len(self.labels)


@dataclass(frozen=True)
class Hierarchy:
    """The hierarchy of all clusters.

    Attributes
    ----------
    root
        None where there is no cluster.

    Examples
    --------
    >>> from ihomer import LabelPartitioner
    >>> partitioner = LabelPartitioner()
    >>> partitioner.update_many([["goal", "match"], ["vote", "law"]] * 128)
    >>> print(partitioner.hierarchy())
    4 labels, dissimilarity 1.000 +- 0.077, diameter 1.000
    |- 2 labels, dissimilarity 0.000 +- 0.108, diameter 0.000: goal, match
    `- 2 labels, dissimilarity 0.000 +- 0.108, diameter 0.000: law, vote
    >>> print(partitioner.hierarchy().to_newick())
    (('goal':0,'match':0)'0.000':1,('law':0,'vote':0)'0.000':1)'1.000';
    """

    root: HierarchyNode | None

    def nodes(self) -> Iterator[HierarchyNode]:
        """All nodes, each before those below it, sides in order."""
        waiting = [] if self.root is None else [self.root]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.sides))

    def leaves(self) -> list[HierarchyNode]:
        """The clusters, from the first to the last."""
        return [node for node in self.nodes() if not node.sides]

    def __str__(self) -> str:
        lines = []
        waiting = [] if self.root is None else [(self.root, "", "")]
        while waiting:
            node, before, below = waiting.pop()
            plural = "" if node.size == 1 else "s"
            line = (
                f"{before}{node.size} label{plural}, dissimilarity {node.dissimilarity:.3f}"
                f" +- {node.bound:.3f}, diameter {node.diameter:.3f}"
            )
            if not node.sides:
                more = node.size - _SHOWN
                line += ": " + ", ".join(node.labels[:_SHOWN])
                line += f" and {more} more" if more > 0 else ""
            lines.append(line)
            for side, (own, rest) in zip(
                reversed(node.sides), (("`- ", "   "), ("|- ", "|  ")), strict=False
            ):
                waiting.append((side, below + own, below + rest))
        return "\n".join(lines) if lines else "no clusters"

    def to_json(self) -> str:
        """The nodes as a JSON array, each before those below it.

        ``{"size", "dissimilarity", "diameter", "bound"}`` and, in a cluster, its ``"labels"``,
        elsewhere ``"sides"``, the places of the two nodes below in the array. It is flat because
        a hierarchy may be deeper than parsers like.
        """
        nodes = list(self.nodes())
        places = {id(node): place for place, node in enumerate(nodes)}
        rows = []
        for node in nodes:
            row: dict[str, object] = {
                "size": node.size,
                "dissimilarity": node.dissimilarity,
                "diameter": node.diameter,
                "bound": node.bound,
            }
            if node.sides:
                row["sides"] = [places[id(side)] for side in node.sides]
            else:
                row["labels"] = list(node.labels)
            rows.append(row)
        return orjson.dumps(rows).decode()

    def to_newick(self) -> str:
        """The tree in Newick's format, its leaves the labels, each in quotes.

        An inner node's name is its dissimilarity; a branch is as long as dissimilarity grows over
        it, 0 where it does not. Without clusters it is the empty tree ``;``.
        """
        written: dict[int, str] = {}
        for node in reversed(list(self.nodes())):
            if node.sides:
                parts = [
                    f"{written.pop(id(side))}:{_length(node.dissimilarity - side.dissimilarity)}"
                    for side in node.sides
                ]
            else:
                length = _length(node.dissimilarity)
                parts = [f"{_quoted(label)}:{length}" for label in node.labels]
            written[id(node)] = f"({','.join(parts)}){_quoted(f'{node.dissimilarity:.3f}')}"
        return "".join(written.values()) + ";"


def _quoted(name: str) -> str:
    """A name in Newick's single quotes, those within doubled; line breaks would end the tree."""
    flat = " ".join(name.splitlines()) if name.splitlines() else name
    return "'" + flat.replace("'", "''") + "'"


def _length(value: float) -> str:
    return f"{max(0.0, value):.6g}"


def make_hierarchy(
    clusters: Sequence[Sequence[int]], counts: Cooccurrence, names: Sequence[str]
) -> Hierarchy:
    """Build the hierarchy of clusters.

    Parameters
    ----------
    clusters
        Label ids, disjoint; the order of the clusters decides ties.
    counts
        Of the labels and of the pairs that occur together.
    names
        Of all label ids.
    """
    n = len(clusters)
    if not n:
        return Hierarchy(None)
    number = np.full(len(names), -1, dtype=np.int64)
    for place, cluster in enumerate(clusters):
        number[cluster] = place
    seen = np.zeros(len(names))
    held = counts.labels()[: len(names)]
    seen[: len(held)] = held
    sizes = np.array([len(cluster) for cluster in clusters], dtype=np.float64)
    totals = np.array([math.fsum(seen[list(cluster)].tolist()) for cluster in clusters])
    first, second, together = counts.pairs()
    there = second < len(names)
    there[there] &= (number[first[there]] >= 0) & (number[second[there]] >= 0)
    first, second, together = first[there], second[there], together[there]
    # In the order of names, because sums depend on it.
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    low, high = np.minimum(ranks[first], ranks[second]), np.maximum(ranks[first], ranks[second])
    order = np.lexsort((high, low))
    first, second, together = first[order], second[order], together[order]
    chances = seen[first] + seen[second] - together
    alike = np.divide(together, chances, out=np.zeros(len(together)), where=chances > 0.0)
    cells = number[first] * n + number[second]

    def summed(values: FloatArray) -> FloatArray:
        table = np.bincount(cells, values, minlength=n * n).astype(np.float64).reshape(n, n)
        return table + table.T

    sums = _Sums(sizes, totals, summed(alike), summed(together), summed(np.ones(len(alike))))
    farthest = np.zeros(n * n)
    np.maximum.at(farthest, cells, 1.0 - alike)
    farthest = np.maximum(farthest.reshape(n, n), farthest.reshape(n, n).T)
    nodes = [
        _cluster_node(tuple(sorted(names[label] for label in cluster)), place, sums, farthest)
        for place, cluster in enumerate(clusters)
    ]
    return Hierarchy(_linked(nodes, sums, farthest))


@dataclass
class _Sums:
    """Over clusters, and over pairs of a label here and one there (within: twice).

    Attributes
    ----------
    sizes, totals
        float64 (n,): labels, and the sum of their counts.
    alike, hits, pairs
        float64 (n, n): similarities, events with both labels, number of pairs that occur together.
    """

    sizes: FloatArray
    totals: FloatArray
    alike: FloatArray
    hits: FloatArray
    pairs: FloatArray


def _bound(events: float, pairs: float) -> float:
    """Hoeffding's bound where so many pairs rest on so many events together."""
    return min(1.0, math.sqrt(math.log(1.0 / DELTA) * pairs / (2.0 * max(events, 1e-9))))


def _cluster_node(
    labels: tuple[str, ...], a: int, sums: _Sums, farthest: FloatArray
) -> HierarchyNode:
    m, total = float(sums.sizes[a]), float(sums.totals[a])
    if m == 1:
        return HierarchyNode(labels, 0.0, 0.0, _bound(total, 1.0))
    pairs = m * (m - 1.0) / 2.0
    mean = 1.0 - float(sums.alike[a, a]) / 2.0 / pairs
    diameter = 1.0 if sums.pairs[a, a] / 2.0 < pairs else float(farthest[a, a])
    events = (m - 1.0) * total - float(sums.hits[a, a]) / 2.0
    return HierarchyNode(labels, max(0.0, mean), diameter, _bound(events, pairs))


def _linked(nodes: list[HierarchyNode], sums: _Sums, farthest: FloatArray) -> HierarchyNode:
    """Merge nodes by average linkage, by chains of nearest neighbours; ties by their order."""
    sizes, totals, alike = sums.sizes, sums.totals, sums.alike
    hits, joint = sums.hits, sums.pairs
    likeness = alike / np.outer(sizes, sizes)
    np.fill_diagonal(likeness, -np.inf)
    diameters = [node.diameter for node in nodes]
    chain: list[int] = []
    root = 0
    for _ in range(len(nodes) - 1):
        if not chain:
            chain.append(int(np.argmax(likeness.max(axis=1) > -np.inf)))
        while True:
            a = chain[-1]
            b = int(np.argmax(likeness[a]))
            # The one before is kept among equals, or the chain could go in circles.
            if len(chain) > 1 and likeness[a, chain[-2]] == likeness[a, b]:
                b = chain[-2]
                break
            chain.append(b)
        del chain[-2:]
        a, b = min(a, b), max(a, b)
        pairs = float(sizes[a] * sizes[b])
        mean = 1.0 - float(alike[a, b]) / pairs
        across = 1.0 if joint[a, b] < pairs else float(farthest[a, b])
        events = float(sizes[b] * totals[a] + sizes[a] * totals[b] - hits[a, b])
        diameters[a] = max(diameters[a], diameters[b], across)
        labels = tuple(sorted(nodes[a].labels + nodes[b].labels))
        nodes[a] = HierarchyNode(
            labels, mean, diameters[a], _bound(events, pairs), (nodes[a], nodes[b])
        )
        root = a
        sizes[a] += sizes[b]
        totals[a] += totals[b]
        for table in (alike, hits, joint):
            table[a] += table[b]
            table[:, a] = table[a]
        np.maximum(farthest[a], farthest[b], out=farthest[a])
        farthest[:, a] = farthest[a]
        there = likeness[a] > -np.inf  # what has not become part of another node, nor a itself
        likeness[a] = np.where(there, alike[a] / (sizes[a] * sizes), -np.inf)
        likeness[:, a] = likeness[a]
        likeness[b] = likeness[:, b] = -np.inf
    return nodes[root]
