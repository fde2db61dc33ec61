"""What the README prints of the demos is what the reports beside it hold."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from natx.cli.demo import DEMOS
from natx.report.reading import reading
from natx.report.text import console_table

ROOT = Path(__file__).resolve().parents[2]


def reports(name: str) -> list[dict[str, Any]]:
    """The published reports of a demo, in the order of its rows."""
    stems = [Path(config).stem for config in DEMOS[name].rows.values()]
    folder = ROOT / "results" / Path(DEMOS[name].work_dir).name
    return [json.loads((folder / f"{stem}.json").read_text()) for stem in stems]


def plain(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("name", ["cls", "reid", "det"])
def test_the_readme_has_the_demos_table_and_reading(name: str) -> None:
    whole = reports(name)
    assert [report["name"] for report in whole] == list(DEMOS[name].rows)
    printed = io.StringIO()
    Console(file=printed, width=160).print(console_table(whole))
    readme = plain((ROOT / "README.md").read_text())
    table = "\n".join(line.rstrip() for line in printed.getvalue().splitlines())
    assert plain(table) in readme, f"README.md's table of the demo {name} is to be:\n{table}"
    lines = [f"- {line}" for line in reading(whole)]
    assert plain(" ".join(lines)) in readme, "README.md's reading is to be:\n" + "\n".join(lines)
