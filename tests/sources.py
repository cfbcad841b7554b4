"""What every source must keep, as helpers for the tests of each kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ihomer.connectors.base import Record, Source
from ihomer.errors import InputError
from ihomer.instances import Event, Row


def drain(source: Source, size: int = 7) -> list[Record]:
    """Every record that is left."""
    records: list[Record] = []
    while (batch := source.next_batch(size, timeout=1.0)) is not None:
        assert len(batch) <= size
        records += batch
    assert source.next_batch(size, timeout=0.0) is None
    return records


def until_damage(source: Source, size: int = 7) -> tuple[list[Record], str]:
    """Every record before the source cannot be read any further, and what it says then."""
    records: list[Record] = []
    words = ""
    while not words:
        try:
            batch = source.next_batch(size, timeout=1.0)
        except InputError as error:
            words = str(error)
        else:
            assert batch, "no damage was found"
            records += batch
    assert "\n" not in words
    return records, words


def plain(record: Record) -> tuple[Any, ...]:
    """A record in parts that compare with ==."""
    value: Any = record.value
    if isinstance(value, Event):
        x = value.x
        if isinstance(x, Row):
            where = None if x.indices is None else x.indices.tolist()
            x = (x.names, [repr(number) for number in x.values.tolist()], where)  # type: ignore[assignment]
        value = (value.id, x, value.on, value.off, value.ts)
    fault = record.fault and (record.fault.stage, record.fault.kind, record.fault.message)
    return (value, record.source, record.partition, record.offset, record.key, fault)


def assert_resumes_anywhere(make: Callable[[], Source]) -> list[Record]:
    """Each position of one reading, given to a fresh source, brings the same rest."""
    first = make()
    everything = [plain(record) for record in drain(first)]
    first.close()
    reading = make()
    for at in range(len(everything) + 1):
        position = json.loads(json.dumps(reading.position()))
        fresh = make()
        fresh.seek(position)
        assert [plain(record) for record in drain(fresh, 3)] == everything[at:]
        # Going back is the same for a source that has been read already.
        fresh.seek(position)
        assert [plain(record) for record in drain(fresh, 100)] == everything[at:]
        fresh.close()
        batch = reading.next_batch(1, timeout=1.0)
        assert (batch is None) == (at == len(everything))
    reading.close()
    reading.close()
    again = make()
    records = drain(again)
    again.close()
    return records
