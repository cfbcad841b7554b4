"""ARFF: the grammar, where labels are declared, what values mean, the public data sets."""

from __future__ import annotations

import gzip
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.connectors.base import Record
from ihomer.connectors.chain import Chain
from ihomer.connectors.files import arff_source
from ihomer.connectors.files.arff import Text, split_dense, split_sparse
from ihomer.connectors.files.arff_source import ArffSource
from ihomer.connectors.files.reader import Line
from ihomer.errors import InputError
from ihomer.instances import Encoder, Event, Row
from tests.data import data_dir
from tests.sources import assert_resumes_anywhere, drain, plain


def arff(folder: Path, text: str | bytes, *, name: str = "set.arff", xml: str = "") -> ArffSource:
    data = text.encode() if isinstance(text, str) else text
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    if xml:
        names = "".join(f'<label name="{label}"/>' for label in xml.split("|"))
        (folder / "set.xml").write_text(f"<labels>{names}</labels>", encoding="utf-8")
    return ArffSource(str(folder / name))


def event(record: Record) -> tuple[int | str, dict[str, float], Sequence[str] | None]:
    """Number, non-zero features and labels of a good record."""
    assert record.fault is None, record.fault
    value = record.value
    assert isinstance(value, Event)
    assert isinstance(value.x, Row)
    assert value.id == record.offset
    names, values, indices = value.x
    where = range(len(names)) if indices is None else indices.tolist()
    assert list(where) == sorted(set(where))
    assert len(values) == len(where)
    found = {names[i]: v for i, v in zip(where, values.tolist(), strict=True) if v != 0}
    return value.id, found, value.on


def events(source: ArffSource) -> list[tuple[int | str, dict[str, float], Sequence[str] | None]]:
    found = [event(record) for record in drain(source)]
    source.close()
    return found


HEADER = """@relation 'two: -C 2'
@attribute y {0,1}
@attribute z {0,1}
@attribute a numeric
@attribute b {0,1}
@attribute c {red,green,'dark blue'}
@data
"""


def rows(folder: Path, *lines: str) -> ArffSource:
    return arff(folder, HEADER + "\n".join(lines) + "\n")


# ---------------------------------------------------------------------------------- the header


