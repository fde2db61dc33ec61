from __future__ import annotations

import copy
import functools
import logging
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.attacks import (
    APGD,
    FGSM,
    PGD,
    Attack,
    AutoAttack,
    AutoPGD,
    FriendlyPGD,
    PatchPGD,
    SingleStep,
    Square,
    Targeted,
    Transfer,
    WorstOf,
    build_attack,
)
from natx.attacks.patch import Patch
from natx.errors import ConfigError, ConstraintError
from natx.models.adversary import Adversary
from natx.objectives import Adaptive
from natx.testing import LinearTask, TinyCNNTask, TinyDataset, WrappedTask, fit
from natx.threat import L2, Linf, ThreatModel


class Interrupt(BaseException):
    """Like Ctrl-C: no Exception, so nothing may swallow it."""


class Probe(nn.Module):
    """Passes logits on and counts the images that go forward and backward; raises at a given forward."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards = self.backwards = self.calls = 0
        self.stop_at: int | None = None

    def forward(self, logits: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.stop_at:
            raise Interrupt
        return _Count.apply(logits, self)


class _Count(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, probe: Probe) -> Tensor:
        ctx.probe = probe
        probe.forwards += len(logits)
        return logits.clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        ctx.probe.backwards += len(grad)
        return grad, None


def probed(task: WrappedTask) -> Probe:
    probe = Probe()
    task.net.append(probe)
    return probe


@dataclass(frozen=True)
class Case:
    """A row of the attack table.

    ``keyed``: each image is attacked by itself, so that masks and any batch composition are allowed. Attacks of a
    library work on fixed blocks.
    """

    name: str
    make: Callable[..., Attack]
    keyed: bool = True


class Float64Inside(WrappedTask):
    """Takes pixels of any precision and answers in it."""

    def logits(self, x: Tensor) -> Tensor:
        return super().logits(x.double()).to(x.dtype)


LINF, STEP = Linf(20 / 255), 4 / 255
ADVERSARY = Adversary([Float64Inside(TinyCNNTask(double=True, seed=7).net, 5, mean=0.5, std=0.25)])
ADVERSARY_PROBE = probed(ADVERSARY.tasks[0])
TABLE = [
    Case("pgd_ce", lambda **k: PGD(LINF, 6, step_size=STEP, **k)),
    Case("pgd_margin", lambda **k: PGD(LINF, 6, step_size=STEP, objective=dict(type="Margin"), **k)),
    Case("pgd_dlr", lambda **k: PGD(LINF, 6, step_size=STEP, objective=dict(type="DLR"), **k)),
    Case("pgd_kl", lambda **k: PGD(LINF, 6, step_size=STEP, objective=dict(type="KL"), **k)),
    Case("pgd_kl_restarts", lambda **k: PGD(LINF, 6, step_size=STEP, objective=dict(type="KL"), restarts=2, **k)),
    Case("pgd_restarts", lambda **k: PGD(LINF, 4, step_size=STEP, restarts=3, **k)),
    Case("pgd_milestones", lambda **k: PGD(LINF, 6, step_size=STEP, milestones=(1, 4, 6), **k)),
    Case("pgd_no_start", lambda **k: PGD(LINF, 6, step_size=STEP, random_start=False, **k)),
    Case("pgd_adaptive", lambda **k: PGD(LINF, 6, step_size=STEP, objective=Adaptive(ADVERSARY, 0.06), **k)),
    Case(
        "pgd_adaptive_restarts",
        lambda **k: PGD(LINF, 6, restarts=2, step_size=STEP, objective=Adaptive(ADVERSARY, 0.06), **k),
    ),
    Case(
        "pgd_normal",
        lambda **k: PGD(LINF, 6, step_size=STEP, objective=dict(type="KL"), random_start="normal", start_std=0.01, **k),
    ),
    Case("friendly", lambda **k: FriendlyPGD(LINF, 6, step_size=STEP, tau=2, omega=0.01, **k)),
    Case("pgd_l2", lambda **k: PGD(L2(0.8), 6, step_size=0.2, **k)),
    Case("pgd_l2_restarts", lambda **k: PGD(L2(0.8), 4, step_size=0.2, restarts=2, **k)),
    Case(
        "worst_of",
        lambda **k: WorstOf(
            LINF,
            [dict(type="PGD", steps=6, step_size=STEP, objective=dict(type=name)) for name in ("CrossEntropy", "DLR")],
            objective=dict(type="CrossEntropy"),
            **k,
        ),
    ),
    Case("fgsm", lambda **k: FGSM(LINF, **k)),
    Case("fgsm_rs", lambda **k: SingleStep(LINF, **k)),
    Case("fgsm_l2", lambda **k: FGSM(L2(0.8), **k)),
    Case("pgd_momentum", lambda **k: PGD(LINF, 6, step_size=STEP, momentum=1.0, **k)),
    Case("pgd_momentum_restarts", lambda **k: PGD(L2(0.8), 4, step_size=0.2, momentum=0.7, restarts=2, **k)),
    Case("pgd_gap", lambda **k: PGD(LINF, 6, step_size=STEP, objective=dict(type="RescaledCrossEntropy"), **k)),
    Case(
        "pgd_deviation",
        lambda **k: PGD(LINF, 6, step_size=STEP, objective=dict(type="RescaledCrossEntropy", scale="deviation"), **k),
    ),
    Case("autopgd", lambda **k: AutoPGD(LINF, 9, **k)),
    Case("autopgd_l2_restarts", lambda **k: AutoPGD(L2(0.8), 6, restarts=2, objective=dict(type="Margin"), **k)),
    Case("autopgd_adaptive", lambda **k: AutoPGD(LINF, 6, objective=Adaptive(ADVERSARY, 0.06), **k)),
    Case(
        "targeted",
        lambda **k: Targeted(
            LINF,
            dict(type="PGD", steps=6, step_size=STEP, objective=dict(type="TargetedCrossEntropy")),
            targets=3,
            **k,
        ),
    ),
    Case(
        "targeted_dlr",
        lambda **k: Targeted(
            L2(0.8), dict(type="AutoPGD", steps=6, objective=dict(type="TargetedDLR")), targets=4, **k
        ),
    ),
    Case(
        "transfer_refined",
        lambda **k: Transfer(
            LINF,
            ADVERSARY,
            dict(type="PGD", steps=3, step_size=STEP),
            refine=dict(type="PGD", steps=4, step_size=STEP, objective=dict(type="Margin")),
            **k,
        ),
    ),
    Case("patch", lambda **k: PatchPGD(Patch(5), 6, step_size=0.2, **k)),
    Case("patch_restarts", lambda **k: PatchPGD(Patch(4, 5), 4, step_size=0.3, restarts=2, momentum=1.0, **k)),
    Case("patch_grid", lambda **k: PatchPGD(Patch(5, 4), 4, step_size=0.3, place="grid", grid=3, restarts=2, **k)),
    Case("patch_corner", lambda **k: PatchPGD(Patch(6, 5, corner=(1, 0), image=None), 6, step_size=0.2, **k)),
    Case("apgd_ce", lambda **k: APGD(LINF, steps=6, **k), keyed=False),
    Case("apgd_dlr", lambda **k: APGD(LINF, steps=6, loss="dlr", **k), keyed=False),
    Case("apgd_targeted", lambda **k: APGD(LINF, steps=6, loss="targeted", **k), keyed=False),
    Case("apgd_l2", lambda **k: APGD(L2(0.8), steps=6, **k), keyed=False),
    Case("square", lambda **k: Square(Linf(50 / 255), queries=80, **k), keyed=False),
    Case("square_l2", lambda **k: Square(L2(2.5), queries=80, **k), keyed=False),
    # So strong that every image breaks early; the whole cascade runs once, in test_pyautoattack.py.
    Case("autoattack", lambda **k: AutoAttack(Linf(32 / 255), **k), keyed=False),
]


def rows(*, keyed: bool | None = None) -> pytest.MarkDecorator:
    cases = [case for case in TABLE if keyed is None or case.keyed == keyed]
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


@functools.cache
def _trained() -> TinyCNNTask:
    return fit(TinyCNNTask(seed=1), TinyDataset(40))


def trained(*, double: bool = True) -> TinyCNNTask:
    """Right on all clean images; the table's attacks break some of them."""
    task = copy.deepcopy(_trained())
    return task.double() if double else task


