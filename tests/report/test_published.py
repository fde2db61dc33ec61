"""Published transfer matrices and analyses say what the files beside them hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from natx.analysis.report import markdown as analysis_text
from natx.report.transfer import markdown as transfer_text

RESULTS = Path(__file__).resolve().parents[2] / "results"


def body(text: str) -> str:
    """What follows the title."""
    return text.split("\n\n", 1)[1]


def test_the_transfer_matrix() -> None:
    report = json.loads((RESULTS / "transfer_small" / "transfer.json").read_text())
    assert body(transfer_text(report)) in (RESULTS / "transfer_small.md").read_text()


def test_the_series_on_the_digits_and_what_the_paper_page_says_of_it() -> None:
    analysis = json.loads((RESULTS / "series_digits" / "analysis.json").read_text())
    assert body(analysis_text(analysis)) in (RESULTS / "series_digits.md").read_text()
    page = (RESULTS.parent / "docs" / "paper.md").read_text()
    text = " ".join(page.split("<!-- series -->")[1].split("<!-- /series -->")[0].split())
    models = {model["name"]: model["series"]["clean"] for model in analysis["models"] if "series" in model}
    one, four = models["NAT"]
    assert (one["at"], four["at"]) == ("tau=1", "tau=4")

    def terms(entry: dict[str, Any]) -> str:
        values = [f"{float(f'{value:.3g}'):+,.10g}" for value in entry["terms"][1:4]]
        return f"{values[0]}, {values[1]} and {values[2]}, where -KL is {entry['negative_kl']:.3g}"

    assert f"converges for {four['converging']:.0f} % of the images. Terms two to four are {terms(four)}." in text
    assert f"At temperature 1: {one['converging']:.0f} % of the images, and terms of {terms(one)}." in text
    plain_one, plain_four = models["PGD-AT (union)"]
    assert (
        f"{plain_four['converging']:.0f} % of the images at temperature 4 and {plain_one['converging']:.0f} %" in text
    )
    inside = four["converging_images"]
    assert f"add up to {sum(inside['terms']):.3g}, and -KL is {inside['negative_kl']:.3g}" in text


def test_the_analysis_and_its_figures() -> None:
    analysis = json.loads((RESULTS / "analysis_small" / "analysis.json").read_text())
    published = (RESULTS / "analysis_small.md").read_text()
    assert body(analysis_text(analysis)).replace("](", "](analysis_small/") in published
    linked = set(re.findall(r"\]\(analysis_small/(\S+)\)", published))
    assert linked == {path.name for path in (RESULTS / "analysis_small").glob("*.png")}
