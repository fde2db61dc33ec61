"""Detection from the command line: bad input gets one line, folders with flaws are read, mmdet's files load safely."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from detector_runs import ONE_STEP, SIDE, THREAT, base, detection, folder, generated, mtd_nat
from detectors import retina, ssd
from families import tiny
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from PIL import Image
from safetensors.torch import save_file
from workshop import PGD, ROOT, Ran, Workshop, environment, write_config

from natx.models.checkpoint import save_weights
from natx.registry import DATASETS
from tasks.det import DetectionTask
from tasks.det.compat import build_detector

CLASSES = ["cat", "dog"]
# name: (width, height, objects); an object is (class, xmin, ymin, xmax, ymax)
PICTURES = {
    "a": (90, 60, [("dog", 10, 10, 60, 50), ("cat", 50, 5, 85, 30)]),
    "b": (60, 90, [("cat", 5, 20, 50, 80)]),
}
# As real folders are: boxes beside and partly beside the image, one without area, another class, nothing at all.
FLAWS = {
    **PICTURES,
    "c": (60, 60, [("dog", 5, 5, 40, 40), ("dog", 70, 5, 90, 20), ("cat", 20, 20, 20, 40), ("cat", 30, 30, 99, 99)]),
    "d": (80, 50, [("horse", 5, 5, 40, 40)]),
    "e": (50, 50, []),
}
ATTACKS = {
    "threat": THREAT,
    "attacks": [{**ONE_STEP, "name": "loss_cls", "objective": {"type": "ImageLoss", "name": "loss_cls"}}],
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated set."""
    root = tmp_path_factory.mktemp("generated") / "voc"
    DATASETS.build(generated(root, "test"))
    return root


def write_voc(root: Path, pictures: dict[str, Any] = PICTURES) -> Path:
    """A folder in Pascal VOC's layout whose split "all" has all pictures."""
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / name).mkdir(parents=True)
    (root / "ImageSets" / "Main" / "all.txt").write_text("\n".join(pictures))
    for name, (width, height, objects) in pictures.items():
        pixels = np.random.default_rng(sum(name.encode())).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg")
        things = ""
        for kind, *corners in objects:
            box = "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), corners))
            things += f"<object><name>{kind}</name><bndbox>{box}</bndbox></object>"
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{things}</annotation>")
    return root


def pets(
    root: Path, *, classes: list[str] = CLASSES, split: str = "all", model: Any = None, **changes: Any
) -> dict[str, Any]:
    """A training on a folder with classes of its own."""
    data = {
        "train": folder(root, split, classes=classes),
        "test": folder(root, "all", classes=CLASSES),
        "batch_size": 1,
    }
    task = detection(model or ssd(2, side=SIDE), 2)
    content = base(root, train_cfg={"max_epochs": 1}, **changes)
    content["data"].update(data)
    return {**content, "task": {**task, **changes.get("task", {})}}


def own(shop: Workshop, **changes: Any) -> list[Any]:
    """Arguments for a training on a good folder with some part of the config changed."""
    return [shop.write("pets.py", pets(write_voc(shop.folder / "pets"), **changes))]


def damaged(shop: Workshop, name: str, content: str | None) -> list[Any]:
    """Arguments for a training on a folder in which one file is another, or gone."""
    arguments = own(shop)
    path = shop.folder / "pets" / name
    path.unlink() if content is None else path.write_text(content)
    return arguments


def against(shop: Workshop, **adversary: Any) -> list[Any]:
    """Arguments for NAT against an adversary with random weights, or given ones."""
    return own(shop, method=mtd_nat({"state": "random", **adversary} if "checkpoint" not in adversary else adversary))


def other_priors(classes: int = 2) -> dict[str, Any]:
    model = ssd(classes, side=SIDE)
    model["bbox_head"]["anchor_generator"]["min_sizes"] = [20, 40, 64]
    return model


def trained_first(shop: Workshop) -> list[Any]:
    """Arguments for NAT against an adversary that a config would train."""
    source = shop.write("std.py", pets(shop.folder / "pets", model=other_priors()))
    return own(shop, method=mtd_nat({"config": str(source)}))


def turned_round(shop: Workshop) -> list[Any]:
    """Arguments for NAT against an adversary that calls dogs cats."""
    path, model = shop.folder / "turned.safetensors", ssd(2, side=SIDE)
    save_weights(path, DetectionTask(model, 2), meta={"classes": CLASSES[::-1]})
    return against(shop, task=detection(model, 2), checkpoint=str(path))


