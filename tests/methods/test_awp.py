from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.errors import ConfigError
from natx.methods import AWP, SAM, Adversarial, Method, Standard
from natx.models.adversary import Adversary
from natx.registry import METHODS
from natx.terms import TRADES, NastyKL, TaskLoss, Term
from natx.testing import TinyCNNTask, TinyDataset, WrappedTask
from natx.training.learner import Learner

IMAGES = 12
ATTACK = dict(type="PGD", threat=dict(type="Linf", eps=8 / 255), steps=3, step_size=3 / 255, seed=5)
BOTH = ("clean", "adv")
WEIGHTS = ["net.0.weight", "net.3.weight", "net.9.weight"]  # two convolutions and the head of the tiny net


def images() -> dict[str, Tensor]:
    return TinyDataset(IMAGES).__getitems__(range(IMAGES))


def other(*, double: bool = True) -> Adversary:
    return Adversary([TinyCNNTask(seed=3, double=double)])


def pgd_at() -> Method:
    return Adversarial(dict(ATTACK))


def nat(*, double: bool = True) -> Method:
    return Adversarial(dict(ATTACK), BOTH, terms=[TaskLoss(), NastyKL(other(double=double), 0.06)])


def trades() -> Method:
    attack = dict(ATTACK, objective=dict(type="KL"), random_start="normal")
    return Adversarial(attack, BOTH, terms=[TaskLoss(on=("clean",)), TRADES(6.0)], joint_batch=False)


RECIPES = {"VT": Standard, "PGD-AT": pgd_at, "NAT": nat, "TRADES": trades}


