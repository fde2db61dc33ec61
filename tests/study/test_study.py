"""Studies: rows over seeds, trained and judged once, rendered from what lies in their folders."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from workshop import DIGITS, ROOT, Workshop, merged, nat, write_config

from natx.config import frozen_models
from natx.models.checkpoint import save_state
from natx.report.summary import Beside, summary_table, with_average
from natx.runtime.files import write_json
from natx.runtime.locks import IN_USE, sole_use
from natx.study import Judging, Row, Study, describe_study, draw_figure, load_study
from natx.study.content import checkpoint_choice
from natx.study.figure import points
from natx.study.run import RowReports
from natx.study.times import epoch_report, epoch_seconds, spent, timed_by_step
from natx.study.trainings import row_training

SHORT = {"train_cfg": {"max_epochs": 1}}
ATTACKS: dict[str, Any] = {
    "threat": {"type": "Linf", "eps": 0.2},
    "attacks": [{"type": "PGD", "steps": 2, "step_size": 0.1, "milestones": (1, 2)}],
}


def study_file(shop: Workshop, **rows: dict[str, Any]) -> Path:
    """A study of the vanilla digits net and NAT beside it, with other rows in place of NAT if there are any."""
    vt = shop.digits("vt.py", **SHORT)
    path = shop.digits("nat.py", **SHORT, method=nat({"config": str(vt)}))
    rows = rows or {"nat": {"name": "NAT", "config": str(path), "adversary": "vt"}}
    attacks = shop.write("attacks.py", ATTACKS)
    content = {"title": "Digits", "seeds": [0, 1], "subset": 40, "attacks": str(attacks)}
    text = write_config(shop.folder / "x.py", {**content, "rows": {"vt": {"name": "VT", "config": str(vt)}, **rows}})
    path = shop.folder / "study.py"
    path.write_text(f"# What it asks,\n# in two lines.\n# Cost: none.\n{text.read_text()}")
    return path


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report" / "report.json").read_text())


def accuracy(found: dict[str, Any], column: str) -> float:
    return next(one["accuracy"] for one in found["columns"] if one["name"] == column)


def test_a_study_trains_judges_and_renders_each_row_with_each_seed(shop: Workshop) -> None:
    study, work = study_file(shop), shop.folder / "work"
    ran = shop.run("study.py", study, "--work-dir", work)
    assert ran.code == 0, ran.err
    found = {(name, seed): report(work / f"seed{seed}" / name) for name in ("vt", "nat") for seed in (0, 1)}
    lines = (work / "study.md").read_text().splitlines()
    assert lines[:6] == [
        *("# Digits", "", f"Made by `python tools/study.py {study}`.", ""),
        *("What it asks,", "in two lines."),
    ]
    assert "| | seeds | Clean | PGD-1 | PGD-2 | Worst case |" in lines
    for name, title in (("vt", "VT"), ("nat", "NAT")):
        cells = []
        for column in ("Clean", "PGD-1", "PGD-2"):
            values = [accuracy(found[name, seed], column) for seed in (0, 1)]
            mean, half = sum(values) / 2, abs(values[0] - values[1]) / 2
            cells.append(f"{mean:.2f} ± {half * 2**0.5:.2f}")  # of two values: the distance over the root of two
        assert any(line.startswith(f"| {title} | 2 | {' | '.join(cells)} | ") for line in lines), lines
        assert f"| {title}, seed 1 | 1 | {accuracy(found[name, 1], 'Clean'):.2f} | " in "\n".join(lines)
    # PGD with two steps: two forwards and backwards, two views, and the adversary on both.
    assert any(line.startswith("| VT | 1 forwards, 1 backwards | ") for line in lines)
    assert any(line.startswith("| NAT | 6 forwards, 4 backwards | ") for line in lines)
    for seed in (0, 1):  # the adversary is the row's of the same seed
        (entry,) = frozen_models(Config.fromfile(work / f"seed{seed}" / "nat" / "nat.py"))
        assert entry["checkpoint"] == str(work / f"seed{seed}" / "vt" / "best.safetensors")
        assert found["vt", seed]["settings"]["checkpoint"] == entry["checkpoint"]
        assert found["vt", seed]["images"] == 40
    # Again: nothing is trained or judged, and the same text comes out.
    times = {path: path.stat().st_mtime_ns for path in work.rglob("*.json")}
    assert shop.run("study.py", study, "--work-dir", work).code == 0
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*.json")} == times
    assert (work / "study.md").read_text().splitlines() == lines


def test_one_row_brings_its_adversary_and_the_rest_is_not_run(shop: Workshop) -> None:
    study, work = study_file(shop), shop.folder / "work"
    assert shop.run("study.py", study, "--work-dir", work, "--rows", "nat", "--seed", "1").code == 0
    assert sorted(path.parent.relative_to(work).as_posix() for path in work.rglob("done.json")) == [
        *("seed1/nat", "seed1/vt")
    ]
    text = (work / "study.md").read_text()
    assert "| VT | 0 | not run | not run | not run | not run |" in text
    assert re.search(r"\n\| NAT \| 1 \| \d+\.\d\d \| ", text)
    assert "| NAT, seed 0 | 0 | not run |" in text


def test_what_a_study_would_lose_is_refused_before(shop: Workshop) -> None:
    study, other = study_file(shop), shop.folder / "mine.py"
    other.write_text("seed = 1\n")
    for words, part in (
        (["--out", other], "mine.py is there"),
        (["--seed", 9], "--seed 9 is none of the study's seeds"),
    ):
        assert part in shop.run("study.py", study, "--work-dir", shop.folder / "work", "--report", *words).error()
    assert other.read_text() == "seed = 1\n"


def test_an_adversary_has_the_network_of_its_row(shop: Workshop) -> None:
    wider = {"task.model_args.width": 6}
    row = {"config": str(shop.folder / "nat.py"), "adversary": "vt", "options": wider}
    vt = {"name": "VT", "config": str(shop.folder / "vt.py"), "options": wider}
    study, work = study_file(shop, vt=vt, nat={"name": "NAT", **row}), shop.folder / "work"
    ran = shop.run("study.py", study, "--work-dir", work, "--rows", "nat", "--seed", "0")
    assert ran.code == 0, ran.err
    assert re.search(r"\n\| NAT \| 1 \| \d+\.\d\d \| ", (work / "study.md").read_text())


def test_two_studies_do_not_judge_a_row_at_the_same_time(shop: Workshop) -> None:
    study, work = study_file(shop), shop.folder / "work"
    arguments = [study, "--work-dir", work, "--rows", "vt", "--seed", 0]
    folder = work / "seed0" / "vt" / "report"
    with sole_use(folder, work="an evaluation"):
        line = shop.run("study.py", *arguments).error()
    assert f"{folder} is being written to by an evaluation" in line
    folder.mkdir(exist_ok=True)
    (folder / IN_USE).write_text("one that was killed")
    assert shop.run("study.py", *arguments).code == 0
    assert report(work / "seed0" / "vt")["images"] == 40 and not (folder / IN_USE).exists()


def test_a_study_that_is_told_to_stop_between_trainings_can_be_requeued(shop: Workshop) -> None:
    shop.monkeypatch.setattr("natx.study.run_row", lambda *_, **__: os.kill(os.getpid(), signal.SIGUSR1))
    ran = shop.run("study.py", study_file(shop), "--work-dir", shop.folder / "work")
    assert ran.code == 75 and "stopped by SIGUSR1; the same command goes on" in ran.err


def test_a_column_that_does_not_apply_to_any_seed_is_not_called_not_run() -> None:
    one = {"name": "a", "columns": [{"name": "Clean", "accuracy": 50.0}], "not_applicable": {"AA": "two classes"}}
    two = {**one, "columns": [*one["columns"], {"name": "AA", "accuracy": 10.0}], "not_applicable": {}}
    missing = {**one, "not_applicable": {}}
    rows = {"neither": [one, one], "of one": [one], "of some": [one, two], "not asked": [one, missing]}
    table = summary_table(rows)
    assert table.head == ["", "seeds", "Clean", "AA"]
    cells = {row.cells[0]: row.cells[-1] for row in table.rows if row.kind == "training"}
    reason = "not applicable"
    assert cells == {"neither": reason, "of one": reason, "of some": "10.00 (1 of 2 seeds)", "not asked": "not run"}


def test_rows_whose_checkpoints_were_chosen_otherwise_are_named() -> None:
    def row(name: str, *selections: str) -> RowReports:
        reports = [{"settings": {"selected_on": selection}} for selection in selections]
        return RowReports(Row(name, name, "a.py"), reports=[*reports, None])

    clean, robust = "9 images, by clean accuracy", "9 images, by accuracy under PGD-10"
    same = [row("PGD-AT", robust, robust), row("NAT", robust), row("not run")]
    assert checkpoint_choice(same) == f"chosen on {robust}"
    other = [row("Vanilla", clean), *same, row("Free", "nothing: no images were held out")]
    expected = f"chosen on {clean} (Vanilla); chosen on {robust} (PGD-AT, NAT); the last epoch's (Free)"
    assert checkpoint_choice(other) == expected
    assert checkpoint_choice([row("not run")]) == ""


def test_bad_rows(shop: Workshop) -> None:
    line = shop.run("study.py", study_file(shop), "--rows", "natt").error()
    assert "no row is called natt; the rows are vt, nat" in line
    other = {"nat": {"name": "NAT", "config": str(shop.folder / "nat.py"), "adversary": "vanilla"}}
    assert (
        "the adversary of the row nat is vanilla, which is no row"
        in shop.run("study.py", study_file(shop, **other)).error()
    )
    assert "lacks title, seeds, attacks, rows" in shop.run("study.py", shop.digits()).error()


def test_a_folder_with_another_training_is_neither_used_nor_shown(shop: Workshop) -> None:
    study, work = study_file(shop), shop.folder / "work"
    vt = ("--work-dir", work, "--rows", "vt", "--seed", "0")
    assert shop.run("study.py", study, *vt).code == 0
    line = shop.run("study.py", study, *vt, "--cfg-options", "train_cfg.max_epochs=2").error()
    assert "seed0/vt was trained under other configs or options" in line
    assert "--work-dir" in line
    changed = shop.run("study.py", study, "--work-dir", work, "--report", "--cfg-options", "train_cfg.max_epochs=2")
    assert "| VT | 0 | not run |" in changed.out
    assert re.search(r"Note: \S+seed0/vt was trained under other configs or options .*: not shown\.", changed.out)
    assert "--cfg-options train_cfg.max_epochs=2`." in changed.out
    # Where the data lies and on how many threads it is read changes nothing.
    same = shop.run("study.py", study, "--work-dir", work, "--report", "--cfg-options", "data.num_workers=2")
    assert re.search(r"\n\| VT \| 1 \| \d", same.out)


def test_a_study_audits_its_rows_and_shows_the_verdicts_beside_each_other(shop: Workshop) -> None:
    study, work = study_file(shop), shop.folder / "work"
    study.write_text(study.read_text() + "\naudit = dict(images=20, vanilla='vt')\nseeds = [1]\n")
    assert shop.run("study.py", study, "--work-dir", work).code == 0
    text = (work / "study.md").read_text()
    lines = text.splitlines()
    assert "| | check | VT | NAT |" in lines
    for name in ("vt", "nat"):
        found = report(work / "seed1" / name)
        assert len(found["checks"]) == 22
        assert 'The word "robust" is withheld from this model' in text  # AutoAttack was not run
        undefended = next(check for check in found["checks"] if check["id"] == "G5")
        assert "no undefended model was given" not in undefended["reason"]
    scores = {name: {c["id"]: c for c in report(work / "seed1" / name)["checks"]} for name in ("vt", "nat")}
    for number in ("G2", "G14", "G16"):
        cells = []
        for name in ("vt", "nat"):
            check = scores[name][number]
            limit = "" if check["threshold"] is None else f" / {check['threshold']:.4g}"
            limit += "" if check["p_value"] is None else f", p {check['p_value']:.1g}"
            red = check["verdict"] == "red"
            figure = "" if check["figure"] is None else f"{check['figure']:z.4g}"
            cells.append((f"**red {figure}**" if red else figure) + limit if figure else "–")
        assert any(line.startswith(f"| {number} | ") and line.endswith(f"| {' | '.join(cells)} |") for line in lines)


def test_a_wrong_audit_is_refused_before_anything_runs(shop: Workshop) -> None:
    study = study_file(shop)
    text = study.read_text()
    study.write_text(f"{text}\naudit = dict(vanilla='plain')\n")
    assert "the undefended model of the audit is plain, which is no row" in shop.run("study.py", study).error()
    study.write_text(f"{text}\naudit = dict(pictures=3)\n")
    assert "audit.pictures is read by nothing; known there: images, vanilla" in shop.run("study.py", study).error()


def test_a_report_of_another_question_is_neither_used_nor_shown(shop: Workshop) -> None:
    study, work = study_file(shop), shop.folder / "work"
    vt = ("--work-dir", work, "--rows", "vt", "--seed", "0")
    assert shop.run("study.py", study, *vt).code == 0
    text = study.read_text()
    for change in ("subset = 30", "audit = dict(images=10)"):
        study.write_text(f"{text}\n{change}\n")
        line = shop.run("study.py", study, *vt).error()
        assert "report.json was judged by other attacks, images or checks: remove it" in line
        shown = shop.run("study.py", study, "--work-dir", work, "--report")
        assert (
            "| VT | 0 | not run |" in shown.out
            and "was judged by other attacks, images or checks: not shown" in shown.out
        )
    study.write_text(text)
    weights = work / "seed0" / "vt" / "best.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-4] + bytes(4))  # another training's, made after the report
    assert (
        "report.json is of other weights than best.safetensors has now: remove it"
        in shop.run("study.py", study, *vt).error()
    )
    shown = shop.run("study.py", study, "--work-dir", work, "--report")
    assert "| VT | 0 | not run |" in shown.out and "other weights than best.safetensors has now: not shown" in shown.out
    weights.write_bytes(kept)
    stronger = {**ATTACKS, "attacks": [{**ATTACKS["attacks"][0], "step_size": 0.05}]}
    shop.write("attacks.py", stronger)
    assert "was judged by other attacks" in shop.run("study.py", study, *vt).error()


def test_attacks_that_look_at_a_rows_model_get_that_rows_weights(shop: Workshop) -> None:
    study, work = study_file(shop), shop.folder / "work"
    transfer = {
        "type": "Transfer",
        "source": "plain",
        "name": "T",
        "attack": {**ATTACKS["attacks"][0], "milestones": None},
    }
    sources = {"plain": {"config": str(shop.folder / "vt.py"), "checkpoint": "nowhere.safetensors"}}
    attacks = {**ATTACKS, "sources": sources, "attacks": [*ATTACKS["attacks"], transfer]}
    shop.write("attacks.py", attacks)
    assert shop.run("study.py", study, "--work-dir", work, "--rows", "nat", "--seed", "1").code == 0
    found = report(work / "seed1" / "nat")
    named = next(a for a in found["attacks"] if a["columns"] == ["T"])["settings"]
    assert str(work / "seed1" / "vt" / "best.safetensors") in str(named)
    assert "| | seeds | Clean | PGD-1 | PGD-2 | T | Worst case |" in (work / "study.md").read_text()


# Published studies and the folder, in a training's, of the reports that they show.
PUBLISHED = {
    "cifar10_full": "report",
    "cifar10_full_audit": "audit",
    "cifar10_small": "report",
    "det_photos": "report",
    "det_small": "report",
    "digits_bf16": "report",
    "catastrophic_overfitting": "report",
    "methods_small": "report-linf8_table-200",
    "audit_small": "audit",
    "adaptive_small": "adaptive",
    "reid_mars": "report",
    "reid_mars_resnet50": "report",
    "reid_small": "report",
    "speed": "report",
}
SHARED = {"speed": ("cifar10_full",)}  # studies whose reports another one shows as well


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_results_render_to_their_published_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shop: Workshop, name: str
) -> None:
    """Every row of numbers and costs in results/ comes out again from the reports beside it, by the printed command."""
    monkeypatch.chdir(ROOT)
    folders = [ROOT / "results" / part for part in (name, *SHARED.get(name, ()))]
    for path in [
        path for folder in folders for pattern in ("*.json", "*-seed*/*.json") for path in folder.glob(pattern)
    ]:
        alone = path.parent in folders
        row, seed = (path.stem if alone else path.parent.name).rsplit("-seed", 1)
        folder = tmp_path / "work" / f"seed{seed}" / row / PUBLISHED[name]  # a folder a judging where there are several
        target = (folder if alone else folder / path.stem) / "report.json"
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
    text = (ROOT / "results" / f"{name}.md").read_text()
    made_by = re.search(r"Made by `python tools/(\S+) ([^`]*)`", text)
    assert made_by is not None
    tool, words = made_by[1], made_by[2].split()
    ran = shop.run(tool, *words, "--report", "--work-dir", tmp_path / "work", "--out", tmp_path / "out.md")
    assert ran.code == 0, ran.err

    def parts(lines: list[str]) -> list[str]:
        return [line for line in lines if line.startswith(("|", "#", "Note", "Run on"))]

    published = text.split("## Reading")[0].splitlines()  # what follows is written by hand
    assert len(parts(published)) > 8
    assert parts((tmp_path / "out.md").read_text().splitlines()) == parts(published)


# --- which trainings a row takes --------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Configs of a vanilla net, NAT, a student of NAT, and NAT beside other adversaries."""
    vt = write_config(tmp_path / "vt.py", DIGITS)
    write_config(tmp_path / "nat.py", merged(DIGITS, {"method": nat({"config": str(vt)})}))
    student = {"type": "Distillation", "teacher": {"config": str(tmp_path / "nat.py")}, "method": {"type": "Standard"}}
    write_config(tmp_path / "student.py", merged(DIGITS, {"method": student}))
    wider = {"config": str(vt), "options": {"task.model_args.width": 6}}
    write_config(tmp_path / "beside_wider.py", merged(DIGITS, {"method": nat(wider)}))
    members = {"members": [{"config": str(vt)}, wider, {"task": DIGITS["task"], "state": "random"}]}
    write_config(tmp_path / "ensemble.py", merged(DIGITS, {"method": nat(members)}))
    smooth = {"task": {"label_smoothing": 0.1}, "method": nat({"config": str(vt)})}
    write_config(tmp_path / "smooth.py", merged(DIGITS, smooth))
    return tmp_path


