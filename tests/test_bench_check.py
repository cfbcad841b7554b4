"""Scores on file: what they cover, and that a figure that moves is noticed."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import check
from bench.check import MEASURES, Scenario, moved, read_scenarios, write_scenarios
from bench.learners import GROUPS
from bench.results import Cell
from bench.streams import Stream
from ihomer.errors import InputError

VALUES = dict.fromkeys(MEASURES, 0.5)


def scenario(**changes: object) -> Scenario:
    made = Scenario("yeast.majority", "river:yeast", "majority", 1, 100, 0.01, dict(VALUES))
    return replace(made, **changes)  # type: ignore[arg-type]


def test_every_learner_is_held_by_scores() -> None:
    assert {each.learner for each in read_scenarios()} >= set(GROUPS["all"])


def test_scenarios_are_complete_and_need_no_file() -> None:
    for each in read_scenarios():
        assert re.fullmatch(r"[a-z0-9.-]+", each.id), each.id
        assert set(each.values) == set(MEASURES), each.id
        assert 0.0 < each.tolerance <= 0.01, each.id
        Stream(each.stream, Path("no-such-folder")).open().close()


@pytest.mark.parametrize("distance", [0.011, -0.011, float("nan")])
def test_a_figure_that_moves_is_said_with_both_values(distance: float) -> None:
    cell = Cell("river:yeast", "majority", 1, measures=VALUES | {"micro_f1": 0.5 + distance})
    faults = moved(scenario(), cell)
    assert len(faults) == 1
    assert "yeast.majority: micro_f1 moved" in faults[0]


def test_what_stays_within_its_tolerance_is_no_fault() -> None:
    assert moved(scenario(), Cell("s", "l", 1, measures=VALUES | {"micro_f1": 0.509})) == []


def test_a_scenario_that_was_not_run_or_has_no_figures_is_a_fault() -> None:
    failed = Cell("s", "l", 1, status="time-limit", reason="stopped after 3 events")
    assert moved(scenario(), failed) == ["yeast.majority: time-limit (stopped after 3 events)"]
    fresh = moved(scenario(values={}), Cell("s", "l", 1, measures=VALUES))
    assert "no figures on file" in fresh[0]


def test_a_file_is_read_as_it_was_written_and_an_id_stands_once(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    write_scenarios([scenario()], path)
    assert read_scenarios(path) == [scenario()]
    write_scenarios([scenario(), scenario()], path)
    with pytest.raises(InputError, match=r"found id 'yeast\.majority' twice"):
        read_scenarios(path)
    path.write_text('[{"id": "x"}]')
    with pytest.raises(InputError, match="no list of scenarios"):
        read_scenarios(path)


def test_the_command_fails_where_a_figure_has_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.json"
    write_scenarios([scenario(values={})], path)
    monkeypatch.setattr(check, "read_scenarios", lambda: read_scenarios(path))
    monkeypatch.setattr(check, "write_scenarios", lambda found: write_scenarios(found, path))
    monkeypatch.setattr(sys, "argv", ["check", "--update", "yeast.majority"])
    check.main()
    (kept,) = read_scenarios(path)
    assert kept.values["hamming_loss"] > 0.0
    monkeypatch.setattr(sys, "argv", ["check"])
    check.main()
    assert "1 scenarios, 0 skipped, 0 figures moved" in capsys.readouterr().out
    kept.values["hamming_loss"] += 0.02
    write_scenarios([kept], path)
    with pytest.raises(SystemExit) as ended:
        check.main()
    assert ended.value.code == check.EXIT_MOVED
    assert "hamming_loss moved by -0.02" in capsys.readouterr().out


def test_an_unknown_scenario_is_one_line_with_exit_code_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.check", "yeast.nobody"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("bench: error: found scenario 'yeast.nobody', accepted: yeast.")
    assert done.stderr.count("\n") == 1
