"""Training steps, judged attacks and a set's evaluation of re-identification on the pretended device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from device_steps import CPU, stepped
from street import draw_street

from natx.attacks import build_attack
from natx.batch import Batch
from natx.evaluation import evaluate_set
from natx.registry import DATASETS, TASKS
from natx.task import Task
from tasks.reid.metrics import Retrieval

SIZE = {"height": 64, "width": 32}
MODEL = {"type": "ReIDTask", "model": "squeezenet1_1", "num_classes": 6, "pretrained": False, **SIZE}
LINF = {"type": "Linf", "eps": 8 / 255}
FROZEN = {"task": MODEL, "state": "random"}


def climb(objective: str, *, steps: int = 2, **settings: Any) -> dict[str, Any]:
    return {"type": "PGD", "threat": LINF, "steps": steps, "objective": {"type": objective, **settings}}


def adversarial(attack: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"type": "Adversarial", "views": ("clean", "adv"), "attack": attack, **changes}


METHODS: dict[str, dict[str, Any]] = {
    "Standard": {"type": "Standard"},
    "AMD": adversarial(climb("FNA", guides="batch")),
    "IFGSM": adversarial(climb("IFGSM", guides="batch")),
    "SMA": adversarial(climb("SMA")),
    "NAT": adversarial(
        climb("FNA", guides="batch"), terms=[{"type": "TaskLoss"}, {"type": "NastyKL", "adversary": FROZEN}]
    ),
}


def model() -> Task:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TASKS.build({**MODEL})


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_street(tmp_path_factory.mktemp("street"))


@pytest.mark.parametrize("method", METHODS)
def test_a_step_has_the_cpus_numbers_and_one_wait(device: torch.device, street: Path, method: str) -> None:
    def images() -> Batch:
        train = DATASETS.build({"type": "Market1501", "root": str(street), "train": True, **SIZE})
        return train.__getitems__([0, 1, 4, 5, 8, 9, 12, 13])

    step = stepped(METHODS[method], device, model=model, images=images)
    assert step.agrees(), step.losses
    assert step.waits.total == 1, str(step.waits)


UNIVERSAL = {"type": "Universal", "threat": LINF, "epochs": 1, "batch_size": 8}
JUDGED: dict[str, dict[str, Any]] = {
    "FNA": climb("FNA", steps=3),
    "IFGSM": climb("IFGSM", steps=3),
    "SMA": climb("SMA", steps=3),
    "TMA": climb("TMA", guides="all"),
    "AMA on the gallery": climb("IFGSM", normalise=True, side="gallery"),
    "Universal IFGSM": {**UNIVERSAL, "objective": {"type": "IFGSM", "guides": "all"}},
    "Universal SMA": {**UNIVERSAL, "objective": {"type": "SMA"}},
}


@pytest.mark.parametrize("name", JUDGED)
def test_a_set_is_judged_as_on_the_cpu(device: torch.device, street: Path, name: str) -> None:
    data, train = (
        DATASETS.build({"type": "Market1501", "root": str(street), "train": part, **SIZE}) for part in (False, True)
    )
    fit = {"data": train} if name.startswith("Universal") else {}
    values = []
    for place in (CPU, device):
        attack = build_attack({**JUDGED[name], **fit, "name": name})
        values.append(evaluate_set(model().eval().to(place), data, [attack], metric=Retrieval()).values)
    for column in ("Clean", name):
        assert values[1][column] == pytest.approx(values[0][column], abs=1e-3)