def images(count: int = 10) -> dict[str, Tensor]:
    return TinyDataset(20, seed=5).__getitems__(range(count))


def length(threat: ThreatModel, delta: Tensor) -> Tensor:
    flat = delta.double().flatten(1)
    return flat.pow(2).sum(1).sqrt() if isinstance(threat, L2) else flat.abs().amax(1)


def chosen(batch: dict[str, Tensor], positions: list[int]) -> dict[str, Tensor]:
    return {key: value[positions] for key, value in batch.items()}


# ---------------------------------------------------------------------------------------------- closed forms


def two_class_scene(seed: int = 0) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Weights, the direction that raises each image's loss, and a batch; some pixels at the rims of [0,1]."""
    generator = torch.Generator().manual_seed(seed)
    weight = 0.3 * torch.randn(2, 27, generator=generator, dtype=torch.float64)
    weight[:, 5] = 0  # this pixel makes no difference: it must not move
    x = torch.rand(6, 3, 3, 3, generator=generator, dtype=torch.float64)
    x[0, 0], x[1, 1] = 0, 1
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    up = (weight[1 - labels] - weight[labels]).view_as(x)
    return weight, up, {"inputs": x, "data_samples": labels, "index": torch.arange(6)}


@pytest.mark.parametrize("objective", ["CrossEntropy", "Margin"])
@pytest.mark.parametrize("random_start", [False, True])
def test_linf_pgd_on_a_linear_model_ends_in_the_corner_of_the_box(objective: str, random_start: bool) -> None:
    weight, up, batch = two_class_scene()
    eps = 0.1
    attack = PGD(Linf(eps), 9, step_size=eps / 4, random_start=random_start, objective=dict(type=objective))
    x_adv = attack(LinearTask(weight), batch)
    expected = (batch["inputs"] + eps * up.sign()).clamp(0, 1)
    decided = up != 0
    assert not decided.all()
    torch.testing.assert_close(x_adv[decided], expected[decided], rtol=0, atol=1e-12)
    if not random_start:
        torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-12)


