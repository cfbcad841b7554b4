"""The file sink: whole lines, envelopes, full disks, standard output."""

from __future__ import annotations

import base64
import errno
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.connectors.base import Message
from ihomer.connectors.files.lines import JsonLinesSource
from ihomer.connectors.files.sink import FileSink
from ihomer.errors import InputError, UsageError
from tests.sources import drain


def write(folder: Path, data: bytes, *, name: str = "events.jsonl") -> str:
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return str(path)


NAMES = pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz"])


def messages(*values: bytes) -> list[Message]:
    return [Message(value) for value in values]


def content(path: str) -> bytes:
    data = Path(path).read_bytes()
    return gzip.decompress(data) if path.endswith(".gz") else data


@NAMES
def test_messages_are_lines_and_replace_what_was_there(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, b"old\n" * 100, name=name)
    sink = FileSink(path)
    sink.write(messages(b'{"id":1}', b'{"id":2}'))
    sink.write([])
    sink.write(messages(b'{"id":3}'))
    sink.close()
    sink.close()
    assert sink.name == path
    assert content(path) == b'{"id":1}\n{"id":2}\n{"id":3}\n'


@NAMES
def test_a_flush_makes_readable_what_was_written(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    sink = FileSink(path)
    for number in range(3):
        sink.write(messages(b"%d" % number))
        sink.flush()
        source = JsonLinesSource(path)
        batch = source.next_batch(10, 0.0)
        source.close()
        assert batch is not None
        assert [record.value for record in batch] == [b"%d" % i for i in range(number + 1)]
    sink.close()
    assert content(path) == b"0\n1\n2\n"


@NAMES
def test_much_is_written_before_any_flush(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    sink = FileSink(path)
    for number in range(1000):
        sink.write(messages(b"%d" % number + b"." * 999))
        assert sink._bytes < 1 << 18
    sink.close()
    assert content(path).count(b"\n") == 1000


def test_appending_keeps_what_is_there_and_ends_a_torn_line(tmp_path: Path) -> None:
    path = str(tmp_path / "out.jsonl")
    for value, before in ((b"1", None), (b"2", None), (b"3", b"torn")):
        if before:
            with Path(path).open("ab") as file:
                file.write(before)
        sink = FileSink(path, append=True)
        sink.write(messages(value))
        sink.flush()
        sink.close()
    assert content(path) == b"1\n2\ntorn\n3\n"


def test_appending_to_gzip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"out\.jsonl\.gz: found \.gz"):
        FileSink(str(tmp_path / "out.jsonl.gz"), append=True)
    assert list(tmp_path.iterdir()) == []


def test_when_the_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    for append, after_flush in ((False, 0), (True, 1)):
        calls.clear()
        sink = FileSink(str(tmp_path / "out.jsonl"), append=append)
        sink.write(messages(b"1"))
        sink.flush()
        assert len(calls) == after_flush
        sink.close()
        assert len(calls) == after_flush + 1


@given(
    value=st.none() | st.binary(),
    key=st.none() | st.binary(),
    headers=st.dictionaries(st.text(st.characters(codec="utf-8")), st.binary()),
    timestamp=st.none() | st.integers(0, 1 << 50),
)
@settings(max_examples=50, deadline=None)
def test_an_envelope_holds_every_byte(
    value: bytes | None, key: bytes | None, headers: dict[str, bytes], timestamp: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/dead.jsonl"
        sink = FileSink(path, envelope=True)
        sink.write([Message(value, key, tuple(headers.items()), timestamp, origin=3)])
        sink.close()
        (line,) = Path(path).read_bytes().splitlines()
    found = orjson.loads(line)
    plain = all(
        content.decode("utf-8", "replace").encode() == content for content in headers.values()
    )
    more = [] if plain else ["header_bytes"]
    assert list(found) == ["value", "key", "headers", "timestamp", *more]
    for name, content in found.get("header_bytes", []):
        assert base64.b64decode(content) == headers[name]
    for name, given_bytes in (("value", value), ("key", key)):
        text = found[name]
        assert (None if text is None else base64.b64decode(text, validate=True)) == given_bytes
    assert found["timestamp"] == timestamp
    assert found["headers"] == {
        name: text.decode("utf-8", "backslashreplace") for name, text in headers.items()
    }


def test_one_message_is_one_line(tmp_path: Path) -> None:
    sink = FileSink(str(tmp_path / "out.jsonl"))
    with pytest.raises(ValueError, match="needs an envelope"):
        sink.write(messages(b"1\n2"))
    sink.write([Message(None)])
    sink.close()
    assert content(sink.name) == b"null\n"
    with pytest.raises(ValueError, match="closed"):
        sink.flush()


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out\.jsonl: cannot be written \(the folder .*absent do"):
        FileSink(str(tmp_path / "absent" / "out.jsonl"))
    for append in (False, True):
        with pytest.raises(InputError, match="cannot be written"):
            FileSink(str(tmp_path), append=append)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device of Linux")
def test_a_full_device_is_one_line_and_stays_one() -> None:
    sink = FileSink("/dev/full")
    sink.write(messages(b"1"))
    for _ in range(2):
        with pytest.raises(InputError, match="/dev/full: cannot be written") as caught:
            sink.flush()
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="No space left"):
        sink.write(messages(b"2"))
    sink.close()


class FullDisk:
    """An operating system with room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(descriptor, data[: self.room])
        self.room -= written
        return written


@pytest.mark.parametrize("room", [0, 5, 6, 8, 12, 13, 17])
@pytest.mark.parametrize("append", [False, True])
def test_a_full_disk_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, append: bool
) -> None:
    path = write(tmp_path, b"before\n") if append else str(tmp_path / "out.jsonl")
    sink = FileSink(path, append=append)
    monkeypatch.setattr(os, "write", FullDisk(room).write)
    sink.write(messages(b"first", b"second"))
    if room >= 13:
        sink.flush()
        sink.write(messages(b"third"))
    with pytest.raises(InputError, match=r"\.jsonl: cannot be written \(No space left on device\)"):
        sink.flush()
    sink.close()
    monkeypatch.undo()
    whole = [line for line, end in ((b"first\n", 6), (b"second\n", 13)) if room >= end]
    # The disk took 13 bytes in one flush: what was cut off inside it is gone, line by line.
    assert content(path) == (b"before\n" if append else b"") + b"".join(whole)


def test_a_full_disk_leaves_readable_gzip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "out.jsonl.gz")
    sink = FileSink(path)
    sink.write(messages(b"1", b"2"))
    sink.flush()
    monkeypatch.setattr(os, "write", FullDisk(3).write)
    sink.write(messages(b"3"))
    with pytest.raises(InputError, match="No space left"):
        sink.flush()
    sink.close()
    monkeypatch.undo()
    source = JsonLinesSource(path)
    batch = source.next_batch(10, 0.0)
    assert batch is not None
    assert [record.value for record in batch] == [b"1", b"2"]
    source.close()


def test_a_disk_that_fails_at_the_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    sink = FileSink(str(tmp_path / "out.jsonl"))
    with pytest.raises(InputError, match="Input/output error"):
        sink.close()
    sink.close()


PROGRAM = """
import sys
from ihomer.connectors.base import Message
from ihomer.connectors.files.sink import FileSink
from ihomer.errors import InputError
print("before")
sink = FileSink("-")
try:
    for number in range(int(sys.argv[1])):
        sink.write([Message(b"%d" % number)])
    sink.close()
except InputError as error:
    sys.stderr.write(str(error))
    sys.exit(error.exit_code)
print("after")
"""


def test_standard_output_gets_lines_in_order_and_stays_open() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "3"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["before", "0", "1", "2", "after"]


def test_a_reader_that_goes_away_is_one_line_too() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-u", "-c", PROGRAM.replace('print("before")', ""), "100000"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 65
    assert done.stderr == "-: cannot be written (Broken pipe)"


def test_standard_output_may_live_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(memory))
    sink = FileSink("-", append=True)
    sink.write(messages(b"1", b"2"))
    sink.flush()
    assert memory.getvalue() == b"1\n2\n"
    sink.close()
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match="no standard output"):
        FileSink("-")


def test_what_a_sink_wrote_a_source_reads(tmp_path: Path) -> None:
    path = str(tmp_path / "loop.jsonl.gz")
    values = [json.dumps({"id": number}).encode() for number in range(2500)]
    sink = FileSink(path)
    sink.write(messages(*values))
    sink.close()
    source = JsonLinesSource(path)
    assert [record.value for record in drain(source, 999)] == values
    source.close()
