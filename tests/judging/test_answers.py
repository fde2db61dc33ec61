"""Modules whose answers are no plain function of one image: what they change, and what is said about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import natx
from natx.errors import DataError
from natx.models.wrap import BATCH, RANDOM
from natx.threat import Linf


class Net(nn.Module):
    """A small network on normalised pixels; ``normalise`` is given the pixels as they come."""

    def __init__(self, normalise: Callable[[Tensor], Tensor] = lambda x: (x - 0.5) / 0.25) -> None:
        super().__init__()
        self.normalise = normalise
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.normalise(x))


def images() -> Tensor:
    return torch.rand(30, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def judged(model: nn.Module, x: Tensor | None = None, **settings: Any) -> natx.Result:
    x = images() if x is None else x
    labels = Net().eval()(images()).argmax(1)
    return natx.evaluate(model, x, labels, **{"attacks": ["FGSM", "PGD-3"], "threat": Linf(0.02), **settings})


def halved(x: Tensor) -> Tensor:
    """In place, and still in [0,1]: a second pass would see other images without any error."""
    return x.mul_(0.5).sub(0.25).div(0.125)


@pytest.mark.parametrize("normalise", [halved, lambda x: x.sub_(0.5).div_(0.25)])
def test_a_module_that_normalises_in_place_changes_no_image(normalise: Callable[[Tensor], Tensor]) -> None:
    x = images()
    result = judged(Net(normalise), x)
    assert torch.equal(x, images())
    plain = judged(Net())
    assert all(torch.equal(result.correct[name], plain.correct[name]) for name in ("Clean", "FGSM", "PGD-3"))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_callers_mode_leaves_attacks_their_gradients(mode: Callable[[], Any]) -> None:
    model = Net()
    labels = model.eval()(images()).argmax(1)
    with mode():
        result = natx.evaluate(model, images(), labels, attacks=["PGD-3"], eps=0.02)
    assert torch.equal(result.correct["PGD-3"], judged(Net()).correct["PGD-3"])


def test_weights_without_gradients_are_one_line() -> None:
    with torch.inference_mode():
        model = Net()
    with pytest.raises(DataError, match="inference_mode"):
        judged(model)


def test_random_answers_are_told() -> None:
    state = torch.get_rng_state()
    with pytest.warns(UserWarning, match="differently each time"):
        result = judged(nn.Sequential(Net(), Shaken()))
    assert RANDOM in result.notes
    torch.set_rng_state(state)


class Shaken(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits + 0.5 * torch.randn_like(logits)


def test_answers_that_hang_on_the_batch_are_told() -> None:
    model = Net()
    norm = model.body[1]
    norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    with pytest.warns(UserWarning, match="beside it"):
        assert BATCH in judged(model).notes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_plain_module_has_no_remark(dtype: torch.dtype) -> None:
    assert not {RANDOM, BATCH} & set(judged(Net().to(dtype)).notes)


def test_pixels_that_rounding_moved_are_told_as_that() -> None:
    x = images()
    x[0, 0, 0, 0], x[0, 0, 0, 1] = -3e-8, 1 + 1e-6
    with pytest.raises(DataError, match="clamp"):
        judged(Net(), x)
    judged(Net(), x.clamp(0, 1))
    with pytest.raises(DataError, match="do not normalise"):
        judged(Net(), (x - 0.5) / 0.25)