def test_linf_pgd_descends_the_weight_of_the_true_class() -> None:
    # One class has weight w, the other none: x - eps * sign(w).
    w = torch.linspace(-1, 1, 12, dtype=torch.float64)
    batch = {"inputs": torch.full((1, 3, 2, 2), 0.5), "data_samples": torch.tensor([1]), "index": torch.tensor([0])}
    attack = PGD(Linf(0.2), 5, step_size=0.05, random_start=False)
    x_adv = attack(LinearTask(torch.stack([torch.zeros(12, dtype=torch.float64), w])), batch)
    torch.testing.assert_close(x_adv.flatten(), 0.5 - 0.2 * w.sign(), rtol=0, atol=1e-12)


def test_linf_pgd_too_short_for_the_rim_moves_by_its_steps() -> None:
    weight, up, batch = two_class_scene()
    x_adv = PGD(Linf(0.1), 3, step_size=0.01, random_start=False)(LinearTask(weight), batch)
    torch.testing.assert_close(x_adv, (batch["inputs"] + 0.03 * up.sign()).clamp(0, 1), rtol=0, atol=1e-12)


def test_l2_pgd_on_a_linear_model_moves_eps_along_the_gradient() -> None:
    weight, up, batch = two_class_scene()
    batch["inputs"] = 0.3 + 0.4 * batch["inputs"]  # [0,1] does not bind
    x_adv = PGD(L2(0.25), 6, step_size=0.1, random_start=False)(LinearTask(weight), batch)
    direction = up / up.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(x_adv, batch["inputs"] + 0.25 * direction, rtol=0, atol=1e-9)


