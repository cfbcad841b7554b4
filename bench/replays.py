"""The README's table: `ihomer replay` on every stream of a folder, one process each.

In: the folder with the streams (`--data`, else `IHOMER_DATA_DIR`). Out: a table in Markdown. Full
streams in file order, the library's defaults, no warm-up left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

STREAMS = {
    "flags": ["flags.arff.gz"],
    "foodtruck": ["foodtruck.arff.gz"],
    "cal500": ["cal500.arff.gz"],
    "emotions": ["emotions.arff.gz"],
    "birds": ["birds-train.arff.gz", "birds-test.arff.gz"],
    "medical": ["medical.arff.gz"],
    "enron": ["enron.arff.gz"],
    "scene": ["scene-train.arff.gz", "scene-test.arff.gz"],
    "yeast": ["river:yeast"],
    "bibtex": ["bibtex.arff.gz"],
    "eukaryotego": ["eukaryotego.arff.gz"],
    "delicious": ["delicious.arff.gz"],
    "20ng": ["20ng.arff.gz"],
    "imdb": ["imdb.arff.gz"],
}
MEASURES = {
    "subset_accuracy": "subset accuracy",
    "hamming_loss": "Hamming loss",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
}


def replayed(folder: Path, files: list[str]) -> dict[str, Any]:
    """What `ihomer replay --json -` says of one stream."""
    sources = [name if ":" in name else str(folder / name) for name in files]
    command = [str(Path(sys.executable).with_name("ihomer")), "replay", *sources, "--json", "-"]
    done = subprocess.run([*command, "--quiet"], check=True, capture_output=True)  # noqa: S603 - our own command
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def row(name: str, figures: dict[str, Any]) -> str:
    """One line of the table; the best baseline, measure by measure, in brackets."""
    cells = [name, f"{figures['events']:,}", f"{figures['labels']:,}"]
    for key in MEASURES:
        values = [baseline[key] for baseline in figures["baselines"].values()]
        best = min(values) if key == "hamming_loss" else max(values)
        cells.append(f"{figures['measures'][key]:.3f} ({best:.3f})")
    cells.append(f"{figures['events_per_second']:,.0f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.replays", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("IHOMER_DATA_DIR"))
    parser.add_argument("--streams", default=",".join(STREAMS), help="comma-separated")
    arguments = parser.parse_args()
    names = arguments.streams.split(",")
    unknown = [name for name in names if name not in STREAMS]
    if unknown or arguments.data is None:
        parser.error(f"found {unknown or 'no folder'}, accepted: --data DIR, {', '.join(STREAMS)}")
    heads = ["stream", "events", "labels", *MEASURES.values(), "events/s"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for name in names:
        print(row(name, replayed(arguments.data, STREAMS[name])), flush=True)


if __name__ == "__main__":
    main()
