"""Masked models: layers that hide a model's weakness from attacks, for measuring whether the audit finds them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.attacks import PGD
from natx.attacks.base import Attacked, Success
from natx.attacks.victim import Cost, Victim


class Scale(nn.Module):
    """Logits of another size: cross-entropy's gradient underflows where they are large."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, z: Tensor) -> Tensor:
        """``factor * z``."""
        return self.factor * z


class Quantised(nn.Module):
    """Few levels; the gradient of rounding is zero."""

    def __init__(self, levels: float) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        """``x`` at the nearest level."""
        return (x * self.levels).round() / self.levels


class Detached(nn.Module):
    """Cuts the gradient."""

    def forward(self, x: Tensor) -> Tensor:
        """``x``, of which autograd knows nothing."""
        return x.detach()


class NoisyLogits(nn.Module):
    """Other logits at each call, from the global generator."""

    def __init__(self, deviation: float = 0.2) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, z: Tensor) -> Tensor:
        """``z`` with normal noise."""
        return z + self.deviation * torch.randn_like(z)


class RandomShift(nn.Module):
    """Moves the image by up to a pixel each way, drawn at each call."""

    def forward(self, x: Tensor) -> Tensor:
        """``x`` moved, with black at the edge."""
        down, right = torch.randint(0, 3, (2,)).tolist()
        return F.pad(x, (1, 1, 1, 1))[..., down : down + x.shape[-2], right : right + x.shape[-1]]


class OfTheBatch(nn.Module):
    """Logits that depend on who shares the batch."""

    def forward(self, z: Tensor) -> Tensor:
        """``z`` less its mean over the batch."""
        return z - z.mean(0)


class Clamped(nn.Module):
    """Logits cut off at a size that nearly all reach: the gradient is zero there."""

    def __init__(self, largest: float) -> None:
        super().__init__()
        self.largest = largest

    def forward(self, z: Tensor) -> Tensor:
        """The sum of ``z`` cut off and a trace of the rest, so that predictions stay as they are."""
        return z.clamp(-self.largest, self.largest) + 1e-3 * z.detach()


class HardLabels(nn.Module):
    """Says nothing but the class."""

    def forward(self, z: Tensor) -> Tensor:
        """10 for the largest logit and 0 for the others, with a path for autograd that has no gradient."""
        return 10 * F.one_hot(z.argmax(1), z.shape[1]).to(z.dtype) + 0 * z


class Rippled(nn.Module):
    """A fine sine over the input: predictions hardly change, the gradient is that of the sine (gradient shattering)."""

    def __init__(self, height: float = 0.02, speed: float = 400.0) -> None:
        super().__init__()
        self.height, self.speed = height, speed

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with the sine of itself added."""
        return x + self.height * (self.speed * x).sin()


class Gradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor, or by one of each image ``[N, 1, 1, 1]``."""

    @staticmethod
    def forward(context: Any, x: Tensor, factor: float | Tensor) -> Tensor:  # type: ignore[override]
        """``x``."""
        context.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """The gradient times the factor."""
        return context.factor * grad, None


