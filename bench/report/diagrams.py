"""Plots that do not move: for the README, a paper, and the page's critical-difference diagrams.

In: figures. Out: matplotlib figures, and SVG and PNG made of them. It is here so that nothing of
matplotlib's global state is touched: figures are made without pyplot, settings hold inside
`_settings` only, and the same figures give the same bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.report.headline import Headline
from bench.report.names import MAIN_MEASURES, measure
from bench.report.scaling import Sweep
from bench.report.significance import Outcome
from bench.report.styles import Style

# matplotlib writes colours as numbers; this one stands for the page's own text colour.
_INK = "#010203"
_GAP = "\N{NO-BREAK SPACE}"  # SVG would swallow an ordinary one at the end of a text
_MATPLOTLIB_MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "cross": "P",
    "x": "X",
    "star": "*",
    "pentagon": "p",
    "star-square": "h",
    "hexagon": "H",
}
_MATPLOTLIB_DASHES = {
    "solid": "-",
    "dash": "--",
    "dashdot": "-.",
    "dot": ":",
    "longdash": (0, (8, 3)),
}


@contextmanager
def _settings(salt: str, fonttype: str) -> Iterator[None]:
    with mpl.rc_context(
        {
            "svg.hashsalt": salt,
            "svg.fonttype": fonttype,
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "text.color": _INK,
            "axes.labelcolor": _INK,
            "axes.edgecolor": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    ):
        yield


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write ``name.svg`` and ``name.png`` into `folder`, on white."""
    with _settings(name, "path"):
        figure.savefig(
            folder / f"{name}.svg", format="svg", facecolor="white", metadata={"Date": None}
        )
        figure.savefig(
            folder / f"{name}.png",
            format="png",
            facecolor="white",
            dpi=160,
            metadata={"Software": None},
        )


def inline_svg(figure: Figure, name: str) -> str:
    """`figure` as an ``<svg>`` element in the page's text colour on its background.

    Ids get `name` as a prefix, so that several such elements can stand in one page.
    """
    buffer = io.StringIO()
    with _settings(name, "none"):
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    text = text.replace(_INK, "currentColor")
    return text.replace("<svg ", '<svg class="diagram" role="img" ', 1)


def critical_difference(outcome: Outcome, title: str, looks: Mapping[str, Style]) -> Figure:
    """Average ranks on an axis, bars over learners that Nemenyi's test cannot tell apart."""
    import scikit_posthocs

    with _settings("", "none"):
        count = len(outcome.ranks)
        figure = _figure(8.2, 1.0 + 0.17 * count)
        axes = figure.subplots()
        drawn = scikit_posthocs.critical_difference_diagram(
            outcome.ranks,
            outcome.nemenyi,
            ax=axes,
            label_fmt_left=f"{{label}}{_GAP}{_GAP}{{rank:.2f}}{_GAP}",
            label_fmt_right=f"{_GAP}{{rank:.2f}}{_GAP}{_GAP}{{label}}",
            label_props={"parse_math": False},
            elbow_props={"linewidth": 1.0},
            marker_props={"s": 14},
            crossbar_props={"color": _INK, "linewidth": 2.4},
            color_palette={learner: looks[learner].color for learner in outcome.ranks},
            text_h_margin=0.03 * count,
        )
        for (bar,) in drawn["crossbars"]:
            # The library takes its members from a set, whose order changes with every process.
            bar.set_xdata(sorted(bar.get_xdata()))
        axes.set_title(title, loc="left", fontsize=9, parse_math=False, pad=8)
        axes.spines["top"].set_visible(True)
        for text in drawn["labels"]:
            text.set_color(_INK)
        ends = [1.0, 1.0 + outcome.distance]
        axes.plot(ends, [1.9, 1.9], color=_INK, linewidth=1.2, marker="|", markersize=7)
        distance = f"{_GAP}{_GAP}critical difference {outcome.distance:.2f}"
        axes.text(ends[1], 1.9, distance, va="center", fontsize=8)
        axes.set_xlim(left=min(axes.get_xlim()[0], 0.9))
    return figure


def headline_bars(found: Headline, looks: Mapping[str, Style]) -> Figure:
    """Means over the headline streams: one panel per measure, one bar per learner."""
    learners = list(found.means)
    with _settings("", "none"):
        figure = _figure(10.5, 1.1 + 0.24 * len(learners))
        panels = figure.subplots(1, len(MAIN_MEASURES), sharey=True, squeeze=False)[0]
        for panel, key in zip(panels, MAIN_MEASURES, strict=True):
            shown = [name for name in learners if key in found.means[name]]
            values = [found.means[name][key] for name in shown]
            places = [len(learners) - 1 - learners.index(name) for name in shown]
            bars = panel.barh(places, values, color=[looks[name].color for name in shown])
            panel.bar_label(bars, fmt="%.3f", fontsize=7, padding=2)
            panel.set_xlim(0, 1.28 * max(values, default=1.0) or 1.0)
            hint = " (lower: better)" if measure(key).lower else ""
            panel.set_title(measure(key).title + hint, fontsize=8.5, loc="left")
            panel.tick_params(axis="x", labelsize=7)
        panels[0].set_yticks(range(len(learners)), learners[::-1], parse_math=False)
        figure.suptitle(
            f"Means over {len(found.streams)} streams, prequential, file order",
            fontsize=9.5,
            x=0.01,
            ha="left",
        )
    return figure


def speed_accuracy(
    points: Mapping[str, tuple[float, float]], ylabel: str, looks: Mapping[str, Style]
) -> Figure:
    """Events per second (logarithmic) against accuracy, one point per learner."""
    with _settings("", "none"):
        figure = _figure(6.6, 4.2)
        axes = figure.subplots()
        for learner, (speed, accuracy) in points.items():
            style = looks[learner]
            axes.scatter(
                speed, accuracy, s=46, color=style.color, marker=_MATPLOTLIB_MARKERS[style.marker]
            )
            axes.annotate(
                learner,
                (speed, accuracy),
                xytext=(6, 3),
                textcoords="offset points",
                fontsize=8,
                parse_math=False,
            )
        axes.set_xscale("log")
        axes.margins(x=0.14, y=0.1)
        axes.set_xlabel("events per second, geometric mean")
        axes.set_ylabel(ylabel)
        axes.grid(alpha=0.25)
    return figure


def scaling_plot(axis: str, found: Sequence[Sweep], looks: Mapping[str, Style]) -> Figure:
    """Seconds per event (threads: speed-up) over the swept value, both logarithmic."""
    with _settings("", "none"):
        figure = _figure(6.6, 4.2)
        axes = figure.subplots()
        one_family = len({sweep.family for sweep in found}) == 1
        for sweep in found:
            style = looks[sweep.learner]
            label = sweep.learner if one_family else f"{sweep.learner}, {sweep.family}"
            if math.isfinite(sweep.exponent):
                label += f": {sweep.exponent:.2f}"
            axes.loglog(
                [value for value, _ in sweep.points],
                [figure_ for _, figure_ in sweep.points],
                color=style.color,
                linestyle=_MATPLOTLIB_DASHES[style.dash],
                marker=_MATPLOTLIB_MARKERS[style.marker],
                linewidth=style.width,
                markersize=5,
                label=label,
            )
        axes.set_xlabel(axis)
        axes.set_ylabel("speed-up" if axis == "threads" else "seconds per event")
        axes.grid(alpha=0.25, which="both")
        legend = axes.legend(title="fitted exponent", fontsize=8, title_fontsize=8)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure
