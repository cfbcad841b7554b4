"""gzip data as bounded pieces of plain bytes, as far as a damaged file can be read.

In: an open binary file. Out: pieces of its decompressed content. It is here because the standard
library's reader drops up to a buffer of good data in front of the damage; this one hands out
every byte that can be decompressed before it raises.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

_READ_BYTES = 1 << 16
_PIECE_BYTES = 1 << 18  # a bomb of zeros stays this small in memory
_GZIP = 31  # zlib's code for the gzip container with the largest window


class Readable(Protocol):
    """What can be read from."""

    def read(self, size: int, /) -> bytes | None:
        """Up to `size` bytes, none at the end."""


def inflate(file: Readable) -> Iterator[bytes]:
    """Decompressed pieces of `file`, which may hold several gzip members and trailing zeros.

    Parameters
    ----------
    file
        Open for reading bytes, at its start.

    Yields
    ------
    bytes
        At least 1 and at most 256 KiB.

    Raises
    ------
    EOFError
        The file ends in the middle of a member; everything before was yielded.
    zlib.error
        The data is damaged or no gzip data; everything before was yielded.

    Examples
    --------
    >>> import gzip, io
    >>> list(inflate(io.BytesIO(gzip.compress(b"one") + gzip.compress(b"two"))))
    [b'one', b'two']
    """
    decoder = zlib.decompressobj(wbits=_GZIP)
    data = b""
    while True:
        data = data or file.read(_READ_BYTES) or b""
        if not data:
            yield from _some(decoder.flush())
            if not decoder.eof:
                raise EOFError("it ends in the middle of the compressed data")
            return
        if decoder.eof:
            data = data.lstrip(b"\0")  # tapes and some archivers pad with zeros
            if not data:
                continue
            decoder = zlib.decompressobj(wbits=_GZIP)
        before = decoder.copy()
        try:
            piece = decoder.decompress(data, _PIECE_BYTES)
        except zlib.error:
            yield from _salvage(before, data)
            raise
        yield from _some(piece)
        data = decoder.unused_data if decoder.eof else decoder.unconsumed_tail


def _salvage(decoder: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """What comes out before the damage: zlib keeps back a call's output when the call fails."""
    for at in range(len(data)):
        try:
            piece = decoder.decompress(data[at : at + 1])
        except zlib.error:
            return
        yield from _some(piece)


def _some(piece: bytes) -> Iterator[bytes]:
    if piece:
        yield piece
