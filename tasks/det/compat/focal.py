"""Sigmoid focal loss (https://arxiv.org/abs/1708.02002) under mmcv's name and arguments, for every device and type."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.errors import ConfigError


def sigmoid_focal_loss(
    input: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    alpha: float = 0.25,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """One binary focal loss for each class; mmcv's argument order, since mmdet passes them by position.

    The formula is term by term the one mmdet itself uses on the CPU, so a RetinaNet has the same loss on every device.

    Args:
        input: logits, N x C, floating; half precision is computed and returned in float32.
        target: class index of each row, N, int64; whatever is outside [0, C) (mmdet's background is C) has no class.
        gamma: exponent of the modulating factor.
        alpha: weight of the positive term; the negative one has 1 - alpha.
        weight: one factor for each class, C; a row takes its target's. A row without a class keeps 1 (mmcv reads
            beyond its array there).
        reduction: ``none`` (N x C), ``sum``, or ``mean`` (the sum over N, not over N x C).

    Raises:
        ConfigError: an unknown reduction.
        ValueError: shapes or types do not fit.
    """
    if reduction not in ("none", "mean", "sum"):
        raise ConfigError(f"reduction of the focal loss is none, mean or sum; got {reduction!r}")
    if input.dim() != 2 or target.shape != input.shape[:1] or target.dtype != torch.int64:
        raise ValueError(
            f"the focal loss takes N x C logits and N int64 targets; got {tuple(input.shape)} and "
            f"{tuple(target.shape)} {target.dtype}"
        )
    if weight is not None and weight.shape != input.shape[1:]:
        raise ValueError(f"weight has one entry for each of {input.shape[1]} classes; got {tuple(weight.shape)}")
    logits = input if input.dtype in (torch.float32, torch.float64) else input.float()
    classes = torch.arange(logits.shape[1], device=logits.device)
    positive = (target[:, None] == classes).to(logits)
    p = logits.sigmoid()
    miss = (1 - p) * positive + p * (1 - positive)
    factor = (alpha * positive + (1 - alpha) * (1 - positive)) * miss.pow(gamma)
    loss = F.binary_cross_entropy_with_logits(logits, positive, reduction="none") * factor
    if weight is not None:
        has_class = positive.sum(1, keepdim=True)
        loss = loss * (positive @ weight.to(loss)[:, None] + 1 - has_class)
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.sum() / len(loss)
