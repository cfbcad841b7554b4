"""A small binary format in the manner of Avro, and its decoder, as a user would write one.

A value is a zero byte, four bytes of a schema's number, then zigzag varints and strings of such a
length: the id, the number of features with name and double each, the number of labels with names.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

SCHEMA = 42


def encode(event: str, x: Mapping[str, float], y: Iterable[str]) -> bytes:
    """The bytes of an event."""
    labels = list(y)
    parts = [struct.pack(">bI", 0, SCHEMA), _string(event), _long(len(x))]
    parts += [_string(name) + struct.pack("<d", value) for name, value in x.items()]
    parts += [_long(len(labels)), *map(_string, labels)]
    return b"".join(parts)


def decode(value: bytes) -> dict[str, Any]:
    """The event in `value`; the hook of the tests."""
    magic, schema = struct.unpack_from(">bI", value)
    if magic or schema != SCHEMA:
        raise ValueError(f"schema {schema}\nis unknown")
    reader = _Reader(value, 5)
    event = reader.string()
    x = {reader.string(): reader.double() for _ in range(reader.long())}
    return {"id": event, "x": x, "y": [reader.string() for _ in range(reader.long())]}


def returns_a_list(value: bytes) -> list[int]:
    """No event."""
    return list(value)


def returns_no_json(value: bytes) -> dict[str, Any]:
    """A dictionary with bytes in it."""
    return {"x": {"a": value}}


NO_FUNCTION = 7


def _long(number: int) -> bytes:
    rest = (number << 1) ^ (number >> 63)
    found = bytearray()
    while rest > 0x7F:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*found, rest])


def _string(text: str) -> bytes:
    data = text.encode()
    return _long(len(data)) + data


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def long(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)

    def string(self) -> str:
        length = self.long()
        self._at += length
        return self._data[self._at - length : self._at].decode()

    def double(self) -> float:
        self._at += 8
        found: float = struct.unpack_from("<d", self._data, self._at - 8)[0]
        return found
