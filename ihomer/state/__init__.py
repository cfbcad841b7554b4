"""Object graphs of ours as JSON and named arrays, in memory and on the disk; no pickle anywhere.

In: named roots, such as a learner. Out: a folder that anybody may read, or the same objects again,
bit for bit. It is at the bottom, and knows by name no class that it saves: what is built of plain
containers, numpy arrays and classes of this package is saved by itself.
"""

from __future__ import annotations

from ihomer.state.capture import Capture
from ihomer.state.classes import Plain, frozen
from ihomer.state.faults import CheckpointError, StateError
from ihomer.state.files import load_from, save_to
from ihomer.state.folder import (
    Manifest,
    digest,
    load_folder,
    read_manifest,
    write_folder,
)
from ihomer.state.versions import differences

__all__ = [
    "Capture",
    "CheckpointError",
    "Manifest",
    "Plain",
    "StateError",
    "differences",
    "digest",
    "frozen",
    "load_folder",
    "load_from",
    "read_manifest",
    "save_to",
    "write_folder",
]
