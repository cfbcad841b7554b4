"""What a detector, a partition or a learner did, when, where and why, as a record to read.

In: the facts of one alarm, change or birth. Out: an immutable record, and a dictionary of plain
values of it for JSON. It is here so that every part of the model reports in the same words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Level: TypeAlias = Literal["local", "global"]


@dataclass(frozen=True, slots=True)
class DriftEvent:
    """One thing that happened to the model.

    Attributes
    ----------
    event
        Number of events learned when it happened.
    level
        ``"local"``: one cluster is concerned, ``"global"``: all labels.
    kind
        What happened, such as ``"alarm"``, ``"partition"`` or ``"birth"``.
    cluster
        Names of the labels of the cluster concerned, None at the global level.
    labels
        Names of the labels concerned: those that moved, or were born.
    statistic
        What was measured, such as ``"loss"`` or ``"pairs inside clusters"``.
    value
        The statistic's value, or its change, in its own unit.
    bound
        What `value` was held against.
    action
        What was done about it, such as ``"refit"``.

    Examples
    --------
    >>> DriftEvent(640, "global", "alarm", None, (), "loss", .2, .1, "refit").as_dict()["action"]
    'refit'
    """

    event: int
    level: Level
    kind: str
    cluster: tuple[str, ...] | None
    labels: tuple[str, ...]
    statistic: str
    value: float
    bound: float
    action: str

    def as_dict(self) -> dict[str, Any]:
        """The attributes by name, tuples as lists: what a JSON encoder takes."""
        return {
            "event": self.event,
            "level": self.level,
            "kind": self.kind,
            "cluster": None if self.cluster is None else list(self.cluster),
            "labels": list(self.labels),
            "statistic": self.statistic,
            "value": self.value,
            "bound": self.bound,
            "action": self.action,
        }
