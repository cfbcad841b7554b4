"""What must hold of a daemon that delivers exactly once, whatever has happened to it.

In: the input, the predictions, the dead letters and the journal as a read_committed reader sees
them, and the checkpoint folder. Out: nothing, or an `InvariantError` that names the first thing
that does not hold. It is here so that the tests and `make chaos` look for the same.

I1  no checkpoint is ahead of the journal
I2  the origins of what is visible are the input's records before the journal's offsets, each once;
    where labels come late, those that are events or broken
I3  the outputs of an input partition are in input order
I4  the journal's ranges follow each other without a gap or an overlap
I5  predictions and model are those of an uninterrupted run over the journal's ranges
I6  there is a checkpoint that can be loaded
I7  (nothing of a fenced process is visible) follows from I2 and I4, where one was fenced
I8  a recovery is no longer than the configuration allows; see `tools.chaos`
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from ihomer.connectors.base import Message, Record
from ihomer.connectors.kafka_journal import Entry, decode
from ihomer.connectors.kafka_ranges import check
from ihomer.connectors.kafka_records import record_of
from ihomer.connectors.memory import MemorySink, MemorySource
from ihomer.errors import InputError
from ihomer.state import digest
from ihomer.stream.assemble import make_processor
from ihomer.stream.checkpoints import CheckpointStore, Mark
from ihomer.stream.exactly_once.recovery import read_position
from ihomer.stream.settings import Settings
from tools.same import first_difference

PATIENCE_S = 60.0
Place = tuple[str, int]  # topic and partition of the input
Origin = tuple[str, int, int]  # and offset


class InvariantError(AssertionError):
    """Something that must hold does not."""


class View:
    """A topic as a read_committed reader sees it, kept up to date.

    Parameters
    ----------
    bootstrap, topic
        Where it is.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.topic = topic
        self.records: dict[int, list[Record]] = {}
        self._consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            metadata_max_age_ms=1000,  # partitions may be added
            metrics_enabled=False,
        )
        self._places: list[Any] = []
        self._look_for_partitions()

    def _look_for_partitions(self) -> None:
        known = self._consumer.partitions_for_topic(self.topic) or set()
        places = [TopicPartition(self.topic, partition) for partition in sorted(known)]
        if places != self._places:
            at = {place: self._consumer.position(place) for place in self._places}
            self._places = places
            self._consumer.assign(places)
            for place, offset in at.items():
                self._consumer.seek(place, offset)
            for place in places:
                self.records.setdefault(place.partition, [])

    def update(self) -> None:
        """Read to the end as it is now."""
        self._look_for_partitions()
        ends = self._consumer.end_offsets(self._places)
        limit = time.monotonic() + PATIENCE_S
        while any(self._consumer.position(place) < ends[place] for place in self._places):
            if time.monotonic() > limit:
                raise InvariantError(f"{self.topic} cannot be read to its end")
            for place, found in self._consumer.poll(timeout_ms=200, max_records=5000).items():
                self.records[place.partition] += [
                    record_of(self.topic, place.partition, each) for each in found
                ]

    def total(self) -> int:
        """Number of records seen."""
        return sum(map(len, self.records.values()))

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close(autocommit=False)


def _between(records: Sequence[Record], start: int, stop: int) -> Sequence[Record]:
    first = bisect_left(records, start, key=lambda record: record.offset)
    return records[first : bisect_left(records, stop, first, key=lambda record: record.offset)]


