"""The distance from a teacher's clean prediction: what attacks in distillation climb."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from natx.batch import TEACHER, Batch
from natx.errors import ConfigError
from natx.objectives.base import Objective
from natx.registry import OBJECTIVES
from natx.runtime.precision import full_precision, kl_divergence
from natx.task import Output


@OBJECTIVES.register_module()
class TeacherKL(Objective):
    """``KL(p_T(x) || p_S(x'))``: distance of the student from its teacher's clean prediction (RSLAD's inner loss).

    The teacher's logits are in the batch, put there by :class:`natx.methods.Distillation`, which alone runs it.
    """

    def __call__(self, output: Output, batch: Batch, *, x: Tensor) -> Tensor:
        """See :meth:`Objective.__call__`; raises ConfigError without a teacher."""
        self._softmax_only(output)
        if TEACHER not in batch:
            raise ConfigError("TeacherKL needs a teacher beside the training: use it in the attack of a Distillation")
        p_log = F.log_softmax(full_precision(batch[TEACHER]), dim=1)
        return output.per_image(kl_divergence(p_log, F.log_softmax(full_precision(output.logits), dim=1)))
