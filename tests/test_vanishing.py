"""Labels that vanish and return: whose the ids are, and that no figure changes by it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer import vocabulary
from ihomer.errors import MalformedEventError, UsageError
from ihomer.instances import Batch, Encoder, Event
from ihomer.learners.base import Predictions
from ihomer.learners.baselines import BASELINES, make_baseline
from ihomer.stream import vanished
from ihomer.stream.measures import Measures
from ihomer.vocabulary import LabelVocabulary

ABSENCE, LOOK = 6, 4  # for tests: LEAST_ABSENCE, CLEAN_UP
Sets = Sequence[frozenset[str] | None]


@pytest.fixture(autouse=True)
def _short_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "LEAST_ABSENCE", ABSENCE)
    monkeypatch.setattr(vocabulary, "CLEAN_UP", LOOK)


@st.composite
def label_sets(draw: st.DrawFn) -> Sets:
    """Label sets of events, None = unlabelled; the labels in use wander."""
    found: list[frozenset[str] | None] = []
    for _ in range(draw(st.integers(1, 6))):
        names = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3, unique=True))
        sets = st.one_of(st.none(), st.frozensets(st.sampled_from(names)))
        found += draw(st.lists(sets, min_size=1, max_size=12))
    return found


def _events(sets: Sets) -> list[Event]:
    return [Event(t, {}, None if s is None else sorted(s)) for t, s in enumerate(sets)]


def _cuts(n: int, cuts: Sequence[int]) -> Iterator[tuple[int, int]]:
    edges = [0, *sorted({cut % n for cut in cuts if cut % n}), n]
    return itertools.pairwise(edges)


def _encoder(bound: int = 100, after: int | None = 8, declared: Sequence[str] = ()) -> Encoder:
    return Encoder(declared, max_labels=bound, new_labels="drop", forget_labels_after=after)


def _told(batch: Batch, start: int) -> list[tuple[int, int, str, bool, int]]:
    """The changes, at the event's number in the stream."""
    return [(start + change.at, *change[1:]) for change in batch.changes]


@settings(max_examples=60)
@given(label_sets(), st.lists(st.integers(0, 80), max_size=5), st.integers(2, 8))
def test_ids_and_changes_do_not_depend_on_batches(sets: Sets, cuts: list[int], bound: int) -> None:
    events = _events(sets)
    whole_encoder, encoder = _encoder(bound), _encoder(bound)
    whole = whole_encoder.encode(events)
    changes, ids, known = [], [], []
    for start, stop in _cuts(len(events), cuts):
        batch = encoder.encode(events[start:stop])
        changes += _told(batch, start)
        ids += batch.y_indices.tolist()
        known += batch.known[1:].tolist()
        encoder = copy.deepcopy(encoder)
    assert changes == _told(whole, 0)
    assert ids == whole.y_indices.tolist()
    assert known == whole.known[1:].tolist()
    assert encoder.labels.names() == whole_encoder.labels.names()
    assert (
        encoder.labels.ranks().tolist() == np.argsort(np.argsort(encoder.labels.names())).tolist()
    )
    assert encoder.labels.ever == whole_encoder.labels.ever


