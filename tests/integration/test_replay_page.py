"""A replay's page in a real browser: drawn from the data in it, and it asks nobody for anything."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image
from numpy.typing import NDArray

from ihomer.errors import EXIT_OK
from tests.browser import find_browser, photograph, visit
from tests.commands import replay

pytestmark = pytest.mark.integration
SIZE = (1200, 1500)
LEFT = 150  # of the panels
# Two blocks of concepts that change in the middle, so that there is something of everything.
STREAM = "synthetic:linear?labels=24&blocks=4&events=4000&drift=sudden&at=2000"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "out.html"
    done = replay(STREAM, "--plot", str(path), "--quiet")
    assert done.exit_code == EXIT_OK, done.output
    return path


@pytest.fixture(scope="module")
def seen(page: Path) -> tuple[str, list[str]]:
    return visit(find_browser(), page, page.parent / "profile")


@pytest.fixture(scope="module")
def data(seen: tuple[str, list[str]]) -> dict[str, Any]:
    found = re.search(r'<script [^>]*id="data">(.*?)</script>', seen[0], re.DOTALL)
    assert found is not None
    parsed: dict[str, Any] = json.loads(found.group(1))
    return parsed


def test_what_the_browser_shows_is_what_the_data_says(
    seen: tuple[str, list[str]], data: dict[str, Any]
) -> None:
    document, console = seen
    assert console == []
    learners = [name for name in data["points"][0] if name != "events"]
    assert learners == ["ihomer", "no-change", "majority", "majority-set"]
    lines = re.findall(r'<polyline class="line[^"]*"[^>]* points="([^"]*)"', document)
    assert len(lines) == 4 * len(learners)
    assert all(len(line.split()) == len(data["points"]) for line in lines)
    marks = [mark for row in data["marks"] for mark in row["marks"]]
    assert document.count('class="mark ') == len(marks) > 0
    assert {"partition", "label"} <= {row["level"] for row in data["marks"]}
    assert document.count("<circle ") == len(data["tree"]) > 24
    assert document.count("<tr>") == 1 + len(data["labels"]) == 25


def test_nothing_in_it_is_fetched(page: Path) -> None:
    """Neither by its own elements nor, as its policy forbids that, by anything else in it."""
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"\s(src|href)=|url\(|@import", text)
    changed = page.with_name("changed.html")
    fetched = '<img src="https://example.org/x.png"/></body>'
    changed.write_text(text.replace("</body>", fetched), encoding="utf-8")
    _, console = visit(find_browser(), changed, page.parent / "profile")
    assert any("Content Security Policy" in line for line in console)


def test_the_picture_has_lines_marks_and_clusters_where_the_data_puts_them(
    page: Path, data: dict[str, Any]
) -> None:
    picture = page.with_name("picture.png")
    photograph(find_browser(), page, picture, page.parent / "profile", SIZE)
    pixels = np.asarray(image.imread(picture))[..., :3]
    assert pixels.shape[:2] == SIZE[::-1]
    blue, green = near(pixels, 0x1668C7), near(pixels, 0x2A9D6F)
    blue[:, :LEFT] = False  # the legend
    # ihomer's line goes through the four panels from side to side.
    columns = np.flatnonzero(blue.any(axis=0))
    assert len(columns) > 700
    assert np.diff(columns).max() < 10  # red lines of alarms go across it
    # A mark is a stroke of its own where its event is, left and right of the axis.
    marks = {
        mark["event"] for row in data["marks"] if row["kind"] != "alarm" for mark in row["marks"]
    }
    left, right = columns[0], columns[-1]
    first = data["points"][0]["events"]
    scale = (right - left) / (data["events"] - first)
    struck = np.flatnonzero(green.any(axis=0))
    for event in marks:
        place = left + scale * (event - first)
        assert np.abs(struck - place).min() <= 3, event
    # Rows of the tree: a bar of its cluster's colour for each label.
    colours = (0x4477AA, 0xCC6677, 0x117733, 0x999933, 0x882255, 0x44AA99, 0xAA4499, 0xDDAA33)
    drawn = [colour for colour in colours if near(pixels, colour).sum() > 100]
    clusters = {each["cluster"] for each in data["labels"] if each["cluster"] is not None}
    assert len(drawn) >= min(len(clusters), 4)


def near(pixels: NDArray[np.float32], colour: int) -> NDArray[np.bool_]:
    """Where a pixel is of that colour, or nearly."""
    wanted = np.array([colour >> 16, colour >> 8 & 255, colour & 255]) / 255
    return np.asarray(np.abs(pixels - wanted).max(axis=2) < 0.04)
