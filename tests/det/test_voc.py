from __future__ import annotations

import ast
import copy
import os
import pickle
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from natx.batch import join, select, to_device
from natx.data import hold_out, subset
from natx.errors import ConfigError, DataError, UserError
from natx.registry import DATASETS
from tasks.det.datasets import VOC_CLASSES, Annotation, Shot, VOCDetection, read_annotations

# name: (width, height, objects); an object is (class, xmin, ymin, xmax, ymax, difficult or None)
PICTURES = {
    "2007_000027": (30, 20, [("person", 3, 4, 12, 16, 0), ("dog", 1, 1, 30, 20, 1)]),
    "2007_000032": (20, 30, [("cat", 5.9, 6.2, 15.5, 18.99, None)]),
    "2007_000033": (24, 24, []),
    "b 7": (40, 16, [("aeroplane", 2, 2, 9, 9, 0), ("tvmonitor", 10, 3, 20, 15, 0), ("dog", 4, 4, 8, 12, 0)]),
}


def xml_of(width: int, height: int, objects: Any) -> str:
    text = f"<annotation>\n\t<size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
    for name, *corners, difficult in objects:
        flag = "" if difficult is None else f"<difficult>{difficult}</difficult>"
        # A part has a name and a box too, which are not the object's.
        part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
        box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmax", "xmin", "ymax", "ymin"), order(corners)))
        text += f"\t<object>{part}<name>{name}</name>{flag}<bndbox>{box}</bndbox></object>\n"
    return text + "</annotation>\n"


def order(corners: list[float]) -> list[float]:
    return [corners[2], corners[0], corners[3], corners[1]]


def write_image(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(path.name.encode()))
    Image.fromarray(rng.integers(1, 256, (height, width, 3), dtype=np.uint8)).save(path)


def write_layout(root: Path, pictures: Any = PICTURES, *, split: str = "train", suffix: str = ".png") -> Path:
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in pictures))
    for name, (width, height, objects) in pictures.items():
        write_image(root / "JPEGImages" / (name + suffix), width, height)
        (root / "Annotations" / f"{name}.xml").write_text(xml_of(width, height, objects))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "VOCdevkit" / "VOC2012")


def fails(kind: type[UserError], build: Callable[[], Any], *parts: str) -> str:
    """The text of the error, checked to be one line and to contain ``parts``."""
    with pytest.raises(kind) as caught:
        build()
    text = str(caught.value)
    assert text and "\n" not in text
    for part in parts:
        assert part in text, text
    return text


def annotate(root: Path, content: str | bytes, name: str = "2007_000032") -> Path:
    path = root / "Annotations" / f"{name}.xml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# ---------------------------------------------------------------------------------------------- reading annotations


def test_classes_are_in_vocs_order() -> None:
    assert len(VOC_CLASSES) == len(set(VOC_CLASSES)) == 20 and list(VOC_CLASSES) == sorted(VOC_CLASSES)
    assert VOC_CLASSES[:2] == ("aeroplane", "bicycle") and VOC_CLASSES[14] == "person"


def test_shots(root: Path) -> None:
    notes: list[str] = []
    shots = read_annotations(root, "train", notes=notes)
    assert all(isinstance(shot, Shot) for shot in shots)
    assert [Path(shot.path).name for shot in shots] == [f"{name}.png" for name in PICTURES]  # the order of the list
    assert [(shot.width, shot.height) for shot in shots] == [(30, 20), (20, 30), (24, 24), (40, 16)]
    first = shots[0]
    assert first.boxes.dtype == torch.float32 and first.labels.dtype == torch.int64
    assert first.difficult.dtype == torch.bool and first.difficult.tolist() == [False, True]
    assert first.labels.tolist() == [14, 11] and shots[3].labels.tolist() == [0, 19, 11]
    assert shots[2].boxes.shape == (0, 4) and shots[2].labels.shape == shots[2].difficult.shape == (0,)
    assert notes == ["VOC2012 train: images without any object: 1 of 4"]


