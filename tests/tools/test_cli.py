"""The command line: bad input gets one line that says what to do, good input a report with the right numbers."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional as F
from workshop import DIGITS, PGD, ROOT, Ran, Workshop, environment, merged, nat, write_config

from natx.analysis import WHAT
from natx.config import load_config
from natx.runtime.files import sha256
from natx.study.tables import TABLES
from natx.training.run import train
from tasks.cls.models import create_model

EPS = 51 / 255
STEP = 0.05
ATTACKS: dict[str, Any] = {
    "threat": {"type": "Linf", "eps": EPS},
    "success": "last",
    "attacks": [{"type": "PGD", "steps": 3, "step_size": STEP, "random_start": False, "milestones": (1, 3)}],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a trained digits model."""
    folder = tmp_path_factory.mktemp("cli")
    path = write_config(folder / "digits.py", merged(DIGITS, {"train_cfg": {"max_epochs": 12}}))
    train(load_config(path), folder / "run", device=torch.device("cpu"))
    return folder / "run"


# --- bad input to tools/train.py --------------------------------------------------------------------------------------


def images(folder: Path, *, broken: str | None = None) -> dict[str, Any]:
    """A data set of two classes of four images; ``broken`` is no image at all."""
    draw = np.random.default_rng(0)
    for i in range(8):
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    if broken:
        (folder / broken).write_bytes(b"no image")
    return {"type": "ImageFolder", "root": str(folder), "image_size": 8, "resize": 8, "train": True}


def npz(path: Path, low: float, high: float) -> dict[str, Any]:
    """A data set of 20 float images of 10 classes."""
    pixels = np.linspace(low, high, 20 * 64, dtype=np.float32).reshape(20, 1, 8, 8)
    np.savez(path, image=pixels, label=np.arange(20) % 10)
    return {"type": "NPZ", "path": str(path)}


def on_folder(shop: Workshop, workers: int) -> list[Any]:
    data = {"train": images(shop.folder / "img", broken="b/3.png"), "heldout": 0, "batch_size": 8}
    task = {"num_classes": 2, "model_args": {"in_chans": 3}}
    return [shop.digits(data={**data, "num_workers": workers}, task=task)]


def adversarial(**attack: Any) -> dict[str, Any]:
    settings = {key: value for key, value in {**PGD, **attack}.items() if value is not None}
    return {"type": "Adversarial", "attack": settings}


def with_adversary(**task: Any) -> dict[str, Any]:
    return nat({"task": merged(DIGITS["task"], task), "state": "random"})


def optimiser(**settings: Any) -> dict[str, Any]:
    return {"optim_wrapper": {"type": "OptimWrapper", "optimizer": {"lr": 0.1, **settings}}}


