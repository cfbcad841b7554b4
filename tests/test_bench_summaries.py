"""What all cells of a run tell together: headline, deficits, speed, memory, the ablation's page."""

from __future__ import annotations

import argparse
import inspect
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import ablation, accuracy, learners, memory, streams, throughput
from bench.cell import measure
from bench.learners import parse_learner
from bench.report.ablation import markdown
from bench.report.deficits import deficits
from bench.report.groups import Figure, Row, group
from bench.report.names import MLHAT
from bench.report.reference import Reference
from bench.results import Cell, Document, read_document
from bench.task import Task
from ihomer.learners.ihomer import IHomer
from ihomer.stream.measures import Measures


def cell(stream: str, learner: str, subset: float, shuffle: int | None = None) -> Cell:
    found = {"subset_accuracy": subset, "micro_f1": 0.5, "hamming_loss": 0.1, "macro_f1": 0.2}
    return Cell(stream, learner, 1, shuffle, measures=found | {"example_f1": 0.5, "log_loss": 0.3})


def reference(**figures: float) -> Reference:
    return Reference(
        mlhat={Row("flags"): {key: Figure(value, np.nan, 1) for key, value in figures.items()}},
        baselines={"flags": {"majority": {"subset_accuracy": 0.25}, "odd": {"subset_accuracy": 9}}},
    )


# Accuracy.


def test_a_deficit_is_against_the_best_of_three_and_the_worst_comes_first() -> None:
    cells = [
        cell("flags", "ihomer", 0.30),
        cell("flags", "no-change", 0.20),
        cell("flags", "majority-set", 0.90),  # no rival
        *(cell("flags", "ihomer", 0.1 * s, shuffle=s) for s in (1, 2)),
        *(cell("flags", "majority", 0.2 * s, shuffle=s) for s in (1, 2)),
    ]
    found = deficits(group(cells), reference(subset_accuracy=0.24, micro_f1=0.49))
    assert [(d.learner, d.measure, d.shuffled) for d in found] == [
        ("ihomer", "subset_accuracy", True),
        ("ihomer", "micro_f1", False),
        ("ihomer", "micro_f1", True),
        ("ihomer", "subset_accuracy", False),
    ]
    assert found[0].difference == pytest.approx(0.15 - 0.30)
    # In file order a baseline that was not run is taken from the reference.
    assert (found[3].rival, found[3].bar) == ("majority", 0.25)
    assert found[3].difference == pytest.approx(0.05)
    rivals = {d.rival for d in found if d.measure == "micro_f1" and not d.shuffled}
    assert rivals == {"no-change"}  # .5, against MLHAT's .49


def test_a_learner_that_did_not_finish_has_no_deficit() -> None:
    cells = [replace(cell("flags", "ihomer", 0.0), status="time-limit")]
    assert deficits(group(cells), reference(subset_accuracy=0.2)) == []


def test_the_summary_of_accuracy_has_the_headline_for_every_learner() -> None:
    words = ("ihomer", "ihomer?objective=macro-f1", "majority")
    cells = [cell("flags", word, 0.1 * (i + 1)) for i, word in enumerate(words)]
    found = accuracy.summary(cells, reference(subset_accuracy=0.2, hamming_loss=0.2))
    ratios = found["headline"]["to_mlhat"]
    assert set(ratios) == {*words, "better baseline"}
    assert MLHAT in found["headline"]["means"]
    assert ratios["ihomer"] == pytest.approx({"subset_accuracy": 0.5, "hamming_loss": 0.5})
    assert ratios[words[1]]["subset_accuracy"] == pytest.approx(1.0)
    assert found["deficits"][0]["difference"] == pytest.approx(0.1 - 0.3)
    assert cells[0].extra["ratios"]["mlhat"]["subset_accuracy"] == pytest.approx(0.5)


def test_the_second_half_is_scored_on_its_own() -> None:
    task = Task("accuracy", "river:yeast", "majority", limit=301, time_limit=60.0)
    cell = measure(task)
    stream = task.open()
    learner = parse_learner("majority")
    candidate, encoder = learner.make(stream, 1)
    later = Measures()
    for number, batch in enumerate(stream.batches(encoder, 1)):
        predictions = candidate.predict_learn(batch)
        if number >= 150:
            later.update_batch(batch, predictions)
    wanted = later.result(14)
    assert wanted["events"] == 151
    assert cell.extra["second_half"]["micro_f1"] == wanted["micro_f1"]
    assert cell.extra["second_half"]["micro_f1"] != cell.measures["micro_f1"]


def test_a_tuple_is_given_with_plus_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stub:
        def __init__(self, without: tuple[str, ...] = (), trees: int = 10) -> None: ...

    monkeypatch.setattr(learners, "IHomer", Stub)
    assert parse_learner("ihomer?without=forest+path&trees=5").parameters == {
        "without": ("forest", "path"),
        "trees": 5,
    }
    assert parse_learner("ihomer?without=label-sets").parameters == {"without": ("label-sets",)}
    assert parse_learner("ihomer?without=").parameters == {"without": ()}


