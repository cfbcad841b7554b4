"""The report's page in a real browser: plots are drawn, tables sort, nothing leaves the page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.report import writer
from bench.results import Document
from tests import browser as browsing
from tests import report_documents as made_up
from tests.browser import find_browser

pytestmark = pytest.mark.integration
STREAMS = ("flags", "foodtruck", "emotions", "yeast", "20ng", "scene")
LEARNERS = ("ihomer", "river-br-lr", "river-br-knn", "no-change", "majority")


@pytest.fixture(scope="module")
def browser() -> str:
    return find_browser()


def documents() -> list[Document]:
    swept = made_up.throughput(("labels", "threads"))
    return [made_up.accuracy(STREAMS, LEARNERS), swept, made_up.drift()]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return writer.make(documents(), tmp_path_factory.mktemp("page") / "out", None, samples=100)


def visit(browser: str, page: Path) -> tuple[str, list[str]]:
    """The document after its scripts have run, and what the console said."""
    return browsing.visit(browser, page, page.parent.parent / "profile")


def changed(page: Path, script: str) -> Path:
    """A copy of the page that runs `script` at its end."""
    text = page.read_text(encoding="utf-8")
    copy = page.with_name(f"changed-{abs(hash(script))}.html")
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return copy


def root_of(document: str) -> str:
    found = re.search(r"<html[^>]*>", document)
    assert found is not None
    return found.group()


def test_the_same_documents_give_the_same_bytes(page: Path, tmp_path: Path) -> None:
    """In another process, whose sets of strings have another order."""
    code = (
        "import sys; from pathlib import Path; from bench.report import writer;"
        "from tests.integration.test_report_page import documents;"
        "writer.make(documents(), Path(sys.argv[1]), None, samples=100)"
    )
    root = Path(__file__).parent.parent.parent
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "again")], check=True, cwd=root)
    files = [path for path in sorted(page.parent.rglob("*")) if path.is_file()]
    assert any(path.name == "critical_difference_micro_f1.svg" for path in files)
    for path in files:
        if not path.name.startswith("changed"):
            other = tmp_path / "again" / path.relative_to(page.parent)
            assert other.read_bytes() == path.read_bytes(), path.name


def test_every_plot_is_drawn_without_an_error(browser: str, page: Path) -> None:
    document, console = visit(browser, page)
    expected = page.read_text(encoding="utf-8").count('<script type="application/json"')
    assert expected > 5
    assert f'data-plots="{expected}"' in root_of(document)
    assert "data-errors" not in root_of(document)
    assert document.count('class="main-svg"') >= expected
    assert console == []


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("new Image().src = 'https://example.org/x.png'", "blocked img-src"),
        ("fetch('https://example.org/').catch(() => 0)", "blocked connect-src"),
        ("throw new Error('on purpose')", "on purpose"),
    ],
)
def test_a_request_or_an_error_would_be_seen(
    browser: str, page: Path, script: str, found: str
) -> None:
    document, _ = visit(browser, changed(page, script))
    assert found in root_of(document)


def test_a_click_sorts_and_another_turns_it_round(browser: str, page: Path) -> None:
    script = """
      const table = [...document.querySelectorAll("figure.table")].find(
        (f) => f.querySelector("figcaption").textContent.startsWith("Streams")
      ).querySelector("table");
      const names = () => [...table.tBodies[0].rows].map((r) => r.cells[0].textContent).join(" ");
      const root = document.documentElement;
      root.dataset.before = names();
      table.querySelectorAll("thead button")[2].click();
      root.dataset.up = names();
      table.querySelectorAll("thead button")[2].click();
      root.dataset.down = names();
      table.querySelectorAll("thead button")[0].click();
      root.dataset.named = names();
    """
    root = root_of(visit(browser, changed(page, script))[0])
    assert 'data-before="flags foodtruck emotions yeast 20ng scene"' in root
    assert 'data-up="flags foodtruck emotions yeast scene 20ng"' in root  # features
    assert 'data-down="20ng scene yeast emotions foodtruck flags"' in root
    assert 'data-named="20ng emotions flags foodtruck scene yeast"' in root


def test_the_choice_of_a_measure_changes_the_curves(browser: str, page: Path) -> None:
    script = """
      const change = function () {
        if (document.documentElement.dataset.plots === undefined) return setTimeout(change, 20);
        const select = document.querySelector("select[data-for]");
        const plot = document.getElementById(select.dataset.for);
        const shown = () => [...new Set(
          plot.data.filter((t) => t.visible).map((t) => t.meta))].join(" ");
        document.documentElement.dataset.first = shown();
        select.value = "macro_f1";
        select.dispatchEvent(new Event("change"));
        document.documentElement.dataset.second = shown();
        document.documentElement.dataset.axis = plot.layout.yaxis.title.text;
      };
      change();
    """
    root = root_of(visit(browser, changed(page, script))[0])
    assert 'data-first="subset_accuracy"' in root
    assert 'data-second="macro_f1"' in root
    assert 'data-axis="Macro-F1"' in root
    assert "data-errors" not in root
