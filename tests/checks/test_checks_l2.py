"""Checks G5, G6 and G12 under an L2 threat model: silent on an honest net, red where they should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from natx.attacks import PGD, Attack
from natx.benchmark.masks import Bytes, Scale
from natx.checks import Verdict
from natx.checks.case import Case
from natx.checks.gradients import Alignment
from natx.checks.pipeline import VanillaBreaks
from natx.checks.strength import EpsSweep
from natx.models.mode import attack_mode
from natx.testing import WrappedTask
from natx.threat import L2, Linf, ThreatModel

TRAINING_EPS, EPS = 1.0, 1.25
COUNT = 60


class Digits:
    """scikit-learn's digits, 8x8 pixels in [0,1]; every fifth one is for testing."""

    def __init__(self, *, train: bool) -> None:
        pixels, labels = load_digits(return_X_y=True)
        rows = [i for i in range(len(labels)) if (i % 5 != 0) == train]
        self.images = torch.tensor(pixels[rows] / 16, dtype=torch.float32).view(-1, 1, 8, 8)
        self.labels = torch.tensor(labels[rows])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, rows: Any) -> dict[str, Tensor]:
        rows = torch.as_tensor(rows)
        return {"inputs": self.images[rows], "data_samples": self.labels[rows], "index": rows}


def within(delta: Tensor, eps: float) -> Tensor:
    """Perturbations ``[N, 1, 8, 8]`` shortened to length ``eps``."""
    return delta * (eps / delta.flatten(1).norm(dim=1).clamp_min(1e-12)).clamp(max=1)[:, None, None, None]


def step(net: nn.Module, x: Tensor, x_adv: Tensor, labels: Tensor, *, eps: float) -> Tensor:
    """One normalised gradient step of ``eps / 3``, projected."""
    x_adv = x_adv.detach().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(net(x_adv), labels, reduction="sum"), x_adv)
    grad = grad / grad.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
    return (x + within(x_adv.detach() + eps / 3 * grad - x, eps)).clamp(0, 1)


def train(*, epochs: int, adversarial: bool) -> nn.Module:
    """A small network on the digits, or on what five L2 steps make of them."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    data, optimiser = Digits(train=True), torch.optim.Adam(net.parameters(), lr=3e-3)
    for epoch in range(epochs):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 - epoch / epochs)
        for rows in torch.randperm(len(data)).split(64):
            x, y = data.images[rows], data.labels[rows]
            x_adv = x
            for _ in range(5 if adversarial else 0):
                x_adv = step(net, x, x_adv, y, eps=TRAINING_EPS)
            optimiser.zero_grad()
            F.cross_entropy(net(x_adv), y).backward()
            optimiser.step()
    return net.requires_grad_(False).eval()


@dataclass
class Trained:
    robust: nn.Module
    plain: nn.Module


@pytest.fixture(scope="module")
def trained() -> Trained:
    with torch.random.fork_rng():
        return Trained(train(epochs=8, adversarial=True), train(epochs=5, adversarial=False))


def pgd(eps: float = EPS, **settings: Any) -> PGD:
    return PGD(L2(eps), 20, step_size=eps / 8, **settings)


def ask(
    check: Any, net: nn.Module, *, attacks: list[Attack], vanilla: nn.Module | None = None, images: int = COUNT
) -> Verdict:
    """What a check says."""
    task = WrappedTask(net, 10).eval()
    other = None if vanilla is None else WrappedTask(vanilla, 10).eval()
    case = Case(task, Digits(train=False), attacks=attacks, threat=attacks[0].threat, vanilla=other, images=images)
    with attack_mode(task):
        return check(case)


def left_by_hand(net: nn.Module, eps: float, steps: int) -> float:
    """Accuracy (%) that plain L2 PGD leaves of the first images, any step counting."""
    batch = Digits(train=False).__getitems__(range(COUNT))
    x, labels = batch["inputs"], batch["data_samples"]
    x_adv, right = x, net(x).argmax(1) == labels
    for _ in range(steps):
        x_adv = step(net, x, x_adv, labels, eps=eps)
        right &= net(x_adv).argmax(1) == labels
    return 100 * right.double().mean().item()


# G5


def test_an_undefended_net_breaks(trained: Trained) -> None:
    verdict = ask(VanillaBreaks(), trained.robust, attacks=[pgd(2.0)], vanilla=trained.plain)
    assert verdict.verdict == "green" and verdict.figure <= 1, verdict.reason
    assert left_by_hand(trained.plain, 2.0, 20) <= 1
    assert left_by_hand(trained.robust, 0.75, 20) > left_by_hand(trained.plain, 0.75, 20) + 15


def test_a_weak_pipeline_is_found_out(trained: Trained) -> None:
    weak = Bytes(L2(2.0), 20, step_size=0.25)
    verdict = ask(VanillaBreaks(), trained.robust, attacks=[weak], vanilla=trained.plain)
    assert verdict.verdict == "red" and verdict.figure > 50, verdict.reason
    assert "the same attack written anew: the pipeline is wrong" in verdict.reason


def test_an_eps_that_breaks_no_model_of_these_images(trained: Trained) -> None:
    """Sixteen times this eps breaks the undefended net; the check says that rather than red."""
    verdict = ask(VanillaBreaks(), trained.robust, attacks=[pgd(0.2)], vanilla=trained.plain)
    assert left_by_hand(trained.plain, 0.2, 20) > 50 and left_by_hand(trained.plain, 16 * 0.2, 20) == 0
    assert verdict.verdict == "not applicable" and "does not break this undefended model" in verdict.reason
    assert "L2 51/255" in verdict.reason


class Stubborn(nn.Module):
    """Rounds pixels to black and white: the gradient is zero, and no small step changes anything."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.round())