# name: (arguments, what the line must contain)
BAD_TRAINING: dict[str, tuple[Callable[[Workshop], list[Any]], list[str]]] = {
    "missing config": (lambda s: [s.folder / "nowhere.py"], ["no config at", "nowhere.py", "configs/"]),
    "config is no .py": (lambda s: [s.write("digits.yaml", DIGITS)], [".py", "digits.yaml"]),
    "syntax error": (lambda s: [bad_python(s)], ["no valid Python config", "line 2"]),
    "missing base": (lambda s: [s.write("b.py", {"_base_": ["gone.py"]})], ["_base_", "gone.py"]),
    "missing keys": (lambda s: [s.digits(train_cfg={"max_epochs": None}, seed=None)], ["train_cfg.max_epochs", "seed"]),
    "an attack config": (lambda s: [s.write("a.py", ATTACKS)], ["lacks", "task", "method"]),
    "misspelt key": (lambda s: [s.digits(selct={"every": 2})], ["selct is read by nothing", "'select'"]),
    "missing module": (
        lambda s: [s.digits(custom_imports={"imports": ["tasks.segmentation"]})],
        ["custom_imports", "tasks.segmentation"],
    ),
    "missing CIFAR": (
        lambda s: [s.digits(data={"train": {"type": "CIFAR10", "root": str(s.folder / "data")}})],
        ["looked in", "cifar-10-batches-py", "download=True", "cifar-10-python.tar.gz"],
    ),
    "missing folder": (
        lambda s: [s.digits(data={"train": {"type": "ImageFolder", "root": str(s.folder / "gone")}})],
        ["gone", "<class>/<image>"],
    ),
    "missing file": (
        lambda s: [s.digits(data={"train": {"type": "NPZ", "path": str(s.folder / "gone.npz")}})],
        ["no file", "gone.npz"],
    ),
    "class count": (lambda s: [s.digits(task={"num_classes": 7})], ["10 classes", "7", "task.num_classes=10"]),
    "pixels above 1": (
        lambda s: [s.digits(data={"train": npz(s.folder / "x.npz", 0, 255), "heldout": 0, "batch_size": 10})],
        ["pixels must be in [0,1]", "0..255", "x.npz", "divide by 255"],
    ),
    "pixels below 0": (
        lambda s: [s.digits(data={"train": npz(s.folder / "x.npz", -1, 1), "heldout": 0, "batch_size": 10})],
        ["pixels must be in [0,1]", "-1..1"],
    ),
    "unreadable image": (lambda s: on_folder(s, 0), ["cannot decode", "b/3.png", "replace or remove"]),
    "unreadable image in a worker": (lambda s: on_folder(s, 1), ["cannot decode", "b/3.png", "replace or remove"]),
    "batch size 0": (lambda s: [s.digits(data={"batch_size": 0})], ["data.batch_size", "greater than 0", "got 0"]),
    "batch too large": (lambda s: [s.digits(data={"batch_size": 999})], ["999", "259", "lower it"]),
    "held out too many": (lambda s: [s.digits(data={"heldout": 359})], ["heldout=359"]),
    "protocol": (lambda s: [s.digits(protocol="best")], ["'heldout' or 'paper'", "'best'"]),
    "select argument": (lambda s: [s.digits(select={"evry": 2})], ["select", "evry"]),
    "select.every": (lambda s: [s.digits(select={"every": 0})], ["select.every"]),
    "eps 8": (
        lambda s: [s.digits(method=adversarial(threat={"type": "Linf", "eps": 8}))],
        ["eps=8", "outside [0,1]", "eps=8/255"],
    ),
    "eps below 0": (lambda s: [s.digits(method=adversarial(threat={"type": "Linf", "eps": -0.1}))], ["eps", "-0.1"]),
    "no threat": (lambda s: [s.digits(method=adversarial(threat=None))], ["threat"]),
    "unknown attack": (lambda s: [s.digits(method=adversarial(type="PDG"))], ["unknown attack 'PDG'", "PGD"]),
    "attack argument": (
        lambda s: [s.digits(method=adversarial(stepz=3))],
        ["method.attack.stepz is no argument of PGD", "'steps'"],
    ),
    "attack steps 0": (lambda s: [s.digits(method=adversarial(steps=0))], ["steps=0"]),
    "unknown method": (lambda s: [s.digits(method={"type": "Adversarail"})], ["unknown method", "Adversarial"]),
    "missing argument": (lambda s: [s.digits(method={"type": "Adversarial"})], ["Adversarial", "'attack'"]),
    "no type": (lambda s: [s.digits(method={"type": None, "views": ("adv",)})], ["method", "type="]),
    "unknown term": (
        lambda s: [s.digits(method={"type": "Standard", "terms": [{"type": "NastyKl"}]})],
        ["unknown term 'NastyKl'", "NastyKL"],
    ),
    "term argument": (
        lambda s: [
            s.digits(method=nat({"task": DIGITS["task"], "state": "random"}, terms=[{"type": "TaskLoss", "tau": 4}]))
        ],
        ["TaskLoss", "tau"],
    ),
    "unknown task": (lambda s: [s.digits(task={"type": "Clasification"})], ["unknown task", "ClassificationTask"]),
    "task argument": (lambda s: [s.digits(task={"nclasses": 3})], ["ClassificationTask", "nclasses"]),
    "unknown model": (lambda s: [s.digits(task={"model": "resnet18_cifra"})], ["unknown model", "resnet18_cifar"]),
    "unknown data set": (lambda s: [s.digits(data={"train": {"type": "Digit"}})], ["unknown dataset", "Digits"]),
    "unknown objective": (
        lambda s: [s.digits(method=adversarial(objective={"type": "Margins"}))],
        ["unknown objective", "Margin"],
    ),
    "unknown augmentation": (lambda s: [s.digits(data={"augments": [{"type": "Flip"}]})], ["unknown augment", "Flip"]),
    "unknown optimiser": (lambda s: [s.digits(**optimiser(type="SDG"))], ["unknown optimizer 'SDG'", "SGD"]),
    "optimiser argument": (lambda s: [s.digits(**optimiser(type="SGD", momentun=0.9))], ["SGD", "momentun"]),
    "optimiser value": (lambda s: [s.digits(**optimiser(type="SGD", lr=-1.0))], ["learning rate", "-1.0"]),
    "unknown schedule": (lambda s: [s.digits(param_scheduler=[{"type": "Cosine"}])], ["param_scheduler", "Cosine"]),
    "train_cfg argument": (lambda s: [s.digits(train_cfg={"epochs": 3})], ["train_cfg", "epochs"]),
    "unknown backend": (lambda s: [s.digits(vis_backends=[{"type": "Wandbee"}])], ["vis_backends", "Wandbee"]),
    "amp": (lambda s: [s.digits(amp="float16")], ["amp", "bfloat16", "float16"]),
    "adversary's classes": (
        lambda s: [s.digits(method=with_adversary(num_classes=7))],
        ["adversary has 7 classes", "target 10"],
    ),
    "adversary's input size": (
        lambda s: [s.digits(method=with_adversary(image_size=16))],
        ["adversary takes inputs of (1, 16, 16)", "target of (1, 32, 32)"],
    ),
    "adversary without source": (
        lambda s: [s.digits(method=nat({"task": DIGITS["task"]}))],
        ["adversary", "checkpoint"],
    ),
    "adversary's config missing": (
        lambda s: [s.digits(method=nat({"config": str(s.folder / "vt.py")}))],
        ["no config at", "vt.py"],
    ),
    "adversary's checkpoint missing": (
        lambda s: [s.digits(method=nat({"task": DIGITS["task"], "checkpoint": "gone.safetensors"}))],
        ["no checkpoint at gone.safetensors"],
    ),
    "device foo": (lambda s: [s.digits(), "--device", "foo"], ["no device", "cpu", "foo"]),
    "device meta": (lambda s: [s.digits(), "--device", "meta"], ["no device", "cpu", "meta"]),
    "threads": (lambda s: [s.digits(), "--threads", "0"], ["--threads must be at least 1"]),
    "no torchrun": (lambda s: [s.digits(), "--launcher", "pytorch"], ["torchrun"]),
    "no srun": (lambda s: [s.digits(), "--launcher", "slurm"], ["--launcher slurm needs srun"]),
    "option without value": (lambda s: [s.digits(), "--cfg-options", "seed"], ["--cfg-options", "key.sub=value"]),
    "option with a call in a list": (
        lambda s: [s.digits(), "--cfg-options", 'data.augments=[dict(type="RandomFlip"),dict(type="RandomCrop")]'],
        ["--cfg-options", "_base_"],
    ),
    "option with open bracket": (lambda s: [s.digits(), "--cfg-options", "a=[1,(2]"], ["--cfg-options", "a=[1,(2]"]),
    "option with a typing error": (
        lambda s: [s.digits(), "--cfg-options", "trian_cfg.max_epochs=3"],
        ["trian_cfg.max_epochs", "train_cfg"],
    ),
    "option through a number": (lambda s: [s.digits(), "--cfg-options", "seed.x=1"], ["seed"]),
}


