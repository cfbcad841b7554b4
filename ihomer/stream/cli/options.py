"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ihomer.stream.settings import DEFAULT_FILE

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="PATH",
        help=f"Configuration file; else $IHOMER_CONFIG, else ./{DEFAULT_FILE} if it exists.",
    ),
]

DeadLettersOption = Annotated[
    str | None,
    typer.Option(
        "--dead-letters",
        metavar="URI",
        help="Where malformed events go; without it the first one ends the command.",
    ),
]
EventsOption = Annotated[
    str | None,
    typer.Option(
        "--events",
        metavar="URI",
        help="Where alarms, splits, switches and the like are written, as they happen.",
    ),
]
BatchSizeOption = Annotated[
    int | None, typer.Option("--batch-size", metavar="N", help="Largest number of events a step.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", metavar="N", help="Random seed.")]
StrictOption = Annotated[
    bool | None,
    typer.Option(
        "--strict/--no-strict",
        help="Whether unknown fields make an event malformed.",
        show_default=False,
    ),
]
AllowCodeOption = Annotated[
    bool | None,
    typer.Option(
        "--allow-code",
        help="Let the code run that the configuration's key decoder names.",
        show_default=False,
    ),
]
TopKOption = Annotated[
    int | None, typer.Option("--top-k", metavar="N", help="Scores listed in a prediction.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.")]
