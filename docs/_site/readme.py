"""README's tables and readings, from results/: ``python docs/_site/readme.py`` writes them."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from rich.console import Console

from natx.cli.demo import DEMOS
from natx.report.reading import reading
from natx.report.text import console_table

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "README.md"
STUDY = ROOT / "results" / "cifar10_full.md"
MARKS = {"cls": "demo", "reid": "demo-reid", "det": "demo-det"}


def blocks() -> dict[str, str]:
    """The page's blocks by the name of their mark."""
    result = {"study table": _study_table(STUDY.read_text()), "study reading": _study_reading(STUDY.read_text())}
    for task, mark in MARKS.items():
        reports = demo_reports(task)
        printed = io.StringIO()
        Console(file=printed, width=160).print(console_table(reports))
        table = "\n".join(line.rstrip() for line in printed.getvalue().rstrip().splitlines())
        result[f"{mark} table"] = f"```\n{table}\n```"
        result[f"{mark} reading"] = "\n".join(f"- {line}" for line in reading(reports))
    return result


def filled(text: str) -> str:
    """The page with its blocks as results/ has them.

    Raises:
        ValueError: a block's marks are not there, or not once.
    """
    for name, block in blocks().items():
        text, count = re.subn(
            rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)",
            lambda marks, block=block: marks[1] + block + marks[2],
            text,
            flags=re.DOTALL,
        )
        if count != 1:
            raise ValueError(f"README.md has {count} blocks <!-- {name} --> ... <!-- /{name} -->, expected 1")
    return text


def demo_reports(task: str) -> list[dict[str, Any]]:
    """The published reports of a demo, in the order of its rows."""
    stems = [Path(config).stem for config in DEMOS[task].rows.values()]
    folder = ROOT / "results" / Path(DEMOS[task].work_dir).name
    return [json.loads((folder / f"{stem}.json").read_text()) for stem in stems]


def _study_table(page: str) -> str:
    """A study's first table, without the rows of which nothing has run and the columns that not all others have."""
    lines = re.search(r"^\|.*?(?=\n\n)", page, flags=re.DOTALL | re.MULTILINE)
    table = [line.strip("|").split("|") for line in (lines[0] if lines else "").splitlines()]
    table = [row for row in table if {cell.strip() for cell in row[2:]} != {"not run"}]
    kept = [number for number, cells in enumerate(zip(*table)) if "not run" not in map(str.strip, cells)]
    return "\n".join(f"|{'|'.join(row[number] for number in kept)}|" for row in table)


def _study_reading(page: str) -> str:
    """What a study says in short."""
    sentences = re.search(r"## In short\n\n(.*?)\n\n", page, flags=re.DOTALL)
    return sentences[1] if sentences else ""


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