def test_coordinates_are_those_of_mmdet(root: Path) -> None:
    # mmdet's XMLDataset: int(float(text)) - 1 for all four, x2 and y2 included.
    for shot, (_, _, objects) in zip(read_annotations(root, "train"), PICTURES.values()):
        assert shot.boxes.tolist() == [[int(float(v)) - 1 for v in corners] for _, *corners, _ in objects]
    assert read_annotations(root, "train")[0].boxes[1].tolist() == [0, 0, 29, 19]


def test_objects_are_those_of_mmdet(root: Path) -> None:
    # mmdet.datasets cannot be imported without compiled operators, so the one method that reads objects is taken out.
    found = [Path(folder) / "mmdet" / "datasets" / "xml_style.py" for folder in sys.path]
    path = next((path for path in found if path.is_file()), None)
    if path is None:
        pytest.skip("mmdet is not installed")
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    method = next(node for node in functions if node.name == "_parse_instance_info")
    scope: dict[str, Any] = {"ET": ET, "List": list}
    exec(compile(ast.Module([method], []), str(path), "exec"), scope)
    label = {name: i for i, name in enumerate(VOC_CLASSES)}
    owner = SimpleNamespace(_metainfo={"classes": VOC_CLASSES}, bbox_min_size=None, cat2label=label)
    for shot in read_annotations(root, "train"):
        tree = ET.parse(root / "Annotations" / f"{Path(shot.path).stem}.xml")
        wanted = scope[method.name](owner, tree)
        assert shot.boxes.tolist() == [thing["bbox"] for thing in wanted]
        assert shot.labels.tolist() == [thing["bbox_label"] for thing in wanted]
        assert shot.difficult.tolist() == [thing["ignore_flag"] == 1 for thing in wanted]


def test_boxes_outside_the_image(root: Path) -> None:
    things = [
        ("dog", 0, -5, 10, 10, 0),  # sticks out at the left and above
        ("dog", 15, 25, 99, 1e30, 0),  # and on the other sides
        ("cat", 30, 5, 40, 10, 0),  # beside the image
        ("cat", 5, 5, 5, 10, 0),  # one pixel wide: the last one is inside
        ("cat", 5, 9, 9, 5, 0),  # upside down
        ("cat", 1, 1, 21, 31, 0),  # the whole image as counted from 0 and not from 1: fits
    ]
    annotate(root, xml_of(20, 30, things))
    notes: list[str] = []
    shot = read_annotations(root, "train", notes=notes)[1]
    assert shot.boxes.tolist() == [[0, 0, 9, 9], [14, 24, 20, 30], [4, 4, 4, 9], [0, 0, 20, 30]]
    assert shot.labels.tolist() == [11, 11, 7, 7]
    assert notes[:3] == [
        "VOC2012 train: boxes outside the image or without area left out: 2 of 11",
        "VOC2012 train: boxes one pixel wide or high, judged and not learnt: 1 of 11",
        "VOC2012 train: boxes clipped to the image: 2 of 11",
    ]


def test_other_classes_are_left_out(root: Path) -> None:
    notes: list[str] = []
    shots = read_annotations(root, "train", classes=("dog", "person"), notes=notes)
    assert [shot.labels.tolist() for shot in shots] == [[1, 0], [], [], [0]]
    assert notes == [
        "VOC2012 train: objects of other classes left out (aeroplane 1, cat 1, tvmonitor 1): 3 of 6",
        "VOC2012 train: images without any object: 2 of 4",
    ]
    many = [(f"kind{i}", 1, 1, 9, 9, 0) for i in range(8)] + [("kind7", 2, 2, 9, 9, 0), ("dog", 1, 1, 9, 9, 0)]
    annotate(root, xml_of(20, 30, many))
    notes.clear()
    read_annotations(root, "train", notes=notes)
    assert "(kind7 2, kind0 1, kind1 1, kind2 1, kind3 1 and 3 more): 9 of 15" in notes[0]


