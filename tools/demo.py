"""The main job to watch: a broker, a daemon, Yeast through a topic, predictions arriving.

In: nothing. Out: lines on the terminal, then a summary; everything that was started is stopped.
It is here so that a visitor sees the daemon at work with one command (`make demo`).
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import orjson
from kafka import KafkaConsumer, KafkaProducer

from ihomer.connectors.river_data import RiverSource
from ihomer.instances import Event, Row
from tools.broker import Broker, BrokerError, reason_unavailable

EVENTS_PER_SECOND = 400
SHOW_EVERY = 200
PATIENCE_S = 120.0
RECENT = 500


def yeast_events() -> list[tuple[bytes, bytes, set[str]]]:
    """Key, JSON and labels of each event of river's Yeast."""
    source = RiverSource("yeast")
    events: list[tuple[bytes, bytes, set[str]]] = []
    for record in source.next_batch(source.length or 1, 0.0) or ():
        event = record.value
        if not isinstance(event, Event) or not isinstance(event.x, Row) or event.on is None:
            raise TypeError("the Yeast source has changed its records")
        x = dict(zip(event.x.names, event.x.values.tolist(), strict=True))
        body = orjson.dumps({"id": event.id, "x": x, "y": list(event.on)})
        events.append((str(event.id).encode(), body, set(event.on)))
    return events


def start_daemon(broker: Broker, log: Path) -> subprocess.Popen[bytes]:
    """`ihomer run` from the topic `events` to the topic `predictions`."""
    uri = f"kafka://{broker.bootstrap}"
    command = [str(Path(sys.executable).with_name("ihomer")), "run", "--quiet"]
    command += ["--source", f"{uri}/events?group=demo", "--sink", f"{uri}/predictions"]
    print("$", " ".join(["ihomer", *command[1:]]), flush=True)
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output)


def watch(
    broker: Broker, daemon: subprocess.Popen[bytes], events: list[tuple[bytes, bytes, set[str]]]
) -> tuple[int, float]:
    """Send all events, read all predictions; returns their number and the recent exact ones."""
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap, linger_ms=5)
    consumer = KafkaConsumer(
        "predictions", bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest"
    )
    recent: deque[bool] = deque(maxlen=RECENT)
    sent = received = 0
    started = time.monotonic()
    try:
        while received < len(events):
            if daemon.poll() is not None or time.monotonic() - started > PATIENCE_S:
                break
            due = min(len(events), int((time.monotonic() - started) * EVENTS_PER_SECOND))
            for key, body, _ in events[sent:due]:
                producer.send("events", body, key=key)
            sent = max(sent, due)
            for records in consumer.poll(timeout_ms=20).values():
                for record in records:
                    received += 1
                    prediction = orjson.loads(record.value)
                    truth = events[prediction["id"]][2]
                    recent.append(set(prediction["labels"]) == truth)
                    if received % SHOW_EVERY == 0:
                        print(
                            f"{received:5} of {sent:5} sent | event {prediction['id']}:"
                            f" {', '.join(sorted(truth))} | predicted:"
                            f" {', '.join(prediction['labels']) or 'none'}",
                            flush=True,
                        )
    finally:
        producer.close()
        consumer.close()
    return received, sum(recent) / max(1, len(recent))


def main() -> int:
    """Run the demonstration; exit code 0 when every event was predicted."""
    reason = reason_unavailable()
    if reason is not None:
        print(f"the demonstration needs a Kafka broker: {reason}", file=sys.stderr)
        return 69
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ihomer-demo-") as folder:
        log = Path(folder) / "daemon.log"
        try:
            print("starting a broker", flush=True)
            with Broker() as broker:
                for topic in ("events", "predictions"):
                    broker.create_topic(topic)
                events = yeast_events()
                daemon = start_daemon(broker, log)
                try:
                    received, exact = watch(broker, daemon, events)
                finally:
                    daemon.send_signal(signal.SIGTERM)
                    code = daemon.wait(timeout=15)
        except BrokerError as error:
            print(error, file=sys.stderr)
            return 69
        print(
            f"{received:,} predictions of {len(events):,} events; subset accuracy of the last"
            f" {RECENT}: {exact:.3f}; the daemon ended with exit code {code};"
            f" {time.monotonic() - started:.0f} s in all"
        )
        if received < len(events) or code:
            print(log.read_text(errors="replace"), file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
