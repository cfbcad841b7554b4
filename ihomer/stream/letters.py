"""Dead letters read back: what a record was, why it was refused, and where it came from.

In: a record of a dead-letter topic, or a line of a dead-letter file. Out: a `Letter`, whose message
is the original one: its bytes, key, timestamp and headers without those that say why. It is here so
that what `ihomer.stream.dead_letters` has put away can be looked at, and sent again.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from ihomer.connectors.base import Headers, Message, Record
from ihomer.connectors.kafka_settings import parse_uri as parse_kafka
from ihomer.connectors.uri import parse_uri, same_file
from ihomer.errors import InputError

PREFIX = "ihomer.errors."
CUT_BY_TOPIC = "ihomer.truncated"


class Letter(NamedTuple):
    """One dead letter.

    Attributes
    ----------
    place
        Where the letter itself is.
    message
        What was refused, as it came; its origin is the partition that it came from.
    topic, partition, offset
        Where it came from; of a file the path, 0 and the line.
    stage, kind, reason
        As in `MalformedEventError`.
    cut
        Whether anything of it was cut off to fit, so that it is no longer what came.
    """

    place: str
    message: Message
    topic: str
    partition: int
    offset: int
    stage: str
    kind: str
    reason: str
    cut: bool

    @property
    def origin(self) -> str:
        """``topic:partition:offset``."""
        return f"{self.topic}:{self.partition}:{self.offset}"


def letter_of_record(record: Record) -> Letter:
    """The dead letter in a topic's record.

    Raises
    ------
    InputError
        It is none; names its place and what is missing.
    """
    place = f"{record.source}, partition {record.partition}, offset {record.offset}"
    value = record.value if isinstance(record.value, bytes) else None
    return _letter(place, value, record.key, record.headers, record.timestamp)


def letter_of_line(path: str, number: int, text: bytes) -> Letter:
    """The dead letter in a line of JSON; see `ihomer.connectors.files.sink`.

    Raises
    ------
    InputError
        It is none; names its place and what is wrong.
    """
    place = f"{path}, line {number}"
    try:
        body = orjson.loads(text)
        value, key = _bytes(body["value"]), _bytes(body["key"])
        pairs = body.get("header_bytes")
        headers = (
            tuple((str(name), content.encode()) for name, content in body["headers"].items())
            if pairs is None
            else tuple((str(name), _bytes(content) or b"") for name, content in pairs)
        )
        timestamp = body["timestamp"]
        if not isinstance(timestamp, int | None):
            raise TypeError("timestamp")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # A message of Python's about a type says nothing to whoever has written the file.
        why = f"{error}" if isinstance(error, orjson.JSONDecodeError) else "another form"
        raise InputError(
            f"{place}: found no dead letter ({why}), accepted: an object with value and key (base64"
            " or null), headers (an object of text) and timestamp (milliseconds or null)"
        ) from None
    return _letter(place, value, key, headers, timestamp)


def _bytes(text: Any) -> bytes | None:
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _letter(
    place: str, value: bytes | None, key: bytes | None, headers: Headers, timestamp: int | None
) -> Letter:
    # Of a letter that was refused twice the last reasons count.
    said = {
        name.removeprefix(PREFIX): content.decode("utf-8", "replace")
        for name, content in headers
        if name.startswith(PREFIX)
    }
    missing = [name for name in ("topic", "partition", "offset", "class") if name not in said]
    if missing:
        raise InputError(f"{place}: found no header {PREFIX}{missing[0]}, accepted: a dead letter")
    try:
        partition, offset = int(said["partition"]), int(said["offset"])
    except ValueError:
        raise InputError(
            f"{place}: found {PREFIX}partition {said['partition']!r} and {PREFIX}offset"
            f" {said['offset']!r}, accepted: whole numbers"
        ) from None
    own = tuple(pair for pair in headers if not _is_ours(pair[0]))
    cut = any(name.startswith("truncated") for name in said) or any(
        name == CUT_BY_TOPIC for name, _ in headers
    )
    return Letter(
        place,
        Message(value, key, own, timestamp, partition),
        said["topic"],
        partition,
        offset,
        said.get("stage", ""),
        said["class"],
        said.get("message", ""),
        cut,
    )


def _is_ours(name: str) -> bool:
    return name.startswith(PREFIX) or name == CUT_BY_TOPIC


@dataclass(frozen=True)
class Selection:
    """Which letters are meant; what is empty selects all.

    Attributes
    ----------
    kinds
        Kinds of the fault, such as ``not-json``.
    origin
        ``topic``, ``topic:partition`` or ``topic:partition:offset``.
    reason
        A part of the reason.
    """

    kinds: tuple[str, ...] = ()
    origin: str = ""
    reason: str = ""

    def __contains__(self, letter: Letter) -> bool:
        return (
            (not self.kinds or letter.kind in self.kinds)
            and (not self.origin or _comes_from(letter, self.origin))
            and self.reason in letter.reason
        )

    def to_json(self) -> dict[str, Any]:
        """As an object, equal for equal selections."""
        return {"classes": sorted(self.kinds), "origin": self.origin, "reason": self.reason}


def _comes_from(letter: Letter, origin: str) -> bool:
    # A path may hold colons: the origin is not taken apart.
    return origin in (letter.topic, f"{letter.topic}:{letter.partition}", letter.origin)


def same_place(one: str, other: str) -> bool:
    """Whether two URIs name one file or one topic.

    >>> same_place("kafka://a:1/t?group=g", "kafka://a:1,b:2/t"), same_place("a.jsonl", "b.jsonl")
    (True, False)
    """
    if {parse_uri(one).scheme, parse_uri(other).scheme} != {"kafka"}:
        return same_file(one, other)
    first, second = parse_kafka(one), parse_kafka(other)
    return first.topic == second.topic and bool(set(first.bootstrap) & set(second.bootstrap))
