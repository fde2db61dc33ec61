"""The class layer of a two-stage detector as analyses see it, and detectors that have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from detectors import CLASSES, RGB, detector, faster, retina, square_batch, ssd
from torch import nn

import natx
from natx.analysis.collect import collect, inputs_of
from natx.attacks import PGD
from natx.batch import select
from natx.errors import CheckpointError, ConfigError
from natx.models.checkpoint import save_weights
from natx.objectives import ImageLoss
from natx.threat import Linf

ATTACK = PGD(Linf(8 / 255), 1, step_size=8 / 255, objective=ImageLoss("loss_cls"))


class Scenes:
    """Three images with annotations."""

    def __len__(self) -> int:
        return 3

    def __getitems__(self, positions: list[int]) -> dict[str, Any]:
        return select(square_batch(), torch.as_tensor(positions))


def test_it_says_the_logits_of_the_boxes_that_it_reads() -> None:
    task = detector(faster()).eval()
    layer = task.classifier()
    assert isinstance(layer, nn.Linear) and layer.weight.shape == (CLASSES + 1, 32)  # the background is the last
    with inputs_of(task.net.backbone) as seen:
        found = collect(task, Scenes(), ATTACK, batch_size=3)
    assert found.notes == [] and list(found.views) == ["clean", "adversarial"]
    for view in found.views.values():
        rows = len(view.logits)
        assert rows > 0 and view.logits.shape == (rows, CLASSES + 1) and view.features.shape == (rows, 32)
        expected = view.features @ layer.weight.detach().T + layer.bias.detach()
        torch.testing.assert_close(view.logits, expected, rtol=1e-4, atol=1e-4)
        assert 0 <= view.labels.min() and view.labels.max() < CLASSES  # foreground
        assert view.margins is None
    # Pixels in [0,1] are what is attacked; scaling to 0..255, mean and deviation are the detector's first layer.
    mean, std = (torch.tensor(RGB[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    torch.testing.assert_close(seen[0], (square_batch()["inputs"].float() - mean) / std)
    last = (seen[-1] * std + mean) / 255
    assert -1e-5 < last.min() and last.max() < 1 + 1e-5
    assert 0 < (last - square_batch()["inputs"] / 255).abs().max() <= 8 / 255 + 1e-5


def test_the_detector_is_left_as_it_was() -> None:
    task = detector(faster()).train()
    task.net.backbone.eval()
    modes, flags = [m.training for m in task.modules()], [p.requires_grad for p in task.parameters()]
    state, seed = {k: v.clone() for k, v in task.state_dict().items()}, torch.get_rng_state()
    collect(task, Scenes(), ATTACK)
    assert [m.training for m in task.modules()] == modes and [p.requires_grad for p in task.parameters()] == flags
    assert all(torch.equal(value, state[key]) for key, value in task.state_dict().items())
    assert not task.classifier()._forward_pre_hooks and all(p.grad is None for p in task.parameters())
    assert torch.equal(torch.get_rng_state(), seed)


@pytest.mark.parametrize(("config", "name"), [(ssd, "SingleStageDetector"), (retina, "RetinaNet")])
def test_convolutional_heads_have_none(config: Any, name: str) -> None:
    task = detector(config()).eval()
    with pytest.raises(ConfigError, match=f"{name} classifies with convolutions .*Faster R-CNN") as error:
        task.classifier()
    assert "\n" not in str(error.value)
    if config is ssd:  # a sigmoid head has no distribution over the classes
        found = collect(task, Scenes())
        assert found.notes == [str(error.value)] and found.weight is None and found.views["clean"].features is None
        assert found.views["clean"].logits.shape[1] == CLASSES + 1


def test_a_file_of_it_is_no_classifier_of_images(tmp_path: Path) -> None:
    save_weights(tmp_path / "best.safetensors", detector(faster()), meta={"task": {"type": "DetectionTask"}})
    with pytest.raises(CheckpointError, match="holds a 'DetectionTask'; natx.load knows .*natx test"):
        natx.load(tmp_path / "best.safetensors")
