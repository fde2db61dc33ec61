"""SSD's crops and colours: objects are where their boxes say, and pixels stay in their range."""

from __future__ import annotations

import colorsys
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from natx.errors import ConfigError
from natx.registry import AUGMENTS
from tasks.det.augment_ssd import BoxCrop, ColourDistortion
from tasks.det.datasets import Annotation

HEIGHT, WIDTH = 60, 80


def scene(count: int, *, shape: tuple[int, int] = (HEIGHT, WIDTH), scale: float = 1.0) -> dict[str, Any]:
    """Dark images with one bright rectangle each, grey beyond ``shape``."""
    generator = torch.Generator().manual_seed(0)
    inputs, annotations = torch.full((count, 3, HEIGHT, WIDTH), 0.5), []
    inputs[:, :, : shape[0], : shape[1]] = 0
    for image in inputs:
        top, left = (int(torch.randint(2, length - 24, (1,), generator=generator)) for length in shape)
        height, width = (int(n) for n in torch.randint(12, 22, (2,), generator=generator))
        image[:, top : top + height, left : left + width] = 1
        annotations.append(
            Annotation(
                boxes=torch.tensor([[left, top, left + width, top + height]], dtype=torch.float32) * scale,
                labels=torch.tensor([2]),
                difficult=torch.tensor([False]),
                shape=shape,
                original=(int(shape[0] * scale), int(shape[1] * scale)),
                scale=(1 / scale, 1 / scale),
                path="none",
            )
        )
    return {"inputs": inputs, "data_samples": annotations, "index": torch.arange(count)}


def bright(image: Tensor) -> Tensor:
    """The box of what is bright: x1, y1, x2, y2."""
    rows, columns = (image[0] > 0.6).any(1).nonzero().squeeze(1), (image[0] > 0.6).any(0).nonzero().squeeze(1)
    return torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=torch.float32)


@pytest.mark.parametrize(("shape", "scale"), [((HEIGHT, WIDTH), 1.0), ((50, 60), 2.5)])
def test_cropped_boxes_are_where_the_objects_are(shape: tuple[int, int], scale: float) -> None:
    batch = scene(80, shape=shape, scale=scale)
    cropped = BoxCrop()(batch, seed=3, epoch=1)
    sizes = []
    for before, image, annotation in zip(batch["data_samples"], cropped["inputs"], cropped["data_samples"]):
        assert annotation.labels.tolist() == [2] and annotation.shape == shape
        box = annotation.resized_boxes[0]
        assert (box - bright(image)).abs().max() <= 2.5  # pixels: edges are bilinear
        whole = before.resized_boxes[0]
        sizes.append(float((box[2:] - box[:2]).prod() / (whole[2:] - whole[:2]).prod()))
    assert 10 < sum(size == 1 for size in sizes) < 70 and max(sizes) > 1.5 and min(sizes) >= 0.2
    assert bool(
        (cropped["inputs"][:, :, shape[0] :] == 0.5).all() and (cropped["inputs"][..., shape[1] :] == 0.5).all()
    )
    assert 0 <= cropped["inputs"].min() and cropped["inputs"].max() <= 1


def test_the_part_overlaps_every_object_as_was_asked() -> None:
    crop = BoxCrop((0.3,), smallest=0.2)
    crop.overlaps = (0.3,)  # no image stays whole
    parts: list[tuple[Tensor, Tensor]] = []
    cut = crop._cut

    def recorded(x: Tensor, annotation: Annotation, stay: Tensor, part: tuple[int, int, int, int]) -> Any:
        left, top, wide, high = part
        parts.append((torch.tensor([[left, top, left + wide, top + high]]).float(), annotation.resized_boxes))
        return cut(x, annotation, stay, part)

    crop._cut = recorded
    crop(scene(60), seed=0, epoch=0)
    assert len(parts) > 10
    assert all(float(box_iou(part, boxes).min()) >= 0.3 for part, boxes in parts)
    assert all(0.5 <= float((p[0, 3] - p[0, 1]) / (p[0, 2] - p[0, 0])) <= 2 for p, _ in parts)


def test_colours_change_each_by_itself_and_boxes_do_not() -> None:
    batch = scene(60, shape=(50, 60))
    batch["inputs"][:, :, :50, :60] = torch.rand(60, 3, 50, 60, generator=torch.Generator().manual_seed(1))
    distorted = ColourDistortion()(batch, seed=0, epoch=0)
    same = [torch.equal(a, b) for a, b in zip(distorted["inputs"], batch["inputs"])]
    assert 0 < sum(same) < 15  # one in sixteen stays
    assert distorted["data_samples"] == batch["data_samples"]
    assert bool((distorted["inputs"][:, :, 50:] == 0.5).all() and (distorted["inputs"][..., 60:] == 0.5).all())
    assert 0 <= distorted["inputs"].min() and distorted["inputs"].max() <= 1
    again = ColourDistortion()(batch, seed=0, epoch=0)
    assert torch.equal(again["inputs"], distorted["inputs"])


def test_hue_and_saturation_are_those_of_hsv() -> None:
    annotation = scene(1)["data_samples"][0]
    image = torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    turned, _ = ColourDistortion(hue=0.05).apply(image, annotation, [0.9, 0.9, 0.9, 0.1, 0, 0, 0, 1.0, 0.9])
    for y, x in ((0, 0), (10, 20), (59, 79)):
        before, after = (colorsys.rgb_to_hsv(*i[:, y, x].tolist()) for i in (image, turned))
        assert (after[0] - before[0] - 0.05 + 0.5) % 1 - 0.5 == pytest.approx(0, abs=5e-3)
        assert after[1:] == pytest.approx(before[1:], abs=5e-3)
    brighter, _ = ColourDistortion(0.1).apply(image, annotation, [0.1, 0.9, 0.9, 0.9, 1.0, 0, 0, 0, 0.9])
    torch.testing.assert_close(brighter, (image + 0.1).clamp(0, 1))
    flat, _ = ColourDistortion(contrast=(0.5, 0.5)).apply(image, annotation, [0.9, 0.1, 0.9, 0.9, 0, 0.3, 0, 0, 0.1])
    torch.testing.assert_close(flat, image * 0.5)


def test_numbers_out_of_range_are_one_line_and_both_are_built_by_name() -> None:
    for build in (lambda: BoxCrop((0.1, 1.0)), lambda: BoxCrop(smallest=0), lambda: ColourDistortion(2.0)):
        with pytest.raises(ConfigError) as error:
            build()
        assert "\n" not in str(error.value)
    assert isinstance(AUGMENTS.build({"type": "BoxCrop"}), BoxCrop)
    assert isinstance(AUGMENTS.build({"type": "ColourDistortion"}), ColourDistortion)
