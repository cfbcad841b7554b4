"""Pages of benchmark figures, from figures that are on file.

In: the README's table, which `bench.readme` makes, and ``bench/scenarios.json``, which
`bench.check` holds. Out: Markdown pages. It is here so that the site shows no figure that nothing
in the repository stands for.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from tools.site.markdown import table

_SCENARIOS = """\
# Scores on fixed scenarios

What `make bench-check` compares every learner with, to the tolerance in the last column; the
figures are those of `bench/scenarios.json`, which `python -m bench.check --update` writes. They are
small streams, so that the check takes a minute: they hold learners still, and do not rank them.
"""
_MEASURES = {
    "subset_accuracy": "subset accuracy",
    "hamming_loss": "Hamming loss",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "average_precision": "average precision",
}
_STREAMS = """\
# Accuracy and speed

The section "Figures" of the README as it stands; its table is made by `python -m bench.readme` from
the documents of the two commands in it.
"""


def scenarios_page(file: Path) -> str:
    """One table for each stream and number of events, learners as they are on file."""
    groups: dict[tuple[str, int], list[list[str]]] = defaultdict(list)
    for each in json.loads(file.read_text(encoding="utf-8")):
        figures = [f"{each['values'][key]:.4f}" for key in _MEASURES]
        row = [each["learner"], *figures, f"{each['tolerance']:g}"]
        groups[each["stream"], each["limit"]].append(row)
    parts = [_SCENARIOS]
    for (stream, limit), rows in groups.items():
        parts.append(f"## `{stream}`, {limit:,} events")
        parts.append(table(["learner", *_MEASURES.values(), "tolerance"], rows, right=1))
    return "\n\n".join(parts) + "\n"


def streams_page(readme: Path) -> str:
    """The README's section of figures, its links seen from where the page lies.

    Raises
    ------
    ValueError
        The README has no such section, or no table in it.
    """
    text = readme.read_text(encoding="utf-8")
    _, found, rest = text.partition("\n## Figures\n")
    section = rest.partition("\n## ")[0]
    if not found or "| stream |" not in section:
        raise ValueError(f"{readme}: found no section Figures with a table of streams")
    section = section.replace("](docs/decisions)", "](decisions.md)")
    return _STREAMS + section.replace("](docs/", "](../")
