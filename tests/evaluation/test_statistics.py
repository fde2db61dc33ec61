"""Intervals and tests against their closed forms, sizes against the power that they promise."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import product

import numpy as np
import pytest
from scipy.stats import ttest_ind

from natx.evaluation.groups import independent_draws
from natx.evaluation.statistics import images_needed, mcnemar, mean_interval, seeds_needed, sign_flips, wilson


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (1, 7), (60, 120), (199, 200), (1000, 1000), (1, 1)])
def test_wilson_solves_its_quadratic(successes: int, trials: int) -> None:
    """Its ends are where a share p is z standard errors sqrt(p (1 - p) / n) of its own away from the observed one."""
    z, share = 1.959963984540054, successes / trials
    low, high = wilson(successes, trials)
    assert 0 <= low <= share <= high <= 1
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    assert (low, high) == (pytest.approx(centre - half, abs=1e-9), pytest.approx(centre + half, abs=1e-9))


def test_wilson_covers_what_it_says() -> None:
    """Over all outcomes of 100 images the chance that the interval has the true share is near 95 %."""
    for share in (0.05, 0.3, 0.5, 0.9):
        chances = [math.comb(100, k) * share**k * (1 - share) ** (100 - k) for k in range(101)]
        covered = sum(p for k, p in enumerate(chances) if wilson(k, 100)[0] <= share <= wilson(k, 100)[1])
        assert 0.92 < covered < 0.99


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 5), (6, 5)])
def test_shares_that_are_none_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match=f"got {successes} of {trials}"):
        wilson(successes, trials)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 5), (0, 6), (2, 9), (9, 2), (30, 31), (7, 7), (120, 80)])
def test_mcnemar_is_a_fair_coin(first: int, second: int) -> None:
    n, least = first + second, min(first, second)
    tail = sum(math.comb(n, k) for k in range(least + 1)) / 2**n
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(first, second) == pytest.approx(mcnemar(second, first))


def test_mcnemar_needs_six_images_on_one_side() -> None:
    assert mcnemar(0, 0) == 1 and mcnemar(0, 5) > 0.05 > mcnemar(0, 6)
    with pytest.raises(ValueError, match="at least 0"):
        mcnemar(-1, 3)


def power(images: int, *, gap: float, apart: float) -> float:
    """Chance that the exact test sees a difference, over the number of discordant images and their sides."""
    seen, side = 0.0, (apart + gap) / (2 * apart)

    def chance(k: int, n: int, p: float) -> float:
        log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        return math.exp(log + k * math.log(p) + (n - k) * math.log1p(-p)) if 0 < p < 1 else float(k == n * p)

    for n in range(min(images, 400) + 1):
        weight = chance(n, images, apart)
        if weight > 1e-9:  # p-values rise towards an even split: so many splits on either side reach the level
            reach = bisect_left(range(n // 2 + 1), True, key=lambda k: mcnemar(k, n - k) > 0.05)
            seen += weight * sum(chance(k, n, p) for k in range(reach) for p in (side, 1 - side))
    return seen


@pytest.mark.parametrize(("difference", "discordant"), [(5, 10), (2, 8), (10, 20)])
def test_so_many_images_see_a_difference(difference: float, discordant: float) -> None:
    """The exact test is a little less powerful than the approximation; half the images would not do."""
    images = images_needed(difference, discordant=discordant)
    assert images == images_needed(-difference, discordant=discordant)
    shares = dict(gap=abs(difference) / 100, apart=discordant / 100)
    assert 0.7 < power(images, **shares) < 0.88
    assert power(images // 2, **shares) < 0.6


def test_images_for_a_difference_that_has_one_side() -> None:
    assert images_needed(100) == 6  # of six all must differ
    assert images_needed(0.5) > images_needed(1.0) > images_needed(5.0) >= 6 / 0.05
    with pytest.raises(ValueError, match="discordant images; got 3"):
        images_needed(5, discordant=3)
    with pytest.raises(ValueError, match="difference of 0 points"):
        images_needed(0)


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 394), (0.5, 64), (0.8, 26), (1.0, 17), (1.4, 10)])
def test_seeds_are_those_of_cohens_table(effect: float, seeds: int) -> None:
    """Cohen 1988, table 2.4.1: two-sided 0.05, power 0.80."""
    assert abs(seeds_needed(effect, 1.0) - seeds) <= 1
    assert seeds_needed(-3 * effect, 3.0) == seeds_needed(effect, 1.0)


def test_few_seeds_leave_few_degrees_of_freedom() -> None:
    """Student's test on groups three deviations apart: four seeds each see it in 80 of 100 draws, three do not."""
    draw = np.random.default_rng(5)
    seen = {}
    for seeds in (3, 4):
        here, there = draw.normal(0, 1, (4_000, seeds)), draw.normal(3, 1, (4_000, seeds))
        seen[seeds] = (ttest_ind(here, there, axis=1).pvalue <= 0.05).mean()
    assert seen[3] < 0.78 and seen[4] > 0.82 and seeds_needed(3.0, 1.0) == 4


