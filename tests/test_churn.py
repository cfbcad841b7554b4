"""Labels and features that are born and vanish without end leave nothing behind."""

from __future__ import annotations

import types
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest

from bench.churn import events
from ihomer import IHomer, vocabulary
from ihomer.instances import Encoder, Event
from ihomer.learners.grove import FOREST_SHARE
from ihomer.learners.partition import keeper
from ihomer.stream import vanished
from ihomer.stream.measures import Measures

N = 9000
PLAIN = (str, bytes, int, float, bool, complex, type, types.FunctionType, types.BuiltinMethodType)


def _parts(found: object) -> Iterator[tuple[str, object]]:
    """What an object holds, by name."""
    if isinstance(found, dict):
        yield from (
            (k if isinstance(k, str) and len(found) < 20 else "", v) for k, v in found.items()
        )
    elif hasattr(found, "_fields"):
        yield from ((name, getattr(found, name)) for name in found._fields)
    elif isinstance(found, list | tuple | set | frozenset | deque):
        yield from (("", each) for each in found)
    yield from getattr(found, "__dict__", {}).items()
    for kind in type(found).__mro__:
        for name in getattr(kind, "__slots__", ()):
            yield name, getattr(found, name, None)


def _sizes(root: object) -> Counter[str]:
    """Elements in all arrays and containers that can be reached, by the way there."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    left: list[tuple[str, object]] = [("", root)]
    while left:
        path, each = left.pop()
        if each is None or isinstance(each, PLAIN) or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, np.ndarray):
            found[path] += each.size
        elif isinstance(each, array):
            found[path] += len(each)
        elif isinstance(each, types.MethodType):
            left.append((path, each.__self__))
        else:
            if isinstance(each, dict | list | set | frozenset | deque):
                found[path] += len(each)
            left += [(f"{path}.{name}" if name else path, part) for name, part in _parts(each)]
    return found


def test_nothing_grows_with_what_has_vanished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "LEAST_ABSENCE", 600)
    monkeypatch.setattr(vocabulary, "CLEAN_UP", 256)
    # Bounds that a long stream would reach.
    for module in (vocabulary, vanished):
        monkeypatch.setattr(module, "MOST_REMEMBERED", 50)
    monkeypatch.setattr(keeper, "RING", 600)
    model = IHomer(max_memory_mb=32, forget_labels_after=600, forget_features_after=600)
    model._engine._leavers._budget = 100_000.0
    model._engine.log._most = 50
    measures, reached = Measures(window=100), []
    stream = events(N, alive=20, every=20)
    while part := list(islice(stream, 100)):
        batch = model.encoder.encode(part)
        measures.update_batch(batch, model.predict_learn(batch))
        reached.append(_sizes([model, measures]))
    assert model.encoder.labels.ever > 450
    assert model.encoder.labels.seen < 100
    assert model.encoder.features.columns < 2500
    # What leaks is three times as large at the end; what has room to grow, at most twice.
    third = len(reached) // 3
    early, late = Counter[str](), Counter[str]()
    for found, some in ((early, reached[:third]), (late, reached[third:])):
        for each in some:
            found |= each
    # Trees grow for as long as they have room; how much, is another matter.
    forests = sum(cluster.memory_bytes for cluster in model._engine.model.grove.serving)
    assert forests < 1.5 * FOREST_SHARE * 32 * 2**20
    grown = {
        path: (early[path], size)
        for path, size in late.items()
        if size > 2.2 * early[path] + 64 and ".grove." not in path
    }
    assert not grown


def test_labels_that_return_to_their_own_ids_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "LEAST_ABSENCE", 6)
    monkeypatch.setattr(vocabulary, "CLEAN_UP", 4)
    encoder = Encoder(forget_labels_after=6)
    for t in range(4000):
        encoder.encode([Event(t, {}, ["a" if t // 20 % 2 else "b", "c"])])
    assert encoder.labels.changes > 300
    assert len(encoder.labels._lowest) <= 8
    assert encoder.labels.seen == 3
