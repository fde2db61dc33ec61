"""Two processes (gloo, CPU) judge a set and make copies exactly as one does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forks import run_pair

from natx.attacks import Attack, build_attack
from natx.evaluation import evaluate_set
from natx.training import copies as stored
from tasks.reid import ReIDTask
from tasks.reid.datasets import Market1501
from tasks.reid.metrics import Retrieval

RANKS, BATCH, BLOCK = 2, 3, 5  # seven queries are three batches; 24 training images are five blocks
SIZE = {"height": 64, "width": 32}


def model() -> ReIDTask:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ReIDTask("squeezenet1_1", 6, **SIZE).eval()


def attack(objective: str, **settings: Any) -> Attack:
    random_start = objective == "SMA"
    config = {"type": "PGD", "name": objective, "steps": 3, "step_size": 2 / 255, "random_start": random_start}
    config["objective"] = {"type": objective, **settings}
    return build_attack(config, threat={"type": "Linf", "eps": 8 / 255})


def judged(root: Path) -> dict[str, Any]:
    """All outcomes of an evaluation but the times, and how many images this process embedded."""
    attacks, task, seen = [attack("FNA"), attack("SMA"), attack("IFGSM")], model(), []
    task.net.register_forward_hook(lambda net, inputs, output: seen.append(len(inputs[0])))
    found = evaluate_set(task, Market1501(root, False, **SIZE), attacks, metric=Retrieval(), batch_size=BATCH)
    return {
        "seen": sum(seen),
        "values": found.values,
        "costs": [[result.cost.forwards, result.cost.backwards] for result in found.attacks],
        "notes": [result.notes for result in found.attacks],
        "perturbations": [result.perturbation for result in found.attacks],
        "examples": {
            name: [predictions.double().sum(1).tolist(), [float(image.double().sum()) for image in pixels]]
            for name, (predictions, pixels) in found.examples.columns.items()
        },
    }


def copied(root: Path, folder: Path) -> None:
    stored.BLOCK = BLOCK
    climb = attack("IFGSM", guides="all")
    stored.make_copies(model(), Market1501(root, **SIZE), climb, folder=folder, batch_size=BATCH)


def work(folder: Path, rank: int) -> None:
    """What each of the two processes computes."""
    (folder / f"judged{rank}.json").write_text(json.dumps(judged(folder / "street")))
    copied(folder / "street", folder / "copies")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, draw_street: Callable[..., Path]) -> Path:
    """The folder into which two processes wrote what they computed."""
    folder = tmp_path_factory.mktemp("pair")
    draw_street(folder / "street")
    run_pair(work, folder)
    return folder


def test_every_process_judges_as_one_process_does(pair: Path) -> None:
    alone = json.loads(json.dumps(judged(pair / "street")))
    values = alone["values"]
    assert list(values) == ["Clean", "FNA", "SMA", "IFGSM"]
    assert all(values[name]["mAP"] < values["Clean"]["mAP"] for name in ("FNA", "IFGSM"))
    assert alone["costs"] == [[16, 0], [7 * 4, 7 * 3], [7 * 5, 7 * 3], [7 * 4, 7 * 3]]
    assert alone.pop("seen") == 16 + 7 * (4 + 5 + 4)
    assert alone["perturbations"][0] is None and all(size["images"] == 7 for size in alone["perturbations"][1:])
    assert list(alone["examples"]) == list(values)
    found = [json.loads((pair / f"judged{rank}.json").read_text()) for rank in range(RANKS)]
    # Batches of 3, 3 and 1 queries under each attack, and six of clean images, taken in turns.
    assert [outcome.pop("seen") for outcome in found] == [3 * 3 + 4 * (4 + 5 + 4), 2 * 3 + 1 + 3 * (4 + 5 + 4)]
    assert found == [alone] * RANKS


def test_copies_made_by_two_processes_have_the_same_bytes(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "BLOCK", BLOCK)  # put back afterwards
    copied(pair / "street", tmp_path / "copies")
    files = {path.name: path.read_bytes() for path in (tmp_path / "copies").glob("*.*") if path.name != ".lock"}
    assert len(files) == 6 and "copies.json" in files
    assert {path.name: path.read_bytes() for path in (pair / "copies").glob("*.*") if path.name != ".lock"} == files
