"""The compiled kernels against their slow, obvious twins, and under hostile numbers."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from ihomer.instances import Batch, FloatArray, IntArray
from ihomer.learners.experts.logistic import LogisticExpert, Placement
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


@pytest.mark.parametrize(("present", "is_dense"), [(31, False), (32, True)])
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


# Logistic regression.


class Run(NamedTuple):
    scores: FloatArray
    reserve: FloatArray
    loss: FloatArray
    counted: Any
    expert: LogisticExpert


def run(
    batch: Batch,
    members: list[int],
    *,
    reserve: bool,
    n_labels: int,
    step: float = 1.0,
    columns: int = 5,
    cluster_of: IntArray | None = None,
) -> Run:
    """An expert's pass over a batch whose values are scaled already."""
    expert = LogisticExpert(step, reserve=reserve)
    expert.make_room(columns, len(members))
    column_of = np.zeros(n_labels, dtype=np.int32)
    column_of[members] = expert.reserve + np.arange(len(members))
    if cluster_of is None:
        cluster_of = np.ones(n_labels, dtype=np.int32)
        cluster_of[members] = 0
    n = len(batch)
    out = Run(
        np.full((n, n_labels), np.nan),
        np.full(n, np.nan),
        np.zeros(n),
        np.zeros(n, dtype=np.int64),
        expert,
    )
    expert.run(
        ScaledRows(batch.indptr, batch.indices, batch.values),
        batch,
        np.array(members, dtype=np.int32),
        Placement(0, cluster_of, column_of),
        out.scores,
        out.reserve,
        out.loss,
        out.counted,
    )
    return out


