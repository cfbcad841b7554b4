"""Ground floor: an event in names, a batch of events as arrays, the encoder between them.

In: events whose features and labels are names, as sources and callers give them. Out: a `Batch`
of compressed sparse rows over ids, the only thing that learners read. Everything above speaks in
these, and nothing here knows who is above.

What a value means: an absent feature is 0; ``None`` and NaN are missing; a string is nominal and
becomes the indicator of its (feature, value) pair; a list of strings becomes one indicator for
each; a boolean is 0 or 1; an infinite number is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ihomer.errors import MalformedEventError
from ihomer.vocabulary import (
    Change,
    FeatureKey,
    FeatureVocabulary,
    FreedColumns,
    LabelVocabulary,
    NewLabels,
)

FloatArray: TypeAlias = npt.NDArray[np.float64]
Float32Array: TypeAlias = npt.NDArray[np.float32]
IntArray: TypeAlias = npt.NDArray[np.int32]
OffsetArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
# Of a batch: `y_indptr`, `y_indices`, `labelled` and `known`.
Labelled: TypeAlias = tuple[OffsetArray, IntArray, BoolArray, IntArray]

EventId: TypeAlias = str | int
Value: TypeAlias = float | int | bool | str | Sequence[str] | None

_REMEMBERED_SHAPES = 64
_TOUCHED = 64  # batches of one event whose columns are written down together
_LARGEST = float(np.finfo(np.float64).max)


class Row(NamedTuple):
    """Features as an array over declared names.

    Attributes
    ----------
    names
        The declared feature names. Rows that share one tuple object are mapped to ids once.
    values
        float64, shape (m,); NaN = missing.
    indices
        int32, shape (m,), positions in `names`, ascending; None: one value for every name.
    """

    names: tuple[str, ...]
    values: FloatArray
    indices: IntArray | None = None


Features: TypeAlias = Mapping[Any, Value] | Row


@dataclass(slots=True)
class Event:
    """One event of a stream, in names.

    Attributes
    ----------
    id
        What the prediction is returned under.
    x
        Features: a mapping of name to value, or a `Row`. A name that is no string counts as its
        text.
    on
        The labels that are on; None = unlabelled (predicted, not learned).
    off
        Labels named as off: they are known from now on.
    ts
        The event's own time, RFC 3339 or epoch milliseconds, handed through to the prediction.
    """

    id: EventId
    x: Features
    on: Sequence[str] | None = None
    off: Sequence[str] = ()
    ts: str | int | None = None


@dataclass(slots=True)
class LabelEvent:
    """Labels that come apart from the features of their event.

    Attributes
    ----------
    id
        The event's.
    on, off
        As of `Event`.
    ts
        When the labels were given, in the event's own time.
    """

    id: EventId
    on: Sequence[str]
    off: Sequence[str] = ()
    ts: str | int | None = None


@dataclass(slots=True, frozen=True)
class Batch:
    """Events as compressed sparse rows over feature ids and label ids.

    Attributes
    ----------
    indptr, indices, values
        Features: int64 (n + 1,), int32 (nnz,) ascending within an event, float64 (nnz,); zeros
        are not stored, NaN = missing.
    y_indptr, y_indices
        Labels that are on: int64 (n + 1,), int32 (positives,) ascending within an event.
    labelled
        bool (n,): False = predict only.
    known
        int32 (n + 1,): ``known[t]`` = how many labels have been on before event t, so ids below
        it can be predicted at t; ``known[t + 1]`` counts event t's own labels too.
    changes
        Of labels that have vanished or been born since the first one vanished, in order: from
        ``change.at`` on the id is another's, or nobody's.
    freed
        Feature columns that mean something else from an event on.
    """

    indptr: OffsetArray
    indices: IntArray
    values: FloatArray
    y_indptr: OffsetArray
    y_indices: IntArray
    labelled: BoolArray
    known: IntArray
    changes: tuple[Change, ...] = ()
    freed: tuple[FreedColumns, ...] = ()

    def __len__(self) -> int:
        return len(self.labelled)

    @property
    def y(self) -> Labelled:
        """All about the labels: `y_indptr`, `y_indices`, `labelled` and `known`."""
        return self.y_indptr, self.y_indices, self.labelled, self.known

    @property
    def n_labels(self) -> int:
        """Number of labels that have been on, up to the end of the batch."""
        return int(self.known[-1])

    @property
    def columns(self) -> int:
        """One more than the largest feature id of the batch."""
        if len(self) == 1:  # ids ascend within an event
            return 1 + int(self.indices[-1]) if len(self.indices) else 0
        return 1 + int(self.indices.max(initial=-1))

    def slice(self, start: int, stop: int) -> Batch:
        """Events `start` to `stop` (exclusive), sharing the arrays."""
        first, last = self.indptr[start], self.indptr[stop]
        y_first, y_last = self.y_indptr[start], self.y_indptr[stop]
        return Batch(
            self.indptr[start : stop + 1] - first,
            self.indices[first:last],
            self.values[first:last],
            self.y_indptr[start : stop + 1] - y_first,
            self.y_indices[y_first:y_last],
            self.labelled[start:stop],
            self.known[start : stop + 1],
            # Those after the last event are in the slice that ends there.
            _within(self.changes, start, stop + (stop == len(self))) if self.changes else (),
            _within(self.freed, start, stop) if self.freed else (),
        )

    def where(self, chosen: BoolArray) -> Batch:
        """Some of the events, bool (n,), in arrays of their own; no changes come with them."""
        if len(chosen) == 1 and chosen[0]:  # as one event at a time is learned
            return Batch(
                self.indptr.copy(),
                self.indices.copy(),
                self.values.copy(),
                self.y_indptr.copy(),
                self.y_indices.copy(),
                chosen.copy(),
                self.known.copy(),
            )
        indptr, cells = rows_where(self.indptr, chosen)
        y_indptr, y_cells = rows_where(self.y_indptr, chosen)
        return Batch(
            indptr,
            self.indices[cells],
            self.values[cells],
            y_indptr,
            self.y_indices[y_cells],
            self.labelled[chosen],
            np.concatenate([self.known[:-1][chosen], self.known[-1:]]),
        )

    def names(self, now: Sequence[str]) -> Iterator[tuple[int, int, Sequence[str]]]:
        """Whose the ids are: from where to where (exclusive) in the batch, the names by id.

        No two ids have one name. What an id is called while it is nobody's means nothing.

        Parameters
        ----------
        now
            The names after the batch.
        """
        table, stop = now, len(self)
        found = []
        for change in reversed(self.changes):
            if not change.birth and table[change.label] != change.name:
                found.append((change.at, stop, table))
                former = list(table)
                if change.name in former:  # it has come back at another id, which was nobody's
                    former[former.index(change.name)] = ""
                former[change.label] = change.name
                table, stop = former, change.at
        found.append((0, stop, table))
        for start, end, names in reversed(found):
            if start < end or not len(self):
                yield start, end, names

    def unlabelled(self) -> Batch:
        """The same events, to be predicted only, as long as nobody has learned them."""
        return replace(self, labelled=np.zeros(len(self), dtype=np.bool_), changes=(), freed=())


def rows_where(indptr: OffsetArray, chosen: BoolArray) -> tuple[OffsetArray, BoolArray]:
    """Some rows of a compressed matrix.

    Parameters
    ----------
    indptr
        int64 (n + 1,).
    chosen
        bool (n,).

    Returns
    -------
    indptr, cells
        Where the chosen rows begin when they stand alone; bool (entries,): which are theirs.
    """
    sizes = np.diff(indptr)
    return _offsets(sizes[chosen]), np.repeat(chosen, sizes)


_Dated = TypeVar("_Dated", Change, FreedColumns)


def _within(found: tuple[_Dated, ...], start: int, end: int) -> tuple[_Dated, ...]:
    """Those at events `start` to `end` (exclusive), counted from there."""
    inside = [each for each in found if start <= each.at < end]
    return tuple(each._replace(at=each.at - start) for each in inside)


class _Shape(NamedTuple):
    """How a recurring set of feature names maps to ids."""

    keys: tuple[Any, ...]
    ids: IntArray
    order: npt.NDArray[np.intp] | None  # None: ids ascend as they are
    ascending: IntArray  # the ids in that order
    shared: bool  # two names share a hashed column


class Encoder:
    """Turns events into batches and owns the two vocabularies.

    Parameters
    ----------
    labels
        Label names declared before the first event.
    max_features, max_labels, new_labels, forget_labels_after, forget_features_after, reuse_columns
        See `FeatureVocabulary` and `LabelVocabulary`.

    Examples
    --------
    >>> encoder = Encoder()
    >>> batch = encoder.encode([Event(1, {"a": 2.0, "colour": "red"}, on=["news"])])
    >>> batch.values.tolist(), batch.y_indices.tolist(), encoder.features.names()
    ([2.0, 1.0], [0], ['a', 'colour=red'])
    """

    def __init__(
        self,
        labels: Iterable[str] = (),
        max_features: int = 1 << 16,
        max_labels: int = 1 << 20,
        new_labels: NewLabels = "error",
        forget_labels_after: int | None = None,
        forget_features_after: int | None = None,
        *,
        reuse_columns: bool = False,
    ) -> None:
        self.features = FeatureVocabulary(
            max_features, reuse=reuse_columns, forget_after=forget_features_after
        )
        self.labels = LabelVocabulary(labels, max_labels, new_labels, forget_labels_after)
        self._shapes: dict[int, _Shape] = {}
        self._last: _Shape | None = None
        self._clear()

    def _clear(self) -> None:
        self._indices: list[IntArray] = []
        self._values: list[FloatArray] = []
        self._positives: list[list[int]] = []
        self._labelled: list[bool] = []
        self._known: list[int] = [self.labels.seen]
        self._freed: list[FreedColumns] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shapes": {}, "_last": None}  # found again

    def __len__(self) -> int:
        """Number of events in the open batch."""
        return len(self._labelled)

    def add(self, event: Event) -> None:
        """Append `event` to the open batch.

        Raises
        ------
        MalformedEventError
            A value is infinite or of no accepted type, or a label is refused. Nothing is kept of
            such an event.
        """
        admitted = None if event.on is None else self.labels.admit(event.on)
        if self.features.forget_absent():
            self._forget_shapes()
        indices, values = self._features(event.x, add=True)
        if self.features.freed:
            self._freed.append(FreedColumns(len(self), self.features.take_freed()))
            self._forget_shapes()
        self.features.touch(indices, labelled=admitted is not None)
        positives = [] if admitted is None else self.labels.ids(admitted, len(self))
        if event.off:
            self.labels.declare_within_bound(event.off)
        self._indices.append(indices)
        self._values.append(values)
        self._positives.append(positives)
        self._labelled.append(admitted is not None)
        self._known.append(self.labels.seen)

    def _forget_shapes(self) -> None:
        """Names may have other columns from here on."""
        self._shapes.clear()
        self._last = None

    def take(self) -> Batch:
        """Close the open batch and return it; the next `add` starts another."""
        self.features.settle(1 if len(self) > 1 else _TOUCHED)
        if len(self) == 1:
            # Copies, because ids may be those that are remembered of the names.
            indices, values = self._indices[0].copy(), self._values[0].copy()
            positives = self._positives[0]
            indptr = np.array([0, len(indices)], dtype=np.int64)
            y_indptr = np.array([0, len(positives)], dtype=np.int64)
        else:
            indptr = _offsets([len(part) for part in self._indices])
            indices = np.concatenate([np.zeros(0, dtype=np.int32), *self._indices])
            values = np.concatenate([np.zeros(0), *self._values])
            positives = [i for part in self._positives for i in part]
            y_indptr = _offsets([len(part) for part in self._positives])
        batch = Batch(
            indptr,
            indices,
            values,
            y_indptr,
            np.array(positives, dtype=np.int32),
            np.array(self._labelled, dtype=np.bool_),
            np.array(self._known, dtype=np.int32),
            self.labels.take_changes(),
            tuple(self._freed),
        )
        self._clear()
        return batch

    def encode(self, events: Iterable[Event]) -> Batch:
        """`add` each of `events`, then `take`."""
        for event in events:
            self.add(event)
        return self.take()

    def lookup(self, x: Features) -> Batch:
        """A batch of one unlabelled event; new names get the ids they would get, and are not kept.

        Raises
        ------
        MalformedEventError
            As `add`.
        """
        indices, values = self.features_of(x)
        seen = self.labels.seen
        return Batch(
            np.array([0, len(indices)], dtype=np.int64),
            indices,
            values,
            np.zeros(2, dtype=np.int64),
            np.zeros(0, dtype=np.int32),
            np.zeros(1, dtype=np.bool_),
            np.full(2, seen, dtype=np.int32),
        )

    def features_of(self, x: Features) -> tuple[IntArray, FloatArray]:
        """Ids and values of one event's features, as `lookup` has them; raises as `add`."""
        return self._features(x, add=False)

    def _features(self, x: Features, *, add: bool) -> tuple[IntArray, FloatArray]:
        """Ids (ascending) and non-zero values of one event's features."""
        if isinstance(x, Row):
            values = x.values
            if _any_infinite(values):
                at = int(np.flatnonzero(np.isinf(values))[0])
                at = at if x.indices is None else int(x.indices[at])
                raise _bad_value(x.names[at], math.inf)
            shape = self._row_shape(x.names, add=add)
            ids = shape.ids if x.indices is None else shape.ids[x.indices]
            if x.indices is None and shape.order is not None and not shape.shared:
                ids, values = ids[shape.order], values[shape.order]
            elif shape.shared or shape.order is not None:
                ids, values = _canonical(ids, values)
        else:
            found = _numbers(x)
            if found is None:
                return self._mixed(x, add=add)
            shape = self._mapping_shape(x, add=add)
            ids, values = shape.ascending, found
            if shape.shared:
                ids, values = _canonical(shape.ids, values)
            elif shape.order is not None:
                values = values[shape.order]
        if np.count_nonzero(values) < len(values):
            stored = values != 0.0
            ids, values = ids[stored], values[stored]
        return ids, values

    def _mapping_shape(self, x: Mapping[Any, Value], *, add: bool) -> _Shape:
        keys: tuple[Any, ...] = tuple(x)
        last = self._last
        if last is not None and last.keys == keys:
            return last
        texts = [_text(key) for key in keys]
        # Names that were not kept may get other ids next time.
        kept = add or self.features.knows(texts)
        shape = _shape(keys, self.features.ids(texts, add=add))
        if kept and self._lasts(shape):
            self._last = shape
        return shape

    def _row_shape(self, names: tuple[str, ...], *, add: bool) -> _Shape:
        shape = self._shapes.get(id(names))
        if shape is not None and shape.keys is names:
            return shape
        shape = _shape(names, self.features.ids(names, add=add))
        if add and self._lasts(shape):
            if len(self._shapes) >= _REMEMBERED_SHAPES:
                self._shapes.clear()
            self._shapes[id(names)] = shape
        return shape

    def _lasts(self, shape: _Shape) -> bool:
        """Whether the ids stay until columns are freed: hashed names may get their own before."""
        features = self.features
        return not (features.reuse and features.full) or bool((shape.ids < features.bound).all())

    def _mixed(self, x: Mapping[Any, Value], *, add: bool) -> tuple[IntArray, FloatArray]:
        """The general case: any mixture of accepted value types."""
        entries: dict[FeatureKey, float] = {}
        for key, value in x.items():
            name = _text(key)
            if value is None:
                entries[name] = math.nan
            elif isinstance(value, str):
                entries[name, value] = 1.0
            elif isinstance(value, list | tuple | set | frozenset):
                for item in value:
                    if not isinstance(item, str):
                        raise _bad_value(name, item)
                    entries[name, item] = 1.0
            else:
                entries[name] = _number(name, value)
        ids = self.features.ids(list(entries), add=add)
        values = np.fromiter(entries.values(), np.float64, len(entries))
        ids, values = _canonical(ids, values)
        stored = values != 0.0
        return ids[stored], values[stored]


