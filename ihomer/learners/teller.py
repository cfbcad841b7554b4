"""What an engine tells of itself, in events: alarms, trees, changes of the partition.

In: what has been found at the end of a stride. Out: events in the log, and sums over them. It is
here so that the engine only says that something has happened.
"""

from __future__ import annotations

from collections.abc import Sequence

from ihomer.drift.adwin import Alarm
from ihomer.drift.events import EventLog, Kind, LearnerEvent, Level
from ihomer.drift.priors import PriorsAlarm
from ihomer.learners.model import Model


class Teller:
    """Adds to a log what happens to a model and its clusters.

    Parameters
    ----------
    log
        Whatever else adds to it does so at strides, too.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._numbers = [0]  # of the nursery, then of the clusters

    @property
    def counts(self) -> dict[str, int]:
        """How many local alarms, global alarms and changes of the partition there have been."""
        of = self._log.counts
        everywhere = (Level.LOSS, Level.PRIORS, Level.STRUCTURE)
        return {
            "local_alarms": of[Kind.ALARM, Level.CLUSTER],
            "global_alarms": sum(of[Kind.ALARM, level] for level in everywhere),
            "partition_changes": of[Kind.SWITCH, Level.PARTITION],
        }

    def stride(self, learned: int, model: Model) -> None:
        """Tell what the model has done since this was last called: alternate subtrees.

        Parameters
        ----------
        learned
            Number of events learned, here and below.
        model
            Before it is regrouped.
        """
        serving = model.grove.serving
        found = model.grove.take_alternates()
        for cluster, (planted, switched) in zip(serving, found, strict=True):
            if not planted and not switched:
                continue
            # Those of a learner of all labels are no cluster's.
            of = tuple(cluster.members.tolist()) if len(serving) > 1 else ()
            if planted:
                action = f"alternate subtrees planted: {planted}"
                self._log.add(LearnerEvent(learned, Kind.ALARM, Level.TREE, action, labels=of))
            if switched:
                action = f"alternate subtrees that took over: {switched}"
                self._log.add(LearnerEvent(learned, Kind.SWITCH, Level.TREE, action, labels=of))

    def alarm(
        self,
        learned: int,
        level: Level,
        alarm: Alarm | PriorsAlarm,
        action: str = "",
        place: int | None = None,
        labels: tuple[int, ...] | tuple[str, ...] = (),
    ) -> None:
        """Tell of an alarm; `place` is a cluster's among the present ones, 0 the nursery's.

        `learned` is when the detector found it, which may be before the end of the stride.
        """
        number = None if place is None else self._numbers[place]
        self._log.add(
            LearnerEvent(
                learned,
                Kind.ALARM,
                level,
                action,
                number,
                labels,
                alarm.change,
                alarm.bound,
            )
        )

    def regrouped(self, learned: int, numbers: Sequence[int], model: Model) -> None:
        """Tell of another partition.

        Parameters
        ----------
        learned
            Number of events learned.
        numbers
            Of the clusters now, which they keep for life.
        model
            Regrouped.
        """
        self._numbers = [0, *numbers]
        unplaced = len(model.nursery.members)
        action = f"{len(model.clusters)} clusters, {unplaced} labels without a place"
        self._log.add(LearnerEvent(learned, Kind.SWITCH, Level.PARTITION, action))
