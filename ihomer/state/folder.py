"""A state on the disk: a folder of a manifest, a skeleton and arrays, there whole or not at all.

In: what was captured, and facts about it. Out: ``manifest.json`` (schema, versions, facts, sizes
and checksums), ``skeleton.json`` and ``arrays.safetensors``. On the way back everything is checked
before anything is used; what does not hold is told as one `CheckpointError`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from ihomer import faults
from ihomer.state import tensors
from ihomer.state.capture import Capture
from ihomer.state.faults import CheckpointError
from ihomer.state.rebuild import rebuild
from ihomer.state.skeleton import pieces
from ihomer.state.versions import versions

# Of the three files' form; what a class holds is the versions' business. In version 1 no array
# was aligned.
SCHEMA = 2
READABLE = (1, SCHEMA)
MANIFEST, SKELETON, ARRAYS = "manifest.json", "skeleton.json", "arrays.safetensors"
FORMAT = "ihomer checkpoint"
_MOST_MANIFEST = 64 << 20

Hash = Any  # hashlib has no name for its type


@dataclass(frozen=True)
class Manifest:
    """What a folder says of itself.

    Attributes
    ----------
    facts
        What the writer has told: batch, position, configuration and the like.
    versions
        What it was made with; see `ihomer.state.versions`.
    roots
        Names.
    digest
        Of the state: equal for states that are equal bit for bit.
    nbytes
        Of all files.
    files
        By role: name, bytes, checksum.
    """

    facts: Mapping[str, Any]
    versions: Mapping[str, Any]
    roots: tuple[str, ...]
    digest: str
    nbytes: int
    files: Mapping[str, Mapping[str, Any]]


def new_hash() -> Hash:
    """The checksum of all files: 128 bits, and the interpreter is free while it is made."""
    return hashlib.blake2b(digest_size=16)


def digest(roots: Mapping[str, object]) -> str:
    """A digest of a state; equal for states that are equal bit for bit, room to grow included."""
    capture = Capture()
    capture.take(roots)
    skeleton, arrays = new_hash(), new_hash()
    for piece in pieces(capture):
        skeleton.update(piece)
    for data in tensors.pieces(capture):
        arrays.update(data)
    return _both(skeleton, arrays)


def _both(skeleton: Hash, arrays: Hash) -> str:
    whole = new_hash()
    whole.update(skeleton.digest() + arrays.digest())
    return str(whole.hexdigest())


# Writing.


def write_folder(
    folder: Path,
    capture: Capture,
    facts: Mapping[str, Any],
) -> Manifest:
    """Write what was captured to a new folder, and have it on the disk.

    Parameters
    ----------
    folder
        Must not exist; its parent must. It is there whole when this returns; the caller gives it
        its name.
    capture
        Must not be captured into meanwhile.
    facts
        JSON values.

    Raises
    ------
    OSError
        The disk is full, or the like. What was written is gone then.
    """
    folder.mkdir()
    try:
        skeleton = _write(folder / SKELETON, pieces(capture))
        faults.reach("mid-checkpoint-write")
        arrays = _write(folder / ARRAYS, tensors.pieces(capture))
        files = {
            "skeleton": {
                "name": SKELETON,
                "bytes": skeleton[0],
                "blake2b": skeleton[1].hexdigest(),
            },
            "arrays": {"name": ARRAYS, "bytes": arrays[0], "blake2b": arrays[1].hexdigest()},
        }
        body = {
            "format": FORMAT,
            "schema": SCHEMA,
            "digest": _both(skeleton[1], arrays[1]),
            "roots": sorted(capture.roots),
            "facts": facts,
            "versions": versions(),
            "files": files,
        }
        text = orjson.dumps({**body, "check": _check(body)}, option=orjson.OPT_INDENT_2)
        _write(folder / MANIFEST, [text, b"\n"])
        sync_folder(folder)
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(folder)
        raise
    return _manifest(orjson.loads(text), len(text) + 1, str(folder))


def _write(path: Path, pieces: Iterable[bytes | memoryview]) -> tuple[int, Hash]:
    """Bytes written, and their checksum."""
    seen = new_hash()
    written = 0
    with path.open("xb", buffering=0) as file:
        for piece in pieces:
            seen.update(piece)
            rest = memoryview(piece)
            while len(rest):
                rest = rest[file.write(rest) :]
            written += len(piece)
        os.fsync(file.fileno())
    return written, seen


def sync_folder(folder: Path) -> None:
    """Have on the disk which names `folder` holds."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check(body: Mapping[str, Any]) -> str:
    seen = new_hash()
    seen.update(orjson.dumps(body, option=orjson.OPT_SORT_KEYS))
    return str(seen.hexdigest())


