"""Learners and streams by their words, somebody's own learner among them."""

from __future__ import annotations

import pytest
from river import base, naive_bayes

from bench import learners, streams
from bench.learners import parse_learner
from bench.passes import Pass
from bench.streams import Stream
from ihomer.errors import InputError, UsageError
from ihomer.instances import Encoder, Row
from tests.data import data_dir


def yeast(events: int, shuffle: int | None = None) -> Stream:
    return Stream("river:yeast", shuffle=shuffle, limit=events)


def figures(word: str, stream: Stream) -> dict[str, float]:
    run = Pass(stream, parse_learner(word), 1, 60.0)
    run.finish()
    return run.result()


def bayes() -> base.Classifier:
    made: base.Classifier = getattr(naive_bayes, "GaussianNB")()  # noqa: B009 - ships no types
    return made


def test_a_multi_label_classifier_of_ones_own_is_scored_like_ours() -> None:
    # The same model, once through river's interface, which says of all labels that they are off
    # from the first event on, once through batches: sums differ in their last bits, and a label
    # set among equals with them.
    theirs, ours = (figures(word, yeast(200)) for word in ("ihomer:IHomer", "ihomer"))
    for measure in ("subset_accuracy", "hamming_loss", "micro_f1", "macro_f1", "example_jaccard"):
        assert theirs[measure] == pytest.approx(ours[measure], abs=0.01)


def test_a_classifier_of_ones_own_becomes_binary_relevance() -> None:
    found = figures(f"{__name__}:bayes", yeast(120))
    assert found["events"] == 120
    assert found["micro_f1"] > 0.3


@pytest.mark.parametrize("word", ["no.such.module:X", "river:NoSuchThing", ":", "river:"])
def test_what_cannot_be_imported_is_said_in_one_line(word: str) -> None:
    with pytest.raises(UsageError, match=r"accepted: package\.module:Name"):
        parse_learner(word)


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("ihomr", "found 'ihomr', accepted: ihomer"),
        ("ihomer?sed=1", r"found parameter 'sed', accepted: .*\bseed\b"),
        ("majority?seed=1", "found parameter 'seed', accepted: none"),
    ],
)
def test_a_wrong_word_is_said_with_what_is_accepted(word: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse_learner(word)


def test_a_parameter_without_a_value_is_the_learners_to_refuse() -> None:
    learner = parse_learner("ihomer?new_labels")
    assert learner.parameters == {"new_labels": ""}
    with pytest.raises(UsageError, match="new_labels: found ''"):
        learner.make(yeast(5), 1)


def test_groups_are_spread_and_nothing_comes_twice() -> None:
    words = [each.word for each in learners.expand(["baselines,ihomer", "own"])]
    assert words == ["no-change", "majority", "majority-set", "ihomer"]
    assert streams.expand(["sorted,yeast", "scene"]) == ["scene", "eukaryotego", "yeast"]
    assert streams.expand(["synthetic:linear?events=10&seed=2"]) == [
        "synthetic:linear?events=10&seed=2"
    ]


def test_parameters_reach_the_learner() -> None:
    candidate, _ = parse_learner("ihomer?partition=false").make(yeast(5), 1)
    assert candidate.clusters() == []
    run = Pass(yeast(400), parse_learner("ihomer?partition=false"), 1, 60.0)
    run.finish()
    assert run.candidate.clusters() == []


def test_a_shuffle_is_the_permutation_that_it_says() -> None:
    import numpy as np

    order = np.random.default_rng(3).permutation(2417)
    found = [event.id for event in yeast(50, shuffle=3).events()]
    assert found == order[:50].tolist()


def test_a_stream_can_be_gone_through_again_and_again() -> None:
    stream = yeast(40)
    first = [event.id for event in stream.events()]
    stream.keep()
    assert [event.id for event in stream.events()] == first == list(range(40))


def test_a_survey_counts_and_knows_dense_from_sparse() -> None:
    survey = yeast(30).survey()
    assert (survey.length, survey.shape.features, survey.shape.sparse) == (30, 103, False)
    # Labels that are declared count, whether or not they are ever on.
    assert len(survey.shape.labels) == 14
    sparse = Stream("enron", data_dir(), limit=20).survey()
    assert sparse.shape.sparse
    assert len(sparse.shape.labels) == 53


def test_batches_are_the_stream_whatever_their_size() -> None:
    sizes = [[len(b) for b in yeast(20).batches(Encoder(), size)] for size in (7, 20, 100)]
    assert sizes == [[7, 7, 6], [20], [20]]


def test_a_generated_stream_takes_the_seed_unless_it_has_one() -> None:
    def first(name: str, seed: int) -> list[float]:
        event = next(iter(Stream(name, seed=seed, limit=1).events()))
        assert isinstance(event.x, Row)
        return [float(value) for value in event.x.values]

    plain, fixed = "synthetic:linear?events=5", "synthetic:linear?events=5&seed=9"
    assert first(plain, 1) != first(plain, 2)
    assert first(fixed, 1) == first(fixed, 2) == first(plain, 9)


def test_a_stream_that_is_not_there_is_said() -> None:
    with pytest.raises((InputError, UsageError), match="no-such"):
        Stream("no-such-stream").open()
    with pytest.raises(UsageError, match="a topic has no end"):
        Stream("kafka://localhost:9092/topic")
