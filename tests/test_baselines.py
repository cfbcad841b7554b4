"""The baselines: by hand, against their definitions, and against the known figures."""

from __future__ import annotations

import csv
from collections import Counter
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.connectors.base import Source
from ihomer.connectors.uri import open_sources
from ihomer.instances import Batch, Encoder, Event, Row
from ihomer.learners import baselines
from ihomer.learners.base import Predictions, SparsePredictions, StreamLearner
from ihomer.learners.baselines import BASELINES, Majority, MajoritySet, make_baseline
from ihomer.stream.measures import Measures
from tests.data import data_dir
from tests.predicted import assert_identical

LabelSets = list[list[str] | None]


def events(label_sets: LabelSets) -> list[Event]:
    return [Event(t, {"x": 1.0}, on) for t, on in enumerate(label_sets)]


def run(name: str, label_sets: LabelSets) -> tuple[Predictions, Encoder]:
    encoder = Encoder()
    return dense(make_baseline(name, encoder), encoder.encode(events(label_sets))), encoder


def dense(baseline: StreamLearner, batch: Batch) -> Predictions:
    found = baseline.predict_learn(batch)
    assert isinstance(found, Predictions)
    return found


def predicted(name: str, label_sets: LabelSets) -> list[set[str]]:
    found, encoder = run(name, label_sets)
    names = encoder.labels.names()
    return [{names[i] for i in np.flatnonzero(row)} for row in found.on]


def scored(name: str, label_sets: LabelSets) -> list[dict[str, float]]:
    """Scores by name; labels without one are left out."""
    found, encoder = run(name, label_sets)
    names = encoder.labels.names()
    return [
        {names[i]: float(row[i]) for i in np.flatnonzero(np.isfinite(row))} for row in found.scores
    ]


# By hand.


def test_no_change() -> None:
    sets: LabelSets = [["a", "b"], ["c"], None, [], ["a"]]
    assert predicted("no-change", sets) == [set(), {"a", "b"}, {"c"}, {"c"}, set()]
    assert scored("no-change", sets) == [
        {},
        {"a": 1.0, "b": 1.0},
        {"a": 0.0, "b": 0.0, "c": 1.0},
        {"a": 0.0, "b": 0.0, "c": 1.0},
        {"a": 0.0, "b": 0.0, "c": 0.0},
    ]


def test_majority() -> None:
    sets: LabelSets = [["a"], ["a", "b"], None, ["b"], ["b"], []]
    # Exactly half is not more than half.
    assert predicted("majority", sets) == [set(), {"a"}, {"a"}, {"a"}, {"a", "b"}, {"b"}]
    assert scored("majority", sets) == [
        {},
        {"a": 1.0},
        {"a": 1.0, "b": 0.5},
        {"a": 1.0, "b": 0.5},
        {"a": 2 / 3, "b": 2 / 3},
        {"a": 0.5, "b": 0.75},
    ]


def test_majority_set() -> None:
    sets: LabelSets = [["b"], ["a", "c"], None, ["b"], ["a", "c"], ["a", "c"], []]
    # b and {a, c} are as frequent after 2 and after 4 events: {a, c} comes first by its names.
    assert predicted("majority-set", sets) == [
        set(),
        {"b"},
        {"a", "c"},
        {"a", "c"},
        {"b"},
        {"a", "c"},
        {"a", "c"},
    ]
    assert scored("majority-set", sets)[4] == {"a": 0.0, "b": 1.0, "c": 0.0}


@pytest.mark.parametrize("sets", [[["b"], ["a"], []], [["a"], ["b"], []], [["b", "a"], ["a"], []]])
def test_ties_of_sets_are_broken_by_name_not_by_age(sets: LabelSets) -> None:
    assert predicted("majority-set", sets)[-1] == {"a"}


def test_the_empty_set_comes_first_among_equals() -> None:
    assert predicted("majority-set", [["a"], [], ["a"]])[-1] == set()


def test_a_set_is_the_same_in_any_order() -> None:
    assert predicted("majority-set", [["c"], ["a", "b"], ["b", "a"], []])[-1] == {"a", "b"}


