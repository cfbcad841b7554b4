"""The elementary functions against the C library's, at random points and at the edges."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.instances import Float32Array
from ihomer.jit import kernel
from ihomer.learners.kernels.elementary import LOGIT_CLIP, exp32, log32, sigmoid32, softplus32

numbers = st.floats(-30, 30, width=32)
logs = st.floats(-87, 88, width=32)


@given(st.floats(-87, 87, width=32))
def test_exp(x: float) -> None:
    assert float(exp32(np.float32(x))) == pytest.approx(math.exp(x), rel=1.3e-7)


@given(logs)
def test_log(log_of_x: float) -> None:
    x = np.float32(math.exp(log_of_x))
    assert float(log32(x)) == pytest.approx(math.log(float(x)), rel=1.3e-7, abs=1.3e-7)


@given(st.floats(0.5, 2.0, width=32))
def test_log_near_one(x: float) -> None:
    assert float(log32(np.float32(x))) == pytest.approx(math.log(x), abs=1.3e-7)


@given(numbers)
def test_sigmoid(x: float) -> None:
    assert float(sigmoid32(np.float32(x))) == pytest.approx(1 / (1 + math.exp(-x)), rel=3e-7)


@given(numbers)
def test_softplus(x: float) -> None:
    expected = max(x, 0.0) + math.log1p(math.exp(-abs(x)))
    assert float(softplus32(np.float32(x))) == pytest.approx(expected, rel=5e-7)


def test_softplus_at_the_clip_is_the_log_loss() -> None:
    assert float(softplus32(np.float32(-LOGIT_CLIP))) == pytest.approx(-math.log(0.98), rel=1e-6)
    assert float(softplus32(np.float32(LOGIT_CLIP))) == pytest.approx(-math.log(0.02), rel=1e-6)


def test_results_stay_finite_and_in_range_at_the_edges() -> None:
    largest, least = np.float32(3.4e38), np.float32(1e-45)
    for x in (largest, np.float32(np.inf)):
        assert float(exp32(x)) == pytest.approx(math.exp(87), rel=1e-6)
        assert float(exp32(-x)) == pytest.approx(math.exp(-87), rel=1e-6)
        assert float(sigmoid32(x)) == 1.0
        assert 0.0 < float(sigmoid32(-x)) < 1e-37
        assert 88.0 < float(log32(x)) < 89.0
    assert float(softplus32(largest)) == largest
    assert 0.0 < float(softplus32(-largest)) < 1e-37
    for x in (least, np.float32(0.0), np.float32(-1.0)):
        assert float(log32(x)) == pytest.approx(math.log(1.1754944e-38), rel=1e-6)


def test_exact_values() -> None:
    assert float(exp32(np.float32(0))) == 1.0
    assert float(log32(np.float32(1))) == 0.0
    assert float(sigmoid32(np.float32(0))) == 0.5


@kernel
def _loops(x: Float32Array, out: Float32Array) -> None:
    for i in range(x.shape[0]):
        out[0, i] = exp32(x[i])
        out[1, i] = sigmoid32(x[i])
        out[2, i] = softplus32(x[i])
        out[3, i] = log32(out[0, i])


@pytest.mark.parametrize("n", [1, 7, 8, 67])
def test_a_vectorised_loop_gives_the_bits_of_a_single_call(n: int) -> None:
    x = np.linspace(-20, 20, n).astype(np.float32)
    out = np.zeros((4, n), dtype=np.float32)
    _loops(x, out)
    functions: list[Callable[[np.float32], np.float32]] = [exp32, sigmoid32, softplus32]
    for row, function in zip(out, functions, strict=False):
        assert row.tolist() == [float(function(v)) for v in x]
    assert out[3].tolist() == [float(log32(v)) for v in out[0]]
