"""Features of events that wait for their labels, packed: what goes in comes out in names.

In: features of an event, by name. Out: a few bytes that mean the same to an encoder, whatever has
happened to columns meanwhile, and how much memory they take. It is here because a dictionary of a
hundred numbers takes five kilobytes, and its values a tenth of that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson

from ihomer.instances import Features, Row

_PLAIN = frozenset((float, int, bool))
_TEXT = frozenset((str,))
_SHAPE_BYTES = 512  # of a shape, beside its names
_NAME_BYTES = 96  # of a name, beside its text


class Packed(NamedTuple):
    """Features as bytes.

    Attributes
    ----------
    shape
        Number of the declared names in `FeatureStore`; -1: `data` is a JSON object.
    data
        float64 values, one for each name; or, behind 4 bytes with their number, int32 positions
        and then float64 values.
    sparse
        Whether there are positions.
    """

    shape: int
    data: bytes
    sparse: bool = False


class FeatureStore:
    """Packs features; names that several events share are kept once, as long as anybody has them.

    How an event is packed depends on those before it, and not on the form in which it comes.

    Attributes
    ----------
    n_bytes
        What the names take that are kept here; the packed events are counted by who holds them.
    """

    def __init__(self) -> None:
        self.n_bytes = 0
        self._next = 0
        self._numbers: dict[tuple[str, ...], int] = {}
        self._names: dict[int, tuple[str, ...]] = {}
        self._users: dict[int, int] = {}
        self._former: tuple[str, ...] = ()  # names of the event before

    def pack(self, x: Features) -> Packed:
        """Keep `x`, which an encoder has accepted."""
        if isinstance(x, Row):
            names, values = x.names, x.values
            if x.indices is not None:
                places = np.ascontiguousarray(x.indices, dtype=np.int32)
                head = len(places).to_bytes(4, "little") + places.tobytes()
                return Packed(self._use(names), head + values.astype(np.float64).tobytes(), True)
        elif _PLAIN.issuperset(map(type, x.values())) and _TEXT.issuperset(map(type, x)):
            names, values = tuple(x), np.array(list(x.values()), dtype=np.float64)
        else:
            return Packed(-1, _as_json(x))
        # Names that come once are not worth a place of their own.
        shared = names == self._former or names in self._numbers
        self._former = names
        if shared:
            return Packed(self._use(names), values.astype(np.float64).tobytes())
        return Packed(-1, _as_json(dict(zip(names, values.tolist(), strict=True))))

    def unpack(self, packed: Packed) -> Features:
        """What was packed, for an encoder."""
        if packed.shape < 0:
            found: dict[str, Any] = _loads(packed.data)
            return found
        names, data = self._names[packed.shape], packed.data
        if not packed.sparse:
            return Row(names, np.frombuffer(data, np.float64))
        n = int.from_bytes(data[:4], "little")
        values = np.frombuffer(data, np.uint8)[4 + 4 * n :].copy().view(np.float64)
        return Row(names, values, np.frombuffer(data, np.int32, n, 4))

    def release(self, packed: Packed) -> None:
        """Nobody will unpack this any more."""
        number = packed.shape
        if number < 0:
            return
        self._users[number] -= 1
        if not self._users[number]:
            names = self._names.pop(number)
            del self._users[number], self._numbers[names]
            self.n_bytes -= _size(names)

    def _use(self, names: tuple[str, ...]) -> int:
        number = self._numbers.get(names)
        if number is None:
            number, self._next = self._next, self._next + 1
            self._numbers[names], self._names[number], self._users[number] = number, names, 0
            self.n_bytes += _size(names)
        self._users[number] += 1
        return number

    def state(self) -> dict[str, Any]:
        """Everything that `restored` takes, but for the packed events."""
        return {"names": tuple(self._names.items()), "next": self._next, "former": self._former}

    @classmethod
    def restored(cls, state: Mapping[str, Any], held: Iterable[Packed]) -> FeatureStore:
        """The store of a `state`, and everything that is `held`."""
        store = cls()
        store._names = {number: tuple(names) for number, names in state["names"]}
        store._numbers = {names: number for number, names in store._names.items()}
        store._users = dict.fromkeys(store._names, 0)
        for packed in held:
            if packed.shape >= 0:
                store._users[packed.shape] += 1
        store._next, store._former = state["next"], tuple(state["former"])
        store.n_bytes = sum(map(_size, store._names.values()))
        return store


def _size(names: tuple[str, ...]) -> int:
    return _SHAPE_BYTES + sum(_NAME_BYTES + 4 * len(name) for name in names)


def _as_json(x: Mapping[Any, Any]) -> bytes:
    """`x` as a JSON object; NaN, which means missing too, as null."""
    try:
        # In a copy, because the original keeps the buffer that it was written to, of 4 KB or more.
        return memoryview(orjson.dumps(x)).tobytes()
    except TypeError:
        pass  # keys that are no strings, numpy's numbers, sets, half of a surrogate pair
    return json.dumps({str(name): _plain(value) for name, value in x.items()}).encode()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return sorted(value)
    number = float(value)
    return None if math.isnan(number) else number


def _loads(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)
