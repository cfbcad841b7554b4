"""The files that are written: looked at, cut, put away; and the gate before each.

In: paths, and the lengths that a position file has. Out: files that hold what is done and nothing
else. It is here because after a crash they hold more: what was written and not yet done.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import structlog

from ihomer import faults
from ihomer.connectors.base import Message, Sink
from ihomer.connectors.files.reader import reason
from ihomer.connectors.files.sink import FileSink
from ihomer.errors import InputError
from ihomer.state.folder import sync_folder

log = structlog.get_logger("ihomer")

_MOST_NAMES = 10_000


class Gate(Sink):
    """A file sink that lets nothing through while it is shut.

    Parameters
    ----------
    sink
        Where messages go.

    Attributes
    ----------
    open
        Whether they do; a replay's have been written before.
    """

    def __init__(self, sink: FileSink) -> None:
        self.name = sink.name
        self.open = True
        self._sink = sink

    @property
    def path(self) -> str:
        """Of the file, however it is reached."""
        return os.path.realpath(self._sink.name)

    def write(self, messages: Sequence[Message]) -> None:
        """See `Sink.write`."""
        if self.open:
            self._sink.write(messages)

    def flush(self) -> None:
        """See `Sink.flush`."""
        self._sink.flush()

    def queued(self) -> tuple[int, int]:
        """See `Sink.queued`."""
        return self._sink.queued()

    def length(self) -> int:
        """Bytes of the file, those included that have not been handed over yet."""
        return self._sink.length()

    def cut(self, length: int) -> None:
        """Cut the file to a length that it had; everything has been flushed."""
        self._sink.cut(length)

    def close(self) -> None:
        """See `Sink.close`."""
        self._sink.close()


def check(lengths: Mapping[str, int], paths: Iterable[str], *, ended: bool) -> None:
    """See that outputs can be cut to what a position file says of them.

    Parameters
    ----------
    lengths
        In bytes, by path.
    paths
        Those that are written now; of others nothing is asked.
    ended
        The daemon had ended in order, so none can have become longer by it.

    Raises
    ------
    InputError
        One is missing or shorter, or longer where it must not be.
    """
    for path in paths:
        wanted = lengths.get(os.path.realpath(path))
        if wanted is None:
            continue
        size = _size(path)
        if size is None and wanted:
            raise InputError(
                f"{path}: found no such file, accepted: the one that {wanted} bytes were written"
                " to, another name for the output (with app set), or --fresh to begin anew"
            )
        if size is not None and size < wanted:
            raise InputError(
                f"{path}: found {size} bytes where {wanted} had been written, accepted: the file as"
                " it was, another name for the output (with app set), or --fresh to begin anew"
            )
        if size is not None and size > wanted and ended:
            raise InputError(
                f"{path}: found {size} bytes where {wanted} had been written: somebody has added to"
                " it, accepted: the file as it was, another name for the output (with app set), or"
                " --fresh to begin anew"
            )


def cut(lengths: Mapping[str, int]) -> None:
    """Cut every file to its length; those that are missing or shorter are left alone.

    Raises
    ------
    InputError
        The file system does not let us.
    """
    faults.reach("before-cut")
    for path, length in lengths.items():
        size = _size(path)
        if size is None or size <= length:
            continue
        try:
            with Path(path).open("r+b") as file:
                file.truncate(length)
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({reason(error)})") from None
        log.info("output cut to what was done", path=path, bytes=length, cut=size - length)
        faults.reach("mid-cut")


def put_away(paths: Iterable[str]) -> None:
    """Give files that hold anything another name, the path with a number behind it.

    Raises
    ------
    InputError
        The file system does not let us.
    """
    for given in paths:
        path = Path(os.path.realpath(given))
        if not _size(str(path)):
            continue
        for number in range(1, _MOST_NAMES):
            aside = path.with_name(f"{path.name}.{number}")
            if not os.path.lexists(aside):
                break
        else:
            raise InputError(f"{given}: found {_MOST_NAMES - 1} files put away, accepted: fewer")
        try:
            path.rename(aside)
            sync_folder(path.parent)
        except OSError as error:
            raise InputError(f"{given}: cannot be renamed ({reason(error)})") from None
        log.info("output of before put away", path=given, now=str(aside))


def sync_folders(paths: Iterable[str]) -> None:
    """Have the names of new files on the disk."""
    for folder in {Path(os.path.realpath(path)).parent for path in paths}:
        sync_folder(folder)


def _size(path: str) -> int | None:
    """Bytes of a file; None: there is none."""
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from None
