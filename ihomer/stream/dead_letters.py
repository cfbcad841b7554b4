"""Malformed events to dead letters: the original record, with the reason in its headers.

In: a record and the `MalformedEventError` that refused it. Out: a `Message` with the original
bytes to a sink, and a count by kind. It is here so that bad input neither stops a stream nor
disappears. Without a sink nobody has said what to do with bad input, so the first one stops; with
one, a share of bad events that is too large stops (`ErrorRate`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from typing import Any, TypeAlias

import numpy as np
import orjson

from ihomer import __version__
from ihomer.connectors.base import Headers, Message, Record, Sink
from ihomer.errors import InputError, MalformedEventError
from ihomer.instances import Event, Features, LabelEvent, Row
from ihomer.stream.error_rate import ErrorRate

MAX_LETTER_BYTES = 900_000
MAX_REASON_LENGTH = 1_000

Place: TypeAlias = Callable[[Record], str]


def place_by_offset(record: Record) -> str:
    """Where a record of a topic comes from.

    >>> place_by_offset(Record(b"", "tickets", 3, 1207))
    'tickets, partition 3, offset 1207'
    """
    return f"{record.source}, partition {record.partition}, offset {record.offset}"


def place_by_line(record: Record) -> str:
    """Where a record of a file comes from.

    >>> place_by_line(Record(b"", "tickets.jsonl", 0, 17))
    'tickets.jsonl, line 17'
    """
    return f"{record.source}, line {record.offset}"


def dead_letter(
    record: Record,
    fault: MalformedEventError,
    version: str,
    max_bytes: int = MAX_LETTER_BYTES,
) -> Message:
    """The message that keeps `record` and says why it was refused.

    Parameters
    ----------
    record
        Bytes are kept as they are, a tombstone stays one, a table's row is the bytes that were
        read. A value that is an `Event` already, or a row without bytes of its own, is written as
        JSON: times as RFC 3339 has them (without a zone: UTC), NaN as null, an infinite number
        as the string ``"Infinity"`` or ``"-Infinity"``, what JSON has no form for as its Python
        text.
    fault
        Why it was refused.
    version
        Of ihomer.
    max_bytes
        Largest size of value, key and original headers together; the default leaves room for
        the reason in a topic that takes 1 MB. Beyond it the key is kept first, then the headers,
        then the value.

    Returns
    -------
    Message
        Key, timestamp and headers are the record's. After those headers come
        ``ihomer.errors.`` ``topic``, ``partition``, ``offset``, ``stage``, ``class`` (the fault's
        kind), ``message`` and ``version``, as UTF-8 text; in a letter that is refused again the
        last ones count. ``ihomer.errors.truncated`` is the value's original size in bytes if it
        was cut, ``ihomer.errors.truncated.key`` the key's; ``ihomer.errors.truncated.headers``
        is how many original headers were left out.
    """
    value = record.value
    if isinstance(value, Event | LabelEvent):
        value = event_json(value)
    elif isinstance(value, Mapping):
        value = orjson.dumps(_plain(value)) if record.original is None else record.original
    cuts: list[tuple[str, bytes]] = []
    room = max_bytes
    key = record.key
    if key is not None and len(key) > room:
        cuts.append(("ihomer.errors.truncated.key", b"%d" % len(key)))
        key = key[:room]
    room -= len(key or b"")
    headers = record.headers
    if _size(headers) > room:
        cuts.append(("ihomer.errors.truncated.headers", b"%d" % len(headers)))
        headers = ()
    room -= _size(headers)
    if value is not None and len(value) > room:
        cuts.append(("ihomer.errors.truncated", b"%d" % len(value)))
        value = value[:room]
    reasons = {
        "topic": record.source,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "stage": fault.stage,
        "class": fault.kind,
        "message": _one_line(fault.message),
        "version": version,
    }
    reason_headers = tuple(
        (f"ihomer.errors.{name}", _utf_8(text)) for name, text in reasons.items()
    )
    return Message(
        value, key, (*headers, *reason_headers, *cuts), record.timestamp, record.partition
    )


class DeadLetters:
    """Counts malformed events and hands them to a sink.

    Parameters
    ----------
    sink
        Where dead letters go; None: the first malformed event is an error.
    place
        Names a record's place in that error: `place_by_offset` (topics) or `place_by_line`.
    max_bytes
        See `dead_letter`.
    rate
        Share of malformed events; None: with its defaults.

    Attributes
    ----------
    counts
        Number of malformed events by kind.
    rate
        As given; told by whoever reads the events, in their order.
    """

    def __init__(
        self,
        sink: Sink | None,
        place: Place = place_by_offset,
        max_bytes: int = MAX_LETTER_BYTES,
        rate: ErrorRate | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.rate = ErrorRate() if rate is None else rate
        self._last = ""
        self._sink = sink
        self._place = place
        self._max_bytes = max_bytes

    @property
    def has_sink(self) -> bool:
        """Whether malformed events can be put anywhere."""
        return self._sink is not None

    def put(self, record: Record, fault: MalformedEventError) -> None:
        """Count `record` and write it to the sink; it is safe after the next `flush`.

        Raises
        ------
        InputError
            There is no sink.
        UnavailableError, InputError
            Of the sink.
        """
        if self._sink is None:
            raise InputError(
                f"{self._place(record)}: {_one_line(fault.message)}; set --dead-letters to a topic"
                " or a file to keep malformed events there and go on"
            ) from fault
        self.counts[fault.kind] += 1
        self._last = self._place(record)
        self._sink.write([dead_letter(record, fault, __version__, self._max_bytes)])

    def halt(self) -> InputError | None:
        """Why nothing more should be read, if the share was too large since the last call."""
        if not self.rate.forgive():
            return None
        kind, count = max(self.counts.items(), key=lambda item: (item[1], item[0]))
        return InputError(
            f"{self._last}: {self.rate.share:.4g} of about the last {self.rate.window:,} events are"
            f" malformed (most often {kind}, {count:,} so far), accepted: at most"
            f" {self.rate.max_rate:g} (errors_max_rate); the source seems to be a wrong one. All"
            " that was read is answered and kept; ihomer dead-letters show tells what came"
        )

    def flush(self) -> None:
        """Return when every dead letter is acknowledged; raises as the sink's `flush`."""
        if self._sink is not None:
            self._sink.flush()

    def close(self) -> None:
        """Close the sink; may be called twice."""
        if self._sink is not None:
            self._sink.close()


