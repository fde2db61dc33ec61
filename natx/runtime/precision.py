"""Numerical precision: losses, KL and probabilities never run below fp32."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in float32, or unchanged if it already is float32 or float64."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def kl_divergence(p_log: Tensor, q_log: Tensor) -> Tensor:
    """``KL(p || q)`` of two categorical distributions given as log-probabilities ``[M, C]``: shape ``[M]``.

    Written from log-probabilities, so that a probability that underflows to zero contributes zero value and zero
    gradient instead of NaN (``torch.nn.functional.kl_div`` with a softmax target does not guarantee this).
    """
    return (p_log.exp() * (p_log - q_log)).sum(1)
