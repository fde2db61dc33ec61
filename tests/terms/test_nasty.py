from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, kl_divergence

from natx.errors import ConfigError
from natx.models.adversary import Adversary
from natx.registry import TERMS
from natx.task import Output
from natx.terms import NastyKL, View, nasty_divergence
from natx.terms.nasty import divergence_gradient
from natx.testing import LinearTask, TinyCNNTask, TinyDataset


def draw(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TARGET, OTHER = draw(20, 6), draw(20, 6, seed=1)


def reference(target: Tensor, other: Tensor, tau: float) -> Tensor:
    return kl_divergence(Categorical(logits=target / tau), Categorical(logits=other / tau))


# ---------------------------------------------------------------------------------------------- the divergence


@pytest.mark.parametrize("tau", [1.0, 4.0, 20.0])
@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_value_against_torch_distributions(tau: float, link: str) -> None:
    value = nasty_divergence(TARGET, OTHER, temperature=tau, link=link)
    if link == "softmax":
        expected = reference(TARGET, OTHER, tau)
    else:
        expected = kl_divergence(Bernoulli(logits=TARGET / tau), Bernoulli(logits=OTHER / tau)).sum(1)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    assert value.min() > 0


def test_direction_swaps_the_arguments() -> None:
    swapped = nasty_divergence(TARGET, OTHER, temperature=4.0, direction="adversary_target")
    torch.testing.assert_close(swapped, reference(OTHER, TARGET, 4.0), rtol=1e-10, atol=1e-12)
    assert not torch.allclose(swapped, reference(TARGET, OTHER, 4.0))


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
@pytest.mark.parametrize("direction", ["target_adversary", "adversary_target"])
def test_zero_with_zero_gradient_where_target_is_the_adversary(link: str, direction: str) -> None:
    z = TARGET.clone().requires_grad_()
    value = nasty_divergence(z, TARGET, temperature=4.0, direction=direction, link=link)
    (grad,) = torch.autograd.grad(value.sum(), z)
    assert value.abs().max() < 1e-14 and grad.abs().max() < 1e-14


@pytest.mark.parametrize("tau", [1.0, 4.0, 20.0])
def test_gradient_against_the_closed_form(tau: float) -> None:
    z = TARGET.clone().requires_grad_()
    p, q = (TARGET / tau).softmax(1), (OTHER / tau).softmax(1)

    (grad,) = torch.autograd.grad(nasty_divergence(z, OTHER, temperature=tau).sum(), z)
    log_ratio = (p / q).log()
    kl = (p * log_ratio).sum(1, keepdim=True)
    torch.testing.assert_close(grad, p * (log_ratio - kl) / tau, rtol=1e-9, atol=1e-12)

    reverse = nasty_divergence(z, OTHER, temperature=tau, direction="adversary_target")
    (grad,) = torch.autograd.grad(reverse.sum(), z)
    torch.testing.assert_close(grad, (p - q) / tau, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("tau", [1.0, 4.0, 20.0])
@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
@pytest.mark.parametrize("direction", ["target_adversary", "adversary_target"])
def test_the_written_gradient_is_autograds(tau: float, link: str, direction: str) -> None:
    z = TARGET.clone().requires_grad_()
    how = {"temperature": tau, "link": link, "direction": direction}
    (expected,) = torch.autograd.grad(nasty_divergence(z, OTHER, **how).sum(), z)
    torch.testing.assert_close(divergence_gradient(z, OTHER, **how), expected, rtol=1e-8, atol=1e-12)


def test_sigmoid_gradient_against_the_closed_form() -> None:
    tau, z = 4.0, TARGET.clone().requires_grad_()
    (grad,) = torch.autograd.grad(nasty_divergence(z, OTHER, temperature=tau, link="sigmoid").sum(), z)
    p = (TARGET / tau).sigmoid()
    torch.testing.assert_close(grad, p * (1 - p) * (TARGET - OTHER) / tau**2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
@pytest.mark.parametrize("direction", ["target_adversary", "adversary_target"])
@pytest.mark.parametrize("which", ["target", "adversary", "both", "same"])
def test_finite_on_extreme_logits(dtype: torch.dtype, link: str, direction: str, which: str) -> None:
    extreme = 1e4 * torch.tensor([[1.0, -1.0, 0.0], [-1.0, -1.0, 1.0], [1.0, 1.0, 1.0]], dtype=dtype)
    usual = torch.tensor([[0.3, -1.0, 2.0]] * 3, dtype=dtype)
    target = (usual if which == "adversary" else extreme).clone().requires_grad_()
    other = {"target": usual, "adversary": extreme, "both": -extreme, "same": extreme}[which]
    value = nasty_divergence(target, other, temperature=4.0, direction=direction, link=link)
    (grad,) = torch.autograd.grad(value.sum(), target)
    assert torch.isfinite(value).all() and torch.isfinite(grad).all()
    assert (value >= 0).all()
    assert which != "same" or (value == 0).all()


def test_value_on_extreme_logits_is_exact() -> None:
    # p_t is one-hot on class 0, to which the adversary gives log-probability -2e4/4: KL = 5000.
    value = nasty_divergence(torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]]), temperature=4.0)
    torch.testing.assert_close(value, torch.tensor([5000.0]))


