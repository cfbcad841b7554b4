"""A transaction that is being filled: how much it holds, and when it is closed.

In: sizes of what was read and of what was made of it. Out: how much more may be read, and whether
the transaction is ripe. It is here so that both its bounds, in events and in bytes, and its age
are decided in one place that knows no broker.

An event alone is not kept waiting: a transaction is closed as soon as there is nothing more to
read, and at the latest after `Bounds.wait_s`. A transaction costs as much as some hundred events,
though. So where more events wait in the topic than one transaction takes, each of them has waited
for longer than that already, and transactions are filled for up to `PATIENCE` times as long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ihomer.connectors.base import Record
from ihomer.connectors.kafka_records import record_size

PATIENCE = 8
ASKED = 1_000  # most records for which the client is asked, unless a step is larger


class Bounds(NamedTuple):
    """Of a transaction.

    Attributes
    ----------
    events
        Most records.
    nbytes
        Most bytes, of one record or of several together.
    wait_s
        Seconds after which it is closed.
    """

    events: int
    nbytes: int
    wait_s: float


class Filling:
    """See the module.

    Parameters
    ----------
    bounds
        Of each transaction.

    Attributes
    ----------
    records, nbytes
        What it holds: records, and bytes of them and of what was made of them.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._since = 0.0
        self._size = 0.0  # of a record and what was made of it, in the mean of a transaction
        self.records = 0
        self.nbytes = 0

    def ahead(self, step: int) -> int:
        """For how many records to ask the client: a step, or what there is surely room for.

        To ask costs as much as some ten records, so it is not done for each step; but what is read
        and not taken is memory, so that of large records no more than a step comes ahead.

        >>> filling = Filling(Bounds(2000, 1 << 20, 0.05))
        >>> filling.ahead(256)
        256
        >>> filling.add(256, 256 * 1024)
        >>> filling.ahead(256)
        768
        """
        if not self._size:
            return step
        return max(step, min(self.room, ASKED, int(self.room_bytes / self._size)))

    @property
    def room(self) -> int:
        """How many more records there may be."""
        full = self.nbytes >= self._bounds.nbytes
        return 0 if full else self._bounds.events - self.records

    @property
    def room_bytes(self) -> int:
        """How many more bytes there may be."""
        return self._bounds.nbytes - self.nbytes

    def begin(self, now: float) -> None:
        """Records have come at `now` (monotonic seconds) and are about to be put into it."""
        if not self.records:
            self._since = now

    def add(self, records: int, nbytes: int) -> None:
        """Take note of what was put into it."""
        self.records += records
        self.nbytes += nbytes
        if self.records:
            self._size = self.nbytes / self.records

    def empty(self) -> None:
        """Begin the next one."""
        self.records = self.nbytes = 0

    def ripe(self, came: int, now: float, behind: Callable[[], int]) -> bool:
        """Whether it is to be closed.

        Parameters
        ----------
        came
            Records of the last poll.
        now
            Monotonic seconds.
        behind
            Tells how many records wait in the topic; asked only if it matters.
        """
        if not self.records:
            return False
        if self.room <= 0:
            return True
        waited = now - self._since
        if came and waited < self._bounds.wait_s:
            return False
        return waited >= PATIENCE * self._bounds.wait_s or behind() <= self._bounds.events


class Ahead:
    """Records that were read and do not fit in the transaction at hand; they begin the next one.

    Examples
    --------
    >>> ahead = Ahead()
    >>> ahead.put([Record(b"x" * 872, "t", 0, offset) for offset in range(3)])
    >>> [len(ahead.take(10, room, alone=False)) for room in (1999, 999, 3000)]
    [1, 0, 2]
    """

    def __init__(self) -> None:
        self._records: deque[Record] = deque()

    def __len__(self) -> int:
        return len(self._records)

    def put(self, records: Sequence[Record]) -> None:
        """Add what was read."""
        self._records += records

    def take(self, most: int, nbytes: int, *, alone: bool) -> list[Record]:
        """The next records.

        Parameters
        ----------
        most
            Not more than these.
        nbytes
            Of not more bytes together (`record_size`).
        alone
            Whether a first one may be larger.
        """
        found: list[Record] = []
        while self._records and len(found) < most:
            nbytes -= record_size(self._records[0])
            if nbytes < 0 and (found or not alone):
                break
            found.append(self._records.popleft())
        return found

    def clear(self) -> None:
        """Forget them: they are read again."""
        self._records.clear()
