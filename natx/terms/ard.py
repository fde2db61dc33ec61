"""Adversarially robust distillation (Goldblum et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from natx.batch import TEACHER, Batch
from natx.registry import TERMS
from natx.terms.base import View
from natx.terms.distill import Distilled, check_positive, check_share, hard_loss, soft_loss


@TERMS.register_module()
class ARD(Distilled):
    """Adversarially robust distillation: ``weight * t^2 * scale * KL(p_T^t(x) || p_S^t(x')) + (1 - weight) * CE(x)``.

    The teacher sees the clean image, the student the adversarial one (Goldblum et al. 2020; ``main.py`` of the
    authors' repository). The inner attack is PGD on cross-entropy. The original's KL divides by ``B * C``, so ``scale``
    is ``1 / C`` by default: 90 times the batchmean KL for 10 classes at temperature 30, and 9 times for 100.

    Deviation: with all weight on the teacher the original still runs the student on the clean images, in train mode,
    which moves its batch-norm statistics and nothing else; views=("clean", "adv") without ``joint_batch`` does so here.

    Args:
        weight: share of the teacher, in [0, 1]; the rest is the task's own loss on the clean view, which is not
            needed at 1.
        temperature: t.
        scale: factor of the KL; None for ``1 / C``, 1 for the plain batchmean, which short schedules need.
    """

    def __init__(self, weight: float = 1.0, *, temperature: float = 30.0, scale: float | None = None) -> None:
        super().__init__()
        check_share(self, "weight", weight)
        check_positive(self, temperature=temperature, scale=1.0 if scale is None else scale)
        self.weight, self.temperature, self.scale = weight, temperature, scale
        self.needs = ("adv",) if weight == 1 else ("clean", "adv")

    def forward(self, views: Sequence[View], batch: Batch) -> dict[str, Tensor]:
        """See :meth:`Term.forward`; logs ``teacher_kl_adv``, without weight, t^2 and scale."""
        outputs, teacher = self.outputs(views), batch[TEACHER]
        kl = soft_loss(outputs["adv"], teacher, temperature=self.temperature)
        scale = 1 / teacher.shape[1] if self.scale is None else self.scale
        scalars = {"loss_ard": self.weight * self.temperature**2 * scale * kl, "teacher_kl_adv": kl.detach()}
        if self.weight < 1:
            scalars["loss_ard_hard"] = (1 - self.weight) * hard_loss(outputs["clean"])
        return scalars