class Visible:
    """The outputs of one topic by the input's partition that they answer.

    Parameters
    ----------
    view
        Of the topic.
    prefix
        Of the headers that name the origin.
    """

    def __init__(self, view: View, prefix: str) -> None:
        self._view = view
        self._prefix = prefix
        self._seen: Counter[int] = Counter()
        self._compared: Counter[Place] = Counter()
        self._taken: Counter[int] = Counter()
        self._theirs: dict[Place, list[Record]] = defaultdict(list)
        self._ours: dict[Place, list[Message]] = defaultdict(list)
        self._last: dict[Place, int] = {}

    def _place(self, headers: dict[str, bytes]) -> Place:
        return headers[f"{self._prefix}.topic"].decode(), int(headers[f"{self._prefix}.partition"])

    def update(self) -> list[Origin]:
        """Origins of what is new; raises where I3 does not hold."""
        found: list[Origin] = []
        for output, records in self._view.records.items():
            for record in records[self._seen[output] :]:
                headers = dict(record.headers)
                place = self._place(headers)
                offset = int(headers[f"{self._prefix}.offset"])
                if offset <= self._last.get(place, -1):
                    raise InvariantError(
                        f"I2, I3: {self._view.topic}: offset {offset} of {place} comes behind"
                        f" {self._last[place]}"
                    )
                self._last[place] = offset
                self._theirs[place].append(record)
                found.append((*place, offset))
            self._seen[output] = len(records)
        return found

    def compare(self, lists: Sequence[Sequence[Message]]) -> None:
        """Compare bytes, keys, headers and timestamps with what the twins have written.

        A twin may be ahead of what was read of the outputs; how many there are is I2's business.
        """
        for number, messages in enumerate(lists):
            for message in messages[self._taken[number] :]:
                self._ours[self._place(dict(message.headers))].append(message)
            self._taken[number] = len(messages)
        for place, theirs in self._theirs.items():
            first = self._compared[place]
            for message, record in zip(self._ours[place][first:], theirs[first:], strict=False):
                if (message.value, message.key, message.headers, message.timestamp) != (
                    record.value,
                    record.key,
                    record.headers,
                    record.timestamp,
                ):
                    raise InvariantError(
                        f"I5: {self._view.topic}: for {place}, found {record.value!r}, the twin"
                        f" wrote {message.value!r}"
                    )
            self._compared[place] = min(len(theirs), len(self._ours[place]))


class Input:
    """A topic of the input, and which of its records are to be answered.

    Parameters
    ----------
    view
        Of the topic.
    answered
        Whether a record is.
    """

    def __init__(self, view: View, answered: Callable[[Record], bool]) -> None:
        self.view = view
        self._answered = answered
        self._looked: Counter[int] = Counter()
        self._offsets: dict[int, list[int]] = defaultdict(list)

    def update(self) -> None:
        """Read to the end as it is now."""
        self.view.update()
        for partition, records in self.view.records.items():
            new = records[self._looked[partition] :]
            self._offsets[partition] += [each.offset for each in new if self._answered(each)]
            self._looked[partition] = len(records)

    def between(self, partition: int, start: int, stop: int) -> list[int]:
        """Offsets of records that are to be answered, at `start` and later, before `stop`."""
        offsets = self._offsets[partition]
        first = bisect_left(offsets, start)
        return offsets[first : bisect_left(offsets, stop, first)]

    def end(self, partition: int) -> int:
        """The offset behind the last record."""
        records = self.view.records[partition]
        return records[-1].offset + 1 if records else 0


@dataclass
class Twin:
    """An uninterrupted run that is fed what the journal names, entry by entry.

    Attributes
    ----------
    number, offset
        Of the last entry that was learned.
    """

    settings: Settings
    number: int = 0

    def __post_init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.predictions = MemorySink()
        self.dead = MemorySink()
        self.processor = make_processor(
            self.settings, MemorySource(()), self.predictions, self.dead
        )

    def learn(self, entry: Entry, steps: Sequence[Sequence[Record]]) -> None:
        """Learn what an entry names, range by range."""
        if entry.kind == "fresh":
            written = self.predictions.pending, self.dead.pending
            self._begin()
            self.predictions.pending, self.dead.pending = written
        for records in steps:
            self.processor.process(records)
        if self.processor.events != entry.events:
            raise InvariantError(
                f"I5: after batch {entry.number} the twin has seen {self.processor.events} events,"
                f" the journal says {entry.events}"
            )
        self.number = entry.number


