"""Training as the benchmarks need it: one timed step of each recipe, a quickly trained net, images to learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from natx.attacks import PGD, Attack
from natx.batch import Batch, to_device
from natx.evaluation import evaluate
from natx.methods import Adversarial, Method, Standard
from natx.models.adversary import Adversary
from natx.task import Task
from natx.terms import NastyKL, TaskLoss
from natx.training.learner import Learner


def recipe(kind: str, *, attack: Attack, adversary: Callable[[], Task]) -> Method:
    """'VT', 'PGD-AT', 'union' (clean and adversarial images) or 'NAT' (union with the nasty term)."""
    terms: list[Any] = [TaskLoss()]
    if kind == "VT":
        return Standard(terms)
    if kind == "NAT":
        terms.append(NastyKL(Adversary([adversary()])))
    return Adversarial(attack, ("adv",) if kind == "PGD-AT" else ("clean", "adv"), terms=terms)


class Trainer:
    """What mmengine's runner does with one batch: forward(mode='loss'), backward, optimiser step.

    Args:
        learner: what is trained; set to train mode.
        optimizer: by default SGD with momentum at a small rate: many steps on one batch must not end in overflow.
    """

    def __init__(self, learner: Learner, optimizer: torch.optim.Optimizer | None = None) -> None:
        if optimizer is None:
            optimizer = torch.optim.SGD(learner.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
        self.learner, self.wrapper = learner.train(), OptimWrapper(optimizer)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """One step; the scalars that it logs."""
        return self.learner.train_step(batch, optim_wrapper=self.wrapper)

    @property
    def units(self) -> float:
        """An image's work in a step by counting, see :func:`step_units`."""
        return step_units(self.learner.method)


def step_units(method: Method) -> float:
    """An image's work in a training step: a forward is 1, a backward to the pixels 1, to pixels and weights 2.

    Of the method's backwards the inner attack's end at the pixels; the one of each view goes to the weights too. Not
    for methods that evaluate their loss several times a step.
    """
    forwards, backwards = method.cost()
    return forwards + backwards + len(method.views)


def settled(task: Task, batch: Batch) -> Task:
    """The task in eval mode, its batch-norm statistics those of a batch."""
    norms = [m for m in task.modules() if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        task.train().network(task.pixels(batch), batch)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    return task.eval()


def train_until(
    task: Task, data: Any, *, attack: PGD, judge: PGD, accuracy: float, most: int, batch_size: int = 64, every: int = 5
) -> str:
    """Adversarial training on a few images until the net withstands ``judge`` on ``accuracy`` percent of them.

    A net that knows its images as well as a real robust net knows the test set costs an attack as much.

    Args:
        task: trained in place, left in eval mode.
        data: the images, to train and to judge on.
        attack: the inner attack.
        judge: the attack whose accuracy counts.
        accuracy: where to stop, in percent.
        most: steps at most.
        batch_size: images a step.
        every: steps between two judgements.

    Returns:
        What was reached, in words.
    """
    device = next(task.parameters()).device
    learner = Learner(task, Adversarial(attack)).to(device)
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    step, generator = Trainer(learner, optimizer), torch.Generator().manual_seed(0)
    reached = 0.0
    for learner.epoch in range(most):  # every step draws other starts
        learner.train()
        positions = torch.randperm(len(data), generator=generator)[:batch_size].tolist()
        step(to_device(data.__getitems__(positions), device))
        if (learner.epoch + 1) % every == 0:
            reached = evaluate(task, data, [judge], batch_size=batch_size).worst_case()
            if reached >= accuracy:
                break
    task.eval()
    return f"{learner.epoch + 1} steps of {attack.name} training, to {reached:.0f}% under {judge.name}"


class Patterns:
    """Ten colour patterns of varying contrast under noise, 3x32x32: learnable, and weak images break under attack.

    Args:
        count: number of images; the first ones are the same whatever the count.
    """

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        patterns = F.interpolate(torch.randn(10, 3, 4, 4, generator=generator).sign(), size=(32, 32))
        self.labels = torch.arange(count) % 10
        images = []
        for pattern in patterns[self.labels]:
            contrast = 0.2 * torch.rand(1, generator=generator)
            images.append(0.5 + contrast * pattern + 0.1 * torch.randn(3, 32, 32, generator=generator))
        self.images = torch.stack(images).clamp_(0, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, positions: list[int]) -> Batch:
        index = torch.tensor(positions)
        return {"inputs": self.images[index], "data_samples": self.labels[index], "index": index}
