"""What each part of the learner is worth: it is switched off, one at a time, over all streams.

In: a folder of data sets. Out: a document, and ``docs/ablation.md`` made of it: means, differences
to the default paired by stream and shuffle, events per second. It is here because a part stays in
only if it pays, and whether it does changes with the parts around it.

The small streams enter as means over five shuffles, the others in file order, beside four
generated ones. An interrupted run goes on where it was; the same sources are not measured twice.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence
from pathlib import Path

from bench.command import (
    Parser,
    console,
    data_folder,
    end,
    make_tasks,
    numbers,
    positive,
    run_document,
    seconds,
)
from bench.learners import IHOMER
from bench.report.ablation import markdown
from bench.run import present
from bench.streams import GENERATED, REAL, SMALL, expand
from bench.task import Task
from ihomer.connectors.datasets.atomic import write_whole
from ihomer.learners import ihomer as learner

GENERATED_STREAMS = tuple(
    f"{GENERATED}{rest}"
    for rest in (
        "tree?events=50000&drift=sudden",
        "hyperplane?events=50000",
        "rbf?events=50000",
        "xor?events=50000&drift=sudden",
    )
)
TREES = (1, 5, 10, 20)
# By parameter: the settings that are tried beside the default one.
CHOICES: dict[str, tuple[object, ...]] = {
    "trees": TREES,
    "split_test": ("evidence", "hoeffding", "bernstein"),
    "objective": ("subset", "hamming", "micro-f1", "macro-f1"),
    "partition": (True, False),
    "drift": (True, False),
}


def variants() -> list[str]:
    """The default learner, then every part off, then every other choice, as the learner has them.

    Parts are `ihomer.learners.ihomer.PARTS`; parameters that it does not take are left out.
    """
    parameters = inspect.signature(learner.IHomer).parameters
    words = [IHOMER]
    if "without" in parameters:
        words += [f"{IHOMER}?without={part}" for part in getattr(learner, "PARTS", ())]
    for name, choices in CHOICES.items():
        if name in parameters:
            default = parameters[name].default
            words += [f"{IHOMER}?{name}={choice}" for choice in choices if choice != default]
    return words


def tasks(arguments: argparse.Namespace) -> list[Task]:
    """Every variant on every stream, stream by stream."""
    folder = data_folder(arguments)
    streams = expand(arguments.streams or [*present(REAL, folder), *GENERATED_STREAMS])
    found: list[Task] = []
    for stream in streams:
        each = argparse.Namespace(**vars(arguments))
        each.streams = [stream]
        each.learners = arguments.variants or variants()
        each.only_shuffles = stream in SMALL
        each.shuffles = arguments.shuffles if stream in SMALL else ""
        found += make_tasks("accuracy", each)
    return found


def main() -> None:
    """Measure, write the document and the page."""
    parser = Parser(
        prog="python -m bench.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets (IHOMER_DATA_DIR)")
    parser.add_argument("--streams", action="append", metavar="NAMES", help="only these streams")
    parser.add_argument(
        "--variants", action="append", metavar="WORDS", help="only these, the first is the default"
    )
    parser.add_argument("--seeds", default="1", metavar="LIST", help="such as 1,2 or 1-5")
    parser.add_argument("--shuffles", default="1-5", metavar="LIST", help="of the small streams")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N events")
    parser.add_argument("--time-limit", type=seconds, default=600.0, metavar="SECONDS")
    parser.add_argument("--jobs", type=positive, default=2, help="processes")
    parser.add_argument(
        "--json",
        default="bench-results/ablation.json",
        metavar="FILE",
        help="the document; an interrupted run goes on from FILE.partial",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("docs/ablation.md"), metavar="FILE", help="the page"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.set_defaults(default_streams="", default_learners="")
    arguments = parser.parse_args()
    numbers(arguments.shuffles)
    Path(arguments.json).parent.mkdir(parents=True, exist_ok=True)
    errors = console(errors=True)
    document = run_document("accuracy", tasks(arguments), arguments, arguments.jobs, errors)
    write_whole(arguments.out, markdown(document, _command(arguments)).encode())
    if not arguments.quiet:
        errors.print(f"written: {arguments.out}", highlight=False, markup=False)


def _command(arguments: argparse.Namespace) -> str:
    """What makes the page again, without folders."""
    words: Sequence[str] = ["python -m bench.ablation --data DATA"]
    for name in ("streams", "variants"):
        for value in getattr(arguments, name) or ():
            words = [*words, f"--{name} '{value}'"]
    if arguments.limit:
        words = [*words, f"--limit {arguments.limit}"]
    return " ".join(words) if len(words) > 1 else "make ablation"


if __name__ == "__main__":
    end(main)
