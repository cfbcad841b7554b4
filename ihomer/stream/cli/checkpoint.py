"""``ihomer checkpoint``: what was saved of a model: list, show, verify, export, import.

In: folders. Out: tables, JSON, copies of checkpoints, the first checkpoint of a new slot. It is
here so that an operator can see what a restart would begin with, before there is one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ihomer.errors import EXIT_INPUT, IhomerError, InputError, UsageError
from ihomer.stream.cli.options import ConfigOption
from ihomer.stream.cli.printing import print_json
from ihomer.stream.settings import Settings, load_settings

if TYPE_CHECKING:
    from ihomer.stream.checkpoints import Entry

_DEPTH = 3  # a state folder holds applications, these hold slots, and these checkpoints
_MEGA = 1e6

checkpoint_app = typer.Typer(
    name="checkpoint",
    help="Saved models: list, show, verify, export, import.",
    no_args_is_help=True,
    add_completion=False,
)

PathArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="PATH",
        help="A checkpoint, a slot's folder, or one above; else the configuration's state_dir.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON, nothing else.")]


@checkpoint_app.command("list", epilog="Example: ihomer checkpoint list /var/lib/ihomer/tickets")
def list_command(
    path: PathArgument = None, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Show every checkpoint below a folder, the oldest of a slot first."""
    entries = list(_below(path, load_settings(config, {}).settings))
    if as_json:
        print_json([_summary(entry) for entry in entries])
        return
    for entry in entries:
        if entry.mark is None or entry.manifest is None:
            typer.echo(f"{entry.path}  {entry.fault}")
            continue
        size = entry.manifest.nbytes / _MEGA
        mark = entry.mark
        typer.echo(f"{entry.path}  batch {mark.batch}  events {mark.events}  {size:.1f} MB")


