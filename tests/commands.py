"""Commands that are run in this process, and what they answer."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner, Result

from ihomer.errors import EXIT_OK
from ihomer.stream.cli import app


def replay(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["replay", *arguments])


def figures(*arguments: str) -> dict[str, Any]:
    """The object that a replay prints; it must be all that standard output gets."""
    result = replay(*arguments, "--json", "-")
    assert result.exit_code == EXIT_OK, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found
