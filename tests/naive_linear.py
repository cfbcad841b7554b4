"""Slow, obvious twins of the linear experts' kernels, and the streams that both are run on."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from ihomer.instances import Batch
from ihomer.learners.kernels.ridge import (
    FEWEST,
    FIRST_CHOICE,
    LEAST_CURVATURE,
    LEAST_GAIN,
    MEMORY,
    PRIOR_VARIANCE,
    WALK,
)
from ihomer.learners.scaling import Rows

CLIP = math.log(0.98 / 0.02)
RESERVE = -1  # stands for every label that has not been on yet


class Stream(NamedTuple):
    """Rows as value by column, what is on (None = unlabelled), labels known before each row."""

    rows: list[dict[int, float]]
    truth: list[set[int] | None]
    known: list[int]

    def batch(self) -> Batch:
        on = [sorted(y or ()) for y in self.truth]
        return Batch(
            np.cumsum([0, *map(len, self.rows)], dtype=np.int64),
            np.array([j for row in self.rows for j in sorted(row)], dtype=np.int32),
            np.array([row[j] for row in self.rows for j in sorted(row)], dtype=np.float64),
            np.cumsum([0, *map(len, on)], dtype=np.int64),
            np.array([label for y in on for label in y], dtype=np.int32),
            np.array([y is not None for y in self.truth], dtype=np.bool_),
            np.array(self.known, dtype=np.int32),
        )


def rows_of(batch: Batch) -> Rows:
    """The features of `batch`, as experts read them."""
    return Rows(batch.indptr, batch.indices, batch.values.astype(np.float32))


@st.composite
def streams(
    draw: st.DrawFn, columns: int = 12, labels: int = 11, most: int = 40, born_before: bool = False
) -> Stream:
    """Rows of length 1 over columns of different density; labels appear in order of their ids."""
    n = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    density = rng.choice([0.05, 0.3, 0.7, 1.0], columns)
    rows, truth = [], []
    known = [labels if born_before else 0]
    for _ in range(n):
        here = np.flatnonzero(rng.random(columns) < density)
        values = rng.normal(size=len(here)) * rng.choice([0.1, 1.0, 3.0])
        values /= max(1e-9, float(np.sqrt(values @ values)))
        rows.append({int(j): float(np.float32(v)) for j, v in zip(here, values, strict=True)})
        seen = known[-1]
        on = {int(i) for i in np.flatnonzero(rng.random(seen) < 0.3)}
        if seen < labels and rng.random() < 0.3:
            seen = min(labels, seen + int(rng.integers(1, 4)))
            on |= set(range(known[-1], seen))
        labelled = bool(on) or rng.random() < 0.9
        truth.append(on if labelled else None)
        known.append(seen)
    return Stream(rows, truth, known)


class Steps(NamedTuple):
    """How AdaGrad moves: see `linear_rows` and the expert that owns the first sums."""

    step: float
    decay: float
    initial_square: float
    base_step: float = 0.0
    initial_slope_square: float = 1.0


def linear(
    stream: Stream,
    members: list[int],
    reserve: bool,
    columns: int,
    steps: Steps,
    base: list[dict[int, float]] | None = None,
) -> list[dict[int, float]]:
    """Logits by label at each row; AdaGrad, one label and one weight at a time."""
    bias, slope = -1, -2
    weights: dict[int, dict[int, float]] = {}
    squares: dict[int, dict[int, float]] = {}

    def birth(label: int, parent: int | None) -> None:
        weights[label] = {slope: 1.0} if parent is None else dict(weights[parent])
        first = {slope: steps.initial_slope_square}
        squares[label] = first if parent is None else dict(squares[parent])

    for label in [RESERVE] if reserve else members:
        birth(label, None)
    said = []
    for t, (row, on) in enumerate(zip(stream.rows, stream.truth, strict=True)):
        x = {j: v for j, v in row.items() if j < columns} | {bias: 1.0}
        given = None if base is None else base[t]

        def seen(
            label: int, x: dict[int, float] = x, given: dict[int, float] | None = given
        ) -> dict[int, float]:
            return x if given is None else x | {slope: given.get(label, given[min(given)])}

        def logit(label: int) -> float:
            return sum(v * weights[label].get(j, 0.0) for j, v in seen(label).items())

        said.append(
            {
                label: min(CLIP, max(-CLIP, logit(label)))
                for label in weights
                if label < stream.known[t]
            }
        )
        if on is None:
            continue
        for label in members:
            if label not in weights and label < stream.known[t + 1]:
                birth(label, RESERVE)
        for label in weights:
            if label >= stream.known[t + 1]:
                continue
            error = 1 / (1 + math.exp(-logit(label))) - (label in on)
            for j, v in seen(label).items():
                square = squares[label].get(j, steps.initial_square)
                square = steps.decay * square + (error * v) ** 2
                squares[label][j] = square
                rate = steps.step if j >= 0 or base is None else steps.base_step
                moved = rate * error * v / math.sqrt(square)
                weights[label][j] = weights[label].get(j, 0.0) - moved
    return said


class Gain(NamedTuple):
    """A row's gains by column and the bias's; None where nothing is learned."""

    columns: dict[int, float]
    bias: float


def gains(stream: Stream, columns: int, block: int) -> tuple[list[Gain | None], list[int]]:
    """Gains of each row and the final block, from one matrix over all columns."""
    bias = columns
    p: npt.NDArray[np.float64] = np.eye(columns + 1) * PRIOR_VARIANCE
    inside = {bias}
    seen, energy = np.zeros(columns), np.zeros(columns)
    events = 0
    said: list[Gain | None] = []
    for row, on in zip(stream.rows, stream.truth, strict=True):
        if on is None:
            said.append(None)
            continue
        x = np.zeros(columns + 1)
        for j, v in row.items():
            if j < columns:
                x[j] = v
        x[bias] = 1.0
        px = p @ x
        scale = 1.0 / (1.0 + x @ px)
        least = LEAST_GAIN * np.abs(px).max()
        large = [j for j in range(columns) if abs(px[j]) > least]
        said.append(Gain({j: float(px[j] * scale) for j in large}, px[bias] * scale))
        full = p - np.outer(px, px) * scale
        for a in range(columns + 1):
            for b in range(columns + 1):
                if {a, b} <= inside or (a == b and a in row):
                    p[a, b] = full[a, b] + ((a == b) * PRIOR_VARIANCE - full[a, b]) * WALK
        for j in row:
            if j < columns:
                seen[j] += 1
                energy[j] += float(np.float32(row[j])) ** 2
        events += 1
        if events in {FIRST_CHOICE * 2**i for i in range(30)}:
            often = [float(energy[j]) for j in range(columns) if seen[j] >= FEWEST]
            over = sorted(often, reverse=True)
            edge = over[block - 1] if len(over) >= block else 0.0
            chosen = {j for j in range(columns) if seen[j] >= FEWEST and energy[j] > edge}
            inside = chosen | {bias}
            for a in range(columns + 1):
                for b in range(columns + 1):
                    if a != b and not {a, b} <= inside:
                        p[a, b] = 0.0
    return said, sorted(inside - {bias})


def ridge(
    stream: Stream, said: list[Gain | None], labels: int, columns: int, initial_curvature: float
) -> list[dict[int, float]]:
    """Logits by label at each row; each label steps along `said`, the rows' gains."""
    weights: dict[int, npt.NDArray[np.float64]] = {RESERVE: np.zeros(columns + 1)}
    curvature = {RESERVE: initial_curvature}
    events = 0
    logits = []
    for t, (row, on) in enumerate(zip(stream.rows, stream.truth, strict=True)):
        x = np.zeros(columns + 1)
        x[columns] = 1.0
        for j, v in row.items():
            if j < columns:
                x[j] = v
        logits.append({i: min(CLIP, max(-CLIP, float(w @ x))) for i, w in weights.items()})
        gain = said[t]
        if on is None or gain is None:
            continue
        for label in range(min(labels, stream.known[t + 1])):
            if label not in weights:
                weights[label] = weights[RESERVE].copy()
                curvature[label] = curvature[RESERVE]
        along = np.array([*(gain.columns.get(j, 0.0) for j in range(columns)), gain.bias])
        for label, w in weights.items():
            p = 1.0 / (1.0 + math.exp(-float(w @ x)))
            curvature[label] += (p * (1 - p) - curvature[label]) / (min(events, MEMORY) + 2)
            w += along * ((label in on) - p) / max(LEAST_CURVATURE, curvature[label])
        events += 1
    return logits
