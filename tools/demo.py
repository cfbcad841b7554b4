"""Yeast through a real broker and a real daemon, for `make demo`.

In: Java 17 or newer and, for the first download, Maven. Out: predictions on the terminal as they
arrive, and a summary. It is here to show the product at its one job in half a minute, with nothing
simulated: the daemon is the command that a user would start.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

from ihomer.connectors.base import Message
from ihomer.connectors.kafka import KafkaSink, KafkaSource
from ihomer.connectors.uri import open_source
from ihomer.errors import IhomerError
from ihomer.instances import Event
from ihomer.stream.write_events import event_object
from tools.broker import (
    KAFKA_JAR,
    KAFKA_VERSION,
    Broker,
    BrokerError,
    jars_folder,
    reason_unavailable,
)

STREAM = "river:yeast"
PER_SECOND = 400  # slow enough to be watched
SHOW_EVERY = 100
WINDOW = 500
# The daemon may have to compile its kernels first.
READY_SECONDS = 180.0
SILENCE_SECONDS = 30.0
STOP_SECONDS = 15.0


class DemoError(Exception):
    """The demonstration cannot go on; the text says why."""


class Sent(NamedTuple):
    """An event as it is sent, and what must not be forgotten of it."""

    id: int
    labels: frozenset[str]
    value: bytes


def stream() -> list[Sent]:
    """All events of the stream."""
    source = open_source(STREAM)
    found: list[Sent] = []
    while (records := source.next_batch(1000, timeout=1.0)) is not None:
        for record in records:
            event = record.value
            if not isinstance(event, Event):
                raise DemoError(f"{STREAM} is not what it was")
            body = orjson.dumps(event_object(event))
            found.append(Sent(record.offset, frozenset(event.on or ()), body))
    source.close()
    return found


@contextlib.contextmanager
def daemon(source: str, sink: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``ihomer run`` as a process; at the end it is stopped as a service manager would."""
    command = [str(Path(sys.executable).with_name("ihomer")), "run"]
    command += ["--source", source, "--sink", sink, "--batch-size", "16"]
    # The broker is a new one each time, so what a daemon remembers must be too.
    command += ["--state-dir", str(log.parent / "state")]
    print(f"$ ihomer run --source '{source}' --sink '{sink}'", flush=True)
    # Its own session: Ctrl-C is ours, and ends it in order.
    with (
        log.open("wb") as file,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the daemon has got its partitions."""
    end = time.monotonic() + READY_SECONDS
    told = time.monotonic() + 5.0
    while b"assigned" not in log.read_bytes():
        if process.poll() is not None:
            raise DemoError(f"the daemon ended:\n{log.read_text()}")
        if time.monotonic() > end:
            raise DemoError(f"the daemon did not get ready:\n{log.read_text()}")
        if time.monotonic() > told:
            print("... the daemon compiles its kernels, once on this machine", flush=True)
            told = end
        time.sleep(0.1)


def send(uri: str, events: Sequence[Sent], stop: threading.Event) -> None:
    """Send `events` at a pace that can be watched."""
    sink = KafkaSink.from_uri(uri)
    start = time.monotonic()
    for i, event in enumerate(events):
        sink.write([Message(event.value)])
        if stop.wait(max(0.0, start + i / PER_SECOND - time.monotonic())):
            break
    sink.close()


def watch(
    source: KafkaSource, events: Sequence[Sent], process: subprocess.Popen[bytes], log: Path
) -> tuple[int, float]:
    """Show predictions as they arrive.

    Returns
    -------
    tuple
        How many came, and the subset accuracy of the last `WINDOW`.
    """
    right: deque[bool] = deque(maxlen=WINDOW)
    received = 0
    heard = time.monotonic()
    while received < len(events):
        records = source.next_batch(500, timeout=0.2)
        for record in records:
            prediction = orjson.loads(record.value if isinstance(record.value, bytes) else b"")
            event = events[prediction["id"]]
            predicted = frozenset(prediction["labels"])
            right.append(predicted == event.labels)
            received += 1
            if received % SHOW_EVERY == 0:
                print(f"event {event.id:>5}   {_comparison(event.labels, predicted)}", flush=True)
        if records:
            heard = time.monotonic()
        elif process.poll() is not None:
            raise DemoError(f"the daemon ended:\n{log.read_text()}")
        elif time.monotonic() - heard > SILENCE_SECONDS:
            raise DemoError(f"no prediction for {SILENCE_SECONDS:.0f} s:\n{log.read_text()}")
    return received, sum(right) / len(right)


def _comparison(true: frozenset[str], predicted: frozenset[str]) -> str:
    """Both label sets, short, with their numbers in place of Yeast's class names."""

    def short(labels: frozenset[str]) -> str:
        numbers = sorted(int(label.removeprefix("Class")) for label in labels)
        return " ".join(map(str, numbers)) or "none"

    return f"true {short(true):<22} predicted {short(predicted)}"


def demonstrate() -> None:
    """Run the whole of it.

    Raises
    ------
    BrokerError, DemoError, IhomerError
        Something is missing or has failed.
    """
    begin = time.monotonic()
    if reason_unavailable() is None and not (jars_folder() / KAFKA_JAR).is_file():
        print(f"downloading Kafka {KAFKA_VERSION} to {jars_folder()} (43 MB, once)", flush=True)
    print(f"starting Apache Kafka {KAFKA_VERSION} on loopback ...", flush=True)
    with Broker() as broker, tempfile.TemporaryDirectory(prefix="ihomer-demo-") as folder:
        for topic in ("events", "predictions"):
            broker.create_topic(topic)
        uri = f"kafka://{broker.bootstrap}"
        log = Path(folder) / "daemon.log"
        with daemon(f"{uri}/events?group=demo", f"{uri}/predictions", log) as process:
            events = stream()
            wait_until_ready(process, log)
            print(f"sending {len(events):,} events of {STREAM}; labels by number:", flush=True)
            start = time.monotonic()
            stop = threading.Event()
            sender = threading.Thread(target=send, args=(f"{uri}/events", events, stop))
            source = KafkaSource.from_uri(f"{uri}/predictions?group=viewer")
            sender.start()
            try:
                received, accuracy = watch(source, events, process, log)
                seconds = time.monotonic() - start
            finally:
                stop.set()
                sender.join()
                source.close()
        if process.returncode != 0:
            raise DemoError(f"the daemon ended with code {process.returncode}:\n{log.read_text()}")
    print(
        f"{len(events):,} events sent, {received:,} predictions received in {seconds:.1f} s;"
        f" subset accuracy of the last {WINDOW}: {accuracy:.3f}"
    )
    print(f"daemon and broker stopped; {time.monotonic() - begin:.0f} s in all")


def main() -> int:
    """Run the demonstration; the exit code is 0, 69 if something is missing, 130 after Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        demonstrate()
    except (BrokerError, DemoError, IhomerError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 69
    except KeyboardInterrupt:
        print("stopped")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
