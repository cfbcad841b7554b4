"""Events from an ARFF file, in MULAN's or MEKA's style.

In: a path. Out: one record for each data row, its value a ready event; a row that is none comes
as a record with its bytes and a fault. It is here so that the public multi-label streams are read
as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ihomer.connectors.base import Position, Record, Source
from ihomer.connectors.files.arff import read_header
from ihomer.connectors.files.lines import oversized_record
from ihomer.connectors.files.mulan import label_columns
from ihomer.connectors.files.reader import DEFAULT_MAX_LINE_BYTES, Line, LineReader
from ihomer.connectors.files.rows import RowParser
from ihomer.errors import MalformedEventError

_BLOCK_LINES = 512
_BLOCK_BYTES = 1 << 18
_CAREFUL_LINES = 8


class ArffSource(Source):
    """Data rows of `path` as events, see `RowParser` for what becomes of values.

    An event's id and its record's offset are the row's line number in the file. The rows share
    one tuple of names, `features`. The position is a line reader's, see `JsonLinesSource`.

    Parameters
    ----------
    path
        A file, decompressed if its name ends in one of `COMPRESSIONS`, or ``-`` for standard input.
    xml
        The MULAN file that names the labels; None: see `label_columns`.
    max_line_bytes
        Bound of a line's length in bytes.

    Attributes
    ----------
    attributes
        Names of the attributes that are no labels. `features` is longer where a nominal attribute
        has an indicator for each of its values.
    n_attributes
        Their number, what tables of data sets call features.

    Raises
    ------
    InputError
        The file or the XML cannot be read, or the header is none that is accepted.
    """

    def __init__(
        self,
        path: str,
        *,
        xml: str | None = None,
        max_line_bytes: int = DEFAULT_MAX_LINE_BYTES,
    ) -> None:
        self.name = path
        self._max_line_bytes = max_line_bytes
        self._reader = LineReader(path, max_line_bytes)
        try:
            header = read_header(self._reader)
            self._parser = RowParser(path, header, label_columns(path, header, xml))
        except BaseException:
            self._reader.close()
            raise
        self.labels = self._parser.labels
        self.features = self._parser.names
        self.attributes = self._parser.attributes
        self.n_attributes = len(self.attributes)

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        """See `Source.next_batch`."""
        records: list[Record] = []
        while len(records) < max_records:
            count = min(max_records - len(records), _BLOCK_LINES)
            lines = self._reader.take(count, 0.0 if records else timeout)
            rows = [line for line in lines if not line.text.lstrip().startswith(b"%")]
            for block in _blocks(rows):
                records += self._records(block)
            if len(lines) < count:
                # The end, damage, or a pipe that has no more yet: the next call tells which.
                break
        if not records and self._reader.ended:
            return None
        return records

    def _records(self, lines: list[Line]) -> list[Record]:
        """Block by block where the rows are plain, halving down to the few that are not."""
        path = self.name
        if not any(line.oversized for line in lines):
            events = self._parser.parse_plain(lines)
            if events is not None:
                return [
                    Record(event, path, 0, line.number)
                    for event, line in zip(events, lines, strict=True)
                ]
        if len(lines) <= _CAREFUL_LINES:
            return [self._record(line) for line in lines]
        half = len(lines) // 2
        return self._records(lines[:half]) + self._records(lines[half:])

    def _record(self, line: Line) -> Record:
        if line.oversized:
            return oversized_record(self.name, line, self._max_line_bytes)
        try:
            return Record(self._parser.parse(line), self.name, 0, line.number)
        except MalformedEventError as fault:
            return Record(line.text, self.name, 0, line.number, fault=fault)

    def position(self) -> Position:
        """See `Source.position`."""
        return self._reader.position()

    def seek(self, position: Position) -> None:
        """See `Source.seek`."""
        self._reader.seek(position)

    def close(self) -> None:
        """See `Source.close`."""
        self._reader.close()


def _blocks(lines: list[Line]) -> Iterator[list[Line]]:
    """Parts of `lines` that keep the arrays of the fast way small."""
    block: list[Line] = []
    size = 0
    for line in lines:
        block.append(line)
        size += len(line.text)
        if size >= _BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block
