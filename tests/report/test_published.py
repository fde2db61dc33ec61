"""Published transfer matrices and analyses say what the files beside them hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

from natx.analysis.report import markdown as analysis_text
from natx.report.transfer import markdown as transfer_text

RESULTS = Path(__file__).resolve().parents[2] / "results"


def body(text: str) -> str:
    """What follows the title."""
    return text.split("\n\n", 1)[1]


def test_the_transfer_matrix() -> None:
    report = json.loads((RESULTS / "transfer_small" / "transfer.json").read_text())
    assert body(transfer_text(report)) in (RESULTS / "transfer_small.md").read_text()


def test_the_analysis_and_its_figures() -> None:
    analysis = json.loads((RESULTS / "analysis_small" / "analysis.json").read_text())
    published = (RESULTS / "analysis_small.md").read_text()
    assert body(analysis_text(analysis)).replace("](", "](analysis_small/") in published
    linked = set(re.findall(r"\]\(analysis_small/(\S+)\)", published))
    assert linked == {path.name for path in (RESULTS / "analysis_small").glob("*.png")}
