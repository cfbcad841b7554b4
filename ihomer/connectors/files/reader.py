"""Numbered lines of a file, a compressed file or standard input, with a place to come back to.

In: a path, or ``-``. Out: lines without their line ends, blank ones left out but counted. It is
here because JSON Lines and ARFF share everything below their syntax: bounded memory for a line
without end, a byte order mark, Windows line ends, damaged compression, resuming, and pipes that
must not block a daemon past its time-out.
"""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from ihomer.connectors.base import Position
from ihomer.connectors.files.compression import (
    COMPRESSIONS,
    compression_of,
    damages,
    decompress,
)
from ihomer.errors import InputError, UsageError

STANDARD = "-"
DEFAULT_MAX_LINE_BYTES = 16 << 20
OVERSIZED_HEAD_BYTES = 1 << 10

_CHUNK_BYTES = 1 << 18
_MARK = b"\xef\xbb\xbf"  # UTF-8 byte order mark


class Line(NamedTuple):
    """One line that is not blank.

    Attributes
    ----------
    number
        From 1, blank lines counted.
    text
        The bytes without line end; of an oversized line the first KiB.
    oversized
        Longer than the reader's bound.
    """

    number: int
    text: bytes
    oversized: bool


class WholeLine(NamedTuple):
    """One line with everything that was in it.

    Attributes
    ----------
    number
        From 1.
    text
        The bytes without the line feed, a carriage return included; of an oversized line the
        first KiB.
    size
        Bytes in the file, the line feed included.
    oversized
        Longer than the reader's bound.
    """

    number: int
    text: bytes
    size: int
    oversized: bool


_AnyLine = TypeVar("_AnyLine", Line, WholeLine)


