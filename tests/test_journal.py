"""The journal's records and the ranges in them: what is written comes back, damage is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import chain

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.connectors.base import Record
from ihomer.connectors.kafka_journal import Entry, composition_checksum, decode, encode
from ihomer.connectors.kafka_ranges import (
    Offsets,
    Range,
    check,
    checksum_of,
    offsets_from_json,
    offsets_to_json,
    range_of,
    runs,
    slot_of,
)
from ihomer.errors import InputError
from ihomer.stream.exactly_once.positions import of_slot

OFFSETS = st.dictionaries(
    st.text("abc.-", min_size=1, max_size=5),
    st.dictionaries(st.integers(0, 20), st.integers(0, 2**62), max_size=4),
    max_size=3,
)
RANGES = st.builds(
    Range,
    st.text("abc", min_size=1, max_size=3),
    st.integers(0, 9),
    st.integers(0, 1000),
    st.integers(1001, 2000),
    st.integers(0, 1000),
    st.text("0123456789abcdef", min_size=16, max_size=16),
)
ENTRIES = st.builds(
    Entry,
    st.sampled_from(["batch", "fresh", "skip"]),
    st.integers(1, 2**50),
    st.text("0123456789abcdef", min_size=16, max_size=16),
    st.integers(1, 2**30),
    st.integers(0, 2**50),
    st.lists(RANGES, max_size=4).map(tuple),
    OFFSETS,
)
HEADERS = st.lists(st.tuples(st.text(max_size=3), st.binary(max_size=3)), max_size=2).map(tuple)
RECORDS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.binary(max_size=5)),
        st.integers(0, 2),
        st.integers(0, 3),
        st.one_of(st.none(), st.binary(max_size=3)),
        HEADERS,
        st.one_of(st.none(), st.integers(0, 2**40)),
    ),
    min_size=1,
    max_size=20,
)


def records_of(parts: Sequence[tuple[object, ...]]) -> list[Record]:
    """Records whose offsets grow in each partition, with gaps as transactions leave them."""
    at = dict.fromkeys(range(3), 0)
    found: list[Record] = []
    for value, partition, gap, key, headers, timestamp in parts:
        offset = at[partition] + gap  # type: ignore[index,operator]
        at[partition] = offset + 1  # type: ignore[index]
        found.append(Record(value, "t", partition, offset, key, headers, timestamp))  # type: ignore[arg-type]
    return found


@given(ENTRIES)
def test_an_entry_comes_back(entry: Entry) -> None:
    assert decode(encode(entry), "here") == entry


@given(ENTRIES, st.data())
def test_a_damaged_entry_is_refused_or_the_same(entry: Entry, data: st.DataObject) -> None:
    """Nothing but an InputError comes of damage; a changed range never passes."""
    raw = bytearray(encode(entry))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = None
    with suppress(InputError):
        found = decode(bytes(raw), "journal 0, offset 7")
    assert found is None or found.ranges == entry.ranges


@pytest.mark.parametrize("value", [None, b"", b"[]", b"{}", b"null", b'{"format": 1}', b"\xff"])
def test_what_is_no_entry_is_refused(value: bytes | None) -> None:
    with pytest.raises(InputError, match="here: "):
        decode(value, "here")


def test_another_format_is_named() -> None:
    entry = Entry("batch", 1, "owner", 1, 0, (), {})
    other = orjson.dumps(orjson.loads(encode(entry)) | {"format": 99})
    with pytest.raises(InputError, match="format 99, accepted: 1"):
        decode(other, "here")


@given(OFFSETS)
def test_offsets_come_back(offsets: Offsets) -> None:
    assert offsets_from_json(orjson.loads(orjson.dumps(offsets_to_json(offsets)))) == offsets


@given(RECORDS)
def test_ranges_tile_what_was_read(parts: list[tuple[object, ...]]) -> None:
    records = records_of(parts)
    tail: Offsets = {"t": {0: 0, 1: 0, 2: 0}}
    before = {0: 0, 1: 0, 2: 0}
    ranges = [range_of(run, tail) for run in runs(records)]
    assert sum(found.records for found in ranges) == len(records)
    for found in ranges:
        assert found.start == before[found.partition]
        before[found.partition] = found.stop
        inside = [
            record
            for record in records
            if record.partition == found.partition and found.start <= record.offset < found.stop
        ]
        assert len(inside) == found.records
        check(found, inside)
    assert tail == {"t": before}


@given(RECORDS, st.data())
def test_a_missing_or_changed_record_is_noticed(
    parts: list[tuple[object, ...]], data: st.DataObject
) -> None:
    records = [record._replace(partition=0) for record in records_of(parts)]
    wanted = range_of(records, {})
    at = data.draw(st.integers(0, len(records) - 1))
    with pytest.raises(InputError, match=r"t, partition 0, offsets .* journal has"):
        check(wanted, records[:at] + records[at + 1 :])
    record = records[at]
    changed = data.draw(
        st.sampled_from(
            [
                record._replace(value=(record.value or b"") + b"x"),  # type: ignore[operator]
                record._replace(key=(record.key or b"") + b"x"),
                record._replace(offset=record.offset + 1),
                record._replace(timestamp=(record.timestamp or 0) + 1),
                record._replace(headers=(*record.headers, ("a", b""))),
            ]
        )
    )
    with pytest.raises(InputError, match="other records"):
        check(wanted, [*records[:at], changed, *records[at + 1 :]])


def test_parts_of_a_record_do_not_run_into_each_other() -> None:
    one = Record(b"ab", "t", 0, 0, b"c", (("d", b"e"),))
    looks_alike = [
        one._replace(value=b"a", key=b"bc"),
        one._replace(value=None),
        one._replace(value=b"", key=b"cab"),
        one._replace(headers=(("de", b""),)),
        one._replace(key=None),
        one._replace(key=b""),
    ]
    assert len({checksum_of([record]) for record in [one, *looks_alike]}) == 7


@given(st.lists(RANGES, min_size=2, max_size=5))
def test_the_order_of_ranges_counts(ranges: list[Range]) -> None:
    turned = tuple(reversed(ranges))
    same = turned == tuple(ranges)
    assert (composition_checksum(tuple(ranges)) == composition_checksum(turned)) is same


@given(st.integers(1, 8), st.integers(0, 40))
def test_every_partition_has_one_slot(slots: int, partitions: int) -> None:
    everything = list(range(partitions))
    shares = [of_slot(everything, slot, slots) for slot in range(slots)]
    assert sorted(chain(*shares)) == everything
    assert all(slot_of(p, slots) == slot for slot, share in enumerate(shares) for p in share)
