"""CSV as rows: quotes and line ends in fields, faults by line, places to come back to."""

from __future__ import annotations

import csv
import io
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.connectors.base import Record
from ihomer.connectors.files.csv_source import CsvSource, lines_of
from ihomer.connectors.uri import open_source
from ihomer.errors import InputError, UsageError
from tests.sources import assert_resumes_anywhere, drain, until_damage


def made(folder: Path, data: bytes, **options: Any) -> CsvSource:
    path = folder / "a.csv"
    path.write_bytes(data)
    return CsvSource(str(path), **options)


def read(folder: Path, data: bytes, **options: Any) -> list[Record]:
    """All records, the same from every position."""
    return assert_resumes_anywhere(lambda: made(folder, data, **options))


def once(folder: Path, data: bytes, size: int = 7) -> list[Record]:
    source = made(folder, data)
    found = drain(source, size)
    source.close()
    return found


def values(records: list[Record]) -> list[Any]:
    return [record.value for record in records]


def test_rows_have_their_columns_lines_and_bytes(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbfid,text\r\n\r\n1,plain\r\n"2","a ""b"", c"\r\n \n3,\n,"x\r\n\r\ny"\n5,last'
    found = read(tmp_path, data)
    path = str(tmp_path / "a.csv")
    assert found == [
        Record({"id": "1", "text": "plain"}, path, 0, 3, original=b"1,plain"),
        Record({"id": "2", "text": 'a "b", c'}, path, 0, 4, original=b'"2","a ""b"", c"'),
        Record({"id": "3", "text": ""}, path, 0, 6, original=b"3,"),
        Record({"id": "", "text": "x\r\n\r\ny"}, path, 0, 7, original=b',"x\r\n\r\ny"'),
        Record({"id": "5", "text": "last"}, path, 0, 10, original=b"5,last"),
    ]


texts = st.text(st.sampled_from('ab ,;"\n\r\téß#'), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    width=st.integers(1, 4),
    data=st.data(),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    chunk=st.integers(1, 9),
    size=st.integers(1, 5),
    delimiter=st.sampled_from([",", ";", "\t"]),
)
def test_what_csv_writes_is_read_as_csv_reads_it(
    width: int, data: st.DataObject, end: str, last: bool, chunk: int, size: int, delimiter: str
) -> None:
    rows = data.draw(
        st.lists(st.lists(texts, min_size=width, max_size=width), max_size=5), label="rows"
    )
    head = [f"c{i}" for i in range(width)]
    raw = end.encode().join(lines_of([head, *rows], delimiter)) + (end.encode() if last else b"")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("ihomer.connectors.files.reader._CHUNK_BYTES", chunk)
        patch.setattr("ihomer.connectors.files.csv_source._BLOCK_LINES", size)
        source = made(Path(folder), raw, delimiter=delimiter)
        found = drain(source, size)
        assert source.position()["byte"] == len(raw)
        source.close()
    # A row of nothing but white space in one column is a blank line.
    kept = [row for row in rows if width > 1 or not _blank(row[0], delimiter)]
    assert values(found) == [dict(zip(head, row, strict=True)) for row in kept]
    originals = [record.original or b"" for record in found]
    assert [
        next(csv.reader(io.StringIO(text.decode(), newline=""), delimiter=delimiter))
        for text in originals
    ] == kept


def _blank(field: str, delimiter: str) -> bool:
    """Whether csv writes it without quotes and with nothing in it."""
    return field != "" and not field.strip() and not set(field) & {"\r", "\n", delimiter}


@given(st.lists(st.lists(texts, min_size=2, max_size=3), min_size=1, max_size=4))
def test_lines_are_those_that_csv_writes(rows: list[list[str]]) -> None:
    held = io.StringIO()
    csv.writer(held).writerows(rows)
    assert b"".join(line + b"\r\n" for line in lines_of(rows)) == held.getvalue().encode()


def test_rows_that_are_none_are_faults_and_the_rest_is_read(tmp_path: Path) -> None:
    lines = [
        b"a,b",
        b"1,2",
        b"3",
        b"4,5,6",
        b"caf\xe9,7",
        b'"8"x,9',
        b"10\r11,12",
        b'"open,13',
        b"14,15",
        b'16,"x" y',
        b'17,it"s',
        b'18,"never closed',
        b"19,20",
    ]
    found = read(tmp_path, b"\n".join(lines) + b"\n")
    assert [record.offset for record in found] == list(range(2, 14))
    faults = {r.offset: (r.fault.stage, r.fault.kind, str(r.fault)) for r in found if r.fault}
    assert {number: fault[1] for number, fault in faults.items()} == {
        3: "csv-length", 4: "csv-length", 5: "not-utf-8", 6: "csv", 7: "csv", 8: "csv", 10: "csv",
        12: "csv",
    }  # fmt: skip
    assert {stage for stage, _, _ in faults.values()} == {"parse"}
    for number, (_, _, message) in faults.items():
        assert message.startswith(f"line {number}: ")
        assert "accepted: " in message
    assert faults[3][2] == "line 3: found 1 fields, accepted: 2, as in the header"
    assert "not closed until line 10" in faults[8][2]
    assert "not closed until the file's end" in faults[12][2]
    good = [record.value for record in found if record.fault is None]
    assert good == [
        {"a": a, "b": b} for a, b in (("1", "2"), ("14", "15"), ("17", 'it"s'), ("19", "20"))
    ]
    assert [record.value for record in found if record.fault] == [
        lines[number - 1] for number in faults
    ]


def test_one_bad_line_does_not_slow_or_change_its_block(tmp_path: Path) -> None:
    rows = [b"%d,%d" % (i, i) for i in range(2_000)]
    rows[777] = b"caf\xe9,0"
    found = once(tmp_path, b"a,b\n" + b"\n".join(rows), 300)
    assert [record.offset for record in found if record.fault] == [779]
    assert [record.offset for record in found] == list(range(2, 2_002))


def test_rows_over_the_bound_are_not_held(tmp_path: Path) -> None:
    long = b"x" * 200
    data = b"a,b\n1,2\n" + long + b",3\n4," + b'"' + b"y\n" * 100 + b"\n" + b"5,6\n"
    found = read(tmp_path, data, max_line_bytes=100)
    assert found[0].value == {"a": "1", "b": "2"}
    assert [record.fault.kind for record in found[1:3] if record.fault] == ["oversized", "csv"]
    assert "not closed until 100 bytes (max_line_bytes)" in str(found[2].fault)
    assert found[-1].value == {"a": "5", "b": "6"}


def test_a_field_may_be_longer_than_csv_lets_it_by_itself(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    text = "word " * 100_000
    (plain, quoted) = once(tmp_path, f'a,b\n1,{text}\n2,"{text}"\n'.encode())
    for record in (plain, quoted):
        assert isinstance(record.value, dict)
        assert record.value["b"] == text
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "a.csv: found no header, accepted: a first line with the columns' names"),
        (b"\n \r\n", "found no header"),
        (b"\n\na,b,a\n1,2,3\n", "a.csv: line 3: found the column 'a' twice, accepted: different"),
        (b"caf\xe9,b\n", "a.csv: line 1: .*accepted: UTF-8"),
        (b'"a,b\n1,2\n', "a.csv: line 1: found a quote that is not closed"),
    ],
)
def test_a_header_that_is_none_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        made(tmp_path, data)