def climbing(objective: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Adversarial", "attack": {**ONE_STEP, "threat": THREAT, "objective": objective}}


# name: (arguments, what the line must contain)
BAD_TRAINING: dict[str, tuple[Callable[[Workshop], list[Any]], list[str]]] = {
    "missing folder": (
        lambda s: [s.write("gone.py", pets(s.folder / "gone"))],
        ["gone", "No such file", "Annotations", "ImageSets/Main", "JPEGImages", "set root"],
    ),
    "missing list": (lambda s: own(s, split="trian"), ["trian.txt", "lists that are there: all"]),
    "missing annotation": (
        lambda s: damaged(s, "Annotations/b.xml", None),
        ["Annotations/b.xml", "expected one for every image"],
    ),
    "missing image": (lambda s: damaged(s, "JPEGImages/b.jpg", None), ["no image b", "take it from the list"]),
    "broken XML": (
        lambda s: damaged(s, "Annotations/b.xml", "<annotation><object>"),
        ["Annotations/b.xml", "broken XML", "repair the annotation"],
    ),
    "broken image": (lambda s: damaged(s, "JPEGImages/a.jpg", "none"), ["JPEGImages/a.jpg", "replace or remove"]),
    "names of other classes": (
        lambda s: own(s, classes=["Cat", "Dog"]),
        ["no object of the classes Cat, Dog", "cat 2, dog 1", "set classes"],
    ),
    "number of classes": (
        lambda s: own(s, classes=["cat", "cow", "dog"]),
        ["3 classes", "detector 2", "task.num_classes"],
    ),
    "number of classes of the task alone": (
        lambda s: own(s, task={"num_classes": 3}),
        ["bbox_head has num_classes=2", "task 3"],
    ),
    "adversary's number of classes": (
        lambda s: against(s, task=detection(ssd(3, side=SIDE), 3)),
        ["adversary has 3 classes", "target 2"],
    ),
    "adversary's classes": (turned_round, ["other classes", "class 0 is 'dog' there and 'cat' here"]),
    "adversary's priors": (
        lambda s: against(s, task=detection(other_priors(), 2)),
        ["adversary's priors are not the target's", "anchor_generator"],
    ),
    "priors of an adversary to be trained": (trained_first, ["adversary's priors are not the target's"]),
    "adversary's family": (
        lambda s: against(s, task=detection(retina(2), 2)),
        ["a Retina detector, the target SSD", "one family"],
    ),
    "loss of another name": (
        lambda s: own(s, method=climbing({"type": "ImageLoss", "name": "loss_loc"})),
        ["no per-image loss 'loss_loc'", "loss_bbox", "loss_cls"],
    ),
    "objective of whole images": (lambda s: own(s, method=climbing({"type": "KL"})), ["KL", "ImageLoss"]),
    "attack on whole images": (
        lambda s: own(s, method={"type": "Adversarial", "attack": {"type": "Square", "threat": THREAT}}),
        ["class of a whole image", "DetectionTask", "PGD"],
    ),
    "held out without a metric": (
        lambda s: [s.write("m.py", {k: v for k, v in held_out(s).items() if k != "metric"})],
        ["metric"],
    ),
}


def held_out(shop: Workshop) -> dict[str, Any]:
    content = pets(write_voc(shop.folder / "pets"))
    content["data"]["heldout"] = 1
    return content


@pytest.mark.parametrize("name", BAD_TRAINING)
def test_bad_input_to_training(shop: Workshop, name: str) -> None:
    arguments, parts = BAD_TRAINING[name]
    shop.monkeypatch.syspath_prepend(ROOT)
    line = shop.run("train.py", *arguments(shop), "--work-dir", shop.folder / "run").error()
    assert [part for part in parts if part not in line] == [], line
    assert not (shop.folder / "run" / "last.pth").exists() and not (shop.folder / "adversaries").exists()


def test_weights_to_download_without_a_network(shop: Workshop) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise URLError("Name or service\nnot known")

    shop.monkeypatch.setattr("torch.hub.urlopen", offline)
    model = ssd(2, side=SIDE)
    model["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": "https://example.invalid/natx-none.pth"}
    line = shop.run("train.py", *own(shop, model=model, task={"pretrained": True})).error()
    assert all(part in line for part in ("not known", "connect to the internet", "task.pretrained=False"))
    model["backbone"]["init_cfg"]["checkpoint"] = str(shop.folder / "gone.pth")
    content = pets(shop.folder / "pets", model=model, task={"pretrained": True})
    line = shop.run("train.py", shop.write("local.py", content)).error()
    assert all(part in line for part in ("gone.pth", "task.checkpoint="))
    ran = shop.run("train.py", shop.write("local.py", content), "--dry-run")  # counts without weights
    assert ran.code == 0, ran.err


# ------------------------------------------------------------------------------------------------ folders with flaws


def test_a_folder_with_flaws_is_read_trained_on_and_judged_and_the_report_counts_them(shop: Workshop) -> None:
    config = shop.write("pets.py", pets(write_voc(shop.folder / "pets", FLAWS)))
    ran = shop.run("train.py", config, "--work-dir", shop.folder / "run")
    assert ran.code == 0, ran.err
    expected = [
        "objects of other classes left out (horse 1): 1 of 8",
        "boxes outside the image or without area left out: 1 of 8",
        "boxes one pixel wide or high, judged and not learnt: 1 of 8",
        "boxes clipped to the image: 1 of 8",
        "images without any object: 2 of 5",
    ]
    (scalars,) = (shop.folder / "run").glob("*/vis_data/scalars.json")
    assert all(f"note: pets all: {note}" in ran.out + ran.err for note in expected)
    # Five steps of one image each, two of which have nothing to learn from.
    logged = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert logged[-1]["iter"] == 5 and all(np.isfinite(line["loss"]) for line in logged)
    attacks, out = shop.write("attacks.py", ATTACKS), shop.folder / "out"
    options = ("--attacks", attacks, "--out", out, "--batch-size", 2)
    ran = shop.run("test.py", config, shop.folder / "run" / "best.safetensors", *options)
    assert ran.code == 0, ran.err
    report = json.loads((out / "report.json").read_text())
    assert report["images"] == 5
    for where in (report["notes"], (out / "report.md").read_text(), ran.out):
        text = " ".join(" ".join(where if isinstance(where, list) else where.split()).split())
        assert all(note in text for note in (*expected, "2 of 5 images")), text


# ------------------------------------------------------------------------------------------------ mmdet's checkpoints


def mmdet_file(path: Path, classes: int = 10, *, meta: dict[str, Any] | None = None, **entries: Any) -> Path:
    """What mmdet writes: a state dict beside plain meta data; and what it writes besides that."""
    torch.manual_seed(0)
    net = build_detector({key: value for key, value in ssd(classes, side=SIDE).items() if key != "data_preprocessor"})
    net.init_weights()
    plain = {"mmdet_version": "3.3.0", "epoch": 24, "time": "now", "cfg": "model = dict()", "seed": None}
    plain["dataset_meta"] = {"classes": tuple("0123456789"), "palette": [(106, 0, 228)]}
    torch.save({"meta": {**plain, **(meta or {})}, "state_dict": OrderedDict(net.state_dict()), **entries}, path)
    return path


def judge(shop: Workshop, checkpoint: Path, config: dict[str, Any], *arguments: Any, attacks: Any = ATTACKS) -> Ran:
    paths = shop.write("config.py", config), checkpoint, "--attacks", shop.write("attacks.py", attacks)
    return shop.run("test.py", *paths, "--out", shop.folder / "out", *arguments)


def test_a_plain_mmdet_checkpoint_is_judged(shop: Workshop, digits: Path) -> None:
    path = mmdet_file(shop.folder / "epoch_24.pth")
    weights = torch.load(path, weights_only=True)["state_dict"]
    same = {key: value.clone() for key, value in weights.items()}
    save_file(same, shop.folder / "same.safetensors")
    reports = []
    for checkpoint in (path, shop.folder / "same.safetensors"):
        ran = judge(shop, checkpoint, base(digits), "--subset", 2)
        assert ran.code == 0, ran.err
        reports.append(json.loads((shop.folder / "out" / "report.json").read_text()))
        (shop.folder / "out").rename(shop.folder / checkpoint.stem)  # the report of another file is not written over
    assert reports[0]["columns"] == reports[1]["columns"] and reports[0]["images"] == 2
    assert [column["name"] for column in reports[0]["columns"]] == ["Clean", "loss_cls"]
    assert reports[0]["settings"]["trained_epochs"] == "unknown"
    # They are this model's weights, whatever was drawn before: its detections are mmdet's.
    task = DetectionTask(ssd(10, side=SIDE), 10, checkpoint=path)
    assert all(torch.equal(value, weights[key]) for key, value in task.upstream.state_dict().items())


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


def history() -> dict[str, Any]:
    """What mmengine's runner keeps in its checkpoints: buffers of everything it logged."""
    hub = MessageHub.get_instance("natx_test")
    hub.update_scalar("train/loss", 1.0)
    return hub.state_dict()


# name: (entries beside the weights, what the line must contain)
PICKLED: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "a class of its own": (lambda out: {"meta": {"hook": Payload(out)}}, "mkdir"),
    "a config": (lambda out: {"meta": {"cfg": ConfigDict(model=dict(type="SSD"))}}, "mmengine.config"),
    "a log": (lambda out: {"message_hub": history()}, "mmengine.logging.history_buffer.HistoryBuffer"),
}


