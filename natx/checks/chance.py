"""Chance: what an honest model may show on so few images, so that red is a statement and no accident.

The images of a test set are taken as a draw from many. Each check has a tolerance: what an honest model may show on all
of them. It is red where the images at hand refute that its model keeps the tolerance, at a level that is shared out
over all checks that test (Bonferroni): an honest model gets any red one from them with a probability of at most 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, t
from torch import Tensor

FAMILY = 0.05  # an honest model gets a red check by chance with at most this probability
TESTS = 17  # checks that test: G1 to G16 and AA-SQUARE; the others state facts
LEVEL = FAMILY / TESTS
NEGLIGIBLE = 1e-12  # probability that is left out of sums


@dataclass(frozen=True)
class Tested:
    """A figure, and how surprising it is of a model that keeps the tolerance.

    Attributes:
        figure: the measured number.
        p_value: probability of such a figure or a worse one, times the number of comparisons that a check makes.
        limit: the figure nearest to honest that would be red, given all else that was seen; infinite where none would.
        possible: whether as many images could be red at all.
    """

    figure: float
    p_value: float
    limit: float
    possible: bool = True

    @property
    def red(self) -> bool:
        """Whether chance is refused."""
        return self.p_value <= LEVEL


def worst(tests: list[Tested]) -> Tested:
    """The least likely of several tests, whose p-values know how many they are."""
    return min(tests, key=lambda tested: tested.p_value)


def difference(
    first: Tensor, second: Tensor, *, tolerance: float = 0.0, comparisons: int = 1, unit: float = 100.0
) -> Tested:
    """Whether one outcome is too far above another one of the same images.

    Null hypothesis: over all images the first is set no more often than the second, but for the tolerance. Images on
    which the two agree say nothing about it.

    Args:
        first: bool ``[N]``, such as which images are right under the attack that should break more.
        second: bool ``[N]``, the same under the other.
        tolerance: in percentage points.
        comparisons: how many the check makes.
        unit: of figure and limit: 100 for percentage points, N for images.
    """
    above, below, images = int((first & ~second).sum()), int((second & ~first).sum()), len(first)
    level, share = LEVEL / comparisons, tolerance / 100

    def p_value(count: int) -> float:
        return paired_excess(count, below, images, share)

    least = _first(p_value, below + 1, images - below, level)
    limit = math.inf if least is None else unit * (least - below) / images
    possible = paired_excess(images, 0, images, share) <= level
    return Tested(unit * (above - below) / images, min(1.0, comparisons * p_value(above)), limit, possible)


def paired_excess(above: int, below: int, images: int, tolerance: float) -> float:
    """P-value of the null hypothesis that ``P(above) - P(below) <= tolerance``, from counts of the same images.

    The exact distribution of ``above - below`` at the edge of the hypothesis, with the share of ``below`` as it is most
    likely there: the estimated p-value of Lloyd 2008, with the restricted estimate of Tango 1998. With a tolerance of 0
    it is McNemar's question asked on one side. Its size was computed for 20 to 1,000 images, tolerances of 0 to 0.06
    and shares of 0 to 0.2: it is nowhere above the level.

    Args:
        above: images on which the first outcome alone is right.
        below: images on which the second alone is.
        images: all, also those on which the two agree.
        tolerance: in [0, 1).
    """
    if above <= below:
        return 1.0
    share = _likeliest(above, below, images, tolerance)
    first, last = (int(binom.isf(tail, images, share)) for tail in (1 - NEGLIGIBLE, NEGLIGIBLE))
    counts = np.arange(max(first, 0), last + 1)
    others = binom.sf(above - below + counts - 1, images - counts, min(1.0, (share + tolerance) / (1 - share)))
    return float((binom.pmf(counts, images, share) * others).sum())


def _likeliest(above: int, below: int, images: int, tolerance: float) -> float:
    """The most likely share of ``below`` where that of ``above`` is larger by exactly the tolerance."""
    linear = (2 * images - above + below) * tolerance - above - below
    root = math.sqrt(max(linear**2 + 8 * images * below * tolerance * (1 - tolerance), 0.0))
    return min(max((root - linear) / (4 * images), 0.0), (1 - tolerance) / 2)


def share_above(which: Tensor, tolerance: float, *, comparisons: int = 1) -> Tested:
    """Whether too many images have a property; figure and limit in percent.

    Null hypothesis: of all images no more than the tolerance (%) have it. The exact binomial test.

    Args:
        which: bool ``[N]``.
        tolerance: in percent.
        comparisons: how many the check makes.
    """
    count, images, level = int(which.sum()), len(which), LEVEL / comparisons

    def p_value(count: int) -> float:
        return float(binom.sf(count - 1, images, tolerance / 100))

    least = _first(p_value, 0, images, level)
    limit = math.inf if least is None else 100 * least / images
    return Tested(100 * count / images, min(1.0, comparisons * p_value(count)), limit, least is not None)


def share_below(which: Tensor, tolerance: float, *, comparisons: int = 1) -> Tested:
    """Whether too few images have a property: the other side of :func:`share_above`, with the same arguments."""
    others = share_above(~which, 100 - tolerance, comparisons=comparisons)
    return Tested(100 - others.figure, others.p_value, 100 - others.limit, others.possible)


def mean_above(values: Tensor, tolerance: float, *, comparisons: int = 1) -> Tested:
    """Whether the mean of a quantity is too large. Null hypothesis: over all images it is at most the tolerance.

    Student's t test.

    Args:
        values: of each image, float ``[N]``.
        tolerance: in the unit of the values.
        comparisons: how many the check makes.
    """
    images = len(values)
    mean = float(values.double().mean())
    if images < 2:  # one image has no deviation
        return Tested(mean, 1.0, math.inf, possible=False)
    error = float(values.double().std()) / math.sqrt(images)
    if error == 0 or not math.isfinite(error):  # all alike, so that no chance is at work, or no numbers at all
        return Tested(mean, 1.0 if mean <= tolerance else 0.0, math.nextafter(tolerance, math.inf))
    p_value = min(1.0, comparisons * float(t.sf((mean - tolerance) / error, images - 1)))
    return Tested(mean, p_value, tolerance + float(t.isf(LEVEL / comparisons, images - 1)) * error)


def mean_below(values: Tensor, tolerance: float, *, comparisons: int = 1) -> Tested:
    """Whether the mean of a quantity is too small: the other side of :func:`mean_above`, with the same arguments."""
    other = mean_above(-values, -tolerance, comparisons=comparisons)
    return Tested(-other.figure, other.p_value, -other.limit, other.possible)


def _first(p_value: Callable[[int], float], low: int, high: int, level: float) -> int | None:
    """The smallest count from ``low`` to ``high`` whose p-value, which falls with the count, is at most the level."""
    if high < low or p_value(high) > level:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if p_value(middle) <= level else (middle + 1, high)
    return low
