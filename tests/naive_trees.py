"""The slow, obvious twin of the forest: leaves that keep their events and compute from them.

Nothing is summed up: every figure is computed from a leaf's own list of events, by its definition.
The twin does not choose among splits that are as good as equal, which rounding decides: it tells
how good each is, and follows the forest after having judged it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

ONES = (1 << 32) - 1
Features = dict[int, float]


def mix(value: int) -> int:
    value = ((value ^ (value >> 16)) * 0x45D9F3B) & ONES
    value = ((value ^ (value >> 16)) * 0x2C1B3C6D) & ONES
    return value ^ (value >> 16)


def in_sample(key: int, seed: int, share: float) -> bool:
    return ((key ^ seed) * 0x45D9F3B5) % (1 << 32) < share * 2**32


def sample_share(tree: int, columns: int, share: float) -> float:
    least = min(1.0, max(share, 8.0 / max(1, columns)))
    return least + (1.0 - least) * 0.75 * (tree % 5) / 4.0


def below(z: float) -> float:
    z = min(8.0, max(-8.0, z))
    return 1.0 / (1.0 + math.exp(-z * (1.5976 + 0.070566 * z * z)))


def log_likelihood(on: float, n: float) -> float:
    """Of `on` positives among n, at the rate that makes it largest."""
    if n <= 0.0:
        return 0.0
    rate = on / n
    return sum(
        count * math.log(p) for count, p in ((on, rate), (n - on, 1.0 - rate)) if count > 1e-9
    )


@dataclass
class Node:
    """A leaf with its events, or an inner node with two children."""

    seed: int
    depth: int
    weight: float
    rates: dict[int, float]  # numerators by position; 0 = a label that was never on
    share: float = 1.0
    events: list[tuple[Features, set[int]]] = field(default_factory=list)
    visits: int = 0
    attempt: int = 32
    feature: int = -1
    threshold: float = 0.0
    children: list[Node] = field(default_factory=list)

    def rate(self, position: int) -> float:
        return self.rates.get(position, self.rates[0]) / self.weight

    def active(self, labels: int) -> list[int]:
        """Labels with at least five events with them, and five without."""
        on = {c: sum(c in y for _, y in self.events) for c in range(1, labels + 1)}
        return [c for c, k in on.items() if min(k, len(self.events) - k) >= 5]

    def values(self, feature: int) -> list[tuple[float, set[int]]]:
        """Values of the events that have one: 0 where the feature is absent."""
        pairs = [(x.get(feature, 0.0), y) for x, y in self.events]
        return [(value, y) for value, y in pairs if not math.isnan(value)]


def thresholds(values: list[float]) -> list[float]:
    there = [v for v in values if v != 0.0]
    if not there:
        return []
    if all(v == 1.0 for v in there):
        return [0.5]
    few_zeros = len(there) >= 0.9 * len(values)
    kept = values if few_zeros else there
    mean = sum(kept) / len(kept)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in kept) / len(kept))
    return [mean + 0.4 * i * deviation for i in range(-3, 4)] + ([] if few_zeros else [0.0])


def _left(values: list[float], all_there: list[float], threshold: float, shrink: bool) -> float:
    """How many of `values` lie at or below the threshold: zeros counted, others as normal."""
    there = [v for v in values if v != 0.0]
    zeros = len(values) - len(there) if threshold >= 0.0 else 0
    if not there:
        return zeros
    mean_of_all = sum(all_there) / len(all_there)
    variance = sum((v - mean_of_all) ** 2 for v in all_there) / len(all_there)
    if variance <= 1e-12 * mean_of_all * mean_of_all:
        return zeros + (len(there) if mean_of_all <= threshold else 0)
    mean = sum(there) / len(there)
    spread = variance
    if shrink:
        spread = (sum((v - mean) ** 2 for v in there) + variance) / (len(there) + 1)
    return zeros + len(there) * below((threshold - mean) / math.sqrt(spread))


def least_child(n: int) -> float:
    return max(10.0, 0.02 * n)


def goes_left(node: Node, feature: int, threshold: float) -> float:
    """How many of the events that have a value lie at or below the threshold."""
    values = [v for v, _ in node.values(feature)]
    there = [v for v in values if v != 0.0]
    if all(v == 1.0 for v in there):
        return sum(v <= threshold for v in values)
    return _left(values, there, threshold, shrink=False)


def merit(node: Node, feature: int, threshold: float, labels: int) -> float:
    """Information gain, in nats per event of the leaf; 0 where a child would be too small."""
    pairs = node.values(feature)
    n = len(pairs)
    left = goes_left(node, feature, threshold)
    if min(left, n - left) < least_child(n):
        return 0.0
    there = [v for v, _ in pairs if v != 0.0]
    nominal = all(v == 1.0 for v in there)
    gain = 0.0
    for c in node.active(labels):
        with_label = [v for v, y in pairs if c in y]
        on = len(with_label)
        if nominal:
            left_on: float = sum(v <= threshold for v in with_label)
        else:
            left_on = _left(with_label, there, threshold, shrink=True)
        left_on = min(max(left_on, left - (n - on), 0.0), on, left)
        part = (
            log_likelihood(left_on, left)
            + log_likelihood(on - left_on, n - left)
            - log_likelihood(on, n)
        )
        gain += max(0.0, part)
    return gain / len(node.events)


def candidates(node: Node, labels: int, keys: list[int]) -> dict[tuple[int, float], float]:
    """Merit of every (feature, threshold) that the leaf may split at."""
    seen = {j for x, _ in node.events for j, v in x.items() if not math.isnan(v)}
    sample = [j for j in sorted(seen) if in_sample(keys[j], node.seed, node.share)]
    return {
        (j, threshold): merit(node, j, threshold, labels)
        for j in sample
        for threshold in thresholds([v for v, _ in node.values(j)])
    }


def tried(node: Node, keys: list[int]) -> int:
    seen = {j for x, _ in node.events for j, v in x.items() if not math.isnan(v)}
    return sum(in_sample(keys[j], node.seed, node.share) for j in seen)


def surplus(node: Node, best: float, labels: int, n_tried: int) -> float:
    """By how much the evidence for a split exceeds what is asked; negative: by how little not."""
    n_active = len(node.active(labels))
    x = math.log(max(1, n_tried))
    asked = 0.5 * n_active + 2.0 * math.sqrt(n_active * x) + 2.0 * x
    return 2.0 * len(node.events) * best - asked


class Tree:
    """One tree."""

    def __init__(self, number: int, seed: int, share: float) -> None:
        self.number = number
        self.smallest = share
        self.root = Node(mix(mix(seed) + number), 0, 2.0, {0: 0.5})
        self.columns = 0

    def path(self, x: Features) -> list[Node]:
        node = self.root
        path = [node]
        while node.children:
            value = x.get(node.feature, 0.0)
            left, right = node.children
            if math.isnan(value):
                node = left if left.visits >= right.visits else right
            else:
                node = left if value <= node.threshold else right
            path.append(node)
        return path

    def learn(self, x: Features, y: set[int]) -> None:
        self.columns = max([self.columns, *(j + 1 for j in x)])
        path = self.path(x)
        for node in path:
            node.visits += 1
        leaf = path[-1]
        leaf.weight += 1.0
        for c in y:
            leaf.rates[c] = leaf.rates.get(c, leaf.rates[0]) + 1.0
        if not leaf.events:
            leaf.share = min(leaf.share, sample_share(self.number, self.columns, self.smallest))
        leaf.events.append((x, y))

    def split(self, leaf: Node, feature: int, threshold: float) -> None:
        start = min(10.0, leaf.weight)
        share = sample_share(self.number, self.columns, self.smallest)
        for side in range(2):
            rates = {c: k * start / leaf.weight for c, k in leaf.rates.items()}
            seed = mix(leaf.seed + 1 + side)
            leaf.children.append(Node(seed, leaf.depth + 1, start, rates, share))
        leaf.feature, leaf.threshold, leaf.events = feature, threshold, []


def logit(p: float) -> float:
    p = min(0.98, max(0.02, p))
    return math.log(p / (1.0 - p))
