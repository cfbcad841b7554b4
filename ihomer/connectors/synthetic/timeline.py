"""All changes of a stream over time: a chunk in, the state that holds at each of its events out.

It is here so that everything that draws (labels, features) and the truth beside the stream read
the same clock. Changes add up in the order in which they were given.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from ihomer.connectors.synthetic.changes import Change, draw_change, grown
from ihomer.connectors.synthetic.parameters import Parameters
from ihomer.connectors.synthetic.population import Population, planted
from ihomer.connectors.synthetic.uniform import CHUNK, Randomness
from ihomer.instances import FloatArray, OffsetArray

# An incremental change of anything but the concept goes in so many parts at most.
PARTS = 16
_REMEMBERED = 64

Parts = tuple[int, ...]


class Group(NamedTuple):
    """Events of a chunk in which the same parts of all changes are done.

    Attributes
    ----------
    rows
        int64, places in the chunk, ascending.
    parts
        For each change how many of its `PARTS` parts are done; 0 for the changes of the concept,
        which have a level instead.
    """

    rows: OffsetArray
    parts: Parts


class Timeline:
    """The states of one stream.

    Attributes
    ----------
    changes
        One for each change of `parameters.drift`; None: it does not touch the label structure.
    n_labels, n_blocks
        Those at the start and those that come later; ids are below.
    """

    def __init__(self, parameters: Parameters, randomness: Randomness) -> None:
        p = parameters
        self._plans = p.drift
        self._randomness = randomness
        nominal = planted(randomness, p.labels, p.blocks, p.within, p.over)
        first = nominal
        self.changes: list[Change | None] = []
        for number, plan in enumerate(self._plans):
            structural = plan.of in ("structure", "labels") or plan.what == "rank"
            change = None
            if structural:
                where = f"synthetic:{p.name}: drift={plan.schedule.how}"
                change = draw_change(where, plan, nominal, randomness, number)
                room = max(len(nominal.block), int(change.affected[-1]) + 1)
                nominal = change.apply(grown(nominal, room), change.steps)
            self.changes.append(change)
        self.n_labels, self.n_blocks = len(nominal.block), nominal.n_blocks
        self._start = grown(first, self.n_labels)
        self._populations: OrderedDict[Parts, Population] = OrderedDict()

    def levels(self, chunk: int) -> FloatArray:
        """Level of each change at each event of `chunk`, float64 (changes, `CHUNK`), in [0, 1]."""
        events = chunk * CHUNK + np.arange(CHUNK, dtype=np.int64)
        levels = np.zeros((len(self._plans), CHUNK))
        for number, plan in enumerate(self._plans):
            schedule = plan.schedule
            choice = levels[number]
            if schedule.how == "gradual":
                choice = self._randomness.uniforms(f"choice {number}", chunk, CHUNK)
            levels[number] = schedule.level(events, choice)
        return levels

    def parts(self, levels: FloatArray) -> OffsetArray:
        """Parts of each change that are done at these `levels`, int64 of their shape."""
        parts = np.floor(levels * PARTS).astype(np.int64)
        for number, plan in enumerate(self._plans):
            if plan.of == "concept":
                parts[number] = 0
        return parts

    def groups(self, levels: FloatArray) -> list[Group]:
        """The events of a chunk by the parts that are done, given its `levels`."""
        rows = np.arange(CHUNK, dtype=np.int64)
        parts = self.parts(levels)
        if (parts == parts[:, :1]).all():
            return [Group(rows, tuple(parts[:, 0].tolist()))]
        distinct, which = np.unique(parts, axis=1, return_inverse=True)
        which = which.ravel()
        return [
            Group(np.flatnonzero(which == i), tuple(distinct[:, i].tolist()))
            for i in range(distinct.shape[1])
        ]

    def population(self, parts: Parts) -> Population:
        """The label structure where `parts` are done."""
        key = self.structural(parts)
        found = self._populations.get(key)
        if found is None:
            found = self._start
            for part, change in zip(key, self.changes, strict=True):
                if change is not None and (done := change.steps * part // PARTS):
                    found = change.apply(found, done)
            self._populations[key] = found
            if len(self._populations) > _REMEMBERED:
                self._populations.popitem(last=False)
        else:
            self._populations.move_to_end(key)
        return found

    def structural(self, parts: Parts) -> Parts:
        """`parts`, 0 for the changes that do not touch the label structure."""
        return tuple(
            0 if change is None else part for part, change in zip(parts, self.changes, strict=True)
        )

    def factor(self, parts: Parts) -> float:
        """What the labels per event are multiplied by where `parts` are done."""
        factor = 1.0
        for part, plan in zip(parts, self._plans, strict=True):
            if plan.what == "cardinality":
                factor *= plan.factor ** (part / PARTS)
        return factor
