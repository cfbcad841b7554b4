"""What a partitioner of labels does, whichever way it does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ihomer.instances import IntArray, OffsetArray
from ihomer.learners.partition.cooccurrence import Cooccurrence


class Partitioner(Protocol):
    """Label sets in, disjoint clusters of labels that occur together out.

    Nothing that it returns depends on how the stream was cut into batches, nor on the order in
    which labels were first seen: ties are broken by name.
    """

    @property
    def counts(self) -> Cooccurrence:
        """The counts of labels and pairs."""
        ...

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the counts."""
        ...

    def update(self, y_indptr: OffsetArray, y_indices: IntArray) -> None:
        """Count label sets, as in `Batch`."""
        ...

    def due(self, learned: int) -> bool:
        """Whether the partition should be looked at after so many learned events."""
        ...

    def refit(self, names: Sequence[str]) -> bool:
        """Look for a better partition of the labels whose names, by id, are given.

        Returns
        -------
        bool
            Whether `clusters` has changed.
        """
        ...

    def clusters(self) -> list[list[int]]:
        """The clusters, largest first; a label in none of them has no place yet."""
        ...

    def unplaced(self) -> list[int]:
        """Ids, ascending, of the labels that have been counted and have no place yet."""
        ...

    def advantage(self, y_indptr: OffsetArray, y_indices: IntArray, names: Sequence[str]) -> float:
        """How much better a partition of these label sets alone describes them.

        Parameters
        ----------
        y_indptr, y_indices
            As in `Batch`; they are not counted.
        names
            Of all label ids.

        Returns
        -------
        float
            Nats gained over the partition that is served; 0: none.
        """
        ...

    def forget(self, learned: int = 0) -> None:
        """Drop what was counted so far: the structure has changed. Labels keep their place.

        `learned` is the number of learned events; `due` counts from it, so that the next looks
        come as soon after each other as at the start.
        """
        ...

    def forget_labels(self, labels: IntArray) -> None:
        """Let ids, ascending, stand for labels that were never seen.

        A cluster that has no labels any more is an empty one until `refit`.
        """
        ...