def table(rows: list[Row], **changes: Any) -> Study:
    settings = {"seeds": [0, 1], "judgings": [], "columns": ["s/epoch"], "table": True, **changes}
    return Study("Table", "", rows, **settings)


def training(library: Path, name: str, *, seed: int = 1, **options: Any) -> Any:
    row = Row(name, name, str(library / f"{name}.py"), folder=name)
    return row_training(table([row]), row, Path("work"), seed=seed, options=options)


def test_frozen_models_are_trained_with_the_rows_seed_beside_it(library: Path) -> None:
    student = training(library, "student", seed=1)
    (teacher,) = student.first
    (adversary,) = teacher.first
    assert [str(one.folder) for one in (student, teacher, adversary)] == [
        *("work/seed1/student", "work/seed1/nat", "work/seed1/vt")
    ]
    assert {one.config.seed for one in (student, teacher, adversary)} == {1}
    assert student.config.method.teacher.checkpoint == "work/seed1/nat/best.safetensors"
    assert teacher.config.method.terms[1].adversary.checkpoint == "work/seed1/vt/best.safetensors"
    alone = training(library, "vt", seed=1)
    assert alone.folder == adversary.folder
    assert alone.identity() == adversary.identity()  # a row of its own is the same training


def test_a_frozen_model_of_other_settings_has_a_folder_of_its_own(library: Path) -> None:
    plain, wider, random = ("vt", "beside_wider", "ensemble")
    (adversary,) = training(library, wider).first
    assert re.fullmatch(r"work/seed1/vt-[0-9a-f]{8}", str(adversary.folder))
    assert adversary.config.task.model_args.width == 6
    both = training(library, random).first
    assert [one.folder.name for one in both] == [plain, adversary.folder.name]  # an untrained member needs none
    assert training(library, wider, seed=0).first[0].folder.name == adversary.folder.name
    (smooth,) = training(library, "smooth").first  # of the target's architecture: it takes the target's settings
    assert smooth.config.task.label_smoothing == 0.1
    assert smooth.folder.name not in ("vt", adversary.folder.name)


