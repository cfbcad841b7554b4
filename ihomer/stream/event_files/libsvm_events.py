"""Events as libsvm or XMC, and the names of what is numbered there.

In: a spool. Out: lines, and files of names. It is here because learners of many labels are fed so.

Where every name of a feature and of a label is a number already it stays that number; else names
are numbered from 0, those that the source declares first, then in order of appearance, and two
files of names are wanted beside (`ihomer.connectors.files.libsvm_source`). A nominal value is a
feature of its own, 1 where it is on. Ids and times have no place in these formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ihomer.errors import InputError
from ihomer.stream.event_files.spool import Body, Spool, indicator

_NUMBER = re.compile("0|[1-9][0-9]{0,8}")  # fits 32 bits, which is what most readers have


class Numbers(NamedTuple):
    """What stands for names.

    Attributes
    ----------
    features, labels
        Numbers by name.
    named
        Whether they need files of names; if not, each name is its number.
    """

    features: dict[str, int]
    labels: dict[str, int]
    named: bool


def number_names(spool: Spool) -> Numbers:
    """The numbers of all names in a spool.

    Raises
    ------
    InputError
        A name could not stand on a line of its own.
    """
    survey = spool.survey
    features: dict[str, None] = {}
    for name, column in survey.features.items():
        if column.numbers or column.missing or not column.present:
            features[name] = None
        for value in (*column.texts, *column.members):
            features[indicator(name, value)] = None
    features = features or {"0": None}  # an event without anything is a line with 0:0
    if all(_NUMBER.fullmatch(name) for names in (features, survey.labels) for name in names):
        own = [{name: int(name) for name in names} for names in (features, survey.labels)]
        return Numbers(own[0], own[1], named=False)
    for name in (*features, *survey.labels):
        if not name or name != name.strip("\r\n\ufeff") or "\n" in name:
            raise InputError(
                f"found the name {name!r}, accepted: names without line ends, for files of names"
            )
    numbered = [{name: at for at, name in enumerate(names)} for names in (features, survey.labels)]
    return Numbers(numbered[0], numbered[1], named=True)


def libsvm_lines(spool: Spool, numbers: Numbers, *, xmc: bool) -> Iterator[bytes]:
    """The lines of a file.

    Parameters
    ----------
    spool, numbers
        The events, and `number_names` of them.
    xmc
        Whether a line with the numbers of points, features and labels comes first.

    Raises
    ------
    InputError
        An event has no labels that are known: the formats have no word for that.
    """
    if xmc:
        counts = (1 + max(each.values(), default=-1) for each in numbers[:2])
        yield " ".join(map(str, (spool.survey.events, *counts))).encode()
    for body in spool:
        if body.on is None:
            raise InputError(
                f"event {body.id!r}: found no labels (unlabelled), accepted for libsvm and XMC:"
                " labelled events"
            )
        x: dict[int, float] = {}
        for name, value in _numbers(body):
            x[numbers.features[name]] = value
        labels = ",".join(map(str, sorted(numbers.labels[label] for label in body.on)))
        # A blank line would be none: 0 is what an absent feature is.
        cells = " ".join(f"{at}:{x[at]!r}" for at in sorted(x)) or ("" if labels else "0:0")
        yield f"{labels} {cells}".rstrip().encode() if labels else f" {cells}".encode()


def _numbers(body: Body) -> Iterable[tuple[str, float]]:
    for name, value in body.x.items():
        if value is None:
            yield name, float("nan")
        elif isinstance(value, str):
            yield indicator(name, value), 1.0
        elif isinstance(value, list):
            yield from ((indicator(name, member), 1.0) for member in value)
        elif value != 0:
            yield name, float(value)
