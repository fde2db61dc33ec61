"""Attacks that stand still: gradients that are zero or no numbers, logits that are no numbers. All are told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import natx
from natx.attacks import (
    APGD,
    FGSM,
    PGD,
    Attack,
    AutoAttack,
    AutoPGD,
    FriendlyPGD,
    OneOf,
    SingleStep,
    Square,
    Targeted,
    Transfer,
    WorstOf,
)
from natx.attacks.remarks import FAINT, FAINT_AT_LEAST, UNDEFINED, UNDEFINED_AT_LEAST, UNREADABLE, merged
from natx.attacks.tally import Tally
from natx.checks import audit
from natx.evaluation import evaluate
from natx.evaluation.refill import judge_refilled
from natx.methods import Adversarial, FreeTraining
from natx.testing import TinyCNNTask, TinyDataset, WrappedTask
from natx.threat import L2, Linf, ThreatModel

CLASSES, SHAPE, EPS = 4, (1, 3, 3), 0.097  # eps is between two of the levels below
WEIGHT = torch.randn(CLASSES, 9, generator=torch.Generator().manual_seed(2))


class Linear(nn.Module):
    """Logits ``scale * W x``, changed by ``how``; the clean images' classes are those of ``W x`` in all cases."""

    def __init__(self, how: str = "", scale: float = 1.0) -> None:
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(scale * WEIGHT)

    def forward(self, x: Tensor) -> Tensor:
        logits = x.flatten(1) @ self.weight.T
        if self.how == "nan gradient":  # adds 0 to all logits; the gradient of sqrt at 0 is infinite, times 0
            return logits + (x.flatten(1).mean(1) * 0).pow(2).sqrt()[:, None]
        if self.how == "one pixel":  # the same of one pixel alone
            return logits + (x.flatten(1)[:, :1] * 0).pow(2).sqrt()
        if self.how == "nan logits":  # as soon as any pixel is not one of the 101 levels that the images have
            off = ((x * 100 - (x * 100).round()).abs() > 1e-3).flatten(1).any(1)
            return torch.where(off[:, None], torch.nan, logits)
        return logits


def data(count: int = 24) -> TinyDataset:
    """Images of 101 levels that the model gets right, all classes among them."""
    images = TinyDataset(count, num_classes=CLASSES, shape=SHAPE, seed=1)
    images.images = (images.images * 100).round() / 100
    images.labels = (images.images.flatten(1) @ WEIGHT.T).argmax(1)
    assert len(images.labels.unique()) > 2 and 0 in images.labels
    return images


def task(how: str = "", scale: float = 1.0) -> WrappedTask:
    return WrappedTask(Linear(how, scale), CLASSES).eval()


def count(notes: list[str], kind: str) -> int:
    """The number of images that a remark of a kind gives."""
    return sum(int(note.removeprefix(kind)) for note in notes if note.startswith(kind))


SOURCE = {"task": {"type": "LinearTask", "weight": WEIGHT.tolist()}, "state": "random"}
MARGIN: dict[str, Any] = {"type": "Margin"}


def attacks(threat: ThreatModel) -> dict[str, Attack]:
    inner = dict(type="PGD", steps=4)
    return {
        "FGSM": FGSM(threat),
        "PGD": PGD(threat, 6),
        "PGD, momentum": PGD(threat, 6, momentum=1.0),
        "PGD, restarts": PGD(threat, 4, restarts=2),
        "C&W": PGD(threat, 6, objective=MARGIN),
        "AutoPGD": AutoPGD(threat, 8),
        "FriendlyPGD": FriendlyPGD(threat, 4),
        "Targeted": Targeted(threat, dict(type="PGD", steps=4, objective=dict(type="TargetedMargin")), targets=2),
        "OneOf": OneOf(threat, [inner, dict(inner, objective=MARGIN)]),
        "WorstOf": WorstOf(threat, [inner, dict(inner, objective=MARGIN)], objective=MARGIN),
        "refined": Transfer(threat, SOURCE, inner, refine=inner),
    }


LIBRARY = {"APGD": APGD(Linf(EPS), steps=10), "AutoAttack": AutoAttack(Linf(EPS)), "L2": APGD(L2(0.3), steps=10)}


