"""The command line: ``ihomer run``, ``top``, ``replay``, ``checkpoint``, ``config``, ``data``, ...

It turns flags into settings, errors into one line and an exit code, and leaves the work to others.
Exit codes: 0 done; 2 usage or configuration; 65 input; 69 a service does not answer; 70 a defect
of ihomer's; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import ihomer
from ihomer.errors import EXIT_INTERNAL, EXIT_OK, IhomerError
from ihomer.stream.cli.checkpoint import checkpoint_app
from ihomer.stream.cli.config import config_app
from ihomer.stream.cli.data import data_app
from ihomer.stream.cli.dead_letters import dead_letters_app
from ihomer.stream.cli.doctor import doctor
from ihomer.stream.cli.explain import explain_command
from ihomer.stream.cli.replay import replay_command
from ihomer.stream.cli.run import run_command
from ihomer.stream.cli.top import top_command
from ihomer.stream.settings import mask

EXIT_INTERRUPTED = 130


class _Group(TyperGroup):
    """Turns what may end a command into one line or none, and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except IhomerError as error:
            for line in str(error).splitlines():
                typer.echo(f"ihomer: error: {mask(line)}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of our output has left, as `head` does: nobody is there to be told.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(EXIT_OK) from None


app = typer.Typer(
    cls=_Group,
    help="Streaming, online, multi-label learning.",
    epilog="Example: ihomer replay river:yeast",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"ihomer {ihomer.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    del version


app.command(
    "run",
    epilog="Example: ihomer run --source kafka://localhost:9092/events?group=g"
    " --sink kafka://localhost:9092/predictions --dead-letters dead.jsonl",
)(run_command)
app.command("top", epilog="Example: ihomer top http://127.0.0.1:9109 --once")(top_command)
app.command("replay", epilog="Example: ihomer replay emotions.arff.gz --json -")(replay_command)
app.command(
    "explain",
    epilog='Example: ihomer explain tickets.model --event \'{"x": {"ball": 1}}\' --label sport',
)(explain_command)
app.add_typer(checkpoint_app)
app.add_typer(config_app)
app.add_typer(data_app)
app.add_typer(dead_letters_app)
app.command("doctor", epilog="Example: ihomer doctor --source kafka://localhost:9092/events")(
    doctor
)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        app()
    except Exception:  # noqa: BLE001 - the last place: what nobody expected is a defect of ours
        traceback.print_exc()
        typer.echo(
            "ihomer: this is a defect of ihomer; please report it with the lines above", err=True
        )
        sys.exit(EXIT_INTERNAL)
