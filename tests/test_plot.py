"""The page of a replay: well-formed, everything inside, nothing of a stream's taken for markup."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree

import pytest

from ihomer.drift.events import Kind, LearnerEvent, Level
from ihomer.stream.plot import MEASURES, page

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
    body = text.removeprefix("<!doctype html>").replace('<meta charset="utf-8">', "")
    return ElementTree.fromstring(body)  # noqa: S314 - made here


def test_lines_and_marks_are_inside_and_say_what_happened() -> None:
    drawn = parsed(page(HOSTILE, points([0.1, math.nan, 0.9]), EVENTS))
    assert not list(drawn.iter("script"))
    assert [drawn.findtext("title"), drawn.findtext("h1")] == [HOSTILE] * 2
    picture = drawn.findall("svg")[0]
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
    rows = [text.text for text in picture.iter("text")]
    for row in ("structure alarm", "partition move", "label birth", "256 events"):
        assert row in rows
    across = [line for line in picture.iter("line") if "across" in line.get("class", "")]
    assert len(across) == 1  # one alarm that concerns everything


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5], [math.nan]])
def test_little_to_draw(values: list[float]) -> None:
    drawn = parsed(page("none", points(values), []))
    for line in drawn.iter("polyline"):
        assert "nan" not in line.get("points", "")
    assert len(list(drawn.iter("rect"))) == len(MEASURES)
