"""The position file: up to where the input is done, and how long the outputs were then.

In: what is true after a batch whose outputs are on the disk. Out: one small JSON file that is
there whole or not at all, and tells if it is damaged. It is here because of files no broker keeps
both: where this file says that a batch is done, it is done, and nowhere else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import orjson

from ihomer import faults
from ihomer.connectors.files.reader import reason
from ihomer.errors import InputError
from ihomer.state.folder import sync_folder
from ihomer.stream.files_once.steps import Steps

NAME = "position.json"
FORMAT = "ihomer position"
SCHEMA = 1


@dataclass(frozen=True)
class Progress:
    """What a position file tells.

    Attributes
    ----------
    batch, events
        Number of the last batch, and of the events decoded by then.
    epoch
        Of the process that wrote it; a later one's is higher.
    position
        The source's, of the next record.
    inputs
        What has been read of each file; see `Inputs`.
    declared
        Checksum of the names of labels and features that the source declares.
    outputs
        Lengths in bytes by path.
    steps
        The batches since the oldest checkpoint that may be needed; see `Steps`.
    began, start, empty
        The batch number and the source's position at which this model began, and whether it was
        empty then.
    ended
        Whether the daemon had come to a clean end: then the outputs are exactly that long.
    """

    batch: int
    events: int
    epoch: int
    position: Mapping[str, Any]
    inputs: list[Mapping[str, Any]]
    declared: int
    outputs: Mapping[str, int]
    steps: Mapping[str, Any]
    began: int
    start: Mapping[str, Any]
    empty: bool
    ended: bool


def write(folder: Path, progress: Progress) -> None:
    """Replace the position file of a folder, at once; on the disk when this returns.

    Raises
    ------
    InputError
        It cannot be written; the one before is still there.
    """
    body = asdict(progress)
    data = orjson.dumps({**body, "format": FORMAT, "schema": SCHEMA, "checksum": _checksum(body)})
    target = folder / NAME
    half = folder / f".tmp-{NAME}-{secrets.token_hex(4)}"
    try:
        try:
            with half.open("wb") as file:
                file.write(data[: len(data) // 2])
                faults.reach("mid-position-write")
                file.write(data[len(data) // 2 :])
                file.flush()
                os.fsync(file.fileno())
            faults.reach("before-position-rename")
            half.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                half.unlink()
            raise
        faults.reach("after-position-rename")
        sync_folder(folder)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({reason(error)})") from None


def read(folder: Path) -> Progress | None:
    """What the position file of a folder tells; None: there is none.

    Halves that a crash has left are removed.

    Raises
    ------
    InputError
        It is damaged, of another schema, or cannot be read.
    """
    target = folder / NAME
    try:
        for half in folder.glob(f".tmp-{NAME}-*"):
            half.unlink()
        data = target.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{target}: cannot be read ({reason(error)})") from None
    accepted = "accepted: the file as it was written, or --fresh to begin anew"
    try:
        found = orjson.loads(data)
        if found.pop("format") != FORMAT:
            raise ValueError
        schema = found.pop("schema")
        checksum = found.pop("checksum")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{target}: found no position of ihomer, {accepted}") from None
    if schema != SCHEMA:
        raise InputError(f"{target}: found schema {schema!r}, accepted: {SCHEMA}, or --fresh")
    if checksum != _checksum(found) or set(found) != {each.name for each in fields(Progress)}:
        raise InputError(f"{target}: found a wrong checksum, {accepted}")
    Steps.from_json(found["steps"])
    return Progress(**found)


def _checksum(body: Mapping[str, Any]) -> str:
    text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=16).hexdigest()
