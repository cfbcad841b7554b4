"""All bytes that the fuzzer has found worth keeping: an event or a reason, at bounded cost."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.connectors.base import Record
from ihomer.errors import MalformedEventError
from ihomer.stream.decode import KINDS, MAX_EVENT_BYTES, Decoder
from tests.malformed import CATALOGUE
from tools.decoding import check, check_mapped
from tools.fuzz import CORPUS, MAX_BYTES, MAX_INPUTS, load, save

INPUTS = load()


def decode(value: bytes) -> None:
    """Events, labels and faults are all well; anything else is not."""
    with suppress(MalformedEventError):
        Decoder(["a", "b", "c"]).decode_any(Record(value, "t", 0, 0))


@pytest.mark.parametrize("value", INPUTS, ids=[f"input-{i}" for i in range(len(INPUTS))])
def test_each_input_is_an_event_or_malformed(value: bytes) -> None:
    check(value)
    check_mapped(value)


@given(st.data())
def test_two_inputs_grown_together_are_an_event_or_malformed(data: st.DataObject) -> None:
    one, other = (data.draw(st.sampled_from(INPUTS)) for _ in range(2))
    head = one[: data.draw(st.integers(0, len(one)))]
    value = head + other[data.draw(st.integers(0, len(other))) :]
    check(value)
    check_mapped(value)


def test_the_corpus_is_small_and_worth_it() -> None:
    assert 50 <= len(INPUTS) <= MAX_INPUTS
    assert max(map(len, INPUTS)) <= MAX_BYTES
    answers = {answer for value in INPUTS for answer in check(value)}
    # All but what needs a large input, a vocabulary that is full, or no bytes at all.
    elsewhere = {"oversized", "too-many-labels", "tombstone", "x-undeclared"}
    elsewhere |= {kind for kind in KINDS if KINDS[kind].stage == "map"}
    assert answers >= set(KINDS) - elsewhere | {"event", "labels"}


def test_it_is_kept_as_it_was(tmp_path: Any) -> None:
    copy = tmp_path / "copy.jsonl"
    values = [b"", b"\xff\x00\n", *INPUTS]
    save(values, copy)
    assert sorted(load(copy)) == sorted(set(values))
    save(INPUTS, copy)
    assert copy.read_bytes() == CORPUS.read_bytes()


def calls(run: Callable[[], None]) -> int:
    """How many functions `run` calls, those in C too: a measure of time that no load disturbs."""
    count = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def peak(run: Callable[[], None]) -> int:
    """Most bytes that `run` had allocated at a time."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bombs() -> dict[str, bytes]:
    """As large as an event may be, and as costly as can be had for it."""
    size = MAX_EVENT_BYTES

    def filled(head: bytes, item: bytes, tail: bytes) -> bytes:
        count = (size - len(head) - len(tail)) // len(item)
        return head + (item * count)[:-1] + tail

    names = b",".join(b'"%x":0' % i for i in range(size // 13))
    return {
        "features": b'{"x":{' + names + b"}}",
        "lists": filled(b'{"x":{"a":[', b'"",', b"]}}"),
        "lists of lists": filled(b'{"x":{"a":[', b"[],", b"]}}"),
        "labels": filled(b'{"x":{},"y":[', b'"l",', b"]}"),
        "bad label at the end": filled(b'{"x":{},"y":[', b'"l",', b",1]}"),
        "unknown fields": b'{"x":{},' + names + b"}",
        "ignored field": filled(b'{"x":{},"more":[', b"{},", b"]}"),
        "brackets": b"[" * size,
        "long id": b'{"id":"' + b"i" * (size - 20) + b'","x":{}}',
        "digits": b'{"x":{"a":' + b"9" * (size - 20) + b"}}",
        "fraction": b'{"x":{"a":0.' + b"1" * (size - 20) + b"}}",
        "ts": b'{"x":{},"ts":"' + b"1" * (size - 20) + b'"}',
        "escapes": filled(b'{"id":"', b"\\u0041", b'","x":{}}'),
        "blank": b" " * size,
        "no UTF-8 at the end": b'{"x":{}}' + b" " * (size - 9) + b"\xff",
        "past the bound": b"[" * (size + 1),
    }


def test_memory_and_time_are_bounded_by_the_size_of_an_event() -> None:
    """A parsed event takes 100 bytes for each of its own, at most; a name is looked at once."""
    known = [case.value for case in CATALOGUE if case.value is not None]
    for name, value in [*bombs().items(), *((str(v[:40]), v) for v in (*INPUTS, *known))]:
        run = lambda value=value: decode(value)  # noqa: E731
        assert peak(run) <= 100_000 + 100 * len(value), name
        assert calls(run) <= 500 + 2 * len(value), name
