from __future__ import annotations

import copy
import io
import json
import math
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from page_reader import Reader, check_page
from PIL import Image
from rich.console import Console

from natx.analysis.report import analysis_page
from natx.attacks import PGD
from natx.checks import CHECKS as CHECKED
from natx.checks.case import Case
from natx.checks.strength import EpsSweep
from natx.checks.text import console_checks, markdown_checks, markdown_checks_beside, number_text
from natx.errors import DataError
from natx.evaluation import evaluate
from natx.report.cells import settings_text
from natx.report.charts import Line, chart, sweep_line
from natx.report.checks_beside import ChecksBeside
from natx.report.class_pictures import draw_class_pictures
from natx.report.compare import compare, read_runs
from natx.report.comparison_page import comparison_page
from natx.report.report import write_report
from natx.report.report_page import report_page
from natx.report.text import console_table, markdown_table
from natx.report.transfer import transfer_page
from natx.testing import TinyCNNTask, TinyDataset, fit
from natx.threat import Linf

ROOT = Path(__file__).resolve().parents[2]
EVIL = 'NAT <script>alert("1")</script> & co'
PROVENANCE = {"packages": {"torch": "2.9.1", "natx": "0.3.0"}, "git": "abc123", "device": "a CPU", "threads": 1}
SWEEP = {"id": "G6", "title": "eps", "verdict": "green", "figure": 0.5, "threshold": 1.0, "unit": "%"}
SWEEP["limit"] = "above 1 %"
CHECKS = [
    {**SWEEP, "reason": "the curve", "points": [[0, 91.0], [8, 62.5], [128, 0.5]]},
    {**SWEEP, "id": "G2", "title": "gap < 6", "verdict": "red", "figure": 7.25, "reason": "PGD-20 <70>"},
    {**SWEEP, "id": "G5", "verdict": "not applicable", "figure": None, "reason": "no vanilla model"},
]


def attack(columns: list[str], seconds: float, **settings: Any) -> dict[str, Any]:
    settings = {"type": "PGD", "threat": "Linf 8/255", "step_size": 2 / 255, **settings}
    return {
        "columns": columns,
        "settings": settings,
        "forwards": 1234,
        "backwards": 567,
        "seconds": seconds,
        "notes": ["a <note>"],
    }


def report(clean: float = 91.25, pgd: float = 43.5, *, name: str = "NAT", **settings: Any) -> dict[str, Any]:
    accuracies = {"Clean": clean, "PGD-10": pgd + 2, "PGD-20": pgd}
    return {
        "name": name,
        "threat": "Linf 8/255",
        "success": "any",
        "images": 400,
        "columns": [{"name": k, "accuracy": a, "correct": int(4 * a), "images": 400} for k, a in accuracies.items()],
        "worst_case": pgd - 0.25,
        "attacks": [attack(["PGD-10", "PGD-20"], 61.5, steps=20, milestones=[10, 20], seed=0)],
        "settings": {
            "config": "configs/cls/nat.py",
            "checkpoint": "runs/best.safetensors",
            "checkpoint_sha256": f"hash {clean} {pgd}",
            "data": "CIFAR10, the first 400 of 10000 test images",
            "data_fingerprint": "d0d0",
            "config_fingerprint": "f1f1",
            **settings,
        },
        "provenance": {**PROVENANCE, "command": "python tools/test.py a.py <b>"},
    }


def set_report() -> dict[str, Any]:
    columns = [{"name": n, "values": {"mAP": a, "Rank-1": 2 * a}} for n, a in (("Clean", 41.5), ("FNA", 3.25))]
    whole = report()
    for key in ("success", "worst_case"):
        del whole[key]
    return {
        **whole,
        "attacked": 32,
        "cell": ["mAP", "Rank-1"],
        "columns": columns,
        "notes": ["a remark"],
        "attacks": [{**attack(["FNA"], 3.0), "success": {"fooled": 3, "of": 7, "rate": 42.857}}],
        "paper": {"name": "paper: NAT", "cells": {"FNA": "68.92/88.25"}},
    }


