"""Records that were fetched and wait for their turn, partition by partition.

In: records of several topics as the client hands them over, a fetch of a partition at a time. Out:
the next ones, of whichever partition's turn it is. It is here because a fetch is measured in bytes:
where a topic of small labels and one of large events have much to catch up with, the labels would
be far ahead of their events, and more of them would wait than there is room for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ihomer.connectors.base import Record
from ihomer.connectors.kafka_records import record_size


class Place(NamedTuple):
    """A partition; equal to the client's own name for it."""

    topic: str
    partition: int


class Queues:
    """See the module.

    A timestamp decides about the order of what is there, and about nothing else: what the order was
    is in the journal, and a replay does not ask again.

    Parameters
    ----------
    places
        The partitions.

    Examples
    --------
    >>> queues = Queues([Place("events", 0), Place("labels", 0)])
    >>> for topic, times in (("labels", (2, 4)), ("events", (1, 3))):
    ...     place = Place(topic, 0)
    ...     _ = queues.add(place, [Record(b"", topic, 0, at, timestamp=at) for at in times])
    >>> [record.offset for _ in range(4) for record in queues.take(1)]
    [1, 2, 3, 4]
    """

    def __init__(self, places: Iterable[Place] = ()) -> None:
        self._records: dict[Place, deque[Record]] = {place: deque() for place in places}
        self._bytes = dict.fromkeys(self._records, 0)
        self._taken = dict.fromkeys(self._records, 0)

    def __len__(self) -> int:
        return sum(map(len, self._records.values()))

    def add(self, place: Place, records: Sequence[Record]) -> int:
        """Put `records` behind those that are there; returns how many bytes wait then."""
        self._records[place] += records
        self._bytes[place] += sum(map(record_size, records))
        return self._bytes[place]

    def n_bytes(self, place: Place) -> int:
        """Bytes of a partition's records that wait."""
        return self._bytes[place]

    def first(self, place: Place) -> int | None:
        """Offset of a partition's next record; None: none waits."""
        waiting = self._records[place]
        return waiting[0].offset if waiting else None

    def last(self, place: Place) -> int:
        """Offset of a partition's last record that waits; -1: none does."""
        waiting = self._records[place]
        return waiting[-1].offset if waiting else -1

    def take(self, most: int) -> list[Record]:
        """Up to `most` records.

        First comes the partition whose next record has the earliest timestamp (none is earlier
        than any; of equals the one of which less has been taken), with as much as there is room
        for, so that a batch is of few partitions.
        """
        found: list[Record] = []
        while len(found) < most:
            ahead = [place for place, records in self._records.items() if records]
            if not ahead:
                break
            place = min(ahead, key=self._turn)
            count = min(most - len(found), len(self._records[place]))
            found += self._pop(place, count)
            self._taken[place] += count
        return found

    def take_before(self, place: Place, stop: int) -> list[Record]:
        """The records of a partition before offset `stop`."""
        waiting = self._records[place]
        count = next((i for i, each in enumerate(waiting) if each.offset >= stop), len(waiting))
        return self._pop(place, count)

    def clear(self, place: Place) -> None:
        """Forget a partition's records."""
        self._pop(place, len(self._records[place]))

    def _pop(self, place: Place, count: int) -> list[Record]:
        waiting = self._records[place]
        found = [waiting.popleft() for _ in range(count)]
        self._bytes[place] -= sum(map(record_size, found))
        return found

    def _turn(self, place: Place) -> tuple[int, int, Place]:
        when = self._records[place][0].timestamp
        return -1 if when is None else when, self._taken[place], place
