"""What happened to a learner, as the marks of its page: bounded, in rows of one kind and level.

In: the learner's events. Out: rows of marks with what each says. It is here so that what is drawn
and what the page holds as data are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from ihomer.drift.events import Kind, LearnerEvent, Level

_MOST_MARKS = 500  # of a row
_MOST_TOLD = 10  # events of a mark
_MOST_NAMES = 8  # labels of an event
# What concerns everything goes across all measures, too.
_ACROSS = {(Kind.ALARM, Level.STRUCTURE), (Kind.ALARM, Level.LOSS), (Kind.ALARM, Level.PRIORS)}


def marks_of(happened: Sequence[LearnerEvent]) -> list[dict[str, Any]]:
    """Rows of marks: alarms first, then in the order of kinds and levels.

    Returns
    -------
    list of dict
        ``{"kind", "level", "across", "marks"}``, the last a list of ``{"event", "count",
        "text"}``: the latest events of a row at which something happened, how many things, and
        what.
    """
    ordered = sorted(
        happened, key=lambda each: (list(Kind).index(each.kind), list(Level).index(each.level))
    )
    rows = []
    for (kind, level), group in groupby(ordered, key=lambda each: (each.kind, each.level)):
        at = [(event, list(same)) for event, same in groupby(group, lambda each: each.event)]
        marks = [
            {"event": event, "count": len(same), "text": _told(same)}
            for event, same in at[-_MOST_MARKS:]
        ]
        rows.append(
            {
                "kind": kind.value,
                "level": level.value,
                "across": (kind, level) in _ACROSS,
                "marks": marks,
            }
        )
    return rows


def _told(same: Sequence[LearnerEvent]) -> str:
    """What the mark of one or several events says."""
    lines = [f"event {same[0].event:,}"]
    for each in same[:_MOST_TOLD]:
        what = [f"{each.level} {each.kind}"]
        what += [f"cluster {each.cluster}"] if each.cluster is not None else []
        what += [each.action] if each.action else []
        what += [", ".join(map(str, each.labels[:_MOST_NAMES]))] if each.labels else []
        if each.statistic is not None and each.bound is not None:
            what.append(f"{each.statistic:.3g} past {each.bound:.3g}")
        lines.append("; ".join(what))
    lines += [f"and {len(same) - _MOST_TOLD} more"] if len(same) > _MOST_TOLD else []
    return "\n".join(lines)