def test_everything_in_the_report_is_on_the_page(tmp_path: Path) -> None:
    reader = check_page(report_page({**report(name=EVIL), "checks": CHECKS}, folder=tmp_path))
    rows = {row[0]: row for row in reader.rows}
    assert rows["Clean"][1:] == ["91.25", "", "88.1–93.6", "365 of 400"]
    assert rows["PGD-20"][1:] == ["43.50", "", "38.7–48.4", "174 of 400"]
    assert rows["Worst case"][1] == "43.25" and EVIL in reader.text
    assert rows["PGD-10, PGD-20"][1:] == ["1234", "567", "62 s 61.50 s"] == rows["All"][1:]
    assert ["a <note>"] in reader.rows
    for told in ("hash 91.25 43.5", "f1f1", "torch 2.9.1", "abc123", "a CPU", "python tools/test.py a.py <b>"):
        assert told in reader.text
    assert "steps=20" in reader.text and "step_size=2/255" in reader.text


def test_checks_have_words_beside_colours_and_red_ones_come_first(tmp_path: Path) -> None:
    page = report_page({**report(), "checks": CHECKS}, folder=tmp_path)
    cards = re.findall(r'<li class="(\w+)"><span class="badge (\w+)">([^<]+)</span> <b>(G\d+)', page)
    assert cards == [
        ("red", "red", "red", "G2"),
        ("green", "green", "green", "G6"),
        ("grey", "grey", "not applicable", "G5"),
    ]
    text = Reader(page).text
    assert (
        "7.25 %, red above 1 %" in text and "gap < 6" in text and "PGD-20 <70>" in text and "no vanilla model" in text
    )
    assert "withheld" in text and "Checks" not in Reader(report_page(report(), folder=tmp_path)).text


def test_every_page_says_why_a_figure_beyond_its_tolerance_is_green(tmp_path: Path) -> None:
    verdict = {"threshold": 8.0, "limit": "at 8 points or above", "unit": "points", "tolerance": "up to 3 points"}
    green = {**CHECKS[0], **verdict, "figure": 5.0, "p_value": 0.0412, "level": 0.05 / 17}
    fact = {**CHECKS[0], "id": "AA-DYN", "p_value": None, "level": None}
    judged = {**report(), "checks": [green, fact]}
    page = check_page(report_page(judged, folder=tmp_path)).text
    assert "5 points, red at 8 points or above, p 0.04; tolerance up to 3 points" in page
    markdown = "\n".join(markdown_checks(judged))
    assert "| eps (up to 3 points) | green | 5 points (p 0.04) | at 8 points or above |" in markdown
    terminals = [" ".join(printed(console_checks(judged), width=width)) for width in (60, 160)]
    assert all("5 points (p 0.04)" in re.sub(r"[\s│┃]+", " ", text) for text in terminals)
    beside = "\n".join(markdown_checks_beside({"A": judged, "B|C": report_without_level()}))
    assert "| | check | A | B\\|C |" in beside
    assert "| G6 | eps (up to 3 points) | 5 / 8, p 0.04 | 0.5 / 1 |" in beside
    assert "| G2 | gap < 6 |  | **red 7.25** / 1 |" in beside
    compared = ChecksBeside({"A": judged})
    assert compared.rows[0].verdicts == [("green", "5 / 8, p 0.04")] and compared.rows[0].title.endswith("3 points)")
    for text in (page, markdown, *terminals, beside, compared.level):
        assert "the check is red where it is at most 0.0029" in re.sub(r"\s+", " ", text)
    # A report from before levels were kept does not get one.
    assert "at most" not in report_page(report_without_level(), folder=tmp_path)


def report_without_level() -> dict[str, Any]:
    return {**report(), "checks": CHECKS}


def test_what_a_check_tolerates_is_said_with_its_side() -> None:
    tolerances = {check.id: check.not_applicable("").tolerance for check in CHECKED}
    assert tolerances["G12"] == "at least 0.1 cosine" and tolerances["G2"] == "up to 10 points"
    assert tolerances["G6"] == "up to 1 %" and tolerances["AA-RAND"] == tolerances["G14"] == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.0, "0"), (0.0, "0"), (-8.9e-16, "0"), (math.inf, "inf"), (-0.25, "-0.25"), (12.3456, "12.35")],
)
def test_no_zero_is_negative(value: float, text: str) -> None:
    assert number_text(value) == text


def test_labels_of_a_chart_do_not_overlap() -> None:
    eps = [0, 1, 2, 4, 8, 16, 32, 64, 128]
    drawing = chart([Line("NAT", [(x, 100.0) for x in eps])], title="t", x_name="eps", even=True)
    rows: dict[float, list[tuple[float, float]]] = {}
    for label in [*drawing.labels, *drawing.curves[0].labels]:
        width = 6.5 * len(label.text)  # of 12 px letters
        left = label.x - {"start": 0, "middle": 0.5, "end": 1}[label.anchor] * width
        rows.setdefault(label.y, []).append((left, left + width))
    several = [row for row in rows.values() if len(row) > 3]
    assert len(several) == 2  # eps, and the accuracies
    for row in several:
        assert all(end < begin for (_, end), (begin, _) in zip(row, row[1:]))


