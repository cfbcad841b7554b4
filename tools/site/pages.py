"""Pages of the documentation that are generated from what they describe.

In: the configuration's model, the command line, the figures and decisions on file. Out: Markdown
under ``docs/generated``. It is here so that no reference is typed twice and goes stale.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tools.site.commands import commands_page
from tools.site.decisions import decisions_page
from tools.site.figures import scenarios_page, streams_page
from tools.site.keys import keys_page

ROOT = Path(__file__).parent.parent.parent
PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": keys_page,
    "commands.md": commands_page,
    "changelog.md": lambda: (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    "decisions.md": lambda: decisions_page(ROOT / "docs" / "decisions"),
    "streams.md": lambda: streams_page(ROOT / "README.md"),
    "scenarios.md": lambda: scenarios_page(ROOT / "bench" / "scenarios.json"),
}


def write_pages(folder: Path) -> list[Path]:
    """Write all generated pages into `folder`; those that are already so are left untouched.

    Returns
    -------
    list of Path
        The pages.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, make in PAGES.items():
        path = folder / name
        text = make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        written.append(path)
    return written
