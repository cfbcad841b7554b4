"""The documentation as a site: generated pages hold what there is, all builds and is offline."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer.main
import yaml

from bench.check import SCENARIOS
from ihomer.stream.cli import app
from ihomer.stream.settings import Settings
from tests.snippets import ROOT
from tools.site.commands import commands_page
from tools.site.decisions import decisions_page
from tools.site.figures import scenarios_page, streams_page
from tools.site.keys import keys_page

pytestmark = pytest.mark.integration


def test_every_key_is_there_with_its_default_and_its_variable() -> None:
    page = keys_page()
    for name in Settings.model_fields:
        assert f"\n(key-{name.replace('_', '-')})=\n" in page
        assert f"- Environment: `IHOMER_{name.upper()}`" in page
    assert "| [`batch_size`](#key-batch-size) | `256` |" in page
    assert "May be changed under a model: no" in page


def test_every_command_is_there_with_its_options() -> None:
    page = commands_page()
    commands = [("ihomer", typer.main.get_command(app))]
    leaves = 0
    while commands:
        name, command = commands.pop()
        below = getattr(command, "commands", {})
        commands += [(f"{name} {each}", found) for each, found in below.items()]
        if below:
            continue
        leaves += 1
        section = page.partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]
        assert section, name
        for parameter in command.params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert option in section, (name, option)
    assert leaves == page.count("\n## `") > 10


def test_every_decision_is_listed_and_every_scenario_has_its_figures() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = decisions_page(folder)
    for record in folder.glob("*.md"):
        assert f"](../decisions/{record.name})" in listed
        assert f"\n../decisions/{record.stem}\n" in listed
    scenarios = json.loads(SCENARIOS.read_text(encoding="utf-8"))
    page = scenarios_page(SCENARIOS)
    rows = [line for line in page.splitlines() if re.match(r"\| (?!learner)", line)]
    assert len(rows) == len(scenarios)
    for each in scenarios:
        assert f"| {each['learner']} | {each['values']['subset_accuracy']:.4f} |" in page


def test_figures_are_the_readme_s_and_a_readme_without_any_is_refused(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    page = streams_page(ROOT / "README.md")
    table = re.findall(r"^\| (?:stream|yeast|20ng) .*$", readme, re.MULTILINE)
    assert len(table) == 3
    assert all(line in page for line in table)
    bad = tmp_path / "README.md"
    bad.write_text("## Figures\n\nnone\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no section Figures with a table"):
        streams_page(bad)


def test_every_alarm_has_a_section_that_says_what_to_do() -> None:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text(encoding="utf-8"))
    alarms = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    page = (ROOT / "docs/operations/monitoring.md").read_text(encoding="utf-8")
    assert len(alarms) > 10
    for alarm in alarms:
        section = page.partition(f"\n### {alarm}\n")[2].partition("\n### ")[0]
        assert len(section.split()) > 8, alarm


class _Links(HTMLParser):
    """What a page fetches, where it leads, and the names that lead to it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.leads: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.names.update(filter(None, [found.get("id")]))
        if tag in ("script", "img", "iframe") and "src" in found:
            self.fetched.append(found["src"])
        if tag == "link" and found.get("rel") in ("stylesheet", "icon"):
            self.fetched.append(found["href"])
        if tag == "a" and "href" in found:
            self.leads.append(found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("site") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "tools.site", "--output", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return output


def test_the_site_builds_fetches_nothing_and_its_links_lead_somewhere(site: Path) -> None:
    pages = {path: _Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    assert len(pages) > 30
    for path, page in pages.items():
        for each in page.fetched:
            address = each.partition("?")[0]
            assert "//" not in address, f"{path}: {each}"
            assert (path.parent / address).is_file(), f"{path}: {each}"
        for lead in page.leads:
            where, _, name = lead.partition("#")
            if "//" in where or where.startswith("mailto:"):
                continue
            target = (path.parent / where).resolve() if where else path
            assert target.is_file(), f"{path}: {lead}"
            if name and target in pages:
                assert name in pages[target].names, f"{path}: {lead}"
    for style in (site / "_static").rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", style.read_text("utf-8")), (
            style
        )


def test_formulas_are_drawn_without_a_script(site: Path) -> None:
    text = (site / "how-it-works.html").read_text(encoding="utf-8")
    assert text.count("<math") > 60
    assert "$" not in re.sub(r"<(script|style|code|pre)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert not re.search(r"<script[^>]*(mathjax|katex)", text, re.IGNORECASE)