def test_charts_show_steps_and_eps_where_they_belong(tmp_path: Path) -> None:
    page = report_page({**report(100.0, 48.0), "checks": CHECKS}, folder=tmp_path)
    lines = re.findall(r'<polyline points="([^"]+)"', page)
    places = [[tuple(map(float, point.split(","))) for point in line.split()] for line in lines]
    assert len(places) == 2
    steps, eps = places
    (x0, y0), (x10, y10), (x20, y20) = steps  # 100, 50 and 48 % after 0, 10 and 20 steps
    assert x10 - x0 == pytest.approx(x20 - x10, abs=0.11) and (y20 - y0) / (y10 - y0) == pytest.approx(
        52 / 50, abs=0.01
    )
    assert [round(b[0] - a[0], 1) for a, b in zip(eps, eps[1:])] == [180.0, 180.0]  # even distances
    table = [row for row in Reader(page).rows if row[0] in ("0", "10", "20", "8", "128")]
    assert table == [["0", "100.00"], ["10", "50.00"], ["20", "48.00"], ["0", "91.00"], ["8", "62.50"], ["128", "0.50"]]
    assert "<svg" not in report_page(set_report(), folder=tmp_path)


def test_the_sweep_is_read_as_the_check_writes_it() -> None:
    task, dataset = fit(TinyCNNTask(seed=1), TinyDataset(40)), TinyDataset(5, seed=5)
    case = Case(task, dataset, attacks=(), threat=Linf(8 / 255), images=5, batch_size=5)
    verdict = EpsSweep()(case)
    line = sweep_line({"name": "a", "checks": [verdict.plain()]})
    assert [x for x, _ in line.points] == [0, 1, 2, 4, 8, 16, 32, 64, 128]
    assert line.points[-1][1] == pytest.approx(verdict.figure, abs=0.05)


def test_a_report_of_a_set_has_the_papers_cells_beside_ours(tmp_path: Path) -> None:
    reader = check_page(report_page(set_report(), folder=tmp_path))
    assert ["", "mAP/Rank-1 (%)", "paper: NAT"] in reader.rows
    assert ["FNA", "3.25/6.50", "68.92/88.25"] in reader.rows and ["Clean", "41.50/83.00", ""] in reader.rows
    assert ["Clean", "41.50", "83.00"] in reader.rows  # all values
    assert "Note: a remark." in reader.text and "3 of 7 (42.86 %)" in reader.text


def test_a_column_that_is_not_applicable_is_not_the_lowest(tmp_path: Path) -> None:
    whole = set_report()
    part = {**whole, "not_applicable": {"DAG": "one class"}}
    text = check_page(report_page(part, folder=tmp_path)).text
    lowest = min((c for c in whole["columns"] if c["name"] != "Clean"), key=lambda c: c["values"][whole["cell"][0]])
    assert "worst_case" not in whole and f"Lowest: {lowest['name']}" in text and "not applicable" in text


def test_an_attack_that_cannot_attack_a_classifier_has_a_row_without_numbers(tmp_path: Path) -> None:
    reader = check_page(report_page({**report(), "not_applicable": {"AA": "three classes"}}, folder=tmp_path))
    assert ["AA", "not applicable", "", "", ""] in reader.rows and ["Worst case", "43.25"] in [
        r[:2] for r in reader.rows
    ]


def test_a_classifiers_report_has_the_papers_cells_beside_ours(tmp_path: Path) -> None:
    found = {**report(), "paper": {"name": "paper, Table 2: NAT", "cells": {"Clean": "90.86", "Avg.": "63.85"}}}
    reader = check_page(report_page(found, folder=tmp_path))
    head = next(row for row in reader.rows if "paper, Table 2: NAT" in row)
    assert head[:3] == ["", "Accuracy (%)", "paper, Table 2: NAT"]
    row = next(row for row in reader.rows if row[0] == "Clean" and row[1] == "91.25")
    assert row[2] == "90.86"
    assert "| paper, Table 2: NAT | 90.86 | " in markdown_table([found])


