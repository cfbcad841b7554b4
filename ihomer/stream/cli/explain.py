"""``ihomer explain``: why a saved model says what it says of an event, or what it is about.

In: a checkpoint or a saved model, and an event in JSON. Out: a table, or JSON. It is here so that
an operator can ask the model that serves, from the folder that it would restart from.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ihomer.errors import InputError, UsageError
from ihomer.stream.cli.checkpoint import load_roots, one_checkpoint
from ihomer.stream.cli.options import ConfigOption
from ihomer.stream.cli.printing import print_json
from ihomer.stream.settings import Settings, load_settings

if TYPE_CHECKING:
    from ihomer.instances import Features

ModelArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[MODEL]",
        help="What a model's save has made, a checkpoint, or a slot's folder: its newest; else the"
        " configuration's state_dir.",
        show_default=False,
    ),
]
FileArgument = Annotated[
    str,
    typer.Argument(
        metavar="[EVENT]",
        help="A file whose first line is an event in JSON, as `ihomer run` takes them; - is"
        " standard input.",
    ),
]
EventOption = Annotated[
    str | None, typer.Option("--event", metavar="JSON", help="The event itself.")
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="LABEL", help="Which label; again for more. Else the most probable one."
    ),
]
TopOption = Annotated[
    int, typer.Option("--top", metavar="K", min=1, help="How many features and neighbours.")
]
AboutOption = Annotated[
    bool, typer.Option("--model", help="No event: what the model and its clusters are about.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON, nothing else.")]


def explain_command(
    model: ModelArgument = None,
    file: FileArgument = "-",
    event: EventOption = None,
    label: LabelOption = None,
    top: TopOption = 5,
    about: AboutOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show which experts, features, trees and neighbours spoke for a label of an event.

    Lines marked exact add up: the constant, what all experts add, blending and calibration are
    the logit of the probability.
    """
    import orjson

    from ihomer.learners.ihomer import IHomer

    if about and (event is not None or label or file != "-"):
        raise UsageError("--model: found an event or a label beside it, accepted: neither")
    if event is not None and file != "-":
        raise UsageError(f"--event: found the file {file} beside it, accepted: one of them")
    settings = load_settings(config, {}).settings
    # Before the model is loaded, which takes its time.
    body = None if about else _event(event, file)
    folder = one_checkpoint(model, settings)
    learner = load_roots(folder)["learner"]
    if not isinstance(learner, IHomer):
        raise InputError(f"{folder}: found {type(learner).__name__}, accepted: an IHomer")
    if body is None:
        described = learner.describe(top)
        if as_json:
            print_json(orjson.loads(described.to_json()))
        else:
            typer.echo(str(described))
        return
    x, called = _features(body, settings)
    asked: list[str | None] = [*label] if label else [None]
    found = [learner.explain_one(x, each, top, called) for each in asked]
    if as_json:
        print_json([orjson.loads(each.to_json()) for each in found])
    else:
        typer.echo("\n\n".join(map(str, found)))


def _event(given: str | None, file: str) -> bytes:
    """The bytes of the event that is asked about."""
    if given is not None:
        return given.encode()
    if file == "-":
        if sys.stdin.isatty():
            raise UsageError("event: found none, accepted: --event JSON, a file, or standard input")
        line = sys.stdin.buffer.readline()
        place = "standard input"
    else:
        place = file
        try:
            with Path(file).open("rb") as source:
                line = source.readline()
        except OSError as error:
            raise InputError(
                f"{file}: {error.strerror}, accepted: a file with an event in JSON"
            ) from error
    if not line.strip():
        raise InputError(f"{place}: found an empty first line, accepted: an event in JSON")
    return line


def _features(body: bytes, settings: Settings) -> tuple[Features, dict[str, str]]:
    """The event's features, and the words behind those of its texts."""
    from ihomer.connectors.base import Record
    from ihomer.stream.mapping.decoder import MappedDecoder, decoder_of

    decoder, record = decoder_of(settings), Record(body, "event", 0, 0)
    x = decoder.decode(record).x
    return x, decoder.called(record) if isinstance(decoder, MappedDecoder) else {}
