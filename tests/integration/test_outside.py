"""A real daemon on a real broker, looked at from outside: healthy, cut off, healthy again."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from ihomer.connectors.base import Message
from ihomer.errors import EXIT_OK
from ihomer.stream.frame import Samples, parse_metrics
from tests.integration.helpers import PATIENCE_S, NewTopic, produce, start_ihomer, uri
from tools.broker import Broker

pytestmark = [
    pytest.mark.integration,
    # kafka-python leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

TOKEN = "correct-horse-battery"  # noqa: S105 - nobody's


class Watched:
    """A daemon as a process under a service manager's eye."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(folder / "notify"))
        self.told: list[str] = []  # to the service manager, line by line
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()
        self._log = folder / "log"
        self.process = start_ihomer(
            [
                *("run", "--quiet", "--delivery", "at-least-once"),
                *("--state-dir", str(folder / "state"), "--log-format", "json"),
                *("--http", "127.0.0.1:0", *arguments),
            ],
            folder,
            self._log,
            {
                "IHOMER_HTTP_TOKEN": TOKEN,
                "NOTIFY_SOCKET": str(folder / "notify"),
                "WATCHDOG_USEC": "1000000",
            },
        )
        self.wait_for(lambda: self._url() is not None)
        self.url = self._url() or ""

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _url(self) -> str | None:
        found = re.search(r'"url": ?"([^"]+)"', self.log)
        return None if found is None else found[1]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"the daemon ended:\n{self.log}"
            assert time.monotonic() < end, f"not in time:\n{self.log}"
            time.sleep(0.05)

    def get(self, path: str) -> tuple[int, bytes]:
        answer = urllib3.request(
            "GET",
            self.url + path,
            headers={"Authorization": f"Bearer {TOKEN}"},
            retries=False,
            timeout=30.0,
        )
        return answer.status, answer.data

    def metrics(self) -> Samples:
        return parse_metrics(self.get("/metrics")[1].decode())

    def ready(self) -> tuple[int, dict[str, Any]]:
        status, body = self.get("/health/ready")
        found: dict[str, Any] = json.loads(body)
        return status, found

    def _listen(self) -> None:
        while datagram := self.manager.recv(4096):
            self.told += datagram.decode().split("\n")

    def hear(self, word: str) -> None:
        """Wait until the service manager hears `word`, if it has not, at the start of a line."""
        end = time.monotonic() + PATIENCE_S
        while not any(line.startswith(word) for line in self.told.copy()):
            assert time.monotonic() < end, (self.told, self.log)
            time.sleep(0.02)

    def close(self) -> None:
        """Kill it, if it still is, and let go."""
        self.process.kill()
        self.process.wait()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.manager.getsockname())
        self.listener.join()
        self.manager.close()

    def predicted(self) -> float:
        return sum(self.metrics().get("ihomer_events_total", {}).values())


Watch = Callable[..., Watched]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    daemons: list[Watched] = []

    def start(*arguments: str) -> Watched:
        daemons.append(Watched(tmp_path, *arguments))
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.close()


def events(start: int, stop: int) -> list[Message]:
    return [
        Message(b'{"id": %d, "x": {"a": %d}, "y": ["t%d"]}' % (i, i % 7, i % 3), origin=i)
        for i in range(start, stop)
    ]


def test_a_daemon_that_loses_its_broker_says_so_and_comes_back(
    broker: Broker, new_topic: NewTopic, watch: Watch
) -> None:
    source, output, letters = new_topic(3), new_topic(3), new_topic(1)
    produce(broker, source, [*events(0, 900), Message(b"bad"), Message(b"worse")])
    daemon = watch(
        *("--source", uri(broker, source, "group=outside"), "--sink", uri(broker, output)),
        *("--dead-letters", uri(broker, letters)),
    )
    daemon.hear("READY=1")
    daemon.wait_for(lambda: daemon.predicted() == 900)
    daemon.wait_for(lambda: daemon.ready()[1]["status"] == "ready")

    found = daemon.metrics()
    lag = {frozenset({("topic", source), ("partition", str(i))}): 0.0 for i in range(3)}
    assert found["ihomer_lag_records"] == lag
    assert sum(found["ihomer_dead_letters_total"].values()) == 2
    assert found["ihomer_commit_seconds_count"][frozenset()] >= 1
    assert found["ihomer_ready"] == {frozenset(): 1.0}
    assert daemon.get("/health/live")[0] == 200
    assert urllib3.request("GET", f"{daemon.url}/metrics", retries=False).status == 401

    broker.kill()
    try:
        daemon.wait_for(lambda: daemon.ready()[0] == 503)
        (reason,) = daemon.ready()[1]["reasons"]
        assert reason["subject"] == "source"
        assert reason["text"] == f"Kafka at {broker.bootstrap} is away"
        assert daemon.metrics()["ihomer_ready"] == {frozenset(): 0.0}
        assert daemon.metrics()["ihomer_reason"] == {
            frozenset({("subject", "source"), ("severity", "not-ready")}): 1.0
        }
        # An outage is no cause to restart a daemon that waits it out.
        assert daemon.get("/health/live")[0] == 200
        daemon.hear(f"STATUS=not ready: Kafka at {broker.bootstrap} is away; 900 events")
        daemon.told.clear()
        daemon.hear("WATCHDOG=1")
    finally:
        broker.start()
    daemon.wait_for(lambda: daemon.ready()[0] == 200)
    assert daemon.ready()[1]["reasons"] == []
    produce(broker, source, events(900, 1200))
    daemon.wait_for(lambda: daemon.predicted() == 1200)

    daemon.process.send_signal(signal.SIGTERM)
    daemon.hear("STOPPING=1")
    assert daemon.process.wait(PATIENCE_S) == EXIT_OK, daemon.log
    assert TOKEN not in daemon.log
    with pytest.raises(urllib3.exceptions.HTTPError):
        daemon.get("/health/live")


def test_lag_is_seen_while_a_slow_daemon_works_it_off(
    broker: Broker, new_topic: NewTopic, watch: Watch
) -> None:
    """SIGSTOP in the place of slowness: the server is silent then, and right again afterwards."""
    source = new_topic(1)
    daemon = watch("--source", uri(broker, source, "group=behind"), "--batch-size", "1")
    daemon.hear("READY=1")
    produce(broker, source, events(0, 1))
    daemon.wait_for(lambda: daemon.predicted() == 1)
    daemon.process.send_signal(signal.SIGSTOP)
    produce(broker, source, events(1, 8000))
    daemon.process.send_signal(signal.SIGCONT)
    seen: list[float] = []

    def done() -> bool:
        found = daemon.metrics()
        (lag,) = found["ihomer_lag_records"].values()
        (predicted,) = found["ihomer_events_total"].values()
        seen.append(lag)
        # Figures that belong together: what was predicted and what is behind make the whole.
        assert lag == 0 or predicted + lag <= 8000
        return predicted == 8000

    daemon.wait_for(done)
    assert max(seen) > 0
    assert seen[-1] == 0
