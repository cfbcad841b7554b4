"""Records to events: parses and checks one JSON object per record, fast.

In: a `Record` with raw bytes. Out: an `Event`, or a `LabelEvent` where labels may come late, or a
`MalformedEventError` whose one line names the field, what was found and what is accepted. It is
here, and not a JSON Schema library, because it runs for every event of a stream;
``schemas/event.schema.json`` states the same rules for others, and a test keeps the two equal.

An event is one JSON object (UTF-8, no byte order mark, nothing after it)::

    {"id": 17, "x": {"length": 3.5, "colour": "red"}, "y": ["news"], "ts": "2024-05-01T12:00:00Z"}

======  ==========================================================================================
field   accepted
======  ==========================================================================================
``id``  a string of 1 to 1,024 characters or a 64-bit integer (``1.0`` is the integer 1, as JSON
        Schema has it; with a fraction or an exponent at most 2**53, beyond which it would be
        rounded); absent: made from the record's place, see `Decoder`; null is refused
``x``   an object of feature name to value, or an array of values in the order of the declared
        names; a value is a finite number, a string (nominal), a boolean (0 or 1), null (missing)
        or a list of strings (a set of nominals). A name absent from an object is 0.
``y``   an array of names of the labels that are on, or an object of label name to boolean (false
        = the label exists and is off); names have 1 to 1,024 characters; null or absent =
        unlabelled, empty = every label is off
``ts``  RFC 3339, at most 64 characters, in the calendar, or whole milliseconds since 1970 within
        the years 1 to 9999; optional
======  ==========================================================================================

Where labels may come late (`Decoder.decode_any`), an object with ``id`` and ``y`` and without ``x``
holds the labels of the event of that id (``schemas/late-labels.schema.json``).

Other fields are ignored, unless `strict`. Of a name that stands twice in an object the last value
counts, as in every common JSON parser. NaN, Infinity and numbers too large for a float are not
JSON here. Four rules cannot be said in JSON Schema: the calendar, the length of an array against
the declared names, the size in bytes, and the precision of an id written as a float.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import orjson

from ihomer.connectors.base import Record
from ihomer.errors import MalformedEventError, UsageError
from ihomer.instances import Event, EventId, Features, LabelEvent, Row

MAX_EVENT_BYTES = 1_000_000
MAX_ID_LENGTH = 1_024
MAX_LABEL_LENGTH = 1_024
MAX_TS_LENGTH = 64
MIN_EPOCH_MS = -62_135_596_800_000  # 0001-01-01T00:00:00Z
MAX_EPOCH_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z

DefaultId: TypeAlias = Callable[[Record], EventId]


class Kind(NamedTuple):
    """One kind of malformed event: the stage that finds it, and what it means."""

    stage: str
    meaning: str


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "tombstone": Kind("read", "the record has no value"),
        "oversized": Kind("read", "value and key are larger than max_event_bytes"),
        "empty": Kind("parse", "the value is empty or white space"),
        "wire-format": Kind("parse", "the bytes begin as a schema registry's Avro or Protobuf do"),
        "not-utf-8": Kind("parse", "the bytes are no UTF-8"),
        "not-json": Kind("parse", "the text is not exactly one JSON value"),
        "not-an-object": Kind("schema", "the JSON value is no object"),
        "unknown-field": Kind("schema", "strict only: a field besides id, x, y, ts"),
        "id-type": Kind("schema", "id is neither a string nor an integer"),
        "id-length": Kind("schema", "id is an empty or too long string"),
        "id-range": Kind("schema", "id is no 64-bit integer"),
        "id-missing": Kind("schema", "labels that come late have no id"),
        "id-precision": Kind("schema", "id is a float beyond 2**53 and may have been rounded"),
        "x-missing": Kind("schema", "there is no x"),
        "x-type": Kind("schema", "x is neither an object nor an array"),
        "x-undeclared": Kind("schema", "x is an array and no feature names are declared"),
        "x-length": Kind("schema", "x is an array of another length than the declared names"),
        "feature-value": Kind("schema", "a feature has a value of no accepted type, or infinite"),
        "y-type": Kind("schema", "y is neither an array, nor an object, nor null"),
        "label-type": Kind("schema", "a label name is no string"),
        "label-length": Kind("schema", "a label name is empty or too long"),
        "label-value": Kind("schema", "a label in an object has no boolean"),
        "ts-type": Kind("schema", "ts is neither a string nor an integer"),
        "ts-format": Kind("schema", "ts is a string, but not as RFC 3339 has it"),
        "ts-calendar": Kind("schema", "ts names a day that does not exist"),
        "ts-range": Kind("schema", "ts is a number outside the years 1 to 9999"),
        "id-absent": Kind("map", "there is no id where the mapping says that one must be"),
        "key-text": Kind("map", "a key or a header that the mapping names is no UTF-8"),
        "field-value": Kind("map", "a field has a value that its kind does not take"),
        "features-absent": Kind("map", "there is none of the fields that would be features"),
        "label-form": Kind("map", "labels are neither a list, nor an object, nor text, nor null"),
        "time-value": Kind("map", "the event's time cannot be read as one"),
        "too-deep": Kind("map", "objects in objects in objects, too many of them to be flattened"),
        "too-many-labels": Kind("vocabulary", "a new label, and max_labels is reached"),
    }
)
"""Every kind that the decoder and the vocabularies report; the names are stable.

