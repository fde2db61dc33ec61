"""Free adversarial training: one forward and one backward for both the weights and the pixels (Shafahi et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from natx.attacks.tally import Tally, finite_gradient
from natx.batch import Batch
from natx.data.replay import check_replay
from natx.errors import ConfigError
from natx.methods.base import Method
from natx.registry import METHODS, THREATS
from natx.task import Task
from natx.threat import Linf, ThreatModel


@METHODS.register_module()
class FreeTraining(Method):
    """Each batch is trained on ``replays`` times; the backward of each update also moves the perturbation.

    The perturbation enters the loss as a leaf, so the one backward of the update leaves its gradient there, and the
    next step adds ``step * eps * sign(gradient)`` and clips to eps: no pass is spent on an attack. A new batch goes on
    with the perturbation of the last one, slot by slot. The gradient is that of the whole loss on the adversarial view
    in train mode, the nasty term included. The training loader repeats the batches
    (:class:`natx.data.replay.ReplaySampler`); ``replays`` epochs of the original are one epoch here, so give
    ``1 / replays`` of the epochs.

    Source: "Adversarial training for free!", Algorithm 1; ``main_free.py`` of mahyarnajibi/FreeAdversarialTraining.
    Deviations: the perturbation begins at zero in each epoch (there it runs on), so that a resumed run needs none of an
    earlier epoch; a batch whose canvas differs from the last one's begins at zero too.
    :class:`~natx.methods.FreeAdversarial` is the form with an attack of its own between the updates.

    Args:
        threat: Linf, in pixel units of [0,1].
        replays: updates in a row on the same images (m in the paper; 8 there for CIFAR-10, 4 for ImageNet).
        step: length of the perturbation's step in units of eps; 1 in the source.
        views: ('adv',) or ('clean', 'adv').
        terms: see :class:`~natx.methods.base.Method`.
        joint_batch: see :class:`~natx.methods.base.Method`.

    Raises:
        ConfigError: another norm, or a setting out of range.
    """

    def __init__(
        self,
        threat: ThreatModel | dict[str, Any],
        replays: int,
        *,
        step: float = 1.0,
        views: Sequence[str] = ("adv",),
        terms: Sequence[dict[str, Any]] | None = None,
        joint_batch: bool = True,
    ) -> None:
        check_replay(replays, 0.0)
        if tuple(views) not in (("adv",), ("clean", "adv")):
            raise ConfigError(f"views is ('adv',) or ('clean', 'adv'); got {tuple(views)}")
        if not 0 < step < float("inf"):
            raise ConfigError(f"FreeTraining needs step > 0, in units of eps; got {step}")
        super().__init__(terms, joint_batch=joint_batch)
        self.threat: ThreatModel = THREATS.build(threat) if isinstance(threat, dict) else threat
        if not isinstance(self.threat, Linf):
            raise ConfigError(f"FreeTraining works in Linf balls; got {self.threat}")
        self.replays, self.step, self.views = replays, float(step), tuple(views)
        self._leaf: Tensor | None = None  # the perturbation that the last loss was taken at
        self._epoch = -1

    @property
    def single_step(self) -> bool:
        """See :attr:`Method.single_step`; yes."""
        return True

    def prepare(self, task: Task, device: torch.device) -> None:
        """See :meth:`Method.prepare`; a training starts without a perturbation."""
        super().prepare(task, device)
        self._leaf, self._epoch = None, -1

    def make_views(self, task: Task, batch: Batch, *, epoch: int) -> list[Tensor]:
        """Clean pixels (if asked for) and the perturbed ones, through which the update's backward will go."""
        x, mask = task.pixels(batch), task.perturbable(batch)
        perturbation = self._moved(x.device)
        if perturbation is None or self._epoch != epoch or perturbation.shape != x.shape:
            perturbation = torch.zeros_like(x)
        self._leaf, self._epoch = perturbation.requires_grad_(), epoch
        moved = x + (self._leaf if mask is None else self._leaf * mask.to(x.dtype))
        # As clamp in the source: gradients pass at 0 and 1 too. Those of torch's clamp do so in some versions only, and
        # black and white pixels, whose perturbation begins at zero, would never move.
        x_adv = torch.where((moved < 0) | (moved > 1), moved.detach().clamp(0, 1), moved)
        return [x, x_adv] if "clean" in self.views else [x_adv]

    def get_extra_state(self) -> dict[str, Any]:
        """What the next step's perturbation is made from, for a run that goes on inside an epoch."""
        if self._leaf is None:
            return {}
        return {"perturbation": self._leaf.detach(), "gradient": self._leaf.grad, "epoch": self._epoch}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`get_extra_state`."""
        self._leaf, self._epoch = None, state.get("epoch", -1)
        if state:
            self._leaf = state["perturbation"].clone().requires_grad_()
            self._leaf.grad = state["gradient"]

    def _moved(self, device: torch.device) -> Tensor | None:
        """The perturbation after the step that the last backward asks for; one from a file is on another device."""
        if self._leaf is None:
            return None
        leaf, grad = self._leaf.detach().to(device), self._leaf.grad
        if grad is None:
            return leaf.clone()
        grad = grad.to(device)
        self.tally = Tally(len(grad), grad.device)
        self.tally.gradients(grad, rows=None)
        moved = leaf + self.step * self.threat.radius * finite_gradient(grad).sign()
        return moved.clamp_(-self.threat.radius, self.threat.radius)
