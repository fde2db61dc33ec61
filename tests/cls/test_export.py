"""Exported classifiers: in plain timm in a process without natx, in natx.load, and through the card's own snippets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from mmengine.config import Config
from safetensors import safe_open
from torch import Tensor
from workshop import Workshop, environment

import natx
import tasks.cls  # noqa: F401 - registers its tasks
from natx.errors import CheckpointError, ConfigError
from natx.export.weights import export
from natx.models.checkpoint import load_weights, save_weights
from natx.registry import TASKS
from natx.training.fingerprints import part_fingerprints

ROOT = Path(__file__).resolve().parents[2]
SMALL = dict(type="ClassificationTask", model="test_resnet", num_classes=7, mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3])
VIT = dict(
    type="ClassificationTask", model="test_vit", num_classes=3, image_size=48, model_args=dict(drop_path_rate=0.1)
)
OWN = dict(type="ClassificationTask", model="small_cnn", num_classes=4, model_args=dict(in_chans=1, width=4))


def config(task: dict[str, Any], data: str = "CIFAR10") -> Config:
    threat = dict(type="Linf", eps=8 / 255)
    terms = [dict(type="TaskLoss"), dict(type="NastyKL", weight=0.06, temperature=4.0)]
    attack = dict(type="PGD", threat=threat, steps=10, step_size=2 / 255)
    return Config(
        dict(
            task=task,
            data=dict(train=dict(type=data), test=dict(type=data)),
            threat=threat,
            method=dict(type="Adversarial", views=("clean", "adv"), attack=attack, terms=terms),
        )
    )


def run(folder: Path, task: dict[str, Any], **meta: Any) -> Path:
    """A run's checkpoint whose batch-norm statistics are not those of a new network."""
    folder.mkdir()
    torch.manual_seed(5)
    made = TASKS.build(dict(task))
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
    path = folder / "best.safetensors"
    save_weights(path, made, meta=dict(task=task, epoch=12, seed=3, selected_on="held-out images", **meta))
    return path


def pixels(channels: int = 3, size: int = 48) -> Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def plain(path: Path, name: str, task: dict[str, Any], **arguments: Any) -> torch.nn.Module:
    """Plain timm with the checkpoint's tensors."""
    net = timm.create_model(name, num_classes=task["num_classes"], **arguments)
    with safe_open(path, framework="pt") as file:
        net.load_state_dict({key: file.get_tensor(key) for key in file.keys()})
    return net.eval()


def snippets(folder: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)


FRESH = """
import sys, torch
sys.path = [p for p in sys.path if p not in ("", {root!r})]
{code}
x = torch.load("x.pt", weights_only=True)
with torch.no_grad():
    torch.save({{"normalised": net(x["normalised"]), "pixels": model(x["pixels"])}}, "z.pt")
assert not [name for name in sys.modules if name.split(".")[0] in ("natx", "tasks")]
"""


