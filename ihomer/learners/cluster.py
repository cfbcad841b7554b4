"""One cluster of labels: its expert, its recent losses and the detector that watches them.

In: scaled rows and label sets. Out: probabilities for the cluster's labels. It is the place where
further experts and their mixture go.
"""

from __future__ import annotations

import numpy as np

from ihomer.drift.watch import Watch
from ihomer.instances import Batch, FloatArray, IntArray, OffsetArray
from ihomer.learners.experts.logistic import LogisticExpert, Placement
from ihomer.learners.scaling import ScaledRows


class Cluster:
    """The learner of one cluster's labels.

    Parameters
    ----------
    members
        int32 (m,), label ids, ascending.
    step
        See `LogisticExpert`.
    reserve
        Whether new labels are born here: a column for labels that have never been on is kept.
    watched
        Whether losses are kept for `watch`.
    """

    def __init__(
        self, members: IntArray, step: float, *, reserve: bool = False, watched: bool = True
    ) -> None:
        self.members = members
        self.expert = LogisticExpert(step, reserve=reserve)
        self.watch = Watch()
        self._watched = watched

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the arrays."""
        return self.expert.memory_bytes

    def run(
        self,
        rows: ScaledRows,
        batch: Batch,
        columns: int,
        placement: Placement,
        scores: FloatArray,
        reserve_scores: FloatArray,
    ) -> tuple[FloatArray, OffsetArray]:
        """Predict, then learn the labelled events.

        Parameters
        ----------
        rows, batch
            The same n events.
        columns
            Feature columns in use by now.
        placement, scores, reserve_scores
            See `logistic_rows`.

        Returns
        -------
        loss, counted
            float64 (n,), int64 (n,): sums of squared errors over labels, numbers of labels; zeros
            where nothing was learned.
        """
        loss, counted = np.zeros(len(batch)), np.zeros(len(batch), dtype=np.int64)
        if batch.labelled.any():
            self.expert.make_room(columns, len(self.members))
        self.expert.run(rows, batch, self.members, placement, scores, reserve_scores, loss, counted)
        if self._watched:
            some = counted > 0
            self.watch.collect(loss[some] / counted[some])
        return loss, counted