class _Twin:
    """The obvious vocabulary: the last event of each label, and who has which id."""

    def __init__(self, bound: int, after: int) -> None:
        self.bound, self.after, self.n = bound, after, 0
        self.last: dict[str, int] = {}
        self.place: dict[str, int] = {}
        self.latest: dict[int, str] = {}  # who had an id last
        self.ever: set[str] = set()

    def learn(self, labels: frozenset[str]) -> frozenset[str]:
        """Labels of the event that are not dropped."""
        spare = [a for a, n in self.last.items() if self.n - n >= ABSENCE and a not in labels]
        spare.sort(key=lambda name: (self.last[name], name))
        fresh = sorted(labels - self.last.keys())
        room = self.bound - len(self.last) + len(spare)
        fresh = fresh[:room]
        short = len(self.last) + len(fresh) - self.bound
        for name in spare[: max(short, self.bound // 64)] if short > 0 else []:
            del self.last[name], self.place[name]
        places: dict[str, int] = {}
        for own in (True, False):
            for name in fresh:
                taken = {*self.place.values(), *places.values()}
                free = [i for i in range(self.bound) if i not in taken]
                mine = [i for i in free if self.latest.get(i) == name]
                if own and mine:
                    places[name] = mine[0]
                elif not own and name not in places:
                    places[name] = free[0]
        self.place |= places
        self.latest |= {i: name for name, i in places.items()}
        kept = (labels & self.last.keys()) | frozenset(fresh)
        self.ever |= kept
        self.n += 1
        self.last |= dict.fromkeys(kept, self.n)
        if self.n % LOOK == 0:
            for name in [a for a, n in self.last.items() if self.n - n >= self.after]:
                del self.last[name], self.place[name]
        return kept


@settings(max_examples=100)
@given(label_sets(), st.integers(2, 8), st.integers(ABSENCE, 20))
def test_ids_are_those_of_the_twin(sets: Sets, bound: int, after: int) -> None:
    encoder, twin = _encoder(bound, after), _Twin(bound, after)
    for event, labels in zip(_events(sets), sets, strict=True):
        batch = encoder.encode([event])
        if labels is not None:
            ids = twin.place
            kept = twin.learn(labels)
            names = encoder.labels.names()
            assert {names[i] for i in batch.y_indices} == kept
            assert ids is twin.place
        known = encoder.labels
        assert {name: known.get(name) for name in twin.place} == twin.place
        assert len(known) == len(twin.place) <= bound
        assert known.seen <= bound
        assert known.ever == len(twin.ever)
        taken = set(twin.place.values())
        assert sorted(known.vacant) == [i for i in range(known.seen) if i not in taken]


@settings(max_examples=60)
@given(label_sets(), st.lists(st.integers(0, 80), max_size=5), st.integers(2, 8))
def test_a_batch_tells_whose_its_ids_are(sets: Sets, cuts: list[int], bound: int) -> None:
    events = _events(sets)
    one_by_one, encoder = _encoder(bound), _encoder(bound)
    expected = []
    for event in events:
        batch = one_by_one.encode([event])
        table = one_by_one.labels.names()
        expected.append([table[i] for i in batch.y_indices])
    found = []
    for start, stop in _cuts(len(events), cuts):
        batch = encoder.encode(events[start:stop])
        end = 0
        for first, last, names in batch.names(encoder.labels.names()):
            assert first == end
            end = last
            for t in range(first, last):
                ids = batch.y_indices[batch.y_indptr[t] : batch.y_indptr[t + 1]]
                found.append([names[i] for i in ids])
        assert end == len(batch)
    assert found == expected


def test_a_declared_label_stays_known() -> None:
    encoder = _encoder(declared=["a"])
    encoder.encode(_events([frozenset("ab"), *[frozenset("c")] * 20]))
    assert encoder.labels.unseen() == ["a"]
    assert "b" not in encoder.labels
    assert (len(encoder.labels), encoder.labels.ever) == (2, 3)


def test_named_off_is_known_again() -> None:
    encoder = _encoder()
    encoder.encode(_events([frozenset("ab"), *[frozenset("c")] * 20]))
    encoder.encode([Event(0, {}, ["c"], ["a"])])
    assert encoder.labels.unseen() == ["a"]
    assert (len(encoder.labels), encoder.labels.ever) == (2, 3)


def test_without_a_limit_nothing_vanishes() -> None:
    encoder = _encoder(bound=2, after=None)
    batch = encoder.encode(_events([frozenset("ab"), *[frozenset("b")] * 50, frozenset("c")]))
    assert batch.changes == ()
    assert encoder.labels.names() == ["a", "b"]
    assert encoder.labels.dropped == 1


def test_labels_refused_as_long_as_all_others_live() -> None:
    encoder = Encoder(max_labels=2, forget_labels_after=100)
    encoder.encode(_events([frozenset("ab"), *[frozenset("b")] * (ABSENCE - 1)]))
    with pytest.raises(MalformedEventError, match="max_labels = 2"):
        encoder.add(Event(0, {}, ["c"]))
    encoder.encode([Event(0, {}, ["b"]), Event(1, {}, ["c"])])
    assert encoder.labels.names() == ["c", "b"]
    with pytest.raises(MalformedEventError, match="max_labels = 2"):
        encoder.add(Event(0, {}, ["d"]))


def test_a_declared_label_makes_no_room() -> None:
    encoder = _encoder(bound=2, after=100, declared=["a"])
    encoder.encode(_events([frozenset("ab"), *[frozenset("b")] * 20, frozenset("c")]))
    assert encoder.labels.dropped == 1


def test_room_for_several_at_once() -> None:
    labels = LabelVocabulary((), 3, "error", 100)
    labels.ids(["a", "b", "c"])
    for _ in range(ABSENCE):
        labels.ids(["c"])
    assert labels.admit(["d", "c", "e"]) == ["d", "c", "e"]
    labels.make_room(["d", "c", "e"])
    assert labels.names() == ["a", "b", "c"]
    assert [(change.name, change.birth) for change in labels.take_changes()] == [
        ("a", False),
        ("b", False),
    ]
    assert labels.ids(["c", "d", "e"]) == [0, 1, 2]


def test_changed_since() -> None:
    encoder = _encoder(bound=3, after=8)
    encoder.encode(_events([frozenset("abc"), *[frozenset("c")] * 20, frozenset("d")]))
    assert encoder.labels.changes == 3
    assert encoder.labels.changed_since(0) == [0, 1]
    assert encoder.labels.changed_since(2) == [0]
    assert encoder.labels.changed_since(3) == []


def test_too_short_a_life_is_refused() -> None:
    with pytest.raises(UsageError, match=f"forget_labels_after: found 5, accepted: {ABSENCE}"):
        Encoder(forget_labels_after=ABSENCE - 1)


def test_names_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "MOST_REMEMBERED", 1)
    encoder = _encoder()
    encoder.encode(_events([frozenset("ab"), *[frozenset("c")] * 20, frozenset("ab")]))
    assert encoder.labels.ever == 4  # one of two has been known before


# Measures and baselines.


def _permanent(sets: Sets, names: Sequence[str], on: Any, scores: Any) -> Measures:
    """Measures over one column per name for ever."""
    measures = Measures(window=10)
    truth = [[i for i, name in enumerate(names) if name in (s or ())] for s in sets]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in truth])]).astype(np.int64)
    indices = np.array([i for row in truth for i in row], dtype=np.int32)
    measures.update(on, scores, indptr, indices, np.array([s is not None for s in sets]))
    return measures


