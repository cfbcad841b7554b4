"""What the report writes: page, tables, plots, terminal; whole or not at all."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import plotly.graph_objects as go
import pyarrow.parquet
import pytest
from matplotlib import pyplot
from rich.console import Console

import bench.report
from bench.report import diagrams, writer
from bench.report.__main__ import main
from bench.report.groups import Figure, Row, group
from bench.report.reference import Reference
from bench.report.significance import compare, run_tests
from bench.report.styles import styles
from bench.report.terminal import print_accuracy, print_throughput
from bench.results import Cell, Document
from ihomer.errors import InputError
from tests import report_documents as made_up

SMALL = ("flags", "foodtruck", "emotions", "bibtex", "20ng", "scene")
LEARNERS = ("ihomer", "river-br-lr", "river-br-knn", "moa-oza", "no-change", "majority")
HOSTILE = "<script>alert('x')</script>&\"$\\alpha$"


class Outline(HTMLParser):
    """Ids, links and elements of a page, without what scripts hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.outside: list[str] = []
        self.scripts = 0
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for key, value in attrs:
            if key == "id" and value is not None:
                self.ids.append(value)
            if key in ("href", "src", "xlink:href") and value is not None:
                (self.links if value.startswith("#") else self.outside).append(value)

    def handle_data(self, data: str) -> None:
        self.text += data


def documents() -> list[Document]:
    swept = made_up.throughput(("labels", "threads"))
    return [made_up.accuracy(SMALL, LEARNERS), swept, made_up.drift()]


def write(found: Sequence[Document], out: Path, published: Path | None = None) -> str:
    page = writer.make(found, out, published, samples=100)
    return page.read_text(encoding="utf-8")


def references(folder: Path) -> Path:
    folder.mkdir()
    files = {
        "rerun_mlhat": "stream,events,subset_accuracy,events_per_second\nflags,194,0.05,691\n",
        "published_ihomer_subset_acc": "Dataset,MLHAT,iHomer\nScene,.8,.98\nEmotions,.1,.2\n",
        "published_mlhat_time_s": "Dataset,MLHAT\nFlags,0.7\nEukaryote,300\n",
    }
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write(documents(), folder / "out", references(folder / "results"))
    return folder / "out"


def plots_of(page: str) -> dict[str, dict[str, Any]]:
    found = re.findall(r'<script type="application/json" data-plot="([^"]+)">(.*?)</script>', page)
    return {name: json.loads(text) for name, text in found}


def test_all_parts_are_there(report: Path) -> None:
    page = (report / "report.html").read_text(encoding="utf-8")
    outline = Outline(page)
    assert len(outline.ids) == len(set(outline.ids))
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)
    assert outline.outside == []
    assert "Not measured in this run" not in outline.text
    assert "> limit, 312 of 7,395 events" in outline.text
    assert "needs Java; no java on the PATH" in outline.text
    assert "0.9800†" in page  # the published tail
    assert "0.2000‡" in page
    assert "Eukaryote is among them" in page
    assert page.count("plotly.js v") == 1


def test_plots_are_what_plotly_accepts(report: Path) -> None:
    plots = plots_of((report / "report.html").read_text(encoding="utf-8"))
    assert {"speed-accuracy", "model-size", "scaling-0", "rolling-0"} <= set(plots)
    for plot in plots.values():
        go.Figure(plot)  # raises on a property that does not exist
    drift = [plot for plot in plots.values() if plot["layout"].get("shapes")]
    assert [p["layout"]["shapes"][0]["type"] for p in drift] == ["rect", "line"]
    assert all("ari" in [key for key, _ in plot["layout"]["meta"]] for plot in drift)


def test_the_files_beside_the_page(report: Path) -> None:
    names = {str(path.relative_to(report)) for path in report.rglob("*") if path.is_file()}
    expected = {"report.html", "cells.csv", "cells.parquet", "tables/subset_accuracy.tex"}
    expected |= {f"plots/headline.{kind}" for kind in ("svg", "png")}
    expected |= {f"plots/critical_difference_micro_f1.{kind}" for kind in ("svg", "png")}
    expected |= {
        "plots/speed_accuracy.svg",
        "plots/scaling_labels.svg",
        "plots/scaling_threads.png",
    }
    assert expected <= names
    table = pyarrow.parquet.read_table(report / "cells.parquet")
    assert table.num_rows == sum(len(document.cells) for document in documents())
    assert "subset_accuracy" in table.column_names


def test_latex_is_a_booktabs_table(report: Path) -> None:
    text = (report / "tables" / "subset_accuracy.tex").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = {line.count("&") for line in lines}
    assert columns == {len(LEARNERS) + 1}  # and MLHAT
    assert len(lines) == 1 + len(SMALL) + 1  # the head, and scene once more, shuffled
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1
    assert all(r"\textbf" in line for line in lines[1:])
    assert any("$>$" in line for line in lines)