@pytest.mark.parametrize("success", ["any", "last"])
@pytest.mark.parametrize("threat", [Linf(EPS), L2(0.3)], ids=str)
@pytest.mark.parametrize("name", attacks(Linf(EPS)))
def test_a_gradient_of_nan_is_told_of_every_image(name: str, threat: ThreatModel, success: Any) -> None:
    """The model is linear and breaks; steps along NaN would stand still (Linf) or end in an error (L2)."""
    found = evaluate(task("nan gradient"), data(), [attacks(threat)[name]], success=success)
    column = found.attacks[1].columns[0]
    broken = found.count - int(found.correct[column].sum())
    assert count(found.attacks[1].notes, UNDEFINED) >= found.count - broken > 0
    honest = evaluate(task(), data(), [attacks(threat)[name]], success=success)
    assert honest.accuracy(column) < 60 and not count(honest.attacks[1].notes, UNDEFINED)
    assert not count(honest.attacks[1].notes, FAINT)


@pytest.mark.parametrize("name", LIBRARY)
def test_a_gradient_of_nan_in_the_library_is_broken_or_told(name: str) -> None:
    found = evaluate(task("nan gradient"), data(), [LIBRARY[name]])
    assert count(found.attacks[1].notes, UNDEFINED_AT_LEAST) > 0
    honest = evaluate(task(), data(), [LIBRARY[name]]).attacks[1].notes
    assert not count(honest, UNDEFINED_AT_LEAST) and not count(honest, FAINT_AT_LEAST)


@pytest.mark.parametrize("threat", [Linf(EPS), L2(0.3)], ids=str)
def test_entries_that_are_numbers_are_followed(threat: ThreatModel) -> None:
    """One pixel's NaN: the attack is that of the model with that pixel held fixed, by closed form."""
    batch = data().__getitems__(range(24))
    x_adv = PGD(threat, 1, step_size=0.05, random_start=False, objective=MARGIN)(task("one pixel"), batch)
    logits = batch["inputs"].flatten(1) @ WEIGHT.T
    rival = logits.scatter(1, batch["data_samples"][:, None], -torch.inf).argmax(1)
    grad = WEIGHT[rival] - WEIGHT[batch["data_samples"]]
    grad[:, 0] = 0
    unit = grad.sign() if isinstance(threat, Linf) else grad / grad.norm(dim=1, keepdim=True)
    expected = (batch["inputs"].flatten(1) + 0.05 * unit).clamp(0, 1)
    torch.testing.assert_close(x_adv.flatten(1), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["PGD", "C&W"])
def test_g9_counts_them(name: str) -> None:
    images, attack = data(), attacks(Linf(EPS))[name]
    for how, share in (("nan gradient", 100.0), ("one pixel", 100.0), ("", 0.0)):
        verdict = {v.id: v for v in audit(task(how), images, attacks=[attack], draws=10)}["G9"]
        assert verdict.figure == share and (verdict.verdict == "red") is (share > 0)


@pytest.mark.parametrize("name", [*attacks(Linf(EPS)), *LIBRARY, "Square"])
def test_logits_that_are_no_numbers_are_broken_and_told(name: str) -> None:
    """argmax takes NaN for class 0, so images of class 0 would be robust."""
    every = {**attacks(Linf(EPS)), **LIBRARY, "Square": Square(Linf(EPS), queries=30)}
    found = evaluate(task("nan logits"), data(), [every[name]])
    column = found.attacks[1].columns[0]
    assert found.accuracy(column) == 0 < found.accuracy("Clean")
    assert count(found.attacks[1].notes, UNREADABLE) > 0
    sound = evaluate(task(), data(), [every[name]]).attacks[1].notes
    assert not count(sound, UNREADABLE)


@pytest.mark.parametrize("success", ["any", "last"])
def test_under_nan_logits_every_image_is_counted_once(success: Any) -> None:
    images = data()
    attack = PGD(Linf(EPS), 5, restarts=2, milestones=(2, 5))
    notes = evaluate(task("nan logits"), images, [attack], batch_size=7, success=success).attacks[1].notes
    assert count(notes, UNREADABLE) == len(images) and len(notes) == 1


