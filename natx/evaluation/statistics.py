"""What the images at hand can tell: intervals of a share, tests on the same images, what a difference needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, bootstrap, nct, norm, permutation_test, t

from natx.evaluation.groups import group_sums

CONFIDENCE = 0.95
LEVEL = 0.05  # chance of calling a difference that is none
POWER = 0.8  # chance of seeing a difference that is there
MOST = 10_000  # seeds that are counted to
RESAMPLES = 9_999  # of bootstraps and permutations
SEED = 0  # of these
BATCH = 500  # resamples at a time
IMAGE_RESAMPLES = 1_000  # of images, where a value is no mean and each resample takes work
Interval = tuple[float, float]


def wilson(successes: float, trials: float, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a share, as two numbers in [0,1].

    It keeps its coverage near 0 and 1 and for few images, where the normal approximation leaves [0,1] or is empty.

    Args:
        successes: how many images count, 0 to ``trials``.
        trials: of how many; no whole number where draws count as fewer independent ones.
        confidence: two-sided.

    Raises:
        ValueError: less than one trial, or more successes than these.

    Source: Wilson 1927, without correction for continuity; recommended by Brown, Cai & DasGupta 2001.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"a share needs 0 <= successes <= trials and trials >= 1; got {successes} of {trials}")
    z, share = float(norm.isf((1 - confidence) / 2)), successes / trials
    middle = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    return (0.0 if share == 0 else middle - half), (1.0 if share == 1 else middle + half)


def mean_interval(
    values: Sequence[float], *, groups: Sequence[int] | None = None, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean, such as that over the queries of a retrieval.

    Args:
        values: of each draw, ``[N]``.
        groups: which group a draw belongs to, ``[N]``: whole groups are resampled. None for independent draws.
        confidence: two-sided.

    Raises:
        ValueError: no values, or not as many groups.

    Source: Efron & Tibshirani 1993, chapter 13, of groups Davison & Hinkley 1997, section 3.8; ``RESAMPLES`` resamples
    from a generator of its own, seeded ``SEED``.
    """
    totals, counts = group_sums(values, groups)
    if not len(totals):
        raise ValueError("a mean needs values")
    if (means := totals / counts).min() == means.max():
        return float(means[0]), float(means[0])

    def mean(totals: np.ndarray, counts: np.ndarray, axis: int = -1) -> np.ndarray:
        return totals.sum(axis=axis) / counts.sum(axis=axis)

    interval = bootstrap(
        (totals, counts),
        mean,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=BATCH,
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(SEED),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def resampled(images: int, *, resamples: int = IMAGE_RESAMPLES) -> np.ndarray:
    """How often each bootstrap resample of some images has each of them, float64 ``[N, R]``; the same at each call.

    Source: Efron & Tibshirani 1993, chapter 6; from a generator of its own, seeded ``SEED``.
    """
    draws = np.random.default_rng(SEED).multinomial(images, np.full(images, 1 / images), size=resamples)
    return np.ascontiguousarray(draws.T, dtype=np.float64)


def spread(samples: Sequence[float] | np.ndarray, value: float, *, confidence: float = CONFIDENCE) -> Interval | None:
    """The interval of a value by its bootstrap resamples: their percentiles, shifted so that their mean is the value.

    Images that a resample has twice raise an average precision, whose interval would else lie beside it; of a mean the
    shift is nothing. Resamples where the value is not defined (NaN) are left out; None where all are.

    Args:
        samples: the value on each resample, ``[R]``.
        value: on the images as they are.
        confidence: two-sided.

    Source: Efron & Tibshirani 1993, chapters 10 (the bootstrap's estimate of bias) and 13.
    """
    numbers = np.asarray(samples, dtype=float)
    numbers = numbers[~np.isnan(numbers)]
    if not len(numbers):
        return None
    low, high = np.quantile(numbers, [(1 - confidence) / 2, (1 + confidence) / 2]) - (numbers.mean() - value)
    return float(low), float(high)


def sign_flips(differences: Sequence[float]) -> float:
    """Paired permutation test of a mean difference: the two-sided p-value, in (0, 1].

    Under the null hypothesis the two sides of a pair could as well be exchanged, which flips the difference's sign.

    Args:
        differences: of each pair, ``[N]``.

    Raises:
        ValueError: no pairs.

    Source: Fisher 1935, section 21; all sign patterns where there are at most ``RESAMPLES``, else as many at random
    from a generator of its own, seeded ``SEED``.
    """
    numbers = np.asarray(differences, dtype=float)
    if not len(numbers):
        raise ValueError("a test needs pairs")
    numbers = numbers[numbers != 0]  # a flip changes nothing of a pair without difference
    if len(numbers) < 2:  # one pair is as far out on either side
        return 1.0

    def total(pairs: np.ndarray, axis: int = -1) -> np.ndarray:
        return pairs.sum(axis=axis)

    return float(
        permutation_test(
            (numbers,),
            total,
            permutation_type="samples",
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=BATCH,
            random_state=np.random.default_rng(SEED),
        ).pvalue
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact McNemar test of two outcomes on the same images: the two-sided p-value, in (0, 1].

    Under the null hypothesis an image on which the two differ falls to either side with probability 1/2. Images that
    are right in both, or wrong in both, say nothing about the difference.

    Args:
        only_first: images that are right in the first outcome alone.
        only_second: images that are right in the second alone.

    Raises:
        ValueError: a negative count.

    Source: McNemar 1947, as the exact binomial test of the discordant pairs.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"counts of images are at least 0; got {only_first} and {only_second}")
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def images_needed(
    difference: float, *, discordant: float | None = None, level: float = LEVEL, power: float = POWER
) -> int:
    """How many images a paired test needs to see a difference of two accuracies.

    Args:
        difference: of the accuracies, in percentage points; its sign does not count.
        discordant: share of the images (in percentage points) on which the two outcomes differ, at least
            ``difference``; by default the least that there can be: one is right wherever the other is.
        level: two-sided level of the test.
        power: probability with which the difference is seen.

    Raises:
        ValueError: no difference, or fewer discordant images than it takes.

    Source: Connor 1987, the normal approximation to McNemar's test. Never fewer images than are expected to have so
    many discordant ones that the exact test could reach the level (six at 0.05).
    """
    gap = abs(difference) / 100
    apart = gap if discordant is None else discordant / 100
    if not 0 < gap <= apart <= 1:
        raise ValueError(f"a difference of {difference} points needs as many discordant images; got {discordant}")
    reach = norm.isf(level / 2) * math.sqrt(apart) + norm.isf(1 - power) * math.sqrt(apart - gap**2)
    least = math.ceil(1 - math.log2(level))  # 2 * 0.5**n <= level
    return math.ceil(max((reach / gap) ** 2, least / apart) - 1e-9)


def seeds_needed(difference: float, deviation: float, *, level: float = LEVEL, power: float = POWER) -> int | None:
    """How many seeds on each side a t test of two means needs to see their difference.

    Args:
        difference: of the means, other than 0; its sign does not count.
        deviation: standard deviation over seeds of either side, in the same unit.
        level: two-sided level of the test.
        power: probability with which the difference is seen.

    Returns:
        At least 2, as one seed has no deviation; None where more than ``MOST`` are needed.

    Raises:
        ValueError: no difference, or a negative deviation.

    Source: the power of Student's t test, by the noncentral t distribution (Cohen 1988, chapter 2).
    """
    if difference == 0 or deviation < 0:
        raise ValueError(f"a difference other than 0 and a deviation are needed; got {difference} and {deviation}")
    if deviation == 0:
        return 2
    effect = abs(difference) / deviation

    def seen(seeds: int) -> bool:
        freedom, shift = 2 * seeds - 2, effect * math.sqrt(seeds / 2)
        return bool(nct.sf(t.isf(level / 2, freedom), freedom, shift) >= power)

    if not seen(MOST):
        return None
    low, high = 1, MOST  # seen at high, and not (or not asked) at low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high
