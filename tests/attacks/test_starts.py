from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from natx.attacks import FGSM, PGD, Attack, WorstOf, build_attack
from natx.attacks.copies import Copies
from natx.errors import ConfigError
from natx.methods import AWP, Adversarial
from natx.registry import METHODS
from natx.runtime.rng import normal
from natx.testing import LinearTask, TinyCNNTask, TinyDataset
from natx.threat import L2, Linf
from natx.training.learner import Learner

EPS = 8 / 255


def images(count: int = 6) -> dict[str, Tensor]:
    return TinyDataset(count).__getitems__(range(count))


# -------------------------------------------------------------------------------------------------- normal numbers


def test_normal_numbers_have_the_normal_distribution() -> None:
    draw = normal(torch.arange(100), (3, 32, 32), seed=11).double().flatten()
    n = draw.numel()
    assert abs(float(draw.mean())) < 5 / math.sqrt(n)
    assert abs(float(draw.var()) - 1) < 5 * math.sqrt(2 / n)
    assert abs(float((draw**3).mean())) < 5 * math.sqrt(15 / n)
    assert abs(float((draw**4).mean()) - 3) < 5 * math.sqrt(96 / n)
    # Equally likely bins of the normal distribution.
    edges = torch.special.ndtri(torch.arange(1, 64, dtype=torch.float64) / 64)
    counts = torch.bincount(torch.bucketize(draw, edges), minlength=64)
    assert float(((counts - n / 64) ** 2 / (n / 64)).sum()) < 63 + 5 * math.sqrt(2 * 63)
    assert 4 < float(draw.abs().max()) < 5.8
    neighbours = (draw[1:] * draw[:-1]).mean()
    assert abs(float(neighbours)) < 5 / math.sqrt(n)


def test_normal_numbers_are_keyed_by_image() -> None:
    state = torch.get_rng_state()
    whole = normal(torch.arange(50), (3, 4, 4), seed=3, epoch=2)
    chosen = torch.tensor([41, 3, 3, 17])
    assert torch.equal(normal(chosen, (3, 4, 4), seed=3, epoch=2), whole[chosen])
    assert whole.shape == (50, 3, 4, 4) and whole.dtype == torch.float32
    for change in ({"seed": 4}, {"epoch": 1}, {"stream": 1}):
        other = normal(torch.arange(50), (3, 4, 4), **{"seed": 3, "epoch": 2, **change})
        pair = torch.stack([whole.flatten(), other.flatten()])
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 5 / math.sqrt(whole.numel())
    assert torch.equal(torch.get_rng_state(), state)


# -------------------------------------------------------------------------------------------------- uniform starts


def test_how_far_an_l2_start_lies_says_nothing_of_its_direction() -> None:
    count, task = 3000, LinearTask(torch.ones(3, 3, dtype=torch.float64))
    batch = {
        "inputs": torch.full((count, 3, 1, 1), 0.5, dtype=torch.float64),
        "data_samples": torch.zeros(count, dtype=torch.int64),
        "index": torch.arange(count),
    }
    delta = (PGD(L2(0.3), 1, step_size=0.0)(task, batch) - 0.5).flatten(1)
    lengths = delta.norm(dim=1)
    for component in (delta / lengths[:, None]).unbind(1):
        assert abs(float(torch.corrcoef(torch.stack([lengths, component]))[0, 1])) < 5 / math.sqrt(count)


@pytest.mark.parametrize("random_start", [True, "normal"])
def test_each_restart_begins_elsewhere(random_start: Any) -> None:
    attack = PGD(Linf(EPS), 1, restarts=2, random_start=random_start)
    victim = attack.bind(TinyCNNTask(), images())
    first, second = (attack.start(victim, epoch=0, restart=restart) for restart in (0, 1))
    assert not (first == second).flatten(1).all(1).any()
    wide = PGD(Linf(EPS), 1, random_start=random_start, start_std=0.5)
    victim.ball.verify(wide.start(victim, epoch=0, restart=0))  # a gradient is taken there


# --------------------------------------------------------------------------------------------------- normal starts


def start(x: Tensor, *, std: float, threat: Any = None, mask: Tensor | None = None, epoch: int = 0) -> Tensor:
    """Where an attack begins: a PGD step of length zero stays there."""

    class Masked(LinearTask):
        def perturbable(self, batch: Any) -> Tensor | None:
            return mask

    task = Masked(torch.ones(3, x[0].numel(), dtype=x.dtype))
    batch = {"inputs": x, "data_samples": torch.zeros(len(x), dtype=torch.int64), "index": torch.arange(len(x))}
    attack = PGD(threat or Linf(EPS), 1, step_size=0.0, random_start="normal", start_std=std, seed=3)
    return attack(task, batch, epoch=epoch)


@pytest.mark.parametrize("threat", [Linf(0.1), L2(10.0)], ids=str)
def test_a_normal_start_is_the_image_plus_small_normal_noise(threat: Any) -> None:
    x = torch.full((40, 3, 6, 6), 0.5, dtype=torch.float64)
    noise = start(x, std=0.001, threat=threat) - x
    assert float(noise.std()) == pytest.approx(0.001, rel=0.05)
    assert abs(float(noise.mean())) < 5 * 0.001 / math.sqrt(noise.numel())
    torch.testing.assert_close(start(x, std=0.002, threat=threat) - x, 2 * noise, rtol=1e-6, atol=1e-12)
    assert torch.equal(start(x, std=0.001, threat=threat), x + noise)
    assert not torch.equal(start(x, std=0.001, threat=threat, epoch=1), x + noise)


