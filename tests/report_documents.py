"""Result documents that look like real ones, for tests of the report: made up, seeded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.results import Cell, Document

# events, features, labels, cardinality
STREAMS = {
    "flags": (194, 19, 7, 3.39),
    "foodtruck": (407, 21, 12, 2.29),
    "cal500": (502, 68, 174, 26.04),
    "emotions": (593, 72, 6, 1.87),
    "birds": (645, 260, 19, 1.01),
    "medical": (978, 1449, 45, 1.25),
    "enron": (1702, 1001, 53, 3.38),
    "scene": (2407, 294, 6, 1.07),
    "yeast": (2417, 103, 14, 4.24),
    "bibtex": (7395, 1836, 159, 2.40),
    "eukaryotego": (7766, 12689, 22, 1.15),
    "delicious": (16105, 500, 983, 19.02),
    "20ng": (19300, 1006, 20, 1.03),
    "imdb": (120919, 1001, 28, 2.00),
}
LEARNERS = (
    "ihomer",
    "river-br-lr",
    "river-br-ht",
    "river-br-hat",
    "river-br-arf",
    "river-br-knn",
    "river-cc-lr",
    "moa-mlht",
    "moa-isoup",
    "moa-oza",
    "no-change",
    "majority",
    "majority-set",
)
_SKILL = dict(
    zip(
        LEARNERS,
        (1.0, 0.86, 0.8, 0.82, 0.84, 0.7, 0.85, 0.66, 0.68, 0.83, 0.4, 0.35, 0.5),
        strict=True,
    )
)
_SPEED = dict(
    zip(
        LEARNERS,
        (9000, 150, 90, 70, 8, 30, 140, 900, 600, 300, 90000, 85000, 80000),
        strict=True,
    )
)
DETERMINISTIC = ("no-change", "majority", "majority-set", "river-br-lr")
SLOW = ("river-br-arf", "river-br-knn")


def measures(rng: np.random.Generator, skill: float, difficulty: float) -> dict[str, float]:
    base = float(np.clip(skill * (1 - difficulty) + rng.normal(0, 0.02), 0, 1))
    return {
        "subset_accuracy": base * 0.5,
        "hamming_loss": (1 - base) * 0.25,
        "micro_f1": base * 0.9,
        "macro_f1": base * 0.6,
        "micro_precision": base * 0.95,
        "example_f1": base * 0.85,
        "precision_at_1": base,
        "ndcg_at_3": base * 0.97,
        "one_error": 1 - base,
        "ranking_loss": (1 - base) * 0.4,
        "average_precision": base * 0.92,
        "events": 100.0,
        "events_without_labels": 0.0,
        "labels": 7.0,
    }


def accuracy(
    streams: Sequence[str] = tuple(STREAMS), learners: Sequence[str] = LEARNERS, seed: int = 0
) -> Document:
    """Seeds 1 to 5, five shuffles of the sorted streams; cells that ran out of time or failed."""
    rng = np.random.default_rng(seed)
    cells = []
    for number, stream in enumerate(streams):
        events, features, labels, cardinality = STREAMS.get(stream, (1000, 10, 5, 1.5))
        difficulty = 0.2 + 0.05 * (number % 10)
        orders: list[int | None] = [None]
        if stream in ("scene", "eukaryotego"):
            orders += [1, 2, 3, 4, 5]
        for learner in learners:
            for shuffle in orders:
                single = learner in DETERMINISTIC or shuffle is not None
                for learner_seed in (1,) if single else (1, 2, 3, 4, 5):
                    cell = Cell(stream, learner, learner_seed, shuffle)
                    cell.length, cell.features, cell.labels = events, features, labels
                    cell.events = events
                    cell.measures = measures(rng, _SKILL.get(learner, 0.6), difficulty)
                    cell.measures["cardinality"] = cardinality
                    rate = _SPEED.get(learner, 100.0) * float(rng.uniform(0.9, 1.1)) / labels**0.5
                    cell.events_per_second, cell.seconds = rate, events / rate
                    cell.passes, cell.peak_rss_mb = 1, 150 + 40 * float(rng.random())
                    cell.model_bytes = int(1e4 * labels * rng.uniform(1, 3))
                    _trouble(cell)
                    if learner_seed == 1 and shuffle is None and cell.status == "done":
                        cell.series = series(rng, events, _SKILL.get(learner, 0.6), difficulty)
                    cells.append(cell)
    return Document(
        "accuracy",
        {"cpu": "Example CPU", "cores": 2, "memory": "16 GB", "system": "Linux"},
        {"ihomer": "0.1.0", "river": "0.26.0", "python": "3.11.9", "numpy": "2.4.6"},
        {"streams": list(streams), "learners": list(learners), "seeds": [1, 2, 3, 4, 5]},
        cells,
        made="2026-02-03T10:20:30+00:00",
    )


def _trouble(cell: Cell) -> None:
    if cell.learner in SLOW and cell.stream in ("bibtex", "delicious", "imdb", "eukaryotego"):
        cell.status, cell.reason = "time-limit", "limit of 600 s"
        cell.events = 312 if cell.stream == "bibtex" else cell.length // 20
    if cell.learner == "moa-oza":
        cell.status, cell.reason = "unavailable", "needs Java; no java on the PATH"
        cell.measures, cell.events, cell.seconds, cell.events_per_second = {}, 0, 0.0, 0.0
        cell.peak_rss_mb, cell.model_bytes = 0.0, None
    if cell.learner == "moa-isoup" and cell.stream == "cal500" and cell.seed == 3:
        cell.status, cell.reason = "failed", "OutOfMemoryError: Java heap space"
        cell.measures = {}


def series(
    rng: np.random.Generator, events: int, skill: float, difficulty: float, points: int = 60
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for at in np.unique(np.linspace(events / points, events, points).astype(int)).tolist():
        learned = skill * (1 - np.exp(-4 * at / events))
        found.append({**measures(rng, learned, difficulty), "events": at})
        found[-1]["cardinality"] = None
    return found


def drift() -> Document:
    rng = np.random.default_rng(7)
    cells = []
    for how, stop in (("sudden", 10_000), ("gradual", 14_000)):
        stream = f"synthetic:planted?drift={how}&events=30000"
        for learner in ("ihomer", "river-br-hat", "majority"):
            for seed in (1, 2, 3):
                cell = Cell(stream, learner, seed, events=30_000, length=30_000, labels=40)
                cell.features, cell.seconds, cell.events_per_second = 30, 3.0, 10_000.0
                cell.measures = measures(rng, _SKILL[learner], 0.3)
                cell.series = series(rng, 30_000, _SKILL[learner], 0.3, points=120)
                for point in cell.series:
                    point["ari"] = 0.9 if learner == "ihomer" else None
                    if 10_000 < point["events"] < 13_000:
                        point["micro_f1"] *= 0.6
                cell.extra = {
                    "marks": [{"start": 10_000, "stop": stop, "of": "concept", "how": how}],
                    "recoveries": [
                        {
                            "at": 10_000,
                            "how": how,
                            "of": "concept",
                            "before": 0.8,
                            "drop": 0.3 * float(rng.random()),
                            "events_to_recover": None
                            if learner == "majority"
                            else 2000 + 100 * seed,
                            "area": 500.0 * float(rng.random()),
                        }
                    ],
                    "alarms": {"adwin": 4 + seed, "structure": 1} if learner == "ihomer" else {},
                }
                cells.append(cell)
    return Document(
        "drift", {"cores": 2}, {"ihomer": "0.1.0"}, {}, cells, "2026-02-03T12:00:00+00:00"
    )


AXES = {"events": 0.02, "features": 0.9, "labels": 0.5, "clusters": -0.1, "threads": -0.8}


def throughput(axes: Sequence[str] = tuple(AXES)) -> Document:
    rng = np.random.default_rng(9)
    cells = []
    for stream in ("flags", "emotions", "yeast", "bibtex"):
        events, features, labels, _ = STREAMS[stream]
        for learner in ("ihomer", "river-br-lr", "majority"):
            rate = _SPEED[learner] * float(rng.uniform(0.9, 1.1))
            cells.append(
                Cell(
                    stream,
                    learner,
                    1,
                    events=events,
                    length=events,
                    labels=labels,
                    features=features,
                    seconds=events / rate,
                    events_per_second=rate,
                    passes=5,
                    peak_rss_mb=200.0,
                    model_bytes=10_000 * labels,
                )
            )
    for axis in axes:
        for value in (1, 2, 4, 8) if axis == "threads" else (10, 100, 1000, 10_000):
            for learner in ("ihomer", "river-br-lr"):
                cell = Cell(f"synthetic:planted?{axis}={value}", learner, 1)
                cell.events = cell.length = 5000
                noise = float(rng.uniform(0.95, 1.05))
                cell.seconds = 5000 * 1e-4 * value ** AXES[axis] * noise
                cell.events_per_second = 5000 / cell.seconds
                cell.extra = {"axis": axis, "value": value}
                if learner == "river-br-lr" and value == 10_000:
                    cell.status, cell.reason = "time-limit", "limit of 60 s"
                cells.append(cell)
    return Document(
        "throughput", {"cores": 2}, {"ihomer": "0.1.0"}, {}, cells, "2026-02-03T11:00:00+00:00"
    )
