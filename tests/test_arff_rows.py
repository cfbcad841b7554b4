"""ARFF: what values mean, which rows are bad, the fast way and the careful one."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.connectors.base import Record
from ihomer.connectors.files import arff_source
from ihomer.connectors.files.reader import Line
from ihomer.instances import Event, Row
from tests.arff_files import NUMBERS, arff, event, events, rows
from tests.sources import drain, plain

RED = {"c=red": 1.0}


@pytest.mark.parametrize(
    ("line", "x", "on"),
    [
        ("1,0,2.5,1,red", {"a": 2.5, "b": 1.0} | RED, ["y"]),
        (" 1 ,\t1 , -2e-1 , 0 , red ", {"a": -0.2} | RED, ["y", "z"]),
        ("0,0,0,0,'dark blue'", {"c=dark blue": 1.0}, []),
        ('0,0,"7","1","dark blue"', {"a": 7.0, "b": 1.0, "c=dark blue": 1.0}, []),
        ("0,0,0,0,dark blue", {"c=dark blue": 1.0}, []),
        ("0,1,7,0,green % remark, 9", {"a": 7.0, "c=green": 1.0}, ["z"]),
        ("0,1,7,0,'dark blue'% remark", {"a": 7.0, "c=dark blue": 1.0}, ["z"]),
        ("0 1\t7 0 green", {"a": 7.0, "c=green": 1.0}, ["z"]),
        ("1.0,0.0,7.,+1,red", {"a": 7.0, "b": 1.0} | RED, ["y"]),
        ("?,?,7,0,red", {"a": 7.0} | RED, None),
        ("{}", RED, []),
        ("{ }", RED, []),
        ("{0 1,2 2.5,3 1,4 green}", {"a": 2.5, "b": 1.0, "c=green": 1.0}, ["y"]),
        ("{ 0 1 ,\t2  2.5 , 4 'dark blue' } % remark", {"a": 2.5, "c=dark blue": 1.0}, ["y"]),
        ("{4 red,2 5,1 1}", {"a": 5.0} | RED, ["z"]),
        ("{0 0,2 0,3 0}", RED, []),
        ("{0 ?,1 ?,2 7}", {"a": 7.0} | RED, None),
    ],
)
def test_what_values_mean(
    tmp_path: Path, line: str, x: dict[str, float], on: list[str] | None
) -> None:
    assert events(rows(tmp_path, line)) == [(8, x, on)]


@pytest.mark.parametrize("line", ["1,0,?,?,?", "{0 1,2 ?,3 ?,4 ?}", "1,0,NaN,nan,?", "1 0 ? ? ?"])
def test_what_is_missing_is_nan(tmp_path: Path, line: str) -> None:
    ((_, x, on),) = events(rows(tmp_path, line))
    assert list(x) == ["a", "b", "c=red", "c=green", "c=dark blue"]
    assert all(math.isnan(value) for value in x.values())
    assert on == ["y"]


def test_what_a_sparse_row_leaves_out_is_the_first_value(tmp_path: Path) -> None:
    source = arff(
        tmp_path,
        "@relation ': -C 2'\n@attribute y {1,0}\n@attribute z {0,1}\n@attribute b {1,0}\n"
        "@attribute c {x,y}\n@attribute d {1}\n@attribute e {0,1}\n@data\n"
        "{}\n{0 0,1 1,2 0,3 y,5 1}\n1,0,1,x,1,0\n",
    )
    everything = {"b": 1.0, "c=x": 1.0, "d": 1.0}
    assert events(source) == [
        (9, everything, ["y"]),
        (10, {"c=y": 1.0, "d": 1.0, "e": 1.0}, ["z"]),
        (11, everything, ["y"]),
    ]


def test_the_rows_share_one_tuple_of_names(tmp_path: Path) -> None:
    source = rows(tmp_path, "1,0,1,1,red", "{0 1}", "1,0,'1',1,red")
    for record in drain(source):
        assert isinstance(record.value, Event)
        assert isinstance(record.value.x, Row)
        assert record.value.x.names is source.features
        assert record.value.off == ()
    source.close()


FAULTS = [
    ("1,0,2,1", "arff-count", ["'c' has no value", "found 4 values, accepted: 5"]),
    ("1,0,2,1,red,", "arff-count", ["found 6 values"]),
    ("1,0,2,1,red,{5}", "arff-count", ["found 6 values"]),
    ("1", "arff-count", ["'z' has no value", "found 1 values"]),
    ("1,0,,1,red", "arff-value", ["'a'", "found ''", "a finite number or ?"]),
    ("1,0,x,1,red", "arff-value", ["'a'", "found 'x'"]),
    ("1,0,1_0,1,red", "arff-value", ["'a'", "'1_0'"]),
    ("1,0,٣,1,red", "arff-value", ["'a'"]),
    ("1,0,0x1F,1,red", "arff-value", ["'a'"]),
    ("1,0,inf,1,red", "arff-value", ["'a'", "'inf'"]),
    ("1,0,-Infinity,1,red", "arff-value", ["'a'"]),
    ("1,0,1e999,1,red", "arff-value", ["'a'", "'1e999'"]),
    ("1,0,1 2,1,red", "arff-value", ["'a'", "'1 2'"]),
    ("1,0,'?',1,red", "arff-value", ["'a'"]),
    (f"1,0,{'9x' * 99},1,red", "arff-value", ["'a'", "9x9..."]),
    ("1,0,2,2,red", "arff-value", ["'b'", "found '2'", "0, 1 or ?"]),
    ("1,0,2,red,red", "arff-value", ["'b'", "found 'red'"]),
    ("1,0,2,1,blue", "arff-value", ["'c'", "found 'blue'", "'red', 'green', 'dark blue' or ?"]),
    ("1,0,2,1,Red", "arff-value", ["'c'"]),
    ("1,0,2,1,1", "arff-value", ["'c'"]),
    ("2,0,2,1,red", "arff-label", ["'y', a label", "found '2'", "0 or 1"]),
    ("0,yes,2,1,red", "arff-label", ["'z', a label", "found 'yes'"]),
    ("?,1,2,1,red", "arff-label", ["'y', a label", "? for all labels"]),
    ("1,0,2,1,'red'x", "arff-syntax", ["after a quoted value"]),
    ("1,0,2,1,'red", "arff-value", ["'c'"]),
    ("{0 1", "arff-syntax", ["the end of the line", "closing brace"]),
    ("{0 1,}", "arff-syntax", ["accepted: {position value, ...}"]),
    ("{0}", "arff-syntax", ["accepted: {position value, ...}"]),
    ("{0 1 2 5}", "arff-label", ["'y'", "'1 2 5'"]),
    ("{2 ,3 1}", "arff-value", ["'a'", "found ''"]),
    ("{,}", "arff-syntax", ["{position value"]),
    ("{x 1}", "arff-syntax", ["'x' as a position"]),
    ("{-1 1}", "arff-syntax", ["'-1' as a position"]),
    ("{1e0 1}", "arff-syntax", ["'1e0' as a position"]),
    ("{+1 1}", "arff-syntax", ["'+1' as a position"]),
    ("{5 1}", "arff-index", ["found position 5", "0 to 4"]),
    ("{99999999999999999999 1}", "arff-index", ["accepted: 0 to 4"]),
    ("{2 1,2 1}", "arff-index", ["'a'", "position 2 twice"]),
    ("{2 inf}", "arff-value", ["'a'"]),
    ("{0 2}", "arff-label", ["'y'"]),
    ("{0 ?}", "arff-label", ["'y'"]),
    ("{3 2}", "arff-value", ["'b'"]),
    ("{4 'red' 5}", "arff-syntax", ["closing brace"]),
    ("{4 red}, {5}", "arff-syntax", ["after the closing brace"]),
    ("{4 red} x", "arff-syntax", ["after the closing brace", "'x'"]),
    ("@data", "arff-count", ["found 1 values"]),
    ("\x00", "arff-count", ["found 1 values"]),
]


@pytest.mark.parametrize(("line", "kind", "words"), FAULTS, ids=[repr(f[0])[:30] for f in FAULTS])
def test_a_bad_row_is_told_and_the_stream_goes_on(
    tmp_path: Path, line: str, kind: str, words: list[str]
) -> None:
    good = "1,0,2.5,1,red"
    source = rows(tmp_path, good, line, good)
    before, bad, after = drain(source)
    source.close()
    assert event(before)[1:] == event(after)[1:]
    assert [record.offset for record in (before, bad, after)] == [8, 9, 10]
    assert bad.value == line.encode()
    assert bad.fault is not None
    assert (bad.fault.stage, bad.fault.kind) == ("parse", kind)
    assert str(bad.fault).startswith("line 9: ")
    assert "\n" not in str(bad.fault)
    for word in words:
        assert word in str(bad.fault)


FRAGMENTS = [
    "0",
    "1",
    "2",
    "4",
    "5",
    "-1",
    "1.0",
    "2.5e-1",
    "?",
    "x",
    "1_0",
    "inf",
    "00",
    " ",
    "\t",
]
FRAGMENTS += [",", ",", ",", " ", " ", "{", "}", "'", '"', "%", "\\", "é", "\x0b", "\x1c", "\xa0"]


def test_bytes_of_an_unknown_kind_are_a_fault_not_a_crash(tmp_path: Path) -> None:
    source = arff(
        tmp_path, (NUMBERS + "@data\n").encode() + b"\xff\xfe\x00,1\n{0 \xff}\n1,0,1,1,1\n"
    )
    records = drain(source)
    source.close()
    assert [record.fault is None for record in records] == [False, False, True]


@st.composite
def raw_line(draw: st.DrawFn) -> str:
    """A row that may be right, nearly right or nothing at all."""
    if draw(st.booleans()):
        return "".join(draw(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=14)))
    value = st.sampled_from(["0", "1", "1", "0", "0.5", "?", " 1", "1 ", "1.0", "2", "1e0", "-0"])
    if draw(st.booleans()):
        return ",".join(draw(st.lists(value, min_size=5, max_size=5)))
    columns = draw(st.lists(st.integers(0, 5), max_size=4, unique=draw(st.booleans())))
    if draw(st.booleans()):
        columns.sort()
    gap = draw(st.sampled_from([",", ", ", " ,", ",\t"]))
    pairs = [f"{column}{draw(st.sampled_from([' ', '  ']))}{draw(value)}" for column in columns]
    return "{" + gap.join(pairs) + "}"


@settings(max_examples=150, deadline=None)
@given(lines=st.lists(raw_line(), min_size=1, max_size=6), nominal=st.booleans())
def test_the_fast_way_and_the_careful_way_agree(lines: list[str], nominal: bool) -> None:
    header = NUMBERS.replace("@attribute a0 numeric", "@attribute a0 {1,2.5,x,?}", nominal)
    data = header + "@data\n" + "\n".join(lines) + "\n"
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(arff_source, "_CAREFUL_LINES", 1)
        fast = arff(Path(folder), data)
        found = [plain(record) for record in drain(fast, 100)]
        patch.setattr("ihomer.connectors.files.rows.RowParser.parse_plain", lambda *_: None)
        careful = arff(Path(folder), data)
        assert found == [plain(record) for record in drain(careful, 100)]
        fast.close()
        careful.close()


@pytest.mark.parametrize(
    ("lines", "nominal"),
    [
        (["1,0,0.5,1,?", " 1 , 0 ,\t2,0,1 "], False),
        (["1,0,x,1,1", "0,0,2.5,0,?", "0,1,?,1,0"], True),
        (["{}", "{0 1,2 0.5}", "{1 1, 3\t1, 4 ?}"], False),
    ],
)
def test_plain_blocks_go_the_fast_way(tmp_path: Path, lines: list[str], nominal: bool) -> None:
    header = NUMBERS.replace("@attribute a0 numeric", "@attribute a0 {1,2.5,x}", nominal)
    source = arff(tmp_path, header + "@data\n")
    block = [Line(number, line.encode(), False) for number, line in enumerate(lines)]
    found = source._parser.parse_plain(block)
    source.close()
    assert found is not None
    careful = [source._parser.parse(line) for line in block]
    assert [plain(Record(e, "", 0, 0)) for e in found] == [
        plain(Record(e, "", 0, 0)) for e in careful
    ]


@pytest.mark.parametrize(
    "line",
    [
        "{0 1,2 3 4,3}",
        "{ 0,1 1}",
        "{0 1 2 1}",
        "{0 ,1 1 2}",
        "{0 1,,2 1}",
        "{2 1e999}",
        "{2 1}{",
        "{}{2 1}",
        "{2 1,1 0,}",
        "{2 1 }",
        "{02 1}",
        "{2 1,2 1}",
        "{3 1,2 1}",
        "{5 1}",
        "{1 2}",
        "{3 2}",
        "{0 ?}",
        "1,0,1e999,0,1",
        "1,0,1,2,1",
        "1,?,1,1,1",
        "1,0,,1,1",
        "1,0,1 1,1",
        "{1,0,1,1,1}",
    ],
)
def test_the_fast_way_declines_what_is_not_plain(tmp_path: Path, line: str) -> None:
    # Good lines around it: no other line's words may fill up what is missing here.
    source = arff(tmp_path, NUMBERS + "@data\n")
    other = b"{0 1,2 1}" if line.startswith("{") else b"1,0,1,1,1"
    block = [Line(1, other, False), Line(2, line.encode(), False), Line(3, other, False)]
    source.close()
    assert source._parser.parse_plain(block) is None
