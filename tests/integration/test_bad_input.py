"""Bad input on a real broker: answered once, halted when it is too much, shown and sent again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ihomer.connectors.base import Message, Record
from ihomer.connectors.kafka import KafkaSink
from ihomer.connectors.kafka_journal import decode
from ihomer.connectors.memory import MemorySink, MemorySource
from ihomer.errors import EXIT_INPUT, EXIT_OK
from ihomer.stream.assemble import make_processor
from ihomer.stream.cli import app
from ihomer.stream.settings import Settings
from tests.mutations import MAX_EVENT_BYTES, MUTATIONS, mutated
from tools.broker import Broker
from tools.invariants import View
from tools.rig import Daemon, Rig

pytestmark = [
    pytest.mark.integration,
    # kafka-python leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

PARTITIONS = 3
BEGIN_MS = round(1000 * time.time()) - 1_000_000  # not long ago, because retention goes by it
Look = Callable[[str], View]


@pytest.fixture
def rig(broker: Broker, tmp_path: Path, closing: ExitStack) -> Rig:
    made = Rig(broker, tmp_path, PARTITIONS, max_event_bytes=str(MAX_EVENT_BYTES))
    closing.callback(made.close)
    return made


@pytest.fixture
def look(rig: Rig, closing: ExitStack) -> Look:
    def at(topic: str) -> View:
        view = View(rig.broker.bootstrap, topic)
        closing.callback(view.close)
        view.update()
        return view

    return at


def send(rig: Rig, values: Sequence[bytes | None]) -> None:
    """Value i to partition i mod 3, with a key, a header and a timestamp of its own."""
    sink = KafkaSink.from_uri(rig.uri(rig.source))
    sink.write(
        [
            Message(value, b"key %d" % i, (("trace", b"\xff%d" % i),), BEGIN_MS + i, i)
            for i, value in enumerate(values)
        ]
    )
    sink.close()


def wait_for(worker: Daemon, sink: View, dead: View, count: int) -> None:
    def answered() -> bool:
        sink.update()
        dead.update()
        return sink.total() + dead.total() >= count

    worker.wait_for(answered)


def origin(record: Record, prefix: str) -> tuple[int, int]:
    headers = dict(record.headers)
    return int(headers[f"{prefix}.partition"]), int(headers[f"{prefix}.offset"])


def flat(view: View) -> list[Record]:
    return [record for records in view.records.values() for record in records]


def command(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["dead-letters", *arguments])
    assert result.exit_code == EXIT_OK, result.output
    return result.stdout


def test_a_mutated_stream_is_answered_once_and_its_letters_can_be_sent_again(
    rig: Rig, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = mutated(10 * len(MUTATIONS))
    send(rig, [each.value for each in sent])
    worker = rig.start()
    worker.wait_for_log("slot ready")
    sink, dead = look(rig.sink), look(rig.dead_letters)
    wait_for(worker, sink, dead, len(sent))
    worker.stop()
    # Offsets tell the number again: value i is at offset i div 3 of partition i mod 3.
    broken = {
        (i % PARTITIONS, i // PARTITIONS): (i, each)
        for i, each in enumerate(sent)
        if each.mutation is not None
    }
    letters = {origin(record, "ihomer.errors"): record for record in flat(dead)}
    assert len(flat(dead)) == len(letters) == len(MUTATIONS)
    assert letters.keys() == broken.keys()
    for place, (number, each) in broken.items():
        letter, headers = letters[place], dict(letters[place].headers)
        assert each.mutation is not None
        assert (letter.value, letter.key) == (each.value, b"key %d" % number)
        assert letter.timestamp == BEGIN_MS + number
        assert headers["ihomer.errors.class"].decode() == each.mutation.kind
        assert headers["ihomer.errors.topic"].decode() == rig.source
    # Every good one is predicted once: its prediction is one that never saw the others.
    predictions = {origin(record, "ihomer"): record.value for record in flat(sink)}
    assert len(flat(sink)) == len(predictions) == len(sent) - len(MUTATIONS)
    assert predictions == without_the_broken(rig, look)
    show_and_replay(rig, look, monkeypatch)


def without_the_broken(rig: Rig, look: Look) -> dict[tuple[int, int], Any]:
    """Predictions of a model that is given the good events only, in the order of the journal."""
    source = look(rig.source)
    records: list[Record] = []
    for written in flat(look(rig.journal)):
        assert isinstance(written.value, bytes)
        for each in decode(written.value, "journal").ranges:
            records += [
                record
                for record in source.records[each.partition]
                if each.start <= record.offset < each.stop
            ]
    numbers = [record.offset * PARTITIONS + record.partition for record in records]
    assert sorted(numbers) == list(range(10 * len(MUTATIONS)))
    sink = MemorySink()
    settings = Settings(source=["kafka://h/t"])
    processor = make_processor(settings, MemorySource(()), sink, MemorySink())
    good = [r for number, r in zip(numbers, records, strict=True) if number % 10 != 9]
    processor.process(good)
    processor.flush()
    return {
        (record.partition, record.offset): message.value
        for record, message in zip(good, sink.messages, strict=True)
    }


def show_and_replay(rig: Rig, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_STATE_DIR", str(rig.folder / "replays"))
    monkeypatch.setenv("IHOMER_MAX_EVENT_BYTES", str(MAX_EVENT_BYTES))
    letters = rig.uri(rig.dead_letters)
    shown = [json.loads(line) for line in command("show", letters, "--json").splitlines()]
    assert len(shown) == len(MUTATIONS)
    assert all(each["topic"] == rig.source and each["reason"] for each in shown)
    target = f"{rig.app}.again"
    rig.broker.create_topic(target, PARTITIONS)
    replay = ("replay", letters, "--to", rig.uri(target), "--json")
    first = json.loads(command(*replay, "--limit", "40"))
    second, third = (json.loads(command(*replay)) for _ in range(2))
    assert (first["sent"], second["sent"], third["sent"]) == (40, len(MUTATIONS) - 40, 0)
    assert second["good"] == 0
    # What came back is what had come: bytes, key, headers, timestamp, partition.
    came = {(r.partition, r.key): (r.value, r.headers, r.timestamp) for r in flat(look(rig.source))}
    back = flat(look(target))
    assert len(back) == len(MUTATIONS)
    for record in back:
        place = record.partition, record.key
        assert came[place] == (record.value, record.headers, record.timestamp)


def test_too_many_malformed_events_halt_and_nothing_is_answered_twice(rig: Rig, look: Look) -> None:
    good = b'{"x": {"a": 1}, "y": ["t"]}'
    send(rig, [good] * 300 + [b"of another topic"] * 3_000 + [good] * 30)
    first = rig.start(errors_window="100", batch_size="64")
    assert first.wait_for_end() == EXIT_INPUT
    (line,) = [line for line in first.log.splitlines() if line.startswith("ihomer: error:")]
    assert "about the last 100 events are malformed (most often not-json" in line
    assert "accepted: at most 0.5 (errors_max_rate)" in line
    sink, dead = look(rig.sink), look(rig.dead_letters)
    seen = dead.total()
    assert 70 <= seen < 3_000
    # The share is part of the state: the next one sees no more than one step.
    second = rig.start(errors_window="100", batch_size="64")
    assert second.wait_for_end() == EXIT_INPUT
    assert "events are malformed" in second.log
    dead.update()
    assert seen < dead.total() <= seen + 3 * 64
    # Whoever wants the rest put away as well says so.
    third = rig.start(errors_window="100", errors_max_rate="1.0", batch_size="64")
    wait_for(third, sink, dead, 3_330)
    third.stop()
    assert (sink.total(), dead.total()) == (330, 3_000)
    origins = {origin(record, "ihomer.errors") for record in flat(dead)}
    assert len(origins | {origin(record, "ihomer") for record in flat(sink)}) == 3_330