@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.3)], ids=str)
def test_fgsm_is_one_step_of_eps_from_the_clean_image(threat: ThreatModel) -> None:
    generator = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(4, 27, generator=generator).double(), torch.randn(4, generator=generator).double()
    x = 0.2 + 0.6 * torch.rand(5, 3, 3, 3, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 1])
    p = F.softmax(x.flatten(1) @ weight.T + bias, dim=1)
    grad = ((p - F.one_hot(labels, 4)) @ weight).view_as(x)
    step = grad.sign() if isinstance(threat, Linf) else grad / grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    batch = {"inputs": x, "data_samples": labels, "index": torch.arange(5)}
    x_adv = FGSM(threat)(LinearTask(weight, bias), batch)
    torch.testing.assert_close(x_adv, x + threat.eps * step, rtol=0, atol=1e-9)


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.6)], ids=str)
def test_momentum_is_a_plain_loop_of_mi_fgsm(threat: ThreatModel) -> None:
    """Each image's gradient over its L1 norm joins 0.6 of the sum so far, which is followed."""
    task, batch = trained().eval(), images(4)
    x, labels = batch["inputs"].double(), batch["data_samples"]
    expected = torch.empty_like(x)
    for i in range(4):
        image, current, total = x[i : i + 1], x[i : i + 1], torch.zeros_like(x[i : i + 1])
        for _ in range(5):
            leaf = current.clone().requires_grad_()
            (grad,) = torch.autograd.grad(F.cross_entropy(task.logits(leaf), labels[i : i + 1]), leaf)
            total = 0.6 * total + grad / grad.abs().sum()
            if isinstance(threat, Linf):
                delta = (current + 0.04 * total.sign() - image).clamp(-0.1, 0.1)
            else:
                delta = current + 0.2 * total / total.norm() - image
                delta = delta * min(1.0, 0.6 / float(delta.norm()))
            current = (image + delta).clamp(0, 1)
        expected[i] = current[0]
    size = 0.04 if isinstance(threat, Linf) else 0.2
    attack = PGD(threat, 5, step_size=size, momentum=0.6, random_start=False)
    torch.testing.assert_close(attack(task, batch), expected, rtol=0, atol=1e-9)


def test_restarts_keep_the_best_start() -> None:
    # A random start alone (no steps) on a linear model: the kept start has the largest margin of all.
    weight, _, batch = two_class_scene()
    weight[0] += 10 * weight.abs().max()  # no image breaks, so the score alone decides
    batch["data_samples"] = torch.zeros(6, dtype=torch.int64)
    batch["inputs"] = 0.3 + 0.4 * batch["inputs"]
    task = LinearTask(weight)

    def score(x: Tensor) -> Tensor:
        return x.flatten(1) @ (weight[1] - weight[0])

    attacks = [PGD(Linf(0.2), 1, step_size=0.0, restarts=r, objective=dict(type="Margin")) for r in (1, 2, 3, 4)]
    scores = [score(attack(task, batch)) for attack in attacks]
    assert all((later >= earlier).all() for earlier, later in zip(scores, scores[1:]))
    assert (scores[3] > scores[0]).any()


# ------------------------------------------------------------------------------------------------- the table


@rows()
@pytest.mark.parametrize("entry", ["call", "any", "last"])
def test_result_is_allowed_and_does_harm(case: Case, entry: str) -> None:
    task, batch, attack = trained(double=False), images(), case.make()
    inputs = batch["inputs"].clone()
    x_adv = attack(task, batch) if entry == "call" else attack.judge(task, batch, success=entry).x_adv
    assert x_adv.shape == inputs.shape and x_adv.dtype == torch.float32 and not x_adv.requires_grad
    assert torch.isfinite(x_adv).all() and x_adv.min() >= 0 and x_adv.max() <= 1
    assert (length(attack.threat, x_adv - inputs) <= attack.threat.radius + 1e-5).all()
    assert torch.equal(batch["inputs"], inputs) and set(batch) == {"inputs", "data_samples", "index"}
    with torch.no_grad():
        assert (task.logits(inputs).argmax(1) == batch["data_samples"]).all()
        broken = task.logits(x_adv).argmax(1) != batch["data_samples"]
    assert broken.any()


@rows()
@pytest.mark.parametrize("success", ["any", "last"])
def test_judged_outcomes_are_those_of_the_returned_images(case: Case, success: str) -> None:
    task, batch, attack = trained(double=False), images(), case.make()
    found = attack.judge(task, batch, success=success)
    assert list(found.broken) == attack.columns()
    with torch.no_grad():
        wrong = task.logits(found.x_adv).argmax(1) != batch["data_samples"]
    assert torch.equal(found.broken[attack.columns()[-1]], wrong)


