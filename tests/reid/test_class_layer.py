"""The identity head as analyses see it: what it reads, what it says, and a network that is left as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import natx
from natx.analysis.collect import collect
from natx.attacks import PGD
from natx.errors import CheckpointError
from natx.models.checkpoint import save_weights
from natx.threat import Linf
from tasks.reid import ReIDTask
from tasks.reid.models import features

PEOPLE, COUNT = 5, 6
MEAN, STD = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


class Pictures:
    """Noise with labels."""

    def __len__(self) -> int:
        return COUNT

    def __getitems__(self, positions: list[int]) -> dict[str, Tensor]:
        rows = torch.as_tensor(positions)
        pixels = torch.randint(0, 256, (COUNT, 3, 64, 32), generator=torch.Generator().manual_seed(1))
        return {"inputs": pixels.to(torch.uint8)[rows], "data_samples": rows % PEOPLE, "index": rows}


def osnet(**settings: Any) -> ReIDTask:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ReIDTask("osnet_x0_25", PEOPLE, height=64, width=32, **settings)


@pytest.mark.parametrize("bnneck", [True, False])
def test_it_says_the_logits_of_what_it_reads(bnneck: bool) -> None:
    task = osnet(bnneck=bnneck).eval()
    layer = task.classifier()
    assert isinstance(layer, nn.Linear) and layer.weight.shape == (PEOPLE, 512) and (layer.bias is None) == bnneck
    attack = PGD(Linf(8 / 255), 2, step_size=4 / 255)
    found = collect(task, Pictures(), attack, batch_size=4)
    batch = Pictures().__getitems__(list(range(COUNT)))
    pixels = {"clean": batch["inputs"] / 255, "adversarial": attack(task, batch)}
    assert found.notes == [] and list(found.views) == list(pixels)
    assert torch.equal(found.weight, layer.weight.detach())
    for name, x in pixels.items():
        assert 0 <= x.min() and x.max() <= 1
        view = found.views[name]
        assert view.logits.shape == (COUNT, PEOPLE) and view.features.shape == (COUNT, 512)
        with torch.no_grad():
            read = features(task.net, (x - MEAN) / STD)  # normalisation is the task's own business
            read = task.net.bnneck(read) if bnneck else read
        torch.testing.assert_close(view.features, read, rtol=1e-4, atol=1e-4)
        bias = 0 if bnneck else layer.bias.detach()
        torch.testing.assert_close(view.logits, view.features @ layer.weight.detach().T + bias, rtol=1e-4, atol=1e-4)
        assert torch.equal(view.labels, batch["data_samples"])


def test_the_network_is_left_as_it_was() -> None:
    task = osnet().train()
    task.net.conv1.eval()
    modes, flags = [m.training for m in task.modules()], [p.requires_grad for p in task.parameters()]
    state = {name: value.clone() for name, value in task.state_dict().items()}
    collect(task, Pictures(), PGD(Linf(8 / 255), 1))
    assert [m.training for m in task.modules()] == modes and [p.requires_grad for p in task.parameters()] == flags
    assert all(torch.equal(value, state[name]) for name, value in task.state_dict().items())
    assert not task.classifier()._forward_pre_hooks and all(p.grad is None for p in task.parameters())


def test_a_file_of_it_is_no_classifier_of_images(tmp_path: Path) -> None:
    settings = {"type": "ReIDTask", "model": "osnet_x0_25", "num_classes": PEOPLE, "height": 64, "width": 32}
    save_weights(tmp_path / "best.safetensors", osnet(), meta={"task": settings})
    with pytest.raises(CheckpointError, match="holds a 'ReIDTask'; natx.load knows .*natx test") as error:
        natx.load(tmp_path / "best.safetensors")
    assert "\n" not in str(error.value)