def test_sizes_are_those_of_the_images(root: Path) -> None:
    annotate(root, xml_of(500, 375, [("dog", 1, 1, 100, 100, 0)]))
    annotate(root, "<annotation/>", "2007_000033")
    notes: list[str] = []
    shots = read_annotations(root, "train", notes=notes)
    assert (shots[1].width, shots[1].height) == (20, 30) and shots[1].boxes.tolist() == [[0, 0, 20, 30]]
    assert "images of another size than the annotation says (the image's is used): 1 of 4" in notes[-1]


@pytest.mark.parametrize(("orientation", "turned"), [(None, 0), (1, 0), (3, 1), (6, 1)])
def test_images_that_viewers_turn_are_told(root: Path, orientation: int | None, turned: int) -> None:
    """They are read as stored: a tool that drew their boxes as it showed them has them elsewhere."""
    path = root / "JPEGImages" / "2007_000032.png"
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    with Image.open(path) as image:
        image.load()
        image.save(path, exif=exif)
    notes: list[str] = []
    read_annotations(root, "train", notes=notes)
    assert sum("EXIF" in note and note.endswith("1 of 4") for note in notes) == turned


def turned_picture(root: Path, orientation: int, annotated: tuple[int, int]) -> Path:
    """A picture 20 wide and 30 high as stored, bright in its upper left quarter, and its annotation's size."""
    pixels = np.zeros((30, 20, 3), dtype=np.uint8)
    pixels[:15, :10] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = root / "JPEGImages" / "2007_000032.png"
    Image.fromarray(pixels).save(path, exif=exif)
    annotate(root, xml_of(*annotated, [("dog", 2, 2, 9, 9, 0)]))
    return path


@pytest.mark.parametrize(
    ("orientation", "annotated", "size", "corner"),
    [
        (6, (30, 20), (30, 20), "upper right"),  # a quarter turn clockwise, and the boxes are on the turned image
        (8, (30, 20), (30, 20), "lower left"),
        (6, (20, 30), (20, 30), "upper left"),  # the boxes are on the image as stored
        (3, (20, 30), (20, 30), "upper left"),  # a half turn shows in no size
    ],
)
def test_the_annotations_size_says_whether_an_image_is_turned(
    root: Path, orientation: int, annotated: tuple[int, int], size: tuple[int, int], corner: str
) -> None:
    turned_picture(root, orientation, annotated)
    voc = VOCDetection(root, "train", size=(20, 20))
    place = [Path(annotation.path).stem for annotation in voc.annotations].index("2007_000032")
    image = voc[place]["inputs"][0].float()
    corners = {"upper left": image[:, :8, :8], "upper right": image[:, :8, 12:], "lower left": image[:, 12:, :8]}
    assert max(corners, key=lambda name: float(corners[name].mean())) == corner
    assert voc.annotations[place].original == size[::-1]
    text = "read as viewers turn" if size != (20, 30) else "read as stored"
    assert [text in note for note in voc.notes if "EXIF" in note] == [True]


def test_objects_that_are_all_difficult_are_no_training_set(tmp_path: Path) -> None:
    write_layout(tmp_path, {"one": (30, 20, [("dog", 2, 2, 9, 9, 1)])})
    assert len(VOCDetection(tmp_path, "train")) == 1
    fails(DataError, lambda: VOCDetection(tmp_path, "train", train=True), "difficult", "none to learn from")


def test_lists_of_one_class_are_refused_and_marks_of_editors_are_not(root: Path) -> None:
    path = root / "ImageSets" / "Main" / "train.txt"
    names = path.read_text()
    path.write_bytes(b"\xef\xbb\xbf" + names.encode())
    assert len(read_annotations(root, "train")) == 4
    path.write_text("".join(f"{name} -1\n" for name in names.split()))
    fails(DataError, lambda: read_annotations(root, "train"), "-1'", "whether a class is in it", "cut the flags off")


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG", ".png", ".PNG", ".bmp"])
def test_image_files(tmp_path: Path, suffix: str) -> None:
    shots = read_annotations(write_layout(tmp_path, suffix=suffix), "train")
    assert [Path(shot.path).suffix for shot in shots] == [suffix] * 4