def test_seeds_at_the_ends() -> None:
    assert seeds_needed(1.0, 0.0) == 2 == seeds_needed(1000.0, 1.0) and seeds_needed(0.001, 1.0) is None
    with pytest.raises(ValueError, match="other than 0"):
        seeds_needed(0.0, 1.0)


def test_the_interval_of_a_mean_is_that_of_resampled_means() -> None:
    draw = np.random.default_rng(11)
    values = draw.exponential(20, 60)
    means = np.sort([values[draw.integers(60, size=60)].mean() for _ in range(4_000)])
    error = values.std() / math.sqrt(60)
    low, high = mean_interval(values.tolist())
    assert low == pytest.approx(means[100], abs=0.25 * error)  # resampling has an error of its own
    assert high == pytest.approx(means[-100], abs=0.25 * error)
    assert mean_interval(values.tolist()) == (low, high)  # its own seed
    assert mean_interval([3.0, 3.0]) == (3.0, 3.0)
    with pytest.raises(ValueError, match="needs values"):
        mean_interval([])


def test_the_interval_of_a_mean_over_groups_is_that_of_resampled_groups() -> None:
    draw = np.random.default_rng(12)
    sizes = draw.integers(1, 6, size=40)
    groups = np.repeat(draw.permutation(40), sizes)
    values = np.repeat(draw.exponential(20, 40), sizes) + draw.normal(size=len(groups))
    members = [values[groups == name] for name in range(40)]
    means = np.sort([np.concatenate([members[i] for i in draw.integers(40, size=40)]).mean() for _ in range(4_000)])
    low, high = mean_interval(values.tolist(), groups=groups.tolist())
    assert low == pytest.approx(means[100], abs=0.1 * (high - low))
    assert high == pytest.approx(means[-100], abs=0.1 * (high - low))
    alone = mean_interval(values.tolist())
    assert high - low > 1.2 * (alone[1] - alone[0])  # draws of a group are alike
    assert mean_interval(values.tolist(), groups=list(range(len(values)))) == pytest.approx(alone)
    with pytest.raises(ValueError, match="needs a group"):
        mean_interval([1.0, 2.0], groups=[0])


def test_draws_that_are_alike_count_as_fewer() -> None:
    groups = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    together = [1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]
    # Four groups of a share of a half each: the variance of their mean is 1/3 of 1/4, that of a draw 1/4.
    assert independent_draws(together, groups) == pytest.approx(3)
    assert independent_draws([1, 0, 1, 0] * 4, groups) == 16  # every group has the same share
    assert independent_draws([1, 1, 0, 0] * 3 + [1, 1, 1, 0], groups) == 16  # more alike than draws by chance are
    assert independent_draws([0] * 16, groups) == 4 and independent_draws([0] * 16, None) == 16
    assert independent_draws(together, None) == 16 and independent_draws([1, 0], [5, 5]) == 1
    draw = np.random.default_rng(13)
    names = np.repeat(np.arange(2_000), 4)
    assert independent_draws((draw.random(8_000) < 0.3).astype(float), names.tolist()) == pytest.approx(8_000, rel=0.1)


@pytest.mark.parametrize("differences", [[1.0, 2.5, -0.5, 3.0, 4.0, 0.0, 1.5], [5.0], [-1.0, -2.0, -3.0, -4.0]])
def test_a_paired_test_counts_the_signs_that_are_as_far_out(differences: list[float]) -> None:
    moved = [value for value in differences if value]
    sums = [abs(sum(s * d for s, d in zip(signs, moved))) for signs in product((-1, 1), repeat=len(moved))]
    expected = sum(total >= abs(sum(moved)) - 1e-12 for total in sums) / len(sums)
    assert sign_flips(differences) == pytest.approx(expected)


def test_a_paired_test_of_many_pairs_draws_signs() -> None:
    draw = np.random.default_rng(2)
    noise = draw.normal(size=300)
    assert sign_flips(noise - noise.mean()) > 0.9
    assert sign_flips(noise + 1) == pytest.approx(2 / 10_000)  # the least that 9,999 draws can show, on both sides
    assert sign_flips([0.0, 0.0]) == 1.0
    with pytest.raises(ValueError, match="needs pairs"):
        sign_flips([])
