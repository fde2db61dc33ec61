"""Pages of analyses, transfer matrices and studies: all that the Markdown says, and nothing to load."""

from __future__ import annotations

import json
import re
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError
from page_reader import Reader, check_page
from PIL import Image

from natx.analysis.report import analysis_page, write_analysis
from natx.analysis.report import markdown as analysis_text
from natx.errors import ConfigError
from natx.report.page import TEMPLATES, render_page
from natx.report.tables import Strong, Table, TableRow
from natx.report.transfer import markdown as transfer_text
from natx.report.transfer import transfer_page, write_transfer
from natx.study.content import Group, StudyContent
from natx.study.render import markdown as study_text
from natx.study.render import markdown_file, write_study

RESULTS = Path(__file__).resolve().parents[2] / "results"
EVIL = "<script>alert(1)</script>"


def published(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / name).read_text())


def markdown_rows(text: str) -> list[list[str]]:
    """The cells of all rows of a Markdown text's tables, without the lines beneath their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip().strip("*") for cell in line[1:-1].split(" |")] for line in lines]


def page_rows(reader: Reader) -> list[list[str]]:
    return [[cell.strip() for cell in row] for row in reader.rows]


def test_a_page_escapes_its_texts_and_misses_no_name() -> None:
    page = render_page("transfer", title=EVIL, explanation=EVIL, attacks=[], flags=[EVIL], models=[], provenance=[])
    assert EVIL in check_page(page).text and EVIL not in page
    with pytest.raises(UndefinedError, match="explanation"):
        render_page("transfer", title="no content")


def test_the_style_lies_in_the_page() -> None:
    page = render_page("transfer", title="a", explanation="", attacks=[], flags=[], models=[], provenance=[])
    assert (TEMPLATES / "style.css").read_text().strip() in page


def test_a_table_in_markdown() -> None:
    table = Table(
        ["", "attack", "a|b"], [TableRow(["x", "PGD", Strong("1.00")]), TableRow(["", "", "2"])], words=(0, 1)
    )
    assert table.markdown() == ["| | attack | a\\|b |", "|---|---|---:|", "| x | PGD | **1.00** |", "| | | 2 |"]


def test_the_page_of_an_analysis_has_the_tables_and_figures_of_its_markdown() -> None:
    analysis = published("analysis_small/analysis.json")
    reader = check_page(analysis_page(analysis, folder=RESULTS / "analysis_small"))
    assert page_rows(reader) == markdown_rows(analysis_text(analysis))
    assert len([value for tag, key, value in reader.attributes if (tag, key) == ("img", "src")]) == 8
    for note in analysis["notes"]:
        assert note in reader.text
    assert analysis["provenance"]["git"] in reader.text


def test_the_page_of_a_transfer_matrix_has_its_numbers_and_warnings() -> None:
    report = published("transfer_small/transfer.json")
    report["flags"] = [
        {"attack": "PGD", "source": "r8_cifar10_nat", "target": "r8_cifar10_vt", "transfer": 1.0, "white_box": 2.0}
    ]
    report["flags"][0] |= {"missed": 3, "p_value": 0.0123}
    reader = check_page(transfer_page(report))
    assert page_rows(reader) == markdown_rows(transfer_text(report))
    assert "3 images that only the transferred pixels break, p 0.012" in reader.text
    assert "by more than chance explains (!, p at most 0.05 over all comparisons)" in reader.text
    assert any(cell.endswith(" !") for row in reader.rows for cell in row)


def test_tools_write_the_page_beside_the_markdown(tmp_path: Path) -> None:
    write_transfer(tmp_path, published("transfer_small/transfer.json"))
    write_analysis(tmp_path, {**published("analysis_small/analysis.json"), "figures": {"gone": "gone.png"}})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{name}.{kind}" for name in ("transfer", "analysis") for kind in ("json", "md", "html")}
    assert "the picture gone.png is missing" in check_page((tmp_path / "analysis.html").read_text()).text


def content(**changes: Any) -> StudyContent:
    table = Table(["", "seeds", "AA"], [TableRow(["NAT", "2", "41.00 ± 1.00"]), TableRow(["paper: NAT", "", "43.07"])])
    each = Table(
        ["", "seeds", "AA"], [TableRow(["NAT, seed 0", "1", "42.00"]), TableRow(["NAT, seed 1", "1", "40.00"])]
    )
    costs = Table(["", "training"], [TableRow(["NAT", "14 forwards"])])
    groups = [Group("CIFAR-10", "Accuracy in percent.", table, ["a note"], each)]
    whole = StudyContent(EVIL, "What is asked.", "python tools/study.py a.py", "", groups, {}, costs, "Run on a CPU.")
    return StudyContent(**{**vars(whole), **changes})


def test_the_page_of_a_study_has_what_its_markdown_has(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "figure.png")
    text = write_study(tmp_path / "study.md", content(), figure=tmp_path / "figure.png")
    assert (tmp_path / "study.md").read_text() == text == study_text(content(), figure=tmp_path / "figure.png")
    reader = check_page((tmp_path / "study.html").read_text())
    assert page_rows(reader) == markdown_rows(text)
    for words in (EVIL, "What is asked.", "python tools/study.py a.py", "Note: a note.", "Run on a CPU."):
        assert words in reader.text
    assert ("img", "alt", EVIL) in reader.attributes


def test_a_study_with_checks_shows_the_verdicts_side_by_side(tmp_path: Path) -> None:
    check = {"id": "G2", "title": "gap", "figure": 7.0, "unit": "%", "limit": "above 6 %", "reason": "wide"}
    audited = {name: {"checks": [{**check, "verdict": verdict}]} for name, verdict in (("A", "red"), ("B", "green"))}
    write_study(tmp_path / "study.md", content(audited=audited))
    page = (tmp_path / "study.html").read_text()
    assert ["G2: gap", "red 7", "green 7"] in check_page(page).rows
    assert re.findall(r'class="badge (\w+)"', page) == ["red", "green"]
    assert "withheld" in Reader(page).text


def test_a_study_says_at_its_head_that_its_verdicts_are_of_an_earlier_version(tmp_path: Path) -> None:
    check = {"id": "G2", "title": "gap", "figure": 7.0, "unit": "%", "limit": "", "reason": "wide", "verdict": "green"}
    old = {"checks": [check], "provenance": {"packages": {"natx": "0.4.0"}}}
    new = {"checks": [{**check, "p_value": 0.2, "level": 0.003}], "provenance": {"packages": {"natx": "0.6.0"}}}
    text = write_study(tmp_path / "study.md", content(audited={"A": old, "B": new}))
    note = "Note: the verdicts below were made by natx 0.4.0, before a check was red by its p-value,"
    assert note in text.split("## ")[0] and note in check_page((tmp_path / "study.html").read_text()).text
    assert "were made by" not in write_study(tmp_path / "study.md", content(audited={"B": new}))


def test_the_markdown_of_a_study_does_not_have_the_name_of_its_page() -> None:
    assert markdown_file("a/study.md") == Path("a/study.md")
    with pytest.raises(ConfigError, match="its page gets the same name with .html; got study.html"):
        markdown_file("study.html")


def test_a_wheel_has_the_templates_and_the_style() -> None:
    settings = tomllib.loads((RESULTS.parent / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["natx.report"]
    names = [f"{TEMPLATES.name}/{path.name}" for path in TEMPLATES.iterdir()]
    assert len(names) > 5 and all(any(fnmatchcase(name, pattern) for pattern in patterns) for name in names)
