"""One file out of what was downloaded, bounded.

In: an archive and the name of a file in it, or a packed file. Out: that file under a name of ours.
It is here because these files come from a network: no path of an archive is ever used, nothing
grows past a bound, and damage is told from success.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Protocol

from ihomer.errors import InputError

_COPY_BYTES = 1 << 18
_COMPRESSED: dict[bytes, Callable[[Path], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
_RAR = b"Rar!"


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def unpack(archive: Path, member: str | None, target: Path, max_bytes: int) -> None:
    """Write the file `member` of `archive` to `target`.

    Parameters
    ----------
    archive
        zip, or tar (plain, gzip, bzip2, xz), told by its content.
    member
        The file's name without folders, in either case. None: `archive` is the file itself,
        perhaps compressed by gzip, bzip2 or xz.
    target
        In the same folder; replaced if it exists, and removed if this fails.
    max_bytes
        Bound of the file's size, and of a compressed tar's, decompressed.

    Raises
    ------
    InputError
        No such archive, no such file or more than one, a path that leads out of the archive, too
        large a file, or damage.
    """
    tar = target.with_name(f"{target.name}.tar")
    try:
        try:
            compressed = _starts_with(archive, *_COMPRESSED)
            if member is None:
                _decompress(archive, target, max_bytes)
            elif zipfile.is_zipfile(archive):
                _from_zip(archive, member, target, max_bytes)
            elif compressed:
                # To its end first: a checksum stands there that tarfile does not read.
                _decompress(archive, tar, max_bytes)
                _from_tar(archive, tar, member, target, max_bytes)
            else:
                _from_tar(archive, archive, member, target, max_bytes)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        finally:
            tar.unlink(missing_ok=True)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,  # a way of packing that zipfile does not know
        RuntimeError,  # zipfile's word for a file behind a password
    ) as error:
        raise InputError(
            f"{archive}: the archive is damaged or of no known kind ({error})"
        ) from None
    except OSError as error:  # damage that gzip and bzip2 find has no class of its own
        raise InputError(f"{archive}: cannot be unpacked ({error.strerror or error})") from None


def _decompress(archive: Path, target: Path, max_bytes: int) -> None:
    start = _starts_with(archive, *_COMPRESSED)
    with _COMPRESSED[start](archive) if start else archive.open("rb") as source:
        _copy(archive, archive.name, source, target, max_bytes)


def _from_zip(archive: Path, member: str, target: Path, max_bytes: int) -> None:
    with zipfile.ZipFile(archive) as packed:
        files = [info for info in packed.infolist() if not info.is_dir()]
        name = _choose(archive, member, [info.filename for info in files])
        _check_size(archive, name, packed.getinfo(name).file_size, max_bytes)
        with packed.open(name) as source:
            _copy(archive, name, source, target, max_bytes)


def _from_tar(archive: Path, tar: Path, member: str, target: Path, max_bytes: int) -> None:
    if not tarfile.is_tarfile(tar):
        kind = "a RAR archive" if _starts_with(archive, _RAR) else "no archive"
        raise InputError(f"{archive}: found {kind}, accepted: zip, tar, tar.gz")
    with tarfile.open(tar, "r:") as packed:
        files = {info.name: info for info in packed if info.isfile()}
        name = _choose(archive, member, files)
        _check_size(archive, name, files[name].size, max_bytes)
        source = packed.extractfile(files[name])
        if source is None:
            raise InputError(f"{archive}: {name}: found no file, accepted: a file")
        with source:
            _copy(archive, name, source, target, max_bytes)


def _choose(archive: Path, member: str, names: Iterable[str]) -> str:
    """The one of `names` that is `member` in some folder of the archive."""
    listed = list(names)
    for name in listed:
        # No path of the archive is used, but one that leads out of it tells what the archive is.
        windows = PureWindowsPath(name)
        if ".." in windows.parts or windows.root or windows.drive:
            raise InputError(f"{archive}: found the path {name!r}, which leads out of the archive")
    found = [name for name in listed if PurePosixPath(name).name.lower() == member.lower()]
    if len(found) != 1:
        shown = ", ".join(listed[:8]) + (", ..." if len(listed) > 8 else "")
        raise InputError(
            f"{archive}: found {len(found) or 'no'} files called {member}, accepted: one (it has"
            f" {shown or 'no files'})"
        )
    return found[0]


def _copy(archive: Path, name: str, source: _Readable, target: Path, max_bytes: int) -> None:
    written = 0
    with target.open("wb") as file:
        while data := source.read(_COPY_BYTES):
            written += len(data)
            _check_size(archive, name, written, max_bytes)
            file.write(data)


def _check_size(archive: Path, name: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise InputError(
            f"{archive}: {name}: found {size:,} bytes or more unpacked, accepted: at most"
            f" {max_bytes:,}"
        )


def _starts_with(path: Path, *beginnings: bytes) -> bytes:
    """The one of `beginnings` that the file begins with, or nothing."""
    with path.open("rb") as file:
        head = file.read(8)
    return next((start for start in beginnings if head.startswith(start)), b"")
