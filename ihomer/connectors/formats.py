"""Which format a file has: by its name, or by what stands behind the ``?`` of its URI.

In: a path and the parameters of its URI. Out: the name of a format, and a complaint where a
parameter says nothing to it. It is here so that reading and writing agree on it, and every message
lists the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ihomer.connectors.files.compression import COMPRESSIONS, plain_name
from ihomer.errors import UsageError

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".arff": "arff",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".libsvm": "libsvm",
    ".svm": "libsvm",
    ".xmc": "xmc",
}
"""Format by extension, in lower case."""

NAMES = tuple(dict.fromkeys(FORMATS.values()))
TABLES = ("csv", "parquet", "arrow")
COLUMNAR = ("parquet", "arrow")

_PARAMETERS = {
    "jsonl": (),
    "arff": ("xml",),
    "csv": ("delimiter",),
    "parquet": (),
    "arrow": (),
    "libsvm": ("feature_names", "label_names"),
    "xmc": ("feature_names", "label_names"),
}
PARAMETERS = ("format", *dict.fromkeys(name for names in _PARAMETERS.values() for name in names))
"""Parameters of files in URIs."""

_TITLES = {"jsonl": "JSON Lines", "arff": "ARFF", "csv": "CSV", "xmc": "XMC"}
EXTENSIONS = f"{', '.join(FORMATS)} (each also with {', '.join(COMPRESSIONS)})"


def title(name: str) -> str:
    """The format's name in a sentence.

    >>> title("jsonl"), title("parquet"), title("libsvm")
    ('JSON Lines', 'Parquet', 'libsvm')
    """
    return _TITLES.get(name, name.title() if name in COLUMNAR else name)


def extension(path: str) -> str:
    """What the name says of the format, in lower case, compression put aside.

    >>> extension("a/b.CSV.gz"), extension("a")
    ('.csv', '')
    """
    return Path(plain_name(path).lower()).suffix


def by_name(path: str, parameters: Mapping[str, str]) -> str | None:
    """The format that parameters or the path name, if any."""
    return parameters.get("format") or FORMATS.get(extension(path))


def check_parameters(uri: str, name: str, parameters: Mapping[str, str]) -> None:
    """See that each parameter means something to the format.

    Raises
    ------
    UsageError
        One does not.
    """
    accepted = ("format", *_PARAMETERS[name])
    for parameter in parameters:
        if parameter not in accepted:
            raise UsageError(
                f"{uri}: found parameter {parameter} for {title(name)}, accepted:"
                f" {', '.join(accepted)}"
            )


def delimiter(path: str, parameters: Mapping[str, str]) -> str:
    r"""What stands between the fields of a CSV file.

    >>> delimiter("a.csv", {}), delimiter("a.tsv.gz", {}), delimiter("a.csv", {"delimiter": "tab"})
    (',', '\t', '\t')
    """
    given = parameters.get("delimiter") or ("tab" if extension(path) == ".tsv" else ",")
    return "\t" if given == "tab" else given
