"""Clusters for comparison: what they are made of, and that they take the place of the learner's."""

from __future__ import annotations

import numpy as np

from bench.clusterings import CLUSTERINGS, at_random, one_per_label
from bench.clusters import LEARNERS, table
from bench.learners import parse_learner
from bench.results import Cell
from bench.streams import Stream

GROUPS = [np.array(ids, dtype=np.int32) for ids in ([0, 2, 4, 6, 8], [1, 3, 5], [7, 9])]


def test_one_cluster_per_label() -> None:
    found = [group.tolist() for group in one_per_label(GROUPS, 1)]
    assert found == [[0], [2], [4], [6], [8], [1], [3], [5], [7, 9]]


def test_random_clusters_have_the_sizes_and_the_labels() -> None:
    one, other = (at_random(GROUPS, seed) for seed in (1, 2))
    for found in (one, other):
        assert [len(group) for group in found] == [5, 3, 2]
        assert sorted(np.concatenate(found).tolist()) == list(range(10))
        assert all((np.diff(group) > 0).all() for group in found)
        assert found[-1].tolist() == [7, 9]
    assert one[0].tolist() != other[0].tolist()


def test_they_take_the_place_of_the_learners_own() -> None:
    stream = Stream("synthetic:blocks?labels=12&blocks=3&events=600", None)
    found = {}
    for name in ("ihomer", *CLUSTERINGS):
        candidate, encoder = parse_learner(name).make(stream, 1)
        for batch in stream.batches(encoder, 256):
            candidate.predict_learn(batch)
        found[name] = candidate.clusters()
    sizes = {name: [len(cluster) for cluster in clusters] for name, clusters in found.items()}
    assert sizes["ihomer"] == sizes["ihomer-random-clusters"] == [4, 4, 4]
    assert found["ihomer"] != found["ihomer-random-clusters"]
    assert sizes["ihomer-one-per-label"] == [1] * 12


def test_the_table_has_differences_to_one_cluster() -> None:
    measures = {"subset_accuracy": 0.5, "micro_f1": 0.6, "macro_f1": 0.4}
    better = {name: value + 0.1 for name, value in measures.items()}
    cells = [
        Cell("yeast", LEARNERS[0], 1, measures=measures, extra={"clusters": 0}),
        Cell("yeast", LEARNERS[1], 1, measures=better, extra={"clusters": 2}),
        Cell("yeast", LEARNERS[2], 1, status="time-limit"),
    ]
    shown = table(cells)
    assert list(shown.columns[4].cells) == ["+0.000", "+0.100", ""]
    assert list(shown.columns[2].cells) == ["0", "2", "time-limit"]
