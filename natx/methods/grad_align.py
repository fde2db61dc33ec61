"""GradAlign: gradients at an image and at a point near it are asked to agree (Andriushchenko & Flammarion 2020)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.attacks.base import random_point
from natx.batch import Batch
from natx.errors import ConfigError
from natx.methods.adversarial import Adversarial
from natx.methods.base import Around, Method
from natx.registry import METHODS
from natx.runtime.precision import full_precision
from natx.task import Task

STREAM = 31  # of the point near the image, apart from the attack's own draws


@METHODS.register_module()
class GradAlign(Around):
    """Adversarial training plus ``weight * (1 - cos(grad l(x), grad l(x + eta)))``, ``eta`` at random in the ball.

    A large angle between the two gradients is what catastrophic overfitting shows as: a single step then no longer
    finds what several do. ``l`` is the sum of the task's losses; the cosine is the mean over images, and images with a
    zero gradient at either point do not count. The gradients are differentiated again for the update, so the term costs
    two forwards and two backwards, and a backward through each of these.

    Source: "Understanding and Improving Fast Adversarial Training", Eq. 5; ``train.py`` of
    tml-epfl/understanding-fast-adv-training. As there, the gradients are taken in train mode. Deviations: the first is
    at the image itself, where the source takes it at the attack's start and shares it with the attack's step; noise
    depends on (seed, epoch, image index) only.

    Args:
        method: an :class:`~natx.methods.Adversarial`, or its config; its attack's threat model in an epoch is the ball.
        weight: of the term; 0.2 for CIFAR-10 at eps 8/255 in the source.
        seed: of the noise.

    Raises:
        ConfigError: another method inside, or a weight below 0.
    """

    def __init__(self, method: Method | dict[str, Any], weight: float = 0.2, *, seed: int = 0) -> None:
        super().__init__(method)
        if not isinstance(self.method, Adversarial):
            raise ConfigError(
                f"GradAlign stands around Adversarial; got {type(self.method).__name__}: put AWP around it"
            )
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"GradAlign needs a weight >= 0, such as 0.2; got {weight}")
        self.weight, self.seed, self._epoch = float(weight), seed, 0

    @property
    def differentiates_twice(self) -> bool:
        """See :attr:`Method.differentiates_twice`; yes."""
        return True

    def make_views(self, task: Task, batch: Batch, *, epoch: int) -> list[Tensor]:
        """The views of the method inside."""
        self._epoch = epoch
        return self.method.make_views(task, batch, epoch=epoch)

    def cost(self) -> tuple[float, float]:
        """See :meth:`Method.cost`; two forwards, two backwards to the pixels, and one through each of these."""
        forwards, backwards = self.method.cost()
        return (forwards + 2, backwards + 4)

    def loss_cost(self) -> tuple[float, float]:
        """See :meth:`Method.loss_cost`."""
        forwards, backwards = self.method.loss_cost()
        return (forwards + 2, backwards + 4)

    def scalars(self, task: Task, batch: Batch, pixels: list[Tensor]) -> dict[str, Tensor]:
        """See :meth:`Method.scalars`; adds ``loss_grad_align`` and logs ``grad_cos``, the mean cosine."""
        scalars = self.method.scalars(task, batch, pixels)
        x = task.pixels(batch)
        ball = cast(Adversarial, self.method).attack_in(self._epoch).threat.around(x, task.perturbable(batch))
        near = random_point(ball, batch["index"], seed=self.seed, epoch=self._epoch, stream=STREAM)
        first, second = (self._gradient(task, batch, point) for point in (x, near))
        cosine = F.cosine_similarity(first, second, dim=1)
        counted = ((first.detach() != 0).any(1) & (second.detach() != 0).any(1)).to(cosine.dtype)
        mean = (cosine * counted).sum() / counted.sum().clamp_min(1)
        return {**scalars, "loss_grad_align": self.weight * (1 - mean), "grad_cos": mean.detach()}

    @staticmethod
    def _gradient(task: Task, batch: Batch, x: Tensor) -> Tensor:
        """The gradient of the task's losses in the pixels ``[N, C*H*W]``, itself differentiable in the weights."""
        x = x.detach().requires_grad_()
        total = torch.stack([full_precision(loss) for loss in task(batch, x).losses.values()]).sum()
        (gradient,) = torch.autograd.grad(total, x, create_graph=True)
        return full_precision(gradient).flatten(1)
