"""A slow, obvious mapping: each record by itself, each rule as the documentation says it.

In: settings, an object or a row, and its record. Out: what `MappedDecoder` must make of it. Nothing
is remembered from one record to the next, and no two kinds share any code.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from ihomer.connectors.base import Record
from ihomer.stream.settings import Settings

MISSING = ("", "na", "n/a", "nan", "null", "none")
NOTHING: Any = object()
REFUSED: Any = object()


class Mapped(NamedTuple):
    """What a record is: ``"event"`` or ``"labels"``, and its parts; features without None."""

    what: str
    id: str | int
    x: dict[str, Any]
    on: frozenset[str] | None
    off: frozenset[str]
    ts: str | int | None


class Refused(NamedTuple):
    """A record that is none, and the kinds of fault of which one must be given."""

    kinds: frozenset[str]


def naive(settings: Settings, data: Mapping[str, Any], record: Record, *, late: bool) -> Any:
    """A `Mapped` or a `Refused`."""
    wrong: set[str] = set()
    on, off = _labels(settings, data, record, wrong)
    ts = _ts(settings, data, record, wrong)
    x: dict[str, Any] = {}
    root = _at(data, record, settings.mapping_features)
    if root is NOTHING or root is None:
        there, root = False, {}
    elif isinstance(root, Mapping):
        there = True
    else:
        return Refused(frozenset(wrong | {"features-absent"}))
    around = False
    for name in settings.mapping_fields:
        if name.startswith("$"):
            value = _at(data, record, name)
            if value is not NOTHING:
                before = len(x)
                _put(settings, name, value, x, wrong)
                around = around or len(x) > before
    fields = list(_fields(settings, root, ()))
    for name, value in fields:
        _put(settings, name, value, x, wrong)
    known = [(name, value) for name, value in fields if _kind(settings, name) != "ignore"]
    alone = late and on is not None and all(_says_nothing(value) for _, value in known)
    empty = settings.mapping_features != "$" and there and not root
    if not alone and not x and not around and not known and not empty:
        wrong.add("features-absent")
    event_id: Any = _at(data, record, settings.mapping_id) if settings.mapping_id else None
    if settings.mapping_id is None:
        if alone:
            wrong.add("id-missing")
        event_id = f"{record.source}-{record.partition}-{record.offset}"
    elif event_id is NOTHING or event_id is None:
        wrong.add("id-absent")
    elif isinstance(event_id, bool) or not isinstance(event_id, str | int | float):
        wrong.add("id-type")
    elif isinstance(event_id, float) and event_id == int(event_id):
        event_id = int(event_id)
    elif isinstance(event_id, float):
        wrong.add("id-type")
    elif event_id == "":
        wrong.add("id-length")
    if wrong:
        return Refused(frozenset(wrong))
    x = {name: None if value != value else value for name, value in x.items()}
    return Mapped(
        "labels" if alone else "event",
        event_id,
        {} if alone else x,
        None if on is None else frozenset(on),
        frozenset(off),
        ts,
    )


def _says_nothing(value: Any) -> bool:
    if isinstance(value, list):
        return value != [] and value.count(None) == len(value)
    return value in (None, "")


def _at(data: Any, record: Record, path: str) -> Any:
    """What lies at a path of plain names, or around the record."""
    if path == "$key":
        return NOTHING if record.key is None else record.key.decode()
    if path == "$timestamp":
        return NOTHING if record.timestamp is None else record.timestamp
    if path.startswith("$header."):
        found = [value for name, value in record.headers if name == path[len("$header.") :]]
        return found[-1].decode() if found else NOTHING
    for step in path.split(".")[1:]:
        if not isinstance(data, Mapping) or step not in data:
            return NOTHING
        data = data[step]
    return data


def _fields(
    settings: Settings, value: Mapping[str, Any], steps: tuple[str, ...]
) -> Iterator[tuple[str, Any]]:
    """Flattened names and values, without id, labels and time."""
    named = [settings.mapping_id, settings.mapping_time, *settings.mapping_labels]
    for key, each in value.items():
        at = (*steps, key)
        name = ".".join(at)
        path = ".".join((settings.mapping_features, *at))
        if path in named and name not in settings.mapping_fields:
            continue
        if isinstance(each, Mapping):
            yield from _fields(settings, each, at)
        else:
            yield name, each


def _kind(settings: Settings, name: str) -> str:
    while name not in settings.mapping_fields:
        if "." not in name:
            return settings.mapping_default
        name = name[: name.rindex(".")]
    return settings.mapping_fields[name]


def _put(settings: Settings, name: str, value: Any, x: dict[str, Any], wrong: set[str]) -> None:
    found = _become(settings, _kind(settings, name), name, value)
    if found is REFUSED:
        wrong.add("field-value")
    else:
        x.update(found)


def _become(settings: Settings, kind: str, name: str, value: Any) -> Any:
    if kind == "ignore":
        return {}
    if kind == "numeric" and isinstance(value, list):
        return _numbers(name, value)
    if kind == "numeric":
        number = _number(value)
        return REFUSED if number is REFUSED else {name: number}
    if kind == "nominal":
        if value is None or value == "":
            return {}
        text = _text(value)
        return REFUSED if text is None else {name: text}
    if kind == "text":
        if value is None:
            return {}
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            value = "\n".join(value)
        return _words(settings, name, value) if isinstance(value, str) else REFUSED
    if kind == "set":
        if value is None:
            return {}
        items = value if isinstance(value, list) else [value]
        separator = settings.mapping_separators.get(name)
        if separator and isinstance(value, str):
            items = [part.strip() for part in value.split(separator)]
        texts = [_text(item) for item in items]
        if None in texts:
            return REFUSED
        kept = [text for text in texts if text]
        return {name: kept} if kept else {}
    if kind == "time":
        return _circles(settings, name, value)
    if value is None or isinstance(value, bool | int | float):
        return {name: value}
    if isinstance(value, str):
        return {name: value} if value else {}
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return {name: value} if value else {}
    if isinstance(value, list) and not any(isinstance(item, str) for item in value):
        return _numbers(name, value)
    return _circles(settings, name, value) if isinstance(value, date) else REFUSED


def _numbers(name: str, values: list[Any]) -> Any:
    found = {f"{name}.{place}": _number(values[place]) for place in range(len(values))}
    too_many = len(values) > 8192
    return REFUSED if too_many or any(each is REFUSED for each in found.values()) else found


def _number(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if not isinstance(value, str):
        return REFUSED
    word = value.strip().lower()
    if word in MISSING:
        return None
    if word in ("true", "false"):
        return word == "true"
    try:
        return REFUSED if "_" in value else float(value)
    except ValueError:
        return REFUSED


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value == int(value) and abs(value) < 2**53:
        return str(int(value))
    return str(value) if isinstance(value, int | float) else None


def _words(settings: Settings, name: str, text: str) -> dict[str, float]:
    text = unicodedata.normalize("NFC", text)
    words = re.findall(r"\w+", text.lower() if settings.mapping_text_lower else text)
    if settings.mapping_text_bigrams:
        words += [f"{words[i]} {words[i + 1]}" for i in range(len(words) - 1)]
    counts: dict[str, int] = {}
    for word in words:
        bucket = naive_bucket(settings, name, word)
        counts[bucket] = counts.get(bucket, 0) + 1
    logs = {bucket: round(math.log(1 + n), 9) for bucket, n in counts.items()}
    norm = math.sqrt(sum(weight**2 for weight in logs.values()))
    return {
        bucket: {
            "log": logs[bucket],
            "count": n,
            "binary": 1,
            "l2": logs[bucket] / norm,
        }[settings.mapping_text_weight]
        for bucket, n in counts.items()
    }


def naive_bucket(settings: Settings, name: str, word: str) -> str:
    """The feature that a word of a field is."""
    key = settings.mapping_text_seed.to_bytes(8, "little")
    digest = hashlib.blake2b(word.encode(), digest_size=8, key=key).digest()
    return f"{name}#{int.from_bytes(digest, 'little') % 2**settings.mapping_text_bits}"


def _when(settings: Settings, value: Any) -> datetime | None:
    """The time in UTC, to the millisecond; None: it is none."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    try:
        if isinstance(value, str):
            value = value.strip()
            if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9].*)?", value):
                when = datetime.fromisoformat(value)
                return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
            if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?", value):
                return None
            value = float(value) if "." in value else int(value)
        if isinstance(value, datetime):
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        unit = settings.mapping_time_unit
        if unit == "auto":
            size = abs(value)
            unit = "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"
        per_ms = {"s": 1e-3, "ms": 1, "us": 1e3, "ns": 1e6}[unit]
        return epoch + timedelta(milliseconds=math.floor(value / per_ms))
    except (ValueError, OverflowError):
        return None


