"""What an estimator tells of itself."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer import IHomer
from ihomer.drift.events import Kind, LearnerEvent, Level
from ihomer.instances import Event
from tests.streams import scores_in_batches


def regrouped(n: int, at: int, seed: int) -> list[Event]:
    """Two groups of labels with a feature each; from event `at` on two labels have swapped."""
    rng = np.random.default_rng(seed)
    stream = []
    for t in range(n):
        groups = ["abc", "def"] if t < at else ["abf", "dec"]
        on = [name for name in groups[int(rng.integers(2))] if rng.random() < 0.8]
        x = {**dict.fromkeys(on, 1.0), "noise": float(rng.normal())}
        stream.append(Event(t, x, on))
    return stream


STREAM = regrouped(2200, 1200, 5)


@pytest.fixture(scope="module")
def whole() -> IHomer:
    model = IHomer()
    model.predict_learn(model.encoder.encode(STREAM))
    return model


def test_a_change_of_company_is_told_from_the_alarm_to_the_new_clusters(whole: IHomer) -> None:
    events = whole.events()
    births = [event for event in events if event.kind == Kind.BIRTH]
    assert [(event.event, event.labels) for event in births] == [(128, tuple("abcdef"))]
    first, *_ = (e for e in events if (e.kind, e.level) == (Kind.ALARM, Level.STRUCTURE))
    assert 1200 < first.event < 1600
    assert first.statistic is not None
    assert first.bound is not None
    assert first.statistic < 0 < first.bound < -first.statistic
    moved = [e for e in events if e.level == Level.PARTITION and e.event > 1200 and e.labels]
    assert {label for event in moved for label in event.labels} == {"c", "f"}
    # Clusters are known by what their events say, and keep their numbers.
    cluster_of: dict[str | int, int | None] = {}
    for event in events:
        if event.level == Level.PARTITION:
            cluster_of |= dict.fromkeys(event.labels, event.cluster)
    by_number: dict[int | None, set[str]] = {}
    for label, number in cluster_of.items():
        by_number.setdefault(number, set()).add(str(label))
    assert sorted(map(sorted, by_number.values())) == [["a", "b", "f"], ["c", "d", "e"]]
    assert sorted(map(sorted, whole.clusters())) == [["a", "b", "f"], ["c", "d", "e"]]
    after = [e for e in events if (e.kind, e.level) == (Kind.SWITCH, Level.PARTITION)]
    assert after[-1].action == "2 clusters, 0 labels without a place"


def test_counts_numbers_and_the_older_counts_are_one_source(whole: IHomer) -> None:
    events, counts = whole.events(), whole.event_counts
    assert [event.number for event in events] == list(range(1, whole.n_events + 1))
    assert sum(counts.values()) == whole.n_events
    for number in (0, 3, whole.n_events, whole.n_events + 5):
        assert whole.events(since=number) == events[number:]
    assert whole.counts == {
        "local_alarms": counts.get((Kind.ALARM, Level.CLUSTER), 0),
        "global_alarms": counts.get((Kind.ALARM, Level.LOSS), 0)
        + counts[Kind.ALARM, Level.STRUCTURE],
        "partition_changes": counts[Kind.SWITCH, Level.PARTITION],
    }
    assert min(whole.counts["global_alarms"], whole.counts["partition_changes"]) > 0


@settings(max_examples=6)
@given(st.lists(st.integers(1, 2199), max_size=8), st.integers(1, 3), st.integers(1, 2199))
def test_neither_cuts_nor_threads_nor_a_restart_change_what_is_told(
    cuts: list[int], threads: int, saved_at: int
) -> None:
    expected = IHomer()
    scores_in_batches(expected, STREAM, [])
    model = IHomer(threads=threads)
    scores_in_batches(model, STREAM[:saved_at], cuts)
    told: list[LearnerEvent] = model.events()
    model = pickle.loads(pickle.dumps(model))  # noqa: S301  # made here
    scores_in_batches(model, STREAM[saved_at:], cuts)
    told += model.events(since=told[-1].number if told else 0)
    assert told == expected.events() == model.events()


def test_births_of_a_stride_are_one_event_and_sorted_by_name() -> None:
    model = IHomer(partition=False, without=("forest", "path", "net", "neighbours"))
    rng = np.random.default_rng(3)
    names = [f"label {i}" for i in rng.permutation(400)]
    stream = [Event(t, {"x": 1.0}, [names[t], names[(7 * t) % 400]]) for t in range(400)]
    model.predict_learn(model.encoder.encode(stream))
    births = [event for event in model.events() if event.kind is Kind.BIRTH]
    assert [event.event for event in births] == [128, 256, 384]
    assert {event.level for event in births} == {Level.LABEL}
    known: set[str | int] = set()
    for event in births:
        seen = {name for e in stream[: event.event] for name in e.on or ()}
        assert event.labels == tuple(sorted(seen - known))
        known |= set(event.labels)


def test_readers_on_other_threads_see_whole_events_in_order() -> None:
    model = IHomer()
    told: list[LearnerEvent] = []
    done, reading = threading.Event(), threading.Event()

    def read() -> None:
        while not done.is_set():
            told.extend(model.events(since=told[-1].number if told else 0))
            reading.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert reading.wait(60)
        for start in range(0, len(STREAM), 100):
            model.predict_learn(model.encoder.encode(STREAM[start : start + 100]))
    finally:
        done.set()
        reader.join()
    told.extend(model.events(since=told[-1].number if told else 0))
    assert told == model.events()


def test_alternate_subtrees_are_told() -> None:
    rng = np.random.default_rng(7)
    stream = []
    for t in range(6000):
        x = rng.uniform(-1.0, 1.0, 6)
        follows = range(4) if t < 3000 else (1, 2, 3, 0)  # each label's feature
        on = [f"y{c}" for c, j in enumerate(follows) if (x[j] > 0.2) != (rng.random() < 0.1)]
        stream.append(Event(t, {f"x{j}": float(v) for j, v in enumerate(x)}, on))
    off = ("ridge", "raw", "net", "neighbours", "path")
    for alternates in (True, False):
        without = off if alternates else (*off, "alternates")
        model = IHomer(partition=False, drift=False, without=without)
        model.predict_learn(model.encoder.encode(stream))
        told = [event for event in model.events() if event.level == Level.TREE]
        found = {
            kind: sum(int(event.action.rsplit(" ", 1)[1]) for event in told if event.kind == kind)
            for kind in (Kind.ALARM, Kind.SWITCH)
        }
        assert not any(event.labels for event in told)  # all labels are together
        assert (found[Kind.ALARM] >= found[Kind.SWITCH] > 0) == alternates
        if alternates:
            assert min(event.event for event in told if event.kind == Kind.SWITCH) > 3000
        else:
            assert not told
