"""Eqs. 7 and 8 against the logarithm that they expand."""

from __future__ import annotations

import math

import pytest
import torch

from natx.analysis.series import converges, log_ratios, series_section, series_terms


def logits(*rows: list[float]) -> torch.Tensor:
    """Logits whose softmax is the rows."""
    return torch.tensor(rows, dtype=torch.float64).log() + 3.0


TARGET, NEAR, FAR = [0.6, 0.3, 0.1], [0.7, 0.2, 0.1], [0.2, 0.1, 0.7]  # 0.7 is 7 times 0.1


def test_terms_by_hand() -> None:
    log_t, ratio = log_ratios(logits(TARGET), logits(NEAR), temperature=1.0)
    first, second, third = series_terms(log_t, ratio, count=3)[0].tolist()
    assert first == pytest.approx(0, abs=1e-15)  # both sum to one
    assert second == pytest.approx(-(0.1**2 / 0.6 + 0.1**2 / 0.3) / 2)
    assert third == pytest.approx((0.1**3 / 0.6**2 - 0.1**3 / 0.3**2) / 3)


def test_the_series_is_minus_kl_where_it_converges() -> None:
    log_t, ratio = log_ratios(logits(TARGET), logits(NEAR), temperature=1.0)
    kl = sum(t * math.log(t / a) for t, a in zip(TARGET, NEAR))
    assert bool(converges(ratio).all())
    assert float(series_terms(log_t, ratio, count=60).sum()) == pytest.approx(-kl, rel=1e-12)


def test_beyond_twice_the_probability_it_diverges() -> None:
    log_t, ratio = log_ratios(logits(TARGET), logits(FAR), temperature=1.0)
    assert converges(ratio).tolist() == [[True, True, False]]
    sizes = series_terms(log_t, ratio, count=20)[0].abs()[1:]
    assert bool((sizes[1:] > sizes[:-1]).all())
    twice = log_ratios(logits([0.5, 0.25, 0.25]), logits([0.25, 0.5, 0.25]), temperature=1.0)[1]
    assert bool(converges(twice - 1e-12).all()) and not bool(converges(twice + 1e-9).all())


def test_a_section_averages_over_the_images() -> None:
    target, adversary = logits(TARGET, TARGET), logits(NEAR, FAR)
    section = series_section(target, adversary, temperature=1.0)
    kl = [sum(t * math.log(t / a) for t, a in zip(TARGET, other)) for other in (NEAR, FAR)]
    assert section["negative_kl"] == pytest.approx(-sum(kl) / 2)
    assert section["converging"] == 50 and section["converging_classes"] == pytest.approx(100 * 5 / 6)
    assert section["converging_images"]["negative_kl"] == pytest.approx(-kl[0])
    assert section["terms"][1] == pytest.approx(
        -sum((a - t) ** 2 / t for other in (NEAR, FAR) for a, t in zip(other, TARGET)) / 4
    )
    assert series_section(logits(TARGET), logits(FAR), temperature=1.0)["converging_images"] is None


def test_softer_outputs_converge_more_often() -> None:
    draw = torch.Generator().manual_seed(0)
    target, adversary = (3 * torch.randn(200, 10, generator=draw, dtype=torch.float64) for _ in range(2))
    shares = [series_section(target, adversary, temperature=tau)["converging"] for tau in (1.0, 4.0, 20.0)]
    assert shares[0] < shares[1] < shares[2] == 100
