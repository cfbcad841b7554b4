"""``ihomer doctor``: what this installation is, and whether what it needs is there.

In: the configuration and further URIs. Out: a line for each thing looked at, ok, warning or
problem, or one JSON object; and an exit code. It is here so that the first question after "it
does not work" has one answer.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeAlias

import typer

import ihomer
from ihomer.errors import EXIT_OK, EXIT_UNAVAILABLE, EXIT_USAGE, UsageError
from ihomer.stream.cli.options import ConfigOption
from ihomer.stream.settings import LoadedSettings, load_settings, mask

Status: TypeAlias = Literal["ok", "warning", "problem"]

BROKER_TIMEOUT_S = 5.0

_PACKAGES = ("numpy", "numba", "river", "kafka-python", "orjson", "crc32c", "pyarrow")
_TOPICS_NAMED = 10
_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


class Check(NamedTuple):
    """One thing that was looked at.

    Attributes
    ----------
    name
        What was looked at.
    status
        ``"ok"``, ``"warning"`` (it works, but) or ``"problem"`` (it will not work).
    found
        One line.
    exit_code
        What a problem means for the process that found it.
    """

    name: str
    status: Status
    found: str
    exit_code: int = EXIT_OK


def doctor(
    config: ConfigOption = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="URI", help="Look at this, too; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, nothing else.")] = False,
) -> None:
    """Say what is installed, where things are kept and what a broker answers.

    Exit code 0: no problem; 2: something to mend here; 69: a broker does not answer.
    """
    show = _printer(as_json)
    checks: list[Check] = []
    for check in examine(config, source or []):
        checks.append(check)
        show(check)
    code = exit_code(checks)
    if as_json:
        shown = {
            "exit_code": code,
            "checks": [
                {"name": check.name, "status": check.status, "found": check.found}
                for check in checks
            ],
        }
        typer.echo(json.dumps(shown, indent=2))
    if code != EXIT_OK:
        raise typer.Exit(code)


def exit_code(checks: list[Check]) -> int:
    """The exit code for `checks`: what the user can mend here goes before an outage."""
    codes = {check.exit_code for check in checks}
    return EXIT_USAGE if EXIT_USAGE in codes else max(codes, default=EXIT_OK)


def examine(config: Path | None, sources: list[str]) -> Iterator[Check]:
    """Look at everything, the slowest last.

    Parameters
    ----------
    config
        The file named by ``--config``, if any.
    sources
        URIs to look at beside those of the configuration.

    Yields
    ------
    Check
        As soon as it is known.
    """
    yield from _versions()
    yield from _machine()
    loaded: LoadedSettings | None = None
    try:
        loaded = load_settings(config, {})
    except UsageError as error:
        for line in str(error).splitlines():
            yield Check("configuration", "problem", line, EXIT_USAGE)
    if loaded is not None:
        yield from _configuration(loaded)
    yield _kernel_cache()
    inputs = [*(loaded.settings.source if loaded else []), *sources]
    for uri in dict.fromkeys(inputs):
        yield _endpoint("source", uri)
    if loaded is not None:
        for role, sink in (
            ("sink", loaded.settings.sink),
            ("dead_letters", loaded.settings.dead_letters),
            ("events", loaded.settings.events),
        ):
            if sink is not None:
                yield _endpoint(role, sink)


def _versions() -> Iterator[Check]:
    yield Check("ihomer", "ok", ihomer.__version__)
    yield Check("python", "ok", f"{platform.python_version()} ({sys.executable})")
    for package in _PACKAGES:
        try:
            yield Check(package, "ok", metadata.version(package))
        except metadata.PackageNotFoundError:
            if package == "crc32c":
                yield Check(
                    package, "warning", "not installed: reading from Kafka is several times slower"
                )
            elif package == "pyarrow":
                advice = "not installed: no Parquet, no Arrow (pip install 'ihomer[tables]')"
                yield Check(package, "ok", advice)
            else:
                yield Check(package, "problem", "not installed", EXIT_USAGE)


def _machine() -> Iterator[Check]:
    yield Check("platform", "ok", platform.platform())
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    yield Check("cpus", "ok", f"{usable} of {total} usable")


def _configuration(loaded: LoadedSettings) -> Iterator[Check]:
    file = "none: defaults and environment" if loaded.file is None else str(loaded.file)
    yield Check("configuration", "ok", file)
    for line in loaded.warnings:
        yield Check("configuration", "warning", line)
    yield _state_dir(loaded.settings.state_dir)
    yield _data_dir(loaded.settings.data_dir)


def _state_dir(path: Path) -> Check:
    if path.is_dir():
        if os.access(path, os.W_OK | os.X_OK):
            return Check("state_dir", "ok", f"{path}, writable")
        return Check("state_dir", "problem", f"{path} cannot be written", EXIT_USAGE)
    above = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not above.is_dir():
        return Check("state_dir", "problem", f"{path}: {above} is no folder", EXIT_USAGE)
    if os.access(above, os.W_OK | os.X_OK):
        return Check("state_dir", "ok", f"{path}, will be made when it is needed")
    return Check("state_dir", "problem", f"{path} cannot be made in {above}", EXIT_USAGE)


def _data_dir(path: Path | None) -> Check:
    if path is None:
        return Check("data_dir", "ok", "not set")
    if not path.is_dir():
        reason = "is no folder" if path.exists() else "does not exist"
        return Check("data_dir", "problem", f"{path} {reason}", EXIT_USAGE)
    if not os.access(path, os.R_OK | os.X_OK):
        return Check("data_dir", "problem", f"{path} cannot be read", EXIT_USAGE)
    if not os.access(path, os.W_OK):
        return Check("data_dir", "warning", f"{path}, readable, not writable")
    return Check("data_dir", "ok", f"{path}, writable")


def _kernel_cache() -> Check:
    """Where compiled kernels are kept, and whether that is where it was meant to be."""
    import platformdirs

    try:
        from ihomer.jit import cache_folder  # imports numba, which takes a second
    except ImportError as error:
        return Check("kernel cache", "problem", f"numba cannot be imported: {error}", EXIT_USAGE)
    folder = cache_folder()
    configured = os.environ.get("IHOMER_CACHE_DIR")
    wanted = Path(configured) if configured else platformdirs.user_cache_path("ihomer")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Check(
            "kernel cache", "warning", f"{folder} cannot be written: each start compiles anew"
        )
    if folder.parent != wanted:
        return Check("kernel cache", "warning", f"{folder}, because {wanted} cannot be written")
    return Check("kernel cache", "ok", f"{folder}, writable")


def _endpoint(role: str, uri: str) -> Check:
    from ihomer.connectors.uri import parse_uri  # brings numpy along

    name = f"{role} {mask(uri)}"
    try:
        scheme, path, _ = parse_uri(uri)
    except UsageError as error:
        return Check(name, "problem", str(error).replace(uri, mask(uri)), EXIT_USAGE)
    if scheme == "kafka":
        return _broker(name, uri)
    if scheme == "file":
        return _input_file(name, path) if role == "source" else _output_file(name, path)
    return Check(name, "ok", "needs nothing from outside")


def _broker(name: str, uri: str) -> Check:
    try:
        from ihomer.connectors.kafka import describe, parse_uri
    except ImportError as error:
        return Check(name, "problem", f"kafka-python cannot be imported: {error}", EXIT_USAGE)
    try:
        topic = parse_uri(uri, needs_topic=False).topic
        report = describe(uri, timeout_s=BROKER_TIMEOUT_S)
    except UsageError as error:
        return Check(name, "problem", str(error), EXIT_USAGE)
    if report.reason is not None:
        return Check(name, "problem", report.reason, EXIT_UNAVAILABLE)
    topics = report.topics or {}
    version = ".".join(str(part) for part in report.api_version)
    answer = (
        f"Kafka {version}, cluster {report.cluster_id},"
        f" {len(report.brokers)} broker(s): {', '.join(report.brokers)}"
    )
    if not topic:
        return Check(name, "ok", f"{answer}; {_some(topics)}")
    if topic not in topics:
        return Check(name, "problem", f"{answer}; no topic {topic!r}; {_some(topics)}", EXIT_USAGE)
    return Check(name, "ok", f"{answer}; topic {topic!r} with {topics[topic]} partition(s)")


def _some(topics: dict[str, int]) -> str:
    if not topics:
        return "there is no topic"
    names = sorted(topics)
    more = f" and {len(names) - _TOPICS_NAMED} more" if len(names) > _TOPICS_NAMED else ""
    return f"there is {', '.join(names[:_TOPICS_NAMED])}{more}"


def _input_file(name: str, text: str) -> Check:
    if text == "-":
        return Check(name, "ok", "standard input")
    path = Path(text)
    if not path.exists():
        return Check(name, "problem", f"{path} does not exist", EXIT_USAGE)
    if path.is_dir():
        return Check(name, "problem", f"{path} is a folder, accepted: a file", EXIT_USAGE)
    if not os.access(path, os.R_OK):
        return Check(name, "problem", f"{path} cannot be read", EXIT_USAGE)
    if not path.is_file():
        return Check(name, "ok", "readable, a pipe or a device")
    return Check(name, "ok", f"readable, {path.stat().st_size} bytes")


def _output_file(name: str, text: str) -> Check:
    if text == "-":
        return Check(name, "ok", "standard output")
    path = Path(text)
    if path.is_dir():
        return Check(name, "problem", f"{path} is a folder, accepted: a file", EXIT_USAGE)
    if path.exists():
        if os.access(path, os.W_OK):
            return Check(name, "ok", "writable")
        return Check(name, "problem", f"{path} cannot be written", EXIT_USAGE)
    if not path.parent.is_dir():
        return Check(name, "problem", f"folder {path.parent} does not exist", EXIT_USAGE)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return Check(name, "problem", f"folder {path.parent} cannot be written", EXIT_USAGE)
    return Check(name, "ok", "will be made")


def _printer(as_json: bool) -> Callable[[Check], None]:
    """How a check is shown at once: not at all, plainly, or in colour on a terminal."""
    if as_json:
        return lambda _: None
    if not sys.stdout.isatty():
        return lambda check: typer.echo(f"{check.status:<8} {check.name}: {check.found}")
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)  # honours NO_COLOR

    def show(check: Check) -> None:
        console.print(
            Text.assemble(
                (f"{check.status:<8}", _STYLES[check.status]),
                (f" {check.name}", "bold"),
                f"  {check.found}",
            )
        )

    return show
