"""Predictions as rows of a CSV file.

In: messages whose values are predictions as JSON. Out: a header, and a line for each. It is here
because a spreadsheet or a data frame reads that at once.

The columns are `COLUMNS`. ``labels`` and ``scores`` are JSON in their fields, because a label may
hold any character: ``["news"]``, ``[["news",0.93],["sport",0.21]]``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson

from ihomer.connectors.base import Message
from ihomer.connectors.files.csv_source import lines_of
from ihomer.connectors.files.sink import FileSink

COLUMNS = ("id", "labels", "scores", "version", "events", "ts")


def csv_predictions(path: str, delimiter: str = ",", *, append: bool = False) -> FileSink:
    """A sink that writes predictions as CSV; a file that is empty gets a header.

    Parameters
    ----------
    path, append
        See `FileSink`; raises as it.
    delimiter
        One character between fields.
    """
    head = next(lines_of([COLUMNS], delimiter))
    return FileSink(path, append=append, form=partial(_line, delimiter), head=head)


def prediction_fields(message: Message) -> tuple[Any, ...]:
    """The parts of a prediction, in the order of `COLUMNS`; absent ones are None."""
    found = orjson.loads(message.value or b"{}")
    model = found.get("model") or {}
    return (
        found.get("id"),
        found.get("labels"),
        found.get("scores"),
        model.get("version"),
        model.get("events"),
        found.get("ts"),
    )


def _line(delimiter: str, message: Message) -> bytes:
    event, labels, scores, *others = prediction_fields(message)
    lists = (orjson.dumps(labels).decode(), orjson.dumps(scores).decode())
    return next(lines_of([(event, *lists, *others)], delimiter))
