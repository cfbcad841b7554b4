"""What `make chaos` rests on: its schedule, and the comparison of two states."""

from __future__ import annotations

import random
from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.faults import POINTS, parse
from ihomer.stream.exactly_once.retention import dangers
from tools.chaos import RANDOM, schedule
from tools.same import first_difference


@given(st.integers(0, 5), st.integers(0, 300), st.integers(0, 2**32))
def test_every_point_has_its_kills_and_chance_the_rest(
    per_point: int, kills: int, seed: int
) -> None:
    chance, again = random.Random(seed), random.Random(seed)  # noqa: S311 - they choose faults
    found = schedule(kills, per_point, chance)
    assert len(found) == kills
    counts = Counter(each.partition(":")[0] for each in found)
    named = per_point * len(POINTS)
    assert counts[RANDOM] == max(0, kills - named)
    if kills >= named:
        assert all(counts[point] == per_point for point in POINTS)
    assert parse(",".join(each for each in found if each != RANDOM)).keys() <= {
        (point, number) for point in POINTS for number in (1, 2, 3)
    }
    assert schedule(kills, per_point, again) == found


class Thing:
    def __init__(self, value: object) -> None:
        self.value = value
        self.own = self  # it holds itself


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, True),
        (0.0, -0.0),
        ("a", "b"),
        ([1], [1, 2]),
        ((1, [2]), (1, [3])),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1, 2}, {1, 3}),
        (deque([1]), deque([2])),
        (np.zeros(2), np.zeros(3)),
        (np.zeros(2), np.zeros(2, dtype=np.float32)),
        (np.array([0.0, 1.0]), np.array([0.0, np.nextafter(1.0, 2.0)])),
        (np.float64(1.0), np.float64(2.0)),
        (Thing([1]), Thing([2])),
    ],
)
def test_a_difference_is_found(one: object, other: object) -> None:
    assert first_difference({"root": [one]}, {"root": [other]}) is not None
    assert first_difference({"root": [one]}, {"root": [one]}) is None


def test_sharing_is_no_difference_and_nan_is_itself() -> None:
    shared = np.array([np.nan, 1.0])
    assert first_difference([shared, shared], [shared.copy(), shared.copy()]) is None
    assert first_difference(Thing({"a": float("nan")}), Thing({"a": float("nan")})) is None


def test_a_retention_that_is_too_short_is_told() -> None:
    day = {"cleanup.policy": "delete", "retention.ms": str(86_400_000)}
    assert dangers(day, None, 60) == []
    assert dangers(day, 40_000.0, 60) == []
    assert "43201 s old" in dangers(day, 43_201.0, 60)[0]
    assert "accepted" in dangers({"retention.ms": "60000"}, 1.0, 60)[0]
    assert dangers({"retention.ms": "-1"}, 10.0**9, 60) == []
    assert "compacted" in dangers({"cleanup.policy": "compact,delete"}, None, 60)[0]
