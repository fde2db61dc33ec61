"""Weights that a detector starts from: other classes, no head, another head, a classifier's backbone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from detector_runs import base
from detectors import BGR, CLASSES, RGB, detector, faster, retina, square_batch, ssd
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.models import resnet18
from workshop import DIGITS, merged, write_config

from natx.batch import select
from natx.config import load_config, plain_dict
from natx.errors import CheckpointError, ConfigError
from natx.models.checkpoint import save_weights
from natx.registry import TASKS
from natx.training.build import build_runner
from natx.training.run import prepare_adversaries
from tasks.det import DetectionTask
from tasks.det.weights import class_layers

CPU = torch.device("cpu")
NARROW = {"channels": (8, 16, 32, 64), "stem_width": 4}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said while weights are loaded."""
    said: list[str] = []
    for module in ("tasks.det.weights", "tasks.det.task", "tasks.det.scale", "natx.training.build"):
        monkeypatch.setattr(f"{module}.say", said.append)
    return said


def stored(path: Path, family: Callable[..., dict[str, Any]], **meta: Any) -> dict[str, Tensor]:
    """Weights of a detector of three classes, saved as a training does."""
    save_weights(path, detector(family(), seed=5), meta={"classes": ["a", "b", "c"], **meta})
    return load_file(path)


class Images:
    """The images of a batch as a data set."""

    num_classes = CLASSES

    def __len__(self) -> int:
        return 2

    def __getitems__(self, index: list[int]) -> dict[str, Any]:
        return select(square_batch(), torch.tensor(index))


