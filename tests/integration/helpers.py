"""What the Kafka tests share: numbered messages out, exactly so many records in."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ihomer.connectors.base import Message, Record
from ihomer.connectors.kafka import KafkaSink, KafkaSource
from tools.broker import Broker

PATIENCE_S = 300.0
NewTopic = Callable[..., str]
Opened = Callable[..., KafkaSource]


def start_ihomer(
    arguments: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """``ihomer`` as a process in `folder`, with what it writes in `log`.

    It has a session of its own, as a service has it: what ends the tests does not end it halfway.
    Of the settings of whoever runs the tests it has none but the place of the compiled kernels.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("IHOMER_") or name == "IHOMER_CACHE_DIR"
    }
    with log.open("wb") as stream:
        return subprocess.Popen(
            [Path(sys.executable).with_name("ihomer"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**inherited, **(environment or {})},
            start_new_session=True,
        )


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
