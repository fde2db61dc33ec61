"""Friendly adversarial training's early-stopped PGD against a loop over single images written from the algorithm."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from natx.attacks import PGD, FriendlyPGD, build_attack
from natx.errors import ConfigError
from natx.methods import Adversarial
from natx.testing import LinearTask, TinyCNNTask, TinyDataset, WrappedTask, fit
from natx.threat import Linf
from natx.training.learner import Learner

EPS, STEP, STEPS, SEED = 12 / 255, 3 / 255, 8, 5


@pytest.fixture(scope="module")
def trained() -> TinyCNNTask:
    """Right on clean images, wrong on some of them somewhere along an attack."""
    return fit(TinyCNNTask(seed=1), TinyDataset(40)).double()


def images(count: int = 20) -> dict[str, Tensor]:
    return TinyDataset(20, seed=5, noise=0.2).__getitems__(range(count))


def friendly(**settings) -> FriendlyPGD:
    return FriendlyPGD(Linf(EPS), STEPS, **{"step_size": STEP, "seed": SEED, **settings})


def starts(task: WrappedTask, batch: dict[str, Tensor], *, epoch: int) -> Tensor:
    """Where PGD starts: it stays there with steps of length zero."""
    return PGD(Linf(EPS), 1, step_size=0.0, seed=SEED)(task, batch, epoch=epoch)


def one_by_one(task: WrappedTask, batch: dict[str, Tensor], tau: int, *, epoch: int = 0) -> tuple[Tensor, list[int]]:
    """Algorithm 1 of Zhang et al. 2020 on each image alone; the images and how many steps each took."""
    net, start = copy.deepcopy(task.net).eval(), starts(task, batch, epoch=epoch)
    results, taken = [], []
    for x, y, x_adv in zip(batch["inputs"].double(), batch["data_samples"], start):
        left, count = tau, 0
        for _ in range(STEPS):
            x_adv = x_adv.detach().requires_grad_()
            logits = net((x_adv[None] - 0.5) / 0.25)
            if int(logits.argmax()) != int(y):
                if left == 0:
                    break
                left -= 1
            (grad,) = torch.autograd.grad(F.cross_entropy(logits, y[None]), x_adv)
            x_adv = (x + (x_adv + STEP * grad.sign() - x).clamp(-EPS, EPS)).clamp(0, 1)
            count += 1
        results.append(x_adv.detach())
        taken.append(count)
    return torch.stack(results), taken


class Counted(WrappedTask):
    """Counts images that go forward."""

    def __init__(self, task: WrappedTask) -> None:
        super().__init__(task.net, task.num_classes, mean=task.mean, std=task.std)
        self.forwards = 0

    def logits(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        return super().logits(x)


# --------------------------------------------------------------------------------------------------- what it does


@pytest.mark.parametrize("tau", [0, 1, 3])
def test_each_image_stops_as_if_it_were_alone_and_keeps_its_place(trained: TinyCNNTask, tau: int) -> None:
    batch = images()
    expected, taken = one_by_one(trained, batch, tau)
    x_adv = friendly(tau=tau)(trained, batch)
    torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-12)
    # The case is no easy one: some images stop early, some late, some never, and the early ones are not the first.
    assert len(set(taken)) >= 3 and max(taken) == STEPS and taken != sorted(taken)


def test_more_patience_than_steps_is_pgd_bit_for_bit(trained: TinyCNNTask) -> None:
    batch, pgd = images(), PGD(Linf(EPS), STEPS, step_size=STEP, seed=SEED)
    assert torch.equal(friendly(tau=STEPS)(trained, batch), pgd(trained, batch))
    assert not torch.equal(friendly(tau=0)(trained, batch), pgd(trained, batch))
    for settings in (dict(random_start="normal"), dict(random_start=False, objective=dict(type="Margin"))):
        pgd = PGD(Linf(EPS), STEPS, step_size=STEP, seed=SEED, **settings)
        assert torch.equal(friendly(tau=STEPS, **settings)(trained, batch), pgd(trained, batch))


def test_an_image_that_starts_misclassified_is_left_alone(trained: TinyCNNTask) -> None:
    batch = images()
    batch["data_samples"] = (batch["data_samples"] + 1) % 5
    assert torch.equal(friendly(tau=0)(trained, batch), starts(trained, batch, epoch=0))


def test_tau_follows_the_epoch(trained: TinyCNNTask) -> None:
    attack = friendly(tau=[(0, 0), (2, 1), (5, 3)])
    batch = images()
    for epoch, tau in ((0, 0), (1, 0), (2, 1), (4, 1), (5, 3), (60, 3)):
        expected, _ = one_by_one(trained, batch, tau, epoch=epoch)
        torch.testing.assert_close(attack(trained, batch, epoch=epoch), expected, rtol=0, atol=1e-12)


def test_friendly_trades_climbs_the_distance_from_the_clean_prediction(trained: TinyCNNTask) -> None:
    """Still right images take all steps of PGD on KL, finished ones fewer; rows of the clean prediction stay paired."""
    settings = dict(objective=dict(type="KL"), random_start="normal", start_std=0.02)
    batch = images()
    whole = friendly(tau=0, **settings)(trained, batch)
    alone = torch.cat(
        [
            friendly(tau=0, **settings)(trained, {key: value[i : i + 1] for key, value in batch.items()})
            for i in range(len(batch["index"]))
        ]
    )
    torch.testing.assert_close(whole, alone, rtol=0, atol=1e-12)
    pgd = PGD(Linf(EPS), STEPS, step_size=STEP, seed=SEED, **settings)(trained, batch)
    same = (whole == pgd).flatten(1).all(1)
    assert same.any() and not same.all()
    right = trained.logits(whole).argmax(1) == batch["data_samples"]
    assert same[right].all()


# ------------------------------------------------------------------------------------------------------- the noise


def flat(count: int = 40) -> tuple[LinearTask, dict[str, Tensor]]:
    """A model without a gradient that is always right: nothing but noise moves the images, all grey."""
    weight = torch.zeros(2, 192, dtype=torch.float64)
    task = LinearTask(weight, torch.tensor([0.0, 1.0]))
    x = torch.full((count, 3, 8, 8), 0.5, dtype=torch.float64)
    return task, {"inputs": x, "data_samples": torch.ones(count, dtype=torch.int64), "index": torch.arange(count)}


def test_noise_is_normal_and_new_at_every_step_and_image_and_epoch() -> None:
    task, batch = flat()
    settings = dict(step_size=STEP, omega=0.01, random_start=False, seed=SEED)
    one, two = (FriendlyPGD(Linf(0.4), k, **settings)(task, batch) - 0.5 for k in (1, 2))
    other = FriendlyPGD(Linf(0.4), 1, **settings)(task, batch, epoch=1) - 0.5
    for delta, std in ((one, 0.01), (two, 0.01 * math.sqrt(2)), (two - one, 0.01), (one - other, 0.01 * math.sqrt(2))):
        z, n = delta.flatten() / std, delta.numel()
        assert abs(float(z.mean())) < 4 / math.sqrt(n)
        assert abs(float(z.pow(2).mean()) - 1) < 4 * math.sqrt(2 / n)
        assert abs(float((z.abs() < 1).double().mean()) - 0.6827) < 0.03
    rows = one.flatten(1)
    assert (torch.corrcoef(rows) - torch.eye(len(rows), dtype=rows.dtype)).abs().max() < 0.4


def test_noise_is_added_before_the_projection() -> None:
    task, batch = flat(4)
    x_adv = FriendlyPGD(Linf(0.01), 3, step_size=STEP, omega=0.5, random_start=False)(task, batch)
    moved = (x_adv - 0.5).abs()
    assert moved.max() <= 0.01 + 1e-12
    assert ((moved - 0.01).abs() < 1e-12).double().mean() > 0.9


def test_noise_goes_with_the_image_not_with_the_batch(trained: TinyCNNTask) -> None:
    batch, chosen = images(), [17, 3, 8]
    whole = friendly(omega=0.01)(trained, batch, epoch=3)
    few = friendly(omega=0.01)(trained, {key: value[chosen] for key, value in batch.items()}, epoch=3)
    torch.testing.assert_close(few, whole[chosen], rtol=0, atol=1e-12)
    assert not torch.equal(whole, friendly()(trained, batch, epoch=3))


# -------------------------------------------------------------------------------------------------- as an attack


def test_cost_is_counted_and_never_more_than_announced(trained: TinyCNNTask) -> None:
    batch = images()
    _, taken = one_by_one(trained, batch, 0)
    task = Counted(trained)
    friendly(tau=0)(task, batch)
    # An image goes forward once for each step it takes, and once more to be found finished.
    assert task.forwards == sum(min(count + 1, STEPS) for count in taken)
    assert friendly(tau=0).cost_per_image() == (STEPS, STEPS)
    assert task.forwards < STEPS * len(taken)
    judged = friendly(tau=0).judge(trained, batch)
    assert judged.cost.forwards == task.forwards + len(taken)
    assert judged.cost.backwards == task.forwards


def test_judging_looks_at_the_result(trained: TinyCNNTask) -> None:
    batch = images()
    judged = friendly(tau=2).judge(trained, batch)
    wrong = trained.logits(judged.x_adv).argmax(1) != batch["data_samples"]
    assert list(judged.broken) == [f"FriendlyPGD-{STEPS}"]
    assert torch.equal(judged.broken[f"FriendlyPGD-{STEPS}"], wrong)


def test_state_is_kept() -> None:
    task = TinyCNNTask(dropout=0.5).train()
    task.net[1].eval()  # a frozen layer
    before, modes = copy.deepcopy(task.state_dict()), [module.training for module in task.modules()]
    generator = torch.get_rng_state()
    x_adv = friendly(tau=1, omega=0.001)(task, images())
    assert torch.equal(torch.get_rng_state(), generator)
    assert [module.training for module in task.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in task.parameters())
    assert (x_adv - images()["inputs"]).abs().max() <= EPS + 1e-6 and 0 <= x_adv.min() and x_adv.max() <= 1


def test_training_on_friendly_images_is_cross_entropy_on_them(trained: TinyCNNTask) -> None:
    task, batch = copy.deepcopy(trained), images()
    task.net[8].p = 0.0
    by_hand, (x_adv, _) = copy.deepcopy(task), one_by_one(task, batch, 1)
    learner = Learner(task, Adversarial(friendly(tau=1))).train()
    scalars = learner(**batch, mode="loss")
    scalars["loss_ce"].backward()
    loss = F.cross_entropy(by_hand.net.train()((x_adv - 0.5) / 0.25), batch["data_samples"])
    torch.testing.assert_close(scalars["loss_ce"], loss, rtol=1e-9, atol=0)
    for mine, theirs in zip(task.parameters(), torch.autograd.grad(loss, list(by_hand.parameters()))):
        torch.testing.assert_close(mine.grad, theirs, rtol=1e-6, atol=1e-10)


# -------------------------------------------------------------------------------------------------------- settings


def test_it_is_built_from_a_config_and_described() -> None:
    config = dict(type="FriendlyPGD", threat=dict(type="Linf", eps=8 / 255), tau=[[0, 0], [50, 1], [90, 2]])
    attack = build_attack(config)
    told = attack.describe()
    assert (attack.name, told["tau"]) == ("FriendlyPGD-10", "0 from epoch 0, 1 from epoch 50, 2 from epoch 90")
    assert [attack.tau(epoch) for epoch in (49, 50, 89, 90)] == [0, 1, 1, 2]
    assert told["omega"] == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(tau=-1), "tau is a number >= 0"),
        (dict(tau=[(1, 0)]), "rising from epoch 0"),
        (dict(tau=[(0, 0), (5, 1), (5, 2)]), "rising from epoch 0"),
        (dict(tau=[(0, 0), (5, 1), (3, 2)]), "rising from epoch 0"),
        (dict(tau=[]), "rising from epoch 0"),
        (dict(tau="late"), "tau is a number"),
        (dict(tau=[0, 1]), "pairs"),
        (dict(tau=0.5), "whole"),
        (dict(omega=-0.1), "omega"),
        (dict(omega=float("nan")), "omega"),
        (dict(restarts=2), "leave out restarts"),
        (dict(milestones=(4, 8)), "leave out restarts"),
        (dict(steps=0), "steps >= 1"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        FriendlyPGD(Linf(EPS), **settings)
    assert "\n" not in str(error.value)


def test_a_task_without_right_and_wrong_images_is_refused(trained: TinyCNNTask) -> None:
    task = copy.deepcopy(trained)
    task.per_image_success = False
    with pytest.raises(ConfigError, match="use PGD"):
        friendly()(task, images())
