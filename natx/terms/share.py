"""How much a term pulls on the class logits beside the task's own losses: measured, and held at a share."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.dist import all_reduce, get_dist_info
from torch import Tensor, nn
from torch.nn import functional as F

from natx.errors import ConfigError
from natx.runtime.precision import full_precision
from natx.task import Output

TINY = 1e-12


def gradient_ratio(pull: Tensor, output: Output, *, smoothing: float = 0.0) -> Tensor:
    """How large a gradient on the class logits is beside cross-entropy's, the ratio of each row ``[M]``.

    Cross-entropy's is ``row_weight * (p - y)``, y with the task's label smoothing: exactly the task's own on the logits
    of a classifier and of a re-identification model (whose triplet loss acts on the features); for a detector's focal
    loss a stand-in.

    Args:
        pull: the gradient to compare, ``[M, C]``.
        output: the view's output.
        smoothing: label smoothing of the task's loss.
    """
    z = full_precision(output.logits.detach())
    classes = z.shape[1]
    if output.labels is None:
        raise ValueError("rows without labels have no cross-entropy to compare with")
    if output.labels.dim() == 2:
        wanted = output.labels.to(z.dtype)
    else:  # a detector's background may be one past the classes
        wanted = F.one_hot(output.labels, classes + 1)[:, :classes].to(z.dtype)
    if smoothing:
        wanted = (1 - smoothing) * wanted + smoothing / classes
    probabilities = z.softmax(1) if output.link == "softmax" else z.sigmoid()
    task = output.row_weight.to(z.dtype)[:, None] * (probabilities - wanted)
    return full_precision(pull).norm(dim=1) / task.norm(dim=1).clamp_min(TINY)


class EpochMean:
    """The mean of a number over the steps of an epoch, kept on the device until somebody asks."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._steps = 0

    def add(self, value: Tensor) -> None:
        """Count a step."""
        value = value.detach().float()
        self._total = value if self._total is None else self._total + value
        self._steps += 1

    def take(self) -> float | None:
        """The mean since the last call; None without steps. Waits for the device."""
        mean = None if self._total is None else float(self._total) / self._steps
        self._total, self._steps = None, 0
        return mean


class ShareController(nn.Module):
    """An effective weight that holds a term's share of the gradient on the class logits.

    The share is proportional to the effective weight, so the weight that gives ``share`` now is ``share`` over the
    share at weight 1. That ratio is followed as a mean of its logarithm with a memory of ``1 / rate`` steps, and the
    weight never passes ``largest``. Where the ratio grows by a factor g a step, the share that is held lies above
    ``share`` by the factor ``g ** (1 / rate - 1)``: small trainings let it grow by two hundredths a step at times,
    which a memory of 50 steps answers with 2.6 times the share and one of 5 steps with 1.08 times. The mean is a
    buffer: a run that goes on has it.

    Args:
        share: the ratio of gradients to hold, such as 0.1.
        largest: bound of the effective weight.
        rate: what a step contributes to the mean.

    Raises:
        ConfigError: a setting out of range.
    """

    def __init__(self, share: float, *, largest: float = 1e4, rate: float = 0.2) -> None:
        super().__init__()
        self.log_unit: Tensor  # log of the share at an effective weight of 1
        if not (0 < share < math.inf and 0 < largest < math.inf and 0 < rate <= 1):
            raise ConfigError(
                f"a share is above 0, such as 0.1, its largest weight too, and 0 < rate <= 1; got {share}, {largest} "
                f"and {rate}"
            )
        self.share, self.largest, self.rate = share, largest, rate
        self.register_buffer("log_unit", torch.tensor(math.nan))
        self.at_bound = EpochMean()  # of an epoch's steps, in which the bound held the weight back

    def forward(self, unit: Tensor) -> Tensor:
        """The effective weight of this step, 0-dim, from the share that weight 1 has in it.

        A step without rows, or in which the term has no gradient, changes nothing.
        """
        unit = unit.detach().to(self.log_unit)
        usable = (unit > TINY) & unit.isfinite()
        log = torch.where(usable, unit.clamp_min(TINY).log(), self.log_unit)
        if get_dist_info()[1] > 1:
            log = log.clone()
            all_reduce(log, op="mean")
        followed = torch.where(self.log_unit.isnan(), log, self.log_unit + self.rate * (log - self.log_unit))
        self.log_unit.copy_(torch.where(log.isnan(), self.log_unit, followed))
        weight = self.share / self.log_unit.exp()
        self.at_bound.add(weight > self.largest)
        return torch.where(weight.isnan(), weight.new_zeros(()), weight.clamp(max=self.largest))

    def out_of_reach(self, share: float) -> str | None:
        """The line that says that the bound kept an epoch's share low; None where it did in at most half of the steps.

        Args:
            share: what the term's share was, the mean of the epoch.
        """
        if (self.at_bound.take() or 0.0) <= 0.5:
            return None
        return (
            f"does not reach share={self.share:g}: its effective weight stood at its bound, largest={self.largest:g}, "
            f"and its gradient on the class logits was {100 * share:.2g} % of the task's (median over rows, mean of "
            "the epoch): raise largest, or lower the temperature"
        )


def nothing_done(share: float, *, least: float, facts: dict[str, Any]) -> str:
    """The line that says that a term does nothing and why."""
    reasons = ", ".join(f"{name} {value}" for name, value in facts.items())
    return (
        f"does nothing: its gradient on the class logits was {100 * share:.2g} % of the task's (median over rows, mean "
        f"of the epoch; below {100 * least:g} % counts as nothing), with {reasons}: raise its weight, or give share=0.1"
    )
