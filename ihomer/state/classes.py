"""Which classes may be in a state, and how they are named.

In: a class or its name. Out: the other one. Only classes of this package count, and none is
imported because a checkpoint names it: whoever loads one has imported what can be in it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum
from types import FunctionType, NoneType
from typing import Any, TypeVar

import numpy as np

from ihomer.state.faults import CheckpointError, StateError

PREFIX = "ihomer."

_Class = TypeVar("_Class", bound=type)

# What never changes, so that a copy of whatever holds it need not copy it. Classes of ours join.
ATOMS: set[type] = {
    NoneType,
    bool,
    int,
    float,
    str,
    bytes,
    *(np.dtype(code).type for code in "?bhilqBHILQefd"),
}


class Plain(tuple[Any, ...]):
    """A tuple of which is known that nothing in it ever changes, however deep.

    It is for states that list what may be many: nobody looks at the items before they are encoded.
    """

    __slots__ = ()


# Classes by what `frozen` has said of them, with their fields in order.
FROZEN: dict[type, tuple[str, ...]] = {}


def frozen(cls: _Class) -> _Class:
    """Declare that instances of a frozen dataclass hold only what never changes.

    Their fields are numbers, strings, bytes, None, enumerations, tuples of these, and other such
    classes. A capture then takes them by reference, and they are encoded when there is time.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @frozen
    ... @dataclass(frozen=True)
    ... class Point:
    ...     x: float
    >>> Point in ATOMS
    True
    """
    if not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise TypeError(f"{cls.__qualname__} is no frozen dataclass")
    FROZEN[cls] = tuple(cls.__dataclass_fields__)  # type: ignore[attr-defined]
    ATOMS.add(cls)
    return cls


def name_of(cls: type) -> str:
    """The name of a class of ours, ``module:class``.

    Raises
    ------
    StateError
        It is another's, or not to be found under its name.
    """
    module, name = cls.__module__, cls.__qualname__
    if not module.startswith(PREFIX) or getattr(sys.modules.get(module), name, None) is not cls:
        raise StateError(
            f"state: found an object of {module}.{name}, accepted: numbers, strings, containers,"
            " numpy arrays, and objects of ihomer's own classes"
        )
    return f"{module}:{name}"


def class_of(name: object, place: str) -> type:
    """The class that `name_of` has named.

    Raises
    ------
    CheckpointError
        It is none of ours, or none that whoever loads this has imported.
    """
    if isinstance(name, str):
        module, _, qualname = name.partition(":")
        found = None
        if module.startswith(PREFIX) and qualname.isidentifier():
            found = vars(sys.modules[module]).get(qualname) if module in sys.modules else None
        if isinstance(found, type) and found.__module__ == module:
            return found
    raise CheckpointError(place, f"the class {name!r}", "a class of ihomer's that a state may hold")


def fields_of(cls: type) -> tuple[str, ...] | None:
    """Names of a named tuple's or a frozen class's fields, or None."""
    if cls in FROZEN:
        return FROZEN[cls]
    if issubclass(cls, tuple):
        fields = getattr(cls, "_fields", None)
        return fields if isinstance(fields, tuple) else None
    return None


def plain_of(cls: type) -> tuple[str, ...]:
    """Attributes that are large lists, sets and mappings of what never changes.

    A class says so by `PLAIN`, because to look at every item would take longer than the copy. What
    is said wrongly comes out when it is encoded, as an error of the writing.
    """
    found = getattr(cls, "PLAIN", ())
    return found if isinstance(found, tuple) else ()


def is_enum(cls: type) -> bool:
    """Whether `cls` is an enumeration; from now on its members count as what never changes."""
    if not issubclass(cls, Enum):
        return False
    ATOMS.add(cls)
    return True


def method_of(cls: type, name: object) -> Callable[..., Any] | None:
    """The plain method of that name, or None; special methods are none."""
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("__"):
        return None
    found = next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)
    ours = isinstance(found, FunctionType) and found.__module__.startswith(PREFIX)
    return found if ours else None
