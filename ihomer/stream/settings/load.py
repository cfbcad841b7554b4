"""Configuration: from defaults, a TOML file, the environment and flags to one checked object.

In: an optional path and the flags of a command line. Out: frozen `Settings`, with the place that
each value came from. It is here so that every command reads its keys alike, and so that a mistake
is answered with the key, the place, what was found and what is accepted.

From weakest to strongest: default, file, environment, flag. The file is ``--config PATH``, else
``$IHOMER_CONFIG``, else ``./ihomer.toml`` if that exists. In a file ``errors.max_rate = 0.1``, or
``max_rate = 0.1`` in a table ``[errors]``, is the key ``errors_max_rate``.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from ihomer.errors import UsageError
from ihomer.stream.settings.keys import PREFIX, Settings
from ihomer.stream.settings.reference import accepted_values, mask, spelling_of, variable_of

DEFAULT_FILE = "ihomer.toml"

# Variables that other parts of ihomer read and that are no configuration keys: where the file is,
# secrets that should not stand in a file, and folders of tools.
OTHER_VARIABLES = frozenset(
    {
        "IHOMER_CONFIG",
        "IHOMER_FAULT",
        "IHOMER_CACHE_DIR",
        "IHOMER_KAFKA_USERNAME",
        "IHOMER_KAFKA_PASSWORD",
        "IHOMER_KAFKA_USERNAME_FILE",
        "IHOMER_KAFKA_PASSWORD_FILE",
        "IHOMER_KAFKA_JARS",
        "IHOMER_HTTP_TOKEN",
    }
)

_SHOWN = 80  # characters of a wrong value that a message repeats

_TOML_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True)
class LoadedSettings:
    """`Settings` and how they came about.

    Attributes
    ----------
    settings
        The effective values.
    origin
        For each key ``"default"``, ``"file PATH"``, ``"environment IHOMER_X"`` or ``"flag --x"``.
    file
        The configuration file that was read, if any.
    warnings
        One line for each `IHOMER_*` variable that means nothing.
    """

    settings: Settings
    origin: dict[str, str]
    file: Path | None
    warnings: tuple[str, ...] = ()


def load_settings(config: Path | None, flags: Mapping[str, object]) -> LoadedSettings:
    """Read the file and the environment, put the flags on top, and check the outcome.

    Parameters
    ----------
    config
        The file named by ``--config``, if any.
    flags
        Values by key; None and empty lists mean that the flag was not given.

    Raises
    ------
    UsageError
        One line for each mistake: the key, its place, what was found, what is accepted.
    """
    path = _find_file(config)
    text = "" if path is None else _read(path)
    faults: list[str] = []
    values: dict[str, object] = {}
    origin = dict.fromkeys(Settings.model_fields, "default")

    spelled: dict[str, tuple[str, ...]] = {}
    for parts, value in _keys(_parse(text, path)):
        key = "_".join(parts)
        if key not in origin:
            faults.append(f"{'.'.join(parts)} ({_line(path, text, parts)}): {_unknown(key)}")
            continue
        if key in values:
            faults.append(f"{key} ({_line(path, text, parts)}): found twice, accepted: once")
        values[key] = value
        spelled[key] = parts
        origin[key] = f"file {path}"

    for key, raw in EnvSettingsSource(Settings)().items():
        values[key] = _decode(key, raw)
        origin[key] = f"environment {variable_of(key)}"

    for key, value in flags.items():
        flag = f"flag --{key.replace('_', '-')}"
        if key not in origin:
            faults.append(f"{key} ({flag}): {_unknown(key)}")
        elif value is not None and value != () and value != []:
            values[key] = list(value) if isinstance(value, tuple) else value
            origin[key] = flag

    try:
        settings = Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        wrong: dict[str, list[ErrorDetails]] = {}
        for fault in error.errors():
            # What does not fit between keys has no place, but the key for its type.
            wrong.setdefault(str((*fault["loc"], fault["type"])[0]), []).append(fault)
        for key, found in wrong.items():
            place = origin[key]
            last = found[0]["loc"][-1:]
            if place.startswith("file "):
                names = (*spelled[key], *(name for name in last[:1] if isinstance(name, str)))
                inside = names[len(spelled[key]) :] not in ((), (key,))
                place = _line(path, text, names if inside else spelled[key])
                if inside and place == str(path):
                    place = _line(path, text, spelled[key])
            faults.append(f"{key} ({place}): {_refused(key, values.get(key), found, place)}")
    if faults:
        raise UsageError("\n".join(faults))
    return LoadedSettings(settings, origin, path, _stray_variables())


@dataclass(frozen=True)
class _Unreadable:
    """Text that no key accepts as its value, not even one that accepts a string."""

    text: str


def _find_file(config: Path | None) -> Path | None:
    named = os.environ.get("IHOMER_CONFIG")
    if config is not None:
        path, place = config, "flag --config"
    elif named:
        path, place = Path(named), "environment IHOMER_CONFIG"
    elif Path(DEFAULT_FILE).exists():
        path, place = Path(DEFAULT_FILE), "the working folder"
    else:
        return None
    found = "a folder" if path.is_dir() else "no such file" if not path.exists() else None
    if found:
        raise UsageError(f"{path} ({place}): found {found}, accepted: a TOML file")
    return path


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}, accepted: a readable TOML file") from error
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - (before.rfind(b"\n") + 1) + 1
        raise UsageError(
            f"{path}, line {line}, column {column}: found the byte"
            f" 0x{error.object[error.start]:02x}, accepted: TOML in UTF-8"
        ) from error


def _parse(text: str, path: Path | None) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # over-long numbers and over-deep lists, too
        message = str(error)
        place = _TOML_PLACE.search(message)
        if place and place[1]:
            line, column = int(place[1]), int(place[2])
        else:
            line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
        reason = _TOML_PLACE.sub("", message)
        raise UsageError(
            f"{path}, line {line}, column {column}: found {reason[:1].lower()}{reason[1:]},"
            " accepted: TOML, one key = value on a line, strings in quotes"
        ) from error


def _keys(document: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], object]]:
    """The keys of a file, each as the names it is spelled with, and their values."""
    for name, value in document.items():
        inner = value if isinstance(value, dict) and name not in Settings.model_fields else {}
        if any(f"{name}_{key}" in Settings.model_fields for key in inner):
            yield from (((name, key), each) for key, each in inner.items())
        else:
            yield (name,), value


def _line(path: Path | None, text: str, parts: tuple[str, ...]) -> str:
    """The file and, if it can be told, the line where the key of these names is set."""
    names = [
        rf"""(?:{re.escape(part)}|"{re.escape(part)}"|'{re.escape(part)}')""" for part in parts
    ]
    whole, last = r"\s*\.\s*".join(names), names[-1]
    start = re.compile(rf"\s*(\[{{0,2}})\s*(?:({whole})|{last})\s*[=.\]]")
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        match = start.match(line)
        if match is None:
            continue
        # Were the key set here, would it be ours? Not inside a string or a list of several lines,
        # where this does not parse, and not inside a table, where it is another key.
        name = ".".join(map(json.dumps, parts if match[2] else parts[-1:]))
        setting = f"[{name}]" if match[1] else f"{name} = 0"
        try:
            found: object = tomllib.loads("\n".join([*lines[: number - 1], setting]))
        except tomllib.TOMLDecodeError:
            continue
        for part in parts:
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None:
            return f"{path}, line {number}"
    return str(path)


def _decode(key: str, raw: str) -> object:
    """The value that the text of an environment variable stands for, or the text itself."""
    kind = Settings.model_fields[key].annotation
    text = raw.strip()
    if get_origin(kind) is list:
        if text.startswith("["):
            try:
                return json.loads(text)
            except ValueError:
                return _Unreadable(raw)
        if not text:
            return []
        # A URI may contain commas, for several brokers, so only a JSON array holds several.
        return [text] if key == "source" else [part.strip() for part in text.split(",")]
    if get_origin(kind) is dict:
        return _table(raw, text)
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), raw)
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return raw
    return raw


def _table(raw: str, text: str) -> object:
    """A JSON object, or ``name=value,name=value``."""
    if text.startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            return _Unreadable(raw)
    found = {}
    for part in text.split(",") if text else ():
        name, equals, value = part.partition("=")
        if not equals:
            return _Unreadable(raw)
        found[name.strip()] = value.strip()
    return found


def _found(value: object) -> str:
    if isinstance(value, _Unreadable):
        value = value.text
    if isinstance(value, str):
        value = mask(value)
    elif isinstance(value, list):
        value = [mask(item) if isinstance(item, str) else item for item in value]
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _refused(key: str, value: object, faults: list[ErrorDetails], place: str) -> str:
    first = faults[0]
    if not first["loc"]:
        return first["msg"]
    accepted = accepted_values(Settings.model_fields[key])
    if place.startswith("environment ") and spelling_of(key):
        accepted += f" ({spelling_of(key)})"
    found = _found(value)
    within = first["loc"][1:]
    if within and isinstance(value, dict):
        return f"found {_found(first['input'])} for {_found(within[0])}, accepted: {accepted}"
    items = [fault["loc"][-1] for fault in faults if isinstance(fault["loc"][-1], int)]
    if items and isinstance(value, list):
        found = f"{_found(value[items[0]])} as item {items[0] + 1}"
    return f"found {found}, accepted: {accepted}"


def _unknown(key: str) -> str:
    near = difflib.get_close_matches(key.lower(), Settings.model_fields, n=1)
    if near:
        return f"found an unknown key, did you mean {near[0]}?"
    return f"found an unknown key, accepted: {', '.join(Settings.model_fields)}"


def _stray_variables() -> tuple[str, ...]:
    """A line for each `IHOMER_*` variable that nothing reads; its value may be a secret."""
    known = [
        *Settings.model_fields,
        *(name.removeprefix(PREFIX).lower() for name in OTHER_VARIABLES),
    ]
    lines = []
    for name in sorted(os.environ):
        key = name.lower().removeprefix(PREFIX.lower())
        if len(key) < len(name) and key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            guess = f", did you mean {variable_of(near[0])}?" if near else ""
            lines.append(f"environment {name}: unknown variable, ignored{guess}")
    return tuple(lines)
