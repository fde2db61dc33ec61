from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.attacks import FGSM, PGD
from natx.errors import ConfigError
from natx.methods import Adversarial, Method, Standard
from natx.methods.base import Around, optimised
from natx.models.adversary import Adversary
from natx.registry import METHODS
from natx.task import Task
from natx.terms import NastyKL, TaskLoss
from natx.testing import TinyCNNTask, TinyDataset
from natx.threat import Linf
from natx.training.learner import Learner

EPS, STEP, STEPS = 8 / 255, 3 / 255, 4


def images(count: int = 10) -> dict[str, Tensor]:
    return TinyDataset(count).__getitems__(range(count))


def attack(**settings) -> PGD:
    return PGD(Linf(EPS), STEPS, step_size=STEP, seed=5, **settings)


def adversary() -> Adversary:
    return Adversary([TinyCNNTask(seed=3, double=True)])


def step(method: Method, task: Task, *, seed: int = 0, epoch: int = 2) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Scalars and parameter gradients of one training step; what is optimised is what mmengine sums."""
    learner = Learner(task, method).train()
    learner.epoch = epoch
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # dropout
        scalars = learner(**images(), mode="loss")
    total, _ = learner.parse_losses(scalars)
    total.backward()
    scalars["total"] = total.detach()
    return scalars, {name: p.grad for name, p in task.named_parameters()}


def reference_pgd(task: TinyCNNTask, batch: dict[str, Tensor], start: Tensor) -> Tensor:
    """Madry's inner loop with batch norm and dropout in eval mode."""
    net, x, y = copy.deepcopy(task.net).eval(), batch["inputs"].to(start.dtype), batch["data_samples"]
    x_adv = start
    for _ in range(STEPS):
        x_adv = x_adv.detach().requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(net((x_adv - 0.5) / 0.25), y), x_adv)
        x_adv = (x + (x_adv + STEP * grad.sign() - x).clamp(-EPS, EPS)).clamp(0, 1)
    return x_adv.detach()


def random_start(task: TinyCNNTask, batch: dict[str, Tensor], *, epoch: int) -> Tensor:
    """A PGD step of length zero leaves an image where it starts."""
    return PGD(Linf(EPS), 1, step_size=0.0, seed=5)(task, batch, epoch=epoch)


def mean_loss(task: TinyCNNTask, *views: Tensor) -> Tensor:
    """Cross-entropy of one joint train-mode forward over the views."""
    net = task.net.train()
    y = images()["data_samples"].repeat(len(views))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return F.cross_entropy(net((torch.cat(views) - 0.5) / 0.25), y)


def assert_gradients(gradients: dict[str, Tensor], task: TinyCNNTask, loss: Tensor) -> None:
    names, parameters = zip(*task.named_parameters())
    for name, expected in zip(names, torch.autograd.grad(loss, parameters)):
        torch.testing.assert_close(gradients[name], expected, rtol=1e-9, atol=1e-12, msg=name)
        assert expected.abs().max() > 1e-8 or name.endswith((".0.bias", ".3.bias")), name  # a bias before batch norm


# --------------------------------------------------------------------------------------- what a step computes


@pytest.mark.parametrize("epoch", [0, 2])
def test_pgd_at_is_a_hand_written_madry_step(epoch: int) -> None:
    task, batch = TinyCNNTask(double=True, dropout=0.3), images()
    by_hand = copy.deepcopy(task)
    scalars, gradients = step(Adversarial(attack()), task, epoch=epoch)
    x_adv = reference_pgd(by_hand, batch, random_start(by_hand, batch, epoch=epoch))
    loss = mean_loss(by_hand, x_adv)
    torch.testing.assert_close(scalars["loss_ce"], loss, rtol=1e-12, atol=0)
    assert_gradients(gradients, by_hand, loss)
    # Batch norm saw the adversarial images once, in train mode: the inner attack left no trace in its statistics.
    for mine, theirs in zip(task.buffers(), by_hand.buffers()):
        torch.testing.assert_close(mine, theirs)


def test_standard_training_is_plain_cross_entropy() -> None:
    task = TinyCNNTask(double=True)
    by_hand = copy.deepcopy(task)
    scalars, gradients = step(Standard(), task)
    loss = mean_loss(by_hand, images()["inputs"].double())
    torch.testing.assert_close(scalars["total"], loss, rtol=1e-12, atol=0)
    assert_gradients(gradients, by_hand, loss)


