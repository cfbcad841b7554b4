"""Keys and values as text: the reference of all keys, TOML, and URIs without their secrets.

In: `Settings`, values, URIs. Out: what a user may read of them. It is here so that a template, a
message and a table say the same of a key.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo

from ihomer.stream.settings.keys import PREFIX, Settings

_PASSWORD_PARAMETER = re.compile(
    r"([?&][^=&]*(?:passw|secret|token|credential|jaas)[^=&]*=)[^&]*", re.IGNORECASE
)
_USER_INFO = re.compile(r"^((?!file:)[a-z][a-z0-9+.-]*://).*@", re.IGNORECASE | re.DOTALL)


class Key(NamedTuple):
    """One configuration key, as a reference describes it.

    Attributes
    ----------
    name, description, accepted
        As text; `accepted` is what a file may hold.
    variable
        The environment variable that sets it.
    spelling
        How the variable spells a list or a table; empty for other keys.
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
            accepted_values(field),
            variable_of(name),
            spelling_of(name),
            toml_value(field.get_default(call_default_factory=True)),
        )
        for name, field in Settings.model_fields.items()
    ]


def toml_value(value: object) -> str:
    """`value` as TOML, which has no null: none is the empty string.

    Examples
    --------
    >>> toml_value(["a", "b"]), toml_value(False), toml_value(None), toml_value({"a.b": "text"})
    ('["a", "b"]', 'false', '""', '{"a.b" = "text"}')
    """
    if value is None:
        return '""'
    if isinstance(value, dict):
        members = (f"{toml_value(name)} = {toml_value(each)}" for name, each in value.items())
        return "{" + ", ".join(members) + "}"
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


def variable_of(key: str) -> str:
    """Name of the environment variable that sets a key."""
    return PREFIX + key.upper()


def spelling_of(key: str) -> str:
    """How that variable spells a list or a table; empty for other keys."""
    kind = get_origin(Settings.model_fields[key].annotation)
    if kind is dict:
        return "a JSON object, or name=value separated by commas"
    if kind is not list:
        return ""
    return "a JSON array, or one URI" if key == "source" else "a JSON array, or separated by commas"


def accepted_values(field: FieldInfo) -> str:
    """What a key accepts, in words."""
    extra = field.json_schema_extra
    written = extra.get("accepted") if isinstance(extra, dict) else None
    if written:
        return str(written)
    if field.annotation is bool:
        return "true or false"
    return " or ".join(json.dumps(choice) for choice in get_args(field.annotation))
