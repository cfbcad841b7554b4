"""The log of what happens to a learner: numbers, counts, what is kept, names."""

from __future__ import annotations

import pickle
from dataclasses import replace

import jsonschema_rs
from hypothesis import given
from hypothesis import strategies as st

from ihomer.drift.events import EventLog, Kind, LearnerEvent, Level
from ihomer.stream.chronicle import by_kind
from ihomer.stream.schemas import load_schema

SCHEMA = jsonschema_rs.validator_for(load_schema("learner-event"))

kinds, levels = st.sampled_from(list(Kind)), st.sampled_from(list(Level))
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
happened = st.builds(
    LearnerEvent,
    event=st.integers(0, 1 << 40),
    kind=kinds,
    level=levels,
    action=st.text(max_size=5),
    cluster=st.none() | st.integers(0, 9),
    labels=st.lists(st.integers(0, 9), unique=True, max_size=6).map(tuple),
    statistic=numbers,
    bound=numbers,
)
NAMES = [f"label {9 - i}" for i in range(10)]


@given(st.lists(happened, max_size=30), st.integers(1, 12), st.integers(1, 20), st.integers(-2, 40))
def test_the_latest_are_kept_and_all_are_counted(
    events: list[LearnerEvent], most: int, most_labels: int, since: int
) -> None:
    log = EventLog(most, most_labels)
    log.extend(events)
    kept: list[int] = []
    for number in range(len(events), 0, -1):
        labels = sum(len(events[i - 1].labels) for i in [number, *kept])
        if kept and (len(kept) == most or labels > most_labels):
            break
        kept.insert(0, number)
    assert [event.number for event in log.since(since)] == [n for n in kept if n > since]
    assert log.total == len(events)
    for kind in Kind:
        for level in Level:
            found = sum((event.kind, event.level) == (kind, level) for event in events)
            assert log.counts[kind, level] == found
    told = by_kind(log.counts)
    assert sum(count for of in told.values() for count in of.values()) == len(events)
    assert list(told) == [kind for kind in Kind if kind in told]


@given(st.lists(happened, max_size=20), st.integers(1, 9))
def test_labels_have_the_names_of_the_time(events: list[LearnerEvent], most: int) -> None:
    now = [""]

    def name(index: int) -> str:
        return NAMES[index] + now[0]

    log, ids = EventLog(most, name=name), EventLog(most)
    for number, event in enumerate(events):
        now[0] = f" at {number}"
        log.add(event)
        ids.add(event)
    for named, plain in zip(log.since(0), ids.since(0), strict=True):
        of = events[named.number - 1]
        assert plain == replace(of, number=named.number)
        at = f" at {named.number - 1}"
        expected = tuple(sorted(NAMES[i] + at for i in of.labels if isinstance(i, int)))
        assert named == replace(plain, labels=expected)
        log.add(named)  # names stay as they are
        assert log.since(log.total - 1)[0].labels == expected


@given(st.lists(happened, max_size=9))
def test_the_json_of_an_event_keeps_to_its_schema(events: list[LearnerEvent]) -> None:
    log = EventLog(name=NAMES.__getitem__)
    log.extend(events)
    log = pickle.loads(pickle.dumps(log))  # noqa: S301  # made here
    for event in log.since(0):
        of = events[event.number - 1]
        body = event.to_json()
        assert SCHEMA.is_valid(body), body
        assert list(body)[:4] == ["number", "event", "kind", "level"]
        assert (body["statistic"], body["bound"]) == (of.statistic, of.bound)


def test_the_schema_knows_every_kind_and_level_and_no_others() -> None:
    properties = load_schema("learner-event")["properties"]
    assert properties["kind"]["enum"] == list(Kind)
    assert properties["level"]["enum"] == list(Level)
    body = LearnerEvent(0, Kind.DEATH, Level.LABEL, number=1).to_json()
    place = {"id": "a", "source": "s", "partition": 0, "offset": 0}
    assert SCHEMA.is_valid(body)
    assert SCHEMA.is_valid(body | place)
    for wrong in ({"number": 0}, {"kind": "x"}, {"id": "a"}, {"other": 1}, {"labels": [1]}):
        assert not SCHEMA.is_valid(body | wrong), wrong
    for key in body:
        assert not SCHEMA.is_valid({k: v for k, v in body.items() if k != key}), key
