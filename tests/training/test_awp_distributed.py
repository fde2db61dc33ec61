"""Two processes (gloo, CPU) perturb the weights as one does on the joined batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from forks import run_pair
from mmengine.model import MMDistributedDataParallel
from torch import Tensor

from natx.registry import METHODS
from natx.testing import TinyCNNTask, TinyDataset
from natx.training.learner import Learner

RANKS, IMAGES = 2, 12
NAT = {
    "type": "Adversarial",
    "views": ("clean", "adv"),
    "attack": {"type": "PGD", "threat": {"type": "Linf", "eps": 0.1}, "steps": 2, "step_size": 0.05},
    "terms": [
        {"type": "TaskLoss"},
        {
            "type": "NastyKL",
            "adversary": {
                "task": {"type": "TinyCNNTask", "batch_norm": False, "double": True, "seed": 1},
                "state": "random",
            },
        },
    ],
}
METHODS_TESTED: dict[str, dict[str, Any]] = {
    "AWP": {"type": "AWP", "gamma": 0.1, "method": NAT},
    "SAM": {"type": "SAM", "rho": 0.5, "method": {"type": "Standard"}},
}


def learner(name: str) -> Learner:
    """In float64 and without batch norm, only the splitting of the batch differs."""
    task = TinyCNNTask(batch_norm=False, dropout=0.0, double=True)
    return Learner(task, METHODS.build(METHODS_TESTED[name]), seed=3)


def step(model: Any, part: slice) -> dict[str, Tensor]:
    """The loss and the gradients of one step of a (wrapped) learner."""
    batch = TinyDataset(IMAGES).__getitems__(range(IMAGES)[part])
    scalars = model(**batch, mode="loss")
    bare = getattr(model, "module", model)
    loss, _ = bare.parse_losses(scalars)
    loss.backward()
    return {"loss": loss.detach(), **{name: parameter.grad for name, parameter in bare.task.named_parameters()}}


def work(folder: Path, rank: int) -> None:
    """What each of the two processes computes."""
    size = IMAGES // RANKS
    for name in METHODS_TESTED:
        model = MMDistributedDataParallel(module=learner(name), broadcast_buffers=False)
        torch.save(step(model, slice(rank * size, (rank + 1) * size)), folder / f"{name}{rank}.pth")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which two processes wrote what they computed."""
    folder = tmp_path_factory.mktemp("pair")
    run_pair(work, folder)
    return folder


@pytest.mark.parametrize("name", METHODS_TESTED)
def test_loss_and_gradients_are_those_of_the_joined_batch(pair: Path, name: str) -> None:
    """Without a common ascent gradient each process would look at weights of its own."""
    joined = step(learner(name), slice(None))
    parts = [torch.load(pair / f"{name}{rank}.pth", weights_only=True) for rank in range(RANKS)]
    assert parts[0]["loss"] != parts[1]["loss"]  # they did work on different images
    torch.testing.assert_close((parts[0].pop("loss") + parts[1].pop("loss")) / 2, joined.pop("loss"))
    for key, value in joined.items():
        assert value.abs().max() > 1e-6
        for part in parts:
            torch.testing.assert_close(part[key], value, rtol=0, atol=1e-10, msg=key)
