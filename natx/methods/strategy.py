"""Strategy: a network that chooses how strongly each image is attacked, and learns from rewards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import Any

import torch
from mmengine.dist import all_reduce_params
from torch import Tensor, nn
from torch.nn import functional as F

from natx.attacks.per_image import EPS, STEP_SIZE, STEPS
from natx.batch import Batch
from natx.errors import ConfigError
from natx.models.companion import build_companion
from natx.runtime.device import widest
from natx.runtime.precision import full_precision
from natx.runtime.rng import uniform
from natx.task import Task


def options(value: Any, *, name: str, whole: bool = False) -> tuple[float, ...]:
    """What a strategy may choose from: a number, or several; raises ConfigError where one is not above 0."""
    numbers = (value,) if isinstance(value, Real) else tuple(value) if isinstance(value, Sequence) else ()
    fit = numbers and all(isinstance(n, Real) and 0 < float(n) < float("inf") for n in numbers)
    if not fit or isinstance(value, str) or (whole and any(n != int(n) for n in numbers)):
        kind = "whole numbers" if whole else "numbers"
        raise ConfigError(f"{name} is one or several {kind} above 0; got {value!r}")
    return tuple(int(n) if whole else float(n) for n in numbers)


class Strategy(nn.Module):
    """For each image, a distribution over eps, number of steps and step size, each independent of the others.

    One network gives the logits of all three: a classifier whose classes are the options, one after another, which is
    the same as three linear heads on one trunk. Outside :meth:`learning` it asks for no gradients, so the run's
    optimiser and distributed wrapper leave it alone.

    Args:
        network: config of a task; its number of classes is set to the number of options.
        eps: radii to choose from, in pixel units of [0,1].
        steps: numbers of steps to choose from.
        step_size: step sizes to choose from, in pixel units of [0,1].

    Raises:
        ConfigError: options that are not above 0, or a network that cannot be built with as many classes.
    """

    def __init__(self, network: Task | dict[str, Any], *, eps: Any, steps: Any, step_size: Any) -> None:
        super().__init__()
        self.options = {
            EPS: options(eps, name="eps"),
            STEPS: options(steps, name="steps", whole=True),
            STEP_SIZE: options(step_size, name="step_size"),
        }
        count = sum(len(values) for values in self.options.values())
        self.network = build_companion(network, num_classes=count)
        if self.network.num_classes != count:
            raise ConfigError(f"the strategy network has {self.network.num_classes} classes; its options are {count}")
        self.network.requires_grad_(False)

    def draw(self, batch: Batch, *, seed: int, epoch: int, stream: int) -> tuple[dict[str, Tensor], Tensor]:
        """Settings of each image and the log-probability of choosing them.

        Args:
            batch: the images.
            seed: of the draws, which depend on (seed, epoch, image index, stream) and on the probabilities only.
            epoch: see ``seed``.
            stream: see ``seed``.

        Returns:
            Entries for :class:`~natx.attacks.PerImagePGD`, each ``[N]``, and the summed log-probabilities ``[N]``.
        """
        raw = self.network.network(self.network.pixels(batch), batch)
        heads = full_precision(raw).split([len(values) for values in self.options.values()], dim=1)
        throws = uniform(batch["index"].to(raw.device), (len(heads),), seed=seed, epoch=epoch, stream=stream)  # [N, 3]
        settings, total = {}, raw.new_zeros(len(raw), dtype=heads[0].dtype)
        for (key, values), logits, throw in zip(self.options.items(), heads, throws.unbind(1)):
            log_probs = F.log_softmax(logits, dim=1)
            reached = log_probs.detach().exp().cumsum(1) <= throw[:, None]  # rounding may leave the last sum below 1
            choice = reached.sum(1).clamp(max=len(values) - 1)
            total = total + log_probs.gather(1, choice[:, None]).squeeze(1)
            # Float64, so that a radius is exactly the number that the config says, in the precision of any image.
            table = torch.tensor(values, device=raw.device, dtype=torch.int64 if key == STEPS else widest(raw.device))
            settings[key] = table[choice]
        return settings, total

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Train mode and gradients; both as before afterwards."""
        modes = [(module, module.training) for module in self.modules()]
        try:
            self.train().requires_grad_(True)
            yield
        finally:
            self.requires_grad_(False)
            for module, training in modes:
                module.training = training

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Eval mode and no gradients; both as before afterwards."""
        modes = [(module, module.training) for module in self.modules()]
        try:
            self.eval()
            with torch.no_grad():
                yield
        finally:
            for module, training in modes:
                module.training = training

    def descend(self, loss: Tensor, *, lr: float, max_norm: float) -> Tensor:
        """One step of plain SGD with the gradient, averaged over the processes, clipped to a norm of ``max_norm``.

        Returns:
            The norm before clipping.
        """
        parameters = list(self.network.parameters())
        gradients = list(torch.autograd.grad(loss, parameters, materialize_grads=True))
        all_reduce_params(gradients, op="mean")
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        scale = (max_norm / (norm + 1e-6)).clamp(max=1)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients):
                parameter.sub_(lr * scale * gradient)
        return norm
