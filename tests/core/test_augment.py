from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from natx.augment import RandomCrop, RandomFlip, RandomResizedCrop
from natx.errors import ConfigError, UserError
from natx.registry import AUGMENTS
from natx.rng import uniform

EVERY = [
    RandomCrop(2),
    RandomCrop(3, "reflect"),
    RandomFlip(),
    RandomResizedCrop(9),
    RandomResizedCrop(5, scale=(0.5, 1.0)),
]


def names(augment: object) -> str:
    return type(augment).__name__


def batch(n: int = 6, *, dtype: torch.dtype = torch.float32, height: int = 8, width: int = 10) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 3, height, width, generator=generator, dtype=dtype)


def same_state(before: tuple, after: tuple) -> bool:
    return torch.equal(before[0], after[0]) and all(np.array_equal(a, b) for a, b in zip(before[1], after[1]))


def global_state() -> tuple:
    return torch.get_rng_state(), np.random.get_state()


def test_registered_and_distinct_streams() -> None:
    classes = [RandomCrop, RandomFlip, RandomResizedCrop]
    assert all(AUGMENTS.get(c.__name__) is c for c in classes)
    assert len({c.stream for c in classes}) == 3
    built = AUGMENTS.build({"type": "RandomResizedCrop", "size": 4, "scale": [0.2, 1.0]})
    assert built.scale == (0.2, 1.0)


@pytest.mark.parametrize("augment", EVERY, ids=names)
def test_result_does_not_depend_on_the_batch(augment) -> None:
    x, index = batch(), torch.tensor([3, 70000, 5, 0, 11, 8])
    whole = augment(x, index=index, seed=7, epoch=2)
    for chosen in ([4], [5, 1, 0], [2, 3, 4, 5]):
        part = augment(x[chosen], index=index[chosen], seed=7, epoch=2)
        # The matrix products of a resize may sum in another order in another batch.
        exact = not isinstance(augment, RandomResizedCrop)
        torch.testing.assert_close(part, whole[chosen], rtol=0, atol=0 if exact else 1e-6)
    if isinstance(augment, RandomResizedCrop):
        u = uniform(index, (4,), seed=7, epoch=2, stream=augment.stream)
        alone = uniform(index[[4]], (4,), seed=7, epoch=2, stream=augment.stream)
        assert torch.equal(augment.boxes(u, height=8, width=10)[[4]], augment.boxes(alone, height=8, width=10))


@pytest.mark.parametrize("augment", EVERY, ids=names)
def test_no_global_generator(augment) -> None:
    before = global_state()
    augment(batch(), index=torch.arange(6), seed=0, epoch=0)
    assert same_state(before, global_state())


