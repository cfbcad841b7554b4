"""What systemd is told of a service of ``Type=notify``: ready, alive, stopping, and a line of text.

In: ``$NOTIFY_SOCKET`` and ``$WATCHDOG_USEC``, as systemd sets them, and a `Status`. Out: datagrams
as sd_notify(3) describes them. It is here so that a loop that hangs is ended and started anew by
the service manager, and ``systemctl status`` shows how things are.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from queue import Empty, SimpleQueue

import structlog

from ihomer.stream import metrics as m
from ihomer.stream.health import is_ready, reasons, stalled
from ihomer.stream.status import Distribution, Snapshot, Status

log = structlog.get_logger("ihomer")

REPORT_SECONDS = 10.0
_SEND_SECONDS = 1.0  # where the service manager is behind in reading
_MOST_TEXT = 200  # characters of a status line


class Notifier:
    """Speaks to the service manager, if there is one that listens; otherwise it does nothing.

    Between `ready` and `close` a thread sends ``WATCHDOG=1`` twice in the time that systemd
    allows, as long as the loop lives (`ihomer.stream.health`), and ``STATUS=`` with it.

    Parameters
    ----------
    status
        Whose loop is watched.
    environment
        Where systemd's variables are; None: the process's own.
    """

    def __init__(self, status: Status, environment: Mapping[str, str] | None = None) -> None:
        found = os.environ if environment is None else environment
        self._status = status
        self._path = found.get("NOTIFY_SOCKET", "")
        self._watchdog_s = _watchdog_seconds(found)
        # Its `put` may be called from a signal handler, whatever the interrupted thread is at.
        self._words: SimpleQueue[str] = SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def wanted(self) -> bool:
        """Whether there is a service manager that listens."""
        return bool(self._path)

    def ready(self) -> None:
        """Say that the start is over, and watch the loop from now on."""
        if self.wanted and self._thread is None:
            self._send("READY=1", self._text())
            self._thread = threading.Thread(target=self._watch, name="ihomer-notify", daemon=True)
            self._thread.start()

    def stopping(self) -> None:
        """Say that the end has begun; may be called from a signal handler."""
        self._words.put("STOPPING=1")

    def close(self) -> None:
        """Say no more. May be called twice."""
        self._words.put("")
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        period = REPORT_SECONDS if self._watchdog_s is None else self._watchdog_s / 2
        while True:
            try:
                word = self._words.get(timeout=min(period, REPORT_SECONDS))
            except Empty:
                self._tell()
                continue
            if not word:
                return
            self._send(word, "STATUS=stopping")

    def _tell(self) -> None:
        lines = [self._text()]
        if self._watchdog_s is not None and self._stalled() is None:
            lines.append("WATCHDOG=1")
        self._send(*lines)

    def _stalled(self) -> str | None:
        return stalled(self._status.snapshot(), self._status.clock())

    def _text(self) -> str:
        return f"STATUS={summary(self._status.snapshot(), self._status.clock())}"

    def _send(self, *lines: str) -> None:
        # systemd's abstract sockets are written with an @ in the place of their leading zero byte.
        path = f"\0{self._path[1:]}" if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.settimeout(_SEND_SECONDS)
                out.sendto("\n".join(lines).encode(), path)
        except OSError as error:
            log.debug("the service manager was not told", error=str(error))


def summary(snapshot: Snapshot, now: float) -> str:
    """A daemon in one line.

    Examples
    --------
    >>> from ihomer.stream.status import Stage
    >>> status = Status(clock=lambda: 0.0)
    >>> status.enter(Stage.WAIT)
    >>> status.set(m.EVENTS, 1200.0, "0")
    >>> status.publish()
    >>> summary(status.snapshot(), 1.0)
    'ready, 1,200 events, lag 0'
    >>> status.trouble("source", "Kafka at h:9092 is away")
    >>> summary(status.snapshot(), 1.0)
    'not ready: Kafka at h:9092 is away; 1,200 events, lag 0'
    """
    found = reasons(snapshot, now)
    figures = f"{_total(snapshot, m.EVENTS):,.0f} events, lag {_total(snapshot, m.LAG):,.0f}"
    if not found:
        return f"ready, {figures}"
    state = "degraded" if is_ready(found) else "not ready"
    text = "; ".join(" ".join(reason.text.split()) for reason in found)
    text = text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."
    return f"{state}: {text}; {figures}"


def _total(snapshot: Snapshot, metric: m.Metric) -> float:
    series = snapshot.values.get(metric, {}).values()
    return sum(value for value in series if not isinstance(value, Distribution))


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Within how many seconds the service manager wants to hear of us; None: it does not."""
    wanted = environment.get("WATCHDOG_USEC", "")
    # The variables are inherited: they may be meant for the process that started us.
    ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if not ours or not (wanted.isascii() and wanted.isdigit()) or int(wanted) == 0:
        return None
    return int(wanted) / 1e6
