"""Parquet and Arrow as rows: Python's values, batches, damage, places to come back to."""

from __future__ import annotations

import datetime
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.connectors.base import Record
from ihomer.connectors.files.table_source import TableSource
from ihomer.connectors.uri import open_source
from ihomer.errors import InputError, UsageError
from tests.sources import assert_resumes_anywhere, drain, until_damage

pa = pytest.importorskip("pyarrow")
KINDS = pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])


def made(folder: Path, table: Any, kind: str, rows: int | None = None) -> str:
    """A file of a table, `rows` to a row group or record batch."""
    path = folder / f"a.{'parquet' if kind == 'parquet' else 'arrow'}"
    if kind == "parquet":
        from pyarrow import parquet

        parquet.write_table(table, path, row_group_size=rows)
    else:
        make = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with make(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=rows)
    return str(path)


UTC = datetime.UTC
ROWS: list[dict[str, Any]] = [
    {
        "number": 1.5, "count": 2, "text": "é", "flag": True, "tags": ["a", "b"],
        "when": datetime.datetime(2024, 5, 1, 12, tzinfo=UTC), "day": datetime.date(2024, 5, 1),
        "price": Decimal("1.50"), "raw": b"\0x", "nested": {"a": 1, "b": ["c"]},
        "counts": {"w": 2.0}, "colour": "red",
    },
    dict.fromkeys(
        ("number", "count", "text", "flag", "tags", "when", "day", "price", "raw", "nested",
         "counts", "colour")
    ),
]  # fmt: skip


def table() -> Any:
    return pa.table(
        {
            "number": pa.array([1.5, None]),
            "count": pa.array([2, None], pa.int8()),
            "text": pa.array(["é", None]),
            "flag": pa.array([True, None]),
            "tags": pa.array([["a", "b"], None]),
            "when": pa.array([1714564800 * 10**9 + 1, None], pa.timestamp("ns", "UTC")),
            "day": pa.array([datetime.date(2024, 5, 1), None]),
            "price": pa.array([Decimal("1.50"), None]),
            "raw": pa.array([b"\0x", None]),
            "nested": pa.array([{"a": 1, "b": ["c"]}, None]),
            "counts": pa.array([[("w", 2.0)], None], pa.map_(pa.string(), pa.float64())),
            "colour": pa.array(["red", None]).dictionary_encode(),
        }
    )


@KINDS
def test_rows_are_mappings_of_pythons_values(tmp_path: Path, kind: str) -> None:
    path = made(tmp_path, table(), kind)
    records = assert_resumes_anywhere(lambda: open_source(path))
    assert records == [Record(row, path, 0, number) for number, row in enumerate(ROWS)]
    when = records[0].value["when"]  # type: ignore[call-overload, index]
    assert type(when) is datetime.datetime


@KINDS
@settings(max_examples=25, deadline=None)
@given(data=st.lists(st.one_of(st.none(), st.integers(-9, 9)), max_size=40), rows=st.integers(1, 9))
def test_a_file_resumes_anywhere_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: list[int | None], rows: int
) -> None:
    path = made(
        tmp_path_factory.mktemp("t"), pa.table({"a": pa.array(data, pa.int8())}), kind, rows
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ihomer.connectors.files.table_source._BATCH_ROWS", 5)
        records = assert_resumes_anywhere(lambda: open_source(path))
    assert [record.value for record in records] == [{"a": value} for value in data]
    assert [record.offset for record in records] == list(range(len(data)))


def test_few_rows_of_much_are_in_memory_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    texts = [os.urandom(2_000).hex() for _ in range(600)]
    path = made(tmp_path, pa.table({"a": texts}), "parquet")
    monkeypatch.setattr("ihomer.connectors.files.table_source._BATCH_BYTES", 40_000)
    source = TableSource(path, "parquet")
    sizes = [batch.num_rows for batch in source._batches(0)]
    source.close()
    assert sum(sizes) == 600
    assert max(sizes) <= 10


def test_a_row_group_of_gigabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path, pa.table({"a": [0.5] * 100}), "parquet")
    monkeypatch.setattr("ihomer.connectors.files.table_source._GROUP_BYTES", 10)
    source = TableSource(path, "parquet")
    with pytest.raises(InputError, match=r"row group 0: found .* bytes, accepted: at most 10"):
        source.next_batch(1, 0.0)
    source.close()


@KINDS
def test_a_file_that_is_damaged_or_none_says_so(tmp_path: Path, kind: str) -> None:
    path = made(tmp_path, pa.table({"a": [f"text {i * i}" for i in range(5_000)]}), kind, 500)
    data = Path(path).read_bytes()
    named = f"accepted: a {'Parquet' if kind == 'parquet' else 'Arrow'} file"
    for found in (b"", b"{}\n", data[:-20] if kind != "stream" else data[:30]):
        Path(path).write_bytes(found)
        with pytest.raises(InputError, match=named) as caught:
            drain(open_source(path), 100)
        assert str(caught.value).startswith(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at", [0.3, 0.6])
def test_rows_before_damage_come_first(tmp_path: Path, at: float) -> None:
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    rows = pa.table({"a": [f"text {i * i}" for i in range(5_000)]})
    parquet.write_table(rows, path, row_group_size=500, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    start = int(len(data) * at)
    data[start : start + 600] = bytes(600)
    path.write_bytes(bytes(data))
    source = open_source(str(path))
    found, words = until_damage(source, 64)
    assert f"the data from row {len(found)} on is damaged" in words
    with pytest.raises(InputError, match="is damaged"):
        source.next_batch(64, 0.0)
    source.close()
    assert len(found) >= 500
    assert [record.offset for record in found] == list(range(len(found)))


@KINDS
def test_a_column_that_stands_twice_is_refused(tmp_path: Path, kind: str) -> None:
    twice = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(InputError, match="found the column 'a' twice, accepted: different names"):
        open_source(made(tmp_path, twice, kind))


@KINDS
def test_a_position_that_is_none_is_refused(tmp_path: Path, kind: str) -> None:
    source = open_source(made(tmp_path, pa.table({"a": [1]}), kind))
    for wrong in ({}, {"row": -1}, {"row": True}, {"row": "1"}):
        with pytest.raises(InputError, match="position: row: found"):
            source.seek(wrong)
    source.close()


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.feather", "a.txt?format=parquet"])
def test_without_the_package_there_is_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name.partition("?")[0]).write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'ihomer\[tables\]'"):
        open_source(str(tmp_path / name))