def test_a_header_as_untidy_as_they_come(tmp_path: Path) -> None:
    source = arff(
        tmp_path,
        "\ufeff% a comment\n"
        "   % another\n"
        "@RELATION\t'odd: -C -2'   % a third\n"
        "% after the relation\n"
        "\n"
        "  @Attribute 'it\\'s 100\\% \\\"a\\\"'\tNUMERIC\r\n"
        "@ATTRIBUTE \"double 'quoted'\" Real % why not\n"
        "@attribute plain\tinteger\n"
        "@attribute TAG_m\\'usica {0, 1}\n"
        "@attribute glued{x,'a,b}' , \"c\" }  % values\n"
        "@attribute y { 0,1 }\n"
        "@attribute 'z z' numeric\n"
        "@DATA % now\n"
        "1,2,3,1,'a,b}',1,0\n",
    )
    names = ('it\'s 100% "a"', "double 'quoted'", "plain", "TAG_m\\'usica")
    assert source.attributes == (*names, "glued")
    assert source.features == (*names, "glued=x", "glued=a,b}", "glued=c")
    assert source.labels == ("y", "z z")
    assert source.n_attributes == 5
    assert events(source) == [
        (14, dict(zip(names, (1.0, 2.0, 3.0, 1.0), strict=True)) | {"glued=a,b}": 1.0}, ["y"])
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["the file ends without a line @data"]),
        ("@relation r\n@attribute a numeric\n", ["the file ends without a line @data"]),
        ("@relation r\n@data\n", ["line 2:", "@data before any @attribute"]),
        ("@attribute\n@data\n", ["line 1:", "without a name"]),
        ("@attribute a\n@data\n", ["line 1:", "'a'", "accepted: numeric, real, integer"]),
        ("@attribute a number\n@data\n", ["'a'", "'number'"]),
        ("@attribute a STRING\n@data\n", ["'a'", "type STRING", "accepted: numeric"]),
        ("\n@attribute a date 'yyyy'\n@data\n", ["line 2:", "'a'", "type date"]),
        ("@attribute a relational\n@data\n", ["'a'", "type relational"]),
        ("@attribute a {x,y\n@data\n", ["line 1:", "'a'", "no closing brace"]),
        ("@attribute a {'x'y}\n@data\n", ["'a'", "no closing brace"]),
        ("@attribute a { }\n@data\n", ["'a'", "no values"]),
        ("@attribute a {x,y,x}\n@data\n", ["'a'", "'x' is declared twice"]),
        (
            "@attribute a real\n@attribute 'a' real\n@data\n",
            ["line 2:", "'a'", "in line 1 already"],
        ),
        ("@attribute a real\n1,2,3\n", ["line 2:", "found '1,2,3'", "@attribute"]),
        ("@inputs a\n", ["line 1:", "'@inputs a'"]),
        (
            "@attribute a=x real\n@attribute a {x,z}\n@attribute y {0,1}\n@data\n",
            ["'a=x'", "named"],
        ),
    ],
)
def test_a_header_that_is_none(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "set.xml").write_text('<labels><label name="y"/></labels>')
    with pytest.raises(InputError) as caught:
        arff(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/set.arff: ")
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_header_line_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.arff"
    path.write_bytes(b"@relation r\n@attribute " + b"a" * 5000)
    with pytest.raises(InputError, match="line 2: the header line is oversized"):
        ArffSource(str(path), max_line_bytes=1000)


def test_latin_1_is_read_where_it_is_no_utf_8(tmp_path: Path) -> None:
    text = "@relation ': -C 1'\n@attribute é {0,1}\n@attribute c {ü,o}\n@data\n1,ü\n"
    for encoding in ("utf-8", "latin-1"):
        source = arff(tmp_path, text.encode(encoding))
        assert (source.labels, source.features) == (("é",), ("c=ü", "c=o"))
        assert events(source) == [(5, {"c=ü": 1.0}, ["é"])]


# ---------------------------------------------------------------------------------- the labels

PLAIN = """@relation {relation}
@attribute a numeric
@attribute b {{0,1}}
@attribute c {{0,1}}
@attribute d {{x,y}}
@data
1,0,1,x
"""


@pytest.mark.parametrize(
    ("relation", "labels"),
    [
        ("'r: -C 2'", ("a", "b")),
        ("'r: -C -3 -I 0'", None),  # d is no label
        ("'MEDC: -C 2 -I 0-weka.filters.Remove-R1-45_MEDC: -C 45'", ("a", "b")),
        ('"r:\t-C  1"', ("a",)),
        ("r: -C 1", ("a",)),
    ],
)
def test_meka_counts_labels(tmp_path: Path, relation: str, labels: tuple[str, ...] | None) -> None:
    text = PLAIN.format(relation=relation)
    if labels is None:
        with pytest.raises(InputError, match=r"line 5: attribute 'd', a label.*\{x,y\}.*\{0,1\}"):
            arff(tmp_path, text)
        return
    source = arff(tmp_path, text)
    assert source.labels == labels
    source.close()


def test_a_negative_count_takes_the_last(tmp_path: Path) -> None:
    source = arff(
        tmp_path, "@relation ': -C -1'\n@attribute a real\n@attribute y {0,1}\n@data\n2,1"
    )
    assert source.labels == ("y",)
    assert events(source) == [(5, {"a": 2.0}, ["y"])]


@pytest.mark.parametrize("count", ["0", "5", "-5"])
def test_a_count_that_cannot_be_is_refused(tmp_path: Path, count: str) -> None:
    with pytest.raises(InputError, match=f"found -C {count}, accepted: 1 to 4, or -1 to -4"):
        arff(tmp_path, PLAIN.format(relation=f"'r: -C {count}'"))


@pytest.mark.parametrize("relation", ["r", "'r: -c 2'", "weka-C-2", "'r -Cost 2'"])
def test_without_any_word_on_labels_the_ways_to_say_it_are_named(
    tmp_path: Path, relation: str
) -> None:
    with pytest.raises(InputError) as caught:
        arff(tmp_path, PLAIN.format(relation=relation))
    for word in ("set.arff", "?xml=FILE", "MULAN XML", "-C n"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "beside", "found"),
    [
        ("set.arff", ["set.xml"], "set.xml"),
        ("set.ARFF.GZ", ["set.xml"], "set.xml"),
        ("set-train.arff", ["set.xml"], "set.xml"),
        ("set-train.arff.gz", ["set.xml", "set-train.xml"], "set-train.xml"),
        ("my-set-test.arff", ["my.xml", "my-set.xml"], "my-set.xml"),
        ("settrain.arff", ["set.xml"], None),
        ("set-a-b.arff", ["set.xml"], None),
    ],
)
def test_where_the_xml_is_looked_for(
    tmp_path: Path, name: str, beside: list[str], found: str | None
) -> None:
    for each in beside:
        label = "b" if each == found else "c"
        (tmp_path / each).write_text(f'<labels><label name="{label}"/></labels>')
    # The relation's count is stale wherever there is an XML.
    data = PLAIN.format(relation="'r: -C 1'").encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.lower().endswith("z") else data)
    source = ArffSource(str(tmp_path / name))
    assert source.labels == (("b",) if found else ("a",))
    source.close()


