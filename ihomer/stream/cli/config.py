"""``ihomer config``: write, check and show the configuration.

In: a path or nothing. Out: a commented TOML file, a verdict, or the effective values with the
place each came from, passwords masked. It is here so that a configuration can be proved right
before a daemon runs on it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from ihomer.errors import UsageError
from ihomer.stream.address import check_address, read_token
from ihomer.stream.cli.mapping import infer, try_events
from ihomer.stream.cli.options import AllowCodeOption, ConfigOption
from ihomer.stream.settings import (
    DEFAULT_FILE,
    LoadedSettings,
    load_settings,
    mask,
    reference,
    toml_value,
)

_WIDTH = 98

_HEAD = """\
# Configuration of ihomer. Every key may be left out; a key that is commented out shows its default.
# The environment (IHOMER_ and the key in capitals) is stronger than this file, a flag stronger yet.
"""

config_app = typer.Typer(
    name="config",
    help="Write, check and show the configuration.",
    no_args_is_help=True,
    add_completion=False,
)


def template() -> str:
    """The commented TOML file: every key with what it means, what it accepts and its default.

    Returns
    -------
    str
        With the ``#`` before each ``key = value`` taken away, it loads as the defaults.
    """
    parts = [_HEAD]
    for key in reference():
        spelling = f" ({key.spelling})" if key.spelling else ""
        prose = [
            key.description,
            f"Accepted: {key.accepted}. Environment: {key.variable}{spelling}.",
        ]
        lines = [line for sentence in prose for line in textwrap.wrap(sentence, _WIDTH)]
        parts.append("".join(f"# {line}\n" for line in lines) + f"#{key.name} = {key.default}\n")
    return "\n".join(parts)


@config_app.command(
    epilog="Example: ihomer config init && ihomer config check",
)
def init(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Where to; - is standard output.")
    ] = Path(DEFAULT_FILE),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write a commented configuration file that holds every key."""
    if str(path) == "-":
        typer.echo(template(), nl=False)
        return
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path}: found an existing file, accepted: a new path, or --force")
    write_new(path, template())
    typer.echo(f"wrote {path}")


config_app.command(
    name="infer",
    epilog="Example: ihomer config infer tickets.jsonl && ihomer config check --try 100",
)(infer)


@config_app.command(
    epilog="Example: ihomer config check --config production.toml --try 100 tickets.jsonl"
)
def check(
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...", help="Of --try: where events come from, if not the source key."
        ),
    ] = None,
    try_count: Annotated[
        int | None,
        typer.Option(
            "--try", min=1, max=100_000, metavar="N", help="Show what the first N events become."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Of --try: one JSON object, with every event in full.")
    ] = False,
    allow_code: AllowCodeOption = None,
    config: ConfigOption = None,
) -> None:
    """Say what is wrong with the configuration, or ok.

    With --try, also what the first events of its source become: id, labels, features and time, and
    how many are refused and why. A topic is looked at without a consumer group.
    """
    if try_count is None and (source or as_json):
        given = "SOURCE" if source else "--json"
        raise UsageError(f"{given}: found without --try, accepted: with --try N")
    loaded = load_settings(config, {"allow_code": allow_code})
    _warn(loaded)
    faults = _wrong_uris(loaded)
    settings = loaded.settings
    try:
        if settings.http is not None:
            check_address(settings.http, public=settings.http_public)
            read_token(settings.http_token_file)
    except UsageError as error:
        faults.append(str(error))
    if not faults:
        from ihomer.stream.decoder_hook import check_decoder  # needs numpy, as the connectors do

        check_decoder(settings)
    if faults:
        raise UsageError("\n".join(faults))
    if try_count is None:
        typer.echo(f"ok: {_file(loaded)}")
        return
    try_events(settings, _file(loaded), source or settings.source, try_count, as_json=as_json)


@config_app.command(epilog="Example: IHOMER_SEED=7 ihomer config show --json")
def show(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, nothing else.")] = False,
) -> None:
    """Show the effective values and where each came from, passwords masked."""
    loaded = load_settings(config, {})
    values = masked_values(loaded)
    if as_json:
        shown = {
            "file": None if loaded.file is None else str(loaded.file),
            "settings": {
                key: {"value": value, "origin": loaded.origin[key]} for key, value in values.items()
            },
            "warnings": list(loaded.warnings),
        }
        typer.echo(json.dumps(shown, indent=2))
        return
    _warn(loaded)
    if sys.stdout.isatty():
        _print_table(values, loaded)
        return
    typer.echo(f"# {_file(loaded)}")
    for key, value in values.items():
        typer.echo(f"{key} = {toml_value(value)}  # {loaded.origin[key]}")


def masked_values(loaded: LoadedSettings) -> dict[str, object]:
    """The settings as JSON values, without what is secret in their URIs."""
    values = loaded.settings.model_dump(mode="json")
    for key in ("source", "sink", "dead_letters", "events"):
        value = values[key]
        if isinstance(value, str):
            values[key] = mask(value)
        elif isinstance(value, list):
            values[key] = [mask(uri) for uri in value]
    return values


def _wrong_uris(loaded: LoadedSettings) -> list[str]:
    """A line for each URI that no connector would take; nothing is opened or connected to."""
    # Imported here: the connectors bring numpy along, which no other of these commands needs.
    from ihomer.connectors.kafka_settings import SINK_PARAMETERS, SOURCE_PARAMETERS
    from ihomer.connectors.kafka_settings import parse_uri as parse_kafka_uri
    from ihomer.connectors.uri import parse_uri

    settings = loaded.settings
    uris = [("source", uri) for uri in settings.source]
    for key in ("sink", "dead_letters", "events"):
        uri = getattr(settings, key)
        uris += [(key, uri)] if uri is not None else []
    faults = []
    for key, uri in uris:
        try:
            if parse_uri(uri).scheme == "kafka":
                parse_kafka_uri(uri, SOURCE_PARAMETERS if key == "source" else SINK_PARAMETERS)
        except UsageError as error:
            text = str(error).replace(uri, mask(uri))
            faults.append(f"{key} ({loaded.origin[key]}): {text}")
    return faults


def _print_table(values: dict[str, object], loaded: LoadedSettings) -> None:
    # Imported here: rich takes as long as everything else, and only a terminal needs it.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("key", "value", "from", title=Text(_file(loaded)))
    for key, value in values.items():
        origin = loaded.origin[key]
        style = "dim" if origin == "default" else ""
        # Text, because a list in square brackets would be read as markup.
        table.add_row(key, Text(toml_value(value)), Text(origin), style=style)
    Console().print(table)


def _file(loaded: LoadedSettings) -> str:
    return "no configuration file" if loaded.file is None else str(loaded.file)


def _warn(loaded: LoadedSettings) -> None:
    for line in loaded.warnings:
        typer.echo(f"warning: {line}", err=True)


def write_new(path: Path, text: str) -> None:
    """Put `text` at `path` at once or not at all."""
    target = path.resolve()  # behind a link, so that the link stays
    if not target.parent.is_dir():
        raise UsageError(f"{path}: found no folder {target.parent}, accepted: an existing folder")
    half = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with half.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, half)
        half.replace(target)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise UsageError(
            f"{path}: {error.strerror}, accepted: a path in a writable folder"
        ) from error