def test_bounded_by_the_adversarys_least_likely_class() -> None:
    for tau in (1.0, 4.0):
        bound = -(OTHER / tau).log_softmax(1).min(1).values
        for scale in (1.0, 1e2, 1e6):
            assert (nasty_divergence(scale * TARGET, OTHER, temperature=tau) <= bound + 1e-9).all()
        one_hot = 1e9 * torch.nn.functional.one_hot(OTHER.argmin(1), 6).double()
        torch.testing.assert_close(nasty_divergence(one_hot, OTHER, temperature=tau), bound)  # and reaches it
    assert nasty_divergence(1e6 * TARGET, OTHER, temperature=1.0, direction="adversary_target").max() > 1e5


def test_high_temperature_limit_is_half_the_variance_of_the_logit_difference() -> None:
    limit = 0.5 * (TARGET - OTHER).var(dim=1, unbiased=False)
    errors = [
        (tau**2 * nasty_divergence(TARGET, OTHER, temperature=tau) - limit).abs().max() for tau in (1e2, 1e3, 1e4)
    ]
    assert errors[2] < 1e-2 and errors[1] < 0.2 * errors[0] and errors[2] < 0.2 * errors[1]


def test_computed_in_full_precision_from_half_precision_logits() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        value = nasty_divergence(TARGET.to(dtype), OTHER.to(dtype), temperature=4.0)
        assert value.dtype == torch.float32
        expected = reference(TARGET.to(dtype).double(), OTHER.to(dtype).double(), 4.0)
        torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------------------------------------- the term


def view(name: str, x: Tensor, logits: Tensor, *, weight: Tensor | None = None, link: str = "softmax") -> View:
    n = len(logits)
    weight = torch.full((n,), 1 / n, dtype=logits.dtype) if weight is None else weight
    labels = torch.zeros(n, dtype=torch.int64)
    return View(name, x, Output({}, logits, labels, torch.arange(n), weight, n, link))