def test_the_xml_that_is_named_beats_the_one_beside(tmp_path: Path) -> None:
    (tmp_path / "other.xml").write_text('<labels><label name="c"/><label name="b"/></labels>')
    arff(tmp_path, PLAIN.format(relation="r"), xml="b").close()
    source = ArffSource(str(tmp_path / "set.arff"), xml=str(tmp_path / "other.xml"))
    assert source.labels == ("b", "c")  # the file's order
    source.close()
    with pytest.raises(InputError, match=r"absent\.xml: no such file"):
        ArffSource(str(tmp_path / "set.arff"), xml=str(tmp_path / "absent.xml"))


def test_names_meet_across_notations(tmp_path: Path) -> None:
    source = arff(
        tmp_path,
        "@relation r\n@attribute 'it\\'s' {0,1}\n@attribute m\\'usica {0,1}\n"
        "@attribute b {0,1}\n@data\n1,1,1\n",
        xml="m\\'usica|it's",
    )
    assert source.labels == ("it's", "m\\'usica")
    source.close()
    source = arff(
        tmp_path,
        "@relation r\n@attribute 'm\\'usica' {0,1}\n@attribute b {0,1}\n@data\n",
        xml="m\\'usica",
    )
    assert source.labels == ("m'usica",)
    assert source.next_batch(1, 0.0) is None
    source.close()


@pytest.mark.parametrize(
    ("xml", "labels"),
    [
        (
            (
                b'<?xml version="1.0" encoding="utf-8"?>\n<labels xmlns="http://a.net/labels">\n'
                b'<label name="b"> </label><label name="c"><!-- c --></label></labels>\n'
            ),
            ("b", "c"),
        ),
        (b'<labels><label name="b"><label name="c"/></label></labels>', ("b", "c")),
        (b'\xef\xbb\xbf<m:labels xmlns:m="u"><m:label name="&#99;"/></m:labels>', ("c",)),
    ],
)
def test_mulan_names_labels(tmp_path: Path, xml: bytes, labels: tuple[str, ...]) -> None:
    (tmp_path / "set.xml").write_bytes(xml)
    source = arff(tmp_path, PLAIN.format(relation="r"))
    assert source.labels == labels
    source.close()


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        (b"", "no XML"),
        (b"<labels>", "no XML"),
        (b"<labels></labels>", "found no labels"),
        (b"<labels>\n<label/></labels>", "line 2: a label without a name"),
        (b'<labels><label name="b"/><label name="b"/></labels>', "'b' is named twice"),
        (b'<labels><label name="q"/></labels>', "label 'q' is no attribute of"),
        (b'<!DOCTYPE l [<!ENTITY e "ee">]><l><label name="&e;"/></l>', "entities are not acc"),
    ],
)
def test_an_xml_that_is_none(tmp_path: Path, xml: bytes, words: str) -> None:
    (tmp_path / "set.xml").write_bytes(xml)
    with pytest.raises(InputError, match=words) as caught:
        arff(tmp_path, PLAIN.format(relation="'r: -C 1'"))
    assert str(caught.value).startswith(f"{tmp_path}/set.xml: ")