@settings(max_examples=60, deadline=None)
@given(
    label_sets(), st.lists(st.integers(0, 80), max_size=5), st.integers(3, 8), st.integers(0, 999)
)
def test_no_figure_changes_because_an_id_is_used_again(
    sets: Sets, cuts: list[int], bound: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    names = "abcdefgh"
    chosen = random.random((len(sets), len(names))) < 0.3
    likely = random.choice([0.1, 0.4, 0.5, 0.9], (len(sets), len(names)))
    encoder, measures = _encoder(bound), Measures(window=10)
    all_on = np.zeros(chosen.shape, dtype=np.bool_)
    all_scores = np.full(chosen.shape, np.nan)
    kept: list[frozenset[str] | None] = []
    for start, stop in _cuts(len(sets), cuts):
        # What is known before each event, by a second encoder that reads one by one.
        events = _events(sets[start:stop])
        one_by_one = copy.deepcopy(encoder)
        batch = encoder.encode(events)
        on = np.zeros((len(batch), batch.n_labels), dtype=np.bool_)
        scores = np.full(on.shape, np.nan)
        for t, event in enumerate(events):
            before = {name: one_by_one.labels.get(name) for name in names}
            single = one_by_one.encode([event])
            before |= {change.name: None for change in single.changes if change.at == 0}
            for column, name in enumerate(names):
                index = before[name]
                if index is not None:
                    scores[t, index] = all_scores[start + t, column] = likely[start + t, column]
                    on[t, index] = all_on[start + t, column] = chosen[start + t, column]
            table = one_by_one.labels.names()
            labels = frozenset(table[i] for i in single.y_indices)
            kept.append(labels if event.on is not None else None)
        learned = np.zeros(len(batch), dtype=np.int64)
        measures.update_batch(batch, Predictions(on, scores, learned))
    expected = _permanent(kept, names, all_on, all_scores)
    ever = encoder.labels.ever
    n_labels = len({name for labels in kept for name in labels or ()})
    assert measures.n_labels == ever == n_labels
    # Columns of names that never came hold nothing, so both may be asked for all of them.
    for mine, theirs in (
        (measures.result(len(names)), expected.result()),
        (measures.rolling(len(names)), expected.rolling()),
    ):
        # Logarithms are added up in the order of ids.
        assert mine == pytest.approx(theirs, rel=1e-12, nan_ok=True)
    vacant = set(encoder.labels.vacant)
    held = {i: name for i, name in enumerate(encoder.labels.names()) if i not in vacant}
    by_label = {}
    for column, name in enumerate(names):
        pairs = [
            (bool(all_on[t, column]), name in labels)
            for t, labels in enumerate(kept)
            if labels is not None
        ]
        counts = (pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True)))
        if any(counts):
            by_label[name] = counts
    assert measures.by_label(held) == by_label


