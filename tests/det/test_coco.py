from __future__ import annotations

import contextlib
import io
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coco_set import CATEGORIES, write_coco
from made_detections import Pictures, dataset, found, objects
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from natx.errors import DataError
from natx.registry import DATASETS
from tasks.det.datasets import CocoDetection
from tasks.det.metrics import DetectionMAP
from tasks.det.readers import Targets


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_coco(tmp_path_factory.mktemp("coco"))


def read(files: tuple[Path, Path], **kwargs: Any) -> CocoDetection:
    return CocoDetection(*files, **{"size": (64, 64), **kwargs})


def changed(files: tuple[Path, Path], tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    content = json.loads(files[0].read_text())
    change(content)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content))
    return path


def predictions(coco: CocoDetection) -> list[dict[str, torch.Tensor]]:
    """Near the objects, with a few false alarms and wrong classes; scores differ."""
    generator = torch.Generator().manual_seed(3)
    result = []
    for annotation in coco.annotations:
        boxes = torch.cat([annotation.boxes, annotation.boxes + 3, torch.rand(3, 4, generator=generator) * 40])
        boxes += torch.randn(boxes.shape, generator=generator)
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 2)
        labels = torch.cat([annotation.labels, annotation.labels, torch.tensor([0, 1, 2])]) % len(coco.classes)
        result.append({"boxes": boxes, "scores": torch.rand(len(boxes), generator=generator), "labels": labels})
    return result


@pytest.mark.parametrize("classes", [None, ("blue", "red")])
def test_ap_is_that_of_pycocotools_on_the_file(files: tuple[Path, Path], classes: tuple[str, ...] | None) -> None:
    coco = read(files, classes=classes)
    detections = predictions(coco)
    ids = {entry["name"]: entry["id"] for entry in CATEGORIES}
    rows = [
        {"image_id": 100 + i, "category_id": ids[coco.classes[label]], "bbox": [x1, y1, x2 - x1, y2 - y1], "score": s}
        for i, d in enumerate(detections)
        for (x1, y1, x2, y2), label, s in zip(d["boxes"].tolist(), d["labels"].tolist(), d["scores"].tolist())
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(files[0]))
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.params.catIds = [ids[name] for name in coco.classes]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ours = DetectionMAP()(detections, coco)
    assert ours["AP"] == pytest.approx(100 * evaluation.stats[0], abs=1e-6) and 5 < ours["AP"] < 95
    assert ours["AP50"] == pytest.approx(100 * evaluation.stats[1], abs=1e-6)


CROWD, PERSON, SMALL, ALONE = (
    [0.0, 0.0, 80.0, 80.0],
    [40.0, 40.0, 70.0, 75.0],
    [5.0, 5.0, 25.0, 25.0],
    [85.0, 5.0, 99.0, 30.0],
)


def crowded(*, crowds: bool) -> Pictures:
    """A crowd of the first class, and a person of it inside."""
    return dataset(replace(objects((CROWD, 0, True), (PERSON, 0)), crowds=crowds))


def test_detections_inside_a_crowd_are_no_false_alarms() -> None:
    items = [(PERSON, 0, 0.5), (SMALL, 0, 0.9), (PERSON, 0, 0.4)]  # the last one is of the person again
    alone, inside = [found(items[0])], [found(*items)]
    values, expected = DetectionMAP()(inside, crowded(crowds=True)), DetectionMAP()(alone, crowded(crowds=True))
    assert values == expected and values["mAP"] == values["AP50"] == 100 and values["false alarms"] == 0
    for wrong in ((SMALL, 1, 0.9), (ALONE, 0, 0.9)):  # of a class that the crowd is not of, and outside of it
        values = DetectionMAP()([found(items[0], wrong)], crowded(crowds=True))
        assert values["false alarms"] == 1
        assert values["mAP"] == (100 if wrong[1] else pytest.approx(50))
    # What is difficult in VOC is an object: what lies on a small part of it is not about it.
    values = DetectionMAP()(inside, crowded(crowds=False))
    assert values["false alarms"] == 2 and values["mAP"] < 60


def test_a_set_in_cocos_layout_has_crowds(files: tuple[Path, Path]) -> None:
    coco = read(files)
    assert all(annotation.crowds for annotation in coco.annotations)
    sent = pickle.loads(pickle.dumps(coco.annotations[2]))
    assert sent.crowds and sent.difficult.equal(coco.annotations[2].difficult) and sent.edge == 0


@pytest.mark.parametrize(
    ("orientation", "upright", "corner"), [(6, True, "right"), (6, False, "left"), (8, True, "low")]
)
def test_a_photograph_is_turned_where_the_file_has_the_turned_size(
    files: tuple[Path, Path], tmp_path: Path, orientation: int, upright: bool, corner: str
) -> None:
    """As phones store them: on their side, with an orientation that tools apply before boxes are drawn."""
    pixels = np.zeros((60, 90, 3), np.uint8)  # stored 90 wide and 60 high, bright in its upper left quarter
    pixels[:30, :45] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    shutil.copytree(files[1], tmp_path / "images")
    Image.fromarray(pixels).save(tmp_path / "images" / "0003.png", exif=exif)
    wide, high = (60, 90) if upright else (90, 60)
    path = changed(files, tmp_path, lambda content: content["images"][3].update(width=wide, height=high))
    coco = read((path, tmp_path / "images"))
    image = coco[3]["inputs"][0].float()
    corners = {"left": image[:, :24, :24], "right": image[:, :24, 40:], "low": image[:, 40:, :24]}
    assert max(corners, key=lambda name: float(corners[name].mean())) == corner
    assert coco.annotations[3].original == (high, wide) and coco.annotations[3].scale == (64 / wide, 64 / high)
    path = changed(files, tmp_path, lambda content: content["images"][3].update(width=61, height=90))
    with pytest.raises(DataError, match=r"0003\.png is 90 x 60 pixels and 61 x 90 for its annotation: correct"):
        read((path, tmp_path / "images"))[3]


