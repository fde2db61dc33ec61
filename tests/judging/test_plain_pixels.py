"""Networks that say how their images are normalised: told where they see plain pixels, and nothing said of all others.

Every case but those of timm is a tiny net with timm's attribute.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import natx
from natx.models.load import PixelModel
from tasks.cls import ClassificationTask

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
WORDS = "takes images normalised by mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3]"


class Net(nn.Module):
    """A convolution and a linear layer, with what timm's networks say of themselves."""

    def __init__(self, described: Any = None, *, channels: int = 3, name: str = "pretrained_cfg") -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.stem, self.head = nn.Conv2d(channels, 4, 3), nn.Linear(144, 3)
        setattr(self, name, {"mean": MEAN, "std": STD} if described is None else described)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x).relu().flatten(1))


class Normalised(nn.Module):
    """Normalises in its forward, or does not, and holds the network as ``model``."""

    def __init__(self, model: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.model, self.mean, self.std = model, mean, std

    def forward(self, x: Tensor) -> Tensor:
        return self.model((x - self.mean) / self.std)


def normaliser(mean: float = 0.5, std: float = 0.25) -> nn.Module:
    return Normalised(nn.Identity(), mean, std)


def with_stem(change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    net = Net()
    net.stem = change(net.stem)  # type: ignore[assignment]
    return net


def with_forward() -> nn.Module:
    net = Net()
    forward = net.forward
    net.forward = lambda x: forward((x - 0.5) / 0.25)  # type: ignore[method-assign]
    return net


def pixels(channels: int = 3) -> Tensor:
    """Images in the middle of the range: divided by 0.5 after 0.5 was taken off they would still be in [0,1]."""
    return 0.6 + 0.3 * torch.rand(6, channels, 8, 8, generator=torch.Generator().manual_seed(0))


def told(model: nn.Module, *, channels: int = 3, **settings: Any) -> list[str]:
    """What is said of a model that is judged; the same as a warning and as a note."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = natx.evaluate(model, pixels(channels), [0] * 6, attacks="FGSM", eps=1 / 255, **settings)
    remarks = [str(warning.message) for warning in seen if "normalised by" in str(warning.message)]
    assert [note for note in result.notes if "normalised by" in note] == remarks
    assert not any(part._forward_pre_hooks for part in model.modules())
    return remarks


@pytest.mark.parametrize(
    "model",
    [
        lambda: Net(),
        lambda: Net(SimpleNamespace(mean=MEAN, std=STD)),
        lambda: Net(name="default_cfg"),
        lambda: nn.DataParallel(Net()),
        lambda: nn.Sequential(Net()),
        lambda: nn.Sequential(nn.ZeroPad2d(2), nn.Upsample((8, 8)), Net()),
        lambda: Normalised(Net(), 0.0, 1.0),
        lambda: with_stem(weight_norm),
        lambda: Net().half(),
    ],
)
def test_a_network_that_sees_plain_pixels_is_told(model: Callable[[], nn.Module]) -> None:
    (remark,) = told(model())
    assert WORDS in remark and "mean=0, std=1" in remark and "\n" not in remark
    with pytest.warns(UserWarning, match="takes images normalised by"):
        natx.attack(model(), pixels(), [0] * 6, "FGSM", eps=1 / 255)


@pytest.mark.parametrize(
    "model",
    [
        lambda: Net({}),
        lambda: Net({"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}),
        lambda: nn.Sequential(normaliser(), Net()),
        lambda: nn.Sequential(normaliser(0.5, 0.5), Net()),
        lambda: nn.Sequential(nn.BatchNorm2d(3), normaliser(), Net()),
        lambda: Normalised(Net(), 0.5, 0.25),
        lambda: nn.DataParallel(Normalised(Net(), 0.5, 0.25)),
        lambda: with_stem(lambda stem: nn.Sequential(normaliser(), stem)),
        with_forward,
    ],
)
def test_nothing_is_said_of_one_that_normalises_or_names_nothing(model: Callable[[], nn.Module]) -> None:
    assert told(model()) == []


@pytest.mark.parametrize("given", [dict(mean=MEAN, std=STD), dict(mean=0, std=1)])
def test_nothing_is_said_where_mean_and_std_are_given(given: dict[str, Any]) -> None:
    assert told(Net(), **given) == []


def test_what_natx_load_returns_normalises_by_itself() -> None:
    for statistics in ({}, {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}):
        task = ClassificationTask("test_resnet", 3, **statistics)
        assert told(PixelModel(task)) == []
    assert len(told(task.upstream)) == 1  # the network alone


@pytest.mark.parametrize("in_place", [False, True])
def test_compiled_networks_keep_nothing_of_the_question(in_place: bool) -> None:
    for normalises in (False, True):
        net = Normalised(Net(), 0.5, 0.25) if normalises else Net()
        whole: Any = net if in_place else torch.compile(net, backend="eager")
        if in_place:
            net.compile(backend="eager")
        assert len(told(whole)) == (not normalises)
        torch.testing.assert_close(whole(pixels()), net.forward(pixels()))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_timms_networks(name: str) -> None:
    net = timm.create_model(name, num_classes=3, **({"img_size": 16} if "vit" in name else {}))
    cfg: Any = net.pretrained_cfg
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    named = ", ".join(f"{value:g}" for value in cfg["mean"])
    with pytest.warns(UserWarning, match="takes images normalised by") as seen:
        natx.evaluate(net, x, [0] * 4, attacks="FGSM", eps=1 / 255)
    assert f"mean=[{named}]" in str(seen[0].message)
    assert f"natx.load('timm:{cfg['architecture']}.{cfg['tag']}')" in str(seen[0].message)


def test_statistics_of_colours_stand_for_other_channels_by_their_mean() -> None:
    (remark,) = told(Net(channels=1), channels=1)
    assert "mean=[0.5], std=[0.25]" in remark  # which timm's loader takes
    assert told(Net(channels=1), channels=1, mean=[0.5], std=[0.25]) == []


def test_the_question_moves_no_generator_and_no_mode() -> None:
    net = nn.Sequential(nn.Dropout(0.5), Net()).train()
    natx.evaluate(net, pixels(), [0] * 6, attacks="FGSM", eps=1 / 255)
    state = torch.get_rng_state()
    natx.evaluate(net, pixels(), [0] * 6, attacks="FGSM", eps=1 / 255)
    assert torch.equal(torch.get_rng_state(), state) and all(part.training for part in net.modules())
