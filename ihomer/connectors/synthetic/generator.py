"""The chunks of a generated stream: a chunk's number in, features and label sets out.

It is here to bring the pieces together: the state of each event, its features and its labels, in
the order that the concept asks for. Nothing is kept from one chunk to the next but tables.
"""

from __future__ import annotations

from itertools import repeat
from typing import NamedTuple

import numpy as np

from ihomer.connectors.synthetic.concepts.base import Concept, Mixture
from ihomer.connectors.synthetic.concepts.hyperplane import Hyperplane
from ihomer.connectors.synthetic.concepts.linear import Linear
from ihomer.connectors.synthetic.concepts.rbf import Rbf
from ihomer.connectors.synthetic.concepts.text import Text, Words, joined_words
from ihomer.connectors.synthetic.concepts.tree import Tree
from ihomer.connectors.synthetic.concepts.xor import Xor
from ihomer.connectors.synthetic.features import FeatureSet
from ihomer.connectors.synthetic.following import Following
from ihomer.connectors.synthetic.labels import (
    NONE,
    Positives,
    Sizes,
    add_noise,
    draw_blocks,
    draw_labels,
    joined,
)
from ihomer.connectors.synthetic.parameters import Parameters
from ihomer.connectors.synthetic.timeline import Group, Parts, Timeline
from ihomer.connectors.synthetic.uniform import CHUNK, Randomness
from ihomer.instances import FloatArray, OffsetArray, Row

_CONCEPTS: dict[str, type[Concept]] = {
    "linear": Linear,
    "hyperplane": Hyperplane,
    "rbf": Rbf,
    "tree": Tree,
    "xor": Xor,
}


class ChunkLabels(NamedTuple):
    """Label sets of a chunk.

    Attributes
    ----------
    blocks
        Active blocks, int64 (`CHUNK`, 2), the one drawn first first; `NONE` = no second one.
    planted
        Labels before the noise, sorted by row and label.
    on
        Labels with it, sorted, each once.
    """

    blocks: OffsetArray
    planted: Positives
    on: Positives


