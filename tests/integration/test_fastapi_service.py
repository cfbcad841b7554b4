"""The example of a service, as a real one: uvicorn in a process of its own, on a free port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3

from ihomer import IHomer
from ihomer.errors import MalformedEventError
from tests.first_use import ROOT

fastapi = pytest.importorskip("fastapi", reason="the extra `service` is not installed")

from examples.fastapi_service import BackgroundLearner  # noqa: E402 - only where there is fastapi

pytestmark = pytest.mark.integration

EVENTS = [({"ball": 1.0}, ["sport"]), ({"vote": 1.0}, ["politics", "news"])]


class Client:
    """Asks a service."""

    def __init__(self, port: int) -> None:
        self._at = f"http://127.0.0.1:{port}"
        self._pool = urllib3.PoolManager(retries=False, timeout=30.0)

    def __call__(self, path: str, body: Any = None) -> tuple[int, Any]:
        method = "GET" if body is None else "POST"
        answer = self._pool.request(method, self._at + path, json=body)
        return answer.status, answer.json()

    def until(self, learned: int) -> None:
        """Wait until a snapshot has learned so many events."""
        for _ in range(600):
            if self("/health")[1]["learned"] >= learned:
                return
            time.sleep(0.05)
        raise AssertionError(f"it has not learned {learned} events")


@contextmanager
def service(folder: Path) -> Iterator[Client]:
    """A service whose model is in `folder`, ended as an operator would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "examples.fastapi_service:app"]
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    process = subprocess.Popen(
        [*command, "--port", str(port), "--log-level", "warning"],
        env={**os.environ, "IHOMER_MODEL": str(folder / "service.model"), "PYTHONPATH": path},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        client = Client(port)
        for _ in range(2400):  # it compiles where nothing has been compiled yet
            assert process.poll() is None, process.communicate()[0]
            try:
                client("/health")
                break
            except urllib3.exceptions.HTTPError:
                time.sleep(0.05)
        yield client
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=30)
        assert process.returncode in (0, -signal.SIGTERM), told
        assert told == ""  # no noise
    finally:
        process.kill()
        process.communicate()


def test_it_predicts_learns_in_the_background_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    with service(tmp_path) as ask:
        assert ask("/predict", {"x": {"ball": 1.0}})[1] == {
            "labels": [],
            "scores": [],
            "learned": 0,
        }
        for _ in range(40):
            for x, y in EVENTS:
                assert ask("/feedback", {"x": x, "y": y})[0] == 202
        ask.until(80)
        status, found = ask("/predict", {"x": {"vote": 1.0}, "top": 2})
        assert status == 200
        assert found["labels"] == ["news", "politics"]
        assert [label for label, _ in found["scores"]] == ["news", "politics"]
        assert found["learned"] == 80
        assert ask("/explain", {"x": {"ball": 1.0}})[1]["why"].startswith("sport: 0.")
        status, told = ask("/explain", {"x": {}, "label": "x"})
        assert (status, told["detail"][:16]) == (422, "label: found 'x'")
        for path in ("/predict", "/feedback"):
            status, told = ask(path, {"x": {"ball": {}}, "y": ["sport"]})
            assert status == 422
            assert told["detail"].startswith("x.ball: found {}")
        # Waits in the queue when the service ends, and is learned before the model is saved.
        for x, y in EVENTS * 20:
            ask("/feedback", {"x": x, "y": y})
    saved = IHomer.load(tmp_path / "service.model", frozen=True)
    assert saved.n_learned == 120
    with service(tmp_path) as ask:
        assert ask("/health")[1] == {"learned": 120, "waiting": 0, "refused": 0}
        status, found = ask("/predict", {"x": {"ball": 1.0}})
        assert found["labels"] == ["sport"]
        assert found["scores"] == [[n, p] for n, p in saved.rank_one({"ball": 1.0})]


def test_the_queue_is_bounded_and_bad_events_do_not_end_the_learner(tmp_path: Path) -> None:
    learner = BackgroundLearner(tmp_path / "model", waiting=3, publish_s=0.01)
    x, y = EVENTS[0]
    assert [learner.submit(x, y) for _ in range(5)] == [True, True, True, False, False]
    with pytest.raises(MalformedEventError):
        learner.submit({"ball": float("inf")}, y)
    learner._model.max_labels = 1
    learner._model.encoder.labels.bound = 1
    learner.start()
    while learner.waiting:
        time.sleep(0.01)
    for labels in (["one too many"], ["sport"]):
        while not learner.submit(x, labels):
            time.sleep(0.01)
    learner.close()
    assert learner.refused == 1
    assert IHomer.load(tmp_path / "model").n_learned == 4
    assert threading.active_count() < 10
