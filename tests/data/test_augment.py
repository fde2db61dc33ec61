from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from natx.data.augment import RandomCrop, RandomErasing, RandomFlip, RandomResizedCrop
from natx.errors import ConfigError, UserError
from natx.registry import AUGMENTS
from natx.runtime.rng import uniform

EVERY = [
    RandomCrop(2),
    RandomCrop(3, "reflect"),
    RandomFlip(),
    RandomResizedCrop(9),
    RandomResizedCrop(5, scale=(0.5, 1.0)),
    RandomErasing(),
    RandomErasing(0.8, value="random"),
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
    classes = [RandomCrop, RandomFlip, RandomResizedCrop, RandomErasing]
    assert all(AUGMENTS.get(c.__name__) is c for c in classes)
    assert len({RandomErasing.noise_stream, *(c.stream for c in classes)}) == 5
    built = AUGMENTS.build({"type": "RandomResizedCrop", "size": 4, "scale": [0.2, 1.0]})
    assert built.scale == (0.2, 1.0)
    assert AUGMENTS.build({"type": "RandomErasing", "value": [0.1, 0.2, 0.3]}).value == (0.1, 0.2, 0.3)


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("augment", EVERY, ids=names)
def test_two_views_of_an_image_never_move_apart(augment, dtype: torch.dtype) -> None:
    clean, index = batch(64, dtype=torch.float32, height=32, width=16).to(dtype), torch.arange(64)
    step = torch.empty_like(clean).uniform_(-8 / 255, 8 / 255, generator=torch.Generator().manual_seed(2))
    adversarial = (clean + step).clamp(0, 1)
    views = [augment(x, index=index, seed=4, epoch=1) for x in (clean, adversarial)]
    before, after = (((a - b).abs().flatten(1).amax(1)) for a, b in ((clean, adversarial), views))
    # A resize sums products, so it may be off by a rounding of its output's dtype.
    assert (after <= before + (torch.finfo(dtype).eps if isinstance(augment, RandomResizedCrop) else 0)).all()
    assert after.max() > 0


@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_crop_of_upright_images(mode: str, layout: torch.memory_format) -> None:
    """Re-identification crops 256x128 images with a padding of 10."""
    x = batch(48, height=256, width=128).contiguous(memory_format=layout)
    index, augment = torch.arange(48), RandomCrop(10, mode)
    padded = F.pad(x, (10,) * 4, mode=mode)
    out = augment(x, index=index, seed=1, epoch=0)
    assert out.shape == x.shape and out.is_contiguous(memory_format=layout)
    drawn = (uniform(index, (2,), seed=1, epoch=0, stream=augment.stream) * 21).long()
    assert drawn.amin(0).tolist() == [0, 0] and drawn.amax(0).tolist() == [20, 20]
    for got, image, (top, left) in zip(out, padded, drawn.tolist()):
        assert torch.equal(got, image[:, top : top + 256, left : left + 128])


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
    with pytest.raises(ConfigError, match="got 30x8"):  # the narrow side decides
        RandomCrop(8, "reflect")(batch(height=30, width=8), index=torch.arange(6), seed=0, epoch=0)


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


def one_rectangle(draws: list[float], *, height: int, width: int, p: float) -> tuple[int, int, int, int]:
    """The rectangle for one image's draws, one try after another; all zero where nothing is erased."""
    if draws[0] >= p:
        return 0, 0, 0, 0
    for area, ratio in zip(draws[3::2], draws[4::2]):
        pixels, ratio = (0.02 + 0.38 * area) * height * width, 0.3 + (1 / 0.3 - 0.3) * ratio
        h, w = max(1, round(math.sqrt(pixels * ratio))), max(1, round(math.sqrt(pixels / ratio)))
        if h < height and w < width:
            return int(draws[1] * (height - h + 1)), int(draws[2] * (width - w + 1)), h, w
    return 0, 0, 0, 0


@pytest.mark.parametrize(("height", "width"), [(256, 128), (24, 24), (40, 6), (3, 3), (2, 90), (9, 1)])
def test_rectangles_equal_a_loop(height: int, width: int) -> None:
    u = torch.rand(300, 23, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found = RandomErasing(0.7).boxes(u, height=height, width=width)
    wanted = [one_rectangle(draws, height=height, width=width, p=0.7) for draws in u.tolist()]
    erased = found[:, 2] > 0
    assert torch.equal(found * erased[:, None], torch.tensor(wanted)) and torch.equal(erased, found[:, 3] > 0)
    assert found.min() >= 0 and (found[:, :2] + found[:, 2:] <= torch.tensor([height, width])).all()
    assert bool(erased.any()) == (width > 1)  # nothing is narrower than one column


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("value", [(0.2, 0.5, 0.9), 0.25, "random"])
def test_erased_pixels_equal_a_loop(value: object, dtype: torch.dtype) -> None:
    x, index = batch(40, dtype=dtype, height=20, width=12), torch.arange(40) * 7
    augment, key = RandomErasing(0.6, value=value), {"seed": 9, "epoch": 3}
    boxes = augment.boxes(uniform(index, (23,), stream=104, **key), height=20, width=12).tolist()
    noise = uniform(index, (3, 20, 12), stream=105, **key).to(dtype)
    wanted = x.clone()
    for n, (top, left, h, w) in enumerate(boxes):
        for c, row, col in itertools.product(range(3), range(top, top + h), range(left, left + w)):
            constant = value[c] if isinstance(value, tuple) else value
            wanted[n, c, row, col] = noise[n, c, row, col] if value == "random" else constant
    out = augment(x, index=index, **key)
    assert torch.equal(out, wanted) and 0 < sum(box[2] > 0 for box in boxes) < 40


def test_rectangles_have_the_distribution_of_repeated_tries() -> None:
    count, height, width = 20000, 256, 128
    u = uniform(torch.arange(count), (23,), seed=0, epoch=0, stream=RandomErasing.stream)
    found = RandomErasing(1.0).boxes(u, height=height, width=width)
    top, left, h, w = found.unbind(1)
    assert abs((RandomErasing(0.3).boxes(u, height=height, width=width)[:, 2] > 0).float().mean() - 0.3) < 0.01
    area, ratio = (h * w) / (height * width), h / w
    assert h.min() > 0 and 0.0195 < area.min() < 0.021 and 0.39 < area.max() < 0.405
    assert 0.29 < ratio.min() < 0.32 and 3.2 < ratio.max() < 3.45
    draw = random.Random(0)
    wanted: list[tuple[int, ...]] = []
    while len(wanted) < count:
        pixels, r = draw.uniform(0.02, 0.4) * height * width, draw.uniform(0.3, 1 / 0.3)
        a, b = round(math.sqrt(pixels * r)), round(math.sqrt(pixels / r))
        if a < height and b < width:
            wanted.append((draw.randint(0, height - a), draw.randint(0, width - b), a, b))
    for ours, theirs in zip((top, left, h, w), torch.tensor(wanted).unbind(1)):
        shares = [torch.bincount(v, minlength=height).cumsum(0) / count for v in (ours, theirs)]
        assert (shares[0] - shares[1]).abs().max() < 0.02  # Kolmogorov-Smirnov: by chance once in a thousand


def test_erasing_never_and_always() -> None:
    x, index = batch(500), torch.arange(500)
    assert torch.equal(RandomErasing(0.0)(x, index=index, seed=0, epoch=0), x)
    changed = (RandomErasing(1.0, value=0.0)(x, index=index, seed=0, epoch=0) != x).flatten(1).any(1)
    assert changed.all()
    changed = (RandomErasing(0.25, value=0.0)(x, index=index, seed=0, epoch=0) != x).flatten(1).any(1)
    assert abs(changed.float().mean() - 0.25) < 0.06


def test_two_views_get_the_same_noise() -> None:
    augment, index = RandomErasing(1.0, (0.3, 0.4), value="random"), torch.arange(200)
    black, white = (augment(torch.full((200, 3, 32, 16), v), index=index, seed=0, epoch=0) for v in (0.0, 1.0))
    inside = black == white
    assert torch.equal(inside[:, 0], inside[:, 2]) and abs(inside.float().mean() - 0.35) < 0.02
    pixels = black[inside]
    assert abs(pixels.mean() - 0.5) < 0.01 and abs(pixels.std() - 12**-0.5) < 0.01
    assert not torch.equal(black[:, 0], black[:, 1])


def test_values_must_fit_the_channels() -> None:
    grey, call = batch()[:, :1], {"index": torch.arange(6), "seed": 0, "epoch": 0}
    for value in (0.5, (0.5,), "random"):
        assert RandomErasing(1.0, value=value)(grey, **call).shape == grey.shape
    assert torch.equal(RandomErasing(1.0, value=0.5)(grey, **call), RandomErasing(1.0, value=(0.5,))(grey, **call))
    for augment, x in ((RandomErasing(), grey), (RandomErasing(value=(0.1, 0.2)), batch())):
        with pytest.raises(ConfigError, match="one number, or one per channel") as caught:
            augment(x, **call)
        assert "\n" not in str(caught.value)


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
        lambda: RandomErasing(-0.1),
        lambda: RandomErasing("half"),
        lambda: RandomErasing(0.5, (0.0, 0.4)),
        lambda: RandomErasing(0.5, (0.02, 1.4)),
        lambda: RandomErasing(0.5, 0.4),
        lambda: RandomErasing(0.5, ("low", "high")),
        lambda: RandomErasing(ratio=(3.0, 0.3)),
        lambda: RandomErasing(ratio=(0.3, float("nan"))),
        lambda: RandomErasing(value=1.5),
        lambda: RandomErasing(value=float("nan")),
        lambda: RandomErasing(value=(0.5, 124)),
        lambda: RandomErasing(value=()),
        lambda: RandomErasing(value="noise"),
        lambda: RandomErasing(value=None),
        lambda: RandomErasing(value=np.ones(3)),
    ],
)
def test_bad_settings_are_one_line_errors(build) -> None:
    with pytest.raises(ConfigError) as caught:
        build()
    assert isinstance(caught.value, UserError) and "\n" not in str(caught.value)
