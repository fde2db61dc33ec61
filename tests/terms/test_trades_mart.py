from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional as F

from natx.errors import ConfigError
from natx.methods import Adversarial, Method, Standard
from natx.models.adversary import Adversary
from natx.registry import METHODS, TERMS
from natx.task import Output
from natx.terms import MART, TRADES, NastyKL, TaskLoss, Term, View
from natx.testing import TinyCNNTask, TinyDataset
from natx.training.learner import Learner

EPS, STEP, STEPS = 8 / 255, 3 / 255, 3
IMAGES, CLASSES = 12, 5


def draw(seed: int, *, scale: float = 2.0) -> Tensor:
    values = torch.randn(IMAGES, CLASSES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (scale * values).requires_grad_()


LABELS = torch.arange(IMAGES) % CLASSES


def view(name: str, logits: Tensor, **changes: Any) -> View:
    n = len(logits)
    settings: dict[str, Any] = {
        "losses": {"loss_ce": F.cross_entropy(logits.double(), LABELS[:n])},
        "logits": logits,
        "labels": LABELS[:n],
        "image": torch.arange(n),
        "row_weight": torch.full((n,), 1 / n, dtype=torch.float64),
        "num_images": n,
    }
    return View(name, torch.zeros(n, 3, 2, 2), Output(**{**settings, **changes}))


def computed(term: Term, clean: Tensor, adv: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The sum of a term's losses and its gradient in the logits of both views."""
    scalars = term([view("clean", clean), view("adv", adv)], {})
    assert all(value.requires_grad == ("loss" in name) for name, value in scalars.items())
    total = sum(value for name, value in scalars.items() if "loss" in name)
    return total, list(torch.autograd.grad(total, [clean, adv]))


def trades(clean: Tensor, adv: Tensor, beta: float) -> Tensor:
    return beta * kl_divergence(Categorical(logits=clean), Categorical(logits=adv)).mean()


def mart(clean: Tensor, adv: Tensor, beta: float) -> Tensor:
    """Eq. 11 of the MART paper with the constants of its code, class by class."""
    p, q = F.softmax(clean, 1), F.softmax(adv, 1)
    total = torch.zeros((), dtype=torch.float64)
    for i, y in enumerate(LABELS.tolist()):
        rival = max(c for c in range(CLASSES) if c != y and q[i, c] == max(q[i, k] for k in range(CLASSES) if k != y))
        boosted = -q[i, y].log() - (1.0001 - q[i, rival] + 1e-12).log()
        kl = sum(p[i, c] * (p[i, c] / q[i, c]).log() for c in range(CLASSES))
        total = total + boosted + beta * (1.0000001 - p[i, y]) * kl
    return total / IMAGES


# ------------------------------------------------------------------------------------------------- values and gradients


@pytest.mark.parametrize("beta", [0.0, 1.0, 6.0])
@pytest.mark.parametrize(("make", "reference"), [(TRADES, trades), (MART, mart)], ids=["TRADES", "MART"])
def test_loss_and_gradient_are_those_of_the_formula(make, reference, beta: float) -> None:
    clean, adv = draw(1), draw(2)
    total, gradients = computed(make(beta), clean, adv)
    expected = reference(clean, adv, beta)
    torch.testing.assert_close(total, expected, rtol=1e-9, atol=1e-12)
    grads = torch.autograd.grad(expected, [clean, adv], materialize_grads=True)
    for mine, theirs in zip(gradients, grads):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("make", [TRADES, MART])
def test_images_count_by_their_weights(make) -> None:
    clean, adv = draw(1).detach(), draw(2).detach()
    weights = torch.zeros(IMAGES, dtype=torch.float64)
    weights[2], weights[7] = 0.5, 0.125

    def total(rows: list[int], weight: Tensor) -> float:
        settings: dict[str, Any] = dict(labels=LABELS[rows], row_weight=weight)
        views = [view(name, z[rows], **settings) for name, z in (("clean", clean), ("adv", adv))]
        return float(sum(value for name, value in make(5.0)(views, {}).items() if "loss" in name))

    one = torch.ones(1, dtype=torch.float64)
    expected = 0.5 * total([2], one) + 0.125 * total([7], one)
    assert total(list(range(IMAGES)), weights) == pytest.approx(expected, rel=1e-9)


def test_trades_clean_gradient_is_the_closed_form_and_can_be_left_out() -> None:
    """d KL(p||q) / dz_p = p (log p/q - KL), d KL(p||q) / dz_q = q - p."""
    clean, adv = draw(3), draw(4)
    p, q = F.softmax(clean, 1).detach(), F.softmax(adv, 1).detach()
    log_ratio = (p / q).log()
    rows = (p * log_ratio).sum(1, keepdim=True)
    _, (to_clean, to_adv) = computed(TRADES(6.0), clean, adv)
    torch.testing.assert_close(to_clean, 6 / IMAGES * p * (log_ratio - rows), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(to_adv, 6 / IMAGES * (q - p), rtol=1e-9, atol=1e-12)
    scalars = TRADES(6.0, detach_clean=True)([view("clean", clean), view("adv", adv)], {})
    detached = torch.autograd.grad(scalars["loss_trades"], [clean, adv], materialize_grads=True)
    assert not detached[0].any()
    torch.testing.assert_close(detached[1], to_adv)


def test_order_of_the_views_does_not_matter_and_equal_views_cost_nothing() -> None:
    clean, adv = draw(1), draw(2)
    forth = TRADES(1.0)([view("clean", clean), view("adv", adv)], {})["loss_trades"]
    back = TRADES(1.0)([view("adv", adv), view("clean", clean)], {})["loss_trades"]
    assert torch.equal(forth, back)
    assert TRADES(1.0)([view("clean", clean), view("adv", clean)], {})["loss_trades"].abs() < 1e-15


def test_mart_weighs_images_by_the_doubt_about_them() -> None:
    """An image that is surely right on the clean view adds no consistency loss, whatever the adversarial view says."""
    sure, adv = F.one_hot(LABELS, CLASSES).double() * 60, draw(2)
    scalars = MART(5.0)([view("clean", sure), view("adv", adv)], {})
    assert scalars["loss_mart"].abs() < 1e-4
    assert scalars["kl_mart"] > 0.5
    wrong = MART(5.0)([view("clean", sure.roll(1, dims=1)), view("adv", adv)], {})
    assert wrong["loss_mart"] > 1
    torch.testing.assert_close(wrong["loss_bce"], scalars["loss_bce"])


@pytest.mark.parametrize("make", [TRADES, MART])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_extreme_logits_stay_finite_in_full_precision(make, dtype: torch.dtype) -> None:
    clean = (100 * draw(1).detach()).to(dtype).requires_grad_()
    adv = (100 * draw(2).detach()).to(dtype).requires_grad_()
    total, gradients = computed(make(6.0), clean, adv)
    assert total.dtype != torch.bfloat16
    assert torch.isfinite(total) and all(torch.isfinite(g).all() for g in gradients)


# -------------------------------------------------------------------------------------------------------- in a training


def images() -> dict[str, Tensor]:
    return TinyDataset(IMAGES).__getitems__(range(IMAGES))


def method(*terms: Term | dict[str, Any], **settings: Any) -> Method:
    """TRADES' recipe: KL attack from normal noise, the views forwarded one by one."""
    attack = dict(
        type="PGD",
        threat=dict(type="Linf", eps=EPS),
        steps=STEPS,
        step_size=STEP,
        objective=dict(type="KL"),
        random_start="normal",
    )
    recipe = dict(type="Adversarial", views=("clean", "adv"), attack=attack, joint_batch=False, **settings)
    return METHODS.build({**recipe, "terms": list(terms)})


def step(method: Method, task: TinyCNNTask, *, epoch: int = 3) -> tuple[Tensor, dict[str, Tensor]]:
    """The total and its gradients; dropout drawn from one seed."""
    learner = Learner(task, method).train()
    method.prepare(task, torch.device("cpu"))
    learner.epoch = epoch
    with torch.random.fork_rng():
        torch.manual_seed(0)
        total, _ = learner.parse_losses(learner(**images(), mode="loss"))
    total.backward()
    return total.detach(), {name: p.grad for name, p in task.named_parameters()}


def x_adversarial(task: TinyCNNTask, start: Tensor) -> Tensor:
    """TRADES' inner loop in eval mode."""
    net, x, x_adv = copy.deepcopy(task.net).eval().requires_grad_(False), images()["inputs"].double(), start
    p = Categorical(logits=net((x - 0.5) / 0.25))
    for _ in range(STEPS):
        x_adv = x_adv.detach().requires_grad_()
        (grad,) = torch.autograd.grad(kl_divergence(p, Categorical(logits=net((x_adv - 0.5) / 0.25))).sum(), x_adv)
        x_adv = (x + (x_adv + STEP * grad.sign() - x).clamp(-EPS, EPS)).clamp(0, 1)
    return x_adv.detach()


def test_trades_is_a_hand_written_step_of_the_original() -> None:
    task = TinyCNNTask(double=True, dropout=0.0)
    by_hand = copy.deepcopy(task)
    recipe = method(dict(type="TaskLoss", on=("clean",)), dict(type="TRADES", weight=6.0))
    recipe.attack.seed = 5
    start = recipe.attack.scaled(1.0)
    start.step_size = 0.0  # stays where it starts
    x_adv = x_adversarial(by_hand, start(by_hand, images(), epoch=3))
    total, gradients = step(recipe, task)
    net = by_hand.net.train()
    z, z_adv = (net((x - 0.5) / 0.25) for x in (images()["inputs"].double(), x_adv))
    expected = F.cross_entropy(z, LABELS) + trades(z, z_adv, 6.0)
    torch.testing.assert_close(total, expected.detach(), rtol=1e-10, atol=0)
    for (name, parameter), grad in zip(
        by_hand.named_parameters(), torch.autograd.grad(expected, list(by_hand.parameters()))
    ):
        torch.testing.assert_close(gradients[name], grad, rtol=1e-8, atol=1e-12, msg=name)
        assert parameter.shape == grad.shape
    for mine, theirs in zip(task.buffers(), by_hand.buffers()):  # batch norm: clean, then adversarial, each by itself
        torch.testing.assert_close(mine, theirs)


def test_trades_of_weight_zero_is_clean_training() -> None:
    plain, regularised = (TinyCNNTask(dropout=0.3) for _ in range(2))
    expected = step(Standard(), plain)
    got = step(method(TaskLoss(on=("clean",)), TRADES(0.0)), regularised)
    assert torch.equal(got[0], expected[0])
    for name, grad in expected[1].items():
        assert torch.equal(got[1][name], grad), name
    other = step(method(TaskLoss(on=("clean",)), TRADES(6.0)), TinyCNNTask(dropout=0.3))
    assert not torch.equal(other[0], expected[0])


def test_the_nasty_term_composes_with_trades() -> None:
    """NAT on TRADES is TRADES' loss plus the nasty term of the same views, and TRADES at weight 0."""

    def nasty(weight: float) -> NastyKL:
        return NastyKL(Adversary([TinyCNNTask(seed=3, double=True)]), weight)

    def total(*terms: Term) -> Tensor:
        return step(method(*terms), TinyCNNTask(double=True))[0]

    base = (TaskLoss(on=("clean",)), TRADES(6.0))
    without, zero, both = total(*base), total(*base, nasty(0.0)), total(*base, nasty(0.06))
    assert torch.equal(zero, without)
    torch.testing.assert_close(both - without, total(nasty(0.06)), rtol=1e-9, atol=1e-12)
    assert both < without


def test_mart_is_a_whole_loss() -> None:
    task = TinyCNNTask(double=True, dropout=0.0)
    by_hand, recipe = copy.deepcopy(task), method(dict(type="MART", weight=5.0))
    x_adv = recipe.attack(by_hand, images(), epoch=3)
    total, _ = step(recipe, task)
    net = by_hand.net.train()
    z, z_adv = (net((x - 0.5) / 0.25) for x in (images()["inputs"].double(), x_adv))
    torch.testing.assert_close(total, mart(z, z_adv, 5.0).detach(), rtol=1e-9, atol=0)


# ----------------------------------------------------------------------------------------------------- TaskLoss(on=...)


def test_task_loss_on_some_views() -> None:
    clean, adv = view("clean", draw(1)), view("adv", draw(2))
    losses = [v.output.losses["loss_ce"] for v in (clean, adv)]
    assert torch.equal(TaskLoss(on=("clean",))([clean, adv], {})["loss_ce"], losses[0])
    assert torch.equal(TaskLoss(on=("adv",))([clean, adv], {})["loss_ce"], losses[1])
    for every in (TaskLoss(), TaskLoss(on=("clean", "adv"))):
        torch.testing.assert_close(every([clean, adv], {})["loss_ce"], (losses[0] + losses[1]) / 2)
    logged = TaskLoss(on=("clean",))([clean, adv], {})
    assert torch.equal(logged["total_adv"], losses[1].detach())  # of every view, for the log


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TRADES(-1.0), "weight >= 0; got -1"),
        (lambda: TRADES(float("nan")), "finite weight"),
        (lambda: MART(-1.0), "weight >= 0; got -1"),
        (lambda: TERMS.build(dict(type="TRADES", beta=6)), "beta"),
        (lambda: TaskLoss(on=()), r"on names the views"),
        (lambda: TaskLoss(on="clean"), r"on=\('clean',\)"),
        (lambda: TaskLoss(on=("adversarial",)), "'clean' and/or 'adv'"),
    ],
)
def test_bad_settings_are_refused_in_one_line(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("term", [TRADES(), MART(), TaskLoss(on=("clean",))], ids=lambda t: type(t).__name__)
def test_a_missing_view_is_refused_before_training_and_in_a_step(term: Term) -> None:
    recipe = Adversarial(dict(type="FGSM", threat=dict(type="Linf", eps=EPS)), terms=[term])
    for attempt in (
        lambda: recipe.prepare(TinyCNNTask(), torch.device("cpu")),
        lambda: Learner(TinyCNNTask(), recipe)(**images(), mode="loss"),
    ):
        with pytest.raises(ConfigError, match=r"needs the view 'clean'.*\('adv',\) only.*\('clean', 'adv'\)") as error:
            attempt()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [TRADES, MART])
@pytest.mark.parametrize(
    ("changes", "message"),
    [(dict(rows=torch.arange(IMAGES)), "anchors or proposals"), (dict(link="sigmoid"), "a sigmoid per class")],
)
def test_heads_they_cannot_compare_are_refused(make, changes: dict[str, Any], message: str) -> None:
    views = [view(name, draw(1), **changes) for name in ("clean", "adv")]
    with pytest.raises(ConfigError, match=message) as error:
        make()(views, {})
    assert "\n" not in str(error.value) and make.__name__ in str(error.value)


@pytest.mark.parametrize(("labels", "message"), [(None, "none"), (torch.full((IMAGES, CLASSES), 0.2), "soft labels")])
def test_mart_needs_one_label_an_image(labels: Tensor | None, message: str) -> None:
    views = [view(name, draw(1), labels=labels) for name in ("clean", "adv")]
    with pytest.raises(ConfigError, match=message):
        MART()(views, {})


def test_terms_describe_themselves() -> None:
    assert TRADES(5.0).describe() == {"type": "TRADES", "weight": 5.0, "detach_clean": False}
    assert MART().describe() == {"type": "MART", "weight": 5.0}
