"""Slow, obvious twins of the kernels behind the network expert, by column and label, in doubles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Vector: TypeAlias = npt.NDArray[np.float64]
Singles: TypeAlias = npt.NDArray[np.float32]
Values: TypeAlias = dict[int, float]  # by column


class Column:
    """What is known of one column."""

    def __init__(self) -> None:
        self.seen = 0.0
        self.missing = 0.0
        self.dense = False
        self.forget()

    def forget(self) -> None:
        self.n, self.mean, self.variance = 0.0, 0.0, 0.0

    def after(self, value: float) -> tuple[float, float, float]:
        """Number, mean and variance with one value more."""
        if self.n >= 20 and self.variance > 0:
            reach = 8 * math.sqrt(self.variance)
            value = min(self.mean + reach, max(self.mean - reach, value))
        n = min(5000.0, self.n + 1)
        mean = self.mean + (value - self.mean) / n
        change = (value - self.mean) * (value - mean)
        return n, mean, max(0.0, self.variance + (change - self.variance) / n)


class Dense:
    """Standardised dense columns; see `dense_rows`."""

    def __init__(self, columns: int) -> None:
        self.columns = [Column() for _ in range(columns)]
        self.learned = 0
        self.events = 0.0
        self.on = False

    def row(self, raw: Mapping[int, float], labelled: bool) -> Values | None:
        """Values by dense column, zeros included; None = off. Then learn, if `labelled`."""
        found: Values = {}
        for j, column in enumerate(self.columns):
            if not (self.on and column.dense):
                continue
            value = raw.get(j, 0.0)
            found[j] = 0.0
            if math.isnan(value):
                continue
            value = min(1e100, max(-1e100, value))
            n, mean, variance = column.after(value)
            if math.sqrt(variance) > 1e-9 * abs(mean):
                found[j] = min(4.0, max(-4.0, (value - mean) / math.sqrt(variance)))
            if labelled:
                column.n, column.mean, column.variance = n, mean, variance
        length = sum(z * z for z in found.values())
        if length > len(found):
            found = {j: z * math.sqrt(len(found) / length) for j, z in found.items()}
        was_on = self.on
        if labelled:
            self._learn(raw)
        return found if was_on else None

    def _learn(self, raw: Mapping[int, float]) -> None:
        for j, value in raw.items():
            if j < len(self.columns):
                column = self.columns[j]
                if math.isnan(value):
                    column.missing += 1
                else:
                    column.seen += 1
        self.learned += 1
        self.events += 1
        if self.learned not in (1, 2, 4, 8, 16, 32, 64) and self.learned % 128:
            return
        for column in self.columns:
            there = self.events - column.missing
            if column.dense and column.seen < 0.1 * there:
                column.dense = False
            elif not column.dense and 0 < column.seen >= 0.2 * there:
                column.dense = True
                column.forget()
        inside = sum(column.seen for column in self.columns if column.dense)
        outside = sum(column.seen for column in self.columns if not column.dense)
        self.on = inside > 0 and inside >= outside
        for column in self.columns:
            column.seen *= 31 / 32
            column.missing *= 31 / 32
        self.events *= 31 / 32


class Prototypes:
    """Online k-means; see `prototype_rows`."""

    def __init__(self, most: int, nearest: int) -> None:
        self.most, self.nearest = most, nearest
        self.places: list[Values] = []
        self.wins: list[int] = []
        self.last: list[int] = []
        self.columns: Set[int] = set()
        self.spread = 0.0
        self.learned = 0

    def row(self, x: Values | None, labelled: bool) -> tuple[dict[int, float], int]:
        """Weights by prototype, and the one that is founded (-1 = none)."""
        if x is None:
            return {}, -1
        for place in self.places:  # a column that comes back starts anew
            for j in set(place) - set(x):
                del place[j]
        distances = [
            sum((z - place.get(j, 0.0)) ** 2 for j, z in x.items()) for place in self.places
        ]
        weights: dict[int, float] = {}
        if distances:
            ranked = sorted(range(len(distances)), key=lambda k: (distances[k], k))[: self.nearest]
            scale = 0.5 * len(x) / max(1e-6, self.spread)
            raw = {k: math.exp((distances[ranked[0]] - distances[k]) * scale) for k in ranked}
            raw = {k: weight for k, weight in raw.items() if weight >= 0.01}
            weights = {k: weight / sum(raw.values()) for k, weight in raw.items()}
        return weights, self._learn(x, distances) if labelled else -1

    def _learn(self, x: Values, distances: list[float]) -> int:
        n, founded = self.learned, -1
        self.learned += 1
        if len(self.places) < self.most:
            if n % 3 == 0:
                founded = len(self.places)
                self.places.append({})
                self.wins.append(0)
                self.last.append(0)
        elif min(distances) > 2 * self.spread and n - min(self.last) >= 512:
            founded = self.last.index(min(self.last))
        if founded >= 0:
            self.places[founded], self.wins[founded], self.last[founded] = dict(x), 1, n
        elif distances:
            best = distances.index(min(distances))
            self.wins[best] += 1
            self.last[best] = n
            self.spread += max(0.001, 1 / (n + 1)) * (distances[best] - self.spread)
            rate = max(0.002, 1 / self.wins[best])
            place = self.places[best]
            self.places[best] = {j: place.get(j, 0.0) * (1 - rate) + rate * z for j, z in x.items()}
        return founded


class Output:
    """What leads to one label."""

    def __init__(self, hidden: int, prototypes: int) -> None:
        self.weights = np.zeros(hidden)
        self.errors = 1e-3
        self.bias, self.bias_square = 0.0, 1e-2
        self.lifts, self.lift_squares = np.zeros(prototypes), np.full(prototypes, 0.03)
        self.gains, self.gain_squares = [1.0, 1.0], [0.1, 0.1]

    def copy(self) -> Output:
        other = Output(0, 0)
        for name, value in vars(self).items():
            setattr(other, name, value if isinstance(value, float) else value.copy())
        return other


class Network:
    """A hidden layer and lifts by prototype; see `network_rows`.

    `draws` are the random numbers that the weights of each column start from, by place.
    """

    def __init__(self, draws: Singles, first_bias: Singles, prototypes: int) -> None:
        self.hidden = len(first_bias)
        self.draws = draws
        self.weights: dict[int, Vector] = {}
        self.places: dict[int, int] = {}
        self.first_bias = first_bias.astype(np.float64)
        self.gradients, self.activities = np.zeros(self.hidden), np.zeros(self.hidden)
        self.events = 0.0
        self.outputs = [Output(self.hidden, prototypes)]

    def row(
        self,
        x: Values | None,
        places: dict[int, int],
        near: dict[int, float],
        founded: int,
        on: set[int] | None,
        known: int,
    ) -> list[float]:
        """Logits of the reserve and the labels so far; then learn, if `on` is not None.

        Labels are numbered in the block; `known` of them are known after the row. `places` gives
        the place of each dense column.
        """
        if x is not None:
            self._take(places)
        a = np.zeros(self.hidden)
        if x is not None:
            a = np.maximum(0.0, self.first_bias + sum(z * self.weights[j] for j, z in x.items()))
        parts = [
            (float(o.weights @ a), sum(share * float(o.lifts[k]) for k, share in near.items()))
            for o in self.outputs
        ]
        logits = [
            o.bias + (o.gains[0] * p + o.gains[1] * q if x is not None else 0.0)
            for o, (p, q) in zip(self.outputs, parts, strict=True)
        ]
        logits = [min(30.0, max(-30.0, z)) for z in logits]
        if on is not None:
            self._learn(x, a, parts, logits, near, founded, on, known)
        return logits

    def _take(self, places: dict[int, int]) -> None:
        scale = math.sqrt(3 / len(places))
        for j in set(self.weights) - set(places):
            del self.weights[j]
        for j, place in places.items():
            if self.places.get(j) != place or j not in self.weights:
                self.weights[j] = scale * self.draws[place].astype(np.float64)
        self.places = dict(places)

    def _learn(
        self,
        x: Values | None,
        a: Vector,
        parts: list[tuple[float, float]],
        logits: list[float],
        near: dict[int, float],
        founded: int,
        on: set[int],
        known: int,
    ) -> None:
        born = 1 + known - len(self.outputs)
        self.outputs += [self.outputs[0].copy() for _ in range(born)]
        parts = parts + [parts[0]] * born
        errors = [1 / (1 + math.exp(-z)) for z in logits + [logits[0]] * born]
        errors = [e - (c - 1 in on) for c, e in enumerate(errors)]
        back = np.zeros(self.hidden)
        for e, output in zip(errors[1:], self.outputs[1:], strict=True):
            back += e * output.weights * (a > 0)
        if x is not None:
            self.events = 0.999 * self.events + 1
            self.activities = 0.999 * self.activities + a**2
            unit = a / np.sqrt(self.activities / self.events + 1e-3)
        for output, part, e in zip(self.outputs, parts, errors, strict=True):
            output.bias_square = 0.999 * output.bias_square + e * e
            output.bias -= 0.3 * e / math.sqrt(output.bias_square)
            if x is None:
                continue
            output.errors = 0.999 * output.errors + e * e
            output.weights = output.weights - 0.05 * e / math.sqrt(output.errors) * unit
            for g in range(2):
                output.gain_squares[g] = 0.999 * output.gain_squares[g] + (e * part[g]) ** 2
                gain = output.gains[g] - 0.05 * e * part[g] / math.sqrt(output.gain_squares[g])
                output.gains[g] = min(2.0, max(0.0, gain))
            for k, share in near.items():
                output.lift_squares[k] = 0.99 * output.lift_squares[k] + (e * share) ** 2
                output.lifts[k] -= 0.5 * e * share / math.sqrt(output.lift_squares[k])
            if founded >= 0:
                output.lifts[founded], output.lift_squares[founded] = 0.0, 0.03
        if x is not None:
            self.gradients = 0.999 * self.gradients + back**2
            step = 0.05 * back / np.sqrt(self.gradients + 1e-3)
            self.first_bias = self.first_bias - step
            for j, z in x.items():
                self.weights[j] = self.weights[j] - z * step
