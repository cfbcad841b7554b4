r"""The grammar of ARFF: header lines to attributes, data rows to texts.

In: lines. Out: a `Header`, and for each row the texts of its values. What values mean is the
business of `rows`. It is here because the multi-label data sets of MULAN and MEKA are ARFF.

As Weka writes it, and somewhat more: keywords in either case; names and values in single or
double quotes with backslash escapes, or bare; a comment from ``%`` at the start of a line or
after white space; sparse rows in braces; dense rows without any comma split at white space.
A bare name is taken as it stands (delicious has ``TAG_m\'usica``).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ihomer.connectors.files.reader import LineReader
from ihomer.errors import InputError

_DIRECTIVE = re.compile(r"\s*@([A-Za-z]+)\s*(.*)", re.DOTALL)
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_BARE_NAME = re.compile(r"[^\s{]+")
_BARE_IN_BRACES = re.compile(r"[^,}]*")
_BARE = re.compile(r"[^,]*")
_INDEX = re.compile(r"([^\s,}'\"]+)\s+")
_SPACE = re.compile(r"\s*")
_COMMENT = re.compile(r"(?:^|\s)%")
_NUMERIC = frozenset(("numeric", "real", "integer"))
_REFUSED = frozenset(("string", "date", "relational"))
_ZERO_ONE = frozenset("01")


class Attribute(NamedTuple):
    """One declared column.

    Attributes
    ----------
    name
        Without quotes and escapes.
    values
        The declared values of a nominal attribute, in order; empty: numeric.
    line
        Where it was declared.
    """

    name: str
    values: tuple[str, ...]
    line: int

    @property
    def binary(self) -> bool:
        """Nominal over 0 and 1 and nothing else, so its values are numbers."""
        return bool(self.values) and _ZERO_ONE.issuperset(self.values)

    @property
    def nominal(self) -> bool:
        """Nominal with values that are no numbers to us."""
        return bool(self.values) and not _ZERO_ONE.issuperset(self.values)


class Header(NamedTuple):
    """What stands above the data: the relation's name and the columns in order."""

    relation: str
    attributes: tuple[Attribute, ...]


class Text(NamedTuple):
    """One value of a row as it was written; a quoted ``?`` is no missing value."""

    text: str
    quoted: bool = False


class ArffSyntaxError(ValueError):
    """A line that does not follow the grammar: what was found and what is accepted."""