def step(
    method: Method, task: WrappedTask, *, epoch: int = 2, amp: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Scalars (and their total) and parameter gradients of one training step; dropout drawn from one seed."""
    learner = Learner(task, method, amp=amp).train()
    method.prepare(task, torch.device("cpu"))
    learner.epoch = epoch
    with torch.random.fork_rng():
        torch.manual_seed(0)
        scalars = learner(**images(), mode="loss")
    total, _ = learner.parse_losses(scalars)
    total.backward()
    return {**scalars, "total": total.detach()}, {name: p.grad for name, p in task.named_parameters()}


def loss_by_hand(recipe: str, net: nn.Module, task: TinyCNNTask) -> Tensor:
    """The loss of a recipe in a given net in train mode, on the views attacked at the weights of ``task``."""
    x, y = images()["inputs"].double(), images()["data_samples"]
    if recipe == "VT":
        return F.cross_entropy(net((x - 0.5) / 0.25), y)
    x_adv = RECIPES[recipe]().attack(task, images(), epoch=2)  # the attack itself is tested elsewhere
    if recipe == "PGD-AT":
        return F.cross_entropy(net((x_adv - 0.5) / 0.25), y)
    if recipe == "TRADES":
        p, q = (F.log_softmax(net((view - 0.5) / 0.25), 1) for view in (x, x_adv))
        return F.nll_loss(p, y) + 6 * F.kl_div(q, p, log_target=True, reduction="batchmean")
    union = (torch.cat([x, x_adv]) - 0.5) / 0.25
    z, theirs = net(union), other().tasks[0].net(union)
    kl = F.kl_div(
        F.log_softmax(theirs / 4, 1), F.log_softmax(z / 4, 1), log_target=True, reduction="batchmean"
    )  # KL(target || adversary)
    return F.cross_entropy(z, y.repeat(2)) - 0.06 * 16 * kl


def awp_by_hand(weights: dict[str, Tensor], gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """Step 3 of AWP for gamma 0.01: the gradient of each weight, stretched to a hundredth of the weight's length."""
    return {
        name: 0.01 * weights[name].norm() / gradients[name].norm() * gradients[name]
        for name in weights
        if "weight" in name and weights[name].dim() > 1
    }


def sam_by_hand(weights: dict[str, Tensor], gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """All gradients, scaled together to a length of 0.05."""
    length = torch.cat([gradient.flatten() for gradient in gradients.values()]).norm()
    return {name: 0.05 * gradient / length for name, gradient in gradients.items()}


KINDS = {"AWP": (lambda m: AWP(m, 0.01), awp_by_hand), "SAM": (lambda m: SAM(m, 0.05), sam_by_hand)}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_the_originals_with_a_copied_model(kind: str, recipe: str) -> None:
    """By hand: ascend on a copy, change the weights in place, take the gradient there."""
    make, displacement = KINDS[kind]
    task = TinyCNNTask(double=True, dropout=0.0)
    before, proxy, moved = (copy.deepcopy(task) for _ in range(3))
    scalars, gradients = step(make(RECIPES[recipe]()), task)

    loss = loss_by_hand(recipe, proxy.net.train(), before)
    names = [name for name, _ in proxy.named_parameters()]
    ascent = dict(zip(names, torch.autograd.grad(loss, list(proxy.parameters()))))
    weights = {name: p.detach() for name, p in before.named_parameters()}
    changes = displacement(weights, ascent)
    assert sorted(changes) == (sorted(WEIGHTS) if kind == "AWP" else sorted(names))
    with torch.no_grad():
        for name, parameter in moved.named_parameters():
            parameter += changes.get(name, 0)
    expected = loss_by_hand(recipe, moved.net.train(), before)
    torch.testing.assert_close(scalars["total"], expected.detach(), rtol=1e-10, atol=0)
    for name, gradient in zip(names, torch.autograd.grad(expected, list(moved.parameters()))):
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-7, atol=1e-11, msg=name)
    torch.testing.assert_close(scalars[f"{kind.lower()}_gain"], (expected - loss).detach(), rtol=1e-6, atol=1e-12)
    assert scalars[f"{kind.lower()}_gain"] > 0
    # The weights are where they were; batch norm saw one pass: at the moved weights (AWP) or at these (SAM).
    for name, parameter in task.named_parameters():
        assert torch.equal(parameter, weights[name]), name
    seen, unseen = (moved, proxy) if kind == "AWP" else (proxy, moved)
    for mine, theirs in zip(task.buffers(), seen.buffers()):
        torch.testing.assert_close(mine, theirs)
    assert not torch.allclose(task.net[1].running_mean, unseen.net[1].running_mean, rtol=1e-6, atol=0)
    passes = 2 if recipe == "TRADES" else 1  # one forward a view
    assert task.net[1].num_batches_tracked == passes


@pytest.mark.parametrize("kind", [AWP, SAM])
def test_frozen_weights_are_not_moved(kind: type[Method]) -> None:
    task, seen = TinyCNNTask(double=True, dropout=0.0), list[list[Tensor]]()
    task.net[0].requires_grad_(False)
    task.net.register_forward_hook(lambda net, *_: seen.append([net[i].weight.detach().clone() for i in (0, 9)]))
    step(kind(Standard(), 1.0), task)
    (frozen, free), (still, moved) = seen  # at the ascent and at the perturbed weights
    assert torch.equal(frozen, still) and not torch.equal(free, moved)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("kind", [AWP, SAM])
def test_no_perturbation_is_the_method_inside_bit_for_bit(kind: type[Method], recipe: str) -> None:
    """Dropout too: the ascent pass gives its random numbers back."""
    plain, wrapped = (TinyCNNTask(double=True, dropout=0.4) for _ in range(2))
    expected, got = step(RECIPES[recipe](), plain), step(kind(RECIPES[recipe](), 0.0), wrapped)
    gain = got[0].pop(f"{kind.__name__.lower()}_gain")
    assert gain == 0
    assert got[0].keys() == expected[0].keys()
    for name, value in expected[0].items():
        assert torch.equal(got[0][name], value), name
    for name, gradient in expected[1].items():
        assert torch.equal(got[1][name], gradient), name
    for mine, theirs in zip(wrapped.buffers(), plain.buffers()):
        assert torch.equal(mine, theirs)
    changed = step(kind(RECIPES[recipe]()), TinyCNNTask(double=True, dropout=0.4))
    assert not torch.equal(changed[0]["total"], expected[0]["total"])


def test_random_numbers_after_a_step_are_those_of_the_method_inside() -> None:
    draws = []
    for method in (pgd_at(), AWP(pgd_at()), SAM(pgd_at())):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            Learner(TinyCNNTask(dropout=0.4), method).train()(**images(), mode="loss")
            draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[1]) and torch.equal(draws[0], draws[2])


