"""Which columns of an ARFF file are its labels.

In: the file's path and header. Out: the positions of the label columns. It is here because ARFF
has no word for it: MULAN names the labels in an XML file beside it, MEKA writes ``-C n`` into the
relation's name. The XML wins where both are there, because tools that reorder columns leave a
stale ``-C`` behind (medical).
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.parsers import expat

from ihomer.connectors.files.arff import Header, same_name
from ihomer.connectors.files.compression import plain_name
from ihomer.connectors.files.reader import STANDARD, reason
from ihomer.errors import InputError

_MEKA = re.compile(r"(?<!\S)-C\s+(-?\d+)\b")


def label_columns(path: str, header: Header, xml: str | None = None) -> list[int]:
    """Positions of the label attributes, ascending.

    Parameters
    ----------
    path
        The ARFF file's, for the XML beside it and for messages.
    header
        Its header.
    xml
        The XML file to take; None: the one with the same stem, else with the stem before its
        last hyphen (``birds-train.arff.gz``: ``birds.xml``), else the relation's ``-C n``.

    Raises
    ------
    InputError
        No labels are declared, the XML file cannot be read or names what the header has not, or
        a label's type allows more than 0 and 1.
    """
    source = xml if xml is not None else _xml_beside(path)
    if source is not None:
        columns, told_by = _named(source, path, header), source
    else:
        columns, told_by = _counted(path, header), "the relation's -C"
    for column in columns:
        attribute = header.attributes[column]
        if attribute.nominal:
            found = ",".join(attribute.values[:4]) + (",..." if len(attribute.values) > 4 else "")
            raise InputError(
                f"{path}: line {attribute.line}: attribute {attribute.name!r}, a label by"
                f" {told_by}: found {{{found}}}, accepted: {{0,1}} or numeric"
            )
    return columns


def read_label_names(xml: str) -> list[str]:
    """Names in a MULAN label file, nested ones (a hierarchy of labels) included, in its order.

    Raises
    ------
    InputError
        It cannot be read, is no such file, or names a label twice.
    """
    names: list[str] = []
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag.rsplit(" ", 1)[-1] == "label":
            if "name" not in attributes:
                raise InputError(
                    f"{xml}: line {parser.CurrentLineNumber}: a label without a name, accepted:"
                    ' <label name="...">'
                )
            names.append(attributes["name"])

    def refuse(*_: object) -> None:
        # Nested entities can grow a small file without bound, and label files have no use for them.
        raise InputError(f"{xml}: line {parser.CurrentLineNumber}: entities are not accepted")

    parser.StartElementHandler = start
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(Path(xml).read_bytes(), True)
    except FileNotFoundError:
        raise InputError(f"{xml}: no such file") from None
    except OSError as error:
        raise InputError(f"{xml}: cannot be read ({reason(error)})") from None
    except expat.ExpatError as error:
        raise InputError(f"{xml}: no XML ({error})") from None
    if not names:
        raise InputError(f'{xml}: found no labels, accepted: <labels><label name="..."/></labels>')
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{xml}: the label {twice!r} is named twice")
    return names


def _xml_beside(path: str) -> str | None:
    if path == STANDARD:
        return None
    file = Path(path)
    stem = re.sub(r"\.arff$", "", plain_name(file.name), flags=re.IGNORECASE)
    candidates = [f"{stem}.xml"]
    if "-" in stem:
        candidates.append(f"{stem.rpartition('-')[0]}.xml")
    for candidate in candidates:
        beside = file.with_name(candidate)
        if beside.is_file():
            return str(beside)
    return None


def _named(xml: str, path: str, header: Header) -> list[int]:
    exact = {attribute.name: i for i, attribute in enumerate(header.attributes)}
    loose = {same_name(name): i for name, i in exact.items()}
    columns: list[int] = []
    for name in read_label_names(xml):
        column = exact.get(name, loose.get(same_name(name)))
        if column is None:
            raise InputError(f"{xml}: label {name!r} is no attribute of {path}")
        columns.append(column)
    return sorted(set(columns))


def _counted(path: str, header: Header) -> list[int]:
    found = _MEKA.search(header.relation)
    if found is None:
        raise InputError(
            f"{path}: nothing says which attributes are labels, accepted: ?xml=FILE after the path,"
            " a MULAN XML file of the same name beside it, or -C n in the relation's name"
        )
    count, total = int(found[1]), len(header.attributes)
    if count == 0 or abs(count) > total:
        raise InputError(
            f"{path}: relation: found -C {count}, accepted: 1 to {total}, or -1 to -{total} for"
            " the last ones"
        )
    return list(range(count)) if count > 0 else list(range(total + count, total))