# Reading.


def read_manifest(folder: Path) -> Manifest:
    """What a folder says of itself, checked; the other files are looked at for their sizes only.

    Raises
    ------
    CheckpointError
        It is damaged, of another schema, or there is none.
    """
    place = str(folder / MANIFEST)
    with _opened(folder, MANIFEST) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MOST_MANIFEST:
            raise CheckpointError(place, f"{size} bytes", f"at most {_MOST_MANIFEST}")
        text = file.read(size + 1)
    try:
        body = orjson.loads(text)
    except ValueError:
        raise CheckpointError(place, f"no JSON in {len(text)} bytes", "a manifest") from None
    return _manifest(body, len(text), place)


def _manifest(body: Any, size: int, place: str) -> Manifest:
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise CheckpointError(place, "something else", f"a manifest of format {FORMAT!r}")
    if body.get("schema") not in READABLE:
        accepted = " or ".join(map(str, READABLE))
        raise CheckpointError(
            place, f"schema version {body.get('schema')!r}", f"version {accepted}"
        )
    check = body.pop("check", None)
    if check != _check(body):
        raise CheckpointError(place, "a checksum that does not fit", "an undamaged manifest")
    try:
        files = {role: body["files"][role] for role in ("skeleton", "arrays")}
        for told in files.values():
            whole = type(told["bytes"]) is int and 0 <= told["bytes"] < 1 << 60
            if not whole or told["name"] not in (SKELETON, ARRAYS):
                raise ValueError
            size += told["bytes"]
        return Manifest(
            dict(body["facts"]),
            dict(body["versions"]),
            tuple(body["roots"]),
            str(body["digest"]),
            size,
            files,
        )
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(place, "keys that are wrong or missing", "a manifest") from None


def load_folder(folder: Path, *, in_place: bool = False) -> tuple[dict[str, Any], Manifest]:
    """The roots that a folder holds, and its manifest.

    Parameters
    ----------
    folder
        What `write_folder` has made.
    in_place
        Whether large arrays stay in the file; see `tensors.mapped`.

    Raises
    ------
    CheckpointError
        Anything of it is damaged, missing or of another schema. Nothing is used then.
    """
    manifest = read_manifest(folder)
    for role in ("skeleton", "arrays"):
        _sized(folder, manifest.files[role])
    told = manifest.files["skeleton"]
    with _opened(folder, told["name"]) as file:
        skeleton = file.read(told["bytes"] + 1)
    seen = new_hash()
    seen.update(skeleton)
    _compare(folder, told, seen)
    told = manifest.files["arrays"]
    seen = new_hash()
    read = tensors.mapped if in_place else tensors.read
    with _opened(folder, told["name"]) as file:
        found = read(file, told["bytes"], str(folder / told["name"]), seen.update)
    _compare(folder, told, seen)
    roots = rebuild(skeleton, found, str(folder / SKELETON))
    if tuple(sorted(roots)) != manifest.roots:
        raise CheckpointError(folder / SKELETON, f"{sorted(roots)}", f"{list(manifest.roots)}")
    return roots, manifest


def _sized(folder: Path, told: Mapping[str, Any]) -> None:
    """See that a file is as long as the manifest says, and not more than memory holds."""
    with _opened(folder, told["name"]) as file:
        size = os.fstat(file.fileno()).st_size
    place = folder / told["name"]
    if size != told["bytes"]:
        raise CheckpointError(place, f"{size} bytes", f"{told['bytes']}, as the manifest says")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise CheckpointError(place, f"{size} bytes", f"at most the {memory} of this machine")


def _compare(folder: Path, told: Mapping[str, Any], seen: Hash) -> None:
    if seen.hexdigest() != told["blake2b"]:
        place = folder / told["name"]
        raise CheckpointError(place, "a checksum that does not fit", "an undamaged file")


def _opened(folder: Path, name: str) -> BinaryIO:
    """A plain file of `folder` for reading: no link, no pipe."""
    path = folder / name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise CheckpointError(path, "no such file", "a file of a checkpoint") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise CheckpointError(path, "a link", "a plain file of a folder") from None
        raise  # it may be readable another time
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CheckpointError(path, "no plain file", "a plain file")
    return os.fdopen(descriptor, "rb")
