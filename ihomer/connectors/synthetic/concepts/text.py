"""Text-like: label sets in, sparse rows of word weights out.

Every label has words of its own, so has every block; an event draws some of each of its labels'
and blocks' words (with repetition), and a number of background words (each number up to the
bound is as likely), whose ranks follow Zipf's law: word 0 is the most common one. The counts are
multiplied by the inverse document frequency and each row is divided by its length. It is here as
the stream of many labels.

A label's noise is in the labels alone: words come from the labels that were planted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.connectors.synthetic.concepts.base import Mixture
from ihomer.connectors.synthetic.labels import NONE, Positives, place_in_row
from ihomer.connectors.synthetic.parameters import Parameters
from ihomer.connectors.synthetic.population import Population
from ihomer.connectors.synthetic.uniform import CHUNK, Randomness
from ihomer.instances import FloatArray, IntArray, OffsetArray

_DOCUMENTS = 100_000  # the collection that the inverse document frequency is smoothed for


class Words(NamedTuple):
    """Tokens of a chunk, in any order.

    Attributes
    ----------
    row
        int64, the event's place in its chunk.
    word
        int64, word ids.
    """

    row: OffsetArray
    word: OffsetArray


class Rows(NamedTuple):
    """Weighted words of a chunk as compressed sparse rows.

    Attributes
    ----------
    indptr
        int64 (`CHUNK` + 1,).
    indices
        int32, word ids ascending in each row.
    values
        float64.
    """

    indptr: OffsetArray
    indices: IntArray
    values: FloatArray


class Text:
    """Words of one stream.

    Parameters
    ----------
    parameters, randomness
        Of the stream.
    population
        The structure at the start; the inverse document frequency is the expected one of the
        stream's first state and stays.
    n_labels, n_blocks
        Labels and blocks there will ever be.
    """

    def __init__(
        self,
        parameters: Parameters,
        randomness: Randomness,
        population: Population,
        n_labels: int,
        n_blocks: int,
    ) -> None:
        self._p = parameters
        self._randomness = randomness
        self._counts = {"label": n_labels, "block": n_blocks}
        self._tables: dict[tuple[str, int], OffsetArray] = {}
        mass = np.arange(1.0, parameters.words + 1.0) ** -parameters.zipf
        self._ends = np.cumsum(mass) / mass.sum()
        self._ends[-1] = np.inf
        self.idf = self._expected_idf(population, mass / mass.sum())

    def table(self, of: str, version: int) -> OffsetArray:
        """Words of each label or block, int64 (count, words)."""
        table = self._tables.get((of, version))
        if table is None:
            p, count = self._p, self._counts[of]
            each = p.label_words if of == "label" else p.block_words
            draw = self._randomness.integers(f"words {of} {version}", 0, count * each, p.words)
            table = self._tables[of, version] = draw.reshape(count, each)
        return table

    def background(self, chunk: int) -> Words:
        """Background words of a chunk."""
        most = self._p.background
        many = self._randomness.integers("background length", chunk, CHUNK, most + 1)
        rows = np.repeat(np.arange(CHUNK, dtype=np.int64), many)
        place = np.arange(len(rows)) - np.repeat(np.cumsum(many) - many, many)
        draw = self._randomness.uniforms("background", chunk, CHUNK * most)
        return Words(rows, np.searchsorted(self._ends, draw[place * CHUNK + rows], side="right"))

    def topical(
        self,
        clean: Positives,
        blocks: OffsetArray,
        chunk: int,
        mixtures: list[Mixture],
    ) -> Words:
        """Words of the labels and active blocks of a chunk.

        Parameters
        ----------
        clean
            Planted labels, sorted by row and label.
        blocks
            int64 (`CHUNK`, 2).
        mixtures
            The changes of the concept; each draw is from the new words with the probability that
            is the change's level.
        """
        p = self._p
        place = place_in_row(clean.row)
        slot, active = np.nonzero(blocks.T != NONE)
        return joined_words(
            [
                self._draws("label", p.label_draws, clean.row, clean.label, place, chunk, mixtures),
                self._draws(
                    "block", p.block_draws, active, blocks[active, slot], slot, chunk, mixtures
                ),
            ]
        )

    def _draws(
        self,
        of: str,
        draws: int,
        rows: OffsetArray,
        ids: OffsetArray | IntArray,
        place: OffsetArray,
        chunk: int,
        mixtures: list[Mixture],
    ) -> Words:
        each = self._p.label_words if of == "label" else self._p.block_words
        width = int(place.max(initial=-1)) + 1
        at = (place * CHUNK + rows)[:, None] * draws + np.arange(draws)
        size = CHUNK * width * draws
        which = (self._randomness.uniforms(f"{of} words", chunk, size)[at] * each).astype(np.int64)
        words = self.table(of, 0)[ids[:, None], which]
        for mixture in mixtures:
            weight = mixture.level[rows] * mixture.affected(of)[ids]
            if weight.any():
                purpose = f"{of} words {mixture.version}"
                choice = self._randomness.uniforms(purpose, chunk, size)[at]
                new = self.table(of, mixture.version)[ids[:, None], which]
                words = np.where(choice < weight[:, None], new, words)
        return Words(np.repeat(rows, draws), words.ravel())

    def rows(self, tokens: Words, idf: FloatArray) -> Rows:
        """Tokens as rows of counts times `idf` (words,), of length 1 each."""
        n_words = len(idf)
        keys = tokens.row * n_words + tokens.word
        keys.sort()
        first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))[: len(keys)])
        row, word = np.divmod(keys[first], n_words)
        values = np.diff(first, append=len(keys)) * idf[word]
        squares = np.bincount(row, weights=values**2, minlength=CHUNK)
        indptr = np.searchsorted(row, np.arange(CHUNK + 1)).astype(np.int64)
        return Rows(indptr, word.astype(np.int32), values / np.sqrt(squares)[row])

    def _expected_idf(self, population: Population, background: FloatArray) -> FloatArray:
        """``log((2 + N) / (1 + N df))``, df = expected share of events with the word."""
        p = self._p
        one, two = sum(p.one_block) / 2.0, sum(p.two_blocks) / 2.0
        blocks_each = population.weights * (1.0 + p.two)
        labels_each = population.weights * ((1.0 - p.two) * one + 2.0 * p.two * two)
        tokens = background * (p.background / 2.0)
        live = population.live
        by_label = labels_each[population.block[live]] * population.shares[live] * p.label_draws
        for of, ids, expected in (
            ("label", live, by_label),
            ("block", np.arange(len(blocks_each)), blocks_each * p.block_draws),
        ):
            table = self.table(of, 0)[ids]
            np.add.at(tokens, table.ravel(), np.repeat(expected / table.shape[1], table.shape[1]))
        share = -np.expm1(-tokens)
        idf: FloatArray = np.log((2.0 + _DOCUMENTS) / (1.0 + _DOCUMENTS * share))
        return idf


def joined_words(parts: list[Words]) -> Words:
    """All of `parts` as one."""
    return Words(
        np.concatenate([part.row for part in parts]), np.concatenate([part.word for part in parts])
    )
