"""A quick look for a rise of the loss, against its definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ihomer.drift.rise import ALLOWANCE, BOUND, KEPT, SETTLED, Rise, began


def test_the_sum_is_the_textbooks() -> None:
    rng = np.random.default_rng(3)
    rows = [rng.normal(0.3 + 0.1 * (t >= 30), 0.2, int(rng.integers(100, 129))) for t in range(40)]
    rise, expected = Rise(), 0.0
    for t, row in enumerate(rows):
        if t >= SETTLED:
            weights = KEPT ** np.arange(t)[::-1]
            means = np.array([before.mean() for before in rows[:t]])
            reference = np.average(means, weights=weights)
            between = np.average((means - reference) ** 2, weights=weights)
            within = np.average(
                [before.var() / len(before) for before in rows[:t]], weights=weights
            )
            above = (row.mean() - reference) / np.sqrt(max(between, within))
            expected = max(0.0, expected + above - ALLOWANCE)
        assert rise.update(row) == (expected > BOUND)
        np.testing.assert_allclose(rise.sum, expected, rtol=1e-6, atol=1e-6)
    assert expected > BOUND


def test_false_warnings_are_rare_and_a_rise_is_seen_at_once() -> None:
    rng = np.random.default_rng(4)
    warnings, late = 0, 0
    for _ in range(20):
        rise = Rise()
        for _ in range(100):
            if rise.update(rng.normal(0.2, 0.1, 128)):
                warnings += 1
                rise.restart()
        rise.restart()
        for _ in range(SETTLED):
            rise.update(rng.normal(0.2, 0.1, 128))
        late += not rise.update(rng.normal(0.26, 0.1, 128))
    assert warnings <= 20  # 256,000 events
    assert late == 0


def test_nothing_is_seen_in_what_never_varies() -> None:
    rise = Rise()
    assert not any(rise.update(np.zeros(128)) for _ in range(30))
    assert rise.update(np.ones(128))
    rise.restart()
    assert rise.reference == rise.sum == 0.0


@given(
    st.lists(st.integers(0, 64), min_size=1, max_size=16),
    st.integers(0, 64),
)
def test_a_rise_began_where_it_is_clearest(eighths: list[int], reference: int) -> None:
    means = np.array(eighths) / 8.0
    clear = [
        sum(means[len(means) - n :] - reference / 8.0) / np.sqrt(n)
        for n in range(1, len(means) + 1)
    ]
    found = began(means, reference / 8.0)
    assert 1 <= found <= len(means)
    np.testing.assert_allclose(clear[found - 1], max(clear), rtol=1e-12)


def test_a_rise_began_at_the_jump() -> None:
    assert began(np.array([0.1, 0.1, 0.1, 0.3, 0.3]), 0.1) == 2
    assert began(np.array([0.1]), 0.1) == 1
