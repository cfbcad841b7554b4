"""Which labels belong together, from how often they occur and occur together: the division itself.

In: n_i of m labels and n_ij of their pairs as a dense matrix, both in the order of the labels'
names. Out: a group number for each label. Nothing is kept between calls.

Average linkage on the dissimilarity 1 - n_ij / (n_i + n_j - n_ij) gives a binary hierarchy, as in
iHOMER. The published test of a node (two most distant labels as pivots) cannot work where most
pairs never occur together, because then any two labels are most distant. Here the two sides of a
node are held against what lies between them, on pooled counts: W = hits / chances within a side,
B = the same between the sides, a chance being an event with either label of a pair, a hit one
with both. The sides are separate clusters when each of them is `CONTRAST` times as close within as
the two are to each other and the difference is no accident: by Hoeffding's inequality in its
sharp form, n KL(W || B) against ln(1/delta), of which e = sqrt(ln(1/delta) / (2n)) is the
relaxation for the worst case W = 1/2, useless at the small W of sparse label sets. As B is an
estimate too, both are held against their pooled mean. An accident would have to be the best of
all divisions that linkage could have chosen: ln(pairs) and one nat per label are added, which
random labels do not overcome. Pairs of one event are no independent chances: n is the number of
chances divided by the mean number of pairs that share an event.

Labels that are common occur with each other more often than rare ones do even if all are
independent; they fail the test, because it asks for closeness within both sides.

References
----------
Neves, Lourenço, Cano, Marreiros: iHOMER, ECAI 2025, arXiv 2507.20894.
Rodrigues, Gama, Pedroso: Hierarchical clustering of time-series data streams, TKDE 20, 2008.
Hoeffding: Probability inequalities for sums of bounded random variables, JASA 58, 1963, (2.1).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ihomer.instances import FloatArray
from ihomer.learners.kernels.columns import pooled
from ihomer.learners.kernels.linkage import average_linkage

GroupArray = npt.NDArray[np.int64]

CONTRAST = 3.0  # below, halves of the same stream disagree about where the border is
CLOSENESS = 0.02  # labels less alike than this (W) help nobody to predict each other


class Limits(NamedTuple):
    """What a division has to keep to.

    Attributes
    ----------
    delta
        Chance of taking an accident for a border.
    smallest, largest
        Sizes of clusters; `smallest` is kept where some cluster has room.
    """

    delta: float
    smallest: int
    largest: int


def divide(counts: FloatArray, together: FloatArray, limits: Limits) -> GroupArray:
    """Divide labels into clusters.

    Parameters
    ----------
    counts
        float64 (m,), n_i > 0, in the order of the labels' names.
    together
        float64 (m, m), n_ij, symmetric, zeros on the diagonal.
    limits
        See `Limits`.

    Returns
    -------
    GroupArray
        int64 (m,): groups numbered in the order of their first label.

    Examples
    --------
    >>> together = np.kron(np.eye(2), np.full((3, 3), 50.0)) - 50.0 * np.eye(6)
    >>> divide(np.full(6, 100.0), together, Limits(0.002, 1, 6)).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    m = len(counts)
    if m < 2:
        return np.zeros(m, dtype=np.int64)
    alike = similarity(counts, together)
    tree = _Tree(counts, together, alike, limits)
    cores, fragments = tree.leaves()
    return numbered(_attach(alike, cores, fragments, limits))


def similarity(counts: FloatArray, together: FloatArray) -> FloatArray:
    """Jaccard similarity n_ij / (n_i + n_j - n_ij), float64 (m, m), zeros on the diagonal."""
    alike: FloatArray = np.add.outer(counts, counts)
    alike -= together
    return np.divide(together, alike, out=alike)


def numbered(groups: GroupArray) -> GroupArray:
    """The same groups, numbered in the order of their first member."""
    ranks: dict[int, int] = {}
    found = [ranks.setdefault(group, len(ranks)) for group in groups.tolist()]
    return np.array(found, dtype=np.int64)


def description_gain(counts: FloatArray, together: FloatArray, groups: GroupArray) -> float:
    """How much better `groups` describe the co-occurrences than a single group does, in nats.

    The log-likelihood ratio of one rate W per group and one rate B between groups against one
    rate for all, minus ln(groups) for saying where each label belongs.

    Parameters
    ----------
    counts, together
        As for `divide`.
    groups
        int64 (m,), group numbers from 0.
    """
    k = int(groups.max()) + 1
    if k == 1:
        return 0.0
    member = np.zeros((len(groups), k))
    member[np.arange(len(groups)), groups] = 1.0
    sizes, totals = member.sum(axis=0), member.T @ counts
    hits = np.einsum("ic,ic->c", member, together @ member) / 2.0
    chances = (sizes - 1.0) * totals - hits
    all_hits = float(together.sum()) / 2.0
    all_chances = (len(groups) - 1.0) * float(counts.sum()) - all_hits
    mean = all_hits / all_chances
    gain = math.fsum(
        chance * _divergence(hit / chance, mean)
        for hit, chance in zip(hits.tolist(), chances.tolist(), strict=True)
        if chance > 0.0
    )
    between = all_chances - math.fsum(chances.tolist())
    if between > 0.0:
        gain += between * _divergence((all_hits - math.fsum(hits.tolist())) / between, mean)
    return gain / _pairs_per_event(all_hits, float(counts.sum())) - len(groups) * math.log(k)


