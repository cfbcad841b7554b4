r"""Text to features: words, hashed into buckets, with a weight for each.

In: a string. Out: feature name to weight, such as ``body#4711``: 1.0986. It is here because a
stream of texts never stops bringing new words, and a model on bounded memory has to have room for
all of them; and so that the same word is the same feature in every process, on every platform.

The rule: the text is brought to Unicode's form NFC if it is not ASCII, then lower-cased (Python's
`str.lower`) unless that is turned off. Its words are the longest runs of word characters as
Python's regular expressions have them (``\w``: Unicode letters, digits, the underscore). A word's
bucket is the first 8 bytes of its UTF-8's BLAKE2b, with the seed as key, little-endian, modulo
2^bits; a bigram is two neighbouring words with a space between. The weight of a bucket in which
n words of the text fall is ``log(1 + n)`` (``log``), n (``count``) or 1 (``binary``), or
``log(1 + n)`` divided by the text's Euclidean norm (``l2``).
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from itertools import pairwise, starmap
from typing import Literal, NamedTuple, TypeAlias

Weight: TypeAlias = Literal["log", "count", "binary", "l2"]

_WORDS = re.compile(r"\w+").findall
# What is no word's is a space to `str.translate`, which with `str.split` takes a third of the time.
_ASCII = "".join(c if c.isalnum() or c == "_" else " " for c in map(chr, range(128)))
_LOWER = _ASCII.lower()
_LONGEST_REMEMBERED = 64  # characters
_BIGRAM = "{} {}".format
# To nine digits, so that they are the same on every platform.
_LOGS = [round(math.log1p(n), 9) for n in range(1024)]


class TextOptions(NamedTuple):
    """How a text becomes features.

    Attributes
    ----------
    bits
        There are 2^bits buckets.
    bigrams
        Whether neighbouring words are features, too.
    lower
        Whether the text is lower-cased.
    weight
        See the module.
    seed
        Of the hash, 0 to 2^64 - 1.
    """

    bits: int = 18
    bigrams: bool = False
    lower: bool = True
    weight: Weight = "log"
    seed: int = 0


class WordMemory:
    """How many words may be remembered, by all fields together; past it all are forgotten."""

    def __init__(self, bound: int = 1 << 16) -> None:
        self._bound = bound
        self._held = 0
        self._names: list[_Names] = []

    def enter(self, names: _Names) -> None:
        """One more field's words count."""
        self._names.append(names)

    def remember(self) -> None:
        """One more word is."""
        if self._held >= self._bound:
            for names in self._names:
                names.clear()
            self._held = 0
        self._held += 1


class _Names(dict[str, str]):
    """Words to names of features; those of before are remembered."""

    def __init__(self, field: str, options: TextOptions, memory: WordMemory) -> None:
        self._prefix = f"{field}#"
        self._buckets = 1 << options.bits
        self._key = options.seed.to_bytes(8, "little")
        self._memory = memory
        memory.enter(self)

    def __missing__(self, word: str) -> str:
        digest = hashlib.blake2b(
            word.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key
        ).digest()
        name = f"{self._prefix}{int.from_bytes(digest, 'little') % self._buckets}"
        if len(word) <= _LONGEST_REMEMBERED:
            self._memory.remember()
            self[word] = name
        return name


class Words:
    """The words of one field.

    Parameters
    ----------
    field
        Its name.
    options
        See `TextOptions`.
    memory
        Where its words are remembered; None: one of its own.

    Examples
    --------
    >>> words = Words("body", TextOptions(weight="count"))
    >>> words.features("To be, or not to be")
    {'body#39922': 2, 'body#5400': 2, 'body#153859': 1, 'body#206704': 1}
    """

    def __init__(self, field: str, options: TextOptions, memory: WordMemory | None = None) -> None:
        self._options = options
        self._names = _Names(field, options, WordMemory() if memory is None else memory)

    def features(self, text: str) -> dict[str, float]:
        """Names of buckets to weights, in the order in which they come in `text`."""
        found: dict[str, float] = {}
        self.put(text, found)
        return found

    def said(self, text: str) -> dict[str, list[str]]:
        """Names of buckets to the words of `text`, or pairs of words, that fall in each.

        >>> Words("body", TextOptions(bits=1)).said("To be, or not to be")
        {'body#0': ['to', 'be', 'not'], 'body#1': ['or']}
        """
        words = tokens(text, lower=self._options.lower)
        if self._options.bigrams:
            words = [*words, *starmap(_BIGRAM, pairwise(words))]
        found: dict[str, list[str]] = {}
        for word in dict.fromkeys(words):
            found.setdefault(self._names[word], []).append(word)
        return found

    def put(self, text: str, into: dict[str, float]) -> None:
        """Add what `features` gives."""
        options = self._options
        words = tokens(text, lower=options.lower)
        counts: dict[str, int] = Counter(map(self._names.__getitem__, words))
        if options.bigrams:
            pairs = starmap(_BIGRAM, pairwise(words))
            counts.update(map(self._names.__getitem__, pairs))  # type: ignore[arg-type]  # it counts
        if options.weight == "count":
            into.update(counts)
        elif options.weight == "binary":
            into.update(dict.fromkeys(counts, 1.0))
        else:
            try:
                logs = list(map(_LOGS.__getitem__, counts.values()))
            except IndexError:
                logs = list(map(_log, counts.values()))
            if options.weight == "l2":
                norm = math.sqrt(math.fsum(weight * weight for weight in logs))
                logs = [round(weight / norm, 9) for weight in logs]
            into.update(zip(counts, logs, strict=True))


def tokens(text: str, *, lower: bool = True) -> list[str]:
    """The words of `text`, in order.

    >>> tokens("It's 3,5 km to Köln_Süd!")
    ['it', 's', '3', '5', 'km', 'to', 'köln_süd']
    """
    if text.isascii():
        return text.translate(_LOWER if lower else _ASCII).split()
    text = unicodedata.normalize("NFC", text)
    found: list[str] = _WORDS(text.lower() if lower else text)
    return found


def _log(count: int) -> float:
    return _LOGS[count] if count < 1024 else round(math.log1p(count), 9)
