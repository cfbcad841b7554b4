"""Sources side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.connectors.base import Record
from ihomer.connectors.memory import MemorySource
from ihomer.connectors.merge import Merge
from ihomer.errors import InputError, UsageError
from tests.sources import assert_resumes_anywhere, drain


def sources(*sizes: int) -> list[MemorySource]:
    return [
        MemorySource([b"%d" % i for i in range(size)], name=f"s{number}")
        for number, size in enumerate(sizes)
    ]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=3), st.integers(1, 12))
def test_records_take_turns_whatever_the_batches(sizes: list[int], batch: int) -> None:
    merged = Merge(sources(*sizes))
    expected = sorted((place, number) for number, size in enumerate(sizes) for place in range(size))
    # One of each in turn; who has nothing more is passed over.
    found = [(int(r.value or b""), int(r.source[1:])) for r in drain(merged, batch)]  # type: ignore[arg-type]
    assert sorted(found) == expected
    if len(set(sizes)) == 1:
        assert found == expected
    assert found == [
        (int(r.value or b""), int(r.source[1:]))  # type: ignore[arg-type]
        for r in drain(Merge(sources(*sizes)), 1)
    ]
    assert merged.length == sum(sizes)


def test_it_resumes_anywhere() -> None:
    assert len(assert_resumes_anywhere(lambda: Merge(sources(7, 3, 5)))) == 15


class Pausing(MemorySource):
    """Has something at every third call."""

    calls = 0

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        self.calls += 1
        return [] if self.calls % 3 else super().next_batch(max_records, timeout)


def test_a_source_that_has_nothing_for_now_is_passed_over() -> None:
    merged = Merge([Pausing([b"a", b"b"], name="slow"), *sources(4)])
    assert len(drain(merged, 2)) == 6


@pytest.mark.parametrize(
    "position",
    [{}, {"turn": 2, "sources": []}, {"turn": 0, "sources": [{"position": {}, "skip": 0}]}],
)
def test_a_position_of_another_kind_is_refused(position: dict[str, object]) -> None:
    with pytest.raises(InputError, match="accepted: a turn and 2 sources"):
        Merge(sources(1, 1)).seek(position)


def test_a_position_past_the_end_is_refused() -> None:
    merged = Merge(sources(3, 3))
    place = json.loads(json.dumps(merged.position()))
    place["sources"][0]["skip"] = 9
    with pytest.raises(InputError, match="s0: position: found fewer than"):
        merged.seek(place)


def test_no_source_is_none() -> None:
    with pytest.raises(UsageError, match="found no source"):
        Merge([])
