"""``ihomer dead-letters``: what could not be read: show it, send it again.

In: a file or a topic of dead letters. Out: a table or JSON Lines; the original messages in a topic
or a file. It is here so that whoever has mended a producer, or a configuration, can look at what
came meanwhile and have it read once more.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ihomer.errors import EXIT_INPUT, IhomerError, UsageError
from ihomer.stream.cli.options import ConfigOption
from ihomer.stream.cli.printing import print_json
from ihomer.stream.settings import Settings, load_settings, mask

if TYPE_CHECKING:
    from ihomer.stream.letter_replay import Bookmark, Outcome, Way
    from ihomer.stream.letter_source import Step
    from ihomer.stream.letters import Letter, Selection

_SHOWN = 60  # characters of an event
_UNREADABLE = 5

dead_letters_app = typer.Typer(
    name="dead-letters",
    help="Malformed events that were put away: show, replay.",
    no_args_is_help=True,
    add_completion=False,
)

LettersArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="URI",
        help="A file or a topic of dead letters; else the configuration's dead_letters.",
        show_default=False,
    ),
]
ClassOption = Annotated[
    list[str] | None,
    typer.Option("--class", metavar="CLASS", help="Of this class, such as not-json; repeatable."),
]
OriginOption = Annotated[
    str,
    typer.Option(
        "--origin",
        metavar="TOPIC[:PARTITION[:OFFSET]]",
        help="That came from there; of a file its path.",
    ),
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Whose reason has this text in it.")
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="No more than so many.")
]


@dead_letters_app.command("show", epilog="Example: ihomer dead-letters show dead.jsonl --limit 20")
def show_command(
    letters: LettersArgument = None,
    kinds: ClassOption = None,
    origin: OriginOption = "",
    reason: ReasonOption = "",
    limit: LimitOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON object a line, nothing else.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Show dead letters, the oldest first: when, why, where from, how the event begins.

    The time is the record's own. A topic is read to where it ends now, as no group. Exit code 65:
    something there is no dead letter.
    """
    from ihomer.stream.letter_source import read_letters

    uri = _letters(letters, load_settings(config, {}).settings)
    selection = _selection(kinds, origin, reason)
    unreadable: list[str] = []

    def chosen() -> Iterator[Letter]:
        left = limit
        for step in read_letters(uri):
            unreadable.extend(step.unreadable)
            for letter in step.letters:
                if letter in selection:
                    yield letter
                    left = None if left is None else left - 1
                    if left == 0:
                        return

    if as_json:
        _print_lines(chosen())
    else:
        _print_table(chosen())
    _complain(unreadable[:_UNREADABLE], len(unreadable))


