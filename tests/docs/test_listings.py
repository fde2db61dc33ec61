"""What README.md and docs/ tell a reader to type works: commands are parsed by the tools' own parsers, configs are
checked by their schema, code is run; what needs hours of training is held against the files that would be there."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from listings import PAGES, PLACEHOLDER, ROOT, Block, blocks, expanded, inline_paths
from torch import nn
from workshop import Workshop

import natx
import natx.testing  # noqa: F401  registers what listings are tried on
import tasks.cls.datasets
from natx.attacks import build_attack
from natx.batch import size
from natx.cli.main import COMMANDS
from natx.cli.test import report_name
from natx.config import (
    ATTACKS,
    JUDGED,
    STUDY,
    TRAINING,
    Kind,
    check,
    find_file,
    frozen_models,
    load_config,
    plain_dict,
    with_options,
)
from natx.errors import DataError
from natx.registry import ATTACKS as ATTACK_REGISTRY
from natx.registry import DATASETS, METHODS, TASKS, TERMS

EXECUTED = ("continue.md",)  # pages whose commands run, on the digits
FOLLOWED = ("own_data.md",)  # pages that a test of their own follows from top to bottom
PROGRAMS = (
    "natx",
    "python",
    "python3",
    "torchrun",
    "make",
    "pip",
    "tensorboard",
    "source",
    "git",
    "docker",
    "pre-commit",
    "hf",
    "cd",
)
SHORTER = (
    ("datasets/digits.py", 'type="Digits", train=True', 'type="Digits", train=True, test_fraction=0.8'),
    ("schedules/sgd_cosine_30e.py", "max_epochs=30", "max_epochs=2"),
)
WEIGHTS = ("best.safetensors", "last.safetensors", "last.pth")
NAMED = ("runs", "config", "models", "attacks")  # arguments that are files
WRITTEN = ("copy", "out", "work_dir", "save_adv")  # arguments that name what is made
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with natx's configs in it, where a reader stands; trainings on the digits are short ones."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs", ignore=shutil.ignore_patterns("__pycache__"))
    base = tmp_path / "configs" / "_base_"
    for file, before, now in SHORTER:
        text = (base / file).read_text()
        assert before in text
        (base / file).write_text(text.replace(before, now))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parsed(words: list[str]) -> tuple[str, Any] | None:
    """The command of natx that the words call, and what its parser makes of the arguments; None for other programs."""
    if words[0] == "torchrun":
        words = words[words.index("natx") :]
    if words[0] != "natx":
        return None
    command, arguments = words[1], words[2:]
    assert command in COMMANDS or command.startswith("-"), f"natx has no command {command}"
    if arguments[:1] == ["..."]:  # as before: only the options are new
        arguments = ["CONFIG", "CHECKPOINT", "--attacks", "ATTACKS", *arguments]
    if command.startswith("-"):
        return None
    arguments = [word for word in arguments if word != "..."]
    parse = import_module(f"natx.cli.{command}").parse_arguments
    try:
        return command, parse(arguments)
    except SystemExit as stop:
        raise AssertionError(f"natx {command} does not take {' '.join(arguments)}") from stop


def shipped(name: str) -> Path | None:
    """A shipped config by its path or its short name; None for what a reader fills in or writes."""
    return find_file(ROOT / "configs" / name, suffix=".py") or find_file(ROOT / name, suffix=".py")


class Reader:
    """What lies on a reader's disk after the commands of a page, in order."""

    def __init__(self, page: Path) -> None:
        self.page, self.files = page, set[str]()

    def needs(self, path: str) -> None:
        """Assert that a path is shipped, was made before, or is for the reader to fill in."""
        if PLACEHOLDER.match(path) or path == "..." or shipped(path):
            return
        if any(mark in path for mark in "*?["):
            names = [Path(name) for name in self.files]
            there = any(ROOT.glob(path)) or any(name.match(path) or _above(name, path) for name in names)
        else:
            there = (
                (ROOT / path).exists() or path in self.files or any(name.startswith(f"{path}/") for name in self.files)
            )
        assert there, f"{self.page.name}: {path} is neither shipped nor made by a command before it"

    def trains(self, arguments: Any) -> None:
        """Note what a training leaves."""
        own = Path(arguments.config).stem + (f"-seed{arguments.seed}" if arguments.seed else "")
        self._leaves(arguments.work_dir or f"work_dirs/{own}")
        if file := shipped(arguments.config):
            for entry in frozen_models(load_config(file)):
                if "config" in entry and "checkpoint" not in entry:
                    self._leaves(f"work_dirs/{Path(entry['config']).stem}")

    def judges(self, arguments: Any) -> None:
        """Note the report of an evaluation."""
        weights = Path(arguments.checkpoint)
        weights = weights if weights.suffix else weights / WEIGHTS[0]
        out = arguments.out or f"{weights.parent}/{report_name(arguments, weights)}"
        self.files |= {f"{out}/report.{kind}" for kind in ("json", "md", "html")}

    def _leaves(self, work_dir: str) -> None:
        self.files |= {f"{work_dir}/{name}" for name in WEIGHTS}


