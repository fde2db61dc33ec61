"""Losses of person re-identification."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.runtime.precision import full_precision


def batch_hard_triplet(features: Tensor, labels: Tensor, *, margin: float = 0.3) -> Tensor:
    """Mean over anchors of ``max(0, margin + d(hardest positive) - d(hardest negative))`` (Hermans et al. 2017).

    Distances are Euclidean, in fp32. An anchor without a positive but itself has a positive distance of 0, as in
    torchreid; an anchor without a negative (a batch of one identity) gives 0.

    Args:
        features: ``[N, D]``.
        labels: identity of each row, int64 ``[N]``.
        margin: in units of distance.
    """
    features = full_precision(features)
    square = features.square().sum(1)
    # Squared distances by one matrix product, which autocast would round to bfloat16: what is left of its difference
    # with the squares would be noise. The clamp keeps the root's gradient finite at 0 (equal features).
    with torch.autocast(features.device.type, enabled=False):
        distances = (square[:, None] + square[None] - 2 * features @ features.T).clamp_min(1e-12).sqrt()
    positives = labels[:, None] == labels[None]
    positive = distances.masked_fill(~positives, 0).amax(1)
    negative = distances.masked_fill(positives, torch.inf).amin(1)
    return F.relu(margin + positive - negative).mean()