@pytest.mark.parametrize("name", PICKLED)
def test_a_checkpoint_with_pickled_objects_is_refused_and_nothing_is_unpickled(
    shop: Workshop, digits: Path, name: str
) -> None:
    make, found = PICKLED[name]
    path = mmdet_file(shop.folder / "epoch_24.pth", **make(shop.folder / "touched"))
    line = judge(shop, path, base(digits)).error()
    assert all(part in line for part in (str(path), "Python objects", found, "could run code", "'weights.pth'")), line
    assert not (shop.folder / "touched").exists() and not (shop.folder / "out").exists()


def test_weights_alone_are_judged_as_the_refusal_says(shop: Workshop, digits: Path) -> None:
    path = mmdet_file(shop.folder / "plain.pth")
    torch.save(torch.load(path, weights_only=True)["state_dict"], shop.folder / "weights.pth")
    assert judge(shop, shop.folder / "weights.pth", base(digits), "--subset", 1).code == 0


# name: (config, attacks, what the line must contain)
BAD_JUDGING: dict[str, tuple[Callable[[Path], dict[str, Any]], Any, list[str]]] = {
    "another number of classes": (
        lambda root: {**base(root), "task": detection(ssd(3, side=SIDE), 3)},
        ATTACKS,
        ["does not fit the model", "bbox_head", "number of classes"],
    ),
    "another family": (
        lambda root: {**base(root), "task": detection(retina(10), 10)},
        ATTACKS,
        ["another architecture", "keys missing"],
    ),
    "a missing test set": (
        lambda root: base(root, data={"test": folder(root / "gone", "test", classes=list("0123456789"))}),
        ATTACKS,
        ["gone", "Annotations", "set root"],
    ),
    "a test set of other classes": (
        lambda root: base(root, data={"test": folder(root, "test", classes=list("012"))}),
        ATTACKS,
        ["3 classes", "detector 10"],
    ),
    "no metric": (lambda root: base(root, metric=None), ATTACKS, ["DetectionTask", "metric=dict(type=...)"]),
    "milestones": (
        base,
        {"threat": THREAT, "attacks": [{"type": "PGD", "steps": 2, "milestones": (1, 2)}]},
        ["milestones", "one attack a column"],
    ),
    "AutoAttack": (base, {"threat": THREAT, "attacks": [{"type": "AutoAttack"}]}, ["whole image", "DetectionTask"]),
    "an objective on whole images": (
        base,
        {"threat": THREAT, "attacks": [{**PGD, "objective": {"type": "KL"}}]},
        ["KL", "ImageLoss or CrossEntropy"],
    ),
}


