"""The order of candidates of equal score, against a slow and obvious one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.learners.postings import Ranked
from ihomer.learners.representation import _order_ties

LABELS = 12
candidates = st.tuples(
    st.integers(0, LABELS - 1), st.sampled_from([0.25, 0.5, 0.75]), st.booleans()
)
answers = st.lists(
    st.lists(candidates, max_size=LABELS, unique_by=lambda candidate: candidate[0]), max_size=6
)
# Of characters of one to four bytes, and beginnings of one another.
names = st.lists(st.text("a\x00Zé€😀", max_size=4), min_size=LABELS, max_size=LABELS, unique=True)


@given(answers, names)
@settings(max_examples=200, deadline=None)
def test_equal_scores_of_an_event_are_in_the_order_of_names(
    events: list[list[tuple[int, float, bool]]], name: list[str]
) -> None:
    best_first = [sorted(event, key=lambda candidate: -candidate[1]) for event in events]
    flat = [candidate for event in best_first for candidate in event]
    ranked = Ranked(
        np.cumsum([0, *map(len, events)], dtype=np.int64),
        np.array([label for label, _, _ in flat], dtype=np.int32),
        np.array([score for _, score, _ in flat], dtype=np.float64),
        np.array([on for _, _, on in flat], dtype=np.bool_),
    )
    _order_ties(ranked, name.__getitem__)
    expected = [
        candidate
        for event in events
        for candidate in sorted(event, key=lambda candidate: (-candidate[1], name[candidate[0]]))
    ]
    found = zip(ranked.labels.tolist(), ranked.scores.tolist(), ranked.on.tolist(), strict=True)
    assert list(found) == expected
