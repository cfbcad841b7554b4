"""Markdown from values: cells, tables, headings, whatever the values hold.

In: strings. Out: Markdown. It is here so that a bar or a tag in a value does not break a page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def cell(text: str) -> str:
    r"""`text` as the cell of a table: bars escaped, on one line.

    Examples
    --------
    >>> cell("a | b")
    'a \\| b'
    """
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """`text` as code in a line of prose, whatever quotes are in it.

    Examples
    --------
    >>> code("a"), code("`a`"), code("")
    ('`a`', '`` `a` ``', '')
    """
    if not text:
        return ""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: int | None = None) -> str:
    """A table; columns from number `right` on stand to the right.

    Examples
    --------
    >>> print(table(["a", "b"], [["x", "1"]], right=1))
    | a | b |
    |---|---:|
    | x | 1 |
    """
    last = len(heads) if right is None else right
    rule = ["---" if place < last else "---:" for place in range(len(heads))]
    lines = [f"| {' | '.join(heads)} |", f"|{'|'.join(rule)}|"]
    lines += [f"| {' | '.join(cell(each) for each in row)} |" for row in rows]
    return "\n".join(lines)
