"""The Kafka source and sink against a real broker: what they do when all is well."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import MemberToRemove

from ihomer.connectors.base import Message, Record
from ihomer.connectors.kafka import KafkaSink, describe
from ihomer.errors import InputError, UnavailableError
from tests.integration.helpers import (
    PATIENCE_S,
    NewTopic,
    Opened,
    numbers,
    poll_until,
    produce,
    read,
    uri,
    values,
)
from tools.broker import Broker, free_port

pytestmark = [
    pytest.mark.integration,
    # kafka-python leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


def test_what_is_written_is_read(broker: Broker, new_topic: NewTopic, opened: Opened) -> None:
    topic = new_topic(3)
    sent = [
        Message(
            f"event {i}".encode() * (i % 7),
            key=None if i % 5 == 0 else f"key {i}".encode(),
            headers=(("ihomer.offset", str(i).encode()), ("empty", b""), ("again", b"1"))
            if i % 3 == 0
            else (),
            timestamp=1_700_000_000_000 + i if i % 2 else None,
            origin=i,
        )
        for i in range(5000)
    ]
    produce(broker, topic, sent)
    records = read(opened(topic), 5000)
    by_partition: dict[int, list[Record]] = {0: [], 1: [], 2: []}
    for record in records:
        assert record.source == topic
        assert record.fault is None
        by_partition[record.partition].append(record)
    for partition, found in by_partition.items():
        expected = sent[partition::3]
        assert [r.offset for r in found] == list(range(len(expected)))
        for record, message in zip(found, expected, strict=True):
            assert record.value == message.value
            assert record.key == message.key
            assert record.headers == message.headers
            if message.timestamp is not None:
                assert record.timestamp == message.timestamp
            else:
                assert record.timestamp is not None


def test_a_tombstone_is_no_value(broker: Broker, new_topic: NewTopic, opened: Opened) -> None:
    topic = new_topic()
    produce(broker, topic, [Message(None, key=b"k"), Message(b"", key=b"k"), Message(None)])
    # The last has neither key nor value, which the client cannot send.
    assert [r.value for r in read(opened(topic), 3)] == [None, b"", b""]


def test_a_group_goes_on_where_it_committed(
    broker: Broker, new_topic: NewTopic, opened: Opened
) -> None:
    topic = new_topic(2)
    produce(broker, topic, numbers(0, 1000, 2))
    first = opened(topic, "group=resume")
    done = read(first, 300)
    position = first.position()
    assert json.loads(json.dumps(position)) == position
    first.commit(position)
    read(first, 100)  # returned, but never committed: it must come again
    first.close()

    second = opened(topic, "group=resume")
    rest = read(second, 700)
    assert sorted(values(done) + values(rest)) == list(range(1000))
    second.commit(second.position())
    second.close()

    third = opened(topic, "group=resume")
    assert third.next_batch(10, 2.0) == []
    produce(broker, topic, numbers(1000, 1010, 2))
    assert sorted(values(read(third, 10))) == list(range(1000, 1010))
    # Another group knows nothing of that and starts at the beginning.
    assert sorted(values(read(opened(topic, "group=other"), 1010))) == list(range(1010))


def test_a_commit_may_be_behind_what_was_returned(
    broker: Broker, new_topic: NewTopic, opened: Opened
) -> None:
    topic = new_topic()
    produce(broker, topic, numbers(0, 100))
    source = opened(topic)
    read(source, 40)
    earlier = source.position()
    read(source, 40)
    source.commit(earlier)
    source.close()
    assert values(read(opened(topic), 60)) == list(range(40, 100))


def test_seek_returns_what_comes_next(broker: Broker, new_topic: NewTopic, opened: Opened) -> None:
    topic = new_topic(2)
    produce(broker, topic, numbers(0, 200, 2))
    first = opened(topic, "group=a")
    read(first, 120)
    position = first.position()
    rest = read(first, 80)

    second = opened(topic, "group=b")
    second.seek(position)
    again = read(second, 80)
    assert sorted(again) == sorted(rest)
    second.seek(position)  # also later, in partitions that are assigned
    assert sorted(read(second, 80)) == sorted(rest)


@pytest.mark.parametrize(
    ("position", "said"),
    [
        ({"topic": "another", "offsets": {"0": 0}}, "another"),
        ({"topic": "TOPIC", "offsets": {"0": 11}}, "found 0 to 10"),
        ({"topic": "TOPIC", "offsets": {"1": 0}}, "partitions 0 to 0"),
        ({"topic": "TOPIC"}, "no position"),
        ({"topic": "TOPIC", "offsets": {"zero": 1}}, "no position"),
    ],
)
def test_seek_refuses_what_is_not_there(
    broker: Broker, new_topic: NewTopic, opened: Opened, position: dict[str, object], said: str
) -> None:
    topic = new_topic()
    produce(broker, topic, numbers(0, 10))
    position = {**position, "topic": str(position["topic"]).replace("TOPIC", topic)}
    with pytest.raises(InputError, match=said):
        opened(topic).seek(position)


def test_an_offset_that_retention_has_eaten_is_an_error(
    broker: Broker, new_topic: NewTopic, opened: Opened
) -> None:
    topic = new_topic()
    produce(broker, topic, numbers(0, 100))
    source = opened(topic, "group=slow")
    read(source, 20)
    source.commit(source.position())
    source.close()
    with broker.admin() as admin:
        admin.delete_records({TopicPartition(topic, 0): 50})
    behind = opened(topic, "group=slow")
    said = rf"{topic}, partition 0: group slow wants offset 20 .* 50 to 100.* 20 to 49 were deleted"
    for _ in range(2):  # it stays an error, nothing is skipped on a second try
        with pytest.raises(InputError, match=said):
            poll_until(behind, lambda: False)
    # For a group without a past the topic starts where it now starts.
    assert values(read(opened(topic, "group=new"), 50)) == list(range(50, 100))


def test_the_end_of_a_transaction_is_no_event_that_can_be_lost(
    broker: Broker, new_topic: NewTopic, opened: Opened
) -> None:
    topic = new_topic()
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id="t")
    producer.init_transactions()
    for commit in (True, False, True):
        producer.begin_transaction()
        for value in (b"1", b"2"):
            producer.send(topic, value)
        producer.flush()
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    producer.close()

    source = opened(topic)
    assert [r.offset for r in read(source, 4)] == [0, 1, 6, 7]  # 3 to 4: aborted; 2, 5, 8: ends
    poll_until(source, lambda: source.position()["offsets"]["0"] == 9)
    source.commit(source.position())
    assert source.lag() == {(topic, 0): 0}
    source.close()
    with broker.admin() as admin:
        admin.delete_records({TopicPartition(topic, 0): 9})
    later = opened(topic)
    assert later.next_batch(10, 2.0) == []
    produce(broker, topic, numbers(0, 1))
    assert values(read(later, 1)) == [0]


def test_two_members_share_and_the_one_that_stays_takes_over(
    broker: Broker, new_topic: NewTopic, opened: Opened
) -> None:
    topic = new_topic(4)
    produce(broker, topic, numbers(0, 400, 4))
    one = opened(topic)
    seen = Counter(values(read(one, 200)))
    one.commit(one.position())
    assert one.partitions() == [0, 1, 2, 3]

    two = opened(topic)
    end = time.monotonic() + PATIENCE_S
    while len(one.partitions()) != 2 or len(two.partitions()) != 2:
        assert time.monotonic() < end
        for member in (one, two):
            seen.update(values(member.next_batch(10, 0.2) or ()))
            member.commit(member.position())
    assert sorted(one.partitions() + two.partitions()) == [0, 1, 2, 3]
    stale = two.position()
    two.close()

    left = time.monotonic()
    rest = poll_until(one, lambda: one.partitions() == [0, 1, 2, 3])
    # The session time-out is 10 s: sooner than that means that the group was told.
    assert time.monotonic() - left < 8
    seen.update(values(rest))
    while sum(seen.values()) < 400:
        seen.update(values(read(one, 1)))
    assert seen == Counter(range(400))  # every commit came before the hand-over: none twice
    one.commit(one.position())
    # Offsets from before a partition changed hands never move the group back.
    one.commit(stale)
    one.close()
    assert opened(topic).next_batch(10, 2.0) == []


def test_a_member_that_was_thrown_out_commits_nothing_and_joins_again(
    broker: Broker, new_topic: NewTopic, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    topic = new_topic()
    produce(broker, topic, numbers(0, 100))
    source = opened(topic, "group=thrown")
    read(source, 30)
    source.commit(source.position())
    read(source, 30)
    with broker.admin() as admin:
        members = [MemberToRemove(member_id=name) for name in _members(broker, "thrown")]
        admin.remove_group_members("thrown", members)
    with caplog.at_level(logging.WARNING, logger="ihomer"):
        source.commit(source.position())
    assert "offsets not committed" in caplog.text
    assert values(read(source, 70)) == list(range(30, 100))  # from the last commit on
    source.commit(source.position())
    source.close()
    assert opened(topic, "group=thrown").next_batch(10, 2.0) == []


def _members(broker: Broker, group: str) -> list[str]:
    with broker.admin() as admin:
        described = admin.describe_groups([group])
    return [member["member_id"] for member in described[group]["members"]]


def test_close_leaves_the_group(broker: Broker, new_topic: NewTopic, opened: Opened) -> None:
    topic = new_topic()
    produce(broker, topic, numbers(0, 1))
    source = opened(topic, "group=leaver")
    read(source, 1)
    assert len(_members(broker, "leaver")) == 1
    source.close()
    source.close()
    assert _members(broker, "leaver") == []


def test_messages_keep_the_order_and_place_of_their_origin(
    broker: Broker, new_topic: NewTopic, opened: Opened
) -> None:
    topic = new_topic(2)
    sink = KafkaSink.from_uri(uri(broker, topic, "compression=gzip"))
    assert sink.partitions() == 2
    # Five input partitions, two output partitions.
    for start in range(0, 3000, 100):
        sink.write([Message(str(i).encode(), origin=i % 5) for i in range(start, start + 100)])
    sink.flush()
    sink.flush()
    sink.close()
    sink.close()
    by_origin: dict[int, list[int]] = {origin: [] for origin in range(5)}
    for record in read(opened(topic), 3000):
        assert isinstance(record.value, bytes)
        number = int(record.value)
        assert record.partition == (number % 5) % 2
        by_origin[number % 5].append(number)
    for origin, found in by_origin.items():
        assert found == list(range(origin, 3000, 5))


def test_a_message_that_is_too_large(broker: Broker, new_topic: NewTopic, opened: Opened) -> None:
    topic = new_topic()
    big = bytes(range(256)) * 8192
    sink = KafkaSink.from_uri(uri(broker, topic))
    with pytest.raises(UnavailableError, match=rf"{topic}: a message of {len(big)} bytes"):
        sink.write([Message(big)])
    sink.close()
    letters = KafkaSink.from_uri(uri(broker, topic), truncate=True)
    letters.write([Message(big, key=b"k", headers=(("why", b"x" * 1000),))])
    letters.close()
    (record,) = read(opened(topic), 1)
    assert isinstance(record.value, bytes)
    assert big.startswith(record.value)
    assert (1 << 20) - 2000 < len(record.value) < 1 << 20
    assert record.headers == (("why", b"x" * 1000), ("ihomer.truncated", b"2097152"))


def test_the_limit_of_the_topic_counts(broker: Broker, new_topic: NewTopic, opened: Opened) -> None:
    topic = new_topic(max_message_bytes="1000")
    sink = KafkaSink.from_uri(uri(broker, topic))
    with pytest.raises(UnavailableError, match=rf"{topic}: .* accepted: 1000 bytes together"):
        sink.write([Message(b"x" * 950)])
    # Many that fit go in batches that fit.
    sink.write([Message(b"%3d" % i + b"y" * 500) for i in range(100)])
    sink.close()
    letters = KafkaSink.from_uri(uri(broker, topic), truncate=True)
    letters.write([Message(b"z" * 5000)])
    letters.close()
    records = read(opened(topic), 101)
    assert records[-1].headers == (("ihomer.truncated", b"5000"),)


def test_partitions_that_are_added_are_read_from_their_beginning(
    broker: Broker, new_topic: NewTopic, opened: Opened
) -> None:
    topic = new_topic(1)
    produce(broker, topic, numbers(0, 10))
    source = opened(topic)
    read(source, 10)
    source.commit(source.position())
    with broker.admin() as admin:
        admin.create_partitions({topic: 2})
        admin.wait_for_topics([topic])
    produce(broker, topic, numbers(10, 20, 2))
    # The client asks for metadata every 30 s; the test does not wait for that.
    source._network.cluster.request_update()
    assert sorted(values(read(source, 10))) == list(range(10, 20))
    assert source.position()["offsets"] == {"0": 15, "1": 5}
    source.commit(source.position())


def test_describe(broker: Broker, new_topic: NewTopic) -> None:
    topic = new_topic(3)
    report = describe(f"kafka://{broker.bootstrap}")
    assert report.reason is None
    assert report.brokers == (broker.bootstrap,)
    assert len(report.cluster_id) == 22
    assert report.topics is not None
    assert report.topics[topic] == 3
    assert not [name for name in report.topics if name.startswith("__")]
    assert report.api_version >= (4, 0)

    address = f"127.0.0.1:{free_port()}"
    absent = describe(f"kafka://{address}/events", 0.5)
    assert absent.reason is not None
    assert "connection refused" in absent.reason
    assert absent.topics is None
