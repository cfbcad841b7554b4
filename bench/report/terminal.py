"""Results as compact tables for a terminal.

In: cells. Out: what rich prints. It is here so that a run ends with its figures, compared, without
a page being made; it imports neither plots nor statistics.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.report.deficits import ACCEPTED, Deficit, deficits
from bench.report.groups import Group, Groups, Row, group, learners_of, rows_of
from bench.report.headline import BETTER_BASELINE, Headline, better_baseline, headline
from bench.report.names import (
    MAIN_MEASURES,
    MANY_LABELS,
    MANY_MEASURES,
    MLHAT,
    PEER,
    best,
    better,
    is_baseline,
    measure,
)
from bench.report.reference import Reference
from bench.results import Cell

_MEASURES = MAIN_MEASURES[:4]
_WORST = 8  # deficits shown of each learner


def print_accuracy(
    cells: Sequence[Cell],
    console: Console,
    reference: Reference,
) -> None:
    """Print the main measures of `cells`, one line per stream and learner, then the headline.

    Each figure is followed by its ratios to MLHAT's re-run and to the better of the baselines that
    were measured, where there are such. Last come the worst deficits.

    Parameters
    ----------
    cells
        Of an accuracy run.
    console
        Where to print.
    reference
        Figures of others; empty: there are none.
    """
    groups = group(cells)
    if not groups:
        console.print("Nothing was measured.")
        return
    known = Reference(mlhat=reference.mlhat)  # baselines: those of this run alone
    table = _table("stream", "learner", *(_head(key) for key in _MEASURES), "events/s")
    for row in rows_of(groups):
        bars = {key: better_baseline(groups, known, row, key) for key in _MEASURES}
        for i, learner in enumerate(n for n in learners_of(groups) if (row, n) in groups):
            found = groups[row, learner]
            title = Text(row.title if i == 0 else "")
            if not found.done:
                table.add_row(title, Text(learner), Text(_why(found), style="yellow"))
                continue
            line = [title, Text(learner)]
            for key in _MEASURES:
                bar = None if is_baseline(learner) else bars[key]
                line.append(_figure(groups, row, learner, key, known.mlhat_mean(row, key), bar))
            rate = found.rate()
            line.append(Text("–" if rate is None else f"{rate:,.0f}"))
            table.add_row(*line)
        table.add_section()
    console.print(table)
    _print_many_labels(groups, console)
    _print_reasons(groups, console)
    _print_headline(headline(groups, known), console)
    _print_deficits(deficits(groups, reference), console)
    text = "In brackets: ratio to MLHAT's re-run, ratio to the better baseline. Hamming: lower."
    console.print(Text(text, style="dim"))


def print_throughput(
    cells: Sequence[Cell],
    console: Console,
    reference_events_per_second: Mapping[str, float] | None,
) -> None:
    """Print events per second of `cells`, streams by learners, and geometric means of ratios.

    Parameters
    ----------
    cells
        Of a throughput run; cells of sweeps are left out, they are for the report.
    console
        Where to print.
    reference_events_per_second
        MLHAT's by stream, as measured in the re-run and not rescaled; None: there are none.
    """
    groups = group(cell for cell in cells if "axis" not in cell.extra)
    if not groups:
        console.print("No speed was measured.")
        return
    known = reference_events_per_second or {}
    learners = learners_of(groups)
    table = _table("stream", *learners, *([MLHAT] if known else []))
    rates: dict[str, dict[Row, float]] = {learner: {} for learner in learners}
    for row in rows_of(groups):
        line = [Text(row.title)]
        for learner in learners:
            found = groups.get((row, learner))
            rate = found.rate() if found is not None and found.finished else None
            if rate is not None:
                rates[learner][row] = rate
                line.append(Text(_rate(rate)))
            else:
                line.append(Text("–" if found is None else found.worst.status, style="yellow"))
        if known:
            rate = None if row.shuffled else known.get(row.stream)
            line.append(Text("–" if rate is None else _rate(rate)))
        table.add_row(*line)
    table.add_section()
    theirs = {row: known[row.stream] for row in rows_of(groups) if known.get(row.stream, 0) > 0}
    for title, other in ((f"÷ {MLHAT}", theirs), (f"÷ {PEER}", rates.get(PEER, {}))):
        if other:
            table.add_row(Text(title), *(Text(_mean_ratio(rates[n], other)) for n in learners))
    console.print(table)
    console.print(Text("÷: geometric mean of ratios over common streams.", style="dim"))


def _table(*heads: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for i, head in enumerate(heads):
        names = i == 0 or head in ("learner", "stream", "measure")
        table.add_column(Text(head), justify="left" if names else "right", no_wrap=names)
    return table


def _head(key: str) -> str:
    return measure(key).short


def _figure(
    groups: Groups, row: Row, learner: str, key: str, mlhat: float | None, bar: float | None
) -> Text:
    figure = groups[row, learner].figure(key)
    if figure is None:
        return Text("–")
    all_of = (groups[row, n].figure(key) for n in learners_of(groups) if (row, n) in groups)
    top = best(key, [f.mean for f in all_of if f is not None])
    text = Text(f"{figure.mean:.4f}", style="bold" if figure.mean == top else "")
    return text.append_text(_ratios(key, figure.mean, mlhat, bar))


def _ratios(key: str, value: float, *others: float | None) -> Text:
    if not any(others):
        return Text("")
    text = Text(" (", style="dim")
    for i, other in enumerate(others):
        if i:
            text.append(", ", style="dim")
        if not other:
            text.append("–", style="dim")
            continue
        style = "green" if better(key, value, other) else "red" if value != other else "dim"
        text.append(f"{value / other:.2f}", style=style)
    return text.append(")", style="dim")


def _print_headline(found: Headline, console: Console) -> None:
    if not found.means:
        console.print("No learner finished all headline streams of this run.")
        return
    table = _table("learner", *(_head(key) for key in _MEASURES))
    for learner, means in found.means.items():
        line = [Text(learner)]
        for key in _MEASURES:
            if key not in means:
                line.append(Text("–"))
                continue
            beside = learner in (MLHAT, BETTER_BASELINE)
            others = [found.means.get(o, {}).get(key) for o in (MLHAT, BETTER_BASELINE)]
            ratios = Text("") if beside else _ratios(key, means[key], *others)
            line.append(Text(f"{means[key]:.4f}").append_text(ratios))
        table.add_row(*line)
    console.print()
    title = f"Means over {len(found.streams)} of the ten headline streams"
    if found.missing:
        title += f" (not in this run: {', '.join(found.missing)})"
    console.print(Text(title, style="bold"))
    console.print(table)
    for learner, lacks in found.left_out.items():
        console.print(Text(f"not in these means: {learner}, lacks {', '.join(lacks)}"))


def _print_deficits(found: Sequence[Deficit], console: Console) -> None:
    """The worst of each learner, and how many are worse than accepted."""
    if not found:
        return
    table = _table("learner", "stream", "measure", "found", "best rival", "difference")
    for learner in dict.fromkeys(deficit.learner for deficit in found):
        own = [deficit for deficit in found if deficit.learner == learner]
        for i, each in enumerate(own[:_WORST]):
            style = "red" if each.difference < ACCEPTED else ""
            table.add_row(
                Text(learner if i == 0 else ""),
                Text(Row(each.stream, each.shuffled).title),
                Text(_head(each.measure)),
                Text(f"{each.value:.4f}"),
                Text(f"{each.bar:.4f} {each.rival}"),
                Text(f"{each.difference:+.4f}", style=style),
            )
        below = sum(deficit.difference < ACCEPTED for deficit in own)
        table.add_row(Text(""), Text(f"below {ACCEPTED:+.2f}: {below} of {len(own)}"))
    console.print()
    title = "Worst against the best of MLHAT, no-change and majority"
    console.print(Text(title, style="bold"))
    console.print(table)


def _print_many_labels(groups: Groups, console: Console) -> None:
    """What ranks the labels, of the streams that have many of them."""
    table = _table("stream", "learner", *(_head(key) for key in MANY_MEASURES))
    for row in rows_of(groups):
        learners = [name for name in learners_of(groups) if (row, name) in groups]
        done = {n: groups[row, n] for n in learners if groups[row, n].done}
        if max((found.done[0].labels for found in done.values()), default=0) <= MANY_LABELS:
            continue
        for i, (learner, found) in enumerate(done.items()):
            line = [Text(row.title if i == 0 else ""), Text(learner)]
            for key in MANY_MEASURES:
                figure = found.figure(key)
                line.append(Text("–" if figure is None else f"{figure.mean:.4g}"))
            table.add_row(*line)
        table.add_section()
    if table.row_count:
        console.print()
        console.print(Text(f"Streams of more than {MANY_LABELS} labels", style="bold"))
        console.print(table)


def _why(found: Group) -> str:
    cell = found.worst
    if cell.status == "time-limit":
        return f"> limit, {cell.events:,} of {cell.length:,}"
    return cell.status


def _print_reasons(groups: Groups, console: Console) -> None:
    """One line for each reason why cells have no figures, however many cells have it."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for found in groups.values():
        for cell in found.cells:
            if cell.status in ("failed", "unavailable"):
                counts[cell.learner, cell.status, cell.reason] += 1
    for (learner, status, reason), n in counts.items():
        console.print(Text(f"{learner}: {status} in {n} cell{'s'[: n > 1]}: {reason}"))


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def _mean_ratio(one: Mapping[Row, float], other: Mapping[Row, float]) -> str:
    ratios = [one[row] / other[row] for row in one if row in other]
    return f"{statistics.geometric_mean(ratios):.2f}" if ratios else "–"
