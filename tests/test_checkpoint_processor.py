"""A processor that is restored from a checkpoint writes what the first one would have written."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest

from ihomer import IHomer
from ihomer.connectors.memory import MemorySink
from ihomer.connectors.synthetic import SyntheticSource
from ihomer.errors import InputError
from ihomer.state import digest
from ihomer.stream.checkpoints import CheckpointStore, Mark
from ihomer.stream.chronicle import Chronicle
from ihomer.stream.dead_letters import DeadLetters
from ihomer.stream.decode import Decoder
from ihomer.stream.label_join import LabelJoin
from ihomer.stream.processor import Processor
from tests.late_streams import late_stream
from tests.test_late_labels import Bench, records_of


def _source() -> SyntheticSource:
    return SyntheticSource("linear", events=900, drift="sudden", labels=4, features=6)


def _processor(*, threads: int = 1, told: MemorySink | None = None) -> tuple[Processor, MemorySink]:
    learner, sink = IHomer(threads=threads), MemorySink()
    chronicle = Chronicle(learner, told)
    return Processor(learner, Decoder(), DeadLetters(None), sink, chronicle=chronicle), sink


def _process(processor: Processor, source: SyntheticSource, batches: int) -> None:
    for _ in range(batches):
        records = source.next_batch(50, timeout=0.0)
        if records:
            processor.process(records)


def test_a_restored_processor_goes_on(tmp_path: Path) -> None:
    source, told = _source(), MemorySink()
    first, written = _processor(told=told)
    store = CheckpointStore(tmp_path)
    _process(first, source, 8)
    store.save(first.state(), Mark(8, 1, first.events, source.position()))
    seen, heard = len(written.messages), len(told.messages)
    _process(first, source, 10)

    loaded = store.newest()
    assert loaded is not None
    assert loaded.mark.events == loaded.roots["processor"]["events"] == 400
    assert loaded.mark.position is not None
    again, told_again = _source(), MemorySink()
    second, written_again = _processor(threads=2, told=told_again)
    second.restore(loaded.roots)
    assert second.events == 400
    again.seek(dict(loaded.mark.position))
    _process(second, again, 10)
    assert [each.value for each in written_again.messages] == [
        each.value for each in written.messages[seen:]
    ]
    assert [each.value for each in told_again.messages] == [
        each.value for each in told.messages[heard:]
    ]
    assert isinstance(second.main.learner, IHomer)
    assert second.main.learner.threads == 2
    second.main.learner.use_threads(1)
    assert digest({"model": second.main.learner.encoder}) == digest(
        {"model": first.main.learner.encoder}
    )
    assert second.events == first.events == 900


@pytest.mark.parametrize("size", [13, 64, 300])
def test_where_an_event_was_learned_is_told_after_a_restart(size: int) -> None:
    """Also if that was before the checkpoint: the places of a stride are part of it."""
    source, told = _source(), MemorySink()
    whole, _ = _processor(told=told)
    records = [*(source.next_batch(900, timeout=0.0) or ())]
    whole.process(records)
    told_in_parts = MemorySink()
    parts, _ = _processor(told=told_in_parts)
    for start in range(0, len(records), size):
        parts.process(records[start : start + size])
        state = deepcopy(parts.state())
        parts, _ = _processor(told=told_in_parts)
        parts.restore(state)
        assert parts.state()["chronicle"] == state["chronicle"]
    assert len(told.pending) > 3
    assert [each.value for each in told_in_parts.pending] == [each.value for each in told.pending]
    assert all(b'"offset"' in (each.value or b"") for each in told.pending)


def test_an_imported_learner_comes_alone() -> None:
    processor, _ = _processor()
    learner = IHomer(labels=["a"])
    processor.restore({"learner": learner})
    assert processor.main.learner is learner
    assert processor.events == 0


def test_what_cannot_be_restored_is_refused() -> None:
    processor, _ = _processor()
    with pytest.raises(InputError, match="found the learner NoneType, accepted: IHomer"):
        processor.restore({})


def test_labels_that_are_waited_for_are_part_of_it(tmp_path: Path) -> None:
    pairs = [({"a": float(i % 7), "b": i % 3}, [f"label {i % 7}"]) for i in range(600)]
    values = [arrival.value for arrival in late_stream(pairs, 11, delay=150).arrivals]
    records = records_of(values)
    whole, parts = (Bench(LabelJoin(120, None), "majority-set") for _ in range(2))
    for each in (whole, parts):
        each.processor.baselines.clear()  # they have no part in a checkpoint
    store = CheckpointStore(tmp_path)
    for start in range(0, len(records), 40):
        whole.processor.process(records[start : start + 40])
        store.save(parts.processor.state(), Mark(start))
        loaded = store.newest()
        assert loaded is not None
        assert digest(loaded.roots) == digest(parts.processor.state())
        fresh = Bench(LabelJoin(120, None), "majority-set")
        fresh.processor.baselines.clear()
        fresh.processor.restore(loaded.roots)
        parts.processor = fresh.processor
        parts.processor.process(records[start : start + 40])
        mine = [each.value for each in fresh.sink.messages + fresh.sink.pending]
        theirs = [each.value for each in whole.sink.messages + whole.sink.pending]
        assert mine == theirs[len(theirs) - len(mine) :]
        assert parts.processor.main.result() == whole.processor.main.result()
    assert parts.processor.late is not None
    assert whole.processor.late is not None
    assert parts.processor.late.figures() == whole.processor.late.figures()
    assert whole.processor.late.figures()["waiting"] > 0
