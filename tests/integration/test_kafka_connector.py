"""The Kafka source and sink against a real broker."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove

from ihomer.connectors.base import Message, Record
from ihomer.connectors.kafka import KafkaSink, KafkaSource, describe
from ihomer.errors import InputError, UnavailableError, UsageError
from tools.broker import Broker, free_port

pytestmark = [
    pytest.mark.integration,
    # kafka-python leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

PATIENCE_S = 60.0
NewTopic = Callable[..., str]


def uri(broker: Broker, topic: str, query: str = "") -> str:
    return f"kafka://{broker.bootstrap}/{topic}?{query}".removesuffix("?")


def produce(broker: Broker, topic: str, messages: Sequence[Message]) -> None:
    sink = KafkaSink.from_uri(uri(broker, topic))
    sink.write(messages)
    sink.close()


def numbers(start: int, stop: int, partitions: int = 1) -> list[Message]:
    """Numbered messages; number i goes to partition i mod `partitions`."""
    return [Message(str(i).encode(), origin=i % partitions) for i in range(start, stop)]


def read(source: KafkaSource, count: int, batch: int = 500) -> list[Record]:
    """Exactly `count` records, committing nothing."""
    found: list[Record] = []
    end = time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < end, f"{len(found)} of {count} records came"
        got = source.next_batch(min(batch, count - len(found)), 1.0)
        assert got is not None
        found += got
    return found


def values(records: Sequence[Record]) -> list[int]:
    return [int(r.value) for r in records if isinstance(r.value, bytes)]


def poll_until(source: KafkaSource, condition: Callable[[], bool]) -> list[Record]:
    """Records that came until `condition` held."""
    found: list[Record] = []
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "the condition never held"
        found += source.next_batch(100, 0.2) or ()
    return found


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Closes what a test opened, last first, whatever happened."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def opened(broker: Broker, closing: ExitStack) -> Callable[..., KafkaSource]:
    def open_(topic: str, query: str = "") -> KafkaSource:
        source = KafkaSource.from_uri(uri(broker, topic, query))
        closing.callback(source.close)
        return source

    return open_


Opened = Callable[..., KafkaSource]


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
    assert source.lag() == {0: 0}
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


def test_a_broker_that_restarts_loses_nothing(
    new_topic: NewTopic, broker: Broker, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    topic = new_topic(2)
    produce(broker, topic, numbers(0, 500, 2))
    source = opened(topic)
    sink = KafkaSink.from_uri(uri(broker, topic))
    seen = Counter(values(read(source, 200)))
    source.commit(source.position())
    caplog.set_level(logging.WARNING, logger="ihomer")
    broker.kill()
    thread = threading.Thread(target=broker.start)
    try:
        end = time.monotonic() + 3
        while time.monotonic() < end:  # what was fetched before still comes, errors do not
            seen.update(values(source.next_batch(100, 0.5) or ()))
        sink.write(numbers(500, 600, 2))  # kept until there is a broker again
    finally:
        thread.start()
        thread.join()
    sink.flush()
    sink.close()
    while sum(seen.values()) < 600:
        seen.update(values(read(source, 1)))
    assert seen == Counter(range(600))
    source.commit(source.position())
    source.close()
    assert opened(topic).next_batch(10, 2.0) == []
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("ihomer")]
    assert sum("is away" in line for line in ours) == 1
    assert sum("is back" in line for line in ours) == 1


def test_a_broker_that_hangs_holds_nothing_up_for_long(
    broker: Broker, new_topic: NewTopic, caplog: pytest.LogCaptureFixture
) -> None:
    topic = new_topic()
    produce(broker, topic, numbers(0, 20))
    # A group of its own: a member that cannot say that it leaves stays until its time-out.
    source = KafkaSource.from_uri(uri(broker, topic, "group=hangs"))
    sink = KafkaSink.from_uri(uri(broker, topic))
    read(source, 10)
    broker.freeze()
    try:
        start = time.monotonic()
        with caplog.at_level(logging.WARNING, logger="ihomer"):
            source.commit(source.position())
        assert time.monotonic() - start < 8
        assert "did not answer" in caplog.text
        start = time.monotonic()
        source.close()
        assert time.monotonic() - start < 8
        sink.write(numbers(20, 30))
        start = time.monotonic()
        with pytest.raises(UnavailableError, match="10 of 10 messages were not acknowledged"):
            sink.close()
        assert time.monotonic() - start < 12
    finally:
        broker.thaw()


def test_a_missing_topic_is_named_with_those_that_exist(
    broker: Broker, new_topic: NewTopic
) -> None:
    existing = new_topic()
    opens: list[Callable[[str], object]] = [KafkaSource.from_uri, KafkaSink.from_uri]
    for open_ in opens:
        with pytest.raises(UsageError, match=r"no topic 'evnets'; there is ") as caught:
            open_(uri(broker, "evnets"))
        assert "\n" not in str(caught.value)
        listed = str(caught.value).partition("there is ")[2]
        assert len(listed.split(",")) <= 10
    with broker.admin() as admin:
        assert existing in admin.list_topics()
        assert "evnets" not in admin.list_topics()


def test_a_topic_that_is_deleted_while_it_is_read_is_an_error(
    broker: Broker, new_topic: NewTopic, opened: Opened
) -> None:
    topic = new_topic()
    produce(broker, topic, numbers(0, 10))
    source = opened(topic)
    read(source, 10)
    with broker.admin() as admin:
        admin.delete_topics([topic])
    with pytest.raises(InputError, match=f"no topic '{topic}'.*deleted while it was read"):
        poll_until(source, lambda: False)


def test_a_topic_that_is_made_anew_while_it_is_read_is_an_error(
    broker: Broker, new_topic: NewTopic, opened: Opened
) -> None:
    topic = new_topic()
    produce(broker, topic, numbers(0, 10))
    source = opened(topic)
    read(source, 10)
    with broker.admin() as admin:
        admin.delete_topics([topic])
    broker.create_topic(topic)
    produce(broker, topic, numbers(0, 20))
    # The client asks for metadata every 30 s; the test does not wait for that.
    source._network.cluster.request_update()
    with pytest.raises(InputError, match=f"{topic}.*(made anew|wants offset)"):
        poll_until(source, lambda: False)


def test_a_broker_that_is_absent_is_named_in_time() -> None:
    address = f"127.0.0.1:{free_port()}"
    opens: list[Callable[[str, float], object]] = [KafkaSource.from_uri, KafkaSink.from_uri]
    for open_ in opens:
        start = time.monotonic()
        with pytest.raises(UnavailableError, match=rf"{address}.*connection refused"):
            open_(f"kafka://{address}/events", 1.0)
        assert time.monotonic() - start < 5
    assert not [t for t in threading.enumerate() if t.name.startswith("kafka-io")]


def test_something_else_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UnavailableError, match=rf"{address} is not available"):
            KafkaSource.from_uri(f"kafka://{address}/events", 1.0)


def test_the_reason_is_told_while_the_application_is_silent() -> None:
    logger = logging.getLogger("kafka")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with pytest.raises(UnavailableError, match=r"nohost\.invalid cannot be resolved"):
            KafkaSource.from_uri("kafka://nohost.invalid/events", 1.0)
        assert logger.level == logging.CRITICAL
        assert logger.propagate
    finally:
        logger.setLevel(before)


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


def test_what_the_broker_refuses_is_told(broker: Broker, new_topic: NewTopic) -> None:
    topic = new_topic()
    sink = KafkaSink.from_uri(uri(broker, topic))
    with broker.admin() as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "500"})
        admin.alter_configs([resource])
    sink.write([Message(b"x" * 900)])
    with pytest.raises(UnavailableError, match=rf"{topic}: 1 of 1 messages .*SizeTooLarge"):
        sink.flush()
    sink.close()


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


def test_a_group_of_other_habits_is_refused(
    broker: Broker, new_topic: NewTopic, opened: Opened
) -> None:
    topic = new_topic()
    other = KafkaConsumer(topic, bootstrap_servers=broker.bootstrap, group_id="eager")
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            other.poll(timeout_ms=100)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        end = time.monotonic() + PATIENCE_S
        while not other.assignment():
            assert time.monotonic() < end
            time.sleep(0.05)
        with pytest.raises(UsageError, match="group eager has members that share"):
            poll_until(opened(topic, "group=eager"), lambda: False)
    finally:
        stop.set()
        thread.join()
        other.close(autocommit=False, timeout_ms=3000)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_no_broker_outlives_a_parent_that_is_killed(broker: Broker) -> None:
    # `broker` is asked for so that the jars are there and a machine without Java skips.
    code = """
import time
from tools.broker import Broker
broker = Broker()
broker.start()
print(broker._process.pid, broker._folder, flush=True)
time.sleep(600)
"""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root
    ) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        os.kill(parent.pid, signal.SIGKILL)
    end = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}").exists() and _state(pid) != "Z":
        assert time.monotonic() < end, "the broker is still there"
        time.sleep(0.1)
    subprocess.run(["rm", "-rf", folder], check=True)


def _state(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
