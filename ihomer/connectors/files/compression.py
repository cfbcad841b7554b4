"""Compressed files by the last part of their name: ``.gz``, ``.bz2``, ``.xz``, ``.zst``.

In: an open binary file, or pieces of bytes. Out: bounded pieces of its plain bytes; in the other
direction compressed ones. It is here so that readers and sinks need not know which compression
they have; what gzip needs beside that is in `inflate`.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from ihomer.connectors.files.inflate import Readable, inflate

COMPRESSIONS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
"""What the last part of a file's name says, in lower case, and the name of the compression."""

# Of what comes out at once: a bomb of zeros stays this small in memory.
_PIECE_BYTES = 1 << 18
# Of what goes in at once. A call that fails keeps back what it had made of its input.
_READ_BYTES = 1 << 12
# A window as large as that of the strongest usual settings; a file may ask for 4 GiB.
_WINDOW_LOG = 27
_XZ_BYTES = (1 << _WINDOW_LOG) + (1 << 24)
_GZIP = 31  # zlib's code for the gzip container with the largest window


def compression_of(path: str) -> str | None:
    """The suffix in `COMPRESSIONS` that the name ends in, if any.

    >>> compression_of("a.jsonl.GZ"), compression_of("a.jsonl")
    ('.gz', None)
    """
    name = path.lower()
    return next((suffix for suffix in COMPRESSIONS if name.endswith(suffix)), None)


def plain_name(path: str) -> str:
    """`path` without its compression's suffix.

    >>> plain_name("a.jsonl.zst"), plain_name("a.csv")
    ('a.jsonl', 'a.csv')
    """
    return path[: len(path) - len(compression_of(path) or "")]


def decompress(file: Readable, suffix: str) -> Iterator[bytes]:
    """Decompressed pieces of `file`, which may hold several members and trailing zeros.

    Parameters
    ----------
    file
        Open for reading bytes, at its start.
    suffix
        A key of `COMPRESSIONS`.

    Yields
    ------
    bytes
        At least 1 and at most 256 KiB.

    Raises
    ------
    EOFError
        The file ends in the middle of a member; everything before was yielded.
    Exception
        One of `damages`: the data is damaged or none of this compression, or wants more than
        about 128 MiB of memory. Everything before was yielded, except for what the last 4 KiB of
        the file before the damage hold (of gzip nothing is kept back).

    Examples
    --------
    >>> import io
    >>> list(decompress(io.BytesIO(bz2.compress(b"one") + bz2.compress(b"two")), ".bz2"))
    [b'one', b'two']
    """
    if suffix == ".gz":
        yield from inflate(file)
        return
    make = _decoders(suffix)
    decoder, data = make(), b""
    while True:
        hungry = decoder.needs_input or decoder.eof
        if hungry and not data:
            data = file.read(_READ_BYTES) or b""
            if not data:
                if not decoder.eof:
                    raise EOFError("it ends in the middle of the compressed data")
                return
        if decoder.eof:
            data = data.lstrip(b"\0")  # padding, as xz has it between and behind its streams
            if not data:
                continue
            decoder = make()
        piece = decoder.decompress(data, _PIECE_BYTES)
        data = decoder.unused_data if decoder.eof else b""
        if piece:
            yield piece


def damages(suffix: str) -> tuple[type[Exception], ...]:
    """What `decompress` raises where the data of this compression is damaged."""
    if suffix == ".gz":
        return (zlib.error,)
    if suffix == ".zst":
        return (_zstd().ZstdError,)
    return (lzma.LZMAError,) if suffix == ".xz" else (OSError,)


class Compressor:
    """Compresses what is written to a file.

    Parameters
    ----------
    suffix
        A key of `COMPRESSIONS`.
    """

    def __init__(self, suffix: str) -> None:
        self._make = _encoders(suffix)
        self._encoder: Any = self._make()
        self._sync = {".gz": zlib.Z_SYNC_FLUSH}.get(suffix)
        if suffix == ".zst":
            self._sync = _zstd().ZstdCompressor.FLUSH_BLOCK
        self._begun = True  # an empty file has one empty member
        self._dirty = False

    def compress(self, data: bytes) -> bytes:
        """What can be written by now."""
        if not self._begun:
            self._encoder, self._begun = self._make(), True
        self._dirty = True
        found: bytes = self._encoder.compress(data)
        return found

    def flush(self) -> bytes:
        """What makes everything before readable; bzip2 and xz end a member for that."""
        if not self._dirty:
            return b""
        self._dirty = False
        if self._sync is None:
            return self.finish()
        found: bytes = self._encoder.flush(self._sync)
        return found

    def finish(self) -> bytes:
        """What ends the file."""
        if not self._begun:
            return b""
        self._begun = self._dirty = False
        found: bytes = self._encoder.flush()
        return found


def _decoders(suffix: str) -> Callable[[], Any]:
    if suffix == ".bz2":
        return bz2.BZ2Decompressor
    if suffix == ".xz":
        return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_BYTES)
    zstd = _zstd()
    options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    return lambda: zstd.ZstdDecompressor(options=options)


def _encoders(suffix: str) -> Callable[[], Any]:
    if suffix == ".gz":
        return lambda: zlib.compressobj(wbits=_GZIP)
    if suffix == ".bz2":
        return bz2.BZ2Compressor
    if suffix == ".xz":
        return lzma.LZMACompressor
    zstd = _zstd()
    options = {zstd.CompressionParameter.checksum_flag: 1}  # the others have one by themselves
    return lambda: zstd.ZstdCompressor(options=options)


def _zstd() -> Any:
    """Python's module, which older ones have as a package; only who needs it waits for it."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