def test_where_the_layout_is(root: Path, tmp_path: Path) -> None:
    first = read_annotations(root, "train")
    for folder in (root.parent, root.parent.parent):
        found = read_annotations(folder, "train")
        assert [shot.path for shot in found] == [shot.path for shot in first]
    write_layout(root.parent / "VOC2007")
    for folder in (root.parent, root.parent.parent):
        fails(DataError, lambda f=folder: read_annotations(f, "train"), "several", "VOC2007", "VOC2012", "a list")


def test_missing_folders(root: Path, tmp_path: Path) -> None:
    layout = ("Annotations", "ImageSets/Main", "JPEGImages", "set root")
    fails(DataError, lambda: read_annotations(tmp_path / "no", "train"), str(tmp_path / "no"), "No such file", *layout)
    (tmp_path / "empty").mkdir()
    fails(DataError, lambda: read_annotations(tmp_path / "empty", "train"), str(tmp_path / "empty"), *layout)
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).rename(root / "gone")
        fails(DataError, lambda: read_annotations(root, "train"), f"{root} has no folder {folder};", *layout)
        (root / "gone").rename(root / folder)


def test_lists(root: Path) -> None:
    lists = root / "ImageSets" / "Main"
    fails(DataError, lambda: read_annotations(root, "val"), str(lists / "val.txt"), "No such file", "there: train")
    (lists / "val.txt").write_text(" \n\n")
    fails(DataError, lambda: read_annotations(root, "val"), str(lists / "val.txt"), "is empty")
    (lists / "val.txt").write_text("2007_000027\nb 7\n2007_000027\n")
    fails(DataError, lambda: read_annotations(root, "val"), str(lists / "val.txt"), "more than once: 2007_000027;")
    (lists / "val.txt").write_bytes(b"\xff\xfe\x00")
    fails(DataError, lambda: read_annotations(root, "val"), str(lists / "val.txt"), "Unicode")
    (lists / "val.txt").write_bytes(b"b 7\r\n\r\n  2007_000032  ")
    assert [Path(shot.path).stem for shot in read_annotations(root, "val")] == ["b 7", "2007_000032"]


def test_missing_files(root: Path) -> None:
    annotation, image = root / "Annotations" / "b 7.xml", root / "JPEGImages" / "b 7.png"
    text = annotation.read_text()
    annotation.unlink()
    fails(DataError, lambda: read_annotations(root, "train"), str(annotation), "expected one for every image")
    annotation.write_text(text)
    image.unlink()
    fails(DataError, lambda: read_annotations(root, "train"), "JPEGImages has no image b 7 (.jpg, .png")
    image.write_bytes(b"no image")
    fails(DataError, lambda: read_annotations(root, "train"), str(image), "replace or remove")


OBJECT = "<annotation><object><name>dog</name>{}</object></annotation>"
BOX = "<bndbox><xmin>1</xmin><ymin>{}</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("", "broken XML"),
        ("no xml", "broken XML"),
        ("<annotation><object></annotation>", "broken XML"),
        ("<annotation/><annotation/>", "broken XML"),
        (b"<annotation>\xff\x00</annotation>", "broken XML"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "broken XML"),
        ("<annotation>&what;</annotation>", "broken XML"),
        ("<annotation><object/></annotation>", "an object without a name"),
        (OBJECT.format(""), "a dog without bndbox"),
        (OBJECT.format("<bndbox/>"), "has nothing for a number as xmin of bndbox"),
        (OBJECT.format(BOX.format("")), "has '' for a number as ymin"),
        (OBJECT.format(BOX.format("high")), "has 'high' for a number as ymin"),
        (OBJECT.format(BOX.format("nan")), "'nan'"),
        (OBJECT.format(BOX.format("-inf")), "'-inf'"),
        (OBJECT.format(BOX.format("x" * 999)), "'" + "x" * 40 + "'"),
        (
            OBJECT.format(BOX.format("1") + "<difficult>maybe</difficult>"),
            "'maybe' for a number as difficult of object",
        ),
    ],
)
def test_broken_annotations_are_named(root: Path, content: str | bytes, part: str) -> None:
    path = annotate(root, content)
    fails(DataError, lambda: read_annotations(root, "train"), str(path), part, "take it from the list")


