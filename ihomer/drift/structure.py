"""Watches whether label sets still lie inside the clusters: label sets in, an alarm out.

For each event with at least two placed labels the share of its pairs of labels that lie inside
one cluster goes into ADWIN. When labels change company that share changes, long before any
refit of the partition would look. It is here because losses alone do not show it: a label can be
predicted as well as ever while it has moved.
"""

from __future__ import annotations

import numpy as np

from ihomer.drift.adwin import ADWIN, Alarm
from ihomer.instances import FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel


@kernel
def pair_shares(
    y_indptr: OffsetArray, y_indices: IntArray, cluster_of: IntArray, shares: FloatArray
) -> int:
    """Share of each event's pairs of placed labels that lie inside one cluster.

    Parameters
    ----------
    y_indptr, y_indices
        int64 (n + 1,), int32 (positives,).
    cluster_of
        int32 (L,), negative = the label has no place.
    shares
        float64 (n,), written from the start: one for each event with two placed labels or more.

    Returns
    -------
    int
        How many were written.
    """
    written = 0
    for t in range(y_indptr.shape[0] - 1):
        placed = 0
        inside = 0
        for a in range(y_indptr[t], y_indptr[t + 1]):
            cluster = cluster_of[y_indices[a]]
            if cluster < 0:
                continue
            placed += 1
            for b in range(a + 1, y_indptr[t + 1]):
                if cluster_of[y_indices[b]] == cluster:
                    inside += 1
        if placed >= 2:
            shares[written] = inside / (placed * (placed - 1) / 2.0)
            written += 1
    return written


class StructureMonitor:
    """ADWIN on the share of an event's label pairs that lie inside one cluster.

    Events with fewer than two placed labels say nothing and are skipped, unplaced labels are left
    out: a label without a place has not left one. The share depends on the partition, so whoever
    changes the partition calls `reset`.

    Parameters
    ----------
    delta
        ADWIN's significance.

    Examples
    --------
    >>> monitor = StructureMonitor()
    >>> pairs = np.array([[0, 1]] * 500 + [[0, 2]] * 100, dtype=np.int32)
    >>> cluster_of = np.array([0, 0, 1, 1], dtype=np.int32)
    >>> monitor.update(np.arange(0, 1201, 2), pairs.ravel(), cluster_of)
    True
    """

    def __init__(self, delta: float = 0.002) -> None:
        self._detector = ADWIN(delta=delta)
        self._seen = 0
        self._alarm_at = 0

    @property
    def estimation(self) -> float:
        """Mean share in the present window; 0 while it is empty."""
        return self._detector.estimation

    @property
    def width(self) -> int:
        """Number of events in the present window."""
        return self._detector.width

    @property
    def latest(self) -> Alarm | None:
        """The latest alarm since the last `reset`; a negative change: labels left their company.

        About ``latest.since`` events with two placed labels or more came after the change.
        """
        return self._detector.latest

    @property
    def since_change(self) -> int:
        """About so many events with two placed labels or more came after the latest change."""
        latest = self._detector.latest
        return 0 if latest is None else latest.since + self._seen - self._alarm_at

    def update(self, y_indptr: OffsetArray, y_indices: IntArray, cluster_of: IntArray) -> bool:
        """Look at the label sets of n events in order; the cut into batches plays no role.

        Parameters
        ----------
        y_indptr, y_indices
            int64 (n + 1,), int32 (positives,): labels that are on; unlabelled events are empty.
        cluster_of
            int32 (L,): cluster of each label id, negative = the label has no place.

        Returns
        -------
        bool
            Whether one of the events brought an alarm.
        """
        shares = np.empty(len(y_indptr) - 1)
        count = pair_shares(y_indptr, y_indices, cluster_of, shares)
        if count == 0:
            return False
        alarms = self._detector.update_many(shares[:count])
        found = bool(alarms.any())
        if found:
            self._alarm_at = self._seen + int(np.flatnonzero(alarms)[-1]) + 1
        self._seen += count
        return found

    def reset(self) -> None:
        """Start anew: the partition has changed, so earlier shares compare with nothing."""
        self._detector.reset()
        self._seen = self._alarm_at = 0