def test_what_a_training_is_changes_with_all_that_decides_its_weights(library: Path) -> None:
    identity = training(library, "student").identity()
    assert training(library, "student").identity() == identity
    assert training(library, "student", seed=0).identity() != identity
    assert training(library, "student", **{"train_cfg.max_epochs": 9}).identity() != identity
    assert training(library, "student", **{"data.num_workers": 3}).identity() == identity
    # The adversary of its teacher changes: a config two steps away.
    write_config(library / "vt.py", merged(DIGITS, {"optim_wrapper": {"optimizer": {"lr": 0.2}}}))
    assert training(library, "student").identity() != identity


def test_the_plan_counts_each_training_once(library: Path) -> None:
    rows = [Row(name, name.upper(), str(library / f"{name}.py"), folder=name) for name in ("nat", "vt")]
    rows.append(Row("again", "AGAIN", None, reason="quoted"))
    work = library / "work"
    write_json(work / "seed1" / "vt" / "done.json", {})
    (work / "seed0" / "nat").mkdir(parents=True)
    (work / "seed0" / "nat" / "last.pth").touch()
    assert describe_study(table(rows), rows, work) == [
        *("Table", f"work dir: {work}; seeds: 0 1", "epochs are timed, nothing is judged"),
        *("", "nat"),
        "  train vt: 1 forwards and 1 backwards per image and step, 2 epochs: 2 and 2 per training image; "
        "done: seeds 1; to do: seeds 0",
        # Two steps of PGD, two views, and the adversary on both.
        "  train nat: 6 forwards and 4 backwards per image and step, 2 epochs: 12 and 8 per training image; "
        "unfinished: seeds 0; to do: seeds 1",
        *("", "vt", "", "again", "  AGAIN: quoted, not run"),
        *("", "trainings: 2 x 2 seed(s)"),
    ]