def test_xml_that_attacks(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("dog")
    lines = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    bomb = f'<!DOCTYPE annotation [<!ENTITY e0 "ha">{lines}]><annotation>&e11;</annotation>'
    outside = f'<!DOCTYPE a [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]>{OBJECT.format("&e;")}'
    elsewhere = f'<!DOCTYPE annotation SYSTEM "file://{tmp_path}/secret"><annotation/>'
    for content in (bomb, outside, elsewhere, bomb.encode("utf-16")):
        path = annotate(root, content)
        fails(DataError, lambda: read_annotations(root, "train"), str(path), "doctype")
    path = annotate(root, "<annotation>" + "<x>" * 1_500_000)
    fails(DataError, lambda: read_annotations(root, "train"), str(path), "more than 4194304 bytes")
    path = annotate(root, "<a>" * 300_000)
    fails(DataError, lambda: read_annotations(root, "train"), str(path), "broken XML")


# ---------------------------------------------------------------------------------------------- the data set


def test_annotations_of_the_set(root: Path) -> None:
    data = VOCDetection(root, "train", size=(10, 60))
    assert len(data) == 4 and data.classes == VOC_CLASSES and data.num_classes == 20
    assert not hasattr(data, "labels") and data.notes == ["VOC2012 train: images without any object: 1 of 4"]
    first = data.annotations[0]
    assert isinstance(first, Annotation) and first.shape == (10, 60) and first.original == (20, 30)
    assert first.scale == (2.0, 0.5) and first.path == str(root / "JPEGImages" / "2007_000027.png")
    assert first.boxes.tolist() == [[2, 3, 11, 15], [0, 0, 29, 19]] and first.labels.tolist() == [14, 11]
    assert first.resized_boxes.tolist() == [[4, 1.5, 22, 7.5], [0, 0, 58, 9.5]]
    assert first.resized_boxes.dtype == torch.float32 and data.annotations[2].resized_boxes.shape == (0, 4)
    assert data.train is False and VOCDetection(root, "train", train=True).train is True


def test_batches_of_one_size(root: Path) -> None:
    for threads in (0, 2):
        data = VOCDetection(root, "train", size=(12, 18), threads=threads)
        batch = data.__getitems__([3, 0, -2])
        assert set(batch) == {"inputs", "data_samples", "index"} and batch["index"].tolist() == [3, 0, 2]
        assert batch["inputs"].dtype == torch.uint8 and batch["inputs"].shape == (3, 3, 12, 18)
        assert batch["inputs"].is_contiguous() and batch["index"].dtype == torch.int64
        for image, sample in zip(batch["inputs"], batch["data_samples"]):
            wanted = Image.open(sample.path).convert("RGB").resize((18, 12), Image.Resampling.BILINEAR)
            assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(wanted))
        assert [sample.labels.tolist() for sample in batch["data_samples"]] == [[0, 19, 11], [14, 11], []]
    with pytest.raises(IndexError):
        data[4]
    assert data[-1]["index"].tolist() == [3] and VOCDetection(root, "train")[0]["inputs"].shape == (1, 3, 300, 300)


def test_padded_batches(root: Path) -> None:
    data = VOCDetection(root, "train", short=20, long=40, divisor=16)
    # (height, width) 20x30, 30x20, 24x24, 16x40: the last one's longer side has reached 40.
    assert [a.shape for a in data.annotations] == [(20, 30), (30, 20), (20, 20), (16, 40)]
    batch = data.__getitems__([0, 1])
    assert batch["inputs"].shape == (2, 3, 32, 32)
    for image, sample in zip(batch["inputs"], batch["data_samples"]):
        height, width = sample.shape
        assert image[:, :height, :width].min() > 0 and sample.scale == (1.0, 1.0)
        assert not image[:, height:].any() and not image[:, :, width:].any()
    assert data.__getitems__([1])["inputs"].shape == (1, 3, 32, 32)
    assert data.__getitems__([2, 3])["inputs"].shape == (2, 3, 32, 48)
    assert VOCDetection(root, "train", short=20, divisor=1).__getitems__([0, 1])["inputs"].shape == (2, 3, 30, 30)


