"""What a batch is made of, as ranges of offsets that can be found again and checked.

In: records in the order in which they are learned. Out: an ordered list of `Range`, small enough
for a message, and a checksum over all. It is here so that after a crash the same records can be
read in the same order, and a topic that no longer has them is noticed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from ihomer.connectors.base import Record
from ihomer.errors import InputError

Offsets: TypeAlias = dict[str, dict[int, int]]
"""The next offset by topic and partition."""

_CHECKSUM_BYTES = 8
_FRAME = struct.Struct("<qqiii")


class Range(NamedTuple):
    """Consecutive records of one partition.

    Attributes
    ----------
    topic, partition
        Where they are.
    start, stop
        Offsets: the records are those at `start` and later, before `stop`. Ranges of a partition
        follow each other without a gap; offsets that hold no record (ends of transactions, what
        was aborted) belong to the range behind them.
    records
        Number of records.
    checksum
        Of offsets, timestamps, keys, headers and values, as 16 hexadecimal digits.

    Notes
    -----
    The records of a range are decoded and learned in one step, so that a replay cuts the stream as
    the first run did: predictions do not depend on that, but the growth of arrays does.
    """

    topic: str
    partition: int
    start: int
    stop: int
    records: int
    checksum: str

    def __str__(self) -> str:
        return f"{self.topic}, partition {self.partition}, offsets {self.start} to {self.stop - 1}"


def copy_of(offsets: Offsets) -> Offsets:
    """Offsets that no longer change."""
    return {topic: dict(at) for topic, at in offsets.items()}


def slot_of(partition: int, slots: int) -> int:
    """The slot that owns a partition of the input.

    >>> [slot_of(partition, 2) for partition in range(5)]
    [0, 1, 0, 1, 0]
    """
    return partition % slots


def _frame(record: Record) -> bytes:
    """A record's bytes with the lengths of its parts, so that no two records look alike."""
    value, key, headers, stamp = record.value, record.key, record.headers, record.timestamp
    content = value if isinstance(value, bytes) else b""
    head = _FRAME.pack(
        record.offset,
        -1 if stamp is None else stamp,
        -1 if key is None else len(key),
        -1 if value is None else len(content),
        len(headers),
    )
    if not headers:
        return b"%b%b%b" % (head, key or b"", content)
    parts = [head, key or b"", content]
    for name, content in headers:
        encoded = name.encode("utf-8", "surrogatepass")
        parts += (b"%d:%d:" % (len(encoded), len(content)), encoded, content)
    return b"".join(parts)


def checksum_of(records: Iterable[Record]) -> str:
    """Checksum of records of one partition; see `Range`."""
    # In one piece: for each larger one the interpreter would be given to other threads.
    frames = b"".join(map(_frame, records))
    return hashlib.blake2b(frames, digest_size=_CHECKSUM_BYTES).hexdigest()


def runs(records: Sequence[Record]) -> list[Sequence[Record]]:
    """Records cut where the partition changes.

    >>> records = [Record(b"", "t", 0, 5), Record(b"", "t", 0, 6), Record(b"", "t", 1, 9)]
    >>> [[record.offset for record in run] for run in runs(records)]
    [[5, 6], [9]]
    """
    ends = [
        at
        for at in range(1, len(records))
        if (records[at].source, records[at].partition)
        != (records[at - 1].source, records[at - 1].partition)
    ]
    return [records[start:stop] for start, stop in pairwise([0, *ends, len(records)]) if stop]


def range_of(records: Sequence[Record], tail: Offsets) -> Range:
    """The range of records of one partition, at least one.

    Parameters
    ----------
    records
        In order.
    tail
        The next offsets: the range begins there. Moved on behind the records.

    Examples
    --------
    >>> tail = {"t": {0: 5}}
    >>> found = range_of([Record(b"a", "t", 0, 5), Record(b"b", "t", 0, 7)], tail)
    >>> (found.start, found.stop, found.records), tail
    ((5, 8, 2), {'t': {0: 8}})
    """
    topic, partition, stop = records[0].source, records[0].partition, records[-1].offset + 1
    at = tail.setdefault(topic, {})
    start = at.get(partition, records[0].offset)
    at[partition] = stop
    return Range(topic, partition, start, stop, len(records), checksum_of(records))


def check(wanted: Range, found: Sequence[Record]) -> None:
    """Compare what was read with what was recorded.

    Raises
    ------
    InputError
        Records are missing or changed; names the range.
    """
    if len(found) != wanted.records:
        raise InputError(
            f"{wanted}: found {len(found)} records, the journal has {wanted.records}: retention or"
            " compaction has eaten the rest"
        )
    if checksum_of(found) != wanted.checksum:
        raise InputError(f"{wanted}: found other records than the journal's checksum is of")


def offsets_to_json(offsets: Offsets) -> dict[str, dict[str, int]]:
    """Offsets with partitions as text, in a fixed order."""
    return {
        topic: {str(partition): at[partition] for partition in sorted(at)}
        for topic, at in sorted(offsets.items())
    }


def offsets_from_json(found: Any) -> Offsets:
    """The inverse of `offsets_to_json`; raises KeyError, TypeError or ValueError otherwise."""
    offsets = {
        str(topic): {int(partition): int(offset) for partition, offset in at.items()}
        for topic, at in found.items()
    }
    if any(p < 0 or o < 0 for at in offsets.values() for p, o in at.items()):
        raise ValueError("a negative partition or offset")
    return offsets
