"""Weight files of other programs: torchreid's, torchvision's, timm's; a classifier of natx as a backbone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import resnet18
from workshop import DIGITS, merged, write_config

from natx.config import load_config
from natx.errors import CheckpointError, ConfigError
from natx.models.checkpoint import load_weights
from natx.task import Task
from natx.training.build import build_runner
from natx.training.plan import _start
from natx.training.run import prepare_adversaries
from tasks.reid import ReIDTask

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its ranking wants a Cython extension
    from torchreid.reid.models import build_model
    from torchreid.reid.utils import save_checkpoint

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"height": 64, "width": 32}
COUNTER = "num_batches_tracked"


def net(name: str, classes: int, *, seed: int = 3) -> nn.Module:
    """A torchreid model with weights and statistics of its own, as a training leaves them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(name, classes, loss="softmax", pretrained=False)
        with torch.no_grad():
            model.train()(torch.randn(4, 3, 64, 32))
    return model.eval()


def old(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict as torch wrote it before 0.4.1."""
    return {name: value for name, value in state.items() if not name.endswith(COUNTER)}


def equal(task: ReIDTask, state: dict[str, Tensor]) -> bool:
    """Whether a task has the weights of a file but for its head and neck."""
    weights = {name: value for name, value in task.net.state_dict().items() if not name.startswith(("class", "bnneck"))}
    return all(torch.equal(value, state[name]) for name, value in weights.items() if not name.endswith(COUNTER))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A torchreid model and its ``model.pth.tar``, whose rank-1 accuracy is a number of numpy."""
    model, folder = net("osnet_x0_25", 7), tmp_path_factory.mktemp("torchreid")
    optimizer = torch.optim.Adam(model.parameters(), amsgrad=True)
    state: dict[str, Any] = {"state_dict": model.state_dict(), "epoch": 60, "rank1": np.float32(0.83)}
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [20, 40])
    state |= {"optimizer": optimizer.state_dict(), "scheduler": schedule.state_dict(), "cmc": np.linspace(0, 1, 3)}
    save_checkpoint(state, str(folder))
    return model, folder / "model.pth.tar-60"