def test_nat_is_eq_5_by_hand() -> None:
    weight, tau, task, batch = 0.06, 4.0, TinyCNNTask(double=True), images()
    by_hand, other = copy.deepcopy(task), adversary()
    terms = [TaskLoss(), NastyKL(other, weight, temperature=tau)]
    scalars, gradients = step(Adversarial(attack(), ("clean", "adv"), terms=terms), task)

    x = batch["inputs"].double()
    union = torch.cat([x, reference_pgd(by_hand, batch, random_start(by_hand, batch, epoch=2))])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        z = by_hand.net.train()((union - 0.5) / 0.25)
    cross_entropy = F.cross_entropy(z, batch["data_samples"].repeat(2))
    log_p = F.log_softmax(z / tau, 1)
    log_q = F.log_softmax(other.tasks[0].net((union - 0.5) / 0.25) / tau, 1)
    kl = F.kl_div(log_q, log_p, log_target=True, reduction="batchmean")
    loss = cross_entropy - weight * tau**2 * kl
    torch.testing.assert_close(scalars["total"], loss.detach(), rtol=1e-10, atol=0)
    torch.testing.assert_close((scalars["kl_clean"] + scalars["kl_adv"]) / 2, kl.detach(), rtol=1e-9, atol=0)
    assert_gradients(gradients, by_hand, loss)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("joint_batch", [False, True])
def test_nat_of_weight_zero_is_adversarial_training_on_the_union_bit_for_bit(double: bool, joint_batch: bool) -> None:
    plain, nasty = TinyCNNTask(double=double), TinyCNNTask(double=double)
    frozen = Adversary([TinyCNNTask(seed=3, double=double)])
    settings = dict(views=("clean", "adv"), joint_batch=joint_batch)
    expected = step(Adversarial(attack(), **settings), plain)
    got = step(Adversarial(attack(), terms=[TaskLoss(), NastyKL(frozen, 0.0)], **settings), nasty)
    assert torch.equal(got[0]["total"], expected[0]["total"])
    assert torch.equal(got[0]["loss_ce"], expected[0]["loss_ce"])
    assert list(got[1]) == list(expected[1])
    for name in expected[1]:
        assert torch.equal(got[1][name], expected[1][name]), name
    for mine, theirs in zip(nasty.buffers(), plain.buffers()):
        assert torch.equal(mine, theirs)
    # and with a weight it is something else
    other = TinyCNNTask(double=double)
    changed = step(Adversarial(attack(), terms=[TaskLoss(), NastyKL(frozen, 0.06)], **settings), other)
    assert not torch.equal(changed[1]["net.0.weight"], expected[1]["net.0.weight"])


@pytest.mark.parametrize("batch_norm", [False, True])
def test_joint_batch_matters_through_batch_norm_only(batch_norm: bool) -> None:
    results = []
    for joint in (True, False):
        task = TinyCNNTask(double=True, batch_norm=batch_norm, dropout=0.0)
        terms = [TaskLoss(), NastyKL(adversary())]
        results.append(step(Adversarial(attack(), ("clean", "adv"), terms=terms, joint_batch=joint), task))
    (joint, joint_grads), (split, split_grads) = results
    same = torch.allclose(joint["total"], split["total"], rtol=1e-12, atol=0)
    assert same != batch_norm
    gap = max(float((joint_grads[n] - split_grads[n]).abs().max()) for n in joint_grads)
    assert (gap > 1e-6) if batch_norm else (gap < 1e-14)


def test_two_forwards_are_the_mean_of_the_views_losses() -> None:
    task = TinyCNNTask(double=True, dropout=0.0)
    by_hand, batch = copy.deepcopy(task), images()
    scalars, gradients = step(Adversarial(attack(), ("clean", "adv"), joint_batch=False), task)
    x_adv = reference_pgd(by_hand, batch, random_start(by_hand, batch, epoch=2))
    loss = (mean_loss(by_hand, batch["inputs"].double()) + mean_loss(by_hand, x_adv)) / 2
    torch.testing.assert_close(scalars["total"], loss, rtol=1e-12, atol=0)
    assert_gradients(gradients, by_hand, loss)


def test_random_starts_change_with_the_epoch_and_nothing_else() -> None:
    losses = [step(Adversarial(attack()), TinyCNNTask(), epoch=e)[0]["loss_ce"] for e in (0, 1, 0)]
    assert torch.equal(losses[0], losses[2]) and not torch.equal(losses[0], losses[1])


# ---------------------------------------------------------------------------------------------- what is logged


def test_only_losses_are_optimised_and_the_rest_describes_the_views() -> None:
    task, batch = TinyCNNTask(double=True, dropout=0.0), images()
    by_hand = copy.deepcopy(task)
    terms = [TaskLoss(), NastyKL(adversary(), 0.06)]
    scalars, _ = step(Adversarial(attack(), ("clean", "adv"), terms=terms), task)
    per_view = ("total", "kl", "acc", "entropy", "top2_gap")
    logged = {f"{name}_{view}" for name in per_view for view in ("clean", "adv")}
    gradients = {"attack_zero_grad", "attack_nonfinite_grad"}
    expected = {"loss_ce", "loss_nasty", "nasty_weight", "nasty_share", "total", *logged, *gradients}
    assert set(scalars) == expected
    torch.testing.assert_close(scalars["total"], (scalars["loss_ce"] + scalars["loss_nasty"]).detach())
    assert [k for k, v in scalars.items() if v.requires_grad] == ["loss_ce", "loss_nasty"]
    named = {"acc": torch.tensor(5.0), "loss_ce": torch.tensor(1.0), "roi.loss_box": torch.tensor(2.0)}
    assert optimised(named) == 3  # as mmengine sums

    x_adv = reference_pgd(by_hand, batch, random_start(by_hand, batch, epoch=2))
    with torch.no_grad():
        z = by_hand.net.train()((torch.cat([batch["inputs"].double(), x_adv]) - 0.5) / 0.25)
    for view, logits in zip(("clean", "adv"), z.chunk(2)):
        y, order = batch["data_samples"], logits.sort(1, descending=True).values
        expected = {
            "total": F.cross_entropy(logits, y),
            "acc": (logits.argmax(1) == y).double().mean() * 100,
            "entropy": torch.distributions.Categorical(logits=logits).entropy().mean(),
            "top2_gap": (order[:, 0] - order[:, 1]).mean(),
        }
        for name, value in expected.items():
            torch.testing.assert_close(scalars[f"{name}_{view}"].double(), value, msg=f"{name}_{view}")


