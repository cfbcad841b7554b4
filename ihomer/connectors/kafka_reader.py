"""The records of some partitions, from offsets that we name.

In: next offsets by topic and partition. Out: records as they come, or exactly those of a `Range`.
It is here because with exactly-once the positions come from checkpoint and journal: no group's
offsets are read, and nothing is ever reset to where a topic happens to begin or end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    OffsetOutOfRangeError,
    RetriableError,
)

from ihomer.connectors.base import Record
from ihomer.connectors.kafka_client import TIMEOUT_S, connect
from ihomer.connectors.kafka_queues import Place, Queues
from ihomer.connectors.kafka_ranges import Offsets, Range
from ihomer.connectors.kafka_records import UNREADABLE, record_of, unreadable
from ihomer.connectors.kafka_settings import KafkaSettings
from ihomer.connectors.kafka_watch import TopicWatch
from ihomer.errors import InputError, UnavailableError

log = logging.getLogger(__name__)

FETCH_BYTES = 1 << 24
_PARTITION_BYTES = 1 << 22
_POLL_MS = 100
_METADATA_MS = 30_000
_MOST = 5_000  # records that are asked of the client at once
_BUFFERED_BYTES = 1 << 24  # of a partition's records that wait for their turn in a replay
_AHEAD_BYTES = 1 << 22  # and otherwise; at most one poll more

Lag: TypeAlias = dict[tuple[str, int], int]
"""Records that are not read yet, by topic and partition."""


class LostRangeError(InputError):
    """What is to be read is no longer there.

    Parameters
    ----------
    topic, partition, start
        The first offset that is wanted.
    begin, end
        What there is.
    """

    def __init__(self, topic: str, partition: int, start: int, begin: int, end: int) -> None:
        self.topic = topic
        self.partition = partition
        self.start = start
        self.begin = begin
        self.end = end
        if start < begin:
            why = f"events {start} to {begin - 1} were deleted before they were read"
        else:
            why = "the topic was made anew or has lost its end"
        super().__init__(
            f"{topic}, partition {partition}: offset {start} is wanted but it has {begin} to"
            f' {end}: {why}; lost_events = "skip" goes on behind them'
        )


class Stopped(Exception):  # noqa: N818 - no error: somebody has asked for it
    """A replay was asked to stop."""


class RangeReader:
    """See the module.

    Parameters
    ----------
    settings
        Brokers and security.
    topics
        At least one, all in that cluster.
    stopping
        Asked while a replay waits.
    fetch_bytes
        Most bytes that a broker sends at a time.

    Raises
    ------
    UnavailableError
        No broker answers in time.

    Notes
    -----
    With several topics, `poll` takes first what has the earliest timestamp; see `Queues`.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Sequence[str],
        stopping: Callable[[], bool],
        fetch_bytes: int = FETCH_BYTES,
    ) -> None:
        self._settings = settings
        self._topics = tuple(topics)
        self._stopping = stopping
        self._consumer, self._network = connect(
            KafkaConsumer,
            settings,
            TIMEOUT_S,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="none",
            metadata_max_age_ms=_METADATA_MS,
            # A record that is larger than these is sent all the same.
            fetch_max_bytes=fetch_bytes,
            max_partition_fetch_bytes=min(_PARTITION_BYTES, fetch_bytes),
            metrics_enabled=False,
        )
        self._watch: TopicWatch | None = None
        self._queues = Queues()

    def partitions(self, topic: str) -> list[int]:
        """Partitions of a topic as far as the client knows; more may have been added."""
        return sorted(self._consumer.partitions_for_topic(topic) or ())

    def bounds(self, topic: str, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        """First and next offset of each partition; raises `UnavailableError`."""
        at = [TopicPartition(topic, partition) for partition in partitions]
        wait = round(1000 * TIMEOUT_S)
        try:
            begins = self._consumer.beginning_offsets(at, timeout_ms=wait)
            ends = self._consumer.end_offsets(at, timeout_ms=wait)
        except KafkaError as error:
            raise UnavailableError(f"{self._where()}: offsets cannot be read: {error}") from None
        return {place.partition: (begins[place], ends[place]) for place in at}

    def go_to(self, offsets: Offsets) -> None:
        """Read from `offsets` on, and nothing else."""
        places = {
            TopicPartition(topic, partition): offset
            for topic, at in offsets.items()
            for partition, offset in at.items()
        }
        self._queues = Queues(places)
        self._consumer.assign(sorted(places))
        for place, offset in places.items():
            self._consumer.seek(place, offset)
        self._consumer.resume(*self._consumer.paused())
        if self._watch is None:
            self._watch = TopicWatch(self._settings, self._network, TIMEOUT_S, self._topics)

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        """Up to `max_records` records, in order within each partition.

        Raises
        ------
        LostRangeError
            The next records of a partition are no longer there.
        InputError
            The topic is gone, or cannot be read.
        UnavailableError
            We may not read it.
        """
        wait = round(1000 * timeout)
        if len(self._topics) > 1:
            return self._poll_in_step(max_records, wait)
        records = [record for _, found in self._poll(max_records, wait) for record in found]
        if self._watch is not None:
            self._watch.polled(anything=bool(records))
        return records

    def _poll_in_step(self, max_records: int, wait_ms: int) -> list[Record]:
        """As `poll`, of several topics; see the class."""
        try:
            anything = self._fill(_AHEAD_BYTES, 0 if len(self._queues) else wait_ms)
        except LostRangeError as lost:
            # Those before them are still to be returned; the client will say it again.
            if self._queues.first(Place(lost.topic, lost.partition)) is None:
                raise
            anything = False
        if self._watch is not None:
            self._watch.polled(anything=anything)
        found = self._queues.take(max_records)
        again = [at for at in self._consumer.paused() if self._queues.n_bytes(at) < _AHEAD_BYTES]
        self._consumer.resume(*again)
        return found

    def _fill(self, most_bytes: int, wait_ms: int, wanted: Any = None) -> bool:
        """Take from the client what it has; partitions with much of it, but `wanted`, pause."""
        anything = False
        for at, records in self._poll(_MOST, wait_ms):
            anything = True
            if self._queues.add(at, records) >= most_bytes and at != wanted:
                self._consumer.pause(at)
        return anything

    def read(self, wanted: Range) -> list[Record]:
        """The records of a range, fewer if they are no longer there.

        Raises
        ------
        LostRangeError
            Its beginning is no longer there.
        Stopped
            Somebody wants us to stop.
        InputError, UnavailableError
            As `poll`.
        """
        place = TopicPartition(wanted.topic, wanted.partition)
        # The first record of the range that did not come is behind all that did.
        while self._queues.last(place) < wanted.stop - 1:
            if (self._consumer.position(place, timeout_ms=0) or 0) >= wanted.stop:
                break
            if self._stopping():
                raise Stopped
            if place in self._consumer.paused():
                self._consumer.resume(place)
            anything = self._fill(_BUFFERED_BYTES, _POLL_MS, place)
            if self._watch is not None:
                self._watch.polled(anything=anything)
        return self._queues.take_before(place, wanted.stop)

    def skip_to(self, topic: str, partition: int, offset: int) -> None:
        """Go on at `offset` of a partition."""
        place = TopicPartition(topic, partition)
        self._queues.clear(place)
        self._consumer.seek(place, offset)

    @property
    def trouble(self) -> str | None:
        """What is wrong with the brokers, in one line; None: they are there."""
        return None if self._watch is None else self._watch.trouble

    def behind(self) -> Lag:
        """Records between the last fetch's end and what was returned."""
        found: Lag = {}
        for place in self._consumer.assignment():
            end = self._consumer.highwater(place)
            at = self._consumer.position(place, timeout_ms=0)
            if end is not None and at is not None:
                first = self._queues.first(place)
                behind = end - (at if first is None else first)
                found[place.topic, place.partition] = max(0, behind)
        return found

    def _poll(self, max_records: int, wait_ms: int) -> list[tuple[Any, list[Record]]]:
        try:
            polled = self._consumer.poll(timeout_ms=wait_ms, max_records=max_records)
        except OffsetOutOfRangeError as error:
            ((at, offset),) = list(error.args[0].items())[:1]
            begin, end = self.bounds(at.topic, [at.partition])[at.partition]
            raise LostRangeError(at.topic, at.partition, offset, begin, end) from None
        except RetriableError as error:
            log.debug("poll of %s failed, tried again: %s", self._where(), error)
            return []
        except AuthorizationError as error:
            raise UnavailableError(f"{self._where()}: not allowed to read it: {error}") from None
        except UNREADABLE as error:
            raise unreadable(self._where(), error) from None
        except KafkaError as error:
            raise UnavailableError(f"{self._where()}: {error}") from None
        return [
            (at, [record_of(at.topic, at.partition, each) for each in found])
            for at, found in polled.items()
        ]

    def _where(self) -> str:
        return f"kafka://{self._settings.address}/{', '.join(self._topics)}"

    def close(self) -> None:
        """Let go of the connections."""
        try:
            self._consumer.close(autocommit=False, timeout_ms=1000)
        except KafkaError as error:
            log.debug("%s: not closed in order: %s", self._settings.topic, error)