def test_names_from_data_never_become_markup(tmp_path: Path) -> None:
    cells = made_up.accuracy(("flags",), ("ihomer", "majority")).cells
    for cell in cells:
        cell.stream, cell.reason = HOSTILE, HOSTILE
        cell.learner = f"{cell.learner} {HOSTILE}"
        cell.measures[HOSTILE] = 0.5
        cell.extra = {
            "marks": [{"start": 5, "how": HOSTILE, "of": HOSTILE}],
            "recoveries": [{"at": 5, "how": HOSTILE, "of": HOSTILE}],
            "alarms": {HOSTILE: 1},
        }
    cells[-1].status = "failed"
    sweep = Cell(HOSTILE, HOSTILE, 1, events=10, seconds=1.0)
    sweep.extra = {"axis": HOSTILE, "value": 3}
    hostile = Document(HOSTILE, {HOSTILE: HOSTILE}, {HOSTILE: HOSTILE}, {}, [sweep], HOSTILE)
    accuracy = Document("accuracy", {}, {}, {HOSTILE: [HOSTILE]}, cells, HOSTILE)
    page = write([accuracy, hostile], tmp_path / "out")
    assert "alert('x')</script>" not in page
    assert "<script>alert" not in page
    tame = write([made_up.accuracy(("flags",), ("ihomer", "majority"))], tmp_path / "tame")
    assert Outline(page).scripts <= Outline(tame).scripts + 3  # plots of the hostile sweep
    tex = (tmp_path / "out" / "tables" / "subset_accuracy.tex").read_text(encoding="utf-8")
    assert r"\textless{}script\textgreater{}" in tex
    assert r"\&\textquotedbl{}\$\textbackslash{}alpha\$" in tex


@pytest.mark.parametrize(
    ("found", "missing"),
    [
        ([made_up.accuracy(("flags",), ("ihomer",))], ["scaling", "drift"]),
        ([made_up.throughput(("labels",))], ["headline", "measures", "tests", "rolling", "drift"]),
        ([made_up.drift()], ["headline", "measures", "tests", "speed", "scaling"]),
        ([], ["headline", "measures", "tests", "rolling", "speed", "memory", "scaling", "drift"]),
        ([Document("memory", {}, {}, {}, [Cell("a", "b", 1)], "x")], ["memory", "speed"]),
    ],
)
def test_what_was_not_measured_is_said(
    found: list[Document], missing: list[str], tmp_path: Path
) -> None:
    page = write(found, tmp_path / "out")
    for anchor in missing:
        start = page.index(f'<section id="{anchor}">')
        section = page[start : page.index("</section>", start)]
        assert "Not measured in this run." in section, anchor


