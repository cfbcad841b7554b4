"""The page of the ablation, in Markdown: what changes when a part of the learner is off.

In: a document whose first learner is the default. Out: text. It is here so that the page's figures
are made and not typed.

One line of a table is one variant. A stream counts once: the small ones as the mean over their
shuffles. Differences are paired, variant minus default on the same stream, order and seed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.report.names import measure, streams_in_order
from bench.results import Cell, Document
from bench.streams import GENERATED

MEASURES = ("subset_accuracy", "hamming_loss", "micro_f1", "macro_f1", "log_loss")
LATER = "second_half"  # of a generated stream: subset accuracy over events n/2 to n
SAME = 0.0005  # a difference below this is no difference at the digits shown


@dataclass(slots=True)
class Variant:
    """One learner's cells by stream, order and seed.

    Attributes
    ----------
    word
        ``ihomer?trees=1``.
    cells
        Those that are done.
    lacking
        Streams with a cell that is not.
    """

    word: str
    cells: dict[tuple[str, int | None, int], Cell] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Without the learner's name."""
        return self.word.partition("?")[2] or "default"


def by_variant(cells: Iterable[Cell]) -> list[Variant]:
    """The variants of `cells`, in their order."""
    found: dict[str, Variant] = {}
    for cell in cells:
        variant = found.setdefault(cell.learner, Variant(cell.learner))
        if cell.status == "done":
            variant.cells[cell.stream, cell.shuffle, cell.seed] = cell
        elif cell.stream not in variant.lacking:
            variant.lacking.append(cell.stream)
    return list(found.values())


def value(cell: Cell, key: str) -> float:
    """A measure of a cell, or of its second half; NaN where there is none."""
    if key == LATER:
        return float(cell.extra.get(LATER, {}).get("subset_accuracy", math.nan))
    return cell.measures.get(key, math.nan)


def means(variant: Variant, streams: Sequence[str], key: str) -> dict[str, float]:
    """By stream, the mean over orders and seeds; streams without a figure are left out."""
    found: dict[str, list[float]] = {}
    for (stream, _, _), cell in variant.cells.items():
        if stream in streams and stream not in variant.lacking:
            found.setdefault(stream, []).append(value(cell, key))
    by_stream = {stream: statistics.fmean(values) for stream, values in found.items()}
    return {stream: mean for stream, mean in by_stream.items() if math.isfinite(mean)}


def differences(
    variant: Variant, default: Variant, streams: Sequence[str], key: str
) -> dict[str, float]:
    """By stream, the mean of variant minus default over what both have done."""
    found: dict[str, list[float]] = {}
    for place, cell in variant.cells.items():
        if place in default.cells and place[0] in streams:
            pair = value(cell, key) - value(default.cells[place], key)
            found.setdefault(place[0], []).append(pair)
    by_stream = {stream: statistics.fmean(values) for stream, values in found.items()}
    return {stream: mean for stream, mean in by_stream.items() if math.isfinite(mean)}


def speed(variant: Variant, default: Variant, streams: Sequence[str]) -> float:
    """Geometric mean over streams of events per second to the default's; NaN: nothing in common."""
    ratios: dict[str, list[float]] = {}
    for place, cell in variant.cells.items():
        other = default.cells.get(place)
        if other is None or place[0] not in streams:
            continue
        if cell.events_per_second > 0 and other.events_per_second > 0:
            ratio = cell.events_per_second / other.events_per_second
            ratios.setdefault(place[0], []).append(ratio)
    if not ratios:
        return math.nan
    return statistics.geometric_mean([statistics.geometric_mean(r) for r in ratios.values()])


