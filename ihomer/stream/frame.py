"""One screen of ``ihomer top``.

In: the text of ``/metrics`` and the object of ``/health/ready``, twice for rates. Out: something
that rich can draw. It is here so that what is shown can be tested without a daemon or a terminal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ihomer.stream import metrics as m
from ihomer.stream.metrics import Metric

Samples: TypeAlias = Mapping[str, Mapping[frozenset[tuple[str, str]], float]]

_STYLES = {"ready": "bold green", "degraded": "bold yellow", "not-ready": "bold red"}
_MEASURES = ("subset_accuracy", "hamming_loss", "micro_f1", "macro_f1", "log_loss")
_MOST_ROWS = 8


class Frame(NamedTuple):
    """A daemon at one moment, as it was told.

    Attributes
    ----------
    at
        When it was asked, on our own monotonic clock, in seconds.
    samples
        By sample name and labels.
    health
        What ``/health/ready`` has answered.
    """

    at: float
    samples: Samples
    health: Mapping[str, Any]


def parse_metrics(text: str) -> Samples:
    """The samples in the text form of ``/metrics``; raises `ValueError` where it is none."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    if m.BUILD.name not in found:
        raise ValueError(m.BUILD.name)
    return found


def draw(frame: Frame, before: Frame | None, place: str, away: str | None = None) -> RenderableType:
    """The screen.

    Parameters
    ----------
    frame, before
        The latest frame and the one before it, if there is one.
    place
        Where the daemon is.
    away
        Why it no longer answers, if it does not.
    """
    parts: list[RenderableType] = [_head(frame, place, away)]
    parts += [_reason(reason) for reason in frame.health.get("reasons", ())]
    parts += [_work(frame, before), _model(frame)]
    lag = _lag(frame)
    if lag is not None:
        parts.append(lag)
    return Panel(Group(*parts), title="ihomer top", title_align="left")


def _head(frame: Frame, place: str, away: str | None) -> Text:
    status = str(frame.health.get("status"))
    line = Text()
    if away is not None:
        line.append("no answer: ", "bold red").append(f"{away}; before: ")
    line.append(status, _STYLES.get(status, "bold red"))
    line.append(f"  stage {frame.health.get('stage')}  {place}")
    line.append(f"  version {frame.health.get('version')}")
    resident = _total(frame, "process_resident_memory_bytes")
    if not math.isnan(resident):
        line.append(f"  resident {_bytes(resident)}")
    return line


def _reason(reason: Mapping[str, Any]) -> Text:
    style = "yellow" if reason.get("severity") == "degraded" else "red"
    text = f"{reason.get('subject')}: {reason.get('text')}"
    return Text(f"{text} (for {reason.get('seconds', 0):.0f} s)", style)


def _work(frame: Frame, before: Frame | None) -> Table:
    table = Table.grid(padding=(0, 3))
    latency = [_milliseconds(_quantile(frame, before, m.PREDICT_SECONDS, q)) for q in (0.5, 0.99)]
    commit = [_milliseconds(_quantile(frame, before, m.COMMIT_SECONDS, q)) for q in (0.5, 0.99)]
    letters = {
        dict(labels)["reason"]: count for labels, count in _of(frame, m.DEAD_LETTERS).items()
    }
    rows = [
        ("events", _count(_total(frame, m.EVENTS.name)), _rate(frame, before, m.EVENTS)),
        ("batches", _count(_total(frame, m.BATCHES.name)), _rate(frame, before, m.BATCHES)),
        ("predicted after", f"p50 {latency[0]}", f"p99 {latency[1]}"),
        ("committed after", f"p50 {commit[0]}", f"p99 {commit[1]}"),
        ("dead letters", _count(sum(letters.values())), _largest(letters)),
        (
            "not acknowledged",
            _count(_total(frame, m.QUEUE_MESSAGES.name)),
            _bytes(_total(frame, m.QUEUE_BYTES.name)),
        ),
    ]
    if _of(frame, m.CHECKPOINT_AGE):
        age = max(_of(frame, m.CHECKPOINT_AGE).values())
        size = _bytes(_total(frame, m.CHECKPOINT_BYTES.name))
        rows.append(("checkpoint", f"{age:.0f} s old", size))
    if _of(frame, m.LABEL_BUFFER_EVENTS):
        waiting = _count(_total(frame, m.LABEL_BUFFER_EVENTS.name))
        rows.append(("wait for labels", waiting, _bytes(_total(frame, m.LABEL_BUFFER_BYTES.name))))
    for name, *cells in rows:
        table.add_row(Text(name, "dim"), *map(Text, cells))
    return table


