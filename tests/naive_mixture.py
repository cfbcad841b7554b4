"""The slow, obvious references of the mixture and of the trivial experts: double precision."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

CLIP = math.log(0.98 / 0.02)


def sigmoid(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z))


def log_loss(z: float, on: bool) -> float:
    return math.log1p(math.exp(-z if on else z))


@dataclass
class Position:
    """What is known of the experts at one label, or at the reserve."""

    losses: list[float]
    stack: list[float]  # of the mixture, of each expert's distance, the bias
    squares: list[float]
    plain: float = 0.0
    corrected: float = 0.0


@dataclass
class Mixture:
    """A block of labels; position 0 is the reserve, the others are labels in order of birth."""

    experts: int
    stacking: bool = True
    positions: list[Position] = field(default_factory=list)
    shared: list[float] = field(default_factory=list)
    shared_squares: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    events: int = 0

    def __post_init__(self) -> None:
        e = self.experts
        self.positions = [Position([0.0] * e, [0.0] * (e + 2), [0.03] * (e + 2))]
        self.shared, self.shared_squares = [0.0] * (e + 1), [0.03] * (e + 1)
        self.weights = [1.0 / e] * e

    def row(
        self,
        logits: npt.NDArray[np.float32],
        active: list[bool],
        on: set[int] | None,
        after: int,
    ) -> list[float]:
        """Probabilities of the positions known; then learn, with `after` positions in all.

        `logits` is (E, positions or more); `on` holds positions.
        """
        asked = [e for e in range(self.experts) if active[e]]
        z = logits.astype(np.float64)
        shares, inputs, mixed, stacked, found = [], [], [], [], []
        for c, position in enumerate(self.positions):
            best = min((position.losses[e] for e in asked), default=0.0)
            raw = {e: math.exp(-0.5 * (position.losses[e] - best)) for e in asked}
            share = {e: w / sum(raw.values()) for e, w in raw.items()}
            m = sum(share[e] * z[e, c] for e in asked)
            # The stack's inputs: the mixture, who differs from it how far, and one.
            x = [m, *(z[e, c] - m if active[e] else 0.0 for e in range(self.experts)), 1.0]
            common = [*self.shared, 0.0]
            s = m + sum((a + b) * v for a, b, v in zip(common, position.stack, x, strict=True))
            s = min(8.0, max(-8.0, s))
            p = sigmoid(m)
            if self.stacking:
                p += sigmoid(0.5 * (position.plain - position.corrected)) * (sigmoid(s) - p)
            shares.append(share)
            inputs.append(x)
            mixed.append(m)
            stacked.append(s)
            found.append(p)
        if on is None:
            return found
        for e in asked if self.events % 8 == 0 else []:
            mean = sum(share[e] for share in shares) / len(shares)
            self.weights[e] += 0.15 * (mean - self.weights[e])
        self.events += 1
        while len(self.positions) < after:
            self.positions.append(copy.deepcopy(self.positions[0]))
            z[:, len(self.positions) - 1] = z[:, 0]
            inputs.append(inputs[0])
            mixed.append(mixed[0])
            stacked.append(stacked[0])
        slopes = [0.0] * (self.experts + 1)
        for c, position in enumerate(self.positions):
            y = c in on
            position.plain = 0.998 * position.plain + log_loss(mixed[c], y)
            position.corrected = 0.998 * position.corrected + log_loss(stacked[c], y)
            for e in range(self.experts):
                told = log_loss(z[e, c] if active[e] else mixed[c], y)
                position.losses[e] = 0.998 * position.losses[e] + told
            if not self.stacking:
                continue
            error = sigmoid(stacked[c]) - y
            for k, x in enumerate(inputs[c]):
                position.squares[k] += (error * x) ** 2
                position.stack[k] -= 0.05 * error * x / math.sqrt(position.squares[k])
                if k <= self.experts:
                    slopes[k] += error * x
        if self.stacking:
            for k, slope in enumerate(slopes):
                self.shared_squares[k] += slope**2
                self.shared[k] -= 0.05 * slope / math.sqrt(self.shared_squares[k])
        return found


def clipped_log_odds(hits: float, misses: float) -> float:
    return min(CLIP, max(-CLIP, math.log(hits / max(1e-30, misses))))


def trivial(history: list[set[int]], label: int) -> tuple[float, float]:
    """Logits of a label's prior and of its persistence after the learned label sets `history`."""
    n = len(history)
    on = after = again = total = 0.0
    for t, y in enumerate(history):
        weight = 0.9995 ** (n - 1 - t)
        total += weight
        on += weight * (label in y)
        if t > 0 and label in history[t - 1]:
            after += weight
            again += weight * (label in y)
    rate = (on + 0.5) / (total + 1.0)
    prior = clipped_log_odds(on + 0.5, total - on + 0.5)
    if history and label in history[-1]:
        hits, trials = again, after
    else:
        hits, trials = on - again, total - after
    hits = max(0.0, hits) + 2.0 * rate
    return prior, clipped_log_odds(hits, max(0.0, trials) + 2.0 - hits)
