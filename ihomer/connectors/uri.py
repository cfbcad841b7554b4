"""From a URI, or just a path, to a source or a sink.

In: what a user types. Out: an open source or sink. It is here so that every command and every
configuration key accepts the same words.

=====================================  ==========================================================
``PATH``, ``file:PATH``, ``-``         a file in the format that its extension names (below);
                                       ``-`` is standard input or output
``river:NAME``                         a multi-label data set that comes with river
``memory:NAME``                        a channel that this process has made
``synthetic:NAME?key=value&...``       a generated stream; `ihomer.connectors.synthetic` lists them
``kafka://HOST:PORT[,...]/TOPIC?...``  a topic
=====================================  ==========================================================

==========================================  =====================================================
``.jsonl`` ``.ndjson`` ``.json``            JSON Lines; also where nothing else is said of ``-``
``.arff``                                   ARFF; ``?xml=PATH`` names its labels
``.csv`` ``.tsv``                           rows behind a header, for a mapping;
                                            ``?delimiter=;``, ``?delimiter=tab``
``.parquet`` ``.arrow`` ``.feather``        rows, for a mapping (pip install 'ihomer[tables]')
``.libsvm`` ``.svm``                        labels and numbered features
``.xmc``                                    the same behind a line with their numbers;
                                            ``?feature_names=PATH&label_names=PATH`` for both
==========================================  =====================================================

``.gz``, ``.bz2``, ``.xz`` or ``.zst`` behind the extension is a compressed file (not of Parquet
and Arrow, which compress inside). ``?format=jsonl``, ``arff``, ``csv``, ``parquet``, ``arrow``,
``libsvm`` or ``xmc`` beats the extension.

File names with ``?`` or ``%``: a file that exists under the literal text wins. Otherwise what
stands behind the last ``?`` is parameters, and after ``file:`` percent escapes are resolved
(``%3F`` is ``?``, ``%25`` is ``%``); in a bare path a percent sign is a percent sign. In the
values of parameters percent escapes are resolved too, unless the literal text names a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from ihomer.connectors import memory
from ihomer.connectors.base import QUEUE_BYTES, Sink, Source
from ihomer.connectors.chain import Chain
from ihomer.connectors.files.arff_source import ArffSource
from ihomer.connectors.files.csv_predictions import csv_predictions
from ihomer.connectors.files.csv_source import CsvSource
from ihomer.connectors.files.libsvm_source import LibsvmSource
from ihomer.connectors.files.lines import JsonLinesSource
from ihomer.connectors.files.reader import DEFAULT_MAX_LINE_BYTES, STANDARD
from ihomer.connectors.files.sink import FileSink
from ihomer.connectors.formats import (
    COLUMNAR,
    EXTENSIONS,
    FORMATS,
    NAMES,
    PARAMETERS,
    TABLES,
    by_name,
    check_parameters,
    delimiter,
    extension,
    title,
)
from ihomer.connectors.river_data import RiverSource
from ihomer.errors import InputError, UsageError

SCHEMES = ("file", "river", "memory", "synthetic", "kafka")

# Two letters at least: one is a drive of Windows.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)


class Location(NamedTuple):
    """A URI in its parts.

    Attributes
    ----------
    scheme
        One of `SCHEMES`.
    path
        File name, ``-``, or the name behind the scheme; for Kafka and generated
        streams the whole URI.
    parameters
        What stood behind the ``?``, decoded; empty for Kafka and generated streams, which read
        their own.
    """

    scheme: str
    path: str
    parameters: dict[str, str]


def parse_uri(uri: str) -> Location:
    """Take `uri` apart.

    Raises
    ------
    UsageError
        It is empty, its scheme is unknown, or its parameters are malformed.

    Examples
    --------
    >>> parse_uri("birds-train.arff.gz?xml=birds.xml")
    Location(scheme='file', path='birds-train.arff.gz', parameters={'xml': 'birds.xml'})
    >>> parse_uri("river:yeast")
    Location(scheme='river', path='yeast', parameters={})
    """
    if not uri:
        raise UsageError(f"found an empty URI, accepted: a path, -, or {_schemes()}")
    if _exists(uri):
        return Location("file", uri, {})
    match = _SCHEME.fullmatch(uri)
    if match is None:
        return _file(uri, uri, escapes=False)
    scheme, rest = match[1].lower(), match[2]
    if scheme in ("kafka", "synthetic") and rest:
        return Location(scheme, uri, {})
    if scheme == "file":
        # file:///a/b is the same as file:/a/b; a host has no meaning here.
        rest = rest.removeprefix("//") if rest.startswith("///") else rest
        if rest.startswith("//"):
            raise UsageError(f"{uri}: found a host after file://, accepted: file:PATH")
        if not rest:
            raise UsageError(f"{uri}: found no path, accepted: file:PATH")
        return _file(uri, rest, escapes=True)
    if scheme not in SCHEMES:
        raise UsageError(f"{uri}: found scheme {scheme!r}, accepted: a path, -, or {_schemes()}")
    name, _, query = rest.partition("?")
    if not name:
        raise UsageError(f"{uri}: found no name, accepted: {scheme}:NAME")
    return Location(scheme, name, _parameters(uri, query, ()))


def open_source(uri: str, *, max_line_bytes: int = DEFAULT_MAX_LINE_BYTES) -> Source:
    """Open the source that `uri` names.

    Parameters
    ----------
    uri
        See the module.
    max_line_bytes
        Bound of a line's length in a file; a longer one is a bad event.

    Raises
    ------
    UsageError
        The URI is none that is accepted; the message names what was found and what is.
    InputError
        The file cannot be read.
    UnavailableError
        The broker does not answer.
    """
    location = parse_uri(uri)
    scheme, path, parameters = location
    if scheme == "river":
        return RiverSource(path)
    if scheme == "memory":
        return memory.find(path).source()
    if scheme == "kafka":
        from ihomer.connectors.kafka import KafkaSource  # only those with a broker wait for it

        return KafkaSource.from_uri(uri)
    if scheme == "synthetic":
        from ihomer.connectors.synthetic import SyntheticSource  # it needs scipy, which is slow

        return SyntheticSource.from_uri(uri)
    form = _format(uri, location)
    check_parameters(uri, form, parameters)
    if form == "arff":
        return ArffSource(path, xml=parameters.get("xml"), max_line_bytes=max_line_bytes)
    if form == "csv":
        between = delimiter(path, parameters)
        return CsvSource(path, delimiter=between, max_line_bytes=max_line_bytes)
    if form in COLUMNAR:
        from ihomer.connectors.files.table_source import TableSource  # a package of the extra

        return TableSource(path, form)
    if form in ("libsvm", "xmc"):
        return LibsvmSource(
            path,
            xmc=form == "xmc",
            feature_names=parameters.get("feature_names"),
            label_names=parameters.get("label_names"),
            max_line_bytes=max_line_bytes,
        )
    return JsonLinesSource(path, max_line_bytes=max_line_bytes)


def open_sources(uris: Sequence[str], *, max_line_bytes: int = DEFAULT_MAX_LINE_BYTES) -> Source:
    """Open `uris` as one stream, one after the other.

    Parameters
    ----------
    uris
        At least one; a topic, which has no end, only as the last, standard input only once.
    max_line_bytes
        As for `open_source`.

    Raises
    ------
    UsageError, InputError, UnavailableError
        As `open_source`; the sources that were open by then are closed.
    """
    locations = [parse_uri(uri) for uri in uris]
    for uri, location in zip(uris[:-1], locations[:-1], strict=True):
        if location.scheme == "kafka":
            raise UsageError(f"{uri}: a topic has no end, accepted: as the last source only")
    if sum(location.path == STANDARD for location in locations) > 1:
        raise UsageError("-: found twice, accepted: standard input as one source")
    sources: list[Source] = []
    try:
        for uri in uris:
            sources.append(open_source(uri, max_line_bytes=max_line_bytes))  # noqa: PERF401 (closed below if a later one fails)
        return sources[0] if len(sources) == 1 else Chain(sources)
    except BaseException:
        for source in sources:
            source.close()
        raise


def open_sink(
    uri: str,
    *,
    envelope: bool = False,
    append: bool = False,
    queue_bytes: int = QUEUE_BYTES,
    predictions: bool = False,
) -> Sink:
    """Open the sink that `uri` names.

    Parameters
    ----------
    uri
        See the module. A file is written as JSON Lines where its extension names no format, so
        that devices and pipes can be named.
    envelope
        For dead letters: a file gets each message's parts as an object with the bytes in base64,
        and a topic a shortened record where the whole does not fit.
    append
        Add to an existing file instead of replacing it, and wait for the disk at every flush.
    queue_bytes
        Of a topic: how much may be under way before a write waits.
    predictions
        What is written are predictions, which may be rows of a table, too: CSV, Parquet or Arrow.

    Raises
    ------
    UsageError
        The URI is none that is accepted; the message names what was found and what is.
    InputError
        The file cannot be written.
    UnavailableError
        The broker does not answer.
    """
    location = parse_uri(uri)
    scheme, path, parameters = location
    if scheme == "river":
        raise UsageError(f"{uri}: a data set cannot be written, accepted: PATH, -, kafka:, memory:")
    if scheme == "memory":
        return memory.find(path).sink()
    if scheme == "kafka":
        from ihomer.connectors.kafka import KafkaSink  # only those with a broker wait for it

        return KafkaSink.from_uri(uri, truncate=envelope, queue_bytes=queue_bytes)
    form = by_name(path, parameters) or "jsonl"
    if form == "jsonl":
        check_parameters(uri, form, parameters)
        return FileSink(path, append=append, envelope=envelope)
    if not predictions or form not in TABLES:
        accepted = ", ".join(("jsonl", *TABLES) if predictions else ("jsonl",))
        raise UsageError(f"{uri}: found format {form}, accepted for writing here: {accepted}")
    check_parameters(uri, form, parameters)
    if form == "csv":
        return csv_predictions(path, delimiter(path, parameters), append=append)
    if append:
        raise UsageError(
            f"{uri}: found {title(form)} for a file that is appended to, accepted: JSON Lines, CSV"
        )
    from ihomer.connectors.files.table_sink import TableSink  # a package of the extra

    return TableSink(path, form)


def same_file(one: str, other: str) -> bool:
    """Whether two URIs name the same file, so that reading one while writing the other harms.

    Standard input and output are two things, and so is everything that is no file.

    Examples
    --------
    >>> same_file("events.jsonl", "file:./events.jsonl"), same_file("-", "-")
    (True, False)
    """
    first, second = parse_uri(one), parse_uri(other)
    if first.scheme != "file" or second.scheme != "file" or STANDARD in (first.path, second.path):
        return False
    if _exists(first.path) and _exists(second.path):
        # Also right for links. Devices can be read and written at once.
        both = Path(first.path), Path(second.path)
        return both[0].samefile(both[1]) and both[0].is_file()
    return os.path.realpath(first.path) == os.path.realpath(second.path)


def _file(uri: str, text: str, *, escapes: bool) -> Location:
    path, parameters = text, {}
    if not _exists(text) and "?" in text:
        path, _, query = text.rpartition("?")
        parameters = _parameters(uri, query, PARAMETERS)
        if not path:
            raise UsageError(f"{uri}: found no path before the ?, accepted: PATH?name=value")
    if escapes and not _exists(path):
        path = unquote(path)
    chosen = parameters.get("format")
    if chosen is not None and chosen not in NAMES:
        raise UsageError(f"{uri}: format: found {chosen!r}, accepted: {', '.join(NAMES)}")
    return Location("file", path, parameters)


def _parameters(uri: str, query: str, accepted: tuple[str, ...]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if name not in accepted:
            words = ", ".join(accepted) or "none"
            raise UsageError(f"{uri}: found parameter {name!r}, accepted: {words}")
        if not equals or not value:
            raise UsageError(f"{uri}: parameter {name} has no value, accepted: {name}=...")
        if name in parameters:
            raise UsageError(f"{uri}: found parameter {name!r} twice, accepted: once")
        parameters[name] = value if _exists(value) else unquote(value)
    return parameters


def _format(uri: str, location: Location) -> str:
    """Format of a file that is read."""
    if "format" in location.parameters:
        return location.parameters["format"]
    if location.path == STANDARD:
        return "jsonl"
    # Said first, because an extension is what a folder or a mistyped name often lacks.
    if not _exists(location.path):
        raise InputError(f"{location.path}: no such file")
    if Path(location.path).is_dir():
        raise InputError(f"{location.path}: found a folder, accepted: a file")
    found = extension(location.path)
    if found not in FORMATS:
        what = f"extension {found!r}" if found else "no extension"
        raise UsageError(
            f"{uri}: found {what}, accepted: {EXTENSIONS}, or ?format= one of {', '.join(NAMES)}"
        )
    return FORMATS[found]


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long for a name, or a zero byte in it: no file's name
        return False


def _schemes() -> str:
    return ", ".join(f"{scheme}:" for scheme in SCHEMES)