class LineReader:
    """Reads lines in order and knows the place of the next one.

    Parameters
    ----------
    path
        A file, decompressed if its name ends in one of `COMPRESSIONS`; ``-`` is standard input. A
        named pipe is a file without an end.
    max_line_bytes
        Bound of a line's length in bytes; what is longer is never held in memory whole.

    Raises
    ------
    InputError
        The file cannot be opened.
    """

    def __init__(self, path: str, max_line_bytes: int = DEFAULT_MAX_LINE_BYTES) -> None:
        if max_line_bytes < 1:
            raise UsageError(f"max_line_bytes: found {max_line_bytes}, accepted: 1 or more")
        self.path = path
        self._max = max_line_bytes
        self._compression = None if path == STANDARD else compression_of(path)
        self._damages: tuple[type[Exception], ...] = (OSError, EOFError)
        if self._compression is not None:
            self._damages += damages(self._compression)
        self._open()

    def _open(self) -> None:
        self._file: BinaryIO | io.FileIO
        if self.path == STANDARD:
            if sys.stdin is None:  # a service started without one
                raise InputError(f"{STANDARD}: there is no standard input")
            self._file = sys.stdin.buffer
            self._read = _available(self._file)
        else:
            # Unbuffered: a read then returns what a pipe has instead of waiting for a full buffer.
            try:
                self._file = Path(self.path).open("rb", buffering=0)  # noqa: SIM115 (see close)
            except FileNotFoundError:
                raise InputError(f"{self.path}: no such file") from None
            except IsADirectoryError:
                raise InputError(f"{self.path}: found a folder, accepted: a file") from None
            except (OSError, ValueError) as error:
                raise InputError(f"{self.path}: cannot be read ({reason(error)})") from None
            if self._compression is not None:
                pieces = decompress(self._file, self._compression)
                self._read = lambda: next(pieces, b"")
            else:
                self._read = _available(self._file)
        regular = _is_regular(self._file)
        self._again = regular and self.path != STANDARD
        # Windows can wait for sockets only: a pipe blocks there.
        patient = regular or self._compression is not None or os.name == "nt"
        self._wait_for = None if patient else _descriptor(self._file)
        self._start(line=1, byte=0)

    def _start(self, line: int, byte: int) -> None:
        """Forget everything that was read ahead; the next line to come is `line`."""
        self._line, self._byte = line, byte
        self._lines: list[bytes] = []
        self._cursor = 0
        self._excess = 0  # bytes left out of the first of `_lines`
        self._line_end = 1  # bytes that end each of `_lines`
        self._held: list[bytes] = []  # the beginning of a line whose end has not been read
        self._held_bytes = 0
        self._held_excess = 0
        self._exhausted = False
        self._failure: InputError | None = None

    @property
    def ended(self) -> bool:
        """Whether every line has been returned; stays true."""
        return self._exhausted and self._cursor == len(self._lines)

    def take(self, count: int, timeout: float = 0.0) -> list[Line]:
        """Up to `count` lines; fewer only at the end, at damage, or when no more is there in time.

        Parameters
        ----------
        count
            At least 1.
        timeout
            Seconds to wait for the first line of a pipe. A file is read without a time-out.

        Raises
        ------
        InputError
            The file is damaged right here; lines before the damage were returned by earlier calls.
        """
        return self._take(count, timeout, self._pass)

    def take_whole(self, count: int, timeout: float = 0.0) -> list[WholeLine]:
        """As `take`, with blank lines and the lines' sizes, for records of several lines."""
        return self._take(count, timeout, self._pass_whole)

    def _take(
        self, count: int, timeout: float, step: Callable[[int], list[_AnyLine]]
    ) -> list[_AnyLine]:
        lines: list[_AnyLine] = []
        deadline = time.monotonic() + timeout if self._wait_for is not None else 0.0
        while len(lines) < count:
            if self._cursor == len(self._lines):
                if self._failure is not None:
                    if lines:
                        break
                    raise self._failure
                left = 0.0 if lines else max(0.0, deadline - time.monotonic())
                if self._exhausted or not self._fill(left):
                    break
                continue
            lines += step(count - len(lines))
        return lines

    def _pass(self, count: int) -> list[Line]:
        """Step over the next `count` lines at most that are in memory; those that are not blank."""
        raws = self._lines[self._cursor : self._cursor + count]
        number, excess, limit = self._line, 0 if self._cursor else self._excess, self._max
        self._cursor += len(raws)
        self._line += len(raws)
        self._byte += sum(map(len, raws)) + excess + len(raws) * self._line_end
        lines: list[Line] = []
        for text in raws:
            if text[-1:] == b"\r":
                text = text[:-1]
            if number == 1:
                text = text.removeprefix(_MARK)
            if excess or len(text) > limit:
                lines.append(Line(number, text[:OVERSIZED_HEAD_BYTES], oversized=True))
                excess = 0
            elif text and not text.isspace():
                lines.append(Line(number, text, oversized=False))
            number += 1
        return lines

    def _pass_whole(self, count: int) -> list[WholeLine]:
        """As `_pass`, all of them."""
        raws = self._lines[self._cursor : self._cursor + count]
        excess = 0 if self._cursor else self._excess
        lines: list[WholeLine] = []
        for number, text in enumerate(raws, self._line):
            size = len(text) + excess + self._line_end
            if number == 1:
                text = text.removeprefix(_MARK)
            oversized = excess > 0 or len(text.removesuffix(b"\r")) > self._max
            kept = text[:OVERSIZED_HEAD_BYTES] if oversized else text
            lines.append(WholeLine(number, kept, size, oversized))
            excess = 0
            self._byte += size
        self._cursor += len(raws)
        self._line += len(raws)
        return lines

    def _fill(self, timeout: float) -> bool:
        """Read once more; False: nothing came in time."""
        if self._wait_for is not None and not _readable(self._wait_for, timeout):
            return False
        try:
            data = self._read()
        except self._damages as error:
            name = COMPRESSIONS.get(self._compression or "")
            what = f"the {name} data is damaged" if name else "cannot be read"
            self._failure = InputError(f"{self.path}: line {self._line}: {what} ({reason(error)})")
            return True
        self._lines, self._cursor, self._excess = [], 0, 0
        if not data:
            self._exhausted = True
            self._line_end = 0
            if self._held_bytes:
                self._release()
            return True
        first, *others = data.split(b"\n")
        self._hold(first)
        if others:
            last = others.pop()
            self._release()
            self._lines += others
            self._hold(last)
        return True

    def _hold(self, piece: bytes) -> None:
        self._held_bytes += len(piece)
        if self._held_excess:
            self._held_excess += len(piece)
            return
        self._held.append(piece)
        if self._held_bytes > self._max + 1:  # one more: it may be the carriage return
            head = b"".join(self._held)[:OVERSIZED_HEAD_BYTES]
            self._held = [head]
            self._held_excess = self._held_bytes - len(head)

    def _release(self) -> None:
        self._lines = [b"".join(self._held)]
        self._excess = self._held_excess
        self._held, self._held_bytes, self._held_excess = [], 0, 0

    def position(self) -> Position:
        """Line number of the next line, and its byte offset where the file can be entered there."""
        position: Position = {"line": self._line}
        if self._again and self._compression is None:
            position["byte"] = self._byte
        return position

    def seek(self, position: Position) -> None:
        """Make the line at `position` the next one.

        A plain file is entered at the byte; a compressed file is read again from its start;
        standard input and pipes can only be skipped forward, so a fresh one must carry the same
        lines.

        Raises
        ------
        InputError
            There is no such line, or the position is none of a file.
        """
        line = self._whole(position, "line", 1)
        if self._again and self._compression is None and "byte" in position:
            self._enter(line, self._whole(position, "byte", 0))
            return
        if line < self._line:
            if not self._again:
                raise InputError(
                    f"{self.path}: line {line} is wanted again, but line {self._line - 1} of a pipe"
                    " has been read; accepted: a later line"
                )
            self.close()
            self._open()
        while self._line < line:
            if self._cursor < len(self._lines):
                self._pass(line - self._line)
            elif self._failure is not None:
                raise self._failure
            elif self._exhausted:
                raise InputError(
                    f"{self.path}: line {line} is wanted, but the file has {self._line - 1}"
                )
            else:
                self._fill(1.0)

    def _enter(self, line: int, byte: int) -> None:
        file = self._file
        size = file.seek(0, os.SEEK_END)
        before = b"\n"
        if 0 < byte <= size:
            file.seek(byte - 1)
            around = file.read(3)
            before = around[:1]
            if before != b"\n" and around[1:].removeprefix(b"\r")[:1] == b"\n":
                # What was a last line without line end has been ended since.
                before, byte = b"\n", byte + (around.index(b"\n"))
        # A last line without line end leaves the position at the end of the file, and nowhere else.
        if byte > size or (before != b"\n" and byte != size):
            raise InputError(
                f"{self.path}: byte {byte} is wanted as the start of line {line}, but"
                f" {f'the file has {size} bytes' if byte > size else 'no line starts there'};"
                " accepted: the file as it was, or with lines appended"
            )
        file.seek(byte)
        self._start(line, byte)

    def _whole(self, position: Position, key: str, least: int) -> int:
        value: Any = position.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(
                f"{self.path}: position: {key}: found {value!r}, accepted: an integer from {least}"
            )
        return value

    def close(self) -> None:
        """Let go of the file; standard input stays open, it is not ours."""
        if self.path != STANDARD:
            self._file.close()
        self._exhausted, self._lines, self._cursor = True, [], 0


def _available(file: Any) -> Callable[[], bytes]:
    """A function that returns some bytes as soon as there are any, none at the end."""
    if isinstance(file, io.FileIO):
        return lambda: file.read(_CHUNK_BYTES) or b""
    return lambda: file.read1(_CHUNK_BYTES)


def _descriptor(file: Any) -> int | None:
    """The file's number for the operating system; None: it lives in memory (an embedded run)."""
    try:
        return int(file.fileno())
    except (OSError, ValueError):
        return None


def _is_regular(file: Any) -> bool:
    number = _descriptor(file)
    return number is not None and stat.S_ISREG(os.fstat(number).st_mode)


def _readable(descriptor: int, timeout: float) -> bool:
    return bool(select.select([descriptor], [], [], timeout)[0])


def reason(error: Exception) -> str:
    """What the operating system or a decompressor says, without numbers and path around it."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
