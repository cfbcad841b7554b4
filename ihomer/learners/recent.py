"""The latest learned events, kept to be learned once more by a learner that begins late.

In: segments. Out: the same events, oldest first, in segments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ihomer.instances import Batch
from ihomer.learners.kernels.scaling import STRIDE

STRIDES = 16  # are kept


class RecentEvents:
    """The labelled events of the last strides.

    Examples
    --------
    >>> from ihomer.instances import Encoder, Event
    >>> batch = Encoder().encode([Event(1, {"a": 1.0}, on=["p"]), Event(2, {"a": 2.0})])
    >>> recent = RecentEvents()
    >>> recent.add(batch, 0)
    >>> [kept.values.tolist() for kept in recent]
    [[1.0]]
    """

    def __init__(self) -> None:
        self._strides: deque[list[Batch]] = deque(maxlen=STRIDES)

    def __iter__(self) -> Iterator[Batch]:
        return (batch for stride in self._strides for batch in stride)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the arrays."""
        parts = (
            (batch.indptr, batch.indices, batch.values, batch.y_indptr, batch.y_indices)
            for batch in self
        )
        return sum(array.nbytes for part in parts for array in part)

    def add(self, batch: Batch, n_learned: int, labels: int = 0) -> None:
        """Keep the labelled events of a segment.

        Parameters
        ----------
        batch
            It does not cross a multiple of `STRIDE`.
        n_learned
            Number of events learned before it.
        labels
            Only events after which more labels than these have been on are kept.
        """
        if n_learned % STRIDE == 0 or not self._strides:
            self._strides.append([])
        self._strides[-1].append(batch.where(batch.labelled & (batch.known[1:] > labels)))

    def clear(self) -> None:
        """Forget all."""
        self._strides.clear()
