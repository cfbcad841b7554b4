"""One object saved under a path of the user's, and loaded from it."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ihomer.errors import InputError, UsageError
from ihomer.state.capture import Capture
from ihomer.state.faults import CheckpointError
from ihomer.state.folder import MANIFEST, load_folder, sync_folder, write_folder

_Kind = TypeVar("_Kind")


def save_to(path: Path, captured: Capture) -> None:
    """Write what was captured to the folder `path`, in place of one that was saved there before.

    Two renames replace a folder: for a moment what was there is called ``.NAME.XXXXXXXX.old``.

    Raises
    ------
    UsageError, InputError
        See `IHomer.save`.
    """
    target = path.absolute()
    if not target.parent.is_dir():
        raise UsageError(f"{path}: found no folder {target.parent}, accepted: an existing folder")
    if os.path.lexists(target) and not (target / MANIFEST).is_file():
        raise UsageError(f"{path}: found something else, accepted: a new path, or a saved model's")
    half = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    old = half.with_name(f"{half.name}.old")
    try:
        write_folder(half, captured, {})
        try:
            if target.exists():
                target.rename(old)
            half.rename(target)
        except BaseException:
            if old.exists() and not target.exists():
                old.rename(target)
            shutil.rmtree(half)
            raise
        sync_folder(target.parent)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}, accepted: a path in a writable folder with room"
        ) from error
    with suppress(OSError):
        shutil.rmtree(old)


def load_from(path: Path, name: str, kind: type[_Kind], *, in_place: bool = False) -> _Kind:
    """The root of that name and class in a folder; see `load_folder`.

    Raises
    ------
    CheckpointError
        See `IHomer.load`.
    InputError
        The file system does not let us read it.
    """
    try:
        roots, _ = load_folder(path, in_place=in_place)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}, accepted: a folder that can be read"
        ) from error
    found = roots.get(name)
    if not isinstance(found, kind):
        raise CheckpointError(path, f"no {kind.__name__}", "a folder that holds one")
    return found
