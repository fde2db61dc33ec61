"""Boxes move with their images: a bright rectangle is found again where its box says."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from natx.errors import ConfigError
from natx.methods import Standard
from natx.registry import AUGMENTS
from natx.testing import TinyCNNTask, TinyDataset
from natx.training.learner import Learner
from tasks.det.augment import BoxFlip, BoxResize, BoxZoom
from tasks.det.datasets import Annotation

HEIGHT, WIDTH = 60, 80


def scene(count: int = 40, *, shape: tuple[int, int] = (HEIGHT, WIDTH), scale: float = 1.0) -> dict[str, Any]:
    """Dark images with one bright rectangle each; the annotation's original image is ``scale`` times as large."""
    generator = torch.Generator().manual_seed(0)
    inputs, annotations = torch.zeros(count, 3, HEIGHT, WIDTH), []
    for image in inputs:
        top, left = (int(torch.randint(5, length - 25, (1,), generator=generator)) for length in shape)
        height, width = (int(n) for n in torch.randint(10, 20, (2,), generator=generator))
        image[:, top : top + height, left : left + width] = 1
        box = torch.tensor([[left, top, left + width, top + height]], dtype=torch.float32) * scale
        original = (int(shape[0] * scale), int(shape[1] * scale))
        annotations.append(
            Annotation(
                boxes=box,
                labels=torch.tensor([2]),
                difficult=torch.tensor([False]),
                shape=shape,
                original=original,
                scale=(1 / scale, 1 / scale),
                path="none",
            )
        )
    return {"inputs": inputs, "data_samples": annotations, "index": torch.arange(count)}


def bright(image: Tensor) -> Tensor:
    """The box of what is bright: x1, y1, x2, y2."""
    rows, columns = (image[0] > 0.75).any(1).nonzero().squeeze(1), (image[0] > 0.75).any(0).nonzero().squeeze(1)
    return torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=torch.float32)


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (50, 60)])
def test_flipped_boxes_are_where_the_objects_are(shape: tuple[int, int], scale: float) -> None:
    batch = scene(shape=shape, scale=scale)
    batch["inputs"][:, :, shape[0] :] = 0.5
    batch["inputs"][:, :, :, shape[1] :] = 0.5
    found = BoxFlip()(batch, seed=3, epoch=1)
    moved = [not torch.equal(a, b) for a, b in zip(found["inputs"], batch["inputs"])]
    assert 8 < sum(moved) < 32
    for image, annotation in zip(found["inputs"], found["data_samples"]):
        torch.testing.assert_close(annotation.resized_boxes[0], bright(image), rtol=0, atol=1e-3)
    assert bool((found["inputs"][:, :, shape[0] :] == 0.5).all() and (found["inputs"][..., shape[1] :] == 0.5).all())


def test_a_box_that_names_its_last_pixel_keeps_its_pixels_when_it_is_flipped() -> None:
    batch = scene(20)
    batch["data_samples"] = [
        dataclasses.replace(a, boxes=a.boxes - torch.tensor([0.0, 0.0, 1.0, 1.0]), edge=1.0)
        for a in batch["data_samples"]
    ]
    found = BoxFlip(p=1.0)(batch, seed=0, epoch=0)
    for image, annotation in zip(found["inputs"], found["data_samples"]):
        last = torch.tensor([0.0, 0.0, 1.0, 1.0])
        torch.testing.assert_close(annotation.boxes[0] + last, bright(image), rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_zoomed_boxes_are_where_the_objects_are(scale: float) -> None:
    batch = scene(120, scale=scale)
    found = BoxZoom(out=2.0, inside=0.5, p=0.3)(batch, seed=3, epoch=1)
    assert found["inputs"].shape == batch["inputs"].shape
    assert 0 <= found["inputs"].min() and found["inputs"].max() <= 1
    sizes = []
    for before, image, annotation in zip(batch["data_samples"], found["inputs"], found["data_samples"]):
        assert annotation.labels.tolist() == [2]  # the one object there is always stays
        box = annotation.resized_boxes[0]
        assert (box - bright(image)).abs().max() <= 2.5  # pixels: whole-pixel windows, bilinear edges
        sizes.append(float((box[2] - box[0]) / (before.resized_boxes[0, 2] - before.resized_boxes[0, 0])))
    assert min(sizes) < 0.7 and max(sizes) > 1.4
    assert 30 < sum(size == 1 for size in sizes) < 75  # four in ten, and those whose object would leave


def test_objects_whose_centre_leaves_the_window_are_dropped() -> None:
    batch = scene(1)
    annotation = batch["data_samples"][0]
    corners = torch.tensor([[0.0, 0.0, 8.0, 8.0], [70.0, 50.0, 80.0, 60.0]])
    annotation = dataclasses.replace(
        annotation, boxes=corners, labels=torch.tensor([4, 7]), difficult=torch.tensor([False, True])
    )
    _, left = BoxZoom(inside=0.5).apply(batch["inputs"][0], annotation, [0.0, 0.0, 0.0, 0.0])
    assert left.labels.tolist() == [4] and left.difficult.tolist() == [False]
    torch.testing.assert_close(left.boxes, torch.tensor([[0.0, 0.0, 16.0, 16.0]]))
    _, right = BoxZoom(inside=0.5).apply(batch["inputs"][0], annotation, [0.0, 0.0, 1.0, 1.0])
    assert right.labels.tolist() == [7]
    torch.testing.assert_close(right.boxes, torch.tensor([[60.0, 40.0, 80.0, 60.0]]))


def test_images_without_objects_are_zoomed_too() -> None:
    batch = scene(1)
    empty = dataclasses.replace(
        batch["data_samples"][0],
        boxes=torch.zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.long),
        difficult=torch.zeros(0, dtype=torch.bool),
    )
    image, annotation = BoxZoom().apply(batch["inputs"][0], empty, [0.0, 0.2, 0.5, 0.5])
    assert annotation.boxes.shape == (0, 4) and not torch.equal(image, batch["inputs"][0])


