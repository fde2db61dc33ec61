"""The notebooks of docs/ run from top to bottom, on fewer epochs and images than they name."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from mmengine.logging import MMLogger

from natx.cli.main import start

ROOT = Path(__file__).resolve().parents[2]
# What is made smaller: text in a cell, and what stands in its place.
SMALLER = {
    "judge_your_model": {"epochs = 20": "epochs = 4", "[:100]": "[:12]", "(4, 16, 51)": "(4, 51)"},
    "train_nat": {"count = 1200": "count = 300", "--epochs 10": "--epochs 1", '"C&W"': '"FGSM"'},
}


def code(name: str) -> list[str]:
    """The code of a notebook's cells."""
    cells = json.loads((ROOT / "docs" / f"{name}.ipynb").read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in (ROOT / "docs").glob("*.ipynb")} == set(SMALLER)


@pytest.mark.parametrize("name", SMALLER)
def test_notebook(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    MMLogger._instance_dict.clear()  # loggers of earlier runs write to streams that are closed by now
    cells, names = code(name), {"__name__": "__main__"}
    for before, now in SMALLER[name].items():
        assert any(before in cell for cell in cells), f"{before} is in no cell"
        cells = [cell.replace(before, now) for cell in cells]
    for number, cell in enumerate(cells):
        if cell.startswith("!natx "):  # a notebook's way to the command line
            command, *words = shlex.split(cell)[1:]
            start(command, words)
            continue
        exec(compile(cell, f"{name}, code cell {number}", "exec"), names)  # noqa: S102
    assert "Worst case" in capsys.readouterr().out


@pytest.mark.parametrize("name", SMALLER)
def test_a_notebook_holds_no_output(name: str) -> None:
    content = json.loads((ROOT / "docs" / f"{name}.ipynb").read_text())
    assert content["nbformat"] == 4
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in content["cells"])
