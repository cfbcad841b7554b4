"""MOA's multi-label learners behind the benchmark's face, each in a Java process of its own.

In: batches. Out: MOA's predictions and the nanoseconds that Java says they took. It is here for
three learners that exist in MOA alone.

Taken from MOA are votes and decisions, never measures: in its `BasicMultiLabelPerformanceEvaluator`
precision and recall are swapped, and the one called recall is divided as integers. A label is on
where its vote for 1 exceeds its vote for 0, as that evaluator has it; the score is the vote for 1.

What a reader of the figures should know of them:

- `MultilabelHoeffdingTree` has MEKA's `PSUpdateable` in its leaves, whatever its options say. That
  keeps its first 1000 events and until they are there predicts the most frequent label set,
  whatever the event, and no label before a set has come twice.
- `ISOUPTree` is a regressor of 0 and 1 that casts no vote for 0, so by the evaluator's rule every
  label would be on whose predicted value is above 0: 13 of Yeast's 14 at the average event. Here
  it is on above 0.5, half way between the two values that it is taught. A missing value turns the
  perceptron of its leaf into NaN: no score for that event, the leaf's means from then on.
- `OzaBagAdwinML` bags single-label trees unless told otherwise, which predict the first label and
  no other; it is told to bag `MultilabelHoeffdingTree`.
- A split on feature i asks whether attribute i of the event is missing, and labels are counted
  there, so missing values are not noticed where they are; NaN goes down the second branch.
"""

from __future__ import annotations

import contextlib
import struct
import subprocess
import threading
from collections import deque
from typing import IO

import numpy as np
import numpy.typing as npt

from bench.candidate import Candidate, Shape
from bench.peers.batches import check_columns, events_learned
from bench.peers.java_driver import command
from ihomer.instances import Batch
from ihomer.learners.base import Predictions

LEARNERS = {
    "moa-mlht": "moa.classifiers.multilabel.MultilabelHoeffdingTree",
    "moa-isoup": "moa.classifiers.multilabel.trees.ISOUPTree",
    "moa-oza": (
        "moa.classifiers.multilabel.meta.OzaBagAdwinML"
        " -l (moa.classifiers.multilabel.MultilabelHoeffdingTree)"
    ),
}
REGRESSORS = frozenset({"moa-isoup"})
_CELLS = 1 << 22  # of a frame: events times labels
_LAST_LINES = 20
_LAST_SECONDS = 10.0


class MoaError(RuntimeError):
    """The Java process has ended; the text ends with the last that it said."""


class MoaPeer(Candidate):
    """One of MOA's learners in a Java process.

    All labels and features have to be known at the start: labels that turn up later are off and
    have no score, and are not learned.

    Parameters
    ----------
    shape
        The stream's labels and number of features.
    name
        One of `LEARNERS`.
    seed
        The learner's.

    Attributes
    ----------
    faults
        Number of lines in which MOA said that it had swallowed an error.
    """

    def __init__(self, shape: Shape, name: str, seed: int) -> None:
        self._shape = shape
        self._threshold = 0.5 if name in REGRESSORS else None
        self._learned = 0
        self.faults = 0
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        # A full pipe would stop the child: some learners say something for every event.
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        learner = LEARNERS[name].encode()
        head = (len(shape.labels), shape.features, int(shape.sparse), seed, len(learner))
        self._write(struct.pack("<5i", *head), learner)
        self._read(4)

    def predict_learn(self, batch: Batch) -> Predictions:
        """See `Candidate.predict_learn`.

        Raises
        ------
        MoaError
            The Java process has ended: an error in the learner, or no memory left.
        UsageError
            The batch has more feature columns than were declared.
        """
        check_columns(batch, self._shape)
        on = np.zeros((len(batch), batch.n_labels), dtype=np.bool_)
        scores = np.full((len(batch), batch.n_labels), np.nan)
        labels = min(batch.n_labels, len(self._shape.labels))
        step = max(1, _CELLS // max(1, len(self._shape.labels)))
        for start in range(0, len(batch), step):
            stop = min(start + step, len(batch))
            votes, decisions = self._exchange(batch.slice(start, stop))
            scores[start:stop, :labels] = votes[:, :labels]
            on[start:stop, :labels] = decisions[:, :labels]
        if self._threshold is not None:
            on = scores > self._threshold
        events = events_learned(batch, self._learned)
        self._learned += int(batch.labelled.sum())
        return Predictions(on, scores, events)

    def close(self) -> None:
        """See `Candidate.close`."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None and not pipe.closed:
                _close(pipe)

    def _exchange(self, batch: Batch) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
        """Votes for 1 and decisions, (n, labels) each, of events that fit into one frame."""
        n, labels = len(batch), len(self._shape.labels)
        y_indptr, y_indices = _declared(batch, labels)
        self._write(
            struct.pack("<3i", n, len(batch.indices), len(y_indices)),
            batch.indptr.astype("<i4").tobytes(),
            batch.indices.astype("<i4").tobytes(),
            batch.values.astype("<f8").tobytes(),
            y_indptr.astype("<i4").tobytes(),
            y_indices.astype("<i4").tobytes(),
            batch.labelled.astype(np.uint8).tobytes(),
        )
        answer = self._read(8 + 9 * n * labels)
        self.seconds += struct.unpack_from("<q", answer)[0] / 1e9
        votes = np.frombuffer(answer, "<f8", n * labels, 8)
        decisions = np.frombuffer(answer, np.uint8, n * labels, 8 + 8 * n * labels)
        return votes.reshape(n, labels), decisions.reshape(n, labels)

    def _write(self, *parts: bytes) -> None:
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101 - opened as a pipe
        try:
            for part in parts:
                pipe.write(part)
            pipe.flush()
        except (OSError, ValueError):  # ValueError: closed by `close`
            raise self._ended() from None

    def _read(self, size: int) -> bytes:
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101 - opened as a pipe
        try:
            found = pipe.read(size)
        except ValueError:
            raise self._ended() from None
        if len(found) < size:
            raise self._ended()
        return found

    def _ended(self) -> MoaError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_SECONDS)  # so that it can say why before it is killed
        self.close()
        lines = "\n".join(self._said) or "it said nothing"
        return MoaError(f"MOA's process ended with status {self._process.returncode}: {lines}")

    def _listen(self) -> None:
        pipe = self._process.stderr
        assert pipe is not None  # noqa: S101 - opened as a pipe
        for line in pipe:
            text = line.decode(errors="replace").rstrip()
            self._said.append(text)
            self.faults += text.startswith("[ERROR]")


def _declared(batch: Batch, labels: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """The true labels of the batch without those that were not declared."""
    kept = batch.y_indices < labels
    before = np.concatenate([[0], np.cumsum(kept)])
    return before[batch.y_indptr], batch.y_indices[kept]


def _close(pipe: IO[bytes]) -> None:
    """Close a pipe whose other end is gone; what was not written is of no use."""
    try:
        pipe.close()
    except BrokenPipeError:
        pipe.close()
