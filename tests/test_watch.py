"""A watch tells a rise from a fall, however the numbers come in."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ihomer.drift.watch import Watch


def fed(values: np.ndarray, cuts: list[int]) -> list[bool]:
    """What a watch answers at every 64th value."""
    watch, answers = Watch(), []
    for start in range(0, len(values), 64):
        stride = values[start : start + 64]
        for part in np.split(stride, sorted(cut for cut in cuts if cut < len(stride))):
            watch.collect(part)
        answers.append(watch.risen())
    return answers


@given(st.lists(st.integers(1, 63), max_size=5), st.integers(0, 20))
def test_the_cut_into_batches_plays_no_role(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random(960) + np.repeat([0.0, 0.7, 0.2], 320)
    assert fed(values, cuts) == fed(values, [])


def test_only_a_rise_is_reported() -> None:
    rng = np.random.default_rng(2)
    low, high = rng.random(960) * 0.2, 0.8 + rng.random(960) * 0.2
    assert any(fed(np.concatenate([low, high]), []))
    assert not any(fed(np.concatenate([high, low]), []))


def test_without_numbers_nothing_has_risen() -> None:
    assert not Watch().risen()
