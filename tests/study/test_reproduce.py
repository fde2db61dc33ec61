"""A table of the paper reproduced from one data file: killed and resumed, quoted, not run, beside the printed cells."""

from __future__ import annotations

import json
import re
import signal
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forks import run_tool
from mmengine.config import Config
from mmengine.logging import MMLogger
from safetensors.torch import load_file
from workshop import DIGITS, Ran, Workshop, merged, nat, write_config

from natx.config import frozen_models
from natx.study import load_table, run_row

# Named in custom_imports: kills its own process (SIGKILL) in the second epoch of the folder that NATX_TEST_KILL names.
KILLER = """
import os, signal
from natx.training.hooks import LogValues

victim, check = os.environ.get("NATX_TEST_KILL"), LogValues.after_train_iter


def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
    check(self, runner, batch_idx, data_batch, outputs)
    if victim and runner.work_dir.endswith(victim) and (runner.epoch, batch_idx) == (1, 2):
        os.kill(os.getpid(), signal.SIGKILL)


if victim:
    LogValues.after_train_iter = after_train_iter
"""
STEPS = {"type": "PGD", "steps": 2, "step_size": 0.1, "milestones": (1, 2)}
COLUMNS = {"Clean": "Clean", "PGD1": "PGD-1", "PGD2": "PGD-2", "Avg.": "average"}