class Masked(WrappedTask):
    """The last one to three columns of each image are padding."""

    def perturbable(self, batch: dict[str, Tensor]) -> Tensor:
        mask = torch.ones(len(batch["index"]), 1, 8, 8)
        for row, index in enumerate(batch["index"].tolist()):
            mask[row, :, :, 7 - index % 3 :] = 0
        return mask


@rows(keyed=True)
@pytest.mark.parametrize("entry", ["call", "any", "last"])
def test_masked_pixels_stay(case: Case, entry: str) -> None:
    task, batch, attack = Masked(trained().net, 5), images(), case.make()
    x, outside = task.pixels(batch), (task.perturbable(batch) == 0).expand(-1, 3, -1, -1)
    x_adv = attack(task, batch) if entry == "call" else attack.judge(task, batch, success=entry).x_adv
    assert torch.equal(x_adv[outside], x[outside])
    # Every allowed pixel may move: a border between mask and image in the wrong place would show.
    allowed = (
        attack.threat.height * attack.threat.width * 3 * 10 if isinstance(attack.threat, Patch) else (~outside).sum()
    )
    assert entry != "call" or (x_adv != x)[~outside].sum() > 0.8 * allowed


def scene() -> tuple[TinyCNNTask, Probe]:
    """A task in the middle of training: a frozen batch norm, a frozen parameter, a gradient left over."""
    task = trained(double=False)
    probe = probed(task)
    task.train()
    task.net[1].eval()
    task.net[0].bias.requires_grad_(False)
    task.net[3].weight.grad = torch.full_like(task.net[3].weight, 0.25)
    return task, probe


def snapshot(task: nn.Module) -> dict[str, Any]:
    logger = logging.getLogger("auto-attack")
    state = {
        "modes": [m.training for m in task.modules()],
        "flags": [p.requires_grad for p in task.parameters()],
        "grads": [p.grad if p.grad is None else p.grad.clone() for p in task.parameters()],
        "tensors": [t.detach().clone() for t in (*task.parameters(), *task.buffers())],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),
        "python": random.getstate(),
        "trace": sys.gettrace(),
        "grad mode": torch.is_grad_enabled(),
        "logger": (list(logger.handlers), logger.level, logger.propagate),
    }
    return copy.copy(state)


def assert_same(before: Any, after: Any, where: str = "") -> None:
    if isinstance(before, (list, tuple)):
        assert len(before) == len(after), where
        for i, pair in enumerate(zip(before, after)):
            assert_same(*pair, f"{where}[{i}]")
    elif isinstance(before, Tensor):
        assert torch.equal(before, after), where
    elif isinstance(before, np.ndarray):
        assert np.array_equal(before, after), where
    else:
        assert before == after, where


@contextmanager
def traced() -> Iterator[None]:
    """A debugger or a coverage tool is at work."""
    old = sys.gettrace()
    sys.settrace(lambda frame, event, argument: None)
    try:
        yield
    finally:
        sys.settrace(old)


@rows()
@pytest.mark.parametrize("bn_mode", ["eval", "train"])
@pytest.mark.parametrize("entry", ["call", "judge"])
def test_leaves_no_trace(case: Case, entry: str, bn_mode: str) -> None:
    attack = case.make(bn_mode=bn_mode)
    with torch.random.fork_rng():
        task, probe = scene()
        torch.manual_seed(99)
        with traced():
            before = snapshot(task)
            attack(task, images(6)) if entry == "call" else attack.judge(task, images(6))
            after = snapshot(task)
    assert probe.calls > 0
    for name in before:
        assert_same(before[name], after[name], name)


INTERRUPTIONS = [
    pytest.param(case, entry, moment, id=f"{case.name}-{entry}-{moment}")
    for case in TABLE
    for entry in ("call", "judge")
    # The seventh forward of a library attack runs under the trace function that the library installs.
    for moment in ((1, 2) if case.keyed else (1, 2, 7))
    if not (case.name.startswith("fgsm") and entry == "call" and moment == 2)  # has one forward
]


@pytest.mark.parametrize(("case", "entry", "moment"), INTERRUPTIONS)
def test_leaves_no_trace_when_interrupted(case: Case, entry: str, moment: int) -> None:
    attack = case.make(bn_mode="train")
    with torch.random.fork_rng():
        task, probe = scene()
        probe.stop_at = moment
        torch.manual_seed(99)
        with traced():
            before = snapshot(task)
            with pytest.raises(Interrupt):
                attack(task, images(6)) if entry == "call" else attack.judge(task, images(6))
            after = snapshot(task)
    for name in before:
        assert_same(before[name], after[name], name)


