"""Records as the client gives and takes them, and as our contract has them.

In: kafka-python's consumer records, our messages. Out: our records, and messages cut to the size
that a topic takes. It is here because sources, sinks and transactions must agree on it.
"""

from __future__ import annotations

from typing import Any

from kafka.errors import (
    CorruptRecordError,
    KafkaError,
    LogTruncationError,
    UnsupportedCodecError,
)

from ihomer.connectors.base import Message, Record
from ihomer.errors import InputError

# What the client raises when the records behind its place cannot be had.
UNREADABLE = (CorruptRecordError, LogTruncationError, UnsupportedCodecError)

MAX_RECORD_BYTES = 1 << 20
TRUNCATED = "ihomer.truncated"

# What a record needs beside its key, value and headers: a batch's and a record's own fields.
RECORD_OVERHEAD = 128
_HEADER_OVERHEAD = 16


def record_size(record: Record) -> int:
    """Bytes that a record holds, about.

    >>> record_size(Record(b"12", "t", 0, 5, b"k"))
    131
    """
    value = record.value
    held = len(value) if isinstance(value, bytes) else 0
    if record.headers:
        held += sum(len(name) + len(content) + _HEADER_OVERHEAD for name, content in record.headers)
    return RECORD_OVERHEAD + held + (0 if record.key is None else len(record.key))


def record_of(topic: str, partition: int, found: Any) -> Record:
    """The record that the client calls `found`."""
    return Record(
        found.value,
        topic,
        partition,
        found.offset,
        found.key,
        # Kafka allows a header without a value; our contract does not.
        tuple([(key, value or b"") for key, value in found.headers]) if found.headers else (),
        found.timestamp if found.timestamp >= 0 else None,
    )


def unreadable(where: str, error: KafkaError) -> InputError:
    """What to tell when the client cannot go on where it is: `error` is one of `UNREADABLE`."""
    if isinstance(error, LogTruncationError):
        partitions = sorted(at.partition for at in error.divergent_offsets)
        return InputError(
            f"{where}: partitions {partitions} have lost their end, or the topic was made anew,"
            " while they were read"
        )
    return InputError(f"{where}: cannot be read on: {error}")


def sendable(message: Message) -> Message:
    """`message` as the client takes it, which refuses to send neither key nor value."""
    if message.value is None and message.key is None:
        return message._replace(value=b"")
    return message


def send(producer: Any, topic: str, message: Message, partitions: int) -> Any:
    """Hand a message to the client, for partition ``origin mod partitions``; its future."""
    return producer.send(
        topic,
        value=message.value,
        key=message.key,
        headers=list(message.headers),
        partition=message.origin % partitions,
        timestamp_ms=message.timestamp,
    )


def size_of(message: Message) -> int:
    """Bytes that a message needs in a topic, at most."""
    held = RECORD_OVERHEAD + len(message.key or b"") + len(message.value or b"")
    for name, content in message.headers:
        size = len(name) if name.isascii() else len(name.encode())
        held += size + len(content) + _HEADER_OVERHEAD
    return held


def cut(message: Message, limit: int) -> Message | None:
    """`message` with as much of its value as fits; None if even the rest is too large.

    The header ``ihomer.truncated`` tells how many bytes the value had.
    """
    value = message.value or b""
    marked = message._replace(
        value=b"", headers=(*message.headers, (TRUNCATED, b"%d" % len(value)))
    )
    room = limit - size_of(marked)
    if not 0 <= room < len(value):
        return None
    return marked._replace(value=value[:room])
