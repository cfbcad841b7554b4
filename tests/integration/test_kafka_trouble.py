"""The Kafka source and sink against a real broker that restarts, hangs, refuses or is absent."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka import KafkaConsumer
from kafka.admin import ConfigResource, ConfigResourceType

from ihomer.connectors.base import Message
from ihomer.connectors.kafka import KafkaSink, KafkaSource
from ihomer.errors import InputError, UnavailableError, UsageError
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
    with pytest.raises(InputError, match=f"{topic}.*made anew"):
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


def test_what_the_broker_refuses_is_told(broker: Broker, new_topic: NewTopic) -> None:
    topic = new_topic()
    sink = KafkaSink.from_uri(uri(broker, topic))
    with broker.admin() as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "500"})
        admin.alter_configs([resource])

    def write() -> None:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:  # the broker takes a new limit to heart in its own time
            sink.write([Message(b"x" * 900)])
            sink.flush()

    with pytest.raises(UnavailableError, match=rf"{topic}: 1 of 1 messages .*SizeTooLarge"):
        write()
    sink.close()


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
