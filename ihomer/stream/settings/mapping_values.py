"""What the values of the mapping's keys have to be: paths, names of fields, separators.

In: values as file, environment or caller gave them. Out: the same, or `ValueError`. It is here so
that a path that leads nowhere is found before anything is read by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ihomer.stream.mapping.paths import is_meta, parse_path


def one_place(value: str | None) -> str | None:
    """A path to one place, or none."""
    if value is not None and parse_path(value).each is not None:
        raise ValueError(f"found {value!r} with [*], accepted: one place")
    return value


def object_place(value: str) -> str:
    """A path to an object in the record."""
    path = parse_path(value)
    if path.meta or path.each is not None:
        raise ValueError(f'found {value!r}, accepted: an object in the record, such as "$.x"')
    return value


def label_places(values: list[str]) -> list[str]:
    """Different paths to something in the record."""
    for value in values:
        if not parse_path(value).steps and not is_meta(value):
            raise ValueError(f"found {value!r}, accepted: a path to something in the record")
    if len(set(values)) < len(values):
        raise ValueError("found a path twice, accepted: different paths")
    return values


def flattened(value: object) -> object:
    """Tables in tables, as TOML reads ``ticket.body = "text"``, by their names joined with dots."""
    if not isinstance(value, dict):
        return value
    found: dict[object, object] = {}
    for name, each in value.items():
        inner = flattened(each)
        if isinstance(inner, dict):
            found.update((f"{name}.{below}", kind) for below, kind in inner.items())
        else:
            found[name] = inner
    return found


def field_names(values: dict[str, Any]) -> dict[str, Any]:
    """Kinds by the names of fields."""
    for name in values:
        if name.startswith("$") and not is_meta(name):
            raise ValueError(
                f"found the name {name!r}, accepted: a field's name without $., or $key,"
                " $header.NAME or $timestamp"
            )
    return values


def filled_texts(values: dict[str, str]) -> dict[str, str]:
    """Texts by name, none of them empty."""
    if not all(values.values()):
        raise ValueError
    return values


def named_as_feature(labels: Sequence[str], features: str, fields: Mapping[str, str]) -> str | None:
    """The first field with a kind that is a label's place, or None."""
    root = parse_path(features).steps
    for text in labels:
        path = parse_path(text)
        steps = path.steps[len(root) :] if path.steps[: len(root)] == root else ()
        name = path.meta or ".".join(steps)
        if (steps or path.meta) and fields.get(name, "ignore") != "ignore":
            return name
    return None