Sources add kinds of their own, with stage ``"read"``.
"""

_FIELDS = frozenset(("id", "x", "y", "ts"))
_NUMBERS = frozenset((float, int, bool))
_ARRAY_NUMBERS = frozenset((float, int, bool, type(None)))
_SCALARS = frozenset((float, int, str, bool, type(None)))
_ABSENT: Any = object()
_EXACT = 2**53
_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_SHOWN = 60
_WIRE_HEAD_BYTES = 5  # a zero, and the schema's id

_RFC_3339 = re.compile(
    r"([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)

_VALUE_ACCEPTED = "a finite number, a string, a boolean, null or a list of strings"
_ID_ACCEPTED = f"a string of 1 to {MAX_ID_LENGTH:,} characters or a 64-bit integer"
LABEL_ACCEPTED = f"a label name, a string of 1 to {MAX_LABEL_LENGTH:,} characters"
_TS_ACCEPTED = (
    f"RFC 3339 of at most {MAX_TS_LENGTH} characters such as 2024-05-01T12:00:00Z, or whole"
    " milliseconds since 1970 within the years 1 to 9999"
)


def id_by_offset(record: Record) -> str:
    """``source-partition-offset``, for records of a topic.

    >>> id_by_offset(Record(b"{}", "tickets", 3, 1207))
    'tickets-3-1207'
    """
    return f"{record.source}-{record.partition}-{record.offset}"


def id_by_line(record: Record) -> int:
    """The line number, for records of a file.

    >>> id_by_line(Record(b"{}", "tickets.jsonl", 0, 17))
    17
    """
    return record.offset


class Decoder:
    """Turns records into events, or says why not.

    Parameters
    ----------
    names
        Declared feature names; ``x`` may be an array only if there are any.
    strict
        Whether a field besides id, x, y and ts makes an event malformed.
    max_event_bytes
        Largest accepted size of a record's value and key together, looked at before parsing.
    default_id
        Makes the id of an event that has none: `id_by_offset` (topics) or `id_by_line` (files).

    Examples
    --------
    >>> decoder = Decoder(names=["a", "b"])
    >>> event = decoder.decode(Record(b'{"id": "e", "x": {"a": 1}, "y": ["news"]}', "t", 0, 5))
    >>> event.id, event.x, event.on
    ('e', {'a': 1}, ['news'])
    >>> decoder.decode(Record(b'{"x": [1, null]}', "t", 0, 6)).x
    Row(names=('a', 'b'), values=array([ 1., nan]), indices=None)
    >>> decoder.decode(Record(b'{"x": [1]}', "t", 0, 7))
    Traceback (most recent call last):
    ...
    ihomer.errors.MalformedEventError: x: found an array of 1, accepted: 2 values, one for each...
    """

    def __init__(
        self,
        names: Sequence[str] = (),
        strict: bool = False,
        max_event_bytes: int = MAX_EVENT_BYTES,
        default_id: DefaultId = id_by_offset,
    ) -> None:
        if max_event_bytes < 1:
            raise UsageError(f"max_event_bytes: found {max_event_bytes}, accepted: 1 or more")
        self._names = tuple(names)
        if len(set(self._names)) < len(self._names):
            twice = next(name for name in self._names if self._names.count(name) > 1)
            raise UsageError(f"feature names: {found(twice)} is declared twice, accepted: once")
        self._strict = strict
        self._max_event_bytes = max_event_bytes
        self._default_id = default_id
        self._last: tuple[str, ...] = ()
        self._packer = struct.Struct("=0d")

    def decode(self, record: Record) -> Event:
        """The event in `record`.

        Parameters
        ----------
        record
            Raw bytes are parsed and checked. A value that is an event already is returned as it
            is; the vocabularies check its features. A table's row needs a mapping
            (`ihomer.stream.mapping`).

        Returns
        -------
        Event
            Its ``x`` is a mapping, or a `Row`: for an array of numbers, booleans and nulls, and
            for an object of numbers and booleans that has the same names in the same order as
            the one before it, because a `Row` is much cheaper to encode and means the same.

        Raises
        ------
        MalformedEventError
            The record has a `fault`, or its value breaks a rule; `kind` is a key of `KINDS`.
        UsageError
            It is a table's row, and there is no mapping.
        """
        found = self._decode(record, late=False)
        if isinstance(found, LabelEvent):
            raise _without_features(late=False)
        return found

    def decode_any(self, record: Record) -> Event | LabelEvent:
        """The event in `record`, or labels that come apart from their event; raises as `decode`."""
        return self._decode(record, late=True)

    def _decode(self, record: Record, *, late: bool) -> Event | LabelEvent:
        if record.fault is not None:
            raise record.fault
        value = record.value
        if not isinstance(value, bytes):
            if isinstance(value, Event | LabelEvent):
                return value
            if value is None:
                raise malformed("tombstone", "event: found no value (a tombstone), accepted: JSON")
            return self._read(self._row(value, record), record, late=late)
        size = len(value) if record.key is None else len(value) + len(record.key)
        if size > self._max_event_bytes:
            raise malformed(
                "oversized",
                f"event: found {size:,} bytes with its key, accepted: at most"
                f" {self._max_event_bytes:,} (max_event_bytes)",
            )
        try:
            data = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise _unparsable(value, error) from None
        if type(data) is not dict:
            raise malformed("not-an-object", f"event: found {found(data)}, accepted: an object")
        return self._read(data, record, late=late)

    def _row(self, row: Mapping[str, Any], record: Record) -> Mapping[str, Any]:
        """A table's row, if anybody has said what its columns mean."""
        del row
        raise UsageError(
            f"{record.source}: found a table's row and no [mapping] in the configuration, accepted:"
            " a mapping of its columns (ihomer config infer SOURCE writes one)"
        )

    def _read(self, data: Mapping[str, Any], record: Record, *, late: bool) -> Event | LabelEvent:
        """What an object, in our own shape, is."""
        if self._strict and not _FIELDS.issuperset(data):
            name = next(name for name in data if name not in _FIELDS)
            raise malformed(
                "unknown-field",
                f"{shown_name(name)}: an unknown field, accepted: id, x, y, ts (strict is set)",
            )
        event_id = data.get("id", _ABSENT)
        if late and "x" not in data:
            return _labels_only(event_id, data)
        event_id = self._default_id(record) if event_id is _ABSENT else checked_id(event_id)
        x = self._features(data.get("x", _ABSENT))
        on, off = _labels(data.get("y"))
        ts = data.get("ts", _ABSENT)
        return Event(event_id, x, on, off, None if ts is _ABSENT else _checked_ts(ts))

    def _features(self, x: Any) -> Features:
        if type(x) is dict:
            names = tuple(x)
            if names == self._last:
                # Packing takes numbers and booleans only: one pass checks and converts, where
                # looking at the types first would be another.
                values = bytearray(self._packer.size)
                try:
                    self._packer.pack_into(values, 0, *x.values())
                except struct.error:
                    _check_values("x.", x.items())
                    return x
                return Row(self._last, np.frombuffer(values, np.float64))
            types = set(map(type, x.values()))
            if _NUMBERS.issuperset(types):
                self._last = names
                self._packer = struct.Struct(f"={len(names)}d")
            elif not _SCALARS.issuperset(types):
                _check_values("x.", x.items())
            return x
        if type(x) is list:
            names = self._names
            if not names:
                raise malformed(
                    "x-undeclared",
                    f"x: found an array of {len(x):,} without declared names, accepted: an object"
                    " of name to value (or declare the feature names, in the order of the array)",
                )
            if len(x) != len(names):
                raise malformed(
                    "x-length",
                    f"x: found an array of {len(x):,}, accepted: {len(names):,} values, one for"
                    " each declared feature name",
                )
            if _ARRAY_NUMBERS.issuperset(map(type, x)):
                return Row(names, np.array(x, dtype=np.float64))
            _check_values("x of ", zip(names, x, strict=True))
            return dict(zip(names, x, strict=True))
        if x is _ABSENT:
            raise _without_features(late=False)
        raise malformed("x-type", f"x: found {found(x)}, accepted: {_x_accepted()}")


