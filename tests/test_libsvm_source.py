"""libsvm and XMC as events: numbers or names, headers, faults by line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.connectors.base import Record
from ihomer.connectors.files.libsvm_source import LibsvmSource, read_names
from ihomer.connectors.uri import open_source
from ihomer.errors import InputError, UsageError
from ihomer.instances import Event
from tests.sources import assert_resumes_anywhere, drain


def made(folder: Path, data: bytes, *, xmc: bool = False, **options: Any) -> LibsvmSource:
    path = folder / ("a.xmc" if xmc else "a.libsvm")
    path.write_bytes(data)
    return LibsvmSource(str(path), xmc=xmc, **options)


def events(records: list[Record]) -> list[tuple[Any, Any, Any]]:
    found = []
    for record in records:
        assert isinstance(record.value, Event), record
        assert record.value.id == record.offset
        found.append((record.offset, record.value.x, record.value.on))
    return found


def test_a_line_is_labels_and_numbered_features(tmp_path: Path) -> None:
    data = (
        b"\xef\xbb\xbf1,3 5:0.2 7:1.0\r\n\n# a comment\n 2:-1e-3 4:+2\t6:.5  # none is on\n"
        b"3:1\n+1 1:0\n-1"
    )
    found = events(assert_resumes_anywhere(lambda: made(tmp_path, data)))
    assert found == [
        (1, {"5": 0.2, "7": 1.0}, ["1", "3"]),
        (4, {"2": -0.001, "4": 2.0, "6": 0.5}, []),
        (5, {"3": 1.0}, []),
        (6, {"1": 0.0}, ["+1"]),
        (7, {}, ["-1"]),
    ]


def test_a_missing_value_is_not_a_number(tmp_path: Path) -> None:
    source = made(tmp_path, b"0 9:nan 8:1\n")
    ((_, x, on),) = events(drain(source))
    source.close()
    assert (on, list(x)) == (["0"], ["9", "8"])
    assert math.isnan(x["9"])


@given(
    st.lists(
        st.tuples(
            st.sets(st.integers(0, 99), max_size=3),
            st.dictionaries(st.integers(0, 10**6), st.floats(-1e9, 1e9), min_size=1, max_size=4),
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    points: list[tuple[set[int], dict[int, float]]],
    xmc: bool,
) -> None:
    lines = [
        ",".join(map(str, sorted(on))) + " " + " ".join(f"{i}:{v!r}" for i, v in x.items())
        for on, x in points
    ]
    head = [f"{len(points)} 1000001 100"] if xmc else []
    source = made(tmp_path_factory.mktemp("s"), "\n".join([*head, *lines]).encode(), xmc=xmc)
    assert [(x, on) for _, x, on in events(drain(source))] == [
        ({str(i): v for i, v in x.items()}, [str(label) for label in sorted(on)])
        for on, x in points
    ]
    source.close()


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        (b"1 5", "libsvm-value", "found '5', accepted: a feature's number, a colon"),
        (b"1 5:", "libsvm-value", "found '5:'"),
        (b"1 5:one", "libsvm-value", "found '5:one'"),
        (b"1 5:inf", "libsvm-value", "a finite number"),
        (b"1 5:1:2", "libsvm-value", "found '5:1:2'"),
        (b"1 05:1", "libsvm-value", "found '05:1', accepted: labels with commas"),
        (b"1 qid:3 5:1", "libsvm-value", "found 'qid:3'"),
        (b"1 -5:1", "libsvm-value", "found '-5:1'"),
        (b"1 5:1 5:2", "libsvm-value", "found feature 5 twice, accepted: once"),
        (b"1,,2 5:1", "libsvm-label", "found '1,,2'"),
        (b"1,2,1 5:1", "libsvm-label", "found a label twice in '1,2,1'"),
        (b"1 5:1_0", "libsvm", "found '1 5:1_0', accepted: labels with commas"),
        (b"1 5:\xd9\xa1", "libsvm", "accepted: labels with commas"),
        (b'{"x": {}}', "libsvm", "found '{"),
        (b"1 " + b"5:1 " * 100, "libsvm-value", "twice"),
    ],
)
def test_a_line_that_is_none_is_a_fault(tmp_path: Path, line: bytes, kind: str, words: str) -> None:
    data = b"1 1:1\n" + line + b"\n2 2:2\n"
    first, bad, last = assert_resumes_anywhere(lambda: made(tmp_path, data))
    assert (first.fault, last.fault) == (None, None)
    assert bad.value == line
    assert bad.fault is not None
    assert (bad.fault.stage, bad.fault.kind) == ("parse", kind)
    assert str(bad.fault).startswith("line 2: ")
    assert words in str(bad.fault)


def test_a_line_over_the_bound_is_a_fault(tmp_path: Path) -> None:
    first, long, last = assert_resumes_anywhere(
        lambda: made(tmp_path, b"1 1:1\n1" + b" 2:1" * 99 + b"\n2 2:2\n", max_line_bytes=100)
    )
    assert long.fault is not None
    assert long.fault.kind == "oversized"
    assert isinstance(first.value, Event)
    assert isinstance(last.value, Event)


def test_the_first_line_of_xmc_says_how_much_there_is(tmp_path: Path) -> None:
    data = b"3 10 4\n0,3 9:1\n\n 0:2\n"
    source = made(tmp_path, data, xmc=True)
    assert (source.length, source.n_attributes) == (3, 10)
    assert events(drain(source)) == [(2, {"9": 1.0}, ["0", "3"]), (4, {"0": 2.0}, [])]
    source.close()
    assert_resumes_anywhere(lambda: made(tmp_path, data, xmc=True))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"0 10:1", "line 2: found feature 10, accepted: 0 to 9"),
        (b"4 1:1", "line 2: found label 4, accepted: 0 to 3"),
        (b"+1 1:1", "line 2: found '+1', accepted: labels with commas"),
    ],
)
def test_numbers_of_xmc_are_bounded(tmp_path: Path, line: bytes, words: str) -> None:
    source = made(tmp_path, b"1 10 4\n" + line + b"\n", xmc=True)
    (record,) = drain(source)
    source.close()
    assert record.fault is not None
    assert words in str(record.fault)


@pytest.mark.parametrize("head", [b"", b"1 1:1\n", b"1 2\n", b"1 2 x\n", b"1 2 3 4\n", b"-1 2 3\n"])
def test_a_first_line_that_is_none_is_refused(tmp_path: Path, head: bytes) -> None:
    with pytest.raises(InputError, match=r"a\.xmc: line 1: found .*, accepted: points, features"):
        made(tmp_path, head, xmc=True)


def test_a_file_of_xmc_that_is_cut_off_is_found_out(tmp_path: Path) -> None:
    source = made(tmp_path, b"3 10 4\n0 1:1\n1 1:1\n", xmc=True)
    with pytest.raises(InputError, match="found 2 points, accepted: 3, as line 1 says"):
        drain(source)
    source.close()


def test_names_beside_the_file_or_in_the_uri_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.libsvm"
    path.write_bytes(b"0,1 1:2\n")
    (tmp_path / "words.txt").write_bytes("\ufeffé t\r\nball\r\n".encode())
    (tmp_path / "a.labels.txt").write_bytes(b"news\nsport\n")
    for uri, x in ((str(path), {"1": 2.0}), (f"{path}?feature_names={tmp_path}/words.txt", None)):
        source = open_source(uri)
        assert source.labels == ("news", "sport")
        (record,) = drain(source)
        assert events([record]) == [(1, x or {"ball": 2.0}, ["news", "sport"])]
        assert source.features == (() if x else ("é t", "ball"))
        source.close()
    path.write_bytes(b"2 1:2\n")
    source = open_source(str(path))
    (record,) = drain(source)
    source.close()
    assert "found label 2, accepted: 0 to 1" in str(record.fault)
    (tmp_path / "a.xmc").write_bytes(b"1 2 3\n")
    with pytest.raises(InputError, match="found 2 names, accepted: 3, the labels in line 1"):
        open_source(str(tmp_path / "a.xmc"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a\nb\na\n", "line 3: found 'a', as in line 1, accepted: different names"),
        (b"a\n\nb\n", "line 2: found no name"),
        (b"a\n\xff\n", "byte 2: found no UTF-8"),
        (None, "no such file"),
    ],
)
def test_names_that_are_none_are_refused(tmp_path: Path, data: bytes | None, words: str) -> None:
    path = tmp_path / "names.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_names(str(path))


def test_a_uri_names_the_format(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(b"1 2 2\n0 1:1\n")
    source = open_source(f"{tmp_path / 'train.txt'}?format=xmc")
    assert source.length == 1
    source.close()
    with pytest.raises(UsageError, match="delimiter for XMC, accepted: format, feature_names"):
        open_source(f"{tmp_path / 'train.txt'}?format=xmc&delimiter=;")