def test_measures_forget_names_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vanished, "MOST_REMEMBERED", 1)
    sets: Sets = [frozenset("ab"), frozenset("a"), *[frozenset("c")] * 20, frozenset("ab")]
    encoder, measures = _encoder(), Measures(window=5)
    batch = encoder.encode(_events(sets))
    on = np.zeros((len(batch), 3), dtype=np.bool_)
    on[:3, 0] = True  # a: hit twice, wrong once; missed at the end
    measures.update_batch(batch, Predictions(on, on.astype(np.float64), np.zeros(len(batch), int)))
    figures = measures.result()
    assert figures["labels"] == measures.n_labels == 4  # "b" has come back as another label
    assert figures["macro_f1"] == pytest.approx(2 * 2 / 6 / 4)
    assert figures["macro_precision"] == pytest.approx(2 / 3 / 4)
    assert figures["macro_recall"] == pytest.approx(2 / 3 / 4)
    assert figures["micro_precision"] == pytest.approx(2 / 3)
    assert figures["micro_recall"] == pytest.approx(2 / 25)


@pytest.mark.parametrize("most", [1, 3])
def test_labels_known_together_count_as_they_did(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    # A new label every 5 events; each is there for 15.
    sets: Sets = [frozenset(f"l{t // 5 + i:03}" for i in range(3)) for t in range(600)]

    def scored(bound: int) -> Measures:
        monkeypatch.setattr(vanished, "MOST_REMEMBERED", bound)
        random = np.random.default_rng(0)
        encoder, measures = _encoder(), Measures(window=50)
        for a in range(0, len(sets), 10):
            batch = encoder.encode(_events(sets[a : a + 10]))
            scores = random.random((10, batch.n_labels))
            on = scores > 0.6
            measures.update_batch(batch, Predictions(on, scores, np.zeros(10, dtype=np.int64)))
        return measures

    few, all_of_them = scored(most), scored(1000)
    assert few.n_labels == all_of_them.n_labels > 100
    assert len(few._vanished._reached) <= most + 3 < len(all_of_them._vanished._reached)
    assert few._vanished.summary.labels > 90
    for mine, theirs in (
        (few.result(), all_of_them.result()),
        (few.rolling(), all_of_them.rolling()),
    ):
        assert mine == pytest.approx(theirs, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", BASELINES)
@given(label_sets(), st.lists(st.integers(0, 80), max_size=5), st.integers(3, 8))
def test_baselines_follow_the_ids(name: str, sets: Sets, cuts: list[int], bound: int) -> None:
    """By name, however the stream is cut; what nobody is has no score."""
    events = _events(sets)
    tables = []
    for edges in (list[int](), cuts):
        encoder = _encoder(bound)
        learner = make_baseline(name, encoder)
        rows = []
        for start, stop in _cuts(len(events), edges):
            batch = encoder.encode(events[start:stop])
            predictions = learner.predict_learn(batch)
            for first, last, names in batch.names(encoder.labels.names()):
                for t in range(first, last):
                    on, scores = predictions.on[t].tolist(), predictions.scores[t].tolist()
                    rows.append({names[i]: (on[i], p) for i, p in enumerate(scores) if p == p})
        tables.append(rows)
    assert tables[0] == tables[1]


def test_majority_counts_by_name() -> None:
    sets = [frozenset("a"), *[frozenset("b")] * 20, frozenset("a")]
    encoder = _encoder(bound=2)
    learner = make_baseline("majority", encoder)
    learner.predict_learn(encoder.encode(_events(sets)))
    scores = learner.predict_learn(encoder.encode([Event(0, {})])).scores[0]
    assert scores.tolist() == [2 / 22, 20 / 22]


def test_majority_set_forgets_sets_of_nobody() -> None:
    sets = [*[frozenset("a")] * 3, *[frozenset("b")] * 2, *[frozenset()] * 20]
    encoder = _encoder(bound=2)
    learner = make_baseline("majority-set", encoder)
    batch = encoder.encode(_events([*sets, frozenset("c")]))
    assert learner.predict_learn(batch).on[4].tolist() == [True, False]
    assert not learner.predict_learn(encoder.encode([Event(0, {})])).on.any()
