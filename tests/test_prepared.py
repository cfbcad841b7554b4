"""Calls whose arguments are prepared once do what the kernels do."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core.dispatcher import Dispatcher

from ihomer.learners.kernels.linkage import average_linkage
from ihomer.learners.kernels.rows import cut_values, write_rows
from ihomer.learners.kernels.trivial import empty_trivial, trivial_rows
from ihomer.prepared import Chain, Prepared, PreparedCalls


@given(st.lists(st.floats(allow_infinity=False), max_size=20), st.floats(0.5, 1e6))
def test_arrays_and_numbers_are_passed_as_they_are(values: list[float], limit: float) -> None:
    given_values, out = np.array(values), np.zeros(len(values), dtype=np.float32)
    expected = np.zeros_like(out)
    call = Prepared(cut_values, (given_values, limit, out))
    for _ in range(2):  # what arrays hold may change
        call()
        cut_values(given_values, limit, expected)
        assert out.tobytes() == expected.tobytes()
        given_values[:] = given_values[::-1].copy()


@given(st.integers(1, 40), st.integers(0, 2**32))
def test_states_integers_flags_and_two_axes_are_passed_as_they_are(width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 5))
    sizes = rng.integers(0, 3, n)
    y_indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    y_indices = rng.integers(0, width, y_indptr[-1]).astype(np.int32)
    labelled = rng.random(n) < 0.5
    states, outs = [], []

    def plainly(name: str, kernel: Any, *arguments: Any) -> None:
        kernel(*arguments)

    def chained(*step: Any) -> None:
        PreparedCalls().chain("one", (), lambda: [step])

    for way in (plainly, PreparedCalls(), chained):
        state = empty_trivial(width)
        state.on[:] = np.arange(width)
        state.events[0] = width
        out = (np.zeros((n, width), np.float32), np.zeros((n, width), np.float32))
        way("trivial", trivial_rows, y_indptr, y_indices, labelled, 0, state, *out)
        states.append([part.tobytes() for part in state])
        outs.append([part.tobytes() for part in out])
    assert states[0] == states[1] == states[2]
    assert outs[0] == outs[1] == outs[2]


def test_other_arrays_are_noticed() -> None:
    calls = PreparedCalls()
    p = np.array([[0.5, 0.25, 0.75]], dtype=np.float32)
    known = np.array([2, 2], dtype=np.int32)
    for labels in (2, 1, 2):
        out = np.full((1, labels), -1.0)
        calls("write", write_rows, p, known, 0, labels, out)
        assert out.tolist() == [[0.25, 0.75][:labels]]
    call = Prepared(write_rows, (p, known, 0, 2, out))
    assert call.fits((p, known, 0, 2, out))
    assert not call.fits((p.copy(), known, 0, 2, out))


@given(st.lists(st.floats(0.5, 100.0), max_size=6))
def test_a_chain_makes_all_calls_in_order(limits: list[float]) -> None:
    # Each writes over what the one before has written, or reads it.
    values, narrow = np.array([-1000.0, 1000.0]), np.zeros((1, 3), dtype=np.float32)
    wide, known = np.zeros((1, 2)), np.array([2, 2], dtype=np.int32)
    calls = []
    for limit in limits:
        calls.append(Prepared(cut_values, (values, limit, narrow[0, 1:])))
        calls.append(Prepared(write_rows, (narrow, known, 0, 2, wide)))
        calls.append(Prepared(cut_values, (wide[0], 50.0, narrow[0, 1:])))
        calls.append(Prepared(write_rows, (narrow, known, 0, 2, values[None])))
    chain = Chain(calls)
    for _ in range(2):
        values[:] = -1000.0, 1000.0
        chain()
        least = float(np.float32(min([*limits, 50.0] if limits else [1000.0])))
        assert values.tolist() == [-least, least]


def test_a_chain_asks_for_its_steps_where_something_held_is_another_object() -> None:
    calls, asked = PreparedCalls(), []
    values, outs = np.array([2.0]), [np.zeros(1, dtype=np.float32) for _ in range(2)]

    def run(out: Any, *held: object) -> None:
        def steps() -> list[Any]:
            asked.append(out)
            return [("cut", cut_values, values, 1.0, out)]

        calls.chain("chain", held, steps)

    for out in (outs[0], outs[0], outs[1], outs[1]):
        out[0] = 0.0
        run(out, values, out)
        assert out[0] == 1.0
    assert [id(out) for out in asked] == [id(out) for out in outs]
    run(outs[1], values, outs[1], True)
    run(outs[1], values, outs[1], False)
    assert len(asked) == 4
    calls.forget_chains()
    run(outs[1], values, outs[1], False)
    assert len(asked) == 5


class _Pair(NamedTuple):
    one: Any
    two: Any


@pytest.mark.skipif(not isinstance(cut_values, Dispatcher), reason="nothing is laid out")
def test_what_cannot_be_laid_out_is_refused() -> None:
    out = np.zeros(4, dtype=np.float32)
    with pytest.raises(TypeError, match="an array of type"):
        Prepared(cut_values, (np.zeros(8)[::2], 1.0, out))
    with pytest.raises(TypeError, match="a kernel with a result"):
        Prepared(average_linkage, (np.zeros((2, 2)),))
    with pytest.raises(TypeError, match="an argument of type"):
        Prepared(cut_values, (_Pair(out, "text"), 1.0, out))
