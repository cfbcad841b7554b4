"""Rows of a CSV file, from a file, a compressed one, a pipe or standard input.

In: a path. Out: one record for each row, its value a mapping of column to text, its original the
row's bytes; what the columns mean is for a mapping in the configuration to say. It is here because
a table is what everybody exports. Python's `csv` reads the rows; which lines a row has, and where
the next one begins, has to be known here, or a position would mean nothing.
"""

from __future__ import annotations

import csv
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from ihomer.connectors.base import Position, Record, Source
from ihomer.connectors.files.reader import (
    DEFAULT_MAX_LINE_BYTES,
    LineReader,
    WholeLine,
)
from ihomer.errors import InputError, MalformedEventError, UsageError

_BLOCK_LINES = 512
_BLOCK_BYTES = 1 << 20
_MOST_LINES = 100_000  # of a row: short ones cost much more memory than their bytes
_SHOWN = 40

# csv's bound of a field belongs to the whole process: it is set for a block and put back.
_field_size = threading.Lock()


class _Row(NamedTuple):
    """A row that was looked at: where it is, its bytes, its fields (none: a blank line)."""

    number: int
    lines: int
    original: bytes
    fields: list[str] | MalformedEventError


class CsvSource(Source):
    r"""Rows of `path` behind its header.

    As RFC 4180 has it, and somewhat more: fields in double quotes may hold delimiters, line ends
    and doubled quotes; lines end in ``\n`` or ``\r\n``; a byte order mark and blank lines are
    passed over; the text is UTF-8. A record's offset is the number of the line on which its row
    begins, its value a mapping of every column to its text, nothing being ``""``. A row of another
    length than the header, with a quote where none may be, or that is no UTF-8 is a record with a
    fault. Where a quote is opened and not closed within the bound or the file, that line alone is
    malformed and reading goes on with the next.

    Its position is a line reader's, see `JsonLinesSource`: a plain file is entered at the byte.

    Parameters
    ----------
    path
        A file, decompressed if its name ends in one of `COMPRESSIONS`, or ``-``.
    delimiter
        One character between fields, no quote and no line end.
    max_line_bytes
        Bound of a row's length in bytes.

    Attributes
    ----------
    columns
        Their names in order; one without a name is called ``column_N``, counted from 1.

    Raises
    ------
    InputError
        The file cannot be opened or has no header, or a column's name stands twice.
    UsageError
        The delimiter is none.
    """

    def __init__(
        self,
        path: str,
        *,
        delimiter: str = ",",
        max_line_bytes: int = DEFAULT_MAX_LINE_BYTES,
    ) -> None:
        if len(delimiter) != 1 or delimiter in '"\r\n\0' or not delimiter.isascii():
            raise UsageError(
                f"{path}: delimiter: found {delimiter!r}, accepted: one ASCII character that is no"
                " quote and no line end, or tab"
            )
        self.name = path
        self._delimiter = delimiter
        self._between = delimiter.encode()
        self._max = max_line_bytes
        self._reader = LineReader(path, max_line_bytes)
        # Lines that have been read and not been made records of, and where they begin.
        self._ahead: deque[WholeLine] = deque()
        self._here = self._reader.position()
        self._suspect = 0  # up to this line they are looked at one by one
        self._damaged = False  # behind what has been read
        try:
            self.columns = self._header()
        except BaseException:
            self._reader.close()
            raise

    def _header(self) -> tuple[str, ...]:
        while True:
            found = self._next_row(timeout=1.0)
            if found is None:
                if self._reader.ended:
                    raise InputError(
                        f"{self.name}: found no header, accepted: a first line with the columns'"
                        " names"
                    )
                continue
            self._pass(found.lines)
            fields, number = found.fields, found.number
            if isinstance(fields, MalformedEventError):
                raise InputError(f"{self.name}: {fields}")
            if fields:
                break
        names = [name or f"column_{at}" for at, name in enumerate(fields, start=1)]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(
                f"{self.name}: line {number}: found the column {_shown(twice)} twice, accepted:"
                " different names"
            )
        return tuple(names)

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        """See `Source.next_batch`."""
        records: list[Record] = []
        while len(records) < max_records:
            wait = 0.0 if records else timeout
            plain = self._plain_rows(max_records - len(records), wait)
            if plain is not None:
                records += plain
                continue
            found = self._next_row(wait)
            if found is None:
                # The end, damage, or a pipe that has no more yet: the next call tells which.
                break
            self._pass(found.lines)
            if found.fields != []:
                records.append(self._record(found))
        if not records and self._reader.ended and not self._ahead:
            return None
        return records

    def _record(self, row: _Row) -> Record:
        fields = row.fields
        if not isinstance(fields, MalformedEventError) and len(fields) != len(self.columns):
            fields = self._length(row.number, fields)
        if isinstance(fields, MalformedEventError):
            return Record(row.original, self.name, 0, row.number, fault=fields)
        value = dict(zip(self.columns, fields, strict=True))
        return Record(value, self.name, 0, row.number, original=row.original)

    def _plain_rows(self, count: int, timeout: float) -> list[Record] | None:
        """Rows of a block of lines that hold neither quotes nor faults; None: look closely."""
        if not self._ahead:
            self._read(min(count, _BLOCK_LINES), timeout)
        if not self._ahead or self._ahead[0].number <= self._suspect:
            return None
        lines: list[WholeLine] = []
        room = _BLOCK_BYTES
        for line in self._ahead:
            if len(lines) == count or room < 0 or line.oversized or b'"' in line.text:
                break
            lines.append(line)
            room -= line.size
        if not lines:
            return None
        texts = [line.text.removesuffix(b"\r") for line in lines]
        try:
            rows = self._parse(b"\n".join(texts).decode().split("\n"))
        except (UnicodeDecodeError, csv.Error):
            self._suspect = lines[-1].number
            return None
        columns, path = self.columns, self.name
        width = len(columns)
        records: list[Record] = []
        for line, text, fields in zip(lines, texts, rows, strict=True):
            if self._is_blank(text):
                continue
            if len(fields) == width:
                value = dict(zip(columns, fields, strict=True))
                records.append(Record(value, path, 0, line.number, original=text))
            else:
                fault = self._length(line.number, fields)
                records.append(Record(text, path, 0, line.number, fault=fault))
        self._pass(len(lines))
        return records

    def _is_blank(self, text: bytes) -> bool:
        return not text.strip() and self._between not in text

    def _next_row(self, timeout: float) -> _Row | None:
        """The row that is next; None: it is not all there yet, or there is none."""
        if not self._ahead:
            self._read(_BLOCK_LINES, timeout)
        if not self._ahead:
            return None
        first = self._ahead[0]
        if first.oversized:
            return _Row(first.number, 1, first.text, self._oversized(first))
        if self._is_blank(first.text):
            return _Row(first.number, 1, b"", [])
        while True:
            lines = _Lines(self._ahead, self._max, ended=self._reader.ended or self._damaged)
            try:
                fields = next(iter(self._parse(lines, 1)), [])
            except _MoreError:
                # As many again as there are: a row that is looked at anew costs twice at most.
                if not self._read(max(_BLOCK_LINES, len(self._ahead)), timeout) and not (
                    self._reader.ended or self._damaged
                ):
                    return None
                continue
            except _LongError:
                return self._unclosed(first, f"{self._max} bytes (max_line_bytes)")
            except UnicodeDecodeError as error:
                if lines.taken > 1:  # the quote is the more likely mistake
                    return self._unclosed(first, f"line {lines.last}, which is no UTF-8")
                fault = _fault("not-utf-8", first.number, f"{error.reason}, accepted: UTF-8")
                return _Row(first.number, 1, self._bytes(1), fault)
            except csv.Error as error:
                if lines.taken == 1 and lines.more:
                    fault = _fault("csv", first.number, f"{error}, accepted: fields of RFC 4180")
                    return _Row(first.number, 1, self._bytes(1), fault)
                end = "the file's end" if not lines.more else f"line {lines.last}, where {error}"
                return self._unclosed(first, end)
            return _Row(first.number, lines.taken, self._bytes(lines.taken), fields)

    def _unclosed(self, first: WholeLine, until: str) -> _Row:
        fault = _fault(
            "csv", first.number, f"found a quote that is not closed until {until}, accepted: pairs"
        )
        return _Row(first.number, 1, self._bytes(1), fault)

    def _bytes(self, lines: int) -> bytes:
        taken = [self._ahead[at].text for at in range(lines)]
        return b"\n".join(taken).removesuffix(b"\r")

    def _parse(self, lines: Iterable[str], rows: int | None = None) -> list[list[str]]:
        with _field_size:
            before = csv.field_size_limit(max(self._max, _BLOCK_BYTES))
            try:
                reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
                return list(islice(reader, rows))
            finally:
                csv.field_size_limit(before)

    def _length(self, number: int, fields: list[str]) -> MalformedEventError:
        return _fault(
            "csv-length",
            number,
            f"found {len(fields)} fields, accepted: {len(self.columns)}, as in the header",
        )

    def _oversized(self, line: WholeLine) -> MalformedEventError:
        return MalformedEventError(
            "read",
            "oversized",
            f"line {line.number}: found more than {self._max} bytes, accepted: at most"
            f" {self._max} (max_line_bytes); the first {len(line.text)} are kept",
        )

    def _read(self, count: int, timeout: float) -> bool:
        """Read on; False: nothing came."""
        if not self._ahead:
            self._here = self._reader.position()
        try:
            lines = self._reader.take_whole(count, timeout)
        except InputError:
            self._damaged = True
            if self._ahead:  # the rows before the damage come first
                return False
            raise
        self._ahead.extend(lines)
        return bool(lines)

    def _pass(self, lines: int) -> None:
        for _ in range(lines):
            line = self._ahead.popleft()
            self._here["line"] = line.number + 1
            if "byte" in self._here:
                self._here["byte"] += line.size

    def position(self) -> Position:
        """See `Source.position`."""
        return dict(self._here) if self._ahead else self._reader.position()

    def seek(self, position: Position) -> None:
        """See `Source.seek`."""
        self._reader.seek(position)
        self._ahead.clear()
        self._suspect, self._damaged = 0, False

    def close(self) -> None:
        """See `Source.close`."""
        self._ahead.clear()
        self._reader.close()


