"""`ihomer run` as a process and a real broker: nothing lost, clean ends, bad input kept."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest

from ihomer.connectors.base import Message, Record
from ihomer.connectors.kafka import KafkaSource
from tests.integration.helpers import NewTopic, produce, uri
from tests.malformed import CATALOGUE
from tools.broker import Broker

pytestmark = pytest.mark.integration

PARTITIONS = 3
PATIENCE_S = 120.0
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(closing: ExitStack, tmp_path: Path) -> Iterator[Start]:
    """Start a daemon whose output goes to `tmp_path`/N.log; it is killed at the end."""
    started = 0

    def run(*arguments: str) -> subprocess.Popen[bytes]:
        nonlocal started
        command = [str(Path(sys.executable).with_name("ihomer")), "run", *arguments]
        with (tmp_path / f"{started}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        started += 1

        def stop() -> None:
            process.kill()
            process.wait()

        closing.callback(stop)
        return process

    return run  # type: ignore[return-value]  # closed by `closing`, not by us


def events(start: int, stop: int, partitions: int = PARTITIONS) -> list[Message]:
    """Events that can be told apart, spread over partitions."""
    return [
        Message(
            orjson.dumps(
                {
                    "id": i,
                    "x": {"a": i % 7, "b": i % 3 == 0, f"c{i % 11}": 0.5},
                    "y": ["even" if i % 2 == 0 else "odd", f"mod{i % 5}"],
                }
            ),
            key=b"key-%d" % i,
            origin=i % partitions,
        )
        for i in range(start, stop)
    ]


def collect(
    source: KafkaSource, done: Callable[[list[Record]], bool], patience: float = PATIENCE_S
) -> list[Record]:
    """All records from the beginning until `done` holds of them."""
    found: list[Record] = []
    end = time.monotonic() + patience
    while not done(found):
        assert time.monotonic() < end, f"only {len(found)} records came"
        found += source.next_batch(1000, 0.5) or ()
    return found


def ids(records: Sequence[Record]) -> list[int]:
    found: list[int] = []
    for record in records:
        assert isinstance(record.value, bytes)
        found.append(orjson.loads(record.value)["id"])
    return found


def header(record: Record, name: str) -> str:
    return dict(record.headers)[name].decode()


def stopped_cleanly(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=12) == 0
    assert time.monotonic() - began < 10


def test_every_event_of_twenty_thousand_is_predicted_once_and_committed(
    broker: Broker,
    new_topic: NewTopic,
    opened: Callable[..., KafkaSource],
    start: Start,
    tmp_path: Path,
) -> None:
    count = 20_000
    inputs, outputs = new_topic(PARTITIONS), new_topic(PARTITIONS)
    produce(broker, inputs, events(0, count))
    daemon = start("--source", uri(broker, inputs, "group=all"), "--sink", uri(broker, outputs))
    records = collect(opened(outputs, "group=reader"), lambda found: len(found) >= count)
    assert sorted(ids(records)) == list(range(count))

    offsets: dict[int, list[int]] = {}
    for record, event in zip(records, ids(records), strict=True):
        assert record.key == b"key-%d" % event
        assert header(record, "ihomer.topic") == inputs
        assert header(record, "ihomer.partition") == str(event % PARTITIONS)
        assert record.partition == event % PARTITIONS
        offsets.setdefault(record.partition, []).append(int(header(record, "ihomer.offset")))
    # Output order is input order within a partition, without a gap.
    assert all(found == list(range(len(found))) for found in offsets.values())

    stopped_cleanly(daemon, signal.SIGTERM)
    log = (tmp_path / "0.log").read_text()
    assert "at-least-once" in log
    assert "empty model" in log
    # The group goes on where it ended: only what came afterwards is read.
    produce(broker, inputs, events(count, count + 30))
    again = opened(inputs, "group=all")
    rest = collect(again, lambda found: len(found) >= 30)
    assert sorted(ids(rest)) == list(range(count, count + 30))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_ends_it_with_all_that_was_predicted_committed(
    number: signal.Signals,
    broker: Broker,
    new_topic: NewTopic,
    opened: Callable[..., KafkaSource],
    start: Start,
) -> None:
    inputs, outputs = new_topic(PARTITIONS), new_topic(1)
    produce(broker, inputs, events(0, 30_000))
    arguments = ("--source", uri(broker, inputs, "group=signal"), "--sink", uri(broker, outputs))
    daemon = start(*arguments)
    reader = opened(outputs, "group=reader")
    first = collect(reader, lambda found: len(found) >= 500)
    stopped_cleanly(daemon, number)
    start(*arguments)
    rest = collect(reader, lambda found: len(set(ids([*first, *found]))) >= 30_000)
    # After a clean end nothing comes twice.
    assert sorted(ids([*first, *rest])) == list(range(30_000))


def test_after_kill_9_and_a_broker_restart_every_event_is_there(
    broker: Broker, new_topic: NewTopic, opened: Callable[..., KafkaSource], start: Start
) -> None:
    count = 20_000
    inputs, outputs = new_topic(PARTITIONS), new_topic(1)
    produce(broker, inputs, events(0, count))
    # A short session, so that the dead member's partitions are given to the next one soon.
    query = "group=killed&session_timeout_ms=3000"
    arguments = ("--source", uri(broker, inputs, query), "--sink", uri(broker, outputs))
    daemon = start(*arguments)
    reader = opened(outputs, "group=reader")
    found = collect(reader, lambda found: len(found) >= 1000)
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    second = start(*arguments)
    found += collect(reader, lambda more: len(set(ids([*found, *more]))) >= count)
    assert set(ids(found)) == set(range(count))

    broker.restart()
    produce(broker, inputs, events(count, count + 500))
    found += collect(reader, lambda more: len(set(ids([*found, *more]))) >= count + 500)
    assert set(ids(found)) == set(range(count + 500))
    stopped_cleanly(second, signal.SIGTERM)


def test_malformed_events_are_kept_and_good_ones_go_on(
    broker: Broker,
    new_topic: NewTopic,
    opened: Callable[..., KafkaSource],
    start: Start,
    tmp_path: Path,
) -> None:
    inputs, outputs, dead = new_topic(1), new_topic(1), new_topic(1)
    # What a 1 MB topic itself refuses cannot arrive.
    catalogue = [case for case in CATALOGUE if len(case.value or b"") < 900_000]
    assert len(catalogue) >= 30
    good = events(0, len(catalogue), 1)
    bad = [Message(case.value, key=b"bad-%d" % i) for i, case in enumerate(catalogue)]
    produce(broker, inputs, [message for pair in zip(good, bad, strict=True) for message in pair])
    daemon = start(
        "--source",
        uri(broker, inputs, "group=bad"),
        "--sink",
        uri(broker, outputs),
        "--dead-letters",
        uri(broker, dead),
    )
    predicted = collect(opened(outputs, "group=reader"), lambda found: len(found) >= len(good))
    letters = collect(opened(dead, "group=reader"), lambda found: len(found) >= len(bad))
    stopped_cleanly(daemon, signal.SIGTERM)
    assert ids(predicted) == list(range(len(good)))
    assert len(letters) == len(bad)
    for i, letter in enumerate(letters):
        assert letter.key == b"bad-%d" % i
        assert header(letter, "ihomer.errors.topic") == inputs
        assert header(letter, "ihomer.errors.offset") == str(2 * i + 1)
        assert header(letter, "ihomer.errors.class") == catalogue[i].kind
        assert header(letter, "ihomer.errors.message")
    assert f"{len(bad)} malformed events" in (tmp_path / "0.log").read_text()


def test_without_dead_letters_the_first_malformed_event_ends_it_with_its_place(
    broker: Broker, new_topic: NewTopic, start: Start, tmp_path: Path
) -> None:
    inputs, outputs = new_topic(1), new_topic(1)
    produce(broker, inputs, [*events(0, 3, 1), Message(b"{", key=b"k")])
    daemon = start("--source", uri(broker, inputs, "group=first"), "--sink", uri(broker, outputs))
    assert daemon.wait(timeout=PATIENCE_S) == 65
    log = (tmp_path / "0.log").read_text()
    assert "Traceback" not in log
    assert inputs in log
    assert "3" in log
    assert "--dead-letters" in log


def test_what_is_missing_is_named_in_one_line(
    broker: Broker, new_topic: NewTopic, start: Start, tmp_path: Path
) -> None:
    there = new_topic(1)
    missing = start("--source", uri(broker, "no-such"), "--sink", uri(broker, there))
    assert missing.wait(timeout=PATIENCE_S) == 2
    absent = start("--source", "kafka://127.0.0.1:1/events", "--sink", uri(broker, there))
    assert absent.wait(timeout=PATIENCE_S) == 69
    for number, named in enumerate(["no-such", "127.0.0.1:1"]):
        errors = [
            line
            for line in (tmp_path / f"{number}.log").read_text().splitlines()
            if "error" in line
        ]
        assert len(errors) == 1
        assert named in errors[0]


def test_two_workers_share_the_partitions(
    broker: Broker, new_topic: NewTopic, opened: Callable[..., KafkaSource], start: Start
) -> None:
    inputs, outputs = new_topic(4), new_topic(4)
    arguments = ("--source", uri(broker, inputs, "group=two"), "--sink", uri(broker, outputs))
    workers = [start(*arguments), start(*arguments)]
    reader = opened(outputs, "group=reader")
    found: list[Record] = []
    for start_at in range(0, 6000, 1000):  # over some seconds, while the group shares out
        produce(broker, inputs, events(start_at, start_at + 1000, 4))
        found += collect(
            reader,
            lambda more: len(set(ids([*found, *more]))) >= start_at + 1000,  # noqa: B023
        )
    assert set(ids(found)) == set(range(6000))
    for worker in workers:
        stopped_cleanly(worker, signal.SIGTERM)
