"""Which files can be read and written exactly once, and what their application is called.

In: `Settings`. Out: what is in the way, if anything, and a name. It is here so that the choice of
delivery and the daemon agree on it before anything is opened.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from ihomer.connectors.files.compression import compression_of
from ihomer.connectors.files.reader import STANDARD
from ihomer.connectors.formats import COLUMNAR, by_name, title
from ihomer.connectors.uri import parse_uri
from ihomer.stream.settings import Settings

OUTPUTS = ("sink", "dead_letters", "events", "unjoined")
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def from_files(settings: Settings) -> bool:
    """Whether everything that is read is a file; if not, topics are what is wanted."""
    return bool(settings.source) and all(parse_uri(uri).scheme == "file" for uri in settings.source)


def file_obstacle(settings: Settings) -> str | None:
    """What is in the way of exactly-once from files to files, if anything.

    A position must still mean the same place tomorrow, and an output must be something that can be
    cut: plain files only.
    """
    if settings.labels_source:
        return "labels come from a source of their own"
    named = [("source", uri) for uri in settings.source]
    named += [(key, uri) for key in OUTPUTS if (uri := getattr(settings, key)) is not None]
    for key, uri in named:
        location = parse_uri(uri)
        if location.scheme != "file":
            return f"{key} is no file"
        if location.path == STANDARD:
            return f"{key} is standard {'input' if key == 'source' else 'output'}"
        if compression_of(location.path) is not None:
            return f"{key} is compressed"
        form = by_name(location.path, location.parameters)
        if form in COLUMNAR:
            return f"{key} is {title(form)}"
        path = Path(location.path)
        if path.exists() and not path.is_file():
            return f"{key} is no regular file"
        if not location.path.isprintable():
            return f"{key} has a name that is not printable"
    return None


def paths_of(settings: Settings) -> tuple[list[str], dict[str, str]]:
    """Paths of the sources in order, and of the outputs by their key."""
    outputs = {key: getattr(settings, key) for key in OUTPUTS}
    return (
        [parse_uri(uri).path for uri in settings.source],
        {key: parse_uri(uri).path for key, uri in outputs.items() if uri is not None},
    )


def file_app(settings: Settings) -> str:
    """Name of the application: the key ``app``, else made from where it reads and writes.

    Examples
    --------
    >>> file_app(Settings(source="/data/a b.jsonl", sink="/data/p.jsonl")).rpartition("-")[0]
    'a-b.jsonl'
    """
    if settings.app:
        return settings.app
    sources, outputs = paths_of(settings)
    whole = [os.path.realpath(path) for path in (*sources, outputs.get("sink", ""))]
    name = _NO_NAME.sub("-", Path(sources[0]).name).strip("-.")[:100] or "file"
    digest = hashlib.blake2b("\0".join(whole).encode("utf-8", "surrogateescape"), digest_size=6)
    return f"{name}-{digest.hexdigest()}"