def test_proportions_are_kept(tmp_path: Path) -> None:
    box = [("dog", 1, 1, 5, 5, 0)]
    sizes = {"a": (500, 375, box), "b": (333, 500, box), "c": (1000, 20, box), "d": (7, 1000, box), "e": (9, 9, box)}
    data = VOCDetection(write_layout(tmp_path, sizes), "train", short=600, long=1000)
    # By hand: the factor is the smaller one of short / shorter and long / longer; halves are rounded up.
    assert [a.shape for a in data.annotations] == [(600, 800), (901, 600), (20, 1000), (1000, 7), (600, 600)]
    for annotation in data.annotations:
        (height, width), (full_height, full_width) = annotation.shape, annotation.original
        assert annotation.scale == (width / full_width, height / full_height)
        assert annotation.resized_boxes[0].tolist() == pytest.approx(
            [0, 0, 4 * width / full_width, 4 * height / full_height]
        )
    thin = VOCDetection(tmp_path, "train", short=1, long=1)
    assert [a.shape for a in thin.annotations] == [(1, 1)] * 5


def test_grey_images_become_rgb(root: Path) -> None:
    path = root / "JPEGImages" / "2007_000032.png"
    Image.open(path).convert("L").save(path)
    image = VOCDetection(root, "train", size=(30, 20))[1]["inputs"][0]
    assert image.shape == (3, 30, 20) and image[0].equal(image[1]) and image[0].equal(image[2])


def test_joined_sets(root: Path, tmp_path: Path) -> None:
    other = write_layout(tmp_path / "VOC2007", dict(list(PICTURES.items())[:2]))
    both = VOCDetection([root, other], "train", size=(8, 8))
    assert len(both) == 6 and Path(both.annotations[4].path).parent.parent.name == "VOC2007"
    assert both[5]["index"].tolist() == [5]
    (root / "ImageSets" / "Main" / "val.txt").write_text("b 7\n")
    two = VOCDetection(root, ["val", "train"], size=(8, 8))
    assert len(two) == 5 and two.annotations[0].labels.tolist() == [0, 19, 11]
    assert two.notes[-1] == "images that several of the joined splits list: 1 of 5"
    assert len(VOCDetection([root, other], ["val", "train"], size=(8, 8))) == 3
    assert both.notes == ["VOC2012 train: images without any object: 1 of 4"]
    fails(ConfigError, lambda: VOCDetection([root, other], ["train"] * 3), "2 roots, 3 splits")
    fails(ConfigError, lambda: VOCDetection([root, root], "train"), "joined twice")
    fails(ConfigError, lambda: VOCDetection([], "train"), "0 roots")


def test_own_classes(root: Path) -> None:
    data = VOCDetection(root, "train", classes=["dog", "cat"])
    assert data.classes == ("dog", "cat") and data.num_classes == 2
    assert [a.labels.tolist() for a in data.annotations] == [[0], [1], [], [0]]
    fails(DataError, lambda: VOCDetection(root, "train", classes=["Dog"]), "classes Dog in", "dog 2", "set classes")
    for classes in ("dog", [], ["dog", ""], ["dog", 3]):
        fails(ConfigError, lambda c=classes: VOCDetection(root, "train", classes=c), "list of names")
    fails(ConfigError, lambda: VOCDetection(root, "train", classes=["dog", "dog"]), "must all differ")


