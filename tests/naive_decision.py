"""The slow, obvious references of decisions: dictionaries of label sets, double precision."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

LabelSet = frozenset[int]

CANDIDATES = 100
INFLATION = 1.0 + 1.0 / 20_000


def clipped(p: float) -> float:
    return min(1.0 - 1e-4, max(1e-4, p))


class Chosen(NamedTuple):
    """What was weighed at one event.

    Attributes
    ----------
    on
        The decision.
    margin
        How far anything that was compared lay from where the decision would have been another.
    plain, joint
        The labels above one half, and the set of the highest utility.
    level
        How sure of `joint`, 0 to 3.
    posterior, says
        By candidate: its probability, and what the features say of it.
    log_empty, priors
        Log-probability of the empty set, and logits, by the labels' priors.
    """

    on: LabelSet
    margin: float
    plain: LabelSet
    joint: LabelSet
    level: int
    posterior: dict[LabelSet, float]
    says: dict[LabelSet, float]
    log_empty: float
    priors: list[float]


@dataclass
class Joint:
    """The joint decision. Events count more and more; no count is ever brought down."""

    hits: float = 1.0
    tries: float = 10.0
    weight: float = 1.0
    events: float = 0.0
    empties: float = 0.0
    on: dict[int, float] = field(default_factory=dict)
    counts: dict[LabelSet, float] = field(default_factory=dict)
    recent: dict[LabelSet, float] = field(default_factory=dict)
    top: list[LabelSet] = field(default_factory=list)
    share: float = 0.5
    alpha: float = 0.7
    alpha_square: float = 1.0
    joint_right: list[float] = field(default_factory=lambda: [0.0] * 4)
    plain_right: list[float] = field(default_factory=lambda: [0.0] * 4)

    def frequency(self, labels: LabelSet) -> float:
        """The share of a set among all events, a tenth of it by the recent ones."""
        if labels not in self.counts:
            return 0.0
        lately = self.recent[labels] / sum(self.recent.values())
        return 0.9 * self.counts[labels] / self.events + 0.1 * lately

    def prior(self, label: int) -> float:
        """Krichevsky and Trofimov's estimate of the probability that a label is on."""
        return (self.on.get(label, 0.0) + 0.5 * self.weight) / (self.events + self.weight)

    def decide(self, scores: list[float]) -> Chosen:
        """`scores` has the known labels' probabilities and no other."""
        labels = range(len(scores))
        p = [clipped(score) for score in scores]
        rates = [self.prior(label) for label in labels]
        priors = [math.log(rate / (1.0 - rate)) for rate in rates]
        log_empty = sum(math.log(1.0 - rate) for rate in rates)
        evidence = [math.log(p[c] / (1.0 - p[c])) - priors[c] for c in labels]
        margins = [1.0]
        plain = frozenset(c for c in labels if p[c] >= 0.5)
        if not plain and p and self.empties <= 0.02 * self.events:
            best = max(labels, key=lambda c: p[c])
            plain = frozenset([best])
            margins += [p[best] - p[c] for c in labels if p[c] < p[best]]
        values: dict[LabelSet, float] = {}
        says: dict[LabelSet, float] = {}
        for candidate in dict.fromkeys([*self.top, plain]):
            by_labels = log_empty + sum(priors[c] for c in candidate)
            says[candidate] = sum(evidence[c] for c in candidate)
            if candidate in self.top:
                chance = self.share * self.frequency(candidate)
                chance += (1.0 - self.share) * math.exp(max(-80.0, by_labels))
                values[candidate] = math.log(chance)
            else:
                values[candidate] = math.log(1.0 - self.share) + by_labels
            values[candidate] += self.alpha * says[candidate]
        highest = max(values.values())
        norm = sum(math.exp(value - highest) for value in values.values())
        posterior = {s: math.exp(value - highest) / norm for s, value in values.items()}
        utility = {
            s: posterior[s] + 0.3 * 2.0 * sum(p[c] for c in s) / max(1e-9, len(s) + sum(p))
            for s in values
        }
        joint = max(utility, key=lambda s: (utility[s], s == plain))
        margins += [utility[joint] - utility[s] for s in utility if s != joint]
        sure = posterior[joint]
        level = sum(sure > bound for bound in (0.1, 0.25, 0.5))
        margins += [abs(sure - bound) for bound in (0.1, 0.25, 0.5)]
        if self.hits < 0.02 * self.tries:
            threshold = tempered(p)
            on = frozenset(c for c in labels if p[c] >= threshold)
            margins += [abs(p[c] - threshold) for c in labels]
        elif joint != plain and self.joint_right[level] >= self.plain_right[level]:
            on = joint
        else:
            on = plain
        return Chosen(on, min(margins), plain, joint, level, posterior, says, log_empty, priors)

    def learn(self, y: LabelSet, chosen: Chosen) -> None:
        right = chosen.joint == y
        if chosen.joint != chosen.plain:
            for counts, was_right in (
                (self.joint_right, right),
                (self.plain_right, chosen.plain == y),
            ):
                counts[chosen.level] = 0.9995 * counts[chosen.level] + was_right
        self.hits = 0.999 * self.hits + right
        self.tries = 0.999 * self.tries + 1.0
        if self.events > 0.0:
            log_labels = chosen.log_empty
            for label in y:
                if label < len(chosen.priors):
                    log_labels += chosen.priors[label]
                else:
                    rate = self.prior(label)
                    log_labels += math.log(rate / (1.0 - rate))
            by_set = self.share * self.frequency(y)
            by_labels = (1.0 - self.share) * math.exp(max(-700.0, log_labels))
            responsible = by_set / max(1e-300, by_set + by_labels)
            self.share = min(0.99, max(0.01, self.share + 0.01 * (responsible - self.share)))
        if y in self.top:
            expected = sum(chosen.posterior[s] * chosen.says[s] for s in chosen.says)
            slope = min(5.0, max(-5.0, expected - chosen.says[y]))
            self.alpha_square += slope**2
            moved = self.alpha - 0.1 * slope / math.sqrt(self.alpha_square)
            self.alpha = min(1.5, max(0.1, moved))
        self.weight *= INFLATION
        self.events += self.weight
        self.empties += self.weight * (not y)
        self.counts[y] = self.counts.get(y, 0.0) + self.weight
        self.recent = {s: 0.98 * count for s, count in self.recent.items()}
        self.recent[y] = self.recent.get(y, 0.0) + 1.0
        for label in y:
            self.on[label] = self.on.get(label, 0.0) + self.weight
        rivals = self.top if y in self.top else [*self.top, y]
        # Stable: of two equally frequent sets the one that was there stays in front.
        self.top = sorted(rivals, key=lambda s: -self.counts[s])[:CANDIDATES]


