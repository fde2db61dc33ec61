"""TRADES' term: predict the adversarial image as the clean one (Zhang et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from natx.batch import Batch
from natx.errors import ConfigError
from natx.registry import TERMS
from natx.runtime.precision import full_precision, kl_divergence
from natx.task import Output
from natx.terms.base import Term, View


def class_log_probs(output: Output, term: Term) -> Tensor:
    """Log-probabilities ``[N, C]`` in fp32 of whole images.

    Raises:
        ConfigError: rows are no images, so those of two views are not the same ones, or the head is no softmax.
    """
    if output.rows is not None or output.link != "softmax":
        raise ConfigError(
            f"{type(term).__name__} compares an image's class distribution on two views; this task scores "
            f"{'anchors or proposals' if output.rows is not None else 'a sigmoid per class'}: it is for classifiers"
        )
    return F.log_softmax(full_precision(output.logits), dim=1)


@TERMS.register_module()
class TRADES(Term):
    """``weight * KL(p(x) || p(x'))``, the mean over the images, in fp32; p(x) is the clean view's prediction.

    TRADES is this term beside the clean cross-entropy, with the same KL in the inner attack::

        dict(
            type="Adversarial",
            views=("clean", "adv"),
            attack=dict(type="PGD", threat=..., objective=dict(type="KL"), random_start="normal"),
            terms=[dict(type="TaskLoss", on=("clean",)), dict(type="TRADES", weight=6.0)],
            joint_batch=False,
        )

    ``joint_batch=False`` because the original (``trades.py``) forwards each view by itself, so batch norm sees them
    apart. It forwards the clean images twice, with the same result; here once, so that in the running statistics clean
    and adversarial images count alike, where there clean ones count about twice. Nothing else differs.

    Args:
        weight: beta (1/lambda in the paper), 6 for the numbers that are quoted.
        detach_clean: hold p(x) fixed; in the original the gradient flows through both distributions.
    """

    needs = ("clean", "adv")

    def __init__(self, weight: float = 6.0, *, detach_clean: bool = False) -> None:
        super().__init__()
        if not (math.isfinite(weight) and weight >= 0):
            raise ConfigError(f"TRADES needs a finite weight >= 0; got {weight}")
        self.weight, self.detach_clean = weight, detach_clean

    def forward(self, views: Sequence[View], batch: Batch) -> dict[str, Tensor]:
        """See :meth:`Term.forward`; logs ``kl_trades`` (without the weight)."""
        clean, adv = (view.output for view in self.pick(views))
        clean_log, adv_log = class_log_probs(clean, self), class_log_probs(adv, self)
        clean_log = clean_log.detach() if self.detach_clean else clean_log
        divergence = (clean.row_weight * kl_divergence(clean_log, adv_log)).sum()
        return {"loss_trades": self.weight * divergence, "kl_trades": divergence.detach()}

    def describe(self) -> dict[str, Any]:
        """See :meth:`Term.describe`."""
        return {**super().describe(), "weight": self.weight, "detach_clean": self.detach_clean}
