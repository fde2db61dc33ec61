"""The nasty term: stay away from the adversary's class distribution (Eqs. 2 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.batch import Batch, join
from natx.errors import ConfigError
from natx.models.adversary import Adversary, build_adversary
from natx.registry import TERMS
from natx.runtime.precision import full_precision, kl_divergence
from natx.task import Link, Task, concat_pixels
from natx.terms.base import Term, View
from natx.terms.share import EpochMean, ShareController, gradient_ratio, nothing_done

Direction = Literal["target_adversary", "adversary_target"]


def nasty_divergence(
    target: Tensor,
    adversary: Tensor,
    *,
    temperature: float,
    direction: Direction = "target_adversary",
    link: Link = "softmax",
) -> Tensor:
    """KL between tempered class distributions, in fp32, per row ``[M]``.

    Args:
        target: logits ``[M, C]``; gradients flow through both occurrences of the target's distribution.
        adversary: logits ``[M, C]``.
        temperature: tau; both logits are divided by it.
        direction: 'target_adversary' is the paper's KL(p_t || p_a), bounded for a frozen adversary;
            'adversary_target' is unbounded.
        link: 'softmax' for one distribution per row; 'sigmoid' sums Bernoulli divergences over the classes.
    """
    target, adversary = full_precision(target) / temperature, full_precision(adversary) / temperature
    if direction == "adversary_target":
        target, adversary = adversary, target
    if link == "softmax":
        return kl_divergence(F.log_softmax(target, dim=1), F.log_softmax(adversary, dim=1))
    on, off = F.logsigmoid(target), F.logsigmoid(-target)
    other_on, other_off = F.logsigmoid(adversary), F.logsigmoid(-adversary)
    return (on.exp() * (on - other_on) + off.exp() * (off - other_off)).sum(1)


@torch.no_grad()
def divergence_gradient(
    target: Tensor,
    adversary: Tensor,
    *,
    temperature: float,
    direction: Direction = "target_adversary",
    link: Link = "softmax",
) -> Tensor:
    """The gradient of :func:`nasty_divergence` with respect to the target's logits, in closed form: ``[M, C]``."""
    u, v = full_precision(target) / temperature, full_precision(adversary) / temperature
    if link == "softmax":
        p, q = u.softmax(1), v.softmax(1)
        if direction == "adversary_target":
            return (p - q) / temperature
        log_ratio = F.log_softmax(u, dim=1) - F.log_softmax(v, dim=1)
        return p * (log_ratio - (p * log_ratio).sum(1, keepdim=True)) / temperature
    p, q = u.sigmoid(), v.sigmoid()
    return (p - q if direction == "adversary_target" else p * (1 - p) * (u - v)) / temperature


