"""A million events of hostile numbers through the whole learner: every state stays finite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ihomer.instances import Batch, BoolArray, Event
from ihomer.learners.ihomer import IHomer

pytestmark = pytest.mark.integration

EVENTS, SIZE = 1_000_000, 4_096


def columns(rng: np.random.Generator, first: int, n: int) -> tuple[npt.NDArray[Any], BoolArray]:
    """Values of n events from the `first` on, and which are there."""
    t = first + np.arange(n)
    sign = np.where(t % 2 == 0, 1.0, -1.0)
    magnitude = 10.0 ** rng.uniform(-300.0, 300.0, n)
    x = np.stack(
        [
            np.full(n, 1e300),
            1e300 * sign,
            np.full(n, 5e-324),
            np.full(n, 7.0),
            0.5 * sign,
            sign * magnitude,
            np.where(t % 5 == 0, np.nan, 1e-300 * sign),
            np.where(t // 100_000 % 2 == 0, 1.0, 1e300),
            rng.normal(size=n),
            np.where(rng.random(n) < 0.01, 1e308, 0.0),
        ],
        axis=1,
    )
    there = (x != 0.0) & (rng.random(x.shape) < 0.9)
    return x, there


def batches(model: IHomer) -> Iterator[Batch]:
    names = [f"x{j}" for j in range(10)]
    labels = ["normal", "sign", "always", "seldom", "coin"]
    # Names get their numbers, in order; the event itself is as hostile as the others.
    yield model.encoder.encode([Event(0, dict.fromkeys(names, 1e300), on=labels)])
    rng = np.random.default_rng(11)
    for first in range(1, EVENTS, SIZE):
        n = min(SIZE, EVENTS - first)
        x, there = columns(rng, first, n)
        on = np.stack(
            [
                x[:, 8] > 0.0,
                x[:, 4] > 0.0,
                np.ones(n, dtype=np.bool_),
                rng.random(n) < 0.001,
                rng.random(n) < 0.5,
            ],
            axis=1,
        )
        yield Batch(
            np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int64),
            np.nonzero(there)[1].astype(np.int32),
            x[there],
            np.concatenate([[0], np.cumsum(on.sum(axis=1))]).astype(np.int64),
            np.nonzero(on)[1].astype(np.int32),
            np.ones(n, dtype=np.bool_),
            np.full(n + 1, len(labels), dtype=np.int32),
        )


def arrays(part: Any, name: str, seen: dict[int, Any]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """All arrays of floats that can be reached from `part`, with where they are."""
    if id(part) in seen:
        return
    seen[id(part)] = part  # kept, because a number is given anew when its object is gone
    if isinstance(part, np.ndarray):
        if part.dtype.kind == "f":
            yield name, part
    elif isinstance(part, dict):
        for key, value in part.items():
            yield from arrays(value, f"{name}.{key}", seen)
    elif isinstance(part, tuple) and hasattr(part, "_asdict"):
        yield from arrays(part._asdict(), name, seen)
    elif isinstance(part, (list, tuple)):
        for number, value in enumerate(part):
            yield from arrays(value, f"{name}[{number}]", seen)
    elif type(part).__module__.startswith("ihomer."):
        fields = getattr(part, "__dict__", {})
        slots = {slot: getattr(part, slot) for slot in getattr(part, "__slots__", ())}
        yield from arrays({**fields, **slots}, name, seen)


def test_a_million_hostile_events_leave_every_state_finite() -> None:
    model = IHomer()
    learned = 0
    for number, batch in enumerate(batches(model)):
        predictions = model.predict_learn(batch)
        learned += len(batch)
        known = predictions.scores[1:] if number == 0 else predictions.scores
        assert np.isfinite(known).all()
        assert ((known >= 0.0) & (known <= 1.0)).all()
    assert learned == model.n_learned == EVENTS
    found = dict(arrays(model._engine, "engine", {}))
    assert len(found) > 100
    wrong = [name for name, array in found.items() if not np.isfinite(array).all()]
    # The latest events are kept as they came, missing values and all.
    assert [name for name in wrong if ".segments[" not in name] == []
    # What can be learned has been: the label is the sign of a feature that is there at 9 of 10.
    last = predictions.scores[:, 1] > 0.5
    truth = np.array(
        [
            1 in batch.y_indices[a:b]
            for a, b in zip(batch.y_indptr[:-1], batch.y_indptr[1:], strict=True)
        ]
    )
    assert (last == truth).mean() > 0.85
