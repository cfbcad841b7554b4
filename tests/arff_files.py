"""Small ARFF files for the tests, and what their records hold."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

from ihomer.connectors.base import Record
from ihomer.connectors.files.arff_source import ArffSource
from ihomer.instances import Event, Row
from tests.sources import drain


def arff(folder: Path, text: str | bytes, *, name: str = "set.arff", xml: str = "") -> ArffSource:
    data = text.encode() if isinstance(text, str) else text
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    if xml:
        names = "".join(f'<label name="{label}"/>' for label in xml.split("|"))
        (folder / "set.xml").write_text(f"<labels>{names}</labels>", encoding="utf-8")
    return ArffSource(str(folder / name))


def event(record: Record) -> tuple[int | str, dict[str, float], Sequence[str] | None]:
    """Number, non-zero features and labels of a good record."""
    assert record.fault is None, record.fault
    value = record.value
    assert isinstance(value, Event)
    assert isinstance(value.x, Row)
    assert value.id == record.offset
    names, values, indices = value.x
    where = range(len(names)) if indices is None else indices.tolist()
    assert list(where) == sorted(set(where))
    assert len(values) == len(where)
    found = {names[i]: v for i, v in zip(where, values.tolist(), strict=True) if v != 0}
    return value.id, found, value.on


def events(source: ArffSource) -> list[tuple[int | str, dict[str, float], Sequence[str] | None]]:
    found = [event(record) for record in drain(source)]
    source.close()
    return found


HEADER = """@relation 'two: -C 2'
@attribute y {0,1}
@attribute z {0,1}
@attribute a numeric
@attribute b {0,1}
@attribute c {red,green,'dark blue'}
@data
"""


def rows(folder: Path, *lines: str) -> ArffSource:
    return arff(folder, HEADER + "\n".join(lines) + "\n")


# Lines of a set without nominal attributes, which sparse rows go the fast way for.
NUMBERS = "@relation ': -C 2'\n@attribute y {0,1}\n@attribute z numeric\n" + "".join(
    f"@attribute a{i} {'{0,1}' if i % 2 else 'numeric'}\n" for i in range(3)
)