def test_torchreids_own_checkpoint_is_judged_as_torchreid_would(trained: tuple[nn.Module, Path]) -> None:
    model, path = trained
    task = ReIDTask("osnet_x0_25", 7, bnneck=False, **SMALL).eval()
    load_weights(task, path)
    x = torch.rand(3, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        torch.testing.assert_close(task.predict({"inputs": x}), model((x - mean) / std))


def test_a_file_without_a_neck_names_the_option_and_one_with_a_neck_does(
    trained: tuple[nn.Module, Path], tmp_path: Path
) -> None:
    _, path = trained
    with pytest.raises(CheckpointError, match=r"has no batch-norm neck .* the model one: set task.bnneck=False$"):
        load_weights(ReIDTask("osnet_x0_25", 5, **SMALL), path, without_head=True)
    torch.save(ReIDTask("osnet_x0_25", 7, **SMALL).net.state_dict(), tmp_path / "neck.pth")
    with pytest.raises(CheckpointError, match=r"has a batch-norm neck .* the model none: set task.bnneck=True$"):
        load_weights(ReIDTask("osnet_x0_25", 7, bnneck=False, **SMALL), tmp_path / "neck.pth")
    torch.save(net("osnet_x0_5", 7).state_dict(), tmp_path / "wider.pth")  # another network is no matter of the neck
    with pytest.raises(CheckpointError, match="conv1"):
        ReIDTask("osnet_x0_25", 7, checkpoint=tmp_path / "wider.pth", **SMALL)


def test_it_starts_a_training_of_other_people(trained: tuple[nn.Module, Path]) -> None:
    model, path = trained
    task = ReIDTask("osnet_x0_25", 4, checkpoint=path, new_head=True, **SMALL)
    assert equal(task, model.state_dict()) and len(task.net.classifier.weight) == 4


def test_the_head_of_imagenet_is_dropped_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr("tasks.reid.models.say", lines.append)
    state = old(net("osnet_x0_25", 1000).state_dict())
    torch.save(state, tmp_path / "osnet_x0_25_imagenet.pth", _use_new_zipfile_serialization=False)
    task = ReIDTask("osnet_x0_25", 5, checkpoint=tmp_path / "osnet_x0_25_imagenet.pth", pretrained=True, **SMALL)
    assert equal(task, state) and len(task.net.classifier.weight) == 5
    assert lines[1].startswith("the head of 1000 ImageNet classes in ")


def test_the_layer_that_makes_the_feature_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OSNet calls it ``fc``, as others their class layer: a file without it leaves it random."""
    lines: list[str] = []
    monkeypatch.setattr("tasks.reid.models.say", lines.append)
    state = net("osnet_x0_25", 5).state_dict()
    for name, content in {
        "whole": state,
        "cut": {key: value for key, value in state.items() if not key.startswith("fc.")},
    }.items():
        torch.save(content, tmp_path / f"{name}.pth")
        ReIDTask("osnet_x0_25", 5, checkpoint=tmp_path / f"{name}.pth", bnneck=False, **SMALL)
    assert [line for line in lines if "layer fc" in line] == [
        f"layer fc, which makes the feature, is not in {tmp_path / 'cut.pth'}: it begins at random weights"
    ]


@pytest.mark.parametrize("name", ["mobilenetv2_x1_0", "mudeep"])
def test_weights_that_torchreid_has_not_are_no_random_ones(name: str) -> None:
    """It warns and goes on for the one, and does not look at the word for the other."""
    with pytest.raises(ConfigError, match=f"torchreid fetches no pretrained weights of {name}.*task.checkpoint=<file>"):
        ReIDTask(name, 5, pretrained=True, **SMALL)


def test_a_last_stride_of_one_by_itself_cannot_be_made_two() -> None:
    assert ReIDTask("resnet50_fc512", 5, last_stride=1, **SMALL).num_classes == 5
    with pytest.raises(ConfigError, match="resnet50_fc512 has a last stride of 1 by itself"):
        ReIDTask("resnet50_fc512", 5, last_stride=2, **SMALL)


@pytest.mark.parametrize("file", ["resnet18-5c106cde.pth", "resnet18-f37072fd.pth"])
def test_files_of_torchvision_start_a_resnet(tmp_path: Path, file: str) -> None:
    """The older ones have no counters of batches and another format of the file."""
    state, newer = resnet18().state_dict(), file.endswith("f37072fd.pth")
    state = state if newer else old(state)
    torch.save(state, tmp_path / file, _use_new_zipfile_serialization=newer)
    task = ReIDTask("resnet18", 5, checkpoint=tmp_path / file, last_stride=1, **SMALL)
    assert equal(task, state)


# --- a classifier of this program -------------------------------------------------------------------------------------


@pytest.fixture
def defence(tmp_path: Path, draw_street: Callable[..., Path]) -> Path:
    """A config that starts from the backbone of a classifier on images and normalisation of its own."""
    rng = np.random.default_rng(0)
    images = tmp_path / "images.npz"
    np.savez(images, image=rng.integers(0, 256, (16, 32, 32, 3), dtype=np.uint8), label=np.arange(16) % 4)
    own = {"type": "NPZ", "path": str(images)}
    classifier = merged(DIGITS, {"data": {"train": own, "test": own, "heldout": 4, "batch_size": 4}})
    task = {"type": "ClassificationTask", "model": "resnet18", "num_classes": 4, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    content = {**classifier, "task": task, "train_cfg": {"max_epochs": 1}}
    start = {"config": str(write_config(tmp_path / "robust.py", content)), "part": "backbone"}
    people = {"type": "Market1501", "root": str(draw_street(tmp_path / "street")), **SMALL}
    return write_config(
        tmp_path / "reid.py",
        {
            "custom_imports": {"imports": ["tasks.reid", "tasks.cls"]},
            "seed": 0,
            "data": {"train": people, "test": {**people, "train": False}, "heldout": 0, "batch_size": 8},
            "task": {"type": "ReIDTask", "model": "resnet18", "num_classes": 6, **SMALL},
            "method": {"type": "Standard"},
            "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
            "train_cfg": {"max_epochs": 1},
            "metric": {"type": "Retrieval"},
            "start": start,
        },
    )


def test_a_classifier_that_is_trained_first_gives_its_backbone(defence: Path, tmp_path: Path) -> None:
    config = load_config(defence)
    assert _start(config) == f"the backbone of {tmp_path / 'robust.py'}"
    config = prepare_adversaries(config, tmp_path / "runs" / "reid", device=CPU)
    weights = load_file(config.start["checkpoint"])
    assert weights["fc.weight"].shape == (4, 512)  # on its own images
    task = build_runner(config, tmp_path / "runs" / "reid", device=CPU).model.task
    assert equal(task, weights) and task.classes == ("2", "5", "7", "11", "13", "17")
    assert task.normalisation == {"mean": [0.5] * 3, "std": [0.25] * 3}
    start = {"checkpoint": config.start["checkpoint"], "config": None}
    whole = load_config(defence, options={"start": {**start, "part": "all"}})
    with pytest.raises(CheckpointError, match="another architecture"):
        build_runner(whole, tmp_path / "whole", device=CPU)
    own = load_config(defence, options={"start": {**start, "part": "backbone"}, "task.mean": [0.4] * 3})
    task = build_runner(own, tmp_path / "own", device=CPU).model.task
    assert task.normalisation["mean"] == pytest.approx([0.4] * 3)


def test_timms_weights_are_torchreids_resnet(tmp_path: Path) -> None:
    net = timm.create_model("resnet18", num_classes=10)
    torch.save(net.state_dict(), tmp_path / "timm.pth")
    timm.models.save_for_hf(net, str(tmp_path / "folder"))
    for place in ("timm.pth", "folder"):
        assert equal(ReIDTask("resnet18", 5, checkpoint=tmp_path / place, **SMALL), net.state_dict())


def test_a_file_of_fast_reid_is_refused_in_one_line(tmp_path: Path) -> None:
    state = {f"backbone.{name}": value for name, value in resnet18().state_dict().items()}
    torch.save({"model": {**state, "heads.bottleneck.0.weight": torch.ones(512)}}, tmp_path / "model_final.pth")
    with pytest.raises(CheckpointError, match="model_final.pth cannot start this training.*backbone.conv1") as error:
        ReIDTask("resnet18", 5, checkpoint=tmp_path / "model_final.pth", **SMALL)
    assert "\n" not in str(error.value)


def test_a_task_without_such_a_part_refuses() -> None:
    with pytest.raises(ConfigError, match="a Task has no backbone"):
        Task().load_backbone({}, source="w.pth")
