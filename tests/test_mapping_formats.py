"""Real data as CSV and Parquet in shapes of somebody else's: inferred, tried, replayed."""

from __future__ import annotations

import csv
import json
import tomllib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ihomer.connectors.uri import open_source
from ihomer.errors import EXIT_OK
from ihomer.instances import Event
from ihomer.stream.cli import app
from ihomer.stream.mapping.trial import members
from tests.commands import figures
from tests.data import data_dir

pytestmark = pytest.mark.usefixtures("alone")

_BEGIN = datetime(2001, 1, 1)  # noqa: DTZ001 (tables have such)


def _events(name: str, count: int) -> list[Event]:
    source = open_source(str(data_dir() / name))
    records = source.next_batch(count, 1.0) or ()
    source.close()
    return [record.value for record in records if isinstance(record.value, Event)]


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == EXIT_OK, result.output
    return result.stdout


def _mapping() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(Path("ihomer.toml").read_text("utf-8"))["mapping"]
    return found


def test_mail_as_csv_with_text() -> None:
    events = _events("enron.arff.gz", 600)
    with Path("mail.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["mail_id", "received", "body", "labels"])
        for i, event in enumerate(events):
            words = " ".join(name for name, value in members(event.x).items() if value)
            at = (_BEGIN + timedelta(hours=i)).isoformat(sep=" ")
            writer.writerow([f"m{i}", at, words, ";".join(event.on or ())])
    _run("config", "infer", "mail.csv")
    assert _mapping() == {
        "id": "$.mail_id",
        "labels": "$.labels",
        "labels_separator": ";",
        "time": "$.received",
        "default": "ignore",
        "fields": {"received": "time", "body": "text"},
    }
    tried = json.loads(_run("config", "check", "--try", "600", "--json"))
    assert (tried["accepted"], tried["refused"]) == (600, [])
    for found, event in zip(tried["events"], events, strict=True):
        assert set(found["on"]) == set(event.on or ())
    assert figures("mail.csv", "--quiet")["measures"]["micro_f1"] > 0.4


def test_music_as_parquet() -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    events = _events("emotions.arff.gz", 300)
    rows = [
        {
            "song": f"s{i}",
            **members(event.x),
            "recorded": _BEGIN + timedelta(minutes=7 * i),
            "tags": list(event.on or ()),
        }
        for i, event in enumerate(events)
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), "music.parquet")
    _run("config", "infer", "music.parquet")
    assert _mapping() == {
        "id": "",
        "labels": "$.tags",
        "time": "$.recorded",
        "default": "numeric",
        "fields": {"recorded": "time", "song": "ignore"},
    }
    tried = json.loads(_run("config", "check", "--try", "300", "--json"))
    assert (tried["accepted"], tried["refused"]) == (300, [])
    for found, event in zip(tried["events"], events, strict=True):
        assert set(found["on"]) == set(event.on or ())
        x = {name: value for name, value in found["features"].items() if ".hour." not in name}
        assert {n: v for n, v in x.items() if ".day." not in n} == members(event.x)
    assert figures("music.parquet", "--quiet")["measures"]["events"] == 300
