"""The page of a replay: well-formed, everything inside, nothing of a stream's taken for markup."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.drift.events import Kind, LearnerEvent, Level
from ihomer.errors import EXIT_OK
from ihomer.learners.partition.hierarchy import Hierarchy, HierarchyNode
from ihomer.stream.plot import MEASURES, LabelRow, label_rows, page
from ihomer.stream.plot.dendrogram import MOST_ROWS
from ihomer.stream.plot.labels import MOST_LABELS
from tests.commands import replay

HOSTILE = '</svg><script>alert("&")</script>'
EVENTS = [
    LearnerEvent(128, Kind.BIRTH, Level.LABEL, labels=(HOSTILE,)),
    LearnerEvent(256, Kind.ALARM, Level.STRUCTURE, "looked at", statistic=0.5, bound=0.25),
    LearnerEvent(256, Kind.MOVE, Level.PARTITION, HOSTILE, 2, ("a",)),
    *(LearnerEvent(256, Kind.MOVE, Level.PARTITION, "", k) for k in range(3, 20)),
]


def points(values: list[float]) -> list[dict[str, Any]]:
    return [
        {
            "events": 10 * (i + 1),
            "ihomer": dict.fromkeys(MEASURES, value),
            HOSTILE: dict.fromkeys(MEASURES, 0.5),
        }
        for i, value in enumerate(values)
    ]


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.removeprefix("<!doctype html>"))  # noqa: S314 - made here


def data_of(drawn: ElementTree.Element) -> dict[str, Any]:
    (script,) = drawn.iter("script")
    assert script.attrib == {"type": "application/json", "id": "data"}
    found: dict[str, Any] = json.loads(script.text or "")
    return found


def part(drawn: ElementTree.Element, name: str) -> ElementTree.Element:
    (found,) = (each for each in drawn.iter() if each.get("id") == name)
    return found


def texts(part: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in part.iter("text")]


def row(label: str, events: int = 1, cluster: int | None = None) -> LabelRow:
    return LabelRow(label, events, 0.5, 1, 0.25, 0.5, 1 / 3, 0.125, cluster)


def pair(left: HierarchyNode, right: HierarchyNode, dissimilarity: float = 0.9) -> HierarchyNode:
    labels = tuple(sorted(left.labels + right.labels))
    return HierarchyNode(labels, dissimilarity, 1.0, 0.1, (left, right))


def cluster(*labels: str, dissimilarity: float = 0.5) -> HierarchyNode:
    return HierarchyNode(labels, dissimilarity, 0.5, 0.01)


def test_lines_and_marks_are_inside_and_say_what_happened() -> None:
    drawn = parsed(page(HOSTILE, points([0.1, math.nan, 0.9]), EVENTS))
    assert [drawn.findtext("head/title"), drawn.findtext("body/h1")] == [HOSTILE] * 2
    picture = part(drawn, "measures")
    width, height = float(picture.get("width", "")), float(picture.get("height", ""))
    lines = [line.get("points", "").split() for line in picture.iter("polyline")]
    assert [len(line) for line in lines] == [2, 3] * len(MEASURES)
    for x, y in (map(float, place.split(",")) for line in lines for place in line):
        assert 0.0 <= x <= width
        assert 0.0 <= y <= height
    said = [line.findtext("title") for line in picture.iter("line") if len(line)]
    assert said[0] == "event 256\nstructure alarm; looked at; 0.5 past 0.25"
    assert said[1] is not None
    assert said[1].startswith(f"event 256\npartition move; cluster 2; {HOSTILE}; a\n")
    assert said[1].endswith("\nand 8 more")
    assert said[2] == f"event 128\nlabel birth; {HOSTILE}"
    for text in ("structure alarm", "partition move", "label birth", "256 events"):
        assert text in texts(picture)
    across = [line for line in picture.iter("line") if "across" in line.get("class", "")]
    assert len(across) == 1  # one alarm that concerns everything


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5], [math.nan]])
def test_little_to_draw(values: list[float]) -> None:
    drawn = parsed(page("none", points(values), []))
    for line in drawn.iter("polyline"):
        assert "nan" not in line.get("points", "")
    assert len(list(drawn.iter("rect"))) == len(MEASURES)
    assert data_of(drawn)["tree"] == []


def test_few_labels_are_rows_of_the_tree_under_their_clusters() -> None:
    near, far = cluster("a", HOSTILE, dissimilarity=0.95), cluster("c", dissimilarity=0.0)
    rows = [row(HOSTILE, 9, 4), row("a", 2, 4), row("c", 3, 7)]
    drawn = parsed(page("few", [], [], Hierarchy(pair(near, far)), rows))
    tree = data_of(drawn)["tree"]
    assert [node["label"] for node in tree] == [None, None, HOSTILE, "a", "c"]
    assert [node["sides"] for node in tree] == [[1, 4], [2, 3], [], [], []]
    assert [node["cluster"] for node in tree] == [None, 4, 4, 4, 7]
    picture = part(drawn, "tree")
    shown = [text for text in texts(picture) if not text.replace(".", "").isdigit()]
    assert shown == [HOSTILE, "a", "c"]
    circles = list(picture.iter("circle"))
    assert len(circles) == len(tree)
    across = [float(circle.get("cx", "")) for circle in circles]
    assert across[1] == across[0]  # less alike within than to its neighbour
    assert across[2] == across[3] == across[4] == max(across)
    bars = [float(bar.get("width", "")) for bar in picture.iter("rect")]
    assert bars[0] == 60.0
    assert bars[0] > bars[2] > bars[1]
    assert circles[1].findtext("title") == (
        f"cluster 4\n2 labels in 1 clusters\ndissimilarity 0.950 ± 0.010\ndiameter 0.500\n"
        f"{HOSTILE}, a"
    )


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=150),
    joins=st.randoms(use_true_random=False),
)
def test_however_many_clusters_there_are_rows_are_bounded_and_hold_all(
    sizes: list[int], joins: Any
) -> None:
    nodes, start = [], 0
    for size in sizes:
        nodes.append(cluster(*(f"l{i}" for i in range(start, start + size))))
        start += size
    while len(nodes) > 1:
        joins.shuffle(nodes)
        nodes.append(pair(nodes.pop(), nodes.pop()))
    drawn = parsed(page("many", [], [], Hierarchy(nodes[0])))
    tree = data_of(drawn)["tree"]
    leaves = [node for node in tree if not node["sides"]]
    assert len(leaves) <= MOST_ROWS
    assert sum(node["size"] for node in leaves) == start
    if start <= MOST_ROWS:
        assert len(leaves) == start
    else:
        assert len(leaves) == min(MOST_ROWS, len(sizes))
        assert sum(node["clusters"] for node in leaves) == len(sizes)
    picture = part(drawn, "tree")
    width, height = float(picture.get("width", "")), float(picture.get("height", ""))
    places = [float(circle.get("cy", "")) for circle in picture.iter("circle")]
    rows = sorted(place for place, node in zip(places, tree, strict=True) if not node["sides"])
    assert all(later - before >= 17.9 for before, later in itertools.pairwise(rows))
    assert rows[-1] < height
    assert all(float(text.get("x", "")) < width for text in picture.iter("text"))


def test_a_table_of_the_most_frequent_labels_says_how_many_it_leaves_out() -> None:
    counts = {f"l{i:04}": (i, 1, 2) for i in range(MOST_LABELS + 3)}
    rows = label_rows(counts, [{"l0003": (3, 0, 2)}], {"l1002": 5}, 10_000)
    drawn = parsed(page("table", [], [], None, rows))
    data = data_of(drawn)
    assert [data["more_labels"], len(data["labels"])] == [3, MOST_LABELS]
    shown = [[cell.text for cell in row] for row in part(drawn, "labels").findall("tbody/tr")]
    assert len(shown) == MOST_LABELS
    assert shown[0][:8] == [
        *("l1002", "1,004", "10.04%", "1,003", "0.999", "0.998", "0.999", "0.000")
    ]
    assert data["labels"][0]["cluster"] == 5
    assert data["labels"][-1]["label"] == "l0003"
    assert data["labels"][-1]["best_baseline"] == 0.75
    assert "and 3 labels that are less frequent" in [p.text for p in drawn.iter("p")]


def test_a_replay_s_page_has_the_figures_of_its_table(alone: None) -> None:
    done = replay(
        "river:yeast", "--limit", "600", "--plot", "page.html", "--json", "all.json", "--quiet"
    )
    assert done.exit_code == EXIT_OK, done.output
    data = data_of(parsed(Path("page.html").read_text(encoding="utf-8")))
    figures = json.loads(Path("all.json").read_text(encoding="utf-8"))
    labels = data["labels"]
    assert len(labels) == figures["labels"] == 14
    assert math.isclose(
        sum(each["f1"] for each in labels) / len(labels), figures["measures"]["macro_f1"]
    )
    on = sum(each["events"] for each in labels)
    assert math.isclose(on / 600, figures["measures"]["cardinality"])
    predicted = sum(each["predicted"] for each in labels)
    hits = sum(each["precision"] * each["predicted"] for each in labels)
    assert math.isclose(2 * hits / (predicted + on), figures["measures"]["micro_f1"])
    clusters: dict[int, set[str]] = {}
    for each in labels:
        if each["cluster"] is not None:
            clusters.setdefault(each["cluster"], set()).add(each["label"])
    assert sorted(map(sorted, clusters.values())) == sorted(figures["model"]["clusters"])
    assert data["points"][-1]["events"] == data["events"] == 600
    assert set(data["points"][-1]["ihomer"]) == set(MEASURES)
    named = [node["label"] for node in data["tree"] if node["label"]]
    assert sorted(named) == sorted(label for own in clusters.values() for label in own)