@pytest.mark.parametrize("augment", EVERY, ids=names)
def test_seeds_and_epochs_differ_and_repeat(augment) -> None:
    x, index = batch(32), torch.arange(32)
    first = augment(x, index=index, seed=0, epoch=0)
    assert torch.equal(first, augment(x, index=index, seed=0, epoch=0))
    assert not torch.equal(first, augment(x, index=index, seed=0, epoch=1))
    assert not torch.equal(first, augment(x, index=index, seed=1, epoch=0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("augment", EVERY, ids=names)
def test_range_dtype_and_memory_format(augment, dtype: torch.dtype) -> None:
    x = batch(16).round().to(dtype)  # zeros and ones: the extremes of the range
    before = x.clone()
    out = augment(x, index=torch.arange(16), seed=0, epoch=0)
    assert out.dtype == dtype and out.is_contiguous() and torch.equal(x, before)
    assert 0.0 <= out.min() and out.max() <= 1.0
    last = augment(x.to(memory_format=torch.channels_last), index=torch.arange(16), seed=0, epoch=0)
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, out, rtol=0, atol=1e-6)


@pytest.mark.parametrize("augment", EVERY, ids=names)
def test_empty_batch_and_wrong_arguments(augment) -> None:
    empty = augment(batch()[:0], index=torch.arange(0), seed=0, epoch=0)
    assert empty.shape[:2] == (0, 3)
    with pytest.raises(ValueError, match="one per image"):
        augment(batch(), index=torch.arange(5), seed=0, epoch=0)
    with pytest.raises(ValueError, match="float batch"):
        augment(batch().to(torch.uint8), index=torch.arange(6), seed=0, epoch=0)


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_crop_equals_slicing_at_every_offset(mode: str) -> None:
    padding, x = 3, batch(1, height=5, width=6)
    offsets = torch.tensor(list(itertools.product(range(2 * padding + 1), repeat=2)))
    out = RandomCrop(padding, mode).crop(x.expand(len(offsets), -1, -1, -1), top=offsets[:, 0], left=offsets[:, 1])
    padded = F.pad(x, (padding,) * 4, mode=mode)
    for got, (top, left) in zip(out, offsets.tolist()):
        assert torch.equal(got, padded[0, :, top : top + 5, left : left + 6])


def test_crop_draws_every_offset_evenly() -> None:
    x = torch.zeros(4000, 1, 5, 5)
    x[:, :, 2, 2] = 1.0  # after the crop it sits at 2 + padding - offset
    out = RandomCrop(2)(x, index=torch.arange(4000), seed=3, epoch=0)
    share = out.mean(dim=(0, 1))
    assert out.sum() == 4000 and (share - 1 / 25).abs().max() < 0.02


def test_no_padding_is_identity_and_reflection_needs_room() -> None:
    x = batch()
    assert torch.equal(RandomCrop(0)(x, index=torch.arange(6), seed=0, epoch=0), x)
    with pytest.raises(ConfigError, match="reflect padding of 8"):
        RandomCrop(8, "reflect")(x, index=torch.arange(6), seed=0, epoch=0)


def test_flip_is_exact_and_has_its_probability() -> None:
    x, index = batch(2000, height=3, width=4), torch.arange(2000)
    assert torch.equal(RandomFlip(1.0)(x, index=index, seed=0, epoch=0), x.flip(-1))
    assert torch.equal(RandomFlip(0.0)(x, index=index, seed=0, epoch=0), x)
    out = RandomFlip(0.3)(x, index=index, seed=0, epoch=0)
    kept, turned = ((out == y).flatten(1).all(1) for y in (x, x.flip(-1)))
    assert bool((kept | turned).all()) and abs(turned.float().mean() - 0.3) < 0.04


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resized_crop_of_the_whole_image_is_identity(dtype: torch.dtype) -> None:
    x = batch(4, dtype=dtype, height=8, width=8)
    augment = RandomResizedCrop(8, (1, 1), ratio=(1, 1))
    torch.testing.assert_close(augment(x, index=torch.arange(4), seed=0, epoch=0), x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [4, 7, 12, 40])
def test_resize_equals_torchvision(size: int) -> None:
    x = batch(5, dtype=torch.float64, height=20, width=24)
    boxes = torch.tensor([[0, 0, 20, 24], [3, 4, 16, 7], [19, 23, 1, 1], [0, 5, 20, 12], [7, 0, 2, 24]])
    out = RandomResizedCrop(size).resize(x, boxes)
    for got, image, (top, left, h, w) in zip(out, x, boxes.tolist()):
        want = TF.resized_crop(image, top, left, h, w, [size, size], antialias=True)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-9)


def test_boxes_follow_scale_and_ratio() -> None:
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(20000, 4, generator=generator)
    top, left, h, w = RandomResizedCrop(8, (0.1, 0.4), ratio=(0.5, 2.0)).boxes(u, height=300, width=400).unbind(1)
    assert min(top.min(), left.min()) >= 0 and (top + h).max() <= 300 and (left + w).max() <= 400
    area, aspect = (h * w) / 120000.0, w / h
    assert area.min() > 0.098 and area.max() < 0.402 and abs(area.mean() - 0.25) < 0.005
    assert aspect.min() > 0.49 and aspect.max() < 2.04 and abs(aspect.log().mean()) < 0.01
    extreme = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1 - 2**-24] * 4])
    clamped = RandomResizedCrop(8, (0.01, 1.0), ratio=(0.01, 100.0)).boxes(extreme, height=6, width=5)
    assert clamped[:, 2:].min() >= 1
    assert (clamped[:, :2] + clamped[:, 2:] <= torch.tensor([6, 5])).all()


def test_resize_is_differentiable_and_ignores_autocast() -> None:
    x = batch(2, height=6, width=6).requires_grad_()
    augment, index = RandomResizedCrop(6), torch.arange(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = augment(x, index=index, seed=0, epoch=0)
    torch.testing.assert_close(out, augment(x, index=index, seed=0, epoch=0), rtol=0, atol=0)
    out.sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "build",
    [
        lambda: RandomCrop(-1),
        lambda: RandomCrop(1.5),
        lambda: RandomCrop(2, "edge"),
        lambda: RandomFlip(1.5),
        lambda: RandomFlip(float("nan")),
        lambda: RandomResizedCrop(0),
        lambda: RandomResizedCrop(8, (0.0, 1.0)),
        lambda: RandomResizedCrop(8, (0.9, 0.1)),
        lambda: RandomResizedCrop(8, (0.5, 1.5)),
        lambda: RandomResizedCrop(8, ratio=(1.0, float("inf"))),
    ],
)
def test_bad_settings_are_one_line_errors(build) -> None:
    with pytest.raises(ConfigError) as caught:
        build()
    assert isinstance(caught.value, UserError) and "\n" not in str(caught.value)