def deep(family: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A ResNet-18-D of an eighth of the usual width as the backbone."""
    config = family()
    config["backbone"].update(type="ResNetV1d")
    return config


# --- other classes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [ssd, retina, faster])
def test_layers_of_other_classes_are_drawn_anew_and_told(
    family: Callable[..., dict[str, Any]], tmp_path: Path, lines: list[str]
) -> None:
    before = stored(tmp_path / "w.safetensors", family)
    task = DetectionTask(family(5), 5, checkpoint=tmp_path / "w.safetensors")
    layers = {key for key, value in task.net.state_dict().items() if value.shape != before[key].shape}
    assert layers and all(key.startswith(("bbox_head.", "roi_head.bbox_head.")) for key in layers)
    assert layers <= class_layers(family())
    for key in before.keys() - layers:
        assert torch.equal(task.net.state_dict()[key], before[key])
    assert "drawn anew" in lines[-1] and task.classes is None


def test_new_classes_of_the_same_number_get_new_layers(tmp_path: Path, lines: list[str]) -> None:
    before = stored(tmp_path / "w.safetensors", ssd)
    assert DetectionTask(ssd(), CLASSES, checkpoint=tmp_path / "w.safetensors").classes == ("a", "b", "c")
    assert len(lines) == 1  # nothing to remark
    task = DetectionTask(ssd(), CLASSES, checkpoint=tmp_path / "w.safetensors", new_head=True)
    changed = {key for key, value in task.net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and all(key.startswith("bbox_head.cls_convs.") for key in changed) and task.classes is None


def test_a_file_without_a_head_starts_all_else(tmp_path: Path, lines: list[str]) -> None:
    whole = stored(tmp_path / "w.safetensors", retina)
    body = {key: value for key, value in whole.items() if not key.startswith("bbox_head.")}
    save_file(body, tmp_path / "body.safetensors")
    task = DetectionTask(retina(), CLASSES, checkpoint=tmp_path / "body.safetensors")
    assert all(torch.equal(task.net.state_dict()[key], value) for key, value in body.items())
    assert "bbox_head.retina_cls" in lines[-1] and lines[-1].endswith("drawn anew")


def test_a_head_of_another_kind_is_left_out(tmp_path: Path, lines: list[str]) -> None:
    whole = stored(tmp_path / "w.safetensors", retina)
    other = {key.replace("retina_cls", "atss_cls"): value for key, value in whole.items()}
    save_file(other, tmp_path / "other.safetensors")
    task = DetectionTask(retina(), CLASSES, checkpoint=tmp_path / "other.safetensors")
    assert torch.equal(task.net.bbox_head.retina_reg.weight, whole["bbox_head.retina_reg.weight"])
    assert "retina_cls" in lines[-2] and "atss_cls" in lines[-1]


def test_another_neck_is_refused(tmp_path: Path) -> None:
    whole = stored(tmp_path / "w.safetensors", retina)
    save_file({k: v for k, v in whole.items() if not k.startswith("neck.")}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="keys missing") as error:
        DetectionTask(retina(5), 5, checkpoint=tmp_path / "w.safetensors")
    assert "neck." in str(error.value) and "\n" not in str(error.value)


# --- a classifier's backbone ------------------------------------------------------------------------------------------


def test_timms_deep_stem_is_mmdets(tmp_path: Path, lines: list[str]) -> None:
    net = timm.create_model("resnet18d", num_classes=4, zero_init_last=False, **NARROW).eval()
    task = DetectionTask(deep(ssd), CLASSES).eval()
    task.load_backbone(net.state_dict(), source="timm.pth")
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        features = task.net.backbone(x)[-1]
    torch.testing.assert_close(features, net.forward_features(x).detach(), rtol=1e-4, atol=1e-5)
    assert lines == ["of timm.pth the detector has no fc: left out"]


def test_wrapped_files_of_torchvision_and_timm_start_a_resnet(tmp_path: Path) -> None:
    model = ssd(10, side=64)
    model["backbone"].update(base_channels=64, stem_channels=64)
    model["neck"].update(in_channels=(256, 512), out_channels=(256, 512, 512))
    model["bbox_head"].update(in_channels=(256, 512, 512))
    for name, net in (("torchvision", resnet18()), ("timm", timm.create_model("resnet18"))):
        state = {f"module.{key}": value for key, value in net.state_dict().items()}
        torch.save({"state_dict": state}, tmp_path / f"{name}.pth")
        start = {"checkpoint": str(tmp_path / f"{name}.pth"), "part": "backbone"}
        content = base(tmp_path / "voc", task={"model": model}, start=start)
        task: Any = build_runner(load_config(write_config(tmp_path / "det.py", content)), tmp_path, device=CPU).model
        assert torch.equal(task.task.net.backbone.layer4[1].conv2.weight, net.state_dict()["layer4.1.conv2.weight"])


def test_backbones_that_do_not_fit_are_refused_in_one_line() -> None:
    task = DetectionTask(ssd(), CLASSES)
    with pytest.raises(CheckpointError, match="the detector's backbone is a ResNet") as error:
        task.load_backbone(timm.create_model("resnet18d", **NARROW).state_dict(), source="d.pth")
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="bgr_to_rgb=True"):
        DetectionTask(ssd(preprocessor=BGR), CLASSES).load_backbone({}, source="w.pth")


def test_other_normalisation_of_the_weights_is_told(lines: list[str]) -> None:
    task = DetectionTask(ssd(), CLASSES)
    task.adopt_normalisation([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert not lines
    task.adopt_normalisation([0.5, 0.5, 0.5], [0.229, 0.224, 0.225])
    assert "mean [0.5, 0.5, 0.5]" in lines[0] and "data_preprocessor has mean [0.485, " in lines[0]


def test_a_classifier_that_is_trained_first_starts_a_detector(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", image=rng.integers(0, 256, (8, 32, 32, 3), np.uint8), label=np.arange(8) % 4)
    images = {"type": "NPZ", "path": str(tmp_path / "images.npz")}
    task = {"type": "ClassificationTask", "model": "resnet18d", "num_classes": 4, "model_args": NARROW}
    data = {"train": images, "test": images, "heldout": 0, "batch_size": 4}
    content = {**merged(DIGITS, {"train_cfg": {"max_epochs": 1}}), "task": task, "data": data}
    start = {"config": str(write_config(tmp_path / "cls.py", content)), "part": "backbone"}
    imports = {"imports": ["tasks.det", "tasks.cls"]}
    content = base(tmp_path / "voc", start=start, custom_imports=imports)
    content["task"]["model"]["backbone"]["type"] = "ResNetV1d"
    config = load_config(write_config(tmp_path / "det.py", content))
    config = prepare_adversaries(config, tmp_path / "runs" / "det", device=CPU)
    weights = load_file(config.start["checkpoint"])
    assert weights["fc.weight"].shape == (4, 64)  # on its own images
    runner: Any = build_runner(config, tmp_path / "runs" / "det", device=CPU)
    backbone = runner.model.task.net.backbone.state_dict()
    assert torch.equal(backbone["layer1.0.conv1.weight"], weights["layer1.0.conv1.weight"])
    assert torch.equal(backbone["stem.3.weight"], weights["conv1.3.weight"])


def test_an_unfrozen_backbone_trains_whole() -> None:
    config = faster()
    config["backbone"].update(frozen_stages=1, norm_eval=True, norm_cfg=dict(type="BN", requires_grad=False))
    for unfrozen in (False, True):
        backbone = DetectionTask(config, CLASSES, unfrozen=unfrozen).train().net.backbone
        assert all(parameter.requires_grad for parameter in backbone.parameters()) is unfrozen
        assert backbone.conv1.weight.requires_grad is unfrozen
        assert backbone.layer1[0].bn1.training is unfrozen and backbone.layer4[0].bn1.training is unfrozen


def test_a_backbone_that_is_frozen_as_it_was_drawn_is_told(tmp_path: Path, lines: list[str]) -> None:
    content = base(tmp_path / "voc")
    content["task"]["model"]["backbone"].update(frozen_stages=1)

    def notes(**changes: Any) -> list[str]:
        lines.clear()
        config = load_config(write_config(tmp_path / "det.py", merged(content, changes)))
        build_runner(config, tmp_path / "run", device=CPU)
        return [line for line in lines if "stay random" in line]

    assert len(notes()) == 1 and "\n" not in notes()[0]
    assert "5 layers of the backbone are frozen" in notes()[0]  # the stem's, and two in each of two blocks
    assert not notes(task={"unfrozen": True})
    config = load_config(write_config(tmp_path / "det.py", content))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)  # other weights than the run draws
        task = TASKS.build(plain_dict(config.task))
    save_weights(tmp_path / "weights.safetensors", task, meta={})
    assert not notes(start={"checkpoint": str(tmp_path / "weights.safetensors")})
    assert not notes(task={"checkpoint": str(tmp_path / "weights.safetensors")})


# --- a backbone of another scale --------------------------------------------------------------------------------------


@pytest.mark.parametrize("std", [1.0, 58.0])
def test_a_backbone_of_normalised_pixels_under_std_1_is_told(std: float, tmp_path: Path, lines: list[str]) -> None:
    """A network whose layers keep the size of what comes in, as VGG's do: pixels that are not divided stay large."""
    config = ssd(preprocessor=dict(RGB, std=[std] * 3))
    task = DetectionTask(config, CLASSES)
    task.load_backbone(DetectionTask(ssd(), CLASSES).net.backbone.state_dict(), source="w.pth")
    task.check_data(Images())
    told = [line for line in lines if line.startswith("new heads begin at a loss of")]
    assert len(told) == (std == 1.0) and all("std [58.395, 57.12, 57.375]" in line for line in told)
    lines.clear()
    task.check_data(Images())  # once is enough
    assert not lines