class Generator:
    """Chunks of one stream.

    Parameters
    ----------
    parameters
        Of the stream.

    Attributes
    ----------
    timeline, features
        Its states, and its features over time.
    names
        Of all labels there will ever be, by id.
    """

    def __init__(self, parameters: Parameters) -> None:
        p = self._p = parameters
        where = f"synthetic:{p.name}"
        is_text = p.name == "text"
        randomness = self._randomness = Randomness(p.name, p.seed)
        self.timeline = Timeline(p, randomness)
        self.features = FeatureSet(
            where, p.drift, randomness, p.words if is_text else p.features, "w" if is_text else "f"
        )
        n_labels, n_blocks = self.timeline.n_labels, self.timeline.n_blocks
        digits = max(5, len(str(p.labels - 1)))
        self.names = tuple(f"l{i:0{digits}d}" for i in range(n_labels))
        self._redraws = _redraws(p, randomness, n_labels, n_blocks)
        self._concept: Concept | None = None
        self._following: Following | None = None
        self._text: Text | None = None
        # The labels and the observed features both come from it.
        self._last_plain: tuple[int, FloatArray] = (-1, np.zeros((CHUNK, 0)))
        self._biases: dict[tuple[Parts, float, int], float] = {}
        if is_text:
            start = self.timeline.population((0,) * len(p.drift))
            self._text = Text(p, randomness, start, n_labels, n_blocks)
            self._idf = self.features.by_source(self._text.idf)
        elif p.name in _CONCEPTS:
            self._concept = _CONCEPTS[p.name](p, randomness)
            self._following = Following(p, randomness, self._concept, n_labels, n_blocks)

    def affected(self, number: int) -> tuple[str, ...]:
        """Names of the labels that change `number` affects; empty = all."""
        change = self.timeline.changes[number]
        if change is not None:
            ids = change.affected
        elif (mask := self._redraws.get(number)) is not None and not mask.labels.all():
            ids = np.flatnonzero(mask.labels).astype(np.int32)
        else:
            return ()
        return tuple(self.names[i] for i in ids)

    # ----------------------------------------------------------------------------------- labels

    def labels(self, chunk: int) -> ChunkLabels:
        """Label sets of a chunk."""
        p = self._p
        levels = self.timeline.levels(chunk)
        mixtures = self._mixtures(levels)
        x = self._plain(chunk) if self._concept is not None else np.zeros((CHUNK, 0))
        blocks = np.full((CHUNK, 2), NONE, dtype=np.int64)
        planted: list[Positives] = []
        noisy: list[Positives] = []
        for group in self.timeline.groups(levels):
            blocks[group.rows], positives = self._planted(group, x, chunk, mixtures)
            positives = _sorted(positives, len(self.names))
            planted.append(positives)
            if p.noise:
                live = self.timeline.population(group.parts).live
                label = add_noise(positives, live, p.noise, self._randomness, chunk)
                positives = Positives(positives.row, label)
            noisy.append(positives)
        on = _sorted(joined(noisy), len(self.names))
        return ChunkLabels(blocks, _sorted(joined(planted), len(self.names)), on)

    def _planted(
        self, group: Group, x: FloatArray, chunk: int, mixtures: list[Mixture]
    ) -> tuple[OffsetArray, Positives]:
        """Active blocks and labels of the events of `group`."""
        p, rows = self._p, group.rows
        population = self.timeline.population(group.parts)
        if self._following is not None:
            events = chunk * CHUNK + np.arange(CHUNK, dtype=np.int64)
            blocks = self._following.blocks(population, x, events, rows, chunk, mixtures)
            bias = self._bias(self._following, group, mixtures)
            return blocks, self._following.labels(
                population, blocks, bias, x, events, rows, chunk, mixtures
            )
        sizes = Sizes(p.two, p.one_block, p.two_blocks, self.timeline.factor(group.parts))
        blocks = draw_blocks(population, p.two, self._randomness, chunk, rows)
        return blocks, draw_labels(population, sizes, blocks, self._randomness, chunk, rows)

    def _mixtures(self, levels: FloatArray) -> list[Mixture]:
        """The changes of the concept at the `levels` of a chunk."""
        return [mask._replace(level=levels[number]) for number, mask in self._redraws.items()]

    def _bias(self, following: Following, group: Group, mixtures: list[Mixture]) -> FloatArray:
        """Bias of each event of `group`; between two concepts it goes from one's to the other's."""
        bias = np.full(len(group.rows), self._calibrated(following, group.parts, 0))
        for number, mixture in enumerate(mixtures):
            level = mixture.level[group.rows]
            if level.any():
                bias = (1.0 - level) * bias + level * self._calibrated(
                    following, group.parts, number + 1
                )
        return bias

    def _calibrated(self, following: Following, parts: Parts, redraws: int) -> float:
        """The bias where `parts` are done and the first `redraws` changes of the concept too."""
        factor = self.timeline.factor(parts)
        key = (self.timeline.structural(parts), factor, redraws)
        bias = self._biases.get(key)
        if bias is None:
            whole = np.ones(CHUNK)
            masks = [mask._replace(level=whole) for mask in self._redraws.values()][:redraws]
            population = self.timeline.population(parts)
            bias = following.calibrate(population, self._p.cardinality * factor, masks)
            self._biases[key] = bias
        return bias

    # --------------------------------------------------------------------------------- features

    def rows(self, chunk: int, labels: ChunkLabels) -> list[Row]:
        """Features of a chunk's events, as they are observed, given its `labels`."""
        if self._text is not None:
            return self._text_rows(self._text, chunk, labels)
        x = self._plain(chunk)
        if self._concept is not None and self._p.feature_noise:
            noise = self._randomness.normals("feature noise", chunk, x.size)
            x = x + self._p.feature_noise * noise.reshape(x.shape)
        extended = self.features.extended(x, chunk)
        groups = self.timeline.groups(self.timeline.levels(chunk))
        rows: list[Row] = []
        for group in groups:
            ids, names = self.features.present(group.parts)
            whole = len(groups) == 1 and len(ids) == extended.shape[1]
            values = extended if whole else extended[np.ix_(group.rows, ids)]
            rows += map(Row, repeat(names), values)
        if len(groups) > 1:
            order = np.argsort(np.concatenate([group.rows for group in groups])).tolist()
            rows = [rows[i] for i in order]
        return rows

    def _plain(self, chunk: int) -> FloatArray:
        """Features as the labels follow them, (`CHUNK`, features); not to be written to."""
        last, x = self._last_plain
        if last != chunk:
            if self._concept is not None:
                x = self._concept.features(chunk)
            else:
                numbers = self._randomness.normals("x", chunk, CHUNK * self._p.features)
                x = numbers.reshape(CHUNK, self._p.features)
            self._last_plain = (chunk, x)
        return x

    def _text_rows(self, text: Text, chunk: int, labels: ChunkLabels) -> list[Row]:
        levels = self.timeline.levels(chunk)
        mixtures = self._mixtures(levels)
        words = joined_words(
            [text.background(chunk), text.topical(labels.planted, labels.blocks, chunk, mixtures)]
        )
        names = [self.features.base] * CHUNK
        if self.features.changes:
            parts: list[Words] = []
            for group in self.timeline.groups(levels):
                here = np.zeros(CHUNK, dtype=np.bool_)
                here[group.rows] = True
                mine = here[words.row]
                own = Words(words.row[mine], words.word[mine])
                parts.append(self.features.rewritten(own, group.parts, chunk))
                known = self.features.known(group.parts)
                for place in group.rows.tolist():
                    names[place] = known
            words = joined_words(parts)
        rows = text.rows(words, self._idf)
        cuts, indices, values = rows.indptr.tolist(), rows.indices, rows.values
        places = list(map(slice, cuts, cuts[1:]))
        return list(
            map(Row, names, map(values.__getitem__, places), map(indices.__getitem__, places))
        )


def _redraws(
    p: Parameters, randomness: Randomness, n_labels: int, n_blocks: int
) -> dict[int, Mixture]:
    """What each change of the concept affects, by its number among all changes."""
    found: dict[int, Mixture] = {}
    for number, plan in enumerate(p.drift):
        if plan.of == "concept":
            masks = []
            for of, count in (("label", n_labels), ("block", n_blocks)):
                # Chosen among those at the start, so that what is born later plays no role.
                first = p.labels if of == "label" else p.blocks
                mask = np.zeros(count)
                order = randomness.order(f"change {number} {of}", first)
                mask[order[: max(1, round(plan.size * first))]] = 1.0
                mask[first:] = plan.size == 1.0
                masks.append(mask)
            found[number] = Mixture(number + 1, np.zeros(CHUNK), masks[0], masks[1])
    return found


def _sorted(positives: Positives, n_labels: int) -> Positives:
    """By row and label, each once."""
    keys = positives.row * n_labels + positives.label
    keys.sort()
    # numpy's `unique` takes thirty times as long for as few as a chunk has.
    new = np.ones(len(keys), dtype=np.bool_)
    new[1:] = keys[1:] != keys[:-1]
    row, label = np.divmod(keys[new], n_labels)
    return Positives(row, label.astype(np.int32))