@pytest.mark.parametrize("threat", [Linf(0.02), L2(0.5)], ids=str)
def test_a_normal_start_stays_inside_the_ball_the_pixels_and_the_mask(threat: Any) -> None:
    x = torch.rand(10, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[0], x[1] = 0, 1
    mask = torch.ones(10, 1, 6, 6)
    mask[:, :, 4:] = 0
    x_adv = start(x, std=0.5, threat=threat, mask=mask)  # the attack verifies ball, pixels and mask
    assert (x_adv != x)[:, :, :4].any() and torch.equal(x_adv[:, :, 4:], x[:, :, 4:])


def test_the_description_names_the_noise_only_where_there_is_some() -> None:
    assert PGD(Linf(EPS)).describe()["random_start"] is True
    assert "start_std" not in PGD(Linf(EPS)).describe()
    settings = PGD(Linf(EPS), random_start="normal").describe()
    assert (settings["random_start"], settings["start_std"]) == ("normal", 0.001)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(random_start="gaussian"), "True, False or 'normal'; got 'gaussian'"),
        (dict(random_start="normal", start_std=0.0), "start_std"),
        (dict(objective=dict(type="KL"), random_start=False), "no gradient at the clean image.*'normal'"),
    ],
)
def test_wrong_starts_are_refused_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        PGD(Linf(EPS), **settings)
    assert "\n" not in str(error.value)


# --------------------------------------------------------------------------------------------------- eps warm-up


STEPS = dict(type="PGD", steps=3, step_size=2 / 255)
ATTACKS: dict[str, Callable[[], Attack]] = {
    "PGD": lambda: build_attack(STEPS, threat=Linf(EPS)),
    "PGD L2": lambda: build_attack({**STEPS, "step_size": 0.2}, threat=L2(0.5)),
    "FGSM": lambda: FGSM(Linf(EPS)),
    "WorstOf": lambda: WorstOf(Linf(EPS), [STEPS, dict(STEPS, steps=2)], objective=dict(type="CrossEntropy")),
}


def by_hand(name: str, factor: float) -> Attack:
    """The attack with smaller numbers in its settings."""
    if name == "FGSM":
        return FGSM(Linf(EPS * factor))
    if name == "PGD L2":
        return build_attack({**STEPS, "step_size": 0.2 * factor}, threat=L2(0.5 * factor))
    steps = {**STEPS, "step_size": 2 / 255 * factor}
    if name == "PGD":
        return build_attack(steps, threat=Linf(EPS * factor))
    return WorstOf(Linf(EPS * factor), [steps, dict(steps, steps=2)], objective=dict(type="CrossEntropy"))


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "inside AWP"])
@pytest.mark.parametrize("name", ATTACKS)
def test_eps_and_step_size_grow_linearly(name: str, wrapped: bool) -> None:
    attack, task = ATTACKS[name](), TinyCNNTask(double=True).eval()
    described = attack.describe()
    method = Adversarial(attack, eps_warmup=3)
    method = AWP(method) if wrapped else method
    for epoch, factor in enumerate((1 / 4, 2 / 4, 3 / 4, 1, 1)):
        (x_adv,) = method.make_views(task, images(), epoch=epoch)
        assert torch.equal(x_adv, by_hand(name, factor)(task, images(), epoch=epoch))
    assert attack.describe() == described
    assert method.cost() == (AWP(Adversarial(attack)) if wrapped else Adversarial(attack)).cost()


def test_no_warmup_is_the_attack_itself() -> None:
    task, attack = TinyCNNTask().eval(), ATTACKS["PGD"]()
    (x_adv,) = Adversarial(attack, eps_warmup=0).make_views(task, images(), epoch=0)
    assert torch.equal(x_adv, attack(task, images(), epoch=0))


def test_the_learner_passes_the_epoch_on() -> None:
    inner = dict(STEPS, threat=dict(type="Linf", eps=EPS))
    losses = []
    for epoch, warmup in ((0, 0), (0, 9), (9, 9), (9, 0)):
        method = METHODS.build(dict(type="Adversarial", attack=inner, eps_warmup=warmup))
        learner = Learner(TinyCNNTask(dropout=0.0), method).train()
        learner.epoch = epoch
        losses.append(learner(**images(), mode="loss")["loss_ce"].detach())
    assert losses[1] < losses[0] - 0.01  # a tenth of the eps
    assert torch.equal(losses[2], losses[3])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adversarial(ATTACKS["PGD"](), eps_warmup=-1), "eps_warmup is a number of epochs, 0 for none; got -1"),
        (lambda: Adversarial(ATTACKS["PGD"](), eps_warmup=2.5), "got 2.5"),
        (lambda: Adversarial(ATTACKS["PGD"](), eps_warmup=True), "got True"),
        (lambda: Adversarial(Copies(Linf(EPS)), eps_warmup=2), "Copies cannot be scaled: eps_warmup"),
    ],
)
def test_bad_warmups_are_refused_in_one_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------- the worst of several


def test_the_attacks_of_worst_of_begin_at_the_same_point() -> None:
    """As MTD's two steps do; another seed moves all of them."""
    starts: list[Tensor] = []

    class Noting(PGD):
        def start(self, victim: Any, *, epoch: int, restart: int) -> Tensor:
            starts.append(super().start(victim, epoch=epoch, restart=restart).clone())
            return starts[-1].clone()

    def worst(seed: int) -> WorstOf:
        several = [Noting(Linf(EPS), 1), Noting(Linf(EPS), 2, objective=dict(type="Margin"))]
        return WorstOf(Linf(EPS), several, objective=dict(type="CrossEntropy"), seed=seed)

    batch = TinyDataset(3).__getitems__(range(3))
    for seed in (0, 0, 1):
        worst(seed)(TinyCNNTask().eval(), batch)
    assert len(starts) == 6 and all(torch.equal(starts[0], start) for start in starts[:4])
    assert torch.equal(starts[4], starts[5]) and not torch.equal(starts[0], starts[4])
