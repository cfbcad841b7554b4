"""The kinds of partitioner by name, and which one serves where none is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from ihomer.errors import UsageError
from ihomer.learners.partition.base import Partitioner
from ihomer.learners.partition.blocks import BlockPartitioner
from ihomer.learners.partition.jaccard import JaccardPartitioner
from ihomer.learners.partition.published import PublishedPartitioner

PartitionKind: TypeAlias = Literal["blocks", "jaccard", "jaccard-published"]

DEFAULT: PartitionKind = "blocks"
KINDS: dict[str, Callable[..., Partitioner]] = {
    "blocks": BlockPartitioner,
    "jaccard": JaccardPartitioner,
    "jaccard-published": PublishedPartitioner,
}


def make_partitioner(kind: str, max_pairs: int = 1 << 20) -> Partitioner:
    """A partitioner of a kind that holds so many pairs of labels at most.

    Raises
    ------
    UsageError
        There is no such kind.
    """
    if kind not in KINDS:
        *others, last = map(repr, KINDS)
        raise UsageError(f"kind: found {kind!r}, accepted: {', '.join(others)} or {last}")
    return KINDS[kind](max_pairs=max_pairs)
