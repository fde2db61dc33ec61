"""Judged attacks of every kind on the pretended device: the CPU's outcomes, image by image."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from device_steps import CPU

import natx
from natx.attacks import Attack, build_attack
from natx.attacks.per_image import EPS, STEP_SIZE, STEPS
from natx.attacks.pyaa import run_members
from natx.attacks.victim import Cost, Victim
from natx.batch import COPIES, Batch, select, to_device
from natx.evaluation import evaluate
from natx.registry import ATTACKS
from natx.task import Task
from natx.testing import TinyCNNTask, TinyDataset, fit
from natx.threat import Linf

LINF = {"type": "Linf", "eps": 20 / 255}
INNER = {"type": "PGD", "steps": 3}
FROZEN = {"task": {"type": "TinyCNNTask", "num_classes": 5, "seed": 4}, "state": "random"}
CASES: dict[str, dict[str, Any]] = {
    "PGD": {"type": "PGD", "steps": 5, "milestones": (2, 5), "restarts": 2},
    "PGD under L2": {"type": "PGD", "steps": 5, "threat": {"type": "L2", "eps": 0.7}},
    "FGSM": {"type": "FGSM"},
    "SingleStep": {"type": "SingleStep"},
    "FriendlyPGD": {"type": "FriendlyPGD", "steps": 5, "tau": 1},
    "PerImagePGD": {"type": "PerImagePGD", "most_steps": 4},
    "AutoPGD": {"type": "AutoPGD", "steps": 6},
    "WorstOf": {"type": "WorstOf", "attacks": [INNER, {"type": "FGSM"}], "objective": {"type": "Margin"}},
    "Targeted": {"type": "Targeted", "targets": 2, "attack": {**INNER, "objective": {"type": "TargetedMargin"}}},
    "Transfer": {"type": "Transfer", "source": FROZEN, "attack": INNER},
    "Transfer, refined": {"type": "Transfer", "source": FROZEN, "attack": INNER, "refine": INNER},
    "Copies": {"type": "Copies"},
    "OneOf": {"type": "OneOf", "attacks": [INNER, {"type": "FGSM"}]},
    "PatchPGD": {"type": "PatchPGD", "steps": 3, "threat": {"type": "Patch", "height": 3}, "place": "grid", "grid": 2},
    "APGD": {"type": "APGD", "steps": 5},
    "Square": {"type": "Square", "queries": 20},
    "Universal": {"type": "Universal", "data": TinyDataset(20, seed=3), "epochs": 2, "batch_size": 8},
    "Universal, a patch": {
        "type": "Universal",
        "data": TinyDataset(20, seed=3),
        "epochs": 1,
        "threat": {"type": "Patch", "height": 3},
    },
    "AutoAttack": {"type": "AutoAttack", "threat": {"type": "Linf", "eps": 0.6}},  # ends with its first member
}


@functools.cache
def learnt() -> dict[str, torch.Tensor]:
    return fit(TinyCNNTask(5), TinyDataset(40, noise=0.2), steps=15).state_dict()


def small() -> Task:
    task = TinyCNNTask(5)
    task.load_state_dict(learnt())
    return task.eval()


def images() -> Batch:
    batch = TinyDataset(40, noise=0.2, uint8=True).__getitems__(range(40))
    settings = {
        EPS: torch.full((40,), 10 / 255),
        STEP_SIZE: torch.full((40,), 4 / 255),
        STEPS: torch.arange(40) % 4 + 1,
    }
    return {**batch, **settings, COPIES: (batch["inputs"].int() + 9).clamp(0, 255).to(torch.uint8)}


def built(name: str) -> Attack:
    return build_attack(CASES[name], threat=LINF)


@pytest.mark.parametrize("success", ["any", "last"])
@pytest.mark.parametrize("name", CASES)
def test_an_attack_breaks_the_same_images(device: torch.device, name: str, success: Any) -> None:
    outcomes = []
    for place in (CPU, device):
        attacked = built(name).judge(small().to(place), to_device(images(), place), success=success)
        assert attacked.x_adv.device.type == place.type
        assert all(broken.device.type == place.type for broken in attacked.broken.values())
        outcomes.append((attacked.x_adv.cpu(), {key: broken.tolist() for key, broken in attacked.broken.items()}))
    assert outcomes[0][1] == outcomes[1][1]
    assert torch.allclose(outcomes[0][0], outcomes[1][0], atol=1e-6)


def test_fab_finds_the_same_images(device: torch.device) -> None:
    pixels = []
    for place in (CPU, device):
        task, batch = small().to(place), to_device(select(images(), torch.arange(2)), place)
        ball = Linf(20 / 255).around(task.pixels(batch))
        victim = Victim(task, batch, ball=ball, cost=Cost())
        x_adv, _ = run_members(victim, ["fab-t"], seed=0, batch_size=2)
        assert x_adv.device.type == place.type
        pixels.append(x_adv.cpu())
    assert torch.allclose(pixels[0], pixels[1], atol=1e-6)


def test_an_evaluation_has_the_cpus_accuracies(device: torch.device) -> None:
    data = TinyDataset(40, noise=0.2)
    accuracies = []
    for place in (CPU, device):
        result = evaluate(small().to(place), data, [built("PGD"), built("FGSM")], batch_size=16)
        accuracies.append([result.accuracy(column) for column in ("Clean", "PGD-2", "PGD-5", "FGSM")])
    assert accuracies[0] == accuracies[1]


def test_a_modules_audit_has_the_cpus_verdicts_and_moves_both_models_back(device: torch.device) -> None:
    data, found = TinyDataset(40, noise=0.2), []
    for place in (CPU, device):
        model, vanilla = small().upstream, small().upstream.requires_grad_(True)
        model.pretrained_cfg = {"mean": (0.5,), "std": (0.25,)}  # asks whether the pixels are normalised
        with pytest.warns(UserWarning, match="images normalised by"):
            result = natx.evaluate(
                model,
                data.images,
                data.labels,
                attacks=["FGSM", "PGD-5"],
                eps=20 / 255,
                device=place,
                audit=True,
                audit_images=12,
                vanilla=vanilla,
            )
        assert all(weight.device.type == "cpu" for net in (model, vanilla) for weight in net.parameters())
        found.append({key: (verdict.verdict, verdict.figure) for key, verdict in result.audit.items()})
    assert [verdict for verdict, _ in found[0].values()] == [verdict for verdict, _ in found[1].values()]
    figures = ([figure or 0.0 for _, figure in some.values()] for some in found)
    assert next(figures) == pytest.approx(next(figures), rel=1e-3, abs=1e-3)


def test_every_attack_is_judged_here() -> None:
    """A new one gets a case."""
    ours = {name for name, kind in ATTACKS.module_dict.items() if kind.__module__.startswith("natx.")}
    assert ours - {str(case["type"]) for case in CASES.values()} == set()
