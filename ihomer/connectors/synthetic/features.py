"""Which features exist when: the parts of the changes that are done in, names and columns out.

It is here so that dense rows and words lose and gain features by the same rules. What a change of
the feature set touches is drawn among the features of the start that no change before it touched:

``replace``  a feature vanishes and its values go on under a new name
``vanish``   a feature is absent from then on
``appear``   a new feature is a view of an old one: its values plus normal noise of .5; in a text,
             an event with the word has the new one instead with probability 1/2
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.connectors.synthetic.concepts.text import Words
from ihomer.connectors.synthetic.parameters import Planned
from ihomer.connectors.synthetic.timeline import PARTS, Parts
from ihomer.connectors.synthetic.uniform import CHUNK, Randomness
from ihomer.errors import UsageError
from ihomer.instances import FloatArray, OffsetArray

_VIEW_NOISE = 0.5


class Touched(NamedTuple):
    """One change of the feature set."""

    number: int  # of the change
    what: str
    old: OffsetArray  # features of the start
    new: OffsetArray  # theirs, ids behind those of the start; empty for vanish


class FeatureSet:
    """Features of one stream over time.

    Parameters
    ----------
    where
        For messages.
    plans
        The stream's changes.
    randomness
        Of the stream.
    count
        Features at the start.
    letter
        The names are this and the feature's number, with leading zeros.

    Attributes
    ----------
    names
        Of all features there will ever be, by id.
    base
        Of those at the start.
    changes
        What each change of the feature set touches, by its number among all changes.
    """

    def __init__(
        self,
        where: str,
        plans: tuple[Planned, ...],
        randomness: Randomness,
        count: int,
        letter: str,
    ) -> None:
        self._randomness = randomness
        self._count = count
        self.changes: dict[int, Touched] = {}
        free = np.ones(count, dtype=np.bool_)
        total = count
        for number, plan in enumerate(plans):
            if plan.of != "features":
                continue
            order = randomness.order(f"change {number} features", count)
            order = order[free[order]]
            many = max(1, round(plan.size * count))
            left = len(order) - (0 if plan.what == "appear" else many)
            if many > len(order) or left < 1:
                raise UsageError(
                    f"{where}: drift={plan.schedule.how}: size: found {plan.size:g} ({many}"
                    f" features to {plan.what}, {len(order)} untouched so far), accepted: less"
                )
            new = np.arange(total, total + (0 if plan.what == "vanish" else many))
            self.changes[number] = Touched(number, plan.what, order[:many], new)
            free[order[:many]] = False
            total += len(new)
        digits = max(2, len(str(count - 1)))
        self.names = tuple(f"{letter}{i:0{digits}d}" for i in range(total))
        self.base = self.names[:count]
        self._known: dict[int, tuple[str, ...]] = {count: self.base, total: self.names}
        self._present: dict[Parts, tuple[OffsetArray, tuple[str, ...]]] = {}

    def touched(self, number: int) -> tuple[str, ...]:
        """Names of the features that change `number` removes or brings, ascending."""
        change = self.changes.get(number)
        if change is None:
            return ()
        gone = () if change.what == "appear" else change.old
        return tuple(self.names[i] for i in sorted([*gone, *change.new]))

    # ------------------------------------------------------------------------------ dense rows

    def extended(self, x: FloatArray, chunk: int) -> FloatArray:
        """Features of a chunk (`CHUNK`, count) with the columns of those that appear later."""
        columns = [x]
        for change in self.changes.values():
            if len(change.new):
                view = x[:, change.old]
                if change.what == "appear":
                    size = CHUNK * len(change.old)
                    noise = self._randomness.normals(f"view {change.number}", chunk, size)
                    view = view + _VIEW_NOISE * noise.reshape(CHUNK, -1)
                columns.append(view)
        return np.ascontiguousarray(np.hstack(columns)) if len(columns) > 1 else x

    def present(self, parts: Parts) -> tuple[OffsetArray, tuple[str, ...]]:
        """Ids and names of the features that exist where `parts` are done.

        The same tuple of names each time, so that a reader looks them up once.
        """
        key = self._own(parts)
        found = self._present.get(key)
        if found is None:
            here = np.zeros(len(self.names), dtype=np.bool_)
            here[: self._count] = True
            for change in self.changes.values():
                done = len(change.old) * parts[change.number] // PARTS
                if change.what != "appear":
                    here[change.old[:done]] = False
                here[change.new[:done]] = True
            ids = np.flatnonzero(here)
            names = self.base if not any(key) else tuple(self.names[i] for i in ids)
            found = self._present[key] = (ids, names)
        return found

    # ------------------------------------------------------------------------------------ words

    def rewritten(self, words: Words, parts: Parts, chunk: int) -> Words:
        """Words as they are spelled where `parts` are done; those that vanished are left out."""
        for change in self.changes.values():
            done = len(change.old) * parts[change.number] // PARTS
            if not done:
                continue
            spelling = np.arange(len(self.names))
            spelling[change.old[:done]] = change.new[:done] if len(change.new) else -1
            new = spelling[words.word]
            if change.what == "appear":
                choice = self._randomness.uniforms(f"spelling {change.number}", chunk, CHUNK)
                new = np.where(choice[words.row] < 0.5, new, words.word)
            words = Words(words.row[new >= 0], new[new >= 0])
        return words

    def known(self, parts: Parts) -> tuple[str, ...]:
        """Names that an event may use where `parts` are done, those of later changes left out."""
        begun = [c for c in self.changes.values() if parts[c.number] and len(c.new)]
        count = int(begun[-1].new[-1]) + 1 if begun else self._count
        return self._known.setdefault(count, self.names[:count])

    def by_source(self, values: FloatArray) -> FloatArray:
        """Values by the features of the start, handed on to those that come from them."""
        new = [values[change.old] for change in self.changes.values() if len(change.new)]
        return np.concatenate([values, *new])

    def _own(self, parts: Parts) -> Parts:
        return tuple(parts[number] for number in self.changes)