def test_a_column_without_a_name_gets_one(tmp_path: Path) -> None:
    (record,) = once(tmp_path, b',"b"\n0,1\n')
    assert record.value == {"column_1": "0", "b": "1"}


@pytest.mark.parametrize("delimiter", ["", "ab", '"', "\n", "é"])
def test_a_delimiter_that_is_none_is_refused(tmp_path: Path, delimiter: str) -> None:
    with pytest.raises(UsageError, match="delimiter: found"):
        made(tmp_path, b"a\n", delimiter=delimiter)


@pytest.mark.parametrize(
    ("name", "query"),
    [("a.csv", "?delimiter=%3B"), ("a.tsv", "?delimiter=;"), ("a.txt", "?format=csv&delimiter=;")],
)
def test_a_uri_names_the_delimiter(tmp_path: Path, name: str, query: str) -> None:
    (tmp_path / name).write_bytes(b"a;b\n1;2,3\n")
    source = open_source(f"{tmp_path / name}{query}")
    assert values(drain(source)) == [{"a": "1", "b": "2,3"}]
    source.close()


def test_rows_before_damage_come_first(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b'a,b\n1,2\n3,"4\n5"\n6,"7\n')[:-8])
    source = CsvSource(str(path))
    found, words = until_damage(source, 1)
    assert "gzip data is damaged" in words
    assert values(found[:2]) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4\n5"}]
    assert [record.fault is not None for record in found[2:]] in ([True], [])
    source.close()


def test_a_row_whose_end_has_not_come_is_waited_for(tmp_path: Path) -> None:
    import os

    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    sent, asked = threading.Event(), threading.Event()

    def feed() -> None:
        with pipe.open("wb", buffering=0) as file:
            file.write(b'a,b\n1,2\n3,"4\n')
            sent.set()
            asked.wait(30)
            file.write(b'5"\n')

    writer = threading.Thread(target=feed)
    writer.start()
    source = CsvSource(str(pipe))
    assert sent.wait(30)
    found: list[Record] = []
    while not found:
        found += source.next_batch(9, 0.2) or ()
    assert values(found) == [{"a": "1", "b": "2"}]
    assert source.next_batch(9, 0.0) == []
    assert source.position() == {"line": 3}
    asked.set()
    found += drain(source)
    assert values(found)[1:] == [{"a": "3", "b": "4\n5"}]
    writer.join()
    source.close()
