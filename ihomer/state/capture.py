"""A copy of an object graph at one moment, taken fast, while nothing changes it.

In: named roots. Out: `Capture`: nodes, one for each object that can change, and copies of all
arrays. Only what may change is copied: whatever else is only referred to, and turned into JSON
later, on another thread. Large arrays go into a buffer that is kept from one capture to the next,
because memory that is touched for the first time costs many times the copy.
"""

from __future__ import annotations

import gc
import threading
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping
from ctypes import string_at
from itertools import chain
from types import MethodType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ihomer.state.classes import ATOMS, Plain, is_enum, method_of, name_of, plain_of
from ihomer.state.faults import StateError

Bytes = npt.NDArray[np.uint8]

FACTORIES: dict[str, type] = {kind.__name__: kind for kind in (int, float, list, dict, set)}
_SMALL = 1 << 12  # bytes up to which an array is copied into an object of its own
_SHARED = 1 << 20  # bytes from which two threads copy
_ONLY_TUPLES = {tuple}


class Ref(int):
    """The number of a node, where a value could stand."""

    __slots__ = ()


class Node(NamedTuple):
    """An object that can change, or that holds one.

    Attributes
    ----------
    kind
        A short name; see `_Walk`.
    cls
        The class, of objects and named tuples.
    data
        What it holds: values that never change, and `Ref`.
    """

    kind: str
    cls: type | None
    data: Any


