"""Which bytes a data file had when it was first downloaded.

In: a folder of data files. Out: the SHA-256 checksums recorded there, in ``checksums.json``. It is
here because the repositories publish no checksums: the first download's is written down, and every
later one is held to it, so that a table made again next year is made with the same bytes or not
at all.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ihomer.connectors.datasets.atomic import alone, write_whole
from ihomer.errors import InputError

FILE = "checksums.json"
_FORMAT = 1


class Checksum(NamedTuple):
    """One line of the record.

    Attributes
    ----------
    sha256
        Of the file as it lies in the folder, unpacked, in hexadecimal.
    bytes
        Its size.
    url
        Where it came from.
    date
        When, RFC 3339 in UTC.
    """

    sha256: str
    bytes: int
    url: str
    date: str


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recorded(folder: Path) -> dict[str, Checksum]:
    """What is recorded in `folder`, by file name.

    Raises
    ------
    InputError
        The record cannot be read; it is not overwritten then.
    """
    path = folder / FILE
    try:
        found: Any = json.loads(path.read_bytes())
        if found["format"] != _FORMAT:
            raise InputError(f"{path}: format: found {found['format']!r}, accepted: {_FORMAT}")
        return {name: Checksum(**line) for name, line in found["files"].items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: no record of checksums ({error!r})") from None


def hold(folder: Path, name: str, path: Path, url: str) -> bool:
    """Compare a download with the record, or record it if it is the first.

    Parameters
    ----------
    folder
        The data folder.
    name
        What the file is called there.
    path
        The file, not yet under that name.
    url
        Where it came from.

    Returns
    -------
    bool
        Whether it was the first, and has been recorded.

    Raises
    ------
    InputError
        The record names another checksum, or cannot be read.
    """
    found = sha256_of(path)
    with alone(folder / f".{FILE}.lock"):
        lines = recorded(folder)
        if name in lines:
            check(folder, name, found, lines[name], f"downloaded from {url}")
            return False
        lines[name] = Checksum(
            found, path.stat().st_size, url, datetime.now(UTC).isoformat(timespec="seconds")
        )
        files = {name: line._asdict() for name, line in sorted(lines.items())}
        data = json.dumps({"format": _FORMAT, "files": files}, indent=2) + "\n"
        write_whole(folder / FILE, data.encode())
    return True


def check(folder: Path, name: str, found: str, line: Checksum, whence: str) -> None:
    """Refuse the checksum `found` where `line` has another; `whence` says whose it is."""
    if found != line.sha256:
        raise InputError(
            f"{name}, {whence}: found SHA-256 {found}, recorded {line.sha256} on {line.date}: these"
            f" are other data; to take them all the same, remove {name!r} from {folder / FILE} and"
            " fetch again"
        )
