"""What every learner on a stream does: a batch in, predictions out, learned in between.

It is here so that IHomer, the baselines and any river classifier stand in the same tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ihomer.instances import Batch, BoolArray, Encoder, FloatArray, IntArray, rows_where


@dataclass(frozen=True, slots=True)
class Predictions:
    """Test-then-train predictions of one batch: row t was made before event t was learned.

    Attributes
    ----------
    on
        bool (n, L), the predicted label sets over ids; L = the batch's `n_labels`. A label that
        was not known at event t is off.
    scores
        float64 (n, L), probabilities (baselines: indicators or rates); NaN = no score.
    events
        int64 (n,), how many events the model had learned when it made each prediction.
    """

    on: BoolArray
    scores: FloatArray
    events: npt.NDArray[np.int64]

    def slice(self, start: int, stop: int) -> Predictions:
        """Events `start` to `stop` (exclusive), sharing the arrays."""
        return Predictions(self.on[start:stop], self.scores[start:stop], self.events[start:stop])

    def where(self, chosen: BoolArray) -> Predictions:
        """Some of the events, bool (n,), in arrays of their own."""
        return Predictions(self.on[chosen], self.scores[chosen], self.events[chosen])


@dataclass(frozen=True, slots=True)
class SparsePredictions:
    """As `Predictions`, of a learner of many labels, which looks at some candidates per event.

    Every label that is predicted on is a candidate. A label that is none is off and has no score.

    Attributes
    ----------
    n_labels
        L; ids are below it.
    indptr
        int64 (n + 1,): where each event's candidates begin.
    labels
        int32 (candidates,): ids, the best scores first; among equal ones by name.
    scores
        float64 (candidates,): probabilities (baselines: indicators or rates).
    on
        bool (candidates,): the predicted label sets.
    events
        int64 (n,), how many events the model had learned when it made each prediction.
    """

    n_labels: int
    indptr: npt.NDArray[np.int64]
    labels: IntArray
    scores: FloatArray
    on: BoolArray
    events: npt.NDArray[np.int64]

    def slice(self, start: int, stop: int) -> SparsePredictions:
        """Events `start` to `stop` (exclusive), sharing the arrays."""
        first, last = self.indptr[start], self.indptr[stop]
        return SparsePredictions(
            self.n_labels,
            self.indptr[start : stop + 1] - first,
            self.labels[first:last],
            self.scores[first:last],
            self.on[first:last],
            self.events[start:stop],
        )

    def where(self, chosen: BoolArray) -> SparsePredictions:
        """Some of the events, bool (n,), in arrays of their own."""
        indptr, cells = rows_where(self.indptr, chosen)
        return SparsePredictions(
            self.n_labels,
            indptr,
            self.labels[cells],
            self.scores[cells],
            self.on[cells],
            self.events[chosen],
        )


class StreamLearner(Protocol):
    """A learner that reads batches over the ids of an `Encoder`."""

    @property
    def encoder(self) -> Encoder:
        """Owner of the names behind the batch's ids."""
        ...

    def predict_learn(self, batch: Batch) -> Predictions | SparsePredictions:
        """Predict, then learn each event of `batch` in order.

        The result does not depend on how a stream is cut into batches. Unlabelled events are
        predicted only.
        """
        ...
