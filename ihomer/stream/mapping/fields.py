"""The fields of a record to features: nested objects flattened, each field by its kind, fast.

In: a JSON object or a table's row. Out: features by name, or a `Row` where all of them are numbers.
It is here so that the plan for a record's shape is made once: what a name means is remembered in a
tree that grows as names come, and an event of numbers whose names are those of the event before is
one packing of its values.

A field's name is the names from the features' root on, joined by dots: ``{"a": {"b": 1}}`` is
``a.b``. Its kind is that of the longest name in ``mapping_fields`` that it is or lies below, else
``mapping_default``. Of two fields of one name the last counts. A list of numbers is a feature for
each, ``a.b.0``, ``a.b.1``, ..., all of the list's kind.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter, methodcaller
from typing import Any, TypeAlias

import numpy as np

from ihomer.instances import Features, FloatArray, Row
from ihomer.stream.decode import malformed, shown_name
from ihomer.stream.mapping.kinds import Put, Rule, place_names, putter
from ihomer.stream.mapping.text import TextOptions, WordMemory

MAX_DEPTH = 64
_REMEMBERED = 1 << 16  # names of fields, before all are forgotten and come again

_NUMBERS = frozenset((float, int, bool))
_OR_MISSING = frozenset((float, int, bool, type(None)))
_TEXTS = frozenset((str,))

_Take: TypeAlias = Callable[[Mapping[str, Any]], Iterable[Any]]
_Values: TypeAlias = Callable[[Any], Iterable[Any] | None]
_ALL: _Take = methodcaller("values")


class _Field:
    """What one name in one object means.

    Attributes
    ----------
    name
        Flattened.
    rule
        Its kind.
    put
        Puts its value into the features; None: it is ignored.
    skip
        Whether nothing in it is looked at, whatever it is.
    inner
        The fields in it by name, should it be an object.
    """

    __slots__ = ("inner", "name", "put", "rule", "skip")

    def __init__(self, name: str, rule: Rule, put: Put | None, *, skip: bool) -> None:
        self.name = name
        self.rule = rule
        self.put = put
        self.skip = skip
        self.inner: dict[str, _Field] = {}


class _Shape:
    """An object whose features are all numbers: its names, and how to take its values.

    Attributes
    ----------
    keys
        All names in the object, in order.
    take
        Takes the values of its own features; None: it has none.
    inner
        The objects and lists in it that are looked at, by their names there; those with features
        come first.
    names
        Of the features, in the order in which `values` has them.
    pack
        Makes bytes of as many numbers.
    text
        Whether numbers may come as text everywhere.
    whole
        Whether it says all: not where a value is ignored that an object in its place is not.
    values
        Gives the features' values of another object, or None if its shape is another.
    """

    def __init__(self, node: _Field, value: Mapping[str, Any]) -> None:
        self.keys = list(value)
        own: list[tuple[int, str]] = []
        names: list[str] = []
        inner: list[tuple[str, _Shape]] = []
        self.text = self.whole = True
        for place, (key, each) in enumerate(value.items()):
            field = node.inner[key]
            if field.skip:
                continue
            if isinstance(each, Mapping):
                inner.append((key, _Shape(field, each)))
            elif type(each) is list and each and field.put is not None:
                inner.append((key, _List(field, len(each))))
            elif field.put is not None:
                own.append((place, key))
                names.append(field.name)
                self.text &= field.rule == "numeric"
            else:
                self.whole = False
        self.take = _taker(own, len(value))
        self.inner = sorted(inner, key=lambda item: not item[1].names)
        for _, shape in self.inner:
            names.extend(shape.names)
            self.text &= shape.text
            self.whole &= shape.whole
        self.names: tuple[str, ...] = tuple(names)
        self.pack = struct.Struct(f"{len(names)}d").pack
        shapes = [shape for _, shape in self.inner]
        if len(shapes) > 1 and all(
            type(shape) is _Shape and shape.take in (None, _ALL) and not shape.inner
            for shape in shapes
        ):
            # So it mostly is: its objects hold features only, or none.
            self.values: _Values = _values_of_objects(self)
        else:
            self.values = self._values

    def _values(self, value: Any) -> Iterable[Any] | None:
        if type(value) is not dict and not isinstance(value, Mapping):
            return None
        if list(value) != self.keys:
            return None
        if not self.inner:
            return () if self.take is None else self.take(value)
        found = [] if self.take is None else list(self.take(value))
        for key, shape in self.inner:
            more = shape.values(value[key])
            if more is None:
                return None
            found += more
        return found


def _values_of_objects(shape: _Shape) -> _Values:
    """The same where all objects in an object are of one level, by fewer and larger steps."""
    keys, take = shape.keys, shape.take
    objects = itemgetter(*(key for key, _ in shape.inner))
    all_keys = [each.keys for _, each in shape.inner]
    featured = sum(each.take is not None for _, each in shape.inner)
    one_by_one, values_of = shape._values, dict.values

    def values(value: Any) -> Iterable[Any] | None:
        if type(value) is not dict or list(value) != keys:
            return one_by_one(value)
        inner = objects(value)
        try:
            if list(map(list, inner)) != all_keys:
                return None
            found = [] if take is None else list(take(value))
            for each in inner[:featured]:
                found += values_of(each)
        except TypeError:  # one of them is no dictionary
            return one_by_one(value)
        return found

    return values


class _List(_Shape):
    """A list of so many numbers, as a part of a `_Shape`: all of its values are features."""

    def __init__(self, field: _Field, count: int) -> None:
        self.keys = []
        self.inner = []
        self.take = None  # it has no members to choose from
        self.names = place_names(field.name, count)
        self.text = field.rule == "numeric"
        self.whole = True
        self.values = self._values

    def _values(self, value: Any) -> Iterable[Any] | None:
        """The numbers, or None if it is no such list."""
        return value if type(value) is list and len(value) == len(self.names) else None


class Fields:
    """The fields of records as features.

    Parameters
    ----------
    rules
        Kinds by flattened name, as `mapping_fields` has them.
    default
        Of all others.
    hidden
        Steps from the root to what is no feature: id, labels, time.
    strict
        Whether a field without a kind of its own makes an event malformed.
    options, separators, unit
        Of texts; of sets that come as one text, by name; of times.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        default: Rule = "auto",
        hidden: Collection[tuple[str, ...]] = (),
        options: TextOptions = TextOptions(),  # noqa: B008 (it does not change)
        separators: Mapping[str, str] | None = None,
        unit: str = "auto",
        *,
        strict: bool = False,
    ) -> None:
        self._rules = dict(rules)
        self._default = default
        self._hidden = frozenset(hidden)
        self._options = options
        self._separators = dict(separators or {})
        self._unit = unit
        self._strict = strict
        self._above = {
            name[:at] for name in rules for at in range(len(name)) if name[at] == "."
        }  # names with a rule below them
        self._shape: _Shape | None = None
        self._begin()

    def _begin(self) -> None:
        self._root = _Field("", self._default, None, skip=False)
        self._remembered = 0
        self._shape = None
        self._memory = WordMemory()

    def read(self, data: Mapping[str, Any], extra: dict[str, Any] | None = None) -> Features:
        """The features of one record.

        Parameters
        ----------
        data
            The object whose members are the fields.
        extra
            Features that come from elsewhere; they are taken over.

        Raises
        ------
        MalformedEventError
            Of kind ``field-value``, ``unknown-field`` or ``too-deep``.
        """
        if not extra:
            row = self.row(data)
            if row is not None:
                return row
        if self._remembered >= _REMEMBERED:
            self._begin()
        into: dict[str, Any] = {} if extra is None else extra
        only_numbers = self._walk(self._root, (), data, into)
        # Names that are in the object twice, as "a.b" and as "b" in "a", are no shape.
        if only_numbers and not extra and into and _OR_MISSING.issuperset(map(type, into.values())):
            shape = _Shape(self._root, data)
            if shape.whole and len(shape.names) == len(into):
                self._shape = shape
        return into

    def row(self, data: Any) -> Row | None:
        """The features of a record that has the shape of the one before it; None: it has not."""
        shape = self._shape
        if shape is None:
            return None
        values = shape.values(data)
        if values is None:
            return None
        # Packing takes numbers and booleans only, and is the fastest way to look at them.
        try:
            packed = shape.pack(*values)
        except (struct.error, OverflowError):
            return _slow_row(shape, shape.values(data) or ())
        # As `Row` does it, without its call.
        return tuple.__new__(Row, (shape.names, np.frombuffer(packed, np.float64), None))

    def any_in(self, data: Mapping[str, Any], *, valued: bool) -> bool:
        """Whether there is any field that would be a feature; `valued`: and has a value."""
        return self._any(self._root, (), data, valued=valued)

    def put(self, name: str, value: Any, into: dict[str, Any]) -> None:
        """One more field, which lies elsewhere, by its full name."""
        field = self._root.inner.get(name)
        if field is None:
            field = self._grow(self._root, (name,), name)
        if field.put is not None:
            field.put(into, value)

    def texts(self, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Names of the fields of kind text in a record that is well-formed, and what they say."""
        yield from self._texts(self._root, (), data)

    def _texts(
        self, node: _Field, steps: tuple[str, ...], value: Mapping[str, Any]
    ) -> Iterator[tuple[str, str]]:
        for key, field, each in self._members(node, steps, value):
            if isinstance(each, Mapping):
                yield from self._texts(field, (*steps, key), each)
            elif field.put is not None and field.rule == "text" and each is not None:
                yield field.name, each if type(each) is str else "\n".join(each)

    def _members(
        self, node: _Field, steps: tuple[str, ...], value: Mapping[str, Any]
    ) -> Iterator[tuple[str, _Field, Any]]:
        """An object's members that are not skipped; `_walk`, which is hot, has its own loop."""
        for key, each in value.items():
            field = node.inner.get(key)
            if field is None:
                field = self._grow(node, (*steps, key), key)
            if not field.skip:
                yield key, field, each

    def _walk(
        self, node: _Field, steps: tuple[str, ...], value: Mapping[str, Any], into: dict[str, Any]
    ) -> bool:
        """Put all fields of an object into the features; whether all of them may be numbers."""
        inner, only_numbers = node.inner, True
        for key, each in value.items():
            field = inner.get(key)
            if field is None:
                field = self._grow(node, (*steps, key), key)
            if field.skip:
                continue
            if type(each) is dict or isinstance(each, Mapping):
                if len(steps) >= MAX_DEPTH:
                    raise malformed(
                        "too-deep",
                        f"{shown_name(field.name)}: found an object {MAX_DEPTH + 1} deep, accepted:"
                        f" {MAX_DEPTH} at most",
                    )
                only_numbers &= self._walk(field, (*steps, key), each, into)
            elif field.put is not None:
                field.put(into, each)
                only_numbers &= field.rule in ("numeric", "auto")
        return only_numbers

    def _any(
        self, node: _Field, steps: tuple[str, ...], value: Mapping[str, Any], *, valued: bool
    ) -> bool:
        for key, field, each in self._members(node, steps, value):
            if isinstance(each, Mapping):
                if self._any(field, (*steps, key), each, valued=valued):
                    return True
            elif field.put is not None and not (valued and _is_nothing(each)):
                return True
        return False

    def _grow(self, node: _Field, steps: tuple[str, ...], key: str) -> _Field:
        """Find out what a name means that has not come before."""
        name = ".".join(steps)
        rule = self._rule_of(name)
        if self._strict and rule is None and steps not in self._hidden and not self._within(steps):
            raise malformed(
                "unknown-field",
                f"{shown_name(name)}: a field without a kind, accepted: those in [mapping.fields]"
                " (strict is set)",
            )
        kind: Rule = self._default if rule is None else rule
        hidden = steps in self._hidden
        separator = self._separators.get(name, "")
        put = (
            None
            if hidden
            else putter(name, kind, self._options, separator, self._unit, self._memory)
        )
        skip = hidden or (kind == "ignore" and name not in self._above)
        field = _Field(name, kind, put, skip=skip)
        node.inner[key] = field
        self._remembered += 1
        return field

    def _within(self, steps: tuple[str, ...]) -> bool:
        """Whether something named lies below: then this is but the way to it."""
        name = ".".join(steps)
        return name in self._above or any(hidden[: len(steps)] == steps for hidden in self._hidden)

    def _rule_of(self, name: str) -> Rule | None:
        """The rule of the longest name that `name` is or lies below."""
        while True:
            rule = self._rules.get(name)
            if rule is not None:
                return rule
            head, dot, _ = name.rpartition(".")
            if not dot:
                return None
            name = head


def _is_nothing(value: Any) -> bool:
    """Whether a field's value is none: null, an empty text, a list of nothing but null."""
    if type(value) is list:
        return bool(value) and all(item is None for item in value)
    return value is None or bool(value == "")


def _slow_row(shape: _Shape, found: Iterable[Any]) -> Row | None:
    """A row in which numbers are missing, or come as text; None: in which there are others."""
    values = tuple(found)
    types = set(map(type, values))
    try:
        if types <= _OR_MISSING:
            return Row(shape.names, np.array(values, dtype=np.float64))
        if shape.text and types == _TEXTS and "_" not in "".join(values):
            numbers: FloatArray = np.fromiter(map(float, values), np.float64, len(values))
            return Row(shape.names, numbers)
    except (ValueError, OverflowError):
        pass
    return None


def _taker(own: Sequence[tuple[int, str]], n_keys: int) -> _Take | None:
    """Takes the values of some of an object's keys, which are given with their places."""
    if not own:
        return None
    first, last = own[0][0], own[-1][0] + 1
    if len(own) == n_keys:
        return _ALL
    if last - first == len(own):  # one after the other, as they mostly are
        return lambda value: tuple(value.values())[first:last]
    if len(own) == 1:
        key = own[0][1]
        return lambda value: (value[key],)
    return itemgetter(*(key for _, key in own))
