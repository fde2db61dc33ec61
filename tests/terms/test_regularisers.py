"""LASSO, EMR and NNR against formulas written out here, and beside other terms."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from natx.errors import ConfigError, UserError
from natx.methods import Adversarial, Standard
from natx.registry import METHODS, TERMS
from natx.task import Output
from natx.terms import EMR, LASSO, NNR, TaskLoss, View
from natx.testing import LinearTask, TinyCNNTask, TinyDataset

PGD: dict[str, Any] = {"type": "PGD", "threat": {"type": "Linf", "eps": 0.1}, "steps": 2, "step_size": 0.05}
CPU = torch.device("cpu")


def view(logits: Tensor, name: str = "adv", *, row_weight: Tensor | None = None, **changes: Any) -> View:
    n = len(logits)
    weight = logits.new_full((n,), 1 / n) if row_weight is None else row_weight
    output = Output({}, logits, torch.zeros(n, dtype=torch.int64), torch.arange(n), weight, n, **changes)
    return View(name, torch.zeros(n, 1, 1, 1), output)


def draw(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient(term: Any, logits: Tensor) -> tuple[float, Tensor]:
    z = logits.clone().requires_grad_()
    scalars = term([view(z)], {})
    (loss,) = (value for key, value in scalars.items() if "loss" in key)
    (grad,) = torch.autograd.grad(loss, z)
    return float(loss.detach()), grad


# ---------------------------------------------------------------------------------------------- entropy and norm


@pytest.mark.parametrize("sign", [1, -1])
def test_emr_is_the_mean_entropy_and_its_gradient(sign: int) -> None:
    z = draw(20, 7)
    value, grad = gradient(EMR(0.3, sign=sign), z)
    entropy, p = Categorical(logits=z).entropy(), z.softmax(1)
    assert value == pytest.approx(sign * 0.3 * float(entropy.mean()), rel=1e-12)
    # dH/dz_k = -p_k (log p_k + H)
    expected = sign * 0.3 / 20 * -p * (p.log() + entropy[:, None])
    torch.testing.assert_close(grad, expected, rtol=0, atol=1e-14)


def test_descending_emr_sharpens_and_its_printed_sign_flattens() -> None:
    for sign, change in ((1, -1), (-1, 1)):
        z = draw(10, 5)
        moved = z - 10 * gradient(EMR(1.0, sign=sign), z)[1]
        before, after = (float(Categorical(logits=x).entropy().mean()) for x in (z, moved))
        assert (after - before) * change > 0.05


def test_nnr_is_the_negative_norm_and_its_gradient() -> None:
    z = draw(20, 7, seed=1)
    value, grad = gradient(NNR(0.3), z)
    p = np.exp(z.numpy()) / np.exp(z.numpy()).sum(1, keepdims=True)
    norm = np.linalg.norm(p, axis=1, keepdims=True)
    assert value == pytest.approx(-0.3 * norm.mean(), rel=1e-12)
    # d||p||/dz_k = p_k (p_k - ||p||^2) / ||p||
    expected = -0.3 / 20 * p * (p - norm**2) / norm
    np.testing.assert_allclose(grad.numpy(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("term", "uniform", "certain"), [(EMR(1.0), np.log(4), 0.0), (NNR(1.0), -0.5, -1.0)])
def test_extremes(term: Any, uniform: float, certain: float) -> None:
    """Uniform and one-hot outputs; logits so far apart that probabilities underflow stay finite."""
    assert gradient(term, torch.zeros(3, 4))[0] == pytest.approx(uniform, rel=1e-6)
    value, grad = gradient(term, torch.tensor([[1e4, -1e4, 0.0, 3.0]]))
    assert value == pytest.approx(certain, abs=1e-6)
    assert bool(torch.isfinite(grad).all())
    value, _ = gradient(term, torch.tensor([[9.0, 0, 0, 0]], dtype=torch.bfloat16))
    exact, _ = gradient(term, torch.tensor([[9.0, 0, 0, 0]], dtype=torch.float64))
    assert value == pytest.approx(exact, abs=1e-5)  # in fp32: bf16 has three digits


@pytest.mark.parametrize("kind", [EMR, NNR])
def test_views_rows_and_names(kind: type) -> None:
    clean, adv, rows = draw(4, 5), draw(4, 5, seed=1), torch.tensor([0.5, 0.0, 0.0, 0.25], dtype=torch.float64)
    term = kind(1.0, on=("clean", "adv"))
    name = kind.__name__.lower()
    scalars = term([view(clean, "clean"), view(adv)], {})
    assert set(scalars) == {f"loss_{name}", f"{name}_clean", f"{name}_adv"}
    ones = [float(kind(1.0)([view(z)], {})[f"{name}_adv"]) for z in (clean, adv)]
    assert float(scalars[f"loss_{name}"]) == pytest.approx(sum(ones) / 2)
    assert [float(scalars[f"{name}_{v}"]) for v in ("clean", "adv")] == pytest.approx(ones)
    assert not scalars[f"{name}_adv"].requires_grad
    only = kind(1.0)([view(clean, "clean"), view(adv)], {})
    assert set(only) == {f"loss_{name}", f"{name}_adv"}
    weighted = kind(1.0)([view(adv, row_weight=rows)], {})[f"{name}_adv"]
    alone = [float(kind(1.0)([view(adv[[i]])], {})[f"{name}_adv"]) for i in (0, 3)]
    assert float(weighted) == pytest.approx(0.5 * alone[0] + 0.25 * alone[1])


# ---------------------------------------------------------------------------------------------- LASSO


@pytest.mark.parametrize("exclude", [True, False])
def test_lasso_is_the_sum_of_weights_and_pulls_each_by_its_sign(exclude: bool) -> None:
    task = TinyCNNTask(double=True)
    with torch.no_grad():
        task.net[0].weight[0, 0, 0, 0] = 0.0  # subgradient 0
        task.net[1].weight.mul_(-1)
    task.net[3].weight.requires_grad_(False)  # frozen weights do not count
    term = LASSO(1e-3, exclude_bn_bias=exclude)
    term.prepare(task, CPU)
    scalars = term([], {})
    net = task.net
    counted = [net[0].weight, net[9].weight]
    if not exclude:
        counted += [module.bias for module in (net[0], net[1], net[3], net[4], net[9])] + [net[1].weight, net[4].weight]
    total = sum(np.abs(p.detach().numpy()).sum() for p in counted)
    assert float(scalars["l1_norm"]) == pytest.approx(total, rel=1e-12)
    assert float(scalars["loss_lasso"].detach()) == pytest.approx(1e-3 * total, rel=1e-12)
    scalars["loss_lasso"].backward()
    for parameter in task.parameters():
        if any(parameter is one for one in counted):
            assert np.array_equal(parameter.grad.numpy(), 1e-3 * np.sign(parameter.detach().numpy()))
        else:
            assert parameter.grad is None
    assert float(net[0].weight.grad[0, 0, 0, 0]) == 0


def test_lasso_holds_the_task_without_owning_it() -> None:
    task = TinyCNNTask()
    method = Standard([TaskLoss(), LASSO()])
    method.prepare(task, CPU)
    assert not list(method.parameters()) and not method.state_dict()
    twin_task, twin = copy.deepcopy((task, method))
    with torch.no_grad():
        twin_task.net[0].weight.zero_()
    batch = TinyDataset(6).__getitems__(range(6))
    ours, theirs = (float(m(t, batch, epoch=0)["l1_norm"]) for m, t in ((method, task), (twin, twin_task)))
    assert ours - theirs == pytest.approx(float(task.net[0].weight.detach().abs().sum()), rel=1e-4)


def test_lasso_at_perturbed_weights_is_taken_there() -> None:
    """Adversarial weight perturbation moves the penalty's weights too, and its gradient is their sign."""
    weight = torch.tensor([[0.5, -0.25], [1.0, 0.01]], dtype=torch.float64)
    task = LinearTask(weight.clone())
    inner = {"type": "Standard", "terms": [{"type": "LASSO", "weight": 1.0}]}
    method = METHODS.build({"type": "AWP", "gamma": 0.1, "method": inner})
    method.prepare(task, CPU)
    batch = {
        "inputs": torch.zeros(1, 2, 1, 1, dtype=torch.float64),
        "data_samples": torch.tensor([0]),
        "index": torch.tensor([0]),
    }
    scalars = method(task, batch, epoch=0)
    # ascent: the gradient is sign(w), of norm 2, so each weight moves 0.1 |w| sign / 2 away from zero
    moved = weight + 0.1 * weight.norm() * weight.sign() / 2
    assert float(scalars["l1_norm"]) == pytest.approx(float(moved.abs().sum()), rel=1e-9)
    scalars["loss_lasso"].backward()
    torch.testing.assert_close(task.net[1].weight.grad, weight.sign(), rtol=0, atol=1e-12)


