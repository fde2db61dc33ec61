"""The listings of docs/det.md work word for word."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_set import write_coco
from PIL import Image

from natx.config import ATTACKS, TRAINING, load_config, plain_dict
from natx.judging.judge import judge
from natx.registry import TASKS
from natx.training.run import train
from tasks.det.catalogue import BEGIN, END, HEAD, NAMES
from tasks.det.tallies import MEANINGS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "det.md").read_text(encoding="utf-8")
LISTINGS = dict(re.findall(r"```python\n# (\w+\.py)[^\n]*\n(.*?)```", PAGE, re.DOTALL))
BATCH = 16  # of the configs that the listings build on: an epoch of one step
CPU = torch.device("cpu")


def write_pets(root: Path) -> None:
    """A folder in Pascal VOC's layout with a cat or a dog in every image."""
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    draw = np.random.default_rng(0)
    for split, count in (("train", BATCH), ("test", 2)):
        names = [f"{split}{i}" for i in range(count)]
        (root / f"ImageSets/Main/{split}.txt").write_text("\n".join(names) + "\n")
        for i, name in enumerate(names):
            Image.fromarray(draw.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(root / f"JPEGImages/{name}.png")
            box = "<xmin>11</xmin><ymin>11</ymin><xmax>50</xmax><ymax>50</ymax>"
            (root / f"Annotations/{name}.xml").write_text(
                f"<annotation><object><name>{('cat', 'dog')[i % 2]}</name><bndbox>{box}</bndbox></object></annotation>"
            )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the listings beside the folder ``configs``, and the data that they name; an epoch of training."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for name, text in LISTINGS.items():
        (tmp_path / name).write_text(f"{text}\ntrain_cfg = dict(max_epochs=1)\n")
    write_pets(tmp_path / "data" / "pets")
    kinds = [{"id": 3, "name": "cow"}, {"id": 5, "name": "sheep"}]
    for name, images in (("train", BATCH), ("test", 3)):
        write_coco(tmp_path / "data" / "farm", images=images, categories=kinds, name=name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nat_on_a_folder_of_ones_own_trains_what_it_begins_with(place: Path) -> None:
    best = train(load_config("pets_mtd_nat.py"), place / "work" / "pets_mtd_nat", device=CPU)
    assert best.is_file()
    assert list(place.glob("work/**/pets_std-*/best.safetensors"))  # the start and the adversary, trained once
    assert len(list(place.glob("work/**/best.safetensors"))) == 2


def test_a_json_of_ones_own_trains_and_is_judged(place: Path) -> None:
    config = load_config("farm_std.py")
    best = train(config, place / "work" / "farm_std", device=CPU)
    step = 'dict(type="PGD", name="loss_cls", steps=1, objective=dict(type="ImageLoss", name="loss_cls"))'
    (place / "attacks.py").write_text(f'threat = dict(type="Linf", eps=8 / 255)\nattacks = [{step}]\n')
    report = judge(config, best, load_config("attacks.py", kind=ATTACKS), device=CPU)
    assert [column["name"] for column in report["columns"]] == ["Clean", "loss_cls"] and report["images"] == 3
    assert report["settings"]["batch_size"] == 4  # a detector's own


def test_a_model_is_taken_by_name(place: Path) -> None:
    config = load_config("voc_detr.py", kind=TRAINING)
    with torch.device("meta"):
        task = TASKS.build({**plain_dict(config.task), "pretrained": False})
    assert task.net.bbox_head.num_classes == 20 and type(task.net).__name__ == "DETR"


def test_the_table_of_models_has_all_that_were_tried() -> None:
    table = PAGE.split(BEGIN)[1].split(END)[0]
    assert table.startswith("\n" + HEAD)
    assert [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")] == sorted(NAMES)


def test_the_values_are_explained_as_reports_explain_them() -> None:
    table = PAGE.split("<!-- values -->")[1].split("<!-- /values -->")[0].strip().splitlines()
    assert table[2:] == [f"| {name} | {text} |" for name, text in MEANINGS.items()]