# --- numbers ----------------------------------------------------------------------------------------------------------


def made(clean: float, attacked: float) -> dict[str, Any]:
    columns = [{"name": "Clean", "accuracy": clean}, {"name": "AA", "accuracy": attacked}]
    return {"columns": columns, "worst_case": min(clean, attacked)}


def test_a_summary_with_an_average_a_column_beside_and_quoted_rows() -> None:
    reports = [with_average(made(*cells), ["Clean", "AA"], name="Avg.") for cells in ((80, 40), (84, 44), (88, 42))]
    assert [column["accuracy"] for report in reports for column in report["columns"][2:]] == [60, 64, 65]
    deviation = statistics.stdev([60, 64, 65])
    assert deviation == pytest.approx(2.6457513)
    paper = {
        "NAT": [{"name": "paper: NAT", "cells": {"Clean": "90.86", "Avg.": "63.85"}}, {"name": "mean", "cells": {}}],
        "AGAIN": [{"name": "paper: AGAIN", "cells": {"AA": "51.89"}}],
    }
    rows = {"NAT": reports, "AGAIN": "quoted", "AT": [None, None, None]}
    beside = Beside("passes", {"NAT": "14 + 12", "AT": "11 + 11"})
    assert summary_table(rows, names=["Clean", "AA", "Avg."], paper=paper, beside=[beside]).markdown() == [
        "| | seeds | passes | Clean | AA | Avg. | Worst case |",
        "|---|---:|---:|---:|---:|---:|---:|",
        "| NAT | 3 | 14 + 12 | 84.00 ± 4.00 | 42.00 ± 2.00 | 63.00 ± 2.65 | 42.00 ± 2.00 |",
        "| paper: NAT | | | 90.86 | | 63.85 | |",
        "| mean | | | | | | |",
        "| paper: AGAIN | quoted | | | 51.89 | | |",
        "| AT | 0 | 11 + 11 | not run | not run | not run | not run |",
    ]


