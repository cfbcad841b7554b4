"""Labels that come late: predicted at once, learned once, scored against what was sent."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer import vocabulary
from ihomer.connectors.base import Record
from ihomer.connectors.memory import MemorySink
from ihomer.errors import InputError
from ihomer.instances import Encoder
from ihomer.learners import baselines
from ihomer.learners.baselines import BASELINES, make_baseline
from ihomer.learners.ihomer import IHomer
from ihomer.stream.dead_letters import DeadLetters
from ihomer.stream.decode import Decoder
from ihomer.stream.label_delay import LabelDelay
from ihomer.stream.label_join import LabelJoin
from ihomer.stream.late_labels import LateLabels
from ihomer.stream.processor import Processor
from tests.late_streams import late_stream
from tests.naive_label_join import NaiveJoin
from tests.naive_late_labels import NaiveLate
from tests.yeast import yeast_bodies

ABSENCE, LOOK = 6, 4  # for tests: LEAST_ABSENCE, CLEAN_UP


class Bench:
    """A processor whose labels come late, of a learner that costs nothing."""

    def __init__(
        self,
        join: LabelJoin | None,
        kind: str = "majority",
        *,
        delay: int | None = None,
        letters: bool = True,
        **options: Any,
    ) -> None:
        self.sink, self.letters = MemorySink("predictions"), MemorySink("letters")
        self.unjoined = MemorySink("unjoined")
        encoder = Encoder(**options)
        learner = IHomer(seed=3, **options) if kind == "ihomer" else make_baseline(kind, encoder)
        late = None
        if join is not None:
            held_back = None if delay is None else LabelDelay(delay)
            late = LateLabels(join, learner.encoder, held_back)
        self.processor = Processor(
            learner,
            Decoder(),
            DeadLetters(self.letters if letters else None),
            self.sink,
            {name: make_baseline(name, learner.encoder) for name in BASELINES},
            late=late,
            unjoined=self.unjoined,
        )

    def process(self, values: Sequence[bytes], cuts: Iterable[int] = ()) -> list[dict[str, Any]]:
        for part in pieces(records_of(values), cuts):
            self.processor.process(part)
        self.processor.finish()
        self.processor.flush()
        return [json.loads(message.value or b"") for message in self.sink.messages]

    def figures(self) -> list[dict[str, float]]:
        everyone = (self.processor.main, *self.processor.baselines.values())
        return [contestant.result() for contestant in everyone]


def records_of(values: Iterable[bytes]) -> list[Record]:
    return [Record(value, "tickets", i % 3, i, timestamp=i) for i, value in enumerate(values)]


def pieces(records: Sequence[Record], cuts: Iterable[int]) -> Iterator[Sequence[Record]]:
    borders = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
    for start, stop in pairwise(borders):
        yield records[start:stop]


@functools.cache
def yeast(count: int) -> list[bytes]:
    """Yeast as JSON, every 7th event unlabelled."""
    values: list[bytes] = []
    for i, body in enumerate(yeast_bodies(count)):
        y = None if i % 7 == 6 else body["y"]
        values.append(json.dumps({"id": i % 50, "x": body["x"], "y": y}).encode())
    return values


def plain(figures: list[dict[str, float]]) -> list[dict[str, Any]]:
    return [
        {key: pytest.approx(value, abs=1e-12, nan_ok=True) for key, value in each.items()}
        for each in figures
    ]


def test_a_delay_of_nothing_changes_nothing() -> None:
    """Nor do ids that are used again and again."""
    values = yeast(300)
    at_once, late = Bench(None, "ihomer"), Bench(LabelJoin(0, None), "ihomer", delay=0)
    assert late.process(values) == at_once.process(values)
    assert late.figures() == plain(at_once.figures())
    for count in (1000, None):
        window = [c.measures.rolling(count) for c in (late.processor.main, at_once.processor.main)]
        assert window[0] == plain([window[1]])[0]
    assert late.processor.events == 300


def test_a_delay_does_not_depend_on_the_batches() -> None:
    values = yeast(300)
    one, other = (Bench(LabelJoin(40, None), "ihomer", delay=40) for _ in range(2))
    predictions = one.process(values)
    assert other.process(values, [1, 2, 3, 50, 128, 129, 200, 299]) == predictions
    assert other.figures() == one.figures()
    # What was known when they were sent: nothing is learned before event 41.
    assert [body["model"]["events"] for body in predictions[:42]] == [0] * 41 + [1]
    assert one.figures()[0]["events"] == sum(json.loads(value)["y"] is not None for value in values)
    assert one.processor.late is not None
    assert one.processor.late.join.waiting == 0


def test_labels_past_the_bound_of_labels_are_refused_when_they_come() -> None:
    """There was room for one more when each of the two events came."""
    values = [b'{"x": {}, "y": ["%s"]}' % name for name in (b"p", b"q", b"r", b"p")]
    bench = Bench(LabelJoin(9, None), delay=9, max_labels=1)
    assert len(bench.process(values)) == 4
    refused = [json.loads(letter.value or b"")["y"] for letter in bench.letters.messages]
    assert refused == [["q"], ["r"]]
    assert bench.processor.main.result()["events"] == 2


# Any stream ---------------------------------------------------------------------------------------

IDS = st.integers(0, 14)


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Few ids and labels that wander, five in all, so that everything happens."""
    values = []
    for _ in range(draw(st.integers(0, 8))):
        names = st.lists(st.sampled_from(draw(st.sampled_from(["pq", "rs", "tpq"]))), unique=True)
        for _ in range(draw(st.integers(1, 12))):
            body: dict[str, Any] = {"id": draw(IDS)}
            if draw(st.booleans()):
                body["y"] = draw(names)
            else:
                body["x"] = {"a": body["id"]}
                body["y"] = draw(st.none() | st.none() | names)
            values.append(json.dumps(body).encode())
    return values