def test_pictures_are_in_the_page_and_heavy_ones_are_scaled(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (200, 0, 0)).save(tmp_path / "small.png")
    noise = torch.randint(0, 256, (400, 1200, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    Image.fromarray(noise.numpy()).save(tmp_path / "large.png")
    pictures = {"PGD": "small.png", "FGSM": "large.png", 'gone"><b>': "gone.png"}
    page = report_page({**report(), "pictures": pictures}, folder=tmp_path)
    reader = check_page(page)
    png, webp = (value for tag, key, value in reader.attributes if (tag, key) == ("img", "src"))
    assert png.startswith("data:image/png;") and webp.startswith("data:image/webp;")
    assert len(webp) < (tmp_path / "large.png").stat().st_size
    assert "the picture gone.png is missing" in reader.text


def test_the_worst_case_alone(tmp_path: Path) -> None:
    whole = report()
    reader = check_page(report_page({**whole, "pool": True, "columns": whole["columns"][:1]}, folder=tmp_path))
    assert "so none of them has a number of its own" in reader.text and "Strength of the attack" not in reader.text
    assert [row[:2] for row in reader.rows[1:3]] == [["Clean", "91.25"], ["Worst case", "43.25"]]


def test_write_report_writes_the_page_too(tmp_path: Path) -> None:
    write_report(tmp_path, report())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md"]
    assert "43.50" in check_page((tmp_path / "report.html").read_text()).text


def test_pictures_of_a_classifier_show_the_evaluated_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, dataset = fit(TinyCNNTask(seed=1), TinyDataset(40)), TinyDataset(30, seed=5)
    dataset.labels[0] = 3  # wrong without attack, so not among the examples
    attacks = [PGD(Linf(20 / 255), 4, step_size=8 / 255, milestones=(2, 4))]
    evaluation, drawn = evaluate(task, dataset, attacks), []
    before = {key: value.clone() for key, value in task.state_dict().items()}
    monkeypatch.setattr("natx.report.class_pictures._draw", lambda *arguments: drawn.append(arguments))
    assert draw_class_pictures(tmp_path, task, dataset, attacks, evaluation=evaluation) == {"PGD": "examples-PGD.png"}
    ((path, x, x_adv, told),) = drawn
    assert path == tmp_path / "examples-PGD.png" and torch.equal(x, dataset.images[1:5])
    assert float((x_adv - x).abs().max()) <= 20 / 255 + 1e-6 and not torch.equal(x, x_adv)
    broken = ["(wrong)" in after for _, after in told]
    assert broken == [not right for right in evaluation.correct["PGD-4"][1:5].tolist()] and True in broken
    assert [clean for clean, _ in told] == [f"class {label}" for label in dataset.labels[1:5].tolist()]
    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())
    monkeypatch.undo()
    draw_class_pictures(tmp_path, task, dataset, attacks, evaluation=evaluation)
    with Image.open(tmp_path / "examples-PGD.png") as image:
        assert image.format == "PNG" and image.width == 576


def test_pictures_of_a_sorted_set_are_of_several_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = TinyDataset(100)
    order = dataset.labels.argsort(stable=True)
    dataset.images, dataset.labels, dataset.sorted_by_class = dataset.images[order], dataset.labels[order], True
    task, drawn = fit(TinyCNNTask(seed=1), dataset), []
    monkeypatch.setattr("natx.report.class_pictures._draw", lambda *arguments: drawn.append(arguments[3]))
    attacks = [PGD(Linf(20 / 255), 1)]
    evaluation = evaluate(task, dataset, attacks)
    assert int(evaluation.correct["Clean"].sum()) > 90
    draw_class_pictures(tmp_path, task, dataset, attacks, evaluation=evaluation)
    assert len({clean for clean, _ in drawn[0]}) == 4


@pytest.mark.parametrize(("threat", "text"), [("Linf 8/255", "1.5/255"), ("L2 0.5", "0.00588235")])
def test_step_sizes_are_in_the_threats_unit(threat: str, text: str) -> None:
    told = settings_text({"type": "PGD", "threat": threat, "step_size": 1.5 / 255})
    assert told == f"type=PGD, threat={threat}, step_size={text}"


def test_step_sizes_inside_other_attacks_are_written_the_same_way() -> None:
    linf = "type=PGD, threat=Linf 8/255, step_size=0.00784313725490196, steps=5"
    settings = {"threat": "Linf 8/255", "attacks": f"{linf}; type=PGD, threat=L2 0.5, step_size=0.125", "steps": 3}
    assert settings_text(settings) == (
        "threat=Linf 8/255, attacks=type=PGD, threat=Linf 8/255, step_size=2/255, steps=5; "
        "type=PGD, threat=L2 0.5, step_size=0.125, steps=3"
    )


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120, 160])
def test_no_width_of_a_terminal_cuts_a_number(width: int) -> None:
    whole = report(name="a name that is [/too] long")
    accuracies = {f"Eq. {i}, a{'long' * (i % 4)}name": 10 + i + i / 100 for i in range(20)}
    whole["columns"] = [{"name": name, "accuracy": value} for name, value in accuracies.items()]
    lines = printed(console_table([whole]), width=width)
    assert all(len(line) <= width for line in lines)
    assert re.findall(r"\d+\.\d\d", " ".join(line for line in lines if "│" in line)) == [
        *(f"{value:.2f}" for value in accuracies.values()),
        "43.25",
    ]
    assert "…" not in "".join(lines)


