"""Events from a libsvm file or one of the Extreme Classification Repository (XMC).

In: a path. Out: one record for each line that is not blank, its value a ready event; a line that is
none comes as a record with its bytes and a fault. It is here because sets with many labels are
published so. Both formats write ``1,3 5:0.2 7:1``: the labels that are on, then number and value of
each feature that is not 0. XMC has a first line beside that, ``points features labels``.

Features and labels are numbers there, and their names are these numbers, unless files of names
(`names_beside`) say otherwise: line n, counted from 0, is the name of number n.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from ihomer.connectors.base import Position, Record, Source
from ihomer.connectors.files.compression import plain_name
from ihomer.connectors.files.lines import oversized_record
from ihomer.connectors.files.reader import (
    DEFAULT_MAX_LINE_BYTES,
    STANDARD,
    Line,
    LineReader,
    reason,
)
from ihomer.errors import InputError, MalformedEventError
from ihomer.instances import Event

# bytes.split and float take more than the formats have: other white space, underscores.
_PLAIN = re.compile(rb"[0-9A-Za-z+\-.,:# \t\r]*")
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,17}")
_MOST_REMEMBERED = 1 << 20
_SHOWN = 40
_ROW = "labels with commas between, then number:value, such as 1,3 5:0.2 7:1"


class LibsvmSource(Source):
    """Lines of `path` as events.

    An event's id and its record's offset are the line's number in the file, its features a mapping
    of names to the values that are written down, NaN being a missing one. A line that begins with
    a blank, or with a feature, has no labels, all known labels being off then. What stands behind
    ``#`` is a comment. The position is a line reader's, see `JsonLinesSource`.

    Parameters
    ----------
    path
        A file, decompressed if its name ends in one of `COMPRESSIONS`, or ``-``.
    xmc
        Whether the first line is one of XMC: then numbers are below those it gives, and a file
        with fewer points than it promises has been cut off.
    feature_names, label_names
        Files of names; None: those that lie beside the file, if any, see `names_beside`.
    max_line_bytes
        Bound of a line's length in bytes.

    Attributes
    ----------
    features, labels
        The names, if there is a file of them.
    n_attributes, length
        Features and points as the first line of XMC has them.

    Raises
    ------
    InputError
        A file cannot be read, names hold a name twice or are fewer than the first line says, or
        that line is none of XMC.
    """

    def __init__(
        self,
        path: str,
        *,
        xmc: bool = False,
        feature_names: str | None = None,
        label_names: str | None = None,
        max_line_bytes: int = DEFAULT_MAX_LINE_BYTES,
    ) -> None:
        self.name = path
        self._max_line_bytes = max_line_bytes
        named = (
            feature_names or names_beside(path, "features"),
            label_names or names_beside(path, "labels"),
        )
        self.features, self.labels = (() if file is None else read_names(file) for file in named)
        # By the bytes of a number; what is not there is looked at closely.
        self._features: dict[bytes, str] = _by_number(self.features)
        self._labels: dict[bytes, str] = _by_number(self.labels)
        self._bounds: list[int | None] = [
            len(names) if file is not None else None
            for names, file in zip((self.features, self.labels), named, strict=True)
        ]
        self._reader = LineReader(path, max_line_bytes)
        self._points: int | None = None
        try:
            if xmc:
                self._read_first(named)
        except BaseException:
            self._reader.close()
            raise

    def _read_first(self, named: Sequence[str | None]) -> None:
        lines: list[Line] = []
        while not lines and not self._reader.ended:
            lines = self._reader.take(1, timeout=1.0)
        text = lines[0].text if lines else b""
        numbers = [int(each) for each in text.split() if _NUMBER.fullmatch(each)]
        if len(numbers) != 3 or len(text.split()) != 3:
            raise InputError(
                f"{self.name}: line 1: found {_shown(text)}, accepted: points, features and labels,"
                " three whole numbers, as XMC files begin (without: ?format=libsvm)"
            )
        points, *counts = numbers
        words = ("features", "labels")
        for at, (word, count, file) in enumerate(zip(words, counts, named, strict=True)):
            known = self._bounds[at]
            if known is not None and known < count:
                raise InputError(
                    f"{file}: found {known} names, accepted: {count}, the {word} in line 1 of"
                    f" {self.name}"
                )
            self._bounds[at] = count
        self.length, self.n_attributes = points, counts[0]
        self._points = points

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        """See `Source.next_batch`."""
        records: list[Record] = []
        while len(records) < max_records:
            wait = 0.0 if records else timeout
            lines = self._reader.take(max_records - len(records), wait)
            if not lines:
                break
            records += [
                self._record(line) for line in lines if not line.text.lstrip().startswith(b"#")
            ]
        if not records and self._reader.ended:
            self._check_end()
            return None
        return records

    def _check_end(self) -> None:
        if self._points is None:
            return
        # A blank line is a point without labels and features, and no event.
        last = self._reader.position()["line"] - 2
        if last < self._points:
            raise InputError(
                f"{self.name}: found {last} points, accepted: {self._points}, as line 1 says; the"
                " file seems to be cut off"
            )

    def _record(self, line: Line) -> Record:
        if line.oversized:
            return oversized_record(self.name, line, self._max_line_bytes)
        try:
            return Record(self._event(line), self.name, 0, line.number)
        except MalformedEventError as fault:
            return Record(line.text, self.name, 0, line.number, fault=fault)

    def _event(self, line: Line) -> Event:
        text = line.text
        if not _PLAIN.fullmatch(text):
            raise _fault("libsvm", line, f"found {_shown(text)}, accepted: {_ROW}")
        if b"#" in text:
            text = text.partition(b"#")[0]
        parts = text.split()
        on: list[str] = []
        if text[:1] not in (b" ", b"\t", b"") and b":" not in parts[0]:
            on = self._on(line, parts.pop(0))
        x: dict[str, float] = {}
        names = self._features
        for part in parts:
            number, _, written = part.partition(b":")
            name = names.get(number) or self._name(line, 0, number, part)
            try:
                value = float(written)
            except ValueError:
                value = math.inf
            if math.isinf(value):
                raise _fault(
                    "libsvm-value",
                    line,
                    f"found {_shown(part)}, accepted: a feature's number, a colon and a finite"
                    " number",
                )
            if name in x:
                raise _fault(
                    "libsvm-value", line, f"found feature {number.decode()} twice, accepted: once"
                )
            x[name] = value
        return Event(line.number, x, on)

    def _on(self, line: Line, written: bytes) -> list[str]:
        names = self._labels
        on = [names.get(each) or self._name(line, 1, each, written) for each in written.split(b",")]
        if len(set(on)) < len(on):
            raise _fault("libsvm-label", line, f"found a label twice in {_shown(written)}")
        return on

    def _name(self, line: Line, which: int, number: bytes, part: bytes) -> str:
        """The name of a feature's (0) or label's (1) number that has not come before."""
        bound = self._bounds[which]
        word = ("feature", "label")[which]
        if which == 1 and bound is None and number and b":" not in number:
            # Without a header a label may be any word: libsvm has +1 and -1.
            name = number.decode()
        elif _NUMBER.fullmatch(number) is None:
            raise _fault(
                f"libsvm-{('value', 'label')[which]}",
                line,
                f"found {_shown(part)}, accepted: {_ROW}",
            )
        elif bound is not None and int(number) >= bound:
            raise _fault(
                f"libsvm-{('value', 'label')[which]}",
                line,
                f"found {word} {number.decode()}, accepted: 0 to {bound - 1}",
            )
        else:
            name = number.decode()
        known = (self._features, self._labels)[which]
        if len(known) < _MOST_REMEMBERED:
            known[number] = name
        return name

    def position(self) -> Position:
        """See `Source.position`."""
        return self._reader.position()

    def seek(self, position: Position) -> None:
        """See `Source.seek`."""
        self._reader.seek(position)

    def close(self) -> None:
        """See `Source.close`."""
        self._reader.close()


def names_beside(path: str, what: str) -> str | None:
    """The file of names that lies beside `path`, if there is one.

    Parameters
    ----------
    path
        ``data.libsvm``, say, compressed or not.
    what
        ``"features"`` or ``"labels"``: it is called ``data.features.txt`` then.
    """
    if path == STANDARD:
        return None
    beside = names_path(path, what)
    return str(beside) if beside.is_file() else None


def names_path(path: str, what: str) -> Path:
    """Where the names of a file's features or labels belong.

    >>> names_path("a/b.xmc.gz", "labels").as_posix()
    'a/b.labels.txt'
    """
    return Path(plain_name(path)).with_suffix(f".{what}.txt")


def read_names(path: str) -> tuple[str, ...]:
    """Names, one a line.

    Raises
    ------
    InputError
        The file cannot be read, is no UTF-8, or has a blank line or a name twice.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start}: found no UTF-8, accepted: UTF-8") from None
    names = tuple(line.removesuffix("\r") for line in text.split("\n"))
    names = names[:-1] if names[-1] == "" else names
    lines: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise InputError(f"{path}: line {number}: found no name, accepted: one a line")
        if name in lines:
            raise InputError(
                f"{path}: line {number}: found {_shown(name.encode())}, as in line {lines[name]},"
                " accepted: different names"
            )
        lines[name] = number
    return names


def _by_number(names: Sequence[str]) -> dict[bytes, str]:
    return {b"%d" % number: name for number, name in enumerate(names)}


def _fault(kind: str, line: Line, message: str) -> MalformedEventError:
    return MalformedEventError("parse", kind, f"line {line.number}: {message}")


def _shown(text: bytes) -> str:
    shown = text.decode("utf-8", "backslashreplace").strip()
    return repr(shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "...")