@pytest.mark.parametrize(
    "make", [lambda g: AWP(nat(double=False), g), lambda g: SAM(Standard(), g)], ids=["AWP", "SAM"]
)
def test_bf16_autocast_sees_the_moved_weights(make: Callable[[float], Method]) -> None:
    """A change in place would be hidden by the casts that autocast keeps of the weights."""
    still, moved = (step(make(size), TinyCNNTask(dropout=0.0), amp="bfloat16") for size in (0.0, 0.01))
    full = [step(make(size), TinyCNNTask(dropout=0.0)) for size in (0.0, 0.01)]
    gap, expected = (float(b[0]["total"] - a[0]["total"]) for a, b in ((still, moved), full))
    assert expected > 0.005
    assert gap == pytest.approx(expected, rel=0.25)
    for name, gradient in moved[1].items():
        assert gradient.dtype == torch.float32 and torch.isfinite(gradient).all(), name


def test_the_perturbation_of_each_weight_is_gamma_times_its_length() -> None:
    seen: dict[str, Any] = {}

    class Spy(AWP):
        def displacement(self, weights: Any, gradients: Any) -> list[Tensor]:
            changes = super().displacement(weights, gradients)
            seen["shapes"] = [weight.shape for weight in weights]
            seen["sizes"] = [float(change.norm() / weight.norm()) for weight, change in zip(weights, changes)]
            return changes

    task = TinyCNNTask(double=True)
    step(Spy(pgd_at(), 0.03), task)
    named = dict(task.named_parameters())
    assert seen["shapes"] == [named[name].shape for name in WEIGHTS]
    assert seen["sizes"] == pytest.approx([0.03] * 3, rel=1e-9)


class Odd(nn.Module):
    """Parameters that the rule must tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.scale_weight = nn.Parameter(torch.ones(3))  # one dimension
        self.position = nn.Parameter(torch.ones(1, 3))  # another name
        self.mixing_weight = nn.Parameter(torch.eye(3))
        self.frozen = nn.Linear(3, 3)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        z = x.mean((2, 3)) * self.scale_weight + self.position
        return self.frozen(z @ self.mixing_weight)


def test_awp_moves_matrices_called_weight_and_nothing_frozen() -> None:
    task = WrappedTask(Odd(), 5)
    task.num_classes = 3
    batch = {**images(), "data_samples": images()["data_samples"] % 3}
    method = AWP(Standard())
    moved = [name for name, p in task.named_parameters() if p.requires_grad and method.perturbs(name, p)]
    assert moved == ["net.mixing_weight"]
    for wrapper in (method, SAM(Standard())):
        task.zero_grad()
        learner = Learner(task, wrapper)
        learner.parse_losses(learner(**batch, mode="loss"))[0].backward()
        assert task.net.frozen.weight.grad is None
        assert task.net.position.grad.abs().max() > 0


def test_warmup_epochs_are_the_method_inside() -> None:
    totals = {}
    for epoch in (1, 2):
        method = AWP(pgd_at(), warmup=2)
        totals[epoch] = step(method, TinyCNNTask(), epoch=epoch)[0]
    plain = {epoch: step(pgd_at(), TinyCNNTask(), epoch=epoch)[0] for epoch in (1, 2)}
    assert totals[1].keys() == plain[1].keys() and torch.equal(totals[1]["total"], plain[1]["total"])
    assert "awp_gain" in totals[2] and totals[2]["total"] > plain[2]["total"]


class Raises(Term):
    """A loss that stops at a given call, as Ctrl-C would."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self.left = call

    def forward(self, views: Any, batch: Any) -> dict[str, Tensor]:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return TaskLoss()(views, batch)


@pytest.mark.parametrize("kind", [AWP, SAM])
@pytest.mark.parametrize("call", [1, 2])
def test_an_interrupted_step_leaves_the_weights_alone(call: int, kind: type[Method]) -> None:
    task = TinyCNNTask()
    parameters, values = list(task.parameters()), copy.deepcopy(task.state_dict())
    with pytest.raises(KeyboardInterrupt):
        Learner(task, kind(Standard([Raises(call)]), 0.5)).train()(**images(), mode="loss")
    assert all(now is then and now.is_leaf for now, then in zip(task.parameters(), parameters))
    changed = {name for name, value in task.state_dict().items() if not torch.equal(value, values[name])}
    statistics = {name for name, _ in task.named_buffers()}
    # AWP's ascent pass works on copies of the statistics, SAM's moves them.
    assert changed == (set() if call == 1 and kind is AWP else statistics)