@pytest.fixture
def _short_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "LEAST_ABSENCE", ABSENCE)
    monkeypatch.setattr(vocabulary, "CLEAN_UP", LOOK)


VANISHING: dict[str, Any] = {"forget_labels_after": 8, "max_labels": 5, "new_labels": "drop"}


@pytest.mark.usefixtures("_short_lives")
@given(
    streams(),
    st.sampled_from(BASELINES),
    st.sampled_from([0, 2, 10, 1000]),
    st.sampled_from([("drop", 1.0), ("negative", 0.5), ("hand-over", 1.0)]),
    st.booleans(),
)
def test_it_is_what_one_event_after_the_other_gives(
    values: list[bytes], kind: str, wait: int, policy: tuple[Any, float], vanishing: bool
) -> None:
    """Labels vanish and return, and their ids change hands, while predictions wait."""
    options = VANISHING if vanishing else {}
    bench = Bench(LabelJoin(wait, None, 1e9, *policy), kind, **options)
    found = bench.process(values)
    join = NaiveJoin(wait, None, *policy)
    decoder = Decoder()
    for record in records_of(values):
        join.take(decoder.decode_any(record))
    features = {name: {"a": name} for name in range(15)}
    naive = NaiveLate(make_baseline(kind, Encoder(**options)), features)
    naive.do(join.steps)
    assert [(body["id"], frozenset(body["labels"])) for body in found] == [
        (name, said.on) for name, said in naive.said
    ]
    assert [dict(body["scores"]) for body in found] == [said.scores for _, said in naive.said]
    mine, theirs = bench.processor.main.measures, naive.measures
    n_labels = max(mine.n_labels, theirs.n_labels)
    expected = plain([theirs.result(n_labels), theirs.rolling(n_labels)])
    assert [mine.result(n_labels), mine.rolling(n_labels)] == expected
    late = bench.processor.late
    assert late is not None
    counts = {key: count for key, count in late.join.counts.items() if count}
    assert counts == dict(join.counts)
    over = [json.loads(message.value or b"")["id"] for message in bench.unjoined.messages]
    assert over == [step[1] for step in join.steps if step[0] == "over"]
    # Nothing is kept of events that do not wait.
    for contestant in (bench.processor.main, *bench.processor.baselines.values()):
        assert len(contestant.sent) == late.join.waiting


