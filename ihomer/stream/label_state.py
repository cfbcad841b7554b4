"""What a label join keeps, as plain values and arrays, and back.

In: a `LabelJoin`. Out: numbers, strings, tuples and a few flat arrays: everything that is large is
one of the arrays. It is here so that the join is a part of the state like any other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ihomer.instances import BoolArray
from ihomer.state import Plain
from ihomer.stream.event_time import EventTime
from ihomer.stream.kept_features import FeatureStore, Packed
from ihomer.stream.label_join import DIGEST, LabelJoin
from ihomer.stream.label_rows import Waiting

BytesArray: TypeAlias = npt.NDArray[np.uint8]


def join_state(join: LabelJoin) -> dict[str, Any]:
    """Everything that `restore_join` takes."""
    waiting = join._waiting
    return {
        "counts": dict(join.counts),
        "owed": join._owed,
        "records": join._records,
        "number": join._number,
        "time": join._time.state(),
        "store": join._store.state(),
        # An event without its data, but for their length: no field of it ever changes.
        "waiting": Plain(
            [
                (key, number, elapsed, packed.shape, len(packed.data), packed.sparse, *rest)
                for key, (number, elapsed, packed, *rest) in waiting.items()
            ]
        ),
        "data": np.frombuffer(b"".join([e.packed.data for e in waiting.values()]), np.uint8),
        "held": Plain(join._held.items()),
        "sent": _table(join._sent.items(), len(join._sent), 2),
        "unsettled": _table(join._unsettled.items(), len(join._unsettled), 2),
        "done": tuple(_set_state(each) for each in (join._done, join._done_before)),
    }


def restore_join(join: LabelJoin, state: Mapping[str, Any]) -> None:
    """Let a fresh `join` go on from a `state`; what it was made with is not in there."""
    join.counts = dict(state["counts"])
    join._owed = state["owed"]
    join._records, join._number = state["records"], state["number"]
    join._time = EventTime()
    join._time.restore(state["time"])
    data, start = state["data"].tobytes(), 0
    join._waiting = OrderedDict()
    for key, number, elapsed, shape, length, sparse, *rest in state["waiting"]:
        packed = Packed(shape, data[start : start + length], sparse)
        start += length
        join._waiting[key] = Waiting(number, elapsed, packed, *rest)
    join._held = OrderedDict(state["held"])
    kept = (event.packed for event in join._waiting.values())
    join._store = FeatureStore.restored(state["store"], kept)
    join._waiting_bytes = sum(event.n_bytes for event in join._waiting.values())
    join._held_bytes = sum(labels.n_bytes for labels in join._held.values())
    join._sent = dict(state["sent"].tolist())
    join._unsettled = dict(state["unsettled"].tolist())
    join._sent_bytes = sum(join._sent.values())
    join._done, join._done_before = map(_set_of, state["done"])


def _table(rows: Iterable[tuple[int, ...]], height: int, width: int) -> npt.NDArray[np.int64]:
    # Twice as fast as an array of a list of tuples.
    values = np.fromiter(chain.from_iterable(rows), np.int64, height * width)
    return values.reshape(height, width)


def _set_state(done: Mapping[bytes, bool]) -> tuple[BytesArray, BoolArray]:
    digests = np.frombuffer(b"".join(done), np.uint8).reshape(-1, DIGEST)
    return digests, np.fromiter(done.values(), np.bool_, len(done))


def _set_of(state: tuple[BytesArray, BoolArray]) -> dict[bytes, bool]:
    digests, labelled = state
    return {row.tobytes(): bool(flag) for row, flag in zip(digests, labelled, strict=True)}
