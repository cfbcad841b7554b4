"""Streams whose labels come apart from their features: late, never, twice, or first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal["features", "labels"]


@dataclass(frozen=True)
class Arrival:
    """One message.

    Attributes
    ----------
    kind
        Which of the two topics it belongs to.
    id
        The event's.
    value
        JSON, for a topic or a line of a file.
    """

    kind: Kind
    id: str
    value: bytes


@dataclass(frozen=True)
class LateStream:
    """Messages in the order in which they come, and what is in them.

    Attributes
    ----------
    arrivals
        All of them.
    never, twice, early
        Ids of the events whose labels never come, come again with other labels, come first.
    labels
        Of each event, the labels that came first.
    """

    arrivals: Sequence[Arrival]
    never: frozenset[str]
    twice: frozenset[str]
    early: frozenset[str]
    labels: dict[str, tuple[str, ...]]

    def topic(self, kind: Kind) -> list[bytes]:
        """The messages of one of the two topics."""
        return [arrival.value for arrival in self.arrivals if arrival.kind == kind]


def late_stream(
    pairs: Sequence[tuple[dict[str, Any], Sequence[str]]],
    seed: int,
    *,
    delay: int = 10_000,
    never: float = 0.01,
    twice: float = 0.01,
    early: float = 0.01,
    every_ms: int | None = 1_000,
) -> LateStream:
    """`pairs` of features and labels as events whose labels come by themselves.

    Parameters
    ----------
    pairs
        Events; their ids are ``e0``, ``e1``, ...
    seed
        Of everything random.
    delay
        Labels come after 0 to so many further events, evenly spread; early ones so much before.
    never, twice, early
        Shares of the events; nobody is two of these.
    every_ms
        Time between two events, as their ``ts``; None: they name none.
    """
    rng = np.random.default_rng(seed)
    n = len(pairs)
    fault = rng.random(n)
    late = rng.integers(0, delay + 1, n).tolist()
    again = rng.integers(0, delay + 1, n).tolist()
    timed: list[tuple[float, int, Arrival]] = []
    found: dict[str, set[str]] = {"never": set(), "twice": set(), "early": set()}

    def put(when: float, arrival: Arrival) -> None:
        timed.append((when, len(timed), arrival))

    def labels(number: int, names: Sequence[str]) -> Arrival:
        body = {"id": f"e{number}", "y": list(names)}
        return Arrival("labels", f"e{number}", json.dumps(body).encode())

    for number, (x, y) in enumerate(pairs):
        body: dict[str, Any] = {"id": f"e{number}", "x": x}
        if every_ms is not None:
            body["ts"] = 1_700_000_000_000 + every_ms * number
        put(number, Arrival("features", f"e{number}", json.dumps(body).encode()))
        when = number + late[number] + 0.5
        if fault[number] < never:
            found["never"].add(f"e{number}")
            continue
        if fault[number] < never + twice:
            found["twice"].add(f"e{number}")
            put(when + again[number] + 0.1, labels(number, [*y, "second opinion"]))
        elif fault[number] < never + twice + early:
            found["early"].add(f"e{number}")
            when = number - late[number] - 0.5
        put(when, labels(number, y))
    timed.sort(key=lambda each: each[:2])
    return LateStream(
        [arrival for _, _, arrival in timed],
        frozenset(found["never"]),
        frozenset(found["twice"]),
        frozenset(found["early"]),
        {f"e{i}": tuple(y) for i, (_, y) in enumerate(pairs)},
    )
