"""JSON Lines sources and the reader below them: files, gzip, standard input, pipes."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.connectors.base import Record
from ihomer.connectors.files.inflate import inflate
from ihomer.connectors.files.lines import JsonLinesSource
from ihomer.connectors.files.reader import OVERSIZED_HEAD_BYTES, LineReader
from ihomer.errors import InputError, UsageError
from tests.sources import assert_resumes_anywhere, drain

# ---------------------------------------------------------------------------------- the source


def write(folder: Path, data: bytes, *, name: str = "events.jsonl") -> str:
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return str(path)


NAMES = pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz"])


@NAMES
def test_lines_keep_their_numbers_and_lose_their_ends(tmp_path: Path, name: str) -> None:
    data = b'\xef\xbb\xbf{"x":1}\r\n\r\n \t \n{"x":2} \n\xef\xbb\xbf3\n\n{"x":4}'
    path = write(tmp_path, data, name=name)
    source = JsonLinesSource(path)
    assert source.name == path
    assert drain(source, 2) == [
        Record(b'{"x":1}', path, 0, 1),
        Record(b'{"x":2} ', path, 0, 4),
        Record(b"\xef\xbb\xbf3", path, 0, 5),
        Record(b'{"x":4}', path, 0, 7),
    ]
    source.close()


@NAMES
@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n  \r\n"])
def test_a_file_without_events_ends_at_once(tmp_path: Path, name: str, data: bytes) -> None:
    source = JsonLinesSource(write(tmp_path, data, name=name))
    assert source.next_batch(5, 0.0) is None
    source.close()


CHUNK = "ihomer.connectors.files.reader._CHUNK_BYTES"


@NAMES
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\n"])
@pytest.mark.parametrize("chunk", [64, 1 << 18])
def test_a_file_resumes_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, end: bytes, chunk: int
) -> None:
    monkeypatch.setattr(CHUNK, chunk)
    data = b"\xef\xbb\xbfa\r\n\nb\n" + b"c" * 3000 + b"\n \nd\r\ne" + end
    path = write(tmp_path, data, name=name)
    records = assert_resumes_anywhere(lambda: JsonLinesSource(path, max_line_bytes=1500))
    assert [record.offset for record in records] == [1, 3, 4, 6, 7]
    assert [record.fault is not None for record in records] == [False, False, True, False, False]


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.sampled_from([b"", b" ", b"a", b"bc", b"x" * 9, b"y" * 10, b"\xff\x00"])),
    end=st.sampled_from([b"\n", b"\r\n"]),
    last=st.booleans(),
    chunk=st.integers(1, 12),
    zipped=st.booleans(),
    size=st.integers(1, 4),
)
def test_lines_do_not_depend_on_how_they_are_read(
    lines: list[bytes], end: bytes, last: bool, chunk: int, zipped: bool, size: int
) -> None:
    data = end.join(lines) + (end if last else b"")
    expected = [
        (number, line[:OVERSIZED_HEAD_BYTES], len(line) > 9)
        for number, line in enumerate(data.replace(end, b"\n").split(b"\n"), start=1)
        if line.strip()
    ]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(CHUNK, chunk)
        patch.setattr("ihomer.connectors.files.inflate._PIECE_BYTES", chunk)
        path = write(Path(folder), data, name="lines.gz" if zipped else "lines")
        reader = LineReader(path, max_line_bytes=9)
        found = []
        while not reader.ended:
            found += [tuple(line) for line in reader.take(size)]
        assert found == expected
        assert reader.take(1) == []
        if not zipped:
            assert reader.position()["byte"] == len(data)
        reader.close()


@NAMES
def test_a_line_over_the_bound_is_never_held_whole(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, b"1\n" + b"x" * 5_000_000 + b"\n3\n" + b"y" * 3000, name=name)
    source = JsonLinesSource(path, max_line_bytes=2000)
    first, long, third, last = drain(source)
    assert (first.value, third.value) == (b"1", b"3")
    for record, letter in ((long, b"x"), (last, b"y")):
        assert record.value == letter * 1024
        assert record.fault is not None
        assert (record.fault.stage, record.fault.kind) == ("read", "oversized")
        assert f"line {record.offset}: found more than 2000 bytes" in str(record.fault)
    # What was held at any time: a chunk at most, not the line.
    reader = LineReader(path, max_line_bytes=2000)
    reader.take(1)
    while not reader.ended:
        reader.take(1)
        assert sum(map(len, reader._held)) <= 2001
    source.close()
    reader.close()


@pytest.mark.parametrize("chunk", [1, 1 << 18])
def test_a_line_of_exactly_the_bound_is_accepted_with_a_carriage_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(CHUNK, chunk)
    good = b"x" * 2000  # longer than what is kept of an oversized line
    lines = [good + b"\r\n", good + b"y\r\n", good + b"\n", good + b"y\n", good + b"\r"]
    source = JsonLinesSource(write(tmp_path, b"".join(lines)), max_line_bytes=2000)
    assert [record.fault is None for record in drain(source)] == [True, False, True, False, True]
    source.close()


def read_to_the_error(source: JsonLinesSource) -> tuple[list[Record], str]:
    found: list[Record] = []
    try:
        while (batch := source.next_batch(300, 0.0)) is not None:
            found += batch
    except InputError as error:
        return found, str(error)
    return found, "no error"


@pytest.mark.parametrize("keep", [0, 5, 200, -9, -8, -1])
def test_of_a_truncated_gzip_file_all_that_is_there_comes_first(tmp_path: Path, keep: int) -> None:
    lines = [f'{{"id": {number * 7919 % 1009}}}'.encode() for number in range(1000)]
    data = gzip.compress(b"\n".join(lines) + b"\n")
    path = tmp_path / "torn.jsonl.gz"
    path.write_bytes(data[:keep])
    plain = zlib.decompressobj(wbits=31).decompress(data[:keep])
    whole = plain.split(b"\n")[:-1]
    source = JsonLinesSource(str(path))
    found, message = read_to_the_error(source)
    assert message.startswith(f"{path}: line {len(whole) + 1}: the gzip data is damaged (")
    assert [record.value for record in found] == whole
    with pytest.raises(InputError, match="damaged"):
        source.next_batch(1, 0.0)
    source.close()


def test_of_a_damaged_gzip_file_all_before_the_damage_comes_first(tmp_path: Path) -> None:
    # Stored, not compressed: a flipped bit in a block's header is found exactly there.
    lines = [b"%06d" % number for number in range(30_000)]
    data = bytearray(gzip.compress(b"\n".join(lines) + b"\n", compresslevel=0))
    at = data.index(b"\n020000\n")
    block = max(i for i in range(at) if data[i : i + 2] == b"\xff\xff") - 2
    data[block + 3] ^= 0xFF
    path = tmp_path / "damaged.jsonl.gz"
    path.write_bytes(bytes(data))
    source = JsonLinesSource(str(path))
    found, message = read_to_the_error(source)
    assert message.startswith(f"{path}: line {len(found) + 1}: the gzip data is damaged (")
    good = bytes(data[:block]).count(b"\n")
    assert good > 1000
    assert len(found) >= good - 2
    assert [record.value for record in found] == lines[: len(found)]
    source.close()


def test_what_is_no_gzip_data_is_damaged_in_line_1(tmp_path: Path) -> None:
    path = tmp_path / "plain.jsonl.gz"
    path.write_bytes(b"{}\n{}\n")
    source = JsonLinesSource(str(path))
    with pytest.raises(InputError, match="line 1: the gzip data is damaged"):
        source.next_batch(1, 0.0)
    with pytest.raises(InputError, match="line 1: the gzip data is damaged"):
        source.seek({"line": 2})
    source.close()


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(st.binary(max_size=400), min_size=1), padding=st.integers(0, 5))
def test_inflate_reads_what_gzip_reads(parts: list[bytes], padding: int) -> None:
    data = b"".join(map(gzip.compress, parts)) + b"\0" * padding
    assert b"".join(inflate(io.BytesIO(data))) == gzip.decompress(data) == b"".join(parts)


def test_inflate_returns_all_of_a_truncated_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ihomer.connectors.files.inflate._PIECE_BYTES", 3)
    data = gzip.compress(b"abcabcabc" * 40 + b"xyz")
    for keep in range(len(data)):
        found = b""
        pieces = inflate(io.BytesIO(data[:keep]))
        with contextlib.suppress(EOFError):
            while True:
                found += next(pieces)
        assert found == zlib.decompressobj(wbits=31).decompress(data[:keep])


def test_a_bomb_comes_in_small_pieces() -> None:
    pieces = inflate(io.BytesIO(gzip.compress(b"\0" * 20_000_000)))
    sizes = [len(piece) for piece in pieces]
    assert sum(sizes) == 20_000_000
    assert max(sizes) <= 1 << 18


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "absent.jsonl", "absent.jsonl: no such file"),
        (lambda folder: folder, "found a folder, accepted: a file"),
        (lambda folder: folder / ("n" * 300), "cannot be read"),
        (lambda folder: folder / "zero\0byte", "cannot be read"),
    ],
)
def test_what_cannot_be_opened_is_named(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        JsonLinesSource(str(make(tmp_path)))


def test_a_bound_below_one_byte_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="max_line_bytes: found 0"):
        JsonLinesSource(write(tmp_path, b""), max_line_bytes=0)


@pytest.mark.parametrize(
    ("position", "message"),
    [
        ({}, "line: found None"),
        ({"line": 0, "byte": 0}, "line: found 0"),
        ({"line": "2", "byte": 2}, "line: found '2'"),
        ({"line": True, "byte": 2}, "line: found True"),
        ({"line": 2, "byte": -1}, "byte: found -1"),
        ({"line": 2, "byte": 4}, "no line starts there"),
        ({"line": 9, "byte": 99}, "the file has 8 bytes"),
        ({"line": 9}, "line 9 is wanted, but the file has 2"),
    ],
)
def test_a_position_that_the_file_no_longer_has_is_refused(
    tmp_path: Path, position: dict[str, Any], message: str
) -> None:
    source = JsonLinesSource(write(tmp_path, b"ab\ncdef\n"))
    with pytest.raises(InputError, match=message):
        source.seek(position)
    source.close()


def test_a_file_that_has_grown_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = write(tmp_path, b"a\nb\n")
    source = JsonLinesSource(path)
    drain(source)
    position = source.position()
    source.close()
    with Path(path).open("ab") as file:
        file.write(b"c\n")
    source = JsonLinesSource(path)
    source.seek(position)
    assert [(record.value, record.offset) for record in drain(source)] == [(b"c", 3)]
    source.close()


# -------------------------------------------------------------------- standard input and pipes


class Pipe:
    """Standard input as a pipe that the test writes to."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        reading, self.writing = os.pipe()
        self.file = os.fdopen(reading, "r")
        patch.setattr(sys, "stdin", self.file)

    def write(self, data: bytes) -> None:
        os.write(self.writing, data)

    def end(self) -> None:
        os.close(self.writing)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    pipe = Pipe(monkeypatch)
    yield pipe
    pipe.file.close()


