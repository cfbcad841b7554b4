"""A service that predicts in requests and learns from feedback later, in the background.

In: ``POST /predict`` with the features of an event, ``POST /feedback`` with the same features and
the labels that turned out true. Out: labels and probabilities; a model that goes on learning and
is saved when the service ends. Run it with

    pip install 'ihomer[service]'
    IHOMER_MODEL=tickets.model uvicorn examples.fastapi_service:app --port 8000

What to take over from it:

- `warm_up` runs before the first request, so no request waits for a compiler.
- One thread learns; feedback waits for it in a bounded queue. Where that is full, the client is
  told so (503) and may try again: neither memory nor the time of a request grows.
- Requests read a snapshot, a copy of the model that the learner publishes now and then, so they
  never wait for the learner. To read the model itself instead is safe, too: they would see it
  before or after an event that is being learned, never between, and wait for that event.
- One process has the learner. Others can predict from the saved model,
  ``IHomer.load(path, frozen=True)``, and share its memory.
"""

from __future__ import annotations

import copy
import logging
import os
import queue
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from ihomer import IHomer, warm_up
from ihomer.errors import IhomerError, MalformedEventError

log = logging.getLogger("service")

WAITING = 10_000  # events of feedback that may wait
PUBLISH_S = 1.0  # seconds between two snapshots, while there is something new


class Learned(NamedTuple):
    """An event with the labels that turned out true."""

    x: dict[str, Any]
    y: list[str]


class BackgroundLearner:
    """The one writer: learns what is submitted, publishes snapshots, saves at the end.

    Parameters
    ----------
    path
        Where the model is loaded from, if there is one, and saved to.
    waiting, publish_s
        Bound of the queue, and seconds between two snapshots.
    """

    def __init__(self, path: Path, waiting: int = WAITING, publish_s: float = PUBLISH_S) -> None:
        self._path = path
        self._model = IHomer.load(path) if path.exists() else IHomer()
        self.snapshot = copy.deepcopy(self._model)
        self.refused = 0  # events that the model did not take
        self._publish_s = publish_s
        self._queue: queue.Queue[Learned | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._run, name="learner")

    @property
    def waiting(self) -> int:
        """About how many events wait."""
        return self._queue.qsize()

    def start(self) -> None:
        """Begin to learn."""
        self._thread.start()

    def submit(self, x: dict[str, Any], y: list[str]) -> bool:
        """Queue an event; False: there is no room.

        Raises
        ------
        MalformedEventError
            The features cannot be used: better said to who has sent them than found out later.
        """
        self.snapshot.encoder.features_of(x)
        try:
            self._queue.put_nowait(Learned(x, y))
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Learn what waits, then save the model."""
        self._queue.put(None)
        self._thread.join()
        self._model.save(self._path)

    def _run(self) -> None:
        published = time.monotonic()
        while True:
            late = self._model.n_learned > self.snapshot.n_learned
            due = max(0.0, published + self._publish_s - time.monotonic())
            try:
                event = self._queue.get(timeout=due if late else None)
                if event is None:
                    return
                self._model.learn_one(event.x, event.y)
            except queue.Empty:
                pass
            except IhomerError as error:  # such as a label past max_labels
                self.refused += 1
                log.warning("feedback was not learned: %s", error)
            if time.monotonic() >= published + self._publish_s:
                # Copied by the only thread that changes it; readers get one whole or the other.
                self.snapshot = copy.deepcopy(self._model)
                published = time.monotonic()


class Asked(BaseModel):
    """What a prediction is asked for."""

    x: dict[str, Any]
    top: int = Field(5, ge=1)


class Explained(BaseModel):
    """What an explanation is asked for."""

    x: dict[str, Any]
    label: str | None = None


class Feedback(BaseModel):
    """What turned out true."""

    x: dict[str, Any]
    y: list[str]


def create_app(path: Path) -> FastAPI:
    """The service around the model at `path`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warm_up()  # up to two minutes once on a machine, a second afterwards
        app.state.learner = learner = BackgroundLearner(path)
        learner.start()
        yield
        learner.close()

    app = FastAPI(title="ihomer", lifespan=lifespan)

    # A prediction takes less than a thread would to be handed it, so it runs on the loop.
    @app.post("/predict")
    async def predict(asked: Asked) -> dict[str, Any]:
        model: IHomer = app.state.learner.snapshot
        try:
            on = model.predict_one(asked.x)
            best = model.rank_one(asked.x, asked.top)
        except MalformedEventError as error:
            raise HTTPException(422, str(error)) from error
        labels = [label for label, is_on in on.items() if is_on]
        return {"labels": labels, "scores": best, "learned": model.n_learned}

    @app.post("/explain")
    async def explain(asked: Explained) -> dict[str, Any]:
        model: IHomer = app.state.learner.snapshot
        try:
            found = model.explain_one(asked.x, asked.label)
        except IhomerError as error:
            raise HTTPException(422, str(error)) from error
        return {"label": found.label, "score": found.score, "why": str(found)}

    @app.post("/feedback", status_code=202)
    async def feedback(event: Feedback) -> dict[str, int]:
        learner: BackgroundLearner = app.state.learner
        try:
            taken = learner.submit(event.x, event.y)
        except MalformedEventError as error:
            raise HTTPException(422, str(error)) from error
        if not taken:
            raise HTTPException(503, "too much feedback waits", headers={"Retry-After": "1"})
        return {"waiting": learner.waiting}

    @app.get("/health")
    async def health() -> dict[str, int]:
        learner: BackgroundLearner = app.state.learner
        return {
            "learned": learner.snapshot.n_learned,
            "waiting": learner.waiting,
            "refused": learner.refused,
        }

    return app


app = create_app(Path(os.environ.get("IHOMER_MODEL", "service.model")))