@pytest.mark.parametrize("name", BAD_JUDGING)
def test_bad_input_to_judging(shop: Workshop, digits: Path, name: str) -> None:
    make, attacks, parts = BAD_JUDGING[name]
    line = judge(shop, mmdet_file(shop.folder / "epoch_24.pth"), make(digits), "--subset", 1, attacks=attacks).error()
    assert [part for part in parts if part not in line] == [], line
    assert not (shop.folder / "out" / "report.json").exists()


@pytest.mark.parametrize("attack", ["DAG", "RAP"])
def test_attacks_on_priors_and_proposals_refuse_a_cascade(shop: Workshop, digits: Path, attack: str) -> None:
    model = tiny("cascade_rcnn", classes=10)
    path, task = shop.folder / "cascade.safetensors", detection(model, 10)
    save_weights(path, DetectionTask(model, 10), meta={})
    table = {"threat": THREAT, "attacks": [{"type": attack}]}
    line = judge(shop, path, {**base(digits), "task": task}, "--subset", 1, attacks=table).error()
    assert all(part in line for part in ("priors of SSD", "CascadeRCNN", "PGD on its losses"))


# ------------------------------------------------------------------------------------------------ without mmdet


def test_without_mmdet_classification_works_and_detection_says_what_to_install(tmp_path: Path, digits: Path) -> None:
    """In a process of its own, in which mmdet and mmcv are not installed."""
    for name in ("mmdet", "mmcv"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')")
    config = write_config(tmp_path / "det.py", base(digits))
    script = f"""
import runpy, sys
import natx.judging.judge, natx.training.run, tasks.cls
from natx.registry import TASKS
TASKS.build(dict(type="ClassificationTask", model="small_cnn", num_classes=10))
print("classification works", flush=True)
sys.argv = ["train.py", {str(config)!r}, "--device", "cpu"]
runpy.run_path({str(ROOT / "tools" / "train.py")!r}, run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "classification works\n"), done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "Warning" not in line]
    assert line.startswith("error: ") and "No module named 'mmcv'" in line and "pip install -e '.[det]'" in line