def test_a_pipe_gives_what_is_there_and_does_not_wait_past_its_time(pipe: Pipe) -> None:
    source = JsonLinesSource("-")
    assert source.next_batch(5, 0.01) == []
    pipe.write(b"1\n2\n3")
    batch = source.next_batch(5, 5.0)
    assert batch is not None
    assert [(record.value, record.source, record.offset) for record in batch] == [
        (b"1", "-", 1),
        (b"2", "-", 2),
    ]
    assert source.next_batch(5, 0.01) == []
    assert source.position() == {"line": 3}
    pipe.write(b"0\n")
    batch = source.next_batch(5, 5.0)
    assert batch is not None
    assert [record.value for record in batch] == [b"30"]
    pipe.write(b"4")
    pipe.end()
    assert [record.value for record in drain(source)] == [b"4"]
    source.close()
    assert not pipe.file.closed


def test_a_pipe_is_waited_for(pipe: Pipe) -> None:
    source = JsonLinesSource("-")
    timer = threading.Timer(0.05, pipe.write, [b"late\n"])
    timer.start()
    batch = source.next_batch(1, 30.0)
    timer.join()
    assert batch is not None
    assert [record.value for record in batch] == [b"late"]
    pipe.end()


def test_a_pipe_is_skipped_forward_and_not_back(pipe: Pipe) -> None:
    pipe.write(b"1\n\n3\n4\n5\n")
    pipe.end()
    source = JsonLinesSource("-")
    source.seek({"line": 3, "byte": 999})
    first = source.next_batch(1, 1.0)
    assert first is not None
    assert first[0].offset == 3
    with pytest.raises(InputError, match="-: line 2 is wanted again"):
        source.seek({"line": 2})
    source.seek({"line": 5})
    assert [record.offset for record in drain(source)] == [5]


def test_standard_input_may_live_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1\n2\n")))
    assert [record.value for record in drain(JsonLinesSource("-"))] == [b"1", b"2"]
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="no standard input"):
        JsonLinesSource("-")


def test_a_named_pipe_is_a_file_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    writing = threading.Thread(target=path.write_bytes, args=[b"1\n2\n"])
    writing.start()
    source = JsonLinesSource(str(path))
    assert [record.value for record in drain(source, 1)] == [b"1", b"2"]
    assert source.position() == {"line": 3}
    writing.join()
    source.close()