def _above(name: Path, pattern: str) -> bool:
    return any(parent.match(pattern) for parent in name.parents)


def check_command(words: list[str], reader: Reader) -> None:
    """Parse a command, and hold the files that it names against those that there are."""
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"make {words[1]}: no target"
    for word in words if words[0] == "pip" else ():
        for extra in re.findall(r"\[([\w,]+)\]", word):
            assert set(extra.split(",")) <= set(EXTRAS), f"pip {word}: no such extra"
    command = parsed(words)
    if command is None:
        return
    name, arguments = command
    for key, value in vars(arguments).items():
        if key in WRITTEN:
            continue
        for path in [value] if isinstance(value, str) else value if isinstance(value, list) else ():
            inner = [path] if isinstance(path, str) else path
            for one in inner if isinstance(inner, list) else ():
                if isinstance(one, str) and (one.endswith((".py", ".safetensors", ".pth")) or key in NAMED):
                    reader.needs(one)
    check_options(name, arguments)
    if name == "train" and not arguments.dry_run:
        reader.trains(arguments)
    for entry in sources_of(arguments):
        reader.needs(entry)
    if name == "test":
        reader.judges(arguments)
    if name == "init":
        reader.files.add(arguments.out or f"{Path(arguments.data).name}_{arguments.method}.py")


def sources_of(arguments: Any) -> list[str]:
    """Weights that the attacks of a command look at."""
    attacks = getattr(arguments, "attacks", None)
    file = shipped(attacks) if attacks else None
    models = frozen_models(load_config(file)) if file else ()
    return [entry["checkpoint"] for entry in models if "checkpoint" in entry]


def check_options(name: str, arguments: Any) -> None:
    """``--cfg-options`` by the schema, on the config where that is a shipped one."""
    options = getattr(arguments, "cfg_options", None)
    if options and name in ("train", "test") and (file := shipped(arguments.config)):
        with_options(load_config(file), options, kind=TRAINING if name == "train" else JUDGED)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands(page: Path) -> None:
    reader = Reader(page)
    for block in blocks(page):
        if block.language == "python":
            reader.files |= set(re.findall(r"^# (\w+\.py)", block.text))
            continue
        if block.language == "bibtex":
            continue
        assert block.language in ("", "bash"), block.place
        if block.is_output:
            continue
        for words, _ in block.commands():
            if block.language == "":
                assert words[0] in PROGRAMS, f"{block.place}: what is {words[0]}?"
            if words[0] in PROGRAMS:
                check_command(words, reader)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_in_the_text(page: Path) -> None:
    missing = [path for path in inline_paths(page) if not any(ROOT.glob(path.rstrip("/")))]
    assert not missing