def test_a_net_that_no_distance_breaks_is_no_undefended_one(trained: Trained) -> None:
    verdict = ask(VanillaBreaks(), trained.robust, attacks=[pgd()], vanilla=Stubborn(trained.plain))
    assert verdict.verdict == "red" and "at a distance that should break any model" in verdict.reason


# G6


@pytest.mark.parametrize("kind", ["robust", "plain"])
def test_a_larger_eps_breaks_more_of_an_honest_net(trained: Trained, kind: str) -> None:
    net = getattr(trained, kind)
    verdict = ask(EpsSweep(), net, attacks=[pgd()])
    assert verdict.verdict == "green" and verdict.figure <= 1, verdict.reason
    # Each eps as a multiple of the threat model's, as Linf's are of 8/255: 1/8 to 16 times it, and none.
    told = dict(reversed(part.split(" at ")) for part in verdict.reason.split(", "))
    assert list(told) == [f"{k / 8 * EPS:g}" for k in (0, 1, 2, 4, 8, 16, 32, 64, 128)]
    values = [float(value) for value in told.values()]
    assert values[0] == pytest.approx(left_by_hand(net, 1.0, 0), abs=0.05)
    assert values[4] == pytest.approx(left_by_hand(net, EPS, 20), abs=5)  # other steps from other starts
    assert all(later <= earlier + 1.7 for earlier, later in zip(values, values[1:]))


@pytest.mark.parametrize(
    "spoil", [Stubborn, lambda net: nn.Sequential(net, Scale(1e6))], ids=["no gradient", "saturated"]
)
def test_nets_that_hide_their_gradient_stay_unbroken(trained: Trained, spoil: Callable[[nn.Module], nn.Module]) -> None:
    verdict = ask(EpsSweep(), spoil(trained.robust), attacks=[pgd()])
    assert verdict.verdict == "red" and verdict.figure > 10, verdict.reason


