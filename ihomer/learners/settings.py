"""What a learner is made with; it is here because the parts of it are made with the same."""

from __future__ import annotations

from typing import NamedTuple

from ihomer.learners.experts.forest import SplitTest
from ihomer.learners.partition.kinds import DEFAULT


class Settings(NamedTuple):
    """What an engine is made with; see `IHomer`."""

    objective: str = "subset"
    without: tuple[str, ...] = ()
    trees: int = 5
    split_test: SplitTest = "evidence"
    partition: str = DEFAULT
    drift: bool = True
    threads: int = 1
    max_memory_mb: float = 512.0
    seed: int = 0
