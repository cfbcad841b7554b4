"""Predictions as CSV, Parquet and Arrow, and the round trip through a daemon that dies."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.connectors.base import Message
from ihomer.connectors.files.csv_predictions import COLUMNS, csv_predictions
from ihomer.connectors.uri import open_sink, open_source
from ihomer.errors import EXIT_OK, InputError, UsageError
from tests.commands import replay
from tests.sources import drain

texts = st.text(max_size=6)
predictions = st.fixed_dictionaries(
    {
        "id": st.one_of(st.integers(-(2**63), 2**63 - 1), texts),
        "labels": st.lists(texts, max_size=3),
        "scores": st.lists(st.tuples(texts, st.floats(0, 1)), max_size=3),
        "model": st.fixed_dictionaries({"version": st.just("1.2.3"), "events": st.integers(0, 99)}),
    },
    optional={"ts": st.one_of(st.integers(0, 2**50), st.just("2024-05-01T12:00:00Z"))},
)


def messages(bodies: list[dict[str, Any]]) -> list[Message]:
    return [Message(orjson.dumps(body)) for body in bodies]


@given(st.lists(predictions, max_size=4), st.sampled_from([",", ";", "\t"]))
def test_a_line_of_csv_is_a_prediction(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[dict[str, Any]], delimiter: str
) -> None:
    path = tmp_path_factory.mktemp("p") / "p.csv"
    sink = csv_predictions(str(path), delimiter)
    sink.write(messages(bodies))
    sink.close()
    rows = list(
        csv.reader(io.StringIO(path.read_bytes().decode(), newline=""), delimiter=delimiter)
    )
    assert rows[0] == list(COLUMNS)
    assert [row[:1] + row[3:] for row in rows[1:]] == [
        [str(body["id"]), "1.2.3", str(body["model"]["events"]), str(body.get("ts", ""))]
        for body in bodies
    ]
    for row, body in zip(rows[1:], bodies, strict=True):
        assert json.loads(row[1]) == body["labels"]
        assert json.loads(row[2]) == [list(pair) for pair in body["scores"]]
    source = open_source(f"{path}?delimiter={'tab' if delimiter == chr(9) else delimiter}")
    values: list[Any] = [record.value for record in drain(source)]
    source.close()
    assert [list(value.values()) for value in values] == rows[1:]


def test_a_header_is_written_once(tmp_path: Path) -> None:
    path = str(tmp_path / "p.csv")
    body = {"id": 1, "labels": ["a"], "scores": [], "model": {"version": "1", "events": 0}}
    for _ in range(2):
        sink = open_sink(path, append=True, predictions=True)
        sink.write(messages([body]))
        sink.close()
    line = b'1,"[""a""]",[],1,0,\n'
    assert Path(path).read_bytes() == b"id,labels,scores,version,events,ts\n" + line * 2
    open_sink(path, predictions=True).close()
    assert Path(path).read_bytes() == b"id,labels,scores,version,events,ts\n"


def test_a_full_disk_leaves_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "p.csv")
    sink = csv_predictions(path)
    bodies = [{"id": f"two\nlines {i}", "labels": [], "scores": []} for i in range(9)]
    sink.write(messages(bodies))
    write = os.write

    def some(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", full)
        return write(descriptor, data[:100])

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", some)
    with pytest.raises(InputError, match="No space left"):
        sink.flush()
    monkeypatch.undo()
    rows = list(csv.reader(io.StringIO(Path(path).read_text(), newline="")))
    assert [row[0] for row in rows] == ["id", *(body["id"] for body in bodies[: len(rows) - 1])]
    assert 1 < len(rows) < 10


@pytest.mark.parametrize("name", ["p.parquet", "p.arrow"])
@given(bodies=st.lists(predictions, max_size=4))
def test_a_row_of_a_table_is_a_prediction(
    tmp_path_factory: pytest.TempPathFactory, name: str, bodies: list[dict[str, Any]]
) -> None:
    pytest.importorskip("pyarrow")
    path = str(tmp_path_factory.mktemp("p") / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ihomer.connectors.files.table_sink._ROWS", 2)
        sink = open_sink(path, predictions=True)
        for message in messages(bodies):
            sink.write([message])
            sink.flush()
        sink.close()
        sink.close()
    source = open_source(path)
    found: list[Any] = [record.value for record in drain(source)]
    source.close()
    assert found == [
        {
            "id": str(body["id"]),
            "labels": body["labels"],
            "scores": [{"label": label, "score": score} for label, score in body["scores"]],
            "version": "1.2.3",
            "events": body["model"]["events"],
            "ts": str(body["ts"]) if "ts" in body else None,
        }
        for body in bodies
    ]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("p.parquet", "found Parquet for a file that is appended to, accepted: JSON Lines, CSV"),
        ("p.csv.zst", "found .zst for a file that is appended to"),
        ("p.libsvm", "found format libsvm, accepted for writing here: jsonl, csv, parquet, arrow"),
        ("p.csv?xml=l.xml", "found parameter xml for CSV, accepted: format, delimiter"),
    ],
)
def test_a_daemon_is_refused_what_it_cannot_add_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        open_sink(uri, append=True, predictions=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["p.parquet.gz", "-?format=parquet"])
def test_a_table_is_a_plain_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="for a table, accepted: a plain file"):
        open_sink(uri, predictions=True)
    with pytest.raises(InputError, match="the folder no does not exist"):
        open_sink("no/p.parquet", predictions=True)


@pytest.mark.parametrize("name", ["p.csv", "p.csv.bz2", "p.jsonl.xz", "p.parquet", "p.arrow"])
def test_a_replay_writes_what_its_name_says(tmp_path: Path, name: str) -> None:
    pytest.importorskip("pyarrow")
    lines, table = tmp_path / "p.jsonl", tmp_path / name
    for path in (lines, table):
        result = replay("river:yeast", "--limit", "200", "--predictions", str(path))
        assert result.exit_code == EXIT_OK, result.output
    wanted = [json.loads(line) for line in lines.read_bytes().splitlines()]
    source = open_source(str(table))
    values: list[Any] = [record.value for record in drain(source)]
    source.close()
    found = [orjson.loads(value) if isinstance(value, bytes) else value for value in values]
    assert [str(value["id"]) for value in found] == [str(body["id"]) for body in wanted]
    for value, body in zip(found, wanted, strict=True):
        labels = value["labels"]
        assert (json.loads(labels) if isinstance(labels, str) else labels) == body["labels"]