@TERMS.register_module()
class NastyKL(Term):
    """``-weight * tau^2 * KL(p_t^tau || p_a^tau)``, averaged as the classification loss is (Eq. 5).

    The adversary runs in eval mode under no_grad on the same pixels as the target. docs/paper.md has its gradient
    with respect to the target's logits.

    Deviation from the paper: it gives no temperature and no tau^2; both come from the official Nasty-Teacher code
    (``train_nasty.py``). The effective weight ``weight * tau^2`` is logged as ``nasty_weight``.

    What a weight does depends on the number of classes, on the temperature and on label smoothing: its gradient on the
    logits scales with 1/C and smoothing pins the logits. ``nasty_share`` is what it comes to: the ratio of the term's
    gradient on the class logits to that of the task's losses, the median over rows. An epoch in which it stays below
    ``LEAST`` is told in one line. With ``share`` the effective weight follows so that the ratio holds
    (:class:`~natx.terms.share.ShareController`), and ``weight`` and ``scale_by_t2`` do not count.

    Args:
        adversary: see :func:`natx.models.adversary.build_adversary`.
        weight: omega_a; 0.06 for CIFAR-10 (Fig. 2), 0.006 for CIFAR-100.
        temperature: tau_a; 4 for CIFAR-10, 20 for CIFAR-100 and ImageNet-100 (Nasty-Teacher).
        direction: see :func:`nasty_divergence`.
        scale_by_t2: multiply by tau squared.
        cap: upper bound of a row's KL (its gradient is zero above); None for none. Needed for 'adversary_target'.
        on: views it acts on; the mean is over those present.
        share: the ratio of gradients to hold instead of a fixed weight, such as 0.1; None for the weight.
        largest: bound of the effective weight that holds a share.
    """

    LEAST = 0.02  # a share below it does nothing

    def __init__(
        self,
        adversary: Adversary | dict[str, Any],
        weight: float = 0.06,
        *,
        temperature: float = 4.0,
        direction: Direction = "target_adversary",
        scale_by_t2: bool = True,
        cap: float | None = None,
        on: Sequence[str] = ("clean", "adv"),
        share: float | None = None,
        largest: float = 1e4,
    ) -> None:
        super().__init__()
        if direction not in ("target_adversary", "adversary_target"):
            raise ConfigError(f"direction is 'target_adversary' or 'adversary_target'; got {direction!r}")
        if direction == "adversary_target" and cap is None:
            raise ConfigError("direction='adversary_target' is unbounded: give cap=<largest KL of a row>, e.g. 10")
        if temperature <= 0 or weight < 0:
            raise ConfigError(f"NastyKL needs temperature > 0 and weight >= 0; got {temperature} and {weight}")
        if not set(on) <= {"clean", "adv"} or not on:
            raise ConfigError(f"on names the views 'clean' and/or 'adv'; got {tuple(on)}")
        self.adversary = build_adversary(adversary)
        self.weight, self.temperature, self.direction = weight, temperature, direction
        self.scale_by_t2, self.cap, self.on = scale_by_t2, cap, tuple(on)
        self.controller = None if share is None else ShareController(share, largest=largest)
        self.meter = EpochMean()
        self._smoothing = 0.0
        self._facts: dict[str, str] = {}

    def check_views(self, names: Sequence[str]) -> None:
        """See :meth:`Term.check_views`; one of those that it acts on is enough."""
        if not set(self.on) & set(names):
            raise ConfigError(
                f"NastyKL acts on {tuple(self.on)}, and the method makes {tuple(names)} only: set its on, or the views"
            )

    @property
    def effective_weight(self) -> float:
        """``weight * tau^2``: what multiplies the KL."""
        return self.weight * (self.temperature**2 if self.scale_by_t2 else 1.0)

    def prepare(self, task: Task, device: torch.device) -> None:
        """Check classes and input size, move the adversary."""
        self.adversary.check(task)
        self.adversary.to(device)
        self._smoothing = getattr(task, "label_smoothing", 0.0)
        self._facts = {
            "label smoothing": f"{self._smoothing:g}",
            "classes": str(task.num_classes),
            "temperature": f"{self.temperature:g}",
        }

    def cost(self, views: Sequence[str]) -> tuple[float, float]:
        """One forward of the adversary for each view it acts on."""
        return (len(self.adversary) * len([v for v in views if v in self.on]), 0)

    def forward(self, views: Sequence[View], batch: Batch) -> dict[str, Tensor]:
        """See :meth:`Term.forward`; logs ``kl_clean`` and ``kl_adv`` (without the weight), and ``nasty_share``."""
        views = [view for view in views if view.name in self.on]
        others = self._adversary_logits(views, batch)
        scalars: dict[str, Tensor] = {}
        for view, other in zip(views, others, strict=True):
            rows = nasty_divergence(
                view.output.logits,
                other,
                temperature=self.temperature,
                direction=self.direction,
                link=view.output.link,
            )
            rows = rows if self.cap is None else rows.clamp(max=self.cap)
            scalars[f"kl_{view.name}"] = (view.output.row_weight * rows).sum()
        mean = torch.stack(list(scalars.values())).mean()
        weight = mean.new_tensor(self.effective_weight)
        logged = {name: value.detach() for name, value in scalars.items()}
        if mean.requires_grad:
            unit = self._unit_share(views, others)
            weight = weight if self.controller is None else self.controller(unit).to(weight)
            logged["nasty_share"] = weight * unit
            self.meter.add(logged["nasty_share"])
        return {"loss_nasty": -weight * mean, **logged, "nasty_weight": weight}

    def remarks(self) -> list[str]:
        """See :meth:`Term.remarks`: the term does nothing, or its share is out of reach."""
        share = self.meter.take()
        if share is None:
            return []
        if self.controller is not None and (line := self.controller.out_of_reach(share)) is not None:
            return [f"NastyKL {line}"]
        if share >= self.LEAST:
            return []
        return [f"NastyKL {nothing_done(share, least=self.LEAST, facts=self._facts)}"]

    def describe(self) -> dict[str, Any]:
        """See :meth:`Term.describe`."""
        return {
            **super().describe(),
            "weight": self.weight,
            "temperature": self.temperature,
            "effective_weight": self.effective_weight,
            "adversary": self.adversary.origin,
            **({} if self.controller is None else {"share": self.controller.share}),
        }

    def _unit_share(self, views: Sequence[View], others: Sequence[Tensor]) -> Tensor:
        """The share that an effective weight of 1 has in this step's gradient on the class logits, 0-dim.

        0 where no row has a label. Rows at the cap have no gradient.
        """
        ratios = []
        for view, other in zip(views, others, strict=True):
            output, logits = view.output, view.output.logits.detach()
            if output.labels is None or len(logits) == 0:
                continue
            how: dict[str, Any] = dict(temperature=self.temperature, direction=self.direction, link=output.link)
            pull = output.row_weight.detach()[:, None] * divergence_gradient(logits, other, **how)
            if self.cap is not None:
                pull = pull * (nasty_divergence(logits, other, **how) < self.cap)[:, None]
            ratios.append(gradient_ratio(pull, output, smoothing=self._smoothing))
        return torch.cat(ratios).median() if ratios else others[0].new_zeros((), dtype=torch.float32)

    def _adversary_logits(self, views: Sequence[View], batch: Batch) -> list[Tensor]:
        """Logits per view; one joint forward where rows are images (in eval mode views do not influence each other)."""
        if len(views) > 1 and all(view.output.rows is None for view in views):
            joint = self.adversary.logits(join([batch] * len(views)), concat_pixels([v.x for v in views]))
            return list(joint.chunk(len(views)))
        return [self.adversary.logits(batch, view.x, rows=view.output.rows) for view in views]
