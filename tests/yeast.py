"""The bundled Yeast as bodies of JSON events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ihomer.connectors.river_data import RiverSource
from ihomer.instances import Event, Row


def yeast_bodies(count: int) -> Iterator[dict[str, Any]]:
    """Features and labels of the first `count` events."""
    for record in RiverSource("yeast").next_batch(count, 0.0) or ():
        event = record.value
        assert isinstance(event, Event)
        assert isinstance(event.x, Row)
        x = dict(zip(event.x.names, event.x.values.tolist(), strict=True))
        yield {"x": x, "y": list(event.on or ())}
