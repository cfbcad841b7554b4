"""The slow, obvious reference of learning late: one event at a time, predictions kept by name.

In: what a label join says (`tests.naive_label_join`), with the events. Out: what is sent, and
measures over ids that no label ever gives back. A label that has vanished by the time its
prediction is scored counts as not predicted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ihomer.instances import Event, Features
from ihomer.learners.base import Predictions, StreamLearner
from ihomer.stream.measures import Measures
from tests.naive_label_join import Step


class Said(NamedTuple):
    """A prediction in names: the labels that are on, and the scores of those that have one."""

    on: frozenset[str]
    scores: dict[str, float]


class NaiveLate:
    """See the module."""

    def __init__(self, learner: StreamLearner, features: Mapping[Any, Features]) -> None:
        self.learner = learner
        self.features = features
        self.said: list[tuple[Any, Said]] = []
        self.waiting: dict[Any, Said] = {}
        self.measures = Measures()
        self.ids: dict[str, int] = {}
        self.leaving: set[str] = set()

    def do(self, steps: list[Step]) -> None:
        for step in steps:
            kind, name, *rest = step
            x = self.features[name]
            if kind == "predict":
                said = self._run(Event(name, x))
                self.said.append((name, said))
                self.waiting.setdefault(name, said)
            elif kind == "both":
                said = self._run(Event(name, x, rest[0]))
                self.said.append((name, said))
                self._score(said, rest[0])
            elif kind == "learn":
                self._run(Event(name, x, rest[0]))
                self._score(self.waiting[name], rest[0])
            elif kind == "negative":
                self._run(Event(name, x, ()))

    def _run(self, event: Event) -> Said:
        labels = self.learner.encoder.labels
        batch = self.learner.encoder.encode([event])
        predictions = self.learner.predict_learn(batch)
        assert isinstance(predictions, Predictions)
        # Those that vanish after the event are there while it is scored.
        self.leaving = {each.name for each in batch.changes if each.at == 1 and not each.birth}
        _, _, names = next(iter(batch.names(labels.names())))
        known = int(batch.known[0])
        scores = predictions.scores[0, :known]
        there = [i for i in range(known) if not np.isnan(scores[i])]
        return Said(
            frozenset(names[i] for i in there if predictions.on[0, i]),
            {names[i]: float(scores[i]) for i in there},
        )

    def _score(self, said: Said, on: tuple[str, ...]) -> None:
        known = self.learner.encoder.labels
        # Ids by first appearance; declared ones are not in these streams.
        for name in sorted(on):
            self.ids.setdefault(name, len(self.ids))
        row = np.full((1, len(self.ids)), np.nan)
        chosen = np.zeros((1, len(self.ids)), dtype=np.bool_)
        for name, score in said.scores.items():
            if known.get(name) is not None or name in self.leaving:
                row[0, self.ids[name]] = score
                chosen[0, self.ids[name]] = name in said.on
        truth = np.array(sorted({self.ids[name] for name in on}), dtype=np.int32)
        self.measures.update(
            chosen, row, np.array([0, len(truth)]), truth, np.ones(1, dtype=np.bool_)
        )
