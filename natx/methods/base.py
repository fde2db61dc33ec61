"""Method: a training recipe, made of the views of a batch and the terms to add up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.attacks.tally import Tally
from natx.batch import Batch, join, size
from natx.errors import ConfigError
from natx.registry import METHODS, TERMS
from natx.runtime.precision import full_precision
from natx.task import Task, concat_pixels, slice_raw
from natx.terms.base import Term, View
from natx.threat import ThreatModel


@dataclass(frozen=True)
class Setting:
    """What a training tells its method before the first step.

    Attributes:
        images: number of training images, so that ``index`` is below it.
        epochs: length of the training.
        folder: where the run may keep files of its own; None outside of a training.
        moves: what the augmentations do to where a pixel is, as ``(x [N, C, H, W], index=[N], epoch=) -> x``; None
            where there are none.
        batch: images of one update of the weights, those of all processes and accumulated iterations; None for those of
            a batch.
    """

    images: int
    epochs: int
    folder: Path | None = None
    moves: Callable[..., Tensor] | None = None
    batch: int | None = None


class Method(nn.Module):
    """Base of all methods: makes views, adds up terms, logs what the output looks like.

    A training step is :meth:`make_views` and then :meth:`scalars`. What a recipe does once a step (attack, train a
    companion on its own) belongs into the first, what has a gradient in the weights into the second: then
    :class:`~natx.methods.AWP` and :class:`~natx.methods.SAM`, which evaluate the loss twice, can wrap it.

    Args:
        terms: configs of the terms; the task's own loss alone by default.
        joint_batch: run all views through the network in one forward, so batch norm sees them together (Eq. 5's
            union; docs/paper.md); False runs one forward a view.

    Attributes:
        views: names of the views, in order.
        usual_threat: what it is to withstand where its config names no threat model; None where that means no attack.
        tally: what the attack of the last :meth:`make_views` could not follow, which is logged; None without attack.
        watched: whether a line of the log shows this step; :func:`diagnostics` of others are left out, which would be
            a good part of a small network's step.
    """

    views: tuple[str, ...] = ("clean",)
    usual_threat: ClassVar[ThreatModel | None] = None
    terms: nn.ModuleList
    tally: Tally | None = None
    watched: bool = True

    def __init__(self, terms: Sequence[dict[str, Any] | Term] | None = None, *, joint_batch: bool = True) -> None:
        super().__init__()
        terms = terms or [dict(type="TaskLoss")]
        self.terms = nn.ModuleList(t if isinstance(t, Term) else TERMS.build(t) for t in terms)
        self.joint_batch = joint_batch

    def prepare(self, task: Task, device: torch.device) -> None:
        """Checks and moves companions once before training; a term whose views the method does not make is refused."""
        for term in self._terms():
            term.check_views(self.views)
            term.prepare(task, device)

    def begin(self, setting: Setting) -> None:
        """Hear about the training once before it."""

    def go_back(self, epoch: int) -> None:
        """Forget what is kept outside the method's state since the first ``epoch`` epochs, to which training goes back.

        All processes call it.
        """

    def notes(self) -> list[str]:
        """What should be known of the settings before a training begins, a line each."""
        return []

    @property
    def single_step(self) -> bool:
        """Whether its adversarial images are one step away, which a network can learn to withstand alone."""
        return False

    @property
    def differentiates_twice(self) -> bool:
        """Whether the loss holds gradients of the network, whose own gradients compiled graphs do not have."""
        return False

    def make_views(self, task: Task, batch: Batch, *, epoch: int) -> list[Tensor]:
        """Pixels of each view ``[N, C, H, W]``."""
        raise NotImplementedError

    def cost(self) -> tuple[float, float]:
        """(forwards, backwards) per image and training step, adversary and inner attack included."""
        return self.loss_cost()

    def loss_cost(self) -> tuple[float, float]:
        """The part of :meth:`cost` that one evaluation of the loss on given views takes, its gradient included.

        Where each view has a forward of its own, one that no term reads gets no backward; a term that names the views
        it needs reads these, and one that names none all.
        """
        extra = [term.cost(self.views) for term in self._terms()]
        read = {name for term in self._terms() for name in term.needs or self.views}
        backwards = len(self.views) if self.joint_batch else len(read & set(self.views))
        return (len(self.views) + sum(f for f, _ in extra), backwards + sum(b for _, b in extra))

    def forward(self, task: Task, batch: Batch, *, epoch: int) -> dict[str, Tensor]:
        """The named scalars of one training step; keys that contain "loss" are summed and optimised."""
        return self.scalars(task, batch, self.make_views(task, batch, epoch=epoch))

    def scalars(self, task: Task, batch: Batch, pixels: list[Tensor]) -> dict[str, Tensor]:
        """The named scalars for views that are made, at the weights the task has now."""
        views = self._outputs(task, batch, pixels)
        scalars: dict[str, Tensor] = {}
        for term in self._terms():
            scalars.update(term(views, batch))
        scalars.update(diagnostics(views) if self.watched else {})
        scalars.update({} if self.tally is None else self.tally.shares())
        return scalars

    def _terms(self) -> list[Term]:
        return cast(list[Term], list(self.terms))

    def _outputs(self, task: Task, batch: Batch, pixels: list[Tensor]) -> list[View]:
        if self.joint_batch and len(pixels) > 1:
            raw, n = task.network(concat_pixels(pixels), join([batch] * len(pixels))), size(batch)
            raws = [slice_raw(raw, i * n, (i + 1) * n) for i in range(len(pixels))]
        else:
            raws = [task.network(x, batch) for x in pixels]
        return [View(name, x, task.read(raw, batch)) for name, x, raw in zip(self.views, pixels, raws)]


class Around(Method):
    """A method around another one, whose views, terms and loss are those of the method inside.

    Args:
        method: the method inside, or its config.
    """

    def __init__(self, method: Method | dict[str, Any]) -> None:
        nn.Module.__init__(self)  # views and terms are those of the method inside
        self.method: Method = method if isinstance(method, Method) else METHODS.build(method)

    @property
    def views(self) -> tuple[str, ...]:  # type: ignore[override]
        """See :attr:`Method.views`."""
        return self.method.views

    @property
    def terms(self) -> nn.ModuleList:  # type: ignore[override]
        """The terms of the method inside."""
        return self.method.terms

    @property
    def single_step(self) -> bool:
        """See :attr:`Method.single_step`."""
        return self.method.single_step

    @property
    def differentiates_twice(self) -> bool:
        """See :attr:`Method.differentiates_twice`."""
        return self.method.differentiates_twice

    def begin(self, setting: Setting) -> None:
        """See :meth:`Method.begin`."""
        self.method.begin(setting)

    def go_back(self, epoch: int) -> None:
        """See :meth:`Method.go_back`."""
        self.method.go_back(epoch)

    def notes(self) -> list[str]:
        """See :meth:`Method.notes`."""
        return self.method.notes()

    def prepare(self, task: Task, device: torch.device) -> None:
        """See :meth:`Method.prepare`."""
        self.method.prepare(task, device)

    def make_views(self, task: Task, batch: Batch, *, epoch: int) -> list[Tensor]:
        """See :meth:`Method.make_views`."""
        return self.method.make_views(task, batch, epoch=epoch)

    def cost(self) -> tuple[float, float]:
        """See :meth:`Method.cost`."""
        return self.method.cost()

    def loss_cost(self) -> tuple[float, float]:
        """See :meth:`Method.loss_cost`."""
        return self.method.loss_cost()

    def scalars(self, task: Task, batch: Batch, pixels: list[Tensor]) -> dict[str, Tensor]:
        """See :meth:`Method.scalars`."""
        return self.method.scalars(task, batch, pixels)


def whole_epochs(value: Any, name: str) -> int:
    """A number of epochs from a config; raises ConfigError where it is none."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{name} is a number of epochs, 0 for none; got {value!r}")
    return value


def optimised(scalars: dict[str, Tensor]) -> Tensor:
    """What mmengine descends: the sum of all scalars whose name contains "loss"."""
    return torch.stack([value for name, value in scalars.items() if "loss" in name]).sum()


@torch.no_grad()
def diagnostics(views: Sequence[View]) -> dict[str, Tensor]:
    """Per view: accuracy of the rows (%), entropy (nats) and gap of the two largest logits, at temperature 1."""
    scalars: dict[str, Tensor] = {}
    for view in views:
        if view.output.link != "softmax" or view.output.logits.shape[0] == 0:
            continue
        logits, labels = full_precision(view.output.logits), view.output.labels
        log_probs = F.log_softmax(logits, dim=1)
        top = logits.topk(2, dim=1)
        if labels is not None:
            labels = labels if labels.dim() == 1 else labels.argmax(1)
            scalars[f"acc_{view.name}"] = torch.eq(top.indices[:, 0], labels).float().mean() * 100
        scalars[f"entropy_{view.name}"] = -(log_probs.exp() * log_probs).sum(1).mean()
        scalars[f"top2_gap_{view.name}"] = (top.values[:, 0] - top.values[:, 1]).mean()
    return scalars
