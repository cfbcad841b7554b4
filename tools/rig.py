"""An application on a broker, with workers that can be hurt: for tests and for `make chaos`.

In: a broker, a folder. Out: topics with small events, daemons as processes, and `Invariants` over
what they leave behind. It is here so that tests and chaos set up the same thing.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ihomer.connectors.base import Message
from ihomer.connectors.kafka import KafkaSink
from ihomer.faults import VARIABLE
from ihomer.stream.settings import Settings
from tools.broker import Broker
from tools.invariants import PATIENCE_S, Invariants
from tools.late import Arrival, LateStream, Placing, answered

LABELS = ("news", "sport", "war", "art")
BAD_EVERY = 97
SESSION_MS = 2_000

_names = itertools.count()
_IHOMER = Path(sys.executable).with_name("ihomer")


def labels_of(a: float, b: float) -> list[str]:
    """The labels of an event with these features."""
    return [label for label, value in zip(LABELS, (a, b, a + b, a - b), strict=True) if value > 0.5]


def events(start: int, stop: int, partitions: int) -> Iterator[Message]:
    """Small labelled events with their number as id, one in `BAD_EVERY` of them malformed.

    Event i goes to partition i mod `partitions`; its timestamp is not long ago, because retention
    goes by it.
    """
    begin = round(1000 * time.time()) - 1_000_000
    for i in range(start, stop):
        chance = random.Random(i)  # noqa: S311 - for test data
        a, b = chance.gauss(0.0, 1.0), chance.gauss(0.0, 1.0)
        labels = ",".join(f'"{label}"' for label in labels_of(a, b))
        body = f'{{"id":{i},"x":{{"a":{a:.6f},"b":{b:.6f}}},"y":[{labels}]}}'
        if i % BAD_EVERY == BAD_EVERY - 1:
            body = body[:-2]
        yield Message(body.encode(), b"key %d" % i, timestamp=begin + i, origin=i % partitions)


class Daemon:
    """``ihomer run`` as a process, and what it logs.

    Parameters
    ----------
    log
        File that its output goes to.
    arguments
        Of the command.
    variables
        Added to its environment, which has no other ``IHOMER_*`` than the cache's folder.
    """

    def __init__(self, log: Path, arguments: Sequence[str], variables: dict[str, str]) -> None:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("IHOMER_") or name == "IHOMER_CACHE_DIR"
        }
        self._log = log
        self.begun = time.monotonic()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [_IHOMER, "run", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env=environment | variables,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def wait_for(self, condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Return when `condition` holds.

        Raises
        ------
        AssertionError
            The process ends before, or it takes too long.
        """
        limit = time.monotonic() + patience_s
        while not condition():
            if not self.running:
                raise AssertionError(f"the daemon ended ({self.process.returncode}):\n{self.log}")
            if time.monotonic() > limit:
                raise AssertionError(f"not in time:\n{self.log}")
            time.sleep(0.05)

    def wait_for_log(self, text: str, times: int = 1) -> None:
        """Return when it has said `text`."""
        self.wait_for(lambda: self.log.count(text) >= times)

    def wait_for_end(self, patience_s: float = PATIENCE_S) -> int:
        """Its exit code, once it has ended by itself; negative: the signal."""
        try:
            return self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end:\n{self.log}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, which must end it in order."""
        self.signal(signal.SIGTERM)
        code = self.wait_for_end(20.0)
        if code != 0 or "Traceback" in self.log:
            raise AssertionError(f"no clean end ({code}):\n{self.log}")


class Rig:
    """See the module.

    Parameters
    ----------
    broker
        Running.
    folder
        For state and logs.
    partitions
        Of the input.
    slots
        Number of models.
    session_ms
        Of the workers.
    late
        Labels come apart from their features, in one topic or in two; None: with them.
    wait_events
        How many events labels are waited for; None: as by default.
    events
        Makes the input: as `events` in this module.
    variables
        Configuration of the daemons, as ``IHOMER_*`` variables without the prefix.

    Attributes
    ----------
    produced
        Records of the input that are to be answered.
    stream
        Of late labels, if they are late.
    """

    def __init__(
        self,
        broker: Broker,
        folder: Path,
        partitions: int = 3,
        slots: int = 1,
        session_ms: int = SESSION_MS,
        late: Placing | None = None,
        wait_events: int | None = None,
        events: Callable[[int, int, int], Iterator[Message]] = events,
        **variables: str,
    ) -> None:
        self.broker = broker
        self.folder = folder
        self.partitions = partitions
        self.slots = slots
        self.app = f"app-{next(_names)}"
        self.daemons: list[Daemon] = []
        self.produced = 0
        self._session_ms = session_ms
        self._events = events
        self.variables = {f"IHOMER_{name.upper()}": value for name, value in variables.items()}
        self.source, self.sink, self.dead_letters = (
            f"{self.app}.{kind}" for kind in ("events", "predictions", "dead")
        )
        self.labels = f"{self.app}.labels" if late == "two topics" else None
        self.stream = None if late is None else LateStream(labels_of, partitions)
        self.wait_events = wait_events
        self._waits: dict[str, Any] = {}
        if wait_events is not None:
            self._waits["label_wait_events"] = wait_events
        if late is not None:
            self.variables["IHOMER_LATE_LABELS"] = "true"
        for name, value in self._waits.items():
            self.variables[f"IHOMER_{name.upper()}"] = str(value)
        if self.labels is not None:
            self.variables["IHOMER_LABELS_SOURCE"] = self.uri(self.labels)
            broker.create_topic(self.labels, partitions)
        broker.create_topic(self.source, partitions)
        broker.create_topic(self.sink, 2)
        broker.create_topic(self.dead_letters, 1)

    @property
    def state(self) -> Path:
        """Folder of the application's checkpoints."""
        return self.folder / "state" / self.app

    @property
    def journal(self) -> str:
        """Name of the journal's topic."""
        return f"{self.app}.journal"

    def uri(self, topic: str, query: str = "") -> str:
        """The URI of a topic."""
        return f"kafka://{self.broker.bootstrap}/{topic}?{query}".removesuffix("?")

    def produce(self, count: int) -> None:
        """Add so many events to the input, and the labels that are due."""
        if self.stream is not None:
            self._send(self.stream.take(count), self.stream)
            return
        sink = KafkaSink.from_uri(self.uri(self.source))
        sink.write(list(self._events(self.produced, self.produced + count, self.partitions)))
        sink.close()
        self.produced += count

    def produce_rest(self) -> None:
        """Add what is still due of late labels to the input."""
        if self.stream is not None:
            self._send(self.stream.rest(), self.stream)

    def _send(self, arrivals: Sequence[Arrival], stream: LateStream) -> None:
        """Add late labels and features, side by side as they come."""
        topics = {"features": self.source, "labels": self.labels or self.source}
        sinks = {topic: KafkaSink.from_uri(self.uri(topic)) for topic in set(topics.values())}
        for kind, message in arrivals:
            sinks[topics[kind]].write([message])
        for sink in sinks.values():
            sink.close()
        self.produced = stream.sent.features + stream.sent.broken

    def start(self, *arguments: str, fault: str = "", **variables: str) -> Daemon:
        """Start a worker, with named faults if any."""
        more = {f"IHOMER_{name.upper()}": value for name, value in variables.items()}
        if fault:
            more[VARIABLE] = fault
        daemon = Daemon(
            self.folder / f"{self.app}-{len(self.daemons)}.log",
            [
                "--source",
                self.uri(self.source, f"group={self.app}&session_timeout_ms={self._session_ms}"),
                "--sink",
                self.uri(self.sink),
                "--dead-letters",
                self.uri(self.dead_letters),
                "--state-dir",
                str(self.folder / "state"),
                "--quiet",
                *arguments,
            ],
            self.variables | more,
        )
        self.daemons.append(daemon)
        return daemon

    def settings(self) -> Settings:
        """The configuration as a daemon reads it, for twins."""
        keys: dict[str, Any] = {
            name.removeprefix("IHOMER_").lower(): _value(value)
            for name, value in self.variables.items()
        }
        keys |= {
            "source": [self.uri(self.source)],
            "sink": self.uri(self.sink),
            "dead_letters": self.uri(self.dead_letters),
            "slots": self.slots,
            "late_labels": self.stream is not None,
            "labels_source": self.labels and self.uri(self.labels),
            **self._waits,
        }
        return Settings(**keys)

    def invariants(self) -> Invariants:
        """What looks at all that is left behind; the journal's topic exists."""
        return Invariants(
            self.broker.bootstrap,
            [self.source, *filter(None, [self.labels])],
            self.sink,
            self.dead_letters,
            self.journal,
            self.state,
            self.settings(),
            answered if self.stream is not None else None,
        )

    def close(self) -> None:
        """End all daemons."""
        for daemon in self.daemons:
            if daemon.running:
                daemon.kill()


def _value(text: str) -> Any:
    """What the text of a variable stands for; tables are JSON."""
    if text.isdigit():
        return int(text)
    return json.loads(text) if text.startswith("{") else text
