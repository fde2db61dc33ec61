from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional as F

from natx.attacks import PGD
from natx.batch import TEACHER
from natx.config import frozen_models, load_config
from natx.errors import ConfigError
from natx.methods import AWP, SAM, Adversarial, Distillation, Standard
from natx.models.adversary import Adversary
from natx.objectives import CrossEntropy, TeacherKL
from natx.registry import METHODS, TERMS
from natx.task import Output, Task
from natx.terms import ARD, IAD, KD, RSLAD, NastyKL, TaskLoss, View
from natx.testing import LinearTask, TinyCNNTask, TinyDataset
from natx.threat import Linf
from natx.training.learner import Learner
from natx.training.plan import describe_plan
from natx.training.run import train

EPS, STEP, STEPS = 8 / 255, 3 / 255, 4
BOTH = ("clean", "adv")
CPU = torch.device("cpu")


def draw(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABELS = torch.tensor([3, 0, 5, 2, 2, 1])
STUDENT = {"clean": draw(6, 7, seed=1), "adv": draw(6, 7, seed=2)}
TEACHERS = {"clean": draw(6, 7, seed=3), "adv": draw(6, 7, seed=4)}
PIXELS = {name: draw(6, 3, 2, 2, seed=seed).sigmoid() for name, seed in (("clean", 5), ("adv", 6))}


class Recalled(Task):
    """A teacher that answers with prepared logits, by the pixels it is shown."""

    num_classes = 7

    def network(self, x: Tensor, batch: dict[str, Any]) -> Tensor:
        (name,) = [name for name, pixels in PIXELS.items() if torch.equal(x, pixels)]
        return TEACHERS[name]

    def read(self, raw: Tensor, batch: dict[str, Any], *, rows: Any = None) -> Output:
        return output(raw)


def output(logits: Tensor, *, labels: Tensor = LABELS, link: str = "softmax") -> Output:
    n = len(logits)
    loss = F.cross_entropy(logits, labels)
    return Output({"loss_ce": loss}, logits, labels, torch.arange(n), logits.new_full((n,), 1 / n), n, link)


def scalars(term: Any, *, names: tuple[str, ...] = BOTH, epoch: int = 0, labels: Tensor = LABELS) -> dict[str, Any]:
    """What a term gives, the total, and the gradient in each view's logits (None where there is none)."""
    term.teacher = Adversary([Recalled()], role="teacher")
    logits = {name: STUDENT[name].clone().requires_grad_() for name in names}
    batch = {TEACHER: TEACHERS["clean"], "epoch": torch.full((6,), epoch), "data_samples": labels}
    found = term([View(name, PIXELS[name], output(z, labels=labels)) for name, z in logits.items()], batch)
    total = torch.stack([value for key, value in found.items() if "loss" in key]).sum()
    grads = torch.autograd.grad(total, list(logits.values()), allow_unused=True)
    logged = {key for key, value in found.items() if "loss" not in key}
    assert not any(found[key].requires_grad for key in logged)
    return {**found, "total": total, "grads": dict(zip(names, grads))}


def kl(first: Tensor, second: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(first || second) of tempered logits, per image."""
    return kl_divergence(Categorical(logits=first / temperature), Categorical(logits=second / temperature))


def assert_is(found: dict[str, Any], reference: Any) -> None:
    """The total and its gradients are those of ``reference(clean, adv)``, the student's logits."""
    logits = {name: STUDENT[name].clone().requires_grad_() for name in BOTH}
    expected = reference(*logits.values())
    torch.testing.assert_close(found["total"], expected, rtol=1e-9, atol=1e-12)
    for name, grad in zip(BOTH, torch.autograd.grad(expected, list(logits.values()), materialize_grads=True)):
        mine = found["grads"].get(name)
        mine = torch.zeros_like(grad) if mine is None else mine
        torch.testing.assert_close(mine, grad, rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------------------------------------ the terms' formulas


@pytest.mark.parametrize(("weight", "temperature", "scale"), [(1.0, 30.0, None), (0.3, 4.0, None), (0.5, 2.0, 1.0)])
def test_ard(weight: float, temperature: float, scale: float | None) -> None:
    def reference(clean: Tensor, adv: Tensor) -> Tensor:
        soft = kl(TEACHERS["clean"], adv, temperature).sum() / 6  # batchmean
        factor = 1 / 7 if scale is None else scale  # PyTorch's 'mean' divides by the classes, too
        loss = weight * temperature**2 * factor * soft
        return loss + (1 - weight) * F.cross_entropy(clean, LABELS)

    assert_is(found := scalars(ARD(weight, temperature=temperature, scale=scale)), reference)
    soft = kl(TEACHERS["clean"], STUDENT["adv"], temperature).mean()
    torch.testing.assert_close(found["teacher_kl_adv"], soft)


def test_ards_default_divides_by_images_and_classes() -> None:
    p, q = (TEACHERS["clean"] / 30).softmax(1), (STUDENT["adv"] / 30).softmax(1)
    torch.testing.assert_close(scalars(ARD())["loss_ard"], 900 * (p * (p / q).log()).mean())


@pytest.mark.parametrize(("share", "scale"), [(1 / 6, 0.1), (0.5, 1.0), (0.0, 0.1), (1.0, 0.1)])
def test_rslad(share: float, scale: float) -> None:
    def reference(clean: Tensor, adv: Tensor) -> Tensor:
        hard, easy = kl(TEACHERS["clean"], adv).mean(), kl(TEACHERS["clean"], clean).mean()
        return scale * ((1 - share) * hard + share * easy)

    term = RSLAD(share, scale=scale)
    assert_is(scalars(term), reference)
    assert_is(scalars(term, names=term.needs), reference)  # a view without weight is not needed


@pytest.mark.parametrize("weigh_teacher", [False, True])
@pytest.mark.parametrize(("weight", "temperature", "power"), [(1.0, 1.0, 0.1), (0.4, 5.0, 2.0)])
def test_iad(weight: float, temperature: float, power: float, weigh_teacher: bool) -> None:
    trust = TEACHERS["adv"].softmax(1)[torch.arange(6), LABELS] ** power

    def reference(clean: Tensor, adv: Tensor) -> Tensor:
        from_teacher = kl(TEACHERS["clean"], adv, temperature) * (trust if weigh_teacher else 1)
        own = (1 - trust) * kl(clean, adv)  # the gradient flows through both
        loss = temperature**2 * from_teacher.mean() + own.mean()
        return weight * loss + (1 - weight) * F.cross_entropy(clean, LABELS)

    term = IAD(weight, temperature=temperature, power=power, begin=2, weigh_teacher=weigh_teacher)
    for epoch in (2, 9):
        assert_is(found := scalars(term, epoch=epoch), reference)
        torch.testing.assert_close(found["teacher_trust"], trust.mean())
    trust = torch.ones(6).double()  # before it begins
    assert_is(found := scalars(term, epoch=1), reference)
    torch.testing.assert_close(found["teacher_trust"].item(), 1.0)


@pytest.mark.parametrize(("weight", "temperature"), [(0.9, 4.0), (0.2, 20.0)])
def test_kd(weight: float, temperature: float) -> None:
    def reference(clean: Tensor, adv: Tensor) -> Tensor:
        soft = temperature**2 * kl(TEACHERS["clean"], clean, temperature).mean()
        return weight * soft + (1 - weight) * F.cross_entropy(clean, LABELS)

    assert_is(scalars(KD(weight, temperature=temperature)), reference)
    assert_is(scalars(KD(weight, temperature=temperature), names=("clean",)), reference)
    assert_is(scalars(KD(weight, temperature=temperature, keep=1.0)), reference)


@pytest.mark.parametrize(("keep", "count"), [(0.15, 1), (0.3, 2), (0.99, 6)])
def test_a_stingy_teacher_shows_its_largest_logits(keep: float, count: int) -> None:
    def reference(clean: Tensor, adv: Tensor) -> Tensor:
        loss = 0.1 * F.cross_entropy(clean, LABELS)
        for teacher, student in zip(TEACHERS["clean"], clean):
            shown = teacher.argsort(descending=True)[:count]
            p, q = (teacher[shown] / 20).softmax(0), (student / 20).softmax(0)[shown]
            loss = loss + 0.9 * 20**2 * (p * (p / q).log()).sum() / 6
        return loss

    found = scalars(KD(0.9, temperature=20.0, keep=keep))
    assert_is(found, reference)
    assert found["grads"]["clean"].isfinite().all()


def test_the_number_of_shown_classes_is_rounded_down_but_not_by_rounding_errors() -> None:
    # 0.29 * 100 = 28.999999999999996 in floating point.
    for keep, classes, count in ((0.29, 100, 29), (0.57, 100, 57), (0.25, 10, 2), (0.2, 10, 2), (0.1, 1000, 100)):
        logits, batch = draw(2, classes), {TEACHER: draw(2, classes, seed=1)}
        term = KD(1.0, temperature=1.0, keep=keep)
        labels = torch.zeros(2).long()
        value = term([View("clean", logits, output(logits, labels=labels))], batch)["loss_kd"]
        top, shown = batch[TEACHER].topk(count, 1)
        expected = (top.softmax(1) * (top.log_softmax(1) - logits.log_softmax(1).gather(1, shown))).sum(1).mean()
        torch.testing.assert_close(value, expected)


# ------------------------------------------------------------------------------------------------ special cases


def test_a_share_of_nothing_is_training_on_the_labels() -> None:
    def labels_only(clean: Tensor, adv: Tensor) -> Tensor:
        return F.cross_entropy(clean, LABELS)

    for term in (ARD(0.0), KD(0.0), IAD(0.0)):
        assert_is(scalars(term, epoch=99), labels_only)


def test_iad_that_trusts_fully_is_ard() -> None:
    ard = scalars(ARD(temperature=3.0, scale=1.0))
    for term, epoch in ((IAD(temperature=3.0, power=0.0), 99), (IAD(temperature=3.0, begin=5), 4)):
        iad = scalars(term, epoch=epoch)
        torch.testing.assert_close(iad["total"], ard["total"])
        torch.testing.assert_close(iad["grads"]["adv"], ard["grads"]["adv"])
        assert iad["grads"]["clean"].abs().max() < 1e-15


def test_a_student_like_its_teacher_has_nothing_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.STUDENT", {"clean": TEACHERS["clean"], "adv": TEACHERS["clean"]})
    for term in (ARD(), RSLAD(), IAD(begin=0), KD(1.0)):
        found = scalars(term)
        assert found["total"].abs() < 1e-10
        assert all(grad is None or grad.abs().max() < 1e-10 for grad in found["grads"].values())


def test_losses_are_full_precision_and_finite_on_extreme_logits() -> None:
    z = torch.tensor([[1e4, -1e4, 0.0], [0.0, 3e4, -3e4]])
    labels = torch.zeros(2).long()
    for dtype in (torch.float32, torch.bfloat16):
        for term in (ARD(scale=1.0), RSLAD(), KD(), KD(keep=0.4)):
            student = (-z).to(dtype).requires_grad_()
            view = output(student.float(), labels=labels)
            view.logits = student
            batch = {TEACHER: z.to(dtype)}
            found = term([View(name, z, view) for name in BOTH], batch)
            total = torch.stack([v for k, v in found.items() if "loss" in k]).sum()
            assert total.dtype == torch.float32 and total.isfinite()
            assert torch.autograd.grad(total, student)[0].isfinite().all()


# ------------------------------------------------------------------------------------------- the inner objective


def linear(seed: int) -> LinearTask:
    return LinearTask(draw(5, 192, seed=seed, scale=0.3), draw(5, seed=seed + 1))


def test_teacher_kl_is_the_distance_from_the_teachers_clean_prediction() -> None:
    objective, batch = TeacherKL(), {TEACHER: TEACHERS["clean"]}
    z = STUDENT["adv"].clone().requires_grad_()
    score = objective(output(z), batch, x=PIXELS["adv"])
    torch.testing.assert_close(score, kl(TEACHERS["clean"], z), rtol=1e-9, atol=1e-12)
    (grad,) = torch.autograd.grad(score.sum(), z)
    torch.testing.assert_close(grad, z.softmax(1) - TEACHERS["clean"].softmax(1), rtol=1e-9, atol=1e-12)
    assert objective.cost() == (0, 0) and objective.prepare_forwards == 0 and not objective.needs_random_start


def test_an_attack_on_a_linear_student_climbs_the_teachers_kl() -> None:
    student, teacher, batch = linear(1), linear(5), TinyDataset(4).__getitems__(range(4))
    x = batch["inputs"].double().clamp(0.2, 0.8)
    batch = {**batch, "inputs": x, TEACHER: teacher.logits(x).detach()}
    x_adv = PGD(Linf(0.05), 1, step_size=0.05, objective=TeacherKL(), random_start=False)(student, batch)
    weight = student.net[1].weight.detach()
    difference = student.logits(x).softmax(1) - batch[TEACHER].softmax(1)
    expected = x + 0.05 * (difference @ weight).view_as(x).sign()
    torch.testing.assert_close(x_adv, expected.detach())
    # and it is another direction than that of cross-entropy
    plain = PGD(Linf(0.05), 1, step_size=0.05, objective=CrossEntropy(), random_start=False)(student, batch)
    assert not torch.equal(x_adv, plain)


def test_teacher_kl_without_a_teacher_is_one_line() -> None:
    batch = TinyDataset(4).__getitems__(range(4))
    with pytest.raises(ConfigError, match="TeacherKL needs a teacher") as error:
        PGD(Linf(EPS), 1, objective=TeacherKL())(TinyCNNTask(), batch)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="sigmoid"):
        TeacherKL()(output(STUDENT["adv"], link="sigmoid"), {TEACHER: TEACHERS["clean"]}, x=PIXELS["adv"])


# --------------------------------------------------------------------------------------------------- the method


def teacher(seed: int = 3, **settings: Any) -> Adversary:
    return Adversary([TinyCNNTask(seed=seed, double=True, **settings)], origin="taught.safetensors", role="teacher")


def attack(**settings: Any) -> PGD:
    return PGD(Linf(EPS), STEPS, step_size=STEP, seed=5, **settings)


def inner(*terms: Any, views: tuple[str, ...] = BOTH, **settings: Any) -> Adversarial:
    return Adversarial(attack(**settings), views, terms=terms, joint_batch=False)


def step(method: Any, task: Task, *, epoch: int = 2) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Scalars and parameter gradients of one training step."""
    learner = Learner(task, method).train()
    learner.epoch = epoch
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = learner(**TinyDataset(10).__getitems__(range(10)), mode="loss")
    total, _ = learner.parse_losses(found)
    total.backward()
    return {**found, "total": total.detach()}, {name: p.grad for name, p in task.named_parameters()}


def by_hand_rslad(task: TinyCNNTask, frozen: Adversary, start: Tensor) -> Tensor:
    """One step of the authors' loop: their attack on the net in eval mode, two train-mode forwards."""
    batch = TinyDataset(10).__getitems__(range(10))
    x, soft = batch["inputs"].double(), frozen.tasks[0].net((batch["inputs"].double() - 0.5) / 0.25).detach()
    net, x_adv = copy.deepcopy(task.net).eval(), start
    for _ in range(STEPS):
        x_adv = x_adv.detach().requires_grad_()
        score = F.kl_div(F.log_softmax(net((x_adv - 0.5) / 0.25), 1), F.softmax(soft, 1), reduction="sum")
        (grad,) = torch.autograd.grad(score, x_adv)
        x_adv = (x + (x_adv + STEP * grad.sign() - x).clamp(-EPS, EPS)).clamp(0, 1)
    task.net.train()
    z = {name: task.net((pixels.detach() - 0.5) / 0.25) for name, pixels in (("clean", x), ("adv", x_adv))}
    losses = {name: F.kl_div(F.log_softmax(v, 1), F.softmax(soft, 1), reduction="batchmean") for name, v in z.items()}
    return (5 / 6 * losses["adv"] + 1 / 6 * losses["clean"]) / 10


def test_a_step_of_rslad_is_the_authors_loop() -> None:
    task, frozen = TinyCNNTask(double=True, dropout=0.0), teacher()
    by_hand = copy.deepcopy(task)
    batch = TinyDataset(10).__getitems__(range(10))
    start = PGD(Linf(EPS), 1, step_size=0.0, seed=5)(by_hand, batch, epoch=2)  # a step of length zero stays there
    method = Distillation(inner(RSLAD(), objective=dict(type="TeacherKL")), frozen)
    found, gradients = step(method, task)
    loss = by_hand_rslad(by_hand, frozen, start)
    torch.testing.assert_close(found["total"], loss.detach(), rtol=1e-10, atol=0)
    names, parameters = zip(*by_hand.named_parameters())
    for name, expected in zip(names, torch.autograd.grad(loss, parameters)):
        torch.testing.assert_close(gradients[name], expected, rtol=1e-8, atol=1e-12, msg=name)
    for mine, theirs in zip(task.buffers(), by_hand.buffers()):
        torch.testing.assert_close(mine, theirs)


def test_kd_without_the_teachers_share_is_standard_training_bit_for_bit() -> None:
    plain, taught = TinyCNNTask(double=True), TinyCNNTask(double=True)
    expected = step(Standard(), plain)
    found = step(Distillation(Standard([KD(0.0)]), teacher()), taught)
    assert torch.equal(found[0]["total"], expected[0]["total"])
    for name, grad in expected[1].items():
        assert torch.equal(found[1][name], grad), name
    for mine, theirs in zip(taught.buffers(), plain.buffers()):
        assert torch.equal(mine, theirs)


def test_terms_stand_beside_each_other_and_the_nasty_term() -> None:
    frozen, other = teacher(), Adversary([TinyCNNTask(seed=8, double=True)])
    terms = [TaskLoss(), ARD(), KD(), NastyKL(other, 0.06)]
    found, _ = step(Distillation(inner(*terms), frozen), TinyCNNTask(double=True))
    losses = {"loss_ce", "loss_ard", "loss_kd", "loss_kd_hard", "loss_nasty"}
    assert losses == {key for key, value in found.items() if "loss" in key}
    torch.testing.assert_close(found["total"], sum(found[key] for key in losses).detach())


def test_awp_works_inside_and_is_refused_outside() -> None:
    frozen, settings = teacher(), dict(double=True, dropout=0.0)
    plain = step(Distillation(inner(RSLAD()), frozen), TinyCNNTask(**settings))
    still = step(Distillation(AWP(inner(RSLAD()), 0.0), frozen), TinyCNNTask(**settings))
    moved = step(Distillation(AWP(inner(RSLAD()), 0.01), frozen), TinyCNNTask(**settings))
    torch.testing.assert_close(still[0]["total"], plain[0]["total"], rtol=1e-10, atol=0)
    assert moved[0]["total"] > plain[0]["total"]
    for wrapper in (AWP, SAM):
        with pytest.raises(ConfigError, match="Distillation"):
            wrapper(Distillation(inner(RSLAD()), frozen))


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
        (lambda: Standard([KD()]), (2, 1)),
        (lambda: inner(ARD(), views=("adv",)), (6, 5)),
        (lambda: inner(ARD(0.5)), (7, 6)),
        (lambda: inner(RSLAD(), objective=dict(type="TeacherKL")), (7, 6)),
        (lambda: inner(IAD()), (8, 6)),
        (lambda: AWP(inner(RSLAD())), (9, 8)),
        (lambda: AWP(inner(IAD())), (11, 8)),
    ],
    ids=["kd", "ard", "ard-hard", "rslad", "iad", "rslad-awp", "iad-awp"],
)
def test_cost_is_what_goes_through_the_networks(make: Any, expected: tuple[int, int]) -> None:
    task, frozen, counter = TinyCNNTask(double=True), teacher(), Counter()
    task.net.append(counter)
    frozen.tasks[0].net.append(counter)
    method = Distillation(make(), frozen)
    step(method, task)
    assert (counter.forwards / 10, counter.backwards / 10) == expected
    assert method.cost() == expected


