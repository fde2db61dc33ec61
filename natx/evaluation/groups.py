"""Draws that come in groups, such as the queries of one person, which find or miss the same images together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def group_sums(values: Sequence[float], groups: Sequence[int] | None) -> tuple[np.ndarray, np.ndarray]:
    """The sum of each group's values and how many there are, float64 ``[G]`` each, in the order of the groups' names.

    Args:
        values: of each draw, ``[N]``.
        groups: which group a draw belongs to, ``[N]``; None where each is one by itself.

    Raises:
        ValueError: not as many groups as values.
    """
    numbers = np.asarray(values, dtype=float)
    if groups is None:
        return numbers, np.ones_like(numbers)
    if len(groups) != len(numbers):
        raise ValueError(f"each of {len(numbers)} values needs a group; got {len(groups)}")
    _, places = np.unique(np.asarray(groups), return_inverse=True)
    return np.bincount(places, weights=numbers), np.bincount(places).astype(float)


def independent_draws(right: Sequence[float], groups: Sequence[int] | None) -> float:
    """How many independent draws tell as much about a share as these do, between 1 and N.

    The number of draws over the design effect: the variance of the share as the groups differ, over that of
    independent draws. Where all or none is right the groups cannot show how alike their draws are, and each counts as
    one.

    Args:
        right: 1 or 0 of each draw, ``[N]``.
        groups: see :func:`group_sums`.

    Source: Kish 1965, section 8.2, with the linearised variance of a ratio; a score interval with this number: Dean &
    Pagano 2015.
    """
    totals, counts = group_sums(right, groups)
    draws, total = len(totals), float(counts.sum())
    share = float(totals.sum()) / total
    if groups is None:
        return total
    if share in (0.0, 1.0) or draws < 2:
        return float(draws)
    variance = draws / (draws - 1) * float(((totals - share * counts) ** 2).sum()) / total**2
    return total if variance == 0 else min(max(share * (1 - share) / variance, 1.0), total)
