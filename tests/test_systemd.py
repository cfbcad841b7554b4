"""What a real datagram socket hears, in the place of systemd's."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ihomer.stream import metrics as m
from ihomer.stream.health import LIVE_SECONDS
from ihomer.stream.status import Stage, Status
from ihomer.stream.systemd import Notifier

PATIENCE_S = 60.0


class Manager:
    """A socket as systemd binds it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{path[1:]}" if path.startswith("@") else path)
        self.socket.settimeout(PATIENCE_S)

    def hear(self) -> list[str]:
        return self.socket.recv(4096).decode().split("\n")

    def hears_nothing_more(self) -> bool:
        self.socket.setblocking(False)
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return True
        return False


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = f"@ihomer-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    opened = Manager(path)
    yield opened
    opened.socket.close()


def test_ready_alive_stopping(manager: Manager) -> None:
    status = Status()
    status.enter(Stage.WAIT)
    status.set(m.EVENTS, 1234, "0")
    status.set(m.LAG, 5, "events", "0")
    status.publish()
    environment = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "40000"}
    notifier = Notifier(status, environment)
    notifier.ready()
    notifier.ready()  # once is enough
    assert manager.hear() == ["READY=1", "STATUS=ready, 1,234 events, lag 5"]
    for _ in range(3):
        assert manager.hear() == ["STATUS=ready, 1,234 events, lag 5", "WATCHDOG=1"]
    status.trouble("source", "Kafka at h:1 is\naway")
    while "STATUS=not ready: Kafka at h:1 is away; 1,234 events, lag 5" not in manager.hear():
        pass
    notifier.stopping()
    while manager.hear() != ["STOPPING=1", "STATUS=stopping"]:
        pass
    assert "WATCHDOG=1" in manager.hear(), "the loop is at its last commit, and lives"
    notifier.close()
    notifier.close()
    while not manager.hears_nothing_more():
        pass


def test_a_loop_that_hangs_is_not_vouched_for(manager: Manager) -> None:
    now = 0.0
    status = Status(clock=lambda: now)
    status.enter(Stage.COMMIT)
    notifier = Notifier(status, {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "20000"})
    notifier.ready()
    while "WATCHDOG=1" not in manager.hear():
        pass
    now = LIVE_SECONDS + 1.0
    while "WATCHDOG=1" in manager.hear():
        pass
    for _ in range(3):
        (line,) = manager.hear()
        assert line.startswith("STATUS=not ready: the loop has been in stage commit for 181 s")
    status.enter(Stage.WAIT)
    while "WATCHDOG=1" not in manager.hear():
        pass
    notifier.close()


@pytest.mark.parametrize(
    "watchdog", [{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {}]
)
def test_a_watchdog_that_is_not_ours_gets_nothing(
    tmp_path: Path, watchdog: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ihomer.stream.systemd.REPORT_SECONDS", 0.01)
    manager = Manager(str(tmp_path / "notify"))
    notifier = Notifier(Status(), {"NOTIFY_SOCKET": manager.path, **watchdog})
    notifier.ready()
    assert manager.hear()[0] == "READY=1"
    for _ in range(3):
        assert [line.partition("=")[0] for line in manager.hear()] == ["STATUS"]
    notifier.close()
    manager.socket.close()


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "1000"}):
        notifier = Notifier(Status(), environment)
        notifier.ready()
        notifier.stopping()
        notifier.close()


def test_a_long_reason_is_cut() -> None:
    from ihomer.stream.systemd import summary

    status = Status(clock=lambda: 0.0)
    status.enter(Stage.WAIT)
    status.trouble("source", "x" * 10_000)
    assert len(summary(status.snapshot(), 0.0)) < 300