def test_an_ensemble_teaches_the_mean_of_its_logits_and_costs_each_member() -> None:
    members = [TinyCNNTask(seed=s, double=True) for s in (3, 4)]
    both = Adversary(members, role="teacher")
    method = Distillation(Standard([KD(1.0, temperature=1.0)]), both)
    assert method.cost() == (3, 1) and Distillation(inner(IAD()), both).cost() == (10, 6)
    task = TinyCNNTask(double=True, dropout=0.0)
    net = copy.deepcopy(task).net.train()
    found, _ = step(method, task)
    x = (TinyDataset(10).__getitems__(range(10))["inputs"].double() - 0.5) / 0.25
    mean = (members[0].net(x) + members[1].net(x)) / 2
    torch.testing.assert_close(found["total"], kl(mean, net(x)).mean().detach())


def test_the_teacher_stays_as_it_is_and_is_no_part_of_the_learner() -> None:
    frozen, task = teacher(dropout=0.5), TinyCNNTask(double=True)
    before = copy.deepcopy(frozen.tasks[0].state_dict())
    method = Distillation(inner(IAD(begin=0), bn_mode="train"), frozen)
    learner = Learner(task, method)
    assert set(learner.state_dict()) == {f"task.{key}" for key in task.state_dict()}
    assert len(list(learner.parameters())) == len(list(task.parameters()))
    generator = torch.get_rng_state()
    for _ in range(2):
        step(method.train().requires_grad_(True), task)
    assert torch.equal(torch.get_rng_state(), generator)
    for p in frozen.tasks[0].parameters():
        assert p.grad is None and not p.requires_grad
    assert not any(module.training for module in frozen.tasks[0].modules())
    assert all(torch.equal(value, before[key]) for key, value in frozen.tasks[0].state_dict().items())
    assert all(module.training for module in task.modules())


