"""Training at perturbed weights: what adversarial weight perturbation and sharpness-aware minimisation share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from mmengine.dist import all_reduce_params
from torch import Tensor, nn
from torch.func import functional_call

from natx.batch import Batch
from natx.errors import ConfigError
from natx.methods.base import Around, Method, optimised, whole_epochs
from natx.runtime.device import forked_rng
from natx.task import Task


class PerturbedWeights(Around):
    """A method whose loss is taken at ``w + d`` instead of ``w``, with ``d`` along the loss's gradient at ``w``.

    Each step makes the views once, at ``w``. An ascent pass then gives the gradient of the whole loss (every term,
    the nasty one included) on these views, averaged over the processes; a subclass turns it into ``d``; the loss at
    ``w + d`` is what the optimiser descends, so ``w`` moves by the gradient there. Both passes go through
    ``torch.func.functional_call``: the parameters themselves are never changed, so there is nothing to put back, and
    autocast has no cast of theirs to reuse.

    Both passes draw the same random numbers (dropout), and one of them moves batch-norm statistics: ``tracked`` says
    which, the other works on copies of the buffers. Only the task's weights are perturbed, never a method's companions.

    Attributes:
        tracked: ``"second"``, the pass at ``w + d``, as in AWP's code, or ``"ascent"``, the pass at ``w``.

    Args:
        method: the method inside, or its config.
        warmup: epochs trained without perturbation before it sets in.

    Raises:
        ConfigError: a bad setting, or a method with a training step of its own (another of these, for one).
    """

    tracked: Literal["ascent", "second"] = "second"

    def __init__(self, method: Method | dict[str, Any], *, warmup: int = 0) -> None:
        super().__init__(method)
        self.warmup = whole_epochs(warmup, "warmup")
        if type(self.method).forward is not Method.forward:
            raise ConfigError(
                f"{type(self).__name__} takes a method's loss at other weights; {type(self.method).__name__} has a "
                "training step of its own, so it cannot be put inside"
            )

    def perturbs(self, name: str, weight: Tensor) -> bool:
        """Whether a parameter of the task, with its name, is perturbed; subclasses may leave some alone."""
        return True

    def displacement(self, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """``d`` for each of the weights, without gradients; subclasses write this."""
        raise NotImplementedError

    def cost(self) -> tuple[float, float]:
        """See :meth:`Method.cost`; the loss is evaluated twice (once in the warm-up)."""
        forwards, backwards = self.method.cost()
        again = self.method.loss_cost()
        return (forwards + again[0], backwards + again[1])

    def forward(self, task: Task, batch: Batch, *, epoch: int) -> dict[str, Tensor]:
        """See :meth:`Method.forward`; logs how much the perturbation raised the loss (``awp_gain``, ``sam_gain``)."""
        pixels = self.make_views(task, batch, epoch=epoch)
        if epoch < self.warmup:
            return self.method.scalars(task, batch, pixels)
        step = _Scalars(task, self.method)
        weights = {
            f"task.{name}": weight
            for name, weight in task.named_parameters()
            if weight.requires_grad and self.perturbs(name, weight)
        }
        copies = {name: buffer.clone() for name, buffer in step.named_buffers()}
        ascent, second = (copies, {}) if self.tracked == "second" else ({}, copies)
        before, gradients = _ascent(step, weights, batch, pixels, buffers=ascent)
        with torch.no_grad():
            displacement = self.displacement([weight.detach() for weight in weights.values()], gradients)
        moved = {name: weight + d for (name, weight), d in zip(weights.items(), displacement)}
        scalars = functional_call(step, {**moved, **second}, (batch, pixels))
        gain = optimised(scalars).detach() - before
        return {**scalars, f"{type(self).__name__.lower()}_gain": gain}


class _Scalars(nn.Module):
    """A method's scalars as the output of a module, which is what ``functional_call`` can run at other weights."""

    def __init__(self, task: Task, method: Method) -> None:
        super().__init__()
        self.task, self.method = task, method

    def forward(self, batch: Batch, pixels: list[Tensor]) -> dict[str, Tensor]:
        return self.method.scalars(self.task, batch, pixels)


def _ascent(
    step: _Scalars, weights: Mapping[str, Tensor], batch: Batch, pixels: list[Tensor], *, buffers: Mapping[str, Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """The loss at the weights and its gradient there, the mean over all processes; changes the buffers alone.

    ``buffers`` stand in for those of the module, which it changes where none are given.
    """
    leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    device = pixels[0].device
    with forked_rng(device):
        loss = optimised(functional_call(step, {**leaves, **buffers}, (batch, pixels)))
        gradients = list(torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True))
    all_reduce_params(gradients, op="mean")
    return loss.detach(), gradients