def _size(headers: Headers) -> int:
    return sum(len(_utf_8(name)) + len(value) for name, value in headers)


def _one_line(text: str) -> str:
    line = " ".join(text.splitlines())
    return line if len(line) <= MAX_REASON_LENGTH else line[: MAX_REASON_LENGTH - 3] + "..."


def _utf_8(text: str) -> bytes:
    # A name from outside JSON may hold a lone surrogate; a dead letter must not fail on it.
    return text.encode("utf-8", "backslashreplace")


def event_json(event: Event | LabelEvent) -> bytes:
    """An event or late labels, in the form of their schemas as far as it fits."""
    body: dict[str, Any] = {"id": _plain(event.id)}
    if isinstance(event, Event):
        body["x"] = _plain(_members(event.x))
    if event.on is not None and event.off:
        body["y"] = _plain(dict.fromkeys(event.off, False) | dict.fromkeys(event.on, True))
    elif event.on is not None:
        body["y"] = _plain(list(event.on))
    if event.ts is not None:
        body["ts"] = _plain(event.ts)
    return orjson.dumps(body)


def _members(x: Features) -> Mapping[Any, Any]:
    if not isinstance(x, Row):
        return x
    names = x.names if x.indices is None else [x.names[i] for i in x.indices.tolist()]
    return dict(zip(names, x.values.tolist(), strict=True))


def _plain(value: object) -> Any:
    """`value` in types that any JSON writer takes."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return _utf_8(value).decode()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return None if math.isnan(value) else value
    if isinstance(value, datetime):
        return value.isoformat() + ("" if value.tzinfo else "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {_utf_8(str(name)).decode(): _plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=repr)
    return _utf_8(repr(value)).decode()
