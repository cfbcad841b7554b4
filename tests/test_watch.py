"""Watches tell a rise from a fall, column by column, however the numbers come in."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.drift.adwin import ADWIN
from ihomer.drift.watch import CLOCK, DELTA, Watches

STRIDE = 64
# Of a stride's first rise: number of events, change and bound.
Told = tuple[int, float, float] | None


def twins(sums: np.ndarray, numbers: np.ndarray) -> list[list[Told]]:
    """What a detector for each column, and one for all, says at the end of every stride."""
    columns = sums.shape[1]
    detectors = [ADWIN(DELTA / columns) for _ in range(columns)] + [ADWIN(DELTA, clock=CLOCK)]
    answers = []
    for start in range(0, len(sums), STRIDE):
        told: list[Told] = [None] * (columns + 1)
        for place, detector in enumerate(detectors):
            some = [place] if place < columns else list(range(columns))
            for t in range(start, min(start + STRIDE, len(sums))):
                if not numbers[t, some].any():
                    continue
                detector.update(sum(sums[t, some].tolist()))
                latest = detector.latest
                if detector.drift_detected and latest and latest.change > 0 and not told[place]:
                    told[place] = t + 1, latest.change, latest.bound
        answers.append(told)
    return answers


def fed(
    watches: Watches, sums: np.ndarray, numbers: np.ndarray, cuts: list[int]
) -> list[list[Told]]:
    """What watches answer at the end of every stride, fed in pieces."""
    answers: list[list[Told]] = []
    for start in range(0, len(sums), STRIDE):
        edges = [0, *sorted(cuts), STRIDE]
        for a, b in itertools.pairwise(edges):
            piece = slice(start + a, min(start + b, start + STRIDE))
            learned = np.arange(1, len(sums) + 1)
            watches.collect(sums[piece], numbers[piece], learned[piece])
        answers.append(
            [
                (watches.told(place), *watches.alarm(place)[:2]) if risen else None
                for place, risen in enumerate(watches.risen())
            ]
        )
    return answers


def losses(seed: int, columns: int, n: int = 960) -> tuple[np.ndarray, np.ndarray]:
    """Sums and numbers whose means rise and fall again, in some columns."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 3, (n, columns))
    level = np.repeat([0.0, 0.7, 0.2], n // 3)[:, None] * (np.arange(columns) % 2 == 0)
    return numbers * (rng.random((n, columns)) + level), numbers


@settings(deadline=None)
@given(st.lists(st.integers(1, 63), max_size=5), st.integers(0, 20), st.integers(1, 4))
def test_each_column_is_watched_as_if_alone(cuts: list[int], seed: int, columns: int) -> None:
    sums, numbers = losses(seed, columns)
    assert fed(Watches(columns), sums, numbers, cuts) == twins(sums, numbers)


def test_only_a_rise_is_reported() -> None:
    rng = np.random.default_rng(2)
    low, high = rng.random((960, 1)) * 0.2, 0.8 + rng.random((960, 1)) * 0.2
    one = np.ones((1920, 1), dtype=np.int64)
    assert any(map(any, fed(Watches(1), np.concatenate([low, high]), one, [])))
    assert not any(map(any, fed(Watches(1), np.concatenate([high, low]), one, [])))


def test_an_alarm_says_what_it_rests_on() -> None:
    watches, detector = Watches(1), ADWIN(DELTA, clock=CLOCK)
    values = np.repeat([0.0, 1.0], [640, 16])
    one = np.ones((len(values), 1), dtype=np.int64)
    watches.collect(values[:, None], one, 1000 + np.arange(len(values)))
    at = int(detector.update_many(values).argmax())
    assert watches.risen() == [False, True]  # the column looks later
    assert (watches.told(0), watches.told(-1)) == (0, 1000 + at)
    assert watches.alarm(-1) == detector.latest


def test_without_numbers_nothing_has_risen() -> None:
    watches = Watches(2)
    assert watches.risen() == [False] * 3
    watches.collect(np.zeros((9, 2)), np.zeros((9, 2), dtype=np.int64), np.arange(9))
    assert watches.risen() == [False] * 3


def test_columns_that_move_keep_what_they_have_seen() -> None:
    sums, numbers = losses(4, 3)
    straight, moved = Watches(3), Watches(3)
    fed(straight, sums[:256], numbers[:256], [])
    fed(moved, sums[:256], numbers[:256], [])
    moved.rearrange([2, -1, 0])
    expected = fed(straight, sums[256:], numbers[256:], [])
    # In place of column 1 stands a new one, in which nothing is counted.
    order = [2, 1, 0]
    numbers[:, 1] = sums[:, 1] = 0
    found = fed(moved, sums[256:, order], numbers[256:, order], [])
    assert any(row[0] or row[2] for row in expected)
    assert [(row[2], row[0]) for row in expected] == [(row[0], row[2]) for row in found]
    assert not any(row[1] for row in found)


def test_that_of_all_columns_stays_when_they_move() -> None:
    sums, numbers = losses(4, 1)
    straight, moved = Watches(1), Watches(1)
    fed(straight, sums[:256], numbers[:256], [])
    fed(moved, sums[:256], numbers[:256], [])
    moved.rearrange([-1, -1])
    more = np.zeros_like(sums), np.zeros_like(numbers)
    wide = [np.concatenate(pair, axis=1) for pair in zip((sums, numbers), more, strict=True)]
    expected = fed(straight, sums[256:], numbers[256:], [])
    assert any(row[-1] for row in expected)
    found = fed(moved, wide[0][256:], wide[1][256:], [])
    assert [row[-1] for row in expected] == [row[-1] for row in found]
