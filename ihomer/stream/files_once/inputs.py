"""Whether the input is still the file that was read.

In: paths, and a source's position. Out: for each file how many of its bytes lie before the
position, and their checksum; after a restart a refusal if they are not the same any more. It is
here because a position in a file that was exchanged, or changed before it, means nothing.

The checksum is CRC-32, which can be continued where it was left; it finds mistakes, not forgeries.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from ihomer.connectors.base import Source
from ihomer.connectors.chain import Chain
from ihomer.connectors.files.reader import reason
from ihomer.errors import InputError

_PIECE = 1 << 20
_ACCEPTED = "accepted: the file as it was, or with lines appended, or --fresh to begin anew"


class Inputs:
    """Opens `paths` beside the source that reads them, and follows it.

    Parameters
    ----------
    paths
        In the order in which they are read.

    Raises
    ------
    InputError
        One cannot be opened.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = list(paths)
        self._files: list[int] = []
        self._done = [(0, 0) for _ in paths]  # bytes and checksum of each
        try:
            for path in paths:
                self._files.append(os.open(path, os.O_RDONLY))
        except OSError as error:
            self.close()
            missing = isinstance(error, FileNotFoundError)
            why = "no such file" if missing else f"cannot be read ({reason(error)})"
            raise InputError(f"{path}: {why}") from None
        # From before anything is read: who changes a file later leaves another.
        self._stamps = [_stamp(file) for file in self._files]

    def go_on(self, known: Sequence[Mapping[str, Any]]) -> None:
        """See that the files are those of an earlier `to_json`, which may have grown.

        A file that nobody has touched since it was opened then is believed; of others all that had
        been read is read again.

        Raises
        ------
        InputError
            One is shorter, has other bytes, or has grown though the next one was begun.
        """
        last = max((at for at, each in enumerate(known) if each["bytes"]), default=0)
        for at, each in enumerate(known):
            size, wanted = os.fstat(self._files[at]).st_size, each["bytes"]
            if size < wanted:
                self._refuse(at, f"{size} bytes where {wanted} had been read")
            if each["stamp"] != self._stamps[at] and (
                self._checksum(at, 0, wanted, 0) != each["crc32"]
            ):
                self._refuse(at, f"other bytes than before among the first {wanted}")
            if at < last and size > wanted:
                self._refuse(
                    at,
                    f"{size - wanted} bytes appended, but {self._paths[at + 1]} was begun",
                )
            self._done[at] = (wanted, each["crc32"])

    def advance(self, source: Source, position: Mapping[str, Any]) -> None:
        """Everything before `position`, which is the source's, has been done.

        Raises
        ------
        InputError
            A file was shortened while it was read.
        """
        ends = [position.get("byte", 0)]
        if isinstance(source, Chain):
            index = position["source"]
            before = [each.position()["byte"] for each in source.sources[:index]]
            ends = [*before, position["position"]["byte"]]
        for at, end in enumerate(ends):
            begin, value = self._done[at]
            if end > begin:
                self._done[at] = (end, self._checksum(at, begin, end, value))

    def _checksum(self, at: int, begin: int, end: int, value: int) -> int:
        while begin < end:
            try:
                piece = os.pread(self._files[at], min(_PIECE, end - begin), begin)
            except OSError as error:
                raise InputError(f"{self._paths[at]}: cannot be read ({reason(error)})") from None
            if not piece:
                self._refuse(at, f"{begin} bytes where {end} had been read")
            value = zlib.crc32(piece, value)
            begin += len(piece)
        return value

    def _refuse(self, at: int, found: str) -> None:
        raise InputError(f"{self._paths[at]}: found {found}, {_ACCEPTED}")

    def to_json(self) -> list[Mapping[str, Any]]:
        """What `go_on` takes."""
        return [
            {"path": path, "bytes": size, "crc32": value, "stamp": stamp}
            for path, (size, value), stamp in zip(
                self._paths, self._done, self._stamps, strict=True
            )
        ]

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            os.close(file)
        self._files.clear()


def declared(source: Source) -> int:
    """A checksum of the names that a source declares, of which some may stand in other files."""
    names = "\0\0".join("\0".join(each) for each in (source.labels, source.features))
    return zlib.crc32(names.encode("utf-8", "surrogatepass"))


def _stamp(file: int) -> list[int]:
    """What differs as soon as somebody writes to a file or puts another in its place."""
    found = os.fstat(file)
    return [found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns]
