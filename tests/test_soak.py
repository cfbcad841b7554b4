"""How `make soak` judges: what grows is told from what moves."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from ihomer.connectors.base import Record
from ihomer.errors import MalformedEventError
from ihomer.stream.decode import Decoder
from tools.rig import BAD_EVERY
from tools.soak import CONCEPT, Sample, events, judge, sample

MB = 1 << 20


def samples(
    rss: Callable[[float], float], descriptors: int = 30, threads: int = 9, more: float = 0.0
) -> list[Sample]:
    """20 minutes, a sample a second; each minute has 15 s with a second slot."""
    chance = random.Random(0)  # noqa: S311 - for test data
    found = []
    for second in range(20 * 60):
        two = second % 60 < 15
        noise = chance.uniform(-3 * MB, 3 * MB)
        found.append(
            Sample(
                float(second),
                round(rss(second / 60) + noise + 50 * MB * two),
                descriptors + 12 * two + round(more * second / 60),
                threads + 6 * two + round(more * second / 60),
            )
        )
    return found


@pytest.mark.parametrize(
    "rss",
    [
        lambda _: 400 * MB,
        lambda minute: (400 + 30 * min(minute, 5)) * MB,  # it settles
        lambda minute: (400 + 0.5 * minute) * MB,
        lambda minute: (400 + 80 * (10 <= minute < 11)) * MB,  # a bad minute
    ],
)
def test_what_is_flat_is_called_flat(rss: Callable[[float], float]) -> None:
    assert judge(samples(rss), 5).faults == []


def test_what_grows_is_told() -> None:
    found = judge(samples(lambda minute: (400 + 1.5 * minute) * MB, more=0.5), 5)
    assert found.rss_per_minute == pytest.approx(1.5 * MB, rel=0.2)
    memory, descriptors, threads = found.faults
    assert "memory grows by 1." in memory
    assert descriptors.startswith("file descriptors grow from")
    assert threads.startswith("threads grow from")


def test_a_short_run_is_not_judged() -> None:
    flat = samples(lambda _: 400 * MB)
    assert judge(flat[: 6 * 60], 5).faults == ["too short to be judged"]
    assert judge([], 5).faults == ["too short to be judged"]


def test_this_process_can_be_sampled() -> None:
    found = sample(os.getpid(), 1.0)
    assert found is not None
    assert found.rss > MB
    assert found.descriptors >= 3
    assert found.threads >= 1
    assert sample(2**22 + 1, 1.0) is None  # beyond the largest process id


def test_its_stream_has_what_it_promises() -> None:
    decoder = Decoder()
    labels: list[set[str]] = []
    bad = 0
    for start in range(0, 3 * CONCEPT, CONCEPT):
        names: set[str] = set()
        for i, message in enumerate(events(start, start + 500, 4)):
            try:
                event = decoder.decode(Record(message.value, "t", 0, i))
            except MalformedEventError:
                bad += 1
                continue
            names |= set(event.on or ())
        labels.append(names)
    starts = (0, CONCEPT, 2 * CONCEPT)
    sent = [i for start in starts for i in range(start, start + 500)]
    assert bad == sum(i % BAD_EVERY == BAD_EVERY - 1 for i in sent)
    assert "label 0" in labels[0] - labels[1]
    assert "label 4" in labels[1] - labels[0]
