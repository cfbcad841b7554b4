"""Labels as others write them: a list, an object, one text, or a column for each.

In: a record's data and the paths where its labels lie. Out: the labels that are on, and those that
are named as off, or None where nobody has said. It is here because there are more ways to tag
something than to describe it.

With ``labels_as = "names"`` each path leads to a list of texts and whole numbers, to an object of
name to boolean, or to one text: split at the separator if there is one, else one label. Null, and
nothing at the path, say nothing; an empty list, an empty object, and with a separator an empty
text, say that no label is on, while without one an empty text says nothing. With several paths all
that they say is taken together. With ``labels_as = "columns"`` each path leads to a boolean, 0 or 1
or their text, and its last name is the label's; an event without any of them is unlabelled. The
text that says that labels are unknown, if there is one, says as little as null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from ihomer.connectors.base import Record
from ihomer.errors import UsageError
from ihomer.stream.decode import LABEL_ACCEPTED, MAX_LABEL_LENGTH, found, malformed
from ihomer.stream.mapping.paths import ABSENT, Path, follow

Form: TypeAlias = Literal["names", "columns"]
Labels: TypeAlias = tuple[list[str] | None, Sequence[str]]
Find: TypeAlias = Callable[[Mapping[str, Any], Record], Labels]

TRUE = frozenset(("true", "t", "yes", "y", "on", "1", "1.0"))
FALSE = frozenset(("false", "f", "no", "n", "off", "0", "0.0"))

_REMEMBERED = 1 << 14  # names, before all are forgotten and come again

_ACCEPTED = (
    "a list of label names, an object of label name to boolean, text, or null"
    ' (mapping_labels_as = "names"; booleans need "columns")'
)


def labels_finder(paths: Sequence[Path], form: Form, separator: str, unknown: str = "") -> Find:
    """The function that finds an event's labels: those on (None = unlabelled) and those off.

    Raises
    ------
    UsageError
        A column's name can be no label's.
    """
    if not paths:
        return lambda _data, _record: (None, ())
    if form == "columns":
        return _columns(paths, unknown)
    if len(paths) == 1:
        path, known = paths[0], _Known(separator, unknown)
        if not path.meta:
            steps = path.steps
            return lambda data, _record: known.names(path, follow(data, steps))
        return lambda data, record: known.names(path, path.find(data, record))
    return lambda data, record: _together(
        [_names(path, path.find(data, record), separator, unknown) for path in paths]
    )


class _Known:
    """Label names of lists that have been checked: most come again and again.

    Parameters
    ----------
    separator, unknown
        See `_names`.
    """

    def __init__(self, separator: str, unknown: str) -> None:
        self._how = separator, unknown
        self._names: set[str] = set()

    def names(self, path: Path, value: Any) -> Labels:
        """See `_names`."""
        is_list = type(value) is list
        try:
            # Nothing but a text equals one.
            if is_list and path.each is None and self._names.issuperset(value):
                return value, ()
        except TypeError:
            pass  # something in the list cannot be a name
        found = _names(path, value, *self._how)
        if is_list and path.each is None and found[0]:
            if len(self._names) + len(found[0]) > _REMEMBERED:
                self._names.clear()
            self._names.update(found[0][:_REMEMBERED])
        return found


def _names(path: Path, value: Any, separator: str, unknown: str) -> Labels:
    if value is ABSENT or value is None:
        return None, ()
    if path.each is not None:
        value = _of_each(path, value)
    if type(value) is list:
        return _checked(path, value), ()
    if type(value) is str:
        if unknown and value == unknown:
            return None, ()
        if separator:
            parts = [part.strip() for part in value.split(separator)]
            return _checked(path, [part for part in parts if part]), ()
        return (_checked(path, [value]), ()) if value else (None, ())
    if isinstance(value, Mapping):
        on: list[str] = []
        off: list[str] = []
        for name, state in value.items():
            truth = _truth(state)
            if truth is None:
                raise malformed(
                    "label-value",
                    f"{path.text}: found {found(state)} for {found(name)}, accepted: true or false",
                )
            (on if truth else off).append(name)
        _checked(path, [*on, *off])
        return on, off
    raise malformed("label-form", f"{path.text}: found {found(value)}, accepted: {_ACCEPTED}")


def _of_each(path: Path, items: Any) -> list[Any]:
    if type(items) is not list:
        raise malformed(
            "label-form", f"{path.text}: found {found(items)}, accepted: a list, or null"
        )
    return [follow(item, path.each or ()) for item in items]


def _checked(path: Path, names: list[Any]) -> list[str]:
    """Label names of the right length; whole numbers as their text."""
    for index, name in enumerate(names):
        if type(name) is int:
            names = [str(item) if type(item) is int else item for item in names]
            name = names[index]
        if type(name) is not str:
            what = "nothing" if name is ABSENT else found(name)
            raise malformed(
                "label-type",
                f"{path.text}: found {what} as item {index}, accepted: {LABEL_ACCEPTED}",
            )
        if not 0 < len(name) <= MAX_LABEL_LENGTH:
            raise malformed(
                "label-length",
                f"{path.text}: found {found(name)} as item {index}, accepted: {LABEL_ACCEPTED}",
            )
    return names


def _columns(paths: Sequence[Path], unknown: str) -> Find:
    for path in paths:
        if not 0 < len(path.name) <= MAX_LABEL_LENGTH:
            raise UsageError(
                f"mapping_labels: found {found(path.name)} as the last name in a path, accepted:"
                f" {LABEL_ACCEPTED}"
            )

    nothing = ("", unknown)

    def find(data: Mapping[str, Any], record: Record) -> Labels:
        on: list[str] = []
        off: list[str] = []
        for path in paths:
            value = path.find(data, record)
            if value is ABSENT or value is None or value in nothing:
                continue
            truth = _truth(value)
            if truth is None:
                raise malformed(
                    "label-value",
                    f"{path.text}: found {found(value)}, accepted: true, false, 1, 0, yes, no, as"
                    " text too, or null",
                )
            (on if truth else off).append(path.name)
        return (on if on or off else None), off

    return find


def _truth(value: Any) -> bool | None:
    if type(value) is str:
        word = value.strip().lower()
        return True if word in TRUE else False if word in FALSE else None
    if type(value) in (bool, int, float) and value in (0, 1):
        return bool(value)
    return None


def _together(found_labels: Sequence[Labels]) -> Labels:
    said = [labels for labels in found_labels if labels[0] is not None]
    if not said:
        return None, ()
    on = dict.fromkeys(name for names, _ in said for name in names or ())
    off = dict.fromkeys(name for _, names in said for name in names if name not in on)
    return list(on), list(off)
