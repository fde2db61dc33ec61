"""Explicit regularisers of the output's distribution (App. K): its entropy, and its L2 norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.batch import Batch
from natx.errors import ConfigError
from natx.registry import TERMS
from natx.runtime.precision import full_precision
from natx.terms.base import Term, View


class OutputPenalty(Term):
    """Base: ``weight`` times a score of each row's class distribution, averaged as the classification loss is.

    Args:
        weight: lambda (App. K: 0.001; a hundredth to a thousandth of NAT's effective weight, so sweep it before
            comparing).
        on: views it acts on, with the mean over them. The paper does not say which; by default the adversarial images,
            those that PGD-AT trains on.
    """

    name: ClassVar[str]

    def __init__(self, weight: float = 1e-3, *, on: Sequence[str] = ("adv",)) -> None:
        super().__init__()
        if not (math.isfinite(weight) and weight >= 0):
            raise ConfigError(f"{type(self).__name__} needs a finite weight >= 0; got {weight}")
        if isinstance(on, str) or not set(on) <= {"clean", "adv"} or not on:
            raise ConfigError(f"on names the views 'clean' and/or 'adv', as a tuple; got {on!r}")
        self.weight, self.needs = weight, tuple(on)

    def score(self, log_probs: Tensor) -> Tensor:
        """What is minimised, per row ``[M]``, from log-probabilities ``[M, C]`` in fp32."""
        raise NotImplementedError

    def forward(self, views: Sequence[View], batch: Batch) -> dict[str, Tensor]:
        """See :meth:`Term.forward`; logs each view's mean score without the weight."""
        scalars = {f"{self.name}_{view.name}": self._mean(view) for view in self.pick(views)}
        loss = self.weight * torch.stack(list(scalars.values())).mean()
        return {f"loss_{self.name}": loss, **{key: value.detach() for key, value in scalars.items()}}

    def describe(self) -> dict[str, Any]:
        """See :meth:`Term.describe`."""
        return {**super().describe(), "weight": self.weight, "on": self.needs}

    def _mean(self, view: View) -> Tensor:
        output = view.output
        if output.link != "softmax":
            raise ConfigError(f"{type(self).__name__} needs one softmax a row; got a {output.link!r} head")
        rows = self.score(F.log_softmax(full_precision(output.logits), dim=1))
        return (output.row_weight * rows).sum()


@TERMS.register_module()
class EMR(OutputPenalty):
    """Entropy minimisation: ``weight * mean_i H(p_i)``, ``H(p) = -sum_c p_c log p_c`` in nats (Eq. 16).

    Deviations: Eq. 16 prints ``+ lambda * sum p log p``, which maximises the entropy, while its text minimises it;
    the text is followed and ``sign=-1`` gives what is printed. The equation sums over images; here it is their mean.

    Args:
        weight: see :class:`OutputPenalty`.
        on: see :class:`OutputPenalty`.
        sign: 1 minimises the entropy, -1 is Eq. 16 as printed.
    """

    name = "emr"

    def __init__(self, weight: float = 1e-3, *, on: Sequence[str] = ("adv",), sign: int = 1) -> None:
        super().__init__(weight, on=on)
        if sign not in (-1, 1):
            raise ConfigError(f"sign is 1 (minimise the entropy) or -1 (Eq. 16 as printed); got {sign}")
        self.sign = sign

    def score(self, log_probs: Tensor) -> Tensor:
        """Signed entropy."""
        return -self.sign * (log_probs.exp() * log_probs).sum(1)

    def describe(self) -> dict[str, Any]:
        """See :meth:`Term.describe`."""
        return {**super().describe(), "sign": self.sign}


@TERMS.register_module()
class NNR(OutputPenalty):
    """Negative norm: ``-weight * mean_i ||p_i||_2`` of the probabilities over the classes (Eq. 17).

    The norm is 1 for a one-hot output and ``1 / sqrt(C)`` for a uniform one. Deviation: Eq. 17 has no images; their
    mean is taken.
    """

    name = "nnr"

    def score(self, log_probs: Tensor) -> Tensor:
        """The norm, negated."""
        return -log_probs.exp().square().sum(1).sqrt()
