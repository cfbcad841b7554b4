"""The slow, obvious twin of the nearest-neighbour search: matrices of all events, one at a time."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[Any]

NEIGHBOURS, WINDOW, ENTRY_LIMIT, LABEL_LIMIT, HALVING = 12, 500, 3 * 2**15, 2**18, 4096
F32 = np.float32


class Vote(NamedTuple):
    """Numbers of the learned events that vote, best first, their votes, the prior's share.

    `scores` are those of all events that were searched, by their numbers.
    """

    events: list[int]
    votes: list[float]
    share: float
    scores: dict[int, float]


def on_grid(x: Matrix, grid: float) -> Matrix:
    return np.floor(np.asarray(x, dtype=np.float64) * grid + 0.5) / grid


def sketch_of(labels: npt.NDArray[np.intp]) -> Matrix:
    sums = np.zeros(16, dtype=F32)
    for label in labels.tolist():
        sums[label % 16] += 1 if (label * 0x9E3779B1 >> 13) & 1 else -1
    return sums


class Statistics:
    """What the columns have said about the labels, and the weights that follow from it."""

    def __init__(self, columns: int) -> None:
        self.product = np.zeros((columns, 16), dtype=F32)
        self.total, self.square, self.seen = (np.zeros(columns, dtype=F32) for _ in range(3))
        self.sketch = np.zeros((2, 16))
        self.events = 0.0
        self.weight, self.unseen = np.ones(columns, dtype=F32), 1.0

    def add(self, x: Matrix, labels: npt.NDArray[np.intp]) -> None:
        sums, value = sketch_of(labels), x.astype(F32)
        self.sketch += [sums, sums * sums]
        self.product += value[:, None] * sums
        self.total += value
        self.square += value * value
        self.seen += value != 0
        self.events += 1

    def halve(self) -> None:
        for array in (self.product, self.total, self.square, self.seen, self.sketch):
            array *= 0.5
        self.events *= 0.5

    def renew(self, live: npt.NDArray[np.bool_]) -> None:
        n = F32(self.events)
        spreads = self.sketch[1] / n - (self.sketch[0] / n) ** 2
        raw = np.zeros(len(live), dtype=F32)
        for j in np.flatnonzero(live):
            mean = self.total[j] / n
            spread = self.square[j] / n - mean * mean
            evidence = F32(0)
            if spread > F32(1e-4) * self.square[j] / n and (spreads > 1e-6).any():
                for b in np.flatnonzero(spreads > 1e-6):
                    c = self.product[j, b] - mean * F32(self.sketch[0, b])
                    evidence += c * c * F32(1 / spreads[b])
                evidence /= n * spread * F32((spreads > 1e-6).sum())
            root = np.sqrt(np.sqrt((evidence + F32(2)) / (self.seen[j] + F32(2))))
            raw[j] = root * root * root
        largest = max(1.0, float(raw.max(initial=0)))
        self.unseen = float(on_grid(np.array(1 / largest), 2.0**26))
        self.weight = on_grid(raw.astype(float) / largest, 2.0**26).astype(F32)
        self.weight[~live] = self.unseen


def search(
    x: Matrix, y: npt.NDArray[np.bool_], labelled: npt.NDArray[np.bool_], known: Matrix
) -> tuple[list[Vote], list[float]]:
    """Votes for every event of x (float32 (n, columns)), y ((n, labels)); the law at the end."""
    x = (np.rint(x * F32(2**11)) / F32(2**11)).astype(float)
    statistics = Statistics(x.shape[1])
    law, squares, price = [8.0, -3.9, 0.0], [0.01] * 3, 0.0
    learned_x, learned_y = x[labelled], y[labelled]
    events, first = 0, 0  # learned so far, and the oldest that is still searched
    found = []
    for t in range(len(x)):
        rows = learned_x[first:events]
        weight = statistics.weight.astype(float)
        similarity = np.zeros(len(rows), dtype=F32)
        weighted = weight * x[t]
        if weighted.any():
            norm = math.sqrt(math.fsum(weighted**2))
            dot = (rows @ on_grid(weighted / norm, 2.0**12)).astype(F32)
            length = (rows * rows) @ weight
            inverse = np.where(length > 0, 1 / np.sqrt(np.where(length > 0, length, 1)), 0)
            similarity = dot * inverse.astype(F32) * F32(norm / math.sqrt((x[t] * x[t]) @ weight))
        ages = np.log1p((events - 1 - np.arange(first, events)) / 500).astype(F32)
        score = similarity - F32(price) * ages
        order = np.lexsort((-np.arange(len(rows)), -score))  # the newest first where scores tie
        best = order[similarity[order] > 0][:NEIGHBOURS].tolist()
        terms = [(float(score[i]) + price * float(ages[i]) - 1, -float(ages[i])) for i in best]
        masses = [math.exp(law[0] * s + law[2] * a) for s, a in terms]
        whole = math.exp(law[1]) + sum(masses)
        votes, share = [m / whole for m in masses], math.exp(law[1]) / whole
        scores = dict(zip(range(first, events), score.tolist(), strict=True))
        found.append(Vote([first + i for i in best], votes, share, scores))
        if not labelled[t]:
            continue
        prior = (learned_y[:events].sum(0) + 0.5) / (events + 1)
        sets = [learned_y[first + i] for i in best]
        mass = sum((v * s for v, s in zip(votes, sets, strict=True)), np.zeros(y.shape[1]))
        inside = np.any([*sets, y[t]], axis=0) & (np.arange(y.shape[1]) < known[t])
        p = np.clip(mass + share * prior, 0.02, 0.98)
        slope = np.where(inside, np.where(y[t], -1 / p, 1 / (1 - p)), 0.0)
        rest = max(0.0, learned_y[:events].sum() / (events + 1) - prior[inside].sum())
        common = slope @ p + share * rest
        gradient = [0.0, share * (slope @ (prior - p)) + rest * share * (1 - share), 0.0]
        for i, (closeness, age) in enumerate(terms):
            own = slope @ sets[i] - common
            gradient[0] += own * votes[i] * closeness
            gradient[2] += own * votes[i] * age
        learning = events < 256 or events % 3 == 0
        for i, (low, high) in enumerate([(0.0, 40.0), (-8.0, 3.0), (0.0, 8.0)] * learning):
            step = gradient[i] / math.sqrt(max(1, known[t]))
            squares[i] += step * step
            law[i] = min(high, max(low, law[i] - 0.15 * step / math.sqrt(squares[i])))
        statistics.add(x[t], np.flatnonzero(y[t]))
        events += 1
        while first < events and (
            events - first > WINDOW
            or np.count_nonzero(learned_x[first:events]) > ENTRY_LIMIT
            or np.count_nonzero(learned_y[first:events]) > LABEL_LIMIT
        ):
            first += 1
        if events % 128 == 0 or events == 64:
            if events % HALVING == 0:
                statistics.halve()
            if events in (64, 128, 256) or events % 512 == 0:
                statistics.renew((learned_x[first:events] != 0).any(0))
            price = min(0.6, law[2] / max(1.0, law[0]))
    return found, law


def votes(
    found: list[Vote], sets: list[set[int]], prior: Matrix, labels: range
) -> list[list[float]]:
    """Logits of `labels`, the reserve's first; prior float32 (n, 1 + labels), logits."""
    logits = []
    for t, vote in enumerate(found):
        row = []
        for c, label in enumerate([-1, *labels]):
            p = vote.share / (1 + math.exp(-float(prior[t, c])))
            p += sum(v for e, v in zip(vote.events, vote.votes, strict=True) if label in sets[e])
            p = min(0.98, max(0.02, p))
            row.append(math.log(p / (1 - p)))
        logits.append(row)
    return logits
