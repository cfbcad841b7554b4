"""ARFF: what a header may hold, and where labels are declared."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ihomer.connectors.files.arff_source import ArffSource
from ihomer.errors import InputError
from tests.arff_files import arff, events

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
