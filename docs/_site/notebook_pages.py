"""Notebooks as Markdown: their text and code, without a kernel."""

from __future__ import annotations

import json
from pathlib import Path


def notebook_page(path: Path) -> str:
    """The page of a notebook."""
    cells = json.loads(path.read_text())["cells"]
    parts = [_cell(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    return "\n\n".join([*parts, f"This page is the notebook `docs/{path.name}`."]) + "\n"


def _cell(kind: str, source: str) -> str:
    return source if kind == "markdown" else f"```python\n{source}\n```"