@rows()
def test_result_ignores_the_global_generators(case: Case) -> None:
    results = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            results.append(case.make()(trained(double=False), images(6)))
    assert torch.equal(*results)


@rows(keyed=True)
@pytest.mark.parametrize("entry", ["call", "any", "last"])
def test_an_image_is_attacked_the_same_in_any_batch(case: Case, entry: str) -> None:
    task, batch, attack = trained(), images(), case.make(seed=3)

    def result(positions: list[int]) -> tuple[Tensor, Tensor]:
        part = chosen(batch, positions)
        if entry == "call":
            x_adv = attack(task, part)
            return x_adv, task.logits(x_adv).argmax(1) != part["data_samples"]
        found = attack.judge(task, part, success=entry)
        return found.x_adv, torch.stack(list(found.broken.values()), 1)

    with torch.no_grad():
        x_adv, broken = result(list(range(10)))
        assert broken.any()
        for parts in ([list(range(9, -1, -1))], [[i] for i in range(10)], [[4, 0, 7], [1, 9, 9, 2], [3, 8, 6, 5, 0]]):
            for positions in parts:
                again, outcome = result(positions)
                assert torch.equal(outcome, broken[positions])
                torch.testing.assert_close(again, x_adv[positions], rtol=0, atol=1e-9)


@rows(keyed=True)
def test_seed_and_epoch_decide_the_random_start(case: Case) -> None:
    task, batch = trained(), images(4)
    first = case.make(seed=3)(task, batch, epoch=1)
    assert torch.equal(case.make(seed=3)(task, batch, epoch=1), first)
    random_start = case.name not in ("pgd_no_start", "fgsm", "fgsm_l2")
    assert torch.equal(case.make(seed=3)(task, batch, epoch=2), first) != random_start
    assert torch.equal(case.make(seed=4)(task, batch, epoch=1), first) != random_start


@rows(keyed=True)
def test_bn_train_attacks_through_the_batch_statistics(case: Case) -> None:
    task, batch = trained(), images(6)
    task.net[1].running_mean += 0.7  # makes batch and running statistics differ for certain
    stateless = copy.deepcopy(task)
    for position in (1, 4):  # the same layers, without any running statistics to use
        old = task.net[position]
        new = nn.BatchNorm2d(old.num_features, eps=old.eps, track_running_stats=False).double()
        new.load_state_dict({"weight": old.weight, "bias": old.bias})
        stateless.net[position] = new
    buffers = [b.clone() for b in task.buffers()]
    x_adv = case.make(bn_mode="train")(task, batch)
    torch.testing.assert_close(x_adv, case.make()(stateless, batch), rtol=0, atol=1e-9)
    assert not torch.equal(x_adv, case.make()(task, batch))
    assert_same(buffers, list(task.buffers()))


@rows()
@pytest.mark.parametrize("entry", ["any", "last"])
def test_judged_cost_is_what_went_through_the_networks(case: Case, entry: str) -> None:
    task = trained(double=False)
    probe, old = probed(task), (ADVERSARY_PROBE.forwards, ADVERSARY_PROBE.backwards)
    cost = case.make().judge(task, images(), success=entry).cost
    forwards = probe.forwards + ADVERSARY_PROBE.forwards - old[0]
    backwards = probe.backwards + ADVERSARY_PROBE.backwards - old[1]
    assert (cost.forwards, cost.backwards) == (forwards, backwards)
    assert forwards > 0 and (backwards > 0) == (not case.name.startswith("square"))


@rows(keyed=True)
def test_training_cost_is_known_in_advance(case: Case) -> None:
    task, attack = trained(), case.make()
    probe, old = probed(task), (ADVERSARY_PROBE.forwards, ADVERSARY_PROBE.backwards)
    attack(task, images())
    forwards = probe.forwards + ADVERSARY_PROBE.forwards - old[0]
    backwards = probe.backwards + ADVERSARY_PROBE.backwards - old[1]
    assert attack.cost_per_image() == (forwards / 10, backwards / 10)


