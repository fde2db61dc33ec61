"""What natx's attacks are measured against: a bare loop, and torchattacks as it is used column by column."""

from __future__ import annotations

import copy
import importlib
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.attacks import PGD, Victim
from natx.attacks.pyaa import contained
from natx.batch import Batch, to_device
from natx.benchmark.measure import NotRun
from natx.evaluation import Evaluation
from natx.objectives import margin
from natx.task import Task


def peer(name: str, *, extra: str = "bench") -> ModuleType:
    """Import another library; raises NotRun with the remedy, natx's ``extra`` that brings it, where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotRun(f"no {name.partition('.')[0]} ({error}): pip install natx[{extra}]") from error


class Pixels(nn.Module):
    """A module from pixels in [0,1] to logits, as other libraries want one; its weights are a copy."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = copy.deepcopy(task)
        self.train(task.training)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, C]``."""
        return self.task.logits(x)


def bare_pgd(net: nn.Module, x: Tensor, y: Tensor, *, eps: float, size: float, steps: int) -> Tensor:
    """The least code that is still Linf PGD; ``net`` is in eval mode and its parameters ask for no gradient."""
    low, high = (x - eps).clamp_(min=0), (x + eps).clamp_(max=1)
    x_adv = torch.empty_like(x).uniform_(-eps, eps).add_(x).clamp_(0, 1)
    for _ in range(steps):
        x_adv.requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(net(x_adv), y, reduction="sum"), x_adv)
        x_adv = x_adv.detach().add_(grad.sign_(), alpha=size).clamp_(low, high)
    return x_adv


def torch_start(batch: Batch, eps: float) -> Tensor:
    """The start that torchattacks.PGD draws for a batch of float pixels after :func:`seed_by`."""
    seed_by(batch)
    x = batch["inputs"]
    return (x + torch.empty_like(x).uniform_(-eps, eps)).clamp_(0, 1)


def seed_by(batch: Batch) -> None:
    """Seed torch's global generator by a batch's first image."""
    torch.manual_seed(int(batch["index"][0]))


class SharedStart(PGD):
    """natx's PGD from given starts ``[len(data), C, H, W]``; its own draw is made and dropped, so that it is timed."""

    starts: Tensor

    def start(self, victim: Victim, *, epoch: int, restart: int) -> Tensor:
        """See :meth:`PGD.start`."""
        super().start(victim, epoch=epoch, restart=restart)
        return self.starts[victim.batch["index"]]


def margin_pgd(library: ModuleType) -> type:
    """torchattacks.PGD with the Carlini-Wagner margin put in for the cross-entropy."""

    base: Any = library.PGD

    class MarginPGD(base):
        def forward(self, images: Tensor, labels: Tensor) -> Tensor:
            """Adversarial pixels, by the operations of torchattacks' own loop."""
            x_adv = images + torch.empty_like(images).uniform_(-self.eps, self.eps)
            x_adv = x_adv.clamp(0, 1).detach()
            for _ in range(self.steps):
                x_adv.requires_grad = True
                (grad,) = torch.autograd.grad(margin(self.get_logits(x_adv), labels).mean(), x_adv)
                x_adv = x_adv.detach() + self.alpha * grad.sign()
                x_adv = (images + (x_adv - images).clamp(-self.eps, self.eps)).clamp(0, 1).detach()
            return x_adv

    return MarginPGD


def pixel_batches(task: Task, data: Any, size: int) -> list[Batch]:
    """All images of a data set in order, as float pixels on the task's device."""
    device = next(task.parameters()).device
    batches = [
        to_device(data.__getitems__(list(range(i, min(i + size, len(data))))), device)
        for i in range(0, len(data), size)
    ]
    return [{**batch, "inputs": task.pixels(batch)} for batch in batches]


def peer_columns(attacks: dict[str, Any], net: nn.Module, batches: list[Batch]) -> dict[str, Tensor]:
    """Which images ``net`` gets right under each attack (None: none), one attack after the other, bool ``[N]``."""
    correct: dict[str, Tensor] = {}
    for name, attack in attacks.items():
        parts = []
        for batch in batches:
            x, y = batch["inputs"], batch["data_samples"]
            if attack is not None:
                seed_by(batch)
                x = attack(x, y)
            with torch.no_grad():
                parts.append((net(x).argmax(1) == y).cpu())
        correct[name] = torch.cat(parts)
    return correct


def peer_autoattack(net: nn.Module, batches: list[Batch], *, eps: float, seed: int) -> Tensor:
    """Which images ``net`` gets right under pyautoattack's standard Linf version, called as its users do, bool ``[N]``.

    Each batch is a call, seeded anew. The library seeds global generators; they are put back.
    """
    library, parts = peer("pyautoattack"), []
    for batch in batches:
        x, y = batch["inputs"], batch["data_samples"]
        with contained(x.device):
            attack = library.AutoAttack(net, device=x.device, eps=eps, norm="Linf", seed=seed, version="standard")
            x_adv, _ = attack.run_standard_evaluation(x, y, batch_size=len(x))
        with torch.no_grad():
            parts.append((net(x_adv).argmax(1) == y).cpu())
    return torch.cat(parts)


def agreement(ours: Evaluation, theirs: dict[str, Tensor], *, library: str = "torchattacks") -> list[dict[str, Any]]:
    """Per column that ``theirs`` has: both accuracies and the fraction of images with the same outcome."""
    rows = []
    for name in theirs:
        right = ours.correct[name]
        same = float((right == theirs[name]).double().mean())
        other = 100 * float(theirs[name].double().mean())
        rows.append({"column": name, "natx %": ours.accuracy(name), f"{library} %": other, "same outcome": same})
    return rows


def above(rows: list[dict[str, Any]]) -> str:
    """Columns of :func:`agreement` in which natx's accuracy is above the other library's: a weaker attack there."""
    names = []
    for row in rows:
        name, ours, theirs, _ = row.values()
        if ours > theirs:
            names.append(f"{name} ({ours:.2f} against {theirs:.2f})")
    return ", ".join(names) or "none"