def write_tables(folder: Path) -> Path:
    """Tables of a vanilla net and NAT on the digits: as Table 2, adaptive, of times, a figure, and without attacks."""
    (folder / "natx_test_reproduce_killer.py").write_text(KILLER)
    imports = {"imports": ["tasks.cls", "natx_test_reproduce_killer"]}
    digits = merged(DIGITS, {"custom_imports": imports, "data": {"batch_size": 60}})
    vt = str(write_config(folder / "vt.py", digits))
    nasty = str(write_config(folder / "nat.py", merged(digits, {"method": nat({"config": vt})})))
    threat = {"threat": {"type": "Linf", "eps": 0.2}}
    attacks = str(write_config(folder / "attacks.py", {**threat, "attacks": [STEPS]}))
    objective = {
        "type": "Adaptive",
        "weight": 0.06,
        "adversary": {"config": "gone.py", "checkpoint": "gone.safetensors"},
    }
    adaptive = {**STEPS, "name": "Adaptive PGD", "objective": objective}
    adaptive = str(write_config(folder / "adaptive.py", {**threat, "attacks": [adaptive]}))
    table = {"title": "Table 2", "seeds": {"paper": 2, "small": 1}, "subset": {"paper": 40, "small": 20}}
    both = [
        {"key": "vt", "name": "VT", "cells": ["95.03", "11.7", "10", "38.91"], "paper": vt, "small": None},
        {"key": "again", "name": "AGAIN", "quoted": True, "cells": ["86.52", "59.99", "59.35", "68.62"]},
        {"key": "nat_best", "name": "NAT (best)", "checkpoint": "best", "cells": ["90.86", "62.37", "60.94", "71.39"]},
        {"key": "nat_last", "name": "NAT (last)", "checkpoint": "last", "cells": ["90.28", "61.86", "60.00", "70.71"]},
    ]
    both[2]["mean"] = ["90.77 ± 0.15", "62.12 ± 0.22", "60.81 ± 0.27", ""]
    for row in both[2:]:
        row.update(paper=nasty, small=nasty)
    given = {"attacks.0.objective.adversary.config": vt, "attacks.0.objective.adversary.checkpoint": None}
    row = {"key": "nat", "name": "NAT", "paper": nasty, "small": nasty}
    weight = {"config": nasty, "options": {"method.terms.1.weight": 0.0}}
    groups = {
        "two": {"attacks": attacks, "columns": COLUMNS, "groups": [{"name": "Digits", "rows": both}]},
        "adaptive": {
            "attacks": adaptive,
            "columns": {"APGD-2": "Adaptive PGD-2"},
            "groups": [{"name": "", "attack_options": {"paper": given}, "rows": [{**row, "cells": ["61.00"]}]}],
        },
        "times": {
            "attacks": None,
            "columns": {"s": "s/epoch"},
            "groups": [{"name": "", "rows": [{**row, "cells": ["129.8"]}]}],
        },
        "figure": {
            "attacks": attacks,
            "columns": {"Clean": "Clean", "PGD-2": "PGD-2"},
            "plot": "weight",
            "groups": [
                {
                    "name": "",
                    "rows": [
                        {**row, "cells": [], "x": 0.06},
                        {**row, "key": "w0", "name": "AT", "cells": [], "x": 0.0, "paper": weight},
                    ],
                }
            ],
        },
        "later": {
            "attacks": str(folder / "gone.py"),
            "columns": {"Square": "Square"},
            "groups": [{"name": "", "rows": [{**row, "cells": ["60.23"]}]}],
        },
    }
    path = folder / "tables.json"
    path.write_text(json.dumps({"tables": {name: {**table, **group} for name, group in groups.items()}}))
    return path


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Table 'two' once without a break, and once killed in its last training; what it had finished by then."""
    folder = tmp_path_factory.mktemp("reproduce")
    tables = write_tables(folder)
    sys.path.insert(0, str(folder))
    MMLogger._instance_dict.clear()
    try:
        study = load_table("two", path=tables)
        for seed in study.seeds:
            for row in study.rows:
                run_row(study, row, folder / "whole", seed=seed, device=torch.device("cpu"), options=None)
    finally:
        sys.path.remove(str(folder))
    words = ("two", "--tables", tables, "--work-dir", folder / "killed")
    killed = run_tool("reproduce.py", *words, folders=(folder,), NATX_TEST_KILL="seed1/nat")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    return {"folder": folder, "tables": tables, "finished": stamps(folder / "killed")}


def stamps(work_dir: Path) -> dict[str, int]:
    """When each training and each report was finished."""
    found = [*work_dir.rglob("done.json"), *work_dir.rglob("report.json")]
    return {path.relative_to(work_dir).as_posix(): path.stat().st_mtime_ns for path in found}


@pytest.fixture
def reproduce(shop: Workshop, history: dict[str, Any]) -> Callable[..., Ran]:
    """The tool on a table and a work dir."""
    shop.monkeypatch.syspath_prepend(history["folder"])

    def run(table: str, work_dir: str, *arguments: Any) -> Ran:
        where = ("--tables", history["tables"], "--work-dir", history["folder"] / work_dir)
        return shop.run("reproduce.py", table, *where, *arguments)

    return run


def report(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name / "report.json").read_text())


def value(found: dict[str, Any], column: str) -> float:
    return next(one["accuracy"] for one in found["columns"] if one["name"] == column)


def test_a_killed_run_goes_on_and_reuses_what_was_finished(
    history: dict[str, Any], reproduce: Callable[..., Ran]
) -> None:
    killed, whole = history["folder"] / "killed", history["folder"] / "whole"
    reports = [f"report-attacks-40{last}/report.json" for last in ("", "-last")]
    assert set(history["finished"]) == {
        f"{folder}/{file}" for folder in ("seed0/vt", "seed0/nat", "seed1/vt") for file in ("done.json", *reports)
    }
    plan = reproduce("two", "killed", "--dry-run").out
    assert "  train nat: 6 forwards and 4 backwards per image and step, 2 epochs: 12 and 8 per training image; " in plan
    assert "per training image; done: seeds 0; unfinished: seeds 1\n" in plan
    assert "  judge NAT (last): done: seeds 0; to do: seeds 1\n" in plan
    ran = reproduce("two", "killed")
    assert ran.code == 0, ran.err
    after = stamps(killed)
    assert {name: after[name] for name in history["finished"]} == history["finished"]
    assert set(after) == {*history["finished"], *(f"seed1/nat/{file}" for file in ("done.json", *reports))}
    for name in ("best", "last"):
        ours, theirs = (load_file(folder / "seed1" / "nat" / f"{name}.safetensors") for folder in (killed, whole))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    for name in ("report-attacks-40", "report-attacks-40-last"):
        assert report(killed / "seed1" / "nat", name)["columns"] == report(whole / "seed1" / "nat", name)["columns"]


def test_the_table_has_our_means_beside_the_printed_cells(
    history: dict[str, Any], reproduce: Callable[..., Ran]
) -> None:
    whole = history["folder"] / "whole"
    ran = reproduce("two", "whole", "--report")
    text = (whole / "two-paper.md").read_text()
    assert text in ran.out + "\n"
    lines = text.splitlines()
    start = lines.index("| | seeds | passes | Clean | PGD-1 | PGD-2 | Avg. | Worst case |")
    rows = {line.split(" | ")[0]: line for line in lines[start:]}
    for title, name, checkpoint, passes in (
        ("VT, best", "vt", "", "1 + 1"),
        ("VT, last", "vt", "-last", "1 + 1"),
        ("NAT (best)", "nat", "", "6 + 4"),
        ("NAT (last)", "nat", "-last", "6 + 4"),
    ):
        found = [report(whole / f"seed{seed}" / name, f"report-attacks-40{checkpoint}") for seed in (0, 1)]
        by_seed = [[value(one, column) for column in ("Clean", "PGD-1", "PGD-2")] for one in found]
        by_seed = [[*cells, sum(cells) / 3] for cells in by_seed]
        cells = [f"{statistics.mean(pair):.2f} ± {statistics.stdev(pair):.2f}" for pair in zip(*by_seed)]
        assert f"| {title} | 2 | {passes} | {' | '.join(cells)} | " in text
        for one in found:
            assert (one["images"], one["name"]) == (40, title)
    assert rows["| paper: VT"] == "| paper: VT | | | 95.03 | 11.7 | 10 | 38.91 | |"
    assert rows["| paper: AGAIN"] == "| paper: AGAIN | quoted | | 86.52 | 59.99 | 59.35 | 68.62 | |"
    assert rows["| paper: NAT (best), mean"].startswith("| paper: NAT (best), mean | | | 90.77 ± 0.15 | 62.12 ± 0.22 |")
    assert "AGAIN, seed 0" not in text
    assert text.count("\n| NAT (best), seed ") == 2
    assert re.search(r"`python tools/reproduce.py two --scale paper --tables \S+tables.json`", text)


def test_frozen_models_are_the_rows_of_the_same_seed(history: dict[str, Any]) -> None:
    folder = history["folder"] / "whole"
    for seed in (0, 1):
        (entry,) = frozen_models(Config.fromfile(folder / f"seed{seed}" / "nat" / "nat.py"))
        assert entry["checkpoint"] == str(folder / f"seed{seed}" / "vt" / "best.safetensors")
    weights = [load_file(folder / f"seed{seed}" / "vt" / "best.safetensors") for seed in (0, 1)]
    assert not all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert sorted(path.name for path in folder.glob("seed*/*")) == ["nat", "nat", "vt", "vt"]


def test_nothing_has_been_run(history: dict[str, Any], reproduce: Callable[..., Ran]) -> None:
    ran = reproduce("two", "empty", "--report", "--seeds", "3")
    assert "| NAT (best) | 0 | 6 + 4 | not run | not run | not run | not run |" in ran.out
    assert "| paper: NAT (best) | | | 90.86 | 62.37 | 60.94 | 71.39 |" in ran.out
    assert "| paper: AGAIN | quoted | |" in ran.out
    assert "Each seed" not in ran.out
    small = reproduce("two", "empty", "--report", "--scale", "small")
    assert "| paper: VT | no small version | | 95.03 |" in small.out
    assert "| NAT (best) | 0 |" in small.out
    assert not list((history["folder"] / "empty").rglob("*.safetensors"))


def test_one_row_with_other_attacks_and_images(history: dict[str, Any], reproduce: Callable[..., Ran]) -> None:
    quick = write_config(
        history["folder"] / "quick.py",
        {"threat": {"type": "Linf", "eps": 0.2}, "attacks": [{**STEPS, "name": "Quick"}]},
    )
    ran = reproduce("two", "whole", "--rows", "nat*", "--seeds", "1", "--attacks", quick, "--subset", "10")
    assert ran.code == 0, ran.err
    folder = history["folder"] / "whole" / "seed0"
    assert report(folder / "nat", "report-quick-10")["images"] == 10
    assert not (folder / "vt" / "report-quick-10").exists()
    assert "| seeds | passes | Clean | PGD-1 | PGD-2 | Avg. | Quick-1 | Quick-2 | Worst case |" in ran.out
    assert re.search(r"\n\| NAT \(last\) \| 1 \| 6 \+ 4 \| \d+\.\d\d \| not run \| not run \| not run \| \d", ran.out)


@pytest.mark.parametrize(("same", "judged"), [(True, ["best"]), (False, ["best", "last"])])
def test_the_last_checkpoint_is_not_judged_again_where_it_is_the_best(
    history: dict[str, Any],
    reproduce: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
    same: bool,
    judged: list[str],
) -> None:
    folder, seen = history["folder"] / "whole" / "seed0" / "vt", []

    def judge(config: Config, checkpoint: Path, *args: Any, name: str, **kwargs: Any) -> dict[str, Any]:
        seen.append(checkpoint.stem)
        found = report(folder, "report-attacks-40")
        settings = {**found["settings"], "checkpoint": str(checkpoint), "checkpoint_sha256": "of best"}
        return {**found, "name": name, "settings": settings}

    monkeypatch.setattr("natx.study.run.judge", judge)
    monkeypatch.setattr("natx.study.run.sha256", lambda path: "of best" if same else f"of {path.stem}")
    images = 30 + same
    assert reproduce("two", "whole", "--rows", "vt", "--seeds", "1", "--subset", images).code == 0
    assert seen == judged
    found = report(folder, f"report-attacks-{images}-last")
    assert (found["name"], found["settings"]["checkpoint"]) == ("VT, last", str(folder / "last.safetensors"))


def test_an_adaptive_attack_knows_the_adversary_of_the_seed(
    history: dict[str, Any], reproduce: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    from natx.study import run

    seen, judge = [], run.judge

    def spy(config: Config, checkpoint: Path, attacks: Config, **kwargs: Any) -> dict[str, Any]:
        seen.append((checkpoint, attacks.attacks[0].objective.adversary.checkpoint))
        return judge(config, checkpoint, attacks, **kwargs)

    monkeypatch.setattr(run, "judge", spy)
    before = stamps(history["folder"] / "whole")
    ran = reproduce("adaptive", "whole")
    assert ran.code == 0, ran.err
    for checkpoint, adversary in seen:
        assert checkpoint.parent.name == "nat"
        assert adversary == str(checkpoint.parent.parent / "vt" / "best.safetensors")
    assert {checkpoint.parent.parent.name for checkpoint, _ in seen} == {"seed0", "seed1"}
    assert "| paper: NAT | | | 61.00 |" in ran.out
    after = stamps(history["folder"] / "whole")
    assert {name: after[name] for name in before} == before  # no training and no other report is made again


def test_times_are_read_from_the_logs(history: dict[str, Any], reproduce: Callable[..., Ran]) -> None:
    ran = reproduce("times", "whole", "--rows", "nat", "--seeds", "1")
    assert ran.code == 0, ran.err
    logs = next((history["folder"] / "whole" / "seed0" / "nat").glob("*/vis_data/scalars.json")).read_text()
    times = [json.loads(line)["time"] for line in logs.splitlines() if '"time"' in line]
    # 259 images in batches of 60, the rest dropped
    assert f"| NAT | 1 | 6 + 4 | {sum(times) / len(times) * 4:.2f} |\n| paper: NAT | | | 129.8 |" in ran.out
    assert "Note: timed on " in ran.out
    assert not any("report--" in name for name in stamps(history["folder"] / "whole"))


def test_a_figure_is_drawn_beside_its_table(history: dict[str, Any], reproduce: Callable[..., Ran]) -> None:
    ran = reproduce("figure", "whole", "--seeds", "1", "--report", "--subset", "40")
    assert ran.code == 0, ran.err
    whole = history["folder"] / "whole"
    assert (whole / "figure-paper.png").read_bytes().startswith(b"\x89PNG")
    assert "![Table 2](figure-paper.png)" in (whole / "figure-paper.md").read_text()
    assert "| AT, best | 0 | 6 + 4 | not run | not run |" in ran.out
    assert "nat-weight=0.0 (nat.py)" in reproduce("figure", "whole", "--seeds", "1", "--dry-run").out


def test_a_table_whose_attacks_are_not_there(history: dict[str, Any], reproduce: Callable[..., Ran]) -> None:
    message = f"there is no attack config {history['folder'] / 'gone.py'}: nothing can be judged"
    shown = reproduce("later", "whole", "--report")
    assert f"Note: {message}." in shown.out
    assert "| NAT, best | 0 | 6 + 4 | not run |" in shown.out
    assert message in reproduce("later", "whole", "--dry-run").out
    line = reproduce("later", "elsewhere").error()
    assert "no config at" in line and "gone.py" in line
    assert not (history["folder"] / "elsewhere").exists()  # refused before anything is trained


def test_bad_arguments(reproduce: Callable[..., Ran]) -> None:
    assert "no table is called three; there are two, adaptive" in reproduce("three", "whole").error()
    assert (
        "no row is called nta; the rows are vt, again, nat_best, nat_last"
        in reproduce("two", "whole", "--rows", "nta").error()
    )
    assert (
        "--seeds and --subset must be at least 1; got 0 and None" in reproduce("two", "whole", "--seeds", "0").error()
    )
    line = reproduce("two", "whole", "--cfg-options", "train_cfg.max_epochs=5").error()
    assert "seed0/vt was trained under other configs or options" in line
