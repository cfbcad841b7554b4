"""A Parquet or Arrow file that is being written.

In: columns of plain values, piece by piece. Out: a file, whole when it is closed. It is here
because predictions and events are written to such files in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ihomer.connectors.files.reader import reason
from ihomer.connectors.files.table_source import require_pyarrow
from ihomer.errors import InputError


class TableFile:
    """Opens `path` for writing, replacing what was there.

    Parameters
    ----------
    path
        A plain file.
    form
        ``"parquet"``, or ``"arrow"`` for Arrow's file format, both compressed inside by zstd.
    schema
        Makes the schema, given the package.

    Raises
    ------
    InputError
        The file cannot be created.
    UsageError
        pyarrow is not installed.
    """

    def __init__(self, path: str, form: str, schema: Callable[[Any], Any]) -> None:
        self._pyarrow = pa = require_pyarrow(path)
        self._path = path
        self._schema = schema(pa)
        try:
            self._file = Path(path).open("wb")  # noqa: SIM115 (see close)
        except FileNotFoundError:
            raise InputError(
                f"{path}: cannot be written (the folder {Path(path).parent} does not exist)"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be written ({reason(error)})") from None
        if form == "parquet":
            from pyarrow import parquet

            self._writer: Any = parquet.ParquetWriter(self._file, self._schema, compression="zstd")
        else:
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            self._writer = pa.ipc.new_file(self._file, self._schema, options=options)

    def write(self, columns: Sequence[Sequence[Any]]) -> None:
        """Add a piece, all columns of one length; raises `InputError`."""
        pa = self._pyarrow
        arrays = [
            pa.array(values, field.type)
            for values, field in zip(columns, self._schema, strict=True)
        ]
        try:
            self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        except OSError as error:
            raise self._refused(error) from None

    def close(self) -> None:
        """End the file and let go of it; may be called twice."""
        if self._file.closed:
            return
        try:
            self._writer.close()
        except OSError as error:
            raise self._refused(error) from None
        finally:
            self._file.close()

    def _refused(self, error: OSError) -> InputError:
        return InputError(f"{self._path}: cannot be written ({reason(error)})")