@pytest.mark.parametrize("name", EXECUTED)
def test_commands_that_run(name: str, folder: Path, shop: Workshop) -> None:
    for block in blocks(ROOT / "docs" / name):
        if block.language == "python":
            (folder / file_name(block)).write_text(block.text)
            continue
        for words, comment in block.commands():
            if words[1] == "study":  # minutes; its config is checked below
                continue
            ran = shop.run(f"{words[1]}.py", *words[2:])
            if "refused" in comment:
                ran.error()
            else:
                assert ran.code == 0, f"{' '.join(words)}: {ran.err}"


# --- Python listings --------------------------------------------------------------------------------------------------


def file_name(block: Block) -> str:
    match = re.match(r"# (\w+\.py)", block.text)
    return match[1] if match else "listing.py"


def listed() -> list[Block]:
    pages = [page for page in PAGES if page.name not in FOLLOWED]
    return [block for page in pages for block in blocks(page) if block.language == "python"]


class Tiny(natx.testing.TinyDataset):
    """Stands for CIFAR-10 on the disk."""

    def __init__(self, root: str, train: bool) -> None:
        super().__init__(count=8, num_classes=10)
        self.images, self.labels = torch.rand(8, 3, 32, 32), torch.arange(8)


class Folders(natx.testing.TinyDataset):
    """Stands for a folder of photographs on the disk."""

    def __init__(self, root: str, image_size: int, resize: int) -> None:
        super().__init__(count=1000, num_classes=9)


def stand_in(*_: Any, **__: Any) -> nn.Module:
    """Stands for weights on the disk: a network that is wrong on all images, so that attacks have an easy time."""
    net = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 10)).eval()
    nn.init.constant_(net[-1].bias, 0.0)
    net[-1].bias.data[9] = 100.0
    return net


def stand_in_of_timm(*_: Any, **__: Any) -> nn.Module:
    """Stands for a network of timm's with its weights."""
    net = stand_in()
    net.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    return net


@contextmanager
def registries_restored() -> Iterator[None]:
    """What a listing registers, or imports from a file of its page, is gone afterwards."""
    modules = {*sys.modules}
    registries = (DATASETS, ATTACK_REGISTRY, TERMS, METHODS, TASKS)
    before = [dict(registry.module_dict) for registry in registries]
    try:
        yield
    finally:
        for registry, content in zip(registries, before):
            registry.module_dict.clear()
            registry.module_dict.update(content)
        for name in {*sys.modules} - modules:
            if Path(str(getattr(sys.modules[name], "__file__", ""))).parent == Path.cwd():
                del sys.modules[name]


def small_batch(task: Any) -> dict[str, Any]:
    return natx.testing.TinyDataset(count=6, num_classes=5).__getitems__(list(range(6)))


def try_dataset(names: dict[str, Any]) -> None:
    """It is built from a config, and hands out batches."""
    np.save("images.npy", np.zeros((9, 3, 8, 8), dtype=np.uint8))
    images = DATASETS.build({"type": "MyData", "path": "images.npy"})
    batch = images.__getitems__([8, 0])
    assert batch["data_samples"].tolist() == [1, 0] and batch["index"].tolist() == [8, 0]
    assert images.num_classes == 7 and images.fingerprint()
    with pytest.raises(DataError):
        DATASETS.build({"type": "MyData", "path": "gone.npy"})


def try_attack(names: dict[str, Any]) -> None:
    """It attacks from a config, and its result stays within eps and loses no image."""
    task = TASKS.build({"type": "TinyCNNTask", "num_classes": 5}).eval()
    attack = build_attack({"type": "MyAttack", "threat": {"type": "Linf", "eps": 0.1}}, threat=None)
    batch = small_batch(task)
    clean, x_adv = task.pixels(batch), attack(task, batch)
    assert x_adv.shape == clean.shape and 0 < (x_adv - clean).abs().max() <= 0.1 + 1e-6


