"""The share of malformed events among the last ones, and when it says that the source is wrong.

In: good and malformed events, in their order. Out: a share, and a reason to end once it was too
large. It is here so that a daemon on a wrong topic, or behind a producer that was broken by an
upgrade, ends with one clear line before it has put a day of input away as dead letters.

An event counts ``1 - 1/window`` of what the one after it counts, so the share is that of about the
last `window` events. No list of them is kept: the state is three numbers, and the share falls with
the first good event after a halt, where a window with an edge would stay full of malformed ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ihomer.errors import UsageError

MAX_RATE = 0.5
WINDOW = 1_000


class ErrorRate:
    """See the module.

    Parameters
    ----------
    max_rate
        Share of malformed events that is accepted, from 0 to 1; 1: any.
    window
        Number of events, from 1; see the module. Nothing is too large before so many have come.

    Attributes
    ----------
    exceeded
        Whether the share was larger than `max_rate` at a malformed event since `forgive`.

    Examples
    --------
    >>> rate = ErrorRate(max_rate=0.5, window=4)
    >>> for _ in range(4):
    ...     rate.good()
    >>> rate.bad()
    >>> rate.exceeded, round(rate.share, 2)
    (False, 0.33)
    >>> rate.bad()
    >>> rate.exceeded, round(rate.share, 2)
    (True, 0.53)
    """

    def __init__(self, max_rate: float = MAX_RATE, window: int = WINDOW) -> None:
        if not 0.0 <= max_rate <= 1.0:
            raise UsageError(f"errors_max_rate: found {max_rate}, accepted: 0 to 1")
        if window < 1:
            raise UsageError(f"errors_window: found {window}, accepted: 1 or more")
        self.max_rate = max_rate
        self.window = window
        self.exceeded = False
        self._fade = 1.0 - 1.0 / window
        self._events = 0
        self._since = 0  # good events since the last malformed one
        self._weight = 0.0  # of all malformed ones, at the last of them

    def good(self) -> None:
        """Count an event."""
        # Only whole numbers here: the weight is brought up to date when it is looked at, so that
        # a stream that is well pays for nothing else.
        self._since += 1

    def bad(self) -> None:
        """Count a malformed event."""
        self._weight = self._weight * self._fade ** (self._since + 1) + 1.0
        self._events += self._since + 1
        self._since = 0
        if self.max_rate < 1.0 and self._events >= self.window and self.share > self.max_rate:
            self.exceeded = True

    def forgive(self) -> bool:
        """Whether the share was too large since the last call."""
        exceeded, self.exceeded = self.exceeded, False
        return exceeded

    @property
    def share(self) -> float:
        """The weight of malformed events in that of all; 0 if there were none."""
        events = self._events + self._since
        if not events:
            return 0.0
        # The sum of fade^i over all events; with a window of one only the last one counts.
        total = (1.0 - self._fade**events) / (1.0 - self._fade)
        return self._weight * self._fade**self._since / total

    def state(self) -> dict[str, float]:
        """What `restore` takes."""
        return {"events": self._events, "since": self._since, "weight": self._weight}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`; nothing in it was too large so far."""
        self._events = int(state.get("events", 0))
        self._since = int(state.get("since", 0))
        self._weight = float(state.get("weight", 0.0))
        self.exceeded = False