# ----------------------------------------------------------------------------------------------- what it costs


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


BOTH = ("clean", "adv")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda a: Standard(), (1, 1)),
        (lambda a: Standard([TaskLoss(), NastyKL(a)]), (2, 1)),
        (lambda a: Adversarial(attack()), (5, 5)),
        (lambda a: Adversarial(FGSM(Linf(EPS))), (2, 2)),
        (lambda a: Adversarial(attack(), BOTH), (6, 6)),
        (lambda a: Adversarial(attack(), BOTH, joint_batch=False), (6, 6)),
        (lambda a: Adversarial(attack(), BOTH, terms=[TaskLoss(), NastyKL(a)]), (8, 6)),
        (lambda a: Adversarial(attack(), BOTH, terms=[TaskLoss(), NastyKL(a, on=("adv",))]), (7, 6)),
        (lambda a: Adversarial(attack(objective=dict(type="KL")), BOTH), (7, 6)),
        (lambda a: Adversarial(attack(restarts=2), BOTH), (12, 10)),
    ],
    ids=["vanilla", "nasty", "pgd-at", "fgsm-at", "union", "union-split", "nat", "nat-adv", "kl-attack", "restarts"],
)
def test_cost_is_what_goes_through_the_networks(make, expected: tuple[int, int]) -> None:
    task, other, counter = TinyCNNTask(double=True), adversary(), Counter()
    task.net.append(counter)
    other.tasks[0].net.append(counter)
    method = make(other)
    step(method, task)
    assert (counter.forwards / 10, counter.backwards / 10) == expected
    assert method.cost() == expected


def test_an_ensemble_costs_each_of_its_members() -> None:
    other = Adversary([TinyCNNTask(seed=s, double=True) for s in (3, 4, 5)])
    assert Adversarial(attack(), BOTH, terms=[TaskLoss(), NastyKL(other)]).cost() == (6 + 2 * 3, 6)


# ---------------------------------------------------------------------------------------------------- settings


def test_methods_are_built_from_configs() -> None:
    inner = dict(type="PGD", steps=3, threat=dict(type="Linf", eps=8 / 255))
    method = METHODS.build(dict(type="Adversarial", attack=inner, views=("clean", "adv")))
    assert method.views == ("clean", "adv") and method.attack.steps == 3
    assert [type(t).__name__ for t in method.terms] == ["TaskLoss"]
    with pytest.raises(ConfigError, match="views"):
        Adversarial(attack(), ("adv", "clean"))


def test_prepare_reaches_the_terms() -> None:
    method = Standard([TaskLoss(), NastyKL(Adversary([TinyCNNTask(4)]))])
    with pytest.raises(ConfigError, match="4 classes"):
        method.prepare(TinyCNNTask(5), torch.device("cpu"))


def test_the_adversary_is_no_part_of_the_learner() -> None:
    task = TinyCNNTask()
    learner = Learner(task, Adversarial(attack(), BOTH, terms=[TaskLoss(), NastyKL(Adversary([TinyCNNTask(seed=3)]))]))
    assert set(learner.state_dict()) == {f"task.{key}" for key in task.state_dict()}
    assert len(list(learner.parameters())) == len(list(task.parameters()))


class Halved(Around):
    """A wrapper of one's own, with what it changes alone."""

    def scalars(self, task: Task, batch: dict[str, Tensor], pixels: list[Tensor]) -> dict[str, Tensor]:
        scalars = self.method.scalars(task, batch, pixels)
        return {name: value / 2 if "loss" in name else value for name, value in scalars.items()}


@pytest.mark.parametrize(
    "outer", [lambda method: method, lambda method: METHODS.build(dict(type="SAM", method=method))]
)
def test_a_wrapper_needs_no_more_than_what_it_changes(outer) -> None:
    inside = lambda: Adversarial(attack(), ("clean", "adv"))  # noqa: E731
    plain, gradients = step(outer(inside()), TinyCNNTask(dropout=0.0))
    halved, others = step(outer(Halved(inside())), TinyCNNTask(dropout=0.0))
    torch.testing.assert_close(2 * optimised(halved), optimised(plain), rtol=1e-4, atol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(2 * others[name], gradient, rtol=1e-3, atol=1e-5)
    assert outer(Halved(inside())).cost() == outer(inside()).cost()
