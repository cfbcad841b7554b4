"""Whether two states hold the same, bit for bit, and if not, where they differ first.

In: two object graphs of the same classes. Out: the path of the first difference, or None. It is
here because a digest says only that something differs, and counts it as a difference, too, whether
two equal arrays are one object (in a process that has made them) or two (in one that has loaded
them).
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np


def first_difference(one: object, other: object, path: str = "") -> str | None:
    """Where the two differ first, as a path with both values; None: nowhere.

    Examples
    --------
    >>> first_difference({"a": [1, 2.0]}, {"a": [1, 2.5]})
    "['a'][1]: 2.0 and 2.5"
    >>> first_difference({"a": np.zeros(2)}, {"a": np.zeros(2)}) is None
    True
    """
    return _Walk().compare(one, other, path)


class _Walk:
    def __init__(self) -> None:
        self._met: set[tuple[int, int]] = set()

    def compare(self, one: Any, other: Any, path: str) -> str | None:
        if type(one) is not type(other):
            return f"{path}: {type(one).__name__} and {type(other).__name__}"
        if isinstance(one, np.ndarray):
            same = one.dtype == other.dtype and one.shape == other.shape
            if same and one.tobytes() == other.tobytes():
                return None
            return f"{path}: arrays {one.dtype}{one.shape} and {other.dtype}{other.shape}"
        if isinstance(one, dict):
            if list(one) != list(other):
                return f"{path}: keys"
            return self._all([(f"{path}[{k!r}]", one[k], other[k]) for k in one])
        if isinstance(one, list | tuple | deque):
            if len(one) != len(other):
                return f"{path}: lengths {len(one)} and {len(other)}"
            pairs = zip(one, other, strict=True)
            return self._all([(f"{path}[{i}]", a, b) for i, (a, b) in enumerate(pairs)])
        if isinstance(one, float | np.generic):
            same = np.asarray(one).tobytes() == np.asarray(other).tobytes()
            return None if same else f"{path}: {one!r} and {other!r}"
        if isinstance(one, int | str | bytes | set | frozenset) or one is None:
            return None if one == other else f"{path}: {one!r} and {other!r}"
        if (id(one), id(other)) in self._met:
            return None
        self._met.add((id(one), id(other)))
        return self.compare(one.__getstate__(), other.__getstate__(), f"{path}.")

    def _all(self, parts: list[tuple[str, Any, Any]]) -> str | None:
        return next(filter(None, (self.compare(a, b, path) for path, a, b in parts)), None)
