"""The label join: who meets whom, who waits how long, and that all of it is counted."""

from __future__ import annotations

import copy
import json
import sys
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.connectors.base import Message, Record
from ihomer.errors import MalformedEventError, UsageError
from ihomer.instances import Event, LabelEvent, Row
from ihomer.state import Plain
from ihomer.stream.event_time import LATEST, EventTime, milliseconds
from ihomer.stream.kept_features import FeatureStore
from ihomer.stream.label_join import POLICIES, SETTLE, LabelJoin
from ihomer.stream.label_rows import Held, Origin, Rows
from ihomer.stream.label_state import join_state, restore_join
from tests.late_streams import LateStream, late_stream
from tests.naive_label_join import NaiveJoin, Step


class Told(Rows):
    """Writes down what a join says."""

    def __init__(self, refused: Sequence[str] = ()) -> None:
        self.steps: list[Step] = []
        self.letters: list[Record] = []
        self.gone: list[int] = []
        self.bad = set(refused)

    def admit(self, labels: Sequence[str]) -> None:
        if self.bad & set(labels):
            raise MalformedEventError("vocabulary", "too-many-labels", "y: no room")

    def predict(self, record: Record, event: Event, number: int = -1) -> None:
        assert event.on is None
        self.steps.append(("predict", event.id))

    def learn(self, record: Record, event: Event, number: int) -> None:
        assert event.on is not None
        self.admit(event.on)
        self.steps.append(("learn", event.id, tuple(event.on)))

    def predict_and_learn(self, record: Record, event: Event) -> None:
        assert event.on is not None
        self.admit(event.on)
        self.steps.append(("both", event.id, tuple(event.on)))

    def learn_unscored(self, record: Record, event: Event) -> None:
        assert event.on == ()
        self.steps.append(("negative", event.id))

    def forget(self, number: int) -> None:
        self.gone.append(number)

    def hand_over(self, message: Message) -> None:
        assert message.value is not None
        self.steps.append(("over", json.loads(message.value)["id"]))

    def refuse(self, record: Record, fault: MalformedEventError) -> None:
        self.letters.append(record)


Found = Event | LabelEvent


def record_of(found: Found, at: int) -> Record:
    return Record(found, "tickets", 0, at)


def take(join: LabelJoin, found: Found, number: int, rows: Told) -> None:
    record = record_of(found, number)
    if isinstance(found, Event):
        join.take_event(found, record, rows)
    else:
        join.take_labels(found, record, rows)
    if join.at_border:
        join.settle(rows, record)


def run(join: LabelJoin, stream: Sequence[Found], rows: Told | None = None, at: int = 0) -> Told:
    rows = rows or Told()
    for number, found in enumerate(stream, at):
        take(join, found, number, rows)
        assert_counts_add_up(join)
    return rows


def assert_counts_add_up(join: LabelJoin) -> None:
    counts = join.counts
    ends = ("at_once", "joined", "repeated", "dropped", "negative", "handed_over")
    assert counts["events"] == sum(counts[name] for name in ends) + join.waiting
    late = counts["joined"] + counts["twice"] + counts["too_late"]
    assert counts["labels"] == late + counts["unmatched"] + counts["refused"] + join.held


IDS = st.integers(0, 9) | st.sampled_from(["0", "a", "b"])
NAMES = st.lists(st.sampled_from("pqr"), unique=True, max_size=2)
TIMES = st.none() | st.integers(0, 40).map(lambda second: 1000 * second)


@st.composite
def streams(draw: st.DrawFn) -> list[Found]:
    """Few ids, so that everything happens to them; event time wanders."""
    found: list[Found] = []
    for _ in range(draw(st.integers(0, 60))):
        name, when = draw(IDS), draw(TIMES)
        if draw(st.booleans()):
            found.append(LabelEvent(name, draw(NAMES), (), when))
        else:
            on = draw(st.none() | st.none() | NAMES)
            found.append(Event(name, {"a": 1.0}, on, (), when))
    return found


def longer(stream: Sequence[Found], times: int) -> list[Found]:
    """The same with as many events, without labels, in front of it as event time begins with."""
    before = [Event(-1 - i, {}, (), ts=0) for i in range(times)]
    return [*before, *stream]