# ---------------------------------------------------------------------------------------------- with methods


def step(terms: list[dict[str, Any]]) -> tuple[dict[str, Tensor], list[Tensor]]:
    """One step of adversarial training with the terms: scalars, and gradients of the sum of the losses."""
    task, batch = TinyCNNTask(double=True, dropout=0.0), TinyDataset(8).__getitems__(range(8))
    method = Adversarial(PGD, terms=terms)
    method.prepare(task, CPU)
    scalars = method(task.train(), batch, epoch=0)
    sum(value for key, value in scalars.items() if "loss" in key).backward()
    return scalars, [p.grad for p in task.parameters()]


@pytest.mark.parametrize("name", ["LASSO", "EMR", "NNR"])
def test_a_weight_of_zero_is_adversarial_training(name: str) -> None:
    plain, grads = step([{"type": "TaskLoss"}])
    scalars, with_zero = step([{"type": "TaskLoss"}, {"type": name, "weight": 0.0}])
    assert float(scalars[f"loss_{name.lower()}"].detach()) == 0
    assert torch.equal(plain["loss_ce"], scalars["loss_ce"])
    assert all(torch.equal(a, b) for a, b in zip(grads, with_zero))


@pytest.mark.parametrize("name", ["LASSO", "EMR", "NNR"])
def test_losses_add_up(name: str) -> None:
    _, plain = step([{"type": "TaskLoss"}])
    _, alone = step([{"type": name, "weight": 0.5}])
    _, both = step([{"type": "TaskLoss"}, {"type": name, "weight": 0.5}])
    assert any(float(g.abs().max()) > 1e-4 for g in alone if g is not None)
    for a, b, c in zip(plain, alone, both):
        torch.testing.assert_close(c, a if b is None else a + b, rtol=0, atol=1e-10)


