"""What exactly-once decides without a broker: delivery, fate of commits, faults, the watchdog."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.errors import InvalidProducerEpochError, KafkaError, ProducerFencedError

from ihomer import faults
from ihomer.connectors.base import Message
from ihomer.connectors.kafka_journal import Entry
from ihomer.connectors.kafka_ranges import Range
from ihomer.connectors.kafka_records import cut, size_of
from ihomer.connectors.kafka_transactions import is_fenced
from ihomer.errors import EXIT_STUCK, InputError, UsageError
from ihomer.stream.exactly_once.commit import Backoff, DroppedError, fate
from ihomer.stream.exactly_once.plan import Plan, app_of, choose_delivery, make_plan
from ihomer.stream.exactly_once.positions import of_inputs, unlike
from ihomer.stream.exactly_once.recovery import position_of, read_position
from ihomer.stream.settings import Settings

IN, OUT, DEAD = "kafka://h:1/in?group=g", "kafka://h:1/out", "kafka://h:1/dead"
LATE = "kafka://h:1/late"


@pytest.mark.parametrize(
    ("keys", "delivery", "reason"),
    [
        ({"source": IN, "sink": OUT}, "exactly-once", "topics"),
        ({"source": IN, "sink": OUT, "dead_letters": DEAD}, "exactly-once", "topics"),
        ({"source": IN}, "at-least-once", "no sink"),
        ({"source": IN, "sink": "out.jsonl"}, "at-least-once", "sink is no topic"),
        ({"source": IN, "sink": OUT, "dead_letters": "d.jsonl"}, "at-least-once", "dead_letters"),
        ({"source": IN, "sink": OUT, "events": "-"}, "at-least-once", "events is no topic"),
        ({"source": "in.jsonl", "sink": OUT}, "at-least-once", "sink is no file"),
        ({"source": ["a.jsonl", IN], "sink": OUT}, "at-least-once", "2 sources"),
        ({"source": IN, "sink": OUT, "delivery": "at-least-once"}, "at-least-once", "configured"),
        ({"source": IN, "delivery": "exactly-once"}, "exactly-once", "configured"),
        ({"source": IN, "sink": OUT, "labels_source": LATE}, "exactly-once", "topics"),
        (
            {"source": IN, "sink": OUT, "labels_source": "l.jsonl"},
            "at-least-once",
            "labels_source is no topic",
        ),
    ],
)
def test_the_best_delivery_is_chosen(keys: dict[str, str], delivery: str, reason: str) -> None:
    found = choose_delivery(Settings(**keys))  # type: ignore[arg-type]
    assert found.name == delivery
    assert reason in found.reason


@pytest.mark.parametrize(
    ("keys", "obstacle"),
    [
        ({"source": IN, "sink": "out.jsonl"}, "sink is no topic"),
        ({"source": "river:yeast", "sink": OUT}, "source is no topic"),
        ({"source": ["a.jsonl", IN], "sink": OUT}, "2 sources"),
        ({"source": IN, "sink": OUT, "labels_source": "-"}, "labels_source is no topic"),
    ],
)
def test_what_cannot_be_promised_is_refused(keys: dict[str, str], obstacle: str) -> None:
    with pytest.raises(UsageError, match=f"delivery: .*{obstacle}.*accepted"):
        choose_delivery(Settings(delivery="exactly-once", **keys))  # type: ignore[arg-type]


def plan(**keys: str) -> Plan:
    settings = Settings(**{"source": IN, "sink": OUT, "labels_source": LATE} | keys)  # type: ignore[arg-type]
    return make_plan(settings, lambda *_: pytest.fail("nothing is made"), {}, fresh=False)


def test_a_plan_reads_events_and_labels() -> None:
    assert plan().inputs == ("in", "late")
    assert plan(labels_source="").inputs == ("in",)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"labels_source": "kafka://h:1/in?group=other"}, "labels_source: found the source's"),
        ({"sink": LATE}, "sink: found the labels' topic late"),
        ({"dead_letters": IN.partition("?")[0]}, "dead_letters: found the source's topic in"),
    ],
)
def test_a_topic_has_one_purpose(keys: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan(**keys)


def test_only_topics_that_are_read_have_a_position() -> None:
    known = {"in": {0: 5}, "earlier": {0: 7}}
    found = of_inputs(plan(), known)
    assert found == {"in": {0: 5}}
    found["in"][0] = 6
    assert known["in"] == {0: 5}


@pytest.mark.parametrize(
    ("partitions", "slots", "wrong"),
    [
        ({"in": 4}, 2, None),
        ({"in": 4, "late": 4}, 2, None),
        ({"in": 4, "late": 2}, 1, None),
        ({"in": 4, "late": 2}, 2, "topic in has 4 partitions, topic late has 2"),
    ],
)
def test_slots_need_topics_that_are_partitioned_alike(
    partitions: dict[str, int], slots: int, wrong: str | None
) -> None:
    assert unlike(partitions, slots) == wrong


def test_the_application_is_named_after_the_group() -> None:
    assert app_of(Settings(source=[IN])) == "g"
    assert app_of(Settings(source=[IN], app="fraud")) == "fraud"


def entry(number: int, owner: str = "us", epoch: int = 3, start: int = 0) -> Entry:
    ranges = (Range("t", 0, start, start + 5, 5, "0" * 16),)
    return Entry("batch", number, owner, epoch, 5 * number, ranges, {"t": {0: start + 5}})


def test_the_fate_of_a_commit() -> None:
    ours = entry(7)
    assert fate([], ours) is None
    assert fate([(3, entry(6))], ours) is None
    assert fate([(3, entry(6)), (5, ours)], ours) == 5
    with pytest.raises(DroppedError, match="another owner"):
        fate([(5, entry(7, owner="them", epoch=4))], ours)
    with pytest.raises(DroppedError, match="another owner"):
        fate([(5, entry(6, owner="them", epoch=4))], ours)
    # The same number by the same owner but of other records is not what was sent.
    with pytest.raises(DroppedError, match="another owner"):
        fate([(5, entry(7, start=1))], ours)


@pytest.mark.parametrize(
    ("error", "fenced"),
    [
        (ProducerFencedError(), True),
        (InvalidProducerEpochError(), True),
        (KafkaError("Cannot execute: [Error 90] ProducerFencedError"), True),
        (KafkaError("ProducerFencedError: there is a newer producer"), True),
        (KafkaError("[Error 7] RequestTimedOutError"), False),
        (KafkaError(""), False),
    ],
)
def test_fencing_is_recognised(error: KafkaError, fenced: bool) -> None:
    assert is_fenced(error) is fenced


def test_a_position_comes_back() -> None:
    position = position_of({"t": {0: 5, 2: 9}}, 17)
    assert read_position(position, "name") == ({"t": {0: 5, 2: 9}}, 17)


@pytest.mark.parametrize("position", [{}, {"offsets": 3, "journal": 1}, {"offsets": {}}])
def test_what_is_no_position_is_refused(position: dict[str, object]) -> None:
    with pytest.raises(InputError, match="checkpoint name: found position"):
        read_position(position, "name")


MESSAGES = st.builds(
    Message,
    st.binary(max_size=400),
    st.one_of(st.none(), st.binary(max_size=100)),
    st.lists(st.tuples(st.text(max_size=10), st.binary(max_size=50)), max_size=3).map(tuple),
)


@given(MESSAGES, st.integers(0, 1500))
def test_a_message_is_cut_to_what_fits(message: Message, limit: int) -> None:
    value = message.value or b""
    mark = ("ihomer.truncated", b"%d" % len(value))
    without = message._replace(value=b"", headers=(*message.headers, mark))
    room = limit - size_of(without)
    found = cut(message, limit)
    if found is None:
        assert room < 0 or room >= len(value)
    else:
        assert size_of(found) == limit
        assert found == without._replace(value=value[:room])


def test_waits_grow_and_end_when_somebody_gives_up() -> None:
    given_up = threading.Event()
    given_up.set()
    backoff = Backoff(given_up)
    for _ in range(100):
        backoff.wait()  # would take minutes otherwise


@pytest.mark.parametrize("text", ["nowhere:1", "after-learn", "after-learn:x", "after-learn:1:up"])
def test_an_unknown_fault_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"environment IHOMER_FAULT: found .* accepted: POINT:N"):
        faults.parse(text)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": root, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_fault_strikes_at_the_pass_that_was_asked_for() -> None:
    code = "from ihomer import faults\nfor i in range(5): print(i, flush=True); faults.reach('{}')"
    found = run(code.format("after-learn"), IHOMER_FAULT="after-learn:3")
    assert (found.returncode, found.stdout.split()) == (-9, ["0", "1", "2"])
    assert run(code.format("before-poll"), IHOMER_FAULT="after-learn:3").returncode == 0
    assert run(code.format("after-learn")).returncode == 0


def test_a_full_disk_is_an_error_of_the_system() -> None:
    found = run(
        "from ihomer import faults\nfaults.reach('before-rename')",
        IHOMER_FAULT="before-rename:1:full",
    )
    assert "OSError: [Errno 28]" in found.stderr


WATCHDOG = """
import threading, time
from ihomer.stream.exactly_once.watchdog import Watchdog
given_up = threading.Event()
dog = Watchdog(0.6)
with dog.over("a short call", given_up):
    pass
{before}
with dog.over("a commit", given_up):
    time.sleep(30 if not given_up.is_set() else 2.5)
print("still here")
"""


def test_a_call_without_end_ends_the_process() -> None:
    found = run(WATCHDOG.format(before=""))
    assert found.returncode == EXIT_STUCK
    assert "a commit has not answered for 0.6 s" in found.stderr
    assert "still here" not in found.stdout


def test_a_call_that_nobody_waits_for_does_not() -> None:
    found = run(WATCHDOG.format(before="given_up.set()"))
    assert (found.returncode, found.stdout) == (0, "still here\n")
