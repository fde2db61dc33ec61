"""Cross-entropy of rescaled logits, momentum and Auto-PGD against closed forms and short references."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.attacks import PGD, AutoPGD
from natx.attacks.autopgd import checkpoints
from natx.errors import ConfigError
from natx.objectives import CrossEntropy, RescaledCrossEntropy
from natx.registry import OBJECTIVES
from natx.task import Output
from natx.testing import LinearTask, WrappedTask
from natx.threat import L2, Linf


def draw(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LOGITS, LABELS = draw(12, 5), torch.arange(12) % 5


def output(logits: Tensor, *, link: str = "softmax") -> Output:
    n = len(logits)
    return Output({}, logits, LABELS[:n], torch.arange(n), torch.full((n,), 1 / n), n, link)


def scale_of(z: Tensor, how: float | str) -> float:
    values = sorted(z.tolist(), reverse=True)
    if how == "gap":
        return values[0] - values[1]
    if how == "deviation":
        mean = sum(values) / len(values)
        return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    return how


@pytest.mark.parametrize("how", ["gap", "deviation", 10.0, 3])
def test_value_and_gradient_with_the_scale_held_fixed(how: float | str) -> None:
    objective = OBJECTIVES.build(dict(type="RescaledCrossEntropy", scale=how))
    z = LOGITS.clone().requires_grad_()
    scores = objective(output(z), {}, x=z)
    (grad,) = torch.autograd.grad(scores.sum(), z)
    scores = scores.detach()
    for i, y in enumerate(LABELS.tolist()):
        s = scale_of(LOGITS[i], how)
        p = [math.exp(v / s) for v in LOGITS[i].tolist()]
        p = [v / sum(p) for v in p]
        assert float(scores[i]) == pytest.approx(-math.log(p[y]), rel=1e-10)
        expected = [(p[j] - (j == y)) / s for j in range(5)]
        assert grad[i].tolist() == pytest.approx(expected, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("how", ["gap", "deviation"])
def test_the_size_of_the_logits_makes_no_difference(how: str) -> None:
    objective = RescaledCrossEntropy(how)
    score = objective(output(LOGITS), {}, x=LOGITS)
    torch.testing.assert_close(objective(output(1e4 * LOGITS), {}, x=LOGITS), score, rtol=1e-9, atol=1e-9)
    assert (CrossEntropy()(output(1e4 * LOGITS), {}, x=LOGITS) - score).abs().max() > 1


@pytest.mark.parametrize("how", ["gap", "deviation"])
def test_level_logits_give_finite_scores(how: str) -> None:
    z = torch.zeros(3, 5, dtype=torch.float64, requires_grad=True)
    score = RescaledCrossEntropy(how)(output(z), {}, x=z)
    (grad,) = torch.autograd.grad(score.sum(), z)
    torch.testing.assert_close(score, torch.full_like(score, math.log(5)))
    assert torch.isfinite(grad).all()


@pytest.mark.parametrize("how", ["gap", "deviation"])
def test_a_score_is_the_images_own(how: str) -> None:
    objective = RescaledCrossEntropy(how)
    whole = objective(output(LOGITS), {}, x=LOGITS)
    for i in range(12):
        alone = Output({}, LOGITS[i : i + 1], LABELS[i : i + 1], torch.zeros(1, dtype=torch.int64), torch.ones(1), 1)
        torch.testing.assert_close(objective(alone, {}, x=LOGITS), whole[i : i + 1], rtol=1e-12, atol=0)


def test_an_attack_comes_through_saturated_logits() -> None:
    """A linear net times 1e4: in float32 cross-entropy has no gradient at all, rescaled it has the right one."""
    weight = draw(4, 12, seed=1).float()
    x = torch.full((4, 3, 2, 2), 0.5) + 0.1 * draw(4, 3, 2, 2, seed=2).float().clamp(-1, 1)
    labels = (x.flatten(1) @ weight.T).argmax(1)
    batch = {"inputs": x, "data_samples": labels, "index": torch.arange(4)}
    task = LinearTask(1e4 * weight)
    settings = dict(step_size=0.01, random_start=False)
    assert torch.equal(PGD(Linf(0.05), 1, **settings)(task, batch), x)
    moved = PGD(Linf(0.05), 1, objective=dict(type="RescaledCrossEntropy"), **settings)(task, batch)
    z = x.flatten(1) @ weight.T
    gap = z.topk(2, dim=1).values.diff(dim=1).abs()
    grad = (F.softmax(z / gap, dim=1) - F.one_hot(labels, 4)) @ weight
    torch.testing.assert_close(moved, x + 0.01 * grad.sign().view_as(x))


@pytest.mark.parametrize("scale", ["mean", 0, -1.0, math.inf, math.nan, True, None])
def test_wrong_scales(scale: object) -> None:
    with pytest.raises(ConfigError, match="scale is 'gap', 'deviation' or a number above 0; got") as error:
        RescaledCrossEntropy(scale)
    assert "\n" not in str(error.value)


def test_sigmoid_heads_are_refused() -> None:
    with pytest.raises(ConfigError, match="'sigmoid' head"):
        RescaledCrossEntropy()(output(LOGITS, link="sigmoid"), {}, x=LOGITS)


# ------------------------------------------------------------------------------------- momentum and Auto-PGD


class Curved(nn.Module):
    """Two classes; the difference of their logits is a smooth function with many hills."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(draw(6, 12, seed=3))

    def value(self, x: Tensor) -> Tensor:
        return torch.sin(2.5 * x.flatten(1) @ self.weight.T).sum(1)

    def forward(self, x: Tensor) -> Tensor:
        value = self.value(x)
        return torch.stack([-value / 2 + 100, value / 2], 1)  # never broken: the score decides


