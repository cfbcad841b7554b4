"""Names to ids: features as columns, labels in the order of their first positive, both bounded.

In: names. Out: small integers, the same ones for the same stream whatever the order of a mapping.
It is here so that everything above can work on arrays, and knows one owner of the names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ihomer.errors import MalformedEventError, UsageError

IntArray: TypeAlias = npt.NDArray[np.int32]
FeatureKey: TypeAlias = str | tuple[str, str]
NewLabels: TypeAlias = Literal["error", "drop"]


class FeatureVocabulary:
    """Feature names to column ids, in the order of appearance, bounded.

    Parameters
    ----------
    bound
        So many names get a column of their own; later ones share ``max(1, bound // 4)`` columns
        by a hash of the name that is the same in every process.
    """

    def __init__(self, bound: int) -> None:
        if bound < 1:
            raise UsageError(f"max_features: found {bound}, accepted: 1 or more")
        self.bound = bound
        self._buckets = max(1, bound // 4)
        self._ids: dict[FeatureKey, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def full(self) -> bool:
        """Whether new names are hashed by now."""
        return len(self._ids) >= self.bound

    @property
    def columns(self) -> int:
        """One more than the largest id in use."""
        return self.bound + self._buckets if self.full else len(self._ids)

    def ids(self, keys: Sequence[FeatureKey], *, add: bool) -> IntArray:
        """Ids of `keys`, new ones in sorted order so that the order of a mapping plays no role.

        Parameters
        ----------
        keys
            Distinct feature names, or (name, value) pairs of nominal features.
        add
            Whether new names are kept. If not, each gets the id that it would be given.

        Returns
        -------
        IntArray
            int32, shape (len(keys),); equal ids only among hashed names.
        """
        known = self._ids
        found = [known.get(key, -1) for key in keys]
        if -1 in found:
            # Two keys may have the same text, as 1 and "1" do.
            fresh = sorted({key for key in keys if key not in known}, key=_sort_key)
            room = max(0, self.bound - len(known))
            given = {key: len(known) + i for i, key in enumerate(fresh[:room])}
            given.update((key, self.bound + _bucket(key, self._buckets)) for key in fresh[room:])
            found = [given[key] if i < 0 else i for i, key in zip(found, keys, strict=True)]
            if add:
                known.update((key, given[key]) for key in fresh[:room])
        return np.array(found, dtype=np.int32)

    def names(self) -> list[str]:
        """Names by id, nominal pairs as ``name=value``."""
        return [key if isinstance(key, str) else "=".join(key) for key in self._ids]


def _sort_key(key: FeatureKey) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key


def _bucket(key: FeatureKey, buckets: int) -> int:
    text = "\x1f".join(_sort_key(key))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % buckets


class LabelVocabulary:
    """Label names to ids, in the order in which labels are first on, bounded.

    A label that has only been declared, or named as off, is known but has no id yet: nothing has
    been seen that a learner could hold apart from every other label that was never on.

    Parameters
    ----------
    declared
        Names known before the first event.
    bound
        Largest number of known labels.
    new_labels
        What happens to an event that brings a label past the bound: ``"error"`` = the event is
        malformed, ``"drop"`` = that label is left out and counted in `dropped`.
    """

    def __init__(
        self, declared: Iterable[str] = (), bound: int = 1 << 20, new_labels: NewLabels = "error"
    ) -> None:
        self.bound = bound
        self.new_labels = new_labels
        self.dropped = 0
        self._ids: dict[str, int] = {}
        self._names: list[str] = []
        self._waiting: dict[str, None] = {}
        self._ranks: IntArray = np.zeros(0, dtype=np.int32)
        if bound < 1:
            raise UsageError(f"max_labels: found {bound}, accepted: 1 or more")
        self.declare(declared)
        if len(self) > bound:
            raise UsageError(f"max_labels: {len(self)} labels declared, accepted: {bound} at most")

    def __len__(self) -> int:
        """Number of known labels, declared ones included."""
        return len(self._ids) + len(self._waiting)

    @property
    def seen(self) -> int:
        """Number of labels that have been on; their ids are 0 to ``seen - 1``."""
        return len(self._ids)

    def __contains__(self, name: object) -> bool:
        return name in self._ids or name in self._waiting

    def declare(self, names: Iterable[str]) -> None:
        """Make `names` known without a positive yet."""
        for name in names:
            if name not in self._ids:
                self._waiting[name] = None

    def declare_within_bound(self, names: Iterable[str]) -> None:
        """Make `names` known while there is room; to refuse a label that is off loses nothing."""
        for name in names:
            if name not in self and len(self) < self.bound:
                self._waiting[name] = None

    def get(self, name: str) -> int | None:
        """Id of a label that has been on, or None."""
        return self._ids.get(name)

    def admit(self, names: Iterable[str]) -> list[str]:
        """Labels of `names` that fit, duplicates and dropped ones removed; nothing is kept yet.

        Raises
        ------
        MalformedEventError
            A label is new, the bound is reached and `new_labels` is ``"error"``.
        """
        admitted: list[str] = []
        fresh = 0
        for name in dict.fromkeys(names):
            if name in self:
                admitted.append(name)
            elif len(self) + fresh < self.bound:
                fresh += 1
                admitted.append(name)
            elif self.new_labels == "error":
                raise MalformedEventError(
                    "vocabulary",
                    "too-many-labels",
                    f"y: label {name!r} is new and max_labels = {self.bound} is reached; accepted:"
                    ' a known label (or raise max_labels, or set new_labels = "drop")',
                )
            else:
                self.dropped += 1
        return admitted

    def ids(self, names: Iterable[str]) -> list[int]:
        """Ids of admitted labels, ascending; new ones are numbered in sorted order."""
        known = self._ids
        found: list[int] = []
        fresh: list[str] = []
        for name in names:
            index = known.get(name)
            if index is None:
                fresh.append(name)
            else:
                found.append(index)
        # In this order, so that a reader on another thread finds a name wherever it finds an id.
        for name in sorted(fresh):
            self._names.append(name)
            found.append(known.setdefault(name, len(known)))
            self._waiting.pop(name, None)
        return sorted(found)

    def names(self) -> list[str]:
        """Names of the labels that have been on, by id."""
        return self._names.copy()

    def name(self, index: int) -> str:
        """Name of the label with id `index`."""
        return self._names[index]

    def unseen(self) -> list[str]:
        """Names of the labels that are known but have never been on."""
        return list(self._waiting)

    def ranks(self) -> IntArray:
        """Rank of each id's name in sorted order, int32 (seen,): ties are broken by it."""
        if len(self._ranks) != len(self._ids):
            order = sorted(range(len(self._ids)), key=self._names.__getitem__)
            ranks = np.empty(len(order), dtype=np.int32)
            ranks[order] = np.arange(len(order), dtype=np.int32)
            self._ranks = ranks
        return self._ranks
