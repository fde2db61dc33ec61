"""What a ranking at random scores: the expectation over all orders of the gallery, in closed form."""

from __future__ import annotations

import numpy as np

from tasks.reid.ranking import KS, Protocol, no_match


def chance(protocol: Protocol) -> dict[str, float]:
    """``mAP`` and ``Rank-k`` of a ranking at random, in percent, over the queries that have a match.

    A query with R right images among the n that it ranks finds one first with probability R / n, and one among the
    first k unless all k are of the n - R others. Its average precision is the mean over its right images of their
    precision; rank r holds a right image with probability R / n, and each of the r - 1 before it is then right with
    probability (R - 1) / (n - 1). So, with the harmonic number ``H_n``,
    ``E[AP] = (H_n + (n - H_n)(R - 1) / (n - 1)) / n``.

    Raises:
        DataError: no query has a match.
    """
    right, ranked = protocol.counts()
    if not right.any():
        raise no_match(len(right))
    right, ranked = right[right > 0], ranked[right > 0]
    harmonic = np.cumsum(1 / np.arange(1, ranked.max() + 1))[ranked - 1]
    company = (right - 1) / np.maximum(ranked - 1, 1)
    values = {"mAP": 100 * float(((harmonic + (ranked - harmonic) * company) / ranked).mean())}
    places = np.arange(max(KS))
    # A factor is the probability that one more rank is wrong where all before it are; past the wrong images it is 0.
    wrong = np.maximum(ranked - right, 0)[:, None] - places
    miss = np.cumprod(np.maximum(wrong, 0) / np.maximum(ranked[:, None] - places, 1), axis=1)
    return values | {f"Rank-{k}": 100 * float((1 - miss[:, k - 1]).mean()) for k in KS}