def found(value: object) -> str:
    """`value` in a few words on one line, for messages.

    >>> found({"a": 1}), found([]), found(None), found("news")
    ('an object of 1', 'an array of 0', 'null', "'news'")
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return f"an object of {len(value):,}"
    if isinstance(value, list):
        return f"an array of {len(value):,}"
    if isinstance(value, str) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]!r}... ({len(value):,} characters)"
    text = repr(value)
    return text if len(text) <= 2 * _SHOWN else f"{text[: 2 * _SHOWN]}..."


def shown_name(name: str) -> str:
    """A name as it is if it can be read on one line, else quoted and shortened."""
    plain = name.isprintable() and 0 < len(name) <= _SHOWN and name.strip() == name
    return name if plain else found(name)


def malformed(kind: str, message: str) -> MalformedEventError:
    """The error of a kind that is in `KINDS`."""
    return MalformedEventError(KINDS[kind].stage, kind, message)


def _unparsable(value: bytes, error: orjson.JSONDecodeError) -> MalformedEventError:
    """Which way `value` is not JSON; only here is there time to look twice."""
    if not value.strip():
        return malformed(
            "empty", f"event: found {len(value)} bytes without content, accepted: JSON"
        )
    if value[:1] == b"\0" and len(value) > _WIRE_HEAD_BYTES:
        return malformed(
            "wire-format",
            "event: found a zero byte and schema id"
            f" {int.from_bytes(value[1:_WIRE_HEAD_BYTES], 'big')}, as a schema registry's Avro and"
            ' Protobuf begin, accepted: JSON, or a decoder of yours (decoder = "module:function";'
            " see docs/operations/formats.md)",
        )
    try:
        text = value.decode()
    except UnicodeDecodeError as fault:
        return malformed(
            "not-utf-8",
            f"event: byte {fault.start:,} is no UTF-8 ({fault.reason}), accepted: JSON in UTF-8",
        )
    number = text.startswith(("NaN", "Infinity"), error.pos)
    advice = " (NaN and Infinity are no JSON; null = missing)" if number else ""
    return malformed("not-json", f"event: not JSON, {error}; accepted: one JSON object{advice}")


def _labels_only(event_id: Any, data: Mapping[str, Any]) -> LabelEvent:
    """Labels without features."""
    on, off = _labels(data.get("y"))
    if on is None:
        raise _without_features(late=True)
    if event_id is _ABSENT:
        raise malformed(
            "id-missing",
            "id: not found beside y without x, accepted: the id of the event whose labels these"
            f" are, {_ID_ACCEPTED}",
        )
    ts = data.get("ts", _ABSENT)
    return LabelEvent(checked_id(event_id), on, off, None if ts is _ABSENT else _checked_ts(ts))


def _without_features(*, late: bool) -> MalformedEventError:
    also = "; or id and y, for labels that come late" if late else ""
    return malformed("x-missing", f"x: not found, accepted: {_x_accepted()}{also}")


def _x_accepted() -> str:
    return "an object of name to value, or an array of values in the order of declared names"


def checked_id(value: Any) -> EventId:
    """An id as an event has it; raises `MalformedEventError`."""
    if type(value) is str:
        if 0 < len(value) <= MAX_ID_LENGTH:
            return value
        raise malformed("id-length", f"id: found {found(value)}, accepted: {_ID_ACCEPTED}")
    whole = type(value) is int or (type(value) is float and value.is_integer())
    if not whole:
        raise malformed("id-type", f"id: found {found(value)}, accepted: {_ID_ACCEPTED}")
    if not _MIN_INT <= value <= _MAX_INT:
        raise malformed("id-range", f"id: found {value}, accepted: {_ID_ACCEPTED}")
    if type(value) is float and abs(value) > _EXACT:
        raise malformed(
            "id-precision",
            f"id: found {value}, which may have been rounded, accepted: {_ID_ACCEPTED}, with a"
            " fraction or an exponent at most 2**53",
        )
    return int(value)


def _check_values(prefix: str, values: Iterable[tuple[str, Any]]) -> None:
    """Raise at the first value that is neither a scalar nor a list of strings."""
    for name, value in values:
        if type(value) in _SCALARS:
            continue
        what = found(value)
        if type(value) is list:
            wrong = next((item for item in value if type(item) is not str), _ABSENT)
            if wrong is _ABSENT:
                continue
            what = f"a list with {found(wrong)}"
        raise malformed(
            "feature-value",
            f"{prefix}{shown_name(name)}: found {what}, accepted: {_VALUE_ACCEPTED}",
        )


def _labels(y: Any) -> tuple[list[str] | None, Sequence[str]]:
    """Labels that are on (None = unlabelled) and those named as off."""
    if type(y) is list:
        for index, name in enumerate(y):
            if type(name) is not str:
                raise malformed(
                    "label-type", f"y[{index}]: found {found(name)}, accepted: {LABEL_ACCEPTED}"
                )
            if not 0 < len(name) <= MAX_LABEL_LENGTH:
                raise malformed(
                    "label-length", f"y[{index}]: found {found(name)}, accepted: {LABEL_ACCEPTED}"
                )
        return y, ()
    if type(y) is dict:
        for name, state in y.items():
            if not 0 < len(name) <= MAX_LABEL_LENGTH:
                raise malformed(
                    "label-length", f"y: found the name {found(name)}, accepted: {LABEL_ACCEPTED}"
                )
            if type(state) is not bool:
                raise malformed(
                    "label-value",
                    f"y.{shown_name(name)}: found {found(state)}, accepted: true or false",
                )
        return [name for name in y if y[name]], [name for name in y if not y[name]]
    if y is None:
        return None, ()
    raise malformed(
        "y-type",
        f"y: found {found(y)}, accepted: an array of label names, an object of label name to"
        " boolean, or null",
    )


def is_rfc_3339(text: str) -> bool:
    """Whether an event may carry this text as its ``ts``; that its day exists is not looked at."""
    return len(text) <= MAX_TS_LENGTH and _RFC_3339.fullmatch(text) is not None


def _checked_ts(value: Any) -> str | int:
    if type(value) is str:
        match = _RFC_3339.fullmatch(value) if len(value) <= MAX_TS_LENGTH else None
        if match is None:
            raise malformed("ts-format", f"ts: found {found(value)}, accepted: {_TS_ACCEPTED}")
        try:
            date(int(match[1]), int(match[2]), int(match[3]))
        except ValueError:
            raise malformed(
                "ts-calendar",
                f"ts: found {found(value)}, a day that does not exist, accepted: {_TS_ACCEPTED}",
            ) from None
        return value
    whole = type(value) is int or (type(value) is float and value.is_integer())
    if not whole:
        raise malformed("ts-type", f"ts: found {found(value)}, accepted: {_TS_ACCEPTED}")
    if not MIN_EPOCH_MS <= value <= MAX_EPOCH_MS:
        raise malformed("ts-range", f"ts: found {value}, accepted: {_TS_ACCEPTED}")
    return int(value)
