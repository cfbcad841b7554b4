"""What finds the foremost of many scores, against sorting."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ihomer.instances import Float32Array
from ihomer.learners.kernels.foremost import LANES, put_in_order, reached, those_from

F = np.float32

# Few different numbers, so that many are equal, and any others.
numbers = st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False, width=32)
scores = st.lists(numbers, max_size=400).map(lambda found: np.array(found, dtype=F))


@given(scores, st.integers(1, LANES))
def test_enough_scores_reach_what_is_found_and_few_more_than_wanted(
    score: Float32Array, wanted: int
) -> None:
    lanes = np.full((2, LANES), np.nan, dtype=F)
    found = np.full(len(score) + 1, -7, dtype=np.int32)
    least = reached(score, wanted, lanes)
    few = those_from(score, least, found)
    assert found[:few].tolist() == np.flatnonzero(score >= least).tolist()
    assert few >= min(wanted, len(score))
    if len(score) > wanted:
        assert least in score
        # Each lane has its best among them: no lower than the worst of so many lanes' best.
        assert least <= np.sort(score)[-wanted]


@given(scores, st.integers(0, 128))
def test_the_order_is_that_of_a_stable_sort(score: Float32Array, n: int) -> None:
    room = np.full(128, np.nan, dtype=F)
    n = min(n, len(score))
    room[:n] = score[:n]
    order = np.full(128, 77, dtype=np.int32)
    put_in_order(room, n, order)
    assert order[:n].tolist() == np.argsort(-score[:n], kind="stable").tolist()
