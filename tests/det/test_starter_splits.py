"""`natx init det`: what it proposes to learn from is not what is judged, in classes and sizes that fit."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from natx.config import TRAINING, load_config
from natx.data import build_dataset
from natx.data.starter import Wish
from natx.errors import DataError
from natx.registry import AUGMENTS
from tasks.det.datasets import GeneratedVOC, VOCDetection
from tasks.det.starter import starter

OBJECT = (
    "<annotation><object><name>cow</name><difficult>0</difficult><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>40</xmax>"
    "<ymax>40</ymax></bndbox></object></annotation>"
)
BOX = {"category_id": 1, "bbox": [4.0, 4.0, 30.0, 30.0], "area": 900.0, "iscrowd": 0}


def voc(root: Path, **lists: list[int]) -> Path:
    """Six images in Pascal VOC's layout with some lists of them."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for i in range(6):
        Image.new("RGB", (60, 50)).save(root / "JPEGImages" / f"{i}.jpg")
        (root / "Annotations" / f"{i}.xml").write_text(OBJECT)
    for name, images in lists.items():
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{i}\n" for i in images))
    return root


def coco(root: Path, **files: list[int]) -> Path:
    """Six images in one folder, with COCO's JSON files of some of them."""
    for folder in ("annotations", "images"):
        (root / folder).mkdir(parents=True)
    for i in range(6):
        Image.new("RGB", (60, 50)).save(root / "images" / f"{i}.jpg")
    for split, images in files.items():
        content = {
            "images": [dict(id=i, file_name=f"{i}.jpg", width=60, height=50) for i in images],
            "annotations": [
                dict(id=i, image_id=i, category_id=1, bbox=[4.0, 4.0, 30.0, 30.0], area=900.0, iscrowd=0)
                for i in images
            ],
            "categories": [dict(id=1, name="cow")],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def proposed(root: Path) -> str:
    (data,) = (line for line in starter(root, Wish(Path("a.py"))) if line.startswith("data = "))
    return data


@pytest.mark.parametrize(
    ("lists", "learned", "judged"),
    [
        ({"train": [0, 1], "val": [2, 3], "trainval": [0, 1, 2, 3]}, "train", "val"),
        ({"train": [0, 1], "val": [2, 3], "trainval": [0, 1, 2, 3], "test": [4, 5]}, "trainval", "test"),
        ({"trainval": [0, 1, 2, 3], "val": [4]}, "trainval", "val"),
        ({"train": [0, 1], "trainval": [0, 1, 2, 3], "test": [2, 3]}, "train", "test"),
    ],
)
def test_lists_of_images_have_none_in_common(
    lists: dict[str, list[int]], learned: str, judged: str, tmp_path: Path
) -> None:
    """With trainval beside val and no test every image that is judged would have been learnt."""
    line = proposed(voc(tmp_path / "voc", **lists))
    assert f"split={learned!r}" in line.partition("test=")[0] and f"split={judged!r}" in line.partition("test=")[2]


def test_lists_with_common_images_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"trainval\.txt and val\.txt name the same images: list those to judge by"):
        starter(voc(tmp_path / "voc", trainval=[0, 1, 2], val=[2]), Wish(Path("a.py")))
    with pytest.raises(DataError, match=r"has no test\.txt or val\.txt"):
        starter(voc(tmp_path / "other", train=[0, 1]), Wish(Path("a.py")))


def test_cocos_files_are_told_apart_by_their_whole_names(tmp_path: Path) -> None:
    """A file of trainval is neither the one of train nor the one of val where these are there too."""
    line = proposed(coco(tmp_path / "coco", train2017=[0, 1], trainval2017=[0, 1, 2, 3], val2017=[2, 3]))
    assert "instances_train2017.json" in line.partition("test=")[0]
    assert "instances_val2017.json" in line.partition("test=")[2]
    with pytest.raises(DataError, match="share 1 images: list those to judge by in one alone"):
        starter(coco(tmp_path / "shared", trainval=[0, 1, 2], val=[2]), Wish(Path("a.py")))


@pytest.mark.parametrize(("model", "side"), [("ssd160_r18", 160), ("ssd300_vgg16", 300)])
@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_images_reach_a_detector_at_its_own_size(
    model: str, side: int, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last augmentation decides it in training, the set when it is judged."""
    root = voc(tmp_path / "set", train=[0, 1, 2], val=[3])
    if layout == "coco":
        root = coco(tmp_path / "coco", train=[0, 1, 2], val=[3])
    file = tmp_path / "own.py"
    file.write_text("\n".join(starter(root, Wish(file, model=model))) + "\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    config = load_config(file, kind=TRAINING)
    train, test = (build_dataset(dict(config.data[part])) for part in ("train", "test"))
    assert test[0]["inputs"].shape[-2:] == (side, side) and train[0]["inputs"].shape[-2:] == (2 * side, 2 * side)
    batch = train.__getitems__([0, 1])
    last = AUGMENTS.build(dict(config.data.augments[-1]))
    assert last({**batch, "inputs": batch["inputs"] / 255}, seed=0, epoch=0)["inputs"].shape[-2:] == (side, side)
    assert config.task.num_classes == 1 and bool(config.task.get("pretrained")) == (side == 300)
    assert config.optim_wrapper.optimizer.lr == (1e-3 if side == 300 else 0.04)


@pytest.mark.parametrize(
    ("objects", "classes"),
    [
        ("<object><bndbox/><name>dog</name></object>", ["dog"]),
        ("<object><name>cat</name></object><object><pose/><name> dog </name></object>", ["cat", "dog"]),
        ("<object><name>salt &amp; pepper</name></object>", ["salt & pepper"]),
        ('<object id="1"><name lang="en">dog</name></object>', ["dog"]),
    ],
)
def test_classes_are_those_that_the_set_reads(objects: str, classes: list[str], tmp_path: Path) -> None:
    root = voc(tmp_path / "voc", train=[0, 1], val=[2])
    box = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>40</xmax><ymax>40</ymax></bndbox>"
    whole = objects.replace("<bndbox/>", "").replace("</object>", f"{box}</object>")
    for file in (root / "Annotations").glob("[0-2].xml"):  # those that no list names have cows
        file.write_text(f"<annotation>{whole}</annotation>")
    lines = starter(root, Wish(Path("a.py")))
    assert f"_classes = {classes!r}  #" in "\n".join(lines)
    assert len(VOCDetection(root, "train", classes=classes).annotations[0].labels) == len(classes)


def test_a_stray_json_makes_no_coco(tmp_path: Path) -> None:
    """As natx's generated sets have one, which says how they were made."""
    root, made = voc(tmp_path / "voc", train=[0, 1], val=[2]), tmp_path / "made"
    GeneratedVOC(root=made, images=4, test_images=2)
    (root / "generated.json").write_text("{}")
    assert "split='train'" in proposed(root)
    assert "split='trainval'" in proposed(made)
    other = tmp_path / "neither"
    other.mkdir()
    (other / "generated.json").write_text("{}")
    with pytest.raises(DataError, match="has JSON files .generated.json. and none of the train images"):
        starter(other, Wish(Path("a.py")))
