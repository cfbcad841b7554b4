"""The one processor of replay and daemon: decode, predict, score, learn, write.

In: records of any source. Out: predictions to a sink, malformed events to the dead letters,
figures to the measures. A replay and a daemon differ only in who hands over the records. Where
labels come late, an event is a row to predict when it comes and a row to learn when its labels do.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import compress
from typing import Any

from ihomer import __version__, faults
from ihomer.connectors.base import Record, Sink
from ihomer.errors import InputError, MalformedEventError
from ihomer.instances import Batch, BoolArray, Event, IntArray
from ihomer.learners.base import Predictions, SparsePredictions, StreamLearner
from ihomer.learners.ihomer import IHomer
from ihomer.stream.chronicle import Chronicle
from ihomer.stream.dead_letters import DeadLetters
from ihomer.stream.decode import Decoder
from ihomer.stream.encode import encode_predictions
from ihomer.stream.late_labels import LateLabels
from ihomer.stream.latency import Latencies
from ihomer.stream.measures import Measures
from ihomer.stream.sent import SentPredictions, Truth
from ihomer.vocabulary import ranks_of


class Contestant:
    """A learner with its measures and the time that both have taken.

    Attributes
    ----------
    learner, measures
        As given, and fresh ones.
    sent
        Predictions of events that wait for their labels.
    seconds
        Time spent on predicting, learning and scoring.
    """

    def __init__(self, learner: StreamLearner) -> None:
        self.learner = learner
        self.measures = Measures()
        self.sent = SentPredictions()
        self.seconds = 0.0

    def run(self, batch: Batch) -> Predictions | SparsePredictions:
        """Predict, learn and score one batch."""
        predictions = self.predict(batch)
        start = time.perf_counter()
        self.measures.update_batch(batch, predictions)
        self.seconds += time.perf_counter() - start
        return predictions

    def predict(self, batch: Batch) -> Predictions | SparsePredictions:
        """Predict and learn a batch, which is scored apart."""
        start = time.perf_counter()
        predictions = self.learner.predict_learn(batch)
        self.seconds += time.perf_counter() - start
        return predictions

    def score(
        self, truth: Truth, predictions: Predictions | SparsePredictions, known: IntArray
    ) -> None:
        """Score what was sent of the events in `truth`; see `SentPredictions.score`."""
        start = time.perf_counter()
        sent = self.sent.score(truth, predictions, known)
        self.measures.update_batch(truth.batch, sent)
        self.seconds += time.perf_counter() - start

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
    late
        Joins labels that come apart from their features; None: they come together, or not at all.
    unjoined
        Takes what `late` could not join and hands over.

    Attributes
    ----------
    events
        Number of events predicted.
    parsing_seconds
        Time spent on decoding and on names and ids.
    latencies
        From the arrival of a batch to its predictions, for each event.
    chronicle, late
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
        late: LateLabels | None = None,
        unjoined: Sink | None = None,
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
        self._unjoined = unjoined
        self.chronicle = chronicle
        self.late = late

    def state(self) -> dict[str, object]:
        """What a checkpoint must hold, by name; nothing is copied.

        Baselines are no part of it.
        """
        roots: dict[str, object] = {
            "learner": self.main.learner,
            "measures": self.main.measures,
            "processor": {
                "events": self.events,
                "dead_letters": dict(self.dead_letters.counts),
                "errors": self.dead_letters.rate.state(),
            },
        }
        if self.chronicle is not None:
            roots["chronicle"] = self.chronicle.places()
        if self.late is not None:
            roots["labels"] = {"sent": self.main.sent.state(), **self.late.state()}
        return roots

    def restore(self, roots: Mapping[str, Any]) -> None:
        """Go on from what `state` gave, in another process or in this one.

        A learner that was imported may come alone; what is told of events begins anew then.

        Raises
        ------
        InputError
            There is no learner, or one of another kind.
        """
        learner, present = roots.get("learner"), self.main.learner
        if not isinstance(learner, type(present)):
            raise InputError(
                f"checkpoint: found the learner {type(learner).__name__},"
                f" accepted: {type(present).__name__}"
            )
        if isinstance(learner, IHomer) and isinstance(present, IHomer):
            learner.use_threads(present.threads)
        self.main = Contestant(learner)
        self.main.measures = roots.get("measures", self.main.measures)
        self._encoder = learner.encoder
        counts = roots.get("processor", {"events": 0, "dead_letters": {}})
        self.events = counts["events"]
        self.dead_letters.counts.clear()
        self.dead_letters.counts.update(counts["dead_letters"])
        self.dead_letters.rate.restore(counts.get("errors", {}))
        if self.late is not None and "labels" in roots:
            self.main.sent = SentPredictions.restored(roots["labels"]["sent"])
            self.late.restore(roots["labels"], learner.encoder)
        if self.chronicle is not None and isinstance(learner, IHomer):
            self.chronicle.go_on(learner, roots.get("chronicle"))

    def process(self, records: Sequence[Record]) -> int:
        """Predict, score and learn the events in `records`; write what follows from them.

        Returns
        -------
        int
            How many events were predicted.

        Raises
        ------
        InputError
            A record is malformed and there is nowhere to put it; everything before it in
            `records` has been processed.
        UnavailableError, InputError
            Of the sinks.
        """
        if self.late is not None:
            return self._process_late(records, self.late)
        arrival = time.perf_counter()
        rate = self.dead_letters.rate
        good: list[Record] = []
        events: list[Event] = []
        bad: list[tuple[Record, MalformedEventError]] = []
        for record in records:
            try:
                event = self._decoder.decode(record)
                self._encoder.add(event)
            except MalformedEventError as fault:
                bad.append((record, fault.bare()))
                if not self.dead_letters.has_sink:
                    break
                rate.bad()
            else:
                rate.good()
                good.append(record)
                events.append(event)
        batch = self._encoder.take()
        faults.reach("after-decode")
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
        faults.reach("after-learn")
        self.latencies.add(time.perf_counter() - arrival, len(batch))
        self.events += len(batch)
        for baseline in self.baselines.values():
            baseline.run(batch)
        self._write(records, events, batch, predictions, None)
        if self.chronicle is not None:
            self.chronicle.tell(records, events, predictions.events, batch.labelled)

    def _write(
        self,
        records: Sequence[Record],
        events: Sequence[Event],
        batch: Batch,
        predictions: Predictions | SparsePredictions,
        chosen: BoolArray | None,
    ) -> None:
        """Write the predictions of all events, or of those that are `chosen`, bool (n,)."""
        if self._sink is None:
            return
        labels = self._encoder.labels
        # What an id is called may differ within a batch.
        parts: Iterable[tuple[int, int, Sequence[str] | None]]
        parts = batch.names(labels.names()) if batch.changes else [(0, len(batch), None)]
        for start, stop, names in parts:
            their_records, their_events = records[start:stop], events[start:stop]
            part = predictions.slice(start, stop)
            if chosen is not None:
                part = part.where(chosen[start:stop])
                their_records = list(compress(their_records, chosen[start:stop]))
                their_events = list(compress(their_events, chosen[start:stop]))
            self._sink.write(
                encode_predictions(
                    their_records,
                    their_events,
                    part,
                    labels.name if names is None else names.__getitem__,
                    labels.ranks if names is None else partial(ranks_of, names),
                    __version__,
                    self._top_k,
                )
            )

    def _process_late(self, records: Sequence[Record], late: LateLabels) -> int:
        before, bad, rate = self.events, late.faults, self.dead_letters.rate
        start = arrival = time.perf_counter()
        for record in records:
            n_bad = len(bad)
            try:
                late.take(self._decoder.decode_any(record), record)
            except MalformedEventError as fault:
                bad.append((record, fault.bare()))
            if bad and not self.dead_letters.has_sink:
                break
            if len(bad) == n_bad:
                rate.good()
            for _ in range(n_bad, len(bad)):  # labels that were held may be refused with a record
                rate.bad()
            if late.join.at_border:
                self.parsing_seconds += time.perf_counter() - start
                self._run(late, arrival)
                late.settle(record, self.main.sent)
                start = time.perf_counter()
        self.parsing_seconds += time.perf_counter() - start
        self._run(late, arrival)
        self._put_away(late)
        return self.events - before

    def finish(self) -> None:
        """The stream has ended: labels that were held back for an evaluation come now.

        Raises
        ------
        UnavailableError, InputError
            As `process`.
        """
        if self.late is not None:
            self.late.finish()
            self._run(self.late, time.perf_counter())
            self._put_away(self.late)

    def _run(self, late: LateLabels, arrival: float) -> None:
        """Predict and learn the rows that are there, and score those whose labels came."""
        contestants = (self.main, *self.baselines.values())
        work = late.close()
        late.let_go([contestant.sent for contestant in contestants])
        if work is None:
            return
        batch = work.batch
        faults.reach("after-decode")
        found = [self.main.predict(batch)]
        faults.reach("after-learn")
        n_predicted = int(work.predicted.sum())
        self.latencies.add(time.perf_counter() - arrival, n_predicted)
        self.events += n_predicted
        found += [baseline.predict(batch) for baseline in self.baselines.values()]
        truth = late.truth(work, self.main.sent)
        for contestant, predictions in zip(contestants, found, strict=True):
            contestant.score(truth, predictions, batch.known)
        stores = [contestant.sent for contestant in contestants]
        late.keep(work, truth, list(zip(stores, found, strict=True)))
        self._write(work.records, work.events, batch, found[0], work.predicted)
        if self.chronicle is not None:
            self.chronicle.tell(work.records, work.events, found[0].events, batch.labelled)

    def _put_away(self, late: LateLabels) -> None:
        """Write what was refused, and what could not be joined."""
        if self._unjoined is not None and late.messages:
            self._unjoined.write(late.messages)
        late.messages.clear()
        bad, late.faults = late.faults, []
        for record, reason in bad:
            self.dead_letters.put(record, reason)

    def halt(self) -> InputError | None:
        """Why nothing more should be read, if that is so since the last call.

        What was processed counts; the caller commits it, then raises this.
        """
        return self.dead_letters.halt()

    def flush(self) -> None:
        """Return when all that was written is acknowledged; raises as the sinks' `flush`."""
        if self._sink is not None:
            self._sink.flush()
        if self._unjoined is not None:
            self._unjoined.flush()
        if self.chronicle is not None:
            self.chronicle.flush()
        self.dead_letters.flush()