# ---------------------------------------------------------------------------------- the values

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


# Lines of a set without nominal attributes, which sparse rows go the fast way for.
NUMBERS = "@relation ': -C 2'\n@attribute y {0,1}\n@attribute z numeric\n" + "".join(
    f"@attribute a{i} {'{0,1}' if i % 2 else 'numeric'}\n" for i in range(3)
)
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


# ------------------------------------------------------------------------- written and read back


class Column(NamedTuple):
    name: str
    values: tuple[str, ...]  # empty: numeric


def quoted(text: str) -> str:
    """As Weka writes what is not plain."""
    if text and all(letter.isascii() and letter.isalnum() for letter in text):
        return text
    for letter, written in (
        ("\\", "\\\\"),
        ("'", "\\'"),
        ("\n", "\\n"),
        ("\r", "\\r"),
        ("\t", "\\t"),
    ):
        text = text.replace(letter, written)
    return f"'{text}'"


def written(columns: list[Column], n_labels: int, table: list[list[Any]], *, sparse: bool) -> str:
    """A data set as a tiny writer of our own writes it; None = missing."""
    lines = [f"@relation 'round trip: -C {n_labels}'"]
    for name, values in columns:
        kind = "{" + ",".join(map(quoted, values)) + "}" if values else "numeric"
        lines.append(f"@attribute {quoted(name)} {kind}")
    lines.append("@data")
    for row in table:
        cells: list[str | None] = []
        for column, value in zip(columns, row, strict=True):
            first = column.values[0] if column.values else 0.0
            if sparse and value == first:
                cells.append(None)
            elif value is None:
                cells.append("?")
            else:
                cells.append(quoted(value) if isinstance(value, str) else repr(value))
        if sparse:
            pairs = [f"{i} {cell}" for i, cell in enumerate(cells) if cell is not None]
            lines.append("{" + ",".join(pairs) + "}")
        else:
            lines.append(",".join(cell or "" for cell in cells))
    return "\n".join(lines) + "\n"


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Zl", "Zp"]), min_size=1)
TEXT = TEXT.map(lambda text: text.replace("\x85", "x").replace("\x00", "x"))


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[list[Column], int, list[list[Any]]]:
    n_labels = draw(st.integers(1, 3))
    names = draw(st.lists(TEXT, min_size=n_labels, max_size=n_labels + 5, unique=True))
    # No name can be another's indicator.
    names = [name.replace("=", "-") + str(i) for i, name in enumerate(names)]
    columns = [Column(name, ("0", "1")) for name in names[:n_labels]]
    for name in names[n_labels:]:
        nominal = st.lists(TEXT, min_size=2, max_size=4, unique=True).map(tuple)
        values = draw(st.sampled_from([(), (), ("0", "1")]) | nominal)
        columns.append(Column(name, values))
    table = []
    for _ in range(draw(st.integers(0, 8))):
        row: list[Any] = []
        for i, (_, values) in enumerate(columns):
            value: st.SearchStrategy[Any]
            if values:
                value = st.sampled_from(values)
            else:
                value = st.sampled_from([0.0, 1.0]) | st.floats(
                    allow_nan=False, allow_infinity=False
                )
            row.append(draw(value if i < n_labels else value | st.none()))
        table.append(row)
    return columns, n_labels, table


