"""Every attack config for detectors attacks one, and its report says what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from detector_runs import base, generated
from mmengine.config import Config

from natx.config import ATTACKS, load_config
from natx.judging.judge import judge
from natx.models.checkpoint import save_weights
from natx.registry import TASKS

FILES = ("det_loss", "det_quick", "det_table13", "det_tog", "patch_det", "universal_det")
SHORT: dict[str, dict[str, Any]] = {"Universal": {"epochs": 1, "batch_size": 4}}  # one step is enough for the others


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a generated set of small images, and weights of a small SSD as they were drawn."""
    folder = tmp_path_factory.mktemp("detector")
    torch.manual_seed(0)
    save_weights(folder / "ssd.safetensors", TASKS.build(base(folder / "voc")["task"]), meta={})
    return folder


@pytest.mark.parametrize("file", FILES)
def test_an_attack_config_is_judged_by(root: Path, file: str) -> None:
    table = load_config(f"configs/attacks/{file}.py", kind=ATTACKS)
    for attack in table.attacks:
        attack.update(SHORT.get(attack.type, {"steps": 1}))
        if "data" in attack:
            attack["data"] = generated(root / "voc", "trainval")
    names = [attack.get("name", attack.type) for attack in table.attacks]
    report = judge(Config(base(root / "voc")), root / "ssd.safetensors", table, device=torch.device("cpu"))
    clean, *judged = report["attacks"]
    assert [column["name"] for column in report["columns"]] == ["Clean", *names] and not report.get("not_applicable")
    for name, attack in zip(names, judged, strict=True):
        changed = attack["perturbation"]["changed"]
        assert attack["columns"] == [name] and 0 <= changed <= report["images"]
        if changed and "eps" in table.threat:
            assert 0 < attack["perturbation"]["linf"] <= table.threat.eps + 1e-6
        if name not in ("DAG", "RAP") and "Mislabelling" not in name:  # they begin at detections or at likely classes
            assert changed
