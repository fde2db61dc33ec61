"""Knowledge distillation from the whole or from a stingy teacher (Hinton et al. 2015, Ma et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from natx.batch import TEACHER, Batch
from natx.errors import ConfigError
from natx.registry import TERMS
from natx.task import Task
from natx.terms.base import View
from natx.terms.distill import Distilled, check_positive, check_share, hard_loss, soft_loss


@TERMS.register_module()
class KD(Distilled):
    """Knowledge distillation: ``weight * t^2 * KL(p_T^t(x) || p_S^t(x)) + (1 - weight) * CE(x)`` (Eq. 1).

    Hinton et al. 2015 with the batchmean KL and the numbers that Ma et al. 2021 use to show that a nasty teacher does
    not teach (``train_kd.py``). With ``keep`` it is the stingy teacher (Ma et al. 2022; ``train_kd_stingy.py``): only
    the largest ``int(keep * C)`` logits of the teacher enter its softmax, all other classes have probability 0.

    Args:
        weight: share of the teacher, in [0, 1].
        temperature: t; 4 for CIFAR-10 and 20 for CIFAR-100 (Ma et al. 2021), 20 with ``keep`` (2022).
        keep: share of the classes that a stingy teacher shows, in (0, 1]; 0.2 for CIFAR-10, 0.1 otherwise.
    """

    needs = ("clean",)

    def __init__(self, weight: float = 0.9, *, temperature: float = 4.0, keep: float | None = None) -> None:
        super().__init__()
        check_share(self, "weight", weight)
        check_positive(self, temperature=temperature)
        if keep is not None and not 0 < keep <= 1:
            raise ConfigError(f"KD needs keep in (0, 1], the share of the classes that stay; got {keep}")
        self.weight, self.temperature, self.keep = weight, temperature, keep

    def prepare(self, task: Task, device: torch.device) -> None:
        """See :meth:`Distilled.prepare`; raises ConfigError where ``keep`` leaves no class."""
        super().prepare(task, device)
        self._shown(task.num_classes)

    def forward(self, views: Sequence[View], batch: Batch) -> dict[str, Tensor]:
        """See :meth:`Term.forward`; logs ``teacher_kl_clean``, without weight and t^2."""
        output = self.outputs(views)["clean"]
        shown = self._shown(output.logits.shape[1])
        kl = soft_loss(output, batch[TEACHER], temperature=self.temperature, shown=shown)
        return {
            "loss_kd": self.weight * self.temperature**2 * kl,
            "loss_kd_hard": (1 - self.weight) * hard_loss(output),
            "teacher_kl_clean": kl.detach(),
        }

    def _shown(self, num_classes: int) -> int:
        """How many classes the teacher shows."""
        count = num_classes if self.keep is None else int(self.keep * num_classes + 1e-9)  # 0.29 * 100 is 28.999...
        if count < 1:
            raise ConfigError(
                f"keep={self.keep} of {num_classes} classes leaves none: give at least {1 / num_classes:g}"
            )
        return count
