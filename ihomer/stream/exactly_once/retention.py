"""Whether the input keeps events for as long as a recovery may need them.

In: an input topic's configuration, the age of the newest checkpoint. Out: warnings. It is here
because a replay reads events again that the journal names, and a topic that has deleted them by
then cannot be asked for them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import AuthorizationError

from ihomer.connectors.kafka_client import administration
from ihomer.errors import UnavailableError
from ihomer.stream.checkpoints import CheckpointStore
from ihomer.stream.exactly_once.plan import Plan

log = structlog.get_logger("ihomer")

_MARGIN = 10  # checkpoints that may fail one after the other


def dangers(
    configuration: Mapping[str, str | None], age_s: float | None, checkpoint_seconds: int
) -> list[str]:
    """What threatens a recovery, a line for each.

    Parameters
    ----------
    configuration
        Of the topic: ``cleanup.policy`` and ``retention.ms`` as text.
    age_s
        Of the newest checkpoint; None: there is none.
    checkpoint_seconds
        Time between checkpoints.

    Examples
    --------
    >>> dangers({"cleanup.policy": "delete", "retention.ms": "604800000"}, 30.0, 60)
    []
    >>> dangers({"cleanup.policy": "delete", "retention.ms": "3600000"}, 7200.0, 60)
    ['the input keeps events for 3600 s, the newest checkpoint is 7200 s old']
    >>> dangers({"cleanup.policy": "compact"}, None, 60)
    ['the input is compacted: events that a recovery needs may be gone']
    """
    found: list[str] = []
    policy = configuration.get("cleanup.policy") or "delete"
    if "compact" in policy:
        found.append("the input is compacted: events that a recovery needs may be gone")
    retention = configuration.get("retention.ms")
    if "delete" in policy and retention is not None and int(retention) >= 0:
        kept_s = int(retention) / 1000.0
        if age_s is not None and age_s > kept_s / 2:
            found.append(
                f"the input keeps events for {kept_s:g} s, the newest checkpoint is {age_s:.0f} s"
                " old"
            )
        elif kept_s < _MARGIN * checkpoint_seconds:
            found.append(
                f"the input keeps events for {kept_s:g} s, a checkpoint comes every"
                f" {checkpoint_seconds} s: accepted without this warning are {_MARGIN} times as"
                " long, because a checkpoint may fail"
            )
    return found


def warn_of_retention(plan: Plan, slot: int, store: CheckpointStore) -> None:
    """Log what threatens a recovery; that we may not know is no fault."""
    wanted = [
        ConfigResource(ConfigResourceType.TOPIC, topic, ["cleanup.policy", "retention.ms"])
        for topic in plan.inputs
    ]
    try:
        with administration(plan.source) as connection:
            answer = connection.client.describe_configs(wanted, config_filter="all")["topic"]
        entries = store.list()
        age = time.time() - entries[-1].path.stat().st_mtime if entries else None
        for topic in plan.inputs:
            configuration = {name: each["value"] for name, each in answer[topic].items()}
            for line in dangers(configuration, age, plan.checkpoint_seconds):
                log.warning(line, slot=slot, topic=topic)
    except (AuthorizationError, UnavailableError, KeyError, OSError) as error:
        log.debug("the input's retention is not known", slot=slot, reason=str(error))
