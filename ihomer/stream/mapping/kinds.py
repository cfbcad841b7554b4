"""What a field's value becomes, by the kind of the field.

In: the value of one field, as JSON or a table has it. Out: features of its event, put into a
dictionary, or a `MalformedEventError` of kind ``field-value``. It is here so that each kind's rule
stands in one place.

===========  =======================================================================================
kind         what is accepted, and what becomes of it
===========  =======================================================================================
``numeric``  a number; a boolean (0 or 1); text that is a number to Python's `float`, without ``_``,
             or ``true`` or ``false``. Null, an empty text, NA, N/A, NaN, null and None, in any
             case, are missing. Or a list of these, `MOST_ITEMS` at most: a feature for each,
             ``NAME.0``, ``NAME.1``, ...
``nominal``  text, a number or a boolean, as its text: an indicator of this value. A number that is
             whole is written without a fraction, a boolean as in JSON.
``text``     text, or a list of texts: see `ihomer.stream.mapping.text`
``set``      a list of texts, numbers and booleans, or one text, which is split at the field's
             separator if it has one: an indicator for each, as of nominal
``time``     see `ihomer.stream.mapping.moments`: four features, missing if null
``ignore``   anything: nothing
``auto``     numbers, booleans, null, and a list of them: as numeric; text as nominal; a list of
             texts as set; a table's `datetime` as time; nothing else
===========  =======================================================================================

Nothing comes of null and of an empty text in nominal, text and set, and of an empty list.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, TypeAlias, get_args

from ihomer.errors import MalformedEventError
from ihomer.stream.decode import found, malformed, shown_name
from ihomer.stream.mapping.moments import ACCEPTED as TIME_ACCEPTED
from ihomer.stream.mapping.moments import SUFFIXES, cycles, moment
from ihomer.stream.mapping.text import TextOptions, WordMemory, Words

Kind: TypeAlias = Literal["text", "nominal", "numeric", "time", "set", "ignore"]
Rule: TypeAlias = Literal["auto", "text", "nominal", "numeric", "time", "set", "ignore"]
Put: TypeAlias = Callable[[dict[str, Any], Any], None]
"""Puts what a value becomes into an event's features."""

KINDS: tuple[str, ...] = get_args(Kind)
MISSING = frozenset(("", "na", "n/a", "nan", "null", "none"))
"""Texts of a numeric field that say that there is no value, in lower case."""
MOST_ITEMS = 8192
"""In a list of numbers; embeddings have 4,096 at most as a rule."""

_TRUTH = {"true": 1.0, "false": 0.0}
_NUMBERS = frozenset((float, int, bool))
_OR_MISSING = _NUMBERS | {type(None)}
_TEXTS = frozenset((str,))
_ITEMS = frozenset((str, int, float, bool))


def putter(
    name: str,
    rule: Rule,
    options: TextOptions,
    separator: str = "",
    unit: str = "auto",
    memory: WordMemory | None = None,
) -> Put | None:
    """The function that puts a field's values into an event's features; None: it is ignored.

    Parameters
    ----------
    name
        The field's flattened name.
    rule
        Its kind.
    options, separator, unit
        Of text, of a set that comes as one text, of times.
    memory
        Where words are remembered.
    """
    if rule == "numeric":
        return _numeric(name)
    if rule == "nominal":
        return _nominal(name)
    if rule == "text":
        return _text(name, options, memory)
    if rule == "set":
        return _set(name, separator)
    if rule == "time":
        return _time(name, unit)
    if rule == "ignore":
        return None
    return _auto(name, unit)


def number_of_text(text: str) -> float | None:
    """The number that a text says, NaN if it says that there is none, None if it is no number.

    >>> number_of_text(" 1.5e3 "), number_of_text("N/A"), number_of_text("true")
    (1500.0, nan, 1.0)
    >>> number_of_text("1_000") is number_of_text("12 km") is None
    True
    """
    try:
        if "_" not in text:
            return float(text)
    except ValueError:
        pass
    word = text.strip().lower()
    return math.nan if word in MISSING else _TRUTH.get(word)


def item_text(value: Any) -> str | None:
    """A nominal value as text, or None if it can be none.

    >>> item_text("red"), item_text(3.0), item_text(2.5), item_text(True)
    ('red', '3', '2.5', 'true')
    """
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return str(value)
    if kind is float and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return None


@lru_cache(maxsize=32)  # lists of one field are of one length as a rule
def place_names(name: str, count: int) -> tuple[str, ...]:
    """Names of the features that a list of so many numbers becomes.

    >>> place_names("vec", 3)
    ('vec.0', 'vec.1', 'vec.2')
    """
    return tuple(f"{name}.{place}" for place in range(count))