def test_they_cost_no_forward() -> None:
    terms = [{"type": name} for name in ("TaskLoss", "LASSO", "EMR", "NNR")]
    assert Adversarial(PGD, terms=terms).cost() == (3, 3)
    described = [term.describe() for term in Adversarial(PGD, terms=terms).terms]
    assert [d.get("weight") for d in described] == [None, 1e-4, 1e-3, 1e-3]


# ---------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", ["LASSO", "EMR", "NNR"])
@pytest.mark.parametrize("weight", [-1e-9, float("nan"), float("inf"), "much", None])
def test_bad_weights(name: str, weight: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        TERMS.build({"type": name, "weight": weight})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"on": ()}, "on names"),
        ({"on": "adv"}, "on names"),
        ({"on": ("dirty",)}, "on names"),
        ({"sign": 0}, "sign is 1"),
        ({"sing": 1}, "sing"),
    ],
)
def test_bad_settings(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        TERMS.build({"type": "EMR", **settings})


@pytest.mark.parametrize("kind", [EMR, NNR])
def test_what_does_not_fit_is_one_line(kind: type) -> None:
    task = TinyCNNTask()
    with pytest.raises(UserError, match=r"needs the view 'adv'"):
        Standard([TaskLoss(), kind()]).prepare(task, CPU)
    with pytest.raises(UserError, match=r"one softmax a row; got a 'sigmoid'"):
        kind()([view(draw(2, 3), link="sigmoid")], {})
    Standard([TaskLoss(), kind(on=("clean",))]).prepare(task, CPU)


def test_lasso_without_weights_is_refused() -> None:
    with pytest.raises(UserError, match="no weights"):
        LASSO().prepare(TinyCNNTask().requires_grad_(False), CPU)
