"""The leaderboard: every report below a folder once, sorted, with its interval, checks, cost and a link that works."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from workshop import Workshop

from natx.errors import DataError
from natx.evaluation.statistics import wilson
from natx.report.leaderboard import find_reports, leaderboard_page

RESULTS = Path(__file__).resolve().parents[2] / "results"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CLICKS = "<script>document.querySelectorAll('th button')[{column}].click()</script>"


class Board(HTMLParser):
    """Rows of the tables, links, and what the page could load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self.scripts, self.circles, self.cell = 0, 0, False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = dict(attributes)
        assert not {"src", "srcset", "onclick", "onload"} & names.keys()
        assert tag not in ("link", "iframe", "object", "base", "img")
        if tag == "a":
            self.links.append(names["href"])
        self.scripts += tag == "script"
        self.circles += tag == "circle"
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.cell = True

    def handle_endtag(self, tag: str) -> None:
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.cell:
            self.rows[-1][-1] += data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The demo's reports as tools/test.py leaves them, one with a page, and a file that is no report."""
    for stem in ("digits_vt", "digits_pgd_at", "digits_nat"):
        place = tmp_path / "runs" / stem / "test-digits_table"
        place.mkdir(parents=True)
        shutil.copy(RESULTS / "demo" / f"{stem}.json", place / "report.json")
    (place / "report.html").write_text("a page")
    (tmp_path / "runs" / "other.json").write_text("{}")
    return tmp_path / "runs"


def reports() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((RESULTS / "demo").glob("*.json"))]


def test_rows_are_sorted_and_say_what_the_reports_hold(folder: Path) -> None:
    board = Board(leaderboard_page(folder, out=folder / "leaderboard.html"))
    head, *rows = board.rows
    assert [name.strip() for name in head[:3]] == ["Report", "Worst case", "Clean"] and board.scripts == 1
    by_name = {report["name"]: report for report in reports()}
    worst = [by_name[row[0]]["worst_case"] for row in rows]
    assert worst == sorted(worst, reverse=True) and len(rows) == len(by_name) == board.circles
    for row in rows:
        report = by_name[row[0]]
        clean = report["columns"][0]
        low, high = (100 * end for end in wilson(clean["correct"], clean["images"]))
        assert row[2] == f"{clean['accuracy']:.2f} {low:.1f}–{high:.1f}"
        passes = sum(a["forwards"] + a["backwards"] for a in report["attacks"]) / report["images"]
        assert f"{passes:,.0f}" in row and "not audited" in row


def test_values_of_a_set_have_their_intervals_in_table_and_chart(tmp_path: Path) -> None:
    paths = sorted((RESULTS / "demo_reid").glob("*.json"))
    for path in paths:
        shutil.copy(path, tmp_path)
    page = leaderboard_page(tmp_path, out=tmp_path / "board.html")
    assert ", mAP/Rank-1 in percent" in page  # no capital letter at a name
    rows = {row[0]: row for row in Board(page).rows[1:]}
    for path in paths:
        report = json.loads(path.read_text())
        clean = report["columns"][0]
        ends = "/".join("{:.1f}–{:.1f}".format(*clean["intervals"][key]) for key in report["cell"])
        assert rows[report["name"]][2].endswith(f" {ends}")
    bars = re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)" y1="[\d.]+" y2="[\d.]+"></line>', page)
    assert sum(left != right for left, right in bars) == len(paths)  # the clean values' bars lie across


def test_links_lead_from_the_page_to_the_reports(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere" / "board.html"
    board = Board(leaderboard_page(folder, out=out))
    targets = [(out.parent / link).resolve() for link in board.links]
    assert all(path.is_file() for path in targets) and len(set(targets)) == 3
    assert sorted(path.name for path in targets) == ["report.html", "report.json", "report.json"]


def test_names_are_escaped_and_only_the_pages_own_script_may_run(folder: Path) -> None:
    path = folder / "digits_vt" / "test-digits_table" / "report.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": "<script>alert(1)</script>"}))
    page = leaderboard_page(folder, out=folder / "x.html")
    assert "<script>alert" not in page
    assert re.search(r"default-src 'none'; [^\"]*script-src 'sha256-[\w+/=]+'\"", page)