def test_an_average_needs_all_its_columns() -> None:
    report = made(80, 40)
    assert with_average(report, ["Clean", "PGD-10"], name="Avg.") is report


def test_seconds_of_an_epoch_are_those_of_its_steps(tmp_path: Path) -> None:
    assert epoch_seconds(tmp_path) is None
    # The run was killed after its third line, whose step it took again when it went on.
    logs = {"20260101_000000": [(0.5, 1, 10), (0.3, 1, 20), (9.0, 2, 30)], "20260102_000000": [(0.4, 2, 30)]}
    for begun, records in logs.items():
        lines = [json.dumps({"time": seconds, "epoch": epoch, "iter": at}) for seconds, epoch, at in records]
        path = tmp_path / begun / "vis_data" / "scalars.json"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join([*lines, json.dumps({"select/clean": 80.0, "step": 1})]))
    with (tmp_path / "20260101_000000" / "vis_data" / "scalars.json").open("a") as file:
        file.write('\n{"time": 0.')  # the disk was full
    save_state(tmp_path / "last.pth", {"weights": {"w": torch.zeros(1)}, "meta": {"epoch": 2, "iter": 50}})
    assert epoch_seconds(tmp_path) is None  # not finished
    write_json(tmp_path / "done.json", {"provenance": {"device": "a GPU", "threads": 1}})
    assert epoch_seconds(tmp_path) == pytest.approx(0.4 * 25)
    found = epoch_report(tmp_path, "s/epoch")
    assert found["notes"] == ["timed on a GPU, 1 thread(s)"]
    assert summary_table({"NAT": [found]}).markdown()[2] == "| NAT | 1 | 10.00 |"


