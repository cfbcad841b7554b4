"""A replay: every event once, in order, in steps that stop where they should."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.connectors.base import Record
from ihomer.connectors.memory import MemorySink, MemorySource
from ihomer.errors import InputError
from ihomer.learners.baselines import BASELINES
from ihomer.stream.assemble import make_processor
from ihomer.stream.processor import Processor
from ihomer.stream.replay import peak_rss_mb, replay, series_point, summary
from ihomer.stream.settings import Settings

SETTINGS = Settings(labels=["p", "q"])


def event(number: int) -> bytes:
    y = ["p"] if number % 3 else ["p", "q"]
    return json.dumps({"id": number, "x": {"a": number % 3, "b": 1.0}, "y": y}).encode()


class Slow(MemorySource):
    """A source that has nothing at every other call."""

    empty = False

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        self.empty = not self.empty
        return [] if self.empty else super().next_batch(max_records, timeout)


def parts(
    values: Sequence[bytes], *, letters: bool = True
) -> tuple[MemorySource, Processor, MemorySink]:
    source = MemorySource(values, name="numbers")
    sink = MemorySink()
    dead = MemorySink() if letters else None
    return source, make_processor(SETTINGS, source, sink, dead, BASELINES), sink


def ids(sink: MemorySink) -> list[int]:
    assert sink.pending == []
    return [json.loads(message.value or b"")["id"] for message in sink.messages]


@given(
    count=st.integers(0, 60),
    batch_size=st.integers(1, 70),
    limit=st.none() | st.integers(1, 70),
    every=st.none() | st.integers(1, 20),
    bad=st.sets(st.integers(0, 59)),
)
def test_every_event_once_and_points_at_multiples(
    count: int, batch_size: int, limit: int | None, every: int | None, bad: set[int]
) -> None:
    values = [b"bad" if i in bad else event(i) for i in range(count)]
    source, processor, sink = parts(values)
    points: list[int] = []
    done: list[int] = []
    seconds = replay(source, processor, batch_size, limit, every, points.append, done.append)
    read = count if limit is None else min(count, limit)
    good = [i for i in range(read) if i not in bad]
    assert ids(sink) == good
    assert processor.events == len(good)
    assert processor.dead_letters.counts["not-json"] == read - len(good)
    assert points == ([] if every is None else list(range(every, len(good) + 1, every)))
    assert done == sorted(done)
    assert (done[-1] if done else 0) == read
    assert seconds >= 0.0


def test_a_source_that_has_nothing_for_now_is_asked_again() -> None:
    source = Slow([event(i) for i in range(10)])
    sink = MemorySink()
    replay(source, make_processor(SETTINGS, source, sink, None), 4)
    assert ids(sink) == list(range(10))


def test_the_first_malformed_event_ends_it_without_dead_letters() -> None:
    source, processor, _ = parts([event(0), event(1), b"bad", event(3)], letters=False)
    with pytest.raises(InputError, match=r"^numbers, line 2: .*not JSON"):
        replay(source, processor, 3)
    assert processor.events == 2


def test_a_point_of_the_series_has_every_learner() -> None:
    source, processor, _ = parts([event(i) for i in range(30)])
    replay(source, processor, 8)
    point = series_point(processor, 30)
    assert list(point) == ["events", "ihomer", *BASELINES]
    assert point["events"] == 30
    # Everything is within the window, so the rolling figures are the whole stream's.
    for name in ("ihomer", *BASELINES):
        contestant = processor.main if name == "ihomer" else processor.baselines[name]
        for measure in ("subset_accuracy", "hamming_loss", "micro_f1", "macro_f1", "example_f1"):
            assert point[name][measure] == pytest.approx(contestant.result()[measure], abs=1e-12)


def test_the_summary_of_nothing_is_still_one() -> None:
    source, processor, _ = parts([])
    replay(source, processor, 8)
    figures = summary(source, processor, SETTINGS)
    assert (figures["events"], figures["labels"], figures["features"]) == (0, 2, 0)
    assert figures["events_per_second"] != figures["events_per_second"]  # NaN: nothing to divide


def test_the_summary_counts_what_was_left_out() -> None:
    settings = Settings(labels=["p"], max_labels=1, new_labels="drop")
    source = MemorySource([event(0), event(1), b"bad", b'{"x": {}}'])
    processor = make_processor(settings, source, None, MemorySink(), BASELINES)
    replay(source, processor, 8)
    figures = summary(source, processor, settings)
    assert figures["dead_letters"] == {"not-json": 1}
    assert figures["labels_dropped"] == 1
    assert (figures["events"], figures["measures"]["events"]) == (3, 2)


def test_memory_is_in_megabytes() -> None:
    assert 20.0 < peak_rss_mb() < 100_000.0
