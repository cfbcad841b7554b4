"""Average linkage of a distance matrix: distances in, a binary tree of merges out."""

from __future__ import annotations

import numpy as np

from ihomer.instances import FloatArray
from ihomer.jit import kernel


@kernel
def average_linkage(distance: FloatArray) -> FloatArray:
    """Agglomerative clustering by average distance, by chains of nearest neighbours.

    Parameters
    ----------
    distance
        float64 (m, m), symmetric, m >= 2; overwritten.

    Returns
    -------
    FloatArray
        float64 (m - 1, 3): the two nodes of each merge and their average distance. Merge i makes
        node m + i, from nodes made before it; the last one is the root. Among equal distances the
        node that stands first in the matrix is taken. (Murtagh, The Computer Journal 26, 1983.)
    """
    m = distance.shape[0]
    merges = np.empty((m - 1, 3))
    node = np.arange(m)
    size = np.ones(m)
    alive = np.ones(m, dtype=np.bool_)
    chain = np.empty(m, dtype=np.int64)
    length = 0
    for made in range(m - 1):
        if length == 0:
            chain[0] = 0  # of two merged nodes the first stays, so this one always lives
            length = 1
        while True:
            a = chain[length - 1]
            # The one before is kept among equals, or the chain could go in circles.
            b = chain[length - 2] if length > 1 else -1
            least = distance[a, b] if b >= 0 else np.inf
            for k in range(m):
                if alive[k] and k != a and distance[a, k] < least:
                    least = distance[a, k]
                    b = k
            if length > 1 and b == chain[length - 2]:
                break
            chain[length] = b
            length += 1
        length -= 2
        if b < a:
            a, b = b, a
        merges[made, 0], merges[made, 1], merges[made, 2] = node[a], node[b], least
        for k in range(m):
            if alive[k] and k != a and k != b:
                mean = (size[a] * distance[a, k] + size[b] * distance[b, k]) / (size[a] + size[b])
                distance[a, k] = mean
                distance[k, a] = mean
        size[a] += size[b]
        alive[b] = False
        node[a] = m + made
    return merges