@pytest.mark.parametrize("width", [40, 80, 120, 160])
def test_no_width_of_a_terminal_hides_what_checks_say(width: int) -> None:
    checks = [{**CHECKS[0], "id": "AA-CLASSES", "figure": -0.987654, "unit": "logits"}, CHECKS[2]]
    checks[0] |= {"title": "rise of the loss in the last fifth of the steps", "reason": "hint " * 30 + "end"}
    lines = printed(console_checks({**report(), "checks": checks}), width=width)
    assert all(len(line) <= width for line in lines)
    text = re.sub(r"[\s│┃]+", " ", " ".join(lines))
    assert "AA-CLASSES" in text and text.count("hint") == 30 and "end" in text and "no vanilla model" in text
    assert "-0.9877" in text and "above" in text and "not applicable" in text and "…" not in text


def printed(table: Any, *, width: int) -> list[str]:
    """The lines of a terminal of some width."""
    told = io.StringIO()
    Console(file=told, width=width).print(table)
    return told.getvalue().splitlines()


def write(folder: Path, content: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(content))
    return folder


def test_seeds_become_mean_and_deviation_by_hand(tmp_path: Path) -> None:
    a = write(tmp_path / "a", report(90.0, 40.0, training_seed=0))
    b = write(tmp_path / "b", report(92.0, 43.0, training_seed=1))
    c = write(tmp_path / "c", report(80.0, 50.0, name="TRADES <1>"))
    tables = compare(read_runs([a, b, c / "report.json"]))
    assert len(tables) == 1 and tables[0].notes == []
    reader = check_page(comparison_page(tables))
    # (90 + 92) / 2, and sqrt(1 + 1); 41.5 and sqrt(2 * 1.5 ** 2)
    assert ["", "seeds", "Worst case", "Clean", "PGD-10", "PGD-20"] in reader.rows  # the headline comes first
    assert ["NAT", "2", "41.25 ± 2.12", "91.00 ± 1.41", "43.50 ± 2.12", "41.50 ± 2.12"] in reader.rows
    assert ["seed 1, b", "", "42.75", "92.00", "45.00", "43.00"] in reader.rows
    assert ["TRADES <1>", "1", "49.75", "80.00", "52.00", "50.00"] in reader.rows
    assert ["10", "43.50", "52.00"] in reader.rows  # the chart's numbers are means


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"threat": "Linf 4/255"}, "threat (Linf 4/255 instead of Linf 8/255)"),
        ({"images": 100}, "images (100 instead of 400)"),
        ({"success": "last"}, "success (last instead of any)"),
        ({"settings": {"data": "CIFAR100"}}, "data (CIFAR100 instead of CIFAR10, the first 400 of 10000 test images)"),
        ({"settings": {"data_fingerprint": "e1"}}, "data fingerprint (e1 instead of d0d0)"),
        ({"attacks": {"steps": 40}}, "attacks (PGD-10, PGD-20: steps 40 instead of 20)"),
        ({"attacks": {"objective": "Margin"}}, "attacks (PGD-10, PGD-20: objective Margin instead of none)"),
    ],
)
def test_what_was_measured_otherwise_gets_a_table_of_its_own(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    other = copy.deepcopy(report(70.0, 30.0))
    other["settings"].update(change.get("settings", {}))
    other["attacks"][0]["settings"].update(change.get("attacks", {}))
    other.update({key: value for key, value in change.items() if key not in ("settings", "attacks")})
    runs = read_runs([write(tmp_path / "a", report()), write(tmp_path / "b", other)])
    one, two = compare(runs)
    assert (one.reason, two.reason) == ("", reason)
    assert [[run.path.parent.name for row in table.rows for run in row.runs] for table in (one, two)] == [["a"], ["b"]]
    text = check_page(comparison_page([one, two])).text
    assert f"A table of its own: {reason}." in text and "±" not in text


def test_other_attacks_are_named_in_a_few_words(tmp_path: Path) -> None:
    inner = "type=PGD, threat=Linf 8/255, steps={}, step_size=0.00784313725490196; type=FGSM, steps=1"
    both = ["A", "B (b)", "C"]

    def with_attacks(names: list[str], steps: int, **settings: Any) -> dict[str, Any]:
        several = attack(["Several"], 1.0, attacks=inner.format(steps), **settings)
        return {**report(), "attacks": [*(attack([name], 1.0, **settings) for name in names), several]}

    def reason(one: dict[str, Any], other: dict[str, Any]) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        tables = compare(read_runs([write(folder / "a", one), write(folder / "b", other)]))
        return tables[1].reason if len(tables) == 2 else ""

    # An inner attack's text has the signs in it that settings and attacks are joined with.
    same = with_attacks(both, 5)
    assert reason(same, with_attacks(both, 5)) == ""
    assert reason(same, with_attacks(both, 7)) == "attacks (Several: another attacks)"
    assert reason(same, with_attacks(["C", "D", "E", "F", "G", "H"], 5)) == (
        "attacks (without A / B (b); with D / E / F / 2 more)"
    )
    assert reason(same, with_attacks(both, 5, restarts=4)) == (
        "attacks (A / B (b) / C / 1 more: restarts 4 instead of none)"
    )
    step = with_attacks(both, 5, step_size=1 / 255)
    assert reason(same, step) == "attacks (A / B (b) / C / 1 more: step_size 1/255 instead of 2/255)"


def test_which_attack_has_which_threat_counts_where_there_are_several(tmp_path: Path) -> None:
    def with_threats(*radii: int) -> dict[str, Any]:
        texts = [f"Linf {radius}/255" for radius in radii]
        attacks = [attack([name], 1.0, threat=text) for name, text in zip("ABC", texts)]
        return {**report(), "threat": ", ".join(dict.fromkeys(texts)), "attacks": attacks}

    orders = [(8, 4, 4), (8, 8, 4), (8, 4, 4)]  # one text for all three reports
    one, two = compare(read_runs([write(tmp_path / str(i), with_threats(*radii)) for i, radii in enumerate(orders)]))
    assert len(one.reports) == 1 and two.reason == "attacks (B: threat Linf 8/255 instead of Linf 4/255)"
    assert len(one.notes) == 1 and one.notes[0].endswith("counted once")  # the third is measured as the first


def test_what_all_reports_remark_on_is_said_once(tmp_path: Path) -> None:
    """It is of the images that all were judged on: what a ranking at random gives on them."""
    shared = "a ranking at random gives mAP/Rank-1 of 3.64/2.27 on average"
    reports = [report(90.0, 40.0), report(80.0, 50.0, name="TRADES")]
    reports[0]["notes"], reports[1]["notes"] = ["of one", shared], [shared]
    (table,) = compare(read_runs([write(tmp_path / str(i), content) for i, content in enumerate(reports)]))
    assert table.notes == [shared]
    assert comparison_page([table]).count(f"Note: {shared}.") == 1


def test_the_names_of_measures_are_written_as_they_are() -> None:
    published = Path(__file__).resolve().parents[2] / "results" / "demo_reid"
    page = comparison_page(compare(read_runs(sorted(published.glob("*.json")))))
    assert "mAP/Rank-1 (%), Linf 8/255" in page and "MAP/" not in page


def test_runs_that_are_no_seeds_of_one_training_are_not_averaged(tmp_path: Path) -> None:
    reports = [
        report(90.0, 40.0),
        report(91.0, 41.0, config_fingerprint="f2f2"),
        report(92.0, 42.0, checkpoint="runs/last.safetensors"),
        report(90.0, 40.0),  # the same checkpoint as the first
    ]
    reports[1]["provenance"] = {**PROVENANCE, "device": "a GPU"}
    (table,) = compare(read_runs([write(tmp_path / str(i), content) for i, content in enumerate(reports)]))
    assert [row.name for row in table.rows] == [
        "NAT (nat, f1f1, best)",
        "NAT (nat, f2f2, best)",
        "NAT (nat, f1f1, last)",
    ]
    assert [len(row.runs) for row in table.rows] == [1, 1, 1]
    first = tmp_path / "0" / "report.json"
    assert f"{tmp_path / '3' / 'report.json'} judges the same checkpoint as {first}: counted once" in table.notes
    assert "device differ: a CPU | a GPU" in table.notes


def test_seeds_that_nothing_tells_are_not_said_to_be_the_same(tmp_path: Path) -> None:
    for seed, same in (("unknown", False), (7, True)):
        reports = [report(clean, 40.0, training_seed=seed) for clean in (90.0, 91.0)]
        files = [write(tmp_path / f"{seed}" / str(i), content) for i, content in enumerate(reports)]
        (table,) = compare(read_runs(files))
        assert len(table.rows[0].runs) == 2
        assert any("trained with the same seed" in note for note in table.notes) == same


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    good = write(tmp_path / "run" / "test-quick", report())
    (tmp_path / "text.json").write_text("no json")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "half.json").write_text('{"name": "a", "columns": []}')
    (tmp_path / "picture.json").write_bytes(b"\x89PNG\r\n\x1a\n\x00")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name, change in {"number": {"columns": 3}, "texts": {"attacks": ["PGD"]}, "flat": {"settings": "none"}}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({**report(), **change}))
    cases = {
        "picture.json is no JSON": [tmp_path / "picture.json"],
        "deep.json is no report": [tmp_path / "deep.json"],
        "of another kind are columns": [tmp_path / "number.json"],
        "of another kind are attacks": [tmp_path / "texts.json"],
        "of another kind are settings": [tmp_path / "flat.json"],
        "no report at": [tmp_path / "nothing"],
        f"there is {good / 'report.json'}": [tmp_path / "run"],
        "is no JSON": [tmp_path / "text.json"],
        "is no report, it lacks name": [tmp_path / "list.json"],
        "it lacks threat, images, attacks, settings, provenance:": [tmp_path / "half.json"],
        "is given twice": [good, good / "report.json"],
    }
    for told, paths in cases.items():
        with pytest.raises(DataError, match=re.escape(told)) as error:
            read_runs(paths)
        assert "\n" not in str(error.value)


