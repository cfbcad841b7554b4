"""What every peer asks of a batch, whatever it turns its events into."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.candidate import Shape
from ihomer.errors import UsageError
from ihomer.instances import Batch


def check_columns(batch: Batch, shape: Shape) -> None:
    """Raise `UsageError` if `batch` has a feature column that was not declared in `shape`."""
    largest = int(batch.indices.max()) if len(batch.indices) else -1
    if largest >= shape.features:
        raise UsageError(
            f"features: found column {largest}, accepted: below {shape.features}, the number"
            " declared at the start"
        )


def events_learned(batch: Batch, before: int) -> npt.NDArray[np.int64]:
    """Number of events learned before each event of `batch`, int64 (n,); `before` = before it."""
    learned = batch.labelled.astype(np.int64)
    return before + np.cumsum(learned) - learned