class Tensor(NamedTuple):
    """The bytes of an array.

    Attributes
    ----------
    dtype, shape
        Of the array, which is C-contiguous.
    data
        Small ones: their bytes. Others: None, they are in the buffer.
    start
        Where in the buffer they begin.
    nbytes
        How many there are.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    data: bytes | None
    start: int
    nbytes: int


class Capture:
    """A buffer that is kept, and what was captured last.

    Attributes
    ----------
    roots
        Values by name.
    nodes, tensors
        In the order in which they were found; nodes refer to both by number.
    """

    def __init__(self) -> None:
        self.roots: dict[str, Any] = {}
        self.nodes: list[Node] = []
        self.tensors: list[Tensor] = []
        self._buffer: Bytes = np.zeros(0, dtype=np.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays captured."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def take(self, roots: Mapping[str, object]) -> None:
        """Capture the graph behind `roots`; nothing of it may change meanwhile.

        Raises
        ------
        StateError
            It holds something that cannot be saved. Nothing is captured then.
        """
        self.clear()
        walk = _Walk()
        # So many small objects at once set the collector off, whose walk takes longer than this.
        collected = gc.isenabled()
        gc.disable()
        try:
            self.roots = {name: walk.value(root) for name, root in roots.items()}
            walk.settle()
        except RecursionError:
            self.clear()
            raise StateError("state: found objects nested too deep, accepted: less deep") from None
        except BaseException:
            self.clear()
            raise
        finally:
            if collected:
                gc.enable()
        if walk.room > len(self._buffer):
            self._buffer = _touched(walk.room)
        _copy(walk.large, self._buffer)
        self.nodes, self.tensors = walk.nodes, walk.tensors

    def clear(self) -> None:
        """Let go of what was captured; the buffer stays."""
        self.roots, self.nodes, self.tensors = {}, [], []

    def make_room(self) -> None:
        """Between captures: make the buffer so large that the next capture fits, if it grows some.

        It is a quarter and 16 MB larger than what was captured last.
        """
        used = sum(tensor.nbytes for tensor in self.tensors if tensor.data is None)
        if used + used // 8 + (8 << 20) > len(self._buffer):
            self._buffer = np.zeros(0, dtype=np.uint8)  # before the new one, not beside it
            self._buffer = _touched(used + used // 4 + (16 << 20))

    def bytes_of(self, tensor: Tensor) -> memoryview:
        """What `tensor` stands for."""
        if tensor.data is not None:
            return memoryview(tensor.data)
        return self._buffer[tensor.start : tensor.start + tensor.nbytes].data


def _touched(size: int) -> Bytes:
    buffer = np.empty(size, dtype=np.uint8)
    buffer.fill(0)
    return buffer


def _copy(large: list[tuple[int, Bytes]], buffer: Bytes) -> None:
    """Copy each array to its place, half of them on a thread if they are large together."""
    total = sum(len(source) for _, source in large)
    pieces: list[tuple[int, Bytes]] = []
    for start, source in large:
        pieces += [(start + at, source[at : at + _SHARED]) for at in range(0, len(source), _SHARED)]
    if total < 4 * _SHARED:
        _copy_all(pieces, buffer)
        return
    waiting = deque(pieces)
    helper = threading.Thread(target=_copy_waiting, args=(waiting, buffer), name="ihomer-capture")
    helper.start()
    _copy_waiting(waiting, buffer)
    helper.join()


def _copy_waiting(waiting: deque[tuple[int, Bytes]], buffer: Bytes) -> None:
    while True:
        try:
            piece = waiting.popleft()
        except IndexError:
            return
        _copy_all([piece], buffer)


def _copy_all(pieces: Iterable[tuple[int, Bytes]], buffer: Bytes) -> None:
    for start, source in pieces:
        np.copyto(buffer[start : start + len(source)], source)


class _Walk:
    """One walk through a graph; what it makes of each kind of object is below."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.tensors: list[Tensor] = []
        self.large: list[tuple[int, Bytes]] = []
        self.room = 0  # bytes of the large ones
        self._seen: dict[int, Ref] = {}
        self._alive: list[object] = []  # no id is another's as long as the walk lasts
        self._memory: dict[int, list[tuple[Ref, npt.NDArray[Any]]]] = {}  # arrays by their owner

    def value(self, found: object) -> Any:
        """What stands for `found`: itself if it never changes, else a `Ref`."""
        cls = type(found)
        if cls in ATOMS or is_enum(cls):
            return found
        known = self._seen.get(id(found))
        if known is not None:
            return known
        self._alive.append(found)
        if isinstance(found, tuple | frozenset):
            return self._constant(found)
        ref = self._seen[id(found)] = Ref(len(self.nodes))
        self.nodes.append(Node("", None, None))
        self.nodes[ref] = self._node(ref, found)
        return ref

    def _constant(self, found: tuple[Any, ...] | frozenset[Any]) -> Any:
        """A tuple is a node only if it holds one."""
        cls = type(found)
        if cls is Plain:
            ref = self._seen[id(found)] = Ref(len(self.nodes))
            self.nodes.append(Node("plain", None, found))
            return ref
        if cls is frozenset:
            if not _unchanging(found):
                raise _refused("a frozenset of objects")
            return found
        values = [self.value(each) for each in found]
        if cls is not tuple:
            name_of(cls)
        if Ref not in map(type, values):
            return found
        known = self._seen.get(id(found))  # it may hold itself, by way of a list
        if known is not None:
            return known
        ref = self._seen[id(found)] = Ref(len(self.nodes))
        self.nodes.append(Node("tuple" if cls is tuple else "named", cls, values))
        return ref

    def _node(self, ref: Ref, found: Any) -> Node:
        cls = type(found)
        if cls is np.ndarray:
            return self._array(ref, found)
        if cls is dict or cls is OrderedDict or cls is Counter or cls is defaultdict:
            return self._mapping(found)
        if cls is list:
            return Node("list", None, self._items(found))
        if cls is deque:
            return Node("deque", None, (found.maxlen, self._items(found)))
        if cls is set:
            if not _unchanging(found):
                raise _refused("a set of objects")
            return Node("set", None, list(found))
        if cls is MethodType:
            owner, name = self.value(found.__self__), found.__name__
            if method_of(type(found.__self__), name) is not found.__func__:
                raise _refused(f"the method {found.__qualname__}")
            return Node("method", None, (owner, name))
        if cls is array:
            data = np.frombuffer(found, dtype=np.uint8) if len(found) else np.zeros(0, np.uint8)
            return Node("pyarray", None, (found.typecode, self._tensor(data)))
        if cls is bytearray:
            return Node("bytearray", None, self._tensor(np.frombuffer(bytes(found), np.uint8)))
        name_of(cls)
        state = found.__getstate__()
        if type(state) is dict and all(type(key) is str for key in state):
            plain = plain_of(cls)
            return Node(
                "object",
                cls,
                {
                    key: self._plain(each) if key in plain else self.value(each)
                    for key, each in state.items()
                },
            )
        self._alive.append(state)
        return Node("state", cls, self.value(state))

    def _plain(self, found: Any) -> Any:
        """As `value`, of a container of which is known that what it holds never changes."""
        cls = type(found)
        if id(found) in self._seen or cls not in (dict, list, set):
            return self.value(found)
        self._alive.append(found)
        ref = self._seen[id(found)] = Ref(len(self.nodes))
        if cls is dict:
            self.nodes.append(Node("dict", None, ("dict", "", found.copy())))
        else:
            self.nodes.append(Node(cls.__name__, None, list(found)))
        return ref

    def _items(self, found: list[Any] | deque[Any]) -> list[Any]:
        return list(found) if _unchanging(found) else [self.value(each) for each in found]

    def _mapping(self, found: dict[Any, Any]) -> Node:
        if not _unchanging(found):
            raise _refused("a dictionary whose keys are objects")
        kind: tuple[str, str] = type(found).__name__, ""
        if isinstance(found, defaultdict):
            factory = getattr(found.default_factory, "__name__", "")
            if FACTORIES.get(factory) is not found.default_factory:
                raise _refused(f"a defaultdict of {found.default_factory}")
            kind = "defaultdict", factory
        if _unchanging(found.values()):
            return Node("dict", None, (*kind, dict(found)))
        return Node("dict", None, (*kind, {key: self.value(v) for key, v in found.items()}))

    # Arrays.

    def _array(self, ref: Ref, found: npt.NDArray[Any]) -> Node:
        if found.dtype.kind not in "biuf" or found.itemsize > 8 or not found.dtype.isnative:
            raise _refused(f"an array of {found.dtype}")
        self._memory.setdefault(id(_owner(found)), []).append((ref, found))
        return Node("array", None, None)

    def settle(self) -> None:
        """Decide what each array is: one of its own, or a view of memory that others view too."""
        found = chain.from_iterable(map(_overlapping, self._memory.values()))
        # Whose memory it was plays no part in the order.
        for members in sorted(found, key=lambda members: members[0][0]):
            if len(members) == 1 and members[0][1].flags.c_contiguous:
                ref, only = members[0]
                self.nodes[ref] = Node(
                    "array", None, (self._tensor(only), not only.flags.writeable)
                )
                continue
            bounds = [np.lib.array_utils.byte_bounds(each) for _, each in members]
            low, high = min(b[0] for b in bounds), max(b[1] for b in bounds)
            piece = self._tensor(np.frombuffer(string_at(low, high - low), dtype=np.uint8))
            for ref, each in members:
                offset = each.__array_interface__["data"][0] - low
                view = (piece, offset, each.dtype, each.shape, each.strides)
                self.nodes[ref] = Node("view", None, (*view, not each.flags.writeable))

    def _tensor(self, found: npt.NDArray[Any]) -> int:
        nbytes = found.nbytes
        if nbytes <= _SMALL:
            self.tensors.append(Tensor(found.dtype, found.shape, found.tobytes(), 0, nbytes))
        else:
            self.tensors.append(Tensor(found.dtype, found.shape, None, self.room, nbytes))
            self.large.append((self.room, found.reshape(-1).view(np.uint8)))
            self.room += nbytes
        return len(self.tensors) - 1


