"""Whose the label ids were when something was predicted, and whose they are when it is scored.

In: the changes of the vocabulary, in order. Out: where the labels of an older time are now. It is
here because an id may have gone to another label while a prediction waited for its labels.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

import numpy as np

from ihomer.vocabulary import Change

_CHANGE_BYTES = 400  # of a change, beside its name


class LabelHistory:
    """What ids were called, from the oldest time that is still asked for.

    Attributes
    ----------
    latest
        Number of the latest change that it knows.
    n_bytes
        What it takes.
    """

    def __init__(self) -> None:
        self.latest = 0
        self.n_bytes = 0
        self._changes: list[Change] = []
        self._of: dict[int, list[Change]] = {}
        self._id_of: dict[str, int] = {}  # of names with a change; -1: nobody's
        self._last = np.zeros(0, dtype=np.int64)  # of each id, the number of its latest change

    def apply(self, change: Change) -> None:
        """The next change."""
        self.latest = change.number
        self._changes.append(change)
        self._of.setdefault(change.label, []).append(change)
        self._id_of[change.name] = change.label if change.birth else -1
        if change.label >= len(self._last):
            last = np.zeros(2 * change.label + 2, dtype=np.int64)
            last[: len(self._last)] = self._last
            self._last = last
        self._last[change.label] = change.number
        self.n_bytes += _size(change)

    def moves(self, number: int) -> Mapping[int, int]:
        """Of each id that has changed hands since the change of that `number`, where its label is.

        -1: it was nobody's, or its label is gone.
        """
        found = {}
        if number < self.latest:
            for label in np.flatnonzero(self._last > number).tolist():
                changes = self._of[label]
                first = changes[bisect_right(changes, number, key=lambda change: change.number)]
                found[label] = -1 if first.birth else self._id_of[first.name]
        return found

    def prune(self, number: int) -> None:
        """Nobody will ask about times before the change of that `number`."""
        old = bisect_right(self._changes, number, key=lambda change: change.number)
        # Half of them at once, so that it costs nothing on the whole.
        if not old or 2 * old < len(self._changes):
            return
        kept, latest = self._changes[old:], self.latest
        self.__dict__.update(LabelHistory().__dict__)
        for change in kept:
            self.apply(change)
        self.latest = latest

    def state(self) -> dict[str, object]:
        """Everything that `restored` takes."""
        return {"latest": self.latest, "changes": tuple(map(tuple, self._changes))}

    @classmethod
    def restored(cls, state: Mapping[str, object]) -> LabelHistory:
        """The history of a `state`."""
        history = cls()
        for change in state["changes"]:  # type: ignore[attr-defined]
            history.apply(Change(*change))
        history.latest = state["latest"]  # type: ignore[assignment]
        return history


def _size(change: Change) -> int:
    return _CHANGE_BYTES + 4 * len(change.name)
