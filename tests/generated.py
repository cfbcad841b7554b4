"""Generated streams as matrices, for the tests of the generator."""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

import numpy as np

from ihomer.connectors.synthetic import SyntheticSource
from ihomer.instances import BoolArray, Event, FloatArray, Row


class Whole(NamedTuple):
    """A stream in full: features by declared name (0 = absent), labels by number."""

    x: FloatArray
    y: BoolArray


def events(source: SyntheticSource, count: int | None = None) -> list[Event]:
    records = source.next_batch(count or source.length or 0, timeout=0.0) or ()
    return [record.value for record in records if isinstance(record.value, Event)]


def row(event: Event) -> dict[str, float]:
    """Features of an event by name."""
    x = event.x
    assert isinstance(x, Row)
    names = x.names if x.indices is None else [x.names[i] for i in x.indices]
    return dict(zip(names, x.values.tolist(), strict=True))


def whole(source: SyntheticSource) -> Whole:
    every = events(source)
    place = {name: i for i, name in enumerate(source.features)}
    number = {name: i for i, name in enumerate(source.labels)}
    x = np.zeros((len(every), len(place)))
    y = np.zeros((len(every), len(number)), dtype=np.bool_)
    for t, event in enumerate(every):
        for name, value in row(event).items():
            x[t, place[name]] = value
        y[t, [number[label] for label in event.on or ()]] = True
    return Whole(x, y)


def digest(every: list[Event]) -> str:
    """SHA-256 of events; values are rounded, so that a library's last bit plays no role."""
    sha = hashlib.sha256()
    for event in every:
        values = {name: f"{value:.6f}" for name, value in row(event).items()}
        sha.update(json.dumps([event.id, event.on, values], sort_keys=True).encode())
    return sha.hexdigest()
