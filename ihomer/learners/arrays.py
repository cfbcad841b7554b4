"""Helpers for states that are named tuples of arrays: their size, and a copy into bigger ones."""

from __future__ import annotations

from typing import Any, TypeVar

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


def begin_like(new: tuple[Any, ...], old: tuple[Any, ...]) -> None:
    """Copy what `old` and `new` have in common: whole arrays, or their first corner."""
    for source, target in zip(old, new, strict=True):
        corner = tuple(slice(0, min(a, b)) for a, b in zip(source.shape, target.shape, strict=True))
        target[corner] = source[corner]