@pytest.mark.parametrize("scale", [1.0, 300.0, 1e4])
def test_logits_too_large_for_cross_entropy_are_told(scale: float) -> None:
    """Without AutoAttack among the attacks: cross-entropy's gradient underflows, and images stay where they are."""
    notes = evaluate(task(scale=scale), data(), [PGD(Linf(0.02), 10, random_start=False)]).attacks[1].notes
    logits = scale * (data().images.flatten(1) @ WEIGHT.T).double()
    rest = 1 - logits.softmax(1).gather(1, data().labels[:, None])[:, 0]
    still = int((rest * WEIGHT.abs().max() < 1e-12).sum())
    assert (count(notes, FAINT) > 0) is (still > 0)
    assert count(notes, FAINT) >= still // 2  # a step may lead some of them out of it
    result = natx.evaluate(Linear(scale=scale), data().images, data().labels, attacks="PGD-10", eps=0.02)
    told = [note.startswith(f"PGD-10: {FAINT}") for note in result.notes]
    assert any(told) is any(note.startswith(FAINT) for note in notes)


def test_refilled_batches_tell_the_same() -> None:
    images = data(40)
    blocks = [list(range(first, first + 8)) for first in range(0, 40, 8)]
    for how, kind in (("nan gradient", UNDEFINED), ("nan logits", UNREADABLE)):
        attack = PGD(Linf(EPS), 4)
        whole = evaluate(task(how), images, [attack], batch_size=8).attacks[1].notes
        parts = judge_refilled(attack, task(how), blocks, load=images.__getitems__, size=10)
        assert merged(block.notes for block in parts) == whole and count(whole, kind) > 0


def test_training_logs_them_without_looking() -> None:
    batch = data().__getitems__(range(24))
    for method in (
        Adversarial(PGD(Linf(EPS), 2)),
        Adversarial(SingleStep(Linf(EPS))),
        Adversarial(Targeted(Linf(EPS), dict(type="PGD", steps=2, objective=dict(type="TargetedMargin")))),
    ):
        for how, share in (("nan gradient", 100.0), ("", 0.0)):
            scalars = method(task(how), batch, epoch=0)
            assert float(scalars["attack_nonfinite_grad"]) == share and float(scalars["attack_zero_grad"]) <= share
    scalars = Adversarial(PGD(Linf(0.01), 2))(task(scale=1e6), batch, epoch=0)
    assert float(scalars["attack_zero_grad"]) > 50 and float(scalars["attack_nonfinite_grad"]) == 0


def test_free_training_moves_on_through_gradients_of_nan() -> None:
    model, method = task("nan gradient"), FreeTraining(Linf(EPS), 3)
    batch = data(8).__getitems__(range(8))
    for _ in range(3):
        scalars = method(model, batch, epoch=0)
        scalars["loss_ce"].backward()
    assert float(scalars["attack_nonfinite_grad"]) == 100 and bool(torch.isfinite(scalars["loss_ce"]))


def test_a_tally_counts_images_of_selected_victims_at_their_own_place() -> None:
    """Against counting by hand."""
    tally = Tally(5, torch.device("cpu"))
    grad = torch.ones(3, 1, 2, 2)
    grad[0], grad[1, 0, 0, 0], grad[2] = 0, torch.nan, 1e-13
    tally.gradients(grad, rows=torch.tensor([4, 1, 2]), among=torch.tensor([True, True, False]))
    tally.gradients(torch.ones(2, 1, 2, 2), rows=torch.tensor([1, 4]))
    tally.logits(torch.tensor([True, False]), rows=torch.tensor([3, 0]))
    assert tally.faint.tolist() == [False, False, False, False, True]
    assert tally.undefined.tolist() == [False, True, False, False, False]
    assert tally.unreadable.tolist() == [True, False, False, False, False]
    assert tally.notes() == [f"{FAINT}1", f"{UNDEFINED}1", f"{UNREADABLE}1"]
    assert tally.notes(torch.tensor([0, 2])) == [f"{UNREADABLE}1"]
    assert {name: float(share) for name, share in tally.shares().items()} == {
        "attack_zero_grad": 20.0,
        "attack_nonfinite_grad": 20.0,
    }


def test_half_precision_training_counts_as_well() -> None:
    """bf16 autocast: the pixels' gradient is float32 at the leaf."""
    model = TinyCNNTask().eval()
    batch = TinyDataset(6).__getitems__(range(6))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scalars = Adversarial(PGD(Linf(EPS), 2))(model, batch, epoch=0)
    assert float(scalars["attack_zero_grad"]) == float(scalars["attack_nonfinite_grad"]) == 0
