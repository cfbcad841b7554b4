"""A catalogue of malformed events: raw bytes and the kind that the decoder must report.

Shared by the tests of the decoder, of the dead letters and of the daemon.
"""

from __future__ import annotations

from typing import NamedTuple

from ihomer.stream.decode import MAX_EVENT_BYTES


class Malformed(NamedTuple):
    """`value` must be refused as `kind`, by a decoder without declared names and not strict.

    `says` is a part of the message.
    """

    name: str
    value: bytes | None
    kind: str
    says: str


def _deep(depth: int) -> bytes:
    return b'{"x": {}, "more": ' + b"[" * depth + b"]" * depth + b"}"


_LONG = b"n" * 1_025

CATALOGUE: tuple[Malformed, ...] = (
    # read
    Malformed("tombstone", None, "tombstone", "no value"),
    Malformed(
        "oversized", b'{"x": {}, "more": "' + b"." * MAX_EVENT_BYTES + b'"}', "oversized", "max_ev"
    ),
    # not JSON
    Malformed("no bytes", b"", "empty", "0 bytes"),
    Malformed("white space", b" \t\r\n", "empty", "4 bytes"),
    Malformed("plain text", b"hello", "not-json", "not JSON"),
    Malformed("cut off", b'{"id": 1, "x": {"a": 1', "not-json", "not JSON"),
    Malformed("single quotes", b"{'x': {'a': 1}}", "not-json", "not JSON"),
    Malformed("trailing comma", b'{"x": {"a": 1,}}', "not-json", "not JSON"),
    Malformed("comment", b'{"x": {}} // none', "not-json", "not JSON"),
    Malformed("trailing text", b'{"x": {}} x', "not-json", "after document"),
    Malformed("two objects in a line", b'{"x": {}} {"x": {}}', "not-json", "after document"),
    Malformed("NaN", b'{"x": {"a": NaN}}', "not-json", "null = missing"),
    Malformed("Infinity", b'{"x": {"a": Infinity}}', "not-json", "null = missing"),
    Malformed("minus Infinity", b'{"x": {"a": -Infinity}}', "not-json", "null = missing"),
    Malformed("too large for a float", b'{"x": {"a": 1e999}}', "not-json", "infinity"),
    Malformed("leading zero", b'{"x": {"a": 01}}', "not-json", "leading zero"),
    Malformed("leading plus", b'{"x": {"a": +1}}', "not-json", "not JSON"),
    Malformed("hexadecimal", b'{"x": {"a": 0x1}}', "not-json", "not JSON"),
    Malformed("control character", b'{"id": "a\nb", "x": {}}', "not-json", "control"),
    Malformed("unknown escape", b'{"id": "\\x41", "x": {}}', "not-json", "not JSON"),
    Malformed("lone surrogate", b'{"id": "\\ud800", "x": {}}', "not-json", "surrogate"),
    Malformed("byte order mark", b'\xef\xbb\xbf{"x": {}}', "not-json", "byte order mark"),
    Malformed("nested too deep", _deep(1_100), "not-json", "depth"),
    Malformed("NUL bytes", b"\0\0\0\0", "not-json", "not JSON"),
    Malformed("Latin-1", b'{"x": {"caf\xe9": 1}}', "not-utf-8", "byte 11"),
    Malformed("UTF-16", '{"x": {}}'.encode("utf-16"), "not-utf-8", "byte 0"),
    Malformed("encoded surrogate", b'{"id": "\xed\xa0\x80", "x": {}}', "not-utf-8", "byte 8"),
    Malformed("overlong UTF-8", b'{"id": "\xc0\xaf", "x": {}}', "not-utf-8", "byte 8"),
    Malformed("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "not-utf-8", "byte 1"),
    Malformed("of a registry", b"\0\0\0\0\x2a\x02e", "wire-format", "schema id 42"),
    # not an object
    Malformed("array", b'[{"x": {}}]', "not-an-object", "an array of 1"),
    Malformed("number", b"17", "not-an-object", "found 17"),
    Malformed("string", b'"x"', "not-an-object", "found 'x'"),
    Malformed("null", b"null", "not-an-object", "found null"),
    # id
    Malformed("id null", b'{"id": null, "x": {}}', "id-type", "id: found null"),
    Malformed("id boolean", b'{"id": true, "x": {}}', "id-type", "id: found true"),
    Malformed("id fraction", b'{"id": 1.5, "x": {}}', "id-type", "id: found 1.5"),
    Malformed("id array", b'{"id": [1], "x": {}}', "id-type", "id: found an array"),
    Malformed("id object", b'{"id": {}, "x": {}}', "id-type", "id: found an object"),
    Malformed("id empty", b'{"id": "", "x": {}}', "id-length", "id: found ''"),
    Malformed("id long", b'{"id": "' + _LONG + b'", "x": {}}', "id-length", "1,025 characters"),
    Malformed("id of 65 bits", b'{"id": 9223372036854775808, "x": {}}', "id-range", "64-bit"),
    Malformed("id huge", b'{"id": 18446744073709551616, "x": {}}', "id-range", "64-bit"),
    Malformed("id rounded", b'{"id": 9007199254740994.0, "x": {}}', "id-precision", "rounded"),
    # x
    Malformed("no x", b'{"id": 1, "y": ["a"]}', "x-missing", "x: not found"),
    Malformed("x misspelt", b'{"X": {"a": 1}}', "x-missing", "x: not found"),
    Malformed("x null", b'{"x": null}', "x-type", "x: found null"),
    Malformed("x string", b'{"x": "a"}', "x-type", "x: found 'a'"),
    Malformed("x number", b'{"x": 1}', "x-type", "x: found 1"),
    Malformed("x boolean", b'{"x": false}', "x-type", "x: found false"),
    Malformed("x undeclared array", b'{"x": [1, 2]}', "x-undeclared", "declare the feature names"),
    Malformed("value object", b'{"x": {"a": {"b": 1}}}', "feature-value", "x.a: found an object"),
    Malformed("list of numbers", b'{"x": {"a": ["b", 1]}}', "feature-value", "a list with 1"),
    Malformed("list of nulls", b'{"x": {"a": [null]}}', "feature-value", "a list with null"),
    Malformed("list of lists", b'{"x": {"a": [["b"]]}}', "feature-value", "with an array of 1"),
    Malformed(
        "nested value",
        b'{"x": {"a": ' + b"[" * 1_000 + b"]" * 1_000 + b"}}",
        "feature-value",
        "with an array of 1",
    ),
    Malformed("name of two lines", b'{"x": {"a\\nb": {}}}', "feature-value", r"x.'a\nb': found"),
    # y
    Malformed("y string", b'{"x": {}, "y": "news"}', "y-type", "y: found 'news'"),
    Malformed("y number", b'{"x": {}, "y": 1}', "y-type", "y: found 1"),
    Malformed("y boolean", b'{"x": {}, "y": true}', "y-type", "y: found true"),
    Malformed("label number", b'{"x": {}, "y": ["a", 3]}', "label-type", "y[1]: found 3"),
    Malformed("label null", b'{"x": {}, "y": [null]}', "label-type", "y[0]: found null"),
    Malformed("label list", b'{"x": {}, "y": [["a"]]}', "label-type", "y[0]: found an array"),
    Malformed("label empty", b'{"x": {}, "y": [""]}', "label-length", "y[0]: found ''"),
    Malformed("label long", b'{"x": {}, "y": ["' + _LONG + b'"]}', "label-length", "1,025"),
    Malformed("named label empty", b'{"x": {}, "y": {"": true}}', "label-length", "found the name"),
    Malformed(
        "named label long", b'{"x": {}, "y": {"' + _LONG + b'": true}}', "label-length", "1,025"
    ),
    Malformed("label state 1", b'{"x": {}, "y": {"a": 1}}', "label-value", "y.a: found 1"),
    Malformed("label state null", b'{"x": {}, "y": {"a": null}}', "label-value", "y.a: found null"),
    Malformed("label state text", b'{"x": {}, "y": {"a": "true"}}', "label-value", "found 'true'"),
    # ts
    Malformed("ts null", b'{"x": {}, "ts": null}', "ts-type", "ts: found null"),
    Malformed("ts boolean", b'{"x": {}, "ts": true}', "ts-type", "ts: found true"),
    Malformed("ts fraction", b'{"x": {}, "ts": 1.5}', "ts-type", "ts: found 1.5"),
    Malformed("ts array", b'{"x": {}, "ts": []}', "ts-type", "ts: found an array"),
    Malformed("ts empty", b'{"x": {}, "ts": ""}', "ts-format", "ts: found ''"),
    Malformed("ts date", b'{"x": {}, "ts": "2024-05-01"}', "ts-format", "2024-05-01"),
    Malformed("ts without zone", b'{"x": {}, "ts": "2024-05-01T12:00:00"}', "ts-format", "RFC"),
    Malformed("ts with space", b'{"x": {}, "ts": "2024-05-01 12:00:00Z"}', "ts-format", "RFC"),
    Malformed("ts month 13", b'{"x": {}, "ts": "2024-13-01T12:00:00Z"}', "ts-format", "RFC"),
    Malformed("ts hour 24", b'{"x": {}, "ts": "2024-05-01T24:00:00Z"}', "ts-format", "RFC"),
    Malformed("ts zone +24", b'{"x": {}, "ts": "2024-05-01T12:00:00+24:00"}', "ts-format", "RFC"),
    Malformed("ts line end", b'{"x": {}, "ts": "2024-05-01T12:00:00Z\\n"}', "ts-format", "RFC"),
    Malformed(
        "ts other digits",
        '{"x": {}, "ts": "２０２４-05-01T12:00:00Z"}'.encode(),
        "ts-format",
        "RFC",
    ),
    Malformed(
        "ts long",
        b'{"x": {}, "ts": "2024-05-01T12:00:00.' + b"0" * 60 + b'Z"}',
        "ts-format",
        "at most 64",
    ),
    Malformed("ts 30 Feb", b'{"x": {}, "ts": "2024-02-30T12:00:00Z"}', "ts-calendar", "not exist"),
    Malformed("ts leap day", b'{"x": {}, "ts": "2023-02-29T12:00:00Z"}', "ts-calendar", "not exi"),
    Malformed("ts year 0", b'{"x": {}, "ts": "0000-01-01T00:00:00Z"}', "ts-calendar", "not exist"),
    Malformed("ts in ns", b'{"x": {}, "ts": 1700000000000000000}', "ts-range", "ts: found 17"),
    Malformed("ts before year 1", b'{"x": {}, "ts": -62135596800001}', "ts-range", "ts: found -62"),
)

GOOD: tuple[bytes, ...] = (
    b'{"id": 1, "x": {"a": 1.5, "b": -2}, "y": ["news"]}',
    b'{"id": "two", "x": {}, "y": []}',
    b'{"x": {"colour": "red", "tags": ["a", "b"], "flag": true, "gone": null}, "y": null}',
    b' {"id": 4.0, "x": {"a": 1}, "y": {"news": false, "sport": true}, "ts": 1700000000000} ',
    b'{"id": 5, "x": {"a": 2}, "ts": "2024-02-29T23:59:60.123456789+05:30", "more": [1, {}]}',
)
"""Events that the same decoder must accept, to stand between the malformed ones."""