def test_the_tool_writes_a_page_or_says_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(write(tmp_path / name, report(90.0, pgd))) for name, pgd in (("a", 40.0), ("b", 41.0))]
    monkeypatch.chdir(tmp_path)

    def tool(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["report.py", *words])
        runpy.run_path(str(ROOT / "tools" / "report.py"), run_name="__main__")

    monkeypatch.setattr(sys, "path", list(sys.path))  # the tool adds to it
    tool(*runs)
    assert "written: compare.html" in capsys.readouterr().out
    assert "40.50 ± 0.71" in check_page((tmp_path / "compare.html").read_text()).text
    with pytest.raises(SystemExit, match="2"):
        tool(str(tmp_path / "missing"))
    told = capsys.readouterr().err
    assert told.startswith("error: no report at") and told.count("\n") == 1
    outs = {
        tmp_path / "a": "is a folder",
        tmp_path / "compare.html" / "x.html": "is a file",
        tmp_path / "a" / "report.json": "exists and is no .html file",
    }
    before = (tmp_path / "a" / "report.json").read_text()
    for out, words in outs.items():
        with pytest.raises(SystemExit, match="2"):
            tool(*runs, "--out", str(out))
        told = capsys.readouterr().err
        assert words in told and told.count("\n") == 1
    assert (tmp_path / "a" / "report.json").read_text() == before


