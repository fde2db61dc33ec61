"""Hours of the fast recipes, and what they reached, in the heads of their configs: ``python docs/_site/headers.py``."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs" / "cls"
STUDY = ROOT / "results" / "cifar10_full.md"
MARK, INDENT, WIDTH = "# Measured: ", "#    ", 120


def measured_lines() -> dict[str, list[str]]:
    """The lines of each config's head that results/ gives, by the config's name."""
    items = json.loads((ROOT / "results" / "benchmark_cpu.json").read_text())["items"]
    item = next((item for item in items if item["name"] == "recipe_hours"), None)
    lines = {recipe["config"]: [_hours(recipe, item)] for recipe in item["details"]["recipes"]} if item else {}
    for config, sentence in _reached(STUDY.read_text()):
        lines.setdefault(config, []).append(sentence)
    return lines


def filled(text: str, lines: list[str]) -> str:
    """A config whose head has these lines before the paper's number, in place of those that it had."""
    text = re.sub(rf"^{MARK}.*\n(?:{INDENT}.*\n)*", "", text, flags=re.MULTILINE)
    comment = "".join(f"{fill(MARK + line, width=WIDTH, subsequent_indent=INDENT)}\n" for line in lines)
    return re.sub(r"^(?=# Paper's number)", comment, text, count=1, flags=re.M)


def _two_digits(value: float) -> str:
    """Two significant digits, never as a power of ten."""
    return f"{float(f'{value:.2g}'):g}"


def _hours(recipe: dict[str, Any], item: dict[str, Any]) -> str:
    threads = item["threads"]
    return (
        f"{_two_digits(recipe['hours'])} hours for {recipe['epochs']} epochs, by a step's time on {threads} "
        f"thread{'s' if threads != 1 else ''} of an {item['machine']['cpu']} in bfloat16."
    )


def _reached(page: str) -> Iterator[tuple[str, str]]:
    """What each row of the study reached, by the name of its config."""
    rows = runpy.run_path(str(ROOT / "configs" / "studies" / "cifar10_full.py"))["rows"]
    header = re.search(r"^\| \| seeds \|(.*)\|$", page, flags=re.MULTILINE)
    columns = [column.strip() for column in header[1].split("|")] if header else []
    for row in rows.values():
        line = re.search(rf"^\| {re.escape(row['name'])} \| (\d+) \|(.*)\|$", page, flags=re.MULTILINE)
        found = zip(columns, map(str.strip, line[2].split("|"))) if line else ()
        if line and (cells := ", ".join(f"{column} {cell}" for column, cell in found if cell != "not run")):
            epochs = row["options"]["train_cfg.max_epochs"]
            seeds = "one seed" if line[1] == "1" else f"{line[1]} seeds"
            yield Path(row["config"]).stem, f"{cells} % after {epochs} epochs, {seeds} (results/cifar10_full.md)."


if __name__ == "__main__":
    for name, lines in measured_lines().items():
        path = FOLDER / f"{name}.py"
        path.write_text(filled(path.read_text(), lines))