def test_other_conditions_are_other_tables() -> None:
    page = leaderboard_page(RESULTS, out=RESULTS / "leaderboard.html")
    runs, remarks = find_reports(RESULTS)
    assert not remarks and len(Board(page).links) == len(runs)
    assert "red of" in page  # of the audited ones
    kinds = {(run.report["threat"], run.report["settings"]["data"]) for run in runs}
    assert page.count("<section>") >= len(kinds)


def test_the_published_board_is_that_of_the_published_reports() -> None:
    page = leaderboard_page(RESULTS, out=RESULTS / "leaderboard.html", title="natx: all published reports")
    assert (RESULTS / "leaderboard.html").read_text() == page, (
        "natx leaderboard results --title 'natx: all published reports' writes it"
    )


@pytest.mark.parametrize("first", (True, False))
def test_a_report_of_a_version_without_a_worst_case_stands_last(tmp_path: Path, first: bool) -> None:
    kept = [
        json.loads((RESULTS / "demo_det" / f"ssd112_digits_{stem}.json").read_text()) for stem in ("mtd_nat", "std")
    ]
    old = {key: value for key, value in kept[1].items() if not key.startswith("worst_case")}
    for folder, report in zip("ab", (old, kept[0]) if first else (kept[0], old)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "report.json").write_text(json.dumps(report))
    board = Board(leaderboard_page(tmp_path, out=tmp_path / "x.html"))
    head, whole, without = board.rows
    assert [name.strip() for name in head[:3]] == ["Report", "Worst case", "Clean"] and board.circles == 1
    low, high = kept[0]["worst_case_intervals"]["mAP"]
    assert whole[:2] == [kept[0]["name"], f"{kept[0]['worst_case']['mAP']:.2f} {low:.1f}–{high:.1f}"]
    assert without[:2] == [old["name"], "not run"]


def test_a_checkpoint_that_was_judged_twice_is_one_row(folder: Path) -> None:
    shutil.copytree(folder / "digits_vt", folder / "again")
    page = leaderboard_page(folder, out=folder / "x.html")
    assert len(Board(page).rows) == 4 and "3 reports, each a row" in page and "1 more judge" in page


def test_a_broken_report_is_told_and_left_out(folder: Path) -> None:
    (folder / "digits_nat" / "test-digits_table" / "report.json").write_text("{}")
    runs, remarks = find_reports(folder)
    assert len(runs) == 2 and len(remarks) == 1 and "digits_nat" in remarks[0]
    assert "left out" in leaderboard_page(folder, out=folder / "x.html")


def test_a_folder_without_reports(tmp_path: Path) -> None:
    for path, words in ((tmp_path, "no report below"), (tmp_path / "gone", "no folder at")):
        with pytest.raises(DataError, match=words):
            find_reports(path)


def test_the_tool_writes_the_page_beside_the_reports(shop: Workshop, folder: Path) -> None:
    assert shop.run("leaderboard.py", folder).code == 0
    assert "<h1>Leaderboard</h1>" in (folder / "leaderboard.html").read_text()
    assert "an .html file" in shop.run("leaderboard.py", folder, "--out", folder / "page.txt").error()


def dom(path: Path) -> str:
    """The page after its scripts ran, as the browser holds it."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.skipif(BROWSER is None, reason="no headless browser on this machine")
def test_sorting_in_a_browser(folder: Path) -> None:
    page, path = leaderboard_page(folder, out=folder / "x.html"), folder / "x.html"
    names = [row[0] for row in Board(page).rows[1:]]
    path.write_text(page)
    shown = dom(path)
    assert 'class="scripted"' in shown  # its own policy lets its script run
    path.write_text(page.replace("</body>", CLICKS.format(column=0) + "</body>"))
    assert [row[0] for row in Board(dom(path)).rows[1:]] == names  # and no other
    free = re.sub(r"<meta http-equiv=[^>]*>", "", page)
    path.write_text(free.replace("</body>", CLICKS.format(column=0) + "</body>"))
    assert [row[0] for row in Board(dom(path)).rows[1:]] == sorted(names, reverse=True)
    path.write_text(free.replace("</body>", 2 * CLICKS.format(column=0) + "</body>"))
    assert [row[0] for row in Board(dom(path)).rows[1:]] == sorted(names)
