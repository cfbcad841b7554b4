"""When a planted change happens: event numbers in, the weight of the new state out.

It is here, apart from what changes, so that every kind of drift can be had in every kind of
change: the concept, the label structure, the priors, the features, the labels themselves.

=============== ==================================================================================
``sudden``      old before `start`, new from `start` on
``gradual``     in the transition each event is old or new at random, new ever more often
``incremental`` in the transition the state itself goes from old to new
``recurring``   new for `period` events, old for `period` events, and so on
``blip``        new in the transition, old again behind it
=============== ==================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from ihomer.errors import UsageError
from ihomer.instances import FloatArray, OffsetArray

How: TypeAlias = Literal["sudden", "gradual", "incremental", "recurring", "blip"]
HOWS: tuple[How, ...] = ("sudden", "gradual", "incremental", "recurring", "blip")


class Transition(NamedTuple):
    """Where a stream leaves one state for another.

    Attributes
    ----------
    start, stop
        Events; the transition is the half-open range, empty where the step is sudden. A blip's
        is the whole excursion.
    new
        Whether it leads to the new state.
    """

    start: int
    stop: int
    new: bool


@dataclass(frozen=True, slots=True)
class Schedule:
    """The weight of the new state, event by event.

    Parameters
    ----------
    how
        One of `HOWS`.
    start
        The first event that the change can touch.
    width
        Events of the transition of ``gradual``, ``incremental`` and ``blip``.
    period
        Events between two steps of ``recurring``.

    Raises
    ------
    UsageError
        A number is negative, or the one that `how` needs is 0.

    Examples
    --------
    >>> Schedule("incremental", start=2, width=4).weight(np.arange(8)).tolist()
    [0.0, 0.0, 0.125, 0.375, 0.625, 0.875, 1.0, 1.0]
    >>> Schedule("recurring", start=1, period=2).transitions(6)
    [Transition(start=1, stop=1, new=True), Transition(start=3, stop=3, new=False), \
Transition(start=5, stop=5, new=True)]
    """

    how: How
    start: int
    width: int = 0
    period: int = 0

    def __post_init__(self) -> None:
        if self.how not in HOWS:
            raise UsageError(f"drift: found {self.how!r}, accepted: {', '.join(HOWS)}")
        least = {
            "start": 0,
            "width": int(self.how in ("gradual", "incremental", "blip")),
            "period": int(self.how == "recurring"),
        }
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UsageError(
                    f"drift={self.how}: {name}: found {getattr(self, name)},"
                    f" accepted: {bound} or more events"
                )

    def weight(self, events: OffsetArray) -> FloatArray:
        """Weight of the new state at each of `events`, float64 of the same shape, in [0, 1].

        For ``gradual`` it is the probability of the new state. In a transition of `width` events
        it is ``(t - start + 1/2) / width``, so it is exactly 0 before and exactly 1 behind.
        """
        since = np.asarray(events, dtype=np.int64) - self.start
        begun = since >= 0
        if self.how == "recurring":
            begun &= since // self.period % 2 == 0
        elif self.how == "blip":
            begun &= since < self.width
        weight = begun.astype(np.float64)
        if self.how in ("gradual", "incremental"):
            inside = begun & (since < self.width)
            weight[inside] = (since[inside] + 0.5) / self.width
        return weight

    def level(self, events: OffsetArray, choice: FloatArray) -> FloatArray:
        """What holds at each of `events`: 0 = the old state, 1 = the new one, between = a mixture.

        Parameters
        ----------
        events
            int64, event numbers.
        choice
            float64 in [0, 1), one uniform number for each event; only ``gradual`` looks at them.
        """
        weight = self.weight(events)
        if self.how == "gradual":
            return (choice < weight).astype(np.float64)
        return weight

    def transitions(self, length: int) -> list[Transition]:
        """The transitions that start before event `length`, in order."""
        if self.how == "recurring":
            starts = range(self.start, length, self.period)
            return [Transition(at, at, i % 2 == 0) for i, at in enumerate(starts)]
        if self.start >= length:
            return []
        stop = self.start if self.how == "sudden" else self.start + self.width
        return [Transition(self.start, stop, True)]
