"""Consistency of the outputs at an image's prior and at its adversarial form (Jia et al. 2022, FGSM-PGI)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from natx.batch import Batch
from natx.errors import ConfigError
from natx.registry import TERMS
from natx.runtime.precision import full_precision
from natx.terms.base import Term, View


@TERMS.register_module()
class PriorConsistency(Term):
    """``weight *`` mean squared difference of the class logits at the prior and after the step, over all of them.

    Gradients flow through both. Source: ``FGSM_MEP.py`` of jiaxiaojunQAQ/FGSM-PGI (``lamda``), the term that keeps a
    single step from overfitting to its start.

    Args:
        weight: 10 in the source.
    """

    needs = ("prior", "adv")

    def __init__(self, weight: float = 10.0) -> None:
        super().__init__()
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"PriorConsistency needs a weight >= 0, such as 10; got {weight}")
        self.weight = weight

    def forward(self, views: Sequence[View], batch: Batch) -> dict[str, Tensor]:
        """See :meth:`Term.forward`; raises ConfigError where rows are no images (a detector's differ by view)."""
        chosen = self.pick(views)
        if any(view.output.rows is not None for view in chosen):
            raise ConfigError(
                "PriorConsistency compares outputs row by row, and a detector's rows (anchors, proposals) are others "
                "on each view, even where they are as many: give terms without it"
            )
        prior, adv = (full_precision(view.output.logits) for view in chosen)
        return {"loss_prior": self.weight * (prior - adv).square().mean()}
