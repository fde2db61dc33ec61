"""Adversarial weight perturbation (Wu et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from natx.errors import ConfigError
from natx.methods.base import Method
from natx.methods.perturbed import PerturbedWeights
from natx.registry import METHODS


@METHODS.register_module()
class AWP(PerturbedWeights):
    """A method trained at its worst nearby weights: ``d_l = gamma * ||w_l|| * g_l / ||g_l||``, weight by weight.

    ``g_l`` is the gradient of the method's whole loss in the weight ``w_l`` (Frobenius norms). Perturbed are tensors
    with more than one dimension and 'weight' in their name: convolutions and linear layers, no biases and no batch
    norm. With :class:`~natx.methods.Adversarial` inside it is AT-AWP, with TRADES' terms TRADES-AWP, with the nasty
    term NAT-AWP. See :class:`~natx.methods.perturbed.PerturbedWeights` for how it is computed.

    Source: ``utils_awp.py`` of csdongxian/AWP. It steps a copy of the model, whose learning rate cancels in the
    normalisation, and changes the weights in place. Deviations: several processes average the ascent gradient (the
    original knows one process); a layer with dropout draws the same in both passes.

    Args:
        method: the method inside, or its config.
        gamma: size of the perturbation relative to the weight; 0.01 for AT-AWP, 0.005 for TRADES-AWP. 0 is the method
            inside itself, at twice the cost of its loss.
        warmup: epochs without perturbation before it sets in; the original has 0 for AT-AWP and 9 for TRADES-AWP (its
            ``--awp-warmup 10`` counts from 1).
    """

    def __init__(self, method: Method | dict[str, Any], gamma: float = 0.01, *, warmup: int = 0) -> None:
        super().__init__(method, warmup=warmup)
        if not (math.isfinite(gamma) and gamma >= 0):
            raise ConfigError(f"AWP needs a finite gamma >= 0, such as 0.01; got {gamma}")
        self.gamma = gamma

    def perturbs(self, name: str, weight: Tensor) -> bool:
        """See the class."""
        return weight.dim() > 1 and "weight" in name

    def displacement(self, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """See the class; a weight without gradient stays where it is."""
        return [g * (self.gamma * w.norm() / (g.norm() + 1e-20)) for w, g in zip(weights, gradients)]
