"""What the features say of one cluster: probabilities of its labels in, those of its parts out.

The parts' counts are the prior, bent just so far that every label has the probability that the
mixture gives it (the distribution of least information against the prior that has given
marginals; Deming and Stephan, 1940: proportional fitting). Multiplying the prior with what the
features say of every label would count what its labels share several times.

The prior of a part S is ``prod_l r_l^[l in S] (1 - r_l)^[l not in S] * exp(trust * bond(S))`` with
labels' shares r; parts that are not candidates have the bond ``log(1 - share)``.
"""

from __future__ import annotations

import math

from ihomer.instances import FloatArray
from ihomer.jit import kernel

SWEEPS = 2
LIVE = 64  # labels that are fitted, at most
_FARTHEST = 5.0  # step of a label's log-odds
_MOST = 600.0


@kernel
def tilt(
    p: FloatArray,
    live: int,
    inside: FloatArray,
    says: FloatArray,
    count: int,
    excess: FloatArray,
    floor: float,
    odds: FloatArray,
    weight: FloatArray,
) -> float:
    """Fit the parts' probabilities to those of the labels.

    Parameters
    ----------
    p
        float64 (at least live,): probabilities of the live labels, in (0, 1).
    live
        How many labels are fitted.
    inside
        float64 (at least live, at least count): 1 where a label is in a candidate, else 0.
    says
        float64 (at least count,): sums of the log-odds of a candidate's labels, live or not.
    count
        Candidates, no two the same; the first is the empty part.
    excess
        float64 (at least count,): ``exp(trust * bond) - floor``, not negative.
    floor
        ``(1 - share) ** trust``.
    odds
        float64 (at least live,): written: odds with which the labels of any other part come.
    weight
        float64 (at least count,): written: a part's weight without its bond, the product of its
        labels' odds, divided by the sum over all parts.

    Returns
    -------
    float
        The sum over all parts of their weights times `floor`, so divided.
    """
    rest = floor  # of all parts, as if all had the lowest bond
    for j in range(live):
        odds[j] = p[j] / (1.0 - p[j])
        rest *= 1.0 + odds[j]
    for q in range(count):
        weight[q] = math.exp(min(_MOST, max(-_MOST, says[q])))
    for sweep in range(SWEEPS + 1):
        total = rest
        for q in range(count):
            total += weight[q] * excess[q]
        rest /= total
        for q in range(count):
            weight[q] /= total
        if sweep == SWEEPS:
            break
        whole = 1.0
        for j in range(live):
            on = rest * odds[j] / (1.0 + odds[j])
            member = inside[j]
            for q in range(count):
                on += weight[q] * excess[q] * member[q]
            least = 1e-12 * whole
            off = max(least, whole - on)
            on = max(least, on)
            step = math.log(p[j] / (1.0 - p[j]) * (off / on))
            factor = math.exp(min(_FARTHEST, max(-_FARTHEST, step)))
            for q in range(count):
                weight[q] *= 1.0 + (factor - 1.0) * member[q]
            rest *= (1.0 + factor * odds[j]) / (1.0 + odds[j])
            odds[j] *= factor
            whole = off + factor * on
    return rest
