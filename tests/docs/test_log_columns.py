"""docs/logs.md explains every column that a training's log can have, and none that it cannot."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from natx.terms import NastyKL

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "logs.md").read_text()
# Where scalars of a training step are made: in these functions of these files.
MAKERS = {
    "natx/terms/*.py": ("forward",),
    "natx/methods/*.py": ("forward", "scalars", "diagnostics", "make_views", "_learn"),
    "natx/attacks/tally.py": ("shares",),
    "tasks/*/*.py": ("read",),
    "tasks/det/readers/*.py": ("read", "_rpn_losses"),
}
# mmengine's own, and the sum that it descends.
MMENGINE = {"lr", "eta", "time", "data_time", "memory", "epoch", "iter", "step", "loss", "grad_norm"}
OF_HOOKS = {"cpu_seconds"}
SCALAR = re.compile(r"[a-z*][a-z0-9*]*(_[a-z0-9*]+)+$")
SINGLE, OWN = {"reward"}, "{name}"  # a column of one word; what stands for the name of the class
ASIDE = {"data_samples", "label_smoothing"}  # entries of batches and settings


def explained() -> set[str]:
    """The names in the first cells of the page's tables."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([\w/]+)`", row.split(" | ")[0])}


def logged() -> Iterator[tuple[str, str]]:
    """Names (``*`` for a part that depends on the view or the class) that the code gives to scalars, and the file."""
    for pattern, functions in MAKERS.items():
        for path in sorted(ROOT.glob(pattern)):
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef) and node.name in functions:
                    for name in keys(node):
                        for one in whose(name, tree):
                            yield one, path.relative_to(ROOT).as_posix()


def of_epochs() -> Iterator[str]:
    """Names that the training's hooks give to the scores of an epoch."""
    for path in sorted((ROOT / "natx" / "training").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".add_scalars"):
                for part in ast.walk(node.args[0]):
                    if isinstance(part, ast.Dict | ast.DictComp):
                        names = part.keys if isinstance(part, ast.Dict) else [part.key]
                        yield from (text for one in names if one is not None and (text := pattern_of(one)))


def whose(name: str, tree: ast.Module) -> list[str]:
    """A name with the ``name`` of each class in its place; nothing where it is no column's."""
    own = [
        str(line.value.value)
        for line in ast.walk(tree)
        if isinstance(line, ast.Assign)
        and ast.unparse(line.targets[0]) == "name"
        and isinstance(line.value, ast.Constant)
    ]
    names = [name.replace(OWN, one) for one in own] if OWN in name else [name]
    return [one for one in names if SCALAR.match(one) or one in SINGLE]


def keys(function: ast.FunctionDef) -> Iterator[str]:
    """Texts of a function that are keys: in dicts, in brackets on the left of '=', in tuples of names."""
    for node in ast.walk(function):
        if isinstance(node, ast.Dict):
            parts = [*(key for key in node.keys if key is not None), *node.values]
            yield from (text for part in parts if (text := pattern_of(part)))
        elif isinstance(node, ast.DictComp):
            yield from filter(None, [pattern_of(node.key)])
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            yield from filter(None, [pattern_of(node.slice)])
        elif isinstance(node, ast.Tuple):
            yield from (text for one in node.elts if (text := pattern_of(one)))


def pattern_of(node: ast.expr) -> str:
    """A text, or a pattern where parts of it are filled in; empty for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_part(part) for part in node.values)
    return ""


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    return OWN if isinstance(part, ast.FormattedValue) and ast.unparse(part.value) == "self.name" else "*"


def fits(column: str, pattern: str) -> bool:
    return fnmatchcase(column, pattern)


def test_every_column_is_explained() -> None:
    columns = explained()
    assert {name for name in of_epochs() if not any(fits(column, name) for column in columns)} == set()
    unexplained = {
        f"{name} ({file})" for name, file in logged() if name not in ASIDE and not any(fits(c, name) for c in columns)
    }
    assert not unexplained


def test_no_column_is_made_up() -> None:
    patterns = {name for name, _ in logged()} | MMENGINE | OF_HOOKS | set(of_epochs())
    assert {column for column in explained() if not any(fits(column, pattern) for pattern in patterns)} == set()


def test_the_columns_that_newcomers_ask_for_are_there() -> None:
    assert {"top2_gap_clean", "nasty_share", "attack_zero_grad", "acc_adv"} <= explained()


def test_the_share_below_which_the_nasty_term_does_nothing() -> None:
    for page in ("logs.md", "troubleshooting.md", "train_nat.ipynb"):
        assert f"below {NastyKL.LEAST:g} " in (ROOT / "docs" / page).read_text()
