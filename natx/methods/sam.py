"""Sharpness-aware minimisation (Foret et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from natx.errors import ConfigError
from natx.methods.base import Method
from natx.methods.perturbed import PerturbedWeights
from natx.registry import METHODS


@METHODS.register_module()
class SAM(PerturbedWeights):
    """A method trained at the worst weights within a distance: ``d = rho * g / ||g||_2`` over all parameters at once.

    It gives the paper's "SAM" state of an adversary (Table 8) with :class:`~natx.methods.Standard` inside. See
    :class:`~natx.methods.perturbed.PerturbedWeights` for how it is computed.

    Source: ``sam_jax/training_utils/flax_training.py`` of google-research/sam. As there, batch-norm statistics are
    those of the pass at ``w``. Deviations: the gradient is averaged over the processes before the step (the original
    perturbs on each process by its own part of the batch), and weight decay, which is the optimiser's, has no part in
    ``d`` (the original's is a penalty in the loss).

    Args:
        method: the method inside, or its config.
        rho: length of the perturbation; the original's default is 0.05.
        warmup: epochs without perturbation before it sets in.
    """

    tracked = "ascent"

    def __init__(self, method: Method | dict[str, Any], rho: float = 0.05, *, warmup: int = 0) -> None:
        super().__init__(method, warmup=warmup)
        if not (math.isfinite(rho) and rho >= 0):
            raise ConfigError(f"SAM needs a finite rho >= 0, such as 0.05; got {rho}")
        self.rho = rho

    def displacement(self, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """See the class."""
        length = torch.stack([g.norm() for g in gradients]).norm()
        return [g * (self.rho / (length + 1e-12)) for g in gradients]
