"""From a skeleton and arrays to the objects again.

In: JSON that may hold anything, and arrays that have been checked. Out: the roots, or one reason.
Nothing is imported and no constructor is called: containers are filled, attributes of our own
classes are set, and where a class has a ``__setstate__`` that is given what it wrote.
"""

from __future__ import annotations

import struct
from array import array
from base64 import b64decode
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Sequence
from enum import Enum
from types import MethodType
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ihomer.state.capture import FACTORIES
from ihomer.state.classes import FROZEN, Plain, class_of, fields_of, method_of
from ihomer.state.faults import CheckpointError

DTYPES = frozenset(np.dtype(code).str for code in "?bBhHiIlLefd")
_BEING_BUILT = object()


def rebuild(skeleton: bytes, tensors: Sequence[npt.NDArray[Any]], place: str) -> dict[str, Any]:
    """The roots of a skeleton.

    Parameters
    ----------
    skeleton
        As `ihomer.state.skeleton` writes it.
    tensors
        Its arrays; they become part of what is built.
    place
        For messages: the file.

    Raises
    ------
    CheckpointError
        It does not fit together, or names a class that is none of ours.
    """
    try:
        found = orjson.loads(skeleton)
        return _Builder(found["nodes"], found["classes"], tensors, place).roots(found["roots"])
    except CheckpointError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__} {error}".splitlines()[0][:200]
        raise CheckpointError(place, f"what does not fit together ({reason})", "a state") from error


