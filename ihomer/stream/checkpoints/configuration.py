"""Whether a model that was learned under one configuration may go on under another.

In: what a checkpoint has stored, and the settings now. Out: the keys that differ, each with whether
that is safe. A key is safe that no bit of the model depends on; `Settings` says which are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from ihomer.stream.settings import Settings, mask

_URIS = ("source", "labels_source", "sink", "dead_letters", "events", "unjoined")


class ChangedKey(NamedTuple):
    """A key whose value is not what it was.

    Attributes
    ----------
    name
        The key.
    stored, current
        Both values as JSON, without passwords.
    safe
        Whether the model may go on.
    """

    name: str
    stored: Any
    current: Any
    safe: bool


def configuration_of(settings: Settings) -> dict[str, Any]:
    """All keys as JSON values, without what is secret in their URIs."""
    values = settings.model_dump(mode="json")
    for key in _URIS:
        value = values[key]
        if isinstance(value, str):
            values[key] = mask(value)
        elif value is not None:
            values[key] = [mask(uri) for uri in value]
    return values


def changed_keys(stored: Mapping[str, Any], settings: Settings) -> list[ChangedKey]:
    """The keys that differ, those that are not safe first, then by name.

    Parameters
    ----------
    stored
        As `configuration_of` made it; a key that it lacks had its default.
    settings
        In force now.
    """
    current = configuration_of(settings)
    defaults = configuration_of(Settings())
    found = []
    for name, value in current.items():
        before = stored.get(name, defaults[name])
        if _essence(name, before) != _essence(name, value):
            found.append(ChangedKey(name, before, value, is_safe(name)))
    return sorted(found, key=lambda key: (key.safe, key.name))


def is_safe(name: str) -> bool:
    """Whether no bit of a model depends on that key."""
    extra = Settings.model_fields[name].json_schema_extra
    return isinstance(extra, dict) and extra.get("safe_to_change") is True


def configuration_hash(configuration: Mapping[str, Any]) -> str:
    """Of what a model depends on: equal where no key differs that is not safe."""
    bound = {
        name: _essence(name, value)
        for name, value in configuration.items()
        if name in Settings.model_fields and not is_safe(name)
    }
    text = orjson.dumps(bound, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _essence(name: str, value: Any) -> Any:
    """What counts of a value: of a topic its name, wherever its broker is and whoever asks."""
    if name not in ("source", "labels_source"):
        return value
    return [_topic(uri) for uri in value] if isinstance(value, list) else _topic(value)


def _topic(uri: Any) -> Any:
    if not str(uri).startswith("kafka://"):
        return uri
    return "kafka:" + uri.removeprefix("kafka://").partition("?")[0].partition("/")[2]
