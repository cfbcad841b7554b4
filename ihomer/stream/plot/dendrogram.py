"""The hierarchy of the labels' clusters as a dendrogram in SVG, bounded however many there are.

In: a `Hierarchy` and the labels' figures. Out: the tree that is drawn, as data, and its picture. A
row is a label where there are few, else a cluster; past `MOST_ROWS` clusters those that are left
together are one row. It is here so that people can look at what belongs together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import floor, log10, sqrt
from typing import Any

from ihomer.learners.partition.hierarchy import Hierarchy, HierarchyNode
from ihomer.stream.plot.labels import LabelRow
from ihomer.stream.plot.style import colour_class

MOST_ROWS = 80
_LEFT, _WIDTH, _ROW, _TOP, _TEXT, _BAR = 20, 420, 18, 26, 560, 60
_MOST_LETTERS = 70  # of a row
_MOST_NAMES = 12  # of what a node says when it is pointed at


def draw_dendrogram(
    hierarchy: Hierarchy | None, labels: Sequence[LabelRow]
) -> tuple[list[dict[str, Any]], str]:
    """The nodes that are drawn, and the picture.

    Parameters
    ----------
    hierarchy
        None: there is none.
    labels
        Their figures, from which rows have their frequencies and numbers.

    Returns
    -------
    nodes
        Each before those below it: ``{"size", "clusters", "dissimilarity", "diameter", "bound",
        "cluster", "label", "sides"}``. `sides` are places in this list; `clusters` is how many
        there are in or below a node; `cluster` is the number of a single one and `label` the name
        of a single label, else null.
    picture
        A row for each node without sides, in the order of the list.
    """
    if hierarchy is None or hierarchy.root is None:
        return [], "<p>There is one cluster: all labels, or none of them, belong together.</p>"
    figures = {row.label: row for row in labels}
    nodes, text = _chosen(hierarchy.root, figures)
    return nodes, _picture(nodes, text, figures, len(hierarchy.root.labels))


def _chosen(
    root: HierarchyNode, figures: Mapping[str, LabelRow]
) -> tuple[list[dict[str, Any]], list[Sequence[str]]]:
    """The nodes to draw, and the names of each one's labels, most frequent first."""
    opened = _opened(root)
    each_label = root.size <= MOST_ROWS
    nodes: list[dict[str, Any]] = []
    names: list[Sequence[str]] = []

    def frequency(label: str) -> tuple[int, str]:
        return (-figures[label].events if label in figures else 0, label)

    def add(node: HierarchyNode, above: int | None, label: str | None = None) -> int:
        place = len(nodes)
        single = not node.sides
        own = [label] if label is not None else sorted(node.labels, key=frequency)
        known = figures.get(own[0]) if single and own else None
        nodes.append(
            {
                "size": len(own),
                "clusters": _clusters_of(node) if label is None else 1,
                "dissimilarity": 0.0 if label is not None else node.dissimilarity,
                "diameter": 0.0 if label is not None else node.diameter,
                "bound": None if label is not None else node.bound,
                "cluster": None if known is None else known.cluster,
                "label": own[0] if single and len(own) == 1 else None,
                "sides": [],
            }
        )
        names.append(own)
        if above is not None:
            nodes[above]["sides"].append(place)
        return place

    waiting: list[tuple[HierarchyNode, int | None]] = [(root, None)]
    while waiting:
        node, above = waiting.pop()
        place = add(node, above)
        if node.sides and id(node) in opened:
            waiting.extend((side, place) for side in reversed(node.sides))
        elif not node.sides and each_label and node.size > 1:
            for label in names[place]:
                add(node, place, label)
    return nodes, names


def _opened(root: HierarchyNode) -> set[int]:
    """Nodes whose sides are drawn: the largest first, until there are `MOST_ROWS` rows."""
    rows, opened = [root], set()
    while len(rows) < MOST_ROWS:
        inner = [node for node in rows if node.sides]
        if not inner:
            break
        largest = max(inner, key=lambda node: node.size)
        opened.add(id(largest))
        place = next(place for place, node in enumerate(rows) if node is largest)
        rows[place : place + 1] = largest.sides
    return opened


def _clusters_of(node: HierarchyNode) -> int:
    count, waiting = 0, [node]
    while waiting:
        found = waiting.pop()
        count += not found.sides
        waiting.extend(found.sides)
    return count


