"""The reference of the command line, from the commands themselves.

In: the typer application. Out: a Markdown page with every command, its arguments, its options and
an example. It is here so that the page says what ``--help`` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
import typer.main

from ihomer.stream.cli import app
from tools.site.markdown import code, table

_HEAD = """\
# Command line

What `ihomer COMMAND --help` says, command by command.

Exit codes: 0 done, 2 usage or configuration, 65 input, 69 a service does not answer, 70 a defect of
ihomer's, 75 no answer to a commit (start it again), 130 interrupted. Colours are left out where
standard output is no terminal, or with `NO_COLOR` in the environment.
"""


def commands_page() -> str:
    """The page: an overview, then every command."""
    commands = list(_commands(typer.main.get_command(app), "ihomer"))
    rows = [
        [f"[`{name}`](#{_anchor(name)})", _sentence(command.help or "")]
        for name, command in commands
    ]
    sections = [_section(name, command) for name, command in commands]
    return "\n\n".join([_HEAD, table(["command", "what it does"], rows), *sections]) + "\n"


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All commands below `command` that do something themselves."""
    below = getattr(command, "commands", None)
    if not below:
        yield name, command
        return
    for each, found in below.items():
        yield from _commands(found, f"{name} {each}")


def _anchor(name: str) -> str:
    return f"command-{name.replace(' ', '-')}"


def _sentence(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())


def _section(name: str, command: Any) -> str:
    shown = [each for each in command.params if not getattr(each, "hidden", False)]
    arguments = [each for each in shown if each.param_type_name == "argument"]
    options = [each for each in shown if each.param_type_name == "option"]
    usage = " ".join([name, "[OPTIONS]", *(_metavar(each) for each in arguments)])
    text = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    parts = [f"({_anchor(name)})=\n## `{name}`", text, f"```text\n{usage}\n```"]
    if arguments:
        rows = [[code(_metavar(each)), each.help or ""] for each in arguments]
        parts.append(table(["argument", "what it is"], rows))
    if options:
        context = typer.Context(command, info_name=name)
        records = [each.get_help_record(context) for each in options]
        rows = [[code(spelling), text] for spelling, text in filter(None, records)]
        parts.append(table(["option", "what it does"], rows))
    if command.epilog:
        before, _, example = command.epilog.partition("Example: ")
        parts.append(f"{before}Example:\n\n```text\n{' '.join(example.split())}\n```")
    return "\n\n".join(parts)


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())
