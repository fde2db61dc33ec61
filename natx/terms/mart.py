"""MART's loss: a boosted cross-entropy, and consistency where the clean prediction is wrong (Wang et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from natx.batch import Batch
from natx.errors import ConfigError
from natx.registry import TERMS
from natx.runtime.precision import kl_divergence
from natx.task import Output
from natx.terms.base import Term, View
from natx.terms.trades import class_log_probs


@TERMS.register_module()
class MART(Term):
    """``BCE(p(x'), y) + weight * (1 - p_y(x)) * KL(p(x) || p(x'))``, each the mean over the images, in fp32.

    The boosted cross-entropy ``BCE`` is ``-log p_y(x') - log(1 - max_{c != y} p_c(x'))``. Gradients flow through all
    of it, the factor ``1 - p_y(x)`` included. It is a whole training loss: no :class:`~natx.terms.TaskLoss` beside it,
    and a task's label smoothing is not seen. The inner attack climbs the cross-entropy, from
    ``random_start="normal"``; ``joint_batch=False`` as in the original, which forwards clean and adversarial images by
    themselves.

    Source: ``mart.py`` of YisenWang/MART, whose small constants are kept: ``log(1.0001 - p + 1e-12)`` and
    ``1.0000001 - p_y``. Deviation: the KL is taken from log-probabilities, where the original has
    ``log(p(x') + 1e-12)``.

    Args:
        weight: lambda of the paper; 5 for ResNet-18, 6 for WRN-34-10.
    """

    needs = ("clean", "adv")

    def __init__(self, weight: float = 5.0) -> None:
        super().__init__()
        if not (math.isfinite(weight) and weight >= 0):
            raise ConfigError(f"MART needs a finite weight >= 0; got {weight}")
        self.weight = weight

    def forward(self, views: Sequence[View], batch: Batch) -> dict[str, Tensor]:
        """See :meth:`Term.forward`; ``loss_bce``, ``loss_mart``; logs ``kl_mart`` (without weight and factor)."""
        clean, adv = (view.output for view in self.pick(views))
        clean_log, adv_log = class_log_probs(clean, self), class_log_probs(adv, self)
        labels = self._labels(clean)[:, None]
        likeliest_wrong = adv_log.scatter(1, labels, -torch.inf).amax(1).exp()
        boosted = -adv_log.gather(1, labels).squeeze(1) - (1.0001 - likeliest_wrong + 1e-12).log()
        doubt = 1.0000001 - clean_log.gather(1, labels).squeeze(1).exp()
        divergence = kl_divergence(clean_log, adv_log)
        return {
            "loss_bce": (adv.row_weight * boosted).sum(),
            "loss_mart": self.weight * (clean.row_weight * doubt * divergence).sum(),
            "kl_mart": (clean.row_weight * divergence).sum().detach(),
        }

    def _labels(self, output: Output) -> Tensor:
        if output.labels is None or output.labels.dim() != 1:
            raise ConfigError(
                "MART needs one class label for each image; these have "
                f"{'none' if output.labels is None else 'soft labels'}: leave out what mixes or drops labels"
            )
        return output.labels

    def describe(self) -> dict[str, Any]:
        """See :meth:`Term.describe`."""
        return {**super().describe(), "weight": self.weight}