def decode(line: bytes) -> str:
    """Text of `line`: UTF-8, else Latin-1, in which older data sets are."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def read_header(reader: LineReader) -> Header:
    """Read up to and with the ``@data`` line.

    Raises
    ------
    InputError
        A line is none of a header, an attribute's type is refused, a name comes twice, or the
        file ends first; the message names file and line.
    """
    relation = ""
    attributes: list[Attribute] = []
    lines: dict[str, int] = {}
    while found := _next_line(reader):
        number, text = found
        directive = _DIRECTIVE.match(text)
        keyword = directive[1].lower() if directive else ""
        rest = directive[2].strip() if directive else ""
        try:
            if keyword == "relation":
                relation = _relation(rest)
            elif keyword == "attribute":
                attribute = _attribute(rest, number)
                if attribute.name in lines:
                    raise ArffSyntaxError(
                        f"attribute {attribute.name!r} is declared in line"
                        f" {lines[attribute.name]} already, accepted: distinct names"
                    )
                lines[attribute.name] = number
                attributes.append(attribute)
            elif keyword == "data":
                if not attributes:
                    raise ArffSyntaxError("found @data before any @attribute")
                return Header(relation, tuple(attributes))
            else:
                raise ArffSyntaxError(
                    f"found {_shown(text)}, accepted: @relation, @attribute, @data or a comment"
                )
        except ArffSyntaxError as fault:
            raise InputError(f"{reader.path}: line {number}: {fault}") from None
    raise InputError(f"{reader.path}: the file ends without a line @data, no ARFF file")


def _next_line(reader: LineReader) -> tuple[int, str] | None:
    """The next line that is no comment."""
    while True:
        lines = reader.take(1, timeout=1.0)
        if not lines:
            if reader.ended:
                return None
            continue
        line = lines[0]
        if line.oversized:
            raise InputError(f"{reader.path}: line {line.number}: the header line is oversized")
        text = decode(line.text)
        if not text.lstrip().startswith("%"):
            return line.number, text


def _relation(rest: str) -> str:
    quoted = _QUOTED.match(rest)
    if quoted:
        return _unquoted(quoted)
    comment = _COMMENT.search(rest)
    return rest[: comment.start()].strip() if comment else rest


def _attribute(rest: str, line: int) -> Attribute:
    quoted = _QUOTED.match(rest)
    bare = None if quoted else _BARE_NAME.match(rest)
    if quoted:
        name, at = _unquoted(quoted), quoted.end()
    elif bare:
        name, at = bare[0], bare.end()
    else:
        raise ArffSyntaxError("found @attribute without a name, accepted: @attribute NAME TYPE")
    kind = rest[at:].strip()
    if kind.startswith("{"):
        return Attribute(name, _nominal_values(name, kind), line)
    words = kind.split(None, 1)
    word = words[0] if words else ""
    if word.lower() in _NUMERIC:
        return Attribute(name, (), line)
    what = f"type {word}" if word.lower() in _REFUSED else f"type {_shown(kind)}"
    raise ArffSyntaxError(
        f"attribute {name!r}: found {what}, accepted: numeric, real, integer or {{value,...}}"
    )


def _nominal_values(name: str, kind: str) -> tuple[str, ...]:
    values: list[str] = []
    at = 1
    while True:
        at = _skip_space(kind, at)
        quoted = _QUOTED.match(kind, at)
        if quoted:
            values.append(_unquoted(quoted))
            at = _skip_space(kind, quoted.end())
        else:
            bare = _BARE_IN_BRACES.match(kind, at)
            text = bare[0].strip() if bare else ""
            at += len(bare[0]) if bare else 0
            if text:
                values.append(text)
        if at >= len(kind) or kind[at] not in ",}":
            raise ArffSyntaxError(f"attribute {name!r}: the list of values has no closing brace")
        if kind[at] == "}":
            break
        at += 1
    if not values:
        raise ArffSyntaxError(f"attribute {name!r}: found no values, accepted: {{value,...}}")
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise ArffSyntaxError(f"attribute {name!r}: the value {twice!r} is declared twice")
    return tuple(values)


def split_dense(text: str) -> list[Text]:
    r"""Values of a row without braces.

    Raises
    ------
    ArffSyntaxError
        Something follows a closing quote.

    Examples
    --------
    >>> [value.text for value in split_dense("1, 'it\\'s', ? % remark")]
    ['1', "it's", '?']
    """
    bare = "'" not in text and '"' not in text
    if bare and "," not in text:
        comment = _COMMENT.search(text)
        return [Text(word) for word in (text[: comment.start()] if comment else text).split()]
    if bare and "%" not in text:
        return [Text(word.strip()) for word in text.split(",")]
    values: list[Text] = []
    at = 0
    while True:
        at = _skip_space(text, at)
        quoted = _QUOTED.match(text, at)
        if quoted:
            values.append(Text(_unquoted(quoted), quoted=True))
            at = _skip_space(text, quoted.end())
        else:
            rest = _BARE.match(text, at)
            word = rest[0] if rest else ""
            at += len(word)
            comment = _COMMENT.search(word)
            values.append(Text((word[: comment.start()] if comment else word).strip()))
            if comment:
                return values
        if at >= len(text) or text[at] == "%":
            return values
        if text[at] != ",":
            raise ArffSyntaxError(
                f"found {_shown(text[at:])} after a quoted value, accepted: a comma"
            )
        at += 1


def split_sparse(text: str) -> list[tuple[int, Text]]:
    """(position, value) pairs of a row in braces, as written.

    Raises
    ------
    ArffSyntaxError
        A pair or the closing brace is missing, or something follows it.

    Examples
    --------
    >>> [(index, value.text) for index, value in split_sparse("{0 1, 7 'a b'}")]
    [(0, '1'), (7, 'a b')]
    """
    pairs: list[tuple[int, Text]] = []
    at = _skip_space(text, 1)
    if text[at : at + 1] != "}":
        while True:
            index = _INDEX.match(text, at)
            if not index:
                found = _shown(text[at:])
                raise ArffSyntaxError(f"found {found}, accepted: {{position value, ...}}")
            at = index.end()
            quoted = _QUOTED.match(text, at)
            if quoted:
                value = Text(_unquoted(quoted), quoted=True)
                at = _skip_space(text, quoted.end())
            else:
                bare = _BARE_IN_BRACES.match(text, at)
                word = bare[0] if bare else ""
                at += len(word)
                value = Text(word.strip())
            pairs.append((_position(index[1]), value))
            if text[at : at + 1] != ",":
                break
            at = _skip_space(text, at + 1)
        if text[at : at + 1] != "}":
            found = _shown(text[at:]) if at < len(text) else "the end of the line"
            raise ArffSyntaxError(f"found {found}, accepted: a closing brace")
    rest = text[at + 1 :].strip()
    if rest and not rest.startswith("%"):
        raise ArffSyntaxError(f"found {_shown(rest)} after the closing brace, accepted: nothing")
    return pairs


def _position(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ArffSyntaxError(
            f"found {_shown(text)} as a position, accepted: a whole number from 0"
        )
    return int(text)


def _unquoted(match: re.Match[str]) -> str:
    text = match[1] if match[1] is not None else match[2]
    return _unescaped(text)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text)


def same_name(text: str) -> str:
    """`text` with its backslash escapes resolved, for comparing names across notations."""
    return _unescaped(text)


def _skip_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _shown(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 40 else text[:37] + "...")