@pytest.mark.parametrize(
    ("reading", "part"),
    [
        (dict(size=(0, 5)), "size must be height and width"),
        (dict(size=300), "size must be height and width"),
        (dict(size=(3,)), "size must be"),
        (dict(size=(3.0, 4)), "size must be"),
        (dict(size=(3, 4), short=5), "either size=(height, width) or short"),
        (dict(size=(3, 4), long=5), "goes with short"),
        (dict(long=5), "goes with short"),
        (dict(short=0), "short must be a whole number from 1; got 0"),
        (dict(short=5, long=True), "long must be"),
        (dict(short=5, long=4), "long=4 must be at least short=5"),
        (dict(short=5, divisor=None), "divisor must be"),
        (dict(threads=-1), "threads must be"),
    ],
)
def test_readings_that_cannot_be(root: Path, reading: dict[str, Any], part: str) -> None:
    fails(ConfigError, lambda: VOCDetection(root, "train", **reading), part)


def test_broken_images_are_named(root: Path) -> None:
    path = root / "JPEGImages" / "2007_000032.png"
    data = VOCDetection(root, "train", size=(8, 8))
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    for threads in (0, 2):
        data.threads = threads
        fails(DataError, lambda: data.__getitems__([0, 1]), str(path), "replace or remove")
        assert data[0]["inputs"].shape == (1, 3, 8, 8)
    write_image(path, 21, 30)
    fails(DataError, lambda: data[1], f"{path} is 21 x 30 pixels and 20 x 30 for its annotation")
    path.unlink()
    fails(DataError, lambda: data[1], str(path))
    fails(DataError, lambda: data.fingerprint(), str(path), "in a run")


def test_fingerprint(root: Path) -> None:
    def of(**reading: Any) -> str:
        return VOCDetection(root, "train", **reading).fingerprint()

    first = of()
    assert first == of(threads=2, train=True)
    others = {of(size=(8, 8)), of(short=8), of(short=8, divisor=8), of(short=8, long=9), of(classes=VOC_CLASSES[::-1])}
    assert len(others | {first}) == 6
    root = root.rename(root.parent / "moved")
    assert of() == first
    annotation = root / "Annotations" / "2007_000027.xml"
    text = annotation.read_text()
    for old, new in ((">12<", ">13<"), ("dog", "cat"), ("<difficult>1", "<difficult>0")):
        annotation.write_text(text.replace(old, new))
        assert of() != first
    annotation.write_text(text)
    assert of() == first
    listed = root / "ImageSets" / "Main" / "train.txt"
    listed.write_text("".join(reversed(listed.read_text().splitlines(keepends=True))))
    assert of() != first  # positions key the random draws


# ---------------------------------------------------------------------------------------------- annotations


def test_annotations_move_and_are_pickled(root: Path) -> None:
    first = VOCDetection(root, "train", size=(10, 60)).annotations[0]
    moved = first.to("meta")
    assert {moved.boxes.device.type, moved.labels.device.type, moved.difficult.device.type} == {"meta"}
    assert (moved.shape, moved.original, moved.scale, moved.path) == (
        first.shape,
        first.original,
        first.scale,
        first.path,
    )
    assert first.boxes.device.type == "cpu" and moved.resized_boxes.device.type == "meta"
    for again in (pickle.loads(pickle.dumps(first)), copy.deepcopy(first)):
        assert again.boxes.equal(first.boxes) and again.labels.equal(first.labels)
        assert again.difficult.equal(first.difficult) and again.resized_boxes.equal(first.resized_boxes)
        again.boxes.zero_()  # memory of its own
    assert first.boxes.any()
    with pytest.raises(AttributeError):
        first.boxes = moved.boxes


def test_batches_can_be_cut_and_joined(root: Path) -> None:
    batch = VOCDetection(root, "train", size=(8, 8)).__getitems__(range(4))
    part = select(batch, torch.tensor([3, 0]))
    assert [sample.labels.tolist() for sample in part["data_samples"]] == [[0, 19, 11], [14, 11]]
    assert len(join([batch, part])["data_samples"]) == 6
    assert to_device(batch, "meta")["data_samples"][0].boxes.device.type == "meta"


