"""The folder of data files, and what of the catalogue lies in it.

In: a name. Out: URIs for `ihomer.connectors.uri.open_sources`, in stream order. It is here so that
commands and benchmarks can be given names instead of files.

A data set NAME is ``NAME.arff`` or ``NAME.arff.gz``, or the pair ``NAME-train`` and ``NAME-test``
with either extension, each with MULAN's ``NAME.xml`` beside it where its labels are named there.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from ihomer.connectors.datasets.catalogue import DataSet, find_data_set
from ihomer.errors import InputError

VARIABLE = "IHOMER_DATA_DIR"
EXTENSIONS = (".arff", ".arff.gz")


def data_folder(folder: str | Path | None = None) -> Path:
    """`folder`, else what ``IHOMER_DATA_DIR`` says, else ``data`` in the user's data folder."""
    chosen = folder or os.environ.get(VARIABLE)
    return Path(chosen) if chosen else platformdirs.user_data_path("ihomer") / "data"


def locate(data_set: DataSet, folder: Path) -> list[Path]:
    """Its files in `folder`, in stream order; none if they are not (all) there."""
    for layout in data_set.layouts:
        files = [_file(folder, stem) for stem in layout]
        if None not in files:
            return [file for file in files if file is not None]
    return []


def find(name: str | DataSet, folder: str | Path | None = None) -> list[str]:
    """URIs of the data set called `name`, in stream order.

    Parameters
    ----------
    name
        One of the catalogue's, in either case, or an entry of your own.
    folder
        Where to look; see `data_folder`.

    Raises
    ------
    UsageError
        No data set has this name.
    InputError
        It is not there.

    Examples
    --------
    >>> find("yeast")
    ['river:yeast']
    """
    data_set = find_data_set(name) if isinstance(name, str) else name
    if data_set.bundled is not None:
        return [data_set.bundled]
    place = data_folder(folder)
    files = locate(data_set, place)
    if not files:
        parts = [_file(place, stem) for layout in data_set.layouts for stem in layout]
        some = ", ".join(file.name for file in parts if file is not None)
        raise InputError(
            f"{data_set.name}: found {f'only {some}' if some else 'no file of it'} in {place};"
            f" ihomer data fetch {data_set.name} downloads it, or {by_hand(data_set, place)}"
        )
    return [str(file) for file in files]


def by_hand(data_set: DataSet, folder: Path) -> str:
    """What a person can do where a download is out of the question."""
    inside = f" (it is {data_set.member} in the archive)" if data_set.member else ""
    return (
        f"get it from {data_set.page} in a browser and put it in {folder} as"
        f" {data_set.name}.arff{inside}"
    )


def _file(folder: Path, stem: str) -> Path | None:
    candidates = (folder / f"{stem}{extension}" for extension in EXTENSIONS)
    return next((file for file in candidates if file.is_file()), None)
