"""What every learner in a benchmark does, whoever wrote it and whatever it is written in.

In: batches over ids. Out: predictions, and the seconds that predicting and learning took without
what it costs to bring a batch into the learner's own form. It is here so that a peer in another
language is timed by its own clock and scored by our measures.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

from ihomer.drift.events import LearnerEvent
from ihomer.instances import Batch, Encoder
from ihomer.learners.base import Predictions, SparsePredictions, StreamLearner


@dataclass(frozen=True, slots=True)
class Shape:
    """What a learner may know of a stream before the first event.

    Attributes
    ----------
    labels
        Label names by id. All of them have their id from the start (`declare_all`), so that a
        peer's prediction of a label that was not on yet is scored like any other.
    features
        Number of feature columns at the end of the stream, indicators of nominal values included.
    sparse
        Whether events name only their non-zero features. If not, a peer gets zeros too.
    """

    labels: tuple[str, ...]
    features: int
    sparse: bool


class Candidate(ABC):
    """A learner under test. One stream each; a repetition takes a fresh one.

    Attributes
    ----------
    seconds
        Spent on predicting and learning so far; scoring and conversion are not in it.
    """

    seconds: float = 0.0

    @abstractmethod
    def predict_learn(self, batch: Batch) -> Predictions | SparsePredictions:
        """Predict, then learn each event of `batch` in order, and add to `seconds`.

        Events of `batch` that are not labelled are predicted only.
        """

    @property
    def model_bytes(self) -> int | None:
        """Size of the model in bytes, as the learner itself states it; None: it does not."""
        return None

    @property
    def memory_limit(self) -> int | None:
        """Bytes that the model is not to exceed, of a learner that knows such a limit."""
        return None

    def counts(self) -> dict[str, int]:
        """Alarms and changes so far, by kind, of a learner that reports them."""
        return {}

    def events(self, since: int) -> list[LearnerEvent]:  # noqa: ARG002 - most tell nothing
        """What has happened to the learner after event number `since`, if it tells."""
        return []

    def clusters(self) -> list[list[str]]:
        """The learner's partition of the labels, of a learner that has one."""
        return []

    def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of processes and files; may be called twice."""


class Native(Candidate):
    """One of ihomer's own learners, which read batches as they are."""

    def __init__(self, learner: StreamLearner) -> None:
        self.learner = learner

    def predict_learn(self, batch: Batch) -> Predictions | SparsePredictions:
        """See `Candidate.predict_learn`."""
        start = time.perf_counter()
        predictions = self.learner.predict_learn(batch)
        self.seconds += time.perf_counter() - start
        return predictions


def declare_all(encoder: Encoder, names: tuple[str, ...]) -> None:
    """Give every label of `names` its id now, in sorted order."""
    encoder.labels.ids(encoder.labels.admit(names))
