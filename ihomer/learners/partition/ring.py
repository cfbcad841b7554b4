"""The latest label sets, so that counts can begin anew where a change began.

In: label sets as compressed sparse rows. Out: the last ones of them, oldest first.
"""

from __future__ import annotations

import numpy as np

from ihomer.instances import IntArray, OffsetArray, rows_where
from ihomer.learners.partition.cooccurrence import LARGEST_SET


class LabelRing:
    """The last label sets, but for those that `Cooccurrence` leaves out.

    Parameters
    ----------
    most
        So many at most, 1 or more.
    labels
        And no more than have so many labels together, `LARGEST_SET` or more.

    Examples
    --------
    >>> ring = LabelRing(2)
    >>> ring.add(np.array([0, 2, 3, 3, 5]), np.array([0, 1, 2, 0, 3], dtype=np.int32))
    3
    >>> [part.tolist() for part in ring.last(2)]
    [[0, 1, 3], [2, 0, 3]]
    """

    def __init__(self, most: int, labels: int = 1 << 20) -> None:
        self._most = most
        self._most_labels = labels
        self._rows = 0
        # Ends of the rows in `_labels`; what is older than `most` rows is let go now and then.
        self._ends: OffsetArray = np.zeros(2 * most + 1, dtype=np.int64)
        self._labels: IntArray = np.zeros(1024, dtype=np.int32)

    def __len__(self) -> int:
        ends = self._ends[: self._rows + 1]
        within = self._rows - int(np.searchsorted(ends, ends[-1] - self._most_labels))
        return min(self._most, within)

    @property
    def memory_bytes(self) -> int:
        """Bytes held, about 16 * most + 32 * labels at most."""
        return self._ends.nbytes + self._labels.nbytes

    def add(self, y_indptr: OffsetArray, y_indices: IntArray) -> int:
        """Add label sets at the end; returns how many were kept."""
        if len(y_indptr) == 2 and 0 < len(y_indices) <= LARGEST_SET:
            self._append(y_indptr[1:], y_indices)  # as one event at a time is learned
            return 1
        sizes = np.diff(y_indptr)
        kept = (sizes > 0) & (sizes <= LARGEST_SET)
        if not kept.all():
            y_indptr, cells = rows_where(y_indptr, kept)
            y_indices, sizes = y_indices[cells], sizes[kept]
        step = max(1, min(self._most, self._most_labels // LARGEST_SET))
        for start in range(0, len(sizes), step):
            stop = min(start + step, len(sizes))
            first, last = y_indptr[start], y_indptr[stop]
            self._append(y_indptr[start + 1 : stop + 1] - first, y_indices[first:last])
        return len(sizes)

    def last(self, count: int) -> tuple[OffsetArray, IntArray]:
        """The last `count` label sets, or all that are there, as compressed sparse rows."""
        first = self._rows - min(count, len(self))
        ends = self._ends[first : self._rows + 1]
        return ends - ends[0], self._labels[ends[0] : ends[-1]].copy()

    def forget_labels(self, labels: IntArray) -> None:
        """Take ids out of all label sets, of which some may be empty then."""
        ends, held = self.last(self._most)  # what is older would be let go at some time or other
        gone = np.isin(held, labels)
        before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(gone)])
        left = held[~gone]
        self._rows = len(ends) - 1
        self._ends[: self._rows + 1] = ends - before[ends]
        self._labels[: len(left)] = left

    def _append(self, ends: OffsetArray, labels: IntArray) -> None:
        full = self._rows + len(ends) >= len(self._ends)
        if full or self._ends[self._rows] > 2 * self._most_labels:
            old_ends, old_labels = self.last(self._most)
            self._rows = len(old_ends) - 1
            self._ends[: self._rows + 1] = old_ends
            self._labels[: len(old_labels)] = old_labels
        used = int(self._ends[self._rows])
        if used + len(labels) > len(self._labels):
            grown = np.zeros(2 * (used + len(labels)), dtype=np.int32)
            grown[:used] = self._labels[:used]
            self._labels = grown
        self._labels[used : used + len(labels)] = labels
        self._ends[self._rows + 1 : self._rows + 1 + len(ends)] = used + ends
        self._rows += len(ends)
