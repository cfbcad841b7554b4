"""When planted changes happen, against the definitions event by event."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.drift.schedule import HOWS, How, Schedule
from ihomer.errors import UsageError
from tests import naive

SCHEDULES = st.builds(
    Schedule,
    st.sampled_from(HOWS),
    start=st.integers(0, 60),
    width=st.integers(1, 40),
    period=st.integers(1, 20),
)


@given(SCHEDULES)
def test_the_weight_is_as_defined(schedule: Schedule) -> None:
    events = np.arange(200)
    expected = [
        naive.drift_weight(schedule.how, t, schedule.start, schedule.width, schedule.period)
        for t in range(200)
    ]
    np.testing.assert_allclose(schedule.weight(events), expected, rtol=1e-12, atol=0.0)
    # One event at a time is the same.
    assert [float(schedule.weight(events[t : t + 1])[0]) for t in (0, 59, 60, 61, 199)] == [
        float(schedule.weight(events)[t]) for t in (0, 59, 60, 61, 199)
    ]


@given(SCHEDULES, st.integers(1, 200))
def test_transitions_are_where_the_weight_moves(schedule: Schedule, length: int) -> None:
    weight = np.concatenate(([0.0], schedule.weight(np.arange(length))))
    moved = {int(t) for t in np.flatnonzero(np.diff(weight))}
    transitions = schedule.transitions(length)
    assert all(t.start < length for t in transitions)
    assert [t.new for t in transitions] == [i % 2 == 0 for i in range(len(transitions))]
    for t in moved:
        assert any(a.start <= t <= a.stop for a in transitions)
    for a in transitions:
        assert a.start in moved
        assert (a.start == a.stop) == (schedule.how in ("sudden", "recurring"))


def test_a_gradual_change_is_old_or_new_and_ever_more_often_new() -> None:
    schedule = Schedule("gradual", start=1000, width=8000)
    rng = np.random.default_rng(0)
    level = schedule.level(np.arange(10_000), rng.random(10_000))
    assert set(level.tolist()) == {0.0, 1.0}
    assert not level[:1000].any()
    assert level[9000:].all()
    shares = level[1000:9000].reshape(8, 1000).mean(axis=1)
    np.testing.assert_allclose(shares, (np.arange(8) + 0.5) / 8, atol=0.05)


@pytest.mark.parametrize("how", [how for how in HOWS if how != "gradual"])
def test_only_a_gradual_change_has_a_choice(how: How) -> None:
    schedule = Schedule(how, start=3, width=5, period=4)
    events = np.arange(20)
    level = schedule.level(events, np.full(20, 0.999))
    assert level.tolist() == schedule.weight(events).tolist()


@pytest.mark.parametrize(
    ("how", "parameters", "words"),
    [
        ("slow", {"start": 0}, "found 'slow', accepted: sudden, gradual"),
        ("sudden", {"start": -1}, "start: found -1, accepted: 0 or more"),
        ("gradual", {"start": 0}, "width: found 0, accepted: 1 or more"),
        ("recurring", {"start": 0, "width": 5}, "period: found 0, accepted: 1 or more"),
    ],
)
def test_what_makes_no_schedule_is_refused(
    how: How, parameters: dict[str, int], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        Schedule(how, **parameters)
