"""The share of malformed events: against its definition, in a daemon, through a restart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.connectors.base import Record
from ihomer.connectors.memory import MemorySink, MemorySource
from ihomer.errors import InputError, UsageError
from ihomer.stream.assemble import make_processor
from ihomer.stream.daemon import Daemon
from ihomer.stream.error_rate import ErrorRate
from ihomer.stream.processor import Processor
from ihomer.stream.settings import Settings, load_settings

GOOD, BAD = b'{"x": {"a": 1}, "y": ["t"]}', b'{"x": 1}'


def feed(rate: ErrorRate, events: Sequence[bool]) -> None:
    for good in events:
        if good:
            rate.good()
        else:
            rate.bad()


def naive_share(events: Sequence[bool], window: int) -> float:
    """Every event's weight, one after the other."""
    bad = total = 0.0
    for good in events:
        bad, total = bad * (1 - 1 / window) + (not good), total * (1 - 1 / window) + 1
    return bad / total if total else 0.0


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 20), st.floats(0.0, 1.0))
def test_the_share_is_that_of_its_definition(
    events: list[bool], window: int, max_rate: float
) -> None:
    rate = ErrorRate(max_rate, window)
    exceeded = False
    for at, good in enumerate(events):
        feed(rate, [good])
        share = naive_share(events[: at + 1], window)
        assert rate.share == pytest.approx(share, abs=1e-9)
        if abs(share - max_rate) < 1e-9:
            return  # either is right
        exceeded = exceeded or (
            not good and max_rate < 1.0 and at + 1 >= window and share > max_rate
        )
        assert rate.exceeded == exceeded


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 60))
def test_a_restored_share_goes_on_bit_for_bit(events: list[bool], cut: int) -> None:
    whole, first, second = (ErrorRate(0.3, 7) for _ in range(3))
    feed(whole, events)
    feed(first, events[:cut])
    second.restore(json.loads(json.dumps(first.state())))
    feed(second, events[cut:])
    assert second.state() == whole.state()
    assert second.share == whole.share


def test_it_is_quiet_at_first_and_where_it_is_off() -> None:
    rate, off = ErrorRate(0.5, 100), ErrorRate(1.0, 10)
    feed(rate, [False] * 99)
    assert not rate.exceeded
    feed(rate, [False])
    assert rate.forgive()
    assert not rate.forgive()
    feed(off, [False] * 10_000)
    assert not off.exceeded


def test_after_a_repair_it_is_not_heard_of_again() -> None:
    """One malformed event in a hundred, right behind a halt."""
    rate = ErrorRate(0.5, 1000)
    feed(rate, [True] * 5000 + [False] * 700)
    assert rate.forgive()
    feed(rate, [i % 100 != 50 for i in range(2000)])
    assert not rate.forgive()


def test_a_share_or_a_window_that_cannot_be() -> None:
    with pytest.raises(UsageError, match=r"errors_max_rate: found 1\.5"):
        ErrorRate(1.5)
    with pytest.raises(UsageError, match="errors_window: found 0"):
        ErrorRate(0.5, 0)


def processor(max_rate: float = 0.5, **keys: object) -> tuple[Processor, MemorySink, MemorySink]:
    settings = Settings(
        source=["memory:events"],
        errors_max_rate=max_rate,
        errors_window=20,
        **keys,  # type: ignore[arg-type]
    )
    sink, letters = MemorySink(), MemorySink()
    return make_processor(settings, MemorySource(()), sink, letters), sink, letters


@pytest.mark.parametrize("late", [False, True])
def test_a_daemon_ends_with_one_line_and_has_committed_what_it_read(late: bool) -> None:
    made, sink, letters = processor(late_labels=late)
    values = [GOOD] * 30 + [BAD] * 200 + [GOOD] * 30
    source = MemorySource(values)
    with pytest.raises(InputError) as caught:
        Daemon(source, made, batch_size=8, max_wait_ms=1).run()
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.exit_code == 65
    assert " of about the last 20 events are malformed" in line
    assert "(most often x-type, " in line
    assert "accepted: at most 0.5 (errors_max_rate)" in line
    # Seen to the end of the batch in which the share became too large, at the 42nd event.
    assert source.committed == {"event": 48}
    assert (len(sink.messages), len(letters.messages)) == (30, 18)


def test_a_restart_ends_at_once_while_nothing_has_changed() -> None:
    made, _, letters = processor()
    records = [Record(GOOD if i < 30 else BAD, "t", 0, i) for i in range(100)]
    made.process(records[:50])
    assert made.halt() is not None
    state = made.state()
    again, _, letters = processor()
    again.restore(state)
    assert again.halt() is None
    again.process(records[50:51])
    assert again.halt() is not None
    again.flush()
    assert len(letters.messages) == 1
    # With a larger share, which is safe to change, it goes on.
    patient, _, _ = processor(1.0)
    patient.restore(state)
    patient.process(records[50:])
    assert patient.halt() is None


def test_events_refused_without_a_place_for_them_are_not_counted() -> None:
    settings = Settings(source=["memory:events"], errors_window=1)
    alone = make_processor(settings, MemorySource(()), MemorySink(), None)
    before = dict(alone.dead_letters.rate.state())
    with pytest.raises(InputError, match="set --dead-letters"):
        alone.process([Record(BAD, "t", 0, 0)])
    assert alone.dead_letters.rate.state() == before
    assert not alone.dead_letters.counts


@pytest.mark.parametrize(
    "text",
    [
        "errors_max_rate = 0.25\nerrors_window = 300\n",
        "errors.max_rate = 0.25\nerrors.window = 300\n",
        "[errors]\nmax_rate = 0.25\nwindow = 300\n",
    ],
)
def test_the_key_in_a_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "ihomer.toml"
    path.write_text(text)
    settings = load_settings(path, {}).settings
    assert (settings.errors_max_rate, settings.errors_window) == (0.25, 300)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("errors.max_rate = 1.5\n", "errors_max_rate ({}, line 1): found 1.5, accepted: a number"),
        ("[errors]\nwindow = 1\nmax_rate = 2.0\n", "errors_max_rate ({}, line 3): found 2.0"),
        ("seed = 1\nerrors.window = 0\n", "errors_window ({}, line 2): found 0"),
        ("[errors]\nwindow = 1\nmaxrate = 1.0\n", "errors.maxrate ({}, line 3): found an unknown"),
        ("errors_window = 1\nerrors.window = 2\n", "errors_window ({}, line 2): found twice"),
    ],
)
def test_a_mistake_in_a_table_is_told_with_its_line(text: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "ihomer.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_settings(path, {})
    assert str(caught.value).startswith(line.format(path))
