"""The list of design decisions, from the records themselves.

In: a folder of ``NNNN-title.md``. Out: a Markdown page that lists them with their headings. It is
here so that a record is listed because it is there.
"""

from __future__ import annotations

import re
from pathlib import Path

from tools.site.markdown import table

_HEAD = """\
# Decisions

What was chosen, what else was tried, and the figures that decided: one record each.
"""
_NUMBER = re.compile(r"^\d+[.:]?\s*")


def decisions_page(folder: Path) -> str:
    """The page, with a hidden table of contents that makes the records its children."""
    records = sorted(folder.glob("[0-9][0-9][0-9][0-9]-*.md"))
    rows = []
    for record in records:
        first = record.read_text(encoding="utf-8").split("\n", 1)[0]
        title = _NUMBER.sub("", first.removeprefix("# "))
        rows.append([str(int(record.name[:4])), f"[{title}](../decisions/{record.name})"])
    listed = "\n".join(f"../decisions/{record.stem}" for record in records)
    tree = f"```{{toctree}}\n:hidden:\n\n{listed}\n```"
    return "\n\n".join([_HEAD, table(["number", "decision"], rows), tree]) + "\n"
