"""From settings to a processor: the one place that knows how the parts fit together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from ihomer import warm
from ihomer.connectors.base import QUEUE_BYTES, Record, Sink, Source
from ihomer.connectors.files.reader import STANDARD
from ihomer.connectors.memory import MemorySink
from ihomer.connectors.merge import Merge
from ihomer.connectors.uri import open_sink, open_source, open_sources, parse_uri, same_file
from ihomer.errors import UsageError
from ihomer.instances import Encoder, Event
from ihomer.learners.base import Predictions, SparsePredictions
from ihomer.learners.baselines import make_baseline
from ihomer.learners.ihomer import IHomer
from ihomer.learners.warm import PARTS, WHOLE
from ihomer.stream.chronicle import Chronicle, Listener
from ihomer.stream.dead_letters import DeadLetters, place_by_line, place_by_offset
from ihomer.stream.decode import Decoder, id_by_line, id_by_offset
from ihomer.stream.decoder_hook import make_decoder
from ihomer.stream.encode import encode_predictions
from ihomer.stream.error_rate import ErrorRate
from ihomer.stream.label_delay import LabelDelay
from ihomer.stream.label_join import LabelJoin
from ihomer.stream.late_labels import LateLabels
from ihomer.stream.measures import Measures
from ihomer.stream.processor import Processor
from ihomer.stream.settings import Settings, mask
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


def open_output(
    uri: str | None,
    *,
    envelope: bool = False,
    append: bool = False,
    queue_bytes: int = QUEUE_BYTES,
    predictions: bool = False,
) -> Sink | None:
    """The sink that `uri` names, if any; raises as `open_sink`."""
    if uri is None:
        return None
    return open_sink(
        uri, envelope=envelope, append=append, queue_bytes=queue_bytes, predictions=predictions
    )


def make_processor(
    settings: Settings,
    source: Source,
    sink: Sink | None,
    dead_letters: Sink | None,
    baselines: Sequence[str] = (),
    events: Sink | None = None,
    on_event: Listener | None = None,
    label_delay: int | None = None,
    unjoined: Sink | None = None,
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
    label_delay
        Hold the labels of events back by so many events; None: learn them at once.
    unjoined
        Where what could not be joined goes, if the settings say so.
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
        forget_features_after=settings.forget_features_after,
        seed=settings.seed,
    )
    decoder = make_decoder(settings, id_by_offset if topic else id_by_line)
    return Processor(
        learner,
        decoder,
        DeadLetters(
            dead_letters,
            place_by_offset if topic else place_by_line,
            rate=ErrorRate(settings.errors_max_rate, settings.errors_window),
        ),
        sink,
        {name: make_baseline(name, learner.encoder) for name in baselines},
        settings.top_k,
        Chronicle(learner, events, on_event),
        _late_labels(settings, learner.encoder, label_delay),
        unjoined,
    )


def check_late_labels(settings: Settings, label_delay: int | None = None) -> None:
    """Find out before any work is done that what is said of late labels does not fit.

    Raises
    ------
    UsageError
        There is no place for what is handed over, or a place for nothing; or labels are to be
        held back that come late already.
    """
    if label_delay is not None and _come_late(settings):
        raise UsageError(
            "--label-delay: found with late labels (late_labels or labels_source is set),"
            " accepted: for labels that come with their events"
        )
    labels = settings.labels_source
    if labels is not None and any(
        labels == uri or same_file(labels, uri) for uri in settings.source
    ):
        raise UsageError(
            f"{mask(labels)}: found as source and as labels_source, accepted: late_labels = true"
            " where both come in one"
        )
    if (settings.unjoined is not None) != (settings.label_policy == "hand-over"):
        raise UsageError(
            f"unjoined: found {mask(settings.unjoined or 'none')} with label_policy ="
            f' "{settings.label_policy}", accepted: a URI with "hand-over", none otherwise'
        )


def _come_late(settings: Settings) -> bool:
    return settings.late_labels or settings.labels_source is not None


def open_stream(settings: Settings) -> Source:
    """The sources that `settings` names, labels beside them; raises as `open_sources`."""
    stream = open_sources(settings.source)
    if settings.labels_source is None:
        return stream
    try:
        return Merge([stream, open_source(settings.labels_source)])
    except BaseException:
        stream.close()
        raise


def _late_labels(
    settings: Settings, encoder: Encoder, label_delay: int | None
) -> LateLabels | None:
    max_bytes = settings.label_buffer_mb * 2.0**20
    if label_delay is not None:
        join = LabelJoin(label_delay, None, max_bytes)
        return LateLabels(join, encoder, LabelDelay(label_delay))
    if not _come_late(settings):
        return None
    join = LabelJoin(
        settings.label_wait_events,
        settings.label_wait_seconds,
        max_bytes,
        settings.label_policy,
        settings.label_negative_weight,
    )
    return LateLabels(join, encoder)


# Beside the learner's; seconds as in `ihomer.learners.warm`.
_MEASURES = Part("measures and output", f"{__name__}:_run_measures", 10)
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