def _offsets(lengths: Sequence[int] | OffsetArray) -> OffsetArray:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _shape(keys: tuple[Any, ...], ids: IntArray) -> _Shape:
    order = np.argsort(ids, kind="stable")
    ascending = bool((np.diff(ids) > 0).all())
    shared = len(np.unique(ids)) < len(ids)
    return _Shape(keys, ids, None if ascending else order, ids[order], bool(shared))


def _numbers(x: Mapping[Any, Value]) -> FloatArray | None:
    """The values of a mapping that has nothing but finite numbers and NaN; None: look at each.

    Whether it has is asked of their sum, which takes a sixth of the time of looking at all types:
    what is no number cannot be added to one, and a numpy scalar makes the sum one.
    """
    found = x.values()
    try:
        total = sum(found)  # type: ignore[arg-type]  # what else there is raises
        if type(total) is not float and type(total) is not int:
            return None
        values = np.fromiter(found, np.float64, len(x))
        finite = math.isfinite(total)
    except (TypeError, ValueError, OverflowError, RuntimeWarning):
        return None  # one of them is of another type, or an integer that no float can hold
    # The sum of finite numbers may be infinite, too.
    return values if finite or not _any_infinite(values) else None


def _any_infinite(values: FloatArray) -> bool:
    # Counting takes a third of the time of `any` on arrays as short as one event's.
    return bool(np.count_nonzero(np.isinf(values)))


