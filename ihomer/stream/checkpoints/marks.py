"""What a checkpoint is of: batch, owner, position, configuration; and its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ihomer.state import CheckpointError, Manifest

_NAME = re.compile(r"(\d{16})-(\d{10})")


@dataclass(frozen=True)
class Mark:
    """Where in a stream a state stands.

    Attributes
    ----------
    batch
        Number of the last batch that was learned; 0: none yet.
    epoch
        Of the owner who learned it; a later owner's is higher.
    events
        Number of decoded events so far.
    position
        The place of the next record, as JSON values; None: it is not known, because the state was
        imported.
    configuration
        As `configuration_of` makes it.
    """

    batch: int
    epoch: int = 0
    events: int = 0
    position: Mapping[str, Any] | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what has no place in a name."""
        if not 0 <= self.batch < 10**16 or not 0 <= self.epoch < 10**10:
            raise ValueError(f"batch {self.batch}, epoch {self.epoch}")

    @property
    def name(self) -> str:
        """The name of its folder; names sort as batches do, then epochs."""
        return f"{self.batch:016d}-{self.epoch:010d}"

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "batch": self.batch,
            "epoch": self.epoch,
            "events": self.events,
            "position": None if self.position is None else dict(self.position),
            "configuration": dict(self.configuration),
        }


def is_name(name: str) -> bool:
    """Whether a folder of that name is a checkpoint."""
    return _NAME.fullmatch(name) is not None


def mark_of(manifest: Manifest, folder: Path) -> Mark:
    """The mark that a manifest tells.

    Raises
    ------
    CheckpointError
        It tells none, or another one than the folder's name.
    """
    facts = manifest.facts
    try:
        found = Mark(**{key: facts[key] for key in Mark.__dataclass_fields__})
        fits = found.name == folder.name or not is_name(folder.name)
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(folder, "no mark", "a checkpoint of a slot") from None
    if not fits:
        raise CheckpointError(folder, f"the checkpoint {found.name}", "that of its name")
    return found


@dataclass(frozen=True)
class Entry:
    """A checkpoint that is there.

    Attributes
    ----------
    path
        Its folder.
    mark
        What it is of; None: its manifest cannot be read.
    manifest
        Likewise.
    fault
        Why not.
    """

    path: Path
    mark: Mark | None
    manifest: Manifest | None
    fault: str = ""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.path.name


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory.

    Attributes
    ----------
    entry, mark
        Which it is.
    roots
        The objects by name.
    differences
        A line for each version or feature of the processor that is not what it was: with any, what
        follows need not be the same bit for bit.
    """

    entry: Entry
    mark: Mark
    roots: dict[str, Any]
    differences: tuple[str, ...]
