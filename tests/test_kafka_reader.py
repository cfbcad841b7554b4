"""Reading of several topics without a broker: what is lost, what pauses, what is added."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.errors import OffsetOutOfRangeError

from ihomer.connectors import kafka_reader, kafka_watch
from ihomer.connectors.kafka_reader import LostRangeError, RangeReader
from ihomer.connectors.kafka_settings import KafkaSettings
from ihomer.connectors.kafka_watch import TopicWatch
from ihomer.errors import InputError
from ihomer.stream.exactly_once.plan import Plan, make_plan
from ihomer.stream.exactly_once.positions import added, difference
from ihomer.stream.settings import Settings

HERE = KafkaSettings(("h:1",), "events")
EVENTS, LABELS = TopicPartition("events", 0), TopicPartition("labels", 0)
VALUE = b"v" * 1000


class Network:
    """What the client knows of its cluster."""

    def __init__(self, partitions: dict[str, int]) -> None:
        self.cluster = self
        self.known = partitions
        self.ids: dict[str, object] = {name: f"id of {name}" for name in partitions}

    def brokers(self) -> list[Any]:
        return [SimpleNamespace(node_id=0)]

    def connected(self, _: int) -> bool:
        return True

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self.known[topic])) if topic in self.known else None

    def topic_id(self, topic: str) -> object | None:
        return self.ids.get(topic)


class Consumer:
    """A client with endless partitions from some offset on, `fetch` records at a time."""

    def __init__(self, network: Network, fetch: Mapping[Any, int]) -> None:
        self.network = network
        self.fetch = dict(fetch)
        self.begins = dict.fromkeys(fetch, 0)
        self.at: dict[Any, int] = {}
        self.stopped: set[Any] = set()

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return self.network.partitions_for_topic(topic)

    def assign(self, places: list[Any]) -> None:
        self.at = dict.fromkeys(places, 0)

    def assignment(self) -> set[Any]:
        return set(self.at)

    def seek(self, place: Any, offset: int) -> None:
        self.at[place] = offset

    def pause(self, *places: Any) -> None:
        self.stopped |= set(places)

    def resume(self, *places: Any) -> None:
        self.stopped -= set(places)

    def paused(self) -> set[Any]:
        return set(self.stopped)

    def position(self, place: Any, timeout_ms: int) -> int:
        return self.at[place]

    def highwater(self, _: Any) -> int:
        return 1_000_000

    def beginning_offsets(self, places: list[Any], timeout_ms: int) -> dict[Any, int]:
        return {place: self.begins.get(place, 0) for place in places}

    def end_offsets(self, places: list[Any], timeout_ms: int) -> dict[Any, int]:
        return dict.fromkeys(places, 1_000_000)

    def poll(self, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
        found = {}
        for place, offset in self.at.items():
            if place in self.stopped or not self.fetch[place]:
                continue
            if offset < self.begins[place]:
                raise OffsetOutOfRangeError({place: offset})
            self.at[place] = offset + self.fetch[place]
            found[place] = [
                SimpleNamespace(value=VALUE, key=None, headers=(), offset=i, timestamp=i)
                for i in range(offset, self.at[place])
            ]
        return found


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Consumer:
    network = Network({"events": 1, "labels": 1})
    made = Consumer(network, {EVENTS: 100, LABELS: 100})
    monkeypatch.setattr(kafka_reader, "connect", lambda *_, **__: (made, network))
    return made


@pytest.fixture
def reader(consumer: Consumer) -> RangeReader:
    made = RangeReader(HERE, ["events", "labels"], lambda: False)
    made.go_to({"events": {0: 0}, "labels": {0: 0}})
    return made


def test_what_was_read_before_a_gap_is_returned_first(
    consumer: Consumer, reader: RangeReader
) -> None:
    assert len(reader.poll(1, 0.0)) == 1
    consumer.begins[LABELS] = 1000  # 100 of them are here, the rest has been deleted
    consumer.fetch[EVENTS] = 0
    found: list[int] = []

    def read_on() -> None:
        for _ in range(100):
            found.extend(each.offset for each in reader.poll(7, 0.0) if each.source == "labels")

    with pytest.raises(LostRangeError) as lost:
        read_on()
    assert found == list(range(100))
    assert (lost.value.topic, lost.value.start, lost.value.begin) == ("labels", 100, 1000)
    reader.skip_to("labels", 0, 1000)
    assert {(record.source, record.offset) for record in reader.poll(3, 0.0)} == {
        ("labels", offset) for offset in (1000, 1001, 1002)
    }


def test_a_topic_that_is_far_ahead_pauses(consumer: Consumer, reader: RangeReader) -> None:
    """Of a partition no more is kept than the bound and one fetch, and none is forgotten."""
    bound = kafka_reader._AHEAD_BYTES + 100 * (len(VALUE) + 128)
    seen = {"events": 0, "labels": 0}
    paused = 0
    for _ in range(500):
        for record in reader.poll(64, 0.0):
            assert record.offset == seen[record.source]
            seen[record.source] += 1
        paused += len(consumer.stopped)
        for place in (EVENTS, LABELS):
            assert reader._queues.n_bytes(place) <= bound
            assert reader.behind()[place.topic, 0] == 1_000_000 - seen[place.topic]
    assert paused > 0
    assert abs(seen["events"] - seen["labels"]) <= 64


def plan(slots: int) -> Plan:
    settings = Settings(
        source=["kafka://h:1/events"],
        labels_source="kafka://h:1/labels",
        sink="kafka://h:1/out",
        slots=slots,
    )
    return make_plan(settings, lambda *_: pytest.fail("nothing is made"), {}, fresh=False)


def test_partitions_that_were_added(consumer: Consumer, reader: RangeReader) -> None:
    known = {"events": {0: 5}, "labels": {0: 7}}
    assert added(plan(1), 0, reader, known) == {}
    consumer.network.known["labels"] = 4
    assert difference(plan(1), reader) is None
    assert added(plan(1), 0, reader, known) == {"labels": {1: 0, 2: 0, 3: 0}}
    # With several slots both topics have to have them.
    wrong = difference(plan(2), reader)
    assert wrong is not None
    assert "topic events has 1 partitions, topic labels has 4" in wrong
    consumer.network.known["events"] = 4
    assert difference(plan(2), reader) is None
    assert added(plan(2), 1, reader, {}) == {"events": {1: 0, 3: 0}, "labels": {1: 0, 3: 0}}


def test_each_topic_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    network: Any = Network({"events": 1, "labels": 1})
    watch = TopicWatch(HERE, network, 1.0, ["events", "labels"])
    watch.polled(anything=True)
    network.ids["labels"] = "another"
    with pytest.raises(InputError, match="labels: the topic was deleted and made anew"):
        watch.polled(anything=True)
    network.ids["labels"] = "id of labels"
    asked: list[str] = []
    monkeypatch.setattr(kafka_watch, "GONE_S", 0.0)
    monkeypatch.setattr(TopicWatch, "_look_again", lambda _, topic: asked.append(topic))
    del network.known["labels"]
    for _ in range(3):
        watch.polled(anything=False)
    assert set(asked) == {"labels"}
