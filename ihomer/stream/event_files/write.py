"""A source's events to a file in the format that its name or its URI says.

In: a source and a location. Out: the file, and names beside it where the format has numbers for
them. It is here so that any stream becomes one that another program reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ihomer.connectors.base import Message, Source
from ihomer.connectors.datasets.atomic import write_whole
from ihomer.connectors.files.libsvm_source import names_path
from ihomer.connectors.files.reader import STANDARD
from ihomer.connectors.files.sink import FileSink
from ihomer.connectors.files.table_sink import check_plain
from ihomer.connectors.formats import COLUMNAR, by_name, delimiter, title
from ihomer.connectors.uri import Location
from ihomer.errors import InputError, UsageError
from ihomer.stream.event_files.arff_events import arff_lines
from ihomer.stream.event_files.libsvm_events import libsvm_lines, number_names
from ihomer.stream.event_files.spool import Spool
from ihomer.stream.event_files.table_events import csv_lines, write_table
from ihomer.stream.write_events import read_events

if TYPE_CHECKING:
    from ihomer.stream.event_files.libsvm_events import Numbers

_LINES = 1024


def format_of(uri: str, location: Location) -> str | None:
    """The format that events are written in; None: JSON Lines.

    Raises
    ------
    UsageError
        A parameter means nothing when that format is written.
    """
    if location.scheme != "file":
        return None
    form = by_name(location.path, location.parameters) or "jsonl"
    accepted = ("format", *(("delimiter",) if form == "csv" else ()))
    for parameter in location.parameters:
        if parameter not in accepted:
            raise UsageError(
                f"{uri}: found parameter {parameter} for writing {title(form)}, accepted:"
                f" {', '.join(accepted)}"
            )
    if form in COLUMNAR:
        check_plain(location.path)
    return None if form == "jsonl" else form


def write_events_as(
    form: str,
    source: Source,
    location: Location,
    limit: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the events of `source` to a file that is no JSON Lines.

    Parameters
    ----------
    form
        ``"csv"``, ``"parquet"``, ``"arrow"``, ``"arff"``, ``"libsvm"`` or ``"xmc"``.
    source
        Stays open.
    location
        Of the file; standard output takes all but Parquet and Arrow.
    limit
        Largest number of events.
    on_progress
        Called with the number of events that have been read.

    Returns
    -------
    int
        Number of events written.

    Raises
    ------
    InputError
        An event is malformed or cannot be said in this format; the file is not begun then, or not
        whole. Or of the source or the file system.
    UsageError
        pyarrow is not installed, or names have no file to lie beside.
    """
    path = location.path
    folder = Path() if path == STANDARD else Path(path).parent
    if not folder.is_dir():
        raise InputError(f"{path}: cannot be written (the folder {folder} does not exist)")
    with Spool(folder, source.features, source.labels) as spool:
        for events in read_events(source, limit):
            for event in events:
                spool.add(event)
            on_progress(spool.survey.events)
        if form in COLUMNAR:
            write_table(spool, path, form)
        elif form == "csv":
            _write_lines(path, csv_lines(spool, delimiter(path, location.parameters)))
        elif form == "arff":
            _write_lines(path, arff_lines(spool))
        else:
            numbers = number_names(spool)
            _write_names(path, numbers)
            _write_lines(path, libsvm_lines(spool, numbers, xmc=form == "xmc"))
        return spool.survey.events


def _write_lines(path: str, lines: Iterable[bytes]) -> None:
    sink = FileSink(path, form=lambda message: message.value or b"")
    try:
        batch: list[Message] = []
        for line in lines:
            batch.append(Message(line))
            if len(batch) == _LINES:
                sink.write(batch)
                batch = []
        sink.write(batch)
    finally:
        sink.close()


def _write_names(path: str, numbers: Numbers) -> None:
    """Files of names where they are wanted; those of another stream would say something wrong."""
    if path == STANDARD:
        if numbers.named:
            raise UsageError(
                f"{STANDARD}: found names that are no numbers, which belong into files beside,"
                " accepted: a path, or names that are numbers"
            )
        return
    for what, names in (("features", numbers.features), ("labels", numbers.labels)):
        beside = names_path(path, what)
        if numbers.named:
            write_whole(beside, "".join(f"{name}\n" for name in names).encode())
        else:
            beside.unlink(missing_ok=True)
