"""Introspective adversarial distillation (Zhu et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.batch import TEACHER, Batch
from natx.errors import ConfigError
from natx.registry import TERMS
from natx.runtime.precision import full_precision, kl_divergence
from natx.task import Output
from natx.terms.base import View
from natx.terms.distill import Distilled, check_positive, check_share, hard_loss


@TERMS.register_module()
class IAD(Distilled):
    """Introspective adversarial distillation, IAD-I, which trusts the teacher as far as it is right on ``x'``.

    ``weight * [t^2 KL(p_T^t(x) || p_S^t(x')) + mean_i (1 - a_i) KL(p_S(x) || p_S(x'))_i] + (1 - weight) * CE(x)`` with
    ``a_i = p_T(y_i | x'_i)^power``; up to epoch ``begin`` every ``a_i`` is 1 (Zhu et al. 2021; ``IAD-I.py`` of the
    authors' repository). The inner attack is PGD on cross-entropy. Gradients flow through both of the student's
    distributions. The original's KL is the batchmean: no scale.

    The published code differs from its paper, where ``a_i`` multiplies the teacher's KL too and t tempers the student's
    own KL; this is the code. Deviation: the code runs the student once more on x' in train mode without using it.

    Args:
        weight: share of the distillation, in [0, 1]; the rest is the task's own loss on the clean view.
        temperature: t, of the teacher's KL.
        power: the original's beta; 0 trusts the teacher fully.
        begin: first epoch (from 0) of introspection.
        weigh_teacher: multiply the teacher's KL by ``a_i``, as the paper has it.
    """

    needs = ("clean", "adv")

    def __init__(
        self,
        weight: float = 1.0,
        *,
        temperature: float = 1.0,
        power: float = 0.1,
        begin: int = 60,
        weigh_teacher: bool = False,
    ) -> None:
        super().__init__()
        check_share(self, "weight", weight)
        check_positive(self, temperature=temperature)
        if not power >= 0 or begin < 0:
            raise ConfigError(f"IAD needs power >= 0 and begin >= 0; got {power} and {begin}")
        self.weight, self.temperature, self.power = weight, temperature, power
        self.begin, self.weigh_teacher = begin, weigh_teacher

    def cost(self, views: Sequence[str]) -> tuple[float, float]:
        """One forward of the teacher on the adversarial images."""
        return (len(self.teacher) if self.teacher else 0, 0)

    def forward(self, views: Sequence[View], batch: Batch) -> dict[str, Tensor]:
        """See :meth:`Term.forward`; logs the mean trust ``teacher_trust``, ``teacher_kl_adv`` and ``own_kl_adv``."""
        clean, adv = self.outputs(views).values()
        trust = self._trust(adv, self.pick(views)[1].x, batch)
        teacher = F.log_softmax(full_precision(batch[TEACHER]) / self.temperature, dim=1)
        tempered = F.log_softmax(full_precision(adv.logits) / self.temperature, dim=1)
        from_teacher = kl_divergence(teacher, tempered)
        introspection = kl_divergence(*(F.log_softmax(full_precision(o.logits), dim=1) for o in (clean, adv)))
        followed = trust * from_teacher if self.weigh_teacher else from_teacher
        rows = self.temperature**2 * followed + (1 - trust) * introspection
        scalars = {"loss_iad": self.weight * (adv.row_weight * rows).sum()}
        for name, values in (("teacher_trust", trust), ("teacher_kl_adv", from_teacher), ("own_kl_adv", introspection)):
            scalars[name] = (adv.row_weight * values).sum().detach()
        if self.weight < 1:
            scalars["loss_iad_hard"] = (1 - self.weight) * hard_loss(clean)
        return scalars

    @torch.no_grad()
    def _trust(self, adv: Output, x_adv: Tensor, batch: Batch) -> Tensor:
        """``a_i`` of each image ``[N]``; 1 before introspection begins."""
        if adv.labels is None or adv.labels.dim() != 1:
            raise ConfigError(
                "IAD asks the teacher for the probability of one label; got soft labels (mixup): use RSLAD"
            )
        probabilities = self.bound_teacher().logits(batch, x_adv).softmax(1)
        trust = probabilities.gather(1, adv.labels[:, None]).squeeze(1) ** self.power
        return torch.where(batch["epoch"] < self.begin, torch.ones_like(trust), trust)