@given(
    streams(),
    st.sampled_from([0, 1, 3, 10, 1000]),
    st.none() | st.sampled_from([0, 1, 5]),
    st.sampled_from(POLICIES),
    st.sampled_from([0.0, 0.25, 0.7, 1.0]),
    st.integers(0, 40),
)
def test_it_does_what_the_naive_one_does(
    stream: list[Found], events: int, seconds: int | None, policy: Any, weight: float, first: int
) -> None:
    stream = longer(stream, first)
    join = LabelJoin(events, seconds, 1e9, policy, weight)
    naive = NaiveJoin(events, seconds, policy, weight)
    for found in stream:
        naive.take(found)
    assert run(join, stream).steps == naive.steps
    counts = {name: count for name, count in join.counts.items() if count}
    assert counts == dict(naive.counts)
    assert (join.waiting, join.held) == (len(naive.waiting), len(naive.held))


@given(streams(), st.integers(0, 60), st.sampled_from([2, 1000]), st.sampled_from([1e9, 30_000.0]))
def test_a_join_that_is_saved_goes_on_alike(
    stream: list[Found], cut: int, events: int, max_bytes: float
) -> None:
    whole = LabelJoin(events, 3, max_bytes)
    expected = run(whole, stream).steps
    first, second = LabelJoin(events, 3, max_bytes), LabelJoin(events, 3, max_bytes)
    rows = run(first, stream[:cut])
    restore_join(second, copy.deepcopy(join_state(first)))
    assert run(second, stream[cut:], rows, cut).steps == expected
    assert second.counts == whole.counts
    assert second.n_bytes == whole.n_bytes
    assert_same(join_state(second), join_state(whole))


