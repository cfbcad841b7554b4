"""What `bench.daemon` runs beside a daemon, each in a process of its own.

In: a broker's address and topics. Out: marks of how far something had come at which moment. It is
here so that neither the client's ceiling nor the load nor the reader shares an interpreter with
what is measured. Moments are those of the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition

from ihomer.connectors.base import Message
from ihomer.connectors.kafka import KafkaSink
from ihomer.connectors.uri import open_source
from ihomer.instances import Event
from ihomer.stream.write_events import event_object

TRANSACTION = 1_000
_TICK_S = 0.01
_BATCH_BYTES = 1 << 18
_SILENCE_S = 60.0


class Mark(NamedTuple):
    """So many events had been done at `at` (seconds), with so much CPU time (seconds)."""

    at: float
    events: int
    cpu: float = 0.0


def copies(stream: str, events: int) -> list[bytes]:
    """A stream's events as JSON, as often as needed, each time in another order.

    Copy r is in the order of ``numpy.random.default_rng(r).permutation(n)``. Ids go on from copy to
    copy.

    Parameters
    ----------
    stream
        Its URI; it ends.
    events
        How many.
    """
    source = open_source(stream)
    bodies: list[dict[str, Any]] = []
    while (records := source.next_batch(1024, 1.0)) is not None:
        bodies += [event_object(each.value) for each in records if isinstance(each.value, Event)]
    source.close()
    found: list[bytes] = []
    copy = 0
    while len(found) < events:
        order = np.random.default_rng(copy).permutation(len(bodies)).tolist()
        for i in order[: events - len(found)]:
            found.append(orjson.dumps(bodies[i] | {"id": len(found)}))
        copy += 1
    return found


def produce(uri: str, values: Sequence[bytes], partitions: int) -> None:
    """Write `values` to a topic, in turn to its partitions."""
    sink = KafkaSink.from_uri(uri)
    for start in range(0, len(values), TRANSACTION):
        sink.write(
            [
                Message(value, None, timestamp=round(1000 * time.time()), origin=i % partitions)
                for i, value in enumerate(values[start : start + TRANSACTION], start)
            ]
        )
    sink.flush()  # a busy machine may take longer than a closing sink waits
    sink.close()


def reader(bootstrap: str, topic: str, **options: Any) -> Any:
    """A client without a group that reads all partitions of a topic, committed records alone.

    Parameters
    ----------
    bootstrap
        Of the broker.
    topic
        Must exist.
    options
        Of the client; by default it begins at the earliest record.
    """
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        metrics_enabled=False,
        **{"auto_offset_reset": "earliest", **options},
    )
    partitions = sorted(consumer.partitions_for_topic(topic) or ())
    consumer.assign([TopicPartition(topic, partition) for partition in partitions])
    return consumer


def ceiling(bootstrap: str, topics: tuple[str, str, str], events: int, size: int) -> list[Mark]:
    """Consume, produce, offsets and journal in transactions, and nothing else.

    Parameters
    ----------
    bootstrap
        Of the broker.
    topics
        The input, the output (as many partitions), the journal (one).
    events
        How many to read from the beginning.
    size
        Bytes of an output; it has the headers of a prediction.

    Returns
    -------
    list of Mark
        After each commit.
    """
    source, sink, journal = topics
    consumer = reader(bootstrap, source)
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        transactional_id=f"ceiling-{sink}",
        batch_size=_BATCH_BYTES,
        linger_ms=5,
        metrics_enabled=False,
    )
    producer.init_transactions()
    value = b"x" * size
    name = source.encode()
    marks: list[Mark] = []
    done = 0
    while done < events:
        batch: list[Any] = []
        while len(batch) < min(TRANSACTION, events - done):
            room = min(TRANSACTION, events - done) - len(batch)
            for records in consumer.poll(timeout_ms=1000, max_records=room).values():
                batch += records
        producer.begin_transaction()
        offsets: dict[Any, Any] = {}
        futures = []
        for record in batch:
            futures.append(
                producer.send(
                    sink,
                    value=value,
                    headers=[
                        ("ihomer.topic", name),
                        ("ihomer.partition", b"%d" % record.partition),
                        ("ihomer.offset", b"%d" % record.offset),
                    ],
                    partition=record.partition,
                    timestamp_ms=record.timestamp,
                )
            )
            at = TopicPartition(source, record.partition)
            offsets[at] = OffsetAndMetadata(record.offset + 1, "", -1)
        ends = {str(at.partition): found.offset for at, found in offsets.items()}
        futures.append(producer.send(journal, value=orjson.dumps({"offsets": ends}), partition=0))
        producer.send_offsets_to_transaction(offsets, f"group-{sink}")
        producer.commit_transaction()
        if any(not each.is_done or each.failed() for each in futures):
            raise RuntimeError("a record of the ceiling was not acknowledged")
        done += len(batch)
        marks.append(Mark(time.monotonic(), done, time.process_time()))
    producer.close()
    consumer.close(autocommit=False)
    return marks


class Late(NamedTuple):
    """How a paced producer fared: events sent, and the most seconds that one was sent too late."""

    sent: int
    latest_s: float


def pace(uri: str, values: Sequence[bytes], partitions: int, per_second: float) -> Late:
    """Write `values` at a steady rate; each record's timestamp is when it was handed over."""
    sink = KafkaSink.from_uri(uri)
    begun = time.monotonic()
    sent, latest = 0, 0.0
    while sent < len(values):
        now = time.monotonic() - begun
        due = min(len(values), int(now * per_second))
        if due > sent:
            latest = max(latest, now - sent / per_second)
            stamp = time.time_ns() // 1_000_000
            sink.write(
                [
                    Message(values[i], None, timestamp=stamp, origin=i % partitions)
                    for i in range(sent, due)
                ]
            )
            sent = due
        time.sleep(_TICK_S)
    sink.close()
    return Late(sent, latest)


def follow(bootstrap: str, topic: str, events: int, skip: int, told: Any) -> list[float]:
    """Read new records of a topic as they become visible, read_committed.

    Parameters
    ----------
    bootstrap, topic
        Where.
    events
        How many records to read.
    skip
        How many of the first ones say nothing.
    told
        A queue that is told once the reader is in place.

    Returns
    -------
    list of float
        For each record after the first `skip`, seconds from its timestamp to when it was seen.
    """
    consumer = reader(bootstrap, topic, auto_offset_reset="latest", fetch_max_wait_ms=50)
    for place in consumer.assignment():
        consumer.position(place)
    told.put(True)
    found: list[float] = []
    silent_since = time.monotonic()
    while len(found) < events:
        polled = consumer.poll(timeout_ms=100)
        now = time.time()
        if polled:
            silent_since = time.monotonic()
        elif time.monotonic() - silent_since > _SILENCE_S:
            raise RuntimeError(f"{topic}: nothing came for {_SILENCE_S:.0f} s")
        for records in polled.values():
            found += [now - record.timestamp / 1000.0 for record in records]
    consumer.close(autocommit=False)
    return found[skip:events]
