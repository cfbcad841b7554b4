"""What a replay prints for people."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from ihomer.stream.measures import Measures
from ihomer.stream.report import print_report


def printed(labels: int) -> str:
    measures: dict[str, Any] = {**Measures().result(labels), "events": 3}
    figures: dict[str, Any] = {
        "stream": "made up",
        "events": 3,
        "features": 2,
        "labels": labels,
        "measures": measures | {"coverage_error": 40.0, "psp_at_3": 0.25},
        "baselines": {"no-change": measures | {"coverage_error": 30.0, "psp_at_3": 0.5}},
        "dead_letters": {},
        "events_per_second": 10.0,
        "events_per_second_with_parsing": 9.0,
        "p50_us": 1.0,
        "p99_us": 2.0,
        "batch_size": 64,
        "peak_rss_mb": 100.0,
    }
    file = io.StringIO()
    print_report(
        figures, Console(file=file, width=120, force_terminal=True, color_system="standard")
    )
    return file.getvalue()


def test_few_labels_are_not_judged_by_the_measures_of_many() -> None:
    assert "propensity" not in printed(100)
    assert "ranks to cover" not in printed(100)


@pytest.mark.parametrize(
    ("measure", "better"), [("propensity-scored P@3", "0.5000"), ("ranks to cover", "30.0000")]
)
def test_many_labels_are_judged_by_what_ranks_them(measure: str, better: str) -> None:
    text = printed(101)
    line = next(line for line in text.splitlines() if measure in line)
    assert f"\x1b[1m{better}\x1b[0m" in line