class _MoreError(Exception):
    """A row goes on behind what has been read."""


class _LongError(Exception):
    """A row is longer than the bound."""


class _Lines:
    """Lines for csv to take as many of as a row has.

    Attributes
    ----------
    taken
        How many it has.
    last
        Number of the last of them.
    more
        Whether it found as many as it wanted.
    """

    def __init__(self, lines: Sequence[WholeLine], most: int, *, ended: bool) -> None:
        self._lines = lines
        self._most = most
        self._ended = ended
        self._size = 0
        self.taken = 0
        self.last = 0
        self.more = True

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self._size += line.size
            # One line may be as long as the bound without its end.
            long = self.taken > 0 and self._size > self._most + 2
            if long or line.oversized or self.taken == _MOST_LINES:
                raise _LongError
            self.taken += 1
            self.last = line.number
            yield line.text.decode() + "\n"
        if not self._ended:
            raise _MoreError
        self.more = False


def _fault(kind: str, number: int, message: str) -> MalformedEventError:
    return MalformedEventError("parse", kind, f"line {number}: {message}")


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else name[: _SHOWN - 3] + "...")


def lines_of(rows: Iterable[Iterable[object]], delimiter: str = ",") -> Iterator[bytes]:
    r"""Rows as the lines of a CSV file, without their last line ends.

    >>> list(lines_of([["a", 'b"c', "d,e"], [1, None, "f\ng"]]))
    [b'a,"b""c","d,e"', b'1,,"f\ng"']
    """
    held = _Held()
    # With this line end the writer quotes either of its characters in a field.
    writer = csv.writer(held, delimiter=delimiter, lineterminator="\r\n")
    for row in rows:
        writer.writerow(row)
        yield held.text.removesuffix("\r\n").encode("utf-8", "backslashreplace")


class _Held:
    text = ""

    def write(self, text: str) -> int:
        """Keep what a writer writes."""
        self.text = text
        return len(text)
