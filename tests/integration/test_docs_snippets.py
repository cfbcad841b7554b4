"""Every command and snippet of the documentation is run, or says why it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.snippets import INERT, ROOT, RUN, Block, Reader, blocks_of, give_up_without_tools, pages

pytestmark = pytest.mark.integration

PAGES = pages()
# Blocks that no test can run, each with its reason in the page's source. The number is here so
# that another one does not come in unnoticed.
SKIPPED = 14


def ids(page: Path) -> str:
    return page.as_posix()


def data_folder() -> Path | None:
    configured = os.environ.get("IHOMER_DATA_DIR")
    folder = Path(configured) if configured else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def test_every_block_is_of_a_language_that_is_run_or_is_none() -> None:
    for page in PAGES:
        for block in blocks_of(page):
            assert block.language in (*RUN, *INERT), f"{block}: {block.language}"


def test_what_is_not_run_says_why_and_is_counted() -> None:
    skipped = [block for page in PAGES for block in blocks_of(page) if "skip" in block.marks]
    for block in skipped:
        assert len(block.marks["skip"].split()) >= 4, f"{block}: a reason, please"
    assert len(skipped) == SKIPPED, "\n".join(f"{b}: {b.marks['skip']}" for b in skipped)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(b.runs and "kafka" not in b.marks for b in blocks_of(page))],
    ids=ids,
)
def test_a_page_does_what_it_says(page: Path, alone: None, tmp_path: Path) -> None:
    blocks = [block for block in blocks_of(page) if "kafka" not in block.marks]
    give_up_without_tools(blocks)
    folder = tmp_path / "reader"
    folder.mkdir()
    reader = Reader(folder, data=data_folder())
    done: list[Block] = []
    try:
        done += [b for b in blocks if (b.runs or "output" in b.marks) and reader.do(b)]
    finally:
        reader.leave()
    missing = [b for b in blocks if b.runs and b not in done and "data" not in b.marks]
    assert not missing
    if len(done) < len([b for b in blocks if b.runs]) and data_folder() is not None:
        pytest.fail(f"{page}: {len(done)} blocks were done, the data sets are there")
