"""Checkpoints of a slot: what the daemon was after a batch, in folders that sort by batch."""

from __future__ import annotations

from ihomer.stream.checkpoints.configuration import ChangedKey, changed_keys, configuration_of
from ihomer.stream.checkpoints.marks import Entry, Loaded, Mark
from ihomer.stream.checkpoints.store import CheckpointStore, Failed, Written

__all__ = [
    "ChangedKey",
    "CheckpointStore",
    "Entry",
    "Failed",
    "Loaded",
    "Mark",
    "Written",
    "changed_keys",
    "configuration_of",
]
