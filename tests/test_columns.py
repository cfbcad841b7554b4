"""Labels that change company: what is gathered and pooled, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.learners.kernels.columns import pooled, take_columns
from ihomer.learners.kernels.linkage import average_linkage
from ihomer.learners.kernels.rows import cut_values, enter_hashes, write_rows


@given(st.integers(0, 100), st.integers(1, 3), st.booleans())
def test_columns_come_from_their_source_or_from_the_base(
    seed: int, depth: int, sparing: bool
) -> None:
    rng = np.random.default_rng(seed)
    rows, width, m = 5, 4, int(rng.integers(1, 7))
    old = rng.integers(0, 3, (rows, width, depth)).astype(np.float32)
    source = np.array([0, *rng.integers(0, width, m - 1)])
    fresh = 1 + np.flatnonzero(source[1:] == 0)
    base, rates = rng.random((rows, depth)), rng.random(len(fresh))
    out = np.zeros((rows, m * depth), dtype=np.float32)
    places = (depth * source[:, None] + np.arange(depth)).ravel()
    take_columns(old.reshape(rows, -1), places, fresh, base, rates, sparing, out)
    for r in range(rows):
        for c in range(m):
            expected = old[r, source[c]]
            if c in fresh:
                expected = (base[r] * rates[fresh.tolist().index(c)]).astype(np.float32)
            if sparing and old[r, 0, 0] == 0:
                expected = np.zeros(depth, dtype=np.float32)
            assert out[r, c * depth : (c + 1) * depth].tolist() == expected.tolist()


@given(st.integers(0, 100), st.integers(2, 9))
def test_what_lies_between_the_sides_of_a_merge(seed: int, m: int) -> None:
    upper = np.triu(np.random.default_rng(seed).integers(0, 9, (m, m)).astype(np.float64), 1)
    together = upper + upper.T
    merges = average_linkage(1.0 / (1.0 + together))[:, :2].astype(np.int64)
    members = [[label] for label in range(m)]
    expected = []
    for a, b in merges.tolist():
        expected.append(sum(together[i, j] for i in members[a] for j in members[b]))
        members.append(members[a] + members[b])
    assert pooled(merges, together.copy()).tolist() == expected


def test_values_are_cut_and_what_is_missing_is_nothing() -> None:
    values = np.array([np.nan, 1e300, -1e300, 0.5, -10.0, 5e-324])
    out = np.full(6, 7.0, dtype=np.float32)
    cut_values(values, 10.0, out)
    assert out.tolist() == [0.0, 10.0, -10.0, 0.5, -10.0, 0.0]


def test_probabilities_of_labels_not_known_at_a_row_are_not_given_out() -> None:
    p = np.arange(12, dtype=np.float32).reshape(3, 4) / np.float32(16)
    out = np.full((2, 5), 7.0)
    write_rows(p, np.array([3, 5, 5], dtype=np.int32), 2, 3, out)
    np.testing.assert_array_equal(out[0], [7, 7, p[0, 1], np.nan, np.nan])
    np.testing.assert_array_equal(out[1], [7, 7, p[1, 1], p[1, 2], p[1, 3]])


@pytest.mark.parametrize("count", [0, 1, 5])
def test_hashes_are_found_from_their_home_on(count: int) -> None:
    hashes = np.array([3, 11, 3, 7, 2**63 + 3, 1], dtype=np.uint64)
    slots = np.full(8, -1, dtype=np.int32)
    enter_hashes(hashes, count, slots)
    assert sorted(slots[slots >= 0].tolist()) == list(range(count))
    for number in range(count):
        at = int(hashes[number]) % 8
        while slots[at] != number:
            assert slots[at] >= 0  # no gap before it
            at = (at + 1) % 8
