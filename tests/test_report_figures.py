"""What the report works out: groups, headline, reference tables, scaling, tests of significance."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.report.frame import cells_frame
from bench.report.groups import Row, collect, group, rows_of
from bench.report.headline import BETTER_BASELINE, headline
from bench.report.names import HEADLINE_STREAMS, MLHAT, better, learners_in_order, streams_in_order
from bench.report.reference import Reference, read_reference
from bench.report.scaling import sweeps
from bench.report.significance import compare, rows_to_test, run_tests
from bench.results import Cell, Document
from ihomer.errors import InputError
from tests import report_documents as made_up


def cell(stream: str, learner: str, value: float, **others: object) -> Cell:
    found = Cell(stream, learner, 1, events=100, length=100)
    found.measures = {"subset_accuracy": value, "hamming_loss": 1 - value}
    for key, other in others.items():
        setattr(found, key, other)
    return found


def point(value: float, seconds: float, axis: str = "labels", status: str = "done") -> Cell:
    extra = {"axis": axis, "value": value}
    return cell("s?n=1", "a", 0.0, seconds=seconds, status=status, extra=extra)


def document(cells: list[Cell]) -> Document:
    return Document("accuracy", {}, {}, {}, cells, "2026-01-01T00:00:00+00:00")


def tables(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


def test_file_order_and_shuffles_are_never_mixed() -> None:
    cells = [cell("scene", "a", 0.9)]
    cells += [cell("scene", "a", 0.1 * s, shuffle=s, seed=s) for s in (1, 2, 3)]
    groups = group(collect([document(cells)]).plain("accuracy"))
    assert rows_of(groups) == [Row("scene"), Row("scene", shuffled=True)]
    plain = groups[Row("scene"), "a"].figure("subset_accuracy")
    shuffled = groups[Row("scene", shuffled=True), "a"].figure("subset_accuracy")
    assert plain is not None
    assert shuffled is not None
    assert (plain.mean, plain.n) == (0.9, 1)
    assert math.isnan(plain.sd)
    assert shuffled.mean == pytest.approx(0.2)
    assert shuffled.sd == pytest.approx(0.1)
    assert shuffled.n == 3


@pytest.mark.parametrize("status", ["time-limit", "unavailable", "failed"])
def test_a_cell_that_is_not_done_enters_no_mean(status: str) -> None:
    cells = [cell("x", "a", 0.5), cell("x", "a", 0.9, seed=2, status=status)]
    found = group(cells)[Row("x"), "a"]
    figure = found.figure("subset_accuracy")
    assert figure is not None
    assert figure.mean == 0.5
    assert not found.finished
    assert found.worst.status == status


def test_an_undefined_measure_has_no_figure() -> None:
    found = group([cell("x", "a", math.nan), cell("x", "a", 0.4, seed=2)])
    assert found[Row("x"), "a"].figure("subset_accuracy") is None
    assert found[Row("x"), "a"].figure("no_such_measure") is None


def test_the_last_document_replaces_a_cell_measured_twice() -> None:
    one, two = document([cell("x", "a", 0.1)]), document([cell("x", "a", 0.2)])
    run = collect([one, two])
    assert [c.measures["subset_accuracy"] for c in run.plain("accuracy")] == [0.2]
    assert run.superseded == 1


def test_points_of_a_sweep_are_no_duplicates_of_each_other() -> None:
    points = [cell("s", "a", 0.1, extra={"axis": "threads", "value": v}) for v in (1, 2)]
    run = collect([Document("throughput", {}, {}, {}, points)])
    assert run.superseded == 0
    assert len(run.swept()) == 2
    assert not run.plain("throughput")


@given(st.permutations(["20ng", "zoo", "flags", "scene", "yeast", "apes"]))
def test_streams_stand_in_one_order(names: list[str]) -> None:
    assert streams_in_order(names) == ["flags", "yeast", "20ng", "scene", "apes", "zoo"]


@given(st.permutations(["river-x", "ihomer", "majority", "a-peer", "no-change"]))
def test_learners_stand_in_one_order(names: list[str]) -> None:
    expected = ["ihomer", "a-peer", "river-x", "no-change", "majority"]
    assert learners_in_order(names) == expected


def test_lower_is_better_for_losses_only() -> None:
    assert better("hamming_loss", 0.1, 0.2)
    assert not better("micro_f1", 0.1, 0.2)


def test_headline_is_the_ratio_of_means() -> None:
    cells = [cell("flags", "ihomer", 0.6), cell("yeast", "ihomer", 0.2)]
    cells += [cell("flags", "no-change", 0.1), cell("yeast", "no-change", 0.4)]
    cells += [cell("flags", "majority", 0.3), cell("yeast", "majority", 0.1)]
    cells += [cell("scene", "ihomer", 1.0), cell("flags", "slow", 0.9)]
    found = headline(group(cells), Reference())
    assert found.streams == ["flags", "yeast"]
    assert found.missing == [s for s in HEADLINE_STREAMS if s not in ("flags", "yeast")]
    # The better baseline of each stream: .3 on flags, .4 on yeast; for losses .7 and .6.
    assert found.means[BETTER_BASELINE]["subset_accuracy"] == pytest.approx(0.35)
    assert found.means[BETTER_BASELINE]["hamming_loss"] == pytest.approx(0.65)
    ratio = found.ratio("ihomer", BETTER_BASELINE, "subset_accuracy")
    assert ratio == pytest.approx(0.4 / 0.35)
    assert found.left_out == {"slow": ["yeast"]}
    assert found.ratio("ihomer", MLHAT, "subset_accuracy") is None


def test_headline_compares_with_mlhat_over_the_same_streams(tmp_path: Path) -> None:
    folder = tables(
        tmp_path,
        rerun_mlhat="stream,events,subset_accuracy\nflags,194,0.2\nyeast,2417,0.4\n\n",
        baselines="stream,baseline,subset_acc\nflags,majority,0.5\n",
    )
    reference = read_reference(folder)
    found = headline(group([cell("flags", "ihomer", 0.3)]), reference)
    assert found.ratio("ihomer", MLHAT, "subset_accuracy") == pytest.approx(1.5)
    # A baseline that was not run is taken from the reference.
    assert found.means[BETTER_BASELINE] == {"subset_accuracy": 0.5}
    assert "published_ihomer_hamming.csv" in reference.absent


def test_published_streams_join_only_where_they_are_certainly_the_same(tmp_path: Path) -> None:
    text = "Dataset,MLHAT,iHomer\nD20ng,.5,.6\nEukaryote,.7,.9\nAverage,.6,.7\nAvg Rank,1,2\n"
    (table,) = read_reference(tables(tmp_path, published_ihomer_subset_acc=text)).published
    assert table.values == {"20ng": {"MLHAT": 0.5, "iHomer": 0.6}}
    assert table.unjoined == ["Eukaryote"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("stream,subset_accuracy\nflags,much\n", "line 2, column subset_accuracy: found 'much'"),
        ("stream,subset_accuracy\nflags\n", "line 2: found 1 fields, accepted: 2"),
        ("name\nflags\n", "line 1: found name"),
        ("", "line 1: found nothing"),
    ],
)
def test_a_malformed_table_is_named(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(InputError, match=found):
        read_reference(tables(tmp_path, rerun_mlhat=text))


def test_a_missing_reference_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_reference(tmp_path / "nowhere")
    assert read_reference(None).mlhat == {}


@given(st.floats(-2, 2), st.floats(1e-9, 1e3))
def test_the_exponent_of_a_power_law_is_found(exponent: float, factor: float) -> None:
    (found,) = sweeps([point(v, 100 * factor * v**exponent) for v in (10, 100, 1000)])
    assert found.exponent == pytest.approx(exponent, abs=1e-6)
    # The interval is undefined where the time does not change at all.
    assert not found.low - 1e-6 > exponent
    assert not found.high + 1e-6 < exponent
    assert found.family == "s"


def test_the_interval_of_an_exponent_is_that_of_least_squares() -> None:
    seconds = {1: 1.0, 10: 12.0, 100: 90.0, 1000: 1300.0}
    cells = [
        cell("s", "a", 0.0, seconds=s, extra={"axis": "labels", "value": v})
        for v, s in seconds.items()
    ]
    (found,) = sweeps(cells)
    x, y = np.log10(list(seconds)), np.log10(list(seconds.values()))
    slope = np.cov(x, y)[0, 1] / np.var(x, ddof=1)
    residuals = y - y.mean() - slope * (x - x.mean())
    error = math.sqrt(residuals @ residuals / 2 / ((x - x.mean()) @ (x - x.mean())))
    assert found.exponent == pytest.approx(slope)
    assert found.high - found.exponent == pytest.approx(stats.t.ppf(0.975, 2) * error)


def test_threads_are_shown_as_speed_up() -> None:
    cells = [
        cell("s", "a", 0.0, seconds=8 / v, extra={"axis": "threads", "value": v}) for v in (1, 2, 4)
    ]
    (found,) = sweeps(cells)
    assert found.points == [(1, 1.0), (2, 2.0), (4, 4.0)]
    assert found.exponent == pytest.approx(1.0)


def test_cells_that_are_not_done_enter_no_fit() -> None:
    cells = [cell("s", "a", 0.0, seconds=v, extra={"axis": "labels", "value": v}) for v in (1, 2)]
    cells.append(
        cell("s", "a", 0.0, status="time-limit", seconds=9.0, extra={"axis": "labels", "value": 3})
    )
    (found,) = sweeps(cells)
    assert (len(found.points), found.skipped) == (2, 1)
    assert math.isnan(found.low)


@pytest.mark.parametrize("value", [None, 0, -1, "ten", True])
def test_a_swept_value_that_is_no_number_is_named(value: object) -> None:
    with pytest.raises(InputError, match=r"extra\.value"):
        sweeps([cell("s", "a", 0.0, extra={"axis": "labels", "value": value})])


def grid(values: dict[str, list[float]]) -> list[Cell]:
    return [
        cell(f"stream-{i}", learner, value)
        for learner, column in values.items()
        for i, value in enumerate(column)
    ]


def test_ranks_and_p_values_follow_the_direction_of_the_measure() -> None:
    rng = np.random.default_rng(3)
    base = rng.random(8) * 0.3
    cells = grid({"ihomer": list(base + 0.4), "b": list(base + 0.2), "c": list(base)})
    groups = group(cells)
    for key in ("subset_accuracy", "hamming_loss"):
        comparison = compare(groups, key)
        outcome = run_tests(comparison, key, Reference(), samples=500)
        assert outcome.ranks == {"ihomer": 1.0, "b": 2.0, "c": 3.0}
        columns = [comparison.values[:, i] for i in range(3)]
        assert outcome.p == pytest.approx(stats.friedmanchisquare(*columns).pvalue)
        # Demšar (2006), table 5: q for 3 classifiers is 2.343.
        assert outcome.distance == pytest.approx(2.343 * math.sqrt(3 * 4 / (6 * 8)), abs=1e-3)
        single = stats.wilcoxon(columns[0], columns[1]).pvalue
        assert outcome.wilcoxon.loc["ihomer", "b"] == pytest.approx(min(1, 3 * single))
        against = {found.other: found for found in outcome.bayes}
        assert set(against) == {"b", "c"}
        assert against["c"].ours > 0.95
        assert against["c"].theirs < 0.05


def test_small_differences_are_practically_none() -> None:
    base = np.linspace(0.2, 0.8, 10)
    cells = grid({"ihomer": list(base + 0.004), "b": list(base), "c": list(base / 2)})
    comparison = compare(group(cells), "subset_accuracy")
    outcome = run_tests(comparison, "subset_accuracy", Reference(), samples=500)
    assert next(found for found in outcome.bayes if found.other == "b").rope > 0.95


@pytest.mark.parametrize(
    ("learners", "streams", "why"),
    [(2, 8, "2 learners"), (3, 4, "4 streams"), (0, 0, "no learners")],
)
def test_too_little_is_not_tested(learners: int, streams: int, why: str) -> None:
    rng = np.random.default_rng(1)
    cells = grid({f"l{i}": list(rng.random(streams)) for i in range(learners)})
    assert why in compare(group(cells), "subset_accuracy").shortage


def test_equal_figures_are_not_tested() -> None:
    cells = grid({name: [0.5, 0.6, 0.7, 0.8, 0.9] for name in "abc"})
    assert "same figures" in compare(group(cells), "subset_accuracy").shortage


def test_learners_with_few_streams_do_not_take_them_from_the_others() -> None:
    rng = np.random.default_rng(2)
    cells = grid({name: list(rng.random(9)) for name in ("ihomer", "b", "c")})
    cells += grid({"slow": [0.5, 0.5, 0.5]})
    cells += [cell(f"stream-{i}", "gone", 0.0, status="unavailable") for i in range(9)]
    comparison = compare(group(cells), "subset_accuracy")
    assert comparison.learners == ["ihomer", "b", "c"]
    assert len(comparison.rows) == 9
    assert comparison.left_out == {"slow": 3, "gone": 0}


def test_a_learner_is_dropped_if_that_makes_a_test_possible() -> None:
    cells = grid({name: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6] for name in ("ihomer", "b", "c")})
    cells += grid({"d": [0.1, 0.2, 0.3, 0.4]})
    comparison = compare(group(cells), "subset_accuracy")
    assert (comparison.learners, len(comparison.rows)) == (["ihomer", "b", "c"], 6)


def test_sorted_streams_are_tested_on_shuffles_only() -> None:
    cells = [cell("scene", "a", 0.9), cell("eukaryotego", "a", 0.8), cell("x", "a", 0.5)]
    cells += [cell("scene", "a", 0.3, shuffle=1), cell("x", "a", 0.4, shuffle=1)]
    assert rows_to_test(group(cells)) == [Row("scene", shuffled=True), Row("x")]


def test_the_frame_has_one_line_per_cell() -> None:
    documents = [made_up.accuracy(("flags", "scene")), made_up.throughput()]
    frame = cells_frame(collect(documents))
    assert len(frame) == sum(len(d.cells) for d in documents)
    line = frame[(frame.stream == "scene") & (frame.shuffle == 3) & (frame.learner == "ihomer")]
    (original,) = [
        c for c in documents[0].cells if (c.stream, c.shuffle, c.learner) == ("scene", 3, "ihomer")
    ]
    assert line.micro_f1.item() == original.measures["micro_f1"]
    assert frame[frame.command == "throughput"].micro_f1.isna().all()


def test_the_frame_of_nothing_is_empty() -> None:
    assert len(cells_frame(collect([]))) == 0
