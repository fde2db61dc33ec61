"""docs/judge.md: its config judges a checkpoint of another program, and needs what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import timm
import torch
from listings import ROOT, blocks
from workshop import Workshop

import natx
from natx.config import ANALYSED, CRAFTED, EXPORTED, JUDGED, Kind, check
from natx.errors import ConfigError

PAGE = ROOT / "docs" / "judge.md"
NET = """
from torch import nn


class MyNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(3))
        self.fc = nn.Linear(36, 10)

    def forward(self, x):
        return self.fc(self.body(x).flatten(1))
"""
DIGITS = 'dict(type="Digits", train=False)'
CONTENT = {
    "custom_imports": dict(imports=["tasks.cls"]),
    "task": dict(type="ClassificationTask", model="small_cnn", num_classes=10),
    "data": dict(test=dict(type="Digits", train=False)),
}


@pytest.fixture
def checkpoint(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's config on the digits beside a class and its weights, in the working folder."""
    (text,) = (block.text for block in blocks(PAGE) if block.text.startswith("# judged.py"))
    text, count = re.subn(r'dict\(type="CIFAR10"[^)]*\)', DIGITS, text)
    assert count == 1
    (shop.folder / "judged.py").write_text(text)
    package = shop.folder / "my_package.py"
    package.write_text(NET)
    monkeypatch.chdir(shop.folder)
    names: dict[str, type] = {}
    exec(compile(NET, str(package), "exec"), names)  # noqa: S102
    torch.manual_seed(0)
    torch.save({"state_dict": names["MyNet"]().state_dict()}, "weights.pth")
    return shop.folder / "weights.pth"


def test_the_config_judges_a_class_and_a_file(shop: Workshop, checkpoint: Path) -> None:
    attacks = shop.write("attacks.py", {"threat": dict(type="Linf", eps=0.2), "attacks": [dict(type="FGSM")]})
    arguments = ("judged.py", checkpoint, "--attacks", attacks, "--subset", 6, "--out", "out")
    ran = shop.run("test.py", *arguments)
    assert ran.code == 0, ran.err
    report = json.loads((shop.folder / "out" / "report.json").read_text())
    assert report["images"] == 6 and [column["name"] for column in report["columns"]] == ["Clean", "FGSM"]


def test_task_and_its_import_are_enough_to_export_and_with_images_to_analyse(shop: Workshop) -> None:
    content = {**CONTENT, "task": dict(type="ClassificationTask", model="test_resnet", num_classes=10)}
    weights = shop.folder / "weights.pth"
    torch.save(timm.create_model("test_resnet", num_classes=10).state_dict(), weights)
    small = shop.write("exported.py", {key: content[key] for key in ("custom_imports", "task")})
    ran = shop.run("export.py", small, weights, "--out", shop.folder / "exported")
    assert ran.code == 0, ran.err
    content["data"] = dict(test=dict(type="TinyDataset", count=12, num_classes=10, shape=(3, 32, 32)))
    content["custom_imports"] = dict(imports=["tasks.cls", "natx.testing"])
    config, out = shop.write("analysed.py", content), shop.folder / "analysis"
    ran = shop.run("analyze.py", config, weights, "--what", "sparsity", "--work-dir", out)
    assert ran.code == 0, ran.err


def test_load_fills_the_network_that_it_is_given(shop: Workshop, checkpoint: Path) -> None:
    names: dict[str, type] = {}
    exec(compile(NET, "my_package.py", "exec"), names)  # noqa: S102
    net, x = names["MyNet"]().train(), torch.rand(5, 1, 8, 8)
    model = natx.load(checkpoint, model=net)
    assert not net.training
    torch.testing.assert_close(net(x), model(x))
    # A network on normalised images: judged with mean and std as one with a first layer that normalises.
    y = net((x - 0.3) / 0.5).argmax(1)
    result = natx.evaluate(net, x, y, attacks="FGSM", eps=0.1, mean=[0.3], std=[0.5])
    assert result.accuracies["Clean"] == 100


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (JUDGED, ("task", "data.test")),
        (CRAFTED, ("task", "data.test")),
        (ANALYSED, ("task", "data")),
        (EXPORTED, ("task",)),
    ],
)
def test_what_each_use_needs_is_what_the_pages_say(kind: Kind, keys: tuple[str, ...]) -> None:
    parts = [key.partition(".")[0] for key in keys]
    check({part: CONTENT[part] for part in ("custom_imports", *parts)}, kind)
    for missing in parts:
        with pytest.raises(ConfigError, match="lacks"):
            check({part: CONTENT[part] for part in ("custom_imports", *parts) if part != missing}, kind)
    named = " and ".join(f"`{key}`" for key in keys)
    assert f"for {kind.use} {named}" in " ".join((ROOT / "docs" / "config.md").read_text().split())
    if kind is not CRAFTED:
        word = {JUDGED: "judging", ANALYSED: "analysing", EXPORTED: "exporting"}[kind]
        assert re.search(rf"{word}\s\(`natx \w+`\) (needs )?{named}", PAGE.read_text())
