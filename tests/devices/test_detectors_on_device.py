"""Training steps and judged attacks of detectors on the pretended device.

mmdet matches objects and priors with dozens of waits, once a batch. An attack's step adds none on SSD, one on RetinaNet
(mmdet's box loss asks whether any weight is positive) and many on Faster R-CNN, whose proposals move with the pixels:
suppression, matching and sampling have sizes that the host has to know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from detectors import CLASSES, detector, faster, retina, square_batch, ssd
from device_steps import CPU, stepped

from natx.attacks import build_attack
from natx.batch import to_device
from natx.task import Task

Family = Callable[[], dict[str, Any]]
FAMILIES = pytest.mark.parametrize("family", [ssd, retina, faster])
LINF = {"type": "Linf", "eps": 8 / 255}
WAITS_A_STEP = {ssd: 0, retina: 1}
IMAGE_LOSS = {"type": "ImageLoss"}
MTD: dict[str, Any] = {
    "type": "WorstOf",
    "threat": LINF,
    "attacks": [{"type": "PGD", "steps": 1, "objective": {**IMAGE_LOSS, "name": f"loss_{n}"}} for n in ("cls", "bbox")],
    "objective": IMAGE_LOSS,
}


def model_of(family: Family) -> Callable[[], Task]:
    return lambda: detector(family())


def pgd(steps: int) -> dict[str, Any]:
    return {"type": "PGD", "threat": LINF, "steps": steps, "step_size": 2 / 255, "objective": IMAGE_LOSS}


def methods(family: Family) -> dict[str, dict[str, Any]]:
    both = {"type": "Adversarial", "views": ("clean", "adv"), "attack": MTD}
    frozen = {"task": {"type": "DetectionTask", "num_classes": CLASSES, "model": family()}, "state": "random"}
    return {
        "Standard": {"type": "Standard"},
        "MTD": both,
        "NAT": {**both, "terms": [{"type": "TaskLoss"}, {"type": "NastyKL", "adversary": frozen}]},
        "MTD, replayed": {
            "type": "FreeAdversarial",
            "attack": {**MTD, "objective": None, "select": "batch"},
            "replays": 2,
            "fresh": 1 / 3,
        },
    }


@FAMILIES
@pytest.mark.parametrize("method", ["Standard", "MTD", "NAT", "MTD, replayed"])
def test_a_step_has_the_cpus_numbers(device: torch.device, family: Family, method: str) -> None:
    step = stepped(methods(family)[method], device, model=model_of(family), images=square_batch)
    assert step.agrees(), step.losses


@pytest.mark.parametrize("family", list(WAITS_A_STEP))
def test_waits_of_an_attacks_step(device: torch.device, family: Family) -> None:
    totals = []
    for steps in (2, 4):
        method = {"type": "Adversarial", "views": ("adv",), "attack": pgd(steps)}
        waits = stepped(method, device, model=model_of(family), images=square_batch).waits
        totals.append(waits.total)
        assert waits.under("natx/") == 1, str(waits)
    assert totals[1] - totals[0] == 2 * WAITS_A_STEP[family]


@pytest.mark.parametrize(
    ("family", "attack"),
    [
        *((family, attack) for family in (ssd, retina, faster) for attack in (pgd(3), MTD)),
        *((family, {"type": kind, "steps": 3}) for family in (ssd, retina) for kind in ("DAG", "RAP")),
    ],
)
def test_a_judged_attack_has_the_cpus_result(device: torch.device, family: Family, attack: dict[str, Any]) -> None:
    pixels = []
    for place in (CPU, device):
        task, batch = detector(family()).eval().to(place), to_device(square_batch(), place)
        x_adv = build_attack(attack, threat=LINF).judge(task, batch).x_adv
        assert x_adv.device.type == place.type
        assert len(task.predict({**batch, "inputs": x_adv})) == 3
        pixels.append(x_adv.cpu())
    assert torch.allclose(pixels[0], pixels[1], atol=1e-6)
    assert not torch.equal(pixels[0], task.pixels(square_batch()))