def test_categories_of_one_name_are_one_class(files: tuple[Path, Path], tmp_path: Path) -> None:
    """As in exports that list a heading before its classes, under the name of one of them."""
    path = changed(files, tmp_path, lambda content: content["categories"].insert(0, {"id": 99, "name": "red"}))
    coco, plain = read((path, files[1])), read(files)
    assert coco.classes == plain.classes == ("red", "green", "blue")
    assert all(torch.equal(a.labels, b.labels) for a, b in zip(coco.annotations, plain.annotations))
    assert any("several categories of one name are one class: red" in note for note in coco.notes)
    assert not any("one name" in note for note in plain.notes)


def test_boxes_classes_and_crowds(files: tuple[Path, Path]) -> None:
    coco, content = read(files, train=True), json.loads(files[0].read_text())
    assert coco.classes == ("red", "green", "blue") and len(coco) == 6
    place = {entry["id"]: i for i, entry in enumerate(CATEGORIES)}
    for entry, annotation in zip(content["images"], coco.annotations):
        things = [thing for thing in content["annotations"] if thing["image_id"] == entry["id"]]
        assert annotation.labels.tolist() == [place[thing["category_id"]] for thing in things]
        assert annotation.difficult.tolist() == [thing["iscrowd"] == 1 for thing in things]
        x, y, w, h = torch.tensor([thing["bbox"] for thing in things]).reshape(-1, 4).unbind(1)
        torch.testing.assert_close(annotation.boxes, torch.stack([x, y, x + w, y + h], 1))
        assert annotation.original == (entry["height"], entry["width"])
    few = read(files, classes=("blue", "red"))
    assert few.num_classes == 2 and few.classes == ("blue", "red")
    assert sum((a.labels == 0).sum() for a in few.annotations) == sum((a.labels == 2).sum() for a in coco.annotations)
    assert "other classes left out (green" in few.notes[0]
    assert [note.split(": ")[1] for note in coco.notes] == [
        "crowds, neither learnt nor to be found",
        "boxes without area, judged and not learnt",
        "images without any object",
    ]


def test_what_is_learnt_lies_in_the_image_and_has_an_area(files: tuple[Path, Path]) -> None:
    coco = read(files, train=True)
    targets = Targets.of(coco.__getitems__([0, 2]))
    boxes = targets.objects[0].bboxes
    assert len(boxes) == 3 and len(coco.annotations[0].boxes) == 4  # without the one that has no width
    assert boxes.max() <= 64 and boxes[:, 2].max() == 64  # the one that sticks out ends at the edge
    assert len(targets.objects[1]) == 1 and len(targets.ignored[1]) == 1  # the crowd


def test_batches_parts_and_fingerprints(files: tuple[Path, Path]) -> None:
    coco = DATASETS.build(
        dict(type="CocoDetection", annotations=str(files[0]), images=str(files[1]), short=64, long=96)
    )
    batch = coco.__getitems__([3, 0])
    assert batch["inputs"].shape == (2, 3, 64, 96) and batch["inputs"].dtype == torch.uint8
    assert [a.shape for a in batch["data_samples"]] == [(64, 64), (64, 85)]
    assert batch["index"].tolist() == [3, 0] and len(coco.subset(2)) == 2
    same, other = read(files), read(files, classes=("red", "blue"))
    assert read(files).fingerprint() == same.fingerprint() != other.fingerprint()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda c: c.pop("images"), "no list 'images'"),
        (lambda c: c["images"][0].pop("width"), r"width of images\[0\]"),
        (lambda c: c["images"][0].update(file_name="none.png"), "no image none.png"),
        (lambda c: c["images"][1].update(id=100), "the id 100 more than once"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), r"bbox of annotations\[0\] is '\[1, 2, 3\]'"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, -3, 4]), "bbox of annotations"),
        (lambda c: c["annotations"][0].update(image_id=5), "image 5 and category"),
        (lambda c: c["annotations"][0].update(category_id=5), "category 5"),
        (lambda c: c["annotations"].clear(), "no object of the classes"),
    ],
)
def test_files_that_cannot_be_are_one_line(
    files: tuple[Path, Path], tmp_path: Path, change: Callable[[dict[str, Any]], Any], part: str
) -> None:
    with pytest.raises(DataError, match=part) as error:
        CocoDetection(changed(files, tmp_path, change), files[1])
    assert "\n" not in str(error.value)


def test_missing_files_and_categories_are_one_line(files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    for build, part in (
        (lambda: CocoDetection(tmp_path / "none.json", files[1]), "cannot read"),
        (lambda: CocoDetection(tmp_path / "broken.json", files[1]), "cannot read"),
        (lambda: CocoDetection(files[0], tmp_path / "none"), "cannot list the images"),
        (lambda: read(files, classes=("red", "pink")), "no category pink; it has red, green, blue"),
    ):
        with pytest.raises(DataError, match=part) as error:
            build()
        assert "\n" not in str(error.value)


def test_a_set_of_crowds_is_no_training_set(files: tuple[Path, Path], tmp_path: Path) -> None:
    path = changed(files, tmp_path, lambda c: [thing.update(iscrowd=1) for thing in c["annotations"]])
    with pytest.raises(DataError, match="none to learn from"):
        CocoDetection(path, files[1], train=True)