@pytest.mark.parametrize(
    ("task", "name", "arguments"),
    [(SMALL, "test_resnet", {}), (VIT, "test_vit", dict(img_size=48))],
    ids=["resnet", "vit"],
)
def test_the_export_loads_in_plain_timm_in_a_process_without_natx(tmp_path: Path, task, name, arguments) -> None:
    path, out = run(tmp_path / "run", task), tmp_path / "out"
    assert [file.name for file in export(config(task), path, out)] == ["model.safetensors", "config.json", "README.md"]
    x = pixels()
    mean, std = (torch.tensor(task.get(key, [0.5] * 3)).view(1, 3, 1, 1) for key in ("mean", "std"))
    if name == "test_vit":
        described = timm.create_model(name).pretrained_cfg
        mean, std = (torch.tensor(described[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    normalised = (x - mean) / std
    with torch.no_grad():
        expected = plain(path, name, task, **arguments)(normalised)
    torch.save({"pixels": x, "normalised": normalised}, out / "x.pt")
    _, load, wrap, bench = snippets(out)
    code = FRESH.format(root=str(ROOT), code=load + wrap)
    # -I: neither this folder nor PYTHONPATH are searched.
    ran = subprocess.run([sys.executable, "-I", "-c", code], cwd=out, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = torch.load(out / "z.pt", weights_only=True)
    torch.testing.assert_close(found["normalised"], expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(found["pixels"], expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(natx.load(out / "model.safetensors")(x), expected, rtol=0, atol=1e-5)
    assert 'benchmark(model.to(device), dataset="cifar10", threat_model="Linf", eps=8 / 255' in bench


NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.register_buffer("mean", torch.full((1, 1, 1, 1), 0.3))
        self.register_buffer("std", torch.full((1, 1, 1, 1), 0.4))
        self.body, self.scale = torch.nn.Conv2d(1, width * classes, 8), torch.nn.Parameter(torch.ones(classes))

    def forward(self, x):
        scores = self.body((x - self.mean) / self.std).flatten(1).unflatten(1, (-1, len(self.scale))).mean(1)
        return {"aux": x, "scores": scores * self.scale}
"""


def test_the_card_of_a_network_of_ones_own_loads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "exported_net.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    network = dict(type="exported_net.Net", width=2)
    task = dict(type="ClassificationTask", model=network, num_classes=4, logits="scores", model_args=dict(classes=4))
    path, out = run(tmp_path / "run", task, input_size=[1, 8, 8]), tmp_path / "out"
    export(config(task, "Digits"), path, out)
    text = (out / "README.md").read_text()
    assert "# exported_net.Net trained on Digits" in text and "!!python" not in text and "natx's own" not in text
    assert json.loads((out / "config.json").read_text())["architecture"] == "exported_net.Net"
    monkeypatch.chdir(out)
    names: dict[str, Any] = {}
    exec(snippets(out)[0], names)
    expected = TASKS.build(dict(task))
    load_weights(expected, path)
    assert torch.equal(names["model"](x := pixels(1, 8)), expected.logits(x))


def test_config_json_is_what_timm_reads_from_a_folder(tmp_path: Path) -> None:
    path, out = run(tmp_path / "run", SMALL, classes=list("abcdefg")), tmp_path / "out"
    export(config(SMALL), path, out)
    content = json.loads((out / "config.json").read_text())
    assert content["architecture"] == "test_resnet" and content["num_classes"] == 7
    assert content["label_names"] == list("abcdefg")
    assert content["pretrained_cfg"]["mean"] == [0.4, 0.5, 0.6] and content["pretrained_cfg"]["std"] == [0.2, 0.25, 0.3]
    assert content["pretrained_cfg"]["input_size"][0] == 3
    net = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    assert list(net.pretrained_cfg["mean"]) == [0.4, 0.5, 0.6]
    x = pixels()
    with torch.no_grad():
        torch.testing.assert_close(net(x), plain(path, "test_resnet", SMALL)(x), rtol=0, atol=1e-6)


def test_the_card_of_an_unjudged_model(tmp_path: Path) -> None:
    path, out = run(tmp_path / "run", SMALL), tmp_path / "out"
    export(config(SMALL), path, out)
    text = (out / "README.md").read_text()
    for words in (
        "library_name: timm",
        "# test_resnet trained on CIFAR10",
        "Adversarial (views clean and adv; attack PGD(steps=10, step_size=0.007843); "
        "terms TaskLoss, NastyKL(weight=0.06, temperature=4))",
        "threat model: Linf 8/255",
        "epochs: 12, selected on held-out images, seed 3",
        "expect normalised inputs",
        "takes pixels in [0,1]",
        sha256(path.read_bytes()).hexdigest(),
        "Not judged",
    ):
        assert words in text
    assert str(tmp_path) not in text and "robust" not in text.replace("robustbench", "").replace("RobustBench", "")


def test_the_images_that_a_model_learned_from_are_told(tmp_path: Path) -> None:
    path, out = run(tmp_path / "run", OWN, input_size=[1, 8, 8]), tmp_path / "out"
    plain = config(OWN, "Digits")
    plain.method = dict(type="AWP", gamma=0.01, method=dict(type="Standard"))
    export(plain, path, out)
    assert json.loads((out / "config.json").read_text())["pretrained_cfg"]["input_size"] == [1, 8, 8]
    text = (out / "README.md").read_text()
    assert "- 1 channel, trained at or near 8 x 8 pixels" in text
    assert "threat model: Linf 8/255, for judging only" in text  # a model that saw no attack claims none


@pytest.mark.parametrize("trained", ["Linf 4/255", "L2 0.5", "Linf 8/255"])
def test_a_training_under_another_threat_model_is_told(trained: str, tmp_path: Path) -> None:
    """The config's own is what its data set is judged under; a run may have trained against another."""
    out = tmp_path / "out"
    export(config(SMALL), run(tmp_path / "run", SMALL, threat=trained), out)
    text = (out / "README.md").read_text()
    assert "threat model: Linf 8/255" in text
    assert (f"; it trained against {trained}" in text) == (trained != "Linf 8/255") == ("trained_against: " in text)


def test_a_card_does_not_say_that_another_training_made_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a training took --cfg-options and the export does not: its card had the shipped config's method."""
    here, trained = config(SMALL), config(SMALL)
    trained.method.terms[1].weight = 0.5
    object.__setattr__(here, "_filename", str(tmp_path / "nat.py"))
    lines: list[str] = []
    monkeypatch.setattr("natx.export.weights.say", lines.append)
    path = run(tmp_path / "run", SMALL, recipe=part_fingerprints(trained))
    export(here, path, tmp_path / "other")
    said = "the checkpoint was trained with other settings of method than nat.py has now"
    assert len(lines) == 1 and f"note: {said}" in lines[0]
    text = (tmp_path / "other" / "README.md").read_text()
    assert f"trained by: unknown; {said}" in text
    assert "0.06" not in text and "natx train" not in text and "adversarial-training" not in text
    here.method.terms[1].weight = 0.5
    export(here, path, tmp_path / "same")
    text = (tmp_path / "same" / "README.md").read_text()
    assert "NastyKL(weight=0.5, temperature=4)" in text and "natx train" in text and "other settings" not in text
    assert len(lines) == 1


def test_the_card_has_the_numbers_of_these_very_weights(tmp_path: Path) -> None:
    path, out = run(tmp_path / "run", SMALL), tmp_path / "out"

    def report(folder: str, digest: str, accuracy: float) -> None:
        content = dict(
            name="tiny",
            threat="Linf 8/255",
            success="any",
            images=40,
            columns=[dict(name="Clean", accuracy=90.0), dict(name="AA", accuracy=accuracy)],
            worst_case=accuracy,
            settings=dict(checkpoint_sha256=digest, data="CIFAR10, the first 40 of 10000 test images"),
        )
        (path.parent / folder).mkdir(exist_ok=True)
        (path.parent / folder / "report.json").write_text(json.dumps(content))

    report("test-linf8_table", sha256(path.read_bytes()).hexdigest(), 41.25)
    report("test-of-the-last-epoch", "0" * 64, 77.77)
    export(config(SMALL), path, out)
    text = (out / "README.md").read_text()
    assert "| 90.00 | 41.25 | 41.25 |" in text and "the first 40 of 10000 test images" in text
    assert "77.77" not in text and "Not judged" not in text
    (path.parent / "test-linf8_table" / "report.json").write_text("{")
    with pytest.raises(ConfigError, match="no readable report"):
        export(config(SMALL), path, out)


def test_an_average_has_not_the_numbers_of_the_weights_beside_it(tmp_path: Path) -> None:
    """A training program's file holds both, so its hash alone does not tell which of them a report judged."""
    raw, average = (TASKS.build(dict(SMALL)) for _ in range(2))
    path = tmp_path / "run" / "checkpoint.pth"
    path.parent.mkdir()
    torch.save({"state_dict": raw.upstream.state_dict(), "state_dict_ema": average.upstream.state_dict()}, path)
    accuracies = {"entry state_dict of checkpoint.pth (not state_dict_ema)": 11.25}
    accuracies |= {"entry state_dict_ema of checkpoint.pth (not state_dict)": 44.75}
    for i, (weights, accuracy) in enumerate(accuracies.items()):
        assert load_weights(TASKS.build(dict(SMALL)), path, ema=bool(i))["weights"] == weights
        settings = dict(checkpoint_sha256=sha256(path.read_bytes()).hexdigest(), data="ten images", weights=weights)
        columns, rest = [dict(name="Clean", accuracy=accuracy)], dict(name="x", threat="Linf 8/255", success="any")
        (path.parent / f"test-{i}").mkdir()
        (path.parent / f"test-{i}" / "report.json").write_text(
            json.dumps(dict(rest, images=40, columns=columns, worst_case=accuracy, settings=settings))
        )
    for ema in (False, True):
        export(config(SMALL), path, tmp_path / f"out-{ema}", ema=ema)
        text = (tmp_path / f"out-{ema}" / "README.md").read_text()
        assert ("11.25" in text, "44.75" in text) == (not ema, ema)
    other = {**SMALL, "mean": [0.5] * 3}  # judged with other statistics than it is exported with
    settings["normalisation"] = "mean 0.4, 0.5, 0.6; std 0.2, 0.25, 0.3"
    (path.parent / "test-1" / "report.json").write_text(
        json.dumps(dict(rest, images=40, columns=columns, worst_case=accuracy, settings=settings))
    )
    export(config(SMALL), path, tmp_path / "same", ema=True)
    export(config(other), path, tmp_path / "other", ema=True)
    assert "44.75" in (tmp_path / "same" / "README.md").read_text()
    assert "Not judged" in (tmp_path / "other" / "README.md").read_text()


def test_an_architecture_of_natx_itself_loads_with_natx(tmp_path: Path) -> None:
    path, out = run(tmp_path / "run", OWN), tmp_path / "out"
    export(config(OWN, "Digits"), path, out)
    assert json.loads((out / "config.json").read_text())["model_args"] == dict(in_chans=1, width=4)
    text = (out / "README.md").read_text()
    assert "`small_cnn` is not built by plain timm" in text and "library_name" not in text and "import timm" not in text
    assert "natx.evaluate" in text and "from robustbench" not in text
    x, task = pixels(1, 8), TASKS.build(dict(OWN)).eval()
    with safe_open(path, framework="pt") as file:
        task.net.load_state_dict({key: file.get_tensor(key) for key in file.keys()})
    with torch.no_grad():
        expected = task.net((x - task.mean) / task.std)
        torch.testing.assert_close(natx.load(out / "model.safetensors")(x), expected, rtol=0, atol=0)
        torch.testing.assert_close(natx.load(path)(x), expected, rtol=0, atol=0)


def test_a_changed_form_of_a_timm_network_is_not_called_timms(tmp_path: Path) -> None:
    task = dict(type="ClassificationTask", model="mobilenetv2_cifar", num_classes=4)
    path, out = run(tmp_path / "run", task), tmp_path / "out"
    export(config(task), path, out)
    assert json.loads((out / "config.json").read_text())["architecture"] == "mobilenetv2_cifar"
    assert "library_name" not in (out / "README.md").read_text()


def test_an_export_of_upstream_weights_says_what_it_is(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet", num_classes=7).state_dict(), tmp_path / "weights.pth")
    export(config(dict(SMALL, checkpoint="/a/path/of/this/machine")), tmp_path / "weights.pth", tmp_path / "out")
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as file:
        assert "this/machine" not in file.metadata()["natx"]
    assert natx.load(tmp_path / "out" / "model.safetensors")(pixels()).shape == (2, 7)
    assert "epochs: unknown" in (tmp_path / "out" / "README.md").read_text()


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    path = run(tmp_path / "run", SMALL)
    with pytest.raises(CheckpointError, match="check the number of classes"):
        export(config(dict(SMALL, num_classes=8)), path, tmp_path / "out")
    with pytest.raises(CheckpointError, match="another architecture"):
        export(config(OWN), path, tmp_path / "out")
    with pytest.raises(ConfigError, match="for image classification"):
        tiny = dict(type="TinyCNNTask")
        import natx.testing  # noqa: F401 - registers it

        export(config(tiny), run(tmp_path / "tiny", tiny), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_of_a_folder_that_are_no_export_stay(tmp_path: Path) -> None:
    checkpoint = run(tmp_path / "run", SMALL)
    for name in ("README.md", "config.json"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ConfigError, match=f"holds another .*{name}"):
            export(config(SMALL), checkpoint, tmp_path)
        assert (tmp_path / name).read_text() == "mine"


def test_a_file_cannot_make_timm_read_another_one(tmp_path: Path) -> None:
    path = run(tmp_path / "run", SMALL)
    bad = dict(SMALL, model_args=dict(checkpoint_path="/tmp/evil.pth"))
    save_weights(path, TASKS.build(dict(SMALL)), meta=dict(task=bad))
    with pytest.raises(CheckpointError, match="sets checkpoint_path"):
        natx.load(path)


def test_the_tool_is_the_function(tmp_path: Path, shop: Workshop) -> None:
    path = run(tmp_path / "run", OWN)
    (tmp_path / "c.py").write_text(
        f"custom_imports = dict(imports=['tasks.cls'], allow_failed_imports=False)\ntask = {OWN!r}\n"
    )
    good = shop.run("export.py", tmp_path / "c.py", path, "--out", tmp_path / "out")
    assert good.code == 0 and "README.md" in good.out, good.err
    assert "threat model: none named" in (tmp_path / "out" / "README.md").read_text()
    code = "import natx, sys; print(natx.load(sys.argv[1]).task.num_classes)"  # finds the adapter by itself
    fresh = subprocess.run([sys.executable, "-c", code, str(path)], env=environment(), capture_output=True, text=True)
    assert fresh.stdout == "4\n", fresh.stderr
    missing = shop.run("export.py", tmp_path / "c.py", tmp_path / "none.safetensors", "--out", "x")
    assert missing.error().startswith("error: no checkpoint")
    assert "best.safetensors is a file" in shop.run("export.py", tmp_path / "c.py", path, "--out", path).error()
