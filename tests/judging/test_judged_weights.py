"""A report says which weights were judged, and with which mean and std their pixels were normalised."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import save_file
from workshop import DIGITS, merged

from natx.checks import AuditOptions
from natx.judging.judge import judge
from natx.registry import TASKS
from tasks.cls import ClassificationTask

ATTACKS = Config({"threat": {"type": "Linf", "eps": 1 / 255}, "attacks": [{"type": "FGSM"}]})


def report(weights: Path, *, ema: bool = False, checks: AuditOptions | None = None, **task: Any) -> dict[str, Any]:
    config = Config(merged(DIGITS, {"task": task}))
    return judge(config, weights, ATTACKS, device=torch.device("cpu"), subset_size=20, ema=ema, checks=checks)


def audit_settings(tmp_path: Path, vanilla: Path) -> dict[str, Any]:
    save_file(state(1), tmp_path / "best.safetensors")
    checks = AuditOptions(images=4, draws=4, vanilla=vanilla)
    return report(tmp_path / "best.safetensors", checks=checks)["settings"]["audit"]


@pytest.mark.parametrize("named", ["file", "folder", "by the name of its config"])
def test_the_undefended_model_of_an_audit_is_named_as_every_other_weights_are(tmp_path: Path, named: str) -> None:
    folder = tmp_path / "adversaries" / "digits_vt-0123456789abcdef"
    folder.mkdir(parents=True)
    file = folder / "best.safetensors"
    save_file(state(2), file)
    (folder / "done.json").write_text("{}")
    ways = {"file": file, "folder": folder, "by the name of its config": tmp_path / "digits_vt" / file.name}
    settings = audit_settings(tmp_path, ways[named])
    assert settings["vanilla"] == str(file)
    assert settings["vanilla_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def state(seed: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        task = TASKS.build(DIGITS["task"])
    assert isinstance(task, ClassificationTask)
    return task.net.state_dict()


def test_the_entry_is_named_and_the_average_is_judged_where_it_is_asked_for(tmp_path: Path) -> None:
    path, alone = tmp_path / "both.pth", tmp_path / "average.pth"
    torch.save({"state_dict": state(1), "state_dict_ema": state(2)}, path)
    torch.save(state(2), alone)
    raw, average = report(path), report(path, ema=True)
    assert raw["settings"]["weights"] == "entry state_dict of both.pth (not state_dict_ema)"
    assert average["settings"]["weights"] == "entry state_dict_ema of both.pth (not state_dict)"
    assert average["columns"] == report(alone)["columns"] != raw["columns"]


@pytest.mark.parametrize("own", [False, True])
def test_the_normalisation_is_in_the_report(tmp_path: Path, own: bool) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(state(1), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": [0.25], "std": [0.125]}}))
    judged = report(folder, **({"mean": [0.75], "std": [1.0]} if own else {}))
    expected = "mean 0.75; std 1" if own else "mean 0.25; std 0.125"
    assert judged["settings"]["normalisation"] == expected
    assert judged["settings"]["checkpoint"] == str(folder / "model.safetensors")
    told = [
        note for note in judged["notes"] if "not those that come with the weights (mean [0.25], std [0.125])" in note
    ]
    assert bool(told) == own
