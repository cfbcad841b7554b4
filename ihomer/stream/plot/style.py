"""How the page of a replay looks: its style sheet, and the colours of learners and clusters.

In: a number. Out: CSS, or a class's name. It is here so that pictures and table of one page agree.
"""

from __future__ import annotations

# Paul Tol's "muted" and "light" schemes: told apart by colour-blind readers, too.
_COLOURS = (
    "#4477aa", "#cc6677", "#117733", "#999933", "#882255",
    "#44aa99", "#aa4499", "#ddaa33", "#33bbee", "#997700",
)  # fmt: skip
_SWATCHES = "".join(
    f".k{place} {{ fill: {colour}; stroke: {colour}; background: {colour}; }}\n"
    for place, colour in enumerate(_COLOURS)
)

STYLE = (
    """
body { font: 14px system-ui, sans-serif; color: #222; background: #fff; margin: 2em; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; margin-top: 2em; }
svg { max-width: 100%; height: auto; } text { fill: currentColor; font-size: 12px; }
text.small { font-size: 11px; opacity: .75; }
.axis { stroke: #8a8f98; stroke-width: .5; fill: none; }
.line { fill: none; stroke: #8a8f98; stroke-width: 1.2; }
.ihomer { stroke: #1668c7; stroke-width: 2.2; }
.alarm { stroke: #d1495b; } .mark { stroke-width: 3; } .across { stroke-width: 1; opacity: .6; }
.change { stroke: #2a9d6f; }
.branch { fill: none; stroke: #8a8f98; stroke-width: 1.2; }
.lead { stroke: #8a8f98; stroke-width: .8; stroke-dasharray: 1 3; }
.none { fill: #8a8f98; stroke: #8a8f98; background: #8a8f98; }
table { border-collapse: collapse; } th, td { padding: .15em .8em; text-align: right; }
th { border-bottom: 1px solid #8a8f98; position: sticky; top: 0; background: inherit; }
thead { background: #fff; }
th:first-child, td:first-child { text-align: left; max-width: 28em; overflow-wrap: anywhere; }
tbody tr:nth-child(even) { background: #8881; }
.swatch { display: inline-block; width: .7em; height: .7em; margin-right: .4em; }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #15171a; } thead { background: #15171a; }
}
"""
    + _SWATCHES
)


def colour_class(cluster: int | None) -> str:
    """Class of a cluster's colour; clusters further apart than there are colours share one."""
    return "none" if cluster is None else f"k{cluster % len(_COLOURS)}"