def bad_python(shop: Workshop) -> Path:
    (shop.folder / "syntax.py").write_text("seed = 0\ntask = dict(type=\n")
    return shop.folder / "syntax.py"


@pytest.mark.parametrize("name", BAD_TRAINING)
def test_bad_input_to_training(shop: Workshop, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("RANK", raising=False)
    arguments, parts = BAD_TRAINING[name]
    line = shop.run("train.py", *arguments(shop), "--work-dir", shop.folder / "run").error()
    assert [part for part in parts if part not in line] == [], line
    assert not list(shop.folder.rglob("*.safetensors"))


def test_pretrained_weights_without_a_network(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr("timm.models._hub.hf_hub_download", offline)
    model_args = {"in_chans": None, "width": None}
    task = {"model": "vit_tiny_patch16_224", "pretrained": True, "image_size": 32, "model_args": model_args}
    pixels = np.random.default_rng(0).random((20, 3, 32, 32), dtype=np.float32)
    np.savez(shop.folder / "x.npz", image=pixels, label=np.arange(20) % 10)
    data = {"train": {"type": "NPZ", "path": str(shop.folder / "x.npz")}, "heldout": 0, "batch_size": 10}
    line = shop.run("train.py", shop.digits(task=task, data=data), "--work-dir", shop.folder / "run").error()
    assert "vit_tiny_patch16_224" in line
    assert "connect to the internet" in line
    assert "task.checkpoint=" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_asked_for_where_there_is_none(shop: Workshop) -> None:
    line = shop.run("train.py", shop.digits(), "--device", "cuda").error()
    assert "sees cpu on this machine" in line
    assert "--device cpu" in line


# --- bad input to tools/test.py ---------------------------------------------------------------------------------------


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def judge(shop: Workshop, run: Path, *arguments: Any, attacks: dict[str, Any] | None = None, **changes: Any) -> Ran:
    """tools/test.py on the trained model; ``arguments`` may begin with another checkpoint."""
    config = shop.digits("config.py", **changes)
    checkpoint = run / "best.safetensors"
    if arguments and isinstance(arguments[0], Path):
        checkpoint, *arguments = arguments
    table = shop.write("attacks.py", attacks or ATTACKS)
    return shop.run("test.py", config, checkpoint, "--attacks", table, "--out", shop.folder / "out", *arguments)


def written(path: Path, content: Any) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return path


BAD_JUDGING: dict[str, tuple[Callable[[Workshop, Path], Ran], list[str]]] = {
    "missing checkpoint": (lambda s, r: judge(s, r, s.folder / "gone.pth"), ["no checkpoint at", "gone.pth"]),
    "another architecture": (
        lambda s, r: judge(s, r, task={"model": "resnet8_cifar", "model_args": {"width": 1}}),
        ["another architecture", "best.safetensors"],
    ),
    "another class count": (
        lambda s, r: judge(s, r, task={"num_classes": 7}),
        ["fc.", "(10", "(7", "number of classes"],
    ),
    "truncated safetensors": (
        lambda s, r: judge(s, r, written(s.folder / "t.safetensors", (r / "best.safetensors").read_bytes()[:-9])),
        ["t.safetensors", "truncated"],
    ),
    "truncated pth": (
        lambda s, r: judge(s, r, written(s.folder / "t.pth", (r / "last.pth").read_bytes()[:999])),
        ["t.pth", "truncated"],
    ),
    "malicious pickle": (
        lambda s, r: judge(s, r, written(s.folder / "evil.pth", {"state_dict": {}, "x": Payload(s.folder / "out")})),
        ["evil.pth", "could run code"],
    ),
    "malicious raw pickle": (
        lambda s, r: judge(s, r, written(s.folder / "evil.pth", pickle.dumps(Payload(s.folder / "out"), protocol=2))),
        ["evil.pth", "could run code"],
    ),
    "subset 0": (lambda s, r: judge(s, r, "--subset", 0), ["subset of 0"]),
    "subset below 0": (lambda s, r: judge(s, r, "--subset", -3), ["subset of -3"]),
    "subset too large": (lambda s, r: judge(s, r, "--subset", 361), ["361", "360"]),
    "batch size 0": (lambda s, r: judge(s, r, "--batch-size", 0), ["--batch-size must be at least 1"]),
    "a training config as attacks": (lambda s, r: judge(s, r, attacks=DIGITS), ["attacks"]),
    "no attacks": (lambda s, r: judge(s, r, attacks={"attacks": []}), ["no attacks"]),
    "unknown attack": (lambda s, r: judge(s, r, attacks={**ATTACKS, "attacks": [{"type": "AA"}]}), ["unknown attack"]),
    "no threat": (lambda s, r: judge(s, r, attacks={"attacks": [{"type": "PGD"}]}), ["threat"]),
    "eps 8": (
        lambda s, r: judge(s, r, attacks={**ATTACKS, "threat": {"type": "Linf", "eps": 8}}),
        ["outside [0,1]", "8/255"],
    ),
    "misspelt key": (
        lambda s, r: judge(s, r, attacks={**{k: v for k, v in ATTACKS.items() if k != "success"}, "sucess": "last"}),
        ["sucess is read by nothing", "'success'"],
    ),
    "no images to audit": (lambda s, r: judge(s, r, "--audit", "--audit-images", 0), ["at least 1 image", "got 0"]),
    "images to audit without an audit": (lambda s, r: judge(s, r, "--audit-images", 9), ["--audit-images", "--audit"]),
    "vanilla without an audit": (lambda s, r: judge(s, r, "--vanilla", "x.pth"), ["--vanilla", "add --audit"]),
    "vanilla is missing": (
        lambda s, r: unattacked(s, r, "--audit", "--vanilla", "gone.pth"),
        ["no checkpoint at gone.pth"],
    ),
    "success": (lambda s, r: judge(s, r, attacks={**ATTACKS, "success": "first"}), ["'any' or 'last'", "first"]),
    "two attacks of a name": (
        lambda s, r: judge(s, r, attacks={**ATTACKS, "attacks": ATTACKS["attacks"] * 2}),
        ["PGD-1", "name="],
    ),
    "weaker AutoAttack": (
        lambda s, r: judge(s, r, attacks={**ATTACKS, "attacks": [{"type": "AutoAttack", "version": "rand"}]}),
        ["standard", "rand"],
    ),
    "no test data": (lambda s, r: judge(s, r, data={"test": None}), ["data.test"]),
    "pixels above 1": (
        lambda s, r: judge(s, r, data={"test": npz(s.folder / "x.npz", 0, 255)}),
        ["pixels must be in [0,1]", "x.npz"],
    ),
    "unreadable image": (
        lambda s, r: judge(
            s,
            color(s),
            data={"test": {**images(s.folder / "img", broken="a/2.png"), "train": False}},
            task={"num_classes": 2, "model_args": {"in_chans": 3}},
        ),
        ["cannot decode", "a/2.png"],
    ),
}


def unattacked(shop: Workshop, run: Path, *arguments: Any) -> Ran:
    """tools/test.py with an attack that takes days: what is wrong must be said before it starts."""
    return judge(shop, run, *arguments, attacks={**ATTACKS, "attacks": [{"type": "PGD", "steps": 10**7}]})


def color(shop: Workshop) -> Path:
    """A folder with weights of an untrained net for coloured images of two classes."""
    net = create_model("small_cnn", num_classes=2, width=4)
    save_file(net.state_dict(), shop.folder / "best.safetensors")
    return shop.folder


@pytest.mark.parametrize("name", BAD_JUDGING)
def test_bad_input_to_judging(shop: Workshop, run: Path, name: str) -> None:
    call, parts = BAD_JUDGING[name]
    line = call(shop, run).error()
    assert [part for part in parts if part not in line] == [], line
    assert not (shop.folder / "out").exists()  # no report, and no payload that was run


@pytest.mark.parametrize("place", ["{file}", "{file}/below"])
@pytest.mark.parametrize("tool", ["train.py", "test.py", "analyze.py", "transfer.py"])
def test_a_file_where_a_folder_is_to_be(shop: Workshop, run: Path, tool: str, place: str) -> None:
    file = shop.folder / "taken.txt"
    file.write_text("mine")
    config, weights, table = shop.digits("config.py"), run / "best.safetensors", shop.write("attacks.py", ATTACKS)
    given = [] if tool in ("analyze.py", "train.py") else ["--attacks", table]
    models = [config] if tool == "train.py" else [config, weights]
    option = "--work-dir" if tool in ("train.py", "analyze.py") else "--out"
    line = shop.run(tool, *models, *given, option, place.format(file=file)).error()
    assert "taken.txt is a file" in line
    assert file.read_text() == "mine"


def test_a_checkpoint_of_another_training_is_told(shop: Workshop, run: Path) -> None:
    judge(shop, run, train_cfg={"max_epochs": 12})
    report = json.loads((shop.folder / "out" / "report.json").read_text())
    assert not any("other settings" in note for note in report["notes"])
    other = judge(shop, run, train_cfg={"max_epochs": 12}, method=adversarial(), seed=7)
    report = json.loads((shop.folder / "out" / "report.json").read_text())
    said = [note for note in report["notes"] if "trained with other settings of method than config.py" in note]
    assert len(said) == 1 and said[0] in " ".join(other.out.split())


# --- how errors are shown ---------------------------------------------------------------------------------------------


def test_exit_code_and_one_line_in_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "test.py"), "gone.py", "gone.pth", "--attacks", "gone.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: no config at gone.py")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("tool", ["train.py", "test.py"])
def test_debug_shows_the_traceback(shop: Workshop, tool: str) -> None:
    more = ["weights.pth", "--attacks", "a.py"] if tool == "test.py" else []
    ran = shop.run(tool, shop.folder / "gone.py", *more, "--debug")
    assert ran.code == 1
    assert "Traceback (most recent call last)" in ran.err
    assert "ConfigError: no config at" in ran.err


