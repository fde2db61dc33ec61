"""docs/own_data.md works word for word, on a few generated images, one epoch and short attacks."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from baselines import without_nasty_term
from listings import ROOT, blocks
from mmengine.logging import MMLogger
from PIL import Image

import natx.data.starter
from natx.cli.main import start
from natx.config import TRAINING, load_config, plain_dict

PAGE = ROOT / "docs" / "own_data.md"
SHORT = ["--device", "cpu", "--threads", "1"]
PGD = dict(type="PGD", steps=2, step_size=2 / 255)
LOSSES = [
    dict(**PGD, name=f"loss_{part}", objective=dict(type="ImageLoss", name=loss))
    for part, loss in (("cls", "loss_cls"), ("loc", "loss_bbox"))
]
ATTACKS = {  # what stands in the working folder under the names that the page uses
    "linf8_table": dict(threat=dict(type="Linf", eps=8 / 255), attacks=[PGD]),
    "reid_table12": dict(threat=dict(type="Linf", eps=8 / 255), attacks=[dict(**PGD, objective=dict(type="FNA"))]),
    "det_loss": dict(threat=dict(type="Linf", eps=8 / 255), attacks=LOSSES),
}


def picture(path: Path, *, number: int, height: int, width: int, shade: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 60, (height, width, 3)) + shade
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def photos(root: Path) -> None:
    """Four classes that lie together, as cameras leave them."""
    for label, name in enumerate(("cup", "lamp", "shoe", "tree")):
        for i in range(5):
            file = root / "all_photos" / name / f"{i}.png"
            picture(file, number=100 * label + i, height=70, width=80, shade=60 * label)


def people(root: Path) -> None:
    for part, persons in (("bounding_box_train", (1, 2, 3, 4)), ("query", (5, 6)), ("bounding_box_test", (5, 6))):
        for person in persons:
            for camera in (1, 2):
                file = root / "people" / part / f"{person:04d}_c{camera}s1_000001_00.jpg"
                picture(file, number=10 * person + camera, height=64, width=32, shade=20 * person)


def boxes(root: Path) -> None:
    """The same six images in Pascal VOC's and in COCO's layout."""
    voc, farm = root / "boxes", root / "farm"
    for folder in (voc / "Annotations", voc / "ImageSets" / "Main", farm / "annotations"):
        folder.mkdir(parents=True)
    for part, numbers in (("train", range(4)), ("val", range(4, 6))):
        (voc / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{i}\n" for i in numbers))
        entries, things = [], []
        for i in numbers:
            kind = i % 2
            for place in (voc / "JPEGImages", farm / part):
                picture(place / f"{i}.jpg", number=i, height=50, width=60, shade=40 * kind)
            (voc / "Annotations" / f"{i}.xml").write_text(
                f"<annotation><object><name>{('cow', 'sheep')[kind]}</name><difficult>0</difficult><bndbox>"
                "<xmin>5</xmin><ymin>5</ymin><xmax>40</xmax><ymax>40</ymax></bndbox></object></annotation>"
            )
            entries.append(dict(id=i, file_name=f"{i}.jpg", width=60, height=50))
            box = dict(bbox=[4.0, 4.0, 36.0, 36.0], area=1296.0, iscrowd=0)
            things.append(dict(id=i, image_id=i, category_id=kind + 1, **box))
        kinds = [dict(id=1, name="cow"), dict(id=2, name="sheep")]
        content = dict(images=entries, annotations=things, categories=kinds)
        (farm / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder in which trainings take an epoch and the page's attacks a step or two."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(natx.data.starter, "epochs", lambda *_: 1)
    (tmp_path / "attacks").mkdir()
    for name, content in ATTACKS.items():
        imports = {"reid_table12": ["tasks.reid"], "det_loss": ["tasks.det"]}.get(name, ["tasks.cls"])
        lines = [f"custom_imports = dict(imports={imports})", *(f"{key} = {value!r}" for key, value in content.items())]
        (tmp_path / "attacks" / f"{name}.py").write_text("\n".join(lines) + "\n")
    return tmp_path


def follow(heading: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Do what a section of the page says, in order; gives the commands."""
    typed = []
    for block in (block for block in blocks(PAGE) if block.heading == heading):
        if block.language == "python":
            exec(compile(block.text, block.place, "exec"), {})  # noqa: S102
            continue
        for words, _ in block.commands():
            assert words[0] == "natx"
            typed.append(" ".join(words))
            MMLogger._instance_dict.clear()  # loggers of earlier runs write to streams that are closed by now
            extra = SHORT if words[1] in ("train", "test") else []
            extra = [*extra, "--no-timing"] if "--dry-run" in words else extra
            monkeypatch.setattr(sys, "argv", [*words, *extra])
            start(words[1], [*words[2:], *extra])
    return typed


