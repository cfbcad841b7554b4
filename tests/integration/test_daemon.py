"""``ihomer run`` as a process between two topics of a real broker, at-least-once."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from ihomer.connectors.base import Message
from ihomer.connectors.kafka import KafkaSink
from ihomer.errors import EXIT_INPUT, EXIT_OK, EXIT_UNAVAILABLE, EXIT_USAGE
from ihomer.stream.dead_letters import MAX_LETTER_BYTES
from tests.integration.helpers import start_ihomer
from tests.malformed import CATALOGUE, GOOD
from tests.yeast import yeast_bodies
from tools.broker import Broker, free_port

pytestmark = [
    pytest.mark.integration,
    # kafka-python leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

EVENTS = 20_000
PARTITIONS = 3
PATIENCE_S = 300.0
STOP_S = 10.0
# Workers that are killed must not be waited for long.
SESSION = "session_timeout_ms=2000"
# Not long ago: retention goes by the records' own timestamps.
BEGIN_MS = round(1000 * time.time()) - 1_000_000

_numbers = count()


class Worker:
    """A daemon as a process, and what it logs."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        self._log = folder / f"worker-{next(_numbers)}.log"
        self.process = start_ihomer(["run", *arguments], folder, self._log)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return when `condition` holds; fails if the process ends or it takes too long."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"the daemon ended:\n{self.log}"
            assert time.monotonic() < end, f"not in time:\n{self.log}"
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop it in the way that is promised: in time, with exit code 0."""
        self.process.send_signal(number)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"no end within {STOP_S:g} s:\n{self.log}")
        assert self.process.returncode == EXIT_OK, self.log
        assert "Traceback" not in self.log

    def events(self) -> int:
        """How many events it says to have processed, once it has stopped."""
        (line,) = [json.loads(line) for line in self.log.splitlines() if '"stopped"' in line]
        return int(line["events"])


Start = Callable[..., Worker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    workers: list[Worker] = []

    def run(*arguments: str) -> Worker:
        common = ["--delivery", "at-least-once", "--state-dir", str(tmp_path / "state")]
        worker = Worker(tmp_path, [*arguments, *common, "--quiet", "--log-format", "json"])
        workers.append(worker)
        return worker

    yield run
    for worker in workers:
        worker.process.kill()
        worker.process.wait()


class Topics:
    """What a test asks the broker."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    def make(self, partitions: int = PARTITIONS) -> str:
        name = f"daemon-{next(_numbers)}"
        self.broker.create_topic(name, partitions)
        return name

    def uri(self, topic: str, query: str = "") -> str:
        return f"kafka://{self.broker.bootstrap}/{topic}?{query}".removesuffix("?")

    def produce(self, topic: str, messages: Sequence[Message]) -> None:
        sink = KafkaSink.from_uri(self.uri(topic))
        sink.write(messages)
        sink.close()

    def ends(self, topic: str) -> dict[int, int]:
        """Number of records of each partition."""
        with KafkaConsumer(bootstrap_servers=self.broker.bootstrap) as consumer:
            found = consumer.end_offsets(_places(consumer, topic))
        return {at.partition: end for at, end in found.items()}

    def total(self, topic: str) -> int:
        return sum(self.ends(topic).values())

    def committed(self, topic: str, group: str) -> dict[int, int]:
        """The group's offset in each partition, 0 where there is none."""
        with KafkaConsumer(bootstrap_servers=self.broker.bootstrap, group_id=group) as consumer:
            return {at.partition: consumer.committed(at) or 0 for at in _places(consumer, topic)}

    def read(self, topic: str) -> dict[int, list[Any]]:
        """All records by partition."""
        found: dict[int, list[Any]] = {}
        with KafkaConsumer(
            bootstrap_servers=self.broker.bootstrap, auto_offset_reset="earliest"
        ) as consumer:
            places = _places(consumer, topic)
            consumer.assign(places)
            ends = consumer.end_offsets(places)
            found = {at.partition: [] for at in places}
            limit = time.monotonic() + PATIENCE_S
            while any(len(found[at.partition]) < ends[at] for at in places):
                assert time.monotonic() < limit
                for at, records in consumer.poll(timeout_ms=500, max_records=5000).items():
                    found[at.partition] += records
        return found

    def ids(self, topic: str) -> Counter[int]:
        """How often each id was answered."""
        return Counter(
            json.loads(record.value)["id"]
            for records in self.read(topic).values()
            for record in records
        )


