"""Clusters for comparison: what they are made of, and that they take the place of the learner's."""

from __future__ import annotations

import pytest

from bench.clusterings import CLUSTERINGS, at_random, one_per_label, with_clusters
from bench.clusters import LEARNERS, table
from bench.learners import parse_learner
from bench.results import Cell
from bench.streams import Stream
from ihomer.errors import UsageError
from ihomer.learners.ihomer import IHomer

CLUSTERS = [[0, 2, 4, 6, 8], [1, 3, 5]]


def test_one_cluster_per_label() -> None:
    assert one_per_label(CLUSTERS, 1) == [[0], [2], [4], [6], [8], [1], [3], [5]]


def test_random_clusters_have_the_sizes_and_the_labels() -> None:
    one, other = (at_random(CLUSTERS, seed) for seed in (1, 2))
    for found in (one, other):
        assert [len(cluster) for cluster in found] == [5, 3]
        assert sorted(found[0] + found[1]) == [0, 1, 2, 3, 4, 5, 6, 8]
    assert sorted(one[0]) != sorted(other[0])


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


def test_one_cluster_has_no_others() -> None:
    with pytest.raises(UsageError, match="found partition=False"):
        with_clusters(IHomer(partition=False), "ihomer-one-per-label", 1)


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
