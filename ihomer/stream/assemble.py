"""From settings to a processor: the one place that knows how the parts fit together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from ihomer import warm
from ihomer.connectors.base import Record, Sink, Source
from ihomer.connectors.files.reader import STANDARD
from ihomer.connectors.memory import MemorySink
from ihomer.connectors.uri import open_sink, parse_uri, same_file
from ihomer.errors import UsageError
from ihomer.instances import Event
from ihomer.learners.base import Predictions, SparsePredictions
from ihomer.learners.baselines import make_baseline
from ihomer.learners.ihomer import IHomer
from ihomer.learners.warm import PARTS, WHOLE
from ihomer.stream.chronicle import Chronicle, Listener
from ihomer.stream.dead_letters import DeadLetters, place_by_line, place_by_offset
from ihomer.stream.decode import Decoder, id_by_line, id_by_offset
from ihomer.stream.encode import encode_predictions
from ihomer.stream.measures import Measures
from ihomer.stream.processor import Processor
from ihomer.stream.settings import Settings
from ihomer.vocabulary import LabelVocabulary
from ihomer.warm import Part, Progress


def check_places(sources: Sequence[str], outputs: Iterable[str | None]) -> None:
    """Find out before any work is done that inputs and outputs get in each other's way.

    Parameters
    ----------
    sources, outputs
        URIs; None is an output that is not wanted.

    Raises
    ------
    UsageError
        There is no source, a URI is not accepted, or a file or standard output is named twice.
    """
    if not sources:
        raise UsageError("source: found none, accepted: a URI such as river:yeast, PATH, kafka://")
    wanted = [uri for uri in outputs if uri]
    for uri in (*sources, *wanted):
        parse_uri(uri)
    for output in wanted:
        if any(same_file(output, uri) for uri in sources):
            raise UsageError(f"{output}: found as source and as output, accepted: different files")
    for one, other in combinations(wanted, 2):
        if parse_uri(one).path == parse_uri(other).path == STANDARD:
            raise UsageError("-: found for two outputs, accepted: standard output for one of them")
        if same_file(one, other):
            raise UsageError(f"{other}: found for two outputs, accepted: different files")


def open_output(uri: str | None, *, envelope: bool = False, append: bool = False) -> Sink | None:
    """The sink that `uri` names, if any; raises as `open_sink`."""
    return None if uri is None else open_sink(uri, envelope=envelope, append=append)


def make_processor(
    settings: Settings,
    source: Source,
    sink: Sink | None,
    dead_letters: Sink | None,
    baselines: Sequence[str] = (),
    events: Sink | None = None,
    on_event: Listener | None = None,
) -> Processor:
    """A processor with a fresh IHomer and baselines over its names.

    Parameters
    ----------
    settings
        Bounds, seed, shape of events and predictions.
    source
        Declares label names, beside those of `settings`.
    sink, dead_letters
        Where predictions and malformed events go.
    baselines
        Names of `ihomer.learners.baselines.BASELINES`.
    events, on_event
        Where what happens to the model is written, and what else is told about it.
    """
    # Records of topics are known by their offset, those of files by their line.
    topic = any(parse_uri(uri).scheme == "kafka" for uri in settings.source)
    learner = IHomer(
        labels=tuple(dict.fromkeys((*source.labels, *settings.labels))) or None,
        objective=settings.objective,
        threads=settings.threads,
        max_memory_mb=settings.max_memory_mb,
        max_features=settings.max_features,
        max_labels=settings.max_labels,
        new_labels=settings.new_labels,
        forget_labels_after=settings.forget_labels_after,
        seed=settings.seed,
    )
    decoder = Decoder(
        settings.names,
        settings.strict,
        settings.max_event_bytes,
        id_by_offset if topic else id_by_line,
    )
    return Processor(
        learner,
        decoder,
        DeadLetters(dead_letters, place_by_offset if topic else place_by_line),
        sink,
        {name: make_baseline(name, learner.encoder) for name in baselines},
        settings.top_k,
        Chronicle(learner, events, on_event),
    )


# Beside the learner's; seconds as in `ihomer.learners.warm`.
_MEASURES = Part("measures and output", f"{__name__}:_run_measures", 5)
_ALL = Part("everything together", f"{__name__}:_run_processor", 0)


def warm_up(progress: Progress = lambda *_: None, processes: int | None = None) -> None:
    """Compile every kernel of learner, measures and output, or load them from the cache.

    Parameters
    ----------
    progress, processes
        See `ihomer.learners.warm.warm_up`.
    """
    warm.warm_up((*PARTS, _MEASURES, WHOLE, _ALL), progress, processes)


def _run_measures() -> None:
    on, scores = np.zeros((1, 2), dtype=np.bool_), np.zeros((1, 2))
    some = np.zeros(1, dtype=np.int32)
    ends, labelled = np.array([0, 1]), np.ones(1, dtype=np.bool_)
    events = np.zeros(1, dtype=np.int64)
    Measures().update(on, scores, ends, some, labelled)
    sparse = SparsePredictions(2, ends, some, scores[0, :1], on[0, :1], events)
    Measures().update_sparse(sparse, ends, some, labelled)
    predictions = Predictions(on[:0], scores[:0], events[:0])
    labels = LabelVocabulary()
    encode_predictions([], [], predictions, labels.name, labels.ranks, "")


def _run_processor() -> None:
    processor = Processor(IHomer(), Decoder(), DeadLetters(None), MemorySink())
    events = [Event(0, {"a": 1.0}, ["x", "y"]), Event(1, {"a": -1.0}, ["x"]), Event(2, {"a": 1.0})]
    processor.process([Record(event, "warm-up", 0, 0) for event in events])
    processor.main.result()
