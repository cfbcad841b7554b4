"""A watchdog over calls that may wait for ever.

In: the names of calls as they begin and end. Out: nothing, or the end of the process with an exit
code of its own. It is here because the client waits for a commit without bound: a process that is
stuck must end, so that whoever starts it again, and recovery, can do the rest.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ihomer.errors import EXIT_STUCK

TICK_S = 0.5


@dataclass
class _Call:
    """A call under way: its name, who waits for it, how long it takes by now."""

    what: str
    given_up: threading.Event
    seconds: float = 0.0


class Watchdog:
    """One thread that counts the seconds of every call under way.

    Time in which this process itself was stopped does not count, so that one that is woken up
    after an hour may still answer.

    Parameters
    ----------
    limit_s
        Longest time that a call may take.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._calls: dict[int, _Call] = {}
        self._next = 0
        self._thread = threading.Thread(target=self._run, name="ihomer-watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def over(self, what: str, given_up: threading.Event) -> Iterator[None]:
        """Watch the calls inside; once `given_up` is set nobody waits for them any more."""
        with self._lock:
            number = self._next = self._next + 1
            self._calls[number] = _Call(what, given_up)
        try:
            yield
        finally:
            with self._lock:
                del self._calls[number]

    def _run(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(TICK_S)
            now = time.monotonic()
            spent = min(now - last, 2 * TICK_S)
            last = now
            with self._lock:
                for call in self._calls.values():
                    if not call.given_up.is_set():
                        call.seconds += spent
                        if call.seconds > self._limit_s:
                            _end(call.what, self._limit_s)


def _end(what: str, limit_s: float) -> None:
    text = (
        f"ihomer: error: {what} has not answered for {limit_s:g} s; the process ends, a new one"
        " goes on from checkpoint and journal\n"
    )
    os.write(2, text.encode())
    os._exit(EXIT_STUCK)
