"""Messages as lines, JSON unless told otherwise, to a file, a compressed one or standard output.

In: messages. Out: one line for each, whole lines only. It is here so that predictions and dead
letters can be kept, read and replayed without a broker.

A message that has no JSON of its own is written inside an envelope, one object a line: ``value``
and ``key`` (base64 or null), ``headers`` (object of text; of equal names the last),
``timestamp`` (epoch milliseconds or null). Where that object cannot say what the headers were,
because a name stands twice or bytes are no UTF-8, ``header_bytes`` is a list of [name, base64].
"""

from __future__ import annotations

import base64
import contextlib
import os
import stat
import sys
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson

from ihomer.connectors.base import Message, Sink
from ihomer.connectors.files.compression import Compressor, compression_of
from ihomer.connectors.files.reader import STANDARD, reason
from ihomer.errors import InputError, UsageError

_PUSH_BYTES = 1 << 18


class FileSink(Sink):
    """Writes messages to `path`, one line each.

    `flush` hands everything to the operating system, so it survives the death of this process,
    though not a power cut; `close` also waits for the disk (fsync). With `append`, the daemon's
    mode, every `flush` waits for the disk, because the daemon then commits the offsets.

    When the file system refuses (no space left, say) the file is cut back to its last whole line,
    a compressed file to what it was before the call, and the sink stays failed: every later call
    raises the same error.

    Parameters
    ----------
    path
        ``-`` is standard output; a name that ends in one of `COMPRESSIONS` is compressed.
    append
        Add to an existing file instead of replacing it. A last line without line end, left by a
        crash of some other writer, is ended first. Not possible with a compressed file, where a
        crash would make unreadable what is added after it.
    envelope
        Write the message's parts as an object (see the module) instead of its value.
    form
        Makes a line, without its end, of a message; None: its value as it is, JSON.
    head
        A first line, which a file gets that is empty when it is opened; None: none.

    Raises
    ------
    InputError
        The file cannot be created.
    UsageError
        `append` with a compressed file.
    """

    def __init__(
        self,
        path: str,
        *,
        append: bool = False,
        envelope: bool = False,
        form: Callable[[Message], bytes] | None = None,
        head: bytes | None = None,
    ) -> None:
        self.name = path
        self._form = _enveloped if envelope else form or _plain
        suffix = None if path == STANDARD else compression_of(path)
        self._compressor = None if suffix is None else Compressor(suffix)
        if append and suffix is not None:
            raise UsageError(
                f"{path}: found {suffix} for a file that is appended to, accepted: a name without"
                f" {suffix}"
            )
        self._append = append
        self._lines: list[bytes] = []
        self._bytes = 0
        self._failure: InputError | None = None
        self._closed = False
        torn = append and path != STANDARD and _is_torn(path)
        self._descriptor = _standard_output() if path == STANDARD else self._open()
        # Standard output may be a file too, but what was in it before is not ours to cut or sync.
        self._regular = (
            path != STANDARD
            and self._descriptor is not None
            and stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        )
        if torn:
            self._push(b"\n", [])
        # In the file before anything is known of its length, so that no cut takes it away.
        if head is not None and not (append and self._regular and self._size()):
            self._lines.append(head)
            self._bytes += len(head) + 1
            self._push_lines()

    def _size(self) -> int:
        return os.fstat(self._descriptor or 0).st_size

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if self._append else os.O_TRUNC)
        flags |= getattr(os, "O_BINARY", 0)  # Windows only
        try:
            return os.open(self.name, flags, 0o666)
        except FileNotFoundError:
            folder = Path(self.name).parent
            raise InputError(
                f"{self.name}: cannot be written (the folder {folder} does not exist)"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(f"{self.name}: cannot be written ({reason(error)})") from None

    def write(self, messages: Sequence[Message]) -> None:
        """See `Sink.write`; the value of a message without envelope is one line of JSON."""
        self._check()
        for message in messages:
            line = self._form(message)
            self._lines.append(line)
            self._bytes += len(line) + 1
        if self._bytes >= _PUSH_BYTES:
            self._push_lines()

    def flush(self) -> None:
        """See `Sink.flush`."""
        self._check()
        self._push_lines()
        if self._compressor is not None:
            self._push(self._compressor.flush(), [])
        if self._append:
            self._sync()

    def queued(self) -> tuple[int, int]:
        """See `Sink.queued`; what the file system has is not counted."""
        return len(self._lines), self._bytes

    def length(self) -> int:
        """Bytes of a plain file, with those that have not been handed over yet."""
        self._check()
        return self._size() + self._bytes

    def cut(self, length: int) -> None:
        """Cut a plain file, of which all has been flushed, to a `length` that it had."""
        self._check()
        try:
            os.ftruncate(self._descriptor or 0, length)
        except OSError as error:
            raise self._failed(error) from None
        self._sync()

    def close(self) -> None:
        """See `Sink.close`; after a failure it only lets go."""
        if self._closed:
            return
        try:
            if self._failure is None:
                self._push_lines()
                if self._compressor is not None:
                    self._push(self._compressor.finish(), [])
                self._sync()
        finally:
            self._closed = True
            if self._descriptor is not None and self.name != STANDARD:
                os.close(self._descriptor)

    def _check(self) -> None:
        if self._closed:
            raise ValueError(f"{self.name}: the sink is closed")
        if self._failure is not None:
            raise self._failure

    def _push_lines(self) -> None:
        if not self._lines:
            return
        ends = list(accumulate(len(line) + 1 for line in self._lines))
        self._lines.append(b"")
        data = b"\n".join(self._lines)
        self._lines, self._bytes = [], 0
        if self._compressor is None:
            self._push(data, ends)
        else:
            self._push(self._compressor.compress(data), [])

    def _push(self, data: bytes, ends: list[int]) -> None:
        """Hand `data` to the operating system: all of it, or up to one of its `ends`, or none."""
        written = 0
        try:
            if self._descriptor is None:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
                return
            view = memoryview(data)
            while written < len(data):
                written += os.write(self._descriptor, view[written:])
        except OSError as error:
            self._cut_back(written, ends)
            raise self._failed(error) from None

    def _cut_back(self, written: int, ends: list[int]) -> None:
        whole = max((end for end in ends if end <= written), default=0)
        if self._descriptor is None or not self._regular or whole == written:
            return
        # If even this fails, the first failure is still the one to tell.
        with contextlib.suppress(OSError):
            size = os.fstat(self._descriptor).st_size
            os.ftruncate(self._descriptor, size - (written - whole))

    def _sync(self) -> None:
        if self._descriptor is None or not self._regular:
            return
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> InputError:
        self._failure = InputError(f"{self.name}: cannot be written ({reason(error)})")
        return self._failure


def _plain(message: Message) -> bytes:
    value = b"null" if message.value is None else message.value
    if b"\n" in value:
        raise ValueError("a message with a line end in its value needs an envelope")
    return value


def _enveloped(message: Message) -> bytes:
    # Headers are text by convention only; other bytes stay recognisable.
    headers = {
        name: content.decode("utf-8", "backslashreplace") for name, content in message.headers
    }
    body: dict[str, Any] = {
        "value": _base64(message.value),
        "key": _base64(message.key),
        "headers": headers,
        "timestamp": message.timestamp,
    }
    if tuple((name, text.encode()) for name, text in headers.items()) != message.headers:
        body["header_bytes"] = [(name, _base64(content)) for name, content in message.headers]
    return orjson.dumps(body)


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")


def _standard_output() -> int | None:
    """Standard output's number; None: it lives in memory (an embedded run)."""
    if sys.stdout is None:  # a service started without one
        raise InputError(f"{STANDARD}: there is no standard output")
    try:
        sys.stdout.flush()  # what was printed before comes before
        return sys.stdout.fileno()
    except (OSError, ValueError):
        return None


def _is_torn(path: str) -> bool:
    """Whether `path` is a file whose last line has no line end."""
    try:
        if not Path(path).is_file():
            return False
        with Path(path).open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be written ({reason(error)})") from None
