"""The learners of a benchmark by name: ihomer with any parameters, its baselines, the peers.

In: a word such as ``ihomer``, ``ihomer?partition=false``, ``majority`` or ``river-br-lr``, or
``package.module:Name`` for a learner of somebody's own with river's interface. Out: a
`Learner` that makes a fresh `Candidate` for a stream. It is here so that every command takes the
same words and every learner its own defaults.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from bench.candidate import Candidate, Native, declare_all
from bench.clusterings import CLUSTERINGS, with_clusters
from bench.peers import PEERS, PeerInfo, imported
from bench.streams import Stream
from ihomer.drift.events import LearnerEvent
from ihomer.errors import UsageError
from ihomer.instances import Encoder
from ihomer.learners.baselines import BASELINES, make_baseline
from ihomer.learners.ihomer import IHomer

IHOMER = "ihomer"
OWN = (IHOMER, *CLUSTERINGS, *BASELINES)
GROUPS = {
    "own": (IHOMER, *BASELINES),
    "clusterings": tuple(CLUSTERINGS),
    "baselines": BASELINES,
    "river": tuple(name for name in PEERS if name.startswith("river-")),
    "moa": tuple(name for name in PEERS if name.startswith("moa-")),
    "all": (IHOMER, *BASELINES, *PEERS),
}


class _OwnIHomer(Native):
    """IHomer with what it says of itself."""

    learner: IHomer

    @property
    def model_bytes(self) -> int:
        """See `Candidate.model_bytes`."""
        return self.learner.memory_bytes

    @property
    def memory_limit(self) -> int | None:
        """See `Candidate.memory_limit`."""
        megabytes = getattr(self.learner, "max_memory_mb", None)
        return None if megabytes is None else int(megabytes * 2**20)

    def counts(self) -> dict[str, int]:
        """See `Candidate.counts`."""
        return self.learner.counts

    def events(self, since: int) -> list[LearnerEvent]:
        """See `Candidate.events`."""
        return self.learner.events(since)

    def clusters(self) -> list[list[str]]:
        """See `Candidate.clusters`."""
        return [sorted(cluster) for cluster in self.learner.clusters()]


@dataclass(frozen=True, slots=True)
class Learner:
    """A learner by its word.

    Attributes
    ----------
    word
        As given, for tables.
    name
        The word without parameters.
    parameters
        For `IHomer`.
    """

    word: str
    name: str
    parameters: dict[str, Any]

    @property
    def own(self) -> bool:
        """Whether it is one of ours, compiled and fast."""
        return self.name in OWN

    @property
    def seeded(self) -> bool:
        """Whether its result may depend on its seed; if not, one seed is run."""
        return self.name not in BASELINES

    @property
    def batch_size(self) -> int:
        """Events between two looks at the clock; no result depends on it."""
        return 256 if self.own else 16

    def missing(self) -> str | None:
        """Why it cannot run here; None: it can."""
        return None if self.own else self._peer().missing()

    def _peer(self) -> PeerInfo:
        return imported(self.name) if ":" in self.name else PEERS[self.name]

    def make(self, stream: Stream, seed: int) -> tuple[Candidate, Encoder]:
        """A fresh candidate and the encoder that makes its batches."""
        if self.name == IHOMER or self.name in CLUSTERINGS:
            model = IHomer(**{"labels": stream.declared() or None, "seed": seed, **self.parameters})
            if self.name in CLUSTERINGS:
                with_clusters(model, self.name, seed)
            return _OwnIHomer(model), model.encoder
        if self.name in BASELINES:
            encoder = Encoder(stream.declared())
            return Native(make_baseline(self.name, encoder)), encoder
        shape = stream.survey().shape
        encoder = Encoder(shape.labels)
        declare_all(encoder, shape.labels)
        return self._peer().factory(shape, encoder, seed), encoder


def parse_learner(word: str) -> Learner:
    """The learner that `word` names.

    A parameter whose default is a tuple takes words with ``+`` between them
    (``ihomer?without=forest+path``); no comma may stand in a word, they part learners.

    Raises
    ------
    UsageError
        There is none, or it takes no such parameter.

    Examples
    --------
    >>> parse_learner("ihomer?partition=false&max_labels=500").parameters
    {'partition': False, 'max_labels': 500}
    """
    name, _, query = word.partition("?")
    if ":" in name:
        imported(name)  # complains where there is no such thing
    elif name not in (*OWN, *PEERS):
        raise UsageError(
            f"learner: found {name!r}, accepted: {', '.join((*OWN, *PEERS))},"
            f" package.module:Name, or a group: {', '.join(GROUPS)}"
        )
    accepted = inspect.signature(IHomer).parameters if name == IHOMER else {}
    parameters: dict[str, Any] = {}
    for pair in filter(None, query.split("&")):
        key, _, text = map(unquote, pair.partition("="))
        if key not in accepted:
            words = ", ".join(accepted) or "none"
            raise UsageError(f"{word}: found parameter {key!r}, accepted: {words}")
        several = isinstance(accepted[key].default, tuple)
        parameters[key] = tuple(filter(None, text.split("+"))) if several else _value(text)
    if query and not parameters:
        raise UsageError(f"{word}: found {query!r}, accepted: name=value")
    return Learner(word, name, parameters)


def expand(words: Sequence[str]) -> list[Learner]:
    """Learners behind `words`, which may hold groups and commas; each once, in order."""
    names = [name for word in words for name in word.split(",") if name]
    return [
        parse_learner(name)
        for name in dict.fromkeys(n for name in names for n in GROUPS.get(name, (name,)))
    ]


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
