"""Streaming, online, multi-label learning.

Importing this package compiles nothing; its classes are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["IHomer", "LabelPartitioner", "__version__", "warm_up"]

if TYPE_CHECKING:
    from ihomer.learners.ihomer import IHomer
    from ihomer.learners.partition.labels import LabelPartitioner
    from ihomer.learners.warm import warm_up


def __getattr__(name: str) -> Any:
    if name == "IHomer":
        from ihomer.learners.ihomer import IHomer

        return IHomer
    if name == "LabelPartitioner":
        from ihomer.learners.partition.labels import LabelPartitioner

        return LabelPartitioner
    if name == "warm_up":
        from ihomer.learners.warm import warm_up

        return warm_up
    raise AttributeError(f"module 'ihomer' has no attribute {name!r}")