def test_debug_shows_the_cause_of_a_converted_error(shop: Workshop) -> None:
    ran = shop.run("train.py", shop.digits(**optimiser(type="SGD", lr=-1.0)), "--debug")
    assert "ValueError" in ran.err
    assert "The above exception was the direct cause" in ran.err


@pytest.mark.parametrize("tool", sorted(path.name for path in (ROOT / "tools").glob("*.py")))
@pytest.mark.parametrize("arguments", [["--help"], ["--no-such-option"]], ids=" ".join)
def test_help_and_misspelt_arguments_wait_for_no_library(tool: str, arguments: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", str(ROOT / "tools" / tool), *arguments]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert ran.returncode == (0 if arguments == ["--help"] else 2)
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in ran.stderr.splitlines() if "|" in line}
    assert "argparse" in imported
    assert not imported & {"torch", "numpy", "mmengine", "rich", "matplotlib", "timm", "tasks"}


def test_what_the_tools_offer_is_what_there_is() -> None:
    """They say so themselves, as asking natx would take as long as importing it."""
    for tool, name, there in (("analyze", "WHAT", WHAT), ("reproduce", "TABLES", str(TABLES))):
        assert getattr(import_module(f"natx.cli.{tool}"), name) == there


@pytest.mark.parametrize("tool", ["train.py", "test.py", "demo.py"])
def test_help_opens_with_the_command(shop: Workshop, tool: str) -> None:
    ran = shop.run(tool, "--help")
    assert ran.code == 0
    assert f"python tools/{tool}" in ran.out
    assert "--device" in ran.out