def field_fault(name: str, what: str, accepted: str) -> MalformedEventError:
    """A field has a value that its kind does not take."""
    return malformed("field-value", f"{shown_name(name)}: found {what}, accepted: {accepted}")


def _numeric(name: str) -> Put:
    def put(into: dict[str, Any], value: Any) -> None:
        kind = type(value)
        if kind in _NUMBERS or value is None:
            into[name] = value
            return
        if kind is list:
            _put_numbers(name, value, into)
            return
        number = _number(value)
        if number is None:
            raise field_fault(
                name,
                found(value),
                "a number, a boolean, numeric text, null or a list of those (kind numeric)",
            )
        into[name] = number

    return put


def _number(value: Any) -> float | None:
    """The number that text or a decimal is, or None."""
    if isinstance(value, Decimal):
        return float(value)
    return number_of_text(value) if type(value) is str else None


def _put_numbers(name: str, values: list[Any], into: dict[str, Any]) -> None:
    """A feature for each item of a list."""
    if len(values) > MOST_ITEMS:
        raise field_fault(
            name, f"a list of {len(values):,}", f"at most {MOST_ITEMS:,} numbers (kind numeric)"
        )
    if not _OR_MISSING.issuperset(map(type, values)):
        values = [
            item if type(item) in _OR_MISSING else _list_number(name, place, item)
            for place, item in enumerate(values)
        ]
    into.update(zip(place_names(name, len(values)), values, strict=True))


def _list_number(name: str, place: int, item: Any) -> float:
    number = _number(item)
    if number is None:
        raise field_fault(
            name, f"{found(item)} as item {place} of a list", "numbers only (kind numeric)"
        )
    return number


def _nominal(name: str) -> Put:
    def put(into: dict[str, Any], value: Any) -> None:
        if value is None or value == "":
            return
        text = item_text(value)
        if text is None:
            raise field_fault(
                name, found(value), "text, a number, a boolean or null (kind nominal)"
            )
        into[name] = text

    return put


def _text(name: str, options: TextOptions, memory: WordMemory | None) -> Put:
    words = Words(name, options, memory)

    def put(into: dict[str, Any], value: Any) -> None:
        if type(value) is list and all(type(item) is str for item in value):
            value = "\n".join(value)
        if type(value) is str:
            words.put(value, into)
        elif value is not None:
            raise field_fault(name, found(value), "text, a list of texts or null (kind text)")

    return put


def _set(name: str, separator: str) -> Put:
    def put(into: dict[str, Any], value: Any) -> None:
        if value is None:
            return
        items: list[Any] = value if type(value) is list else [value]
        if separator and type(value) is str:
            items = [part.strip() for part in value.split(separator)]
        if not _ITEMS.issuperset(map(type, items)):
            raise _list_fault(name, value, "a list of texts, one text or null (kind set)", _ITEMS)
        texts = [item_text(item) for item in items]
        if None in texts:
            raise _list_fault(name, value, "a list of texts, one text or null (kind set)", _ITEMS)
        kept = [text for text in texts if text]
        if kept:
            into[name] = kept

    return put


def _time(name: str, unit: str) -> Put:
    names = tuple(f"{name}.{suffix}" for suffix in SUFFIXES)

    def put(into: dict[str, Any], value: Any) -> None:
        if value is None or value == "":
            into.update(dict.fromkeys(names))
            return
        when = moment(value, unit)
        if when is None:
            raise field_fault(name, found(value), f"{TIME_ACCEPTED} (kind time)")
        into.update(zip(names, cycles(when.ms), strict=True))

    return put


def _auto(name: str, unit: str) -> Put:
    time = _time(name, unit)

    def put(into: dict[str, Any], value: Any) -> None:
        kind = type(value)
        if kind in _NUMBERS or value is None:
            into[name] = value
        elif kind is str or (kind is list and all(type(item) is str for item in value)):
            if value:
                into[name] = value
        elif kind is list and _OR_MISSING.issuperset(map(type, value)):
            _put_numbers(name, value, into)
        elif isinstance(value, date):  # and so any `datetime`
            time(into, value)
        elif isinstance(value, Decimal):
            into[name] = float(value)
        else:
            raise _list_fault(
                name,
                value,
                "a number, text, a boolean, null, a list of texts or one of numbers; or a kind for"
                ' it in [mapping.fields], "ignore" among them',
                _TEXTS if value and type(value) is list and type(value[0]) is str else _OR_MISSING,
            )

    return put


def _list_fault(
    name: str, value: Any, accepted: str, types: frozenset[type]
) -> MalformedEventError:
    """`value` is no list of these types."""
    what = found(value)
    if type(value) is list:
        for place, item in enumerate(value):
            if type(item) not in types:
                what = f"a list with {found(item)} as item {place}"
                break
    return field_fault(name, what, accepted)
