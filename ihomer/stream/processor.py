"""The one processor of replay and daemon: decode, predict, score, learn, write.

In: records of any source. Out: predictions to a sink, malformed events to the dead letters,
figures to the measures. A replay and a daemon differ only in who hands over the records.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from ihomer import __version__
from ihomer.connectors.base import Record, Sink
from ihomer.errors import MalformedEventError
from ihomer.instances import Batch, Event
from ihomer.learners.base import Predictions, SparsePredictions, StreamLearner
from ihomer.stream.chronicle import Chronicle
from ihomer.stream.dead_letters import DeadLetters
from ihomer.stream.decode import Decoder
from ihomer.stream.encode import encode_predictions
from ihomer.stream.latency import Latencies
from ihomer.stream.measures import Measures
from ihomer.vocabulary import ranks_of


class Contestant:
    """A learner with its measures and the time that both have taken.

    Attributes
    ----------
    learner, measures
        As given, and fresh ones.
    seconds
        Time spent on predicting, learning and scoring.
    """

    def __init__(self, learner: StreamLearner) -> None:
        self.learner = learner
        self.measures = Measures()
        self.seconds = 0.0

    def run(self, batch: Batch) -> Predictions | SparsePredictions:
        """Predict, learn and score one batch."""
        start = time.perf_counter()
        predictions = self.learner.predict_learn(batch)
        self.measures.update_batch(batch, predictions)
        self.seconds += time.perf_counter() - start
        return predictions

    def result(self) -> dict[str, float]:
        """The measures over all labels known by now."""
        return self.measures.result(self.learner.encoder.labels.ever)

    def rolling(self) -> dict[str, float]:
        """The measures over the last events."""
        return self.measures.rolling(self.learner.encoder.labels.ever)


class Processor:
    """Test-then-train over records, in their order.

    Parameters
    ----------
    learner
        Its predictions are written; its encoder's ids are those of the baselines too.
    decoder
        For records that are bytes.
    dead_letters
        Takes what cannot be decoded or encoded.
    sink
        Takes the predictions; None: they are only scored.
    baselines
        Further learners by name, over the same encoder.
    top_k
        Number of scores in a prediction.
    chronicle
        Told after each batch, if there is one.

    Attributes
    ----------
    events
        Number of events predicted.
    parsing_seconds
        Time spent on decoding and on names and ids.
    latencies
        From the arrival of a batch to its predictions, for each event.
    chronicle
        As given.
    """

    def __init__(
        self,
        learner: StreamLearner,
        decoder: Decoder,
        dead_letters: DeadLetters,
        sink: Sink | None = None,
        baselines: Mapping[str, StreamLearner] | None = None,
        top_k: int = 10,
        chronicle: Chronicle | None = None,
    ) -> None:
        self.main = Contestant(learner)
        self.baselines = {name: Contestant(other) for name, other in (baselines or {}).items()}
        self.dead_letters = dead_letters
        self.events = 0
        self.parsing_seconds = 0.0
        self.latencies = Latencies()
        self._decoder = decoder
        self._encoder = learner.encoder
        self._sink = sink
        self._top_k = top_k
        self.chronicle = chronicle

    def process(self, records: Sequence[Record]) -> int:
        """Predict, score and learn the events in `records`; write what follows from them.

        Returns
        -------
        int
            How many of the records were events.

        Raises
        ------
        InputError
            A record is malformed and there is nowhere to put it; everything before it in
            `records` has been processed.
        UnavailableError, InputError
            Of the sinks.
        """
        arrival = time.perf_counter()
        good: list[Record] = []
        events: list[Event] = []
        bad: list[tuple[Record, MalformedEventError]] = []
        for record in records:
            try:
                event = self._decoder.decode(record)
                self._encoder.add(event)
            except MalformedEventError as fault:
                bad.append((record, fault))
                if not self.dead_letters.has_sink:
                    break
            else:
                good.append(record)
                events.append(event)
        batch = self._encoder.take()
        self.parsing_seconds += time.perf_counter() - arrival
        if good:
            self._predict(good, events, batch, arrival)
        for record, reason in bad:
            self.dead_letters.put(record, reason)
        return len(good)

    def _predict(
        self, records: Sequence[Record], events: Sequence[Event], batch: Batch, arrival: float
    ) -> None:
        predictions = self.main.run(batch)
        self.latencies.add(time.perf_counter() - arrival, len(batch))
        self.events += len(batch)
        for baseline in self.baselines.values():
            baseline.run(batch)
        self._write(records, events, batch, predictions)
        if self.chronicle is not None:
            self.chronicle.tell(records, events, predictions.events, batch.labelled)

    def _write(
        self,
        records: Sequence[Record],
        events: Sequence[Event],
        batch: Batch,
        predictions: Predictions | SparsePredictions,
    ) -> None:
        if self._sink is None:
            return
        labels = self._encoder.labels
        # What an id is called may differ within a batch.
        parts: Iterable[tuple[int, int, Sequence[str] | None]]
        parts = batch.names(labels.names()) if batch.changes else [(0, len(batch), None)]
        for start, stop, names in parts:
            self._sink.write(
                encode_predictions(
                    records[start:stop],
                    events[start:stop],
                    predictions.slice(start, stop),
                    labels.name if names is None else names.__getitem__,
                    labels.ranks if names is None else partial(ranks_of, names),
                    __version__,
                    self._top_k,
                )
            )

    def flush(self) -> None:
        """Return when all that was written is acknowledged; raises as the sinks' `flush`."""
        if self._sink is not None:
            self._sink.flush()
        if self.chronicle is not None:
            self.chronicle.flush()
        self.dead_letters.flush()
