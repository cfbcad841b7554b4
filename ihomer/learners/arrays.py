"""Helpers for states that are named tuples of arrays: their size, and a copy into bigger ones."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

State = TypeVar("State", bound=tuple[Any, ...])


def nbytes(state: tuple[Any, ...]) -> int:
    """Bytes held by the arrays of `state`."""
    return sum([array.nbytes for array in state])


def grown(old: State, new: State) -> State:
    """`new`, whose arrays are at least as large on every axis, with `old` in their first corner."""
    for source, target in zip(old, new, strict=True):
        if source.ndim == 1:
            target[: len(source)] = source
        elif source.size:
            target[tuple([slice(0, length) for length in source.shape])] = source
    return new


def folded_columns(array: NDArray[Any], columns: int, add: np.ufunc = np.add) -> NDArray[Any]:
    """The first `columns` rows of `array`, with those behind added to them, modulo `columns`."""
    out = array[:columns].copy()
    for first in range(columns, len(array), columns):
        part = array[first : first + columns]
        add(out[: len(part)], part, out=out[: len(part)])
    return out


def zeros_together(**axes: tuple[tuple[int, ...], type[np.generic]]) -> dict[str, NDArray[Any]]:
    """Arrays of zeros by name, cut from one piece: memory not touched yet then costs nothing.

    Parameters
    ----------
    **axes
        Shape and type of each.
    """
    # Each begins at a multiple of 64 bytes, the width of vectors and of cache lines.
    sizes = [math.prod(shape) * np.dtype(kind).itemsize for shape, kind in axes.values()]
    rooms = [-(-size // 64) * 64 for size in sizes]
    piece = np.zeros(sum(rooms) // 8 + 8).view(np.uint8)
    at = -piece.ctypes.data % 64
    found = {}
    for (name, (shape, kind)), size, room in zip(axes.items(), sizes, rooms, strict=True):
        found[name] = piece[at : at + size].view(kind).reshape(shape)
        at += room
    return found


def begin_like(new: tuple[Any, ...], old: tuple[Any, ...]) -> None:
    """Copy what `old` and `new` have in common: whole arrays, or their first corner."""
    for source, target in zip(old, new, strict=True):
        corner = tuple(slice(0, min(a, b)) for a, b in zip(source.shape, target.shape, strict=True))
        target[corner] = source[corner]
