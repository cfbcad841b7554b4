"""Rows of ARFF data as events.

In: data lines, the header, which columns are labels. Out: events whose features are a `Row` over
one tuple of names, or the reason why a line is none. It is here, apart from the grammar, because
it gives the texts their meaning: numbers, indicators of nominal values, labels.

There are two ways through it with the same results. `RowParser.parse` takes one line of any shape
apart. `RowParser.parse_plain` takes a block of lines that hold nothing but plain numbers and bare
words with array operations, many times faster, and declines every other block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ihomer.connectors.files.arff import (
    ArffSyntaxError,
    Attribute,
    Header,
    Text,
    decode,
    split_dense,
    split_sparse,
)
from ihomer.connectors.files.reader import Line
from ihomer.errors import InputError, MalformedEventError
from ihomer.instances import Event, FloatArray, IntArray, Row

_NUMBER_BYTES = b"0123456789+-.eE?"
_SEPARATOR_BYTES = b" \t,"
_SPECIAL_BYTES = b"'\"%{}\\"
_TABS = bytes.maketrans(b"\t", b" ")
_TO_SPACES = bytes.maketrans(b"{},", b"   ")


class RowParser:
    """Turns data lines into events.

    Numeric attributes and nominal ones over {0,1} are numbers under their own name. Any other
    nominal attribute is one indicator for each declared value, named ``attribute=value``. ``?`` is
    NaN, at every indicator of a nominal attribute. What a sparse row leaves out is 0, or the first
    declared value of a nominal attribute, as the format has it.

    A label is on at 1 and off at 0. ``?`` at every label makes an unlabelled event.

    Parameters
    ----------
    path
        For messages.
    header
        The columns.
    label_columns
        Positions of the labels, ascending.

    Attributes
    ----------
    names
        Names of the features, in the order of the columns.
    labels
        Names of the labels, in the order of the columns.
    attributes
        Names of the attributes that are no labels; shorter than `names` where one has indicators.

    Raises
    ------
    InputError
        An indicator's name is the name of another attribute.
    """

    def __init__(self, path: str, header: Header, label_columns: Sequence[int]) -> None:
        self._declared = header.attributes
        count = len(header.attributes)
        is_label = np.zeros(count, dtype=np.bool_)
        is_label[list(label_columns)] = True
        names: list[str] = []
        labels: list[str] = []
        # Where a column goes: a feature's first position, or -1 - a label's position.
        self._target: IntArray = np.zeros(count, dtype=np.int32)
        self._codes: dict[int, dict[str, int]] = {}
        for column, attribute in enumerate(header.attributes):
            if is_label[column]:
                self._target[column] = -1 - len(labels)
                labels.append(attribute.name)
                continue
            self._target[column] = len(names)
            if attribute.nominal:
                self._codes[column] = {value: i for i, value in enumerate(attribute.values)}
                names += [f"{attribute.name}={value}" for value in attribute.values]
            else:
                names.append(attribute.name)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(
                f"{path}: two features would be named {twice!r}, one of them the indicator of a"
                " nominal value, accepted: distinct names"
            )
        self.names = tuple(names)
        self.labels = tuple(labels)
        self.attributes = tuple(
            attribute.name
            for attribute, label in zip(header.attributes, is_label, strict=True)
            if not label
        )
        self._prepare(is_label)

    def _prepare(self, is_label: npt.NDArray[np.bool_]) -> None:
        """Tables for the fast way."""
        declared = self._declared
        # What a sparse row leaves out, where that is not 0.
        self._left_out = {
            column: Text(attribute.values[0])
            for column, attribute in enumerate(declared)
            if attribute.nominal or (attribute.binary and attribute.values[0] == "1")
        }
        self._column_at = {str(column).encode(): column for column in range(len(declared))}
        self._is_binary = np.array([attribute.binary for attribute in declared], dtype=np.bool_)
        nominal = np.array([attribute.nominal for attribute in declared], dtype=np.bool_)
        self._numbers = np.flatnonzero(~is_label & ~nominal)
        self._number_targets = self._target[self._numbers]
        self._label_columns = np.flatnonzero(is_label)
        self._binary_columns = np.flatnonzero(self._is_binary)
        self._byte_codes = {
            column: {b"?": -1} | {value.encode(): i for value, i in codes.items() if value != "?"}
            for column, codes in self._codes.items()
        }

    def parse(self, line: Line) -> Event:
        """The event of one line.

        Raises
        ------
        MalformedEventError
            The line is none; the message names line and attribute.
        """
        text = decode(line.text).strip()
        try:
            sparse = text.startswith("{")
            given = self._sparse(text) if sparse else self._dense(text)
            return self._event(line.number, given, sparse=sparse)
        except ArffSyntaxError as fault:
            raise _fault("arff-syntax", line, str(fault)) from None
        except _ArffValueError as fault:
            raise _fault(fault.kind, line, str(fault)) from None

    def _dense(self, text: str) -> list[tuple[int, Text]]:
        values = split_dense(text)
        if len(values) != len(self._declared):
            if len(values) < len(self._declared):
                what = f"attribute {self._declared[len(values)].name!r} has no value: "
            else:
                what = ""
            raise _ArffValueError(
                "arff-count", f"{what}found {len(values)} values, accepted: {len(self._declared)}"
            )
        return list(enumerate(values))

    def _sparse(self, text: str) -> list[tuple[int, Text]]:
        given: dict[int, Text] = {}
        for column, value in split_sparse(text):
            if column >= len(self._declared):
                raise _ArffValueError(
                    "arff-index",
                    f"found position {column}, accepted: 0 to {len(self._declared) - 1}",
                )
            if column in given:
                name = self._declared[column].name
                raise _ArffValueError(
                    "arff-index", f"attribute {name!r}: found position {column} twice"
                )
            given[column] = value
        return sorted((self._left_out | given).items())

    def _event(self, number: int, given: list[tuple[int, Text]], *, sparse: bool) -> Event:
        indices: list[int] = []
        values: list[float] = []
        states: list[tuple[str, float]] = []
        for column, value in given:
            attribute = self._declared[column]
            target = int(self._target[column])
            if target < 0:
                states.append((attribute.name, _label(attribute, value)))
            elif column not in self._codes:
                indices.append(target)
                values.append(_number(attribute, value))
            elif value.text == "?" and not value.quoted:
                indices += range(target, target + len(attribute.values))
                values += [math.nan] * len(attribute.values)
            else:
                code = self._codes[column].get(value.text)
                if code is None:
                    raise _bad_value(attribute, value, _listed(attribute))
                indices.append(target + code)
                values.append(1.0)
        row = np.array(values, dtype=np.float64)
        where = np.array(indices, dtype=np.int32)
        if sparse:
            x = Row(self.names, row, where)
        else:
            full = np.zeros(len(self.names))
            full[where] = row
            x = Row(self.names, full)
        return Event(number, x, self._on(states))

    def _on(self, states: list[tuple[str, float]]) -> list[str] | None:
        missing = [name for name, state in states if math.isnan(state)]
        if not missing:
            return [name for name, state in states if state]
        if len(missing) < len(self.labels):
            raise _ArffValueError(
                "arff-label",
                f"attribute {missing[0]!r}, a label: found ?, accepted: 0, 1, or ? for all labels",
            )
        return None

    def parse_plain(self, lines: Sequence[Line]) -> list[Event] | None:
        """Events of lines that are all dense or all sparse, and plain; None: take each with care.

        Plain means: bare values, no comments, no missing labels, nothing wrong.
        """
        texts = [line.text.strip() for line in lines]
        if texts[0].startswith(b"{"):
            return self._plain_sparse(lines, texts)
        return self._plain_dense(lines, texts)

    def _plain_sparse(self, lines: Sequence[Line], texts: list[bytes]) -> list[Event] | None:
        if self._left_out:
            return None
        block = b"\n".join(texts).translate(_TABS).replace(b", ", b",")
        # What is left without the numbers: one space for each entry, none with two, so that each
        # is two words, or fewer, which the number of words shows.
        frame = block.translate(None, _NUMBER_BYTES)
        closed = frame.replace(b" ,", b"").replace(b"{}", b"{ }")
        if b"  " in frame or closed != b"\n".join([b"{ }"] * len(lines)):
            return None
        counts = np.array([0 if text == b"{}" else text.count(b",") + 1 for text in texts])
        ends = np.cumsum(counts)
        tokens = block.translate(_TO_SPACES).replace(b"?", b"nan").split()
        if len(tokens) != 2 * ends[-1]:
            return None
        written = tokens[1::2]
        size = len(written)
        try:
            column = np.fromiter(map(self._column_at.__getitem__, tokens[0::2]), np.int64, size)
            if b"".join(written) == b"1" * size:  # indicators, as in most sparse data sets
                value = np.ones(size)
            else:
                value = np.fromiter(map(float, written), np.float64, size)
        except (KeyError, ValueError):
            return None
        if not self._plain_pairs(column, value, ends):
            return None
        return self._sparse_events(lines, column, value, ends)

    def _plain_pairs(
        self, column: npt.NDArray[np.int64], value: FloatArray, ends: npt.NDArray[np.int64]
    ) -> bool:
        """Whether the positions ascend within each row, and the values are in range."""
        if np.isinf(value).any():
            return False
        ascends = np.ones(len(column) + 1, dtype=np.bool_)
        ascends[1:-1] = column[1:] > column[:-1]
        ascends[ends] = True  # a row's last position and the next row's first
        if not ascends.all():
            return False
        binary = value[self._is_binary[column]]
        return bool(((binary == 0) | (binary == 1) | np.isnan(binary)).all())

    def _sparse_events(
        self,
        lines: Sequence[Line],
        column: npt.NDArray[np.int64],
        value: FloatArray,
        ends: npt.NDArray[np.int64],
    ) -> list[Event] | None:
        target = self._target[column]
        is_label = target < 0
        states = value[is_label]
        on = states == 1
        if not (on | (states == 0)).all():
            return None
        labels = (-1 - target[is_label])[on].tolist()
        is_on = np.zeros(len(column), dtype=np.bool_)
        is_on[is_label] = on
        is_feature = ~is_label
        target, value = target[is_feature], value[is_feature]
        label_ends = _kept_before(is_on, ends)
        feature_ends = _kept_before(is_feature, ends)
        names, label_names = self.names, self.labels
        events: list[Event] = []
        first = label_first = 0
        for line, last, label_last in zip(lines, feature_ends, label_ends, strict=True):
            row = Row(names, value[first:last], target[first:last])
            named = [label_names[i] for i in labels[label_first:label_last]]
            events.append(Event(line.number, row, named))
            first, label_first = last, label_last
        return events

    def _plain_dense(self, lines: Sequence[Line], texts: list[bytes]) -> list[Event] | None:
        rows, columns = len(lines), len(self._declared)
        block = b",".join(texts)
        if len(block.translate(None, _SPECIAL_BYTES)) < len(block):
            return None
        if any(text.count(b",") != columns - 1 for text in texts):
            return None
        tokens = block.split(b",")
        chosen: list[tuple[int, int, npt.NDArray[np.int64]]] = []
        for column, codes in self._byte_codes.items():
            found = [codes.get(token.strip(), -2) for token in tokens[column::columns]]
            if min(found) == -2:
                return None
            tokens[column::columns] = [b"0"] * rows
            chosen.append((int(self._target[column]), len(self._codes[column]), np.array(found)))
        if chosen:
            block = b",".join(tokens)
        if block.translate(None, _NUMBER_BYTES + _SEPARATOR_BYTES):
            return None
        if b"?" in block:
            tokens = block.replace(b"?", b"nan").split(b",")
        try:
            # White space around a number is float's business; inside one it is refused by it.
            numbers = np.fromiter(map(float, tokens), np.float64, len(tokens))
        except ValueError:
            return None
        table = numbers.reshape(rows, columns)
        states = table[:, self._label_columns]
        binary = table[:, self._binary_columns]
        if np.isinf(table).any() or not ((states == 0) | (states == 1)).all():
            return None
        if not ((binary == 0) | (binary == 1) | np.isnan(binary)).all():
            return None
        return self._dense_events(lines, table, states, chosen)

    def _dense_events(
        self,
        lines: Sequence[Line],
        table: FloatArray,
        states: FloatArray,
        chosen: list[tuple[int, int, npt.NDArray[np.int64]]],
    ) -> list[Event]:
        full = np.zeros((len(lines), len(self.names)))
        full[:, self._number_targets] = table[:, self._numbers]
        for target, width, codes in chosen:
            known = np.flatnonzero(codes >= 0)
            full[known, target + codes[known]] = 1.0
            full[codes < 0, target : target + width] = math.nan
        names, label_names = self.names, self.labels
        on: list[list[str]] = [[] for _ in lines]
        for row, label in np.argwhere(states == 1).tolist():
            on[row].append(label_names[label])
        return [
            Event(line.number, Row(names, values), named)
            for line, values, named in zip(lines, full, on, strict=True)
        ]


class _ArffValueError(Exception):
    """A well-formed line whose values are not what the header declares."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _fault(kind: str, line: Line, message: str) -> MalformedEventError:
    return MalformedEventError("parse", kind, f"line {line.number}: {message}")