def test_the_batch_of_the_loader_is_left_alone() -> None:
    batch = TinyDataset(6).__getitems__(range(6))
    keys = set(batch)
    method, task = Distillation(Standard([KD()]), Adversary([TinyCNNTask(seed=3)])), TinyCNNTask()
    method(task, batch, epoch=0)
    assert set(batch) == keys


def test_bfloat16_autocast_keeps_the_losses_in_float32() -> None:
    frozen = Adversary([TinyCNNTask(seed=3)], role="teacher")
    method = Distillation(inner(RSLAD(), IAD(begin=0), objective=dict(type="TeacherKL")), frozen)
    learner = Learner(TinyCNNTask(), method, amp="bfloat16").train()
    found = learner(**TinyDataset(10).__getitems__(range(10)), mode="loss")
    assert {found[key].dtype for key in found if "loss" in key or "teacher" in key} == {torch.float32}


def test_soft_labels_reach_the_hard_part_and_iad_refuses_them() -> None:
    soft = torch.full((6, 7), 1 / 7, dtype=torch.float64)
    found = scalars(KD(0.5), labels=soft)
    torch.testing.assert_close(found["loss_kd_hard"], 0.5 * F.cross_entropy(STUDENT["clean"], soft))
    with pytest.raises(ConfigError, match="soft labels"):
        scalars(IAD(), labels=soft)