CHROMIUM = shutil.which("chromium")
# A page that asks a browser how wide other pages become in frames, what they loaded, and their colours.
PROBE = """<!DOCTYPE html><html><head><title>waiting</title></head><body>%s<script>
addEventListener("load", () => {
  document.title = JSON.stringify([...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    page.querySelectorAll("details").forEach(part => part.open = true);
    const colour = (key) => frame.contentWindow.getComputedStyle(page.body)[key];
    const boxes = [...page.querySelectorAll("svg text")].map(part => part.getBoundingClientRect());
    const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    const headlines = [...page.querySelectorAll("thead th")].filter(cell => cell.textContent == "Worst case");
    return {width: frame.clientWidth, scroll: root.scrollWidth,
      loaded: frame.contentWindow.performance.getEntriesByType("resource").map(entry => entry.name),
      broken: [...page.images].filter(image => !image.naturalWidth).length, images: page.images.length,
      boxes: [...page.querySelectorAll(".scroll")].filter(box => box.scrollWidth > box.clientWidth).length,
      whole: [...page.querySelectorAll(".scroll")].slice(0, 1).every(box => box.scrollWidth <= box.clientWidth),
      labels: boxes.length, overlaps: boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => meet(a, b))).length,
      headlines: headlines.map(cell => cell.getBoundingClientRect().right <=
        cell.closest(".scroll").getBoundingClientRect().right),
      back: colour("backgroundColor"), text: colour("color")};
  }));
});
</script></body></html>"""


