"""The compiled kernels against their slow, obvious twins, and under hostile numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from ihomer.instances import Batch, FloatArray
from ihomer.learners.kernels.linkage import average_linkage
from ihomer.learners.kernels.scaling import STRIDE, ScalingState, empty_state, scale_rows
from ihomer.learners.scaling import ScaledRows, Scaler
from tests import naive

# No sum of some of these is a multiple of another: a scaled value is never zero by rounding only.
VALUES = [math.sqrt(2), -math.pi, math.e, 0.577, 1000.1, -0.0123, math.nan]


def batch_of(
    rows: list[dict[int, float]],
    truth: list[set[int] | None] | None = None,
    known: list[int] | None = None,
) -> Batch:
    """A batch of rows given as value by column; unlabelled where the truth is None."""
    truth = [set() for _ in rows] if truth is None else truth
    indptr = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    y_indptr = np.cumsum([0, *(len(y or ()) for y in truth)], dtype=np.int64)
    return Batch(
        indptr,
        np.array([j for row in rows for j in sorted(row)], dtype=np.int32),
        np.array([row[j] for row in rows for j in sorted(row)], dtype=np.float64),
        y_indptr,
        np.array([i for y in truth for i in sorted(y or ())], dtype=np.int32),
        np.array([y is not None for y in truth], dtype=np.bool_),
        np.array([0] * (len(rows) + 1) if known is None else known, dtype=np.int32),
    )


def as_dicts(rows: ScaledRows) -> list[dict[int, float]]:
    spans = zip(rows.indptr[:-1], rows.indptr[1:], strict=True)
    return [
        dict(zip(rows.indices[a:b].tolist(), rows.values[a:b].tolist(), strict=True))
        for a, b in spans
    ]


def scaled(batch: Batch, state: ScalingState) -> list[dict[int, float]]:
    room = len(batch.indices) + len(batch) * len(state.seen)
    out = ScaledRows(
        np.empty(len(batch) + 1, dtype=np.int64), np.empty(room, dtype=np.int32), np.empty(room)
    )
    scale_rows(batch.indptr, batch.indices, batch.values, batch.labelled, state, *out)
    return as_dicts(out)


def assert_same_rows(found: list[dict[int, float]], expected: list[dict[int, float]]) -> None:
    assert len(found) == len(expected)
    for ours, twins in zip(found, expected, strict=True):
        assert ours == pytest.approx(twins, rel=1e-6, abs=1e-9)


# Scaling.


@st.composite
def raw_rows(draw: st.DrawFn, columns: int = 6) -> tuple[list[dict[int, float]], list[bool]]:
    """Rows over columns that are there with different probabilities, and which are labelled."""
    n = draw(st.integers(0, 90))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    presence = rng.choice([0.05, 0.4, 0.5, 0.6, 1.0], columns)
    rows = [
        {j: float(rng.choice(VALUES)) for j in range(columns) if rng.random() < presence[j]}
        for _ in range(n)
    ]
    return rows, (rng.random(n) < 0.9).tolist()


@settings(max_examples=60)
@given(raw_rows())
def test_scaling_is_its_twins(drawn: tuple[list[dict[int, float]], list[bool]]) -> None:
    rows, labelled = drawn
    truth: list[set[int] | None] = [set() if known else None for known in labelled]
    columns = 5  # the sixth is past the state
    found = scaled(batch_of(rows, truth), empty_state(columns))
    assert_same_rows(found, naive.scale_rows(rows, labelled, columns))


@settings(max_examples=30)
@given(raw_rows(), st.lists(st.integers(0, 90), max_size=4))
def test_the_scaler_is_the_same_however_it_is_cut(
    drawn: tuple[list[dict[int, float]], list[bool]], cuts: list[int]
) -> None:
    rows, labelled = drawn
    whole = batch_of(rows, [set() if known else None for known in labelled])
    learned = np.cumsum(whole.labelled)
    # A batch may reach a multiple of the stride, but not cross it.
    bounds = {0, len(rows), *(c for c in cuts if c < len(rows))}
    bounds |= {int(t) + 1 for t in np.flatnonzero(whole.labelled & (learned % STRIDE == 0))}
    scaler, found = Scaler(), []
    scaler.reserve(6)
    ends = sorted(bounds)
    for start, stop in itertools.pairwise(ends):
        found += as_dicts(scaler.transform(whole.slice(start, stop)))
    assert found == scaled(whole, empty_state(64))


def test_scaling_by_hand() -> None:
    # Column 0 is always there, column 1 only once: (v - mean) / deviation, v / root mean square.
    rows = [{0: 1.0}, {0: 3.0}, {0: 5.0, 1: 7.0}]
    found = scaled(batch_of(rows), empty_state(2))
    assert found[0] == {0: 1.0}  # alone it is one root mean square
    assert found[1] == {0: pytest.approx(1.0)}  # (3 - 2) / 1
    at_0 = (5 - 3) / math.sqrt(8 / 3)
    length = math.hypot(at_0, 1.0)
    assert found[2] == pytest.approx({0: at_0 / length, 1: 1.0 / length})


def test_a_zero_of_a_dense_column_says_something_and_of_a_sparse_one_nothing() -> None:
    rows: list[dict[int, float]] = [{0: 2.0}, {0: 2.5}, {0: 3.0, 1: 4.0}, {}]
    last = scaled(batch_of(rows), empty_state(2))[-1]
    assert last == {0: pytest.approx(-1.0)}


@pytest.mark.parametrize(("present", "is_dense"), [(STRIDE // 2 - 1, False), (STRIDE // 2, True)])
def test_a_column_is_dense_from_half_of_the_events(present: int, is_dense: bool) -> None:
    rows = [{0: 1.0, 1: float(t + 1)} if t < present else {0: 1.0} for t in range(STRIDE)]
    state = empty_state(2)
    scaled(batch_of(rows), state)
    assert (1 in state.dense[: state.progress[1]]) == is_dense


def test_missing_values_do_not_count_against_a_column() -> None:
    rows: list[dict[int, float]] = [{0: 1.0 + t, 1: math.nan} for t in range(8)]
    rows.append({0: 9.0, 1: 5.0})
    state = empty_state(2)
    found = scaled(batch_of(rows), state)
    assert all(1 not in row for row in found[:8])
    assert state.missing.tolist() == [0.0, 8.0]
    assert state.dense[: state.progress[1]].tolist() == [0, 1]


@given(raw_rows())
def test_unlabelled_rows_move_no_statistics(
    drawn: tuple[list[dict[int, float]], list[bool]],
) -> None:
    state = empty_state(6)
    scaled(batch_of([{0: 1.5, 2: -2.0}, {0: 2.5}]), state)
    before = [array.copy() for array in state]
    scaled(batch_of(drawn[0], [None] * len(drawn[0])), state)
    for old, new in zip(before, state, strict=True):
        np.testing.assert_array_equal(old, new)


@settings(max_examples=40)
@given(raw_rows())
def test_rows_have_length_one_or_zero(drawn: tuple[list[dict[int, float]], list[bool]]) -> None:
    for row in scaled(batch_of(drawn[0]), empty_state(6)):
        length = math.sqrt(math.fsum(v * v for v in row.values()))
        assert not row or length == pytest.approx(1.0)


# Numbers that break sums, squares and quotients.

HOSTILE: dict[str, list[float]] = {
    "huge": [1e300, -1e300, 1.7e308],
    "denormal": [5e-324, -1e-310, 2.2e-308],
    "constant": [3.3],
    "alternating": [1.0, -1.0],
    "constant beside a huge one": [1e16, 1e16 + 2.0],
    "everything": [1e300, 5e-324, -1.0, 1e100, -1e100, 0.1, math.nan, 1e-200],
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("presence", [1.0, 0.3])
def test_hostile_numbers_leave_everything_finite(kind: str, presence: float) -> None:
    n, columns = 20_000, 4
    rng = np.random.default_rng(5)
    values = np.array(HOSTILE[kind])
    cells = values[np.arange(n)[:, None] % len(values)] + np.zeros(columns)
    cells[:, 1:] = rng.choice(values, (n, columns - 1))
    there = rng.random((n, columns)) < presence
    indptr = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int64)
    on = rng.random(n) < 0.5
    batch = Batch(
        indptr,
        np.nonzero(there)[1].astype(np.int32),
        cells[there],
        np.concatenate([[0], np.cumsum(on)]).astype(np.int64),
        np.zeros(int(on.sum()), dtype=np.int32),
        np.ones(n, dtype=np.bool_),
        np.ones(n + 1, dtype=np.int32),
    )
    state = empty_state(columns)
    room = len(batch.indices) + n * columns
    rows = ScaledRows(
        np.empty(n + 1, dtype=np.int64), np.empty(room, dtype=np.int32), np.empty(room)
    )
    scale_rows(batch.indptr, batch.indices, batch.values, batch.labelled, state, *rows)
    used = rows.values[: rows.indptr[-1]]
    assert np.isfinite(used).all()
    assert (np.abs(used) <= 1.0 + 1e-12).all()
    assert all(np.isfinite(array).all() for array in state)


# Average linkage.


def distances(m: int, seed: int, kind: str) -> FloatArray:
    """A symmetric matrix; few different values bring ties."""
    rng = np.random.default_rng(seed)
    upper = rng.random((m, m)) if kind == "distinct" else rng.integers(0, 3, (m, m)) / 2.0
    matrix: FloatArray = np.triu(upper, 1)
    return matrix + matrix.T


def merged_groups(merges: FloatArray) -> list[tuple[frozenset[int], frozenset[int], float]]:
    nodes = [frozenset([i]) for i in range(len(merges) + 1)]
    result = []
    for a, b, height in merges:
        result.append((nodes[int(a)], nodes[int(b)], float(height)))
        nodes.append(nodes[int(a)] | nodes[int(b)])
    return result


@settings(max_examples=60)
@given(st.integers(2, 14), st.integers(0, 2**32))
def test_linkage_is_its_twins_and_scipys(m: int, seed: int) -> None:
    matrix = distances(m, seed, "distinct")
    found = average_linkage(matrix.copy())
    ours = {frozenset([a, b]): height for a, b, height in merged_groups(found)}
    twins = {frozenset([a, b]): height for a, b, height in naive.average_linkage(matrix)}
    assert ours == pytest.approx(twins)
    scipys = linkage(squareform(matrix), "average")[:, 2]
    np.testing.assert_allclose(np.sort(found[:, 2]), scipys)


@settings(max_examples=60)
@given(st.integers(2, 14), st.integers(0, 2**32))
def test_with_ties_linkage_is_still_a_tree_of_mean_distances(m: int, seed: int) -> None:
    matrix = distances(m, seed, "ties")
    found = average_linkage(matrix.copy())
    assert found.shape == (m - 1, 3)
    children = found[:, :2].astype(int).ravel().tolist()
    assert sorted(children) == list(range(2 * m - 2))  # each node but the root, once
    for a, b, height in merged_groups(found):
        mean = np.mean([matrix[i, j] for i in a for j in b])
        assert height == pytest.approx(mean)


def test_linkage_of_two_and_of_equal_distances() -> None:
    assert average_linkage(np.array([[0.0, 0.25], [0.25, 0.0]])).tolist() == [[0.0, 1.0, 0.25]]
    equal = average_linkage(np.ones((4, 4)))
    assert equal[0].tolist() == [0.0, 1.0, 1.0]  # the first in the matrix
    assert equal[:, 2].tolist() == [1.0, 1.0, 1.0]