@pytest.mark.parametrize(("processes", "clock"), [(1, "cpu_seconds"), (2, "cpu_seconds"), (2, None)])
def test_what_a_training_spent_is_of_all_its_processes(processes: int, clock: str | None, tmp_path: Path) -> None:
    """A batch is of one process, and the log of the first."""
    path = tmp_path / "20260101_000000" / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    logged = {"time": 9.0, "loss": 1.5, "epoch": 1, "iter": 10, **({clock: 6.0} if clock else {})}
    path.write_text(json.dumps(logged))
    meta = {"epoch": 1, "iter": 10, "world_size": processes}
    save_state(tmp_path / "last.pth", {"weights": {"w": torch.zeros(1)}, "meta": meta})
    write_json(tmp_path / "done.json", {"provenance": {}})
    found = spent(tmp_path, batch_size=64)
    assert found is not None and found["images"] == 640 * processes and found["last_epoch"] == {"loss": 1.5}
    # Processors work side by side: their time adds up, and that on the wall does not.
    assert found["minutes"] == pytest.approx(processes if clock else 1.5)
    recipe = {"batch": 64, "step, s": 3.0}
    assert timed_by_step({"training": found}, recipe)["training"]["minutes"] == pytest.approx(0.5 * processes)


def test_a_figure_has_a_line_for_each_column_and_checkpoint(tmp_path: Path) -> None:
    rows, values = [], {0.0: [(80, 40), (84, 44)], 0.06: [(90, 50), (90, 50)], 0.12: [None, None]}
    vt = write_config(tmp_path / "vt.py", DIGITS)
    for x, reports in values.items():
        rows.append(Row(f"w{x}", f"weight {x}", str(vt), folder=f"w{x}", report="report", x=x))
        for seed, cells in enumerate(reports):
            if cells:
                write_json(tmp_path / f"seed{seed}" / f"w{x}" / "report" / "report.json", made(*cells))
    study = table(rows, judgings=[Judging(str(tmp_path / "a.py"))], columns=["Clean", "AA"], axis="weight")
    found = points(study, tmp_path)
    assert found["Clean", "best"] == [(0.0, 82.0, pytest.approx(8**0.5)), (0.06, 90.0, 0.0)]
    assert found["AA", "best"] == [(0.0, 42.0, pytest.approx(8**0.5)), (0.06, 50.0, 0.0)]
    assert draw_figure(tmp_path / "figure.png", study, tmp_path)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert not draw_figure(tmp_path / "none.png", study, tmp_path / "elsewhere")
    assert not (tmp_path / "none.png").exists()


def test_a_study_shows_the_papers_rows_that_its_configs_name(shop: Workshop) -> None:
    study = study_file(shop)
    shop.digits("nat.py", **SHORT, paper_row="AMD&NAT", method=nat({"config": str(shop.folder / "vt.py")}))
    shop.write("attacks.py", {**ATTACKS, "paper": {"AMD&NAT": {"Clean": "68.92", "PGD-2": "12.64"}}})
    assert [row.printed for row in load_study(study).rows] == [
        [],
        [{"name": "paper: AMD&NAT", "cells": {"Clean": "68.92", "PGD-2": "12.64"}}],
    ]
    ran = shop.run("study.py", study, "--report", "--work-dir", shop.folder / "work")
    assert "| NAT | 0 | not run | not run | not run |\n| paper: AMD&NAT | | 68.92 | | 12.64 |\n" in ran.out