def test_the_worst_is_judged_by_an_objective_that_looks_at_the_clean_image_first() -> None:
    task, batch = trained(), images()
    parts = [PGD(LINF, 6, step_size=STEP, objective=dict(type=name)) for name in ("CrossEntropy", "Margin")]
    views = [part(task, batch) for part in parts]
    p = task.logits(batch["inputs"].double()).log_softmax(1)
    far = torch.stack(
        [F.kl_div(task.logits(x).log_softmax(1), p, log_target=True, reduction="none").sum(1) for x in views]
    )
    expected = torch.where((far[1] > far[0]).view(-1, 1, 1, 1), views[1], views[0])
    attack = WorstOf(LINF, parts, objective=dict(type="KL"))
    assert torch.equal(attack(task, batch), expected) and 0 < int((far[1] > far[0]).sum()) < 10


def test_a_cost_with_an_unknown_part_is_unknown() -> None:
    """What a library's attack takes depends on the images."""
    parts = [PGD(LINF, 3), Square(LINF)]
    assert Square(LINF).cost_per_image() is None
    assert WorstOf(LINF, parts, objective=dict(type="Margin")).cost_per_image() is None
    assert WorstOf(LINF, parts[:1], objective=dict(type="Margin")).cost_per_image() == (3 + 1, 3)


@rows()
def test_judged_in_full_precision_under_autocast(case: Case) -> None:
    task, batch, attack = trained(double=False), images(6), case.make()
    expected = attack.judge(task, batch).x_adv
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(attack.judge(task, batch).x_adv, expected)


@rows(keyed=False)
def test_float64_networks_pass_through_the_library(case: Case) -> None:
    found = case.make().judge(trained(), images(6))
    assert found.x_adv.dtype == torch.float64 and any(broken.any() for broken in found.broken.values())


@rows()
def test_describes_itself_in_plain_values(case: Case) -> None:
    settings = case.make(seed=4).describe()
    assert settings["threat"] == str(case.make().threat) and settings["seed"] == 4
    assert settings["type"] == type(case.make()).__name__
    assert all(isinstance(value, (str, int, float, tuple)) for value in settings.values())


# ------------------------------------------------------------------------------------------------ the contract


class Escaping(Attack):
    """A faulty attack."""

    def run(self, victim, *, epoch: int = 0) -> Tensor:
        return (victim.x + 2 * self.threat.eps).clamp(0, 1)


def test_a_result_outside_the_ball_is_an_error_and_the_task_is_restored() -> None:
    task, _ = scene()
    before = snapshot(task)
    for entry in (Escaping(LINF), Escaping(LINF).judge):
        with pytest.raises(ConstraintError, match="Linf 20/255"):
            entry(task, images(2))
    after = snapshot(task)
    for name in before:
        assert_same(before[name], after[name], name)


def test_attacks_are_built_from_configs() -> None:
    config = dict(type="PGD", steps=3, threat=dict(type="Linf", eps=4 / 255))
    attack = build_attack(config, threat=Linf(8 / 255))
    assert (attack.steps, attack.threat, attack.columns()) == (3, Linf(4 / 255), ["PGD-3"])
    assert build_attack(dict(type="FGSM"), threat=Linf(8 / 255)).threat == Linf(8 / 255)
    assert build_attack(attack) is attack
    with pytest.raises(ConfigError, match="no threat model"):
        build_attack(dict(type="PGD"))


