"""Robust soft label adversarial distillation (Zi et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from natx.batch import TEACHER, Batch
from natx.registry import TERMS
from natx.terms.base import View
from natx.terms.distill import Distilled, check_positive, check_share, soft_loss


@TERMS.register_module()
class RSLAD(Distilled):
    """Robust soft labels: ``scale * ((1 - clean_share) * KL(p_T(x) || p_S(x')) + clean_share * KL(p_T(x) || p_S(x)))``.

    No labels at all (Zi et al. 2021; ``resnet18_rslad_cifar10.py`` of the authors' repository). The inner attack climbs
    :class:`~natx.objectives.TeacherKL` from a start of ``0.001 * N(0, 1)``. The original averages over ``B * C`` for 10
    classes and multiplies by 10 for 100 "to keep consistent", so ``scale`` is 0.1 for both.

    Deviation: the original adds 1e-5 inside the teacher's logarithm, which has no gradient.

    Args:
        clean_share: share of the clean view, in [0, 1]; a view without weight is not needed.
        scale: factor of both; 1 for the plain batchmean, which short schedules need.
    """

    def __init__(self, clean_share: float = 1 / 6, *, scale: float = 0.1) -> None:
        super().__init__()
        check_share(self, "clean_share", clean_share)
        check_positive(self, scale=scale)
        self.clean_share, self.scale = clean_share, scale
        shares = {"clean": clean_share, "adv": 1 - clean_share}
        self.needs = tuple(name for name, share in shares.items() if share > 0)

    def forward(self, views: Sequence[View], batch: Batch) -> dict[str, Tensor]:
        """See :meth:`Term.forward`; logs ``teacher_kl_clean`` and ``teacher_kl_adv``, without share and scale."""
        shares = {"clean": self.clean_share, "adv": 1 - self.clean_share}
        kl = {name: soft_loss(output, batch[TEACHER]) for name, output in self.outputs(views).items()}
        loss = torch.stack([shares[name] * value for name, value in kl.items()]).sum()
        return {
            "loss_rslad": self.scale * loss,
            **{f"teacher_kl_{name}": value.detach() for name, value in kl.items()},
        }
