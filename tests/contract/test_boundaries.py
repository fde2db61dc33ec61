"""Who may import whom, held by reading the source (nothing here imports natx)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "natx").rglob("*.py"))
ADAPTERS = sorted((ROOT / "tasks").rglob("*.py"))
# The rooms of natx/ from the ground up: a room imports those before it, never those after it. ``contract`` are the
# modules of the root that say what everything else is; ``entrance`` those that only programs and notebooks come in by.
ROOMS = [
    *("contract", "runtime", "config", "data", "models", "terms", "objectives", "attacks", "methods", "evaluation"),
    *("training", "checks", "report", "judging", "export", "benchmark", "analysis", "study", "cli", "entrance"),
]
TASKS_STAND_ON = ROOMS.index("evaluation")  # adapters import the rooms up to here
ENTRANCE = {"natx", "natx.__main__", "natx.testing"}
LAZY = {"entrance", "cli"}  # rooms that nothing imports: ``import natx`` and ``--help`` must not wait for torch
ROOT_MODULES = 10
TASK_LIBRARIES = {"timm", "torchvision", "torchreid", "mmdet", "mmcv", "tasks", "natx_bench"}


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
            # natx writes UTF-8, whatever the system's encoding is.
            if isinstance(node.func, ast.Attribute) and node.func.attr == "read_text" and not node.keywords:
                found.append(f"{node.lineno}: read_text() without an encoding")
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append(f"{node.lineno}: bare except")
    return found


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def package(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parent.parts)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module(path: Path) -> str:
    """A file's dotted name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in [*CORE, *ADAPTERS]}


def modules_used(path: Path) -> set[str]:
    """Modules of the project that a file imports, wherever in it and for whatever reason.

    A package counts where one of its own names is imported, a module in it where that is.
    """
    used: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                used.add(inner if inner in MODULES else node.module)
        elif isinstance(node, ast.Import):
            used.update(alias.name for alias in node.names)
    return (used & set(MODULES)) - {module(path)}


def room(name: str) -> str:
    """The room of a module of natx."""
    if name in ENTRANCE:
        return "entrance"
    parts = name.split(".")
    return parts[1] if (ROOT / "natx" / parts[1]).is_dir() else "contract"


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, over any number of steps."""

    def reached(start: str) -> set[str]:
        known, stack = set(), [start]
        while stack:
            for name in graph.get(stack.pop(), ()):
                if name not in known:
                    known.add(name)
                    stack.append(name)
        return known

    reach = {name: reached(name) for name in graph}
    groups = {tuple(sorted({name, *(o for o in reach[name] if name in reach[o])})) for name in graph}
    return [list(group) for group in sorted(groups) if len(group) > 1]


@pytest.mark.parametrize("path", CORE, ids=name)
def test_no_room_imports_one_above_it(path: Path) -> None:
    own = ROOMS.index(room(module(path)))
    above = sorted(used for used in modules_used(path) if used.startswith("natx") and ROOMS.index(room(used)) > own)
    assert not above, f"{name(path)} is in {room(module(path))} and imports {above}: move the definition down"


@pytest.mark.parametrize("path", ADAPTERS, ids=name)
def test_tasks_stand_on_the_rooms_up_to_evaluation(path: Path) -> None:
    used = {used for used in modules_used(path) if used.startswith("natx")}
    assert not {used for used in used if ROOMS.index(room(used)) > TASKS_STAND_ON}


def test_no_circles() -> None:
    assert circles({module(path): modules_used(path) for path in [*CORE, *ADAPTERS]}) == []


@pytest.mark.parametrize("path", [path for path in CORE if room(module(path)) not in LAZY], ids=name)
def test_the_core_imports_itself_at_the_top(path: Path) -> None:
    """A late import hides a circle, or a module's real place."""
    late = [
        f"{inner.lineno}: {ast.unparse(inner)}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for inner in ast.walk(node)
        if isinstance(inner, ast.ImportFrom) and (inner.module or "").startswith("natx")
    ]
    assert not late


def test_the_root_shows_the_contract_alone() -> None:
    assert len([path for path in CORE if path.parent.name == "natx"]) <= ROOT_MODULES
    assert {room(name) for name in MODULES if name.startswith("natx")} == set(ROOMS)


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


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
    assert forbidden("file.read_text(); file.read_text(encoding='utf-8')") == ["1: read_text() without an encoding"]
    good = "model.eval(); torch.cuda.is_available(); console.print(1)\ntry:\n    pass\nexcept ValueError:\n    pass"
    assert forbidden(good) == []
