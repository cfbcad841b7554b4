"""``ihomer replay`` with labels that come late, by themselves or held back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ihomer.errors import EXIT_OK, EXIT_USAGE
from ihomer.stream.cli import app
from tests.commands import figures, replay
from tests.late_streams import late_stream

pytestmark = pytest.mark.usefixtures("alone")


def refusal(*arguments: str) -> str:
    result = replay(*arguments)
    assert (result.exit_code, result.stdout) == (EXIT_USAGE, ""), result.output
    return result.stderr


def test_a_delay_costs_what_is_learned_meanwhile() -> None:
    quick = ("river:yeast", "--limit", "400")
    at_once, none, late = (
        figures(*quick),
        figures(*quick, "--label-delay", "0"),
        figures(*quick, "--label-delay", "200"),
    )
    assert none["measures"] == pytest.approx(at_once["measures"], abs=1e-12, nan_ok=True)
    assert "late_labels" not in at_once
    assert late["late_labels"]["joined"] == late["measures"]["events"] == late["events"] == 400
    assert late["measures"]["micro_f1"] < at_once["measures"]["micro_f1"]
    shown = replay(*quick, "--label-delay", "200")
    assert "late labels: 400 events joined" in shown.stdout


def test_points_of_a_series_are_where_they_are_without_a_delay() -> None:
    options = ("--limit", "100", "--every", "20", "--series", "s.jsonl", "--quiet")
    assert replay("river:yeast", *options, "--label-delay", "30").exit_code == EXIT_OK
    points = [json.loads(line) for line in Path("s.jsonl").read_bytes().splitlines()]
    assert [point["events"] for point in points] == [20, 40, 60, 80, 100]
    assert [point["ihomer"]["events"] for point in points] == [0, 10, 30, 50, 70]


def write_streams() -> Any:
    pairs = [({"a": float(i % 3)}, [f"label {i % 3}"]) for i in range(300)]
    stream = late_stream(pairs, 2, delay=50, never=0.05, twice=0.05, early=0.05)
    Path("one.jsonl").write_bytes(b"\n".join(each.value for each in stream.arrivals))
    for kind in ("features", "labels"):
        Path(f"{kind}.jsonl").write_bytes(b"\n".join(stream.topic(kind)))
    return stream


def test_labels_later_in_the_same_stream() -> None:
    stream = write_streams()
    Path("ihomer.toml").write_text("late_labels = true\nlabel_wait_events = 60\n")
    found = figures("one.jsonl")
    late = found["late_labels"]
    assert found["events"] == late["events"] == 300
    assert late["joined"] == 300 - len(stream.never) == found["measures"]["events"]
    assert late["twice"] == len(stream.twice)
    assert late["dropped"] + late["waiting"] == len(stream.never)


def test_labels_in_a_source_of_their_own() -> None:
    stream = write_streams()
    Path("ihomer.toml").write_text('labels_source = "labels.jsonl"\n')
    found = figures("features.jsonl")
    assert found["late_labels"]["joined"] == 300 - len(stream.never)
    assert found["late_labels"]["waiting"] == len(stream.never)
    assert figures("features.jsonl", "--batch-size", "7")["measures"] == pytest.approx(
        found["measures"], abs=1e-12, nan_ok=True
    )


def test_what_does_not_fit_is_refused() -> None:
    write_streams()
    Path("ihomer.toml").write_text("late_labels = true\n")
    assert "--label-delay: found with late labels" in refusal("one.jsonl", "--label-delay", "5")
    Path("ihomer.toml").write_text('labels_source = "one.jsonl"\n')
    assert "one.jsonl: found as source and as labels_source" in refusal("one.jsonl")
    command = ["run", "--source", "one.jsonl"]
    Path("ihomer.toml").write_text('label_policy = "hand-over"\n')
    result = CliRunner().invoke(app, command)
    assert result.exit_code == EXIT_USAGE
    assert 'unjoined: found none with label_policy = "hand-over"' in result.stderr
