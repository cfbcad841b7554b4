"""Back to where the journal ends: checkpoint, then a silent replay of what lies behind it.

In: the newest valid checkpoint, the journal behind it, the input that it names. Out: the model
and the offsets as they were when the last entry was committed. It is here because this is the only
way in which a model comes to life: at a first start, after a crash, at a hand-over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from ihomer import faults
from ihomer.connectors.base import Position, Record
from ihomer.connectors.kafka_journal import Entry, Journal
from ihomer.connectors.kafka_ranges import (
    Offsets,
    Range,
    check,
    copy_of,
    offsets_from_json,
    offsets_to_json,
)
from ihomer.connectors.kafka_reader import LostRangeError, RangeReader, Stopped
from ihomer.errors import InputError
from ihomer.stream.checkpoints import CheckpointStore, Mark
from ihomer.stream.exactly_once.model import Model, RefusedError
from ihomer.stream.exactly_once.plan import Plan
from ihomer.stream.exactly_once.positions import first_offsets, of_inputs
from ihomer.stream.resuming import require_compatible

log = structlog.get_logger("ihomer")


@dataclass
class Recovered:
    """A model and where it stands.

    Attributes
    ----------
    model
        Has learned what the journal names.
    offsets
        The next offsets.
    number
        Of the last entry.
    epoch
        Our own: one more than any before.
    after
        Journal offset behind the last entry.
    fresh
        Whether an entry must say that the model is a new one.
    lost
        Ranges that the journal names and the input no longer has.
    replayed, relearned
        Entries and events that were learned again.
    saved
        Whether the newest checkpoint is of this state.
    seconds
        What each part of the way took, by name.
    """

    model: Model
    offsets: Offsets
    number: int = 0
    epoch: int = 1
    after: int = 0
    fresh: bool = False
    lost: list[Range] = field(default_factory=list)
    replayed: int = 0
    relearned: int = 0
    saved: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    def mark(self, configuration: Mapping[str, Any]) -> Mark:
        """For a checkpoint of this state."""
        return Mark(
            batch=self.number,
            epoch=self.epoch,
            events=self.model.events,
            position=position_of(self.offsets, self.after),
            configuration=configuration,
        )


def position_of(offsets: Offsets, after: int) -> Position:
    """A checkpoint's position: the next offsets, and the journal's."""
    return {"offsets": offsets_to_json(offsets), "journal": after}


def read_position(position: Mapping[str, Any], name: str) -> tuple[Offsets, int]:
    """The inverse of `position_of`; raises `InputError` where it is none."""
    try:
        return offsets_from_json(position["offsets"]), int(position["journal"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f"checkpoint {name}: found position {position!r}, accepted: offsets and journal"
        ) from None


class Recovery:
    """One slot's way back; see the module.

    Parameters
    ----------
    plan, slot
        Of the slot.
    store, journal, reader
        Opened; the transactional id is ours already.
    stopping
        Asked between records.
    """

    def __init__(
        self,
        plan: Plan,
        slot: int,
        store: CheckpointStore,
        journal: Journal,
        reader: RangeReader,
        stopping: Callable[[], bool],
    ) -> None:
        self._plan = plan
        self._slot = slot
        self._store = store
        self._journal = journal
        self._reader = reader
        self._stopping = stopping

    def run(self, *, fresh: bool) -> Recovered:
        """The slot's model and position.

        Parameters
        ----------
        fresh
            Begin with an empty model behind the journal's end, whatever there is.

        Raises
        ------
        InputError
            There is no checkpoint that can be used, the configuration has changed, or the input
            no longer has what the journal names.
        UnavailableError
            The cluster does not answer.
        Stopped
            Somebody wants us to stop.
        """
        begun = time.monotonic()
        found = self._begin_anew() if fresh else self._go_on()
        log.info(
            "recovered",
            slot=self._slot,
            batch=found.number,
            epoch=found.epoch,
            events=found.model.events,
            replayed_batches=found.replayed,
            replayed_events=found.relearned,
            seconds=round(time.monotonic() - begun, 3),
            **{f"{part}_seconds": round(spent, 3) for part, spent in found.seconds.items()},
        )
        return found

    def _begin_anew(self) -> Recovered:
        part = self._journal.read(0, self._stopping)
        known = [each.mark for each in self._store.list() if each.mark is not None]
        # Numbers go on, or a checkpoint of the old model would count as a newer one.
        number, epoch = self._store.highest()
        offsets: Offsets = {}
        if part.last is not None:
            number, offsets = max(number, part.last.number), part.last.offsets
            epoch = max(epoch, *(entry.epoch for _, entry in part.entries))
        elif part.end and known and known[-1].position is not None:
            # All entries were deleted behind a checkpoint; an empty journal is another cluster's.
            offsets, _ = read_position(known[-1].position, known[-1].name)
        return Recovered(
            Model(self._plan),
            self._all_offsets(offsets),
            number,
            epoch + 1,
            part.end,
            fresh=True,
        )

    def _all_offsets(self, known: Offsets) -> Offsets:
        """The offsets that are known, and first ones of topics that were not read before."""
        found = of_inputs(self._plan, known)
        new = [topic for topic in self._plan.inputs if topic not in found]
        return found | first_offsets(self._plan, self._slot, self._reader, new)

    def _go_on(self) -> Recovered:
        begun = time.monotonic()
        loaded = self._store.newest()
        if loaded is None:
            return self._first_start()
        require_compatible(loaded, self._plan.settings)
        model = Model(self._plan)
        model.restore(loaded.roots)
        if loaded.mark.position is None:
            return self._warm_start(model, loaded.mark.epoch)
        offsets, journal = read_position(loaded.mark.position, loaded.entry.name)
        found = Recovered(
            model, offsets, loaded.mark.batch, loaded.mark.epoch + 1, journal, saved=True
        )
        found.seconds["load"] = time.monotonic() - begun
        self._replay(found)
        return found

    def _first_start(self) -> Recovered:
        part = self._journal.read(0, self._stopping)
        if part.end:
            raise InputError(
                f"{self._plan.folder(self._slot)}: found no checkpoint, but {self._journal} is not"
                " empty; accepted: the state_dir of the workers before, or --fresh for an empty"
                " model"
            )
        return Recovered(Model(self._plan), self._all_offsets({}))

    def _warm_start(self, model: Model, epoch: int) -> Recovered:
        """A model that was imported: it goes on behind the journal's end."""
        part = self._journal.read(0, self._stopping)
        if part.last is None:
            return Recovered(model, self._all_offsets({}), epoch=epoch + 1)
        last = part.last
        offsets = self._all_offsets(last.offsets)
        return Recovered(model, offsets, last.number, 1 + max(epoch, last.epoch), part.end)

    def _replay(self, found: Recovered) -> None:
        begun = time.monotonic()
        entries = self._journal.read(found.after, self._stopping).entries
        found.seconds["journal"] = time.monotonic() - begun
        todo = [(at, entry) for at, entry in entries if entry.number > found.number]
        if entries:
            found.after = entries[-1][0] + 1
            found.epoch = 1 + max(found.epoch - 1, *(entry.epoch for _, entry in entries))
        if todo:
            log.info(
                "replaying what the journal has behind the checkpoint",
                slot=self._slot,
                checkpoint=found.number,
                batches=len(todo),
                records=sum(r.records for _, entry in todo for r in entry.ranges),
            )
            self._reader.go_to(_beginnings(todo, found.offsets))
        else:
            faults.reach("during-recovery")  # each recovery passes it
        begun = time.monotonic()
        for at, entry in todo:
            if self._stopping():
                raise Stopped
            if entry.number != found.number + 1:
                raise InputError(
                    f"{self._journal}, offset {at}: found batch {entry.number}, wanted"
                    f" {found.number + 1}: the journal has been shortened behind the checkpoint"
                )
            faults.reach("during-recovery")
            before = found.model.events
            self._learn_again(found, at, entry)
            found.relearned += max(0, found.model.events - before)
            found.number = entry.number
            found.offsets = entry.offsets
            found.replayed += 1
            found.saved = False
        found.seconds["replay"] = time.monotonic() - begun

    def _learn_again(self, found: Recovered, at: int, entry: Entry) -> None:
        if entry.kind == "fresh":
            found.model = Model(self._plan)
            return
        if entry.kind == "skip":
            return
        complete = True
        found.model.silent = True
        for each in entry.ranges:
            records = self._read(found, each)
            complete = complete and len(records) == each.records
            try:
                found.model.learn(records)
            except RefusedError as refused:
                raise refused.reason from None
            found.model.take()
        found.model.silent = False
        if complete and not found.lost and found.model.events != entry.events:
            raise InputError(
                f"{self._journal}, offset {at}: after batch {entry.number} the model has seen"
                f" {found.model.events} events, the journal says {entry.events}"
            )

    def _read(self, found: Recovered, wanted: Range) -> list[Record]:
        """The records of a range; fewer, if they are gone and that is accepted."""
        while True:
            try:
                records = self._reader.read(wanted)
                check(wanted, records)
            except LostRangeError as lost:
                if not self._plan.skip_lost or lost.begin <= lost.start:
                    raise InputError(f"{wanted}: named by the journal, but {lost}") from None
                self._reader.skip_to(lost.topic, lost.partition, lost.begin)
            except InputError as error:
                if not self._plan.skip_lost:
                    raise InputError(f'{error}; lost_events = "skip" learns what is left') from None
                log.warning("events are lost", range=str(wanted), reason=str(error))
                found.lost.append(wanted)
                return records
            else:
                return records


def _beginnings(todo: list[tuple[int, Entry]], offsets: Offsets) -> Offsets:
    """Where reading begins: the checkpoint's offsets, and those of partitions added later."""
    found = copy_of(offsets)
    for _, entry in todo:
        for each in entry.ranges:
            found.setdefault(each.topic, {}).setdefault(each.partition, each.start)
    return found