class FalseGradient(nn.Module):
    """Tells autograd another gradient than that of the function it computes.

    Args:
        factor: -1 leads attacks the wrong way, a tiny one starves them.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """``x``."""
        return Gradient.apply(x, self.factor)


class BetweenLevels(nn.Module):
    """Tells the true gradient of images whose pixels are all whole grey levels, and another one of all other images.

    Test images are such images and attacked ones are not: one step from the image itself sees the truth, many do not.

    Args:
        factor: of the gradient of other images: 0 cuts it, -1 turns it.
        mean: that was taken from the pixels.
        deviation: that they were divided by.
        levels: the largest grey level.
    """

    def __init__(self, factor: float, *, mean: float, deviation: float, levels: int) -> None:
        super().__init__()
        self.factor, self.mean, self.deviation, self.levels = factor, mean, deviation, levels

    def forward(self, x: Tensor) -> Tensor:
        """``x``."""
        level = (x.detach() * self.deviation + self.mean) * self.levels
        whole = ((level - level.round()).abs() < 1e-3).flatten(1).all(1)[:, None, None, None]
        return Gradient.apply(x, torch.where(whole, 1.0, self.factor).to(x.dtype))


class Weary(nn.Module):
    """Remembers its queries: after so many gradients in a row it leads the attack back.

    Args:
        patience: gradients that are true; a call without gradient ends the row.
    """

    def __init__(self, patience: int) -> None:
        super().__init__()
        self.patience, self.row = patience, 0

    def forward(self, x: Tensor) -> Tensor:
        """``x``."""
        self.row = self.row + 1 if torch.is_grad_enabled() and x.requires_grad else 0
        return Gradient.apply(x, 1.0 if self.row <= self.patience else -1.0)


class LargestCut(nn.Module):
    """Cuts the gradient of the two largest logits: a margin has none, cross-entropy follows that of the others."""

    def forward(self, z: Tensor) -> Tensor:
        """``z``."""
        largest = torch.zeros_like(z, dtype=torch.bool).scatter(1, z.topk(2, dim=1).indices, True)
        return torch.where(largest, z.detach(), z)


class Purified(nn.Module):
    """Moves each image towards its own answer before it gives it: a forward pass that descends a loss.

    Args:
        net: the net.
        step: by which each pixel moves, in the net's units.
    """

    def __init__(self, net: nn.Module, step: float) -> None:
        super().__init__()
        self.net, self.step = net, step

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the moved images."""
        with torch.enable_grad():
            still = x.detach().requires_grad_()
            z = self.net(still)
            (grad,) = torch.autograd.grad(F.cross_entropy(z, z.argmax(1), reduction="sum"), still)
        return self.net(x - self.step * grad.sign())


class NoNumbers(nn.Module):
    """A term of 0 whose gradient is not a number: the root of nothing."""

    def forward(self, z: Tensor) -> Tensor:
        """``z``."""
        return z + (z.mean(1, keepdim=True) * 0).pow(2).sqrt()


class Moat(nn.Module):
    """A net that answers near known images as if they were these, and as trained further away.

    Args:
        net: the net.
        x: the images ``[N, C, H, W]`` as the net sees them.
        labels: their classes ``[N]``.
        width: within this distance (Linf) of one of them the answer is its class.
    """

    x: Tensor
    labels: Tensor

    def __init__(self, net: nn.Module, x: Tensor, labels: Tensor, *, width: float) -> None:
        super().__init__()
        self.net, self.width = net, width
        self.register_buffer("x", x.flatten(1))
        self.register_buffer("labels", labels)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        distance, nearest = torch.cdist(x.flatten(1), self.x, p=float("inf")).min(1)
        z = self.net(x)
        sure = z.detach().abs().amax() * F.one_hot(self.labels[nearest], z.shape[1])
        return torch.where((distance < self.width)[:, None], sure + 0 * z, z)


class InAnotherSpace(PGD):
    """PGD whose eps and step count in other units than the threat model's: a factor smaller or larger.

    Attributes:
        factor: of eps and step.
    """

    factor = 1.0

    def run_judged(self, victim: Victim, *, success: Success) -> Attacked:
        """See :meth:`natx.attacks.Attack.run_judged`."""
        small = PGD(self.threat.scaled(self.factor), self.steps, step_size=self.step_size * self.factor)
        ball = small.threat.around(victim.x)
        attacked = small.run_judged(Victim(victim.task, victim.batch, ball=ball, cost=Cost()), success=success)
        return Attacked(attacked.x_adv, {self.name: attacked.broken[small.name]})

    def describe(self) -> dict[str, Any]:
        """As the PGD that it claims to be."""
        return {**super().describe(), "type": "PGD"}


class Normalised(InAnotherSpace):
    """Its eps counts pixels after normalisation."""

    factor = 0.4


class Bytes(InAnotherSpace):
    """Its eps was divided by 255 once too often."""

    factor = 1 / 255
