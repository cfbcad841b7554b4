"""The one comparison that everything comes down to: ratios of means over the same streams.

In: groups and reference figures. Out: a `Headline`. It is here so that the page, the terminal and
the plots state the same figures.

The headline streams are those of `names.HEADLINE_STREAMS` that were measured, in file order. A
learner is in it if it finished all of them, since a mean over other streams is another quantity.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from bench.report.groups import Groups, Row, learners_of
from bench.report.names import HEADLINE_STREAMS, MAIN_MEASURES, MLHAT, best, is_baseline
from bench.report.reference import Reference

BETTER_BASELINE = "better baseline"


@dataclass(slots=True)
class Headline:
    """Means over the headline streams.

    Attributes
    ----------
    streams
        Headline streams that were measured.
    missing
        Headline streams that were not.
    means
        By learner and measure; beside the learners `MLHAT` and `BETTER_BASELINE`, where they have
        figures for all of `streams`. The latter takes on each stream the baseline that is best
        there by that measure.
    left_out
        Learners that did not finish all of `streams`, each with the streams it lacks.
    """

    streams: list[str]
    missing: list[str]
    means: dict[str, dict[str, float]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def ratio(self, learner: str, to: str, measure: str) -> float | None:
        """Mean of `learner` over the mean of `to`; None if one is missing or `to` has 0."""
        mean = self.means.get(learner, {}).get(measure)
        other = self.means.get(to, {}).get(measure)
        return None if mean is None or not other else mean / other


def headline(groups: Groups, reference: Reference) -> Headline:
    """Means over the headline streams among `groups`."""
    present = {row.stream for row, _ in groups if not row.shuffled}
    streams = [stream for stream in HEADLINE_STREAMS if stream in present]
    result = Headline(streams, [stream for stream in HEADLINE_STREAMS if stream not in present])
    if not streams:
        return result
    rows = [Row(stream) for stream in streams]
    for learner in learners_of(groups):
        unfinished = [
            row.stream
            for row in rows
            if (row, learner) not in groups or not groups[row, learner].finished
        ]
        if unfinished:
            result.left_out[learner] = unfinished
            continue
        for measure in MAIN_MEASURES:
            figures = [groups[row, learner].figure(measure) for row in rows]
            _add(result, learner, measure, [None if f is None else f.mean for f in figures])
    for measure in MAIN_MEASURES:
        _add(result, MLHAT, measure, [reference.mlhat_mean(row, measure) for row in rows])
        bars = [better_baseline(groups, reference, row, measure) for row in rows]
        _add(result, BETTER_BASELINE, measure, bars)
    return result


def _add(result: Headline, learner: str, measure: str, values: list[float | None]) -> None:
    known = [value for value in values if value is not None]
    if len(known) == len(values):
        result.means.setdefault(learner, {})[measure] = statistics.fmean(known)


def better_baseline(groups: Groups, reference: Reference, row: Row, measure: str) -> float | None:
    """The best value of `measure` that a baseline obtains on `row`; None if there is none.

    Baselines that were not measured in this run are taken from the reference, which has them in
    file order.
    """
    values: dict[str, float] = {}
    if not row.shuffled:
        for name, figures in reference.baselines.get(row.stream, {}).items():
            if measure in figures:
                values[name] = figures[measure]
    for learner in learners_of(groups):
        if is_baseline(learner) and (row, learner) in groups:
            figure = groups[row, learner].figure(measure)
            if figure is not None:
                values[learner] = figure.mean
    return best(measure, values.values())
