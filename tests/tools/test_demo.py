"""What the README prints of the demos is what the reports beside it hold."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from natx.report.reading import reading
from natx.report.text import console_table

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_tool", ROOT / "tools" / "demo.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo_tool"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def reports(demo: ModuleType, name: str) -> list[dict[str, Any]]:
    """The published reports of a demo, in the order of its rows."""
    stems = [Path(config).stem for config in demo.DEMOS[name].rows.values()]
    folder = ROOT / "results" / Path(demo.DEMOS[name].work_dir).name
    return [json.loads((folder / f"{stem}.json").read_text()) for stem in stems]


def plain(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("name", ["cls", "reid", "det"])
def test_the_readme_has_the_demos_table_and_reading(demo: ModuleType, name: str) -> None:
    whole = reports(demo, name)
    assert [report["name"] for report in whole] == list(demo.DEMOS[name].rows)
    printed = io.StringIO()
    Console(file=printed, width=160).print(console_table(whole))
    readme = plain((ROOT / "README.md").read_text())
    table = "\n".join(line.rstrip() for line in printed.getvalue().splitlines())
    assert plain(table) in readme, f"README.md's table of the demo {name} is to be:\n{table}"
    lines = [f"- {line}" for line in reading(whole)]
    assert plain(" ".join(lines)) in readme, "README.md's reading is to be:\n" + "\n".join(lines)