def test_events_counts_what_had_been_learned() -> None:
    for name in BASELINES:
        found, _ = run(name, [["a"], None, None, ["b"], []])
        assert found.events.tolist() == [0, 1, 1, 1, 2]


# Against their definitions.


def by_definition(name: str, past: list[frozenset[str]]) -> set[str]:
    if not past:
        return set()
    if name == "no-change":
        return set(past[-1])
    if name == "majority":
        counts = Counter(label for on in past for label in on)
        return {label for label, count in counts.items() if count > len(past) / 2}
    sets = Counter(past)
    return set(min(sets, key=lambda on: (-sets[frozenset(on)], sorted(on))))


some_sets = st.lists(
    st.none() | st.lists(st.sampled_from("abcde"), unique=True, max_size=3), max_size=30
)


@given(some_sets, st.sampled_from(BASELINES), st.integers(0, 30))
def test_baselines_are_their_definitions_however_cut(sets: LabelSets, name: str, cut: int) -> None:
    encoder = Encoder()
    baseline = make_baseline(name, encoder)
    found: list[set[str]] = []
    for part in (events(sets[:cut]), events(sets[cut:])):
        on = dense(baseline, encoder.encode(part)).on
        found += [{encoder.labels.name(int(i)) for i in np.flatnonzero(row)} for row in on]
    past: list[frozenset[str]] = []
    for on_now, mine in zip(sets, found, strict=True):
        assert mine == by_definition(name, past)
        if on_now is not None:
            past.append(frozenset(on_now))


@pytest.mark.parametrize("name", BASELINES)
def test_many_labels_and_a_vocabulary_that_is_older_than_the_baseline(name: str) -> None:
    encoder = Encoder()
    encoder.encode(events([[f"label {i}" for i in range(100)]]))
    baseline = make_baseline(name, encoder)
    for _ in range(3):
        found = dense(baseline, encoder.encode(events([["label 3"], ["label 3"]])))
    assert found.on.shape == found.scores.shape == (2, 100)
    assert np.flatnonzero(found.on[-1]).tolist() == [encoder.labels.get("label 3")]


def test_the_number_of_sets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MajoritySet, "LIMIT", 10)
    encoder = Encoder()
    baseline: Any = make_baseline("majority-set", encoder)
    sets: LabelSets = [["often"], ["often"], ["often"], *([f"rare {t}"] for t in range(200))]
    found = dense(baseline, encoder.encode(events(sets)))
    assert len(baseline._counts) <= 10
    often = encoder.labels.get("often")
    assert found.on[3:, often].all()
    # What was counted last is still there when it becomes frequent.
    later = dense(baseline, encoder.encode(events([["rare 199"]] * 5)))
    assert later.on[-1, encoder.labels.get("rare 199")]


# Of many labels.


class Ranked(NamedTuple):
    names: list[str]
    scores: list[float]
    on: set[str]


def ranked(found: SparsePredictions, encoder: Encoder) -> list[Ranked]:
    rows = []
    for start, stop in pairwise(found.indptr.tolist()):
        names = [encoder.labels.name(i) for i in found.labels[start:stop].tolist()]
        on = {name for name, yes in zip(names, found.on[start:stop], strict=True) if yes}
        rows.append(Ranked(names, found.scores[start:stop].tolist(), on))
    return rows


def candidates_by_definition(name: str, past: list[frozenset[str]]) -> list[tuple[float, str]]:
    """Minus the score and the name of each, sorted; at least two of the most frequent labels."""
    if not past:
        return []
    if name != "majority":
        return sorted((-1.0, label) for label in by_definition(name, past))
    counts = Counter(label for on in past for label in on)
    order = sorted((-count / len(past), label) for label, count in counts.items())
    return order[: max(2, sum(rate < -0.5 for rate, _ in order))]