@dead_letters_app.command(
    "replay",
    epilog="Example: ihomer dead-letters replay dead.jsonl --to kafka://localhost:9092/events"
    " --only-good",
)
def replay_command(
    letters: LettersArgument = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="URI", help="A topic, or a file that is appended to."),
    ] = None,
    kinds: ClassOption = None,
    origin: OriginOption = "",
    reason: ReasonOption = "",
    limit: LimitOption = None,
    only_good: Annotated[
        bool,
        typer.Option("--only-good", help="Those that are events by now, as configured."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Decode them again, count, send nothing.")
    ] = False,
    now: Annotated[
        bool,
        typer.Option(
            "--now", help="With the time of sending; a topic may delete old times at once."
        ),
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Those, too, that an earlier replay has sent.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, nothing else.")] = False,
    config: ConfigOption = None,
) -> None:
    """Send the original messages again: bytes, key, timestamp, headers without the reasons.

    A second run with the same letters, target and selection goes on where the first one ended, so
    that nothing is sent twice; the place is kept under state_dir. Only after a kill in the middle
    are up to 500 letters sent again. Letters that were cut to fit are left and counted.
    """
    from ihomer.connectors.files.reader import STANDARD
    from ihomer.connectors.uri import parse_uri
    from ihomer.stream.decoder_hook import make_decoder
    from ihomer.stream.letter_replay import Bookmark, Outcome, Way
    from ihomer.stream.letter_source import STEP, read_letters

    settings = load_settings(config, {}).settings
    uri = _letters(letters, settings)
    if to is None and not dry_run:
        raise UsageError("--to: found none, accepted: a topic, a file, or --dry-run")
    if to is not None:
        _check_target(uri, to)
    selection = _selection(kinds, origin, reason)
    way = Way(
        selection,
        make_decoder(settings),
        late=settings.late_labels or settings.labels_source is not None,
        only_good=only_good,
        lines=to is not None and parse_uri(to).scheme == "file",
        limit=limit,
        now=now,
    )
    bookmark = None
    if to is not None and STANDARD not in (uri, to):  # a pipe is another one each time
        meant = selection.to_json() | {"only_good": only_good}
        bookmark = Bookmark(settings.state_dir, mask(uri), mask(to), meant)
    position = None if bookmark is None or again else bookmark.read()
    done = Outcome()
    # With a limit the position must be known behind each letter.
    steps = read_letters(uri, position, STEP if limit is None else 1)
    _send(steps, way, to, bookmark, done, dry_run=dry_run)
    if as_json and to != STANDARD:
        print_json(done.to_json() | {"from": mask(uri), "to": to and mask(to), "dry_run": dry_run})
    else:
        typer.echo(_told(done, to, dry_run=dry_run), err=to == STANDARD)
    _complain(done.unreadable, done.n_unreadable)


def _send(
    steps: Iterable[Step],
    way: Way,
    to: str | None,
    bookmark: Bookmark | None,
    done: Outcome,
    *,
    dry_run: bool,
) -> None:
    """Open the target, if there is one, and send; an error says what was sent before."""
    from ihomer.connectors.uri import open_sink
    from ihomer.stream.letter_replay import replay_letters

    if to is None or dry_run:
        replay_letters(steps, way, None, None, done)
        return
    sink = open_sink(to, append=True)
    try:
        replay_letters(steps, way, sink, bookmark, done)
    except IhomerError as error:
        typer.echo(
            f"ihomer: {done.sent:,} were sent and acknowledged; run it again to go on", err=True
        )
        raise error from None
    finally:
        sink.close()


def _letters(uri: str | None, settings: Settings) -> str:
    found = uri or settings.dead_letters
    if not found:
        raise UsageError(
            "dead letters: found none, accepted: a file, kafka://host:port/topic, or the key"
            " dead_letters in the configuration"
        )
    return found


def _selection(kinds: list[str] | None, origin: str, reason: str) -> Selection:
    from ihomer.stream.letters import Selection

    return Selection(tuple(kinds or ()), origin, reason)


def _check_target(uri: str, to: str) -> None:
    """See that letters can be sent there, before anything is opened."""
    from ihomer.connectors.kafka_settings import SINK_PARAMETERS
    from ihomer.connectors.kafka_settings import parse_uri as parse_kafka
    from ihomer.connectors.uri import parse_uri
    from ihomer.stream.letters import same_place

    scheme = parse_uri(to).scheme
    if scheme not in ("kafka", "file"):
        raise UsageError(f"--to: found {to}, accepted: kafka://host:port/topic or a file")
    if scheme == "kafka":
        parse_kafka(to, SINK_PARAMETERS)
    if same_place(uri, to):
        raise UsageError(f"--to: found {mask(to)}, where the letters are, accepted: another place")


def _told(done: Outcome, to: str | None, *, dry_run: bool) -> str:
    """What was done, in a few lines."""
    verb = "would be sent" if dry_run else "sent"
    target = "" if to is None else f" to {mask(to)}"
    lines = [
        f"{done.sent:,} {verb}{target}; {done.read:,} letters read, {done.selected:,} selected",
        f"{done.good:,} of those selected are events by now",
    ]
    lines += [f"still refused: {n:,} {kind}" for kind, n in sorted(done.refused.items())]
    lines += [f"not sent: {n:,} ({why})" for why, n in sorted(done.left.items())]
    return "\n".join(lines)


def _complain(unreadable: Iterable[str], count: int) -> None:
    if not count:
        return
    for line in unreadable:
        typer.echo(f"ihomer: error: {line}", err=True)
    typer.echo(f"ihomer: error: {count:,} of what was read is no dead letter", err=True)
    raise typer.Exit(EXIT_INPUT)


def start_of(value: bytes | None, most: int = _SHOWN) -> str:
    r"""How an event begins, on one line and harmless to a terminal.

    >>> start_of(b'{"a":\x1b\xff\n 1}'), start_of(None), start_of(b"abcdef", 3)
    ('{"a":\\x1b\\xff\\n 1}', '(no value)', 'abc...')
    """
    if value is None:
        return "(no value)"
    # Of 4 bytes each at most; what is cut off in the middle of a character would look broken.
    shown = _harmless(value[: 4 * most + 4].decode("utf-8", "backslashreplace"))
    return shown if len(shown) <= most else f"{shown[:most]}..."


def _harmless(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def time_of(timestamp: int | None) -> str:
    """Epoch milliseconds as RFC 3339; as they are where no calendar reaches.

    >>> time_of(1_700_000_000_123), time_of(None), time_of(10**18)
    ('2023-11-14T22:13:20.123Z', '-', '1000000000000000000')
    """
    if timestamp is None:
        return "-"
    try:
        found = datetime.fromtimestamp(timestamp / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(timestamp)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _print_lines(letters: Iterable[Letter]) -> None:
    import orjson

    for letter in letters:
        value = letter.message.value
        found = {
            "place": letter.place,
            "time": time_of(letter.message.timestamp) if letter.message.timestamp else None,
            "class": letter.kind,
            "stage": letter.stage,
            "reason": letter.reason,
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.offset,
            "bytes": None if value is None else len(value),
            "cut": letter.cut,
            "event": None if value is None else start_of(value, 200),
        }
        sys.stdout.buffer.write(orjson.dumps(found) + b"\n")
    sys.stdout.flush()


def _print_table(letters: Iterable[Letter]) -> None:
    """A table on a terminal; elsewhere a line for each with tabs between the columns."""
    names = ("time", "class", "origin", "reason", "event")
    rows = (
        (
            time_of(letter.message.timestamp),
            letter.kind,
            letter.origin,
            letter.reason,
            start_of(letter.message.value),
        )
        for letter in letters
    )
    if not sys.stdout.isatty():
        typer.echo("\t".join(names))
        for row in rows:
            typer.echo("\t".join(map(_harmless, row)))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*names)
    for row in rows:
        table.add_row(*(Text(_harmless(each)) for each in row))
    Console().print(table)
