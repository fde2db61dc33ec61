"""What `natx init det` proposes to learn from is not what it proposes to judge by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from natx.data.starter import Wish
from natx.errors import DataError
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
