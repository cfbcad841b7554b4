"""Configuration: from defaults, a TOML file, the environment and flags to one checked object.

In: an optional path and the flags of a command line. Out: frozen `Settings`, with the place that
each value came from. It is here so that every command reads its keys alike, and so that a mistake
is answered with the key, the place, what was found and what is accepted.

From weakest to strongest: default, file, environment, flag. The file is ``--config PATH``, else
``$IHOMER_CONFIG``, else ``./ihomer.toml`` if that exists.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from ihomer.errors import UsageError

PREFIX = "IHOMER_"
DEFAULT_FILE = "ihomer.toml"

# Variables that other parts of ihomer read and that are no configuration keys: where the file is,
# secrets that should not stand in a file, and folders of tools.
OTHER_VARIABLES = frozenset(
    {
        "IHOMER_CONFIG",
        "IHOMER_CACHE_DIR",
        "IHOMER_KAFKA_USERNAME",
        "IHOMER_KAFKA_PASSWORD",
        "IHOMER_KAFKA_JARS",
    }
)

_LARGEST_TABLE = 1_000_000_000  # column ids, the shared ones included, have to fit int32
_LARGEST_SEED = 2**32 - 1  # what numpy's and river's generators take
_SHOWN = 80  # characters of a wrong value that a message repeats

_PASSWORD_PARAMETER = re.compile(
    r"([?&][^=&]*(?:passw|secret|token|credential|jaas)[^=&]*=)[^&]*", re.IGNORECASE
)
_USER_INFO = re.compile(r"^((?!file:)[a-z][a-z0-9+.-]*://).*@", re.IGNORECASE | re.DOTALL)
_TOML_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")


def _default_state_dir() -> Path:
    import platformdirs

    return platformdirs.user_state_path("ihomer")


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _all_filled(values: list[str]) -> list[str]:
    if not all(value.strip() for value in values):
        raise ValueError
    return values


def _all_different(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError
    return values


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


def _folder(value: object) -> object:
    """A path with ``~`` spelled out; anything else goes on to be refused by its type."""
    if value == "":
        raise ValueError
    if isinstance(value, str):
        try:
            return Path(value).expanduser()
        except RuntimeError as error:  # the home folder of an unknown user
            raise ValueError from error
    return value


def _key(default: object, description: str, accepted: str = "") -> Any:
    return Field(default=default, description=description, json_schema_extra={"accepted": accepted})


def _number(default: int, low: int, high: int, description: str) -> Any:
    return Field(
        default=default,
        ge=low,
        le=high,
        strict=True,  # otherwise `true` would be 1
        description=description,
        json_schema_extra={"accepted": f"a whole number from {low} to {high}"},
    )


class Settings(BaseSettings):
    """Every configuration key with its default.

    Constructing one reads neither file nor environment: that is `load_settings`'s business, which
    also remembers where each value came from.

    Examples
    --------
    >>> Settings(source="river:yeast", batch_size=128).source
    ['river:yeast']
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=PREFIX)

    source: Annotated[
        list[str], NoDecode, BeforeValidator(_one_or_many), AfterValidator(_all_filled)
    ] = _key(
        [],
        "Where events come from; several sources are one stream, one after the other.",
        "a URI, or a list of URIs, such as kafka://host:9092/topic?group=name, file:PATH, -",
    )
    sink: Annotated[str | None, BeforeValidator(_empty_is_none)] = _key(
        None, "Where predictions go.", 'a URI, or "" for none'
    )
    dead_letters: Annotated[str | None, BeforeValidator(_empty_is_none)] = _key(
        None,
        "Where malformed events go; without it the first malformed event stops a daemon.",
        'a URI, or "" for none',
    )
    events: Annotated[str | None, BeforeValidator(_empty_is_none)] = _key(
        None,
        "Where alarms, splits, switches and whatever else happens to the model is written.",
        'a URI, or "" for none',
    )
    names: Annotated[list[str], NoDecode, AfterValidator(_all_different)] = _key(
        [],
        "Feature names, in order, for events whose x is an array.",
        "a list of different strings",
    )
    labels: Annotated[list[str], NoDecode, AfterValidator(_all_different)] = _key(
        [], "Labels that are known before the first event.", "a list of different strings"
    )
    strict: Annotated[bool, Field(strict=True)] = _key(
        False, "Whether an event with a field that is not in the schema is malformed."
    )
    batch_size: int = _number(
        64, 1, 65_536, "Largest number of events that are predicted and learned in one step."
    )
    max_wait_ms: int = _number(
        50,
        1,
        60_000,
        "Milliseconds that an empty source is waited for at a time, and a stop noticed.",
    )
    top_k: int = _number(
        10, 0, 1_000, "How many labels a prediction lists with their scores, best first."
    )
    max_event_bytes: int = _number(
        1_000_000, 1, _LARGEST_TABLE, "Size in bytes above which an event is malformed."
    )
    objective: Literal["subset", "hamming", "micro-f1", "macro-f1"] = _key(
        "subset", "The measure that predicted label sets are made for; scores are the same for all."
    )
    threads: int = _number(
        1, 1, 256, "How many threads learn; predictions do not depend on their number."
    )
    max_memory_mb: int = _number(512, 16, 1_048_576, "Bound of the learner's memory in 2^20 bytes.")
    max_features: int = _number(
        65_536,
        1,
        _LARGEST_TABLE,
        "Number of feature names with a column of their own; later names share columns by hash.",
    )
    max_labels: int = _number(1 << 20, 1, _LARGEST_TABLE, "Largest number of known labels.")
    new_labels: Literal["error", "drop"] = _key(
        "error",
        "What a new label past max_labels means: the event is malformed, or the label is left out.",
    )
    forget_labels_after: int = _number(
        100_000,
        4096,
        1_000_000_000,
        "A label that was not on in so many labelled events gives its memory back; it leaves a"
        " small record for its return.",
    )
    seed: int = _number(0, 0, _LARGEST_SEED, "Seed of everything random.")
    delivery: Literal["at-least-once"] = _key(
        "at-least-once", "What is promised to readers of the predictions after a crash."
    )
    state_dir: Annotated[Path, BeforeValidator(_folder)] = Field(
        default_factory=_default_state_dir,
        description="Folder for what outlives a process.",
        json_schema_extra={"accepted": "the path of a folder"},
    )
    data_dir: Annotated[Path | None, BeforeValidator(_folder), BeforeValidator(_empty_is_none)] = (
        _key(None, "Folder with data sets.", 'the path of a folder, or "" for none')
    )
    log_format: Literal["console", "json"] = _key("console", "How log lines look.")
    log_level: Literal["debug", "info", "warning", "error"] = _key(
        "info", "The least severe log lines that are shown."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only arguments: an embedded model must not change with its host's environment."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


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


class Key(NamedTuple):
    """One configuration key, as a reference describes it.

    Attributes
    ----------
    name, description, accepted
        As text; `accepted` is what a file may hold.
    variable
        The environment variable that sets it.
    spelling
        How the variable spells a list; empty for other keys.
    default
        The default as a TOML value.
    """

    name: str
    description: str
    accepted: str
    variable: str
    spelling: str
    default: str


def reference() -> list[Key]:
    """All keys in the order in which they should be explained."""
    return [
        Key(
            name,
            field.description or "",
            _accepted(field),
            _variable(name),
            _spelling(name),
            toml_value(field.get_default(call_default_factory=True)),
        )
        for name, field in Settings.model_fields.items()
    ]


def toml_value(value: object) -> str:
    """`value` as TOML, which has no null: none is the empty string.

    Examples
    --------
    >>> toml_value(["a", "b"]), toml_value(False), toml_value(None)
    ('["a", "b"]', 'false', '""')
    """
    if value is None:
        return '""'
    # For strings, booleans, whole numbers and lists of them TOML's spelling is JSON's, except that
    # TOML wants the delete character escaped.
    return json.dumps(value, default=str, ensure_ascii=False).replace("\x7f", "\\u007f")


def mask(text: str) -> str:
    """`text`, a URI, without the user information and the passwords in it.

    Examples
    --------
    >>> mask("kafka://me:secret@host:9092/topic?sasl_password=secret&group=g")
    'kafka://***@host:9092/topic?sasl_password=***&group=g'
    >>> mask("file:///data/a@b.jsonl")
    'file:///data/a@b.jsonl'
    """
    # Up to the last @, so that a password that should have been escaped is hidden all the same.
    return _USER_INFO.sub(r"\1***@", _PASSWORD_PARAMETER.sub(r"\1***", text))


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

    for key, value in _parse(text, path).items():
        if key not in origin:
            faults.append(f"{key} ({_line(path, text, key)}): {_unknown(key)}")
            continue
        values[key] = value
        origin[key] = f"file {path}"

    for key, raw in EnvSettingsSource(Settings)().items():
        values[key] = _decode(key, raw)
        origin[key] = f"environment {_variable(key)}"

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
        for key in dict.fromkeys(str(fault["loc"][0]) for fault in error.errors()):
            place = origin[key]
            if place.startswith("file "):
                place = _line(path, text, key)
            items = [
                fault["loc"][-1]
                for fault in error.errors()
                if fault["loc"][0] == key and isinstance(fault["loc"][-1], int)
            ]
            faults.append(f"{key} ({place}): {_refused(key, values[key], items, place)}")
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


def _line(path: Path | None, text: str, key: str) -> str:
    """The file and, if it can be told, the line where `key` is set."""
    spelled = re.escape(key)
    start = re.compile(rf"""\s*(\[{{0,2}})\s*(?:{spelled}|"{spelled}"|'{spelled}')\s*[=.\]]""")
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        match = start.match(line)
        if match is None:
            continue
        # Were the key set here, would it be ours? Not inside a string or a list of several lines,
        # where this does not parse, and not inside a table, where it is another key.
        setting = f"[{json.dumps(key)}]" if match[1] else f"{json.dumps(key)} = 0"
        try:
            if key in tomllib.loads("\n".join([*lines[: number - 1], setting])):
                return f"{path}, line {number}"
        except tomllib.TOMLDecodeError:
            continue
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
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), raw)
    if kind is int:
        try:
            return int(text)
        except ValueError:
            return raw
    return raw