def probe(folder: Path, pages: list[str], *, dark: bool = False) -> list[dict[str, Any]]:
    """What a browser finds on each page at 360 and 1200 pixels."""
    frames = "".join(
        f'<iframe src="{p}" style="width:{w}px;height:900px;border:0"></iframe>' for p in pages for w in (360, 1200)
    )
    (folder / "probe.html").write_text(PROBE % frames)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000", "--window-size=1400,1000"]
    command += [
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        "--dump-dom",
        f"file://{folder}/probe.html",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title and title[1] != "waiting", done.stderr[-2000:]
    return json.loads(title[1].replace("&amp;", "&"))


def brightness(colour: str) -> int:
    return sum(int(value) for value in re.findall(r"\d+", colour)[:3])


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)")
def test_a_browser_shows_the_pages_at_any_width_and_loads_nothing(tmp_path: Path) -> None:
    Image.new("RGB", (900, 300), (200, 0, 0)).save(tmp_path / "wide.png")
    name = "A" * 120 + EVIL
    swept = [[eps, max(0.0, 100.0 - eps)] for eps in (0, 1, 2, 4, 8, 16, 32, 64, 128)]
    checks = [{**CHECKS[0], "points": swept}, *CHECKS[1:]]
    page = report_page({**report(name=name), "checks": checks, "pictures": {"PGD": "wide.png"}}, folder=tmp_path)
    (tmp_path / "one.html").write_text(page)
    (tmp_path / "set.html").write_text(report_page(set_report(), folder=tmp_path))
    runs = read_runs([write(tmp_path / n, report(90.0, p, name=name)) for n, p in (("a", 40.0), ("b", 41.0))])
    (tmp_path / "many.html").write_text(comparison_page(compare(runs)))
    results = ROOT / "results"
    analysis = json.loads((results / "analysis_small" / "analysis.json").read_text())
    (tmp_path / "analysis.html").write_text(analysis_page(analysis, folder=results / "analysis_small"))
    matrix = json.loads((results / "transfer_small" / "transfer.json").read_text())
    (tmp_path / "transfer.html").write_text(transfer_page(matrix))
    many = read_runs(sorted((results / "cifar10_small").glob("*.json")))
    (tmp_path / "seeds.html").write_text(comparison_page(compare(many)))
    # What the probe must notice, or it would prove nothing.
    svg = '<svg><text x="10" y="20">100.0</text><text x="20" y="20">99.0</text></svg>'
    far = (
        '<div class="scroll" style="width:50px;overflow:auto"><table><thead><tr><th style="min-width:400px">Worst case'
    )
    (tmp_path / "bad.html").write_text(
        f'<div style="width:2000px">wide<img src="http://127.0.0.1:9/x.png">{svg}{far}</table></div></div>'
    )
    pages = ["one.html", "set.html", "many.html", "analysis.html", "transfer.html", "seeds.html"]
    *good, bad, _ = probe(tmp_path, [*pages, "bad.html"])
    assert bad["scroll"] >= 2000 and bad["loaded"] == ["http://127.0.0.1:9/x.png"] and bad["broken"] == 1
    assert bad["overlaps"] == 1 and bad["headlines"] == [False]
    assert [found["width"] for found in good] == [360, 1200] * len(pages)
    for found in good:
        assert found["scroll"] <= found["width"] and found["loaded"] == [] and found["broken"] == 0, found
        assert brightness(found["back"]) > brightness(found["text"]) and found["overlaps"] == 0, found
    assert good[0]["labels"] > 20 and good[4]["headlines"] == good[5]["headlines"] == [True]
    assert good[11]["whole"]  # ten columns with their deviations fit 1,200 pixels
    assert good[0]["images"] == 1 and good[0]["boxes"] > 0  # tables scroll inside their boxes on a phone
    for found in probe(tmp_path, ["one.html", "many.html"], dark=True):
        assert brightness(found["back"]) < 150 < 550 < brightness(found["text"])