def test_generated_streams_are_four_concepts_with_and_without_drift() -> None:
    found = streams.expand(["generated"])
    assert len(found) == 8
    assert sum("drift=sudden" in uri for uri in found) == 4
    for uri in found:
        source = streams.Stream(uri, seed=3).open()
        assert source.length == 50_000
        source.close()


# Speed.


def timed(stream: str, learner: str, rate: float) -> Cell:
    return Cell(stream, learner, 1, events_per_second=rate, seconds=100.0 / rate)


def test_speed_is_compared_with_mlhat_rescaled_by_river_on_yeast() -> None:
    cells = [
        timed("yeast", "ihomer", 1634.0),
        timed("flags", "ihomer", 400.0),
        timed("imdb", "ihomer", 50.0),
        timed("delicious", "ihomer", 163.4),
        timed("delicious", "ihomer?threads=2", 326.8),
        timed("yeast", "river-br-lr", 2 * throughput.PEER_THEN),
        replace(timed("bibtex", "ihomer", 1.0), status="time-limit"),
    ]
    found = throughput.summary(cells, {"yeast": 8.17, "flags": 8.0, "imdb": 1.0, "bibtex": 3.0})
    assert found["scale"] == pytest.approx(2.0)
    ours = found["ihomer"]
    assert ours["to_mlhat"] == pytest.approx({"yeast": 100.0, "flags": 25.0, "imdb": 25.0})
    assert ours["geometric_mean"] == pytest.approx(50.0)  # imdb is not among those judged
    assert (ours["smallest"], ours["smallest_stream"]) == (pytest.approx(25.0), "flags")
    assert "bibtex" in ours["lacking"]
    assert ours["yeast_to_river"] == pytest.approx(1.0)
    assert ours["delicious_at_nominal"] == pytest.approx(2500.0)
    assert ours["imdb_seconds"] == pytest.approx(2.0)
    assert found["two_threads"] == pytest.approx(2.0)
    assert "geometric_mean" not in throughput.summary(cells[:2], {"yeast": 8.17})["ihomer"]


def test_a_default_run_has_its_unit_and_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stub:
        def __init__(self, threads: int = 1) -> None: ...

    monkeypatch.setattr(throughput, "IHomer", Stub)
    tasks = [Task("throughput", name, "ihomer", min_seconds=2.0) for name in ("yeast", "delicious")]
    found = [(task.stream, task.learner) for task in throughput.complete(tasks)]
    assert found == [
        ("yeast", "ihomer"),
        ("yeast", "river-br-lr"),
        ("delicious", "ihomer"),
        ("delicious", "ihomer?threads=2"),
    ]


def test_tenths_of_a_stream_are_timed_apart() -> None:
    cell = measure(Task("tenths", "synthetic:tree?events=3000", "majority", time_limit=60.0))
    assert cell.status == "done", cell.reason
    assert len(cell.extra["tenths"]) == 10
    assert all(rate > 0.0 for rate in cell.extra["tenths"])
    slowing = Cell("s", "l", 1, extra={"tenths": [9.0, *[8.0] * 8, 6.0]})
    assert throughput.last_to_second(slowing) == 0.75
    short = Cell("s", "l", 1, extra={"tenths": [9.0]})
    assert np.isnan(throughput.last_to_second(short))


# Memory.


def test_memory_is_compared_with_its_limit() -> None:
    found = Cell("s", "ihomer", 1, extra={"largest_model_bytes": 2**19, "limit_bytes": 2**20})
    other = Cell("s", "river-br-lr", 1, extra={"largest_model_bytes": None})
    summary = memory.summary([found, other], None, None, None)
    assert summary == {
        "largest": {"s ihomer": {"bytes": 2**19, "limit_bytes": 2**20, "share": 0.5}}
    }


def test_the_largest_model_is_looked_for_after_every_batch() -> None:
    cell = measure(Task("memory", "synthetic:tree?events=2000", "ihomer", time_limit=60.0))
    assert cell.status == "done", cell.reason
    assert cell.extra["largest_model_bytes"] >= max(p["model_bytes"] for p in cell.series)
    assert memory.replay_peak("imdb", Path("no-such-folder"), None) is None
    peak = memory.replay_peak("river:yeast", None, 50)
    assert peak is not None
    assert 50.0 < peak < 5000.0


# Ablation.


