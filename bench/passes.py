"""Prequential passes: a candidate over a stream, timed and scored, to its end or to a time limit.

In: a stream and a fresh candidate. Out: measures, seconds, a series. It is here so that accuracy,
speed, memory and drift are taken from one and the same loop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator

from bench.candidate import Candidate
from bench.learners import Learner
from bench.streams import Stream
from ihomer.instances import Batch, Encoder
from ihomer.learners.base import Predictions, SparsePredictions
from ihomer.stream.measures import Measures

POINTS = 100  # of a series
SERIES_MEASURES = (
    "subset_accuracy",
    "hamming_loss",
    "micro_f1",
    "macro_f1",
    "example_f1",
)


def spacing(length: int, least: int) -> int:
    """Events between two of `POINTS` points of a series over `length` events, at least `least`.

    >>> spacing(2417, 10), spacing(194, 10)
    (25, 10)
    """
    return max(least, math.ceil(length / POINTS))


class Pass:
    """One prequential pass with a fresh model.

    Encoding (names to ids), and what it costs to bring a batch into a peer's own form, are not
    timed: predicting, learning and scoring are.

    Parameters
    ----------
    stream, learner, seed
        What to run.
    time_limit
        Seconds after which the pass stops.
    batch_size
        Events between two looks at the clock; None: the learner's.
    window
        Of the rolling measures, in events.
    every
        Events between two points of a series; None: there is none.

    Attributes
    ----------
    candidate, encoder, measures
        As they are after the events so far.
    events
        Number of events so far.
    scoring_seconds
        Spent on measures.
    timed_out
        Whether the limit ended the pass.
    model_bytes
        At its end, as the learner states it.
    """

    def __init__(
        self,
        stream: Stream,
        learner: Learner,
        seed: int,
        time_limit: float,
        batch_size: int | None = None,
        window: int = 1000,
        every: int | None = None,
    ) -> None:
        self.candidate: Candidate
        self.encoder: Encoder
        self.candidate, self.encoder = learner.make(stream, seed)
        self.measures = Measures(window)
        self.events = 0
        self.scoring_seconds = 0.0
        self.timed_out = False
        self.model_bytes: int | None = None
        self._stream = stream
        self._time_limit = time_limit
        size = batch_size or learner.batch_size
        self._batch_size = size if every is None else min(every, size)
        self._every = every or 0
        self._next_point = every

    @property
    def seconds(self) -> float:
        """Seconds of predicting, learning and scoring."""
        return self.candidate.seconds + self.scoring_seconds

    def run(self) -> Iterator[tuple[Batch, Predictions | SparsePredictions]]:
        """Go on batch by batch; the caller may look at everything in between."""
        try:
            for batch in self._stream.batches(self.encoder, self._batch_size):
                if self.seconds >= self._time_limit:
                    self.timed_out = True
                    break
                yield batch, self._step(batch)
            self.model_bytes = self.candidate.model_bytes
        finally:
            self.candidate.close()

    def _step(self, batch: Batch) -> Predictions | SparsePredictions:
        predictions = self.candidate.predict_learn(batch)
        start = time.perf_counter()
        self.measures.update_batch(batch, predictions)
        self.scoring_seconds += time.perf_counter() - start
        self.events += len(batch)
        return predictions

    def over(self, batches: Iterable[Batch]) -> None:
        """Go through batches that `encoder` has made before, without a look at the clock."""
        try:
            for batch in batches:
                self._step(batch)
            self.model_bytes = self.candidate.model_bytes
        finally:
            self.candidate.close()

    def finish(self, on_progress: Callable[[int], None] = lambda _: None) -> None:
        """Go on to the end."""
        for _ in self.run():
            on_progress(self.events)

    def result(self) -> dict[str, float]:
        """The measures over all events so far and all labels known by now."""
        return self.measures.result(self.encoder.labels.ever)

    def point_due(self) -> bool:
        """Whether a point of the series is due; asked once after each batch."""
        if self._next_point is None or self.events < self._next_point:
            return False
        self._next_point = self.events + self._every
        return True

    def point(self) -> dict[str, float]:
        """The main measures over the last events, with the number of events so far."""
        rolling = self.measures.rolling(self.encoder.labels.ever)
        return {"events": self.events, **{key: rolling[key] for key in SERIES_MEASURES}}