def assert_same(one: Any, other: Any) -> None:
    """Two states are equal; what they are made of is what a checkpoint takes."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, tuple):
        assert type(one) in (tuple, Plain, Held, Origin)
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    else:
        assert one is None or type(one) in {int, float, str, bool, bytes}
        assert one == other


def found_in(stream: LateStream) -> list[Found]:
    found: list[Found] = []
    for arrival in stream.arrivals:
        body = json.loads(arrival.value)
        if arrival.kind == "features":
            found.append(Event(body["id"], body["x"], ts=body.get("ts")))
        else:
            found.append(LabelEvent(body["id"], body["y"], (), body.get("ts")))
    return found


def test_labels_by_up_to_ten_thousand_events_late_are_learned_once() -> None:
    """1% never come, 1% come twice, 1% come first; labels up to the wait are in time."""
    pairs = [({"a": float(i)}, [f"label {i % 7}"]) for i in range(30_000)]
    stream = late_stream(pairs, 5, delay=10_000)
    join = LabelJoin(10_001, None)
    rows = run_fast(join, found_in(stream))
    learned = {step[1]: step[2] for step in rows.steps if step[0] in {"learn", "both"}}
    counts = join.counts
    assert len(learned) == sum(step[0] in {"learn", "both"} for step in rows.steps)
    assert set(learned) == set(stream.labels) - stream.never
    expected = {name: stream.labels[name] for name in learned}
    # Of two opinions the one that came first counts.
    wrong = {name for name in learned if learned[name] != expected[name]}
    assert wrong < stream.twice
    assert all(learned[name] == (*expected[name], "second opinion") for name in wrong)
    assert counts["joined"] == len(learned)
    assert counts["twice"] == len(stream.twice)
    assert 0.9 * len(stream.early) <= counts["early"] <= len(stream.early)
    assert counts["dropped"] + join.waiting == len(stream.never)
    assert counts["crowded_out"] == counts["unmatched"] == counts["too_late"] == join.held == 0
    assert {step[1] for step in rows.steps if step[0] == "predict"} | {
        step[1] for step in rows.steps if step[0] == "both"
    } == set(stream.labels)
    assert min(len(stream.never), len(stream.twice), len(stream.early)) > 200


def run_fast(join: LabelJoin, stream: Sequence[Found]) -> Told:
    rows = Told()
    for number, found in enumerate(stream):
        take(join, found, number, rows)
    assert_counts_add_up(join)
    return rows


def test_labels_after_the_wait_are_too_late() -> None:
    join = LabelJoin(2, None)
    stream = [Event("a", {}), Event("b", {}), Event("c", {}), Event("d", {})]
    labels = [LabelEvent("a", ["p"]), LabelEvent("b", ["p"]), LabelEvent("a", ["p"])]
    rows = run(join, [*stream, *labels])
    assert [step for step in rows.steps if step[0] == "learn"] == [("learn", "b", ("p",))]
    assert (join.counts["too_late"], join.counts["dropped"]) == (2, 1)
    assert rows.gone == [1]


def test_refused_labels_leave_the_event_for_others() -> None:
    join, rows = LabelJoin(), Told(refused=["new"])
    run(join, [Event("a", {})], rows)
    with pytest.raises(MalformedEventError):
        run(join, [LabelEvent("a", ["new"])], rows)
    run(join, [LabelEvent("a", ["old"])], rows)
    assert rows.steps == [("predict", "a"), ("learn", "a", ("old",))]


def test_labels_that_are_refused_once_their_event_is_there_are_dead_letters() -> None:
    join, rows = LabelJoin(), Told(refused=["new"])
    labels = [LabelEvent("a", ["new"]), LabelEvent("b", ["new"])]
    run(join, [*labels, Event("a", {}), Event("b", {}, ["old"]), LabelEvent("a", ["old"])], rows)
    assert [record.offset for record in rows.letters] == [0, 1]
    assert rows.steps == [("predict", "a"), ("both", "b", ("old",)), ("learn", "a", ("old",))]
    assert join.counts["refused"] == 2


def test_an_event_with_refused_labels_that_was_there_before_is_not_predicted_again() -> None:
    join, rows = LabelJoin(), Told(refused=["new"])
    run(join, [Event("a", {})], rows)
    with pytest.raises(MalformedEventError):
        run(join, [Event("a", {}, ["new"])], rows)
    assert rows.steps == [("predict", "a")]
    assert_counts_add_up(join)


@given(st.lists(st.integers(0, 3_000), max_size=400), st.integers(2_000, 40_000))
def test_what_is_kept_stays_within_the_bound(sizes: list[int], max_bytes: int) -> None:
    """Features of all sizes, labels that never meet them, and predictions."""
    join, rows = LabelJoin(10**9, None, max_bytes), Told()
    for number, size in enumerate(sizes):
        record = record_of(Event(number, {}), number)
        if number % 3:
            join.take_event(Event(number, {"a": "x" * size}), record, rows)
            join.sent(number, 0)
        else:
            join.take_labels(LabelEvent(f"l{number}", ["y" * size]), record, rows)
        assert join.n_bytes <= max_bytes
        assert_counts_add_up(join)
    assert join.counts["crowded_out"] == join.counts["dropped"]


def test_predictions_count_after_every_so_many_records() -> None:
    join, rows = LabelJoin(10**9, None, 2e6), Told()
    for number in range(1, 2001):
        record = record_of(Event(number, {}), number)
        join.take_event(Event(number, {"a": 1.0}), record, rows)
        join.sent(number, 20_000)
        if join.at_border:
            assert number % SETTLE == 0
            join.settle(rows, record)
            assert join.n_bytes <= 2e6
    assert join.counts["crowded_out"] > 1_400
    assert rows.gone == list(range(1, 1 + len(rows.gone)))


def test_the_bytes_that_are_counted_are_those_that_are_taken() -> None:
    """Of events and of labels, with long ids, as the interpreter sees them."""
    names = tuple(f"feature {i}" for i in range(40))
    makes: list[Any] = [
        lambda i: Event(i, {"a": float(i)}),
        lambda i: Event(f"event {i}" * 9, Row(names, np.full(40, float(i)))),
        lambda i: LabelEvent(f"labels {i}", [f"label {i}", f"other {i}"]),
    ]
    for make in makes:
        join, rows = LabelJoin(10**9, None, 1e9), Told()
        taken = [(make(i), i) for i in range(3000)]
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for found, i in taken:
            take = join.take_event if isinstance(found, Event) else join.take_labels
            take(found, Record(None, "tickets", 0, i), rows)
            rows.steps.clear()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert after - before <= join.n_bytes <= 4 * (after - before)


def test_a_negative_weight_is_a_share_spread_evenly() -> None:
    join = LabelJoin(0, None, policy="negative", negative_weight=0.25)
    rows = run(join, [Event(i, {}) for i in range(41)])
    negative = [step[1] for step in rows.steps if step[0] == "negative"]
    assert negative == list(range(3, 40, 4))
    assert join.counts["negative"] == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wait_events": -1}, "label_wait_events: found -1"),
        ({"policy": "guess"}, "label_policy: found 'guess', accepted: drop, negative, hand-over"),
        ({"negative_weight": 1.5}, "label_negative_weight: found 1.5"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LabelJoin(**arguments)


def test_ids_that_look_alike_are_two() -> None:
    join = LabelJoin()
    rows = run(join, [Event(1, {}), Event("1", {}), LabelEvent("1", ["p"]), LabelEvent(1, ["q"])])
    assert rows.steps[2:] == [("learn", "1", ("p",)), ("learn", 1, ("q",))]


# Event time -------------------------------------------------------------------------------------


def test_wrong_times_of_some_move_nothing() -> None:
    right, wrong = EventTime(), EventTime()
    rng = np.random.default_rng(1)
    for second in range(1000):
        right.tell(1000 * second)
        wild = rng.random() < 0.2
        wrong.tell(int(rng.choice([-(10**13), 10**14])) if wild else 1000 * second)
        assert abs(right.elapsed - wrong.elapsed) <= 1000 * LATEST


@given(st.lists(st.integers(-(10**14), 10**14), max_size=120))
def test_event_time_never_goes_back(times: list[int]) -> None:
    time, before = EventTime(), 0
    for when in times:
        time.tell(when)
        assert time.elapsed >= before
        before = time.elapsed


@pytest.mark.parametrize(
    ("ts", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01t00:00:01.5z", 1500),
        ("1970-01-01T00:00:00.123456789+00:00", 123),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000),
        ("9999-12-31T23:59:60-23:59", 253_402_387_139_000),
        ("1970-01-01T00:00:01", None),
        ("soon", None),
    ],
)
def test_a_time_in_text_is_told(ts: str, expected: int | None) -> None:
    assert milliseconds(ts) == expected


# Features that are kept -------------------------------------------------------------------------

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_infinity=False),
    st.text(st.characters(), max_size=3),
    st.lists(st.text(max_size=2), max_size=2),
    st.just("\ud800"),
    st.just(np.float64(0.5)),
    st.just({"a", "b"}),
)


@given(st.dictionaries(st.text(max_size=3) | st.integers(0, 3), VALUES, max_size=4))
@settings(max_examples=300)
def test_kept_features_mean_the_same(x: dict[Any, Any]) -> None:
    from ihomer.instances import Encoder

    if len({str(name) for name in x}) < len(x):
        return  # 1 and "1" are one feature
    store = FeatureStore()
    one, other = Encoder(), Encoder()
    packed = store.pack(x)
    expected, found = one.encode([Event(0, x)]), other.encode([Event(0, store.unpack(packed))])
    assert one.features.names() == other.features.names()
    np.testing.assert_array_equal(expected.indices, found.indices)
    np.testing.assert_array_equal(expected.values, found.values)
    store.release(packed)
    assert store.n_bytes == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["row", "sparse", "mapping"]))))
def test_names_are_kept_as_long_as_somebody_has_them(kinds: list[tuple[int, str]]) -> None:
    """Whether a decoder has made a row of a mapping plays no role."""
    store, rows_only = FeatureStore(), FeatureStore()
    kept = []
    for kind, form in kinds:
        names = tuple(f"{kind} {i}" for i in range(kind + 1))
        where = np.array([kind], dtype=np.int32) if form == "sparse" else None
        values = np.arange(1.0 if form == "sparse" else kind + 1.0) + 0.5
        row = Row(names, values, where)
        mapping = dict(zip(names, values.tolist(), strict=True)) if form == "mapping" else None
        packed = store.pack(row if mapping is None else mapping)
        assert packed == rows_only.pack(row)
        kept.append((names if where is None else (names[kind],), values.tolist(), packed))
    assert store.n_bytes == rows_only.n_bytes
    again = FeatureStore.restored(store.state(), [each[-1] for each in kept])
    assert again.state() == store.state()
    for each in (store, again):
        for names, values, packed in kept:
            x = each.unpack(packed)
            if isinstance(x, Row):
                own = x.names if x.indices is None else [x.names[i] for i in x.indices.tolist()]
                x = dict(zip(own, x.values.tolist(), strict=True))
            assert x == dict(zip(names, values, strict=True))
            each.release(packed)
        assert each.n_bytes == 0
        assert not each.state()["names"]


def test_packed_numbers_take_little() -> None:
    store = FeatureStore()
    names = tuple(map(str, range(100)))
    packed = [store.pack(Row(names, np.ones(100))) for _ in range(2)]
    assert [sys.getsizeof(each.data) < 900 for each in packed] == [False, True]