def _places(consumer: KafkaConsumer, topic: str) -> list[TopicPartition]:
    # A broker that was short of time for as long as its session names nobody for a while.
    limit = time.monotonic() + PATIENCE_S
    while not (partitions := consumer.partitions_for_topic(topic)):
        assert time.monotonic() < limit, f"nothing is known of {topic}"
        time.sleep(0.2)
    return [TopicPartition(topic, partition) for partition in sorted(partitions)]


@pytest.fixture(scope="module")
def topics(broker: Broker) -> Topics:
    return Topics(broker)


@pytest.fixture(scope="module")
def yeast(topics: Topics) -> str:
    """A topic with Yeast over and over, every event with an id of its own."""
    bodies = [json.dumps(body).encode() for body in yeast_bodies(5000)]
    topic = topics.make()
    topics.produce(
        topic,
        [
            Message(
                b'{"id": %d, ' % i + bodies[i % len(bodies)][1:],
                b"key %d" % i,
                timestamp=BEGIN_MS + i,
                origin=i % PARTITIONS,
            )
            for i in range(EVENTS)
        ],
    )
    return topic


def small(start: int, stop: int, partitions: int = PARTITIONS) -> list[Message]:
    """Small events with their number as id."""
    return [
        Message(b'{"id": %d, "x": {"a": %d}, "y": ["t"]}' % (i, i % 7), origin=i % partitions)
        for i in range(start, stop)
    ]


def headers_of(record: Any) -> dict[str, bytes]:
    return dict(record.headers)


def test_every_event_is_answered_once_and_in_order(
    topics: Topics, yeast: str, start: Start
) -> None:
    output = topics.make()
    worker = start("--source", topics.uri(yeast, "group=whole"), "--sink", topics.uri(output))

    def done() -> bool:
        # In this order: what is committed was acknowledged before.
        committed = topics.committed(yeast, "whole")
        there = topics.ends(output)
        assert all(committed[partition] <= there[partition] for partition in committed)
        return sum(there.values()) >= EVENTS

    worker.wait_for(done)
    worker.stop()
    assert worker.events() == EVENTS
    assert topics.committed(yeast, "whole") == topics.ends(yeast)
    learned: set[int] = set()
    for partition, records in topics.read(output).items():
        ids = list(range(partition, EVENTS, PARTITIONS))
        assert len(records) == len(ids)
        for offset, (number, record) in enumerate(zip(ids, records, strict=True)):
            body = json.loads(record.value)
            assert body["id"] == number
            assert headers_of(record) == {
                "ihomer.topic": yeast.encode(),
                "ihomer.partition": b"%d" % partition,
                "ihomer.offset": b"%d" % offset,
            }
            assert record.key == b"key %d" % number
            assert record.timestamp == BEGIN_MS + number
            learned.add(body["model"]["events"])
    assert learned == set(range(EVENTS))
    assert "at-least-once" in worker.log
    assert "the model is an empty one" in worker.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_everything_committed(
    topics: Topics, yeast: str, start: Start, number: signal.Signals
) -> None:
    output = topics.make()
    group = f"group-{number.name}"
    arguments = ["--source", topics.uri(yeast, f"group={group}"), "--sink", topics.uri(output)]
    worker = start(*arguments)
    worker.wait_for(lambda: topics.total(output) > 0)
    worker.stop(number)
    there = topics.ends(output)
    assert 0 < sum(there.values()) < EVENTS, "the signal came too late to show anything"
    assert topics.committed(yeast, group) == there
    # Another one goes on there, so that nothing comes twice.
    worker = start(*arguments)
    worker.wait_for(lambda: topics.total(output) > sum(there.values()))
    worker.stop(number)
    assert set(topics.ids(output).values()) == {1}
    assert topics.committed(yeast, group) == topics.ends(output)


def test_a_restart_goes_on_with_the_model(topics: Topics, start: Start) -> None:
    source, output = topics.make(), topics.make()
    arguments = ["--source", topics.uri(source, "group=goes-on"), "--sink", topics.uri(output)]
    for number, log in enumerate(("the model is an empty one", "the model goes on")):
        topics.produce(source, small(300 * number, 300 * number + 300))
        worker = start(*arguments)
        worker.wait_for(lambda n=number: topics.total(output) >= 300 * n + 300)  # type: ignore[misc]
        worker.stop()
        assert log in worker.log
    learned = [
        json.loads(record.value)["model"]["events"]
        for records in topics.read(output).values()
        for record in records
    ]
    assert sorted(learned) == list(range(600))
    refused = start(*arguments, "--seed", "3")
    assert refused.process.wait(PATIENCE_S) == EXIT_INPUT
    assert "seed (found 3, the model has 0)" in refused.log
    anew = start(*arguments, "--seed", "3", "--fresh")
    anew.wait_for(lambda: "the model is an empty one" in anew.log)
    anew.stop()


