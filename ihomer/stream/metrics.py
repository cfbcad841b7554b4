"""Every figure that a daemon shows to the outside: its name, its kind, its labels, its meaning.

In: nothing. Out: one `Metric` for each, and `CATALOGUE` with all of them. It is here so that what
fills a figure, what serves it, the dashboard, the alarms and the page that explains them speak of
the same names; a test holds them together.

No metric has a label of the stream (`sport`) as a label, nor anything else that events bring
along: the number of series is bounded by partitions, slots and names that stand in this program.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """How a metric behaves."""

    COUNTER = "counter"  # only grows; begins anew with the process
    GAUGE = "gauge"
    AGE = "age"  # a gauge: seconds since it was marked, reckoned when it is read
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """One metric.

    Attributes
    ----------
    name
        As Prometheus sees it; a counter's ends in ``_total``.
    kind
        How it behaves.
    help
        One sentence with the unit.
    labels
        Names of its labels; each value of them is a series.
    bounds
        Upper bounds of a histogram's buckets, ascending, without the infinite one.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_SIZES = tuple(float(1 << power) for power in range(17))
SLOT = "slot"  # number of a model; a daemon with one has slot 0

# What has been done.

EVENTS = Metric("ihomer_events_total", Kind.COUNTER, "Events predicted.", (SLOT,))
LEARNED = Metric("ihomer_learned_total", Kind.COUNTER, "Events learned.", (SLOT,))
DEAD_LETTERS = Metric(
    "ihomer_dead_letters_total",
    Kind.COUNTER,
    "Malformed events by the reason for which they were refused.",
    (SLOT, "reason"),
)
BATCHES = Metric("ihomer_batches_total", Kind.COUNTER, "Batches of events processed.")
COMMITS = Metric("ihomer_commits_total", Kind.COUNTER, "Times that the position was committed.")
STAGE_SECONDS = Metric(
    "ihomer_stage_seconds_total",
    Kind.COUNTER,
    "Seconds that the loop has spent in each stage of its round.",
    ("stage",),
)

# How long it took.

PREDICT_SECONDS = Metric(
    "ihomer_predict_seconds",
    Kind.HISTOGRAM,
    "Seconds from an event's arrival in the processor to its prediction; bounds hold to 1%.",
    (SLOT,),
    _SECONDS,
)
BATCH_SECONDS = Metric(
    "ihomer_batch_seconds",
    Kind.HISTOGRAM,
    "Seconds of a whole batch: decoded, predicted, learned, handed to the sinks.",
    (),
    _SECONDS,
)
BATCH_EVENTS = Metric("ihomer_batch_events", Kind.HISTOGRAM, "Records in a batch.", (), _SIZES)
COMMIT_SECONDS = Metric(
    "ihomer_commit_seconds",
    Kind.HISTOGRAM,
    "Seconds until outputs were acknowledged and the position was committed.",
    (),
    _SECONDS,
)

# Where it stands.

LAG = Metric(
    "ihomer_lag_records",
    Kind.GAUGE,
    "Records between what was read and the end of a partition that is read here.",
    ("topic", "partition"),
)
QUEUE_MESSAGES = Metric(
    "ihomer_queue_messages", Kind.GAUGE, "Messages written and not acknowledged yet.", ("queue",)
)
QUEUE_BYTES = Metric(
    "ihomer_queue_bytes", Kind.GAUGE, "Bytes written and not acknowledged yet.", ("queue",)
)
LOOP_AGE = Metric(
    "ihomer_loop_age_seconds", Kind.AGE, "Seconds since the loop last entered a stage of its round."
)
FIGURES_AGE = Metric(
    "ihomer_figures_age_seconds", Kind.AGE, "Seconds since the figures shown here were gathered."
)
READY = Metric("ihomer_ready", Kind.GAUGE, "1 if /health/ready answers 200, else 0.")
REASON = Metric(
    "ihomer_reason",
    Kind.GAUGE,
    "1 for each subject with a reason why the daemon is degraded or not ready.",
    ("subject", "severity"),
)
BUILD = Metric("ihomer_build_info", Kind.GAUGE, "Always 1.", ("version", "python"))

# The model.

ROLLING = Metric(
    "ihomer_rolling",
    Kind.GAUGE,
    "Measures over the last 1,000 labelled events, predicted before they were learned.",
    (SLOT, "measure"),
)
LEARNER_EVENTS = Metric(
    "ihomer_learner_events_total",
    Kind.COUNTER,
    "What happened to the model (alarms, splits, switches, births, ...), by kind and level.",
    (SLOT, "kind", "level"),
)
PARTITION_CHANGES = Metric(
    "ihomer_partition_changes_total",
    Kind.COUNTER,
    "Times that another partition of the labels came into use.",
    (SLOT,),
)
CLUSTERS = Metric("ihomer_clusters", Kind.GAUGE, "Clusters of labels.", (SLOT,))
LABELS = Metric("ihomer_labels", Kind.GAUGE, "Labels that have an id now.", (SLOT,))
LABELS_EVER = Metric("ihomer_labels_ever", Kind.GAUGE, "Labels met so far.", (SLOT,))
LABELS_DROPPED = Metric(
    "ihomer_labels_dropped_total",
    Kind.COUNTER,
    "Labels left out of events because max_labels were known.",
    (SLOT,),
)
FEATURES = Metric("ihomer_features", Kind.GAUGE, "Feature names with a column.", (SLOT,))
MODEL_BYTES = Metric("ihomer_model_bytes", Kind.GAUGE, "Bytes of the model's arrays.", (SLOT,))

# Labels that come later than their features.

LABEL_BUFFER_EVENTS = Metric(
    "ihomer_label_buffer_events", Kind.GAUGE, "Events that wait for their labels.", (SLOT,)
)
LABEL_BUFFER_BYTES = Metric(
    "ihomer_label_buffer_bytes", Kind.GAUGE, "Bytes of what waits for its labels.", (SLOT,)
)
LATE_LABELS = Metric(
    "ihomer_late_labels_total",
    Kind.COUNTER,
    "Label events by what became of them.",
    (SLOT, "outcome"),
)

# Exactly once.

CHECKPOINT_AGE = Metric(
    "ihomer_checkpoint_age_seconds",
    Kind.AGE,
    "Seconds since the newest checkpoint was written.",
    (SLOT,),
)
CHECKPOINT_BYTES = Metric(
    "ihomer_checkpoint_bytes", Kind.GAUGE, "Bytes of the newest checkpoint.", (SLOT,)
)
CHECKPOINT_SECONDS = Metric(
    "ihomer_checkpoint_seconds",
    Kind.HISTOGRAM,
    "Seconds that writing a checkpoint took, on its own thread.",
    (SLOT,),
    _SECONDS,
)
CHECKPOINTS = Metric(
    "ihomer_checkpoints_total",
    Kind.COUNTER,
    "Checkpoints by outcome (written, failed).",
    (SLOT, "outcome"),
)
TRANSACTIONS = Metric(
    "ihomer_transactions_total",
    Kind.COUNTER,
    "Transactions by outcome (committed, aborted, unknown, fenced).",
    (SLOT, "outcome"),
)
RECOVERY_SECONDS = Metric(
    "ihomer_recovery_seconds",
    Kind.GAUGE,
    "Seconds that the last recovery took, from its start to the first new batch.",
    (SLOT,),
)
RECOVERY_EVENTS = Metric(
    "ihomer_recovery_events", Kind.GAUGE, "Events that the last recovery learned again.", (SLOT,)
)

CATALOGUE: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
