"""Streams of label sets without features, for kernels that look at nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from hypothesis import strategies as st

from ihomer.instances import Batch, BoolArray, FloatArray
from ihomer.learners.decision import Decision

Truth = list[set[int] | None]  # None = unlabelled

MOST = 12  # labels of a drawn stream

# One event in five or so is unlabelled, has no label on, or has all of them on.
SETS = st.one_of(
    st.none(),
    st.just(frozenset(range(MOST))),
    st.frozensets(st.integers(0, MOST - 1), max_size=4),
    st.frozensets(st.integers(0, 3)),
)


def in_order(sets: Sequence[frozenset[int] | None]) -> Truth:
    """The same stream with label ids in order of first appearance."""
    ids: dict[int, int] = {}
    for y in sets:
        for label in sorted(y or ()):
            ids.setdefault(label, len(ids))
    return [None if y is None else {ids[label] for label in y} for y in sets]


# Some of them say the same again and again: sets that come back are what decisions learn from.
TRUTHS = st.builds(
    lambda sets, times: in_order(sets * times),
    st.lists(SETS, min_size=1, max_size=30),
    st.integers(1, 3),
)
CUTS = st.lists(st.integers(1, 40), max_size=4)


def label_batch(truth: Truth) -> Batch:
    """The batch of `truth`, whose ids appear in order, from the start of a stream."""
    known = np.maximum.accumulate([0, *(max(y or {-1}) + 1 for y in truth)])
    n = len(truth)
    return Batch(
        np.zeros(n + 1, dtype=np.int64),
        np.zeros(0, dtype=np.int32),
        np.zeros(0),
        np.cumsum([0, *(len(y or ()) for y in truth)], dtype=np.int64),
        np.array([label for y in truth for label in sorted(y or ())], dtype=np.int32),
        np.array([y is not None for y in truth], dtype=np.bool_),
        known.astype(np.int32),
    )


def pieces(batch: Batch, cuts: Sequence[int]) -> Iterator[tuple[slice, Batch]]:
    """`batch` cut before the events `cuts`, each piece with where it stood."""
    ends = sorted({0, len(batch), *(cut for cut in cuts if cut < len(batch))})
    for start, stop in itertools.pairwise(ends):
        yield slice(start, stop), batch.slice(start, stop)


def decide(
    decision: Decision, scores: FloatArray, batch: Batch, cuts: list[int] | None = None
) -> BoolArray:
    """What a decision decides and learns, in batches that end at `cuts`."""
    on = np.zeros(scores.shape, dtype=np.bool_)
    for where, piece in pieces(batch, cuts or []):
        width = piece.n_labels
        part = np.zeros((len(piece), width), dtype=np.bool_)
        decision.run(np.ascontiguousarray(scores[where, :width]), piece, part)
        on[where, :width] = part
    return on