def test_a_bug_is_not_dressed_up_as_a_users_error(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*args: object, **kwargs: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("tasks.cls.datasets.digits.load_digits", bug)
    ran = shop.run("train.py", shop.digits())
    assert ran.code == 1
    assert "KeyError: 'a bug'" in ran.err


# --- the happy path ---------------------------------------------------------------------------------------------------


def independent(weights: Path) -> dict[str, torch.Tensor]:
    """Which of the 360 test digits the net gets right, clean and after each PGD step (no random start)."""
    pixels, target = load_digits(return_X_y=True)
    chosen = np.sort(train_test_split(np.arange(len(target)), test_size=0.2, stratify=target, random_state=0)[1])
    x, y = torch.tensor(pixels[chosen] / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(target[chosen])
    net = create_model("small_cnn", num_classes=10, in_chans=1, width=4).eval()
    net.load_state_dict(load_file(weights))
    right = {"Clean": net((x - 0.5) / 0.5).argmax(1) == y}
    x_adv = x.clone()
    for step in (1, 2, 3):
        x_adv.requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(net((x_adv - 0.5) / 0.5), y, reduction="sum"), x_adv)
        x_adv = (x_adv.detach() + STEP * grad.sign()).clamp(x - EPS, x + EPS).clamp(0, 1)
        right[f"PGD-{step}"] = net((x_adv - 0.5) / 0.5).argmax(1) == y
    return right


def test_report(shop: Workshop, run: Path) -> None:
    ran = judge(shop, run, "--batch-size", 360, "--name", "tiny")
    assert ran.code == 0, ran.err
    report = json.loads((shop.folder / "out" / "report.json").read_text())
    right = independent(run / "best.safetensors")
    expected = {name: right[name] for name in ("Clean", "PGD-1", "PGD-3")}
    assert 50 < 100 * float(expected["Clean"].float().mean())  # a trained model, or the rest says little
    assert expected["PGD-3"].sum() < expected["PGD-1"].sum() < expected["Clean"].sum()
    assert [column["name"] for column in report["columns"]] == list(expected)
    for column in report["columns"]:
        assert column["correct"] == int(expected[column["name"]].sum())
        assert column["images"] == 360
        assert column["accuracy"] == pytest.approx(100 * column["correct"] / 360)
    worst = torch.stack(list(expected.values())).all(0).double().mean()
    assert report["worst_case"] == pytest.approx(100 * float(worst))
    assert report["name"] == "tiny"
    assert report["threat"] == "Linf 51/255"
    assert report["success"] == "last"
    clean, pgd = report["attacks"]
    assert (clean["forwards"], clean["backwards"]) == (360, 0)
    assert (pgd["forwards"], pgd["backwards"]) == (4 * 360, 3 * 360)
    settings = report["settings"]
    assert settings["checkpoint_sha256"] == sha256(run / "best.safetensors")
    assert settings["data"] == "Digits, all 360 of 360 test images"
    assert settings["selected_on"].startswith("100 held-out training images, by ")
    assert settings["batch_size"] == 360
    assert report["provenance"]["packages"]["torch"] == version("torch")
    assert report["provenance"]["packages"]["timm"] == version("timm")


def test_report_as_text(shop: Workshop, run: Path) -> None:
    ran = judge(shop, run, "--subset", 50)
    assert ran.code == 0, ran.err
    report = json.loads((shop.folder / "out" / "report.json").read_text())
    text = (shop.folder / "out" / "report.md").read_text()
    accuracies = [f"{column['accuracy']:.2f}" for column in report["columns"]]
    for where in (text, ran.out):
        assert "Linf 51/255" in where
        assert "50 test images" in where
        assert all(accuracy in where for accuracy in accuracies)
        assert f"{report['worst_case']:.2f}" in where
    assert report["settings"]["data"] == "Digits, the first 50 of 360 test images"
    assert "50 of 360 test images" in text
    assert report["settings"]["checkpoint_sha256"] in text
    assert f"torch {version('torch')}" in text
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert report["provenance"]["git"].startswith(revision.stdout.strip() or "unknown")
    assert report["provenance"]["git"] in text
    assert str(shop.folder / "out") in ran.out.replace("\n", "")
    assert "steps=3" in text


def test_a_subset_is_the_first_images(shop: Workshop, run: Path) -> None:
    assert judge(shop, run, "--subset", 30).code == 0
    report = json.loads((shop.folder / "out" / "report.json").read_text())
    right = independent(run / "best.safetensors")
    assert report["columns"][0]["correct"] == int(right["Clean"][:30].sum())


def test_autoattack_is_reported_with_its_library(shop: Workshop, run: Path) -> None:
    table = {"threat": {"type": "Linf", "eps": 0.5}, "attacks": [{"type": "AutoAttack"}]}
    ran = judge(shop, run, "--subset", 12, attacks=table)
    assert ran.code == 0, ran.err
    report = json.loads((shop.folder / "out" / "report.json").read_text())
    clean, attack = report["attacks"]
    assert attack["columns"] == ["AA"]
    assert attack["settings"]["library"] == f"pyautoattack {version('pyautoattack')}"
    assert attack["settings"]["version"] == "standard"
    assert attack["forwards"] > 12
    assert math.isclose(report["columns"][1]["accuracy"], 0)  # eps 1/2 makes any image of any other
    assert f"pyautoattack {version('pyautoattack')}" in (shop.folder / "out" / "report.md").read_text()


def test_the_report_lies_beside_the_checkpoint_by_default(shop: Workshop, run: Path) -> None:
    table = shop.write("quick.py", ATTACKS)
    ran = shop.run("test.py", shop.digits(), run / "last.safetensors", "--attacks", table, "--subset", 10)
    assert ran.code == 0, ran.err
    written = {path.name for path in (run / "test-quick-last-10").iterdir()}
    assert written == {"report.json", "report.md", "report.html", "examples-PGD.png"}


@pytest.mark.parametrize("form", ["safetensors", "state dict", "nested with prefix"])
def test_upstream_timm_weights_are_judged(shop: Workshop, run: Path, form: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = timm.create_model("test_resnet", num_classes=10, in_chans=1).eval()
    path = shop.folder / ("timm.safetensors" if form == "safetensors" else "timm.pth")
    if form == "safetensors":
        save_file(net.state_dict(), path)
    elif form == "state dict":
        torch.save(net.state_dict(), path)
    else:
        torch.save({"state_dict": {f"module.{key}": value for key, value in net.state_dict().items()}}, path)
    task = {"model": "test_resnet", "image_size": 8, "model_args": {"width": None}}
    ran = judge(shop, run, path, "--subset", 40, task=task)
    assert ran.code == 0, ran.err
    report = json.loads((shop.folder / "out" / "report.json").read_text())
    pixels, target = load_digits(return_X_y=True)
    chosen = np.sort(train_test_split(np.arange(len(target)), test_size=0.2, stratify=target, random_state=0)[1])[:40]
    with torch.no_grad():
        predicted = net((torch.tensor(pixels[chosen] / 16, dtype=torch.float32).view(-1, 1, 8, 8) - 0.5) / 0.5)
    assert report["columns"][0]["correct"] == int((predicted.argmax(1) == torch.tensor(target[chosen])).sum())
    assert report["settings"]["selected_on"] == "unknown"
