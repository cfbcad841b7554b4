"""A guess about somebody's events as a configuration file, with the reason for each line.

In: a `Guess`. Out: TOML that `ihomer config check` accepts and `ihomer run` runs. It is here so
that what is written says what it was seen from, and what nobody can see.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from ihomer.stream.mapping.infer import FieldGuess, Guess
from ihomer.stream.settings import toml_value

_WIDTH = 98
_MANY = 8  # fields of one kind below one name, which are then named together


def sketch(
    guess: Guess, source: str, verdict: Sequence[str] = (), decoder: str | None = None
) -> str:
    """The text of the file.

    Parameters
    ----------
    guess
        About the events.
    source
        URI that they came from.
    verdict
        Lines about what the events become under it.
    decoder
        The function of the user's that made objects of their bytes, if one did.
    """
    parts = [
        _comment(
            f"Configuration of ihomer, made by ihomer config infer from {guess.tried:,} events of"
            f" {source}. It is a guess: read it, then ihomer config check --try 100. All other"
            " keys: ihomer config init -"
        ),
        *(_comment(line) for line in verdict),
        "",
        f"source = {toml_value([source])}",
        "# Where predictions go, and malformed events (without a place the first one ends it).",
        '#sink = "predictions.jsonl"',
        '#dead_letters = "dead-letters.jsonl"',
        "",
    ]
    if decoder is not None:
        parts += [
            _comment(
                "Makes objects of the events' bytes. Its code runs with --allow-code at each start,"
                " or if this file says so."
            ),
            f"decoder = {toml_value(decoder)}",
            "#allow_code = true",
            "",
        ]
    if guess.shape == "own":
        parts += [_comment("The events have ihomer's own shape (id, x, y, ts): no mapping.")]
    elif guess.shape == "events":
        parts += [_comment("This format says itself what features and labels are: no mapping.")]
    elif guess.shape == "nothing":
        parts += [_comment("There was nothing that could be read as JSON objects or as a table.")]
    else:
        parts += _mapping(guess)
    return "\n".join(parts) + "\n"


def _mapping(guess: Guess) -> list[str]:
    def key(name: str, value: object, reason: str) -> list[str]:
        return [_comment(reason), f"{name} = {toml_value(value)}"]

    if guess.unread:
        yield_unread = [_comment(f"{guess.unread:,} of {guess.tried:,} records were no objects.")]
    else:
        yield_unread = []
    labels = guess.labels[0] if len(guess.labels) == 1 else guess.labels
    found = [
        *yield_unread,
        "[mapping]",
        *key("id", guess.id, f"id: {guess.reasons['id']}"),
        *key("labels", labels, f"labels: {guess.reasons['labels']}"),
    ]
    if guess.labels_as != "names":
        found += [f"labels_as = {toml_value(guess.labels_as)}"]
    if guess.separator:
        found += [f"labels_separator = {toml_value(guess.separator)}"]
    if guess.unknown:
        found += [f"labels_unknown = {toml_value(guess.unknown)}"]
    found += key("time", guess.time, f"time: {guess.reasons['time']}")
    found += key(
        "default",
        guess.default,
        f"The kind of fields that are not named below: {guess.reasons['default']}",
    )
    found += ["", "[mapping.fields]"]
    found += [
        _comment("Not known: whether a field is known only after the labels are. Ignore those.")
    ]
    fields = folded(guess.fields, guess.default)
    for name, each in fields.items():
        found += [_comment(each.seen), f"{toml_value(name)} = {toml_value(each.kind)}"]
    if guess.headers:
        found += [_comment("Headers of the records; take the # away from those that are features.")]
    for name, each in guess.headers.items():
        found += [_comment(each.seen), f"#{toml_value(name)} = {toml_value(each.kind)}"]
    separators = {name: each.separator for name, each in fields.items() if each.separator}
    if separators:
        found += ["", "[mapping.separators]"]
        found += [
            f"{toml_value(name)} = {toml_value(separator)}"
            for name, separator in separators.items()
        ]
    return found


def folded(fields: dict[str, FieldGuess], default: str) -> dict[str, FieldGuess]:
    """Fields of one kind below one name as that name; those of the default kind are left out.

    >>> numbers = {f"sensor.{i}": FieldGuess("numeric", "numbers") for i in range(9)}
    >>> folded(numbers, "auto")
    {'sensor': FieldGuess(kind='numeric', seen='9 fields below it, all of this kind', separator='')}
    """
    below: dict[str, Counter[str]] = {}
    for name, each in fields.items():
        head = name
        while "." in head:
            head = head.rpartition(".")[0]
            below.setdefault(head, Counter())[each.kind + each.separator] += 1
    found: dict[str, FieldGuess] = {}
    for name, each in fields.items():
        steps = name.split(".")
        heads = [".".join(steps[:at]) for at in range(1, len(steps))]
        whole = [
            head
            for head in heads
            if len(below[head]) == 1 and below[head].total() >= _MANY and head not in fields
        ]
        if whole and not each.separator:
            n = below[whole[0]].total()
            found[whole[0]] = FieldGuess(each.kind, f"{n:,} fields below it, all of this kind")
        elif each.kind != default or each.separator:
            found[name] = each
    return found


def _comment(text: str) -> str:
    return "\n".join(f"# {line}" for line in textwrap.wrap(text, _WIDTH))
