"""Figures that others published, and those of their code run again on the same files.

In: a folder of CSV files. Out: a `Reference`. It is here so that a name in somebody else's table
is joined with one of our streams only where it is certainly the same stream.

The folder may hold ``rerun_mlhat.csv``, ``rerun_mlhat_shuffled.csv``, ``baselines.csv`` and
``published_SOURCE_MEASURE.csv``; what is not there is left out of the report and named in it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.report.groups import Figure, Row, mean_of
from ihomer.errors import InputError

# Streams of the published tables that certainly are ours. Not among them: "Eukaryote", of which
# there is a version with 12,689 features from gene ontology (ours) and one with 440 of another
# kind; the tables do not say which one they used.
SAME_STREAM = {
    "Flags": "flags",
    "Emotions": "emotions",
    "Birds": "birds",
    "Yeast": "yeast",
    "Scene": "scene",
    "Medical": "medical",
    "Enron": "enron",
    "D20ng": "20ng",
    "Bibtex": "bibtex",
    "Imdb": "imdb",
}
# Entries of the iHomer column that can only come from a short tail of the stream, and those that
# begin at event 150.
TAIL_ONLY = ("Scene", "Eukaryote", "Hypercube", "VirusGO")
FROM_EVENT_150 = ("Emotions", "WaterQuality")

_MEASURE_KEYS = {
    "subset_acc": "subset_accuracy",
    "hamming": "hamming_loss",
    "micro_f1": "micro_f1",
    "macro_f1": "macro_f1",
    "example_f1": "example_f1",
    "time_s": "seconds",
}
_PUBLISHED = {
    "ihomer": ("subset_acc", "hamming", "micro_f1", "macro_f1"),
    "mlhat": ("example_f1", "time_s"),
}


@dataclass(slots=True)
class Published:
    """One published table, cut to the streams that are ours.

    Attributes
    ----------
    source
        ``ihomer`` or ``mlhat``: whose repository it is from.
    measure
        Our key, or ``seconds``.
    methods
        Columns.
    values
        By our name of the stream, then by method.
    names
        The table's own name by ours.
    unjoined
        The table's streams that are not certainly ours.
    """

    source: str
    measure: str
    methods: list[str]
    values: dict[str, dict[str, float]]
    names: dict[str, str]
    unjoined: list[str]


@dataclass(slots=True)
class Reference:
    """What there is to compare with.

    Attributes
    ----------
    mlhat
        MLHAT's public code, run again on full streams: by row and measure, ``events_per_second``
        among the measures.
    baselines
        By stream (file order), baseline and measure.
    published
        In a fixed order.
    absent
        Names of the files that are not there.
    """

    mlhat: dict[Row, dict[str, Figure]] = field(default_factory=dict)
    baselines: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    published: list[Published] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def mlhat_mean(self, row: Row, measure: str) -> float | None:
        """MLHAT's figure, or None."""
        found = self.mlhat.get(row, {}).get(measure)
        return None if found is None else found.mean


def mlhat_figures(reference: Reference) -> dict[str, dict[str, float]]:
    """MLHAT's figures of its re-run in file order, by stream and measure."""
    return {
        row.stream: {key: figure.mean for key, figure in figures.items()}
        for row, figures in reference.mlhat.items()
        if not row.shuffled
    }


def mlhat_rates(reference: Reference) -> dict[str, float]:
    """MLHAT's events per second in its re-run, by stream."""
    found = mlhat_figures(reference)
    return {s: f["events_per_second"] for s, f in found.items() if "events_per_second" in f}


def read_reference(folder: Path | None) -> Reference:
    """What `folder` holds; None: nothing.

    Raises
    ------
    InputError
        The folder does not exist, or a file of it is no such table.
    """
    reference = Reference()
    if folder is None:
        return reference
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; accepted: a folder with rerun_mlhat.csv")
    runs: dict[Row, dict[str, list[float]]] = {}
    for name, shuffled in (("rerun_mlhat.csv", False), ("rerun_mlhat_shuffled.csv", True)):
        for line in _lines(folder / name, reference, "stream"):
            figures = runs.setdefault(Row(line.text("stream"), shuffled), {})
            for key in line.but("stream", "seed", "events"):
                figures.setdefault(key, []).append(line.number(key))
    for row, by_key in runs.items():
        means = {key: mean_of(values) for key, values in by_key.items()}
        reference.mlhat[row] = {key: found for key, found in means.items() if found is not None}
    for line in _lines(folder / "baselines.csv", reference, "stream"):
        by_baseline = reference.baselines.setdefault(line.text("stream"), {})
        by_baseline[line.text("baseline")] = {
            _MEASURE_KEYS.get(key, key): line.number(key) for key in line.but("stream", "baseline")
        }
    for source, measures in _PUBLISHED.items():
        for name in measures:
            table = _published(folder / f"published_{source}_{name}.csv", source, name, reference)
            if table.values:
                reference.published.append(table)
    return reference


def _published(path: Path, source: str, name: str, reference: Reference) -> Published:
    table = Published(source, _MEASURE_KEYS[name], [], {}, {}, [])
    for line in _lines(path, reference, "Dataset"):
        stream = line.text("Dataset")
        if stream in ("Average", "Avg Rank"):
            continue
        ours = SAME_STREAM.get(stream)
        if ours is None:
            table.unjoined.append(stream)
            continue
        table.methods = line.but("Dataset")
        table.values[ours] = {method: line.number(method) for method in table.methods}
        table.names[ours] = stream
    return table


@dataclass(slots=True)
class _Line:
    path: Path
    number_of_line: int
    values: dict[str, str]

    def but(self, *keys: str) -> list[str]:
        return [key for key in self.values if key not in keys]

    def text(self, key: str) -> str:
        if key not in self.values:
            raise InputError(f"{self.path}: found no column {key}; accepted: a table with one")
        return self.values[key]

    def number(self, key: str) -> float:
        try:
            return float(self.text(key))
        except ValueError:
            raise InputError(
                f"{self.path}: line {self.number_of_line}, column {key}:"
                f" found {self.values[key]!r}, accepted: a number"
            ) from None


def _lines(path: Path, reference: Reference, first: str) -> Iterator[_Line]:
    """The lines of a CSV file by column; a file that is not there has none and is noted."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = list(csv.reader(file))
    except FileNotFoundError:
        reference.absent.append(path.name)
        return
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if not table or table[0][:1] != [first]:
        found = table[0][0] if table and table[0] else "nothing"
        raise InputError(
            f"{path}: line 1: found {found}, accepted: a header beginning with {first}"
        )
    for number, fields in enumerate(table[1:], start=2):
        if not fields:
            continue
        if len(fields) != len(table[0]):
            raise InputError(
                f"{path}: line {number}: found {len(fields)} fields, accepted: {len(table[0])}"
            )
        yield _Line(path, number, dict(zip(table[0], fields, strict=True)))