@settings(max_examples=100, deadline=None)
@given(data=data_sets(), sparse=st.booleans(), zipped=st.booleans(), size=st.integers(1, 9))
def test_what_is_written_is_read_back(
    data: tuple[list[Column], int, list[list[Any]]], sparse: bool, zipped: bool, size: int
) -> None:
    columns, n_labels, table = data
    features = columns[n_labels:]
    text = written(columns, n_labels, table, sparse=sparse)
    with tempfile.TemporaryDirectory() as folder:
        source = arff(Path(folder), text, name="set.arff.gz" if zipped else "set.arff")
        records = drain(source, size)
        source.close()
    assert source.labels == tuple(column.name for column in columns[:n_labels])
    assert source.attributes == tuple(column.name for column in features)
    assert len(records) == len(table)
    for number, (record, row) in enumerate(zip(records, table, strict=True)):
        x: dict[str, float] = {}
        for (name, values), value in zip(features, row[n_labels:], strict=True):
            keys = [name] if set(values) <= {"0", "1"} else [f"{name}={each}" for each in values]
            if value is None:
                x |= dict.fromkeys(keys, math.nan)
            elif len(keys) > 1:
                x[f"{name}={value}"] = 1.0
            else:
                x[name] = float(value)
        expected = {name: repr(value) for name, value in x.items() if value != 0}
        line, found, on = event(record)
        assert line == len(columns) + 3 + number
        assert {name: repr(value) for name, value in found.items()} == expected
        assert on == [columns[i].name for i in range(n_labels) if row[i] == "1"]


@settings(max_examples=100, deadline=None)
@given(values=st.lists(TEXT, min_size=1))
def test_quoted_texts_are_split_as_they_were_joined(values: list[str]) -> None:
    line = [f"'{quoted(value + chr(39))[1:-1]}'" for value in values]
    expected = [Text(value + "'", quoted=True) for value in values]
    assert split_dense(" , ".join(line)) == expected
    pairs = ", ".join(f"{i} {text}" for i, text in enumerate(line))
    assert split_sparse("{" + pairs + " }") == list(enumerate(expected))


# ------------------------------------------------------------------------------ stream behaviour


@pytest.mark.parametrize("name", ["set.arff", "set.arff.gz"])
def test_an_arff_file_resumes_anywhere(tmp_path: Path, name: str) -> None:
    lines = ["1,0,2,1,red", "", "% remark", "{0 1}", "bad", "  ", "{1 1,2 9}\r", "?,?,1,1,?", "%"]
    arff(tmp_path, HEADER + "\n".join(lines), name=name).close()
    records = assert_resumes_anywhere(lambda: ArffSource(str(tmp_path / name)))
    assert [record.offset for record in records] == [8, 11, 12, 14, 15]
    assert [record.fault is None for record in records] == [True, True, False, True, True]


def test_blocks_and_batches_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{{0 1,2 {number}.5}}" if number % 9 else "1,0,3,1,1" for number in range(200)]
    lines[50], lines[120] = "bad", "% remark"
    text = NUMBERS + "@data\n" + "\n".join(lines) + "\n"
    expected = None
    for block_lines, block_bytes, size in ((512, 1 << 18, 1000), (7, 40, 1000), (512, 1 << 18, 3)):
        monkeypatch.setattr(arff_source, "_BLOCK_LINES", block_lines)
        monkeypatch.setattr(arff_source, "_BLOCK_BYTES", block_bytes)
        source = arff(tmp_path, text)
        found = [plain(record) for record in drain(source, size)]
        source.close()
        assert len(found) == 199
        assert expected is None or found == expected
        expected = found


def test_an_oversized_row_is_a_fault(tmp_path: Path) -> None:
    rows(tmp_path, "1,0,2,1,red", "1,0," + "2" * 5000 + ",1,red", "0,0,2,1,red").close()
    source = ArffSource(str(tmp_path / "set.arff"), max_line_bytes=1500)
    good, bad, last = drain(source)
    source.close()
    assert bad.fault is not None
    assert (bad.fault.kind, bad.offset) == ("oversized", 9)
    assert isinstance(bad.value, bytes)
    assert len(bad.value) == 1024
    assert (good.fault, last.fault) == (None, None)


