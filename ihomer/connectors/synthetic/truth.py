"""What was planted: an event's number in, the structure, the changes and the noise out.

It is here so that whoever judges a partition or a drift detector need not guess: the truth
travels beside the stream, not in it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ihomer.connectors.synthetic.generator import Generator
from ihomer.connectors.synthetic.parameters import Parameters
from ihomer.connectors.synthetic.population import Population
from ihomer.connectors.synthetic.uniform import CHUNK
from ihomer.instances import FloatArray


@dataclass(frozen=True, slots=True)
class Change:
    """One transition.

    Attributes
    ----------
    of
        ``concept``, ``structure``, ``priors``, ``labels`` or ``features``.
    how
        ``sudden``, ``gradual``, ``incremental``, ``recurring`` or ``blip``.
    start, stop
        Events; the transition is the half-open range, empty where the step is sudden. A blip's is
        the whole excursion. A recurring change is one entry for each step there and back.
    labels
        Names of the affected labels; empty = all of them.
    what
        ``redraw``, ``exchange``, ``merge``, ``split``, ``rank``, ``cardinality``, ``born``,
        ``dying``, ``replace``, ``vanish`` or ``appear``.
    features
        Names of the features that go or come.
    back
        Whether the step leads back to the old state.
    number
        Of the drift among the stream's, from 0; its place in `Truth.state`.
    """

    of: str
    how: str
    start: int
    stop: int
    labels: tuple[str, ...]
    what: str
    features: tuple[str, ...] = ()
    back: bool = False
    number: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """How one event's labels came about.

    Attributes
    ----------
    event
        Its number.
    blocks
        Numbers of the active blocks, as in `Truth.block_of`; the one drawn first stands first.
    planted
        Labels before the noise, in the order of their numbers.
    noise
        Labels that are on by noise alone.
    lost
        Planted labels that the noise has replaced.
    state
        See `Truth.state`.
    """

    event: int
    blocks: tuple[int, ...]
    planted: tuple[str, ...]
    noise: tuple[str, ...]
    lost: tuple[str, ...]
    state: tuple[float, ...]


class Truth:
    """The truth beside one stream; made by `SyntheticSource`.

    Attributes
    ----------
    changes
        All transitions, by their start.
    """

    def __init__(self, parameters: Parameters, generator: Generator) -> None:
        self._parameters = parameters
        self._timeline = generator.timeline
        self._names = generator.names
        found = [
            Change(
                plan.of,
                plan.schedule.how,
                transition.start,
                transition.stop,
                generator.affected(number),
                plan.what,
                generator.features.touched(number),
                not transition.new,
                number,
            )
            for number, plan in enumerate(parameters.drift)
            for transition in plan.schedule.transitions(parameters.events or 1 << 62)
        ]
        self.changes: tuple[Change, ...] = tuple(sorted(found, key=lambda c: (c.start, c.number)))

    def state(self, event: int) -> tuple[float, ...]:
        """Level of each drift at `event`: 0 = the old state, 1 = the new one.

        A gradual drift has 0 or 1 at each event, an incremental one anything between.

        Raises
        ------
        IndexError
            The stream has no such event; as all methods that take one.
        """
        return tuple(self._levels(event).tolist())

    def partition(self, event: int) -> list[list[str]]:
        """The planted blocks in force at `event`, live labels only, by number, each sorted."""
        population = self._population(event)
        return [
            [self._names[label] for label in members]
            for members in np.split(population.members, population.indptr[1:-1])
            if len(members)
        ]

    def block_of(self, event: int) -> dict[str, int]:
        """Number of the block of each label that lives at `event`."""
        population = self._population(event)
        live = population.live.tolist()
        blocks = population.block[population.live].tolist()
        return {self._names[label]: block for label, block in zip(live, blocks, strict=True)}

    def to_json(self) -> dict[str, Any]:
        """Parameters, changes, and the partition at the start and behind each transition."""
        parameters = asdict(self._parameters)
        del parameters["drift"]
        last = self._parameters.events - 1 if self._parameters.events else 1 << 62
        places = sorted({0, *(min(change.stop, last) for change in self.changes)})
        return {
            "parameters": parameters,
            "changes": [asdict(change) for change in self.changes],
            "partitions": [{"event": place, "blocks": self.partition(place)} for place in places],
        }

    def _levels(self, event: int) -> FloatArray:
        length = self._parameters.events
        if event < 0 or (length and event >= length):
            raise IndexError(f"event {event} of a stream of {length or 'endless'} events")
        return self._timeline.levels(event // CHUNK)[:, event % CHUNK]

    def _population(self, event: int) -> Population:
        parts = self._timeline.parts(self._levels(event)[:, None])
        return self._timeline.population(tuple(parts[:, 0].tolist()))
