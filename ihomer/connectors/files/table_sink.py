"""Predictions as a Parquet or Arrow file.

In: messages whose values are predictions as JSON. Out: a file that is whole when it is closed. It
is here because a long replay's predictions are read by data frames and warehouses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ihomer.connectors.base import Message, Sink
from ihomer.connectors.files.compression import compression_of
from ihomer.connectors.files.csv_predictions import prediction_fields
from ihomer.connectors.files.reader import STANDARD
from ihomer.connectors.files.table_file import TableFile
from ihomer.errors import UsageError

_ROWS = 8192


class TableSink(Sink):
    """Writes predictions to `path`, in groups of 8,192 rows.

    The columns are ``id`` (text), ``labels`` (list of text), ``scores`` (list of structs of label
    and score), ``version``, ``events`` and ``ts`` (text). The file can be read when it is closed,
    and not before: it is nothing for a daemon, and `flush` promises nothing more.

    Parameters
    ----------
    path
        A plain file.
    form
        ``"parquet"`` or ``"arrow"`` (the file format).

    Raises
    ------
    InputError
        The file cannot be created.
    UsageError
        pyarrow is not installed, or the path is compressed or standard output.
    """

    def __init__(self, path: str, form: str) -> None:
        self.name = path
        check_plain(path)
        self._rows: list[tuple[Any, ...]] = []
        self._file = TableFile(path, form, _schema)

    def write(self, messages: Sequence[Message]) -> None:
        """See `Sink.write`; values are predictions."""
        for message in messages:
            event, labels, scores, version, events, ts = prediction_fields(message)
            pairs = [{"label": label, "score": score} for label, score in scores or ()]
            text = None if ts is None else str(ts)
            self._rows.append((str(event), labels or [], pairs, version, events, text))
        if len(self._rows) >= _ROWS:
            self._push()

    def flush(self) -> None:
        """See `Sink.flush`; raises what has gone wrong by now."""

    def queued(self) -> tuple[int, int]:
        """See `Sink.queued`; bytes are not counted."""
        return len(self._rows), 0

    def _push(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self._file.write([list(column) for column in zip(*rows, strict=True)])

    def close(self) -> None:
        """See `Sink.close`."""
        try:
            self._push()
        finally:
            self._file.close()


def check_plain(path: str) -> None:
    """See that a table can be written there; raises `UsageError`."""
    suffix = compression_of(path)
    if path == STANDARD or suffix is not None:
        found = "standard output" if path == STANDARD else suffix
        raise UsageError(
            f"{path}: found {found} for a table, accepted: a plain file (Parquet and Arrow compress"
            " inside)"
        )


def _schema(pa: Any) -> Any:
    score = pa.struct([("label", pa.string()), ("score", pa.float64())])
    return pa.schema(
        [
            ("id", pa.string()),
            ("labels", pa.list_(pa.string())),
            ("scores", pa.list_(score)),
            ("version", pa.string()),
            ("events", pa.int64()),
            ("ts", pa.string()),
        ]
    )
