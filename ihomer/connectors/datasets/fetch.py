"""From the catalogue to a file in the data folder: download, unpack, look at it, hold it, keep it.

In: an entry of the catalogue and a folder. Out: ``NAME.arff`` there, and what is to be said about
it. It is here so that nothing lies under a data set's name that is not whole, readable, and the
same bytes as the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ihomer.connectors.datasets.atomic import alone, publish
from ihomer.connectors.datasets.catalogue import DataSet
from ihomer.connectors.datasets.download import Patience, Progress, download
from ihomer.connectors.datasets.record import check, hold, recorded, sha256_of
from ihomer.connectors.datasets.store import by_hand, locate
from ihomer.connectors.datasets.unpack import unpack
from ihomer.connectors.files.arff_source import ArffSource
from ihomer.errors import InputError, UnavailableError
from ihomer.instances import Event

_BATCH = 1024
_LONG_BYTES = 50_000_000  # reading this through takes seconds
_ROUNDING = 0.006  # cardinalities are stated with two decimals


class Figures(NamedTuple):
    """What a stream holds: numbers of events, features and labels, labels an event, bad events."""

    events: int
    features: int
    labels: int
    cardinality: float
    malformed: int


class Fetched(NamedTuple):
    """What `fetch` has found or done.

    Attributes
    ----------
    uris
        The stream's, in order.
    downloaded
        False: it was there.
    warnings
        Lines on where the file differs from the catalogue.
    """

    uris: list[str]
    downloaded: bool
    warnings: list[str]


def fetch(
    data_set: DataSet,
    folder: Path,
    *,
    again: bool = False,
    patience: Patience = Patience(),  # noqa: B008 - frozen
    on_progress: Progress | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Fetched:
    """See to it that `data_set` is in `folder`.

    Parameters
    ----------
    data_set
        An entry of the catalogue, or one of your own.
    folder
        Made if it does not exist.
    again
        Download it though it is there; the bytes must be the recorded ones.
    patience
        Bounds of the download.
    on_progress
        Called with the number of bytes that are there and that there will be, or None.
    on_line
        Called with a line for people: a retry, a wait for another process.

    Raises
    ------
    UnavailableError
        It cannot be downloaded; the message says how to get it by hand.
    InputError
        What was downloaded is not the data set, or not the bytes of the first time, or the folder
        cannot be written. Nothing is left under the data set's name, or what was there stays.
    """
    if data_set.bundled is not None:
        return Fetched([data_set.bundled], downloaded=False, warnings=[])
    files = locate(data_set, folder)
    if files and not again:
        return Fetched([str(file) for file in files], downloaded=False, warnings=[])
    tell = on_line or (lambda _: None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(
            folder / f".{data_set.name}.lock",
            lambda: tell(f"{data_set.name}: another process is fetching it; waiting"),
        ):
            files = locate(data_set, folder)
            if files and not again:  # another process has seen to it meanwhile
                return Fetched([str(file) for file in files], downloaded=False, warnings=[])
            target = folder / f"{data_set.name}.arff"
            if files and files != [target]:
                raise InputError(
                    f"{data_set.name}: found {', '.join(file.name for file in files)} in {folder},"
                    f" which a download as {target.name} would not replace; accepted: move them"
                    " away first"
                )
            warnings = _get(data_set, target, patience, on_progress, tell)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return Fetched([str(target)], downloaded=True, warnings=warnings)


def _get(
    data_set: DataSet,
    target: Path,
    patience: Patience,
    on_progress: Progress | None,
    tell: Callable[[str], None],
) -> list[str]:
    folder, name, url = target.parent, data_set.name, data_set.url
    if url is None:
        raise UnavailableError(f"{name}: no direct address is known; {by_hand(data_set, folder)}")
    fresh = folder / f"{name}.new.arff"
    packed = folder / f"{name}.download"
    try:
        try:
            download(
                url,
                packed,
                max_bytes=data_set.max_bytes,
                patience=patience,
                on_progress=on_progress,
                on_retry=lambda line: tell(f"{name}: {line}"),
            )
        except UnavailableError as error:
            raise UnavailableError(f"{name}: {error}; {by_hand(data_set, folder)}") from None
        try:
            unpack(packed, data_set.member, fresh, data_set.max_bytes)
            size = fresh.stat().st_size
            if size >= _LONG_BYTES:
                tell(f"{name}: counting the events of {size / 1e6:,.0f} MB")
            xml = folder / f"{name}.xml"
            figures = measure(fresh, xml if xml.is_file() else None)
        except InputError as error:
            raise InputError(
                f"{name}: {url} sent what cannot be used: {error}; {by_hand(data_set, folder)}"
            ) from None
        hold(folder, target.name, fresh, url)
        publish(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)
        packed.unlink(missing_ok=True)
    return differences(data_set, figures)


def measure(path: Path, xml: Path | None = None) -> Figures:
    """Read the whole ARFF file `path` and count; `xml` names its labels, if it does not itself.

    Raises
    ------
    InputError
        It cannot be read, or holds no event.
    """
    source = ArffSource(str(path), xml=None if xml is None else str(xml))
    events = malformed = on = 0
    try:
        while (records := source.next_batch(_BATCH, 0.0)) is not None:
            for record in records:
                if isinstance(record.value, Event):
                    events += 1
                    on += len(record.value.on or ())
                else:
                    malformed += 1
    finally:
        source.close()
    if not events:
        raise InputError(f"{path}: found no event, accepted: one or more")
    return Figures(events, source.n_attributes or 0, len(source.labels), on / events, malformed)


def differences(data_set: DataSet, figures: Figures) -> list[str]:
    """A line if `figures` are not the catalogue's, and one if there are malformed events."""
    lines = []
    pairs: Sequence[tuple[str, float, float, float]] = (
        ("events", figures.events + figures.malformed, data_set.events, 0),
        ("features", figures.features, data_set.features, 0),
        ("labels", figures.labels, data_set.labels, 0),
        ("cardinality", figures.cardinality, data_set.cardinality, _ROUNDING),
    )
    other = [
        f"{what} {found:,.6g} (catalogue: {said:,.6g})"
        for what, found, said, tolerance in pairs
        if abs(found - said) > tolerance
    ]
    if other:
        lines.append(
            f"{data_set.name}: found {', '.join(other)}: another version of the data; results on it"
            " are not comparable with published ones"
        )
    if figures.malformed:
        lines.append(f"{data_set.name}: {figures.malformed:,} of its events cannot be read")
    return lines


def verify(data_set: DataSet, folder: Path) -> list[tuple[Path, bool]]:
    """Compare the files of `data_set` with the checksums recorded in `folder`.

    Returns
    -------
    list of (Path, bool)
        Each file, and whether a checksum of it is recorded (and agrees); files that were put there
        by hand have none.

    Raises
    ------
    InputError
        A file is not the recorded one, or cannot be read.
    """
    lines = recorded(folder)
    found = []
    for file in locate(data_set, folder):
        if file.name in lines:
            try:
                checksum = sha256_of(file)
            except OSError as error:
                raise InputError(f"{file}: cannot be read ({error.strerror})") from None
            check(folder, file.name, checksum, lines[file.name], f"found in {folder}")
        found.append((file, file.name in lines))
    return found
