"""``ihomer config infer`` and ``ihomer config check --try``: somebody's events, looked at.

In: a source. Out: a configuration made from its first events, or what they become under one. It is
here so that a mapping is written by looking and not by guessing, and proved before it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ihomer.errors import InputError, UsageError
from ihomer.stream.cli.options import AllowCodeOption, ConfigOption
from ihomer.stream.settings import DEFAULT_FILE, Settings, load_settings, mask

SHOWN = 3  # events in full


def infer(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A file, a topic, any source.")],
    count: Annotated[
        int, typer.Option("--n", min=1, max=100_000, metavar="N", help="How many events.")
    ] = 200,
    output: Annotated[
        Path, typer.Option("--output", metavar="PATH", help="Where to; - is standard output.")
    ] = Path(DEFAULT_FILE),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    decoder: Annotated[
        str | None,
        typer.Option(
            "--decoder",
            metavar="MODULE:FUNCTION",
            help="What makes a dictionary of an event's bytes, where these are no JSON.",
            show_default=False,
        ),
    ] = None,
    allow_code: AllowCodeOption = None,
    config: ConfigOption = None,
) -> None:
    """Look at the first events of a source and write a commented configuration for them.

    Where id, labels and time lie, and whether a field is text, nominal, numeric, a set, a time or
    nothing of use, each with what was seen of it. Of a topic the first events of each partition are
    looked at, without a consumer group. Of a configuration that is there already the keys decoder
    and allow_code count; the decoder is written into the new one.
    """
    from ihomer.stream.cli.config import write_new
    from ihomer.stream.decoder_hook import check_decoder, objects_of
    from ihomer.stream.mapping.infer import infer as look
    from ihomer.stream.mapping.sample import first_records
    from ihomer.stream.mapping.sketch import sketch

    standard = str(output) == "-"
    if not standard and not force and (output.exists() or output.is_symlink()):
        raise UsageError(f"{output}: found an existing file, accepted: a new path, or --force")
    flags = {"source": [source], "decoder": decoder, "allow_code": allow_code}
    settings = load_settings(config, flags).settings
    check_decoder(settings)
    sample = first_records(source, count)
    if not sample.records:
        raise InputError(f"{mask(source)}: found no events, accepted: one at least")
    guess = look(objects_of(settings, sample.records))
    text = sketch(guess, mask(source), decoder=settings.decoder)
    # With what its own reader says of it, which nobody who wrote it could say better.
    allowed = {"allow_code": settings.allow_code}
    trial = _tried(text, sample.records, allowed, topic=sample.topic)
    counted = (
        f"Of the {guess.tried:,} events {len(trial.found):,} are read by it, {trial.n_refused:,}"
        f" refused; {len(trial.labels):,} different labels, {trial.unlabelled:,} events have none."
    )
    refused = [
        f"Refused, {kind}: {each.place}: {each.reason}" for kind, each in trial.refused.items()
    ]
    text = sketch(guess, mask(source), [counted, *refused], settings.decoder)
    if standard:
        typer.echo(text, nl=False)
        return
    write_new(output, text)
    typer.echo(f"wrote {output}\n{counted}")
    for name in ("id", "labels", "time"):
        if name in guess.reasons:
            value = getattr(guess, name)
            shown = ", ".join(value) if isinstance(value, list) else value
            typer.echo(f"{name}: {shown or 'not found'} ({guess.reasons[name]})")
    flag = "" if settings.decoder is None else " --allow-code"
    typer.echo(f"next: ihomer config check --config {output} --try 100{flag}")


def try_events(
    settings: Settings, file: str, sources: Sequence[str], count: int, *, as_json: bool
) -> None:
    """Print what the first events of sources become.

    Raises
    ------
    InputError
        There are none, or every one of them is refused.
    """
    from ihomer.stream.cli.printing import print_json
    from ihomer.stream.mapping.sample import first_of_all
    from ihomer.stream.mapping.trial import lines, try_records

    if not sources:
        raise UsageError("source: found none, accepted: a URI in the configuration, or as SOURCE")
    named = ", ".join(map(mask, sources))
    sample = first_of_all(sources, count)
    if not sample.records:
        raise InputError(f"{named}: found no events, accepted: one at least")
    trial = try_records(settings, sample.records, topic=sample.topic)
    if as_json:
        found: dict[str, Any] = {
            "file": file,
            "source": [mask(uri) for uri in sources],
            "mapped": settings.mapped,
            "tried": len(sample.records),
            **trial.to_json(),
        }
        print_json(found)
    else:
        typer.echo(f"ok: {file}")
        shown = min(SHOWN, len(trial.found))
        typer.echo(f"{shown} of the first {len(sample.records):,} events of {named}:")
        for line in lines(trial, SHOWN):
            typer.echo(line)
    if not trial.found:
        kind, first = next(iter(trial.refused.items()))
        raise InputError(
            f"{first.place}: all of the {len(sample.records):,} events are refused, the first as"
            f" {kind}: {first.reason}"
        )


def _tried(text: str, records: Sequence[Any], flags: Mapping[str, object], *, topic: bool) -> Any:
    """What a configuration that is not written yet makes of records."""
    import tempfile

    from ihomer.stream.mapping.trial import try_records

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / DEFAULT_FILE
        path.write_text(text, encoding="utf-8")
        settings = load_settings(path, flags).settings
    return try_records(settings, records, topic=topic)