def _bad_value(attribute: Attribute, value: Text, accepted: str) -> _ArffValueError:
    found = value.text if len(value.text) <= 40 else value.text[:37] + "..."
    return _ArffValueError(
        "arff-value", f"attribute {attribute.name!r}: found {found!r}, accepted: {accepted}"
    )


def _listed(attribute: Attribute) -> str:
    values = attribute.values
    shown = ", ".join(map(repr, values[:8])) + (", ..." if len(values) > 8 else "")
    return f"{shown} or ?"


def _number(attribute: Attribute, value: Text) -> float:
    """A finite number, or NaN for a missing one; 0, 1 or NaN where the attribute is binary."""
    text = value.text
    if text == "?" and not value.quoted:
        return math.nan
    accepted = "0, 1 or ?" if attribute.binary else "a finite number or ?"
    try:
        number = float(text) if text.isascii() and "_" not in text else math.inf
    except ValueError:
        number = math.inf
    if math.isinf(number) or (attribute.binary and number not in (0.0, 1.0) and number == number):
        raise _bad_value(attribute, value, accepted)
    return number


def _label(attribute: Attribute, value: Text) -> float:
    try:
        state = _number(attribute, value)
    except _ArffValueError:
        state = -1.0
    if state in (0.0, 1.0) or math.isnan(state):
        return state
    found = value.text if len(value.text) <= 40 else value.text[:37] + "..."
    raise _ArffValueError(
        "arff-label",
        f"attribute {attribute.name!r}, a label: found {found!r}, accepted: 0 or 1",
    )


def _kept_before(kept: npt.NDArray[np.bool_], ends: npt.NDArray[np.int64]) -> list[int]:
    """How many of the first ``ends[i]`` entries are kept, for each i."""
    totals = np.zeros(len(kept) + 1, dtype=np.int64)
    np.cumsum(kept, out=totals[1:])
    result: list[int] = totals[ends].tolist()
    return result
