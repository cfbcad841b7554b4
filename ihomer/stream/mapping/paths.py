r"""Where something lies in a record: ``$.ticket.id``, ``$["a b"]``, ``$key``, ``$header.NAME``.

In: the text of a path. Out: a `Path`, which finds the value in a record. It is here so that the
configuration's checks, the mapping and its messages read paths alike.

===================  ==============================================================================
path                 what it names
===================  ==============================================================================
``$``                the whole record, a JSON object or a table's row
``$.name``           the member, or the column, of that name: any characters but ``. [ ] " *``,
                     white space and control characters
``$["any name"]``    the same for names that are not like that, as a JSON string
``$.a.b["c d"].e``   members of members
``$.a[*].b``         of each item of the list ``a`` the member ``b``; in labels only, and once
``$key``             the key of a topic's record, UTF-8 text
``$header.NAME``     its last header of that name, UTF-8 text; NAME is all that follows
``$timestamp``       its timestamp in epoch milliseconds
===================  ==============================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ihomer.errors import MalformedEventError

if TYPE_CHECKING:  # the settings need no more than the syntax, and this brings numpy along
    from ihomer.connectors.base import Record

ACCEPTED = (
    'a path such as "$.ticket.id", "$[\\"any name\\"]", "$key", "$header.NAME" or "$timestamp"'
)
META = ("$key", "$timestamp")
HEADER = "$header."

ABSENT: Any = object()
"""What a path finds where there is nothing."""

_STEP = re.compile(r'\.([^.\[\]"*\s\x00-\x1f]+)|\[("(?:[^"\\\x00-\x1f]|\\.)*")\]|(\[\*\])')


class Path(NamedTuple):
    """A path in its parts.

    Attributes
    ----------
    text
        As it was written.
    steps
        Names of members from the record on; empty: the record itself.
    each
        Names from each item of the list at `steps` on; None: no list is gone through.
    meta
        ``$key``, ``$timestamp`` or ``$header.NAME``; empty: it leads into the record's value.
    """

    text: str
    steps: tuple[str, ...]
    each: tuple[str, ...] | None = None
    meta: str = ""

    @property
    def name(self) -> str:
        """The last name in it.

        >>> parse_path("$.genre.jazz").name, parse_path("$header.team").name
        ('jazz', 'team')
        """
        if self.meta:
            return self.meta.removeprefix(HEADER)
        return (self.each or self.steps or ("$",))[-1]

    def find(self, data: Mapping[str, Any], record: Record) -> Any:
        """The value there, or `ABSENT`; with `each`, the list.

        Raises
        ------
        MalformedEventError
            A key or a header is no UTF-8.
        """
        if self.meta:
            return meta_value(self.meta, record)
        return follow(data, self.steps)


def parse_path(text: str) -> Path:
    """Take `text` apart.

    Raises
    ------
    ValueError
        It is no path; the message says what was found.

    Examples
    --------
    >>> parse_path('$.ticket["the id"]').steps
    ('ticket', 'the id')
    >>> parse_path("$.labels[*].name").each
    ('name',)
    """
    if is_meta(text):
        return Path(text, (), None, text)
    if not text.startswith("$"):
        raise ValueError(f"found {text!r}, accepted: {ACCEPTED}")
    steps: list[str] = []
    each: list[str] | None = None
    at = 1
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None or (match[3] and each is not None):
            raise ValueError(f"found {text!r}, unclear from {text[at:]!r} on, accepted: {ACCEPTED}")
        at = match.end()
        if match[3]:
            each = []
            continue
        try:
            step = match[1] if match[1] is not None else json.loads(match[2])
        except ValueError as error:
            raise ValueError(f"found {text!r}, {error}, accepted: {ACCEPTED}") from None
        (steps if each is None else each).append(step)
    return Path(text, tuple(steps), None if each is None else tuple(each))


def is_meta(text: str) -> bool:
    """Whether it names something around the record's value.

    >>> is_meta("$key"), is_meta("$header.team"), is_meta("$.key")
    (True, True, False)
    """
    return text in META or (text.startswith(HEADER) and text != HEADER)


def spelled(steps: tuple[str, ...]) -> str:
    """The path of these names, as it is written.

    >>> spelled(("ticket", "the id"))
    '$.ticket["the id"]'
    """
    parts = []
    for step in steps:
        plain = _STEP.fullmatch(f".{step}")
        parts.append(f".{step}" if plain else f"[{json.dumps(step, ensure_ascii=False)}]")
    return "$" + "".join(parts)


def follow(value: Any, steps: tuple[str, ...]) -> Any:
    """The member of a member ... of `value`, or `ABSENT`."""
    for step in steps:
        if type(value) is not dict and not isinstance(value, Mapping):  # faster than the latter
            return ABSENT
        value = value.get(step, ABSENT)
    return value


def meta_value(name: str, record: Record) -> Any:
    """The record's key, timestamp or header as text or a number, or `ABSENT`.

    Raises
    ------
    MalformedEventError
        Its bytes are no UTF-8.
    """
    found: bytes | None
    if name == "$timestamp":
        return ABSENT if record.timestamp is None else record.timestamp
    if name == "$key":
        found = record.key
    else:
        wanted = name.removeprefix(HEADER)
        found = next((value for key, value in reversed(record.headers) if key == wanted), None)
    if found is None:
        return ABSENT
    try:
        return found.decode()
    except UnicodeDecodeError as error:
        raise MalformedEventError(
            "map",
            "key-text",
            f"{name}: byte {error.start:,} is no UTF-8 ({error.reason}), accepted: text in UTF-8",
        ) from None