def markdown(document: Document, command: str) -> str:
    """The page; `command` is what makes it again."""
    variants = by_variant(document.cells)
    default = variants[0]
    streams = streams_in_order(cell.stream for cell in document.cells)
    real = [stream for stream in streams if not stream.startswith(GENERATED)]
    generated = [stream for stream in streams if stream.startswith(GENERATED)]
    shuffled = sorted({cell.stream for cell in document.cells if cell.shuffle is not None})
    machine = ", ".join(f"{key} {text}" for key, text in document.machine.items())
    about = (
        f"Made by `{command}` on {document.made[:10]} ({machine}). Every line is the default"
        " learner with one thing changed; `without=PART` switches a part off. Differences are"
        " variant minus default, paired by stream, order and seed, then averaged over streams;"
        " after ± stands their standard error over streams. For Hamming loss and log-loss less is"
        " better. Rates are of several processes at once: only their ratios mean something."
    )
    parts = ["# Ablation", about]
    if shuffled:
        text = f"Means over shuffles: {', '.join(shuffled)}. All other streams in file order."
        parts.append(text)
    if real:
        parts += [f"## Means over {len(real)} real streams", _means_table(variants, real, MEASURES)]
        parts += [
            "## Differences to the default, real streams",
            _difference_table(variants, default, real, MEASURES),
        ]
    if generated:
        keys = ("subset_accuracy", LATER, "micro_f1", "macro_f1", "log_loss")
        parts += [
            f"## Means over {len(generated)} generated streams",
            _means_table(variants, generated, keys),
            "## Differences to the default, generated streams",
            _difference_table(variants, default, generated, keys),
        ]
    parts += [
        "## Subset accuracy by stream",
        "Default: the figure; variants: the difference to it, times 100.",
        _stream_table(variants, default, streams, "subset_accuracy"),
        "## Micro-F1 by stream",
        _stream_table(variants, default, streams, "micro_f1"),
    ]
    lacks = [f"- {v.title}: {', '.join(v.lacking)}" for v in variants if v.lacking]
    if lacks:
        parts += ["## Not finished, and not in the means", "\n".join(lacks)]
    return "\n\n".join(parts) + "\n"


def _head(key: str) -> str:
    return "subset acc., second half" if key == LATER else measure(key).short


def _rows(lines: Iterable[Sequence[str]]) -> str:
    first, *others = (f"| {' | '.join(line)} |" for line in lines)
    width = first.count("|") - 1
    return "\n".join([first, f"|---|{'---:|' * (width - 1)}", *others])


def _means_table(variants: Sequence[Variant], streams: Sequence[str], keys: Sequence[str]) -> str:
    """Means over `streams`; a variant that lacks one of them has none."""
    lines = [["variant", *map(_head, keys)]]
    for variant in variants:
        found = [means(variant, streams, key) for key in keys]
        lines.append(
            [variant.title]
            + [
                f"{statistics.fmean(each.values()):.4f}" if len(each) == len(streams) else "–"
                for each in found
            ]
        )
    return _rows(lines)


def _difference_table(
    variants: Sequence[Variant], default: Variant, streams: Sequence[str], keys: Sequence[str]
) -> str:
    """Mean paired differences, streams on which subset accuracy fell and rose, and speed."""
    lines = [["variant", *map(_head, keys), "worse / better on", "events/s, ratio"]]
    for variant in variants[1:]:
        line = [variant.title]
        line += [_mean_and_error(differences(variant, default, streams, key)) for key in keys]
        subset = differences(variant, default, streams, keys[0]).values()
        worse, better = (sum(s * d > SAME for d in subset) for s in (-1.0, 1.0))
        ratio = speed(variant, default, streams)
        lines.append([*line, f"{worse} / {better}", "–" if math.isnan(ratio) else f"{ratio:.2f}"])
    return _rows(lines)


def _mean_and_error(found: dict[str, float]) -> str:
    if not found:
        return "–"
    text = f"{statistics.fmean(found.values()):+.4f}"
    if len(found) < 2:
        return text
    return f"{text} ± {statistics.stdev(found.values()) / math.sqrt(len(found)):.4f}"


def _stream_table(
    variants: Sequence[Variant], default: Variant, streams: Sequence[str], key: str
) -> str:
    """The default's figures, then each variant's differences in hundredths, by stream."""
    lines = [["variant", *(stream.removeprefix(GENERATED) for stream in streams)]]
    own = means(default, streams, key)
    lines.append([default.title, *(f"{own[s]:.4f}" if s in own else "–" for s in streams)])
    for variant in variants[1:]:
        found = differences(variant, default, streams, key)
        lines.append(
            [variant.title, *(f"{100 * found[s]:+.2f}" if s in found else "–" for s in streams)]
        )
    return _rows(lines)