def test_a_signal_twice_is_one_signal(topics: Topics, start: Start) -> None:
    """As ``timeout`` sends it, to the process and then to its group."""
    source = topics.make()
    worker = start("--source", topics.uri(source), "--sink", topics.uri(topics.make()))
    worker.wait_for(lambda: "assigned" in worker.log)
    worker.process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    worker.stop(signal.SIGTERM)


def test_after_a_kill_every_event_is_answered_at_least_once(
    topics: Topics, yeast: str, start: Start
) -> None:
    output = topics.make()
    source = topics.uri(yeast, f"group=killed&{SESSION}")
    for _ in range(2):
        before = topics.total(output)
        worker = start("--source", source, "--sink", topics.uri(output))
        worker.wait_for(lambda before=before: topics.total(output) > before + 500)  # type: ignore[misc]
        worker.process.kill()
        worker.process.wait()
        committed, there = topics.committed(yeast, "killed"), topics.ends(output)
        assert all(committed[partition] <= there[partition] for partition in committed)
        assert sum(there.values()) < EVENTS, "the kill came too late to show anything"
    worker = start("--source", source, "--sink", topics.uri(output))
    worker.wait_for(lambda: topics.committed(yeast, "killed") == topics.ends(yeast))
    worker.stop()
    assert set(topics.ids(output)) == set(range(EVENTS))


def mixed() -> list[Message]:
    """The whole catalogue of malformed events, each followed by a good one with a number as id."""
    messages: list[Message] = []
    for i, bad in enumerate(CATALOGUE):
        messages.append(Message(bad.value, b"bad %d" % i, (("mine", b"kept"),), BEGIN_MS + i, i))
        messages.append(small(i, i + 1, len(CATALOGUE))[0])
    return messages


def assert_letter(
    i: int, value: bytes | None, key: bytes | None, headers: Mapping[str, bytes], topic: str
) -> None:
    """A dead letter is what was sent, with its reason."""
    sent = CATALOGUE[i].value
    assert key == b"bad %d" % i
    assert headers["mine"] == b"kept"
    assert headers["ihomer.errors.topic"] == topic.encode()
    assert headers["ihomer.errors.partition"] == b"%d" % (i % PARTITIONS)
    assert headers["ihomer.errors.class"] == CATALOGUE[i].kind.encode()
    assert CATALOGUE[i].says in headers["ihomer.errors.message"].decode()
    if sent is not None and len(sent) > MAX_LETTER_BYTES:
        assert value
        assert sent.startswith(value)
        assert headers["ihomer.errors.truncated"] == b"%d" % len(sent)
    else:
        assert value == sent


def test_malformed_events_go_to_a_topic_and_good_ones_on(topics: Topics, start: Start) -> None:
    assert len(CATALOGUE) >= 30
    source, output, letters = topics.make(), topics.make(), topics.make()
    topics.produce(source, mixed())
    worker = start(
        *("--source", topics.uri(source), "--sink", topics.uri(output)),
        *("--dead-letters", topics.uri(letters)),
    )
    worker.wait_for(lambda: topics.total(output) + topics.total(letters) == 2 * len(CATALOGUE))
    # Still alive: what is sent now is answered too.
    topics.produce(source, [Message(GOOD[1])])
    worker.wait_for(lambda: topics.total(output) == len(CATALOGUE) + 1)
    worker.stop()
    assert topics.ids(output) == Counter([*range(len(CATALOGUE)), "two"])
    seen: set[int] = set()
    for partition, records in topics.read(letters).items():
        offsets = [int(headers_of(record)["ihomer.errors.offset"]) for record in records]
        assert offsets == sorted(offsets)
        for record in records:
            i = int(record.key.removeprefix(b"bad "))
            assert_letter(i, record.value, record.key, headers_of(record), source)
            assert (record.timestamp, partition) == (BEGIN_MS + i, i % PARTITIONS)
            seen.add(i)
    assert seen == set(range(len(CATALOGUE)))
    assert topics.committed(source, "ihomer") == topics.ends(source)


def test_malformed_events_go_to_a_file(topics: Topics, start: Start, tmp_path: Path) -> None:
    def raw(text: str | None) -> bytes | None:
        return None if text is None else base64.b64decode(text)

    source, output = topics.make(), topics.make()
    topics.produce(source, mixed())
    worker = start(
        *("--source", topics.uri(source, "group=file"), "--sink", topics.uri(output)),
        *("--dead-letters", "dead.jsonl"),
    )
    worker.wait_for(lambda: topics.committed(source, "file") == topics.ends(source))
    worker.stop()
    letters = [json.loads(line) for line in (tmp_path / "dead.jsonl").read_bytes().splitlines()]
    assert len(letters) == len(CATALOGUE)
    for letter in letters:
        key = raw(letter["key"])
        headers = {name: text.encode() for name, text in letter["headers"].items()}
        assert_letter(int((key or b"")[4:]), raw(letter["value"]), key, headers, source)
    assert topics.ids(output) == Counter(range(len(CATALOGUE)))


def test_without_dead_letters_a_malformed_event_ends_it(topics: Topics, start: Start) -> None:
    source, output = topics.make(1), topics.make(1)
    topics.produce(source, [*small(0, 40, 1), Message(b"hello"), *small(40, 50, 1)])
    arguments = ("--source", topics.uri(source, f"group=stops&{SESSION}"))
    for _ in range(2):  # a restart meets it again
        worker = start(*arguments, "--sink", topics.uri(output), "--batch-size", "8")
        worker.process.wait(PATIENCE_S)
        assert worker.process.returncode == EXIT_INPUT
        assert f"ihomer: error: {source}, partition 0, offset 40: " in worker.log
        assert "Traceback" not in worker.log
    assert set(topics.ids(output)) == set(range(40))
    assert topics.committed(source, "stops") == {0: 40}


@pytest.mark.parametrize("missing", ["source", "sink", "dead-letters"])
def test_a_missing_topic_is_one_line(topics: Topics, start: Start, missing: str) -> None:
    found = topics.make()
    arguments: list[str] = []
    for option in ("source", "sink", "dead-letters"):
        arguments += [f"--{option}", topics.uri("nowhere" if option == missing else found)]
    worker = start(*arguments)
    worker.process.wait(PATIENCE_S)
    assert worker.process.returncode == EXIT_USAGE
    (line,) = [line for line in worker.log.splitlines() if line.startswith("ihomer: error:")]
    assert "no topic 'nowhere'" in line
    assert "Traceback" not in worker.log


def test_an_absent_broker_is_one_line_in_time(start: Start) -> None:
    address = f"127.0.0.1:{free_port()}"
    worker = start("--source", f"kafka://{address}/events", "--sink", f"kafka://{address}/p")
    worker.process.wait(PATIENCE_S)
    assert worker.process.returncode == EXIT_UNAVAILABLE
    (line,) = [line for line in worker.log.splitlines() if line.startswith("ihomer: error:")]
    assert address in line
    assert "Traceback" not in worker.log


def test_two_workers_share_the_partitions(topics: Topics, start: Start) -> None:
    source, output = topics.make(4), topics.make(4)
    arguments = ("--source", topics.uri(source, "group=shared"), "--sink", topics.uri(output))
    first = start(*arguments)
    topics.produce(source, small(0, 1000, 4))
    first.wait_for(lambda: topics.total(output) >= 1000)
    second = start(*arguments)
    second.wait_for(lambda: "assigned" in second.log)
    first.wait_for(lambda: "given up" in first.log)
    topics.produce(source, small(1000, 3000, 4))
    second.wait_for(lambda: len(topics.ids(output)) == 3000)
    first.stop()
    # What the first one had is the second one's now.
    topics.produce(source, small(3000, 4000, 4))
    second.wait_for(lambda: len(topics.ids(output)) == 4000)
    second.stop()
    assert second.events() > 1000, "the second one took no part before it was alone"
    assert first.events() > 1000, "the first one took no part when there were two"
    assert topics.committed(source, "shared") == topics.ends(source)


def test_a_broker_that_restarts_loses_nothing(topics: Topics, start: Start) -> None:
    """The last test: it leaves the broker running, but what was connected to it has suffered."""
    source, output = topics.make(), topics.make()
    arguments = ("--source", topics.uri(source, "group=outage"), "--sink", topics.uri(output))
    worker = start(*arguments)
    topics.produce(source, small(0, 6000))
    worker.wait_for(lambda: topics.total(output) > 0)
    topics.broker.restart()
    topics.produce(source, small(6000, 8000))
    worker.wait_for(lambda: len(topics.ids(output)) == 8000)
    worker.wait_for(lambda: topics.committed(source, "outage") == topics.ends(source))
    worker.stop()
    assert set(topics.ids(output)) == set(range(8000))
