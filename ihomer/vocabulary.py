"""Names to ids: features as columns, labels in the order of their first positive, both bounded.

In: names. Out: small integers, the same ones for the same stream whatever the order of a mapping.
The id of a label that has vanished goes to the next one that is born, and whoever keeps something
by id learns of it from `Change`. It is here so that everything above can work on arrays, and
knows one owner of the names.
"""

from __future__ import annotations

import hashlib
import heapq
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ihomer.errors import MalformedEventError, UsageError

IntArray: TypeAlias = npt.NDArray[np.int32]
FeatureKey: TypeAlias = str | tuple[str, str]
NewLabels: TypeAlias = Literal["error", "drop"]

# Whoever keeps label sets of recent events keeps fewer than this; so a label that goes is in none.
LEAST_ABSENCE = 4096
CLEAN_UP = 1024  # labelled events between two looks for labels that have vanished
MOST_REMEMBERED = 1 << 16  # names of vanished labels that are known again when they return
_NOBODY = (1 << 63) - 1  # stands for the last event of an id that is nobody's


class FreedColumns(NamedTuple):
    """Feature columns that have been given to other names, or will be.

    Attributes
    ----------
    at
        Comes before event `at` of its batch.
    columns
        Ascending.
    """

    at: int
    columns: tuple[int, ...]


