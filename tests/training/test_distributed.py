"""Two processes (gloo, CPU) do what one does on the joined batch, and evaluate to the same outcome per image."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from forks import run_pair
from mmengine.model import MMDistributedDataParallel
from safetensors.torch import load_file
from torch import Tensor
from workshop import DIGITS, ROOT, environment, merged, nat, write_config

from natx.attacks import build_attack
from natx.config import load_config
from natx.evaluation import evaluate
from natx.registry import METHODS
from natx.testing import TinyCNNTask, TinyDataset, fit
from natx.training.build import build_runner
from natx.training.learner import Learner

RANKS, IMAGES = 2, 12
LINF = {"type": "Linf", "eps": 0.1}


# --- what one process and two compute, in float64 and without batch norm: only the splitting differs ------------------


def target(**settings: Any) -> TinyCNNTask:
    return TinyCNNTask(**{"batch_norm": False, "dropout": 0.0, "double": True, **settings})


def learner() -> Learner:
    """NAT with PGD from a random start, against an adversary that is another random net."""
    config = nat({"task": {"type": "TinyCNNTask", "batch_norm": False, "double": True, "seed": 1}, "state": "random"})
    attack = {"type": "PGD", "threat": LINF, "steps": 3, "step_size": 0.05}
    return Learner(target(), METHODS.build({**config, "attack": attack}), seed=3)


def step(model: Any, part: slice) -> dict[str, Tensor]:
    """Loss, its parts and the gradients of one step of a (wrapped) learner."""
    batch = TinyDataset(IMAGES).__getitems__(range(IMAGES)[part])
    scalars = model(**batch, mode="loss")
    bare = getattr(model, "module", model)
    loss, _ = bare.parse_losses(scalars)
    loss.backward()
    gradients = {f"grad {name}": parameter.grad for name, parameter in bare.task.named_parameters()}
    assert len(gradients) == 6
    return {"loss": loss.detach(), **{key: value.detach() for key, value in scalars.items()}, **gradients}


ATTACKS: dict[str, dict[str, Any]] = {
    "PGD": {"type": "PGD", "steps": 4, "step_size": 0.04, "milestones": (1, 2, 4)},
    "restarts": {"type": "PGD", "steps": 2, "step_size": 0.04, "restarts": 2, "objective": {"type": "Margin"}},
    "AutoAttack": {"type": "AutoAttack", "block_size": 4},
}


def outcomes() -> dict[str, Any]:
    """Per attack and convention: which images survive, what it cost and which remarks were made."""
    task = fit(target(), TinyDataset(40), steps=60)
    found: dict[str, Any] = {}
    for name, config in ATTACKS.items():
        for success in ("any", "last"):
            attack = build_attack(dict(config), threat=LINF)
            result = evaluate(task, TinyDataset(11, seed=5, noise=0.3), [attack], batch_size=3, success=success)
            found[f"{name} {success}"] = {
                "correct": {column: outcome.tolist() for column, outcome in result.correct.items()},
                "costs": [[entry.cost.forwards, entry.cost.backwards] for entry in result.attacks],
                "notes": [sorted(entry.notes) for entry in result.attacks],
            }
    return found


def train(folder: Path, rank: int) -> None:
    """One epoch of a net with batch norm, and this process's weights and statistics at its end."""
    runner = build_runner(load_config(folder / "digits.py"), folder / "run", device=torch.device("cpu"))
    runner.train()
    torch.save(runner.model.module.task.upstream.state_dict(), folder / f"trained{rank}.pth")


