"""What PGD.judge() reports, against a loop that never drops an image and against other libraries."""

from __future__ import annotations

import copy
import functools
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from natx.attacks import PGD
from natx.objectives import Objective
from natx.testing import TinyCNNTask, TinyDataset, fit
from natx.threat import L2, Linf

EPS, STEP, MARKS, SEED = 20 / 255, 3 / 255, (1, 3, 6, 10), 4


@functools.cache
def _trained() -> TinyCNNTask:
    return fit(TinyCNNTask(seed=1), TinyDataset(40))


def trained(*, double: bool = True) -> TinyCNNTask:
    task = copy.deepcopy(_trained())
    return task.double() if double else task


def images(count: int = 30, *, mislabelled: int = 3) -> dict[str, Tensor]:
    """Some labels are wrong, so these images are broken from the start."""
    batch = TinyDataset(count, seed=5).__getitems__(range(count))
    batch["data_samples"][:mislabelled] = (batch["data_samples"][:mislabelled] + 1) % 5
    return batch


def noise(count: int, *, seed: int, stream: int) -> Tensor:
    """The counter hash once more, on numpy's unsigned integers."""

    def mix(h: np.ndarray) -> np.ndarray:
        h = (h ^ h >> np.uint32(16)) * np.uint32(0x7FEB352D)
        h = (h ^ h >> np.uint32(15)) * np.uint32(0x846CA68B)
        return h ^ h >> np.uint32(16)

    keys = []
    for salt in (0x243F6A88, 0x13198A2E):
        key = mix(np.arange(count, dtype=np.uint32) ^ np.uint32(salt))
        for word in (seed, 0, 0, stream):
            key = mix(key ^ np.uint32(word * 0x9E3779B1 + 0x7F4A7C15 & 0xFFFFFFFF))
        keys.append(key[:, None])
    bits = mix(mix(np.arange(192, dtype=np.uint32)[None] + keys[0]) ^ keys[1]) >> np.uint32(8)
    return torch.from_numpy(bits.astype(np.float64) / 2**24).view(count, 3, 8, 8)


def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(z, y, reduction="none")


def carlini_wagner(z: Tensor, y: Tensor) -> Tensor:
    others = z.masked_fill(F.one_hot(y, z.shape[1]).bool(), -1e9)
    return others.max(1).values - z.gather(1, y[:, None])[:, 0]


def trajectory(
    task: TinyCNNTask, batch: dict[str, Tensor], *, steps: int, random_start: bool, stream: int = 0, loss=cross_entropy
) -> tuple[Tensor, Tensor]:
    """Iterates ``[steps + 1, N, ...]`` of Linf PGD and whether each is misclassified; nobody ever leaves."""
    x, y = batch["inputs"].to(next(task.parameters()).dtype), batch["data_samples"]
    x_adv = x.clone()
    if random_start:
        x_adv = (x + EPS * (2 * noise(len(x), seed=SEED, stream=stream).to(x.dtype) - 1)).clamp(0, 1)
    path, wrong = [], []
    for step in range(steps + 1):
        x_adv = x_adv.detach().requires_grad_()
        z = task.net((x_adv - 0.5) / 0.25)
        path.append(x_adv.detach())
        wrong.append(z.argmax(1) != y)
        if step < steps:
            (grad,) = torch.autograd.grad(loss(z, y).sum(), x_adv)
            x_adv = x_adv + STEP * grad.sign()
            x_adv = torch.max(torch.min(x_adv, x + EPS), x - EPS).clamp(0, 1)
    return torch.stack(path), torch.stack(wrong)


def attack(steps: int = 10, **settings) -> PGD:
    return PGD(Linf(EPS), steps, step_size=STEP, seed=SEED, **settings)


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("success", ["any", "last"])
def test_milestones_equal_a_loop_that_never_drops_images(success: str, random_start: bool) -> None:
    task, batch = trained(), images()
    found = attack(milestones=MARKS, random_start=random_start).judge(task, batch, success=success)
    path, wrong = trajectory(task, batch, steps=10, random_start=random_start)
    for k in MARKS:
        expected = wrong[: k + 1].any(0) if success == "any" else wrong[k]
        assert torch.equal(found.broken[f"PGD-{k}"], expected)
    final = path[10].clone()
    if success == "any":  # the first misclassified iterate, else the last
        first = torch.where(wrong.any(0), wrong.int().argmax(0), 10)
        final = path[first, torch.arange(len(first))]
    torch.testing.assert_close(found.x_adv, final, rtol=0, atol=1e-9)
    assert 3 < int(found.broken["PGD-1"].sum()) + 1 < int(found.broken["PGD-10"].sum()) < 30


@pytest.mark.parametrize("success", ["any", "last"])
@pytest.mark.parametrize("restarts", [1, 3])
def test_milestones_equal_separate_shorter_runs(success: str, restarts: int) -> None:
    task, batch = trained(), images()
    together = attack(milestones=MARKS, restarts=restarts).judge(task, batch, success=success)
    assert list(together.broken) == [f"PGD-{k}" for k in MARKS]
    for k in MARKS:
        alone = attack(k, restarts=restarts).judge(task, batch, success=success)
        assert torch.equal(together.broken[f"PGD-{k}"], alone.broken[f"PGD-{k}"]), k
    torch.testing.assert_close(together.x_adv, alone.x_adv, rtol=0, atol=1e-9)


