"""Every shipped config builds, trains and evaluates, and opens with what it reproduces.

The only changes: tiny synthetic data, batch size, steps and epochs, no downloads, an adversary with random weights.
Architectures are never changed. A net above 10 M parameters does one step on one image instead of two on two
(its feature maps are larger than 1x1, so batch norm can), and its checkpoints, 0.7 GB each time, are not written.
Person re-identification takes twice as many images (its neck normalises vectors) and copies only those it trains on.
"""

from __future__ import annotations

import ast
import ctypes
import gc
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coco_set import write_coco
from mmengine.config import Config
from PIL import Image

from natx.config import load_config, plain_dict
from natx.data import Mixed, Part, build_dataset, hold_out, subset
from natx.evaluation import evaluate, evaluate_set
from natx.judging.build import build_attacks, build_metric
from natx.judging.judge import judge
from natx.models.checkpoint import load_state, save_weights
from natx.registry import TASKS
from natx.training.build import build_runner
from natx.training.copies import make_copies
from natx.training.run import prepare_adversaries, train

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
ATTACKS = sorted(path.relative_to(ROOT).as_posix() for path in (CONFIGS / "attacks").glob("*.py"))
STUDIES = sorted(path.relative_to(ROOT).as_posix() for path in (CONFIGS / "studies").glob("*.py"))
TRAININGS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in CONFIGS.iterdir()
    if folder.is_dir() and folder.name not in ("_base_", "attacks", "studies")
    for path in folder.glob("*.py")
)
# Per task: a quick attack config, its columns with one step, and the images of a step for a small and a large net.
QUICK = {
    "cls": "configs/attacks/linf8_quick.py",
    "reid": "configs/attacks/reid_table12.py",
    "det": "configs/attacks/det_loss.py",
}
COLUMNS = {
    "cls": ["Clean", "PGD-1", "C&W"],
    "reid": ["Clean", *(f"{kind} {eps}/255" for kind in ("FNA", "SMA", "IFGSM") for eps in (8, 10))],
    "det": ["Clean", "loss_cls", "loss_loc"],
}
IMAGES = {"cls": (2, 1), "reid": (4, 2), "det": (2, 1)}
SHAPES = {  # height, width, channels
    "CIFAR10": (32, 32, 3),
    "CIFAR100": (32, 32, 3),
    "Digits": (8, 8, 1),
    "ImageFolder": (40, 40, 3),
}
LARGE, HELD = 10_000_000, 2
# What each kind of base sets; two bases of one config may not set the same key.
BASES = {
    "models": {"task"},
    "datasets": {"data", "threat", "select"},
    "schedules": {"optim_wrapper", "param_scheduler", "train_cfg", "ema"},
    "methods": {"method"},
}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def modules_set_aside() -> Iterator[None]:
    """What the imports made is no garbage: collecting the rest takes a tenth of the time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def memory_given_back(modules_set_aside: None) -> Iterator[list[int]]:
    """Large networks one after the other: what a test freed goes back to the system before the next one.

    The test adds the sizes of its networks; small ones are not worth the time.
    """
    sizes: list[int] = []
    yield sizes
    if max(sizes, default=0) <= LARGE:
        return
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc alone
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def dicts(node: Any) -> Iterator[dict[str, Any]]:
    """Every dict in a config."""
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from dicts(value)


def adversaries(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The configs of all frozen models: adversaries, sources of copies and teachers."""
    keys = ("adversary", "source", "teacher")
    found = [node[key] for node in dicts(content) for key in keys if isinstance(node.get(key), dict)]
    return [member for entry in found for member in entry.get("members", [entry])]


def shortened(content: dict[str, Any]) -> dict[str, Any]:
    """The config with one step in every attack."""
    for node in dicts(content):
        if "steps" in node:
            node["steps"] = 1
        if node.get("milestones") and "steps" in node:
            node["milestones"] = (1,)
    return content


