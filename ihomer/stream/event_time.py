"""Event time: how long events have gone on by their own account, never by a clock on the wall.

In: the time that each event names. Out: milliseconds since the first ones, which never go back. It
is here because events that wait for their labels must not wait for ever, and because one event
with a wrong date must not end everybody's wait.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from datetime import UTC, datetime, timedelta

LATEST = 31  # events whose median time is the present

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class EventTime:
    """The median of the times of the latest events, as far as it has ever got.

    Fewer than half of the latest `LATEST` events cannot move it, whatever times they name. It is 0
    until there have been so many, and events that name no time leave it where it is.

    Attributes
    ----------
    elapsed
        Milliseconds since the median of the first `LATEST` times.

    Examples
    --------
    >>> time = EventTime()
    >>> for minute in range(60):
    ...     time.tell(60_000 * minute)
    >>> time.elapsed // 60_000
    29
    """

    def __init__(self) -> None:
        self.elapsed = 0
        self._start: int | None = None
        self._latest: deque[int] = deque()
        self._sorted: list[int] = []

    def tell(self, when: int | None) -> None:
        """An event names this time, in epoch milliseconds, or none."""
        if when is None:
            return
        self._latest.append(when)
        insort(self._sorted, when)
        if len(self._latest) > LATEST:
            del self._sorted[bisect_left(self._sorted, self._latest.popleft())]
        if len(self._latest) < LATEST:
            return
        median = self._sorted[LATEST // 2]
        if self._start is None:
            self._start = median
        self.elapsed = max(self.elapsed, median - self._start)

    def state(self) -> dict[str, object]:
        """Everything that `restore` takes."""
        return {"elapsed": self.elapsed, "start": self._start, "latest": tuple(self._latest)}

    def restore(self, state: dict[str, object]) -> None:
        """Go on from a `state`."""
        self.elapsed, self._start = state["elapsed"], state["start"]  # type: ignore[assignment]
        self._latest = deque(state["latest"])  # type: ignore[call-overload]
        self._sorted = sorted(self._latest)


def milliseconds(ts: str | int | None) -> int | None:
    """An event's ``ts`` in epoch milliseconds; None where it names no time that can be told.

    Examples
    --------
    >>> milliseconds("1970-01-01T01:00:00.25+01:00"), milliseconds("2016-12-31T23:59:60Z")
    (250, 1483228799000)
    >>> milliseconds(17), milliseconds(None), milliseconds("yesterday")
    (17, None, None)
    """
    if ts is None or isinstance(ts, int):
        return ts
    text = ts.upper().replace(":60", ":59")  # a leap second has no number
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
    except (ValueError, TypeError):  # from a source of its own kind, or without a zone
        return None
