"""Cross-entropy of rescaled logits: what an attack climbs where large logits starve it of gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.batch import Batch
from natx.errors import ConfigError
from natx.objectives.base import Objective
from natx.registry import OBJECTIVES
from natx.runtime.precision import full_precision
from natx.task import Output

SCALES = ("gap", "deviation")
SMALLEST = 1e-6  # a scale is at least this: two classes may be level


@OBJECTIVES.register_module()
class RescaledCrossEntropy(Objective):
    """Cross-entropy of ``z / s``, with ``s`` held fixed in the gradient.

    A model with large logits puts a probability of 1 on its class; the gradient of cross-entropy then underflows, and
    attacks on it stand still although the class could be changed. Dividing by the model's own scale undoes that and
    leaves the order of the classes alone; a constant factor in the logits then makes no difference. The scale is each
    row's own, at the pixels at hand, or one given number, so an image's score does not depend on its batch. For the
    mean gap of a set measure it and give the number.

    Args:
        scale: 'gap', the distance between the two largest logits of the row: the gap becomes 1; 'deviation', the
            standard deviation (population) of the row's logits: normalised logits; or a number to divide by.

    Raises:
        ConfigError: another scale, or a head that is not one softmax.
    """

    def __init__(self, scale: float | str = "gap") -> None:
        number = float(scale) if isinstance(scale, (int, float)) and not isinstance(scale, bool) else None
        if not (scale in SCALES or (number is not None and math.isfinite(number) and number > 0)):
            raise ConfigError(f"scale is 'gap', 'deviation' or a number above 0; got {scale!r}")
        self.scale = scale

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`."""
        self._softmax_only(output)
        logits, labels = full_precision(output.logits), self.labels(output)
        rows = F.cross_entropy(logits / self._divisors(logits.detach()), labels, reduction="none")
        return output.per_image(rows)

    def describe(self) -> dict[str, Any]:
        """See :meth:`Objective.describe`."""
        return {**super().describe(), "scale": self.scale}

    def _divisors(self, logits: Tensor) -> Tensor:
        """What each row ``[M, C]`` is divided by, ``[M, 1]``."""
        if self.scale == "gap":
            top = logits.topk(2, dim=1).values
            return (top[:, :1] - top[:, 1:]).clamp_min(SMALLEST)
        if self.scale == "deviation":
            return logits.std(1, correction=0, keepdim=True).clamp_min(SMALLEST)
        return torch.full_like(logits[:, :1], float(self.scale))