@pytest.mark.parametrize(
    ("attack", "columns"),
    [
        (PGD(LINF, 20), ["PGD-20"]),
        (PGD(LINF, 100, milestones=(10, 20, 100)), ["PGD-10", "PGD-20", "PGD-100"]),
        (PGD(LINF, 30, name="C&W"), ["C&W"]),
        (FGSM(LINF), ["FGSM"]),
        (APGD(LINF), ["APGD-CE"]),
        (APGD(LINF, loss="targeted"), ["APGD-T"]),
        (AutoPGD(LINF, 50), ["AutoPGD-50"]),
        (Square(LINF), ["Square"]),
        (AutoAttack(LINF), ["AA"]),
    ],
)
def test_column_names(attack: Attack, columns: list[str]) -> None:
    assert attack.columns() == columns


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PGD(LINF, 0), "steps >= 1"),
        (lambda: PGD(LINF, 5, restarts=0), "restarts >= 1"),
        (lambda: PGD(LINF, 5, milestones=(5, 2)), "milestones must rise"),
        (lambda: PGD(LINF, 5, milestones=(2, 4)), "end with steps=5"),
        (lambda: PGD(LINF, 5, milestones=()), "milestones must rise"),
        (lambda: PGD(LINF, 5, momentum=1.5), "sum of gradients, 0 to 1; got 1.5"),
        (lambda: FriendlyPGD(LINF, 5, momentum=1.0), "leave out restarts, milestones and momentum"),
        (lambda: AutoPGD(LINF, 5, step_size=0.1), "decides on its steps by itself; for step_size use PGD"),
        (lambda: AutoPGD(LINF, 5, objective=dict(type="NamedLoss", name="loss_ce")), "NamedLoss is no per-image score"),
        (lambda: FGSM(LINF, random_start=True), "use PGD"),
        (lambda: APGD(LINF, loss="cw"), "'cw'"),
        (lambda: AutoAttack(LINF, version="rand"), "standard"),
        (lambda: Square(LINF, block_size=0), "block_size"),
        (lambda: PGD(LINF, 5).judge(trained(), images(2), success="best"), "'best'"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


class TwoLosses(WrappedTask):
    """A linear net with two losses an image: minus its first and minus its second output."""

    def read(self, raw: Tensor, batch: dict[str, Any], *, rows: Any = None) -> Any:
        output = super().read(raw, batch, rows=rows)
        output.image_losses = {"first": -raw[:, 0], "second": -raw[:, 1]}
        return output


def two_losses() -> tuple[TwoLosses, Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(3, 12, generator=generator, dtype=torch.float64)
    linear = nn.Linear(12, 3, dtype=torch.float64)
    linear.weight.data, linear.bias.data = weight, torch.zeros(3, dtype=torch.float64)
    x = torch.rand(6, 3, 2, 2, generator=generator, dtype=torch.float64) * 0.5 + 0.25
    batch = {"inputs": x, "data_samples": torch.tensor([0, 1, 2, 0, 1, 2]), "index": torch.arange(6)}
    return TwoLosses(nn.Sequential(nn.Flatten(), linear), 3), weight, batch


def test_worst_of_keeps_for_each_image_the_result_with_the_larger_total() -> None:
    """MTD's inner step on a linear net: one signed step on each loss, the larger sum of losses wins."""
    task, weight, batch = two_losses()
    steps = [
        dict(type="PGD", steps=1, step_size=0.1, random_start=False, objective=dict(type="ImageLoss", name=name))
        for name in ("first", "second")
    ]
    found = WorstOf(Linf(0.1), steps, objective=dict(type="ImageLoss"))(task, batch)
    x = batch["inputs"]
    candidates = [x - 0.1 * weight[row].sign().view(3, 2, 2) for row in (0, 1)]
    totals = torch.stack([-(c.flatten(1) @ weight[:2].T).sum(1) for c in candidates])
    expected = torch.where((totals[0] >= totals[1]).view(-1, 1, 1, 1), *candidates)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_worst_of_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(ConfigError, match="at least one attack"):
        WorstOf(LINF, [], objective=dict(type="CrossEntropy"))
    with pytest.raises(ConfigError, match="share its threat model"):
        WorstOf(LINF, [dict(type="FGSM", threat=dict(type="Linf", eps=0.5))], objective=dict(type="CrossEntropy"))
    with pytest.raises(ConfigError, match="image by image"):
        WorstOf(LINF, [dict(type="FGSM")], objective=dict(type="NamedLoss", name="loss_ce"))


def test_image_losses_are_named_when_missing() -> None:
    task, _, batch = two_losses()
    with pytest.raises(ConfigError, match=r"no per-image loss 'third'; it has \['first', 'second'\]"):
        PGD(LINF, 1, objective=dict(type="ImageLoss", name="third"))(task, batch)
    with pytest.raises(ConfigError, match="it has none"):
        PGD(LINF, 1, objective=dict(type="ImageLoss"))(TinyCNNTask(), TinyDataset(4).__getitems__(range(4)))
