"""GradAlign against the cosine of two gradients written out in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.errors import ConfigError
from natx.methods import GradAlign
from natx.methods.base import optimised
from natx.registry import METHODS
from natx.runtime.rng import uniform
from natx.testing import LinearTask, WrappedTask

EPS = 16 / 255
INNER = {"type": "Adversarial", "attack": {"type": "SingleStep", "threat": {"type": "Linf", "eps": EPS}}}


class Double(WrappedTask):
    """Pixels in float64."""

    def pixels(self, batch: dict[str, Any]) -> Tensor:
        return batch["inputs"].double()


def scene() -> tuple[Double, nn.Sequential, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, 4)).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(2 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    x = torch.rand(5, 3, 2, 2, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 4, (5,), generator=generator)
    return Double(net, 4), net, {"inputs": x, "data_samples": y, "index": torch.arange(5)}


@pytest.mark.parametrize(("warmup", "radius", "padded"), [(0, EPS, False), (5, EPS / 2, False), (0, EPS, True)])
def test_the_term_is_one_minus_the_cosine_of_the_two_gradients(warmup: int, radius: float, padded: bool) -> None:
    """In the ball of the epoch: in the third of five epochs of warm-up that has half of eps; padding stays."""
    task, net, batch = scene()
    mask = torch.ones(5, 1, 2, 2, dtype=torch.float64)
    mask[:, :, :, 1:] = 0.0 if padded else 1.0
    task.perturbable = lambda batch: mask if padded else None
    inner = {**INNER, "eps_warmup": warmup}
    ours = GradAlign(inner, weight=0.3, seed=4)(task, batch, epoch=2)
    plain = METHODS.build(inner)(task, batch, epoch=2)

    x, y = batch["inputs"], batch["data_samples"]
    noise = uniform(batch["index"], x.shape[1:], seed=4, epoch=2, stream=31).double()
    rows = []
    for point in (x, (x + (2 * noise - 1) * radius * mask).clamp(0, 1)):
        leaf = point.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(net(leaf), y), leaf, create_graph=True)
        rows.append(gradient.flatten(1) / gradient.flatten(1).norm(dim=1, keepdim=True))
    expected = 0.3 * (1 - (rows[0] * rows[1]).sum(1).mean())
    assert torch.allclose(ours["loss_grad_align"], expected, atol=1e-6)
    assert torch.allclose(optimised(ours), optimised(plain) + expected, atol=1e-6)
    theirs = torch.autograd.grad(optimised(plain) + expected, list(net.parameters()))
    for one, other in zip(torch.autograd.grad(optimised(ours), list(net.parameters())), theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert 0.3 * (1 - ours["grad_cos"]) == pytest.approx(float(expected))


def test_images_without_gradient_do_not_count() -> None:
    task, net, batch = scene()
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
    scalars = GradAlign(INNER, weight=1.0)(task, batch, epoch=0)
    assert scalars["loss_grad_align"] == 1.0 and scalars["grad_cos"] == 0.0
    for gradient in torch.autograd.grad(optimised(scalars), list(net.parameters())):
        assert gradient.isfinite().all()


class Partly(Double):
    """Every third image has logits that no pixel moves."""

    def network(self, x: Tensor, batch: dict[str, Any]) -> Tensor:
        still = (batch["index"] % 3 == 0)[:, None]
        return torch.where(still, 0.0, super().network(x, batch))


def test_the_mean_is_over_the_images_that_have_a_gradient() -> None:
    task, net, batch = scene()
    moving = {key: value[[1, 2, 4]] for key, value in batch.items()}
    ours, theirs = GradAlign(INNER)(Partly(net, 4), batch, epoch=0), GradAlign(INNER)(task, moving, epoch=0)
    assert float(ours["grad_cos"]) == pytest.approx(float(theirs["grad_cos"]), abs=1e-6) and ours["grad_cos"] > 0


def test_two_classes_of_a_linear_model_have_one_direction() -> None:
    task = LinearTask([[0.3] * 12, [-0.2] * 12])
    batch = {"inputs": torch.rand(4, 3, 2, 2), "data_samples": torch.tensor([0, 1, 0, 1]), "index": torch.arange(4)}
    assert GradAlign(INNER)(task, batch, epoch=0)["grad_cos"] == pytest.approx(1.0, abs=1e-4)


def test_it_wraps_into_weight_perturbation_and_says_what_it_costs() -> None:
    task, _, batch = scene()
    method = METHODS.build({"type": "AWP", "method": {"type": "GradAlign", "method": INNER}})
    scalars = method(task, batch, epoch=0)
    assert "loss_grad_align" in scalars and "awp_gain" in scalars
    assert GradAlign(INNER).cost() == (2 + 2, 2 + 4) and method.cost() == (4 + 3, 6 + 5)
    assert GradAlign(INNER).views == ("adv",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GradAlign({"type": "Standard"}), "GradAlign stands around Adversarial; got Standard"),
        (lambda: GradAlign(INNER, weight=-1.0), "GradAlign needs a weight >= 0"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
