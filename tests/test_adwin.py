"""ADWIN against river's, value by value, and what it promises beside that."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import drift

from ihomer.drift.adwin import ADWIN, Alarm, adwin_update, new_window
from ihomer.errors import UsageError

Values = npt.NDArray[np.float64]


def rivers(values: Values, **parameters: float) -> tuple[list[bool], list[int], list[float]]:
    """Alarms, widths and totals of river's ADWIN after each value."""
    detector: Any = drift.ADWIN(**parameters)  # type: ignore[no-untyped-call]  # river has no types
    alarms, widths, totals = [], [], []
    for value in values.tolist():
        detector.update(value)
        alarms.append(bool(detector.drift_detected))
        widths.append(int(detector.width))
        totals.append(float(detector.total))
    return alarms, widths, totals


def ours(values: Values, **parameters: float) -> tuple[list[bool], list[int], list[float]]:
    """The same of our own, value by value."""
    detector = ADWIN(**parameters)  # type: ignore[arg-type]  # one mapping serves both detectors
    alarms, widths, totals = [], [], []
    for value in values.tolist():
        detector.update(value)
        alarms.append(detector.drift_detected)
        widths.append(detector.width)
        totals.append(detector.total)
    return alarms, widths, totals


def stream(kind: str, n: int, seed: int) -> Values:
    """A stream whose level jumps once in 400 values or so."""
    rng = np.random.default_rng(seed)
    level = rng.random(n)[np.cumsum(rng.random(n) < 1 / 400)]
    if kind == "bits":
        return (rng.random(n) < level).astype(np.float64)
    if kind == "gaussian":
        return rng.normal(level, 0.2)
    return rng.normal(100 * level, 5)


parameters = st.fixed_dictionaries(
    {
        "delta": st.sampled_from([0.0001, 0.002, 0.05, 0.5, 0.9]),
        "clock": st.sampled_from([1, 3, 32]),
        "max_buckets": st.integers(2, 8),
        "min_window_length": st.integers(1, 12),
        "grace_period": st.integers(1, 50),
    }
)


@pytest.mark.parametrize("kind", ["bits", "gaussian", "large"])
def test_long_streams_raise_rivers_alarms(kind: str) -> None:
    values = stream(kind, 20_000, seed=7)
    expected = rivers(values)
    assert sum(expected[0]) > 10
    assert ours(values) == expected


@settings(max_examples=60, deadline=None)
@given(
    parameters,
    st.sampled_from(["bits", "gaussian", "large"]),
    st.integers(0, 10**6),
    st.integers(0, 1500),
)
def test_any_parameters_raise_rivers_alarms(
    chosen: dict[str, float], kind: str, seed: int, n: int
) -> None:
    values = stream(kind, n, seed)
    assert ours(values, **chosen) == rivers(values, **chosen)


@settings(max_examples=60, deadline=None)
@given(
    parameters,
    st.lists(
        st.tuples(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)), st.integers(1, 120)), max_size=8
    ),
)
def test_steps_of_any_size_raise_rivers_alarms(
    chosen: dict[str, float], steps: list[tuple[float, int]]
) -> None:
    values = np.array([value for value, times in steps for _ in range(times)], dtype=np.float64)
    assert ours(values, **chosen) == rivers(values, **chosen)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 1500), max_size=6))
def test_cuts_into_batches_do_not_matter(seed: int, cuts: list[int]) -> None:
    values = stream("bits", 1500, seed)
    one_by_one, _, _ = ours(values)
    detector = ADWIN()
    alarms = [detector.update_many(part) for part in np.split(values, sorted(cuts))]
    assert np.concatenate(alarms).tolist() == one_by_one
    assert detector.n_detections == sum(one_by_one)


def test_an_alarm_tells_what_changed_and_since_when() -> None:
    rng = np.random.default_rng(0)
    detector = ADWIN()
    assert detector.latest is None
    values = np.concatenate([rng.normal(1.0, 0.1, 2000), rng.normal(0.5, 0.1, 2000)])
    first = int(np.flatnonzero(detector.update_many(values))[0])
    again = ADWIN()
    again.update_many(values[: first + 1])
    alarm = again.latest
    assert isinstance(alarm, Alarm)
    assert alarm.change == pytest.approx(-0.5, abs=0.1)
    assert abs(alarm.change) > alarm.bound > 0
    assert abs(alarm.since - (first + 1 - 2000)) <= 16


def test_saved_copied_and_running_detectors_go_on_alike() -> None:
    values = stream("gaussian", 6000, seed=3)
    detector = ADWIN()
    detector.update_many(values[:2500])
    saved = pickle.dumps(detector)
    copied = copy.deepcopy(detector)
    expected = detector.update_many(values[2500:])
    assert expected.any()
    loaded = pickle.loads(saved)  # noqa: S301 - written by this very test
    for other in (loaded, copied, detector.clone()):
        if other.width == 0:  # a clone is as good as new
            other.update_many(values[:2500])
        assert (other.update_many(values[2500:]) == expected).all()


def test_reset_forgets_everything() -> None:
    values = stream("bits", 3000, seed=1)
    detector = ADWIN()
    expected = detector.update_many(values)
    assert expected.any()
    detector.reset()
    assert (detector.width, detector.estimation, detector.latest) == (0, 0.0, None)
    assert not detector.drift_detected
    assert (detector.update_many(values) == expected).all()


def test_memory_does_not_grow_and_a_full_window_drops_its_oldest() -> None:
    window = new_window(max_buckets=2, rows=4)
    values = np.arange(1000.0)
    for value in values:
        adwin_update(window, float(value), 0.002, 2000, 5, 10)
    width = int(window.counters[1])
    assert width <= 3 * (1 + 2 + 4 + 8)
    kept = values[-width:]
    assert window.sums[0] == pytest.approx(kept.sum())
    assert window.sums[1] == pytest.approx(((kept - kept.mean()) ** 2).sum())
    detector = ADWIN()
    before = detector.memory_bytes
    detector.update_many(np.zeros(100_000))
    assert (detector.memory_bytes, detector.width) == (before, 100_000)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_refused_and_nothing_is_kept(bad: float) -> None:
    detector = ADWIN()
    with pytest.raises(UsageError, match=r"^values\[1\]: found (nan|-?inf), accepted: finite"):
        detector.update_many(np.array([1.0, bad]))
    with pytest.raises(UsageError, match=r"^x: found (nan|-?inf), accepted: a finite number"):
        detector.update(bad)
    assert detector.width == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("delta", 0.0),
        ("delta", 1.0),
        ("delta", float("nan")),
        ("clock", 0),
        ("max_buckets", 1),
        ("min_window_length", 0),
        ("grace_period", 0),
    ],
)
def test_a_wrong_parameter_is_named(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"^{name}: found {value}, accepted: "):
        ADWIN(**{name: value})  # type: ignore[arg-type]  # wrong on purpose


def test_no_value_at_all() -> None:
    detector = ADWIN()
    assert detector.update_many(np.zeros(0)).shape == (0,)
    assert detector.estimation == 0.0
