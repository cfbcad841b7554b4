"""What was captured as JSON: everything but the arrays, which it refers to by number.

In: a `Capture`. Out: bytes of one JSON object::

    {"nodes": [...], "classes": [...], "roots": {name: value}}

A value is a JSON scalar, ``[n]`` for node n, or a list that begins with a letter: ``i`` a large
integer, ``f`` a float that is not finite, ``s`` a string that is not Unicode, ``b`` bytes, ``n`` a
numpy scalar, ``t`` a tuple, ``N`` a named tuple, ``F`` a frozen set, ``e`` a member of an
enumeration, ``o`` an object that never changes. A node is a list that begins with its kind.
Sets are sorted, mappings keep their order, floats are written so that they are read bit for bit.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from math import isfinite
from types import NoneType
from typing import Any

import numpy as np
import orjson

from ihomer.state.capture import Capture, Node, Ref
from ihomer.state.classes import FROZEN, fields_of, name_of

_PLAIN: set[type] = {NoneType, bool, int, str}
_PIECE = 1 << 12  # values written at once: the interpreter lock is held so long
_WRITTEN = 1 << 16  # bytes written at once
_WORD = 1 << 63


def encode(capture: Capture) -> bytes:
    """The skeleton of what was captured."""
    return b"".join(pieces(capture))


def pieces(capture: Capture) -> Iterator[bytes]:
    """The same in pieces, so that the interpreter is free now and then while they are written."""
    waiting: list[bytes] = []
    size = 0
    for part in _Writer().write(capture):
        waiting.append(part)
        size += len(part)
        if size > _WRITTEN:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


class _Writer:
    def __init__(self) -> None:
        self._classes: dict[type, int] = {}

    def write(self, capture: Capture) -> Iterator[bytes]:
        comma = b'{"nodes":['
        for node in capture.nodes:
            yield comma
            yield from self._node(node)
            comma = b",\n"
        yield b"],\n" if capture.nodes else b'{"nodes":[],\n'
        roots = {name: self._value(root) for name, root in capture.roots.items()}
        classes = [[name_of(cls), fields_of(cls)] for cls in self._classes]
        yield b'"classes":' + orjson.dumps(classes) + b',\n"roots":' + orjson.dumps(roots) + b"}\n"

    def _class(self, cls: type) -> int:
        return self._classes.setdefault(cls, len(self._classes))

    def _node(self, node: Node) -> Iterator[bytes]:
        kind, cls, data = node
        if kind in ("list", "tuple", "plain"):
            yield from self._framed([kind], data)
        elif kind == "named":
            assert cls is not None  # noqa: S101 - of these it is known
            yield from self._framed([kind, self._class(cls)], data)
        elif kind == "set":
            yield from self._framed([kind], self._sorted(data))
        elif kind == "deque":
            yield from self._framed([kind, data[0]], data[1])
        elif kind == "dict":
            yield b'["dict",' + orjson.dumps(data[0]) + b"," + orjson.dumps(data[1]) + b",["
            yield from self._values(list(data[2]))
            yield b"],["
            yield from self._values(list(data[2].values()))
            yield b"]]"
        elif kind == "object":
            assert cls is not None  # noqa: S101 - of these it is known
            state = {name: self._value(each) for name, each in data.items()}
            yield orjson.dumps([kind, self._class(cls), state])
        elif kind == "state":
            assert cls is not None  # noqa: S101 - of these it is known
            yield orjson.dumps([kind, self._class(cls), self._value(data)])
        elif kind == "view":
            piece, offset, dtype, shape, strides, fixed = data
            yield orjson.dumps([kind, piece, offset, dtype.str, shape, strides, fixed])
        elif kind == "bytearray":
            yield orjson.dumps([kind, data])
        elif kind == "method":
            yield orjson.dumps([kind, self._value(data[0]), data[1]])
        else:  # array, pyarray
            yield orjson.dumps([kind, *data])

    def _framed(self, head: list[Any], values: Sequence[Any]) -> Iterator[bytes]:
        yield orjson.dumps(head)[:-1] + b",["
        yield from self._values(values)
        yield b"]]"

    def _values(self, values: Sequence[Any]) -> Iterator[bytes]:
        """Values with commas between them."""
        for start in range(0, len(values), _PIECE):
            part = values[start : start + _PIECE]
            if start:
                yield b","
            yield self._dumped(part)[1:-1]

    def _dumped(self, part: Sequence[Any]) -> bytes:
        if _PLAIN.issuperset(map(type, part)):
            try:
                return orjson.dumps(part)
            except TypeError:  # a large integer, or a string that is not Unicode
                pass
        return orjson.dumps([self._value(each) for each in part])

    def _sorted(self, values: Iterable[Any]) -> list[Any]:
        return sorted(values, key=lambda each: orjson.dumps(self._value(each)))

    def _value(self, value: Any) -> Any:
        cls = type(value)
        if cls is str:
            try:
                value.encode()
            except UnicodeEncodeError:
                return ["s", value.encode("utf-8", "surrogatepass").hex()]
            return value
        if value is None or cls is bool:
            return value
        if cls is int:
            return value if -_WORD <= value < _WORD else ["i", format(value, "x")]
        if cls is float:
            return value if isfinite(value) else ["f", struct.pack(">d", value).hex()]
        if cls is Ref:
            return [int(value)]
        if cls is bytes:
            return ["b", b64encode(value).decode()]
        if cls is tuple:
            return ["t", *map(self._value, value)]
        if cls is frozenset:
            return ["F", *map(self._value, self._sorted(value))]
        if isinstance(value, Enum):
            return ["e", self._class(cls), value.name]
        if isinstance(value, np.generic):
            return ["n", value.dtype.str, value.tobytes().hex()]
        if cls in FROZEN:
            parts = (self._value(getattr(value, name)) for name in FROZEN[cls])
            return ["o", self._class(cls), *parts]
        return ["N", self._class(cls), *map(self._value, value)]  # a named tuple