@st.composite
def labelled_rows(
    draw: st.DrawFn,
) -> tuple[list[dict[int, float]], list[set[int] | None], list[int], int]:
    """Scaled rows, label sets, how many labels have been on before each row, and labels in all."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, n_labels = draw(st.integers(0, 40)), draw(st.integers(1, 5))
    rows, truth, known = [], [], [0]
    for _ in range(n):
        row = {j: float(rng.normal()) for j in range(5) if rng.random() < 0.6}
        length = math.sqrt(sum(v * v for v in row.values()))
        rows.append({j: v / length for j, v in row.items()})
        # Ids are given in the order of appearance: a new one is the next that is free.
        room = min(n_labels, known[-1] + int(rng.integers(0, 2)))
        on = {i for i in range(known[-1]) if rng.random() < 0.4} | set(range(known[-1], room))
        truth.append(on if rng.random() < 0.85 else None)
        known.append(known[-1] if truth[-1] is None else room)
    return rows, truth, known, n_labels


@settings(max_examples=60)
@given(labelled_rows(), st.sampled_from([0.1, 1.0]), st.booleans())
def test_logistic_regression_is_its_twins(
    drawn: tuple[list[dict[int, float]], list[set[int] | None], list[int], int],
    step: float,
    every_second: bool,
) -> None:
    """`every_second`: the other labels are in another cluster and must be left alone."""
    rows, truth, known, n_labels = drawn
    members = list(range(0, n_labels, 2 if every_second else 1))
    found = run(batch_of(rows, truth, known), members, reserve=True, n_labels=n_labels, step=step)
    scores, reserve, loss, counted = naive.logistic_rows(rows, truth, known, members, step)
    expected = np.full((len(rows), n_labels), np.nan)
    for t, row in enumerate(scores):
        expected[t, list(row)] = list(row.values())
    np.testing.assert_allclose(found.scores, expected, atol=1e-4)
    np.testing.assert_allclose(found.reserve, reserve, atol=1e-4)
    np.testing.assert_allclose(found.loss, loss, atol=1e-3)
    assert found.counted.tolist() == counted


@settings(max_examples=30)
@given(labelled_rows())
def test_a_label_is_born_as_one_that_was_always_off(
    drawn: tuple[list[dict[int, float]], list[set[int] | None], list[int], int],
) -> None:
    rows, truth, known, n_labels = drawn
    members = list(range(n_labels))
    late = run(batch_of(rows, truth, known), members, reserve=True, n_labels=n_labels)
    all_known = [n_labels] * (len(rows) + 1)
    early = run(batch_of(rows, truth, all_known), members, reserve=True, n_labels=n_labels)
    born = ~np.isnan(late.scores)
    np.testing.assert_array_equal(late.scores[born], early.scores[born])
    np.testing.assert_array_equal(late.reserve, early.reserve)
    # Until then the reserve column says what its own would.
    for t, column in zip(*np.nonzero(~born), strict=True):
        assert early.scores[t, column] == late.reserve[t]


@settings(max_examples=30)
@given(labelled_rows())
def test_clusters_together_are_one_cluster(
    drawn: tuple[list[dict[int, float]], list[set[int] | None], list[int], int],
) -> None:
    rows, truth, _, n_labels = drawn
    batch = batch_of(rows, truth, [n_labels] * (len(rows) + 1))
    whole = run(batch, list(range(n_labels)), reserve=False, n_labels=n_labels)
    parts = [list(range(first, n_labels, 2)) for first in range(min(2, n_labels))]
    split = [run(batch, part, reserve=False, n_labels=n_labels) for part in parts]
    for part, half in zip(parts, split, strict=True):
        np.testing.assert_array_equal(half.scores[:, part], whole.scores[:, part])
    np.testing.assert_allclose(sum(half.loss for half in split), whole.loss, atol=1e-12)
    assert (sum(half.counted for half in split) == whole.counted).all()
    assert np.isnan(whole.reserve).all()  # nobody asked for it


def test_unlabelled_rows_move_no_weights() -> None:
    rows = [{0: 1.0}, {0: 0.6, 1: -0.8}]
    found = run(batch_of(rows, [None, None], [2, 2, 2]), [0, 1], reserve=True, n_labels=2)
    state = found.expert.take(np.arange(3, dtype=np.int32))
    assert not state.weights.any()
    assert not state.bias.any()
    assert found.scores.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert found.loss.tolist() == [0.0, 0.0]


def test_columns_past_the_weights_are_left_out_of_a_prediction() -> None:
    truth: list[set[int] | None] = [{0}, None]
    plain = run(batch_of([{0: 1.0}, {0: 1.0}], truth, [1] * 3), [0], reserve=False, n_labels=1)
    batch = batch_of([{0: 1.0}, {0: 1.0, 999: 1.0}], truth, [1] * 3)
    found = run(batch, [0], reserve=False, n_labels=1)
    assert found.expert.columns < 999
    assert found.scores.tolist() == plain.scores.tolist()


def test_columns_move_between_experts_and_keep_what_they_learned() -> None:
    rows = [{0: 0.6, 1: 0.8}, {1: 1.0}, {0: 1.0}]
    old = run(batch_of(rows, [{0}, {1}, {0, 1}], [2] * 4), [0, 1], reserve=True, n_labels=2).expert
    new = LogisticExpert(1.0, reserve=False)
    new.make_room(old.columns, 1)
    new.put(np.array([0], dtype=np.int32), old.take(np.array([2], dtype=np.int32)))
    for mine, theirs in zip(
        new.take(np.array([0], dtype=np.int32)),
        old.take(np.array([2], dtype=np.int32)),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, theirs)
        assert theirs.any()


def test_a_quickened_expert_keeps_its_weights_and_moves_faster() -> None:
    rows, truth = [{0: 1.0}] * 30, [{0} if t % 2 else set() for t in range(30)]
    expert = run(batch_of(rows, list(truth), [1] * 31), [0], reserve=False, n_labels=1).expert
    column = np.array([0], dtype=np.int32)
    before = expert.take(column)
    expert.quicken()
    after = expert.take(column)
    np.testing.assert_array_equal(before.weights, after.weights)
    np.testing.assert_array_equal(before.bias, after.bias)
    assert after.squares[0, 0] < before.squares[0, 0]
    assert after.bias_squares[0] < before.bias_squares[0]


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
    scaled_batch = Batch(
        rows.indptr,
        rows.indices,
        rows.values,
        batch.y_indptr,
        batch.y_indices,
        batch.labelled,
        batch.known,
    )
    found = run(scaled_batch, [0], reserve=True, n_labels=1, columns=columns)
    weights = found.expert.take(np.arange(2, dtype=np.int32))
    assert all(np.isfinite(array).all() for array in weights)
    assert np.isfinite(found.scores).all()
    assert np.isfinite(found.reserve).all()
    assert np.isfinite(found.loss).all()


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
