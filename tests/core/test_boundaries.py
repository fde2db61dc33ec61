"""The rules of the design's section 2, held by reading the source (nothing here imports natx)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "natx").rglob("*.py"))
ADAPTERS = sorted((ROOT / "tasks").rglob("*.py"))
TASK_LIBRARIES = {"timm", "torchvision", "torchreid", "mmdet", "mmcv", "tasks"}


def imports(source: str, package: str = "") -> set[str]:
    """Dotted names of all modules that a source imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.update({module, *(f"{module}.{alias.name}" for alias in node.names)})
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("import_module", "__import__"):
                found.add(str(node.args[0].value))
    return found


def forbidden(source: str) -> list[str]:
    """What no module of the project may do."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec", "print"):
                found.append(f"{node.lineno}: {node.func.id}()")
            if isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
                found.append(f"{node.lineno}: .cuda()")
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append(f"{node.lineno}: bare except")
    return found


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def package(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parent.parts)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_read() -> None:
    assert len(CORE) > 20 and any(path.parent.name == "cls" for path in ADAPTERS)


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_knows_no_task_library(path: Path) -> None:
    assert not roots(imports(path.read_text(), package(path))) & TASK_LIBRARIES


@pytest.mark.parametrize("path", ADAPTERS, ids=name)
def test_tasks_do_not_know_each_other(path: Path) -> None:
    own = path.relative_to(ROOT / "tasks").parts[0]
    used = imports(path.read_text(), package(path))
    others = {m.split(".")[1] for m in used if m.startswith("tasks.")} - {own}
    assert not others and "tasks" not in used - {package(path)}


@pytest.mark.parametrize("path", [*CORE, *ADAPTERS], ids=name)
def test_one_file_knows_pyautoattack(path: Path) -> None:
    assert ("pyautoattack" in roots(imports(path.read_text(), package(path)))) == (name(path) == "natx/attacks/pyaa.py")


@pytest.mark.parametrize("path", [*CORE, *ADAPTERS], ids=name)
def test_no_eval_print_cuda_or_bare_except(path: Path) -> None:
    assert forbidden(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import timm.layers", "", "timm.layers"),
        ("def f():\n    from torchvision import ops", "", "torchvision.ops"),
        ("import importlib\nimportlib.import_module('mmdet.models')", "", "mmdet.models"),
        ("from tasks.cls.task import ClassificationTask", "", "tasks.cls.task"),
        ("from ..reid import losses", "tasks.cls", "tasks.reid.losses"),
        ("from . import models", "tasks.cls", "tasks.cls.models"),
    ],
)
def test_the_reader_finds_imports(source: str, package: str, expected: str) -> None:
    assert expected in imports(source, package)


def test_the_reader_finds_what_is_forbidden_and_spares_the_rest() -> None:
    bad = "try:\n    eval('1'); print(2); x.cuda()\nexcept:\n    pass"
    assert forbidden(bad) == ["3: bare except", "2: eval()", "2: print()", "2: .cuda()"]
    good = "model.eval(); torch.cuda.is_available(); console.print(1)\ntry:\n    pass\nexcept ValueError:\n    pass"
    assert forbidden(good) == []