def scene(n: int = 5) -> tuple[LinearTask, Tensor, Tensor, dict[str, Tensor]]:
    """An adversary, the pixels of a clean and an adversarial view, and their batch."""
    generator = torch.Generator().manual_seed(2)
    adversary = LinearTask(draw(6, 12, seed=3), draw(6, seed=4))
    clean, adv = (torch.rand(n, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    return adversary, clean, adv, {"inputs": clean, "data_samples": torch.zeros(n).long(), "index": torch.arange(n)}


def linear(task: LinearTask, x: Tensor) -> Tensor:
    return x.flatten(1) @ task.net[1].weight.detach().T + task.net[1].bias.detach()


@pytest.mark.parametrize("scale_by_t2", [True, False])
@pytest.mark.parametrize("on", [("clean", "adv"), ("clean",), ("adv",)])
def test_loss_is_minus_weight_times_the_mean_over_views_and_images(on: tuple[str, ...], scale_by_t2: bool) -> None:
    adversary, clean, adv, batch = scene()
    term = NastyKL(Adversary([adversary]), 0.06, temperature=4.0, scale_by_t2=scale_by_t2, on=on)
    logits = {"clean": draw(5, 6, seed=5).requires_grad_(), "adv": draw(5, 6, seed=6).requires_grad_()}
    pixels = {"clean": clean, "adv": adv}
    scalars = term([view(name, pixels[name], logits[name]) for name in ("clean", "adv")], batch)

    kl = {name: reference(logits[name].detach(), linear(adversary, pixels[name]), 4.0).mean() for name in on}
    weight = 0.96 if scale_by_t2 else 0.06
    torch.testing.assert_close(scalars["loss_nasty"].item(), -weight * sum(kl.values()).item() / len(on))
    assert set(scalars) == {"loss_nasty", "nasty_weight", "nasty_share", *(f"kl_{name}" for name in on)}
    for name in on:
        torch.testing.assert_close(scalars[f"kl_{name}"], kl[name])
        assert not scalars[f"kl_{name}"].requires_grad
    assert math.isclose(float(scalars["nasty_weight"]), weight) and math.isclose(term.effective_weight, weight)

    grads = torch.autograd.grad(scalars["loss_nasty"], list(logits.values()), allow_unused=True)
    for (name, z), grad in zip(logits.items(), grads):
        if name not in on:
            assert grad is None
            continue
        p = (z.detach() / 4).softmax(1)
        ratio = (p / (linear(adversary, pixels[name]) / 4).softmax(1)).log()
        closed = p * (ratio - (p * ratio).sum(1, keepdim=True)) / 4
        torch.testing.assert_close(grad, -weight * closed / (5 * len(on)))


def test_missing_views_do_not_dilute_the_mean() -> None:
    adversary, clean, _, batch = scene()
    views = [view("clean", clean, draw(5, 6, seed=5))]
    both = NastyKL(Adversary([adversary]))(views, batch)
    only = NastyKL(Adversary([adversary]), on=("clean",))(views, batch)
    torch.testing.assert_close(both["loss_nasty"], only["loss_nasty"])


def test_rows_are_weighted_as_the_classification_loss_weights_them() -> None:
    adversary, clean, _, batch = scene()
    weight, logits = torch.tensor([0.5, 0.0, 0.25, 0.0, 0.0], dtype=torch.float64), draw(5, 6, seed=5)
    scalars = NastyKL(Adversary([adversary]))([view("clean", clean, logits, weight=weight)], batch)
    expected = (weight * reference(logits, linear(adversary, clean), 4.0)).sum()
    torch.testing.assert_close(scalars["kl_clean"], expected)


def test_sigmoid_heads_use_bernoulli_divergences() -> None:
    adversary, clean, _, batch = scene()
    logits = draw(5, 6, seed=5)
    scalars = NastyKL(Adversary([adversary]))([view("clean", clean, logits, link="sigmoid")], batch)
    other = Bernoulli(logits=linear(adversary, clean) / 4)
    torch.testing.assert_close(scalars["kl_clean"], kl_divergence(Bernoulli(logits=logits / 4), other).sum(1).mean())


@pytest.mark.parametrize("direction", ["target_adversary", "adversary_target"])
def test_cap_bounds_each_row_and_stops_its_gradient(direction: str) -> None:
    adversary, clean, _, batch = scene()
    logits = draw(5, 6, seed=5).requires_grad_()
    pair = (logits.detach(), linear(adversary, clean))
    rows = reference(*(pair if direction == "target_adversary" else pair[::-1]), 4.0)
    cap = float(rows.sort().values[2])  # two rows lie above
    term = NastyKL(Adversary([adversary]), cap=cap + 1e-6, direction=direction)
    scalars = term([view("clean", clean, logits)], batch)
    torch.testing.assert_close(scalars["kl_clean"], rows.clamp(max=cap + 1e-6).mean())
    (grad,) = torch.autograd.grad(scalars["loss_nasty"], logits)
    assert torch.equal((grad != 0).any(1), rows <= cap)


def test_an_ensemble_is_the_mean_of_logits() -> None:
    first, clean, adv, batch = scene()
    second = LinearTask(draw(6, 12, seed=8), draw(6, seed=9))
    logits = draw(5, 6, seed=5)
    scalars = NastyKL(Adversary([first, second]))([view("adv", adv, logits)], batch)
    mean = (linear(first, adv) + linear(second, adv)) / 2
    torch.testing.assert_close(scalars["kl_adv"], reference(logits, mean, 4.0).mean())


# ----------------------------------------------------------------------------------- the adversary stays as it is


def test_adversary_gets_no_gradient_and_its_batch_norm_never_moves() -> None:
    adversary, target = TinyCNNTask(seed=1).train(), TinyCNNTask(seed=2)
    term = NastyKL(Adversary([adversary]), 0.5)
    before = copy.deepcopy(adversary.state_dict())
    batch = TinyDataset(8).__getitems__(range(8))
    pixels = [target.pixels(batch), 1 - target.pixels(batch)]
    for _ in range(2):
        term.train()
        term.requires_grad_(True)
        views = [View(n, x, target.read(target.network(x, batch), batch)) for n, x in zip(("clean", "adv"), pixels)]
        loss = term(views, batch)["loss_nasty"]
        loss.backward()
    assert target.net[0].weight.grad.abs().sum() > 0
    for p in adversary.parameters():
        assert p.grad is None and not p.requires_grad
    assert not any(m.training for m in adversary.modules())
    for key, value in adversary.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_adversary_is_invisible_to_state_dict_parameters_and_modules() -> None:
    term = NastyKL(Adversary([TinyCNNTask(seed=1)]))
    assert term.state_dict() == {} and not list(term.parameters()) and not list(term.buffers())
    assert list(term.modules()) == [term]


def test_views_do_not_influence_each_other_through_the_adversary() -> None:
    adversary = TinyCNNTask(seed=1, double=True)
    batch = TinyDataset(6).__getitems__(range(6))
    clean = batch["inputs"].double()
    views = [view("clean", clean, draw(6, 5, seed=5)), view("adv", 1 - clean, draw(6, 5, seed=6))]
    term = NastyKL(Adversary([adversary]))
    together = term(views, batch)
    for one in views:
        torch.testing.assert_close(term([one], batch)[f"kl_{one.name}"], together[f"kl_{one.name}"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(direction="both"), "direction"),
        (dict(direction="adversary_target"), "unbounded"),
        (dict(temperature=0.0), "temperature > 0"),
        (dict(weight=-0.1), "weight >= 0"),
        (dict(on=()), "views"),
        (dict(on=("natural",)), "natural"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        NastyKL(Adversary([TinyCNNTask()]), **settings)
    assert "\n" not in str(error.value)


def test_misfits_are_found_before_training() -> None:
    term = NastyKL(Adversary([TinyCNNTask(4)]))
    with pytest.raises(ConfigError, match=r"4 classes.* 5"):
        term.prepare(TinyCNNTask(5), torch.device("cpu"))


def test_a_method_that_makes_none_of_its_views_is_refused() -> None:
    term = NastyKL(Adversary([TinyCNNTask(4)]), on=("clean",))
    term.check_views(("clean", "adv"))
    with pytest.raises(ConfigError, match=r"acts on \('clean',\), and the method makes \('adv',\) only"):
        term.check_views(("adv",))


def test_presets_and_description() -> None:
    term = TERMS.build(dict(type="NastyKL", adversary=Adversary([TinyCNNTask()], origin="vanilla.safetensors")))
    settings = term.describe()
    assert (settings["weight"], settings["temperature"]) == (0.06, 4.0)
    assert math.isclose(settings["effective_weight"], 0.96) and settings["adversary"] == "vanilla.safetensors"