def _variable(key: str) -> str:
    return PREFIX + key.upper()


def _spelling(key: str) -> str:
    if get_origin(Settings.model_fields[key].annotation) is not list:
        return ""
    return "a JSON array, or one URI" if key == "source" else "a JSON array, or separated by commas"


def _accepted(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    written = extra.get("accepted") if isinstance(extra, dict) else None
    if written:
        return str(written)
    if field.annotation is bool:
        return "true or false"
    return " or ".join(json.dumps(choice) for choice in get_args(field.annotation))


def _found(value: object) -> str:
    if isinstance(value, _Unreadable):
        value = value.text
    if isinstance(value, str):
        value = mask(value)
    elif isinstance(value, list):
        value = [mask(item) if isinstance(item, str) else item for item in value]
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _refused(key: str, value: object, items: list[Any], place: str) -> str:
    accepted = _accepted(Settings.model_fields[key])
    if place.startswith("environment ") and _spelling(key):
        accepted += f" ({_spelling(key)})"
    found = _found(value)
    if items and isinstance(value, list):
        found = f"{_found(value[items[0]])} as item {items[0] + 1}"
    if key == "delivery" and value == "exactly-once":
        found += ", which this version does not offer yet"
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
            guess = f", did you mean {_variable(near[0])}?" if near else ""
            lines.append(f"environment {name}: unknown variable, ignored{guess}")
    return tuple(lines)
