"""How few classes share the probability: measures of sparsity, at a temperature and at matched confidence."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.errors import ConfigError

TOP = (1, 2, 3, 5)
# What is measured, in the order of tables, and which end of the range a one-hot distribution is at.
MEASURES = {
    "entropy": "entropy / log C: 1 for uniform, 0 for one-hot",
    "effective_classes": "exp(entropy): C for uniform, 1 for one-hot",
    "gini": "Gini index of the probabilities: 0 for uniform, 1 - 1/C for one-hot",
    "hoyer": "Hoyer's (sqrt(C) - l1/l2) / (sqrt(C) - 1): 0 for uniform, 1 for one-hot",
    "sum_squares": "sum of p^2; Renyi-2 entropy is minus its logarithm: 1/C for uniform, 1 for one-hot",
    **{f"top{k}": f"mass of the {k} largest probabilities" for k in TOP},
}
COLDEST, HOTTEST = 1e-6, 1e6  # temperatures that calibrate() tries


def log_distribution(logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """``log softmax(z / temperature)`` in float64, ``[M, C]``; raises ConfigError for a temperature not above 0."""
    return F.log_softmax(logits.double() / check_temperature(temperature), dim=1)


def check_temperature(value: float) -> float:
    """The value; raises ConfigError unless it is finite and above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"a temperature is a finite number above 0; got {value}")
    return value


def others(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits of the non-target classes ``[M, C - 1]`` in class order.

    Their softmax is the output with the target class left out and the rest renormalised. A classifier's total entropy
    hangs mostly on its confidence in the target; what nasty training is said to change is the rest.

    Args:
        logits: ``[M, C]``.
        labels: target of each row, int64 ``[M]``.
    """
    keep = torch.ones_like(logits, dtype=torch.bool).scatter(1, labels[:, None], False)
    return logits[keep].view(len(logits), logits.shape[1] - 1)


def measures(log_p: Tensor) -> dict[str, Tensor]:
    """Every measure of :data:`MEASURES` for each row ``[M]``; top-k masses as far as there are k classes.

    Args:
        log_p: log-probabilities ``[M, C]`` of at least 2 classes.

    Raises:
        ConfigError: fewer than 2 classes, whose distribution is always the same.

    Sources: Hurley & Rickard 2009 (Gini index of sparsity); Hoyer 2004.
    """
    count = log_p.shape[1]
    if count < 2:
        raise ConfigError(f"sparsity needs at least 2 classes; got {count}")
    p = log_p.exp()
    descending = p.sort(dim=1, descending=True).values
    rank = torch.arange(1, count + 1, dtype=p.dtype, device=p.device)
    entropy, root = torch.special.entr(p).sum(1), math.sqrt(count)  # entr(0) is 0
    mass = descending.cumsum(1)
    return {
        "entropy": entropy / math.log(count),
        "effective_classes": entropy.exp(),
        # The rank is that of descending order, so the usual (C - k + 1/2) / C becomes (k - 1/2) / C.
        "gini": 1 - 2 * (descending * (rank - 0.5)).sum(1) / count,
        "hoyer": (root - 1 / p.norm(dim=1)) / (root - 1),
        "sum_squares": p.square().sum(1),
        **{f"top{k}": mass[:, k - 1] for k in TOP if k <= count},
    }


def profile(log_p: Tensor) -> Tensor:
    """Mean of each row's probabilities sorted from the largest: ``[C]``."""
    return log_p.exp().sort(dim=1, descending=True).values.mean(0)


def mean_by_class(values: Tensor, labels: Tensor, count: int) -> Tensor:
    """Mean of the rows ``[M, D]`` of each class: ``[count, D]``, NaN where a class has no rows."""
    total = values.new_zeros(count, values.shape[1]).index_add(0, labels, values)
    return total / torch.bincount(labels, minlength=count).to(values)[:, None]


def confidence(logits: Tensor, *, temperature: float = 1.0) -> float:
    """Mean probability of the most probable class."""
    return float(log_distribution(logits, temperature=temperature).amax(1).exp().mean())


def calibrate(logits: Tensor, wanted: float) -> float | None:
    """The temperature at which the mean confidence of the rows is ``wanted``; None where there is none.

    A row's largest probability falls as the temperature rises, so bisection finds the only one. Networks whose logits
    differ in scale alone become equal at matched confidence: what is left of a difference in sparsity is the shape.

    Args:
        logits: ``[M, C]``.
        wanted: mean probability of the most probable class, in (1/C, 1).
    """
    low, high = math.log(COLDEST), math.log(HOTTEST)
    if not confidence(logits, temperature=HOTTEST) <= wanted <= confidence(logits, temperature=COLDEST):
        return None
    for _ in range(100):
        middle = (low + high) / 2
        if confidence(logits, temperature=math.exp(middle)) > wanted:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)
