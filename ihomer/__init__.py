"""Streaming, online, multi-label learning.

Importing this package compiles nothing; `IHomer` is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["IHomer", "__version__", "warm_up"]

if TYPE_CHECKING:
    from ihomer.learners.ihomer import IHomer, warm_up


def __getattr__(name: str) -> Any:
    if name in ("IHomer", "warm_up"):
        from ihomer.learners import ihomer

        return getattr(ihomer, name)
    raise AttributeError(f"module 'ihomer' has no attribute {name!r}")