def tempered(p: list[float]) -> float:
    """Seven tenths of the way from one half to half the best expected F1."""
    threshold = 0.5
    for _ in range(5):
        inside = [v for v in p if v >= threshold]
        threshold = max(1e-3, sum(inside) / max(1e-9, len(inside) + sum(p)))
    return 0.5 + 0.7 * (threshold - 0.5)


@dataclass
class Thresholds:
    """Thresholds at half the F1 reached, of a group of labels each.

    Attributes
    ----------
    macro
        Each label is a group of its own, else all are one.
    both, either
        By group: predicted and true; predicted plus true.
    """

    macro: bool
    both: dict[int, float] = field(default_factory=dict)
    either: dict[int, float] = field(default_factory=dict)

    def threshold(self, label: int) -> float:
        group = label if self.macro else 0
        f1_half = self.both.get(group, 0.5) / self.either.get(group, 2.0)
        return min(0.5, max(0.02, f1_half))

    def learn(self, scores: list[float], on: set[int], y: set[int]) -> None:
        """`scores` has the known labels' probabilities and no other."""
        known = range(len(scores))
        for group in known if self.macro else [0]:
            self.both[group] = 0.9995 * self.both.get(group, 0.5)
            self.either[group] = 0.9995 * self.either.get(group, 2.0)
        for label in {*known, *y}:
            group = label if self.macro else 0
            truth = [float(label in y)]
            if label in known:
                truth.append(scores[label])
            either = sum(truth) / 2.0 + (label in on)
            both = sum(truth) / 2.0 if label in on else 0.0
            self.both[group] = self.both.get(group, 0.5) + both
            self.either[group] = self.either.get(group, 2.0) + either
