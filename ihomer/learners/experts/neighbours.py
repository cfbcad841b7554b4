"""The nearest-neighbour expert: owns the window of recent events, makes room, searches, votes.

In: rows and label sets of a segment. Out: what each event's neighbours are, and from that the
logits of any block of labels.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ihomer.instances import Batch, Float32Array, IntArray
from ihomer.learners.arrays import nbytes, zeros_together
from ihomer.learners.kernels.neighbours import (
    AGE_UNIT,
    DENSE_SHARE,
    ENTRY_LIMIT,
    FIRST,
    GROUP,
    INDEXED,
    LABEL_LIMIT,
    LAW_SIZE,
    LEAST_DENSE,
    NEIGHBOURS,
    PRIOR,
    SHARPNESS,
    SKETCH,
    SQUARES,
    STOP,
    UNSEEN,
    WINDOW,
    NeighbourState,
    index_rows,
)
from ihomer.learners.kernels.votes import neighbour_votes, search_rows
from ihomer.learners.scaling import Rows

# Most values that are kept densely, 16 MB.
DENSE_LIMIT = 1 << 22
LEAST_ROOM = 960  # events that there is room for at once
# What is kept of columns, and of labels; what moves with the window is not among it.
_OF_COLUMNS = ("place", "live", "weight", "product", "total", "square", "seen")
_KEPT = (*_OF_COLUMNS, "dense_columns", "sketch", "on", "law", "progress")


_AGE = np.log1p(np.arange(WINDOW, -1, -1) / AGE_UNIT).astype(np.float32)


class Found(NamedTuple):
    """What a search found: see `search_rows`."""

    neighbours: IntArray
    votes: Float32Array
    shares: Float32Array


class NeighbourExpert:
    """Nearest neighbours among the last learned events, one search for all labels.

    Examples
    --------
    >>> from ihomer.instances import Encoder, Event
    >>> from ihomer.learners.scaling import Scaler, single_precision
    >>> batch = Encoder().encode(
    ...     [Event(t, {"a": t % 2, "b": 1 - t % 2}, on=["odd"] if t % 2 else []) for t in range(9)]
    ... )
    >>> scaler, expert = Scaler(), NeighbourExpert()
    >>> scaler.reserve(2)
    >>> rows = single_precision(scaler.transform(batch))
    >>> expert.make_room(rows, batch, 2)
    >>> logits = np.zeros((9, 2), dtype=np.float32)
    >>> expert.vote(expert.search(rows, batch), 0, np.zeros_like(logits), logits)
    >>> (logits[-2:, 1] > 3).tolist()
    [True, False]
    """

    def __init__(self) -> None:
        self.state = _empty(_Sizes(0, 0, 0, 0, 0, 0))

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the arrays."""
        return nbytes(self.state)

    def forget_labels(self, labels: IntArray) -> None:
        """Let ids stand for labels that were never on; they are not in the window."""
        known = labels[labels < len(self.state.on)]
        self.state.on[known] = 0.0

    def make_room(self, rows: Rows, batch: Batch, columns: int) -> None:
        """Make room for learning a batch; what earlier searches found is void from here on.

        Parameters
        ----------
        rows, batch
            The next events. Call it before every `search` of a batch with labelled events.
        columns
            Feature columns in use by now.
        """
        old = self.state
        first, stop, _, _, _, most = old.progress.tolist()
        events = stop + len(batch)
        entries = int(old.indptr[stop]) + int(rows.indptr[-1])
        marks = int(old.y_indptr[stop]) + len(batch.y_indices)
        wanted = min(most, DENSE_LIMIT // max(1, len(old.split)))  # columns that should be dense
        if events <= len(old.split) and entries <= len(old.columns) and marks <= len(old.y_labels):
            if columns > len(old.place):
                self.state = old = _with_columns(old, _enough(columns, len(old.place)))
            if batch.n_labels > len(old.on):
                self.state = old = _with_labels(old, _enough(batch.n_labels, len(old.on)))
            if wanted > old.dense.shape[1]:
                self.state = _with_dense(old, _slots(wanted + wanted // 4, len(old.split)))
                index_rows(self.state)
            return
        if not len(old.split) and len(batch) >= LEAST_DENSE:
            # Which columns are dense turns out soon; the first events tell how many there are.
            held = np.bincount(rows.indices, minlength=1)
            wanted = int(np.count_nonzero(held * DENSE_SHARE >= len(batch)))
        # One reason moves all: each axis gets room for as many events as the rows have.
        live = max(1, events - first)
        room = _roomy(live, len(old.split), max(1.5, min(2.0, WINDOW / live), LEAST_ROOM / live))
        share = max(1.5, room / live)
        filled = entries - int(old.indptr[first]), len(old.columns)
        marked = marks - int(old.y_indptr[first]), len(old.y_labels)
        self.state = _moved(
            old,
            _Sizes(
                room,
                _roomy(*filled, min(share, max(1.5, 2 * ENTRY_LIMIT / max(1, filled[0])))),
                _roomy(*marked, min(share, max(1.5, LABEL_LIMIT / max(1, marked[0])))),
                _enough(columns, len(old.place)),
                _enough(batch.n_labels, len(old.on)),
                max(old.dense.shape[1], _slots(wanted, room)),
            ),
        )
        if stop > first:
            index_rows(self.state)

    def search(self, rows: Rows, batch: Batch) -> Found:
        """Find the neighbours of each event, test-then-train; see `search_rows`."""
        n = len(batch)
        found = Found(
            np.empty((n, NEIGHBOURS), dtype=np.int32),
            np.empty((n, NEIGHBOURS), dtype=np.float32),
            np.empty(n, dtype=np.float32),
        )
        search_rows(
            rows.indptr,
            rows.indices,
            rows.values,
            batch.y_indptr,
            batch.y_indices,
            batch.labelled,
            batch.known,
            self.state,
            *found,
        )
        return found

    def vote(self, found: Found, first: int, prior: Float32Array, out: Float32Array) -> None:
        """Write the logits of a block of labels; see `neighbour_votes`.

        It reads the state only: blocks may run on threads, before the next `make_room`.
        """
        neighbour_votes(self.state.y_indptr, self.state.y_labels, *found, first, prior, out)


class _Sizes(NamedTuple):
    """Lengths of the state's axes."""

    rows: int
    entries: int
    marks: int
    columns: int
    labels: int
    dense: int


def _roomy(needed: int, held: int, share: float) -> int:
    """Size of an axis whose front is given back: a move has to free a good part of it."""
    return held if 4 * needed <= 3 * held else math.ceil(share * needed)


def _enough(needed: int, held: int) -> int:
    """Size of an axis that only grows."""
    return held if needed <= held else max(16, needed, held + held // 2)


def _slots(wanted: int, rows: int) -> int:
    """Dense columns to make room for in so many rows, in whole cache lines."""
    return -(-min(wanted, DENSE_LIMIT // max(1, rows)) // 16) * 16


def _columns(columns: int) -> dict[str, npt.NDArray[Any]]:
    """What a state knows of so many columns."""
    return {
        "posted": np.zeros(columns + 1, dtype=np.int32),
        "latest": np.full(columns, -1, dtype=np.int32),
        "place": np.full(columns, -1, dtype=np.int32),
        "live": np.zeros(columns, dtype=np.int32),
        "weight": np.ones(columns, dtype=np.float32),
        "product": np.zeros((columns, SKETCH), dtype=np.float32),
        "total": np.zeros(columns, dtype=np.float32),
        "square": np.zeros(columns, dtype=np.float32),
        "seen": np.zeros(columns, dtype=np.float32),
    }


def _empty(sizes: _Sizes) -> NeighbourState:
    rows, entries, marks, columns, labels, dense = sizes
    law = np.zeros(LAW_SIZE)
    law[SHARPNESS], law[PRIOR], law[UNSEEN] = 8.0, -3.9, 1.0
    law[SQUARES : SQUARES + 3] = 0.01
    window = zeros_together(
        indptr=((rows + 1,), np.int64),
        split=((rows,), np.int64),
        y_indptr=((rows + 1,), np.int64),
        inverse=((rows,), np.float32),
        score=((rows,), np.float32),
        y_labels=((marks,), np.int32),
        products=((GROUP * min(rows, WINDOW + GROUP),), np.float32),
        columns=((entries,), np.int32),
        values=((entries,), np.float32),
        posted_rows=((entries,), np.int32),
        posted_values=((entries,), np.float32),
        links=((entries, 2), np.int32),
    )
    return NeighbourState(
        dense=np.zeros((rows, dense), dtype=np.float32),
        dense_columns=np.full(dense, -1, dtype=np.int32),
        sketch=np.zeros((2, SKETCH)),
        on=np.zeros(labels),
        age=_AGE.copy(),  # what two states share would be two things in one that was restored
        law=law,
        progress=np.zeros(6, dtype=np.int64),
        mass=np.zeros(labels),
        slope=np.zeros(labels),
        **window,
        **_columns(columns),
    )


def _with_dense(old: NeighbourState, dense: int) -> NeighbourState:
    """The state with room for more dense columns; the window stays, to be indexed anew."""
    first, stop = int(old.progress[FIRST]), int(old.progress[STOP])
    rows, held = old.dense.shape
    wider = np.zeros((rows, dense), dtype=np.float32)
    wider[first:stop, :held] = old.dense[first:stop]
    owners = np.full(dense, -1, dtype=np.int32)
    owners[:held] = old.dense_columns
    return old._replace(dense=wider, dense_columns=owners)


def _with_columns(old: NeighbourState, columns: int) -> NeighbourState:
    """The state with more columns, which no row of the window has; the window stays."""
    new = _columns(columns)
    held = len(old.place)
    for name in (*_OF_COLUMNS, "latest", "posted"):
        source: npt.NDArray[Any] = getattr(old, name)
        new[name][: len(source)] = source
    new["weight"][held:] = old.law[UNSEEN]
    new["posted"][held + 1 :] = old.posted[held]
    return old._replace(**new)


def _with_labels(old: NeighbourState, labels: int) -> NeighbourState:
    """The state with more labels."""
    on = np.zeros(labels)
    on[: len(old.on)] = old.on
    return old._replace(on=on, mass=np.zeros(labels), slope=np.zeros(labels))


def _moved(old: NeighbourState, sizes: _Sizes) -> NeighbourState:
    """The state with its window at the front of arrays of the given sizes, not yet indexed."""
    first, stop = int(old.progress[FIRST]), int(old.progress[STOP])
    live = stop - first
    if not len(old.split):
        return _empty(sizes)
    start, end = int(old.indptr[first]), int(old.indptr[stop])
    y_start, y_end = int(old.y_indptr[first]), int(old.y_indptr[stop])
    held = _Sizes(
        len(old.split),
        len(old.columns),
        len(old.y_labels),
        len(old.place),
        len(old.on),
        old.dense.shape[1],
    )
    new = old if sizes == held else _empty(sizes)
    new.columns[: end - start] = old.columns[start:end]
    new.values[: end - start] = old.values[start:end]
    new.y_labels[: y_end - y_start] = old.y_labels[y_start:y_end]
    new.indptr[: live + 1] = old.indptr[first : stop + 1] - start
    new.split[:live] = old.split[first:stop] - start
    new.y_indptr[: live + 1] = old.y_indptr[first : stop + 1] - y_start
    new.inverse[:live] = old.inverse[first:stop]
    if new is old:
        # In one dimension, because numpy then moves what overlaps without a copy on the side.
        flat, width = new.dense.reshape(-1), held.dense
        flat[: live * width] = flat[first * width : stop * width]
    else:
        new.dense[:live, : held.dense] = old.dense[first:stop]
        for name in _KEPT:
            source: npt.NDArray[Any] = getattr(old, name)
            getattr(new, name)[: len(source)] = source
    new.weight[held.columns :] = old.law[UNSEEN]
    new.progress[FIRST], new.progress[STOP], new.progress[INDEXED] = 0, live, 0
    return new
