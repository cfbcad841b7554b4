"""Rows of a Parquet or Arrow file.

In: a path. Out: one record for each row, its value a mapping of column to Python's own values; what
the columns mean is for a mapping in the configuration to say. It is here because that is how data
warehouses and data frames are kept. The files are read by pyarrow, which comes with the extra
``tables``; nothing else in ihomer needs it for reading.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ihomer.connectors.base import Position, Record, Source
from ihomer.connectors.files.compression import compression_of
from ihomer.connectors.files.reader import STANDARD, reason
from ihomer.errors import InputError, UsageError

_BATCH_ROWS = 1024
_BATCH_BYTES = 1 << 24
_BUFFER_BYTES = 1 << 16
_GROUP_BYTES = 1 << 31
_ARROW_MAGIC = b"ARROW1"


def require_pyarrow(path: str) -> Any:
    """The package, for files like `path`.

    Raises
    ------
    UsageError
        It is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise UsageError(
            f"{path}: Parquet and Arrow need the package pyarrow, accepted: after"
            " pip install 'ihomer[tables]'"
        ) from None
    return pyarrow


class TableSource(Source):
    """Rows of `path`, a batch of at most 1,024 in memory at a time.

    A record's offset is the row's number, from 0. Values are what pyarrow makes of them: numbers,
    strings, booleans, None, bytes, lists, dictionaries (of structs and maps), dates and times,
    nanoseconds being cut to microseconds. The position is ``{"row": n}``.

    Parameters
    ----------
    path
        A file.
    form
        ``"parquet"``, or ``"arrow"``: Arrow's file or stream format, which Feather is, too.

    Attributes
    ----------
    columns
        Their names in order.
    length
        Number of rows, if the file says so.

    Raises
    ------
    InputError
        The file cannot be read, is none of its format, or has a column's name twice.
    UsageError
        pyarrow is not installed, or the path is compressed or standard input.
    """

    def __init__(self, path: str, form: str) -> None:
        suffix = compression_of(path)
        if path == STANDARD or suffix is not None:
            found = "standard input" if path == STANDARD else suffix
            raise UsageError(
                f"{path}: found {found} for a file that is read from its end, accepted: a plain"
                " file (Parquet and Arrow compress inside)"
            )
        require_pyarrow(path)
        self.name = path
        self._kind = "Parquet" if form == "parquet" else "Arrow"
        self._row = 0
        self._rows: Iterator[dict[str, Any]] | None = None
        self._file: Any = None
        self._failure: InputError | None = None
        with self._told("cannot be read"):
            self._open = _parquet if form == "parquet" else _arrow
            self._file, schema, self.length, self._batches = self._open(path)
        self.columns = tuple(schema.names)
        twice = [name for name, times in Counter(self.columns).items() if times > 1]
        if twice:
            self.close()
            raise InputError(
                f"{path}: found the column {twice[0]!r} twice, accepted: different names"
            )

    def _told(self, what: str) -> _Told:
        return _Told(self.name, self._kind, what)

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        """See `Source.next_batch`."""
        del timeout  # a file does not wait
        if self._failure is not None:
            raise self._failure
        if self._rows is None:
            self._rows = self._read(self._row)
        records: list[Record] = []
        try:
            for row in self._rows:
                records.append(Record(row, self.name, 0, self._row))
                self._row += 1
                if len(records) == max_records:
                    break
        except InputError as error:
            # The rows before the damage come first.
            self._failure = error
            if not records:
                raise
        return records or None

    def _read(self, first: int) -> Iterator[dict[str, Any]]:
        import pyarrow

        columns = self.columns
        batches = self._batches(first)
        while True:
            with self._told(f"the data from row {self._row} on is damaged"):
                batch = next(batches, None)
                if batch is None:
                    return
                values = [
                    _plain(pyarrow, column).to_pylist(maps_as_pydicts="lossy")
                    for column in batch.columns
                ]
            if not values:
                values = [[None] * batch.num_rows]
                columns = ()
            for row in zip(*values, strict=True):
                yield dict(zip(columns, row, strict=False))

    def position(self) -> Position:
        """See `Source.position`."""
        return {"row": self._row}

    def seek(self, position: Position) -> None:
        """See `Source.seek`."""
        row = position.get("row")
        most = self.length
        past = most is not None and isinstance(row, int) and row > most
        if isinstance(row, bool) or not isinstance(row, int) or row < 0 or past:
            until = "" if most is None else f" to {most}"
            raise InputError(
                f"{self.name}: position: row: found {row!r}, accepted: an integer from 0{until}"
            )
        self._row, self._rows, self._failure = row, None, None

    def close(self) -> None:
        """See `Source.close`."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._rows = iter(())


def _parquet(path: str) -> tuple[Any, Any, int | None, Callable[[int], Iterator[Any]]]:
    from pyarrow import parquet

    # Unbuffered columns of a row group would all be in memory at once.
    file = parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    metadata = file.metadata

    def batches(first: int) -> Iterator[Any]:
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            if group.num_rows <= first:
                first -= group.num_rows
                continue
            if group.total_byte_size > _GROUP_BYTES:
                raise InputError(
                    f"{path}: row group {number}: found {group.total_byte_size:,} bytes,"
                    f" accepted: at most {_GROUP_BYTES:,}"
                )
            a_row = max(1, group.total_byte_size // max(1, group.num_rows))
            size = max(1, min(_BATCH_ROWS, _BATCH_BYTES // a_row))
            for batch in file.iter_batches(batch_size=size, row_groups=[number]):
                if first >= batch.num_rows:
                    first -= batch.num_rows
                    continue
                yield batch.slice(first)
                first = 0

    return file, file.schema_arrow, metadata.num_rows, batches


def _arrow(path: str) -> tuple[Any, Any, int | None, Callable[[int], Iterator[Any]]]:
    import pyarrow

    # Mapped: what is not compressed inside is not copied whole.
    source = pyarrow.memory_map(path)
    try:
        with Path(path).open("rb") as opened:
            filed = opened.read(len(_ARROW_MAGIC)) == _ARROW_MAGIC
        make = pyarrow.ipc.open_file if filed else pyarrow.ipc.open_stream
        schema = make(source).schema
    except BaseException:
        source.close()
        raise

    def batches(first: int) -> Iterator[Any]:
        source.seek(0)
        reader = make(source)
        parts = (
            (reader.get_batch(at) for at in range(reader.num_record_batches)) if filed else reader
        )
        for part in parts:
            if first >= part.num_rows:
                first -= part.num_rows
                continue
            for start in range(first, part.num_rows, _BATCH_ROWS):
                yield part.slice(start, _BATCH_ROWS)
            first = 0

    return source, schema, None, batches


def _plain(pyarrow: Any, column: Any) -> Any:
    """A column whose values Python has types for."""
    kind = column.type
    if pyarrow.types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pyarrow.timestamp("us", kind.tz), safe=False)
    if pyarrow.types.is_duration(kind) and kind.unit == "ns":
        return column.cast(pyarrow.duration("us"), safe=False)
    if pyarrow.types.is_time64(kind) and kind.unit == "ns":
        return column.cast(pyarrow.time64("us"), safe=False)
    return column


class _Told:
    """Turns what pyarrow raises into one line."""

    def __init__(self, path: str, kind: str, what: str) -> None:
        self._path, self._kind, self._what = path, kind, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        import pyarrow

        if isinstance(error, FileNotFoundError):
            raise InputError(f"{self._path}: no such file") from None
        if isinstance(error, OSError | pyarrow.ArrowException | ValueError | OverflowError):
            why = " ".join((reason(error) if isinstance(error, Exception) else "").split())
            raise InputError(
                f"{self._path}: {self._what} ({why}), accepted: a {self._kind} file"
            ) from None
