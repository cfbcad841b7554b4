"""Feature columns of names that have vanished go to new names."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer import IHomer, vocabulary
from ihomer.errors import UsageError
from ihomer.instances import Encoder, Event, FloatArray
from ihomer.learners.memory import remember

ABSENCE, LOOK = 6, 4


@pytest.fixture(autouse=True)
def _short_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "LEAST_ABSENCE", ABSENCE)
    monkeypatch.setattr(vocabulary, "CLEAN_UP", LOOK)


@st.composite
def feature_sets(draw: st.DrawFn) -> list[list[str]]:
    """Names of the features of events; those in use wander."""
    found: list[list[str]] = []
    for _ in range(draw(st.integers(1, 6))):
        names = draw(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=4, unique=True))
        sets = st.lists(st.sampled_from(names), unique=True)
        found += draw(st.lists(sets, min_size=1, max_size=12))
    return found


class _Twin:
    """The obvious vocabulary: who has which column, and when it was last there."""

    def __init__(self, bound: int, after: int | None) -> None:
        self.bound, self.after, self.n, self.look, self.looked = bound, after, 0, 0, 0
        self.column: dict[str, int] = {}
        self.last: dict[str, int] = {}

    def encode(self, names: Sequence[str], *, labelled: bool) -> tuple[dict[str, int], list[int]]:
        """Columns of the names that have their own, and those that were freed."""
        freed: list[int] = []
        if self.after is not None and self.n % LOOK == 0 and self.n > self.looked:
            self.looked = self.n
            for name in [a for a, t in self.last.items() if self.n - t >= self.after]:
                freed.append(self.column.pop(name))
                del self.last[name]
        fresh = sorted(set(names) - self.column.keys())
        short = len(fresh) - (self.bound - len(self.column))
        if short > 0 and self.n >= self.look:
            absent = [a for a, t in self.last.items() if self.n - t >= ABSENCE and a not in names]
            absent.sort(key=lambda name: (self.last[name], name))
            if not absent:
                self.look = self.n + LOOK
            for name in absent[: max(short, self.bound // 16)]:
                freed.append(self.column.pop(name))
                del self.last[name]
        free = [i for i in range(self.bound) if i not in self.column.values()]
        self.column |= dict(zip(fresh, free, strict=False))
        self.n += labelled
        there = [name for name in names if name in self.column]
        self.last |= dict.fromkeys(there, self.n)
        return {name: self.column[name] for name in there}, sorted(freed)


@settings(max_examples=80)
@given(
    feature_sets(),
    st.lists(st.integers(0, 80), max_size=5),
    st.integers(2, 12),
    st.none() | st.integers(ABSENCE, 12),
    st.integers(1, 5),
)
def test_columns_are_those_of_the_twin(
    sets: list[list[str]], cuts: list[int], bound: int, after: int | None, every: int
) -> None:
    encoder = Encoder(max_features=bound, reuse_columns=True, forget_features_after=after)
    twin = _Twin(bound, after)
    labels: list[list[str] | None] = [
        [] if t % every == 0 else None for t in range(len(sets))
    ]  # others are unlabelled
    edges = sorted({0, *(cut % len(sets) for cut in cuts), len(sets)})
    for start, stop in itertools.pairwise(edges):
        events = [Event(t, dict.fromkeys(sets[t], 1.0), labels[t]) for t in range(start, stop)]
        batch = encoder.encode(events)
        freed = {each.at: list(each.columns) for each in batch.freed}
        for t in range(start, stop):
            mine, going = twin.encode(sets[t], labelled=labels[t] is not None)
            a, b = batch.indptr[t - start : t - start + 2]
            own = batch.indices[a:b][batch.indices[a:b] < bound]
            assert own.tolist() == sorted(mine.values())
            assert freed.pop(t - start, []) == going
        assert not freed
        names = encoder.features.names()
        assert {name: names.index(name) for name in twin.column} == twin.column
        assert len(encoder.features) == len(twin.column) <= bound
        assert encoder.features.columns <= bound + max(1, bound // 4)
        encoder = copy.deepcopy(encoder)


def test_without_reuse_columns_stay() -> None:
    encoder = Encoder(max_features=2)
    batch = encoder.encode([Event(t, {f"n{t // 20}": 1.0}) for t in range(200)])
    assert batch.freed == ()
    assert encoder.features.names() == ["n0", "n1"]


def test_columns_wait_for_labelled_events() -> None:
    encoder = Encoder(max_features=2, reuse_columns=True, forget_features_after=ABSENCE)
    learned = [Event(0, {"a": 1.0}, []), Event(1, {"b": 1.0}, [])]
    batch = encoder.encode([*learned, *[Event(2, {"c": 1.0})] * 50])
    assert batch.freed == ()  # events that are kept may have the others still
    assert int(batch.indices[-1]) >= 2  # shared


def test_a_name_that_vanished_gives_its_column_back_at_once() -> None:
    encoder = Encoder(max_features=100, reuse_columns=True, forget_features_after=8)
    batch = encoder.encode([Event(t, {"a": 1.0, f"n{t // 4}": 1.0}, []) for t in range(400)])
    assert encoder.features.columns < 8
    assert len(batch.freed) > 90
    assert batch.indices.max() < 8


def test_too_short_a_life_of_features_is_refused() -> None:
    with pytest.raises(UsageError, match=f"forget_features_after: found 5, accepted: {ABSENCE}"):
        Encoder(forget_features_after=ABSENCE - 1)


def test_slices_keep_what_is_theirs() -> None:
    encoder = Encoder(max_features=2, reuse_columns=True)
    batch = encoder.encode([Event(t, {f"n{t // 10}": 1.0}, []) for t in range(40)])
    assert [(each.at, each.columns) for each in batch.freed] == [(20, (0,)), (30, (1,))]
    assert [each.at for each in batch.slice(20, 25).freed] == [0]
    assert batch.slice(0, 20).freed == batch.slice(21, 30).freed == batch.unlabelled().freed == ()


def _drifting(n: int) -> list[Event]:
    """Two labels; the words that show them are others after every 60 events."""
    rng = np.random.default_rng(0)
    found = []
    for t in range(n):
        label = "ab"[rng.integers(2)]
        x = {f"{label}{t // 60}{rng.integers(3)}": 1.0, f"noise{rng.integers(8)}": 1.0}
        found.append(Event(t, x, [label]))
    return found


def _scores(model: IHomer, events: Sequence[Event], cuts: Sequence[int]) -> FloatArray:
    edges = sorted({0, *cuts, len(events)})
    parts = [
        model.predict_learn(model.encoder.encode(events[a:b])).scores
        for a, b in itertools.pairwise(edges)
    ]
    whole = np.full((len(events), 2), np.nan)
    for a, part in zip(edges, parts, strict=False):
        whole[a : a + len(part), : part.shape[1]] = part
    return whole


def test_the_learner_forgets_columns_whatever_the_batches() -> None:
    events = _drifting(900)
    expected = _scores(IHomer(max_features=32), events, range(0, 900, 64))
    found = _scores(IHomer(max_features=32), events, [1, 130, 501, 502])
    np.testing.assert_array_equal(found, expected)


def test_columns_of_their_own_are_better_than_shared_ones() -> None:
    events = _drifting(1500)
    sharing = IHomer(max_features=32)
    sharing.encoder.features.reuse = False
    right = []
    for model in (IHomer(max_features=32), sharing):
        found = _scores(model, events, range(0, 1500, 50))[500:, 0] > 0.5
        truth = [(event.on == ["a"]) == (model.encoder.labels.get("a") == 0) for event in events]
        right.append(float(np.mean(found == np.array(truth[500:]))))
    assert right[0] > right[1] + 0.02


def test_what_experts_know_of_a_column_is_forgotten() -> None:
    model = IHomer()
    _scores(model, _drifting(200), range(0, 200, 50))
    inner = model._engine.model
    columns = np.array([0, 3, 5000])
    inner.forget_columns(columns, 10)
    block = inner.blocks[0]
    for expert in (*block.linear.values(), block.ridge):
        assert expert is not None
        assert not expert.state.weights[[0, 3]].any()
        assert expert.state.weights[1].any()
    before = block.ridge.state.weights.copy() if block.ridge else np.zeros(0)
    inner.forget_columns(np.array([1]), 1 << 30)  # many share it
    assert block.ridge is not None
    np.testing.assert_array_equal(block.ridge.state.weights, before)


def test_memories_leave_out_columns_of_others() -> None:
    model = IHomer()
    _scores(model, _drifting(200), range(0, 200, 50))
    memory = remember(model._engine.model.blocks[0], 1)
    gone = memory.weights[0].columns[:2].astype(np.int64)
    for part, whole in zip(memory.without(gone).weights, memory.weights, strict=True):
        kept = ~np.isin(whole.columns, gone)
        assert part.columns.tolist() == whole.columns[kept].tolist()
        np.testing.assert_array_equal(part.cells, whole.cells[:, kept])
    assert memory.without(gone[:0]) is memory