def _owner(found: npt.NDArray[Any]) -> object:
    owner: Any = found
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return owner


def _overlapping(
    group: list[tuple[Ref, npt.NDArray[Any]]],
) -> list[list[tuple[Ref, npt.NDArray[Any]]]]:
    """Arrays of one owner, those together whose memory overlaps, in the order of their nodes."""
    if len(group) == 1:
        return [group]
    placed = [(np.lib.array_utils.byte_bounds(each[1]), each) for each in group if each[1].nbytes]
    placed.sort(key=lambda item: item[0])
    found: list[list[tuple[Ref, npt.NDArray[Any]]]] = [
        [each] for each in group if not each[1].nbytes
    ]
    end = -1
    for (low, high), each in placed:
        if low < end:
            found[-1].append(each)
        else:
            found.append([each])
        end = max(end, high)
    for members in found:
        members.sort(key=lambda each: each[0])
    return found


def _unchanging(found: Iterable[Any]) -> bool:
    """Whether everything in `found` never changes; of plain values it takes a few ns for each."""
    rest = set(map(type, found)) - ATOMS
    if not rest:
        return True
    if rest == _ONLY_TUPLES:
        return _unchanging(list(chain.from_iterable(each for each in found if type(each) is tuple)))
    return all(map(_constant, found))


def _constant(found: object) -> bool:
    cls = type(found)
    if cls in ATOMS or is_enum(cls):
        return True
    if cls is Plain or not isinstance(found, tuple | frozenset):
        return False
    return all(map(_constant, found))


def _refused(what: str) -> StateError:
    return StateError(f"state: found {what}, accepted: what a checkpoint can hold")
