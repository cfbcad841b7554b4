"""Ways in which a real event arrives broken, each by name, and why it must be refused.

In: the bytes of an event that is good. Out: bytes that are not, and the kind of the fault. Shared
by the unit test and the integration test of a mutated stream.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.yeast import yeast_bodies

Body = dict[str, Any]

MAX_EVENT_BYTES = 100_000
"""Bound of the streams that are mutated: small, so that a few are oversized at little cost."""


class Mutation(NamedTuple):
    """`make` breaks an event, given as bytes; what comes of it is refused as `kind`."""

    name: str
    kind: str
    make: Callable[[bytes], bytes | None]


def _of_bytes(name: str, kind: str, make: Callable[[bytes], bytes | None]) -> Mutation:
    return Mutation(name, kind, make)


def _of_text(name: str, kind: str, old: str, new: str) -> Mutation:
    """Replace the first `old`, which must be there."""

    def make(value: bytes) -> bytes:
        assert old.encode() in value, (name, value)
        return value.replace(old.encode(), new.encode("utf-8", "surrogatepass"), 1)

    return Mutation(name, kind, make)


def _of_body(name: str, kind: str, **fields: Any) -> Mutation:
    """Other values for fields; a function gets the event's own."""

    def make(value: bytes) -> bytes:
        body = json.loads(value)
        for field, new in fields.items():
            body[field] = new(body[field]) if callable(new) else new
        return json.dumps(body).encode()

    return Mutation(name, kind, make)


def _without(name: str) -> Callable[[bytes], bytes]:
    def make(value: bytes) -> bytes:
        body = json.loads(value)
        del body[name]
        return json.dumps(body).encode()

    return make


def _deep(depth: int) -> Callable[[bytes], bytes]:
    return lambda value: value[:-1] + b', "more": ' + b"[" * depth + b"]" * depth + b"}"


def _in_x(new: Any) -> Callable[[Body], Body]:
    """The first feature with another value."""
    return lambda x: {**x, next(iter(x)): new}