@pytest.mark.usefixtures("_short_lives")
@given(
    streams(),
    st.sampled_from(BASELINES),
    st.sampled_from([2, 10, 1000]),
    st.sampled_from([("drop", 1.0), ("negative", 0.5), ("hand-over", 1.0)]),
    st.sampled_from([1e9, 30_000.0, 9_000.0]),
    st.lists(st.integers(1, 99), max_size=12),
    st.integers(0, 99),
    st.sampled_from([2, 10**9]),
)
@settings(max_examples=150)
def test_neither_batches_nor_a_restart_change_anything(
    values: list[bytes],
    kind: str,
    wait: int,
    policy: tuple[Any, float],
    max_bytes: float,
    cuts: list[int],
    restart: int,
    many: int,
) -> None:
    """Also where predictions become sparse, and where there is room for few events."""
    make = functools.partial(LabelJoin, wait, None, max_bytes, *policy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "MANY", many)
        patch.setattr("ihomer.stream.label_join.SETTLE", 8)
        whole, parts = Bench(make(), kind, **VANISHING), Bench(make(), kind, **VANISHING)
        expected = whole.process(values)
        at = 0
        for part in pieces(records_of(values), [*cuts, restart]):
            if at == restart:
                others = dict(parts.processor.baselines)
                state = copy.deepcopy((parts.processor.state(), others))
                fresh = Bench(make(), kind, **VANISHING)
                fresh.processor.restore(state[0])
                for name, contestant in state[1].items():
                    fresh.processor.baselines[name] = contestant
                    learner: Any = contestant.learner
                    learner.encoder = fresh.processor.main.learner.encoder
                for name in ("sink", "letters", "unjoined"):
                    getattr(fresh, name).messages.extend(getattr(parts, name).messages)
                    getattr(fresh, name).pending.extend(getattr(parts, name).pending)
                parts = fresh
            parts.processor.process(part)
            at += len(part)
        parts.processor.flush()
    assert [json.loads(message.value or b"") for message in parts.sink.messages] == expected
    assert parts.figures() == plain(whole.figures())
    assert parts.unjoined.messages == whole.unjoined.messages
    assert parts.processor.late is not None
    assert whole.processor.late is not None
    assert parts.processor.late.figures() == whole.processor.late.figures()


# A whole stream -----------------------------------------------------------------------------------


def test_late_labels_with_every_fault_are_learned_once() -> None:
    """In time or not: what happens to each event is what is counted."""
    pairs = [({"a": float(i % 7)}, [f"label {i % 7}"]) for i in range(6_000)]
    stream = late_stream(pairs, 11, delay=2_000)
    bench = Bench(LabelJoin(1_000, None), "majority-set")
    values = [arrival.value for arrival in stream.arrivals]
    predictions = bench.process(values, range(0, len(values), 64))
    late = bench.processor.late
    assert late is not None
    figures = late.figures()
    assert sorted(body["id"] for body in predictions) == sorted(stream.labels)
    assert bench.processor.main.result()["events"] == figures["joined"]
    assert 2_500 < figures["joined"] < 4_500
    assert figures["too_late"] > 1_500
    assert figures["dropped"] + figures["waiting"] + figures["joined"] == 6_000
    learner: Any = bench.processor.main.learner
    assert learner.n_learned == figures["joined"]


def test_without_dead_letters_labels_without_an_id_end_it() -> None:
    bench = Bench(LabelJoin(), letters=False)
    values = [b'{"id": 1, "x": {}}', b'{"y": ["p"]}', b'{"id": 2, "x": {}}']
    with pytest.raises(InputError, match=r"^tickets, partition 1, offset 1: id: not found beside"):
        bench.process(values)
    assert bench.processor.events == 1


def test_an_event_that_is_refused_does_not_wait() -> None:
    bench = Bench(LabelJoin())
    values = [b'{"id": 1, "x": {"a": {}}}', b'{"id": 1, "x": {}}', b'{"id": 1, "y": ["p"]}']
    assert len(bench.process(values)) == 1
    assert len(bench.letters.messages) == 1
    assert bench.processor.main.result()["events"] == 1


def test_what_is_handed_over_can_come_again() -> None:
    bench = Bench(LabelJoin(1, None, policy="hand-over"))
    values = [
        b'{"id": 1, "x": {"a": 1.5}, "ts": 5}',
        b'{"id": "late", "y": {"p": true, "q": false}}',
        b'{"id": 2, "x": {}}',
        b'{"id": 3, "x": {}}',
    ]
    bench.process(values)
    messages = bench.unjoined.messages
    assert [json.loads(message.value or b"") for message in messages] == [
        json.loads(value) for value in values[:2]
    ]
    assert dict(messages[0].headers)["ihomer.offset"] == b"0"
    assert [message.timestamp for message in messages] == [0, 1]


def test_kept_predictions_are_arrays_of_their_own() -> None:
    """Or each would keep the whole batch's."""
    bench = Bench(LabelJoin())
    values = [b'{"id": %d, "x": {"a": 1}, "y": ["p"]}' % i for i in range(5)]
    bench.process([*values, b'{"id": 9, "x": {"a": 1}}'])
    kept = bench.processor.main.sent._kept
    assert list(kept) == [6]
    for array in kept[6][3:]:
        assert isinstance(array, np.ndarray)
        assert array.base is None