def synthetic(path: Path, shape: tuple[int, ...], *, count: int, num_classes: int) -> dict[str, Any]:
    """A data set of random images, written to a file."""
    draw = np.random.default_rng(len(path.name))
    images = draw.integers(0, 256, (count, *shape), dtype=np.uint8)
    np.savez(path, image=images, label=np.arange(count) % num_classes)
    return {"type": "NPZ", "path": str(path), "num_classes": num_classes}


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Market-1501's folders with one tiny image of each training identity, two queries and three gallery images."""
    draw, made = np.random.default_rng(0), {}

    def folder(identities: int) -> Path:
        if identities not in made:
            root = made[identities] = tmp_path_factory.mktemp("market")
            names = {"bounding_box_train": [f"{i:04d}_c1s1_000001_01" for i in range(1, identities + 1)]}
            names["query"] = ["0001_c1s1_000001_00", "0002_c1s1_000001_00"]
            names["bounding_box_test"] = [f"{i:04d}_c2s1_000001_00" for i in (1, 2, 3)]
            for part, files in names.items():
                (root / part).mkdir()
                for file in files:
                    pixels = draw.integers(0, 256, (8, 4, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(root / part / f"{file}.png")
        return made[identities]

    return folder


@pytest.fixture(scope="session")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in Pascal VOC's layout with four images to train on and one to test; a dog and a person in each."""
    root = tmp_path_factory.mktemp("voc") / "VOCdevkit" / "VOC2007"
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / part).mkdir(parents=True)
    splits, draw = {"train": [f"{i:06d}" for i in range(4)], "test": ["000004"]}, np.random.default_rng(0)
    for part, names in splits.items():
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            Image.fromarray(draw.integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(root / f"JPEGImages/{name}.jpg")
            objects = "".join(
                f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x}</xmin><ymin>5</ymin>"
                f"<xmax>{x + 30}</xmax><ymax>45</ymax></bndbox></object>"
                for label, x in (("dog", 5), ("person", 50))
            )
            (root / f"Annotations/{name}.xml").write_text(
                f"<annotation><filename>{name}.jpg</filename><size><width>90</width><height>60</height>"
                f"<depth>3</depth></size>{objects}</annotation>"
            )
    return root


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the generated person re-identification set is made, once."""
    return tmp_path_factory.mktemp("generated") / "set"


@pytest.fixture(scope="session")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet-100's folders with one tiny image in each class."""
    root = tmp_path_factory.mktemp("imagenet")
    draw = np.random.default_rng(0)
    classes = [
        name for name in (ROOT / "tasks/cls/imagenet100.txt").read_text().split() if re.fullmatch(r"n\d{8}", name)
    ]
    assert len(classes) == 100
    for part in ("train", "val"):
        for name in classes:
            (root / part / name).mkdir(parents=True)
            Image.fromarray(draw.integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(root / part / name / "0.png")
    return root


def tiny(
    data: dict[str, Any],
    folder: Path,
    *,
    num_classes: int,
    train: int,
    test: int,
    roots: dict[str, Any],
) -> None:
    """Put tiny data in the place of a config's: the same class on tiny files, or arrays of the same shape."""
    kind = data["test"]["type"]
    shape = SHAPES.get(kind, ())
    for part, count in (("train", train), ("test", test)):
        of = data[part].get("dataset", data[part])  # a set around another one
        if kind == "ImageNet100":
            of["root"] = str(roots["imagenet"])
        elif kind == "Market1501":
            of["root"] = str(roots["market"](num_classes))
        elif kind == "GeneratedReID":
            of.update(root=str(roots["generated"]), cameras=2, images_per_camera=2, test_identities=2)
        elif kind == "VOCDetection":
            of.update(root=str(roots["voc"]), split=part)
            if "short" in of:
                of.update(short=64, long=96)
        elif kind == "CocoDetection":
            names = [{"id": i + 1, "name": f"kind {i}"} for i in range(num_classes)]
            path, images = write_coco(folder / "coco", images=count, categories=names, name=part)
            of.update(annotations=str(path), images=str(images), short=64, long=96)
        elif kind == "GeneratedVOC":
            of.update(root=str(folder / "voc"), images=train, test_images=test)
        else:
            data[part] = synthetic(folder / f"{part}.npz", shape, count=count, num_classes=num_classes)
    if "generated" in data:
        data["generated"] = synthetic(folder / "made.npz", shape, count=train, num_classes=num_classes)


def reduced(name: str, folder: Path, *, images: int, steps: int, roots: dict[str, Any]) -> Config:
    """A shipped config on tiny data: an epoch of ``steps`` steps of ``images`` images."""
    content = shortened(plain_dict(load_config(name)))
    data, task = content["data"], content["task"]
    held = HELD if data.get("heldout") else 0
    counts = {"train": images * steps + held, "test": images}
    tiny(data, folder, num_classes=task["num_classes"], roots=roots, **counts)
    data.update(batch_size=images, num_workers=0, heldout=held)
    if "instances" in (data.get("sampler") or {}):
        data["sampler"]["instances"] = images // 2
    if "replays" in content["method"]:  # one round of replays
        content["method"]["replays"] = steps if "attack" in content["method"] else 1  # all of a batch is replayed
    content["train_cfg"]["max_epochs"] = 1
    if "pretrained" in task:
        task["pretrained"] = False
    for entry in adversaries(content):
        if "config" not in entry:  # a task given in place
            continue
        theirs = plain_dict(load_config(entry.pop("config"), options=entry.pop("options", None)).task)
        theirs = {key: value for key, value in theirs.items() if key not in ("pretrained", "checkpoint")}
        entry.update(task=theirs, state="random")
    if "start" in content:
        save_weights(folder / "start.safetensors", TASKS.build(task), meta={})
        content["start"] = {"checkpoint": str(folder / "start.safetensors")}
    if "copies" in data:  # their source needs weights in a file
        source = data["copies"]["source"]
        save_weights(folder / "source.safetensors", TASKS.build(source["task"]), meta={})
        data["copies"]["source"] = {"task": source["task"], "checkpoint": str(folder / "source.safetensors")}
    return Config(content, filename=str(ROOT / name))


def header(name: str) -> str:
    """The comment that opens a file, as one line."""
    lines = []
    for line in (ROOT / name).read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)


def test_there_are_configs() -> None:
    assert len(TRAININGS) >= 20
    assert len(ATTACKS) >= 4


@pytest.mark.parametrize("kind", BASES)
def test_bases_keep_to_their_kind_and_differ(kind: str) -> None:
    contents = {path.name: plain_dict(Config.fromfile(path)) for path in (CONFIGS / "_base_" / kind).glob("*.py")}
    assert contents
    for name, content in contents.items():
        assert {key for key in content if not key.startswith("_")} <= BASES[kind], name
    assert len({repr(content) for content in contents.values()}) == len(contents)


def test_every_base_is_used() -> None:
    """By a shipped config, or by a base that is used."""

    def bases(path: Path) -> Iterator[Path]:
        listed = ast.parse(path.read_text()).body[0]
        if isinstance(listed, ast.Assign) and ast.unparse(listed.targets[0]) == "_base_":
            for name in ast.literal_eval(listed.value):
                base = (path.parent / name).resolve()
                yield base
                yield from bases(base)

    used = {base for name in TRAININGS for base in bases(ROOT / name)}
    assert {path for path in (CONFIGS / "_base_").rglob("*.py") if path not in used} == set()


@pytest.mark.parametrize("name", TRAININGS)
def test_training_config(
    name: str,
    tmp_path: Path,
    imagenet: Path,
    market: Callable[[int], Path],
    generated: Path,
    voc: Path,
    monkeypatch: pytest.MonkeyPatch,
    memory_given_back: list[int],
) -> None:
    kind = Path(name).parts[1]
    attacks = Config(shortened(plain_dict(load_config(QUICK[kind]))), filename=QUICK[kind])
    original = plain_dict(load_config(name))
    with torch.device("meta"):  # counted without memory
        size = parameters(original["task"])
    memory_given_back.append(size)
    images, steps = (IMAGES[kind][1], 1) if size > LARGE else (IMAGES[kind][0], 2)
    if original["method"].get("fresh"):  # one image to replay and a fresh one
        images = max(images, 2)
    if "generated" in original["data"]:  # a real image and a generated one, and an epoch of the real images trained on
        images = max(images, 2)
        monkeypatch.setattr("natx.training.images.Mixed", lambda *parts, whole: Mixed(*parts, whole=images * steps))
    config = reduced(
        name,
        tmp_path,
        images=images,
        steps=steps,
        roots={"imagenet": imagenet, "market": market, "generated": generated, "voc": voc},
    )
    few = images * steps
    monkeypatch.setattr("natx.training.images.hold_out", partial(first_images, train=few))
    if not original["data"].get("heldout"):  # nothing is held out: the first images are trained on, and copied
        monkeypatch.setattr(
            "natx.training.build.build_selection", lambda config, whole: (Part(whole, range(few)), None)
        )
        monkeypatch.setattr(
            "natx.training.images.make_copies",
            lambda task, data, attack, **kwargs: make_copies(task, Part(data, range(few)), attack, **kwargs),
        )
    assert config.task.model == original["task"]["model"]
    if size <= LARGE:
        best = train(config, tmp_path / "run", device=CPU)
        report = judge(config, best, attacks, device=CPU)
        assert report["images"] == (images if kind == "cls" else len(build_dataset(plain_dict(config.data.test))))
        assert [column["name"] for column in report["columns"]] == COLUMNS[kind]
        state = torch.load(tmp_path / "run" / "last.pth", weights_only=True)
        assert state["meta"]["iter"] == 2
        assert all(torch.isfinite(value).all() for value in state["weights"].values())
        return
    runner = build_runner(prepare_adversaries(config, tmp_path / "run", device=CPU), tmp_path / "run", device=CPU)
    task = runner.model.task
    assert sum(parameter.numel() for parameter in task.parameters()) == size
    before = [parameter.detach().clone() for parameter in list(task.parameters())[-2:]]
    with torch.serialization.skip_data():  # last.pth with everything in it but the numbers, some 500 MB a network
        runner.train()
    assert runner.iter == 1
    assert (tmp_path / "run" / "best.safetensors").exists()  # the held-out images were judged
    state = load_state(tmp_path / "run" / "last.pth")
    assert state["meta"]["iter"] == 1
    for scheduler, content in zip(runner.param_schedulers, state["schedulers"], strict=True):
        scheduler.load_state_dict(content)
    shutil.rmtree(tmp_path / "run")
    assert any(not torch.equal(new, old) for new, old in zip(list(task.parameters())[-2:], before))
    test = build_dataset(plain_dict(config.data.test))
    if kind == "cls":
        found = evaluate(task, subset(test, 1), build_attacks(attacks))
        assert list(found.correct) == COLUMNS[kind]
        assert found.count == 1
    else:
        judged = evaluate_set(task, test, build_attacks(attacks), metric=build_metric(config))
        assert list(judged.values) == COLUMNS[kind]


def first_images(dataset: Any, count: int, *, seed: int, train: int) -> tuple[Part, Part]:
    """``hold_out`` with the training part cut to its first images (ImageNet-100 needs an image of each class)."""
    rest, held = hold_out(dataset, count, seed=seed)
    return Part(rest.dataset, rest.positions[:train]), held


def parameters(task: dict[str, Any]) -> int:
    """Parameters of a config's net."""
    built = TASKS.build({key: value for key, value in task.items() if key not in ("pretrained", "checkpoint")})
    return sum(parameter.numel() for parameter in built.parameters())


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_config(name: str) -> None:
    content = plain_dict(load_config(name))
    looked_at = [*adversaries(content), *content.get("sources", {}).values()]
    for entry in looked_at:  # models of attacks that need some: with random weights, as in training configs
        theirs = plain_dict(load_config(entry.pop("config")).task)
        entry.update(task=theirs, checkpoint=None, state="random")
    config = Config(content)
    attacks = build_attacks(config)
    assert len(attacks) == len(config.attacks)
    columns = [column for attack in attacks for column in attack.columns()]
    assert len(set(columns)) == len(columns)
    if config.get("threat", {}).get("type") == "Patch":
        of = f" of {config.threat.image}x{config.threat.image}" if "image" in config.threat else ""
        assert {str(attack.threat) for attack in attacks} == {
            f"patch {config.threat.height}x{config.threat.height}{of}"
        }
    elif "threat" in config:
        assert {str(attack.threat) for attack in attacks} == {f"Linf {config.threat.eps * 255:.4g}/255"}
    else:  # each column says its own
        assert all(attack.name.endswith(str(attack.threat).removeprefix("Linf ")) for attack in attacks)
    for row in config.get("paper", {}).values():
        assert list(row) == ["Clean", *columns]
    assert config.get("success", "any") in ("any", "last")
    text = header(name)
    assert "Cost:" in text
    assert re.search(rf"python tools/test\.py \S+ \S+ --attacks {re.escape(name)}(\s|$)", text)
    for path in re.findall(r"configs/\S+\.py", text):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("name", STUDIES)
def test_study_config_names_configs_that_exist(name: str) -> None:
    text, content = header(name), plain_dict(load_config(name))
    assert f"python tools/study.py {name} " in text
    assert "Cost:" in text
    assert "Paper's number" in text
    attacks = content["attacks"]
    assert {*([attacks] if isinstance(attacks, str) else (entry["config"] for entry in attacks))} <= {*ATTACKS}
    for row in content["rows"].values():
        assert row["config"] in TRAININGS
        adversary = content["rows"].get(row.get("adversary"))
        if adversary:  # what the config would train itself is the row whose weights are to be used, or of its networks
            theirs = plain_dict(load_config(row["config"]))
            started = [theirs["start"]] if "start" in theirs else []  # from another run's weights
            usual = {entry["config"] for entry in (*adversaries(theirs), *started)}
            assert len(usual) == 1
            ours, other = (plain_dict(load_config(config)) for config in (*usual, adversary["config"]))
            assert (ours["task"], ours["data"]) == (other["task"], other["data"])


@pytest.mark.parametrize("name", TRAININGS)
def test_a_warm_up_reaches_the_learning_rate(name: str) -> None:
    """mmengine spreads a warm-up over end - begin - 1 steps of its factor: one epoch would never leave the first."""
    for scheduler in load_config(name).get("param_scheduler", []):
        by_epoch = not scheduler.get("convert_to_iter_based", False)
        if scheduler.type == "LinearLR" and scheduler.get("end_factor", 1) == 1 and by_epoch:
            assert scheduler.end - scheduler.get("begin", 0) >= 2


@pytest.mark.parametrize("name", TRAININGS)
def test_training_config_says_what_it_reproduces(name: str) -> None:
    text = header(name)
    assert re.search(rf"python tools/train\.py {re.escape(name)}(\s|$)", text)
    assert "Cost:" in text
    assert "Paper's number" in text
    content = plain_dict(load_config(name))
    teachers = [node["teacher"] for node in dicts(content) if "teacher" in node]
    for entry in adversaries(content):
        if "config" not in entry:  # an untrained network given in place
            assert entry["task"]["model"] == content["task"]["model"]
            continue
        assert (ROOT / entry["config"]).is_file()
        if "_nat_adv_" in name:  # Table 7: adversaries of other architectures
            continue
        assert entry in teachers or load_config(entry["config"]).task["model"] == content["task"]["model"]


@pytest.mark.parametrize("name", TRAININGS)
def test_the_cost_in_the_header_is_the_cost_counted(name: str) -> None:
    """Forwards and backwards per image and step from the config's own parts, by hand."""
    said = re.search(r"(\d+) forwards? and (\d+) backwards?", header(name))
    method, taught = load_config(name).method, 0
    if method.type == "Distillation":  # the teacher on the clean images, IAD's on the adversarial ones too
        method = method.method
        taught = 1 + sum(term.type == "IAD" for term in method.terms)
    passes = 1
    if method.type in ("AWP", "SAM"):  # the loss of the method inside, at two weights
        method, passes = method.method, 2
    aligned = method.type == "GradAlign"  # two gradients, each differentiated again
    method = method.method if aligned else method
    views = method.get("views", ("clean",) if method.type == "Standard" else ("adv",))
    attack = method.get("attack", {})
    inner = attack.get("attacks", [])  # of WorstOf, which scores each result with a forward
    steps, scored = attack.get("steps", 0) + sum(one.steps for one in inner), len(inner)
    if attack.get("type") == "OneOf":  # each image is attacked once, and nothing is scored
        steps, scored = steps // len(inner), 0
    steps += attack.get("type") == "SingleStep" or method.type in ("PriorGuided", "ATAS")
    views = ("prior", *views) if method.type == "PriorGuided" else views
    objective = attack.get("objective", {})
    prepared = int(objective.get("guides") == "batch" or objective.get("type") == "KL")  # a clean forward, once
    prepared += 5 * (objective.get("type") == "GOAT")  # four guides, and the clean images to pull to
    nasty = [term for term in method.get("terms", []) if term.type == "NastyKL"]
    companions = sum(
        len([view for view in views if view in term.get("on", ("clean", "adv"))])
        * len(term.adversary.get("members", [term.adversary]))
        for term in nasty
    )
    natural = sum(term.type == "LBGAT" for term in method.get("terms", []))  # a network that learns alongside
    # LBGAT alone reads the adversarial view only: the clean one gets no backward.
    unread = natural if len(method.get("terms", [])) == natural and "clean" in views else 0
    decided, lessons = 0, (0.0, 0.0)
    if method.type == "LAS":  # the longest attack; a lesson: the strategy, an attack, R1, a copy's step, R2, R3
        steps, decided = max(method.steps), 1
        lessons = ((1 + steps + 1 + 1 + 2 * 11 + 1) / method.interval, (1 + steps + 1 + 2 * 10) / method.interval)
    if said:
        assert (int(said[1]), int(said[2])) == (
            ceil(
                passes * (len(views) + companions + natural)
                + steps
                + scored
                + prepared
                + taught
                + decided
                + lessons[0]
                + 2 * aligned
            ),
            ceil(passes * (len(views) - unread + natural) + steps + lessons[1] + 4 * aligned),
        )
    else:
        assert re.search(r"Cost: (as \S+\.py|a few seconds)", header(name))
