"""PGD with each image's own eps, steps and step size, against a loop over single images."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from natx.attacks import PGD, PerImagePGD, build_attack
from natx.attacks.per_image import EPS, STEP_SIZE, STEPS
from natx.errors import ConfigError, ConstraintError
from natx.testing import TinyCNNTask, TinyDataset
from natx.threat import L2, Linf

MOST, LARGEST = 6, 15 / 255


def images(count: int = 12) -> dict[str, Tensor]:
    return TinyDataset(count, seed=5).__getitems__(range(count))


def settings(count: int = 12) -> dict[str, Tensor]:
    """Of every strength, in no order."""
    draw = torch.Generator().manual_seed(2)
    return {
        EPS: torch.randint(3, 16, (count,), generator=draw).double() / 255,
        STEPS: torch.randint(1, MOST + 1, (count,), generator=draw),
        STEP_SIZE: torch.randint(1, 6, (count,), generator=draw).double() / 255,
    }


def same(count: int = 12, *, eps: float = 8 / 255, steps: int = 4, size: float = 2 / 255) -> dict[str, Tensor]:
    return {
        EPS: torch.full((count,), eps, dtype=torch.float64),
        STEPS: torch.full((count,), steps),
        STEP_SIZE: torch.full((count,), size, dtype=torch.float64),
    }


def attack(**changes) -> PerImagePGD:
    return PerImagePGD(**{"threat": Linf(LARGEST), "most_steps": MOST, "seed": 5, **changes})


class Masked(TinyCNNTask):
    """The right half of every image is padding."""

    def perturbable(self, batch):
        mask = torch.ones(len(batch["index"]), 1, 8, 8)
        mask[..., 4:] = 0
        return mask


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("kind", [TinyCNNTask, Masked])
def test_equal_settings_are_pgd_bit_for_bit(double: bool, kind: type) -> None:
    task, batch = kind(double=double), images()
    pgd = PGD(Linf(8 / 255), 4, step_size=2 / 255, seed=5)
    mine = attack(threat=Linf(8 / 255), most_steps=4)
    for epoch in (0, 3):
        assert torch.equal(mine(task, {**batch, **same()}, epoch=epoch), pgd(task, batch, epoch=epoch))


def test_each_image_is_attacked_by_its_own_settings() -> None:
    task, batch, chosen = TinyCNNTask(double=True), images(), settings()
    net = copy.deepcopy(task.net).eval()
    # A wide ball and a step of length zero: the start itself.
    start = PGD(Linf(8 / 255), 1, step_size=0.0, seed=5)(task, batch)
    expected = []
    for i, (x, y) in enumerate(zip(batch["inputs"].double(), batch["data_samples"])):
        x_adv, eps, size = start[i], float(chosen[EPS][i]), float(chosen[STEP_SIZE][i])
        for _ in range(int(chosen[STEPS][i])):
            x_adv = x_adv.detach().requires_grad_()
            (grad,) = torch.autograd.grad(F.cross_entropy(net((x_adv[None] - 0.5) / 0.25), y[None]), x_adv)
            x_adv = (x + (x_adv + size * grad.sign() - x).clamp(-eps, eps)).clamp(0, 1)
        expected.append(x_adv.detach())
    x_adv = attack()(task, {**batch, **chosen})
    torch.testing.assert_close(x_adv, torch.stack(expected), rtol=0, atol=1e-12)
    assert (chosen[EPS] < 8 / 255).any() and len(set(chosen[STEPS].tolist())) > 3  # also starts outside the own ball
    moved = (x_adv - batch["inputs"]).abs().flatten(1).amax(1)
    assert (moved <= chosen[EPS] + 1e-9).all() and float(moved.max()) > 10 / 255


def test_it_costs_the_steps_that_are_taken() -> None:
    task, batch, chosen = TinyCNNTask(), images(), settings()
    cost = attack().judge(task, {**batch, **chosen}).cost
    assert (cost.forwards, cost.backwards) == (int(chosen[STEPS].sum()) + 12, int(chosen[STEPS].sum()))  # and one look
    assert attack().cost_per_image() == (MOST, MOST)
    assert attack(objective=dict(type="KL")).cost_per_image() == (MOST + 1, MOST)


def test_an_image_outside_its_own_ball_is_a_bug_even_inside_the_largest() -> None:
    x = torch.full((3, 3, 4, 4), 0.5)
    radius = torch.tensor([4 / 255, 8 / 255, 15 / 255]).view(3, 1, 1, 1)
    ball = Linf(LARGEST).around(x)
    attack()._verify(ball, x - radius, radius=radius)
    with pytest.raises(ConstraintError, match="own ball by 1/255"):
        attack()._verify(ball, x + 9 / 255, radius=radius.clamp(min=8 / 255))


def test_every_result_is_checked_against_the_images_own_balls(monkeypatch) -> None:
    checked, chosen = [], settings()
    monkeypatch.setattr(PerImagePGD, "_verify", lambda self, ball, x_adv, *, radius: checked.append((x_adv, radius)))
    x_adv = attack()(TinyCNNTask(double=True), {**images(), **chosen})
    ((seen, radius),) = checked
    assert torch.equal(seen, x_adv) and torch.equal(radius.flatten(), chosen[EPS])


def test_state_is_kept() -> None:
    task = TinyCNNTask(dropout=0.5).train()
    before, generator = copy.deepcopy(task.state_dict()), torch.get_rng_state()
    batch = {**images(), **settings()}
    keys = set(batch)
    attack()(task, batch)
    assert set(batch) == keys and torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())
    assert all(module.training for module in task.modules())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(threat=L2(0.5)), "Linf balls"),
        (dict(most_steps=0), "most_steps >= 1"),
        (dict(start_eps=1.5), "start_eps"),
        (dict(start_eps=0, objective=dict(type="KL")), "start_eps > 0"),
    ],
)
def test_bad_settings_are_refused_in_one_line(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        attack(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "chosen",
    [same(eps=16 / 255), same(steps=MOST + 1), same(steps=0), same(size=-0.1), same(11)],
)
def test_a_batch_beyond_the_limits_is_refused(chosen: dict[str, Tensor]) -> None:
    with pytest.raises(ConfigError, match="12 images") as error:
        attack()(TinyCNNTask(), {**images(), **chosen})
    assert "\n" not in str(error.value)


def test_a_batch_without_settings_is_refused_and_configs_build_it() -> None:
    built = build_attack(dict(type="PerImagePGD", most_steps=3), threat=dict(type="Linf", eps=8 / 255))
    assert (built.most_steps, str(built.threat)) == (3, "Linf 8/255")
    with pytest.raises(ConfigError, match="LAS"):
        built(TinyCNNTask(), images())
