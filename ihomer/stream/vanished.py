"""Counts of labels whose ids have gone to others, by name: the measures' memory of them.

In: a `Tally` and the `Change`s of a stream. Out: the tally with the counts of an id moved away
when its label vanishes and back when it returns. It is here so that no figure of a stream changes
because an id was used again.
"""

from __future__ import annotations

from array import array

import numpy as np

from ihomer.instances import IntArray, OffsetArray
from ihomer.stream import tally as t
from ihomer.stream.figures import Summary
from ihomer.vocabulary import MOST_REMEMBERED, Change

_FIRST = 1 << 40  # stands in the ring for the first label that vanished; no id is as large


class Vanished:
    """What is kept of labels that have vanished: 36 bytes each, and their names.

    That is so for the last `MOST_REMEMBERED` of them. Of those before, only what figures need of
    all of them together; one that returns later counts as another label, as it does in the
    vocabulary.

    Parameters
    ----------
    cuts
        Number of the tally's cuts.

    Attributes
    ----------
    summary
        Of the labels before.
    """

    def __init__(self, cuts: int) -> None:
        self._cuts = cuts
        self.summary = Summary(cuts)
        self._labels = array("q")  # `KINDS` counts each
        self._reached = array("i")
        self._numbers = array("q")  # what stands for each in the ring, never twice the same
        self._places: dict[str, int] = {}
        self._free: list[int] = []
        self._vacant: set[int] = set()
        self._next = 0

    @property
    def surplus(self) -> int:
        """How many labels have been met beyond the number of ids."""
        return self.summary.labels + len(self._places) - len(self._vacant)

    def counts(self) -> tuple[OffsetArray, IntArray]:
        """Counts and first cuts, int64 (m, 3) and int32 (m,), as in `Totals`."""
        labels = np.array(self._labels, dtype=np.int64).reshape(-1, t.KINDS)
        return labels, np.array(self._reached, dtype=np.int32)

    def named(self) -> dict[str, tuple[int, int, int]]:
        """Counts of those that are known by name: true and false positives, false negatives."""
        rows = self.counts()[0].tolist()
        return {name: tuple(rows[place]) for name, place in self._places.items()}

    def apply(self, tally: t.Tally, change: Change) -> None:
        """Move the counts of a label that vanishes, or returns; there is room for its id."""
        label, name = change.label, change.name
        if not change.birth:
            self._vacant.add(label)
            self._move(tally, label, self._place(name))
            return
        self._vacant.discard(label)
        place = self._places.pop(name, None)
        if place is not None:
            self._free.append(place)
            self._move(tally, label, place, back=True)

    def _place(self, name: str) -> int:
        """A place for a label that vanishes."""
        if len(self._places) >= MOST_REMEMBERED:
            self._close(self._places.pop(next(iter(self._places))))
        if self._free:
            place = self._free.pop()
        else:
            place = len(self._reached)
            self._labels.extend([0] * t.KINDS)
            self._reached.append(self._cuts)
            self._numbers.append(0)
        self._numbers[place] = self._next
        self._next += 1
        self._places[name] = place
        return place

    def _close(self, place: int) -> None:
        """Add a label to those that are known together only."""
        start = t.KINDS * place
        self.summary.add(self._labels[start : start + t.KINDS].tolist(), self._reached[place])
        self._labels[start : start + t.KINDS] = array("q", [0] * t.KINDS)
        self._reached[place] = self._cuts
        self._free.append(place)

    def _move(self, tally: t.Tally, label: int, place: int, *, back: bool = False) -> None:
        """Move counts and the ring's entries of an id to a place, or back."""
        held = tally.labels[t.KINDS * label : t.KINDS * (label + 1)]
        kept = np.frombuffer(self._labels, dtype=np.int64)[t.KINDS * place :][: t.KINDS]
        reached = np.frombuffer(self._reached, dtype=np.int32)[place : place + 1]
        own = tally.reached[label : label + 1]
        entries = t.KINDS * (self._cuts + 1)  # of a label in the ring
        theirs = tally.ring // entries
        number = _FIRST + self._numbers[place]
        shift = entries * (number - label)
        if back:
            held += kept
            own[:] = np.minimum(own, reached)
            kept[:], reached[:] = 0, self._cuts
            tally.ring[theirs == number] -= shift
        else:
            kept[:], reached[:] = held, own
            held[:], own[:] = 0, self._cuts
            tally.ring[theirs == label] += shift
