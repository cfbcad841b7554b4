"""The file of the arrays, in the safetensors format: anybody can read it, and it is never executed.

In: arrays' bytes. Out: a file of a header in JSON (names, types, shapes, places) and the bytes, one
array after the other. On the way back everything that the header says is checked against the size
of the file before room is made for a single array. Large arrays begin at multiples of 64 bytes,
behind entries called ``N.room``, so that kernels can work on the file itself, mapped into memory.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import orjson

from ihomer.state.capture import Capture
from ihomer.state.faults import CheckpointError

_NAMES = {
    "|b1": "BOOL", "|i1": "I8", "|u1": "U8", "<i2": "I16", "<u2": "U16", "<i4": "I32",
    "<u4": "U32", "<i8": "I64", "<u8": "U64", "<f2": "F16", "<f4": "F32", "<f8": "F64",
}  # fmt: skip
_TYPES = {name: np.dtype(code) for code, name in _NAMES.items()}
_MOST_HEADER = 1 << 30
_PIECE = 1 << 20
_LARGE = 4096  # bytes from which an array is aligned
_LINE = 64  # bytes to which


def pieces(capture: Capture) -> Iterator[bytes | memoryview]:
    """The file's content, in order, in pieces of at most 1 MB or so."""
    header: dict[str, Any] = {}
    end = 0
    for number, tensor in enumerate(capture.tensors):
        room = _room(tensor.nbytes, end)
        if room:
            header[f"{number}.room"] = {
                "dtype": "U8",
                "shape": [room],
                "data_offsets": [end, end + room],
            }
        start, end = end + room, end + room + tensor.nbytes
        header[str(number)] = {
            "dtype": _NAMES[tensor.dtype.str],
            "shape": tensor.shape,
            "data_offsets": [start, end],
        }
    text = orjson.dumps(header)
    text += b" " * (-(8 + len(text)) % _LINE)
    yield len(text).to_bytes(8, "little") + text
    small: list[bytes | memoryview] = []
    waiting = end = 0
    for tensor in capture.tensors:
        data = capture.bytes_of(tensor)
        room = _room(tensor.nbytes, end)
        if room:
            small.append(bytes(room))
            waiting += room
        end += room + tensor.nbytes
        if waiting and waiting + len(data) > _PIECE:
            yield b"".join(small)
            small, waiting = [], 0
        if len(data) < _PIECE:
            small.append(data)
            waiting += len(data)
            continue
        for start in range(0, len(data), _PIECE):
            yield data[start : start + _PIECE]
    yield b"".join(small)


def _room(size: int, at: int) -> int:
    """Bytes to leave out before an array of `size` bytes that would begin at `at`."""
    return -at % _LINE if size >= _LARGE else 0


def read(
    file: BinaryIO, size: int, place: str, see: Callable[[Any], None]
) -> list[npt.NDArray[Any]]:
    """The arrays of a file.

    Parameters
    ----------
    file
        At its beginning.
    size
        Of the file, in bytes; there is room for that in memory.
    place
        For messages: the file.
    see
        Given every byte of it, in order, for the checksum.

    Raises
    ------
    CheckpointError
        The header is not one, or does not fit the file.
    """
    shapes, _ = _header(file, size, place, see)
    found = []
    at = 0
    for dtype, shape, start in shapes:
        see(file.read(start - at))
        values = aligned(dtype, shape)
        at = start + values.nbytes
        room = values.reshape(-1).view(np.uint8).data if values.size else memoryview(b"")
        for start in range(0, len(room), _PIECE):
            part = room[start : start + _PIECE]
            if file.readinto(part) != len(part):  # type: ignore[attr-defined]
                raise CheckpointError(place, "an end in the midst of an array", "all of it")
            see(part)
        found.append(values)
    return found


def mapped(
    file: BinaryIO, size: int, place: str, see: Callable[[Any], None]
) -> list[npt.NDArray[Any]]:
    """The arrays of a file, large ones in place: their pages are shared with whoever maps it, too.

    The mapping is private: what is written to an array is a copy of that page in this process,
    and never reaches the file. Small arrays, and large ones of files that were not aligned yet,
    are copied. For the parameters see `read`.

    Raises
    ------
    CheckpointError
        See `read`.
    """
    shapes, begin = _header(file, size, place, see)
    if size == begin:
        return [aligned(dtype, shape) for dtype, shape, _ in shapes]
    memory = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
    whole: npt.NDArray[np.uint8] = np.frombuffer(memory, dtype=np.uint8)
    for at in range(begin, size, _PIECE):
        see(whole[at : at + _PIECE].data)
    found = []
    for dtype, shape, start in shapes:
        length = math.prod(shape) * dtype.itemsize
        part = whole[begin + start : begin + start + length]
        if length >= _LARGE and (begin + start) % _LINE == 0:
            found.append(part.view(dtype).reshape(shape))
            continue
        values = aligned(dtype, shape)
        values.reshape(-1).view(np.uint8)[:] = part
        found.append(values)
    return found


def _header(
    file: BinaryIO, size: int, place: str, see: Callable[[Any], None]
) -> tuple[list[tuple[np.dtype[Any], tuple[int, ...], int]], int]:
    """Type, shape and place behind the header of each array, and where the header ends."""
    first = file.read(8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > min(_MOST_HEADER, size - 8):
        raise CheckpointError(place, f"a header of {length} bytes in {size}", "one that fits")
    text = file.read(length)
    see(first)
    see(text)
    try:
        return _shapes(orjson.loads(text), size - 8 - length), 8 + length
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            place, f"a header that is wrong ({error})"[:300], "safetensors"
        ) from None


def aligned(dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Room for an array that begins at a multiple of 64 bytes, as kernels like it."""
    size = math.prod(shape) * dtype.itemsize
    if size < 4096:
        return np.empty(shape, dtype=dtype)
    piece = np.empty(size + 64, dtype=np.uint8)
    at = -piece.__array_interface__["data"][0] % 64
    return piece[at : at + size].view(dtype).reshape(shape)


def _shapes(
    header: dict[str, dict[str, Any]], room: int
) -> list[tuple[np.dtype[Any], tuple[int, ...], int]]:
    found: list[tuple[np.dtype[Any], tuple[int, ...], int]] = []
    end = 0
    for name, told in header.items():
        dtype, shape, (start, stop) = _TYPES[told["dtype"]], told["shape"], told["data_offsets"]
        whole = all(type(each) is int and each >= 0 for each in (*shape, start, stop))
        number = str(len(found))
        left_out = name == f"{number}.room"
        if not (left_out or name == number) or start != end or not whole or len(shape) > 32:
            raise ValueError(f"array {len(found)} at {start}")
        end = stop
        if math.prod(shape) * dtype.itemsize != stop - start or end > room:
            raise ValueError(f"array {number}: {told['dtype']} {shape} in {stop - start} bytes")
        if not left_out:
            found.append((dtype, tuple(shape), start))
        elif stop - start >= _LINE:
            raise ValueError(f"{stop - start} bytes left out")
    if end != room:
        raise ValueError(f"{end} bytes of arrays in {room}")
    return found
