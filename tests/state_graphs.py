"""Random object graphs, and whether two of them are the same: values, types, and what is shared."""

from __future__ import annotations

import struct
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from types import MethodType
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ihomer.drift.events import Kind, LearnerEvent, Level
from ihomer.instances import Event
from ihomer.learners.executor import Executor
from ihomer.vocabulary import Change

_TEXT = st.text(st.characters(exclude_categories=()), max_size=6)
_WORDS = st.integers(0, 2**64 - 1).map(lambda word: struct.unpack("<d", struct.pack("<Q", word))[0])
_SCALARS = st.sampled_from("?bBhHiIlLefd").flatmap(
    lambda code: st.binary(min_size=8, max_size=8).map(
        lambda data: np.frombuffer(data, dtype=np.uint8).astype(code)[0]
    )
)
_ARRAYS = st.tuples(
    st.sampled_from("?bBhHiIqQefd"),
    st.lists(st.integers(0, 4), max_size=3),
    st.integers(0, 2**32 - 1),
).map(lambda drawn: np.random.default_rng(drawn[2]).integers(0, 2, drawn[1]).astype(drawn[0]))
_EVENTS = st.builds(
    LearnerEvent,
    st.integers(),
    st.sampled_from(Kind),
    st.sampled_from(Level),
    labels=st.lists(_TEXT, max_size=3).map(tuple),
    statistic=_WORDS | st.none(),
)
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    _WORDS,
    _TEXT,
    st.binary(max_size=5),
    _SCALARS,
    _EVENTS,
    st.sampled_from(Kind),
)
_KEYS = st.recursive(
    st.integers() | _TEXT | st.booleans() | st.sampled_from(Level),
    lambda inner: st.lists(inner, max_size=2).map(tuple) | st.frozensets(inner, max_size=2),
    max_leaves=4,
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=4)
    mappings = st.dictionaries(_KEYS, inner, max_size=4)
    return st.one_of(
        lists,
        lists.map(tuple),
        lists.map(deque),
        lists.map(lambda items: deque(items, maxlen=5)),
        mappings,
        mappings.map(OrderedDict),
        mappings.map(lambda items: defaultdict(list, items)),
        st.dictionaries(_KEYS, st.integers(), max_size=3).map(Counter),
        st.sets(_KEYS, max_size=4),
        st.lists(st.integers(-9, 9), max_size=3).map(lambda items: array("q", items)),
        st.binary(max_size=4).map(bytearray),
        st.builds(Change, inner, inner, inner, inner, inner),
        st.builds(Event, inner, mappings, lists),
        st.integers(1, 3).map(Executor),
        st.integers(1, 3).map(lambda threads: Executor(threads).resize),
        lists.map(lambda items: [*items, *items]),  # shared
    )


GRAPHS = st.recursive(ATOMS | _ARRAYS, _containers, max_leaves=20)


# Of these, and of what is equal to another one, it is not kept which is which.
_UNCHANGING = (tuple, frozenset, str, bytes, int, LearnerEvent)


def same(one: Any, other: Any, known: dict[int, int] | None = None) -> bool:
    """Whether `other` is `one`, bit for bit, with the same objects at the same places."""
    known = {} if known is None else known
    if type(one) is not type(other):
        return False
    if isinstance(one, float | np.generic):
        return np.array(one).tobytes() == np.array(other).tobytes()
    if id(one) in known and not isinstance(one, _UNCHANGING):
        return known[id(one)] == id(other)
    known[id(one)] = id(other)
    if isinstance(one, np.ndarray):
        alike = one.dtype == other.dtype and one.shape == other.shape
        fixed = one.flags.writeable == other.flags.writeable
        return bool(alike and fixed and one.tobytes() == other.tobytes())
    if isinstance(one, dict):
        if getattr(one, "default_factory", None) is not getattr(other, "default_factory", None):
            return False
        return _all(list(one), list(other), known) and _all(one.values(), other.values(), known)
    if isinstance(one, deque) and one.maxlen != other.maxlen:
        return False
    if isinstance(one, list | tuple | deque):
        return _all(one, other, known)
    if isinstance(one, MethodType):
        return one.__func__ is other.__func__ and same(one.__self__, other.__self__, known)
    if isinstance(one, LearnerEvent | Event | Executor):
        return same(one.__getstate__(), other.__getstate__(), {})
    return bool(one == other)


def _all(one: Any, other: Any, known: dict[int, int]) -> bool:
    return len(one) == len(other) and all(
        same(a, b, known) for a, b in zip(one, other, strict=True)
    )