# A good event begins {"id": "yeast-N", "ts": "2026-01-01T00:00:00Z", "y": [...], "x": {"...
MUTATIONS: tuple[Mutation, ...] = (
    # There is nothing, or too much.
    _of_bytes("tombstone", "tombstone", lambda _: None),
    _of_bytes("no bytes", "empty", lambda _: b""),
    _of_bytes("spaces", "empty", lambda v: b" " * len(v)),
    _of_bytes("line ends", "empty", lambda _: b"\r\n\r\n"),
    _of_bytes("padded past the bound", "oversized", lambda v: v + b" " * MAX_EVENT_BYTES),
    _of_bytes(
        "repeated past the bound", "oversized", lambda v: v * (MAX_EVENT_BYTES // len(v) + 1)
    ),
    # Cut off or glued together.
    _of_bytes("first byte lost", "not-json", lambda v: v[1:]),
    _of_bytes("last byte lost", "not-json", lambda v: v[:-1]),
    _of_bytes("first half", "not-json", lambda v: v[: len(v) // 2]),
    _of_bytes("second half", "not-json", lambda v: v[len(v) // 2 :]),
    _of_bytes("one byte left", "not-json", lambda v: v[:1]),
    _of_bytes("sent twice in one", "not-json", lambda v: v + v),
    _of_bytes("two lines in one", "not-json", lambda v: v + b"\n" + v),
    _of_bytes("closed twice", "not-json", lambda v: v + b"}"),
    _of_bytes("backwards", "not-json", lambda v: v[::-1]),
    # Not JSON.
    _of_bytes("single quotes", "not-json", lambda v: v.replace(b'"', b"'")),
    _of_bytes("no quotes", "not-json", lambda v: v.replace(b'"', b"")),
    _of_bytes("quoted twice", "not-json", lambda v: v.replace(b'"', b'\\"')),
    _of_bytes("trailing comma", "not-json", lambda v: v[:-1] + b",}"),
    _of_bytes("comment", "not-json", lambda v: v + b" // no comment"),
    _of_bytes("log line before it", "not-json", lambda v: b"INFO sent: " + v),
    _of_bytes("semicolons", "not-json", lambda v: v.replace(b",", b";")),
    _of_bytes("equals signs", "not-json", lambda v: v.replace(b":", b"=")),
    _of_bytes("byte order mark", "not-json", lambda v: b"\xef\xbb\xbf" + v),
    _of_bytes("schema registry's frame", "wire-format", lambda v: b"\x00\x00\x00\x00\x07" + v),
    _of_bytes("NULs at the end", "not-json", lambda v: v + b"\x00" * 8),
    _of_bytes("form data", "not-json", lambda _: b"id=1&x=%7B%22a%22%3A1%7D&y=a"),
    _of_bytes(
        "XML", "not-json", lambda _: b'<?xml version="1.0"?><event id="1"><x a="1"/></event>'
    ),
    _of_bytes(
        "HTML of a proxy", "not-json", lambda _: b"<html><body>502 Bad Gateway</body></html>"
    ),
    _of_bytes("CSV", "not-json", lambda _: b"17,0.5,0.25,news\n"),
    _of_bytes("Python's True", "not-json", lambda v: v[:-1] + b', "ok": True}'),
    _of_text("NaN", "not-json", '"x": {', '"x": {"nan": NaN, '),
    _of_text("Infinity", "not-json", '"x": {', '"x": {"inf": -Infinity, '),
    _of_text("number too large", "not-json", '"x": {', '"x": {"huge": 1e400, '),
    _of_text("decimal comma", "not-json", '"x": {', '"x": {"a": 1,5, '),
    _of_text("leading zeros", "not-json", '"x": {', '"x": {"a": 007, '),
    _of_text("hexadecimal", "not-json", '"x": {', '"x": {"a": 0xff, '),
    _of_text("control character", "not-json", "yeast-", "yeast\x01-"),
    _of_text("line end in a string", "not-json", "yeast-", "yeast\n-"),
    _of_text("escape that is none", "not-json", "yeast-", "yeast\\d"),
    _of_text("half a surrogate pair", "not-json", "yeast-", "yeast\\ud83d-"),
    _of_bytes("nested past the parser's depth", "not-json", _deep(1_100)),
    _of_bytes("a bomb of brackets", "not-json", lambda _: b"[" * 50_000),
    # Other encodings and containers.
    _of_bytes("UTF-16", "not-utf-8", lambda v: v.decode().encode("utf-16")),
    _of_bytes("UTF-16 without a mark", "not-json", lambda v: v.decode().encode("utf-16-le")),
    _of_bytes("UTF-32", "not-utf-8", lambda v: v.decode().encode("utf-32")),
    _of_bytes("Latin-1", "not-utf-8", lambda v: v.replace(b"yeast", "h\xe9fe".encode("latin-1"))),
    _of_bytes("EBCDIC", "not-utf-8", lambda v: v.decode().encode("cp500")),
    _of_text("surrogate in UTF-8", "not-utf-8", "yeast-", "yeast\udfff"),
    _of_bytes("overlong UTF-8", "not-utf-8", lambda v: v.replace(b"yeast-", b"yeast\xc0\xad", 1)),
    _of_bytes("character cut in two", "not-utf-8", lambda v: v[:8] + b"\xe2\x82" + v[8:]),
    _of_bytes("gzip", "not-utf-8", lambda v: gzip.compress(v, mtime=0)),
    _of_bytes("zlib", "not-utf-8", lambda v: zlib.compress(v)),
    _of_bytes("bits flipped", "not-utf-8", lambda v: bytes(byte ^ 0xFF for byte in v)),
    # JSON, but no event.
    _of_bytes("null", "not-an-object", lambda _: b"null"),
    _of_bytes("true", "not-an-object", lambda _: b"true"),
    _of_bytes("a number", "not-an-object", lambda _: b"17"),
    _of_bytes("in an array", "not-an-object", lambda v: b"[" + v + b"]"),
    _of_bytes("in a string", "not-an-object", lambda v: json.dumps(v.decode()).encode()),
    _of_bytes("empty object", "x-missing", lambda _: b"{}"),
    _of_bytes("in an envelope", "x-missing", lambda v: b'{"payload": ' + v + b"}"),
    _of_bytes("x under another name", "x-missing", lambda v: v.replace(b'"x": ', b'"X": ', 1)),
    _of_bytes("x lost", "x-missing", _without("x")),
    # id
    _of_body("id null", "id-type", id=None),
    _of_body("id true", "id-type", id=True),
    _of_body("id with a fraction", "id-type", id=0.5),
    _of_body("id array", "id-type", id=lambda own: [own]),
    _of_body("id object", "id-type", id=lambda own: {"$oid": own}),
    _of_body("id empty", "id-length", id=""),
    _of_body("id endless", "id-length", id=lambda own: own * 200),
    _of_body("id of 65 bits", "id-range", id=2**64),
    _of_body("id as a large float", "id-precision", id=1e18),
    # x
    _of_body("x null", "x-type", x=None),
    _of_body("x as text", "x-type", x=json.dumps),
    _of_body("x array", "x-undeclared", x=lambda own: list(own.values())),
    _of_body(
        "x array of pairs", "x-undeclared", x=lambda own: [list(pair) for pair in own.items()]
    ),
    _of_body("feature object", "feature-value", x=_in_x({"value": 1.5})),
    _of_body("feature list of numbers", "feature-value", x=_in_x([1.5, 2.5])),
    _of_body("feature nested list", "feature-value", x=_in_x([["a"]])),
    _of_body("feature list with null", "feature-value", x=_in_x(["a", None])),
    _of_text("number twice, the last a list", "feature-value", '"x": {', '"x": {"": 1, "": [1], '),
    # y
    _of_body("y text", "y-type", y="class1"),
    _of_body("y number", "y-type", y=3),
    _of_body("y false", "y-type", y=False),
    _of_body("label number", "label-type", y=lambda own: [*own, 1]),
    _of_body("label null", "label-type", y=lambda own: [*own, None]),
    _of_body("label list", "label-type", y=lambda own: [own]),
    _of_body("label object", "label-type", y=lambda own: [*own, {"name": "new"}]),
    _of_body("label empty", "label-length", y=lambda own: ["new", *own, ""]),
    _of_body("label endless", "label-length", y=["l" * 1_025]),
    _of_body("label 0 or 1", "label-value", y=lambda own: dict.fromkeys(own, 1) or {"new": 0}),
    _of_body("label with a score", "label-value", y={"new": 0.75}),
    _of_body("label null for unknown", "label-value", y={"new": None}),
    _of_text("y twice, the last a text", "y-type", '"y": ', '"y": [], "y": "new", "z": '),
    # ts
    _of_body("ts null", "ts-type", ts=None),
    _of_body("ts list", "ts-type", ts=lambda own: [own]),
    _of_body("ts seconds with a fraction", "ts-type", ts=1_700_000_000.123),
    _of_body("ts in nanoseconds", "ts-range", ts=1_700_000_000_000_000_000),
    _of_body("ts before the calendar", "ts-range", ts=-(10**15)),
    _of_body("ts empty", "ts-format", ts=""),
    _of_body("ts as digits", "ts-format", ts="1700000000000"),
    _of_body("ts without zone", "ts-format", ts=lambda own: own[:-1]),
    _of_body("ts with a space", "ts-format", ts=lambda own: own.replace("T", " ")),
    _of_body("ts date only", "ts-format", ts=lambda own: own[:10]),
    _of_body("ts day first", "ts-format", ts="01.02.2026 10:00"),
    _of_body("ts by RFC 2822", "ts-format", ts="Thu, 01 Jan 2026 00:00:00 GMT"),
    _of_body("ts hour 24", "ts-format", ts="2026-01-01T24:00:00Z"),
    _of_body("ts 30 February", "ts-calendar", ts="2026-02-30T00:00:00Z"),
    _of_body("ts 29 February of no leap year", "ts-calendar", ts="2026-02-29T00:00:00Z"),
)


def yeast(count: int) -> Iterator[bytes]:
    """So many events of Yeast as JSON, every one good; at most 2,417."""
    for number, body in enumerate(yeast_bodies(count)):
        head = {"id": f"yeast-{number}", "ts": "2026-01-01T00:00:00Z"}
        yield json.dumps({**head, "y": body["y"], "x": body["x"]}).encode()


class Sent(NamedTuple):
    """What was put into a mutated stream: the bytes, and of a broken event the mutation."""

    value: bytes | None
    mutation: Mutation | None


def mutated(count: int, ways: Sequence[Mutation] = MUTATIONS) -> list[Sent]:
    """Yeast with the last of every ten events broken, in all ways by turns."""
    sent: list[Sent] = []
    for number, value in enumerate(yeast(count)):
        mutation = ways[number // 10 % len(ways)] if number % 10 == 9 else None
        sent.append(Sent(value if mutation is None else mutation.make(value), mutation))
    return sent


def fits_a_line(mutation: Mutation) -> bool:
    """Whether what it makes is a line of a file, and no blank one, which a file may have."""
    value = mutation.make(next(yeast(1)))
    return value is not None and b"\n" not in value and bool(value.strip())
