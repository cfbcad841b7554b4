"""The learner of many labels, slow and obvious: dictionaries, lists and sorting.

Numbers are float32 wherever the kernels' are, and sums are taken in the same order, so that the
two agree bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ihomer.learners.kernels.elementary import log32, sigmoid32
from ihomer.learners.kernels.inverted import DEPTH, NEAREST, NEIGHBOURS, SHALLOW, USUAL
from ihomer.learners.kernels.postings import (
    BEST,
    BIAS,
    BIAS_STEP,
    ENTRIES,
    FEWEST,
    LEAST,
    MOST,
    PATIENCE,
    STEP,
)
from ihomer.learners.kernels.ranking import (
    CANDIDATES,
    COUNTS,
    FADING,
    LEARNED,
    LEAST_THRESHOLD,
    PROBABLE,
    SHARE,
    SHIFT,
    STACK_STEP,
)

F = np.float32
Row = list[tuple[int, F]]
FLOOR = F(1e-12)


@dataclass
class NaiveEntry:
    label: int
    weight: F
    square: F


@dataclass
class NaivePostings:
    columns: int = 0
    lists: dict[int, list[NaiveEntry]] = field(default_factory=dict)
    given_up: dict[int, int] = field(default_factory=dict)
    bias: dict[int, F] = field(default_factory=dict)
    bias_square: dict[int, F] = field(default_factory=dict)

    def scores(self, row: Row) -> dict[int, F]:
        """What the features say, without biases."""
        found: dict[int, F] = {}
        for j, x in row:
            for entry in self.lists.get(j, []):
                found[entry.label] = found.get(entry.label, F(0)) + entry.weight * x
        return found

    def learn(self, row: Row, slopes: dict[int, F], on: list[int]) -> None:
        for label, slope in slopes.items():
            square = self.bias_square.get(label, F(0)) + slope * slope
            self.bias_square[label] = square
            step = BIAS_STEP * slope / np.sqrt(square + FLOOR)
            self.bias[label] = self.bias.get(label, BIAS) - step
        for j, x in row:
            self.columns = max(self.columns, j + 1)
            most = min(MOST, max(LEAST, ENTRIES // self.columns))
            given_up = self.given_up.get(j, 0)
            if given_up > PATIENCE:
                most = max(FEWEST, most * PATIENCE // given_up)
            entries = self.lists.setdefault(j, [])
            there = {entry.label for entry in entries}
            for entry in entries:
                if entry.label in slopes:
                    slope = slopes[entry.label] * x
                    entry.square = entry.square + slope * slope
                    entry.weight -= STEP * slope / np.sqrt(entry.square + FLOOR)
            for label in on[:most]:
                if label in there:
                    continue
                slope = slopes[label] * x
                weight = -STEP * slope / np.sqrt(slope * slope + FLOOR)
                new = NaiveEntry(label, weight, slope * slope)
                if len(entries) >= most:
                    self.given_up[j] = self.given_up.get(j, 0) + 1
                if len(entries) > most:
                    # The last one takes the place of the smallest.
                    at = _smallest(entries)
                    entries[at] = entries[-1]
                    del entries[-1]
                if len(entries) < most:
                    entries.append(new)
                else:
                    entries[_smallest(entries)] = new


def _smallest(entries: list[NaiveEntry]) -> int:
    return min(range(len(entries)), key=lambda i: (abs(entries[i].weight), i))


@dataclass
class NaiveInverted:
    events: list[list[int]] = field(default_factory=list)
    lists: dict[int, list[tuple[int, F]]] = field(default_factory=dict)

    def votes(self, row: Row) -> dict[int, F]:
        near: dict[int, F] = {}
        known, rarity = 0, F(0)
        for j, _ in row:
            if j in self.lists:
                known += 1
                rarity += F(1) / F(len(self.lists[j]))
        usual = USUAL * F(known * DEPTH) / max(rarity, F(1e-30))
        for j, x in row:
            had = self.lists.get(j, [])
            depth = min(DEPTH, max(SHALLOW, int(usual / F(len(had))))) if had else 0
            for number, value in had[max(0, len(had) - depth) :]:
                near[number] = near.get(number, F(0)) + value * x
        positive = [number for number in near if near[number] > NEAREST]
        best = sorted(positive, key=lambda number: (-near[number], number))[:NEIGHBOURS]
        total = F(0)
        for number in best:
            total += near[number] * near[number]
        shares: dict[int, F] = {}
        for number in best:
            weight = near[number] * near[number] / total
            for label in self.events[number]:
                if label in shares or len(shares) < CANDIDATES - BEST:
                    shares[label] = shares.get(label, F(0)) + weight
        return shares

    def learn(self, row: Row, on: list[int]) -> None:
        for j, x in row:
            self.lists.setdefault(j, []).append((len(self.events), x))
        self.events.append(on)


@dataclass
class NaiveRanking:
    """See `ihomer.learners.kernels.ranking.rank_segment`."""

    postings: NaivePostings = field(default_factory=NaivePostings)
    inverted: NaiveInverted = field(default_factory=NaiveInverted)
    counts: dict[int, int] = field(default_factory=dict)
    frequent: list[int] = field(default_factory=list)
    decided: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        self.weights = [[F(0), F(1), F(1)] for _ in range(COUNTS)]
        self.squares = [[F(1e-6)] * 3 for _ in range(COUNTS)]

    def run(self, row: Row, on: list[int] | None) -> list[tuple[int, float, bool]]:
        """Candidates of one event, best first; it is learned unless `on` is None."""
        said = self.postings.scores(row)
        for label in self.frequent:
            said.setdefault(label, F(0))
        score = {label: said[label] + self._bias(label) for label in said}
        best = sorted(score, key=lambda label: (-score[label], label))[:BEST]
        votes = self.inverted.votes(row)
        labels = best + [label for label in votes if label not in best]
        inputs = {
            label: [
                F(1),
                said.get(label, F(0)) + self._bias(label),
                log32(votes.get(label, F(0)) + SHARE) + SHIFT,
            ]
            for label in labels
        }
        logits = {}
        for label in labels:
            w, (_, z, v) = self.weights[self._group(label)], inputs[label]
            logits[label] = w[0] + w[1] * z + w[2] * v
        order = sorted(labels, key=lambda label: (-logits[label], labels.index(label)))
        right, predicted, true = self.decided
        both = predicted + true
        bound = max(LEAST_THRESHOLD, right / both if both else 0.0)
        out = [(label, float(sigmoid32(logits[label]))) for label in order]
        found = [(label, p, p >= bound) for label, p in out]
        if on is not None:
            self._learn(row, on, score, best, inputs, logits, found)
        return found

    def _learn(
        self,
        row: Row,
        on: list[int],
        score: dict[int, F],
        best: list[int],
        inputs: dict[int, list[F]],
        logits: dict[int, F],
        found: list[tuple[int, float, bool]],
    ) -> None:
        for label, _, _ in found:
            slope = sigmoid32(logits[label]) - F(label in on)
            group = self._group(label)
            for k in range(3):
                step = slope * inputs[label][k]
                self.squares[group][k] += step * step
                self.weights[group][k] -= STACK_STEP * step / np.sqrt(self.squares[group][k])
        hits = sum(decided and label in on for label, _, decided in found)
        many = sum(decided for _, _, decided in found)
        self.decided = (
            FADING * self.decided[0] + hits,
            FADING * self.decided[1] + many,
            FADING * self.decided[2] + len(on),
        )
        slopes = {label: sigmoid32(score.get(label, self._bias(label))) - F(1) for label in on}
        off = [label for label in score if score[label] > PROBABLE]
        for label in [*off, *best[:LEARNED]]:
            slopes.setdefault(label, sigmoid32(score[label]))
        self.postings.learn(row, slopes, on)
        self.inverted.learn(row, on)
        for label in on:
            self.counts[label] = self.counts.get(label, 0) + 1
            self._keep_frequent(label)

    def _keep_frequent(self, label: int) -> None:
        """Labels by count; among equal ones who had it first."""
        frequent, counts = self.frequent, self.counts
        if label in frequent:
            frequent.remove(label)
        elif len(frequent) == BEST:
            if counts[label] <= counts[frequent[-1]]:
                return
            del frequent[-1]
        at = len(frequent)
        while at and counts[frequent[at - 1]] < counts[label]:
            at -= 1
        frequent.insert(at, label)

    def _bias(self, label: int) -> F:
        return self.postings.bias.get(label, BIAS)

    def _group(self, label: int) -> int:
        return min(COUNTS - 1, self.counts.get(label, 0).bit_length())
