"""Events as ARFF in MEKA's style.

In: a spool. Out: lines. It is here because MULAN, MEKA, MOA and scikit-multilearn read it.

The labels come first, as the relation's ``-C`` says. A feature of numbers is numeric, one of texts
that is never absent is nominal; other texts, and members of sets, have an attribute of 0 and 1 for
each value. An event whose labels are not known has ``?`` at each. Rows are sparse where most of
their values are 0. Ids and times have no place in ARFF.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ihomer.errors import InputError
from ihomer.stream.event_files.spool import Body, Column, Spool, Survey, indicator

_SPARSE = 0.25  # share of values that are not 0, below which rows are sparse
_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def quoted(text: str) -> str:
    r"""A name or a value as ARFF has it.

    >>> print(quoted("it's"))
    'it\'s'
    """
    return f"'{text.translate(_ESCAPES)}'"


def arff_lines(spool: Spool) -> Iterator[bytes]:
    """The lines of a file.

    Raises
    ------
    InputError
        There is no label, or two attributes would have one name.
    """
    survey = spool.survey
    if not survey.labels:
        raise InputError("found no labels, accepted for ARFF: events with labels")
    places = _places(survey)
    yield f"@relation 'ihomer: -C {len(survey.labels)}'".encode()
    for label in survey.labels:
        yield f"@attribute {quoted(label)} {{0,1}}".encode()
    for name, (_, values) in places.items():
        kind = "numeric" if not values else f"{{{','.join(values)}}}"
        yield f"@attribute {quoted(name)} {kind}".encode()
    yield b"@data"
    width = len(survey.labels) + len(places)
    filled = sum(
        column.nonzero + column.missing + column.present - column.numbers
        for column in survey.features.values()
    )
    sparse = filled + survey.events < _SPARSE * survey.events * width
    for body in spool:
        yield _row(body, survey, places, sparse=sparse).encode()


def _places(survey: Survey) -> dict[str, tuple[int, list[str]]]:
    """Position of each attribute that is no label, and its values; none: it is numeric."""
    first = len(survey.labels)
    places: dict[str, tuple[int, list[str]]] = {}

    def place(name: str, values: list[str]) -> None:
        if name in places or name in survey.labels:
            raise InputError(
                f"found {name!r} for two attributes, accepted for ARFF: labels, features and"
                " indicators (feature=value) of different names"
            )
        places[name] = (first + len(places), values)

    for name, column in survey.features.items():
        if _is_nominal(column, survey):
            place(name, [quoted(value) for value in column.texts])
            continue
        if column.numbers or column.missing or not column.present:
            place(name, [])
        for value in dict.fromkeys((*column.texts, *column.members)):
            place(indicator(name, value), ["0", "1"])
    return places


def _is_nominal(column: Column, survey: Survey) -> bool:
    """Texts alone, in every event; those of 0 and 1 would be read as numbers."""
    return (
        bool(column.texts)
        and not column.numbers
        and not column.sets
        and column.present == survey.events
        and not column.texts.keys() <= {"0", "1"}
    )


def _row(
    body: Body, survey: Survey, places: dict[str, tuple[int, list[str]]], *, sparse: bool
) -> str:
    row: dict[int, str] = {}
    on = None if body.on is None else set(body.on)
    for at, label in enumerate(survey.labels):
        if on is None:
            row[at] = "?"
        elif label in on:
            row[at] = "1"
    for name, value in body.x.items():
        for attribute, text in _texts(name, value, places):
            row[places[attribute][0]] = text
    if sparse:
        return "{" + ",".join(f"{at} {row[at]}" for at in sorted(row)) + "}"
    return ",".join(row.get(at, "0") for at in range(len(survey.labels) + len(places)))


def _texts(
    name: str, value: Any, places: dict[str, tuple[int, list[str]]]
) -> Iterator[tuple[str, str]]:
    """The attributes that a feature's value fills."""
    if value is None:
        yield name, "?"
    elif isinstance(value, str):
        if name in places and places[name][1]:
            yield name, quoted(value)
        else:
            yield indicator(name, value), "1"
    elif isinstance(value, list):
        yield from ((indicator(name, member), "1") for member in value)
    elif value != 0:
        yield name, repr(float(value))
