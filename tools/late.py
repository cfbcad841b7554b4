"""A stream without an end whose labels come apart from their features: late, never, twice, first.

In: how many events there may be between an event and its labels. Out: messages, in the order in
which they come, and what has become of the events so far. It is here so that tests and chaos kill
daemons whose labels come late.
"""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ihomer.connectors.base import Message, Record

Kind = Literal["features", "labels"]
Placing = Literal["one topic", "two topics"]

NEVER, TWICE, EARLY = 0.01, 0.01, 0.01
BROKEN_EVERY = 97
_LATER_MS = 1_000_000  # the first message is so old: retention goes by timestamps


class Arrival(NamedTuple):
    """A message and which of the two it is."""

    kind: Kind
    message: Message


@dataclass
class Sent:
    """How many messages there were; what waits for its time is not in it.

    Attributes
    ----------
    features, labels
        Good ones.
    broken
        Of either kind, too short to be JSON.
    never, twice, early
        Events whose labels never come, come again with another label, come first.
    """

    features: int = 0
    labels: int = 0
    broken: int = 0
    never: int = 0
    twice: int = 0
    early: int = 0


def answered(record: Record) -> bool:
    """Whether a daemon has to answer a record of such a stream: an event, or a broken message."""
    value = record.value
    return isinstance(value, bytes) and (b'"x":' in value or not value.endswith(b"}"))


class LateStream:
    """See the module.

    Event i enters at time i. Its features come then and its labels 0 to `delay` later, evenly
    spread, twice for some of them; of those whose labels come first the features come so much
    later. Both have the same key and are for the same partition.

    Parameters
    ----------
    labels
        The true labels of an event by its two numbers.
    partitions
        Event i is for partition i mod `partitions`.
    delay
        See above; there is one event per unit of time.

    Attributes
    ----------
    sent
        Counts what was taken.
    """

    def __init__(
        self,
        labels: Callable[[float, float], list[str]],
        partitions: int,
        delay: int = 10_000,
    ) -> None:
        self._labels = labels
        self._partitions = partitions
        self._delay = delay
        self._begin = round(1000 * time.time()) - _LATER_MS
        self._next = 0
        self._due: list[tuple[int, int, Arrival]] = []
        self._number = 0
        self.sent = Sent()

    def take(self, events: int) -> list[Arrival]:
        """What comes while so many events enter."""
        found: list[Arrival] = []
        for _ in range(events):
            self._enter(self._next)
            self._next += 1
            while self._due and self._due[0][0] < self._next:
                found.append(heapq.heappop(self._due)[2])
        self._count(found)
        return found

    def rest(self) -> list[Arrival]:
        """What is still to come when no more events enter."""
        found = [arrival for *_, arrival in sorted(self._due, key=lambda each: each[:2])]
        self._due.clear()
        self._count(found)
        return found

    def _enter(self, i: int) -> None:
        chance = random.Random(i)  # noqa: S311 - for test data
        a, b = chance.gauss(0.0, 1.0), chance.gauss(0.0, 1.0)
        names = self._labels(a, b)
        fate, later = chance.random(), i + chance.randint(0, self._delay)
        features = f'{{"id":"e{i}","x":{{"a":{a:.6f},"b":{b:.6f}}}}}'
        if fate < EARLY:
            self.sent.early += 1
            self._put("labels", _labels(i, names), i, i)
            self._put("features", features, i, later)
        else:
            self._put("features", features, i, i)
            if fate < EARLY + NEVER:
                self.sent.never += 1
            else:
                self._put("labels", _labels(i, names), i, later)
        if EARLY + NEVER <= fate < EARLY + NEVER + TWICE:
            self.sent.twice += 1
            again = later + chance.randint(0, self._delay)
            self._put("labels", _labels(i, [*names, "second opinion"]), i, again)
        if i % BROKEN_EVERY == BROKEN_EVERY - 1:
            kind: Kind = "features" if chance.random() < 0.5 else "labels"
            self._put(kind, features[:-2], i, i)

    def _put(self, kind: Kind, text: str, i: int, when: int) -> None:
        message = Message(
            text.encode(),
            b"key %d" % i,
            timestamp=self._begin + when,
            origin=i % self._partitions,
        )
        self._number += 1
        heapq.heappush(self._due, (when, self._number, Arrival(kind, message)))

    def _count(self, arrivals: list[Arrival]) -> None:
        for kind, message in arrivals:
            if not (message.value or b"").endswith(b"}"):
                self.sent.broken += 1
            elif kind == "features":
                self.sent.features += 1
            else:
                self.sent.labels += 1


def _labels(i: int, names: list[str]) -> str:
    listed = ",".join(f'"{name}"' for name in names)
    return f'{{"id":"e{i}","y":[{listed}]}}'