# ------------------------------------------------------------------------------------------------- bad settings


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ARD(1.2), r"ARD needs weight in \[0, 1\]; got 1.2"),
        (lambda: ARD(temperature=0.0), "ARD needs temperature > 0"),
        (lambda: ARD(temperature=float("inf")), "temperature > 0"),
        (lambda: ARD(scale=-1.0), "ARD needs scale > 0"),
        (lambda: RSLAD(-0.1), "RSLAD needs clean_share"),
        (lambda: RSLAD(scale=0.0), "RSLAD needs scale > 0"),
        (lambda: IAD(float("nan")), "IAD needs weight"),
        (lambda: IAD(power=-1.0), "power >= 0"),
        (lambda: IAD(begin=-1), "begin >= 0"),
        (lambda: KD(temperature=-4.0), "KD needs temperature > 0"),
        (lambda: KD(keep=0.0), r"keep in \(0, 1\]"),
        (lambda: KD(keep=2), r"keep in \(0, 1\]"),
        (lambda: Distillation(Standard(), teacher()), "no term follows the teacher .got TaskLoss.: add ARD"),
        (lambda: Distillation(Distillation(Standard([KD()]), teacher()), teacher()), "one teacher"),
        (lambda: Distillation(Standard([KD()]), "wrn.py"), "teacher is a dict .* got 'wrn.py'"),
        (lambda: Distillation(Standard([KD()]), {"state": "random"}), "teacher needs config="),
        (lambda: METHODS.build(dict(type="Distillation", method=dict(type="Standard"))), "teacher"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            lambda: Distillation(Standard([KD()]), Adversary([TinyCNNTask(4)], role="teacher")),
            "the teacher has 4 class",
        ),
        (lambda: Distillation(Standard([KD(keep=0.1)]), teacher()), "keep=0.1 of 5 classes leaves none: .* 0.2"),
        (lambda: Standard([KD()]), "KD follows a teacher and there is none: write method=dict.type='Distillation'"),
        (lambda: Distillation(Standard([RSLAD()]), teacher()), "RSLAD needs the view 'adv'"),
        (lambda: Distillation(inner(RSLAD(), views=("adv",)), teacher()), "RSLAD needs the view 'clean'"),
        (lambda: Distillation(inner(ARD(0.9), views=("adv",)), teacher()), "ARD needs the view 'clean'"),
        (lambda: Distillation(inner(KD(), views=("adv",)), teacher()), "KD needs the view 'clean'"),
        (lambda: Distillation(Standard([IAD()]), teacher()), "IAD needs the view 'adv'"),
    ],
)
def test_misfits_are_found_before_training(method: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        method().prepare(TinyCNNTask(5), CPU)
    assert "\n" not in str(error.value)


def test_the_wrong_input_size_is_found_before_training() -> None:
    small, large = TinyCNNTask(), TinyCNNTask()
    small.input_size, large.input_size = (3, 8, 8), (3, 32, 32)
    method = Distillation(Standard([KD()]), Adversary([small], role="teacher"))
    with pytest.raises(ConfigError, match=r"the teacher takes inputs of \(3, 8, 8\).*train the teacher at"):
        method.prepare(large, CPU)


def test_heads_that_are_no_softmax_and_rows_that_are_no_images_are_refused() -> None:
    view = View("clean", PIXELS["clean"], output(STUDENT["clean"], link="sigmoid"))
    with pytest.raises(ConfigError, match="KD compares classes of one softmax; got a 'sigmoid' head"):
        KD()([view], {TEACHER: TEACHERS["clean"]})

    class Anchors(Adversary):
        def logits(self, batch: Any, x: Tensor, **settings: Any) -> Tensor:
            return torch.zeros(3 * len(x), 5)

    method = Distillation(Standard([KD()]), Anchors([TinyCNNTask()]))
    with pytest.raises(ConfigError, match="18 rows for 6: use it with a classifier"):
        method(TinyCNNTask(), TinyDataset(6).__getitems__(range(6)), epoch=0)


def test_descriptions_say_what_was_learned_from_whom() -> None:
    term = TERMS.build(dict(type="ARD", weight=0.5))
    Distillation(inner(term), teacher())
    settings = dict(type="ARD", weight=0.5, temperature=30.0, teacher="taught.safetensors")
    assert term.describe() == settings
    assert KD(keep=0.2).describe() == dict(type="KD", weight=0.9, temperature=4.0, keep=0.2, teacher=None)


# ------------------------------------------------------------------------------------------ a training from a config

BASE: dict[str, Any] = {
    "custom_imports": {"imports": ["natx.testing"]},
    "seed": 0,
    "data": {
        "train": {"type": "TinyDataset", "count": 30, "uint8": True},
        "test": {"type": "TinyDataset", "count": 10, "uint8": True, "seed": 9},
        "heldout": 5,
        "batch_size": 5,
    },
    "task": {"type": "TinyCNNTask"},
    "method": {"type": "Standard"},
    "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
    "train_cfg": {"max_epochs": 1},
    "threat": {"type": "Linf", "eps": EPS},
    "vis_backends": [{"type": "LocalVisBackend"}],
}


def write(path: Path, **changes: Any) -> str:
    path.write_text("".join(f"{key} = {value!r}\n" for key, value in {**BASE, **changes}.items()))
    return str(path)


def taught(config: str, name: str = "KD", **settings: Any) -> dict[str, Any]:
    method = {"type": "Standard", "terms": [{"type": name, **settings}]}
    return {"type": "Distillation", "teacher": {"config": config}, "method": method}


def test_a_teacher_is_trained_first_once_and_its_own_adversary_before_it(tmp_path: Path) -> None:
    vanilla = write(tmp_path / "vanilla.py", seed=4)
    nasty = {"type": "NastyKL", "weight": 0.1, "on": ("clean",), "adversary": {"config": vanilla}}
    nasty = write(tmp_path / "nasty.py", seed=3, method={"type": "Standard", "terms": [{"type": "TaskLoss"}, nasty]})
    config = load_config(write(tmp_path / "student.py", method=taught(nasty)))
    plan = "\n".join(describe_plan(config, tmp_path / "first", device=CPU))
    assert re.search(r"nasty\.py, trained first into .*\n  frozen model: .*vanilla\.py, trained first into ", plan)
    assert "cost: 2 forwards and 1 backwards" in plan and not (tmp_path / "adversaries").exists()

    train(config, tmp_path / "first", device=CPU)
    weights = sorted((tmp_path / "adversaries").glob("*/best.safetensors"))
    assert [path.parent.name.split("-")[0] for path in weights] == ["nasty", "vanilla"]
    plan = "\n".join(describe_plan(config, tmp_path / "second", device=CPU))
    assert f"nasty.py, reused from {weights[0].parent}" in plan and "trained first" not in plan

    given = copy.deepcopy(config)
    (entry,) = frozen_models(given)
    entry["checkpoint"] = str(weights[0])
    train(given, tmp_path / "given", device=CPU)
    first, same = (load_file(tmp_path / run / "last.safetensors") for run in ("first", "given"))
    assert first.keys() == same.keys() and all(torch.equal(first[key], same[key]) for key in first)

    write(tmp_path / "vanilla.py", seed=5)  # the teacher's own config is as it was
    plan = "\n".join(describe_plan(config, tmp_path / "third", device=CPU))
    assert re.search(r"nasty\.py, trained first into .*\n  frozen model: .*vanilla\.py, trained first into ", plan)
    assert str(weights[0].parent) not in plan and str(weights[1].parent) not in plan


def test_a_teacher_that_does_not_fit_stops_before_anything_is_trained(tmp_path: Path) -> None:
    other = write(tmp_path / "other.py", task={"type": "LinearTask", "weight": [[0.0] * 192] * 4})
    method = taught(other)
    method["teacher"] = {"task": {"type": "TinyCNNTask", "num_classes": 4}, "state": "random"}
    with pytest.raises(ConfigError, match="the teacher has 4 classes, the target 5"):
        train(load_config(write(tmp_path / "student.py", method=method)), tmp_path / "run", device=CPU)
    with pytest.raises(ConfigError, match="the teacher has 4 classes, the target 5"):
        describe_plan(load_config(write(tmp_path / "student.py", method=taught(other))), tmp_path / "run", device=CPU)
    assert not list(tmp_path.rglob("*.safetensors"))
