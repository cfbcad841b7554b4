"""What a key's value has to be beyond its type, and what else it may be written as.

In: a value as a file, a variable or a caller has it. Out: the value that `Settings` holds, or
ValueError, which becomes what the key says that it accepts. It is here so that the list of keys is
a list of keys; values of a mapping have their checks in `mapping_values`.
"""

from __future__ import annotations

import re
from pathlib import Path

from ihomer.stream.address import parse_address

_HOOK = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_APP = re.compile(r"[A-Za-z0-9._-]{1,200}")


def default_state_dir() -> Path:
    """Where this system keeps what outlives a process of a user's."""
    import platformdirs

    return platformdirs.user_state_path("ihomer")


def one_or_many(value: object) -> object:
    """A single text as a list of it."""
    return [value] if isinstance(value, str) else value


def all_filled(values: list[str]) -> list[str]:
    """Texts of which none is blank."""
    if not all(value.strip() for value in values):
        raise ValueError
    return values


def all_different(values: list[str]) -> list[str]:
    """Texts of which none stands twice."""
    if len(set(values)) < len(values):
        raise ValueError
    return values


def address(value: str | None) -> str | None:
    """An address to listen at, or none."""
    if value is not None:
        parse_address(value)
    return value


def empty_is_none(value: object) -> object:
    """An empty text as None: in a file and a variable it says that there is none."""
    return None if value == "" else value


def app_name(value: str | None) -> str | None:
    """The name of an application, or none."""
    # It becomes a part of topics' and folders' names.
    if value is not None and (not _APP.fullmatch(value) or value in {".", ".."}):
        raise ValueError
    return value


def hook_name(value: str | None) -> str | None:
    """``module:function``, or none."""
    if value is not None and not _HOOK.fullmatch(value):
        raise ValueError
    return value


def folder(value: object) -> object:
    """A path with ``~`` spelled out; anything else goes on to be refused by its type."""
    if value == "":
        raise ValueError
    if isinstance(value, str):
        try:
            return Path(value).expanduser()
        except RuntimeError as error:  # the home folder of an unknown user
            raise ValueError from error
    return value