def _canonical(ids: IntArray, values: FloatArray) -> tuple[IntArray, FloatArray]:
    """Ascending ids; the values of a shared (hashed) column are added up."""
    unique, inverse = np.unique(ids, return_inverse=True)
    if len(unique) == len(ids):
        order = np.argsort(ids, kind="stable")
        return ids[order], values[order]
    # Sorted first, so that the sum does not depend on the order in which names came.
    order = np.lexsort((values, ids))
    totals = np.zeros(len(unique))
    with np.errstate(over="ignore"):
        np.add.at(totals, inverse[order], values[order])
    # What adds up past the largest number stays there: no value of a batch is infinite.
    return unique, np.clip(totals, -_LARGEST, _LARGEST)


def _text(key: object) -> str:
    """A feature's name as text: river's own generators number their features."""
    return key if isinstance(key, str) else str(key)


def _number(name: str, value: Any) -> float:
    """A finite number or NaN as float; numpy's numbers and booleans included."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise _bad_value(name, value) from None
    if math.isinf(number):
        raise _bad_value(name, value)
    return number


def _bad_value(name: str, value: object) -> MalformedEventError:
    text = repr(value)
    found = text if len(text) <= 60 else text[:57] + "..."
    shown = name if name.isprintable() else repr(name)
    return MalformedEventError(
        "schema",
        "feature-value",
        f"x.{shown}: found {found}, accepted: a finite number, a string, a boolean, null or a list"
        " of strings",
    )