@pytest.mark.parametrize("success", ["any", "last"])
def test_restarts_break_what_any_start_breaks(success: str) -> None:
    task, batch, marks = trained(), images(150), (1, 2, 3, 4, 6)
    found = attack(6, restarts=3, milestones=marks).judge(task, batch, success=success)
    runs = [trajectory(task, batch, steps=6, random_start=True, stream=r)[1] for r in range(3)]
    outcomes = {}  # per milestone [restarts, N]
    for k in marks:
        outcomes[k] = torch.stack([wrong[: k + 1].any(0) if success == "any" else wrong[k] for wrong in runs])
        assert torch.equal(found.broken[f"PGD-{k}"], outcomes[k].any(0)), k
    # The scene has images that the first start breaks late and a later one early, and some only a later one breaks.
    assert any((outcomes[6][0] & ~outcomes[k][0] & outcomes[k].any(0)).any() for k in marks[:-1])
    assert (~outcomes[6][0] & outcomes[6].any(0)).any()


@pytest.mark.parametrize("threat", [Linf(EPS), L2(0.8)], ids=str)
@pytest.mark.parametrize("objective", ["CrossEntropy", "Margin", "DLR", "KL"])
def test_any_step_outcomes_never_recover_and_contain_the_last_step(threat, objective: str) -> None:
    task, batch = trained(), images()
    step = STEP if isinstance(threat, Linf) else 0.15
    settings = dict(step_size=step, milestones=MARKS, objective=dict(type=objective))
    any_step = PGD(threat, 10, **settings).judge(task, batch, success="any").broken
    last = PGD(threat, 10, **settings).judge(task, batch, success="last").broken
    outcomes = [any_step[f"PGD-{k}"] for k in MARKS]
    assert all((later >= earlier).all() for earlier, later in zip(outcomes, outcomes[1:]))
    assert all((any_step[name] >= last[name]).all() for name in last)
    assert outcomes[0].sum() < outcomes[-1].sum()


def test_broken_images_cost_nothing_more() -> None:
    task, batch = trained(), images()
    _, wrong = trajectory(task, batch, steps=10, random_start=True)
    looked_at = torch.where(wrong.any(0), wrong.int().argmax(0) + 1, 11)  # iterates until the first broken one
    cost = attack().judge(task, batch, success="any").cost
    assert cost.forwards == int(looked_at.sum())
    assert cost.backwards == int(looked_at.clamp(max=10).sum())
    full = attack().judge(task, batch, success="last").cost
    assert (full.forwards, full.backwards) == (11 * 30, 10 * 30)


def test_cw_column_is_pgd_on_the_margin() -> None:
    task, batch = trained(), images()
    column = PGD(Linf(EPS), 10, step_size=STEP, seed=SEED, objective=dict(type="Margin"), name="C&W")
    found = column.judge(task, batch, success="last")
    path, wrong = trajectory(task, batch, steps=10, random_start=True, loss=carlini_wagner)
    assert list(found.broken) == ["C&W"]
    assert torch.equal(found.broken["C&W"], wrong[10])
    torch.testing.assert_close(found.x_adv, path[10], rtol=0, atol=1e-9)
    assert not torch.equal(found.x_adv, attack().judge(task, batch, success="last").x_adv)


class Descent(Objective):
    """Points away from the class border: only the start and oscillation can break an image."""

    def __call__(self, output, batch, *, x):
        return -F.cross_entropy(output.logits, output.labels, reduction="none")


def test_an_image_broken_by_the_start_alone_counts_under_any_only() -> None:
    task, batch = trained(), images(mislabelled=6)
    any_step = attack(objective=Descent(), random_start=False).judge(task, batch, success="any").broken["PGD-10"]
    last = attack(objective=Descent(), random_start=False).judge(task, batch, success="last").broken["PGD-10"]
    assert any_step.sum() == 6 and any_step[:6].all()
    assert last.sum() < 6


@pytest.mark.parametrize("steps", [1, 7])
def test_equals_torchattacks(steps: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies
        torchattacks = pytest.importorskip("torchattacks")
    task, batch = trained(double=False), images()
    found = attack(steps, random_start=False).judge(task, batch, success="last")
    model = torch.nn.Sequential(Normalise(), task.net)
    other = torchattacks.PGD(model, eps=EPS, alpha=STEP, steps=steps, random_start=False)
    expected = other(batch["inputs"], batch["data_samples"])
    torch.testing.assert_close(found.x_adv, expected, rtol=0, atol=1e-6)
    assert (found.x_adv - batch["inputs"]).abs().max() > 0.9 * min(EPS, steps * STEP)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_equals_foolbox(norm: str) -> None:
    foolbox = pytest.importorskip("foolbox")
    task, batch = trained(double=False), images()
    model = foolbox.PyTorchModel(torch.nn.Sequential(Normalise(), task.net).eval(), bounds=(0, 1), device="cpu")
    if norm == "Linf":
        threat, step, other = Linf(EPS), STEP, foolbox.attacks.LinfPGD
    else:
        threat, step, other = L2(0.8), 0.15, foolbox.attacks.L2PGD
    mine = PGD(threat, 7, step_size=step, random_start=False).judge(task, batch, success="last").x_adv
    theirs = other(abs_stepsize=step, steps=7, random_start=False)
    _, expected, _ = theirs(model, batch["inputs"], batch["data_samples"], epsilons=threat.eps)
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-6 if norm == "Linf" else 1e-4)


class Normalise(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5) / 0.25