class FeatureVocabulary:
    """Feature names to column ids, in the order of appearance, bounded.

    Parameters
    ----------
    bound
        So many names get a column of their own; later ones share ``max(1, bound // 4)`` columns
        by a hash of the name that is the same in every process.
    reuse
        Whether, where there is no column left, names that were in none of the last `LEAST_ABSENCE`
        labelled events give theirs to new ones. A name that shared a column before gets its own
        then.
    forget_after
        Names that were in none of so many labelled events give their columns back whether there is
        want of them or not, looked at after every `CLEAN_UP` of them. None: never.

    Attributes
    ----------
    events
        Number of labelled events so far, as `touch` has been told: whatever keeps events keeps
        labelled ones, so a column that goes to another name is in none of them.
    """

    PLAIN = ("_ids", "_names", "_vacant")  # of names and numbers, however many; see `ihomer.state`

    def __init__(self, bound: int, *, reuse: bool = False, forget_after: int | None = None) -> None:
        if bound < 1:
            raise UsageError(f"max_features: found {bound}, accepted: 1 or more")
        _long_enough("forget_features_after", forget_after)
        self.bound = bound
        self.reuse = reuse
        self.forget_after = forget_after
        self.events = 0
        self._buckets = max(1, bound // 4)
        self._ids: dict[FeatureKey, int] = {}
        self._names: list[FeatureKey] = []  # by column; of vacant ones, who had them last
        self._vacant: list[int] = []  # ascending
        self._freed: list[int] = []
        # Of each column, the last event that had it, or the number of labelled ones before it.
        self._last: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._next_look = 0  # nobody has been absent for long enough before that event
        self._looked = 0  # for names that have vanished, after so many events
        self._touched: list[tuple[IntArray, int]] = []  # not yet in `_last`

    def __getstate__(self) -> dict[str, Any]:
        self.settle()
        return {name: value for name, value in self.__dict__.items() if name != "_touched"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._touched = []

    def __len__(self) -> int:
        """Number of names with a column of their own."""
        return len(self._ids)

    @property
    def full(self) -> bool:
        """Whether all columns have been given to names by now."""
        return len(self._names) >= self.bound

    @property
    def columns(self) -> int:
        """One more than the largest id in use."""
        return self.bound + self._buckets if self.full else len(self._names)

    def knows(self, keys: Iterable[FeatureKey]) -> bool:
        """Whether each of `keys` has a column of its own."""
        return all(key in self._ids for key in keys)

    def ids(self, keys: Sequence[FeatureKey], *, add: bool) -> IntArray:
        """Ids of `keys`, new ones in sorted order so that the order of a mapping plays no role.

        Parameters
        ----------
        keys
            Distinct feature names, or (name, value) pairs of nominal features.
        add
            Whether new names are kept. If not, each gets the id that it would be given if nobody
            had to make room for it.

        Returns
        -------
        IntArray
            int32, shape (len(keys),); equal ids only among hashed names.
        """
        known = self._ids
        found = [known.get(key, -1) for key in keys]
        if -1 in found:
            # Two keys may have the same text, as 1 and "1" do.
            fresh = sorted({key for key in keys if key not in known}, key=_sort_key)
            free = len(self._vacant) + self.bound - len(self._names)
            if add and len(fresh) > free and self.reuse:
                self._free(len(fresh) - free, found)
            places = [*self._vacant[: len(fresh)]]
            taken = len(places)
            first = len(self._names)
            places += range(first, min(self.bound, first + len(fresh) - taken))
            given = dict(zip(fresh, places, strict=False))
            if add:
                self._take(given, taken)
            later = fresh[len(places) :]
            given.update((key, self.bound + _bucket(key, self._buckets)) for key in later)
            found = [given[key] if i < 0 else i for i, key in zip(found, keys, strict=True)]
        return np.array(found, dtype=np.int32)

    def _take(self, given: dict[FeatureKey, int], vacant: int) -> None:
        """Keep new names; the first `vacant` of them have columns that were others'."""
        del self._vacant[:vacant]
        for key, index in given.items():
            if index < len(self._names):
                self._names[index] = key
            else:
                self._names.append(key)
        self._ids.update(given)

    def touch(self, columns: IntArray, *, labelled: bool = True) -> None:
        """An event has had these columns."""
        self.events += labelled
        if not self.reuse and self.forget_after is None:
            return
        if self.columns > len(self._last):
            most = self.bound + self._buckets
            longer = np.zeros(min(most, max(64, self.columns, 2 * len(self._last))), dtype=np.int64)
            longer[: len(self._last)] = self._last
            self._last = longer
        self._touched.append((columns, self.events))

    def settle(self, least: int = 1) -> None:
        """Write down what `touch` was told of `least` events or more: once for a batch.

        Each such assignment lets go of the interpreter, and gets it back only after the other
        threads.
        """
        touched = self._touched
        if len(touched) < least:
            return
        if len(touched) == 1:
            columns, event = touched[0]
            self._last[columns] = event
        else:
            lengths = [len(columns) for columns, _ in touched]
            events = np.repeat([event for _, event in touched], lengths)
            self._last[np.concatenate([columns for columns, _ in touched])] = events
        touched.clear()

    def forget_absent(self) -> bool:
        """Let names go that have vanished, if it is time to look; whether there were any.

        To be called between two events.
        """
        if self.forget_after is None or self.events % CLEAN_UP or self.events == self._looked:
            return False
        self._looked = self.events
        going = self._absent(self.forget_after, ())
        self._give_back(going)
        return bool(going)

    def _free(self, wanted: int, present: Sequence[int]) -> None:
        """Let names give their columns back, the longest absent first, then by name."""
        if self.events < self._next_look:
            return
        absent = self._absent(LEAST_ABSENCE, present)
        if not absent:
            # Somebody may have been so for some time in a while, and each look is work.
            self._next_look = self.events + CLEAN_UP
            return
        last = self._last
        absent.sort(key=lambda index: (last[index], _sort_key(self._names[index])))
        self._give_back(sorted(absent[: max(wanted, self.bound // 16)]))

    def _absent(self, events: int, present: Sequence[int]) -> list[int]:
        """Columns, ascending, of names that were in none of so many events; not of `present`."""
        if self.events < events:
            return []
        self.settle()
        last = self._last[: len(self._names)].copy()
        last[[*self._vacant, *(index for index in present if index >= 0)]] = self.events
        found: list[int] = np.flatnonzero(last <= self.events - events).tolist()
        return found

    def _give_back(self, columns: Sequence[int]) -> None:
        for index in columns:
            del self._ids[self._names[index]]
        self._vacant = sorted([*self._vacant, *columns])
        self._freed += columns

    def take_freed(self) -> tuple[int, ...]:
        """The columns that names have given back since this was last called, ascending."""
        freed = tuple(sorted(self._freed))
        self._freed.clear()
        return freed

    @property
    def freed(self) -> bool:
        """Whether names have given columns back that have not been taken note of."""
        return bool(self._freed)

    def name(self, column: int) -> str:
        """The name of a column, as `names` has it; empty where it has none of its own."""
        if not 0 <= column < len(self._names):
            return ""
        key = self._names[column]
        return key if isinstance(key, str) else "=".join(key)

    def names(self) -> list[str]:
        """Names by id, nominal pairs as ``name=value``; of vacant columns, the last ones."""
        return [key if isinstance(key, str) else "=".join(key) for key in self._names]


def _sort_key(key: FeatureKey) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key


def _bucket(key: FeatureKey, buckets: int) -> int:
    text = "\x1f".join(_sort_key(key))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % buckets


def _long_enough(name: str, events: int | None) -> None:
    if events is not None and events < LEAST_ABSENCE:
        raise UsageError(f"{name}: found {events}, accepted: {LEAST_ABSENCE} or more, or None")


class Change(NamedTuple):
    """A label has given its id back, or has got one that may have been another's.

    Attributes
    ----------
    at
        Comes before event `at` of its batch, or after the last one.
    label, name
        Id and name.
    birth
        True: `name` has been on in event ``at - 1`` and has the id from here on; it may have had
        one before. False: it has it no longer, and nobody does until there is a birth.
    number
        Changes are numbered from 1.
    """

    at: int
    label: int
    name: str
    birth: bool
    number: int


class LabelVocabulary:
    """Label names to ids, in the order in which labels are first on, bounded.

    A label that has only been declared, or named as off, is known but has no id yet: nothing has
    been seen that a learner could hold apart from every other label that was never on.

    A label that has not been on for long vanishes: it is known no longer, unless it was declared,
    and its id is vacant. New labels take the lowest vacant ids; one that returns before its own id
    is taken takes that. Nothing is announced of births before the first label has vanished.

    Parameters
    ----------
    declared
        Names known before the first event.
    bound
        Largest number of known labels.
    new_labels
        What happens to an event that brings a label past the bound: ``"error"`` = the event is
        malformed, ``"drop"`` = that label is left out and counted in `dropped`.
    forget_after
        A label vanishes when it has not been on for so many labelled events, looked at after every
        `CLEAN_UP` of them; past the bound the longest absent ones go after `LEAST_ABSENCE`.
        None: never.

    Attributes
    ----------
    events
        Number of labelled events so far.
    changes
        Number of changes so far.
    """

    PLAIN = ("_ids", "_names", "_waiting", "_declared", "_vacant", "_lowest", "_gone")

    def __init__(
        self,
        declared: Iterable[str] = (),
        bound: int = 1 << 20,
        new_labels: NewLabels = "error",
        forget_after: int | None = None,
    ) -> None:
        self.bound = bound
        self.new_labels = new_labels
        self.forget_after = forget_after
        self.dropped = self.events = self.changes = 0
        self._ids: dict[str, int] = {}
        self._names: list[str] = []
        self._waiting: dict[str, None] = {}
        self._declared: set[str] = set()
        self._ranks: IntArray = np.zeros(0, dtype=np.int32)
        self._last = array("q")  # of each id, the number of the event in which it was last on
        self._changed = array("q")  # of each id, the number of its latest change
        self._vacant: dict[str, int] = {}  # ids by the name that they had last
        self._lowest: list[int] = []  # a heap of vacant ids, and of some taken meanwhile
        self._open: list[Change] = []
        self._gone: dict[str, None] = {}
        self._lost = 0
        self._none_before = 0  # no label has been absent for long enough before that event
        if bound < 1:
            raise UsageError(f"max_labels: found {bound}, accepted: 1 or more")
        _long_enough("forget_labels_after", forget_after)
        self.declare(declared)
        if len(self) > bound:
            raise UsageError(f"max_labels: {len(self)} labels declared, accepted: {bound} at most")

    def __getstate__(self) -> dict[str, Any]:
        # Found again when they are wanted: to have asked for room, or for ranks, leaves no trace.
        return {**self.__dict__, "_none_before": 0, "_ranks": self._ranks[:0].copy()}

    def __len__(self) -> int:
        """Number of known labels, declared ones included, vanished ones not."""
        return len(self._ids) + len(self._waiting)

    @property
    def ever(self) -> int:
        """Number of labels that have ever been known.

        One that returns after `MOST_REMEMBERED` others have vanished counts as another label.
        """
        return len(self) + len(self._gone) + self._lost

    @property
    def seen(self) -> int:
        """One more than the largest id of a label that has been on."""
        return len(self._names)

    @property
    def vacant(self) -> list[int]:
        """Ids below `seen` that are nobody's, in no particular order."""
        return list(self._vacant.values())

    def __contains__(self, name: object) -> bool:
        return name in self._ids or name in self._waiting

    def declare(self, names: Iterable[str]) -> None:
        """Make `names` known without a positive yet, and known again when they have vanished."""
        for name in names:
            self._declared.add(name)
            if name not in self._ids:
                self._wait(name)

    def declare_within_bound(self, names: Iterable[str]) -> None:
        """Make `names` known while there is room; to refuse a label that is off loses nothing."""
        for name in names:
            if name not in self and len(self) < self.bound:
                self._wait(name)

    def _wait(self, name: str) -> None:
        self._waiting[name] = None
        self._gone.pop(name, None)

    def get(self, name: str) -> int | None:
        """Id of a label that has been on and has not vanished, or None."""
        return self._ids.get(name)

    def admit(self, names: Iterable[str]) -> list[str]:
        """Labels of `names` that fit, duplicates and dropped ones removed; nothing is kept yet.

        Raises
        ------
        MalformedEventError
            A label is new, the bound is reached and `new_labels` is ``"error"``.
        """
        admitted: list[str] = []
        fresh = 0
        names = list(dict.fromkeys(names))
        if all(map(self._ids.__contains__, names)):
            return names
        for name in names:
            known = len(self) + fresh
            if name in self:
                admitted.append(name)
            elif known < self.bound or known < self.bound + len(self._spare(names)):
                fresh += 1
                admitted.append(name)
            elif self.new_labels == "error":
                raise MalformedEventError(
                    "vocabulary",
                    "too-many-labels",
                    f"y: label {name!r} is new and max_labels = {self.bound} is reached; accepted:"
                    ' a known label (or raise max_labels, or set new_labels = "drop")',
                )
            else:
                self.dropped += 1
        return admitted

    def ids(self, names: Iterable[str], at: int = 0) -> list[int]:
        """Ids of one labelled event's admitted labels, ascending; new ones get theirs by name.

        Parameters
        ----------
        names
            Distinct, as `admit` returns them.
        at
            Number of the event in its batch.
        """
        known = self._ids
        found: list[int] = []
        fresh: list[str] = []
        names = list(names)
        for name in names:
            index = known.get(name)
            if index is None:
                fresh.append(name)
            else:
                found.append(index)
        if fresh:
            fresh.sort()
            self.make_room(names, at)
            found += self._bear(fresh, at + 1)
        self.events += 1
        for index in found:
            self._last[index] = self.events
        if self.forget_after is not None and self.events % CLEAN_UP == 0:
            self._release(self._absent(self.forget_after), at + 1)
        return sorted(found)

    def _bear(self, names: Sequence[str], at: int) -> list[int]:
        """Give ids to `names`, which are sorted; those that have their own still take it first."""
        places = [self._vacant.pop(name, -1) for name in names]
        for number, name in enumerate(names):
            index = places[number]
            while index < 0 and self._vacant:
                lowest = heapq.heappop(self._lowest)
                former = self._names[lowest]
                if self._vacant.get(former) == lowest:
                    del self._vacant[former]
                    index = lowest
            # In this order, so that a reader on another thread finds a name wherever an id is.
            if index < 0:
                index = len(self._names)
                self._last.append(_NOBODY)
                self._changed.append(0)
                self._names.append(name)
            elif self._names[index] != name:
                self._names[index] = name
                self._ranks = self._ranks[:0]
            if self.changes:
                self._announce(at, index, name, birth=True)
            self._ids[name] = places[number] = index
            self._waiting.pop(name, None)
            self._gone.pop(name, None)
        return places

    def _absent(self, events: int) -> list[int]:
        """Ids, the longest absent first, then by name, of labels not on for so many events."""
        last = np.frombuffer(self._last, dtype=np.int64) if self._last else np.zeros(0, np.int64)
        found: list[int] = np.flatnonzero(last <= self.events - events).tolist()
        return sorted(found, key=lambda index: (self._last[index], self._names[index]))

    def _spare(self, present: Sequence[str]) -> list[int]:
        """Ids of labels that may go to make room, in their order; `present` may not.

        What was declared would stay known, so it makes no room.
        """
        if self.forget_after is None or self.events < self._none_before:
            return []
        kept = self._declared.union(present)
        found = [index for index in self._absent(LEAST_ABSENCE) if self._names[index] not in kept]
        if not found:
            lasts = (
                last
                for last, name in zip(self._last, self._names, strict=True)
                if name not in self._declared
            )
            self._none_before = min(lasts, default=self.events) + LEAST_ABSENCE
        return found

    def make_room(self, names: Sequence[str], at: int = 0) -> None:
        """Let labels vanish, before event `at` of the batch, until the admitted `names` fit."""
        short = len(self) + sum(name not in self for name in names) - self.bound
        if short > 0:
            # Some at once, because it is work for a learner to forget labels.
            self._release(self._spare(names)[: max(short, self.bound // 64)], at)

    def _release(self, labels: Sequence[int], at: int) -> None:
        if len(self._lowest) > 2 * len(self._names):
            # Labels that return to their own ids, time and again, leave them there.
            self._lowest = sorted(self._vacant.values())
        for index in labels:
            name = self._names[index]
            del self._ids[name]
            self._last[index] = _NOBODY
            self._vacant[name] = index
            heapq.heappush(self._lowest, index)
            self._announce(at, index, name, birth=False)
            if name in self._declared:
                self._waiting[name] = None
                continue
            self._gone[name] = None
            if len(self._gone) > MOST_REMEMBERED:
                del self._gone[next(iter(self._gone))]
                self._lost += 1

    def _announce(self, at: int, label: int, name: str, *, birth: bool) -> None:
        self.changes += 1
        self._changed[label] = self.changes
        self._open.append(Change(at, label, name, birth, self.changes))

    def take_changes(self) -> tuple[Change, ...]:
        """The changes since this was last called, in order."""
        if not self._open:
            return ()
        changes = tuple(self._open)
        self._open.clear()
        return changes

    def changed_since(self, number: int) -> list[int]:
        """Ids that are involved in a change after the one of that number."""
        if number >= self.changes:
            return []
        return [index for index, latest in enumerate(self._changed) if latest > number]

    def names(self) -> list[str]:
        """Names of the labels that have been on, by id; vacant ids keep the last one they had."""
        return self._names.copy()

    def name(self, index: int) -> str:
        """Name of the label with id `index`."""
        return self._names[index]

    def unseen(self) -> list[str]:
        """Names of the labels that are known and have no id."""
        return list(self._waiting)

    def ranks(self) -> IntArray:
        """Rank of each id's name in sorted order, int32 (seen,): ties are broken by it."""
        if len(self._ranks) != len(self._names):
            self._ranks = ranks_of(self._names)
        return self._ranks


def ranks_of(names: Sequence[str]) -> IntArray:
    """Rank of each name in sorted order, int32 (names,)."""
    order = sorted(range(len(names)), key=names.__getitem__)
    ranks = np.empty(len(order), dtype=np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    return ranks
