"""Events as JSON Lines, from a file, a compressed one, a pipe or standard input.

In: a path. Out: one record for each line that is not blank, its bytes as they are; what they mean
is the decoder's business. It is here because a file of events is what everybody has.
"""

from __future__ import annotations

from collections.abc import Sequence

from ihomer.connectors.base import Position, Record, Source
from ihomer.connectors.files.reader import DEFAULT_MAX_LINE_BYTES, Line, LineReader
from ihomer.errors import MalformedEventError


class JsonLinesSource(Source):
    r"""Lines of `path` as records.

    A record's offset is its line number from 1, blank lines counted, its value the line without
    line end (``\n`` or ``\r\n``) and, in line 1, without byte order mark. A line over the bound
    becomes a record with a fault and the first KiB as its value. Of a damaged gzip file
    everything before the damage is returned before `InputError` is raised, of another compressed
    file all but the last few KiB.

    Its position is ``{"line": n, "byte": b}`` for a plain file, which is entered there directly.
    For compressed files, standard input and pipes it is ``{"line": n}``: what is compressed is
    read again from its start; a
    fresh standard input must carry the same lines from the first, and those before n are skipped.

    Parameters
    ----------
    path
        A file, decompressed if its name ends in one of `COMPRESSIONS`, or ``-`` for standard input.
    max_line_bytes
        Bound of a line's length in bytes.

    Raises
    ------
    InputError
        The file cannot be opened.
    """

    def __init__(self, path: str, *, max_line_bytes: int = DEFAULT_MAX_LINE_BYTES) -> None:
        self.name = path
        self._max_line_bytes = max_line_bytes
        self._reader = LineReader(path, max_line_bytes)

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        """See `Source.next_batch`."""
        lines = self._reader.take(max_records, timeout)
        if not lines:
            return None if self._reader.ended else []
        path, limit = self.name, self._max_line_bytes
        return [
            Record(line.text, path, 0, line.number)
            if not line.oversized
            else oversized_record(path, line, limit)
            for line in lines
        ]

    def position(self) -> Position:
        """See `Source.position`."""
        return self._reader.position()

    def seek(self, position: Position) -> None:
        """See `Source.seek`."""
        self._reader.seek(position)

    def close(self) -> None:
        """See `Source.close`."""
        self._reader.close()


def oversized_record(path: str, line: Line, max_line_bytes: int) -> Record:
    """The record that stands for a line over the bound."""
    fault = MalformedEventError(
        "read",
        "oversized",
        f"line {line.number}: found more than {max_line_bytes} bytes, accepted: at most"
        f" {max_line_bytes} (max_line_bytes); the first {len(line.text)} are kept",
    )
    return Record(line.text, path, 0, line.number, fault=fault)
