"""The tests behind the verdicts: their p-values against sums by hand, their size, and the limits that they print."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from natx.checks import CHECKS
from natx.checks.chance import (
    FAMILY,
    LEVEL,
    TESTS,
    difference,
    mean_above,
    mean_below,
    paired_excess,
    share_above,
    share_below,
)
from natx.checks.flags import Flag


def test_the_level_is_shared_out_over_the_checks_that_test() -> None:
    assert TESTS == sum(not isinstance(check, Flag) for check in CHECKS) and LEVEL * TESTS == pytest.approx(FAMILY)
    assert all(check.tolerance is not None for check in CHECKS if not isinstance(check, Flag) and check.id != "G14")


def trinomial(n: int, up: float, down: float, least: int) -> float:
    """Chance that ``up - down >= least`` among n images, summed over all their counts."""
    total = 0.0
    for above, below in itertools.product(range(n + 1), repeat=2):
        if above + below <= n and above - below >= least:
            ways = math.comb(n, above) * math.comb(n - above, below)
            total += ways * up**above * down**below * (1 - up - down) ** (n - above - below)
    return total


def likeliest(n: int, above: int, below: int, tolerance: float) -> float:
    """By trying shares: where ``up = down + tolerance``, which ``down`` makes the counts most likely."""
    shares = torch.linspace(1e-9, (1 - tolerance) / 2 - 1e-9, 200_001, dtype=torch.float64)
    rest = n - above - below
    log = above * (shares + tolerance).log() + below * shares.log() + rest * (1 - 2 * shares - tolerance).log()
    return float(shares[log.argmax()])


@pytest.mark.parametrize("tolerance", [0.0, 0.01, 0.06])
@pytest.mark.parametrize(("above", "below"), [(1, 0), (6, 0), (9, 0), (7, 3), (12, 4), (20, 0)])
def test_the_paired_p_value_is_a_sum_over_all_outcomes(above: int, below: int, tolerance: float) -> None:
    n = 24
    down = likeliest(n, above, below, tolerance)
    expected = trinomial(n, down + tolerance, down, above - below)
    assert paired_excess(above, below, n, tolerance) == pytest.approx(expected, rel=2e-3, abs=1e-9)


def test_as_many_on_the_other_side_are_no_evidence() -> None:
    assert paired_excess(5, 5, 100, 0.0) == paired_excess(0, 3, 100, 0.01) == 1.0


@pytest.mark.parametrize("tolerance", [0.0, 0.01, 0.06])
@pytest.mark.parametrize("down", [1e-6, 0.01, 0.05, 0.2])
def test_chance_alone_is_seldom_red(tolerance: float, down: float) -> None:
    """The size of the test at the edge of its hypothesis, where it is largest: never above the level."""
    n, up, size = 60, down + tolerance, 0.0
    for below in range(31):
        red = [above for above in range(n - below + 1) if paired_excess(above, below, n, tolerance) <= LEVEL]
        for above in red:
            ways = math.comb(n, above) * math.comb(n - above, below)
            size += ways * up**above * down**below * (1 - up - down) ** (n - above - below)
    assert size <= LEVEL


def outcomes(*counts: int) -> tuple[Tensor, Tensor]:
    """Two outcomes: both, the first alone, the second alone and neither, so many images each."""
    both, first, second, neither = counts
    one = [True] * both + [True] * first + [False] * second + [False] * neither
    other = [True] * both + [False] * first + [True] * second + [False] * neither
    return torch.tensor(one), torch.tensor(other)


@pytest.mark.parametrize("tolerance", [0.0, 0.2, 6.0])
@pytest.mark.parametrize("below", [0, 3, 10])
@pytest.mark.parametrize("comparisons", [1, 6])
def test_a_difference_is_red_from_its_limit_on(tolerance: float, below: int, comparisons: int) -> None:
    tests = []
    for above in range(60):
        first, second = outcomes(100, above, below, 100 - above - below)
        tests.append(difference(first, second, tolerance=tolerance, comparisons=comparisons))
        assert tests[-1].figure == pytest.approx((above - below) / 2)
    assert all(tested.red == (tested.figure >= tested.limit) for tested in tests)
    assert len({tested.limit for tested in tests}) == 1 and tests[0].limit > tolerance
    assert not tests[0].red and tests[-1].red


def test_shares_are_exact_binomial_tests() -> None:
    for count in range(20):
        tested = share_above(torch.arange(200) < count, 1.0, comparisons=2)
        tail = sum(math.comb(200, k) * 0.01**k * 0.99 ** (200 - k) for k in range(count, 201))
        assert tested.p_value == pytest.approx(min(1.0, 2 * tail)) and tested.red == (tested.figure >= tested.limit)
        other = share_below(torch.arange(200) >= count, 99.0, comparisons=2)
        assert other.p_value == pytest.approx(tested.p_value) and other.red == tested.red
        assert (other.figure, other.limit) == pytest.approx((100 - tested.figure, 100 - tested.limit))


def test_means_are_students() -> None:
    """Five values whose t is that of a table: 4.604 at 4 degrees of freedom is one-sided 0.005."""
    values = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0], dtype=torch.float64)
    error = math.sqrt(2.5 / 4) / math.sqrt(5)
    tested = mean_above(values + 4.604 * error, 0.0)
    assert tested.p_value == pytest.approx(0.005, rel=1e-3) and not tested.red
    for shift in (3.0, 5.0, 5.3, 5.4, 7.0):
        tested = mean_above(values + shift * error + 2, 2.0)
        assert tested.red == (tested.figure >= tested.limit) == (shift > 5.3)
        below = mean_below(2 - shift * error + values, 2.0)
        assert below.red == tested.red and below.limit == pytest.approx(4 - tested.limit)


def test_values_that_are_all_alike_leave_nothing_to_chance() -> None:
    assert mean_above(torch.full((5,), 1.1), 1.0).red and not mean_above(torch.ones(5), 1.0).red
    assert mean_below(torch.zeros(5), 0.1).red
    for value in (math.nan, math.inf):
        assert mean_above(torch.tensor([1.0, value]), 30.0).red


@pytest.mark.parametrize(("images", "possible"), [(8, False), (9, True)])
def test_eight_images_cannot_tell(images: int, possible: bool) -> None:
    """All on one side they have a chance of 1 in 256 each way, which is not below the level."""
    first = torch.ones(images, dtype=torch.bool)
    tested = difference(first, ~first)
    assert tested.possible == tested.red == possible
