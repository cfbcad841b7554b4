"""Where a learner falls behind what costs nothing or has been published, stream by stream.

In: groups and reference figures. Out: `Deficit` rows, the worst first. It is here because a mean
over streams hides the stream on which yesterday's label set would have done better.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bench.report.groups import Groups, Row, learners_of, rows_of
from bench.report.names import MLHAT, is_baseline
from bench.report.reference import Reference

MEASURES = ("subset_accuracy", "micro_f1")
RIVALS = ("no-change", "majority")  # beside MLHAT
ACCEPTED = -0.01


@dataclass(frozen=True, slots=True)
class Deficit:
    """One learner on one stream (over its shuffles: means) against the best rival there.

    Attributes
    ----------
    learner, stream, shuffled, measure
        Where.
    value
        The learner's.
    rival, bar
        Who of MLHAT's re-run, no-change and majority is best there, and how good that is.
    """

    learner: str
    stream: str
    shuffled: bool
    measure: str
    value: float
    rival: str
    bar: float

    @property
    def difference(self) -> float:
        """Value minus bar: below zero, the learner is behind."""
        return self.value - self.bar

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "difference": self.difference}


def deficits(groups: Groups, reference: Reference) -> list[Deficit]:
    """Every learner that is no baseline, on every row with a rival, the worst first.

    Baselines count as measured in the run; in file order those of the reference stand in for them.
    A learner that did not finish a row is not in it.
    """
    found = []
    for row in rows_of(groups):
        for measure in MEASURES:
            rivals = _rivals(groups, reference, row, measure)
            if not rivals:
                continue
            name = max(rivals, key=lambda each: rivals[each])
            for learner in learners_of(groups):
                group = groups.get((row, learner))
                if group is None or is_baseline(learner) or not group.finished:
                    continue
                figure = group.figure(measure)
                if figure is not None:
                    found.append(
                        Deficit(
                            learner,
                            row.stream,
                            row.shuffled,
                            measure,
                            figure.mean,
                            name,
                            rivals[name],
                        )
                    )
    return sorted(found, key=lambda deficit: deficit.difference)


def _rivals(groups: Groups, reference: Reference, row: Row, measure: str) -> dict[str, float]:
    rivals: dict[str, float] = {}
    theirs = reference.mlhat_mean(row, measure)
    if theirs is not None:
        rivals[MLHAT] = theirs
    for name in RIVALS:
        figure = groups[row, name].figure(measure) if (row, name) in groups else None
        if figure is not None:
            rivals[name] = figure.mean
        elif not row.shuffled:
            known = reference.baselines.get(row.stream, {}).get(name, {})
            if measure in known:
                rivals[name] = known[measure]
    return rivals


def mlhat_ratios(means: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Ratios of the headline's means to MLHAT's, by learner and measure.

    Parameters
    ----------
    means
        `Headline.means`.
    """
    theirs = means.get(MLHAT, {})
    return {
        learner: {key: value / theirs[key] for key, value in figures.items() if theirs.get(key)}
        for learner, figures in means.items()
        if learner != MLHAT
    }
