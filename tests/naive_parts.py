"""The decision by cluster, once more: every part and every union is written down."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations, product

Part = tuple[int, ...]
SIZES, ACTIVE = 9, 5
F1_WEIGHT = 0.3


def subsets(labels: Sequence[int]) -> Iterator[Part]:
    """All subsets, the empty one first."""
    return chain.from_iterable(combinations(labels, k) for k in range(len(labels) + 1))


def tilted(
    p: Sequence[float], excess: Mapping[Part, float], floor: float, sweeps: int
) -> dict[Part, float]:
    """Probabilities of all subsets, bonds included, after proportional fitting to `p`."""
    weight = {
        part: math.prod(p[j] / (1 - p[j]) for j in part) * (floor + excess.get(part, 0.0))
        for part in subsets(range(len(p)))
    }
    for _ in range(sweeps):
        for j, wanted in enumerate(p):
            on = sum(w for part, w in weight.items() if j in part)
            off = sum(w for part, w in weight.items() if j not in part)
            step = math.log(wanted / (1 - wanted) * off / on)
            factor = math.exp(min(5.0, max(-5.0, step)))
            for part in weight:
                weight[part] *= factor if j in part else 1.0
    whole = sum(weight.values())
    return {part: w / whole for part, w in weight.items()}


def sums_and_maxima(
    clusters: Sequence[tuple[Sequence[float], Sequence[float]]],
) -> tuple[dict[tuple[int, int], float], dict[tuple[int, int], float]]:
    """Over all unions: sums of chances and maxima of values, by the two numbers.

    `clusters` has for each cluster the chance and the value of each size.
    """
    chances: dict[tuple[int, int], float] = {}
    values: dict[tuple[int, int], float] = {}
    for sizes in product(*(range(len(chance)) for chance, _ in clusters)):
        cell = min(SIZES - 1, sum(sizes)), min(ACTIVE - 1, sum(s > 0 for s in sizes))
        chance = math.prod(c[s] for s, (c, _) in zip(sizes, clusters, strict=True))
        value = sum(v[s] for s, (_, v) in zip(sizes, clusters, strict=True))
        chances[cell] = chances.get(cell, 0.0) + chance
        values[cell] = max(values.get(cell, -math.inf), value)
    return chances, values


def best_union(
    clusters: Sequence[tuple[Sequence[int], Mapping[Part, float]]],
    p: Mapping[int, float],
    by_size: Sequence[float],
    by_active: Sequence[float],
) -> list[tuple[float, Part]]:
    """The utility of the most probable union with each pair of numbers, the best one first.

    `clusters` has the labels of each cluster, and the probabilities of the parts that they have.
    """
    norm = 0.0
    best: dict[tuple[int, int], tuple[float, Part]] = {}
    for parts in product(*(found.items() for _, found in clusters)):
        union = tuple(
            sorted(
                labels[j]
                for (labels, _), (part, _) in zip(clusters, parts, strict=True)
                for j in part
            )
        )
        cell = min(SIZES - 1, len(union)), min(ACTIVE - 1, sum(len(part) > 0 for part, _ in parts))
        chance = math.prod(w for _, w in parts) * math.exp(by_size[cell[0]] + by_active[cell[1]])
        norm += chance
        if chance > best.get(cell, (-1.0, ()))[0]:
            best[cell] = chance, union
    mass = sum(p[c] for labels, _ in clusters for c in labels)
    return sorted(
        (
            (
                chance / norm
                + F1_WEIGHT * 2 * sum(p[c] for c in union) / max(1e-9, min(8, len(union)) + mass),
                union,
            )
            for chance, union in best.values()
        ),
        reverse=True,
    )


class Counts:
    """Parts of label sets by cluster, in a dictionary."""

    def __init__(self, places: Sequence[int]) -> None:
        self.places = places
        self.parts: dict[Part, float] = {}
        self.active: dict[int, float] = {}
        self.on = [0.0] * len(places)
        self.events, self.weight = 0.0, 1.0

    def add(self, labels: Sequence[int], inflation: float) -> None:
        """Count one event's label set."""
        self.weight *= inflation
        self.events += self.weight
        by_cluster: dict[int, list[int]] = {}
        for label in labels:
            self.on[label] += self.weight
            if self.places[label] >= 0:
                by_cluster.setdefault(self.places[label], []).append(label)
        for cluster, part in by_cluster.items():
            self.active[cluster] = self.active.get(cluster, 0.0) + self.weight
            self.parts[tuple(part)] = self.parts.get(tuple(part), 0.0) + self.weight

    def bond(self, part: Part, cluster: int, share: float) -> float:
        """How much more often a part is seen than by chance."""
        members = [c for c, place in enumerate(self.places) if place == cluster]
        rate = {c: (self.on[c] + self.weight / 2) / (self.events + self.weight) for c in members}
        chance = math.prod(rate[c] if c in part else 1 - rate[c] for c in members)
        seen = self.parts.get(part, 0.0) if part else self.events - self.active.get(cluster, 0.0)
        return math.log(1 - share + share * seen / self.events / chance)


def reward(chosen: set[int], truth: set[int]) -> float:
    """What a decision is worth: 1 if it is right, and some of its F1."""
    f1 = 2 * len(chosen & truth) / (len(chosen) + len(truth)) if chosen or truth else 1.0
    return (chosen == truth) + F1_WEIGHT * f1