def _divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of two Bernoulli rates, nats; q between 0 and 1 where p is."""
    divergence = 0.0
    if p > 0.0:
        divergence += p * math.log(p / q)
    if p < 1.0:
        divergence += (1.0 - p) * math.log((1.0 - p) / (1.0 - q))
    return divergence


def _pairs_per_event(hits: float, total: float) -> float:
    """Pairs in an event with the mean number of partners that a label has in such a group."""
    partners = 2.0 * hits / total
    return max(1.0, partners * (partners + 1.0) / 2.0)


class _Tree:
    """Average linkage, and at each node whether it is divided.

    Attributes of the 2m - 1 nodes are lists: the labels are nodes 0 to m - 1, the root comes last.
    """

    def __init__(
        self, counts: FloatArray, together: FloatArray, alike: FloatArray, limits: Limits
    ) -> None:
        m = len(counts)
        merges = average_linkage(1.0 - alike)[:, :2].astype(np.int64)
        self.children = [(-1, -1)] * m + [(a, b) for a, b in merges.tolist()]
        self.size = [1] * m
        self._limits = limits
        # Tested: the sides are separate, or some descendant's are. A tested node is judged by
        # what is close in it, the hits and chances within its undivided parts.
        self.separate = [False] * m
        self.tested = [False] * m
        self._total = counts.tolist()
        self._hits = [0.0] * m
        self._close: list[tuple[float, float]] = [(0.0, 0.0)] * m
        self._needed = math.log(m * m / limits.delta)
        hits = pooled(merges, together.copy())
        for (a, b), between in zip(self.children[m:], hits.tolist(), strict=True):
            self._join(a, b, between)

    def _join(self, a: int, b: int, hits: float) -> None:
        size, total = self.size, self._total
        chances = size[b] * total[a] + size[a] * total[b] - hits
        separate = self._stands_out(a, hits, chances) and self._stands_out(b, hits, chances)
        size.append(size[a] + size[b])
        total.append(total[a] + total[b])
        self._hits.append(self._hits[a] + self._hits[b] + hits)
        self.separate.append(separate)
        self.tested.append(separate or self.tested[a] or self.tested[b])
        if self.tested[-1]:
            parts = [self._close[side] for side in (a, b) if separate or self.tested[side]]
            self._close.append((sum(h for h, _ in parts), sum(c for _, c in parts)))
        else:
            inside = self._hits[-1]
            self._close.append((inside, (size[-1] - 1) * total[-1] - inside))

    def _stands_out(self, side: int, hits: float, chances: float) -> bool:
        """Whether a side is closer within than it is to the other side."""
        own_hits, own_chances = self._close[side]
        if own_hits <= 0.0:
            return False
        within, between = own_hits / own_chances, hits / chances
        if within < CLOSENESS or within <= CONTRAST * between:
            return False
        mean = (own_hits + hits) / (own_chances + chances)
        evidence = own_chances * _divergence(within, mean) + chances * _divergence(between, mean)
        evidence /= _pairs_per_event(own_hits, self._total[side])
        return evidence > self._needed + self.size[side]

    def leaves(self) -> tuple[list[GroupArray], list[GroupArray]]:
        """Clusters, and what was left over when clusters below a node were separated."""
        root = len(self.children) - 1
        cores: list[GroupArray] = []
        fragments: list[GroupArray] = []
        if not self._divided(root):
            return [self._members(root)], fragments
        divided = [root]
        while divided:
            node = divided.pop()
            for child in self.children[node]:
                if self._divided(child):
                    divided.append(child)
                    continue
                # A node that is only too large falls into parts that are clusters as they are.
                core = self.separate[node] or (not self.tested[node] and self.size[child] > 1)
                core = core and self.size[child] >= self._limits.smallest
                (cores if core else fragments).append(self._members(child))
        cores.sort(key=lambda part: int(part[0]))
        fragments.sort(key=lambda part: (-len(part), int(part[0])))
        return cores, fragments

    def _divided(self, node: int) -> bool:
        return self.tested[node] or self.size[node] > self._limits.largest

    def _members(self, node: int) -> GroupArray:
        labels, waiting = [], [node]
        while waiting:
            node = waiting.pop()
            if node < (len(self.children) + 1) // 2:
                labels.append(node)
            else:
                waiting.extend(self.children[node])
        return np.array(sorted(labels), dtype=np.int64)


def _attach(
    alike: FloatArray, cores: list[GroupArray], fragments: list[GroupArray], limits: Limits
) -> GroupArray:
    """Add each fragment to the cluster that it is most like; the others share one more cluster."""
    groups = np.full(len(alike), -1, dtype=np.int64)
    for number, core in enumerate(cores):
        groups[core] = number
    member = np.zeros((len(alike), len(cores)))
    for number, core in enumerate(cores):
        member[core, number] = 1.0 / len(core)
    likeness = alike @ member
    sizes = [len(core) for core in cores]
    rest: list[GroupArray] = []
    for fragment in fragments:
        near = likeness[fragment].mean(axis=0)
        near[[size + len(fragment) > limits.largest for size in sizes]] = 0.0
        if len(near) and near.max() > 0.0:
            number = int(np.argmax(near))
            groups[fragment] = number
            sizes[number] += len(fragment)
        else:
            rest.append(fragment)
    _pool(groups, rest, sizes, limits)
    return groups


def _pool(groups: GroupArray, rest: list[GroupArray], sizes: list[int], limits: Limits) -> None:
    """Put fragments that are like no cluster together, within the limits of size."""
    first = len(sizes)
    for fragment in rest:
        for number in range(first, len(sizes)):
            if sizes[number] + len(fragment) <= limits.largest:
                break
        else:
            number = len(sizes)
            sizes.append(0)
        groups[fragment] = number
        sizes[number] += len(fragment)
    for number in range(first, len(sizes)):
        size = sizes[number]
        room = [k for k in range(first) if sizes[k] + size <= limits.largest]
        if size < limits.smallest and room:
            largest = max(room, key=lambda k: sizes[k])
            groups[groups == number] = largest
            sizes[largest] += size
