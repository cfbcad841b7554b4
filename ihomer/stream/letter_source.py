"""Where dead letters are read from: a file of JSON Lines, or a topic up to where it ends now.

In: a URI, and a position to go on from. Out: letters a few at a time, each time with the position
behind them. It is here so that `show` and `replay` read alike, without a group of consumers that
would have to be remembered, and without waiting for letters that are yet to come.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ihomer.connectors.base import Position
from ihomer.connectors.files.compression import compression_of
from ihomer.connectors.files.reader import STANDARD, Line, LineReader
from ihomer.connectors.kafka_settings import SOURCE_PARAMETERS
from ihomer.connectors.kafka_settings import parse_uri as parse_kafka
from ihomer.connectors.uri import parse_uri
from ihomer.errors import InputError, UsageError
from ihomer.stream.letters import Letter, letter_of_line, letter_of_record

STEP = 500


class Step(NamedTuple):
    """Some letters.

    Attributes
    ----------
    letters
        In order.
    unreadable
        A line for each record that is no dead letter.
    position
        Behind all of them; JSON values.
    """

    letters: Sequence[Letter]
    unreadable: Sequence[str]
    position: Position


def read_letters(uri: str, position: Position | None = None, step: int = STEP) -> Iterator[Step]:
    """The letters behind `position`, or all, up to the end as it is when it is reached.

    Parameters
    ----------
    uri
        A file, compressed or not, ``-``, or a topic.
    position
        Of an earlier `Step` of the same URI.
    step
        Largest number of letters at a time.

    Raises
    ------
    UsageError
        The URI is of something else.
    InputError
        It cannot be read, or there is no such position in it.
    UnavailableError
        The broker does not answer.
    """
    location = parse_uri(uri)
    if location.scheme == "kafka":
        return _of_topic(uri, position, step)
    if location.scheme == "file":
        return _of_file(location.path, position, step)
    raise UsageError(f"{uri}: found no place of dead letters, accepted: a file, -, or kafka://")


def _of_file(path: str, position: Position | None, step: int) -> Iterator[Step]:
    reader = LineReader(path)
    try:
        if position is not None:
            reader.seek(position)
        while True:
            before = reader.position()
            lines = reader.take(step, timeout=1.0)
            if not lines and reader.ended:
                return
            if lines and reader.ended and _is_unfinished(path):
                # It may be being written. It is read once it has an end; what was whole counts.
                lines = lines[:-1]
                reader.seek(before)
                if lines:
                    reader.take(len(lines))
                yield _step(path, lines, reader.position())
                return
            yield _step(path, lines, reader.position())
    finally:
        reader.close()


def _step(path: str, lines: Sequence[Line], position: Position) -> Step:
    letters: list[Letter] = []
    unreadable: list[str] = []
    for line in lines:
        try:
            letters.append(letter_of_line(path, line.number, line.text))
        except InputError as error:
            unreadable.append(str(error))
    return Step(letters, unreadable, position)


def _is_unfinished(path: str) -> bool:
    """Whether the last line of a plain file has no line end."""
    if path == STANDARD or compression_of(path) is not None or not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) not in (b"", b"\n")


def _of_topic(uri: str, position: Position | None, step: int) -> Iterator[Step]:
    from ihomer.connectors.kafka_client import require_topic
    from ihomer.connectors.kafka_ranges import Range
    from ihomer.connectors.kafka_reader import RangeReader  # only those with a broker wait for it

    settings = parse_kafka(uri, SOURCE_PARAMETERS)
    partitions = list(range(require_topic(settings).partitions))
    reader = RangeReader(settings, [settings.topic], lambda: False)
    try:
        bounds = reader.bounds(settings.topic, partitions)
        at = _starts(settings.topic, bounds, position)
        for partition in partitions:
            end = bounds[partition][1]
            if at[partition] >= end:
                continue
            # One partition at a time: nothing has to be kept of the others meanwhile.
            reader.go_to({settings.topic: {partition: at[partition]}})
            for start in range(at[partition], end, step):
                stop = min(start + step, end)
                letters: list[Letter] = []
                unreadable: list[str] = []
                for record in reader.read(Range(settings.topic, partition, start, stop, 0, "")):
                    try:
                        letters.append(letter_of_record(record))
                    except InputError as error:
                        unreadable.append(str(error))
                at[partition] = stop
                yield Step(letters, unreadable, _topic_position(at))
    finally:
        reader.close()


def _topic_position(at: dict[int, int]) -> Position:
    return {"offsets": {str(partition): offset for partition, offset in sorted(at.items())}}


def _starts(
    topic: str, bounds: dict[int, tuple[int, int]], position: Position | None
) -> dict[int, int]:
    """Where reading begins; what retention has deleted since `position` is no longer there."""
    at = {partition: begin for partition, (begin, _) in bounds.items()}
    if position is None:
        return at
    try:
        known = {int(partition): int(o) for partition, o in position["offsets"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{topic}: position: found {position!r}, accepted: offsets") from None
    for partition, offset in known.items():
        if partition not in bounds or offset > bounds[partition][1]:
            raise InputError(
                f"{topic}, partition {partition}: offset {offset} is wanted, and the topic does not"
                " reach so far: it was made anew; accepted: --again for all that it has"
            )
        at[partition] = max(at[partition], offset)
    return at
