"""The journal of an application: which records were learned in which order, batch by batch.

In: `Entry` objects, one per transaction; the topic ``<app>.journal`` with one partition per slot.
Out: the entries behind a checkpoint, in order. It is here because after a crash nothing but
checkpoint and journal brings a model back.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import orjson
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, RetriableError, TopicAlreadyExistsError

from ihomer.connectors.kafka_client import TIMEOUT_S, administration, connect, topics_of
from ihomer.connectors.kafka_ranges import Offsets, Range, offsets_from_json, offsets_to_json
from ihomer.connectors.kafka_settings import KafkaSettings
from ihomer.errors import InputError, UnavailableError, UsageError

SUFFIX = ".journal"
FORMAT = 1
Kind = Literal["batch", "fresh", "skip"]

_CONFIGS = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
_POLL_MS = 200


class Entry(NamedTuple):
    """One transaction.

    Attributes
    ----------
    kind
        ``"batch"``: records were learned. ``"fresh"``: the model was replaced by an empty one.
        ``"skip"``: `ranges` are lost, and nothing was learned of them.
    number
        Counts entries of the slot from 1.
    owner
        Random id of who wrote it.
    epoch
        Counts owners of the slot from 1.
    events
        Decoded events that the model has seen since it was empty, this entry's included.
    ranges
        What was read, in order.
    offsets
        The next offset of every partition after it.
    """

    kind: Kind
    number: int
    owner: str
    epoch: int
    events: int
    ranges: tuple[Range, ...]
    offsets: Offsets


def composition_checksum(ranges: tuple[Range, ...]) -> str:
    """Checksum of an ordered list of ranges, as 16 hexadecimal digits.

    >>> composition_checksum(())
    '71857576257465c7'
    """
    return hashlib.blake2b(orjson.dumps([list(r) for r in ranges]), digest_size=8).hexdigest()


def encode(entry: Entry) -> bytes:
    """An entry as a JSON object."""
    return orjson.dumps(
        {
            "format": FORMAT,
            "kind": entry.kind,
            "number": entry.number,
            "owner": entry.owner,
            "epoch": entry.epoch,
            "events": entry.events,
            "ranges": [list(r) for r in entry.ranges],
            "checksum": composition_checksum(entry.ranges),
            "offsets": offsets_to_json(entry.offsets),
        }
    )


def decode(value: bytes | None, place: str) -> Entry:
    """The inverse of `encode`.

    Parameters
    ----------
    value
        Of the record.
    place
        Where it is, for messages.

    Raises
    ------
    InputError
        It is none, of another format, or its checksum is wrong.
    """
    try:
        found: Any = orjson.loads(value or b"")
        if found["format"] != FORMAT:
            raise InputError(f"{place}: journal format {found['format']!r}, accepted: {FORMAT}")
        if found["kind"] not in ("batch", "fresh", "skip"):
            raise ValueError("kind")
        ranges = tuple(
            Range(str(t), int(p), int(a), int(b), int(n), str(c))
            for t, p, a, b, n, c in found["ranges"]
        )
        entry = Entry(
            found["kind"],
            int(found["number"]),
            str(found["owner"]),
            int(found["epoch"]),
            int(found["events"]),
            ranges,
            offsets_from_json(found["offsets"]),
        )
        if found["checksum"] != composition_checksum(ranges):
            raise InputError(f"{place}: the checksum of the journal's record is wrong")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{place}: found no record of a journal") from None
    return entry


def ensure_journal(settings: KafkaSettings, topic: str, slots: int) -> None:
    """Make the journal's topic, or see that it is as it should be.

    Raises
    ------
    UsageError
        It has another number of partitions than there are slots.
    UnavailableError
        The cluster does not answer, or does not let us make it.
    """
    with administration(settings) as connection:
        found = topics_of(connection).get(topic)
        if found is None:
            wanted = {"num_partitions": slots, "replication_factor": -1, "configs": _CONFIGS}
            try:
                connection.client.create_topics({topic: wanted}, wait_for_metadata=True)
            except TopicAlreadyExistsError:  # another worker was faster
                found = topics_of(connection).get(topic, slots)
            else:
                found = slots
    if found != slots:
        raise UsageError(
            f"kafka://{settings.address}/{topic}: found {found} partitions, accepted: {slots}, one"
            " for each slot (slots); a journal cannot be divided anew, choose another app for"
            " another number of slots"
        )


class Part(NamedTuple):
    """What a slot's partition holds from some offset on.

    Attributes
    ----------
    begin, end
        Offsets of the whole partition; both 0: nothing was ever written.
    entries
        Each with its offset.
    """

    begin: int
    end: int
    entries: list[tuple[int, Entry]]

    @property
    def last(self) -> Entry | None:
        """The last entry, if there is one."""
        return self.entries[-1][1] if self.entries else None


class Journal:
    """One slot's partition.

    Parameters
    ----------
    settings
        Brokers and security.
    topic
        The journal's.
    slot
        Number of the partition.
    """

    def __init__(self, settings: KafkaSettings, topic: str, slot: int) -> None:
        self.topic = topic
        self.slot = slot
        self._settings = settings

    def __str__(self) -> str:
        return f"kafka://{self._settings.address}/{self.topic}, partition {self.slot}"

    def read(self, offset: int, stopping: Callable[[], bool] = lambda: False) -> Part:
        """Entries from `offset` to the end as it is now.

        Parameters
        ----------
        offset
            0 or more; what was deleted is left out.
        stopping
            Asked between polls; once true, what has been read is returned.

        Raises
        ------
        InputError
            A record is no entry, or the journal ends before `offset`.
        UnavailableError
            The cluster does not answer.
        """
        at = TopicPartition(self.topic, self.slot)
        consumer, _ = connect(
            KafkaConsumer,
            self._settings,
            TIMEOUT_S,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="none",
            metrics_enabled=False,
        )
        wait = round(1000 * TIMEOUT_S)
        try:
            consumer.assign([at])
            begin = consumer.beginning_offsets([at], timeout_ms=wait)[at]
            end = consumer.end_offsets([at], timeout_ms=wait)[at]
            if offset > end:
                raise InputError(
                    f"{self}: ends at offset {end}, but a checkpoint or a commit stands at"
                    f" {offset}: it is another cluster's, or was made anew; accepted: the journal"
                    " that belongs to the state_dir, or --fresh for an empty model"
                )
            found: list[tuple[int, Entry]] = []
            consumer.seek(at, max(offset, begin))
            silent_since = time.monotonic()
            while (consumer.position(at, timeout_ms=wait) or 0) < end and not stopping():
                try:
                    polled = consumer.poll(timeout_ms=_POLL_MS)
                except RetriableError:
                    polled = {}
                if polled:
                    silent_since = time.monotonic()
                elif time.monotonic() - silent_since > TIMEOUT_S:
                    raise UnavailableError(f"{self}: Kafka does not answer")
                found += [
                    (record.offset, decode(record.value, f"{self}, offset {record.offset}"))
                    for records in polled.values()
                    for record in records
                ]
        except KafkaError as error:
            raise UnavailableError(f"{self}: cannot be read: {error}") from None
        finally:
            consumer.close(autocommit=False, timeout_ms=1000)
        return Part(begin, end, found)

    def trim(self, offset: int) -> None:
        """Delete what lies before `offset`; raises `UnavailableError`."""
        at = TopicPartition(self.topic, self.slot)
        with administration(self._settings) as connection:
            connection.client.delete_records({at: offset})
