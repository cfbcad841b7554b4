"""The documentation's pages that need a broker, done as they stand there; and the site itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.snippets import Reader, blocks_of, give_up_without_tools, pages, topics_of
from tools.broker import Broker

pytestmark = pytest.mark.integration
PAGES = [page for page in pages() if any("kafka" in block.marks for block in blocks_of(page))]


@pytest.fixture
def reader(tmp_path: Path, broker: Broker) -> Iterator[Reader]:
    reader = Reader(tmp_path, broker.bootstrap)
    yield reader
    reader.leave()


@pytest.mark.parametrize("page", PAGES, ids=Path.as_posix)
def test_a_page_does_what_it_says(page: Path, broker: Broker, reader: Reader) -> None:
    blocks = blocks_of(page)
    give_up_without_tools(blocks)
    for topic in topics_of(blocks):  # each page has its own
        broker.create_topic(topic, 1)
    done = [
        block for block in blocks if (block.runs or "output" in block.marks) and reader.do(block)
    ]
    assert [block for block in blocks if block.runs] == [block for block in done if block.runs]