def _model(frame: Frame) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("slot")
    for name in ("labels", "clusters", "model", *_MEASURES, "happened to the model"):
        table.add_column(name.replace("_", " "), justify="left" if "model" in name else "right")
    for slot in sorted({dict(labels)["slot"] for labels in _of(frame, m.LABELS)}):
        measures = (_one(frame, m.ROLLING, slot=slot, measure=name) for name in _MEASURES)
        happened = {
            f"{dict(labels)['kind']}/{dict(labels)['level']}": count
            for labels, count in _of(frame, m.LEARNER_EVENTS).items()
            if dict(labels)["slot"] == slot
        }
        table.add_row(
            slot,
            _count(_one(frame, m.LABELS, slot=slot)),
            _count(_one(frame, m.CLUSTERS, slot=slot)),
            _bytes(_one(frame, m.MODEL_BYTES, slot=slot)),
            *("-" if math.isnan(figure) else f"{figure:.3f}" for figure in measures),
            _largest(happened),
        )
    return table


def _lag(frame: Frame) -> Table | None:
    lags = sorted(
        ((behind, dict(labels)) for labels, behind in _of(frame, m.LAG).items()),
        key=lambda each: (-each[0], each[1]["topic"], int(each[1]["partition"])),
    )
    if not lags:
        return None
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("topic")
    table.add_column("partition", justify="right")
    table.add_column("records behind", justify="right")
    for behind, place in lags[:_MOST_ROWS]:
        table.add_row(Text(place["topic"]), place["partition"], _count(behind))
    if len(lags) > _MOST_ROWS:
        rest = sum(behind for behind, _ in lags[_MOST_ROWS:])
        table.add_row(f"and {len(lags) - _MOST_ROWS} more", "", _count(rest))
    return table


def _of(frame: Frame, metric: Metric) -> Mapping[frozenset[tuple[str, str]], float]:
    return frame.samples.get(metric.name, {})


def _one(frame: Frame, metric: Metric, **labels: str) -> float:
    return _of(frame, metric).get(frozenset(labels.items()), math.nan)


def _total(frame: Frame, name: str) -> float:
    series = frame.samples.get(name)
    return math.nan if series is None else sum(series.values())


def _rate(frame: Frame, before: Frame | None, metric: Metric) -> str:
    """Per second since the frame before, or since the process began."""
    now = _total(frame, metric.name)
    then, seconds = 0.0, _total(frame, m.STAGE_SECONDS.name)
    if before is not None:
        then, seconds = _total(before, metric.name), frame.at - before.at
    gained = now - then if now >= then else now  # the daemon has started anew
    rate = gained / seconds if seconds > 0 else math.nan
    return "-" if math.isnan(rate) else f"{rate:,.0f}/s"


def _quantile(frame: Frame, before: Frame | None, metric: Metric, share: float) -> float:
    """The upper bound of the bucket that holds the quantile, seconds; NaN without values."""
    counts = dict(_buckets(frame, metric))
    older = {} if before is None else dict(_buckets(before, metric))
    gained = {bound: count - older.get(bound, 0.0) for bound, count in counts.items()}
    if min(gained.values(), default=0.0) < 0.0 or not any(gained.values()):
        gained = counts
    total = max(gained.values(), default=0.0)
    for bound, count in sorted(gained.items()):
        if total > 0 and count >= share * total:
            return bound
    return math.nan


def _buckets(frame: Frame, metric: Metric) -> Iterator[tuple[float, float]]:
    """Upper bounds and how many values lie below them, over all slots."""
    found: dict[float, float] = {}
    for labels, count in frame.samples.get(f"{metric.name}_bucket", {}).items():
        bound = float(dict(labels)["le"])
        found[bound] = found.get(bound, 0.0) + count
    yield from found.items()


def _count(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:,.0f}"


def _milliseconds(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    return "> 30 s" if math.isinf(seconds) else f"<= {1e3 * seconds:g} ms"


def _bytes(number: float) -> str:
    if math.isnan(number):
        return "-"
    return f"{number / 1e6:,.1f} MB" if number >= 1e5 else f"{number:,.0f} bytes"


def _largest(counts: Mapping[str, float]) -> str:
    """The most frequent of `counts`, in words."""
    order = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    shown = ", ".join(f"{name} {count:,.0f}" for name, count in order[:4])
    return shown if len(order) <= 4 else f"{shown}, and {len(order) - 4} more kinds"
