"""Dead letters sent again: the original messages to a topic or a file, each once.

In: letters, a sink, a file that remembers. Out: how many were sent, and what became of the others.
It is here because whoever sends again must neither lose one nor send it twice: after each step
everything is acknowledged first, then the position is written down, as a whole.

What is promised: a letter is behind the position only if it was sent and acknowledged, or was not
to be sent. A second run goes on behind the position. Only if a run is killed between an
acknowledgement and its position are the letters of that one step sent again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from ihomer.connectors.base import Message, Position, Record, Sink
from ihomer.connectors.datasets.atomic import write_whole
from ihomer.errors import InputError, MalformedEventError
from ihomer.stream.decode import Decoder
from ihomer.stream.letter_source import Step
from ihomer.stream.letters import Letter, Selection

FOLDER = "dead-letters"


class Bookmark:
    """Where a replay stands, in a file of its own; see the module.

    Parameters
    ----------
    state_dir
        The bookmark is in a folder of it.
    letters, to, selection
        What makes a replay another one: where from, where to, which letters.
    """

    def __init__(
        self, state_dir: Path, letters: str, to: str, selection: Mapping[str, Any]
    ) -> None:
        self._replay = {"letters": letters, "to": to, "selection": dict(selection)}
        text = orjson.dumps(self._replay, option=orjson.OPT_SORT_KEYS)
        name = hashlib.blake2b(text, digest_size=8).hexdigest()
        self.path = state_dir / FOLDER / f"{name}.json"

    def read(self) -> Position | None:
        """The position; None: nothing was sent yet.

        Raises
        ------
        InputError
            The file cannot be read, or is none of ours.
        """
        try:
            body = orjson.loads(self.path.read_bytes())
            position = body["position"]
            if not isinstance(position, dict) or body["replay"] != self._replay:
                raise TypeError
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{self.path}: found no position of this replay, accepted: the file as it was"
                " written, or none and --again"
            ) from None
        return position

    def write(self, position: Position) -> None:
        """Replace the position, on the disk when this returns; raises `InputError`."""
        data = orjson.dumps({"replay": self._replay, "position": position}) + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, data)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from None


@dataclass
class Outcome:
    """What became of the letters that were read.

    Attributes
    ----------
    read
        How many there were.
    selected
        How many of them were meant.
    sent
        How many were sent and acknowledged; in a dry run: would be sent.
    good
        How many of those that were meant are events by now.
    refused
        The others, by kind.
    left
        Letters that were meant and cannot be sent, by reason.
    unreadable
        A line for each that is no dead letter; the first few.
    n_unreadable
        How many of them.
    """

    read: int = 0
    selected: int = 0
    sent: int = 0
    good: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    n_unreadable: int = 0

    def to_json(self) -> dict[str, Any]:
        """As an object of JSON values."""
        return {
            "read": self.read,
            "selected": self.selected,
            "sent": self.sent,
            "good": self.good,
            "refused": dict(sorted(self.refused.items())),
            "left": dict(sorted(self.left.items())),
            "unreadable": self.n_unreadable,
        }


class Way(NamedTuple):
    """How letters are sent again.

    Attributes
    ----------
    selection
        Which are meant.
    decoder
        Says which are events by now.
    late
        Whether labels without features are.
    only_good
        Send no others.
    lines
        Whether the target is a file, which holds one JSON value a line.
    limit
        Send no more than so many; None: all.
    now
        Leave the timestamp to the target.
    """

    selection: Selection
    decoder: Decoder
    late: bool = False
    only_good: bool = False
    lines: bool = False
    limit: int | None = None
    now: bool = False


_SHOWN = 5


def replay_letters(
    steps: Iterable[Step], way: Way, sink: Sink | None, bookmark: Bookmark | None, done: Outcome
) -> None:
    """Send letters again, step by step.

    Parameters
    ----------
    steps
        Behind the bookmark. With a limit they should hold one letter each.
    way
        Which, and how.
    sink
        Where to; None: a dry run.
    bookmark
        Written behind each step; None: nothing is remembered.
    done
        Counts; after an error it says what was sent and acknowledged before.

    Raises
    ------
    InputError, UnavailableError
        Of the letters, the sink or the bookmark.
    """
    for step in steps:
        messages = _messages(step, way, done)
        if sink is not None:
            sink.write(messages)
            sink.flush()
        done.sent += len(messages)
        if bookmark is not None:
            bookmark.write(step.position)
        if way.limit is not None and done.sent >= way.limit:
            return


def _messages(step: Step, way: Way, done: Outcome) -> list[Message]:
    """What is to be sent of a step; everything else is counted."""
    done.read += len(step.letters)
    done.n_unreadable += len(step.unreadable)
    done.unreadable += step.unreadable[: _SHOWN - len(done.unreadable)]
    messages: list[Message] = []
    for letter in step.letters:
        if letter not in way.selection:
            continue
        done.selected += 1
        fault = _fault(letter, way)
        if fault is None:
            done.good += 1
        else:
            done.refused[fault] += 1
        reason = _obstacle(letter, way, fault)
        if reason is None:
            messages.append(letter.message._replace(timestamp=None) if way.now else letter.message)
        else:
            done.left[reason] += 1
    return messages


def _fault(letter: Letter, way: Way) -> str | None:
    """The kind of the fault, if it would be refused again for itself alone."""
    message = letter.message
    record = Record(
        message.value,
        letter.topic,
        letter.partition,
        letter.offset,
        message.key,
        message.headers,
        message.timestamp,
    )
    try:
        way.decoder.decode_any(record) if way.late else way.decoder.decode(record)
    except MalformedEventError as fault:
        return fault.kind
    return None


def _obstacle(letter: Letter, way: Way, fault: str | None) -> str | None:
    """Why a letter is not sent, if it is not."""
    if letter.cut:
        return "cut"
    if way.only_good and fault is not None:
        return "still malformed"
    value = letter.message.value
    if way.lines and (value is None or b"\n" in value or not value.strip()):
        return "no line of a file"
    return None
