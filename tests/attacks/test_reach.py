"""Step sizes that follow eps, and settings with which an attack cannot use its ball."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import natx
from natx.attacks import (
    FGSM,
    PGD,
    Attack,
    AutoPGD,
    FriendlyPGD,
    OneOf,
    PerImagePGD,
    Targeted,
    Transfer,
    WorstOf,
    build_attack,
)
from natx.checks import audit
from natx.evaluation import evaluate
from natx.methods import AWP, Adversarial, Standard
from natx.testing import LinearTask, TinyDataset, WrappedTask
from natx.threat import L2, Linf, ThreatModel

CE: dict[str, Any] = {"type": "CrossEntropy"}
SHORT = "do not add up to"


@pytest.mark.parametrize("threat", [Linf(8 / 255), Linf(0.3), L2(1.0), L2(0.5)], ids=str)
@pytest.mark.parametrize("kind", ["PGD", "FriendlyPGD"])
def test_the_default_step_is_a_quarter_of_eps(threat: ThreatModel, kind: str) -> None:
    attack = build_attack(dict(type=kind), threat=threat)
    assert attack.step_size == threat.eps / 4 == attack.describe()["step_size"]
    assert attack.shortfalls() == []
    assert build_attack(dict(type=kind, step_size=0.2), threat=threat).step_size == 0.2
    assert attack.scaled(0.5).step_size == threat.eps / 8


def test_at_8_255_the_default_step_is_the_papers() -> None:
    assert PGD(Linf(8 / 255)).step_size == 2 / 255


@pytest.mark.parametrize("eps", [0.5, 4.0])
def test_a_config_without_step_size_is_as_strong_as_the_name(eps: float) -> None:
    """Linear logits: the image with margin m breaks at distance m / ||w_0 - w_1||, whatever the norm's scale."""
    weight = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2, bias=False))
    model[1].weight.data = weight
    images = 0.4 + 0.2 * torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    logits = images.flatten(1) @ weight.T
    labels = logits.argmax(1)
    away = (logits[:, 0] - logits[:, 1]).abs() / (weight[0] - weight[1]).norm()
    # Inside [0,1] no image is cut short: the closed form holds where the way is at most 0.4.
    eps = min(eps * float(away.median()), 0.39)
    result = natx.evaluate(
        model, images, labels, threat=L2(eps), attacks=["PGD-20", dict(type="PGD", steps=20, name="config")]
    )
    assert torch.equal(result.correct["PGD-20"], result.correct["config"])
    clear = (away - eps).abs() > 0.01 * eps
    assert torch.equal(result.correct["config"][clear], (away > eps)[clear])
    assert not result.notes


SHORTFALLS: dict[str, tuple[Attack, str | None]] = {
    "PGD": (PGD(L2(1.0), 20, step_size=2 / 255), SHORT),
    "one step": (PGD(Linf(0.1), 1), SHORT),
    "enough": (PGD(Linf(0.1), 4), None),
    "FGSM": (FGSM(Linf(0.1)), None),
    "AutoPGD": (AutoPGD(L2(1.0), 5), None),
    "FriendlyPGD": (FriendlyPGD(Linf(0.1), 5, step_size=0.01), SHORT),
    "noise": (PGD(Linf(0.01), random_start="normal", start_std=0.02), "lies outside"),
    "PerImagePGD": (PerImagePGD(Linf(0.01), 5, start_eps=0.03), "outside"),
    "Targeted": (Targeted(Linf(0.1), dict(type="PGD", steps=3, objective=dict(type="TargetedMargin"))), SHORT),
    "OneOf": (OneOf(Linf(0.1), [dict(type="PGD", steps=9), dict(type="PGD", steps=2)]), SHORT),
    "WorstOf": (WorstOf(Linf(0.1), [dict(type="PGD", steps=9), dict(type="PGD", steps=2)], objective=CE), SHORT),
    "Transfer": (
        Transfer(
            Linf(0.1),
            dict(task=dict(type="LinearTask", weight=torch.eye(3, 12).tolist()), state="random"),
            dict(type="PGD", steps=3),
        ),
        SHORT,
    ),
}


@pytest.mark.parametrize("name", SHORTFALLS)
def test_settings_that_keep_an_attack_from_its_ball_are_told(name: str) -> None:
    attack, message = SHORTFALLS[name]
    notes = attack.shortfalls()
    assert len(notes) == (message is not None) and all(message in note and "\n" not in note for note in notes)


def test_the_report_and_g14_say_so() -> None:
    task = LinearTask(torch.randn(3, 12, generator=torch.Generator().manual_seed(0)).tolist())
    data = TinyDataset(30, num_classes=3, shape=(1, 3, 4), seed=1)
    data.labels = task.logits(data.images).argmax(1)
    short, enough = PGD(L2(1.0), 20, step_size=2 / 255), PGD(L2(1.0), 20)
    for attack, expected in ((short, True), (enough, False)):
        evaluation = evaluate(task, data, [attack])
        assert any(SHORT in note for note in evaluation.attacks[1].notes) is expected
        verdict = {v.id: v for v in audit(task, data, attacks=[attack], evaluation=evaluation, draws=10)}["G14"]
        assert (verdict.verdict == "red" and SHORT in verdict.reason) is expected


def test_a_training_says_so_before_it_begins() -> None:
    attack = dict(type="PGD", threat=dict(type="L2", eps=1.0), steps=10, step_size=2 / 255)
    method = Adversarial(attack)
    assert any(SHORT in note for note in method.notes()) and AWP(method).notes() == method.notes()
    assert Adversarial(dict(attack, step_size=0.25)).notes() == [] == Standard().notes()


def test_wrapped_tasks_are_attacked_as_far_as_eps() -> None:
    """Where the gradient keeps its sign, PGD with default steps ends on the rim."""
    task = WrappedTask(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)), 3).eval()
    batch = {
        "inputs": torch.full((2, 1, 3, 4), 0.5),
        "data_samples": torch.tensor([0, 1]),
        "index": torch.arange(2),
    }
    for threat in (Linf(0.1), L2(0.4)):
        x_adv = PGD(threat, 10, random_start=False)(task, batch)
        distance = threat.around(batch["inputs"]).distance(x_adv)
        torch.testing.assert_close(distance, torch.full((2,), threat.eps), rtol=1e-3, atol=0)