class Invariants:
    """Looks at one application between kills; what it has seen before is not read again.

    Parameters
    ----------
    bootstrap
        Of the broker.
    inputs, sink, dead_letters, journal
        Names of topics.
    state
        Folder of the application, with a folder for each slot.
    settings
        Of the daemon.
    answered
        Which records of the input are to be answered; None: all.

    Attributes
    ----------
    twins
        Of each slot, an uninterrupted run over what the journal names.
    """

    def __init__(
        self,
        bootstrap: str,
        inputs: Sequence[str],
        sink: str,
        dead_letters: str,
        journal: str,
        state: Path,
        settings: Settings,
        answered: Callable[[Record], bool] | None = None,
    ) -> None:
        self.inputs = {
            topic: Input(View(bootstrap, topic), answered or (lambda _: True)) for topic in inputs
        }
        self.sink = View(bootstrap, sink)
        self.dead_letters = View(bootstrap, dead_letters)
        self.journal = View(bootstrap, journal)
        self._state = state
        self._slots = settings.slots
        self._keep = settings.checkpoint_keep
        self.twins = [Twin(settings) for _ in range(settings.slots)]
        self._entries: dict[int, list[Entry]] = defaultdict(list)
        self._seen: Counter[int] = Counter()
        self._tail: dict[Place, int] = {}
        self._lost: set[Origin] = set()
        self._found: set[Origin] = set()
        self._visible = (
            Visible(self.sink, "ihomer"),
            Visible(self.dead_letters, "ihomer.errors"),
        )
        self.digests_compared = 0

    def check(self) -> None:
        """Look at everything; raises `InvariantError`."""
        # A worker may go on meanwhile: what the journal named before the outputs were read must be
        # there, and nothing else than what it named behind them.
        self._follow_all()
        before = dict(self._tail)
        self.sink.update()
        self.dead_letters.update()
        self._follow_all()
        self._outputs(before)

    def _follow_all(self) -> None:
        # The disk before the journal, or a checkpoint may be newer than what was read of it.
        stores = [CheckpointStore(self._state / str(s), self._keep) for s in range(self._slots)]
        marks = [[each.mark for each in store.list() if each.mark is not None] for store in stores]
        self.journal.update()
        for each in self.inputs.values():
            each.update()
        for slot, store in enumerate(stores):
            self._follow(slot, store, marks[slot])

    def _new_entries(self, slot: int) -> Iterator[tuple[int, Entry]]:
        records = self.journal.records[slot][self._seen[slot] :]
        self._seen[slot] = len(self.journal.records[slot])
        for record in records:
            value = record.value if isinstance(record.value, bytes) else None
            yield record.offset, decode(value, f"journal {slot}, offset {record.offset}")

    def _follow(self, slot: int, store: CheckpointStore, marks: Sequence[Mark]) -> None:
        """I1, I4, I6 and the model's half of I5, for what is new of a slot."""
        twin = self.twins[slot]
        named = {mark.batch: mark for mark in marks}
        end = max((r.offset + 1 for r in self.journal.records[slot]), default=0)
        entries = list(self._new_entries(slot))
        for _, entry in entries:
            if entry.number != twin.number + 1:
                raise InvariantError(f"I4: batch {entry.number} follows on {twin.number}")
            steps: list[Sequence[Record]] = []
            for each in entry.ranges:
                place = (each.topic, each.partition)
                known = self._tail.get(place)
                if known is not None and each.start != known:
                    raise InvariantError(f"I4: {each} follows on offset {known}")
                self._tail[place] = each.stop
                records = self.inputs[each.topic].view.records[each.partition]
                found = _between(records, each.start, each.stop)
                if entry.kind == "skip":
                    self._lost |= {(*place, offset) for offset in range(each.start, each.stop)}
                if entry.kind == "batch":
                    try:
                        check(each, found)
                    except InputError as error:
                        raise InvariantError(f"I4: {error}") from None
                    steps.append(found)
            twin.learn(entry, steps)
            mark = named.get(entry.number)
            if mark is not None and mark.position is not None:
                self._compare(slot, store, mark.name, twin)
        for mark in marks:
            if mark.position is None:
                continue
            offsets, journal = read_position(mark.position, mark.name)
            last = {(topic, p): o for topic, at in offsets.items() for p, o in at.items()}
            if journal > end + 1 or mark.batch > twin.number:
                raise InvariantError(f"I1: checkpoint {mark.name} is ahead of the journal")
            if mark.batch == twin.number and any(
                last.get(place, stop) != stop
                for place, stop in self._tail.items()
                if place[1] % self._slots == slot
            ):
                raise InvariantError(f"I1: checkpoint {mark.name} stands at {last}")
        if entries and store.newest() is None:
            raise InvariantError(f"I6: slot {slot} has no checkpoint")

    def _compare(self, slot: int, store: CheckpointStore, name: str, twin: Twin) -> None:
        newest = store.newest()
        if newest is None or newest.entry.name != name:
            return  # only the newest is loaded: others cost time, and were the newest once
        ours = twin.processor.state()
        where = None
        if digest(newest.roots) != digest(ours):
            where = first_difference(ours, newest.roots)
        if where is not None:
            raise InvariantError(f"I5: checkpoint {name} of slot {slot} is not the twin's: {where}")
        self.digests_compared += 1

    def _named(self, tail: dict[Place, int]) -> int:
        """How many records before these offsets are to be answered, and not lost."""
        return sum(
            len(self.inputs[topic].between(partition, 0, stop))
            for (topic, partition), stop in tail.items()
        ) - sum(
            len(self.inputs[topic].between(partition, offset, offset + 1))
            for topic, partition, offset in self._lost
            if offset < tail.get((topic, partition), 0)
        )

    def recorded(self, slot: int) -> Iterator[Record]:
        """The records that a slot has learned, in the order in which it did."""
        for stored in self.journal.records[slot]:
            entry = decode(stored.value if isinstance(stored.value, bytes) else None, "journal")
            for each in entry.ranges:
                records = self.inputs[each.topic].view.records[each.partition]
                yield from _between(records, each.start, each.stop)

    def behind(self) -> bool:
        """Whether there are records of the input that the journal does not name yet."""
        return any(
            self._tail.get((topic, partition), 0) < each.end(partition)
            for topic, each in self.inputs.items()
            for partition in each.view.records
        )

    def _outputs(self, before: dict[Place, int]) -> None:
        """I2, I3 and the predictions' half of I5, for what is new."""
        late = 0
        for seen in self._visible:
            for origin in seen.update():
                topic, partition, offset = origin
                if origin in self._found:
                    raise InvariantError(f"I2: {origin} is answered twice")
                if offset >= self._tail.get((topic, partition), 0) or not self.inputs[
                    topic
                ].between(partition, offset, offset + 1):
                    raise InvariantError(f"I2: {origin} is answered, the journal has it not")
                self._found.add(origin)
                late += offset >= before.get((topic, partition), 0)
        # All that was found in earlier rounds is before these offsets.
        if len(self._found) - late != self._named(before):
            missing = [
                (*place, offset)
                for place, stop in before.items()
                for offset in self.inputs[place[0]].between(place[1], 0, stop)
                if (*place, offset) not in self._found | self._lost
            ]
            raise InvariantError(f"I2: missing {missing[:5]}")
        self._visible[0].compare([twin.predictions.pending for twin in self.twins])
        self._visible[1].compare([twin.dead.pending for twin in self.twins])

    def close(self) -> None:
        """Close the connections."""
        inputs = [each.view for each in self.inputs.values()]
        for view in (*inputs, self.sink, self.dead_letters, self.journal):
            view.close()