def hills() -> tuple[Curved, WrappedTask, dict[str, Tensor]]:
    net = Curved()
    x = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return net, WrappedTask(net, 2), {"inputs": x, "data_samples": torch.zeros(5).long(), "index": torch.arange(5)}


def slope(net: Curved, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    value = net.value(x)
    return torch.autograd.grad(value.sum(), x)[0], value.detach()


def boxed(x: Tensor, around: Tensor, eps: float) -> Tensor:
    return torch.minimum(torch.maximum(x, around - eps), around + eps).clamp(0, 1)


@pytest.mark.parametrize("decay", [1.0, 0.6])
def test_momentum_sums_gradients_of_unit_l1_norm(decay: float) -> None:
    net, task, batch = hills()
    attack = PGD(Linf(0.2), 7, step_size=0.05, random_start=False, momentum=decay, objective=dict(type="Margin"))
    expected = []
    for x in batch["inputs"].split(1):
        current, total = x.clone(), torch.zeros_like(x)
        for _ in range(7):
            grad, _ = slope(net, current)
            total = decay * total + grad / grad.abs().sum()
            current = boxed(current + 0.05 * total.sign(), x, 0.2)
        expected.append(current)
    torch.testing.assert_close(attack(task, batch), torch.cat(expected), rtol=0, atol=1e-12)
    plain = PGD(Linf(0.2), 7, step_size=0.05, random_start=False, objective=dict(type="Margin"))
    assert not torch.equal(plain(task, batch), torch.cat(expected))


def test_checkpoints_of_a_hundred_steps_are_those_of_the_paper() -> None:
    # p: 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(10) == [3, 5, 6, 7, 8, 9, 10]


def auto_pgd(net: Curved, x: Tensor, *, eps: float, steps: int, norm: str) -> tuple[Tensor, int]:
    """Algorithm 1 of Croce & Hein 2020 for one image, from the image itself; also how often the step was halved."""

    def move(point: Tensor, direction: Tensor, size: float) -> Tensor:
        unit = direction.sign() if norm == "Linf" else direction / direction.norm()
        return project(point + size * unit)

    def project(point: Tensor) -> Tensor:
        if norm == "Linf":
            return boxed(point, x, eps)
        delta = point - x
        return (x + delta * min(1, eps / max(float(delta.norm()), 1e-12))).clamp(0, 1)

    points, values = [x], [float(slope(net, x)[1])]
    size, reached = 2 * eps, [values[0]]
    last, halved_before, halvings, at = 0, False, 0, checkpoints(steps)
    top_point, top = x, values[0]
    rises = 0
    for k in range(steps):
        if k in at:
            weak = rises < 0.75 * (k - last) or (not halved_before and top <= reached[-1])
            if weak:
                size, halvings = size / 2, halvings + 1
                points[-1], values[-1] = top_point, top
            halved_before, rises, last = weak, 0, k
            reached.append(top)
        here = points[-1]
        moved = move(here, slope(net, here)[0], size)
        if k > 0:
            moved = project(here + 0.75 * (moved - here) + 0.25 * (here - points[-2]))
        value = float(slope(net, moved)[1])
        rises += value > values[-1]
        points.append(moved)
        values.append(value)
        if value > top:
            top_point, top = moved, value
    return top_point, halvings


@pytest.mark.parametrize("threat", [Linf(0.3), L2(0.9)], ids=str)
def test_auto_pgd_follows_the_algorithm(threat: Linf | L2) -> None:
    net, task, batch = hills()
    attack = AutoPGD(threat, 40, random_start=False, objective=dict(type="Margin"))
    found = attack(task, batch)
    halvings = []
    for i, x in enumerate(batch["inputs"].split(1)):
        expected, count = auto_pgd(net, x, eps=threat.eps, steps=40, norm=threat.norm)
        halvings.append(count)
        torch.testing.assert_close(found[i : i + 1], expected, rtol=0, atol=1e-5)  # steep hills: rounding grows
    assert 0 < min(halvings) and max(halvings) < len(checkpoints(40)) + 1
    fixed = PGD(threat, 40, step_size=2 * threat.eps, random_start=False, objective=dict(type="Margin"))(task, batch)
    assert (net.value(found) >= net.value(fixed) - 1e-9).all()


def test_auto_pgd_on_a_linear_net_ends_in_the_corner() -> None:
    weight = draw(2, 12, seed=6)
    x = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    batch = {"inputs": x, "data_samples": torch.zeros(4).long(), "index": torch.arange(4)}
    corner = (x + 0.1 * (weight[1] - weight[0]).sign().view(3, 2, 2)).clamp(0, 1)
    torch.testing.assert_close(AutoPGD(Linf(0.1), 10)(LinearTask(weight), batch), corner, rtol=0, atol=1e-12)


def test_restarts_are_chosen_image_by_image() -> None:
    net, task, batch = hills()
    settings = dict(steps=3, step_size=0.02, objective=dict(type="Margin"))
    four = PGD(Linf(0.3), restarts=4, **settings)(task, batch)
    best = net.value(four)
    alone = torch.stack([net.value(PGD(Linf(0.3), restarts=k, **settings)(task, batch)) for k in (1, 2, 3)])
    assert (best >= alone.amax(0) - 1e-12).all()
    assert len({tuple((best - row).abs().lt(1e-12).tolist()) for row in alone}) > 1  # not one start for all images


def test_auto_pgd_refuses_other_norms() -> None:
    class Odd(Linf.__mro__[1]):  # type: ignore[misc]
        """A threat model of neither norm."""

    with pytest.raises(ConfigError, match="AutoPGD works under Linf and L2"):
        AutoPGD(Odd(0.1), 5)
