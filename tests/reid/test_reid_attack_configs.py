"""Every attack config for re-identification attacks a model, and its report says what came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from natx.checks import AuditOptions
from natx.config import ATTACKS, load_config
from natx.errors import CheckpointError
from natx.judging.judge import judge
from natx.models.checkpoint import save_weights
from tasks.reid import ReIDTask

SIZE = {"height": 64, "width": 32}


@pytest.fixture
def model(tmp_path: Path, draw_street: Callable[..., Path]) -> tuple[Config, Path]:
    """A config of a few drawn people, and random weights."""
    task = {"type": "ReIDTask", "model": "squeezenet1_1", "num_classes": 6, **SIZE}
    test = {"type": "Market1501", "root": str(draw_street(tmp_path / "street")), "train": False, **SIZE}
    torch.manual_seed(0)
    save_weights(tmp_path / "net.safetensors", ReIDTask("squeezenet1_1", 6, **SIZE), meta={})
    return Config({"data": {"test": test}, "task": task, "metric": {"type": "Retrieval"}}), tmp_path / "net.safetensors"


@pytest.mark.parametrize("file", ["patch_reid", "reid_gallery", "reid_quick", "reid_table12", "reid_variants"])
def test_an_attack_config_is_judged_by(model: tuple[Config, Path], file: str) -> None:
    table = load_config(f"configs/attacks/{file}.py", kind=ATTACKS)
    for attack in table.attacks:
        attack["steps"] = 1
    report = judge(*model, table, device=torch.device("cpu"))
    names = [attack.get("name", attack.type) for attack in table.attacks]
    assert [column["name"] for column in report["columns"]] == ["Clean", *names] and len(set(names)) == len(names)
    assert all(0 <= value <= 100 for column in report["columns"] for value in column["values"].values())


def test_an_undefended_model_that_does_not_load_is_refused_before_the_attacks(
    model: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("natx.judging.judge.evaluate_set", lambda *_, **__: pytest.fail("attacked first"))
    (tmp_path / "damaged.safetensors").write_bytes(b"none")
    checks = AuditOptions(vanilla=tmp_path / "damaged.safetensors")
    with pytest.raises(CheckpointError, match="damaged.safetensors"):
        judge(*model, load_config("configs/attacks/reid_quick.py"), device=torch.device("cpu"), checks=checks)