def test_of_a_torn_gzip_file_the_rows_that_are_there_come_first(tmp_path: Path) -> None:
    lines = [f"1,0,{number * 7919 % 1009},1,1" for number in range(2000)]
    data = gzip.compress((NUMBERS + "@data\n" + "\n".join(lines)).encode())
    path = tmp_path / "set.arff.gz"
    path.write_bytes(data[: len(data) // 2])
    source = ArffSource(str(path))
    found: list[Record] = []
    message = ""
    try:
        while (batch := source.next_batch(300, 0.0)) is not None:
            found += batch
    except InputError as error:
        message = str(error)
    source.close()
    assert 100 < len(found) < 1999
    assert message.startswith(f"{path}: line {found[-1].offset + 1}: the gzip data is damaged")


# ------------------------------------------------------------------------------ public data sets

# Events, features, labels, cardinality: as published with the data sets.
STREAMS = [
    ("flags", ["flags"], 194, 19, 7, 3.39),
    ("foodtruck", ["foodtruck"], 407, 21, 12, 2.29),
    ("cal500", ["cal500"], 502, 68, 174, 26.04),
    ("emotions", ["emotions"], 593, 72, 6, 1.87),
    ("birds", ["birds-train", "birds-test"], 645, 260, 19, 1.01),
    ("medical", ["medical"], 978, 1449, 45, 1.25),
    ("enron", ["enron"], 1702, 1001, 53, 3.38),
    ("scene", ["scene-train", "scene-test"], 2407, 294, 6, 1.07),
    ("bibtex", ["bibtex"], 7395, 1836, 159, 2.40),
    ("eukaryotego", ["eukaryotego"], 7766, 12689, 22, 1.15),
    ("delicious", ["delicious"], 16105, 500, 983, 19.02),
    ("20ng", ["20ng"], 19300, 1006, 20, 1.03),
    ("imdb", ["imdb"], 120919, 1001, 28, 2.00),
]


@pytest.mark.parametrize(
    ("files", "n", "features", "labels", "cardinality"),
    [stream[1:] for stream in STREAMS],
    ids=[stream[0] for stream in STREAMS],
)
def test_the_public_data_sets_have_their_published_counts(
    files: list[str], n: int, features: int, labels: int, cardinality: float
) -> None:
    folder = data_dir()
    sources = [ArffSource(str(folder / f"{name}.arff.gz")) for name in files]
    chain = Chain(sources)
    events = positives = 0
    while (batch := chain.next_batch(4096, 0.0)) is not None:
        values = [record.value for record in batch]
        assert all(type(value) is Event for value in values)
        positives += sum(len(value.on or ()) for value in values if isinstance(value, Event))
        events += len(batch)
    chain.close()
    assert [source.n_attributes for source in sources] == [features] * len(files)
    assert len(chain.labels) == labels
    assert events == n
    assert round(positives / events, 2) == cardinality


def test_names_of_delicious_are_taken_as_they_stand() -> None:
    source = ArffSource(str(data_dir() / "delicious.arff.gz"))
    assert "TAG_m\\'usica" in source.labels
    source.close()


def test_birds_encode_with_indicators_of_the_location() -> None:
    source = ArffSource(str(data_dir() / "birds-train.arff.gz"))
    batch = source.next_batch(50, 0.0)
    source.close()
    assert batch is not None
    assert [name for name in source.features if "=" in name][:2] == ["location=2", "location=10"]
    encoder = Encoder(source.labels)
    encoded = encoder.encode([r.value for r in batch if isinstance(r.value, Event)])
    locations = {i for i, name in enumerate(encoder.features.names()) if "location=" in name}
    for t in range(50):
        ids = encoded.indices[encoded.indptr[t] : encoded.indptr[t + 1]]
        assert len(locations.intersection(ids.tolist())) == 1
    assert np.isfinite(encoded.values).all()