def try_term(names: dict[str, Any]) -> None:
    """It adds to the loss of a method that names it, with a gradient."""
    terms = [{"type": "TaskLoss"}, {"type": "EntropyPenalty", "weight": 0.1}]
    method, task = (
        METHODS.build({"type": "Standard", "terms": terms}),
        TASKS.build({"type": "TinyCNNTask", "num_classes": 5}),
    )
    scalars = method(task, small_batch(task), epoch=0)
    assert scalars["loss_entropy"].requires_grad and "entropy_term" in scalars
    assert size(small_batch(task)) == 6


# Code that a listing shows and does not run: what is done with it.
TRIED: dict[str, Callable[[dict[str, Any]], None]] = {
    "A dataset": try_dataset,
    "An attack": try_attack,
    "A method": try_term,
}


def write_files(block: Block, folder: Path) -> None:
    """The page's files before a listing, as a reader has them in the working folder by then."""
    for other in blocks(block.page):
        if other == block:
            return
        if other.language == "python" and (match := re.match(r"# (\w+\.py)", other.text)):
            (folder / match[1]).write_text(other.text)


@pytest.mark.parametrize("block", listed(), ids=lambda block: f"{block.page.stem}-{block.heading}")
def test_python_listing(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(block, folder)
    monkeypatch.syspath_prepend(folder)
    with registries_restored():
        try_listing(block, folder, monkeypatch)


def is_config(block: Block) -> bool:
    """Whether a listing is a config: assignments of keys, and nothing imported."""
    imports = re.search(r"^(import|from) ", block.text, re.MULTILINE)
    return not imports and re.search(r"^(_base_|rows|attacks|task) =", block.text, re.MULTILINE) is not None


def kind_of(text: str) -> Kind:
    """The kind of config that a listing is."""
    if "\nseeds =" in text:
        return STUDY
    if "\nattacks =" in text:
        return ATTACKS
    return JUDGED if "\ndata = dict(test=" in text else TRAINING


def try_listing(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check or run a listing."""
    if is_config(block):
        path = folder / file_name(block)
        text = re.sub(r'"\.\./_base_/', f'"{ROOT}/configs/_base_/', block.text)
        path.write_text(text)
        load_config(path, kind=kind_of(text))
    elif all(line.startswith("dict(type=") for line in block.text.splitlines()):
        lines = "".join(f"    {line},\n" for line in block.text.splitlines())
        (folder / "listing.py").write_text(f"attacks = [\n{lines}]\n")
        attacks = plain_dict(load_config(folder / "listing.py"))["attacks"]
        check({"threat": {"type": "Linf", "eps": 0.1}, "attacks": filled(attacks)}, ATTACKS)
    elif "register_module" in block.text:
        names: dict[str, Any] = {}
        exec(compile(block.text, block.place, "exec"), names)  # noqa: S102
        TRIED[block.heading](names)
    else:
        for name, value in (("CIFAR10", Tiny), ("ImageFolder", Folders)):
            monkeypatch.setattr(tasks.cls.datasets, name, value)
        monkeypatch.setattr(natx, "load", stand_in, raising=False)
        monkeypatch.setattr(natx, "train", lambda *_, **__: folder, raising=False)
        monkeypatch.setattr(timm, "create_model", stand_in_of_timm)
        monkeypatch.setitem(sys.modules, "robustbench", SimpleNamespace(load_model=stand_in))
        loader = [(torch.rand(4, 3, 8, 8), torch.arange(4))] * 2
        given = {"MyNet": stand_in, "loader": loader}
        exec(compile(textwrap.dedent(block.text), block.place, "exec"), given)  # noqa: S102


def filled(node: Any) -> Any:
    """A listing's ``...`` with something in its place."""
    if isinstance(node, dict):
        return {key: filled(value) for key, value in node.items()}
    return (
        [filled(one) for one in node] if isinstance(node, list) else "configs/cls/digits_vt.py" if node is ... else node
    )


def test_braces_are_expanded_as_in_a_shell() -> None:
    assert expanded("a_{b,c}_{d,e}.py") == ["a_b_d.py", "a_b_e.py", "a_c_d.py", "a_c_e.py"]
