"""Figures for people: a table of measures, learner beside baselines."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

_SHOWN = {
    "subset_accuracy": "subset accuracy",
    "hamming_loss": "Hamming loss (less is better)",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "example_f1": "example-based F1",
    "example_precision": "example-based precision",
    "example_recall": "example-based recall",
    "example_jaccard": "example-based Jaccard",
    "precision_at_1": "P@1",
    "precision_at_3": "P@3",
    "precision_at_5": "P@5",
    "ndcg_at_5": "nDCG@5",
    "average_precision": "average precision",
    "one_error": "one-error (less is better)",
    "ranking_loss": "ranking loss (less is better)",
    "log_loss": "log-loss (less is better)",
    "prior_log_loss": "log-loss of the priors",
    "calibration_error": "ECE (less is better)",
    "calibration_error_likely": "ECE where p >= .1",
}
# Beside them, of a stream of more than `_MANY` labels.
_SHOWN_OF_MANY = {
    "psp_at_1": "propensity-scored P@1",
    "psp_at_3": "propensity-scored P@3",
    "psp_at_5": "propensity-scored P@5",
    "coverage_error": "ranks to cover all (less is better)",
    "coverage_at_1": "labels ever right at 1",
    "coverage_at_3": "labels ever right at 3",
    "coverage_at_5": "labels ever right at 5",
}
_MANY = 100
# Of late labels, where there are any.
_SHOWN_OF_LATE = {
    "at_once": "with labels at once",
    "early": "joined with labels that came first",
    "waiting": "still waiting",
    "dropped": "dropped",
    "negative": "taken as negative",
    "handed_over": "handed over",
    "crowded_out": "of these because there was no room",
    "repeated": "repeated",
    "twice": "label sets came twice",
    "too_late": "too late",
    "held": "held without an event",
    "unmatched": "without an event in time",
    "refused": "refused",
}
_LESS_IS_BETTER = {
    "hamming_loss",
    "one_error",
    "ranking_loss",
    "log_loss",
    "prior_log_loss",
    "calibration_error",
    "calibration_error_likely",
    "coverage_error",
}


def print_report(figures: dict[str, Any], console: Console) -> None:
    """Print the summary of a replay or of a daemon's life.

    Parameters
    ----------
    figures
        As `ihomer.stream.replay.summary` makes them.
    console
        Where to.
    """
    columns = {"ihomer": figures["measures"], **figures["baselines"]}
    scored = columns["ihomer"]["events"]
    if scored:
        # Not the table's title, which would be broken to the table's width.
        console.print(
            f"{figures['stream']}: {figures['events']:,} events, {figures['features']:,} features,"
            f" {figures['labels']:,} labels",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        table = Table()
        table.add_column("measure")
        for name in columns:
            table.add_column(name, justify="right")
        rows = _SHOWN | (_SHOWN_OF_MANY if figures["labels"] > _MANY else {})
        for key, shown in rows.items():
            values = [column[key] for column in columns.values()]
            best = min(values) if key in _LESS_IS_BETTER else max(values)
            table.add_row(shown, *(_cell(value, best=value == best) for value in values))
        console.print(table)
    if scored < figures["events"]:
        console.print(
            f"{figures['events'] - scored:,} events without labels were predicted only",
            highlight=False,
            soft_wrap=True,
        )
    late = figures.get("late_labels")
    if late:
        parts = [f"{late[key]:,} {text}" for key, text in _SHOWN_OF_LATE.items() if late[key]]
        joined = f"late labels: {late['joined']:,} events joined"
        console.print(", ".join([joined, *parts]), highlight=False, soft_wrap=True)
    bad = figures["dead_letters"]
    if bad:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(bad.items()))
        console.print(
            f"{sum(bad.values()):,} malformed events: {kinds}", highlight=False, soft_wrap=True
        )
    if figures["events"]:
        console.print(
            f"{figures['events_per_second']:,.0f} events/s (predict, score, learn),"
            f" {figures['events_per_second_with_parsing']:,.0f} with parsing;"
            f" p50 {figures['p50_us']:,.0f} us, p99 {figures['p99_us']:,.0f} us"
            f" in batches of {figures['batch_size']};"
            f" peak memory {figures['peak_rss_mb']:,.0f} MB",
            highlight=False,
            soft_wrap=True,
        )
    else:
        console.print(f"{figures['stream']}: no events", highlight=False, markup=False)
    model = figures.get("model")
    if model and figures["events"]:
        console.print(
            f"{len(model['clusters'])} clusters of labels, {model['partition_changes']} changes of"
            f" the partition, drift alarms: {model['local_alarms']} local,"
            f" {model['global_alarms']} global; model {model['bytes'] / 1e6:,.2f} MB",
            highlight=False,
            soft_wrap=True,
        )
        happened = [
            f"{level} {kind} {count:,}"
            for kind, levels in model["events"].items()
            for level, count in levels.items()
        ]
        if happened:
            console.print(f"what happened: {', '.join(happened)}", highlight=False, soft_wrap=True)


def _cell(value: float, *, best: bool) -> str:
    return f"[bold]{value:.4f}[/bold]" if best else f"{value:.4f}"