def nasty(file: Path) -> tuple[float, float]:
    """Share and temperature of a config's nasty term."""
    term = next(term for term in load_config(file, kind=TRAINING).method.terms if term.type == "NastyKL")
    return term.share, term.temperature


def content(file: str) -> dict[str, Any]:
    """A config as a dict."""
    return plain_dict(load_config(file, kind=TRAINING))


def proposed(out: str) -> list[str]:
    """The commands that natx init printed."""
    return re.findall(r"^  (natx .*)$", out, re.MULTILINE)


def test_images_in_folders(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    photos(place)
    typed = follow("Images in one folder a class", monkeypatch)
    out = capsys.readouterr().out
    assert set(proposed(out)) <= {*typed, "natx train photos_at_union.py --dry-run"} | {
        "natx export photos_at_union.py work_dirs/photos_at_union --out export/photos_at_union"
    }
    assert content("photos_at_union.py") == without_nasty_term("photos_nat.py")  # as the page says
    assert "Worst case" in out and "cup, lamp, shoe, ..." in out
    for report in place.glob("work_dirs/*/test-linf8_table-eps8_255/report.json"):
        assert json.loads(report.read_text())["images"] == 4
    assert len([*place.glob("work_dirs/adversaries/photos_nat-*/best.safetensors")]) == 1
    assert (place / "export" / "photos_nat" / "README.md").is_file()


def test_people(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torchreid")
    people(place)
    typed = follow("People", monkeypatch)
    assert set(proposed(capsys.readouterr().out)) <= set(typed)
    assert len(Path("people_nat.py").read_text().splitlines()) <= 10
    config = load_config("people_nat.py", kind=TRAINING)
    assert (config.task.num_classes, config.task.model, config.data.batch_size) == (4, "osnet_x0_25", 8)
    assert nasty(Path("people_nat.py")) == nasty(ROOT / "configs" / "reid" / "market_amd_nat.py")
    assert [*place.glob("work_dirs/people_nat/test-reid_table12/report.html")]
    for method in ("at_union", "at"):
        start("init", ["reid", "--data", "people", "--method", method])
        assert content(f"people_{method}.py") == without_nasty_term("people_nat.py")


def test_boxes(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mmdet")
    boxes(place)
    typed = follow("Boxes", monkeypatch)
    assert set(proposed(capsys.readouterr().out)) <= set(typed)
    for name in ("boxes", "farm"):
        assert len(Path(f"{name}_nat.py").read_text().splitlines()) <= 10
        config = load_config(f"{name}_nat.py", kind=TRAINING)
        assert config.task.num_classes == 2 and config.data.test.classes == ["cow", "sheep"]
        assert nasty(Path(f"{name}_nat.py")) == nasty(ROOT / "configs" / "det" / "ssd300_voc_mtd_nat.py")
        report = json.loads((place / "work_dirs" / f"{name}_nat" / "test-det_loss" / "report.json").read_text())
        assert [column["name"] for column in report["columns"]] == ["Clean", "loss_cls", "loss_loc"]
    for method in ("at_union", "at"):
        start("init", ["det", "--data", "boxes", "--method", method])
        assert content(f"boxes_{method}.py") == without_nasty_term("boxes_nat.py")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["annotations/instances_train.json"], "none of the test images: call it annotations/instances_test.json"),
        (["a.json", "b.json"], "has JSON files .a.json, b.json. and none of the train images"),
    ],
)
def test_half_of_cocos_layout_is_one_line(
    files: list[str], words: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mmdet")
    for name in files:
        (place / "farm" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "farm" / name).write_text("{}")
    with pytest.raises(SystemExit):
        start("init", ["det", "--data", "farm"])
    assert re.search(words, capsys.readouterr().err) and not Path("farm_nat.py").exists()
