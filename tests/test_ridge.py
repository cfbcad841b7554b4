"""The second-order expert against its twins, under births, cuts, growth and hostile numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.instances import Batch, Float32Array
from ihomer.learners.experts.linear import LinearExpert
from ihomer.learners.experts.ridge import INITIAL_CURVATURE, GainRows, Gains, RidgeExpert
from ihomer.learners.kernels.elementary import LOGIT_CLIP
from ihomer.learners.kernels.ridge import FEWEST, FIRST_CHOICE, PENDING, PRIOR_VARIANCE, WALK
from ihomer.learners.scaling import Rows
from tests import naive_linear
from tests.naive_linear import RESERVE, Stream, rows_of, streams

COLUMNS, LABELS = 12, 11


def made_gains(block: int, columns: int = COLUMNS) -> Gains:
    gains = Gains(block)
    gains.make_room(columns)
    return gains


def step(
    expert: RidgeExpert, rows: Rows, gains: GainRows, batch: Batch, last: int, first: int = 0
) -> Float32Array:
    """What `expert`, whose labels are `first` to `last`, says; position 0 is the reserve."""
    out = np.full((len(batch), 1 + last - first), np.nan, dtype=np.float32)
    position_of = np.full(LABELS, -1, dtype=np.int32)
    position_of[first:last] = 1 + np.arange(last - first)
    expert.run(rows, gains, batch, np.arange(first, last, dtype=np.int32), position_of, out)
    return out


def run(stream: Stream, block: int) -> tuple[Float32Array, Gains, RidgeExpert]:
    gains, expert, batch = made_gains(block), RidgeExpert(reserve=True), stream.batch()
    expert.make_room(COLUMNS, LABELS)
    rows = rows_of(batch)
    return step(expert, rows, gains.run(rows, batch.labelled), batch, LABELS), gains, expert


def dense(gains: GainRows, t: int) -> Float32Array:
    """Row t of `gains` over all columns; each may be named once only."""
    a, b = gains.indptr[t : t + 2]
    assert len(set(gains.indices[a:b].tolist())) == b - a
    found = np.zeros(64, dtype=np.float32)
    found[gains.indices[a:b]] = gains.values[a:b]
    return found


# 8 places hold 7 columns of the 12 and the bias: some have to stay outside.
blocks = st.sampled_from([8, 16])


@settings(max_examples=50)
@given(streams(), blocks)
def test_gains_are_their_twins(stream: Stream, block: int) -> None:
    batch = stream.batch()
    gains = made_gains(block)
    found = gains.run(rows_of(batch), batch.labelled)
    expected, inside = naive_linear.gains(stream, COLUMNS, block)
    for t, said in enumerate(expected):
        if said is None:
            assert found.indptr[t] == found.indptr[t + 1]
            assert found.bias[t] == 0.0
            continue
        row = dense(found, t)
        assert found.bias[t] == pytest.approx(said.bias, abs=1e-4)
        for j in range(COLUMNS):
            assert row[j] == pytest.approx(said.columns.get(j, 0.0), abs=1e-4)
    size = int(gains.state.progress[1])
    assert sorted(gains.state.block[1:size].tolist()) == inside
    assert [j for j in range(COLUMNS) if gains.state.place[j] >= 0] == inside


@settings(max_examples=50)
@given(streams(), blocks)
def test_logits_are_their_twins(stream: Stream, block: int) -> None:
    found, _, _ = run(stream, block)
    gains, _ = naive_linear.gains(stream, COLUMNS, block)
    expected = naive_linear.ridge(stream, gains, LABELS, COLUMNS, INITIAL_CURVATURE)
    for t, said in enumerate(expected):
        assert found[t, 0] == pytest.approx(said[RESERVE], abs=2e-3)
        for label in range(LABELS):
            if label < stream.known[t]:
                assert found[t, 1 + label] == pytest.approx(said[label], abs=2e-3)
            else:
                assert np.isnan(found[t, 1 + label])


@settings(max_examples=20)
@given(streams(), blocks, st.lists(st.integers(0, 40), max_size=4))
def test_cuts_and_growth_change_no_bit(stream: Stream, block: int, cuts: list[int]) -> None:
    batch = stream.batch()
    whole, _, _ = run(stream, block)
    gains, expert = Gains(block), RidgeExpert(reserve=True)
    ends = sorted({0, len(batch), *(c for c in cuts if c < len(batch))})
    for a, b in itertools.pairwise(ends):
        part = batch.slice(a, b)
        gains.make_room(COLUMNS)
        expert.make_room(COLUMNS, part.n_labels)
        rows = rows_of(part)
        out = step(expert, rows, gains.run(rows, part.labelled), part, part.n_labels)
        assert out.tobytes() == whole[a:b, : 1 + part.n_labels].tobytes()


@settings(max_examples=20)
@given(streams(), st.integers(1, LABELS - 1))
def test_blocks_of_labels_say_what_one_block_says(stream: Stream, cut: int) -> None:
    batch = stream.batch()
    whole, _, _ = run(stream, 16)
    rows = rows_of(batch)
    said = made_gains(16).run(rows, batch.labelled)
    for first, last in ((0, cut), (cut, LABELS)):
        expert = RidgeExpert(reserve=True)
        expert.make_room(COLUMNS, last - first)
        out = step(expert, rows, said, batch, last, first)
        assert out[:, 1:].tobytes() == whole[:, 1 + first : 1 + last].tobytes()
        assert out[:, 0].tobytes() == whole[:, 0].tobytes()


def test_a_least_squares_problem_is_solved() -> None:
    # Rows of correlated columns, labels by the sign of a direction that is weak in the data:
    # the inverse matrix finds it at once, where steps along the gradient take long.
    rng = np.random.default_rng(5)
    common = rng.normal(size=(1200, 1))
    x = common + 0.1 * rng.normal(size=(1200, 4))
    rows = [{j: float(v) for j, v in enumerate(row / np.linalg.norm(row))} for row in x]
    truth: list[set[int] | None] = [{0} if row[0] > row[1] else set() for row in x]
    stream = Stream(rows, truth, [1] * 1201)
    found, _, _ = run(stream, 8)
    steps = LinearExpert(0.3, reserve=True)
    steps.make_room(COLUMNS, 1)
    slow, position_of = np.zeros((1200, 2), dtype=np.float32), np.ones(1, dtype=np.int32)
    batch = stream.batch()
    steps.run(rows_of(batch), batch, np.zeros(1, dtype=np.int32), position_of, slow)
    is_on = x[600:, 0] > x[600:, 1]
    right, right_by_steps = (((said[600:, 1] > 0) == is_on).mean() for said in (found, slow))
    assert right > 0.85
    assert right > right_by_steps + 0.1


def test_a_tie_at_the_edge_of_the_block_stays_out() -> None:
    # Nine columns that are equal in all but name, and room for seven.
    rows = [dict.fromkeys(range(9), 1.0 / 3.0)] * FIRST_CHOICE
    batch = Stream(rows, [set()] * FIRST_CHOICE, [0] * (FIRST_CHOICE + 1)).batch()
    gains = made_gains(8)
    gains.run(rows_of(batch), batch.labelled)
    assert gains.state.progress.tolist() == [FIRST_CHOICE, 1]
    assert (gains.state.place == -1).all()


def test_the_block_follows_the_frequent_columns() -> None:
    def part(first: int, n: int) -> list[dict[int, float]]:
        return [{first + j: 1.0 / (2.0 + (j + t) % 3) for j in range(7)} for t in range(n)]

    rows = part(0, 16) + part(10, 48)
    batch = Stream(rows, [set()] * 64, [0] * 65).batch()
    gains = made_gains(8, 20)
    rows32 = rows_of(batch)
    gains.run(rows32, batch.labelled)
    assert sorted(gains.state.block[1:8].tolist()) == list(range(10, 17))
    assert (gains.state.place[:10] == -1).all()
    # What left kept its variance, and nothing of its covariance is left behind.
    assert (gains.state.variance[:7] < 0.9 * PRIOR_VARIANCE).all()
    matrix = gains.state.covariance
    assert (matrix == matrix.T).all()
    assert (np.diag(matrix) > 0).all()


def test_a_column_needs_a_few_events() -> None:
    rows = [{0: 1.0}] * (FIRST_CHOICE - FEWEST + 1) + [{1: 1.0}] * (FEWEST - 1)
    batch = Stream(rows, [set()] * len(rows), [0] * (len(rows) + 1)).batch()
    gains = made_gains(8)
    gains.run(rows_of(batch), batch.labelled)
    assert gains.state.block[: gains.state.progress[1]].tolist() == [-1, 0]


def test_what_is_old_fades() -> None:
    # The covariance of a column that is always there settles where it gains what it loses.
    n = 4000
    batch = Stream([{0: 1.0}] * n, [set()] * n, [0] * (n + 1)).batch()
    gains = made_gains(8)
    said = gains.run(rows_of(batch), batch.labelled)
    late = said.bias[n // 2 :] + said.values[said.indptr[n // 2] : said.indptr[n]]
    assert late == pytest.approx(late[0], rel=1e-3)
    # x' P x = r solves r^2 / (1 + r) = 2 * WALK for the two weights that always go together.
    r = WALK + np.sqrt(WALK**2 + 2 * WALK)
    assert late[-1] == pytest.approx(r / (1 + r), rel=0.02)


def test_hostile_rows_leave_everything_finite() -> None:
    rng = np.random.default_rng(4)
    columns, n = 20, 6000
    kinds = [1.0, -1.0, 1e-30, 1e-42, 0.5, 0.0]
    rows = []
    for t in range(n):
        x = rng.choice(kinds, columns) if t % 3 else np.full(columns, (-1.0) ** t)
        x /= max(1.0, float(np.linalg.norm(x)))
        here = rng.random(columns) < (0.1 if t % 2 else 1.0)
        rows.append({j: float(np.float32(x[j])) for j in range(columns) if here[j]})
    truth: list[set[int] | None] = [{t % 2} if t % 5 else set() for t in range(n)]
    batch = Stream(rows, truth, [2] * (n + 1)).batch()
    gains, expert = made_gains(16, columns), RidgeExpert(reserve=True)
    expert.make_room(columns, 2)
    rows32 = rows_of(batch)
    said = gains.run(rows32, batch.labelled)
    out = step(expert, rows32, said, batch, 2)
    assert np.abs(out).max() <= np.float32(LOGIT_CLIP)
    assert all(np.isfinite(array).all() for array in (*gains.state, *expert.state))
    size = int(gains.state.progress[1])
    matrix = gains.state.covariance[:size, :size].astype(np.float64)
    assert np.linalg.eigvalsh(matrix).min() > 0
    assert (gains.state.variance > 0).all()
    assert np.diag(matrix).max() <= PRIOR_VARIANCE * 1.000001
    assert gains.state.variance.max() <= PRIOR_VARIANCE * 1.000001


def test_unlabelled_rows_change_nothing_and_may_have_new_columns() -> None:
    stream = Stream([{0: 0.6, 1: 0.8}, {0: 1.0}, {0: 0.6, 99: 0.8}], [{0}, set(), None], [0] * 4)
    batch = Stream(stream.rows, stream.truth, [0, 1, 1, 1]).batch()
    gains, expert = made_gains(8), RidgeExpert(reserve=True)
    expert.make_room(COLUMNS, 1)

    def part(a: int, b: int) -> Float32Array:
        some = batch.slice(a, b)
        rows = rows_of(some)
        return step(expert, rows, gains.run(rows, some.labelled), some, 1)

    part(0, 2)

    def held() -> list[bytes]:
        return [array.tobytes() for state in (gains.state, expert.state) for array in state]

    before = held()
    out = part(2, 3)
    assert held() == before
    expected = np.float32(0.6) * expert.state.weights[0, 1] + expert.state.bias[1]
    assert out[0, 1] == pytest.approx(expected, rel=1e-6)


def test_room_is_bounded_and_reported() -> None:
    gains = Gains(24)
    gains.make_room(1000)
    assert gains.state.covariance.shape == (24, 24)
    before = gains.memory_bytes
    gains.make_room(1000)
    matrix = (24 + 2 * PENDING + 1) * 24 * 4
    assert gains.memory_bytes == before == matrix + 1000 * (4 + 4 + 8 + 8) + 16
    expert = RidgeExpert(reserve=True)
    expert.make_room(3, 9)
    assert expert.state.weights.shape == (64, 16)
    assert expert.memory_bytes == 64 * (16 + 1) * 4 + 2 * 16 * 4 + 8