class Shell(nn.Module):
    """The net between two distances from known images; elsewhere sure of the nearest one's class."""

    def __init__(self, net: nn.Module, clean: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.net, self.clean, self.labels = net, clean, labels

    def forward(self, x: Tensor) -> Tensor:
        distance = torch.cdist(x.flatten(1), self.clean.flatten(1))
        length, nearest = distance.min(1)
        sure = 100 * F.one_hot(self.labels[nearest], 10)
        return torch.where(((length > 0.5) & (length < 1.5))[:, None], self.net(x), sure)


def test_a_larger_eps_that_leaves_more_is_red(trained: Trained) -> None:
    """Wrong answers lie in a shell around the images, which long steps jump over."""
    batch = Digits(train=False).__getitems__(range(180))
    shell = Shell(trained.plain, batch["inputs"], batch["data_samples"])
    verdict = ask(EpsSweep(), shell, attacks=[pgd()], images=180)
    assert verdict.verdict == "red" and verdict.reason.endswith("a larger eps leaves more"), verdict.reason


# G12

SIDE, FINE = 16, 0.0625  # images have SIDE^2 pixels; the eps of the waves' threat models


class Waves(nn.Module):
    """Two classes whose loss is a sine of the place along one direction ``u``, the same +-1/SIDE for every pixel.

    A step of length s along the gradient moves the image by s, a step of s in every pixel by SIDE times as much.
    """

    def __init__(self, angle: float) -> None:
        super().__init__()
        signs = torch.randint(2, (SIDE, SIDE), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
        self.direction = nn.Parameter(signs / SIDE)
        self.speed = angle / (FINE / 16)  # so that eps/16 along u turns the sine by ``angle``

    def forward(self, x: Tensor) -> Tensor:
        place = ((x - 0.5) * self.direction).sum((1, 2, 3)) * self.speed
        return torch.stack([-place.sin(), place.sin()], 1)


class Grey:
    """Grey images of class 0, at the middle of the waves."""

    def __len__(self) -> int:
        return 20

    def __getitems__(self, rows: Any) -> dict[str, Tensor]:
        rows = torch.as_tensor(rows)
        inputs = torch.full((len(rows), 1, SIDE, SIDE), 0.5)
        return {"inputs": inputs, "data_samples": torch.zeros(len(rows), dtype=torch.int64), "index": rows}


@pytest.mark.parametrize(
    ("threat", "angle", "colour"),
    [
        (L2(FINE), 0.3, "green"),  # sin(0.3) rises; SIDE times as far sin(4.8) has fallen
        (L2(FINE), 4.0, "red"),  # sin(4) has fallen already
        (Linf(FINE), 0.3, "red"),
        (Linf(FINE), 0.3 / SIDE, "green"),
    ],
)
def test_the_loss_must_rise_over_a_sixteenth_of_eps_in_the_threats_own_norm(
    threat: ThreatModel, angle: float, colour: str
) -> None:
    task = WrappedTask(Waves(angle), 2).eval()
    case = Case(task, Grey(), attacks=[], threat=threat)
    with attack_mode(task):
        verdict = Alignment()(case)
    assert verdict.verdict == colour, verdict.reason
    share = 100.0 if colour == "green" else 0.0
    assert f"the loss rises along the gradient for {share} % of the images" in verdict.reason


class Looked(WrappedTask):
    """Remembers the images that were only looked at."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net, 10)
        self.images: list[Tensor] = []

    def logits(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            self.images.append(x)
        return super().logits(x)


def test_both_sides_are_a_sixteenth_of_eps_away_along_the_gradient(trained: Trained) -> None:
    task, data = Looked(trained.robust).eval(), Digits(train=False)
    with attack_mode(task):
        verdict = Alignment()(Case(task, data, attacks=[], threat=L2(EPS), images=COUNT))
    assert verdict.verdict == "green", verdict.reason
    batch = data.__getitems__(range(COUNT))
    x = batch["inputs"].requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(trained.robust(x), batch["data_samples"], reduction="sum"), x)
    unit = grad / grad.flatten(1).norm(dim=1)[:, None, None, None]
    ahead, behind = task.images[-2:]
    torch.testing.assert_close(ahead, x.detach() + EPS / 16 * unit, rtol=0, atol=1e-5)
    torch.testing.assert_close(behind, x.detach() - EPS / 16 * unit, rtol=0, atol=1e-5)