# ---------------------------------------------------------------------------------------------- parts of a set


def test_subset(root: Path) -> None:
    data = VOCDetection(root, "train", size=(8, 8))
    part = subset(data, 2)
    assert len(part) == 2 and [a.path for a in part.annotations] == [a.path for a in data.annotations[:2]]
    assert part.fingerprint() == data.fingerprint() and part.classes == data.classes and part.notes == data.notes
    assert subset(data, None) is data and len(data) == 4 and not hasattr(part, "labels")
    for count in (0, -1, 5):
        fails(ConfigError, lambda c=count: subset(data, c), f"subset of {count} images of 4")


def test_hold_out(root: Path) -> None:
    data = VOCDetection(root, "train", train=True, size=(8, 8))
    rest, held = hold_out(data, 2, seed=1)
    assert len(rest) == len(held) == 2 and rest.train and not held.train and data.train
    assert sorted([*rest.index.tolist(), *held.index.tolist()]) == [0, 1, 2, 3]
    for part in (rest, held, rest.subset(1)):
        batch = part.__getitems__(range(len(part)))
        assert batch["index"].equal(part.index)  # positions in the whole set
        assert [a.path for a in part.annotations] == [data.annotations[i].path for i in part.index]
        assert [a.path for a in batch["data_samples"]] == [a.path for a in part.annotations]
        assert batch["inputs"].equal(data.__getitems__(part.index.tolist())["inputs"])
        assert part.fingerprint() == VOCDetection(root, "train", size=(8, 8)).fingerprint()
    state = torch.get_rng_state()
    assert hold_out(data, 2, seed=1)[1].index.equal(held.index) and torch.equal(torch.get_rng_state(), state)
    assert len({tuple(hold_out(data, 2, seed=seed)[1].index.tolist()) for seed in range(9)}) > 1
    for count in (0, 4):
        fails(ConfigError, lambda c=count: hold_out(data, c), f"heldout={count}")


def test_for_evaluation(root: Path) -> None:
    data = VOCDetection(root, "train", train=True, size=(8, 8))
    view = data.for_evaluation()
    assert data.train and not view.train and len(view) == 4 and view[2]["inputs"].equal(data[2]["inputs"])


# ---------------------------------------------------------------------------------------------- as part of natx


def test_built_by_name(root: Path) -> None:
    data = DATASETS.build(dict(type="VOCDetection", root=str(root), split="train", size=[8, 6]))
    assert isinstance(data, VOCDetection) and data[0]["inputs"].shape == (1, 3, 8, 6)
    fails(
        ConfigError, lambda: DATASETS.build(dict(type="VOCDetection", root=str(root), sise=8)), "VOCDetection", "sise"
    )


def test_worker_processes_and_pickling(root: Path) -> None:
    data = VOCDetection(root, "train", short=16, divisor=8)
    loader = DataLoader(data, 3, num_workers=1, collate_fn=_same)
    batches = [*loader]
    for positions, batch in zip(([0, 1, 2], [3]), batches):
        wanted = pickle.loads(pickle.dumps(data)).__getitems__(positions)
        assert batch["inputs"].equal(wanted["inputs"]) and batch["index"].tolist() == positions
        for found, sample in zip(batch["data_samples"], wanted["data_samples"]):
            assert found.boxes.equal(sample.boxes) and found.scale == sample.scale


def _same(batch: Any) -> Any:
    return batch


def test_no_detection_library_is_needed() -> None:
    for path in sorted((Path(__file__).resolve().parents[2] / "tasks" / "det" / "datasets").glob("*.py")):
        assert not re.search(r"^\s*(from|import) (mmdet|mmcv)", path.read_text(), re.MULTILINE), path


def test_links_to_images_are_followed(root: Path) -> None:
    image = root / "JPEGImages" / "2007_000032.png"
    image.rename(root / "elsewhere.png")
    os.symlink(root / "elsewhere.png", image)
    assert VOCDetection(root, "train", size=(8, 8))[1]["inputs"].shape == (1, 3, 8, 8)
