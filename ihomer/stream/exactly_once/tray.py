"""Sinks that keep what is written until its batch is committed.

In: messages of a processor. Out: one list for all its sinks, with the topic of each message. It is
here so that the processor writes as it always does, and the transaction gets bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from ihomer.connectors.base import Message, Sink
from ihomer.connectors.kafka_transactions import Output


class Tray(Sink):
    """One topic's place in a shared list.

    Parameters
    ----------
    topic
        Where its messages will go.
    outputs
        The list; whoever empties it makes a new one with `take`.

    Examples
    --------
    >>> outputs = []
    >>> Tray("predictions", outputs).write([Message(b"{}")])
    >>> [(output.topic, output.message.value) for output in outputs]
    [('predictions', b'{}')]
    """

    def __init__(self, topic: str, outputs: list[Output]) -> None:
        self.name = topic
        self._outputs = outputs

    def write(self, messages: Sequence[Message]) -> None:
        """See `Sink.write`."""
        self._outputs += [Output(self.name, message) for message in messages]

    def flush(self) -> None:
        """Nothing is safe before its transaction is committed, which is not known here."""

    def close(self) -> None:
        """Nothing to let go of."""
