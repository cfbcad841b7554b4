"""Sources and sinks in memory, chains of sources, river's bundled data."""

from __future__ import annotations

import numpy as np
import pytest

from ihomer.connectors import memory
from ihomer.connectors.base import Message, Record
from ihomer.connectors.chain import Chain
from ihomer.connectors.memory import MemorySink, MemorySource
from ihomer.connectors.river_data import RiverSource
from ihomer.errors import InputError, UsageError
from ihomer.instances import Encoder, Event
from tests.sources import assert_resumes_anywhere, drain


def test_items_become_records_with_their_number() -> None:
    event = Event("e", {"a": 1.0}, on=["x"])
    given = Record(b"r", "topic", 3, 17, key=b"k")
    source = MemorySource([b"{}", event, given], name="here", labels=["x"], features=["a"])
    assert (source.labels, source.features, source.length) == (("x",), ("a",), 3)
    assert drain(source, 2) == [Record(b"{}", "here", 0, 0), Record(event, "here", 0, 1), given]


def test_a_memory_source_resumes_anywhere() -> None:
    assert len(assert_resumes_anywhere(lambda: MemorySource([b"a", b"b", b"c"]))) == 3


@pytest.mark.parametrize("position", [{}, {"event": -1}, {"event": 4}, {"event": "1"}])
def test_a_position_that_is_none_is_refused(position: dict[str, object]) -> None:
    with pytest.raises(InputError, match="accepted: an integer from 0 to 3"):
        MemorySource([b"a", b"b", b"c"]).seek(position)


def test_commit_and_close_are_remembered() -> None:
    source = MemorySource([b"a"])
    source.commit({"event": 1})
    source.close()
    assert source.committed == {"event": 1}
    assert source.closed


def test_a_message_counts_when_it_is_flushed() -> None:
    sink = MemorySink()
    sink.write([Message(b"1"), Message(b"2")])
    assert sink.messages == []
    sink.flush()
    sink.write([Message(b"3")])
    assert [message.value for message in sink.messages] == [b"1", b"2"]
    sink.close()
    sink.close()
    assert [message.value for message in sink.messages] == [b"1", b"2", b"3"]
    with pytest.raises(ValueError, match="closed"):
        sink.write([Message(b"4")])


def test_a_channel_is_found_by_its_name_until_it_is_removed() -> None:
    channel = memory.create("channel-test", [b"a"], labels=["x"], features=["f"])
    try:
        with pytest.raises(UsageError, match="taken"):
            memory.create("channel-test")
        first, second = memory.find("channel-test").source(), channel.source()
        assert drain(first) == drain(second)
        assert (first.labels, first.features, first.name) == (("x",), ("f",), "memory:channel-test")
        for value in (b"1", b"2"):
            sink = channel.sink()
            sink.write([Message(value)])
            sink.close()
        assert [message.value for message in channel.messages] == [b"1", b"2"]
    finally:
        memory.remove("channel-test")
    for call in (memory.find, memory.remove):
        with pytest.raises(UsageError, match="no such name"):
            call("channel-test")
    with pytest.raises(UsageError, match="empty name"):
        memory.create("")


def make_chain() -> Chain:
    return Chain(
        [
            MemorySource([b"a", b"b"], name="one", labels=["x", "y"], features=["f"]),
            MemorySource([], name="none"),
            MemorySource([b"c", b"d", b"e"], name="two", labels=["z", "x"], features=["g", "f"]),
        ]
    )


def test_a_chain_is_its_sources_one_after_the_other() -> None:
    chain = make_chain()
    assert (chain.labels, chain.features, chain.length) == (("x", "y", "z"), ("f", "g"), 5)
    assert chain.name == "one none two"
    records = drain(chain, 2)
    assert [(r.value, r.source, r.offset) for r in records] == [
        (b"a", "one", 0),
        (b"b", "one", 1),
        (b"c", "two", 0),
        (b"d", "two", 1),
        (b"e", "two", 2),
    ]


def test_a_chain_resumes_anywhere() -> None:
    assert len(assert_resumes_anywhere(make_chain)) == 5


def test_a_chain_does_not_guess_its_length() -> None:
    unknown = MemorySource([b"a"])
    unknown.length = None  # as a file's
    assert Chain([MemorySource([b"a"]), unknown]).length is None


def test_a_chain_hands_commits_and_closing_on() -> None:
    sources = [MemorySource([b"a", b"b"]), MemorySource([b"c"])]
    chain = Chain(sources)
    chain.next_batch(1, 0.0)
    chain.commit(chain.position())
    assert [source.committed for source in sources] == [{"event": 1}, None]
    drain(chain)
    chain.commit(chain.position())
    assert [source.committed for source in sources] == [{"event": 2}, {"event": 1}]
    chain.close()
    assert all(source.closed for source in sources)


@pytest.mark.parametrize(
    "position",
    [{}, {"source": 3, "position": {"event": 0}}, {"source": 0}, {"source": True, "position": {}}],
)
def test_a_chain_refuses_a_position_that_is_none(position: dict[str, object]) -> None:
    with pytest.raises(InputError, match="position"):
        make_chain().seek(position)


def test_a_chain_needs_a_source() -> None:
    with pytest.raises(UsageError, match="one or more"):
        Chain([])


@pytest.fixture(scope="module")
def yeast() -> RiverSource:
    return RiverSource("Yeast")


def test_yeast_is_whole_and_declared(yeast: RiverSource) -> None:
    from river import datasets

    records = drain(yeast, 500)
    assert (len(records), yeast.length, yeast.n_attributes) == (2417, 2417, 103)
    assert (yeast.name, len(yeast.labels), len(yeast.features)) == ("river:yeast", 14, 103)
    events = [record.value for record in records]
    assert all(isinstance(event, Event) for event in events)
    built = [event for event in events if isinstance(event, Event)]
    assert round(sum(len(event.on or ()) for event in built) / len(built), 2) == 4.24
    assert [event.id for event in built] == list(range(2417)) == [r.offset for r in records]
    # The same events in river's own shape encode to the same arrays.
    own = [
        Event(i, x, on=[name for name, state in y.items() if state])
        for i, (x, y) in enumerate(datasets.Yeast())  # type: ignore[no-untyped-call]
    ]
    ours, theirs = Encoder(yeast.labels).encode(built), Encoder(yeast.labels).encode(own)
    np.testing.assert_array_equal(ours.y_indices, theirs.y_indices)
    np.testing.assert_array_equal(ours.indptr, theirs.indptr)
    np.testing.assert_array_equal(ours.indices, theirs.indices)
    np.testing.assert_array_equal(ours.values, theirs.values)


def test_yeast_resumes(yeast: RiverSource) -> None:
    yeast.seek({"event": 2400})
    rest = drain(yeast)
    assert [record.offset for record in rest] == list(range(2400, 2417))
    yeast.seek({"event": 0})
    assert yeast.position() == {"event": 0}
    yeast.close()


def test_other_data_sets_of_river_are_refused_with_what_is_bundled() -> None:
    with pytest.raises(UsageError, match=r"'music'.*river:yeast"):
        RiverSource("music")
