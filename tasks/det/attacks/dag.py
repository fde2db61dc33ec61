"""Dense adversary generation (Xie et al., "Adversarial Examples for Semantic Segmentation and Object Detection")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from natx.attacks import Attack, Victim
from natx.attacks.base import too_short
from natx.errors import ConfigError, UnsupportedError
from natx.registry import ATTACKS
from natx.runtime.rng import uniform
from natx.task import Task
from natx.threat import Linf
from tasks.det.attacks.dense import Dense, check_dense, look, proposed
from tasks.det.attacks.wrong_class import distinct_classes, other_classes

STREAM = 0x0DA6  # tells these draws from other attacks'


@dataclass
class Aims:
    """What DAG wants of the proposals of n images.

    Attributes:
        targets: which proposals are targets, bool ``[n, P]``.
        true: class of the object that each proposal is about, int64 ``[n, P]``; any where it is no target.
        wrong: class that it is to get instead, int64 ``[n, P]``.
    """

    targets: Tensor
    true: Tensor
    wrong: Tensor

    def state(self, proposals: Dense, confidence: float | None = None) -> tuple[Tensor, Tensor]:
        """Which targets are still pushed, and which keep their image in the attack; bool ``[n, P]``."""
        if confidence is not None:
            wrong = proposals.probabilities.detach().gather(2, self.wrong[..., None]).squeeze(2)
            return (self.targets & (wrong < confidence),) * 2
        predicted, background = proposals.logits.detach().argmax(2), proposals.logits.shape[2] - 1
        pushed = self.targets & (predicted != self.wrong) & (predicted != background)
        return pushed, self.targets & (predicted == self.true)

    def score(self, logits: Tensor, active: Tensor) -> Tensor:
        """``z_wrong - z_true``, summed over the active targets of all images."""
        gap = logits.gather(2, self.wrong[..., None]) - logits.gather(2, self.true[..., None])
        return (gap.squeeze(2) * active).sum()

    def select(self, rows: Tensor) -> Aims:
        """Those of the images at positions ``rows``."""
        return Aims(self.targets[rows], self.true[rows], self.wrong[rows])


@ATTACKS.register_module()
class DAG(Attack):
    """Moves proposals that see an object towards a wrong class, in small steps of a normalised logit gradient.

    For each class in an image a wrong one is drawn, which is neither background nor a class of the image; with
    ``distinct`` no two of its classes get the same one (``generate_mapping.m`` of the authors' code). Targets are the
    proposals of the clean image that overlap an object by more than ``overlap`` (IoU) and give its class more than
    ``probability``; a proposal that qualifies for several objects is about the one it overlaps most. In each step the
    gradient of ``z_wrong - z_true``, summed over the targets that are predicted as neither their wrong class nor
    background, is taken at the image with everything added so far, and the image moves by
    ``step_size * r / max|r|``. An image is done when no target has the class of its object any more.

    With ``confidence``, targets are pushed until their wrong class has that probability, and an image is done when all
    have: the success criterion of the authors' code (0.8), which it asks of the detections left after suppression. A
    single-stage detector's weak detections, most likely background and yet counted by mAP, are left alone otherwise.

    The steps follow the original description, and for a two-stage detector so do the proposals: those of the clean
    image, suppressed at an IoU of 0.9 instead of 0.7 and at most 3000, stay the same boxes throughout, and the second
    stage's logits of them are attacked (``fooling_det_net.m``, ``assign_target_det.m`` and ``back_propogation_det.m``
    of cihangxie/DAG). Deviations: the perturbation is projected into the threat model in every step (the original
    has no bound), and single-stage detectors' priors take the place of the proposals of a region proposal network. An
    image without objects, or whose objects no proposal sees, stays as it is.

    Args:
        threat: threat model; Linf of 8/255 by default.
        steps: at most so many steps.
        step_size: largest pixel change of a step, in pixel units of [0,1].
        overlap: least IoU of a target with its object.
        probability: least probability of its object's class.
        confidence: probability of the wrong class at which a target is done; None for the description's rule.
        distinct: a wrong class of its own for each class of an image, as far as there are enough.

    Raises:
        ConfigError: numbers out of range; a detector without dense proposals, or with one class, when it is attacked.
    """

    def __init__(
        self,
        threat: Any = None,
        steps: int = 150,
        *,
        step_size: float = 0.5 / 255,
        overlap: float = 0.1,
        probability: float = 0.1,
        confidence: float | None = None,
        distinct: bool = False,
        **kwargs: Any,
    ) -> None:
        if steps < 1 or not step_size > 0 or not 0 <= overlap < 1 or not 0 <= probability < 1:
            raise ConfigError(
                "DAG needs steps >= 1, step_size > 0 and overlap and probability in [0,1); got "
                f"{steps}, {step_size}, {overlap} and {probability}"
            )
        if confidence is not None and not 0 < confidence < 1:
            raise ConfigError(f"DAG's confidence lies between 0 and 1, or is None; got {confidence}")
        self.steps, self.step_size = steps, step_size
        self.overlap, self.probability, self.confidence = overlap, probability, confidence
        self.distinct = distinct or None  # None: no part of the description
        super().__init__(Linf(8 / 255) if threat is None else threat, **kwargs)

    def check(self, task: Task) -> None:
        """See :meth:`Attack.check`; the detector needs dense proposals and two classes."""
        check_dense(task)
        if task.num_classes < 2:
            raise UnsupportedError(
                "DAG turns a class into another one, and the detector has only one: use RAP, or PGD on its losses"
            )

    def shortfalls(self) -> list[str]:
        """See :meth:`Attack.shortfalls`; a step moves the pixel that it moves most by ``step_size``."""
        return too_short(self, self.steps, self.step_size)

    def run(self, victim: Victim, *, epoch: int = 0) -> Tensor:
        """See :meth:`Attack.run`; images that are done cost nothing more."""
        victim = proposed(victim)
        x_adv, live, aims = victim.x.clone(), torch.arange(len(victim), device=victim.x.device), None
        for _ in range(self.steps):
            x = x_adv[live].requires_grad_()
            with torch.enable_grad():
                proposals = look(victim, x)
                aims = aims or self._aims(victim, proposals, epoch=epoch)
                active, open_targets = aims.state(proposals, self.confidence)
                if not bool(open_targets.any()):
                    break
                r = victim.followed(aims.score(proposals.logits, active), x, among=active.any(1))
            largest = r.flatten(1).abs().amax(1)
            rows = (open_targets.any(1) & (largest > 0)).nonzero().squeeze(1)
            step = self.step_size * r[rows] / largest[rows].view(-1, 1, 1, 1)
            if len(rows) < len(live):
                victim, aims, live = victim.select(rows), aims.select(rows), live[rows]
            if not len(live):
                break
            x_adv[live] = victim.ball.project(x_adv[live] + step)
        return x_adv

    def _aims(self, victim: Victim, dense: Dense, *, epoch: int) -> Aims:
        """Targets on the clean image and the classes they are to get."""
        n, proposals, classes = dense.probabilities.shape
        targets = torch.zeros(n, proposals, dtype=torch.bool, device=victim.x.device)
        true = torch.zeros(n, proposals, dtype=torch.int64, device=victim.x.device)
        wrong = torch.zeros_like(true)
        priors, classes_for = dense.priors.expand(n, -1, -1), distinct_classes if self.distinct else other_classes
        index = victim.batch["index"].to(victim.x.device)
        draws = uniform(index, (classes, classes), seed=self.seed, epoch=epoch, stream=STREAM)
        for i, annotation in enumerate(victim.batch["data_samples"]):
            annotation = annotation.to(victim.x.device)
            objects = ~annotation.difficult
            labels = annotation.labels[objects]
            if not len(labels):
                continue
            boxes = annotation.resized_boxes[objects].to(priors.dtype)
            iou = box_iou(priors[i], boxes)  # [P, objects]
            fits = (iou > self.overlap) & (dense.probabilities[i].detach()[:, labels] > self.probability)
            true[i] = labels[iou.masked_fill(~fits, -1).argmax(1)]
            wrong[i] = classes_for(draws[i], annotation.labels)[true[i]]
            targets[i] = fits.any(1)
        return Aims(targets, true, wrong)
