"""Pages that are made from the code: the API reference (mkdocstrings fills it in) and every error of the code."""

from __future__ import annotations

import ast
from pathlib import Path

from errors import errors_page

BENCH = "natx_bench"  # a package of its own
CONTRACT = "contract"  # the page of the modules in natx/ itself


def pages(root: Path) -> dict[str, str]:
    """Markdown by its file on the site."""
    rooms = {name: modules(root, name) for name in packages(root)}
    index = ["# API reference\n", "Everything public, by folder; `natx` itself first.\n"]
    content = {f"api/{CONTRACT}.md": _page("natx", ["natx", *root_modules(root)])}
    index.append(f"- [natx]({CONTRACT}.md): {summary(root / 'natx' / '__init__.py')}")
    for name, parts in rooms.items():
        content[f"api/{name}.md"] = _page(name, [name, *parts], package=name if defines_nothing(root, name) else "")
        index.append(f"- [{name}]({name}.md): {summary(root / Path(*name.split('.')) / '__init__.py')}")
    content["api/index.md"] = "\n".join(index) + "\n"
    content["errors.md"] = errors_page(root)
    return content


def packages(root: Path) -> list[str]:
    """The folders that get a page: those of natx/ and the tasks, and the items of ``natx bench``."""
    rooms = [
        f"{top}.{path.parent.name}" for top in ("natx", "tasks") for path in sorted((root / top).glob("*/__init__.py"))
    ]
    return [*rooms, BENCH]


def root_modules(root: Path) -> list[str]:
    """The modules in natx/ itself."""
    return [f"natx.{path.stem}" for path in sorted((root / "natx").glob("*.py")) if not path.stem.startswith("__")]


def modules(root: Path, package: str) -> list[str]:
    """The modules of a package, those in its folders too."""
    names = []
    for path in sorted((root / Path(*package.split("."))).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name != package and not parts[-1].startswith("__main__"):
            names.append(name)
    return names


def summary(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def defines_nothing(root: Path, package: str) -> bool:
    """Whether a package's own file only passes on what its modules define."""
    body = ast.parse((root / Path(*package.split(".")) / "__init__.py").read_text()).body
    return not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in body)


def _page(title: str, names: list[str], *, package: str = "") -> str:
    """A page of modules; of ``package`` only what it says of itself, as its members stand with their modules."""
    only = {package: "    options:\n      members: false\n"}
    return "\n".join([f"# {title}\n", *(f"::: {name}\n{only.get(name, '')}" for name in names)])
