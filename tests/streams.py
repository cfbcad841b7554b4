"""Streams of events for a learner, and how two learners are compared bit for bit."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from ihomer import IHomer
from ihomer.instances import Event, FloatArray, Value

Pair = tuple[dict[str, Value], set[str]]


def stream(n: int, seed: int, *, groups: int = 2) -> list[Pair]:
    """Events with dense, sparse, nominal and missing features; labels in groups that they show."""
    rng = np.random.default_rng(seed)
    pairs: list[Pair] = []
    for _ in range(n):
        group = int(rng.integers(groups))
        x: dict[str, Value] = {
            "level": float(rng.normal(group, 0.5)),
            "noise": float(rng.normal(100.0, 3.0)),
            f"word {rng.integers(20)}": 1.0,
            f"key {3 * group + int(rng.integers(3))}": float(rng.random() + 0.5),
            "kind": "odd" if group % 2 else "even",
        }
        if rng.random() < 0.1:
            x["level"] = None
        y = {f"{group}{letter}" for letter in "abc" if rng.random() < 0.7}
        pairs.append((x, y))
    return pairs


def events(pairs: list[Pair], unlabelled: float = 0.0, seed: int = 0) -> list[Event]:
    rng = np.random.default_rng(seed)
    return [
        Event(t, x, None if rng.random() < unlabelled else sorted(y))
        for t, (x, y) in enumerate(pairs)
    ]


def scores_in_batches(model: IHomer, stream: list[Event], cuts: list[int]) -> FloatArray:
    """Scores of every event, NaN where a label had none, from batches that end at `cuts`."""
    ends = sorted({0, len(stream), *(c for c in cuts if c < len(stream))})
    parts = [
        model.predict_learn(model.encoder.encode(stream[a:b])).scores
        for a, b in itertools.pairwise(ends)
    ]
    whole = np.full((len(stream), model.encoder.labels.seen), np.nan)
    for a, part in zip(ends, parts, strict=False):
        whole[a : a + len(part), : part.shape[1]] = part
    return whole


def arrays(model: IHomer) -> list[npt.NDArray[Any]]:
    """Copies of all float arrays that the model's experts hold, room for more included."""
    found: list[npt.NDArray[Any]] = []

    def walk(thing: object) -> None:
        if isinstance(thing, np.ndarray):
            if thing.dtype.kind == "f":
                found.append(thing.copy())
        elif isinstance(thing, (list, tuple)):
            for part in thing:
                walk(part)
        elif isinstance(thing, dict):
            walk(list(thing.values()))
        elif type(thing).__module__.startswith("ihomer.learners."):
            walk(vars(thing))

    walk(model._engine)
    return found


def assert_same_model(one: IHomer, other: IHomer) -> None:
    """Two models stand alike, and go on alike, bit for bit; neither is changed."""
    assert one.n_learned == other.n_learned
    assert one.events() == other.events()
    assert one.event_counts == other.event_counts
    assert one.clusters() == other.clusters()
    assert one.weights == other.weights
    rest = events(stream(80, 999))
    found, expected = (
        scores_in_batches(pickle.loads(pickle.dumps(model)), rest, [])  # noqa: S301  # our own
        for model in (one, other)
    )
    np.testing.assert_array_equal(found, expected)


def learned(pairs: list[Pair], **parameters: Any) -> IHomer:
    model = IHomer(**parameters)
    for x, y in pairs:
        model.learn_one(x, y)
    return model
