"""Single-step attacks for training, against the papers' updates written out on plain tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.attacks import PGD, SingleStep, build_attack
from natx.errors import ConfigError, ConstraintError
from natx.testing import WrappedTask
from natx.threat import L2, Linf

EPS = 8 / 255


def scene(count: int = 6) -> tuple[WrappedTask, dict[str, Any], nn.Module]:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 4)).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    x = torch.rand(count, 3, 2, 2, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 4, (count,), generator=generator)
    return WrappedTask(net, num_classes=4), {"inputs": x, "data_samples": y, "index": torch.arange(count)}, net


def recorded_noise(attack: SingleStep, monkeypatch: pytest.MonkeyPatch, noise: Tensor) -> None:
    """The attack's uniform draw replaced by a known one."""
    monkeypatch.setattr("natx.attacks.base.uniform", lambda index, shape, **_: noise if shape else noise[:, 0, 0, 0])


@pytest.mark.parametrize(
    ("settings", "noise", "step", "clip"),
    [
        ({}, 1.0, 1.25, True),
        ({"noise": 2.0, "step": 1.0, "clip": False}, 2.0, 1.0, False),
        ({"noise": 0.0, "step": 1.0}, 0, 1, True),
    ],
    ids=["FGSM-RS", "N-FGSM", "FGSM"],
)
def test_the_step_is_the_papers(
    settings: dict[str, Any], noise: float, step: float, clip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, batch, net = scene()
    uniform = torch.rand(batch["inputs"].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    attack = SingleStep(Linf(EPS), **settings)
    recorded_noise(attack, monkeypatch, uniform)
    x_adv = attack(task, batch)

    x, y = task.pixels(batch), batch["data_samples"]
    eta = (2 * uniform.to(x.dtype) - 1) * noise * EPS
    start = (x + eta).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(
        F.cross_entropy(net(start.to(next(net.parameters()).dtype)), y, reduction="sum"), start
    )
    delta = start.detach() - x + step * EPS * gradient.sign()
    expected = x + (delta.clamp(-EPS, EPS) if clip else delta)
    assert torch.allclose(x_adv, expected.clamp(0, 1), atol=1e-6)


def test_without_clipping_images_leave_the_threat_model_and_stay_within_the_stated_reach() -> None:
    task, batch, _ = scene(40)
    attack = SingleStep(Linf(EPS), noise=2.0, step=1.0, clip=False)
    distance = (attack(task, batch) - task.pixels(batch)).abs().max()
    assert attack.reach == Linf(3 * EPS) and EPS * 1.5 < distance <= 3 * EPS + 1e-6
    assert SingleStep(Linf(EPS)).reach == Linf(EPS)
    assert SingleStep(Linf(0.9), noise=2.0, step=1.0, clip=False).reach == Linf(1.0)


def test_the_reach_is_verified_too() -> None:
    class Further(SingleStep):
        def run(self, victim: Any, *, epoch: int = 0) -> Tensor:
            return (victim.x + 3.5 * EPS).clamp(0, 1)

    task, batch, _ = scene()
    batch["inputs"] = batch["inputs"] / 2
    with pytest.raises(ConstraintError, match="left the ball Linf 24/255"):
        Further(Linf(EPS), noise=2.0, step=1.0, clip=False)(task, batch)


def test_an_attack_that_reaches_further_than_its_threat_model_does_not_judge() -> None:
    task, batch, _ = scene()
    with pytest.raises(ConfigError, match="is for training: its images lie in Linf 24/255, outside Linf 8/255"):
        SingleStep(Linf(EPS), noise=2.0, step=1.0, clip=False).judge(task, batch)
    assert SingleStep(Linf(EPS)).judge(task, batch).broken["FGSM-RS"].shape == (6,)


def test_fgsm_rs_is_one_step_of_pgd_from_a_random_start() -> None:
    task, batch, _ = scene()
    pgd = PGD(Linf(EPS), steps=1, step_size=1.25 * EPS, random_start=True)
    assert torch.equal(SingleStep(Linf(EPS))(task, batch, epoch=3), pgd(task, batch, epoch=3))


def test_it_costs_one_pass_and_grows_with_its_threat() -> None:
    attack = build_attack({"type": "SingleStep", "noise": 2.0, "step": 1.0, "clip": False}, threat=Linf(EPS))
    assert attack.cost_per_image() == (1, 1)
    assert str(attack.scaled(0.5).threat) == "Linf 4/255" and attack.scaled(0.5).reach == Linf(1.5 * EPS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SingleStep(L2(0.5)), "SingleStep works in Linf balls"),
        (lambda: SingleStep(Linf(EPS), noise=-1.0), "needs noise >= 0 and step > 0"),
        (lambda: SingleStep(Linf(EPS), step=0.0), "needs noise >= 0 and step > 0"),
        (lambda: SingleStep(Linf(EPS), noise=0.0, objective={"type": "KL"}), "no gradient at the clean image"),
    ],
)
def test_wrong_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