def test_a_curve_of_one_point_and_without_figures_is_drawn(tmp_path: Path) -> None:
    cell = Cell("flags", "ihomer", 1, events=5, length=5, series=[{"events": 5, "micro_f1": 0.1}])
    empty = Cell("flags", "other", 1, events=5, length=5, series=[{"events": 5, "micro_f1": None}])
    plots = plots_of(
        write([Document("accuracy", {}, {}, {}, [cell, empty], "x")], tmp_path / "out")
    )
    (trace,) = plots["rolling-0"]["data"]
    assert (trace["name"], trace["mode"]) == ("ihomer", "markers")


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        ({"marks": [{"of": "x"}]}, r"extra\.marks\[0\]"),
        ({"recoveries": [7.5]}, r"extra\.recoveries\[0\]"),
        ({"recoveries": [{"how": "sudden"}]}, r"extra\.recoveries\[0\]"),
    ],
)
def test_extras_that_make_no_sense_are_named(
    extra: dict[str, Any], found: str, tmp_path: Path
) -> None:
    cell = Cell("s", "ihomer", 1, series=[{"events": 1, "micro_f1": 0.1}], extra=extra)
    with pytest.raises(InputError, match=found):
        write([Document("drift", {}, {}, {}, [cell], "x")], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_report_replaces_a_report_and_nothing_else(tmp_path: Path) -> None:
    one = made_up.accuracy(("flags",), ("ihomer",))
    write([one], tmp_path / "out")
    (tmp_path / "out" / "tables" / "old.tex").touch()
    write([one], tmp_path / "out")
    assert not (tmp_path / "out" / "tables" / "old.tex").exists()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"thesis\.tex"):
        write([one], tmp_path / "out")
    assert (tmp_path / "out" / "report.html").exists()
    with pytest.raises(InputError, match="found a file"):
        write([one], tmp_path / "out" / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_matplotlib_is_left_as_it_was() -> None:
    import scikit_posthocs  # noqa: F401 - it sets matplotlib up when it is imported

    groups = group(made_up.accuracy(SMALL, LEARNERS).cells)
    outcome = run_tests(compare(groups, "micro_f1"), "micro_f1", Reference(), samples=10)
    before = dict(mpl.rcParams)
    figure = diagrams.critical_difference(outcome, "a title", styles(LEARNERS))
    diagrams.inline_svg(figure, "a-name")
    assert dict(mpl.rcParams) == before
    assert pyplot.get_fignums() == []


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "accuracy.json"
    path.write_bytes(made_up.accuracy(("flags",), ("ihomer",)).to_json())
    results = references(tmp_path / "results")
    out = tmp_path / "out"
    assert main([str(path), "--out", str(out), "--results", str(results), "--quick"]) == 0
    assert capsys.readouterr().out.strip() == str(out / "report.html")
    assert "quick run" in (out / "report.html").read_text(encoding="utf-8")
    path.write_text("[]")
    assert main([str(path), "--out", str(out), "--results", str(results)]) == 65
    assert capsys.readouterr().err.startswith(f"error: {path}: found no benchmark document")


def test_latex_of_one_measure() -> None:
    found = [made_up.accuracy(("flags",), ("ihomer",))]
    assert r"\begin{tabular}{lr}" in bench.report.latex(found, "micro_f1")
    with pytest.raises(InputError, match="found nonsense, accepted: subset_accuracy"):
        bench.report.latex(found, "nonsense")


def test_the_terminal_compares() -> None:
    file = io.StringIO()
    console = Console(file=file, width=150, no_color=True)
    cells = [
        Cell("flags", "ihomer", 1, events=9, measures={"subset_accuracy": 0.3}),
        Cell("flags", "majority", 1, events=9, measures={"subset_accuracy": 0.1}),
        Cell("flags", "knn", 1, None, "time-limit", "limit of 5 s", events=9, length=194),
        Cell("flags", "[red]moa", 1, None, "unavailable", "no Java"),
    ]
    theirs = {"subset_accuracy": Figure(0.2, math.nan, 1)}
    print_accuracy(cells, console, Reference(mlhat={Row("flags"): theirs}))
    text = file.getvalue()
    assert "0.3000 (1.50, 3.00)" in text
    assert "> limit, 9 of 194" in text
    assert "[red]moa: unavailable in 1 cell: no Java" in text
    assert "not in these means: knn, lacks flags" in text
    worst = text.split("Worst against")[1].splitlines()[2].split()
    assert worst[:4] == ["ihomer", "flags", "subset", "acc."]
    assert worst[-1] == "+0.1000"
    assert "below -0.01: 0 of 1" in text


def test_the_terminal_shows_more_of_many_labels() -> None:
    file = io.StringIO()
    figures = {"precision_at_1": 0.75, "psp_at_1": 0.5, "coverage_error": 1234.0}
    cells = [
        Cell("delicious", "ihomer", 1, events=9, labels=983, measures=figures),
        Cell("delicious", "knn", 1, status="failed", reason="why"),
        Cell("flags", "ihomer", 1, events=9, labels=7, measures=figures),
    ]
    print_accuracy(cells, Console(file=file, width=150, no_color=True), Reference())
    text = file.getvalue().split("Streams of more than 100 labels")[1]
    assert "PSP@1" in text
    assert "coverage err." in text
    lines = [line.split() for line in text.splitlines()]
    shown = [line for line in lines if line[:2] == ["delicious", "ihomer"]]
    assert shown == [
        ["delicious", "ihomer", *["0.75", "–", "–", "0.5", "–", "–", "1234", "–", "–"]]
    ]
    assert not any(line[:1] == ["flags"] for line in lines)


def test_the_terminal_compares_speed() -> None:
    file = io.StringIO()
    console = Console(file=file, width=150, no_color=True)
    speeds = {
        ("flags", "ihomer"): 800.0,
        ("yeast", "ihomer"): 200.0,
        ("flags", "river-br-lr"): 80.0,
    }
    cells = [Cell(s, n, 1, events_per_second=rate) for (s, n), rate in speeds.items()]
    cells.append(Cell("yeast", "river-br-lr", 1, status="failed"))
    print_throughput(cells, console, {"flags": 100.0, "yeast": 100.0})
    lines = [line.split() for line in file.getvalue().splitlines()]
    assert ["÷", "MLHAT", "(re-run)", "4.00", "0.80"] in lines
    assert ["÷", "river-br-lr", "10.00", "1.00"] in lines
    assert ["yeast", "200", "failed", "100"] in lines


def test_the_terminal_says_that_there_is_nothing() -> None:
    file = io.StringIO()
    print_accuracy([], Console(file=file), Reference())
    print_throughput([], Console(file=file), None)
    assert file.getvalue() == "Nothing was measured.\nNo speed was measured.\n"


def test_the_terminal_brings_no_plots_along() -> None:
    code = (
        "import sys, bench.report.terminal;"
        "print([m for m in ('pandas', 'matplotlib', 'plotly') if m in sys.modules])"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=root)
    assert done.stdout.decode().strip() == "[]"


def test_the_summary_is_plain_text() -> None:
    text = bench.report.summary_text([made_up.accuracy(SMALL, LEARNERS), made_up.throughput()])
    assert "Means over 5 of the ten headline streams" in text
    assert "\x1b" not in text