def test_variants_are_parts_off_and_other_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stub:
        def __init__(
            self, without: tuple[str, ...] = (), trees: int = 10, split_test: str = "evidence"
        ) -> None: ...

    monkeypatch.setattr("bench.ablation.learner.IHomer", Stub)
    monkeypatch.setattr("bench.ablation.learner.PARTS", ("raw", "path"), raising=False)
    assert ablation.variants() == [
        "ihomer",
        "ihomer?without=raw",
        "ihomer?without=path",
        "ihomer?trees=1",
        "ihomer?trees=5",
        "ihomer?trees=20",
        "ihomer?split_test=hoeffding",
        "ihomer?split_test=bernstein",
    ]


def test_every_variant_of_todays_learner_can_be_made() -> None:
    stream = streams.Stream("river:yeast", limit=5)
    words = ablation.variants()
    assert words[0] == "ihomer"
    assert len(set(words)) == len(words) > 2
    for word in words:
        parse_learner(word).make(stream, 1)


def page(cells: list[Cell]) -> str:
    made = "2026-01-02T00:00:00+00:00"
    return markdown(Document("accuracy", {"cpus": 2}, {}, {}, cells, made), "make ablation")


def lines_of(text: str, title: str) -> dict[str, list[str]]:
    """The lines of the table under a heading that begins so, by their first cell."""
    table = text.split(f"## {title}", 1)[1].split("\n\n")[1:]
    lines = next(part for part in table if part.startswith("|")).splitlines()
    rows = [[word.strip() for word in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


def test_the_page_pairs_variants_with_the_default() -> None:
    tree = "synthetic:tree?events=9"
    cells = []
    for word, change in (("ihomer", 0.0), ("ihomer?trees=1", -0.02)):
        cells += [cell("flags", word, 0.1 * shuffle + change, shuffle) for shuffle in (1, 2)]
        cells.append(cell("enron", word, 0.4 + 2 * change))
        cells.append(cell(tree, word, 0.7 + change))
    for each in cells:
        each.events_per_second = 300.0 if "trees" in each.learner else 100.0
        if each.stream == tree:
            each.extra["second_half"] = {"subset_accuracy": each.measures["subset_accuracy"] / 2}
    text = page(cells)
    means = lines_of(text, "Means over 2 real")
    # A stream counts once: flags .15 over its shuffles, enron .4.
    assert means["default"][0] == "0.2750"
    assert means["trees=1"][0] == "0.2450"
    line = lines_of(text, "Differences to the default, real")["trees=1"]
    assert line[0] == "-0.0300 ± 0.0100"
    assert line[-2:] == ["2 / 0", "3.00"]
    later = lines_of(text, "Differences to the default, generated")["trees=1"]
    assert later[:2] == ["-0.0200", "-0.0100"]
    by_stream = lines_of(text, "Subset accuracy by stream")
    assert by_stream["default"] == ["0.1500", "0.4000", "0.7000"]
    assert by_stream["trees=1"] == ["-2.00", "-4.00", "-2.00"]


def test_a_variant_that_lacks_a_stream_has_no_mean_and_is_named() -> None:
    cells = [cell("flags", "ihomer", 0.1), cell("enron", "ihomer", 0.3)]
    cells += [cell("flags", "ihomer?drift=False", 0.2)]
    cells.append(replace(cell("enron", "ihomer?drift=False", 0.9), status="failed"))
    text = page(cells)
    assert lines_of(text, "Means over 2 real")["drift=False"][0] == "–"
    assert "- drift=False: enron" in text
    # What is paired is compared all the same.
    assert lines_of(text, "Differences to the default, real")["drift=False"][0] == "+0.1000"


def test_an_ablation_runs_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    json, out = tmp_path / "a.json", tmp_path / "a.md"
    flags = ["--streams", "river:yeast", "--limit", "60", "--variants", "majority,no-change"]
    command = ["ablation", *flags, "--jobs", "1", "--json", str(json), "--out", str(out), "--quiet"]
    monkeypatch.setattr(sys, "argv", command)
    ablation.main()
    assert [c.learner for c in read_document(json).cells] == ["majority", "no-change"]
    text = out.read_text(encoding="utf-8")
    assert "python -m bench.ablation --data DATA --streams 'river:yeast'" in text
    assert str(tmp_path) not in text
    assert not list(tmp_path.glob("*.partial"))


def test_small_streams_of_an_ablation_are_shuffled_and_others_are_not() -> None:
    arguments = argparse.Namespace(
        data=None,
        streams=["river:yeast"],
        variants=["majority"],
        seeds="1",
        shuffles="1-2",
        limit=10,
        time_limit=9.0,
        default_streams="",
        default_learners="",
    )
    assert [task.shuffle for task in ablation.tasks(arguments)] == [None]
    arguments.streams = ["yeast"]
    assert [task.shuffle for task in ablation.tasks(arguments)] == [1, 2]


def test_choices_are_parameters_that_the_learner_will_know() -> None:
    known: Any = inspect.signature(IHomer).parameters
    for name, choices in ablation.CHOICES.items():
        if name in known:
            assert known[name].default in choices
