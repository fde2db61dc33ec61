"""Robust adversarial perturbation (Li et al., "Robust Adversarial Perturbation on Deep Proposal-based Models")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from natx.attacks import Attack, Victim
from natx.errors import ConfigError
from natx.evaluation.size import realised
from natx.registry import ATTACKS
from natx.task import Task
from natx.threat import Linf
from tasks.det.attacks.dense import Dense, check_dense, look


@ATTACKS.register_module()
class RAP(Attack):
    """Makes proposals near the clean detections look like background and moves their boxes.

    Each step looks at the proposals whose objectness (1 - probability of background) is more than ``objectness`` and
    whose box overlaps a detection of the clean image by more than ``overlap`` (IoU), and goes down the gradient of
    ``0.5 * mean(-log p_background) + 0.5 * exp(-mean|offset - clean offset|)`` over them. The gradient of each colour
    channel is normalised to an L2 length of ``step_size``. An image is done when no such proposal is left, or when its
    mean squared change is more than ``distortion`` (1e-4 is a PSNR of 40 dB).

    Loss and numbers are those of the authors' code, which differs from the formula in their paper (offsets pulled
    to a constant; ``attacks/pytorch/attacks.py`` and ``attack_fr_wrapper.py`` of yuezunli/BMVC2018R-AP). As there, a
    two-stage detector is attacked in the anchors of its region proposal network, near what the whole detector finds.
    Deviations: the perturbation is projected into the threat model in every step (the original has no bound but the
    distortion, and leaves [0,1]), and single-stage detectors' priors and class scores take the place of a region
    proposal network. Clean detections count from a score of ``score``; the authors' code takes 0.5, which would
    spare the weaker detections of a robust model, and mAP counts those too.

    Args:
        threat: threat model; Linf of 8/255 by default.
        steps: at most so many steps.
        step_size: L2 length of a step in each colour channel, in pixel units of [0,1].
        distortion: mean squared change at which an image is done, of pixels in [0,1].
        objectness: least objectness of a proposal.
        overlap: least IoU of its box with a clean detection.
        score: least score of a clean detection.

    Raises:
        ConfigError: numbers out of range; a detector without dense proposals, when it is attacked.
    """

    def __init__(
        self,
        threat: Any = None,
        steps: int = 200,
        *,
        step_size: float = 20 / 255,
        distortion: float = 1e-4,
        objectness: float = 0.01,
        overlap: float = 0.3,
        score: float = 0.1,
        **kwargs: Any,
    ) -> None:
        if steps < 1 or not step_size > 0 or not distortion > 0:
            raise ConfigError(
                f"RAP needs steps >= 1, step_size > 0 and distortion > 0; got {steps}, {step_size} and {distortion}"
            )
        if not all(0 <= value < 1 for value in (objectness, overlap, score)):
            raise ConfigError(f"objectness, overlap and score lie in [0,1); got {objectness}, {overlap} and {score}")
        self.steps, self.step_size, self.distortion = steps, step_size, distortion
        self.objectness, self.overlap, self.score = objectness, overlap, score
        super().__init__(Linf(8 / 255) if threat is None else threat, **kwargs)

    def check(self, task: Task) -> None:
        """See :meth:`Attack.check`; the detector needs dense proposals."""
        check_dense(task)

    def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        """See :meth:`Attack.run`; images that are done cost nothing more."""
        x_adv, live = victim.x.clone(), torch.arange(len(victim), device=victim.x.device)
        detections, offsets = self._detections(victim), None
        for _ in range(self.steps):
            x = x_adv[live].requires_grad_()
            with torch.enable_grad():
                proposals = look(victim, x, stage="first")
                offsets = proposals.offsets.detach() if offsets is None else offsets
                near = self._near(proposals, detections)
                if not bool(near.any()):
                    break
                grad = victim.followed(rap_loss(proposals, offsets, near).sum(), x, among=near.any(1))
            quiet = realised(victim.x, x.detach(), victim.ball.mask)["psnr"] >= -10 * math.log10(self.distortion)
            rows = (near.any(1) & quiet & (grad != 0).flatten(1).any(1)).nonzero().squeeze(1)
            length = grad[rows].flatten(2).norm(dim=2)[..., None, None].clamp_min(1e-12)
            step = self.step_size * grad[rows] / length
            if len(rows) < len(live):
                victim, live, offsets = victim.select(rows), live[rows], offsets[rows]
                detections = [detections[i] for i in rows.tolist()]
            if not len(live):
                break
            x_adv[live] = victim.ball.project(x_adv[live] - step)
        return x_adv

    def _detections(self, victim: Victim) -> list[Tensor]:
        """Boxes ``[K, 4]`` that the model finds in each clean image, in pixels of the batch's images (one forward)."""
        victim.cost.forwards += len(victim)
        boxes = []
        for prediction, annotation in zip(victim.task.predict(victim.batch), victim.batch["data_samples"]):
            confident = prediction["boxes"][prediction["scores"] >= self.score]
            boxes.append((confident * confident.new_tensor(annotation.scale * 2)).to(victim.x.device))
        return boxes

    def _near(self, proposals: Dense, detections: Sequence[Tensor]) -> Tensor:
        """Proposals that are attacked, bool ``[n, P]``."""
        object_like = 1 - proposals.log_background.detach().exp() > self.objectness
        rows = [
            (box_iou(boxes, image.to(boxes.dtype)) > self.overlap).any(1)
            for boxes, image in zip(proposals.boxes, detections)
        ]
        return object_like & torch.stack(rows)


def rap_loss(proposals: Dense, offsets: Tensor, near: Tensor) -> Tensor:
    """RAP's loss of each image ``[n]``, which the attack minimises; 0 where there is no proposal.

    Args:
        proposals: those of the attacked images.
        offsets: box outputs for the clean images ``[n, P, 4]``.
        near: which proposals count, bool ``[n, P]``.
    """
    count = near.sum(1).clamp_min(1)
    label = -(proposals.log_background * near).sum(1) / count
    shift = ((proposals.offsets - offsets).abs().mean(2) * near).sum(1) / count
    return torch.where(near.any(1), 0.5 * label + 0.5 * (-shift).exp(), 0.0)
