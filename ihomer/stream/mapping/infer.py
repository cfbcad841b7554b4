"""What somebody's events seem to be: where id, labels and time lie, and each field's kind.

In: records, as a source gives them. Out: a `Guess`, with the reason for each part of it. It is here
so that a configuration can be begun from what is there, and so that what cannot be known is said.

The kinds are told from the values alone, in this order: nothing but null; booleans and numbers, as
text too; times; lists of texts, lists of numbers; text with one separator all over it; long text
with spaces; few different values; values that never repeat. Names are looked at for id, labels and
time only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

import orjson

from ihomer.connectors.base import Record
from ihomer.instances import Event, LabelEvent
from ihomer.stream.mapping.kinds import MISSING, MOST_ITEMS, Kind, number_of_text
from ihomer.stream.mapping.labels import FALSE, TRUE
from ihomer.stream.mapping.moments import moment
from ihomer.stream.mapping.paths import HEADER, spelled

Steps = tuple[str, ...]

_LABEL_NAMES = (
    *("labels", "tags", "label", "tag", "categories", "category", "classes", "topics"),
    *("class", "topic", "y", "target", "targets", "keywords", "genres"),
)
_LABEL_COLUMN = re.compile(r"(?i)(label|class|tag|topic|target|is|has|y)([_ .-]|(?=\d)).*")
_ID_NAMES = ("id", "_id", "uuid", "guid", "event_id", "eventid", "key")
_TIME_NAME = re.compile(
    r"(?i)(ts|.*time.*|.*date.*|created|updated|.*_at|.*[a-z]At|occurred|published|sent|when)"
)
UNKNOWN = "?"
"""In the place of labels that nobody knows, as ARFF has it and CSV files made by ihomer."""
_SEPARATORS = ("|", ";", ",")
_FEW = 20  # different values, whatever the number of events
_ENOUGH = 10  # values, before it says anything that none of them repeats
_WORDS = 4.0  # on average, from which a text is a text
_FIRST_MOMENT, _LAST_MOMENT = 946_684_800_000, 4_102_444_800_000  # years 2000 to 2099


class FieldGuess(NamedTuple):
    """A field: its kind, what was seen of it, and the separator of a set in one text."""

    kind: Kind
    seen: str
    separator: str = ""


@dataclass
class Guess:
    """What the events seem to be; each part has its reason.

    Attributes
    ----------
    tried, unread
        Number of records, and of those that were no objects.
    shape
        ``"mapped"``, ``"own"`` (our own shape), ``"events"`` (the source makes events itself) or
        ``"nothing"``.
    id, labels, time
        Paths; empty where none was found.
    labels_as, separator, unknown
        See the configuration.
    reasons
        Of ``id``, ``labels``, ``time`` and ``default``.
    fields
        By flattened name.
    headers
        Of a topic's records, by ``$header.NAME``; nobody can tell whether they are meant to be
        features.
    default
        Of fields that were not seen.
    """

    tried: int = 0
    unread: int = 0
    shape: str = "mapped"
    id: str = ""
    labels: list[str] = field(default_factory=list)
    labels_as: str = "names"
    separator: str = ""
    unknown: str = ""
    time: str = ""
    reasons: dict[str, str] = field(default_factory=dict)
    fields: dict[str, FieldGuess] = field(default_factory=dict)
    headers: dict[str, FieldGuess] = field(default_factory=dict)
    default: str = "ignore"


@dataclass
class _Seen:
    """All values of one field, and where it lies."""

    steps: Steps
    values: list[Any] = field(default_factory=list)

    @property
    def name(self) -> str:
        return ".".join(self.steps)

    @property
    def there(self) -> list[Any]:
        return [value for value in self.values if value is not None and value != ""]


def infer(records: Iterable[Record]) -> Guess:
    """Look at records.

    Examples
    --------
    >>> value = b'{"nr": "a-%d", "tags": ["x"], "size": %d}'
    >>> guess = infer([Record(value % (n, n % 7), "t", 0, n) for n in range(50)])
    >>> guess.labels, {name: each.kind for name, each in guess.fields.items()}
    (['$.tags'], {'nr': 'ignore', 'size': 'numeric'})
    """
    guess = Guess()
    rows: list[Mapping[str, Any]] = []
    events, keys = 0, []
    headers: dict[str, list[str]] = {}
    for record in records:
        guess.tried += 1
        events += isinstance(record.value, Event | LabelEvent)
        row = _object(record)
        if row is None:
            guess.unread += 1
        else:
            rows.append(row)
            keys.append(record.key)
            for name, value in record.headers:
                headers.setdefault(name, []).append(value.decode(errors="replace"))
    if events or not rows:
        guess.shape = "events" if events else "nothing"
        return guess
    if all("x" in row and set(row) <= {"id", "x", "y", "ts"} for row in rows):
        guess.shape = "own"
        return guess
    seen = _all_fields(rows)
    _find_labels(guess, {steps: _without_marks(each) for steps, each in seen.items()})
    places = [each for each in seen.values() if spelled(each.steps) in guess.labels]
    if any(value == UNKNOWN for each in places for value in each.values):
        guess.unknown = UNKNOWN
    labelled = set(guess.labels)
    rest = [each for each in seen.values() if not _is_within(each.steps, labelled)]
    _find_id(guess, rest, len(rows), keys)
    _find_time(guess, rest)
    for each in rest:
        if spelled(each.steps) != guess.id:
            guess.fields.setdefault(each.name, kind_of(each.values))
    # Of names that begin with a $ only those around the record's value can be named.
    for name in [name for name in guess.fields if name.startswith("$")]:
        del guess.fields[name]
    guess.headers = {f"{HEADER}{name}": kind_of(found) for name, found in headers.items() if name}
    _choose_default(guess, rows)
    return guess


def kind_of(values: Sequence[Any]) -> FieldGuess:
    """A field's kind by its values, and what they are like.

    >>> kind_of(["red", "blue"] * 20)
    FieldGuess(kind='nominal', seen="2 different values in 40, such as 'red', 'blue'", separator='')
    >>> kind_of(["1.5", "", "n/a"]).kind, kind_of([True, False]).kind, kind_of([[{}]]).kind
    ('numeric', 'numeric', 'ignore')
    """
    there = [value for value in values if value is not None and value != "" and value != []]
    if not there:
        return FieldGuess("ignore", "null or empty wherever it was seen")
    types = Counter(type(value) for value in there)
    missing = f", missing in {len(values) - len(there):,}" if len(there) < len(values) else ""
    if types.keys() <= {bool, int, float}:
        if types.keys() == {bool}:
            return FieldGuess("numeric", f"true or false{missing}")
        codes = set(there)
        note = "; nominal if they are codes" if types.keys() == {int} and len(codes) <= 10 else ""
        return FieldGuess("numeric", f"{_range(there)}{missing}{note}")
    if types.keys() == {list}:
        return _of_lists(there)
    if types.keys() == {str}:
        return _of_texts(there, missing)
    if all(moment(value) is not None and not isinstance(value, int | float) for value in there):
        return FieldGuess("time", f"times such as {_shown(there[0])}{missing}")
    names = ", ".join(sorted(each.__name__ for each in types))
    if types.keys() <= {str, int, float, bool}:
        return FieldGuess("nominal", f"of several types ({names}), such as {_examples(there)}")
    return FieldGuess("ignore", f"of several types ({names}), such as {_examples(there)}")


def _object(record: Record) -> Mapping[str, Any] | None:
    value = record.value
    if isinstance(value, bytes):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    return value if isinstance(value, Mapping) else None


def _all_fields(rows: Sequence[Mapping[str, Any]]) -> dict[Steps, _Seen]:
    """The fields of all objects, flattened, in the order in which they came."""
    seen: dict[Steps, _Seen] = {}

    def walk(value: Mapping[str, Any], steps: Steps) -> None:
        for name, each in value.items():
            at = (*steps, name)
            if isinstance(each, Mapping) and len(at) < 60:
                walk(each, at)
            else:
                seen.setdefault(at, _Seen(at)).values.append(each)

    for row in rows:
        walk(row, ())
    return seen


# Labels.


def _without_marks(each: _Seen) -> _Seen:
    """A field in which what says that labels are unknown is null."""
    return _Seen(each.steps, [None if value == UNKNOWN else value for value in each.values])


def _find_labels(guess: Guess, seen: Mapping[Steps, _Seen]) -> None:
    named = [each for each in seen.values() if each.steps[-1].lower() in _LABEL_NAMES]
    named.sort(key=lambda each: (len(each.steps), _LABEL_NAMES.index(each.steps[-1].lower())))
    for each in named:
        found = _label_values(each)
        if found is not None:
            path, guess.separator, what = found
            guess.labels = [path]
            guess.reasons["labels"] = f"named {each.steps[-1]!r}, {what}"
            return
    for steps in {each.steps[:-1]: None for each in seen.values()}:
        if steps and steps[-1].lower() in _LABEL_NAMES:
            below = [each for at, each in seen.items() if at[: len(steps)] == steps]
            if all(type(value) is bool for each in below for value in each.values):
                guess.labels = [spelled(steps)]
                guess.reasons["labels"] = f"named {steps[-1]!r}, an object of booleans"
                return
    columns = [
        each
        for each in seen.values()
        if _LABEL_COLUMN.fullmatch(each.steps[-1]) and _all_boolean(each.there)
    ]
    if len(columns) > 1:
        guess.labels, guess.labels_as = [spelled(each.steps) for each in columns], "columns"
        first, last = columns[0].steps[-1], columns[-1].steps[-1]
        guess.reasons["labels"] = f"{len(columns)} columns of true and false, {first} to {last}"
        return
    lists = [each for each in seen.values() if each.there and kind_of(each.values).kind == "set"]
    lists = [each for each in lists if _is_of_texts(each.there)]
    if len(lists) == 1:
        guess.labels = [spelled(lists[0].steps)]
        guess.reasons["labels"] = "the only list of texts"
        return
    guess.reasons["labels"] = "nothing looks like labels: say where they lie, or nothing is learned"


def _is_of_texts(there: Sequence[Any]) -> bool:
    """Whether there are lists, and texts in them."""
    items = [item for value in there if type(value) is list for item in value]
    return any(type(item) is str for item in items)


def _label_values(each: _Seen) -> tuple[str, str, str] | None:
    """Path, separator and words for it, if these values can be labels."""
    there = each.there
    path = spelled(each.steps)
    if not there:
        return None
    if all(type(value) is list for value in there):
        items = [item for value in there for item in value]
        if all(type(item) in (str, int) for item in items):
            return path, "", f"lists such as {_shown(max(there, key=len))}"
        for name in ("name", "label", "title", "id"):
            inner = [item.get(name) for item in items if isinstance(item, Mapping)]
            if inner and len(inner) == len(items) and all(type(item) is str for item in inner):
                return f"{path}[*].{name}", "", f"lists of objects with {name!r}"
        return None
    if all(type(value) is str for value in there):
        separator = _separator(there)
        if separator:
            return path, separator, f"text with {separator!r} in it, such as {_shown(there[0])}"
        if len(set(there)) < len(there) or len(there) == 1:
            return path, "", f"one text each, such as {_examples(there)}"
    return None


def _all_boolean(values: Sequence[Any]) -> bool:
    return bool(values) and all(
        value in (0, 1) if type(value) in (bool, int, float) else _is_truth(value)
        for value in values
    )


def _is_truth(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in TRUE | FALSE


def _is_within(steps: Steps, paths: Iterable[str]) -> bool:
    mine = {spelled(steps[: at + 1]) for at in range(len(steps))}
    return any(path.partition("[*]")[0] in mine for path in paths)


# Id and time.


def _find_id(guess: Guess, seen: Sequence[_Seen], n: int, keys: Sequence[bytes | None]) -> None:
    def is_named(each: _Seen) -> bool:
        name = each.steps[-1].lower()
        return name in _ID_NAMES or name.endswith(("_id", "-id")) or each.steps[-1].endswith("Id")

    candidates = [
        each
        for each in seen
        if len(each.there) == n
        and all(type(value) in (str, int) for value in each.there)
        and len(set(each.there)) == n
        and is_named(each)
    ]
    candidates.sort(key=lambda each: (each.steps[-1].lower() not in _ID_NAMES, len(each.steps)))
    if candidates:
        chosen = candidates[0]
        guess.id = spelled(chosen.steps)
        guess.reasons["id"] = f"never the same in {n:,}, such as {_shown(chosen.there[0])}"
    elif n >= _ENOUGH and all(keys) and len(set(keys)) == n and _is_utf_8(keys):
        guess.id = "$key"
        guess.reasons["id"] = f"the record's key, never the same in {n:,}"
    else:
        guess.reasons["id"] = "no field named like an id is in all and never the same: by the place"


def _is_utf_8(keys: Iterable[bytes | None]) -> bool:
    try:
        for key in keys:
            (key or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _find_time(guess: Guess, seen: Sequence[_Seen]) -> None:
    times = [
        each for each in seen if _TIME_NAME.fullmatch(each.steps[-1]) and _are_times(each.there)
    ] or [each for each in seen if kind_of(each.values).kind == "time"]
    if not times:
        guess.reasons["time"] = "no field holds times in all of its values"
        return
    chosen = max(times, key=lambda each: len(each.there))
    guess.time = spelled(chosen.steps)
    guess.reasons["time"] = f"times such as {_shown(chosen.there[0])}"
    for each in times:
        # Numbers are known as times by their name only.
        guess.fields[each.name] = FieldGuess("time", f"times such as {_shown(each.there[0])}")


def _are_times(values: Sequence[Any]) -> bool:
    found = [moment(value) for value in values]
    return bool(found) and all(
        each is not None and _FIRST_MOMENT <= each.ms <= _LAST_MOMENT for each in found
    )


# Kinds.


def _of_lists(there: Sequence[list[Any]]) -> FieldGuess:
    items = [item for value in there for item in value]
    if all(type(item) is str for item in items):
        different = len(set(items))
        return FieldGuess("set", f"lists of texts, {different:,} different, {_shown(there[0])}")
    numbers = [item for item in items if type(item) in (int, float, bool)]
    if numbers and all(type(item) in (int, float, bool) or item is None for item in items):
        return _of_number_lists(there, numbers)
    return FieldGuess(
        "ignore", f"lists of neither texts nor numbers alone, such as {_shown(there[0])}"
    )


def _of_number_lists(there: Sequence[list[Any]], numbers: Sequence[float]) -> FieldGuess:
    shortest, longest = min(map(len, there)), max(map(len, there))
    if longest > MOST_ITEMS:
        return FieldGuess(
            "ignore", f"lists of {longest:,} numbers; {MOST_ITEMS:,} are features at most"
        )
    if shortest == longest:
        return FieldGuess("numeric", f"lists of {longest:,} numbers each: {_range(numbers)}")
    what = f"lists of {shortest:,} to {longest:,} numbers, such as {_shown(there[0])}"
    if all(type(item) is int for item in numbers) and len(set(numbers)) < len(numbers):
        return FieldGuess("set", f"{what}; numeric if a place means the same in all of them")
    return FieldGuess("numeric", f"{what}; ignore it if a place does not mean the same in all")


def _of_texts(there: Sequence[str], missing: str) -> FieldGuess:
    n, different = len(there), len(set(there))
    if all(number_of_text(text) is not None for text in there):
        numbers = [float(text) for text in there if text.strip().lower() not in _NO_NUMBERS]
        what = _range(numbers) if numbers else "true or false"
        return FieldGuess("numeric", f"{what}, as text{missing}")
    if all(moment(text) is not None for text in there):
        return FieldGuess("time", f"times such as {_shown(there[0])}{missing}")
    words = sum(len(text.split()) for text in there) / n
    separator = "" if words >= 3 * _WORDS else _separator(there, _SEPARATORS[:2])
    if separator:
        return FieldGuess(
            "set", f"text with {separator!r} in it, such as {_shown(there[0])}{missing}", separator
        )
    if words >= _WORDS and different > min(_FEW, n // 2):
        size = sum(map(len, there)) // n
        return FieldGuess("text", f"{words:.0f} words and {size:,} characters on average{missing}")
    if different == n and n >= _ENOUGH:
        if words < 1.5:
            return FieldGuess("ignore", f"never the same in {n:,}, such as {_shown(there[0])}")
        return FieldGuess("text", f"never the same in {n:,}, such as {_shown(there[0])}{missing}")
    note = "; many, ignore it if new ones keep coming" if different > max(_FEW, n // 2) else ""
    return FieldGuess(
        "nominal",
        f"{different:,} different values in {n:,}, such as {_examples(there)}{missing}{note}",
    )


_NO_NUMBERS = MISSING | {"true", "false"}


def _separator(there: Sequence[str], accepted: Sequence[str] = _SEPARATORS) -> str:
    """What separates short parts that come again, if it is in some of the texts."""
    for separator in accepted:
        having = sum(separator in text for text in there)
        if having * 5 < len(there):
            continue
        parts = [part.strip() for text in there for part in text.split(separator)]
        short = all(len(part) <= 40 for part in parts)
        if short and len(set(parts)) * 3 <= len(parts) * 2:
            return separator
    return ""


def _choose_default(guess: Guess, rows: Sequence[Mapping[str, Any]]) -> None:
    kinds = Counter(each.kind for each in guess.fields.values())
    half = [*_all_fields(rows[: len(rows) // 2])]
    fresh = len(guess.fields) - len([steps for steps in half if ".".join(steps) in guess.fields])
    if len(rows) >= _ENOUGH and fresh > max(2, len(guess.fields) // 20):
        guess.default = "auto"
        guess.reasons["default"] = (
            f"{fresh:,} of {len(guess.fields):,} fields came in the second half: more will come"
        )
    elif kinds["numeric"] >= 20 and kinds["numeric"] * 10 >= 9 * len(guess.fields):
        guess.default = "numeric"
        guess.reasons["default"] = f"{kinds['numeric']:,} of {len(guess.fields):,} fields are that"
    else:
        guess.reasons["default"] = "the events that were looked at have the same fields"


def _range(numbers: Sequence[float]) -> str:
    low, high = min(numbers), max(numbers)
    return f"numbers from {low:g} to {high:g}" if low < high else f"the number {low:g} everywhere"


def _examples(values: Sequence[Any]) -> str:
    return ", ".join(_shown(value) for value in list(dict.fromkeys(map(str, values)))[:3])


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, date) else ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
