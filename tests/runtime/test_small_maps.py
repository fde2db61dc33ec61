"""Convolutions with a batch's images side by side: the library's own values and gradients, where it is to be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from natx.benchmark.training import Trainer
from natx.methods import Adversarial
from natx.runtime.small_maps import SideBySide, conv2d, side_by_side
from natx.threat import L2
from natx.training.learner import Learner
from tasks.cls import ClassificationTask


class Widths(TorchDispatchMode):
    """Shapes of what convolutions are given."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[torch.Size] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            self.shapes.append(args[0].shape)
        return func(*args, **(kwargs or {}))


@contextmanager
def bfloat16() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


def small_integers(*shape: int, seed: int) -> Tensor:
    """-1, 0 and 1: sums of products of a few hundred of them are exact in bfloat16."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, shape, generator=generator).float() * (torch.rand(shape, generator=generator) < 0.3)


@pytest.mark.parametrize("count", [2, 7, 16, 48])
@pytest.mark.parametrize(
    ("kernel", "stride", "height", "width"),
    [(3, 1, 4, 4), (3, 2, 8, 8), (3, 2, 7, 7), (3, 1, 5, 3), (5, 1, 4, 4), (3, 1, 1, 1), (3, 2, 2, 2), (5, 2, 6, 5)],
)
@pytest.mark.parametrize("last", [False, True])
def test_values_and_gradients_are_those_of_each_image_by_itself(
    count: int, kernel: int, stride: int, height: int, width: int, last: bool
) -> None:
    """Against float32 on the same small integers, which both compute without rounding."""
    x = small_integers(count, 64, height, width, seed=0)
    weight, bias = small_integers(64, 64, kernel, kernel, seed=1), small_integers(64, seed=2)
    x = x.to(memory_format=torch.channels_last if last else torch.contiguous_format)
    leaves = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    expected = F.conv2d(x, weight, bias, stride, kernel // 2)
    above = small_integers(*expected.shape, seed=3) * (torch.rand(expected.shape) < 0.5)
    with Widths() as seen, bfloat16():
        found = conv2d(x, weight, bias, stride, kernel // 2)
    assert found.dtype == torch.bfloat16 and found.shape == expected.shape
    assert seen.shapes[0][0] <= max(1, count // 16) and seen.shapes[0][-1] >= count // seen.shapes[0][0] * width
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.float().equal(expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, leaves, above.to(torch.bfloat16)), torch.autograd.grad(expected, leaves, above)
    ):
        assert ours.dtype == torch.float32 and ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=2**-8, atol=0)  # one rounding where a sum is above 256


def convolution(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = dict(shape=(4, 64, 4, 4), out=64, kernel=(3, 3), padding=1)
    return given | changes


@pytest.mark.parametrize(
    "given",
    [
        convolution(shape=(4, 64, 8, 8)),
        convolution(shape=(1, 64, 4, 4)),
        convolution(shape=(4, 32, 4, 4)),
        convolution(out=32),
        convolution(padding=0),
        convolution(padding="valid"),
        convolution(padding=(1, 0)),
        convolution(padding=2, dilation=2),
        convolution(groups=64),
        convolution(shape=(4, 128, 4, 4), groups=2),
        convolution(dilation=2),
        convolution(kernel=(1, 1), padding=0),
        convolution(kernel=(2, 2)),
        convolution(kernel=(3, 1), padding=(1, 0)),
        convolution(stride=(2, 1)),
        convolution(shape=(64, 4, 4)),
    ],
    ids=str,
)
def test_all_other_convolutions_are_left_as_they_are(given: dict[str, Any]) -> None:
    """Wide maps, one image, few channels, other borders than the kernel's, groups: the library gets what was given."""
    settings = {key: value for key, value in given.items() if key not in ("shape", "out", "kernel")}
    x = small_integers(*given["shape"], seed=0)
    weight = small_integers(given["out"], x.shape[-3] // settings.get("groups", 1), *given["kernel"], seed=1)
    with bfloat16():
        expected = F.conv2d(x, weight, **settings)
        with Widths() as seen:
            found = conv2d(x, weight, **settings)
    assert list(seen.shapes[0][-3:]) == list(x.shape[-3:]) and found.equal(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_changes_without_autocast_and_for_float64(dtype: torch.dtype) -> None:
    layer, x = nn.Conv2d(64, 64, 3, padding=1).to(dtype), torch.rand(4, 64, 4, 4, dtype=dtype)
    with Widths() as seen, SideBySide():
        found = layer(x)
        with torch.autocast("cpu", torch.float16):
            layer(x)
        if dtype == torch.float64:
            with bfloat16():
                layer(x)
    assert found.equal(layer(x)) and {shape[-1] for shape in seen.shapes} == {4}


def test_a_layer_that_pads_by_name_and_one_that_reflects() -> None:
    x = small_integers(4, 64, 4, 4, seed=0)
    for settings, width in ((dict(padding="same"), 20), (dict(padding=1, padding_mode="reflect"), 6)):
        layer = nn.Conv2d(64, 64, 3, **settings)
        with torch.no_grad():
            layer.weight.copy_(small_integers(64, 64, 3, 3, seed=1))
        with bfloat16():
            expected = layer(x)
            with Widths() as seen, SideBySide():
                found = layer(x)
        assert seen.shapes[0][-1] == width and found.equal(expected)


def test_layers_are_as_they_were_afterwards_and_another_replacement_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, layer, x = nn.Conv2d._conv_forward, nn.Conv2d(64, 64, 3, padding=1), torch.rand(4, 64, 4, 4)
    with pytest.raises(KeyboardInterrupt), SideBySide():
        with SideBySide():
            pass
        assert nn.Conv2d._conv_forward is not plain
        raise KeyboardInterrupt
    assert nn.Conv2d._conv_forward is plain
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", lambda layer, x, weight, bias: x + 1)
    with bfloat16(), SideBySide():
        assert layer(x).equal(x + 1)
    assert layer(x).equal(x + 1)


def test_gradients_of_gradients_pass_through() -> None:
    """GradAlign differentiates a gradient to the pixels."""
    x, weight = (small_integers(*shape, seed=1).requires_grad_() for shape in ((4, 64, 4, 4), (64, 64, 3, 3)))

    def second(convolve: Callable[..., Tensor]) -> Tensor:
        with bfloat16():
            out = convolve(x, weight, None, 1, 1).float()
            first = torch.autograd.grad(out.square().sum() / 1024, x, create_graph=True)[0]
            return torch.autograd.grad(first.square().sum(), weight)[0]

    alone, together = second(F.conv2d), second(conv2d)
    torch.testing.assert_close(together, alone, rtol=0.05, atol=0.05 * float(alone.abs().max()))


@pytest.mark.parametrize("amx", [False, True])
def test_by_default_it_is_for_cpus_with_amx(amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert isinstance(side_by_side(torch.device("cpu")), SideBySide) == amx
    assert not isinstance(side_by_side(torch.device("cuda")), SideBySide)
    assert isinstance(side_by_side(torch.device("cpu"), wanted=True), SideBySide)
    assert not isinstance(side_by_side(torch.device("cpu"), wanted=False), SideBySide)


def test_the_library_without_onednn_gives_the_same() -> None:
    x, weight = small_integers(4, 64, 4, 4, seed=0), small_integers(64, 64, 3, 3, seed=1)
    with torch.backends.mkldnn.flags(enabled=False), bfloat16():
        found = conv2d(x.to(memory_format=torch.channels_last), weight, padding=1)
    assert found.float().equal(F.conv2d(x, weight, padding=1))


# ------------------------------------------------------------------------------------------------ training steps


def small_network() -> nn.Module:
    """Maps of 4 x 4 under two layers of 64 channels, the second of which halves them."""
    torch.manual_seed(0)
    blocks = [nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(nn.Conv2d(3, 64, 4, 4), nn.ReLU(), *blocks, nn.Flatten(), nn.Linear(256, 5))


def a_step(**settings: Any) -> tuple[dict[str, Tensor], list[Tensor], set[int]]:
    """Logged values, weights after a step of PGD-1 and the union, and widths that convolutions were given."""
    with torch.random.fork_rng(devices=[]):
        task = ClassificationTask(small_network(), 5)
    attack = {"type": "PGD", "threat": L2(0.5), "steps": 1, "random_start": False}
    step = Trainer(Learner(task, Adversarial(attack, ("clean", "adv")), **settings))
    generator = torch.Generator().manual_seed(0)
    batch = {"inputs": torch.rand(4, 3, 16, 16, generator=generator), "data_samples": torch.arange(4)}
    with Widths() as seen:
        scalars = step({**batch, "index": torch.arange(4)})
    return scalars, list(task.parameters()), {shape[-1] for shape in seen.shapes}


def test_a_bfloat16_step_runs_its_attack_and_its_views_side_by_side() -> None:
    scalars, weights, widths = a_step(amp="bfloat16", small_maps=True)
    assert widths == {16, 4 * 5, 4 * 6, 8 * 5, 8 * 6}  # the images, the attack's four and the two views' eight
    by_itself, other, widths = a_step(amp="bfloat16", small_maps=False)
    assert widths == {16, 4}
    for name, value in by_itself.items():
        if "loss" in name:
            torch.testing.assert_close(scalars[name], value, rtol=0.01, atol=0.01)
    for one, two in zip(weights, other):
        torch.testing.assert_close(one, two, rtol=0.01, atol=1e-4)


@pytest.mark.parametrize("amx", [False, True])
def test_the_cpu_decides_and_float32_steps_never_change(amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert (20 in a_step(amp="bfloat16")[2]) == amx
    assert a_step(amp=None)[2] == {16, 4}


def test_a_compiled_network_traces_it_once() -> None:
    """One graph without breaks for all steps, each of which enters the mode anew."""
    graphs: list[str] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph.code)
        return graph.forward

    network, x = small_network().eval(), torch.rand(4, 3, 16, 16)
    with bfloat16(), torch.no_grad():
        with SideBySide():
            expected = network(x)
        network.compile(backend=backend, dynamic=False)
        for _ in range(3):
            with SideBySide():
                assert network(x).equal(expected)
    assert len(graphs) == 1 and graphs[0].count("pad") == 2
    torch.compiler.reset()
