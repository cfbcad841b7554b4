"""Events as a table: a row for each, a column for each feature.

In: a spool. Out: the rows of a CSV file as lines, or the pieces of a Parquet or Arrow file. It is
here because a table is what spreadsheets, data frames and warehouses take.

The columns are ``id``, the features in order of appearance, ``labels``, and ``ts`` if any event has
one; where a feature has such a name, ours gets a ``_`` behind it. A number that is absent is 0, one
that is missing is nothing; of texts and sets both are nothing. In CSV labels and sets stand with
``|`` between them, and ``?`` stands for labels that are unknown, as in ARFF; in Parquet and Arrow
they are lists, and null is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from ihomer.connectors.files.csv_source import lines_of
from ihomer.connectors.files.table_file import TableFile
from ihomer.errors import InputError
from ihomer.stream.event_files.spool import Column, Spool, Survey
from ihomer.stream.mapping.infer import UNKNOWN

MOST_COLUMNS = 10_000
SEPARATOR = "|"

_ROWS = 4096


def own_names(survey: Survey) -> tuple[str, str, str]:
    """Names of the columns of id, labels and time.

    >>> own_names(Survey(features={"id": Column()}))
    ('id_', 'labels', 'ts')
    """
    found = []
    for name in ("id", "labels", "ts"):
        free = name
        while free in survey.features:
            free += "_"
        found.append(free)
    return found[0], found[1], found[2]


def csv_lines(spool: Spool, delimiter: str) -> Iterator[bytes]:
    """The lines of a CSV file.

    Raises
    ------
    InputError
        There are too many columns, a label or a member of a set holds the separator, or the only
        label of an event is called as unknown ones are.
    """
    return lines_of(_cells(spool), delimiter)


def _cells(spool: Spool) -> Iterator[list[Any]]:
    survey = spool.survey
    check_width(survey, "CSV")
    event_id, labels, time = own_names(survey)
    yield [event_id, *survey.features, labels, *([time] if survey.times else [])]
    absent = [
        (name, 0 if not column.texts and not column.sets else None)
        for name, column in survey.features.items()
    ]
    for body in spool:
        row: list[Any] = [body.id]
        row += [_cell(body.x.get(name, nothing), name) for name, nothing in absent]
        row.append(UNKNOWN if body.on is None else _labels(body.on))
        if survey.times:
            row.append(body.ts)
        yield row


def _cell(value: Any, name: str) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list):
        return _joined(value, f"a member of {name!r}")
    return value


def _labels(on: Sequence[str]) -> str:
    if list(on) == [UNKNOWN]:
        raise InputError(
            f"a label: found {UNKNOWN!r} alone, which stands for unknown labels in CSV, accepted:"
            " other names, or JSON Lines, Parquet or Arrow"
        )
    return _joined(on, "a label")


def _joined(names: Sequence[str], what: str) -> str:
    for name in names:
        if SEPARATOR in name:
            raise InputError(
                f"{what}: found {SEPARATOR} in {name!r}, which stands between names in CSV,"
                " accepted: names without it, or JSON Lines, Parquet or Arrow"
            )
    return SEPARATOR.join(names)


def write_table(spool: Spool, path: str, form: str) -> None:
    """Write a Parquet or Arrow file.

    Parameters
    ----------
    spool
        The events.
    path
        A plain file, which is replaced.
    form
        ``"parquet"`` or ``"arrow"``.

    Raises
    ------
    InputError
        There are too many columns, one has numbers beside texts, or the file cannot be written.
    UsageError
        pyarrow is not installed.
    """
    survey = spool.survey
    check_width(survey, form.title())
    names = own_names(survey)
    kinds = {name: _kind(name, column, form) for name, column in survey.features.items()}
    file = TableFile(path, form, lambda pa: _schema(pa, survey, kinds, names))
    try:
        bodies = iter(spool)
        while piece := list(islice(bodies, _ROWS)):
            ids: list[Any] = [body.id for body in piece]
            columns = [ids if survey.whole_ids else list(map(str, ids))]
            for name, kind in kinds.items():
                nothing = 0.0 if kind == "number" else None
                columns.append([_value(body.x.get(name, nothing), kind) for body in piece])
            columns.append([body.on for body in piece])
            if survey.times:
                texts = str in survey.times
                columns.append([str(b.ts) if texts and b.ts is not None else b.ts for b in piece])
            file.write(columns)
    finally:
        file.close()


def _kind(name: str, column: Column, form: str) -> str:
    if column.numbers and (column.texts or column.sets):
        raise InputError(
            f"feature {name!r}: found numbers and texts, accepted for {form.title()}: one of them,"
            " or CSV or JSON Lines"
        )
    if column.sets:
        return "set"
    return "text" if column.texts else "number"


def _value(value: Any, kind: str) -> Any:
    if kind == "number" and value is not None:
        return float(value)
    return [value] if kind == "set" and isinstance(value, str) else value


def _schema(pa: Any, survey: Survey, kinds: dict[str, str], names: tuple[str, str, str]) -> Any:
    types = {"number": pa.float64(), "text": pa.string(), "set": pa.list_(pa.string())}
    event_id, labels, time = names
    fields = [(event_id, pa.int64() if survey.whole_ids else pa.string())]
    fields += [(name, types[kind]) for name, kind in kinds.items()]
    fields.append((labels, types["set"]))
    if survey.times:
        fields.append((time, pa.string() if str in survey.times else pa.int64()))
    return pa.schema(fields)


def check_width(survey: Survey, form: str) -> None:
    """See that there are not more features than a table has use for; raises `InputError`."""
    if len(survey.features) > MOST_COLUMNS:
        raise InputError(
            f"found {len(survey.features):,} features, accepted for {form}: at most"
            f" {MOST_COLUMNS:,} columns; libsvm, XMC, ARFF and JSON Lines take more"
        )