class Constant(Term):
    """A loss without gradient in the weights."""

    def forward(self, views: Any, batch: Any) -> dict[str, Tensor]:
        return {"loss_constant": 0 * views[0].output.logits.sum()}


@pytest.mark.parametrize("kind", [AWP, SAM])
def test_a_flat_loss_moves_nothing(kind: type[Method]) -> None:
    scalars, gradients = step(kind(Standard([Constant()])), TinyCNNTask())
    assert scalars["total"] == 0
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in gradients.values())


# ---------------------------------------------------------------------------------------------------------- composition


class Counter(nn.Module):
    """Counts images that pass forward and whose gradient passes back."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards = self.backwards = 0

    def forward(self, z: Tensor) -> Tensor:
        self.forwards += len(z)
        if z.requires_grad:
            z = z.clone()
            z.register_hook(self._back)
        return z

    def _back(self, grad: Tensor) -> None:
        self.backwards += len(grad)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda a: SAM(Standard()), (2, 2)),
        (lambda a: AWP(pgd_at()), (5, 5)),  # the attack runs once
        (lambda a: AWP(trades()), (1 + 3 + 2 + 2, 3 + 2 + 2)),
        (lambda a: AWP(Adversarial(dict(ATTACK), BOTH, terms=[TaskLoss(), NastyKL(a)])), (3 + 4 + 4, 3 + 2 + 2)),
    ],
    ids=["SAM", "AT-AWP", "TRADES-AWP", "NAT-AWP"],
)
def test_cost_is_what_goes_through_the_networks(make, expected: tuple[int, int]) -> None:
    task, frozen, counter = TinyCNNTask(double=True), other(), Counter()
    task.net.append(counter)
    frozen.tasks[0].net.append(counter)
    method = make(frozen)
    step(method, task)
    assert (counter.forwards / IMAGES, counter.backwards / IMAGES) == expected
    assert method.cost() == expected


def test_built_from_configs_it_shows_the_method_inside() -> None:
    terms = [dict(type="TaskLoss", on=("clean",)), dict(type="TRADES")]
    inner = dict(type="Adversarial", views=BOTH, attack=ATTACK, terms=terms)
    method = METHODS.build(dict(type="AWP", gamma=0.005, warmup=9, method=inner))
    assert (method.gamma, method.warmup, method.views) == (0.005, 9, BOTH)
    assert [type(term).__name__ for term in method.terms] == ["TaskLoss", "TRADES"]
    assert METHODS.build(dict(type="SAM", method=dict(type="Standard"))).rho == 0.05


def test_it_adds_nothing_to_the_checkpoint() -> None:
    task = TinyCNNTask()
    learner = Learner(task, AWP(nat(double=False)))
    assert set(learner.state_dict()) == {f"task.{key}" for key in task.state_dict()}
    assert len(list(learner.parameters())) == len(list(task.parameters()))


def test_preparation_reaches_the_terms_inside() -> None:
    method = AWP(Adversarial(dict(ATTACK), terms=[TRADES()]))
    with pytest.raises(ConfigError, match="needs the view 'clean'"):
        method.prepare(TinyCNNTask(), torch.device("cpu"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AWP(pgd_at(), -0.01), "gamma >= 0.*-0.01"),
        (lambda: AWP(pgd_at(), float("inf")), "finite gamma"),
        (lambda: AWP(pgd_at(), warmup=1.5), "warmup is a number of epochs.*1.5"),
        (lambda: AWP(pgd_at(), warmup=-1), "warmup is a number of epochs.*-1"),
        (lambda: SAM(Standard(), -1.0), "rho >= 0"),
        (lambda: AWP(SAM(Standard())), "SAM has a training step of its own"),
        (lambda: METHODS.build(dict(type="AWP")), "method"),
    ],
)
def test_bad_settings_are_refused_in_one_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
