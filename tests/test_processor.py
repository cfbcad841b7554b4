"""The processor: one prediction for each good event, a dead letter for each other one, in order."""

from __future__ import annotations

import functools
import gc
import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.connectors.base import Message, Record
from ihomer.connectors.memory import MemorySink, MemorySource
from ihomer.errors import InputError, MalformedEventError
from ihomer.instances import Event
from ihomer.learners.baselines import BASELINES, make_baseline
from ihomer.learners.ihomer import IHomer
from ihomer.stream.assemble import make_processor
from ihomer.stream.dead_letters import MAX_LETTER_BYTES, DeadLetters
from ihomer.stream.decode import Decoder
from ihomer.stream.processor import Processor
from ihomer.stream.settings import Settings
from tests.malformed import CATALOGUE, GOOD
from tests.yeast import yeast_bodies


class Bench:
    """A processor with everything that it writes."""

    def __init__(self, *, letters: bool = True, **options: Any) -> None:
        self.sink = MemorySink("predictions")
        self.letters = MemorySink("letters")
        learner = IHomer(seed=3, **options)
        self.processor = Processor(
            learner,
            Decoder(),
            DeadLetters(self.letters if letters else None),
            self.sink,
            {name: make_baseline(name, learner.encoder) for name in BASELINES},
        )

    def process(self, records: Sequence[Record], cuts: Iterable[int] = ()) -> list[Message]:
        """The predictions of `records`, processed in parts that begin at `cuts`."""
        borders = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
        for start, stop in pairwise(borders):
            self.processor.process(records[start:stop])
        self.processor.flush()
        return self.sink.messages


