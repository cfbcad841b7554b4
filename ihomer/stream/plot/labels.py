"""The table of labels on a replay's page: how often, how well, and in which cluster.

In: counts of right and wrong predictions by label, and the labels' clusters. Out: rows, the most
frequent label first, and HTML of the first `MOST_LABELS`. It is here because a mean over labels
hides the label that somebody cares about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from ihomer.stream.plot.style import colour_class

MOST_LABELS = 1000
# True positives, false positives and false negatives of each label.
Counts = Mapping[str, tuple[int, int, int]]


class LabelRow(NamedTuple):
    """One label over the whole stream.

    Attributes
    ----------
    label
        Name.
    events
        In how many events it was on.
    share
        Of all scored events.
    predicted
        In how many events it was predicted.
    precision, recall, f1
        Of these predictions; 0 where there is nothing to divide by.
    best_baseline
        The best F1 of a baseline; None: there are none.
    cluster
        Number of its cluster, which it keeps for life; None: it has no place, or has vanished.
    """

    label: str
    events: int
    share: float
    predicted: int
    precision: float
    recall: float
    f1: float
    best_baseline: float | None
    cluster: int | None


def label_rows(
    counts: Counts, baselines: Sequence[Counts], clusters: Mapping[str, int], scored: int
) -> list[LabelRow]:
    """Rows of all labels that were ever on or predicted, most frequent first, then by name.

    Parameters
    ----------
    counts
        Of the learner, by name.
    baselines
        Of each of the baselines.
    clusters
        Numbers of the labels' clusters; labels without a place are left out.
    scored
        Number of scored events.

    Examples
    --------
    >>> rows = label_rows({"a": (1, 1, 0), "b": (2, 0, 2)}, [{"a": (1, 0, 0)}], {"b": 3}, 10)
    >>> [(row.label, row.events, row.f1, row.best_baseline, row.cluster) for row in rows]
    [('b', 4, 0.6666666666666666, 0.0, 3), ('a', 1, 0.6666666666666666, 1.0, None)]
    """
    rows = []
    for name, (hits, wrong, missed) in counts.items():
        on, predicted = hits + missed, hits + wrong
        others = [_f1(*each.get(name, (0, 0, on))) for each in baselines]
        rows.append(
            LabelRow(
                name,
                on,
                on / scored if scored else 0.0,
                predicted,
                hits / predicted if predicted else 0.0,
                hits / on if on else 0.0,
                _f1(hits, wrong, missed),
                max(others, default=None),
                clusters.get(name),
            )
        )
    return sorted(rows, key=lambda row: (-row.events, row.label))


def _f1(hits: int, wrong: int, missed: int) -> float:
    whole = 2 * hits + wrong + missed
    return 2 * hits / whole if whole else 0.0


def draw_labels(labels: Sequence[LabelRow]) -> tuple[Sequence[LabelRow], str]:
    """The rows that are shown, and the table of them."""
    shown = labels[:MOST_LABELS]
    if not shown:
        return shown, "<p>No label was on or predicted.</p>"
    cells = "".join(
        f"<tr><td>{escape(row.label)}</td><td>{row.events:,}</td><td>{row.share:.2%}</td>"
        f"<td>{row.predicted:,}</td><td>{row.precision:.3f}</td><td>{row.recall:.3f}</td>"
        f"<td>{row.f1:.3f}</td>"
        f"<td>{'' if row.best_baseline is None else f'{row.best_baseline:.3f}'}</td>"
        f'<td><span class="swatch {colour_class(row.cluster)}"></span>'
        f"{'none' if row.cluster is None else row.cluster}</td></tr>"
        for row in shown
    )
    more = len(labels) - len(shown)
    return shown, (
        '<table id="labels"><thead><tr><th>label</th><th>events</th><th>share</th>'
        "<th>predicted</th><th>precision</th><th>recall</th><th>F1</th>"
        "<th>best baseline's F1</th><th>cluster</th></tr></thead>"
        f"<tbody>{cells}</tbody></table>"
        + (f"<p>and {more:,} labels that are less frequent</p>" if more else "")
    )
