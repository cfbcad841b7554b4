"""The AdaGrad expert against its twin, under births, cuts, growth and hostile numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.instances import Batch, Float32Array, IntArray
from ihomer.learners.experts.linear import (
    BASE_STEP,
    INITIAL_SLOPE_SQUARE,
    INITIAL_SQUARE,
    LinearExpert,
    padded,
)
from ihomer.learners.kernels.elementary import LOGIT_CLIP
from ihomer.learners.kernels.linear import LANES
from ihomer.learners.scaling import RAW_LIMIT, raw_rows
from tests import naive_linear
from tests.naive_linear import RESERVE, Steps, Stream, rows_of, streams

COLUMNS, LABELS = 12, 11


def places(members: list[int], reserve: int) -> tuple[IntArray, IntArray]:
    """`members` as an array, and the position of each of the labels."""
    position_of = np.full(LABELS, -1, dtype=np.int32)
    position_of[members] = reserve + np.arange(len(members))
    return np.array(members, dtype=np.int32), position_of


def run(expert: LinearExpert, batch: Batch, members: list[int]) -> Float32Array:
    out = np.full((len(batch), expert.reserve + len(members)), np.nan, dtype=np.float32)
    expert.run(rows_of(batch), batch, *places(members, expert.reserve), out)
    return out


def made(
    reserve: bool, members: list[int], step: float = 0.3, decay: float = 1.0, columns: int = COLUMNS
) -> LinearExpert:
    expert = LinearExpert(step, decay, reserve=reserve)
    expert.make_room(columns, len(members))
    return expert


settled = st.sampled_from([(0.3, 1.0), (1.0, 0.9995), (1.0, 0.9)])


@settings(max_examples=60)
@given(streams(), settled)
def test_a_block_is_its_twin(stream: Stream, setting: tuple[float, float]) -> None:
    members = list(range(LABELS))
    found = run(made(True, members, *setting), stream.batch(), members)
    steps = Steps(*setting, INITIAL_SQUARE)
    expected = naive_linear.linear(stream, members, True, 64, steps)
    for t, said in enumerate(expected):
        assert found[t, 0] == pytest.approx(said[RESERVE], abs=2e-4)
        for label in range(LABELS):
            if label < stream.known[t]:
                assert found[t, 1 + label] == pytest.approx(said[label], abs=2e-4)
            else:
                assert np.isnan(found[t, 1 + label])


@settings(max_examples=30)
@given(streams(born_before=True), st.sets(st.integers(0, LABELS - 1), min_size=1))
def test_a_cluster_is_its_twin(stream: Stream, chosen: set[int]) -> None:
    members = sorted(chosen)
    found = run(made(False, members), stream.batch(), members)
    expected = naive_linear.linear(stream, members, False, 64, Steps(0.3, 1.0, INITIAL_SQUARE))
    for t, said in enumerate(expected):
        for place, label in enumerate(members):
            assert found[t, place] == pytest.approx(said[label], abs=2e-4)


def logits(stream: Stream, seed: int) -> list[dict[int, float]]:
    """Another expert's logits at each row: the reserve's and those of the labels known there."""
    rng = np.random.default_rng(seed)
    return [
        {label: float(np.float32(rng.normal(scale=2))) for label in range(RESERVE, stream.known[t])}
        for t in range(len(stream.rows))
    ]


@settings(max_examples=60)
@given(streams(), st.integers(0, 100), st.sampled_from([(0.1, 1.0), (0.3, 0.99)]))
def test_corrections_are_their_twins(
    stream: Stream, seed: int, setting: tuple[float, float]
) -> None:
    members = list(range(LABELS))
    given_logits = logits(stream, seed)
    # Nobody may read what is said of a label that is not known yet.
    base = np.full((len(stream.rows), 1 + LABELS), np.nan, dtype=np.float32)
    for t, row in enumerate(given_logits):
        base[t, : len(row)] = [row[label] for label in sorted(row)]
    batch, expert = stream.batch(), made(True, members, *setting)
    out = np.full((len(batch), 1 + LABELS), np.nan, dtype=np.float32)
    expert.run(rows_of(batch), batch, *places(members, 1), out, base)
    steps = Steps(*setting, INITIAL_SQUARE, BASE_STEP, INITIAL_SLOPE_SQUARE)
    expected = naive_linear.linear(stream, members, True, 64, steps, given_logits)
    for t, said in enumerate(expected):
        found = {label: float(out[t, 1 + label]) for label in said}
        assert found == pytest.approx(said, abs=2e-4)


def test_corrections_start_from_what_they_are_given() -> None:
    stream = Stream([{0: 1.0}, {}], [set(), set()], [2, 2, 2])
    base = np.array([[-1.0, 2.0, -9.0], [0.5, 0.5, 0.5]], dtype=np.float32)
    batch, out = stream.batch(), np.zeros((2, 3), dtype=np.float32)
    made(True, [0, 1]).run(rows_of(batch), batch, *places([0, 1], 1), out, base)
    assert out[0].tolist() == [-1.0, 2.0, -np.float32(LOGIT_CLIP)]


@settings(max_examples=20)
@given(streams(), st.lists(st.integers(0, 40), max_size=4))
def test_cuts_and_growth_change_no_bit(stream: Stream, cuts: list[int]) -> None:
    members = list(range(LABELS))
    batch = stream.batch()
    whole = run(made(True, members, decay=0.999), batch, members)
    grown = LinearExpert(0.3, 0.999, reserve=True)
    ends = sorted({0, len(batch), *(c for c in cuts if c < len(batch))})
    for a, b in itertools.pairwise(ends):
        part = batch.slice(a, b)
        grown.make_room(COLUMNS, part.n_labels)
        out = run(grown, part, members[: part.n_labels])
        assert out.tobytes() == whole[a:b, : 1 + part.n_labels].tobytes()


@settings(max_examples=20)
@given(streams())
def test_a_label_says_the_same_alone(stream: Stream) -> None:
    whole = run(made(True, list(range(LABELS))), stream.batch(), list(range(LABELS)))
    for label in (0, LABELS - 1):
        alone = run(made(True, [label]), stream.batch(), [label])
        assert alone[:, 1].tobytes() == whole[:, 1 + label].tobytes()
        assert alone[:, 0].tobytes() == whole[:, 0].tobytes()


def test_unlabelled_rows_change_nothing_and_may_have_new_columns() -> None:
    rows = [{0: 0.6, 1: 0.8}, {0: 1.0}, {0: 0.6, 99: 0.8}]
    stream = Stream(rows, [{0}, set(), None], [0, 1, 1, 1])
    expert = made(True, [0])
    run(expert, stream.batch().slice(0, 2), [0])
    before = [array.copy() for array in expert.state]
    out = run(expert, stream.batch().slice(2, 3), [0])
    assert all(np.array_equal(a, b) for a, b in zip(before, expert.state, strict=True))
    expected = np.float32(0.6) * expert.state.weights[0, 1] + expert.state.bias[1]
    assert out[0, 1] == pytest.approx(expected, rel=1e-6)


def test_forgotten_columns_are_as_new() -> None:
    stream = Stream([{0: 1.0, 3: 1.0}] * 5, [{0}] * 5, [0, 1, 1, 1, 1, 1])
    expert = made(True, [0])
    run(expert, stream.batch(), [0])
    kept = expert.state.weights[0].copy()
    assert (expert.state.weights[3, :2] != 0).all()
    expert.forget_columns(np.array([3], dtype=np.int32))
    assert (expert.state.weights[3] == 0).all()
    assert (expert.state.squares[3] == np.float32(INITIAL_SQUARE)).all()
    assert np.array_equal(expert.state.weights[0], kept)


def test_labels_move_with_all_they_have_learned() -> None:
    rng = np.random.default_rng(1)
    rows = [{j: float(v) for j, v in enumerate(rng.normal(size=4) / 2)} for _ in range(60)]
    truth: list[set[int] | None] = [{int(rng.integers(3))} for _ in rows]
    batch = Stream(rows, truth, [3] * 61).batch()
    stayed = made(False, [0, 1, 2])
    run(stayed, batch.slice(0, 30), [0, 1, 2])
    moved = made(False, [1, 2])
    moved.put(np.array([0, 1], dtype=np.int32), stayed.take(np.array([1, 2], dtype=np.int32)))
    expected = run(stayed, batch.slice(30, 60), [0, 1, 2])[:, 1:]
    assert run(moved, batch.slice(30, 60), [1, 2]).tobytes() == expected.tobytes()


@pytest.mark.parametrize("folded", [False, True])
def test_a_label_born_since_a_column_was_learned_has_what_position_0_has(folded: bool) -> None:
    # Label 0 is born at a row without column 0, which only the reserve has learned so far.
    rows: list[dict[int, float]] = [{0: 1.0}] * 3 + [{1: 1.0}, {0: 1.0}]
    batch = Stream(rows, [set(), set(), set(), {0}, None], [0, 0, 0, 0, 1, 1]).batch()
    expert = made(True, [0], columns=128)
    run(expert, batch.slice(0, 4), [0])
    if folded:
        expert.fold(64)
    bias, weight = expert.state.bias[1], expert.state.weights[0, 0]
    assert weight < 0
    out = run(expert, batch.slice(4, 5), [0])
    assert out[0, 1] == pytest.approx(bias + weight, rel=1e-6)
    part = expert.take(np.array([1], dtype=np.int32))
    assert part.weights[0, 0] == weight
    assert part.squares[0, 0] == expert.state.squares[0, 0] > INITIAL_SQUARE
    # What is put beside it is not overwritten with the reserve when the column is learned next.
    other = made(True, [0, 1], columns=128)
    other.put(np.array([2], dtype=np.int32), part)
    other.state.weights[0, 2] = 5.0
    run(other, Stream([{0: 1e-9}], [set()], [2, 2]).batch(), [0, 1])
    assert other.state.weights[0, 2] == pytest.approx(5.0)


def test_a_decaying_sum_never_gets_to_zero() -> None:
    # Thousands of rows without a gradient to speak of, then one with.
    n = 3000
    rows = [{0: 1.0}] * n
    truth: list[set[int] | None] = [*([set()] * (n - 1)), {0}]
    expert = made(False, [0], step=1.0, decay=0.9)
    out = run(expert, Stream(rows, truth, [1] * (n + 1)).batch(), [0])
    assert np.isfinite(out).all()
    assert all(np.isfinite(array).all() for array in expert.state)
    assert (expert.state.squares > 0).all()


@pytest.mark.parametrize("decay", [1.0, 0.99])
def test_hostile_values_leave_everything_finite(decay: float) -> None:
    rng = np.random.default_rng(3)
    pool = np.array([1e300, -1e300, 1e-310, -0.0, 1.0, np.nan, 1e38, -5.0])
    rows = [{j: float(rng.choice(pool)) for j in range(6)} for _ in range(4000)]
    truth: list[set[int] | None] = [{t % 2} for t in range(4000)]
    batch = Stream(rows, truth, [2] * 4001).batch()
    expert = made(True, [0, 1], step=1.0, decay=decay)
    out = np.zeros((4000, 3), dtype=np.float32)
    expert.run(raw_rows(batch), batch, *places([0, 1], 1), out)
    assert np.abs(out).max() <= np.float32(LOGIT_CLIP)
    assert all(np.isfinite(array).all() for array in expert.state)


def test_raw_rows_are_cut_and_missing_values_say_nothing() -> None:
    batch = Stream([{0: np.nan, 1: 1e300, 2: -11.0, 3: 0.5}], [None], [0, 0]).batch()
    assert raw_rows(batch).values.tolist() == [0.0, RAW_LIMIT, -RAW_LIMIT, 0.5]
    assert raw_rows(batch).values.dtype == np.float32
    assert np.isnan(batch.values[0])  # the caller's array is left as it was


def test_room_grows_in_whole_vectors_and_is_reported() -> None:
    expert = LinearExpert(0.3, reserve=True)
    assert expert.columns == 0
    expert.make_room(3, 9)
    assert expert.state.weights.shape == (64, padded(10)) == (64, 2 * LANES)
    before = expert.memory_bytes
    expert.make_room(3, 9)
    assert expert.memory_bytes == before == 2 * (64 + 2) * 16 * 4 + 64 * 4
    expert.make_room(65, 16)
    assert expert.state.weights.shape == (96, 24)
