"""The benchmark of single calls: what it calls, and how it sums up."""

from __future__ import annotations

import json

import pytest

from bench import latency


def test_every_call_is_measured_after_the_warm_up() -> None:
    events = latency.yeast()[:60]
    taken = latency.measure(events, warm=50)
    assert {name: len(spent) for name, spent in taken.items()} == dict.fromkeys(
        [
            "predict_one",
            "predict_proba_one",
            "learn_one",
            latency.CONTROL,
            "predict_one, frozen",
            "predict_proba_one, frozen",
        ],
        10,
    )
    assert all(wall > 0.0 for spent in taken.values() for wall, _ in spent)


def test_percentiles_are_of_runs_and_best_is_the_least() -> None:
    runs = [{"call": [(float(k * n), 2.0) for k in range(1, 102)]} for n in (3, 1, 2)]
    found = latency.summary(runs)["call"]
    assert found["wall"]["p50"] == {"best": 51.0, "median": 102.0}
    assert found["wall"]["p99"] == {"best": 100.0, "median": 200.0}
    assert found["thread"]["p99.9"] == {"best": 2.0, "median": 2.0}


def test_the_exit_code_tells_whether_the_targets_are_met(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spent = {"predict_one": [(50.0, 40.0)] * 9, "learn_one": [(200.0, 190.0)] * 9}
    monkeypatch.setattr(latency, "measure", lambda events: spent)
    monkeypatch.setattr(latency, "warm_up", lambda: None)
    assert latency.main(["--runs", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["learn_one"]["wall"]["p99"]["best"] == 200.0
    spent["learn_one"] = [(301.0, 190.0)] * 9
    assert latency.main(["--runs", "2"]) == 1
    assert "learn_one, wall" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        latency.main(["--events", "400"])
