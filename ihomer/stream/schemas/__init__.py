"""The JSON Schema (2020-12) files of what goes in and out, as they ship with the package.

In: a schema's name. Out: the schema as a dictionary. They are here for people who produce events
and read predictions or what has happened to the model; ihomer itself checks events with
`ihomer.stream.decode`, which is faster and kept equal to them by a test.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import orjson

from ihomer.errors import UsageError

NAMES = ("event", "event.strict", "late-labels", "prediction", "learner-event")


def load_schema(name: str) -> dict[str, Any]:
    """The schema called `name`, a fresh dictionary.

    Parameters
    ----------
    name
        ``"event"``, ``"event.strict"`` (no other fields), ``"late-labels"``, ``"prediction"`` or
        ``"learner-event"``.

    Raises
    ------
    UsageError
        There is no such schema.

    Examples
    --------
    >>> load_schema("event")["required"]
    ['x']
    """
    if name not in NAMES:
        raise UsageError(f"schema: found {name!r}, accepted: {', '.join(NAMES)}")
    text = (resources.files(__name__) / f"{name}.schema.json").read_bytes()
    schema: dict[str, Any] = orjson.loads(text)
    return schema