def records_of(values: Iterable[bytes | None]) -> list[Record]:
    return [
        Record(value, "tickets", i % 3, 1000 + i // 3, b"key %d" % i, timestamp=i)
        for i, value in enumerate(values)
    ]


def bodies(messages: Iterable[Message]) -> list[dict[str, Any]]:
    return [json.loads(message.value or b"") for message in messages]


@functools.cache
def yeast(count: int) -> list[Record]:
    """Yeast as JSON from a topic: every 7th event unlabelled, every 11th malformed."""
    values: list[bytes] = []
    for i, body in enumerate(yeast_bodies(count)):
        if i % 7 == 6:
            body["y"] = None
        values.append(b'{"x": 1}' if i % 11 == 10 else json.dumps(body).encode())
    return records_of(values)


def test_every_record_has_one_answer_in_order() -> None:
    """The whole catalogue of malformed events, each between two good ones."""
    values: list[bytes | None] = []
    for i, bad in enumerate(CATALOGUE):
        values += [GOOD[i % len(GOOD)], bad.value]
    values.append(GOOD[0])
    records = records_of(values)
    bench = Bench()
    predictions = bench.process(records)
    good, bad_ones = records[::2], records[1::2]
    assert len(predictions) == len(good)
    for record, message in zip(good, predictions, strict=True):
        assert dict(message.headers) == {
            "ihomer.topic": b"tickets",
            "ihomer.partition": b"%d" % record.partition,
            "ihomer.offset": b"%d" % record.offset,
        }
        assert (message.key, message.timestamp) == (record.key, record.timestamp)
        assert message.origin == record.partition
    for record, letter in zip(bad_ones, bench.letters.messages, strict=True):
        room = MAX_LETTER_BYTES - len(record.key or b"")
        value = record.value
        assert letter.value == (value[:room] if isinstance(value, bytes) else None)
        assert dict(letter.headers)["ihomer.errors.offset"] == b"%d" % record.offset
    kinds = [dict(letter.headers)["ihomer.errors.class"] for letter in bench.letters.messages]
    assert kinds == [bad.kind.encode() for bad in CATALOGUE]
    assert bench.processor.events == len(good)
    assert sum(bench.processor.dead_letters.counts.values()) == len(CATALOGUE)


@pytest.mark.parametrize("late", [False, True])
def test_malformed_events_leave_nothing_to_the_collector(late: bool) -> None:
    """Else a daemon would hold a batch of events for each until the collector comes by."""
    values: list[bytes | None] = [GOOD[1], *(bad.value for bad in CATALOGUE), GOOD[2]]
    processor = Bench().processor
    if late:
        wanted = Settings(source=["memory:in"], late_labels=True)
        letters = MemorySink("letters")
        processor = make_processor(wanted, MemorySource(()), MemorySink(), letters)
    records = records_of(values)
    processor.process(records)
    gc.collect()
    gc.disable()
    try:
        processor.process(records)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = {type(found) for found in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not left & {MalformedEventError, Record, Event, FrameType}


def test_without_dead_letters_the_events_before_the_first_malformed_one_count() -> None:
    bench = Bench(letters=False)
    records = records_of([GOOD[0], GOOD[1], b"hello", GOOD[0], b"again"])
    with pytest.raises(InputError, match=r"^tickets, partition 2, offset 1000: .*not JSON.*dead-l"):
        bench.processor.process(records)
    bench.processor.flush()
    assert [body["id"] for body in bodies(bench.sink.messages)] == [1, "two"]
    assert bench.processor.events == 2


def test_an_unlabelled_event_is_predicted_and_not_learned() -> None:
    bench = Bench()
    on = b'{"x": {"a": 1}, "y": ["t"]}'
    messages = bench.process(records_of([on, on, b'{"x": {"a": 1}}', b'{"x": {"a": 1}, "y": []}']))
    assert [body["model"]["events"] for body in bodies(messages)] == [0, 1, 2, 2]
    assert bench.processor.main.result()["events"] == 3
    for contestant in bench.processor.baselines.values():
        assert contestant.result()["events"] == 3
    assert bench.processor.events == 4


def test_a_record_without_events_writes_nothing() -> None:
    bench = Bench()
    assert bench.processor.process([]) == 0
    assert bench.processor.process(records_of([b"hello", None])) == 0
    bench.processor.flush()
    assert bench.sink.messages == []
    assert len(bench.letters.messages) == 2


def test_a_label_past_the_bound_is_a_dead_letter_and_leaves_no_trace() -> None:
    good = [b'{"x": {"a": %d}, "y": ["%s"]}' % (i, b"pq"[i % 2 : i % 2 + 1]) for i in range(20)]
    declared: dict[str, Any] = {"labels": ("p", "q"), "max_labels": 2}
    bench = Bench(**declared)
    values = [part for value in good for part in (value, b'{"x": {"new": 1}, "y": ["r"]}')]
    seen = bodies(bench.process(records_of(values)))
    alone = bodies(Bench(**declared).process(records_of(good)))
    for body in (*seen, *alone):
        body.pop("id")  # the offset
    assert seen == alone
    assert bench.processor.dead_letters.counts == {"too-many-labels": 20}


@given(st.lists(st.integers(1, 599), max_size=40))
@settings(max_examples=25)
def test_predictions_do_not_depend_on_the_batches(cuts: list[int]) -> None:
    records = yeast(600)
    whole = _whole()
    parts = Bench()
    assert parts.process(records, cuts) == whole.sink.messages
    assert parts.letters.messages == whole.letters.messages
    assert parts.processor.main.result() == pytest.approx(whole.processor.main.result(), abs=1e-12)
    for name, contestant in parts.processor.baselines.items():
        expected = whole.processor.baselines[name].result()
        assert contestant.result() == pytest.approx(expected, abs=1e-12)


@functools.cache
def _whole() -> Bench:
    bench = Bench()
    bench.process(yeast(600))
    return bench


def test_one_event_a_batch_is_no_other_stream() -> None:
    records = yeast(300)
    assert Bench().process(records, range(300)) == Bench().process(records)


def test_the_yeast_of_these_tests_is_worth_it() -> None:
    """Or the two tests above would compare empty predictions."""
    messages = bodies(_whole().sink.messages)
    assert sum(bool(body["labels"]) for body in messages) > 300
    learner = _whole().processor.main.learner
    assert isinstance(learner, IHomer)
    assert len(learner.clusters()) >= 1
    assert len(_whole().letters.messages) == 600 // 11


def test_figures_of_time_count_every_event() -> None:
    bench = Bench()
    bench.process(yeast(100), range(0, 100, 9))
    assert bench.processor.latencies.quantile(1.0) > 0.0
    assert bench.processor.parsing_seconds > 0.0
    assert bench.processor.main.seconds > 0.0


class Refusing(MemorySink):
    """A sink that loses what it was given."""

    def flush(self) -> None:
        raise InputError("disk full")


def test_a_sink_that_refuses_is_heard_of() -> None:
    learner = IHomer()
    processor = Processor(learner, Decoder(), DeadLetters(None), Refusing())
    processor.process(records_of(GOOD))
    with pytest.raises(InputError, match="disk full"):
        processor.flush()
    processor = Processor(learner, Decoder(), DeadLetters(Refusing()), MemorySink())
    processor.process(records_of([b"x"]))
    with pytest.raises(InputError, match="disk full"):
        processor.flush()
