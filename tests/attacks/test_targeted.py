"""Targeted attacks: their objectives against closed forms, the attack on linear nets against its corners."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from natx.attacks import PGD, Attack, Targeted, build_attack
from natx.errors import ConfigError
from natx.objectives import TARGET
from natx.registry import OBJECTIVES
from natx.task import Output
from natx.testing import LinearTask, TinyCNNTask, TinyDataset
from natx.threat import Linf

EPS = 0.1
INNER = dict(type="PGD", steps=6, step_size=EPS / 2, random_start=False, objective=dict(type="TargetedMargin"))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def output(logits: Tensor, labels: Tensor, *, rows: object = None) -> Output:
    n = len(logits)
    return Output({}, logits, labels, torch.arange(n), torch.full((n,), 1 / n), n, rows=rows)


def dlr(z: list[float], y: int, t: int) -> float:
    order = sorted(z, reverse=True)
    return (z[t] - z[y]) / (order[0] - (order[2] + order[3]) / 2 + 1e-12)


FORMULAS = {
    "TargetedCrossEntropy": lambda z, y, t: z[t] - math.log(sum(math.exp(v) for v in z)),
    "TargetedMargin": lambda z, y, t: z[t] - z[y],
    "TargetedDLR": dlr,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_objectives_are_their_formulas(name: str) -> None:
    logits, labels, targets = 3 * draw(10, 5), torch.arange(10) % 5, (torch.arange(10) * 3 + 1) % 5
    targets[targets == labels] = (targets[targets == labels] + 1) % 5
    scores = OBJECTIVES.build(dict(type=name))(output(logits, labels), {TARGET: targets}, x=logits)
    expected = [FORMULAS[name](z, y, t) for z, y, t in zip(logits.tolist(), labels.tolist(), targets.tolist())]
    assert scores.tolist() == pytest.approx(expected, rel=1e-10)


def scene(classes: int = 4, count: int = 6) -> tuple[Tensor, LinearTask, dict[str, Tensor]]:
    """A linear net that is right about every image, in the middle of [0,1]."""
    weight = draw(classes, 12, seed=1)
    x = 0.3 + 0.4 * torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    labels = (x.flatten(1) @ weight.T).argmax(1)
    return weight, LinearTask(weight), {"inputs": x, "data_samples": labels, "index": torch.arange(count)}


def corner(weight: Tensor, x: Tensor, label: int, target: int, eps: float = EPS) -> Tensor:
    return x + eps * (weight[target] - weight[label]).sign().view_as(x)


def margin(weight: Tensor, x: Tensor, label: int) -> float:
    z = (weight @ x.flatten()).tolist()
    return max(v for j, v in enumerate(z) if j != label) - z[label]


@pytest.mark.parametrize("targets", [1, 2, "all", 99])
def test_the_worst_of_the_likeliest_classes_is_kept(targets: int | str) -> None:
    weight, task, batch = scene()
    found = Targeted(Linf(EPS), INNER, targets=targets)(task, batch)
    count = 3 if targets in ("all", 99) else targets
    for x, y, x_adv in zip(batch["inputs"], batch["data_samples"].tolist(), found):
        z = (weight @ x.flatten()).tolist()
        likely = sorted((j for j in range(4) if j != y), key=lambda j: -z[j])[:count]
        corners = [corner(weight, x, y, t) for t in likely]
        best = max(corners, key=lambda c: margin(weight, c, y))
        torch.testing.assert_close(x_adv, best, rtol=0, atol=1e-12)


def test_aiming_at_every_class_finds_what_the_likeliest_does_not_show() -> None:
    """Of two wrong classes the second likeliest is the one within reach."""
    weight = torch.zeros(3, 12, dtype=torch.float64)
    weight[1, 0], weight[2, 1:] = 0.1, 1.0
    task = LinearTask(weight, torch.tensor([1.0, 0.5, -5.0], dtype=torch.float64))
    x = torch.full((1, 3, 2, 2), 0.45, dtype=torch.float64)
    batch = {"inputs": x, "data_samples": torch.tensor([0]), "index": torch.arange(1)}
    # z = (1, 0.545, -0.05); with eps 0.1 class 1 gets to 0.555, class 2 to 1.05.
    assert not Targeted(Linf(0.1), INNER, targets=1).judge(task, batch).broken["Targeted"].any()
    found = Targeted(Linf(0.1), INNER, targets="all").judge(task, batch)
    assert found.broken["Targeted"].all() and task.logits(found.x_adv).argmax(1).tolist() == [2]


class Counting(Attack):
    """A targeted attack that changes nothing and notes whom it is asked to attack."""

    def __init__(self, threat: Linf) -> None:
        super().__init__(threat)
        self.objective, self.seen = OBJECTIVES.build(dict(type="TargetedMargin")), []

    def run(self, victim, *, epoch: int = 0) -> Tensor:
        self.seen.append((victim.batch["index"].tolist(), victim.batch[TARGET].tolist()))
        return corner_of_batch(victim)


def corner_of_batch(victim) -> Tensor:
    weight, labels = victim.task.net[1].weight.detach(), victim.batch["data_samples"].tolist()
    rows = zip(victim.x, labels, victim.batch[TARGET].tolist())
    return torch.stack([corner(weight, x, y, t, victim.ball.threat.eps) for x, y, t in rows])


@pytest.mark.parametrize("success", ["any", "last"])
def test_broken_images_leave(success: str) -> None:
    weight, task, batch = scene(count=8)
    eps = 0.22
    batch["data_samples"][3] = (batch["data_samples"][3] + 1) % 4  # wrong without attack
    attack = Targeted(Linf(eps), Counting(Linf(eps)), targets="all")
    broken = attack.judge(task, batch, success=success).broken["Targeted"]
    expected, left = [], [i for i in range(8) if success == "last" or i != 3]
    fooled = set(range(8)) - set(left)
    order = []
    for i in range(8):
        z, y = (weight @ batch["inputs"][i].flatten()).tolist(), int(batch["data_samples"][i])
        order.append(sorted((j for j in range(4) if j != y), key=lambda j: -z[j]))
    for rank in range(3):
        if left:
            expected.append((list(left), [order[i][rank] for i in left]))
        gone = [
            i
            for i in left
            if margin(
                weight,
                corner(weight, batch["inputs"][i], int(batch["data_samples"][i]), order[i][rank], eps),
                int(batch["data_samples"][i]),
            )
            > 0
        ]
        fooled |= set(gone)
        left = [i for i in left if i not in gone]
    assert attack.attack.seen == expected
    assert broken.nonzero().squeeze(1).tolist() == sorted(fooled)
    assert len(expected) > 1 and len(expected[-1][0]) < len(expected[0][0])


def test_two_classes_leave_one_to_aim_at() -> None:
    weight, task, batch = scene(classes=2)
    found = Targeted(Linf(EPS), INNER, targets="all")(task, batch)
    untargeted = PGD(Linf(EPS), 6, step_size=EPS / 2, random_start=False, objective=dict(type="Margin"))(task, batch)
    torch.testing.assert_close(found, untargeted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(attack=dict(type="PGD")), "TargetedCrossEntropy, TargetedMargin or TargetedDLR; got CrossEntropy"),
        (dict(attack=dict(type="Square")), "got Square"),
        (dict(attack=INNER, targets=0), "number of wrong classes to aim at, or 'all'; got 0"),
        (dict(attack=INNER, targets="most"), "or 'all'; got 'most'"),
        (dict(attack={**INNER, "threat": dict(type="Linf", eps=0.5)}), "leave out its own"),
        (dict(attack={**INNER, "milestones": (3, 6)}), "leave out its milestones"),
    ],
)
def test_wrong_settings_in_one_line(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        build_attack(dict(type="Targeted", threat=dict(type="Linf", eps=EPS), **settings))
    assert "\n" not in str(error.value)


class NoClass(TinyCNNTask):
    """Has no one class per image."""

    per_image_success = False


def test_what_cannot_be_aimed_at_is_refused() -> None:
    batch = TinyDataset(4).__getitems__(range(4))
    with pytest.raises(ConfigError, match="use it as the objective of the attack inside"):
        PGD(Linf(EPS), 2, objective=dict(type="TargetedMargin"))(TinyCNNTask(), batch)
    with pytest.raises(ConfigError, match="which a NoClass has not"):
        Targeted(Linf(EPS), INNER)(NoClass(), batch)
    with pytest.raises(ConfigError, match="at least 4 classes; got 3: use TargetedMargin"):
        Targeted(Linf(EPS), {**INNER, "objective": dict(type="TargetedDLR")})(
            TinyCNNTask(3), TinyDataset(4, num_classes=3).__getitems__(range(4))
        )
    with pytest.raises(ConfigError, match="this task scores several rows"):
        objective = OBJECTIVES.build(dict(type="TargetedMargin"))
        objective(output(draw(3, 5), torch.zeros(3).long(), rows="anchors"), {TARGET: torch.ones(3).long()}, x=draw(1))


def test_eps_warm_up_scales_the_attack_inside() -> None:
    attack = Targeted(Linf(EPS), INNER).scaled(0.5)
    assert attack.threat == attack.attack.threat == Linf(EPS / 2) and attack.attack.step_size == EPS / 4
