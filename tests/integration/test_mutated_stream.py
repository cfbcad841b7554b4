"""One event in ten of a real stream is broken: nothing is lost, nothing is learned of it."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ihomer.connectors.base import Record
from ihomer.connectors.memory import MemorySink, MemorySource
from ihomer.connectors.uri import open_sink, open_source
from ihomer.errors import MalformedEventError
from ihomer.stream.assemble import make_processor
from ihomer.stream.daemon import Daemon
from ihomer.stream.decode import KINDS, Decoder
from ihomer.stream.processor import Processor
from ihomer.stream.settings import Settings
from tests.mutations import MAX_EVENT_BYTES, MUTATIONS, Mutation, fits_a_line, mutated, yeast
from tools.same import first_difference

pytestmark = pytest.mark.integration

EVENTS = 2_000


def decoder() -> Decoder:
    return Decoder(max_event_bytes=MAX_EVENT_BYTES)


def test_there_are_many_ways_and_each_is_another() -> None:
    value = next(yeast(1))
    broken = {mutation.make(value) for mutation in MUTATIONS}
    assert len(broken) == len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 60
    assert len(MUTATIONS) <= EVENTS // 10  # each is sent at least once
    elsewhere = {"unknown-field", "x-length", "too-many-labels", "id-missing"}
    elsewhere |= {kind for kind in KINDS if KINDS[kind].stage == "map"}
    assert {mutation.kind for mutation in MUTATIONS} == set(KINDS) - elsewhere


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_each_way_breaks_an_event_for_the_reason_expected(mutation: Mutation) -> None:
    for value in yeast(3):
        decoder().decode(Record(value, "t", 0, 0))
        with pytest.raises(MalformedEventError) as caught:
            decoder().decode(Record(mutation.make(value), "t", 0, 0))
        assert caught.value.kind == mutation.kind


def run(name: Path, batch_size: int) -> tuple[Processor, Path, Path]:
    """A daemon from a file to files; what it has made, and where."""
    outputs = name.with_suffix(".predictions"), name.with_suffix(".dead")
    source = open_source(str(name))
    sink = open_sink(str(outputs[0]), append=True)
    letters = open_sink(str(outputs[1]), envelope=True, append=True)
    settings = Settings(source=[str(name)], max_event_bytes=MAX_EVENT_BYTES)
    made = make_processor(settings, source, sink, letters)
    Daemon(source, made, batch_size, max_wait_ms=1).run()
    for each in (source, sink, letters):
        each.close()
    return made, *outputs


def objects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def same_model(one: Processor, other: Processor) -> None:
    """Bit for bit the same learner and measures."""
    for root in ("learner", "measures"):
        assert first_difference(one.state()[root], other.state()[root]) is None
    assert one.events == other.events


def test_files_with_a_daemon(tmp_path: Path) -> None:
    sent = mutated(EVENTS, [mutation for mutation in MUTATIONS if fits_a_line(mutation)])
    good = [each.value or b"" for each in sent if each.mutation is None]
    (tmp_path / "events.jsonl").write_bytes(b"".join((s.value or b"") + b"\n" for s in sent))
    (tmp_path / "good.jsonl").write_bytes(b"".join(value + b"\n" for value in good))
    # Cut alike: predictions do not depend on that, but how far arrays have grown does.
    mixed, predictions, letters = run(tmp_path / "events.jsonl", 50)
    alone, expected, none = run(tmp_path / "good.jsonl", 45)
    # All good ones are predicted, as if the others had not been there, and learned so.
    assert predictions.read_bytes() == expected.read_bytes()
    assert len(objects(predictions)) == len(good) == 1_800
    same_model(mixed, alone)
    # All others are kept once: the very bytes, the reason, the origin.
    assert none.read_bytes() == b""
    found = [
        (
            base64.b64decode(letter["value"]),
            letter["headers"]["ihomer.errors.class"],
            letter["headers"]["ihomer.errors.topic"],
            letter["headers"]["ihomer.errors.offset"],
        )
        for letter in objects(letters)
    ]
    assert found == [
        (each.value, each.mutation.kind, str(tmp_path / "events.jsonl"), str(number))
        for number, each in enumerate(sent, 1)
        if each.mutation is not None
    ]


def test_a_topic_with_every_way() -> None:
    sent = mutated(EVENTS)
    records = [
        Record(each.value, "tickets", number % 3, number // 3, b"key %d" % number)
        for number, each in enumerate(sent)
    ]
    good = [r for r, each in zip(records, sent, strict=True) if each.mutation is None]
    broken = [(r, s.mutation) for r, s in zip(records, sent, strict=True) if s.mutation is not None]

    def daemon(given: Sequence[Record], size: int) -> tuple[Processor, list[Any], list[Any]]:
        sink, letters = MemorySink(), MemorySink()
        settings = Settings(source=["memory:t"], max_event_bytes=MAX_EVENT_BYTES)
        made = make_processor(settings, MemorySource(()), sink, letters)
        for start in range(0, len(given), size):
            made.process(given[start : start + size])
        made.flush()
        return made, sink.messages, letters.messages

    mixed, predictions, letters = daemon(records, 50)
    alone, expected, none = daemon(good, 45)  # cut where the other is
    assert predictions == expected
    same_model(mixed, alone)
    assert none == []
    assert len(letters) == len(broken) == 200
    for letter, (record, mutation) in zip(letters, broken, strict=True):
        headers = dict(letter.headers)
        assert (letter.value, letter.key) == (record.value, record.key)
        assert headers["ihomer.errors.class"].decode() == mutation.kind
        assert headers["ihomer.errors.topic"] == b"tickets"
        assert headers["ihomer.errors.partition"] == b"%d" % record.partition
        assert headers["ihomer.errors.offset"] == b"%d" % record.offset
        assert headers["ihomer.errors.message"]
    assert mixed.dead_letters.counts == Counter(mutation.kind for _, mutation in broken)
