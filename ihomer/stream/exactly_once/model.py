"""A processor and what it has written since the last batch.

In: records, in the order in which they are learned. Out: a count of events, the outputs as bytes,
a state to keep and to go back to. It is here so that live batches and a replay call the very same
code, and differ only in what becomes of the outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ihomer.connectors.base import Record
from ihomer.connectors.kafka_transactions import Output, output_size
from ihomer.drift.events import LearnerEvent
from ihomer.errors import InputError
from ihomer.stream.daemon import log_event
from ihomer.stream.exactly_once.plan import Outlets, Plan
from ihomer.stream.exactly_once.tray import Tray
from ihomer.stream.processor import Processor


class RefusedError(Exception):
    """A record is malformed and there is no place for it.

    Parameters
    ----------
    done
        How many records before it have been learned; None: that cannot be told, because labels
        come late.
    reason
        What the user should be told.
    """

    def __init__(self, done: int | None, reason: InputError) -> None:
        super().__init__(str(reason))
        self.done = done
        self.reason = reason


class Model:
    """See the module.

    Parameters
    ----------
    plan
        Makes the processor and names the topics.

    Attributes
    ----------
    silent
        Whether what happens to the learner is kept out of the log.
    halt
        Why nothing more should be read after the last step, if that is so.
    held
        Bytes of the outputs that were not taken yet.
    """

    def __init__(self, plan: Plan) -> None:
        self._outputs: list[Output] = []
        names = (plan.sink, plan.dead_letters, plan.events, plan.unjoined)
        self.processor: Processor = plan.make(Outlets(*map(self._tray, names)), self._happened)
        self.silent = False
        self.halt: InputError | None = None
        self.held = 0

    def _tray(self, topic: str | None) -> Tray | None:
        return None if topic is None else Tray(topic, self._outputs)

    @property
    def events(self) -> int:
        """Decoded events so far."""
        return self.processor.events

    def restore(self, roots: Mapping[str, object]) -> None:
        """Go back to a state."""
        self.processor.restore(roots)

    def state(self) -> dict[str, object]:
        """What the model consists of, by name; not copied."""
        return self.processor.state()

    def _happened(self, found: LearnerEvent) -> None:
        if not self.silent:
            log_event(found)

    def learn(self, records: Sequence[Record]) -> None:
        """Predict, score and learn `records` in one step.

        Raises
        ------
        RefusedError
            One is malformed; all before it are learned.
        """
        before, written = self.processor.events, len(self._outputs)
        try:
            self.processor.process(records)
        except InputError as error:
            # The processor has stopped at the first malformed one, so all before are events.
            done = None if self.processor.late else self.processor.events - before
            raise RefusedError(done, error) from None
        finally:
            self.held += sum(map(output_size, self._outputs[written:]))
        self.halt = self.processor.halt()

    def take(self) -> list[Output]:
        """The outputs since the last call."""
        taken = list(self._outputs)
        self._outputs.clear()
        self.held = 0
        return taken
