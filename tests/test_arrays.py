"""States that are named tuples of arrays: their size, and copies into bigger and smaller ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.learners.arrays import begin_like, grown, nbytes, zeros_together

LENGTH = st.integers(0, 4)


class Pair(NamedTuple):
    line: npt.NDArray[np.float64]
    table: npt.NDArray[np.int32]


def pair(length: int, width: int, value: int) -> Pair:
    return Pair(np.full(length, float(value)), np.full((length, width), value, dtype=np.int32))


@given(length=LENGTH, width=LENGTH, more=LENGTH, wider=LENGTH)
def test_grown_keeps_the_old_in_the_first_corner(
    length: int, width: int, more: int, wider: int
) -> None:
    new = pair(length + more, width + wider, 2)
    found = grown(pair(length, width, 1), new)
    assert found is new
    assert found.line.tolist() == [1.0] * length + [2.0] * more
    assert (found.table[:length, :width] == 1).all()
    assert (found.table == 1).sum() == length * width


def test_arrays_do_not_shrink() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        grown(pair(3, 2, 1), pair(2, 2, 0))
    with pytest.raises(ValueError, match="shorter"):
        grown((np.zeros(1), np.zeros(1)), (np.zeros(1),))


@given(a=LENGTH, b=LENGTH, c=LENGTH, d=LENGTH)
def test_begin_like_copies_what_both_have(a: int, b: int, c: int, d: int) -> None:
    old, new = pair(a, b, 1), pair(c, d, 2)
    begin_like(new, old)
    assert new.line.tolist() == [1.0] * min(a, c) + [2.0] * (c - min(a, c))
    assert (new.table[: min(a, c), : min(b, d)] == 1).all()
    assert (new.table == 1).sum() == min(a, c) * min(b, d)
    assert (old.table == 1).all()


def test_sizes_add_up() -> None:
    assert nbytes(pair(3, 2, 0)) == 3 * 8 + 3 * 2 * 4
    assert nbytes(()) == 0


@given(rows=LENGTH, columns=LENGTH)
def test_arrays_cut_from_one_piece_do_not_touch_each_other(rows: int, columns: int) -> None:
    found = zeros_together(
        line=((rows,), np.float64), table=((rows, columns), np.int32), end=((3,), np.float32)
    )
    assert [found[name].shape for name in ("line", "table", "end")] == [
        (rows,),
        (rows, columns),
        (3,),
    ]
    assert [array.dtype for array in found.values()] == [np.float64, np.int32, np.float32]
    for array in found.values():
        assert not array.size or array.ctypes.data % 64 == 0
        assert array.flags.c_contiguous
        assert not array.any()
        array[...] = 1
        assert sum(int(other.sum()) for other in found.values()) == array.size
        array[...] = 0
