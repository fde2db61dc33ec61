"""Two processes (gloo, CPU) perturb the weights as one does on the joined batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from workshop import environment

from natx.registry import METHODS
from natx.testing import TinyCNNTask, TinyDataset
from natx.training.learner import Learner

ROOT = Path(__file__).resolve().parents[2]
RANKS, IMAGES = 2, 12
ENVIRONMENT = environment(Path(__file__).parent)
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


WORKER = """
import sys, torch
from mmengine.model import MMDistributedDataParallel
from test_awp_distributed import IMAGES, METHODS_TESTED, RANKS, learner, step

torch.set_num_threads(1)
folder, rank = sys.argv[1], int(sys.argv[2])
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS)
size = IMAGES // RANKS
for name in METHODS_TESTED:
    model = MMDistributedDataParallel(module=learner(name), broadcast_buffers=False)
    torch.save(step(model, slice(rank * size, (rank + 1) * size)), f"{folder}/{name}{rank}.pth")
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which two processes wrote what they computed."""
    folder = tmp_path_factory.mktemp("pair")
    command = [sys.executable, "-c", WORKER, str(folder)]
    workers = [
        subprocess.Popen([*command, str(rank)], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        for rank in range(RANKS)
    ]
    for worker in workers:
        errors = worker.communicate()[1]
        assert worker.returncode == 0, errors[-3000:]
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
