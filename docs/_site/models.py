"""The table of docs/models.md, from cards on the Hugging Face hub.

``python docs/_site/models.py owner/name ...`` adds these and reads the cards of those in the table anew.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

PAGE = Path(__file__).resolve().parents[1] / "models.md"
MARKS = re.compile(r"(<!-- models -->\n).*?(<!-- /models -->)", re.DOTALL)
ENTRY = re.compile(r"^\| \[([\w.-]+/[\w.-]+)\]\(https://huggingface\.co/", re.MULTILINE)
NONE = "None published yet."
HEAD = (
    "| model | data | threat model | clean, % | worst case, % | judged on | licence |",
    "|---|---|---|---:|---:|---|---|",
)
TAG, CLEAN, WORST = "natx", "Clean", "Worst case"


def listed(text: str) -> list[str]:
    """The repositories in the page's table."""
    return ENTRY.findall(text)


def filled(text: str, names: Sequence[str] = ()) -> str:
    """The page with a row for each repository of its table and of ``names``, from their cards of this day.

    Raises:
        ValueError: a card that is not one of ``natx export``, or has no licence or no figures.
    """
    rows = [row(name, ModelCard.load(name)) for name in sorted({*listed(text), *names})]
    table = "\n".join([*HEAD, *rows]) if rows else NONE
    return MARKS.sub(lambda marks: f"{marks[1]}{table}\n{marks[2]}", text)


def row(name: str, card: ModelCard) -> str:
    """A repository's row."""
    data = card.data
    about: dict[str, Any] = getattr(data, "natx", None) or {}
    figures = {result.metric_name: result for result in data.eval_results or ()}
    worst = {title: result for title, result in figures.items() if str(title).startswith(WORST)}
    if TAG not in (data.tags or ()) or not about:
        raise ValueError(f"{name} has no card of natx: natx export --push writes one")
    if not data.license:
        raise ValueError(f"{name} says no licence: natx export --push OWNER/NAME --license ID")
    if not worst or CLEAN not in figures:
        raise ValueError(f"{name} has no figures: judge the checkpoint (natx test), then export and push it again")
    (headline,) = list(worst.values())[-1:]
    cells = [
        f"[{name}](https://huggingface.co/{name})",
        about.get("data") or "",
        about.get("threat") or "",
        _cell(figures[CLEAN]),
        _cell(headline),
        headline.dataset_name,
        data.license,
    ]
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _cell(figure: Any) -> str:
    """A figure with its 95 % interval."""
    ends = (figure.metric_args or {}).get("interval")
    return f"{figure.metric_value:.2f}" + (f" ({ends[0]:.1f}–{ends[1]:.1f})" if ends else "")


if __name__ == "__main__":
    try:
        PAGE.write_text(filled(PAGE.read_text(), sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"error: {error}")