@given(some_sets, st.sampled_from(BASELINES), st.integers(0, 30), st.integers(0, 3))
def test_candidates_are_their_definitions_however_cut(
    sets: LabelSets, name: str, cut: int, many: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "MANY", many)
        patch.setattr(Majority, "SHOWN", 2)
        encoder = Encoder()
        baseline = make_baseline(name, encoder)
        whole = Measures()
        past: list[frozenset[str]] = []
        known: set[str] = set()
        parts = [events(sets[:cut]), events(sets[cut:])]
        for part in parts:
            batch = encoder.encode(part)
            found = baseline.predict_learn(batch)
            whole.update_batch(batch, found)
            rows = ranked(found, encoder) if isinstance(found, SparsePredictions) else None
            assert (rows is not None) == bool((batch.known[: len(batch)] > many).any())
            for t, event in enumerate(part):
                if rows is not None and len(known) > many:
                    wanted = candidates_by_definition(name, past)
                    pairs = zip(rows[t].scores, rows[t].names, strict=True)
                    least = [(-score, label) for score, label in pairs]
                    # More of them may be shown where once more were predicted on.
                    assert least[: len(wanted)] == wanted
                    assert least == sorted(least)
                elif rows is not None:
                    assert set(rows[t].names) == (known if past else set())
                if rows is not None:
                    assert rows[t].on == by_definition(name, past)
                if event.on is not None:
                    past.append(frozenset(event.on))
                    known.update(event.on)
        # The same figures from one batch.
        again = Encoder()
        batch, measures = again.encode(events(sets)), Measures()
        measures.update_batch(batch, make_baseline(name, again).predict_learn(batch))
        assert_identical(measures.result(), whole.result())


def test_a_majority_of_very_many_labels_is_predicted() -> None:
    encoder = Encoder()
    baseline = make_baseline("majority", encoder)
    often = [f"often {i:03d}" for i in range(200)]
    sets: LabelSets = [[*often, *(f"{t} {i}" for i in range(2500))] for t in range(3)]
    batch = encoder.encode(events([*sets, *[["late"]] * 5]))
    found = baseline.predict_learn(batch)
    assert isinstance(found, SparsePredictions)
    rows = ranked(found, encoder)
    assert [len(row.on) for row in rows] == [0, 2700, 200, 200, 200, 200, 0, 1]
    assert rows[3].names[:200] == often
    assert rows[7].scores[0] == pytest.approx(4 / 7)


# Against the known figures.

COLUMNS = {
    "subset_acc": "subset_accuracy",
    "hamming": "hamming_loss",
    "micro_f1": "micro_f1",
    "macro_f1": "macro_f1",
}
SMALL = ("flags", "foodtruck", "emotions", "birds", "medical", "enron", "scene")


def assert_as_known(name: str, source: Source, folder: Path) -> None:
    table = folder / "baselines.csv"
    if not table.is_file():
        pytest.skip(f"no figures of the baselines in {folder}")
    encoder = Encoder(source.labels)
    contestants = {
        baseline: (make_baseline(baseline, encoder), Measures()) for baseline in BASELINES[:2]
    }
    while (records := source.next_batch(500, 0.0)) is not None:
        for record in records:
            assert isinstance(record.value, Event)
            # The baselines need no features.
            encoder.add(Event(record.value.id, Row((), np.zeros(0)), record.value.on))
        batch = encoder.take()
        for learner, measures in contestants.values():
            measures.update_batch(batch, learner.predict_learn(batch))
    with table.open() as file:
        known = [row for row in csv.DictReader(file) if row["stream"] == name]
    assert len(known) == len(contestants)
    for row in known:
        result = contestants[row["baseline"]][1].result(len(encoder.labels))
        found = {column: result[measure] for column, measure in COLUMNS.items()}
        expected = {column: float(row[column]) for column in COLUMNS}
        assert found == pytest.approx(expected, abs=0.5001e-4), row["baseline"]


@pytest.mark.parametrize("name", SMALL)
def test_figures_of_the_public_streams(name: str) -> None:
    folder = data_dir()
    files = sorted(folder.glob(f"{name}.arff.gz"))
    files = files or [folder / f"{name}-{part}.arff.gz" for part in ("train", "test")]
    uris = [str(file) for file in files]
    with closing(open_sources(uris)) as source:
        assert_as_known(name, source, folder.parent / "results")


def test_figures_of_yeast() -> None:
    with closing(open_sources(["river:yeast"])) as source:
        assert_as_known("yeast", source, data_dir().parent / "results")