def _picture(
    nodes: Sequence[Mapping[str, Any]],
    names: Sequence[Sequence[str]],
    figures: Mapping[str, LabelRow],
    total: int,
) -> str:
    """Branches, a circle for each node, and beside each row its text and a bar."""
    decades = _decades(nodes)
    across = [_at(node["dissimilarity"], decades) for node in nodes]
    down = [0.0] * len(nodes)
    for place, node in enumerate(nodes):
        for side in node["sides"]:
            # A cluster may be less alike within than it is to its neighbour: it is drawn there.
            across[side] = max(across[place], across[side])
    row = 0
    for place, node in enumerate(nodes):
        if not node["sides"]:
            down[place] = _TOP + _ROW * (row + 0.5)
            row += 1
    for place in reversed(range(len(nodes))):
        sides = nodes[place]["sides"]
        if sides:
            down[place] = (down[sides[0]] + down[sides[-1]]) / 2
    parts = [_scale(row, decades)]
    largest = max(node["size"] for node in nodes if not node["sides"])
    most = max(
        (figures[own[0]].events for own in names if len(own) == 1 and own[0] in figures), default=0
    )
    for place, node in enumerate(nodes):
        parts += [
            f'<path class="branch" d="M{across[place]:.1f} {down[place]:.1f}'
            f'V{down[side]:.1f}H{across[side]:.1f}"/>'
            for side in node["sides"]
        ]
    for place, node in enumerate(nodes):
        y = down[place]
        look = colour_class(node["cluster"])
        radius = 2.5 if node["size"] == 1 else 3.0 + 6.0 * sqrt(node["size"] / total)
        parts.append(
            f'<circle class="{look}" cx="{across[place]:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
            f"<title>{escape(_told(node, names[place]))}</title></circle>"
        )
        if node["sides"]:
            continue
        share = node["size"] / largest
        if largest == 1:
            known = figures.get(names[place][0])
            share = 0.0 if known is None else known.events / max(1, most)
        if across[place] < _LEFT + _WIDTH:
            parts.append(f'<path class="lead" d="M{across[place]:.1f} {y:.1f}H{_LEFT + _WIDTH}"/>')
        parts.append(
            f'<rect class="{look}" x="{_LEFT + _WIDTH + 14}" y="{y - 5:.1f}"'
            f' width="{max(0.5, _BAR * share):.1f}" height="10"/>'
            f'<text x="{_LEFT + _WIDTH + _BAR + 22}" y="{y + 4:.1f}">'
            f"{escape(_row_text(node, names[place]))}</text>"
        )
    width, height = _LEFT + _WIDTH + _BAR + _TEXT, _TOP + _ROW * row + 10
    return (
        f'<svg id="tree" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f"{''.join(parts)}</svg>"
        "<p>A branch is drawn where the mean Jaccard similarity of its two sides is (1 - the"
        " dissimilarity), a cluster where that of its labels is, or at its branch if that is"
        " lower: further to the right, labels are on together more often. Bars: how often a label"
        " is on, or how many labels a row holds.</p>"
    )


def _decades(nodes: Sequence[Mapping[str, Any]]) -> int:
    """How many powers of ten of similarity are drawn: as far down as the least alike, 1 to 4."""
    alike = [1.0 - node["dissimilarity"] for node in nodes]
    least = min((each for each in alike if each > 0.0), default=1.0)
    return min(4, max(1, -floor(log10(least))))


def _at(dissimilarity: float, decades: int) -> float:
    """From the left, on a logarithmic scale of the similarity: most clusters are little alike."""
    alike = max(1.0 - dissimilarity, 10.0**-decades)
    return _LEFT + _WIDTH * (1.0 + log10(min(1.0, alike)) / decades)


def _scale(rows: int, decades: int) -> str:
    bottom = _TOP + _ROW * rows
    parts = []
    for decade in range(decades + 1):
        for digit in (1, 3) if decade else (1,):
            alike = digit * 10.0**-decade
            x = _at(1.0 - alike, decades)
            parts.append(
                f'<path class="axis" d="M{x:.1f} {_TOP - 6}V{bottom}"/>'
                f'<text class="small" x="{x:.1f}" y="{_TOP - 10}"'
                f' text-anchor="middle">{alike:g}</text>'
            )
    return "".join(parts)


def _row_text(node: Mapping[str, Any], names: Sequence[str]) -> str:
    """A label's name, or what a row of several holds, cut to fit."""
    if node["label"] is not None:
        text = names[0]
    else:
        plural = "s" if node["clusters"] > 1 else ""
        if node["clusters"] > 1:
            where = f"{node['clusters']:,} cluster{plural}"
        else:
            where = "no place" if node["cluster"] is None else f"cluster {node['cluster']}"
        text = f"{where}, {node['size']:,} labels: {', '.join(names[:_MOST_NAMES])}"
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"


def _told(node: Mapping[str, Any], names: Sequence[str]) -> str:
    lines = [] if node["cluster"] is None else [f"cluster {node['cluster']}"]
    if node["label"] is None:
        lines.append(f"{node['size']:,} labels in {node['clusters']:,} clusters")
        lines.append(f"dissimilarity {node['dissimilarity']:.3f} ± {node['bound']:.3f}")
        lines.append(f"diameter {node['diameter']:.3f}")
    more = len(names) - _MOST_NAMES
    lines.append(", ".join(names[:_MOST_NAMES]) + (f" and {more:,} more" if more > 0 else ""))
    return "\n".join(lines)
