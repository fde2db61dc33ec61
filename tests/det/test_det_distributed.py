"""Two processes (gloo, CPU) judge a detector, clean and under every attack, exactly as one does."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import torch
from detector_runs import SIDE, generated
from detectors import ssd
from forks import run_pair
from torch.utils._pytree import tree_leaves

from natx.attacks import Attack, build_attack
from natx.evaluation import evaluate_set
from natx.models.checkpoint import load_weights, save_weights
from natx.registry import DATASETS
from tasks.det import DetectionTask
from tasks.det.datasets import VOCDetection
from tasks.det.metrics import DetectionMAP

RANKS, BATCH, EMPTY = 2, 2, "test_000002"  # five images are three batches; one has nothing to detect
THREAT = {"type": "Linf", "eps": 32 / 255}  # the digits are bright


def images(root: Path) -> VOCDetection:
    return VOCDetection(root, "test", classes=list("0123456789"), size=(SIDE, SIDE))


def model() -> DetectionTask:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DetectionTask(ssd(10, side=SIDE), 10).eval()


def learnt(root: Path, path: Path) -> None:
    """Write the weights of a detector that has learnt the test images by heart."""
    task = model()
    batch, optimizer = images(root).__getitems__(range(5)), torch.optim.Adam(task.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        sum(task(batch).losses.values()).backward()
        optimizer.step()
    save_weights(path, task, meta={})


def attacks() -> list[Attack]:
    pgd = {"type": "PGD", "steps": 5, "step_size": 8 / 255}
    configs = [
        {**pgd, "name": "loss_cls", "objective": {"type": "ImageLoss", "name": "loss_cls"}},
        {**pgd, "name": "loss_loc", "objective": {"type": "ImageLoss", "name": "loss_bbox"}},
        {"type": "DAG", "steps": 20, "step_size": 4 / 255},
        {"type": "RAP", "steps": 10, "step_size": 40 / 255, "distortion": 1e-2},
    ]
    return [build_attack(config, threat=THREAT) for config in configs]


def judged(folder: Path) -> dict[str, Any]:
    """All outcomes of an evaluation but the times, and how many images this process looked at."""
    task, seen = model(), []
    load_weights(task, folder / "weights.safetensors")
    task.net.backbone.register_forward_hook(lambda net, inputs, output: seen.append(len(inputs[0])))
    found = evaluate_set(task, images(folder / "voc"), attacks(), metric=DetectionMAP(), batch_size=BATCH)
    results = [{key: value for key, value in vars(result).items() if key != "seconds"} for result in found.attacks]
    for result in results:
        result["cost"] = [result["cost"].forwards, result["cost"].backwards]
    examples = {
        name: [tree_leaves(pixels), tree_leaves(rest)] for name, (rest, pixels) in found.examples.columns.items()
    }
    return {
        "seen": sum(seen),
        "values": found.values,
        "attacks": results,
        "counts": [found.count, found.attacked],
        "notes": found.notes,
        "examples": {
            name: [[float(value.double().sum()) for value in part] for part in parts]
            for name, parts in examples.items()
        },
    }


def work(folder: Path, rank: int) -> None:
    """What each of the two processes computes."""
    (folder / f"judged{rank}.json").write_text(json.dumps(judged(folder)))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which two processes wrote what they computed."""
    folder = tmp_path_factory.mktemp("pair")
    DATASETS.build(generated(folder / "voc", "test"))  # made here, so that no process waits for the other
    path = folder / "voc" / "Annotations" / f"{EMPTY}.xml"
    tree = ET.parse(path)
    for thing in tree.findall("object"):
        tree.getroot().remove(thing)
    tree.write(path)
    learnt(folder / "voc", folder / "weights.safetensors")
    run_pair(work, folder)
    return folder


def test_every_process_judges_as_one_process_does(pair: Path) -> None:
    alone = json.loads(json.dumps(judged(pair)))
    values = alone["values"]
    assert list(values) == list(alone["examples"]) == ["Clean", "loss_cls", "loss_loc", "DAG", "RAP"]
    # Every attack does something, so there is something to compare.
    assert all(values[name] != values["Clean"] for name in values if name != "Clean")
    assert values["loss_cls"]["mAP"] < values["Clean"]["mAP"] - 20
    assert alone["counts"][0] == 5 and any("1 of 5" in note for note in alone["notes"])
    found = [json.loads((pair / f"judged{rank}.json").read_text()) for rank in range(RANKS)]
    seen = [outcome.pop("seen") for outcome in found]
    assert sum(seen) == alone.pop("seen") and min(seen) > 0
    assert found == [alone] * RANKS
