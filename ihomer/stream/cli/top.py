"""``ihomer top``: a running daemon in a terminal.

In: the address at which a daemon serves ``/metrics`` and ``/health/ready``. Out: one screen, drawn
anew every second or two, or once. It is here so that one look tells whether a daemon is well,
where nothing collects its metrics, and beside it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ihomer.errors import UnavailableError
from ihomer.stream.address import read_token
from ihomer.stream.cli.options import ConfigOption
from ihomer.stream.settings import load_settings

if TYPE_CHECKING:
    from ihomer.stream.frame import Frame

DEFAULT_URL = "http://127.0.0.1:9109"
TIMEOUT_S = 5.0
MOST_BYTES = 32 << 20
_FULL_PER_SECOND = 4


def top_command(
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="[URL]",
            help=f"Where the daemon serves; else the configuration's http, else {DEFAULT_URL}.",
            show_default=False,
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Print only whether it is well; exit code 69 if not ready."),
    ] = False,
    interval: Annotated[
        float,
        typer.Option("--interval", metavar="SECONDS", min=0.2, max=3600.0, help="Between frames."),
    ] = 2.0,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="PATH",
            help="File with the token; else IHOMER_HTTP_TOKEN, else the configuration's file.",
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Show what a running daemon does, and whether it is well.

    Rates and latencies are those since the frame before; in a first or only frame they are those
    since the daemon's start. Away from a terminal one frame is printed. Exit code 69: no answer,
    or, with --check, an answer that it is not ready.
    """
    settings = load_settings(config, {}).settings
    token = read_token(token_file or settings.http_token_file)
    place = (url or settings.http or DEFAULT_URL).rstrip("/")
    place = place if "://" in place else f"http://{place}"

    before = read_frame(place, token)
    if check:
        _say(before.health)
        return

    from rich.console import Console
    from rich.live import Live

    from ihomer.stream.frame import draw

    console = Console()
    if once or not sys.stdout.isatty():
        console.print(draw(before, None, place))
        return
    with Live(
        draw(before, None, place), console=console, screen=True, refresh_per_second=_FULL_PER_SECOND
    ) as live:
        while True:
            time.sleep(interval)
            try:
                frame = read_frame(place, token)
            except UnavailableError as error:
                live.update(draw(before, None, place, away=str(error)))
                continue
            live.update(draw(frame, before, place))
            before = frame


def _say(health: Mapping[str, Any]) -> None:
    """A line for each reason; raises `UnavailableError` if the daemon is not ready."""
    reasons = [f"{each['subject']}: {each['text']}" for each in health["reasons"]]
    if health["status"] == "not-ready":
        raise UnavailableError("\n".join(["not ready", *reasons]))
    for line in (health["status"], *reasons):
        typer.echo(line)


def read_frame(url: str, token: str | None) -> Frame:
    """Ask a daemon for its metrics and its health.

    Parameters
    ----------
    url
        ``http://host:port``.
    token
        What it wants to be sent, if anything.

    Raises
    ------
    UnavailableError
        It does not answer, refuses us, or what answers is no daemon of ours.
    """
    import orjson

    from ihomer.stream.frame import Frame, parse_metrics

    status, body = _get(f"{url}/metrics", token)
    if status == 401:
        raise UnavailableError(f"{url}: refuses the token, accepted: the daemon's (--token-file)")
    answered, health = _get(f"{url}/health/ready", token)
    try:
        if status != 200 or answered not in (200, 503):
            raise ValueError(status)
        return Frame(time.monotonic(), parse_metrics(body.decode()), orjson.loads(health))
    except ValueError:  # no text, no metrics, no JSON
        raise UnavailableError(
            f"{url}: found something that is no daemon (status {status}), accepted: the address"
            " that ihomer run --http names"
        ) from None


def _get(url: str, token: str | None) -> tuple[int, bytes]:
    import urllib3

    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urllib3.request(
            "GET",
            url,
            headers=headers,
            timeout=TIMEOUT_S,
            retries=False,
            redirect=False,  # a token goes to nobody else
            preload_content=False,
        ) as answer:
            return answer.status, answer.read(MOST_BYTES)
    except urllib3.exceptions.HTTPError as error:
        raise UnavailableError(f"{url}: no answer ({_why(error)})") from None


def _why(error: Exception) -> str:
    text = str(error)
    return "nothing listens there" if "refused" in text else text.rpartition(": ")[2]
