"""An exported classifier in RobustBench's own benchmark(), through the code on its card; skipped where it is missing.

To run it: pip install git+https://github.com/RobustBench/robustbench "setuptools<80" (the release on PyPI lacks it).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from mmengine.config import Config
from torch import Tensor

import natx
import tasks.cls  # noqa: F401 - registers its tasks
from natx.export.weights import export
from natx.models.checkpoint import save_weights
from natx.registry import TASKS

robustbench = pytest.importorskip("robustbench", reason="RobustBench is not installed", exc_type=ImportError)
if not hasattr(robustbench, "benchmark"):
    pytest.skip("this release of RobustBench has no benchmark()", allow_module_level=True)

TASK = dict(type="ClassificationTask", model="test_resnet", num_classes=10, mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3])
EPS = 4 / 255


def exported(folder: Path) -> Path:
    """The folder of an export whose threat model is Linf 4/255 on CIFAR-10."""
    torch.manual_seed(5)
    task = TASKS.build(dict(TASK)).eval()
    save_weights(folder / "best.safetensors", task, meta=dict(task=TASK))
    threat, data = dict(type="Linf", eps=EPS), dict(type="CIFAR10")
    config = Config(dict(task=TASK, data=dict(train=data, test=data), threat=threat, method=dict(type="Standard")))
    export(config, folder / "best.safetensors", folder / "out")
    return folder / "out"


def test_benchmark_says_what_natx_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = exported(tmp_path)
    x = torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = natx.load(out / "model.safetensors")
    with torch.no_grad():
        y = model(x).argmax(1)
    y[:3] = (y[:3] + 1) % 10  # three are wrong from the start
    asked: list[Any] = []

    def images(dataset: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        asked.append(dataset.value)
        return x, y

    monkeypatch.setattr("robustbench.eval.load_clean_dataset", images)
    monkeypatch.chdir(out)
    found: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), flags=re.DOTALL):
        exec(code.replace('"cuda"', '"cpu"'), found)  # what a reader of the card would run
    assert asked == ["cifar10"]
    assert isinstance(found["net"], type(timm.create_model("test_resnet", num_classes=10)))  # plain timm's, not natx's
    ours = natx.evaluate(model, x, y, attacks=["AutoAttack"], eps=EPS)
    assert found["clean"] == pytest.approx(9 / 12) == ours.accuracies["Clean"] / 100
    assert found["attacked"] < found["clean"]
    assert abs(found["attacked"] - ours.accuracies["AA"] / 100) <= 1.01 / 12  # their random starts differ
