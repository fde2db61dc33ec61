"""Eqs. 7 and 8: the nasty term as a series in the difference of two outputs, where it converges and what its terms are.

Eq. 7 expands ``log q_a`` around ``q_t``, class by class, in powers of ``Delta / q_t`` with ``Delta = q_a - q_t``. Put
into ``-KL(q_t || q_a) = sum_c q_t log(q_a / q_t)``, its k-th term is Eq. 8's: ``(-1)^(k+1) / k * Delta^k / q_t^(k-1)``,
summed over the classes. The logarithm's series converges for ``-1 < Delta / q_t <= 1``: where the adversary gives every
class at most twice the probability that the target gives it. Beyond that its terms grow without bound and alternate in
sign.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from natx.analysis.sparsity import log_distribution

TERMS = 6  # of the series that are written down
TWICE = math.log(2)


def log_ratios(target: Tensor, adversary: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """``log q_t`` and ``log(q_a / q_t)``, each ``[M, C]`` in float64.

    Args:
        target: logits of the target ``[M, C]``.
        adversary: logits of the adversary on the same images.
        temperature: of both softmaxes.
    """
    log_t = log_distribution(target, temperature=temperature)
    return log_t, log_distribution(adversary, temperature=temperature) - log_t


def series_terms(log_t: Tensor, ratio: Tensor, *, count: int = TERMS) -> Tensor:
    """The first terms of Eq. 8 for each row, ``[M, count]``; arguments as :func:`log_ratios` returns them."""
    relative = torch.expm1(ratio)  # Delta / q_t
    powers = [(-1) ** (k + 1) / k * (log_t.exp() * relative**k).sum(1) for k in range(1, count + 1)]
    return torch.stack(powers, dim=1)


def converges(ratio: Tensor) -> Tensor:
    """Whether Eq. 7's series converges, for each entry: ``q_a <= 2 q_t`` (``Delta / q_t`` is above -1 anyway)."""
    return ratio <= TWICE


def series_section(target: Tensor, adversary: Tensor, *, temperature: float) -> dict[str, Any]:
    """The nasty term of some images and its series, as means over the images.

    Args:
        target: logits of the target ``[M, C]``.
        adversary: logits of the adversary on the same images.
        temperature: of both softmaxes; the factor ``temperature^2`` is left out.

    Returns:
        ``converging`` (% of the images whose every class converges) and ``converging_classes`` (% of all classes);
        ``negative_kl`` and ``terms`` of Eq. 8; the same two of the ``converging_images`` alone (None without any); and
        the ``largest_ratio``, the median over the images of the largest ``q_a / q_t``.
    """
    log_t, ratio = log_ratios(target, adversary, temperature=temperature)
    exact, terms = (log_t.exp() * ratio).sum(1), series_terms(log_t, ratio)
    by_class = converges(ratio)
    inside = by_class.all(1)
    return {
        "temperature": temperature,
        "converging": 100 * float(inside.double().mean()),
        "converging_classes": 100 * float(by_class.double().mean()),
        "largest_ratio": float(ratio.amax(1).exp().median()),
        "negative_kl": float(exact.mean()),
        "terms": terms.mean(0),
        "converging_images": {"negative_kl": float(exact[inside].mean()), "terms": terms[inside].mean(0)}
        if bool(inside.any())
        else None,
    }
