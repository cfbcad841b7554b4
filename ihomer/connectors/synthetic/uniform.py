"""Random numbers that never change: a seed, a purpose and a chunk in, numbers out.

It is here because numpy promises the raw bits of its bit generators for ever, but not what its
distributions make of them. A chunk's numbers depend on nothing that was drawn before, so any
place of a stream is reached at once, and a purpose that needs more of them leaves the others as
they are.
"""

from __future__ import annotations

import hashlib

import numpy as np
from scipy.special import ndtri

from ihomer.instances import FloatArray, OffsetArray

CHUNK = 1024  # events that are drawn at once; part of what a seed means


class Randomness:
    """Numbers for one stream.

    Parameters
    ----------
    name, seed
        Streams that differ in either share nothing.

    Examples
    --------
    >>> one, two = Randomness("linear", 1), Randomness("linear", 1)
    >>> bool((one.uniforms("x", 5, 10)[:3] == two.uniforms("x", 5, 3)).all())
    True
    """

    def __init__(self, name: str, seed: int) -> None:
        self._scope = f"{name}\x1f{seed}\x1f"
        self._keys: dict[str, int] = {}

    def uniforms(self, purpose: str, chunk: int, count: int) -> FloatArray:
        """`count` numbers in the open interval (0, 1), the first ones whatever `count` is.

        Philox-4x64-10 (Salmon et al., SC 2011) with a key for each purpose; the chunk is the
        upper half of its counter. 52 bits make a number, so that neither 0 nor 1 can occur.
        """
        key = self._keys.get(purpose)
        if key is None:
            digest = hashlib.blake2b((self._scope + purpose).encode(), digest_size=16).digest()
            key = self._keys[purpose] = int.from_bytes(digest, "little")
        bits = np.random.Philox(key=key, counter=chunk << 128).random_raw(count)
        bits >>= np.uint64(12)
        numbers = bits.astype(np.float64)
        numbers += 0.5
        numbers *= 2.0**-52
        return numbers

    def normals(self, purpose: str, chunk: int, count: int) -> FloatArray:
        """`count` numbers of the standard normal distribution, by its inverse."""
        numbers: FloatArray = ndtri(self.uniforms(purpose, chunk, count))
        return numbers

    def integers(self, purpose: str, chunk: int, count: int, below: int) -> OffsetArray:
        """`count` integers from 0 to ``below - 1``, int64."""
        return (self.uniforms(purpose, chunk, count) * below).astype(np.int64)

    def order(self, purpose: str, count: int) -> OffsetArray:
        """A permutation of ``range(count)``, int64."""
        return np.argsort(self.uniforms(purpose, 0, count), kind="stable")