class _Builder:
    def __init__(
        self,
        nodes: list[list[Any]],
        classes: list[list[Any]],
        tensors: Sequence[npt.NDArray[Any]],
        place: str,
    ) -> None:
        self._place = place
        self._nodes = nodes
        self._tensors = tensors
        self._classes = [self._class(*each) for each in classes]
        self._built: list[Any] = [None] * len(nodes)

    def roots(self, roots: dict[str, Any]) -> dict[str, Any]:
        nodes, built = self._nodes, self._built
        for number, node in enumerate(nodes):
            built[number] = self._shell(node)
        for number in range(len(nodes)):
            self._constant(number)
        told = []
        for number, node in enumerate(nodes):
            told += self._fill(node, built[number])
        found = {name: self._value(value) for name, value in roots.items()}
        # Last, and the inner ones before the outer ones, which were found first.
        for restored, state in reversed(told):
            if hasattr(restored, "__setstate__"):
                restored.__setstate__(state)
            else:
                _set_attributes(restored, state)
        return found

    def _class(self, name: object, fields: list[str] | None) -> type:
        cls = class_of(name, self._place)
        expected = fields_of(cls)
        if (None if fields is None else tuple(fields)) != expected:
            raise CheckpointError(
                self._place, f"the fields {fields} of {name}", f"those of this version, {expected}"
            )
        return cls

    # Objects that can change are made first, empty; what cannot is made of them.

    def _shell(self, node: list[Any]) -> Any:
        kind = node[0]
        if kind in ("tuple", "plain", "named", "method"):
            return None
        if kind == "list":
            return []
        if kind == "set":
            return set(map(self._value, node[1]))
        if kind == "deque":
            return deque(maxlen=node[1])
        if kind == "dict":
            return self._mapping(node[1], node[2])
        if kind in ("object", "state"):
            cls = self._classes[node[1]]
            if issubclass(cls, Enum):
                raise ValueError(f"an object of {cls.__name__}")
            return object.__new__(cls)
        if kind == "array":
            found = self._tensor(node[1])
            found.flags.writeable = not node[2]
            return found
        if kind == "view":
            return self._view(*node[1:])
        if kind == "pyarray":
            return array(node[1], self._tensor(node[2]).tobytes())
        if kind == "bytearray":
            return bytearray(self._tensor(node[1]).tobytes())
        raise ValueError(f"a node {str(kind)[:40]!r}")

    def _mapping(self, kind: str, factory: str) -> dict[Any, Any]:
        if kind == "dict":
            return {}
        if kind == "OrderedDict":
            return OrderedDict()
        if kind == "Counter":
            return Counter()
        if kind == "defaultdict":
            return defaultdict(FACTORIES[factory])
        raise ValueError(f"a mapping {kind[:40]!r}")

    def _view(
        self,
        piece: int,
        offset: int,
        dtype: str,
        shape: list[int],
        strides: list[int],
        fixed: bool,
    ) -> npt.NDArray[Any]:
        if dtype not in DTYPES:
            raise ValueError(f"the type {str(dtype)[:40]!r}")
        found: npt.NDArray[Any] = np.ndarray(
            shape, np.dtype(dtype), self._tensor(piece).data, offset, strides
        )
        found.flags.writeable = not fixed
        return found

    def _tensor(self, number: int) -> npt.NDArray[Any]:
        if not 0 <= number < len(self._tensors):
            raise ValueError(f"array {number} of {len(self._tensors)}")
        return self._tensors[number]

    def _constant(self, number: int) -> Any:
        node = self._nodes[number]
        kind, built = node[0], self._built
        if kind not in ("tuple", "plain", "named", "method") or built[number] is not None:
            if built[number] is _BEING_BUILT:
                raise ValueError(f"node {number} within itself")
            return built[number]
        built[number] = _BEING_BUILT
        if kind == "method":
            owner = self._value(node[1])
            function = method_of(type(owner), node[2])
            if function is None:
                raise ValueError(f"the method {str(node[2])[:40]!r} of {type(owner).__name__}")
            built[number] = MethodType(function, owner)
        elif kind == "tuple":
            built[number] = tuple(map(self._value, node[1]))
        elif kind == "plain":
            built[number] = Plain(map(self._value, node[1]))
        else:
            built[number] = self._named(self._classes[node[1]], node[2])
        return built[number]

    def _named(self, cls: type, values: list[Any]) -> Any:
        fields = fields_of(cls)
        if not issubclass(cls, tuple) or fields is None or len(fields) != len(values):
            raise ValueError(f"{len(values)} values of {cls.__name__}")
        return tuple.__new__(cls, map(self._value, values))

    def _fill(self, node: list[Any], made: Any) -> list[tuple[Any, Any]]:
        """Fill what is empty; returned is what an object has to be told when all else is there."""
        kind = node[0]
        if kind == "list":
            made.extend(self._values(node[1]))
        elif kind == "deque":
            made.extend(self._values(node[2]))
        elif kind == "dict":
            # Not by `update`, because a counter's would add up.
            for key, value in zip(self._values(node[3]), self._values(node[4]), strict=True):
                made[key] = value
        elif kind in ("object", "state"):
            if kind == "state":
                return [(made, self._value(node[2]))]
            state = {name: self._value(value) for name, value in node[2].items()}
            if hasattr(made, "__setstate__"):
                return [(made, state)]
            _set_attributes(made, state)
        return []

    # Values.

    def _values(self, values: list[Any]) -> list[Any]:
        if list not in set(map(type, values)):
            return values
        return [self._value(value) for value in values]

    def _value(self, value: Any) -> Any:
        if type(value) is not list:
            return value
        kind = value[0]
        if type(kind) is int:
            if not 0 <= kind < len(self._nodes) or len(value) > 1:
                raise ValueError(f"node {kind} of {len(self._nodes)}")
            return self._constant(kind)
        if kind == "t":
            return tuple(map(self._value, value[1:]))
        if kind == "i":
            return int(value[1], 16)
        if kind == "f":
            return struct.unpack(">d", bytes.fromhex(value[1]))[0]
        if kind == "s":
            return bytes.fromhex(value[1]).decode("utf-8", "surrogatepass")
        if kind == "b":
            return b64decode(value[1], validate=True)
        if kind == "n" and value[1] in DTYPES:
            return np.frombuffer(bytes.fromhex(value[2]), dtype=value[1])[0]
        if kind == "F":
            return frozenset(map(self._value, value[1:]))
        if kind == "N":
            return self._named(self._classes[value[1]], value[2:])
        if kind == "e" and issubclass(self._classes[value[1]], Enum):
            return self._classes[value[1]][value[2]]  # type: ignore[index]
        if kind == "o" and self._classes[value[1]] in FROZEN:
            cls = self._classes[value[1]]
            made: Any = object.__new__(cls)
            for name, part in zip(FROZEN[cls], value[2:], strict=True):
                object.__setattr__(made, name, self._value(part))
            return made
        raise ValueError(f"a value {str(kind)[:40]!r}")


def _set_attributes(made: object, state: Any) -> None:
    """Restore an object without a ``__setstate__`` from a dictionary, or two: of slots, too."""
    own, slots = state if type(state) is tuple and len(state) == 2 else (state, None)
    for names in (own, slots):
        if names is None:
            continue
        for name in names:
            if not name.isidentifier():
                raise ValueError(f"the attribute {name[:40]!r}")
    if own is not None:
        vars(made).update(own)
    for name, value in (slots or {}).items():
        object.__setattr__(made, name, value)