def _circles(settings: Settings, name: str, value: Any) -> Any:
    names = [f"{name}.{part}" for part in ("hour.sin", "hour.cos", "day.sin", "day.cos")]
    if value is None or value == "":
        return dict.fromkeys(names)
    when = _when(settings, value)
    if when is None:
        return REFUSED
    hour = 2 * math.pi * (when.hour + when.minute / 60) / 24
    day = 2 * math.pi * when.weekday() / 7
    return dict(
        zip(names, (math.sin(hour), math.cos(hour), math.sin(day), math.cos(day)), strict=True)
    )


def _ts(settings: Settings, data: Any, record: Record, wrong: set[str]) -> str | int | None:
    value = _at(data, record, settings.mapping_time) if settings.mapping_time else None
    if value is NOTHING or value is None or value == "":
        return None
    when = _when(settings, value)
    if when is None:
        wrong.add("time-value")
        return None
    if isinstance(value, int | float) or (isinstance(value, str) and "-" not in value[1:]):
        return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    if isinstance(value, str) and re.fullmatch(r".*T.*:..(Z|[+-]..:..)", value):
        return value
    plain = when.replace(tzinfo=None)
    return f"{plain.isoformat(timespec='milliseconds' if plain.microsecond else 'seconds')}Z"


def _labels(
    settings: Settings, data: Any, record: Record, wrong: set[str]
) -> tuple[set[str] | None, set[str]]:
    on: set[str] = set()
    off: set[str] = set()
    said = False
    for path in settings.mapping_labels:
        value = _at(data, record, path)
        name = path.rpartition(".")[2]
        if value is NOTHING or value is None or (value == "" and not _splits(settings)):
            continue
        if isinstance(value, str) and value and value == settings.mapping_labels_unknown:
            continue
        said = True
        states: dict[Any, Any] = {}
        if settings.mapping_labels_as == "columns":
            states = {name: value}
        elif isinstance(value, list):
            states = {
                str(item) if isinstance(item, int) and not isinstance(item, bool) else item: True
                for item in value
                if not isinstance(item, list | dict)
            }
            if len(states) < len(value) and any(isinstance(item, list | dict) for item in value):
                wrong.add("label-type")
        elif isinstance(value, Mapping):
            states = dict(value)
        elif isinstance(value, str):
            parts = [value]
            if settings.mapping_labels_separator:
                parts = [part.strip() for part in value.split(settings.mapping_labels_separator)]
            states = {part: True for part in parts if part}
        else:
            wrong.add("label-form")
        for label, state in states.items():
            if not isinstance(label, str):
                wrong.add("label-type")
            elif label == "":
                wrong.add("label-length")
            truth = _truth(state)
            if truth is None:
                wrong.add("label-value")
            (on if truth else off).add(label)
    return (on if said else None), off - on


def _splits(settings: Settings) -> bool:
    return settings.mapping_labels_as == "names" and settings.mapping_labels_separator != ""


def _truth(value: Any) -> bool | None:
    if isinstance(value, str):
        value = value.strip().lower()
        if value in ("true", "t", "yes", "y", "on", "1", "1.0"):
            return True
        return False if value in ("false", "f", "no", "n", "off", "0", "0.0") else None
    return bool(value) if isinstance(value, bool | int | float) and value in (0, 1) else None