@checkpoint_app.command(
    "show", epilog="Example: ihomer checkpoint show /var/lib/ihomer/tickets/0 --json"
)
def show_command(
    path: PathArgument = None, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Show what a checkpoint holds, a slot's newest one, and what differs from now.

    That is: configuration keys, each safe to change or not, versions, and processor features.
    """
    from ihomer.state import differences, read_manifest
    from ihomer.stream.checkpoints import changed_keys

    settings = load_settings(config, {}).settings
    folder = one_checkpoint(path, settings)
    manifest = read_manifest(folder)
    stored = manifest.facts.get("configuration", {})
    changed = changed_keys(stored, settings) if stored else []
    found: dict[str, Any] = {
        "path": str(folder),
        **{key: value for key, value in manifest.facts.items() if key != "configuration"},
        "bytes": manifest.nbytes,
        "digest": manifest.digest,
        "roots": list(manifest.roots),
        "versions": dict(manifest.versions),
        "version_differences": list(differences(manifest.versions)),
        "configuration": stored,
        "configuration_changes": [key._asdict() for key in changed],
    }
    if as_json:
        print_json(found)
        return
    for name in ("path", "batch", "epoch", "events", "position", "bytes", "digest", "roots"):
        if name in found:
            typer.echo(f"{name}: {found[name]}")
    for line in found["version_differences"]:
        typer.echo(f"differs now: {line}")
    for key in changed:
        safe = "safe to change" if key.safe else "not safe to change"
        typer.echo(f"differs now: {key.name} was {key.stored!r}, is {key.current!r} ({safe})")


@checkpoint_app.command("verify", epilog="Example: ihomer checkpoint verify /var/lib/ihomer")
def verify_command(path: PathArgument = None, config: ConfigOption = None) -> None:
    """Load every checkpoint below a folder, one at a time, and say of each ok or what is wrong.

    Nothing is changed. Exit code 65: one of them at least cannot be used.
    """
    damaged = False
    for entry in _below(path, load_settings(config, {}).settings):
        try:
            load_roots(entry.path)
            typer.echo(f"ok: {entry.path}")
        except IhomerError as error:
            damaged = True
            typer.echo(f"damaged: {error}")
    if damaged:
        raise typer.Exit(EXIT_INPUT)


@checkpoint_app.command(
    "export", epilog="Example: ihomer checkpoint export /var/lib/ihomer/tickets/0 tickets.model"
)
def export_command(
    source: Annotated[Path, typer.Argument(help="A checkpoint, or a slot: its newest.")],
    target: Annotated[Path, typer.Argument(help="A path that does not exist yet.")],
) -> None:
    """Copy a checkpoint that was verified; `IHomer.load` and ``import`` read the copy."""
    from ihomer.state.folder import sync_folder

    folder = one_checkpoint(source, None)
    load_roots(folder)
    if target.exists() or not target.absolute().parent.is_dir():
        raise UsageError(f"{target}: found something there, or no folder, accepted: a new path")
    half = target.with_name(f".{target.name}.half")
    try:
        shutil.copytree(folder, half)
        for each in half.iterdir():
            _sync(each)
        sync_folder(half)
        half.rename(target)
        sync_folder(target.absolute().parent)
    except OSError as error:
        shutil.rmtree(half, ignore_errors=True)
        raise InputError(
            f"{target}: {error.strerror}, accepted: a path in a writable folder with room"
        ) from error
    typer.echo(f"wrote {target}")


@checkpoint_app.command(
    "import", epilog="Example: ihomer checkpoint import tickets.model tickets --slot 0"
)
def import_command(
    source: Annotated[Path, typer.Argument(help="A checkpoint, or what a model's save has made.")],
    app: Annotated[str, typer.Argument(help="Name of the application, as configured.")],
    slot: Annotated[int, typer.Option("--slot", min=0, help="Number of the slot.")] = 0,
    config: ConfigOption = None,
) -> None:
    """Let a new slot begin with a model that has learned: it becomes the slot's checkpoint 0.

    What else the source held, such as events that wait for their labels, is left behind.
    """
    from ihomer.stream.checkpoints import CheckpointStore, Mark, configuration_of

    settings = load_settings(config, {}).settings
    if app in ("", ".", "..") or "/" in app:
        raise UsageError(f"app: found {app!r}, accepted: a name without a slash")
    folder = settings.state_dir / app / str(slot)
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder}: found a slot with a past, accepted: a new or empty folder")
    learner = load_roots(one_checkpoint(source, None))["learner"]
    known = {name: getattr(learner, name) for name in _PARAMETERS if hasattr(learner, name)}
    configuration = configuration_of(settings) | known
    store = CheckpointStore(folder)
    written = store.save({"learner": learner}, Mark(0, configuration=configuration))
    typer.echo(f"wrote {folder / written.name}")


# Of a model's parameters, those that are configuration keys, too.
_PARAMETERS = (
    "objective", "threads", "max_memory_mb", "max_features", "max_labels", "new_labels",
    "forget_labels_after", "forget_features_after", "seed",
)  # fmt: skip


def load_roots(folder: Path) -> dict[str, Any]:
    """All roots of a checkpoint of ours; raises `CheckpointError`."""
    # What a checkpoint may hold has to be there: none of it is imported because it says so.
    import ihomer.stream.processor  # noqa: F401
    from ihomer.state import load_folder

    try:
        roots, _ = load_folder(folder)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}, accepted: a readable folder") from error
    if "learner" not in roots:
        raise InputError(f"{folder}: found no learner, accepted: a checkpoint of one")
    return roots


def _below(path: Path | None, settings: Settings) -> Iterator[Entry]:
    """The checkpoints at or below a folder, slot by slot."""
    from ihomer.stream.checkpoints import CheckpointStore

    top = settings.state_dir if path is None else path
    if not top.is_dir():
        raise UsageError(f"{top}: found no such folder, accepted: one with checkpoints")
    if (top / "manifest.json").exists():
        yield CheckpointStore.entry(top)
        return
    folders = [top]
    for _ in range(_DEPTH):
        for folder in folders:
            yield from CheckpointStore(folder).list()
        folders = sorted(
            each for folder in folders for each in _folders(folder) if not each.is_symlink()
        )


def _folders(folder: Path) -> list[Path]:
    from ihomer.stream.checkpoints.marks import is_name

    try:
        return [each for each in folder.iterdir() if each.is_dir() and not is_name(each.name)]
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}, accepted: a readable folder") from error


def one_checkpoint(path: Path | None, settings: Settings | None) -> Path:
    """The checkpoint that a path names: itself, or the newest of the only slot below."""
    if path is not None and (path / "manifest.json").exists():
        return path
    entries = list(_below(path, settings or Settings()))
    slots = {entry.path.parent for entry in entries}
    if len(slots) != 1:
        told = "no checkpoint" if not slots else f"those of {len(slots)} slots"
        raise UsageError(f"{path or 'state_dir'}: found {told}, accepted: one, or a slot with some")
    whole = [entry for entry in entries if entry.mark is not None]
    if not whole:
        raise InputError(entries[-1].fault)
    return whole[-1].path


def _summary(entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = {"path": str(entry.path)}
    if entry.mark is None or entry.manifest is None:
        return found | {"fault": entry.fault}
    mark = entry.mark
    return found | {
        "batch": mark.batch,
        "epoch": mark.epoch,
        "events": mark.events,
        "bytes": entry.manifest.nbytes,
        "digest": entry.manifest.digest,
    }


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
