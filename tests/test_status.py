"""What a daemon tells of itself: published as a whole, read by anybody, cheap for the loop."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.stream import metrics as m
from ihomer.stream.latency import Latencies
from ihomer.stream.metrics import CATALOGUE, Kind
from ihomer.stream.status import (
    GATHER_SHARE,
    LONGEST_SECONDS,
    PUBLISH_SECONDS,
    Distribution,
    Severity,
    Stage,
    Status,
)


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_figures_are_seen_together_and_not_before_they_are_published() -> None:
    status = Status()
    status.add(m.BATCHES)
    status.set(m.LAG, 7, "events", "0")
    assert status.snapshot().values == {}
    status.publish()
    seen = status.snapshot()
    status.add(m.BATCHES, 2)
    status.set(m.LAG, 9, "events", "0")
    assert seen.values[m.BATCHES] == {(): 1.0}
    assert seen.values[m.LAG] == {("events", "0"): 7.0}
    status.publish()
    assert status.snapshot().values[m.BATCHES] == {(): 3.0}
    assert seen.values[m.BATCHES] == {(): 1.0}, "what was seen has changed"


def test_a_scrape_never_sees_half_a_round() -> None:
    """Two figures that are always equal in the loop are equal in every snapshot."""
    status = Status()
    end = threading.Event()

    def work() -> None:
        while not end.is_set():
            status.add(m.BATCHES)
            status.set(m.LAG, 1, "t", "0")
            status.add(m.COMMITS)
            status.publish()

    status.publish()
    worker = threading.Thread(target=work)
    worker.start()
    seen: set[object] = set()
    while len(seen) < 200:
        values = status.snapshot().values
        batches, commits = (values.get(each, {}).get((), 0.0) for each in (m.BATCHES, m.COMMITS))
        assert batches == commits
        seen.add(batches)
    end.set()
    worker.join()


def test_several_threads_lose_no_count() -> None:
    status = Status()

    def work() -> None:
        for _ in range(5000):
            status.add(m.CHECKPOINTS, 1, "0", "written")
            status.observe(m.CHECKPOINT_SECONDS, 0.1, "0")

    workers = [threading.Thread(target=work) for _ in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    status.publish()
    values = status.snapshot().values
    assert values[m.CHECKPOINTS] == {("0", "written"): 20_000.0}
    found = values[m.CHECKPOINT_SECONDS]["0",]
    assert isinstance(found, Distribution)
    assert sum(found.counts) == 20_000


@given(st.lists(st.floats(0.0, 100.0), max_size=50))
def test_a_histogram_counts_up_to_and_with_each_bound(values: Sequence[float]) -> None:
    status = Status()
    bounds = m.BATCH_SECONDS.bounds
    for value in [*values, *bounds]:
        status.observe(m.BATCH_SECONDS, value)
    status.publish()
    found = status.snapshot().values[m.BATCH_SECONDS][()]
    assert isinstance(found, Distribution)
    everything = [*values, *bounds]
    lows = (-1.0, *bounds)
    highs = (*bounds, float("inf"))
    assert found.counts == tuple(
        sum(low < value <= high for value in everything)
        for low, high in zip(lows, highs, strict=True)
    )
    assert found.total == pytest.approx(sum(everything))


@given(st.lists(st.tuples(st.floats(1e-7, 1e3), st.integers(1, 5)), max_size=40))
def test_latencies_between_bounds_hold_to_one_percent(values: list[tuple[float, int]]) -> None:
    latencies = Latencies()
    for seconds, events in values:
        latencies.add(seconds, events)
    bounds = m.PREDICT_SECONDS.bounds
    found = latencies.between(bounds)
    assert sum(found) == sum(events for _, events in values)
    for at, bound in enumerate(bounds, 1):
        surely = sum(events for seconds, events in values if seconds < bound / 1.011)
        maybe = sum(events for seconds, events in values if seconds <= bound * 1.011)
        assert surely <= sum(found[:at]) <= maybe
    assert latencies.seconds == pytest.approx(sum(s * n for s, n in values))


def test_each_metric_takes_its_own_kind_and_labels() -> None:
    status = Status()
    wrong: tuple[Callable[[], None], ...] = (
        lambda: status.add(m.LAG, 1, "t", "0"),
        lambda: status.set(m.BATCH_SECONDS, 1),
        lambda: status.set(m.LAG, 1, "t"),
        lambda: status.mark(m.CHECKPOINT_BYTES, "0"),
        lambda: status.observe(m.BATCHES, 1.0),
        lambda: status.observe(m.BATCH_SECONDS, 1.0, "0"),
        lambda: status.put(m.BATCHES, Distribution((0,), 0.0)),
    )
    for call in wrong:
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="buckets"):
        status.put(m.PREDICT_SECONDS, Distribution((1, 2), 0.0), "0")
    status.publish()
    assert status.snapshot().values.keys() <= {m.BATCH_SECONDS, m.BATCHES}


def test_what_is_given_away_is_no_longer_shown() -> None:
    status = Status()
    for slot in ("0", "1"):
        status.set(m.EVENTS, 5, slot)
        status.observe(m.CHECKPOINT_SECONDS, 0.1, slot)
        empty = (0,) * (len(m.PREDICT_SECONDS.bounds) + 1)
        status.put(m.PREDICT_SECONDS, Distribution(empty, 0.0), slot)
    status.set(m.LAG, 1, "1", "1")
    status.forget("slot", "1")
    status.remove(m.LAG, "1", "1")
    status.remove(m.LAG, "never", "there")
    status.publish()
    values = status.snapshot().values
    for metric in (m.EVENTS, m.CHECKPOINT_SECONDS, m.PREDICT_SECONDS):
        assert set(values[metric]) == {("0",)}
    assert values[m.LAG] == {}


def test_reasons_are_there_at_once_and_keep_their_beginning(clock: Clock) -> None:
    status = Status(clock)
    status.trouble("source", "away")
    clock.now += 5.0
    status.trouble("source", "still away")
    status.trouble("checkpoint", "no space left", Severity.DEGRADED)
    shown = [(each.subject, each.text, each.since) for each in status.snapshot().reasons]
    assert shown == [("checkpoint", "no space left", 1005.0), ("source", "still away", 1000.0)]
    status.trouble("source", "half there", Severity.DEGRADED)
    assert status.snapshot().reasons[1].since == 1005.0, "another severity begins anew"
    status.judge("source", None)
    status.clear("never there")
    assert [each.subject for each in status.snapshot().reasons] == ["checkpoint"]
    status.judge("source", "away")
    assert status.snapshot().reasons[1].severity is Severity.NOT_READY


def test_the_time_of_each_stage_adds_up(clock: Clock) -> None:
    status = Status(clock)
    for stage, seconds in [(Stage.WAIT, 1.0), (Stage.PROCESS, 2.0), (Stage.WAIT, 4.0)]:
        status.enter(stage)
        assert status.snapshot()[2:4] == (stage, clock.now)
        clock.now += seconds
    status.enter(Stage.STOP)
    status.publish()
    assert status.snapshot().values[m.STAGE_SECONDS] == {
        ("start",): 0.0,
        ("wait",): 5.0,
        ("process",): 2.0,
    }


def test_gathering_takes_no_more_than_its_share(clock: Clock) -> None:
    status = Status(clock)
    costs = iter([9.0, 0.001, 0.05, 9.0, 0.001])
    began: list[float] = []

    def gather() -> None:
        began.append(clock.now)
        clock.now += next(costs)

    status.gather(gather)
    while len(began) < 5:
        status.turn()
        clock.now += 0.01
    pauses = [later - before for before, later in itertools.pairwise(began)]
    expected = [
        9.0 + PUBLISH_SECONDS,  # the first time counts for nothing
        0.001 + PUBLISH_SECONDS,
        0.05 + 0.05 / GATHER_SHARE,
        9.0 + LONGEST_SECONDS,
    ]
    assert pauses == pytest.approx(expected, abs=0.02)
    status.drop(gather)
    status.publish()
    assert len(began) == 5


def test_the_catalogue_is_in_order() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names)
    for metric in CATALOGUE:
        assert metric.name.startswith("ihomer_")
        assert metric.help.endswith(".")
        assert (metric.kind is Kind.COUNTER) == metric.name.endswith("_total")
        assert (metric.kind is Kind.HISTOGRAM) == bool(metric.bounds)
        assert list(metric.bounds) == sorted(set(metric.bounds))
        # Nothing of a stream: no label of it, no feature, no id.
        assert set(metric.labels) <= {
            *("slot", "reason", "stage", "topic", "partition", "queue", "subject", "severity"),
            *("version", "python", "measure", "kind", "level", "outcome"),
        }
