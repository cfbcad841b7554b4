"""The slow, obvious reference of the label join: lists that are searched from end to end.

It says of each record what is to be done, in words: ("predict", id), ("learn", id, labels),
("both", id, labels), ("negative", id), ("over", id). It knows no bound in bytes.
"""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

from ihomer.instances import Event, LabelEvent

Step = tuple[Any, ...]


class NaiveJoin:
    """See the module; parameters as of `LabelJoin`."""

    def __init__(self, wait_events: int, wait_seconds: int | None, policy: str, weight: float):
        self.wait_events, self.wait_seconds = wait_events, wait_seconds
        self.policy, self.weight = policy, weight
        self.counts: Counter[str] = Counter()
        self.steps: list[Step] = []
        self.events: list[tuple[Any, float]] = []  # all of them: id, event time
        self.times: list[int] = []
        self.waiting: list[int] = []  # places in `events`
        self.held: list[tuple[Any, tuple[str, ...], int, float]] = []
        self.fate: dict[Any, str] = {}  # "labelled" or "gone"
        self.clock = 0.0
        self.owed = 0.0

    def take(self, found: Event | LabelEvent) -> None:
        if isinstance(found, Event):
            self._event(found)
        else:
            self._labels(found.id, tuple(found.on))

    def _event(self, event: Event) -> None:
        assert event.ts is None or isinstance(event.ts, int)
        if event.ts is not None:
            self.times.append(event.ts)
        medians = [
            statistics.median(self.times[end - 31 : end]) for end in range(31, len(self.times) + 1)
        ]
        self.clock = max([0.0, *(median - medians[0] for median in medians)])
        self.events.append((event.id, self.clock))
        self.counts["events"] += 1
        for place in list(self.waiting):
            if self._over(place, self.events[place][1]):
                self.waiting.remove(place)
                self._end(self.events[place][0])
        for each in list(self.held):
            if self._over(each[2] - 1, each[3]):
                self.held.remove(each)
                self.counts["unmatched"] += 1
                if self.policy == "hand-over":
                    self.steps.append(("over", each[0]))
        mine = [each for each in self.held if each[0] == event.id]
        if self._find(event.id) is not None or event.id in self.fate:
            self.counts["repeated"] += 1
            self.steps.append(("predict", event.id))
            if event.on is not None:
                self._labels(event.id, tuple(event.on))
        elif mine:
            self.held.remove(mine[0])
            self.steps.append(("both", event.id, mine[0][1]))
            self.counts.update(["joined", "early"])
            if event.on is not None:
                self.counts.update(["labels", "twice"])
            self.fate[event.id] = "labelled"
        elif event.on is not None:
            self.steps.append(("both", event.id, tuple(event.on)))
            self.counts["at_once"] += 1
            self.fate[event.id] = "labelled"
        else:
            self.steps.append(("predict", event.id))
            self.waiting.append(len(self.events) - 1)

    def _labels(self, name: Any, on: tuple[str, ...]) -> None:
        self.counts["labels"] += 1
        place = self._find(name)
        if place is not None:
            self.waiting.remove(place)
            self.steps.append(("learn", name, on))
            self.counts["joined"] += 1
            self.fate[name] = "labelled"
        elif name in self.fate:
            self.counts["twice" if self.fate[name] == "labelled" else "too_late"] += 1
        elif any(each[0] == name for each in self.held):
            self.counts["twice"] += 1
        else:
            self.held.append((name, on, len(self.events), self.clock))

    def _find(self, name: Any) -> int | None:
        places = [place for place in self.waiting if self.events[place][0] == name]
        return places[0] if places else None

    def _over(self, place: int, since: float) -> bool:
        after = len(self.events) - 1 - place
        if after > self.wait_events:
            return True
        return self.wait_seconds is not None and self.clock - since > 1000 * self.wait_seconds

    def _end(self, name: Any) -> None:
        self.fate[name] = "gone"
        if self.policy == "drop":
            self.counts["dropped"] += 1
        elif self.policy == "hand-over":
            self.counts["handed_over"] += 1
            self.steps.append(("over", name))
        else:
            self.counts["negative"] += 1
            self.owed += self.weight
            if self.owed >= 1.0:
                self.owed -= 1.0
                self.counts["learned_negative"] += 1
                self.steps.append(("negative", name))
