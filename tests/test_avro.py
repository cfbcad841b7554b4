"""Avro by the library that people have for it: the function of the documentation, in use."""

from __future__ import annotations

import importlib
import io
import json
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import fastavro
import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form
from typer.testing import CliRunner

from ihomer.connectors import memory
from ihomer.connectors.base import Record
from ihomer.errors import MalformedEventError
from ihomer.instances import Event
from ihomer.stream.cli import app
from ihomer.stream.decoder_hook import make_decoder
from ihomer.stream.mapping.trial import members
from ihomer.stream.settings import Settings, load_settings
from tests.commands import figures
from tests.snippets import blocks_of

HEAD = b"\0\0\0\0\x2a"  # of a registry, schema 42
_OPENED = datetime(2026, 11, 22, 6, tzinfo=UTC)
_BODIES = ("the printer is out of paper", "no wifi in the meeting room since today")


@pytest.fixture
def tickets(alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module that the page on formats shows, its schema and configuration beside it."""
    for block in blocks_of(Path("docs/operations/formats.md")):
        if "file" in block.marks:
            (tmp_path / block.marks["file"]).write_text(block.text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("tickets")
    del sys.modules["tickets"]


def _ticket(i: int) -> dict[str, Any]:
    return {
        "id": i,
        "opened": _OPENED + timedelta(minutes=i),
        "from": {"team": ("SALES", "WORKS")[i % 3 == 0], "floor": None if i % 5 == 0 else i % 4},
        "body": f"{_BODIES[i % 2]}, asks number {i}",
        "tags": None if i % 50 == 49 else [("printing", "network")[i % 2]],
    }


def _avro(module: ModuleType, ticket: dict[str, Any]) -> bytes:
    written = io.BytesIO()
    fastavro.schemaless_writer(written, module.SCHEMAS[42], ticket)
    return written.getvalue()


def test_a_ticket_comes_back_as_it_was(tickets: ModuleType) -> None:
    decoder = make_decoder(load_settings(Path("ihomer.toml"), {}).settings)
    event = decoder.decode(Record(HEAD + _avro(tickets, _ticket(7)), "topic", 0, 3))
    assert isinstance(event, Event)
    assert (event.id, event.on, event.ts) == (7, ["network"], "2026-11-22T06:07:00+00:00")
    x = members(event.x)
    assert (x["from.team"], x["from.floor"]) == ("SALES", 3)
    assert sum(name.startswith("body#") for name in x) == 11
    nothing = decoder.decode(Record(HEAD + _avro(tickets, _ticket(49)), "topic", 0, 3))
    assert nothing.on is None  # null: nobody has said


def test_what_is_no_ticket_is_malformed(tickets: ModuleType) -> None:
    decoder = make_decoder(load_settings(Path("ihomer.toml"), {}).settings)
    whole = HEAD + _avro(tickets, _ticket(1))
    for value, said in (
        (b"\0\0\0\0\x2b" + whole[5:], "KeyError: 43"),
        (whole + b"-", "there are bytes behind the ticket"),
        (whole[:20], "EOFError"),
        (b"", "error: unpack_from requires a buffer"),
    ):
        with pytest.raises(MalformedEventError) as caught:
            decoder.decode(Record(value, "topic", 0, 3))
        assert caught.value.kind == "decoder"
        assert said in str(caught.value)


def test_single_objects_name_their_schema_by_its_fingerprint(
    tickets: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Avro's own encoding for messages: two bytes, the fingerprint, the ticket."""
    schema = tickets.SCHEMAS[42]
    form = to_parsing_canonical_form(schema)
    known = {bytes.fromhex(fingerprint(form, "CRC-64-AVRO")): schema}

    def decode(value: bytes) -> Any:
        if value[:2] != b"\xc3\x01":
            raise ValueError("no single object")
        return fastavro.schemaless_reader(io.BytesIO(value[10:]), known[value[2:10]], None)

    monkeypatch.setattr(tickets, "decode", decode)
    settings = load_settings(Path("ihomer.toml"), {}).settings
    head = b"\xc3\x01" + next(iter(known))
    event = make_decoder(settings).decode(Record(head + _avro(tickets, _ticket(4)), "t", 0, 0))
    assert (event.id, event.on) == (4, ["printing"])


def test_a_stream_of_tickets_is_inferred_checked_and_learned(tickets: ModuleType) -> None:
    values = [HEAD + _avro(tickets, _ticket(i)) for i in range(300)]
    values.insert(60, b"\0\0\0\0\x2b-")
    memory.create("avro", values)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == 0, result.output
        return result.stdout

    try:
        run(*("config", "infer", "memory:avro", "--output", "seen.toml", "--n", "300"))
        found = tomllib.loads(Path("seen.toml").read_text(encoding="utf-8"))
        assert found["decoder"] == "tickets:decode"  # the configuration that is there names it
        assert found["mapping"]["id"] == "$.id"
        assert found["mapping"]["labels"] == "$.tags"
        assert found["mapping"]["time"] == "$.opened"
        fields = found["mapping"]["fields"]
        assert fields["body"] == "text"
        assert (fields["from.team"], fields["from.floor"]) == ("nominal", "numeric")
        common = ["--config", "seen.toml", "--allow-code"]
        tried = json.loads(run("config", "check", *common, "--try", "301", "memory:avro", "--json"))
        assert (tried["accepted"], tried["unlabelled"]) == (300, 6)
        assert [each["kind"] for each in tried["refused"]] == ["decoder"]
        learned = figures("memory:avro", *common, "--dead-letters", "letters.jsonl", "--quiet")
    finally:
        memory.remove("avro")
    assert learned["events"] == 300
    assert learned["measures"]["micro_f1"] > 0.85
    assert len(Path("letters.jsonl").read_bytes().splitlines()) == 1


def test_what_json_has_no_form_for_is_said() -> None:
    settings = Settings(decoder="tests.binary_events:returns_no_json", allow_code=True)
    with pytest.raises(MalformedEventError, match="what JSON has no form for"):
        make_decoder(settings).decode(Record(b"-", "t", 0, 0))
