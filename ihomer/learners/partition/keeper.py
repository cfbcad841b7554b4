"""Keeps a partition of the labels over time: label sets in, clusters and what happened to them out.

It is here so that whoever serves the partition has one thing to call, whichever way clusters are
fitted. A partitioner fits clusters and looks at them again at growing distances. Beside it:

- A structure monitor (ADWIN on the share of an event's pairs of labels that lie inside clusters)
  notices labels that change company. Its alarm is a suspicion. The label sets since the change,
  from a ring of the latest ones, are fitted on the side; when they are described better by other
  clusters than by those served, what was counted before the change is dropped. If there is not
  enough evidence yet it is looked for again when there are `GROWTH` times as many.
- Labels of one cluster that no longer occur together leave that share as it is. So the latest
  `WINDOW` label sets are fitted on the side every `WINDOW` events, suspicion or not.

Labels keep their place meanwhile. Everything happens after learned events whose number is
divisible by a stride, so the cut into batches plays no role.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from ihomer.drift.events import EventLog, Kind, LearnerEvent, Level
from ihomer.drift.structure import StructureMonitor
from ihomer.instances import IntArray, OffsetArray
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.partition.base import Partitioner
from ihomer.learners.partition.lineage import Lineage
from ihomer.learners.partition.ring import LabelRing

Names: TypeAlias = Callable[[], Sequence[str]]  # of all label ids

RING = 20_000  # a suspicion that has not been confirmed by then is dropped
WINDOW = 512
FEWEST = 200  # label sets that a partition is fitted to
GROWTH = 1.4
MARGIN = 10.0  # nats that confirm a suspicion; without any change they stay below 3


class PartitionKeeper:
    """See the module.

    Parameters
    ----------
    partitioner
        Fits the clusters; nothing counted yet.
    log
        Takes what happens: alarms of the structure, splits and merges of clusters, labels moved
        or placed.
    drift
        Whether changes of the structure are looked for.
    ring_labels
        So many labels are held of the latest label sets, see `LabelRing`.
    """

    def __init__(
        self,
        partitioner: Partitioner,
        log: EventLog,
        *,
        drift: bool = True,
        ring_labels: int = 1 << 20,
    ) -> None:
        self._partitioner = partitioner
        self._log = log
        self._drift = drift
        self._monitor = StructureMonitor()
        self._ring = LabelRing(RING if drift else 1, ring_labels)
        self._places: IntArray = np.zeros(0, dtype=np.int32)
        self._lineage = Lineage()
        self._suspected = 0  # label sets in the ring since a suspected change
        self._look_at = 0  # of them, for the next look

    @property
    def memory_bytes(self) -> int:
        """Bytes of the counts and of the ring."""
        return self._partitioner.memory_bytes + self._ring.memory_bytes + self._places.nbytes

    @property
    def partitioner(self) -> Partitioner:
        """What fits the clusters."""
        return self._partitioner

    @property
    def numbers(self) -> list[int]:
        """The number of each of `clusters`, which it keeps for life."""
        return list(self._lineage.numbers)

    def clusters(self) -> list[list[int]]:
        """The clusters as ascending label ids, largest first."""
        return self._partitioner.clusters()

    def unplaced(self) -> list[int]:
        """Ids of the labels that have been on and have no place yet."""
        return self._partitioner.unplaced()

    def update(self, y_indptr: OffsetArray, y_indices: IntArray) -> None:
        """Count label sets, as in `Batch`, and watch them."""
        self._partitioner.update(y_indptr, y_indices)
        if not self._drift:
            return
        added = self._ring.add(y_indptr, y_indices)
        if self._suspected:
            self._suspected += added
        highest = int(y_indices.max(initial=-1))
        if highest >= len(self._places):
            new = np.full(highest + 1 - len(self._places), -1, dtype=np.int32)
            self._places = np.concatenate([self._places, new])
        if self._lineage.numbers:
            self._monitor.update(y_indptr, y_indices, self._places)

    def forget_labels(self, labels: IntArray) -> None:
        """Let ids, ascending, stand for labels that were never seen."""
        self._partitioner.forget_labels(labels)
        self._ring.forget_labels(labels)
        self._places[labels[labels < len(self._places)]] = -1

    def adapt(self, learned: int, names: Names, *, look: bool = False) -> bool:
        """Look at the detectors, and at the partition when that is due.

        Parameters
        ----------
        learned
            Number of learned events, divisible by the stride.
        names
            Gives the names of all label ids.
        look
            Look at the partition in any case.

        Returns
        -------
        bool
            Whether `clusters` has changed.
        """
        if self._drift and self._lineage.numbers:
            self._suspect(learned)
            look |= self._confirm(learned, names)
        if not (look or self._partitioner.due(learned)):
            return False
        known = names()
        if not self._partitioner.refit(known):
            return False
        clusters = self._partitioner.clusters()
        before = np.full(len(known), -1, dtype=np.int32)
        before[: len(self._places)] = self._places[: len(known)]
        self._places = np.full(len(known), -1, dtype=np.int32)
        for place, cluster in enumerate(clusters):
            self._places[cluster] = place
        one = np.int32(1)  # in a lineage places begin there
        self._log.extend(
            self._lineage.follow(learned, before + one, self._places + one, len(clusters))
        )
        self._monitor.reset()
        return True

    def _suspect(self, learned: int) -> None:
        """Note the monitor's alarm, if it has raised one since it was last looked at."""
        alarm = self._monitor.latest
        if alarm is None or alarm.change >= 0.0 or self._suspected:
            return
        self._suspected = self._rows_since(self._monitor.since_change)
        self._look_at = FEWEST
        self._tell(
            learned, Kind.ALARM, "label sets since then looked at", alarm.change, alarm.bound
        )
        self._monitor.reset()

    def _rows_since(self, count: int) -> int:
        """Label sets in the ring, from the last one back to the `count`-th with a pair placed."""
        indptr, labels = self._ring.last(len(self._ring))
        rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        placed = np.bincount(rows, self._places[labels] >= 0, minlength=len(indptr) - 1)
        telling = np.flatnonzero(placed >= 2)
        return len(indptr) - 1 - (int(telling[-count]) if 0 < count <= len(telling) else 0)

    def _confirm(self, learned: int, names: Names) -> bool:
        """Fit recent label sets on the side; drop earlier counts if that is better."""
        if self._suspected:
            rows = min(self._suspected, len(self._ring))
            if rows < self._look_at:
                return False
            self._look_at = int(GROWTH * rows)
            if self._look_at > RING:
                self._suspected = 0
        elif learned % WINDOW == 0 and len(self._ring) >= WINDOW:
            rows = WINDOW
        else:
            return False
        recent = self._ring.last(rows)
        gain = self._partitioner.advantage(*recent, names())
        if gain < MARGIN:
            return False
        if not self._suspected:
            self._tell(learned, Kind.ALARM, "label sets lie otherwise", gain, MARGIN)
        self._tell(learned, Kind.RESET, f"counts begin {rows} label sets ago", gain, MARGIN)
        self._suspected = 0
        self._partitioner.forget(learned - rows // STRIDE * STRIDE)
        self._partitioner.update(*recent)
        return True

    def _tell(self, learned: int, kind: Kind, action: str, statistic: float, bound: float) -> None:
        event = LearnerEvent(
            learned, kind, Level.STRUCTURE, action, statistic=statistic, bound=bound
        )
        self._log.add(event)
