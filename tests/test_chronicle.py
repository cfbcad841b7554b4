"""What happens to a learner is told once, with its place in the stream, however records come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import StringIO
from itertools import pairwise
from typing import Any

import jsonschema_rs
import pytest
import structlog

from ihomer.connectors.base import Record
from ihomer.connectors.memory import MemorySink
from ihomer.drift.events import Kind, LearnerEvent, Level
from ihomer.learners.ihomer import IHomer
from ihomer.stream.chronicle import Chronicle
from ihomer.stream.daemon import log_event
from ihomer.stream.dead_letters import DeadLetters
from ihomer.stream.decode import Decoder
from ihomer.stream.logs import configure_logging
from ihomer.stream.processor import Processor
from ihomer.stream.schemas import load_schema

SCHEMA = jsonschema_rs.validator_for(load_schema("learner-event"))


def records() -> list[Record]:
    """Every 5th malformed, every 7th of the others without labels; a new label now and then."""
    values = []
    for i in range(1400):
        body: dict[str, Any] = {"id": f"id {i}", "x": {"a": i % 3}, "y": [f"label {i // 90}"]}
        if i % 7 == 3:
            del body["y"]
        values.append(b"bad" if i % 5 == 2 else json.dumps(body).encode())
    return [
        Record(value, "tickets", i % 3, 1000 + i, None, (), i) for i, value in enumerate(values)
    ]


RECORDS = records()


def told(cuts: Sequence[int], listener: list[LearnerEvent] | None = None) -> list[dict[str, Any]]:
    """The messages of a processor that gets the records in parts."""
    learner, sink = IHomer(without=("forest", "path", "net", "neighbours")), MemorySink()
    chronicle = Chronicle(learner, sink, None if listener is None else listener.append)
    letters = DeadLetters(MemorySink())
    processor = Processor(learner, Decoder(), letters, chronicle=chronicle)
    for start, stop in pairwise([0, *cuts, len(RECORDS)]):
        processor.process(RECORDS[start:stop])
        assert chronicle.told == learner.n_events
    processor.flush()
    assert sink.pending == []
    return [json.loads(message.value or b"") for message in sink.messages]


def test_each_event_has_the_place_of_what_was_learned_last() -> None:
    heard: list[LearnerEvent] = []
    found = told([], heard)
    learned = [r for i, r in enumerate(RECORDS) if i % 5 != 2 and i % 7 != 3]
    assert len(found) > 5
    for body, event in zip(found, heard, strict=True):
        assert SCHEMA.is_valid(body)
        record = learned[event.event - 1]
        place: dict[str, Any] = {"id": f"id {record.offset - 1000}", "source": "tickets"}
        place |= {"partition": record.partition, "offset": record.offset}
        assert body == event.to_json() | place
    births = [label for event in heard if event.kind == Kind.BIRTH for label in event.labels]
    known = learned[: max(event.event for event in heard) // 128 * 128]
    assert births == sorted(births, key=births.index)
    assert set(births) <= {json.loads(r.value)["y"][0] for r in known if isinstance(r.value, bytes)}


@pytest.mark.parametrize("cuts", [[1], [700], list(range(64, 1400, 64)), list(range(1, 1400))])
def test_cuts_change_nothing(cuts: list[int]) -> None:
    assert told(cuts) == told([])


def test_what_happened_elsewhere_has_no_place() -> None:
    learner, sink = IHomer(), MemorySink()
    chronicle = Chronicle(learner, sink)
    for _ in range(128):
        learner.learn_one({"a": 1.0}, {"b"})
    processor = Processor(learner, Decoder(), DeadLetters(None), chronicle=chronicle)
    processor.process([Record(b'{"x": {}, "y": []}', "t", 0, 0)])
    processor.flush()
    (message, *_) = sink.messages
    body = json.loads(message.value or b"")
    assert (body["kind"], body["event"], body["labels"]) == ("birth", 128, ["b"])
    assert "offset" not in body
    assert SCHEMA.is_valid(body)


def test_a_learner_that_has_been_running_is_told_of_from_now_on() -> None:
    learner = IHomer()
    for _ in range(128):
        learner.learn_one({"a": 1.0}, {"b"})
    chronicle = Chronicle(learner)
    assert chronicle.told == learner.n_events > 0


def test_a_line_in_the_log_for_each() -> None:
    stream = StringIO()
    configure_logging("info", "json", stream)
    try:
        log_event(
            LearnerEvent(256, Kind.ALARM, Level.CLUSTER, cluster=3, statistic=0.5, bound=0.25)
        )
        log_event(
            LearnerEvent(384, Kind.BIRTH, Level.LABEL, labels=tuple(f"l{i}" for i in range(99)))
        )
    finally:
        structlog.reset_defaults()
    alarm, birth = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (alarm["event"], alarm["level"]) == ("learner event", "info")
    shown = {key: alarm[key] for key in ("kind", "where", "learned", "cluster", "statistic")}
    assert shown == {
        "kind": "alarm",
        "where": "cluster",
        "learned": 256,
        "cluster": 3,
        "statistic": 0.5,
    }
    assert birth["n_labels"] == 99
    assert "labels" not in birth, "what events bring along is nobody's business at this level"


@pytest.mark.parametrize("cuts", [[], [700], list(range(64, 1400, 64)), list(range(1, 1400))])
def test_what_happened_within_a_stride_has_its_own_place(
    cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some events are told at the end of the stride in which they happened."""
    learner, sink = IHomer(without=("forest", "path", "net", "neighbours")), MemorySink()
    processor = Processor(
        learner, Decoder(), DeadLetters(MemorySink()), chronicle=Chronicle(learner, sink)
    )
    engine = learner._engine
    adapt = engine._adapt

    def tell_more(names: Any) -> None:
        for back in (0, 1, 77, 127):
            engine.log.add(LearnerEvent(engine.n_learned - back, Kind.ALARM, Level.PRIORS))
        adapt(names)

    monkeypatch.setattr(engine, "_adapt", tell_more)
    for start, stop in pairwise([0, *cuts, len(RECORDS)]):
        processor.process(RECORDS[start:stop])
    processor.flush()
    learned = [r for i, r in enumerate(RECORDS) if i % 5 != 2 and i % 7 != 3]
    found = [json.loads(message.value or b"") for message in sink.messages]
    alarms = [body for body in found if body["kind"] == "alarm" and body["statistic"] is None]
    assert len(alarms) == len(learned) // 128 * 4
    for body in alarms:
        assert body["offset"] == learned[body["event"] - 1].offset
