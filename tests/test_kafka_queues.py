"""Records of several partitions that wait for their turn, with a slow twin, and what it is for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ihomer.connectors.base import Record
from ihomer.connectors.kafka_queues import Place, Queues
from ihomer.connectors.kafka_records import RECORD_OVERHEAD

PLACES = [Place(topic, partition) for topic in ("events", "labels") for partition in (0, 1)]
FETCH = st.tuples(
    st.integers(0, len(PLACES) - 1),
    st.lists(st.one_of(st.none(), st.integers(0, 20)), max_size=5),
)
STEPS = st.lists(st.one_of(FETCH, st.integers(1, 7)), max_size=30)


class Naive:
    """One list of everything, searched from end to end, one record at a time."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.taken = dict.fromkeys(PLACES, 0)

    def take(self, most: int) -> list[Record]:
        found: list[Record] = []
        now: Place | None = None
        for _ in range(most):
            heads: dict[Place, Record] = {}
            for record in self.records:
                heads.setdefault(Place(record.source, record.partition), record)
            if not heads:
                break
            if now not in heads:
                now = min(
                    heads,
                    key=lambda place: (
                        -1 if heads[place].timestamp is None else heads[place].timestamp,
                        self.taken[place],
                        place,
                    ),
                )
            assert now is not None
            self.records.remove(heads[now])
            self.taken[now] += 1
            found.append(heads[now])
        return found


@given(STEPS)
def test_whose_turn_it_is(steps: list[int | tuple[int, list[int | None]]]) -> None:
    queues, naive = Queues(PLACES), Naive()
    offsets = dict.fromkeys(PLACES, 0)
    for step in steps:
        if isinstance(step, int):
            assert queues.take(step) == naive.take(step)
        else:
            place = PLACES[step[0]]
            records = [
                Record(b"%d" % i, *place, offsets[place] + i, timestamp=when)
                for i, when in enumerate(step[1])
            ]
            offsets[place] += len(records)
            queues.add(place, records)
            naive.records += records
        assert len(queues) == len(naive.records)
        for place in PLACES:
            waiting = [r for r in naive.records if (r.source, r.partition) == place]
            size = sum(
                RECORD_OVERHEAD + len(r.value) for r in waiting if isinstance(r.value, bytes)
            )
            assert queues.n_bytes(place) == size
            assert queues.first(place) == (waiting[0].offset if waiting else None)
            assert queues.last(place) == (waiting[-1].offset if waiting else -1)


def test_what_a_replay_takes_and_forgets() -> None:
    queues = Queues(PLACES)
    place, other = PLACES[:2]
    queues.add(place, [Record(b"", *place, offset) for offset in (3, 4, 7, 9)])
    queues.add(other, [Record(b"", *other, 5)])
    assert [record.offset for record in queues.take_before(place, 4)] == [3]
    assert [record.offset for record in queues.take_before(place, 8)] == [4, 7]
    assert queues.take_before(place, 9) == []
    queues.clear(place)
    assert (queues.n_bytes(place), queues.first(place), queues.last(place)) == (0, None, -1)
    assert [record.offset for record in queues.take_before(other, 99)] == [5]


def test_labels_keep_step_with_their_events() -> None:
    """Both have much to catch up with; a fetch brings ten times as many labels as events."""
    events, labels = PLACES[0], PLACES[2]
    queues = Queues([events, labels])
    backlog = {events: 10_000, labels: 10_000}
    fetched, seen, furthest = {events: 0, labels: 0}, {events: 0, labels: 0}, 0
    fetch = {events: 100, labels: 1_000}
    while any(seen[place] < backlog[place] for place in backlog):
        for place in (labels, events):
            if queues.first(place) is None and fetched[place] < backlog[place]:
                start, fetched[place] = fetched[place], fetched[place] + fetch[place]
                queues.add(
                    place,
                    [Record(b"", *place, i, timestamp=i) for i in range(start, fetched[place])],
                )
        for record in queues.take(64):
            place = Place(record.source, record.partition)
            assert record.offset == seen[place]
            seen[place] += 1
            furthest = max(furthest, seen[labels] - seen[events])
    assert furthest <= 64