@pytest.mark.parametrize("augment", [BoxFlip(), BoxZoom()])
def test_draws_depend_on_the_image_alone(augment: Any) -> None:
    batch = scene(12)
    whole = augment(batch, seed=5, epoch=2)
    rows = torch.tensor([7, 3])
    part = {
        "inputs": batch["inputs"][rows],
        "data_samples": [batch["data_samples"][i] for i in rows],
        "index": batch["index"][rows],
    }
    alone = augment(part, seed=5, epoch=2)
    assert torch.equal(alone["inputs"], whole["inputs"][rows])
    assert all(torch.equal(a.boxes, whole["data_samples"][i].boxes) for a, i in zip(alone["data_samples"], rows))
    other = augment(batch, seed=5, epoch=3)
    assert not torch.equal(other["inputs"], whole["inputs"])
    assert torch.equal(batch["inputs"], scene(12)["inputs"])  # the batch itself is left alone


@pytest.mark.parametrize("bad", [dict(out=0.5), dict(inside=0.0), dict(inside=1.5), dict(p=0.6)])
def test_bad_zooms_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="BoxZoom needs"):
        BoxZoom(**bad)
    with pytest.raises(ConfigError, match="BoxFlip"):
        BoxFlip(p=1.5)


def test_the_learner_gives_the_whole_batch_to_augmentations_that_ask() -> None:
    """In the order of the config, beside those that take pixels alone."""

    @AUGMENTS.register_module(force=True)
    class Relabel:
        whole_batch = True

        def __call__(self, batch: dict[str, Any], *, seed: int, epoch: int) -> dict[str, Any]:
            return {**batch, "inputs": 1 - batch["inputs"], "data_samples": batch["data_samples"] + seed + epoch}

    learner = Learner(TinyCNNTask(), Standard(), augments=[dict(type="RandomFlip", p=1.0), Relabel()], seed=2)
    learner.epoch = 1
    batch = TinyDataset(6).__getitems__(range(6))
    found = learner.augmented(batch)
    torch.testing.assert_close(found["inputs"], 1 - batch["inputs"].flip(-1))
    assert torch.equal(found["data_samples"], batch["data_samples"] + 3)


@pytest.mark.parametrize("name", ["RandomFlip", "RandomCrop", "RandomResizedCrop"])
def test_augmentations_that_leave_boxes_behind_are_refused(name: str) -> None:
    settings = {"RandomCrop": {"padding": 2}, "RandomResizedCrop": {"size": 16}}.get(name, {})
    learner = Learner(TinyCNNTask(), Standard(), augments=[dict(type=name, **settings)])
    batch = {**TinyDataset(3).__getitems__(range(3)), "data_samples": scene(3)["data_samples"]}
    with pytest.raises(ConfigError, match="moves pixels and not the boxes") as caught:
        learner.augmented(batch)
    assert "\n" not in str(caught.value) and "BoxFlip" in str(caught.value)
    fine = Learner(TinyCNNTask(), Standard(), augments=[dict(type="RandomErasing")])
    assert fine.augmented(batch)["inputs"].shape == batch["inputs"].shape


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_resized_boxes_are_where_the_objects_are(scale: float) -> None:
    batch = scene(20, scale=scale)
    found = BoxResize((HEIGHT // 2, WIDTH // 4))(batch, seed=0, epoch=0)
    assert found["inputs"].shape == (20, 3, HEIGHT // 2, WIDTH // 4)
    for before, image, after in zip(batch["data_samples"], found["inputs"], found["data_samples"]):
        assert after.shape == (HEIGHT // 2, WIDTH // 4) and torch.equal(after.boxes, before.boxes)
        expected = before.resized_boxes[0] / torch.tensor([4.0, 2.0, 4.0, 2.0])
        torch.testing.assert_close(after.resized_boxes[0], expected)
        assert (expected - bright(image)).abs().max() <= 1


def test_a_part_of_an_image_read_at_twice_the_size_is_sharp() -> None:
    """Stripes of two pixels are there in an enlarged part, and grey in one that is cut from the small image."""
    batch = scene(1)
    stripes = (torch.arange(WIDTH) // 2 % 2).float().expand(1, 3, HEIGHT, WIDTH)
    contrast = []
    for inputs, annotation in (
        (stripes, batch["data_samples"][0]),
        (torch.nn.functional.avg_pool2d(stripes, 4), dataclasses.replace(batch["data_samples"][0], shape=(15, 20))),
    ):
        image, moved = BoxZoom(inside=0.25).apply(inputs[0], annotation, [0.0, 0.0, 0.5, 0.5])
        small = BoxResize((15, 20))({"inputs": image[None], "data_samples": [moved]}, seed=0, epoch=0)["inputs"]
        contrast.append(float(small.std()))
    assert contrast[0] > 0.3 and contrast[1] < 0.01


def test_sizes_that_cannot_be_are_refused() -> None:
    for size in ((0, 3), (3,), (2.5, 3)):
        with pytest.raises(ConfigError, match="height and width"):
            BoxResize(size)
    with pytest.raises(ConfigError, match="padding"):
        BoxResize((30, 40))(scene(2, shape=(50, 60)), seed=0, epoch=0)
