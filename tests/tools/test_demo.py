"""What the README shows of the demos and of the study is what the reports in results/ hold."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from workshop import Workshop

from natx.cli.demo import DEMOS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def readme() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "_site" / "readme.py"))


def test_the_readme_has_the_tables_and_readings_of_results(readme: dict[str, Any]) -> None:
    text = (ROOT / "README.md").read_text()
    assert readme["filled"](text) == text, "run python docs/_site/readme.py"


@pytest.mark.parametrize("task", ["cls", "reid", "det"])
def test_a_demos_reports_are_those_of_its_rows(readme: dict[str, Any], task: str) -> None:
    reports = readme["demo_reports"](task)
    assert [report["name"] for report in reports] == list(DEMOS[task].rows)
    table = readme["blocks"]()[f"{ {'cls': 'demo', 'reid': 'demo-reid', 'det': 'demo-det'}[task] } table"]
    for report in reports:  # a figure of each report is in the table, read here without the code that renders it
        assert f"{clean_share(report):.2f}" in table


def clean_share(report: dict[str, Any]) -> float:
    column = report["columns"][0]
    return column["accuracy"] if "accuracy" in column else column["values"]["mAP"]


def test_what_has_not_run_is_not_shown(readme: dict[str, Any]) -> None:
    """Neither rows of which nothing has, nor columns that not all of the other rows have."""
    rows = ["| | seeds | Clean | AA | Square |", "|---|---:|---:|---:|---:|", "| a | 2 | 1.00 | 2.00 | not run |"]
    rows += ["| b | 0 | not run | not run | not run |", "| 95 % interval | | 0.5–1.5 | | |"]
    rows += ["| c | 2 | 3.00 | 4.00 | 5.00 (1 of 2 seeds) |"]
    page = "# A\n\n## In short\n\n- one\n- two\n\n{}\n\n| d | 2 |\n".format("\n".join(rows))
    assert readme["_study_table"](page).splitlines() == [
        "| | seeds | Clean | AA |",
        "|---|---:|---:|---:|",
        "| a | 2 | 1.00 | 2.00 |",
        "| 95 % interval | | 0.5–1.5 | |",
        "| c | 2 | 3.00 | 4.00 |",
    ]
    assert readme["_study_reading"](page) == "- one\n- two"


def test_a_missing_block_is_told(readme: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="0 blocks <!-- study table -->"):
        readme["filled"]("nothing")


def test_an_option_that_nothing_reads_is_refused(shop: Workshop) -> None:
    ran = shop.run("demo.py", "--work-dir", shop.folder / "demo", "--cfg-options", "bogus=1")
    assert "the option bogus is read by nothing" in ran.error()
    assert not (shop.folder / "demo").exists()