def work(folder: Path, rank: int) -> None:
    """What each of the two processes computes."""
    model = MMDistributedDataParallel(module=learner(), broadcast_buffers=False)
    size = IMAGES // RANKS
    torch.save(step(model, slice(rank * size, (rank + 1) * size)), folder / f"step{rank}.pth")
    (folder / f"outcomes{rank}.json").write_text(json.dumps(outcomes()))
    train(folder, rank)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which two processes wrote what they computed."""
    folder = tmp_path_factory.mktemp("pair")
    changes = {"launcher": "pytorch", "train_cfg": {"max_epochs": 1}, "data": {"batch_size": 20}}
    write_config(folder / "digits.py", merged(DIGITS, changes))
    run_pair(work, folder)
    return folder


def test_loss_and_gradients_are_those_of_the_joined_batch(pair: Path) -> None:
    joined = step(learner(), slice(None))
    parts = [torch.load(pair / f"step{rank}.pth", weights_only=True) for rank in range(RANKS)]
    assert parts[0].keys() == joined.keys()
    assert parts[0]["loss"] != parts[1]["loss"]  # they did work on different images
    for name, value in joined.items():
        if name.startswith("grad"):
            assert value.abs().max() > 1e-6
            for part in parts:  # DDP gives both the averaged gradient
                torch.testing.assert_close(part[name], value, rtol=0, atol=1e-10)
        elif not name.startswith(("nasty_weight", "nasty_share", "acc")):  # settings, medians and float32 percentages
            torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, value, rtol=0, atol=1e-10)


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return outcomes()


@pytest.mark.parametrize("success", ["any", "last"])
@pytest.mark.parametrize("name", ATTACKS)
def test_evaluation_gives_the_same_outcome_per_image(
    pair: Path, alone: dict[str, Any], name: str, success: str
) -> None:
    key = f"{name} {success}"
    for rank in range(RANKS):
        assert json.loads((pair / f"outcomes{rank}.json").read_text())[key] == alone[key]
    columns = list(alone[key]["correct"].values())
    assert 0 < sum(columns[0]) <= 11
    assert sum(columns[-1]) < sum(columns[0])  # the attack broke something, so there is something to compare


def test_processes_end_an_epoch_with_equal_weights_and_batch_norm_statistics(pair: Path) -> None:
    """Else they would judge different models, and a resumed run would go on from other statistics."""
    first, second = (torch.load(pair / f"trained{rank}.pth", weights_only=True) for rank in range(RANKS))
    saved = load_file(pair / "run" / "last.safetensors")
    assert [key for key in saved if key.endswith("running_var")]
    for key, value in saved.items():
        assert torch.equal(first[key], value), key
        assert torch.equal(second[key], value), key


def test_torchrun_trains_and_writes_one_set_of_checkpoints(tmp_path: Path) -> None:
    task = {"model_args": {"in_chans": 1, "width": 4}}
    vanilla = write_config(tmp_path / "vanilla.py", merged(DIGITS, {"train_cfg": {"max_epochs": 1}, "seed": 4}))
    method = nat({"config": str(vanilla)})
    changes = {"task": task, "method": method, "train_cfg": {"max_epochs": 1}, "data": {"batch_size": 20}}
    config = write_config(tmp_path / "target.py", merged(DIGITS, changes))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
    tool = [str(ROOT / "tools" / "train.py"), str(config), "--work-dir", str(tmp_path / "run")]
    done = subprocess.run(
        [*command, *tool, "--launcher", "pytorch", "--device", "cpu", "--threads", "1"],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "run"
    files = sorted(path.name for path in run.iterdir() if path.is_file())
    assert files == ["best.safetensors", "done.json", "last.pth", "last.safetensors", "target.py"]
    state = torch.load(run / "last.pth", weights_only=True)
    assert state["meta"]["world_size"] == RANKS
    assert state["meta"]["epoch"] == 1
    assert state["meta"]["iter"] == 6  # 259 images: 130 for each process, in batches of 20
    assert all(torch.isfinite(value).all() for value in load_file(run / "best.safetensors").values())
    assert len(list((tmp_path / "adversaries").iterdir())) == 1
    assert done.stdout.count("trained first into") == 1  # only the first process talks
    assert done.stdout.count("next: python tools/test.py") == 1
    (log,) = run.glob("*/vis_data/scalars.json")
    assert any("loss_nasty" in json.loads(line) for line in log.read_text().splitlines())
