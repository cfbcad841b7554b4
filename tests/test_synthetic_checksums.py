"""The first events of a (name, parameters, seed) never change: what they were when published.

A test that fails here says that published figures cannot be made again. Do not mend the sums in
``synthetic.sha256``; mend the generator, or give the new stream a new name.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ihomer.connectors.synthetic import SyntheticSource
from ihomer.connectors.synthetic.parameters import NAMES
from ihomer.connectors.uri import open_source
from ihomer.drift.schedule import HOWS
from tests.generated import digest, events

_LINES = (Path(__file__).parent / "synthetic.sha256").read_text(encoding="utf-8").splitlines()
SUMS = {uri: digest for digest, uri in (line.split() for line in _LINES)}


@pytest.mark.parametrize("uri", SUMS)
def test_the_first_events_are_what_they_always_were(uri: str) -> None:
    source = open_source(uri)
    assert isinstance(source, SyntheticSource)
    # Over the end of the first chunk, and over all of the changes.
    assert digest(events(source, 1300)) == SUMS[uri]


def test_every_concept_and_kind_of_drift_has_a_sum() -> None:
    assert set(NAMES) <= {uri.removeprefix("synthetic:") for uri in SUMS}
    assert all(any(f"drift={how}&" in uri for uri in SUMS) for how in HOWS)
    assert len(set(SUMS.values())) == len(SUMS)
