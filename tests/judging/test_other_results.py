"""Judging says what differs from the training, tries other radii, and never writes over another question's results."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from page_reader import check_page
from safetensors.torch import load_file, save_file
from workshop import DIGITS, PGD, Ran, Workshop, merged, write_config

from natx.config import load_config
from natx.errors import ConfigError
from natx.evaluation.progress import Block, Progress
from natx.judging.radii import at_radius
from natx.runtime.locks import IN_USE, sole_use
from natx.training.run import train

EPS = 51 / 255
SHORT = {"type": "PGD", "steps": 8, "step_size": 0.03, "random_start": False}
ATTACKS: dict[str, Any] = {"threat": {"type": "Linf", "eps": EPS}, "attacks": [SHORT]}
PADDED = """
from torch.nn.functional import pad
from natx.registry import DATASETS
from tasks.cls.datasets import Digits

@DATASETS.register_module(force=True)
class Padded(Digits):
    def __getitems__(self, positions):
        batch = super().__getitems__(positions)
        return {**batch, "inputs": pad(batch["inputs"], (1, 1, 1, 1))}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a digits model trained against Linf 51/255."""
    folder = tmp_path_factory.mktemp("other")
    method = {"type": "Adversarial", "attack": {**PGD, "steps": 1}}
    path = write_config(folder / "digits.py", merged(DIGITS, {"method": method, "train_cfg": {"max_epochs": 1}}))
    train(load_config(path), folder / "run", device=torch.device("cpu"))
    return folder / "run"


def judge(shop: Workshop, weights: Path, *arguments: Any, attacks: dict[str, Any] = ATTACKS, **changes: Any) -> Ran:
    table = shop.write("table.py", attacks)
    return shop.run("test.py", shop.digits(**changes), weights, "--attacks", table, "--subset", 40, *arguments)


def notes(folder: Path) -> list[str]:
    return json.loads((folder / "report.json").read_text())["notes"]


# --- what differs from the training -----------------------------------------------------------------------------------


def test_another_threat_model_is_told(shop: Workshop, run: Path) -> None:
    out = shop.folder / "out"
    assert judge(shop, run / "best.safetensors", "--out", out).code == 0
    assert not any("was trained under" in note for note in notes(out))
    other = {**ATTACKS, "threat": {"type": "L2", "eps": 1.0}}
    ran = judge(shop, run / "best.safetensors", "--out", shop.folder / "l2", attacks=other)
    told = "the model was trained under Linf 51/255 and is judged under L2 255/255"
    assert told in notes(shop.folder / "l2") and told in " ".join(ran.out.split())
    both = {"attacks": [{**SHORT, "threat": ATTACKS["threat"]}, {**SHORT, "name": "weak", "threat": other["threat"]}]}
    judge(shop, run / "best.safetensors", "--out", shop.folder / "both", attacks=both)
    assert not any("was trained under" in note for note in notes(shop.folder / "both"))


def test_an_export_remembers_its_training(shop: Workshop, run: Path) -> None:
    """What a checkpoint says of its training goes with it: its threat model and its recipe."""
    config = next(run.glob("*.py"))
    assert shop.run("export.py", config, run / "best.safetensors", "--out", shop.folder / "model").code == 0
    weights = shop.folder / "model" / "model.safetensors"
    other = {**ATTACKS, "threat": {"type": "L2", "eps": 1.0}}
    made = {"attack": {**PGD, "steps": 1}}
    judge(shop, weights, "--out", shop.folder / "l2", attacks=other, method={"type": "Adversarial", **made}, seed=7)
    told = " ".join(notes(shop.folder / "l2"))
    assert "the model was trained under Linf 51/255 and is judged under L2 255/255" in told
    assert "the checkpoint was trained with other settings of" in told


def test_another_image_size_is_told(shop: Workshop, run: Path) -> None:
    test = {"type": "Digits", "train": False, "upscale": 2}
    assert judge(shop, run / "best.safetensors", "--out", shop.folder / "out", data={"test": test}).code == 0
    told = "the model was trained on images of 8 x 8 (1 channel) and is judged on images of 16 x 16 (1 channel)"
    assert told in notes(shop.folder / "out")


def test_an_option_that_nothing_reads_is_refused(shop: Workshop, run: Path) -> None:
    line = judge(shop, run / "best.safetensors", "--cfg-options", "threat.eps=0.1").error()
    assert "the option threat.eps is read by nothing in judging" in line and "--eps" in line


# --- other radii ------------------------------------------------------------------------------------------------------


def test_a_radius_scales_steps_and_is_that_of_all_attacks() -> None:
    inner = {"type": "PGD", "steps": 3, "step_size": 0.02}
    attacks = Config(
        {
            "threat": {"type": "Linf", "eps": 0.1},
            "paper": {"row": {"Clean": "1"}},
            "attacks": [
                {"type": "PGD", "steps": 5, "step_size": 0.04},
                {"type": "PGD", "steps": 5},
                {"type": "WorstOf", "attacks": [inner], "objective": {"type": "CrossEntropy"}},
                {"type": "Square", "threat": {"type": "Linf", "eps": 0.1}},
            ],
        }
    )
    half = at_radius(attacks, 0.05).to_dict()
    assert half["threat"]["eps"] == half["attacks"][3]["threat"]["eps"] == 0.05
    assert half["attacks"][0]["step_size"] == pytest.approx(0.02)
    assert "step_size" not in half["attacks"][1]
    assert half["attacks"][2]["attacks"][0]["step_size"] == pytest.approx(0.01)
    assert "paper" not in half
    assert attacks.attacks[0].step_size == 0.04  # the config itself is as it was


def test_radii_that_make_no_sense() -> None:
    for eps in (0.0, -0.1, float("nan")):
        with pytest.raises(ConfigError, match="above 0"):
            at_radius(Config(ATTACKS), eps)
    several = Config({"attacks": [{**SHORT, "threat": {"type": "Linf", "eps": e}} for e in (8 / 255, 10 / 255)]})
    with pytest.raises(ConfigError, match="of one radius; the attack config has 10/255, 8/255"):
        at_radius(several, 0.1)
    with pytest.raises(ConfigError, match="of one radius; the attack config has none"):
        at_radius(Config({"attacks": [SHORT]}), 0.1)


def test_one_radius_and_a_curve(shop: Workshop, run: Path) -> None:
    copy = shutil.copytree(run, shop.folder / "run")
    assert judge(shop, copy / "best.safetensors", "--eps", "25.5/255").code == 0
    single = json.loads((copy / "test-table-40-eps25.5_255" / "report.json").read_text())
    assert single["threat"] == "Linf 25.5/255"
    assert single["attacks"][-1]["settings"]["step_size"] == pytest.approx(0.015)
    ran = judge(shop, copy / "best.safetensors", "--eps", "25.5/255", "51/255", "102/255")
    assert ran.code == 0
    folder = copy / "test-table-40-curve"
    reports = [json.loads((folder / f"eps{e}_255" / "report.json").read_text()) for e in ("25.5", "51", "102")]
    assert [report["threat"] for report in reports] == ["Linf 25.5/255", "Linf 51/255", "Linf 102/255"]
    assert reports[0]["columns"] == single["columns"]
    text = (folder / "curve.md").read_text()
    for report in reports:
        cells = [f"{column['accuracy']:.2f}" for column in report["columns"]]
        assert f"| {report['threat']} | {' | '.join(cells)} |" in text
    assert text.splitlines()[0] in ran.out and "curve.html" in ran.out
    page = check_page((folder / "curve.html").read_text())
    for size, report in zip(("25.5", "51", "102"), reports):
        clean, pgd = (f"{column['accuracy']:.2f}" for column in report["columns"])
        worst = f"{report['worst_case']:.2f}"
        row = page.rows.index([report["threat"], clean, pgd, worst])  # of the table
        assert page.rows[row + 1][0] == "95 % interval" and page.rows[row + 1][2] == page.rows[row + 1][3] != ""
        assert [size, pgd, worst] in page.rows  # the chart's numbers
    assert ["0", clean, clean] in page.rows
    assert "eps51_255/report.html" in page.text


def test_a_curve_that_is_killed_goes_on_with_the_radii_that_it_has(shop: Workshop, run: Path) -> None:
    add, added = Progress.add, []

    def noting(self: Progress, name: str, block: Block) -> None:
        added.append((self.path.parent.name, name == "Clean"))
        if len(added) == 4:
            raise KeyboardInterrupt
        add(self, name, block)

    shop.monkeypatch.setattr(Progress, "add", noting)
    words = ("--eps", "25.5/255", "51/255", "--out", shop.folder / "curve")
    assert judge(shop, run / "best.safetensors", *words).code == 130
    assert judge(shop, run / "best.safetensors", *words, "--resume").code == 0
    first, second = "eps25.5_255", "eps51_255"
    assert added[:4] == [(first, True), (first, False), (second, True), (second, False)]
    assert added[4:] == [(second, False)]
    assert not list((shop.folder / "curve").rglob("progress*"))


def test_bad_radii(shop: Workshop, run: Path) -> None:
    ran = judge(shop, run / "best.safetensors", "--eps", "eight")
    assert ran.code == 2 and "a number or a fraction such as 4/255; got 'eight'" in ran.err
    line = judge(shop, run / "best.safetensors", "--eps", "8", "--out", shop.folder / "out").error()
    assert "eps=8" in line and "8/255" in line
    line = judge(shop, run / "best.safetensors", "--eps", "0.1", "0.2", "--save-adv", shop.folder / "adv").error()
    assert "--save-adv is for one radius" in line


def test_weights_in_half_precision_are_told_by_every_tool(shop: Workshop, run: Path) -> None:
    half = {key: value.half() for key, value in load_file(run / "best.safetensors").items()}
    file = shop.folder / "half.safetensors"
    save_file(half, file)
    told = "the checkpoint holds its weights in float16: judged as a float32 copy"
    ran = judge(shop, file, "--out", shop.folder / "out")
    assert told in notes(shop.folder / "out") and told in " ".join(ran.out.split())
    config, table = shop.digits(), shop.write("table.py", ATTACKS)
    pairs = [config, file, config, run / "best.safetensors"]
    out = shop.folder / "transfer"
    assert shop.run("transfer.py", *pairs, "--attacks", table, "--subset", 10, "--out", out).code == 0
    assert [note for note in json.loads((out / "transfer.json").read_text())["notes"] if told in note]


def test_an_analysis_says_what_differs_from_the_training(shop: Workshop, run: Path) -> None:
    large = {"data": {"test": {"type": "Padded"}}, "custom_imports": {"imports": ["tasks.cls", "padded_digits"]}}
    (shop.folder / "padded_digits.py").write_text(PADDED)
    shop.monkeypatch.syspath_prepend(str(shop.folder))
    l2 = shop.write("l2.py", {**ATTACKS, "threat": {"type": "L2", "eps": 1.0}})
    arguments = ["--what", "sparsity", "--subset", 20, "--attacks", l2, "--work-dir", shop.folder / "analysis"]
    ran = shop.run("analyze.py", shop.digits(**large), run / "best.safetensors", *arguments)
    assert ran.code == 0, ran.err
    (model,) = json.loads((shop.folder / "analysis" / "analysis.json").read_text())["models"]
    for told in (
        "the model was trained under Linf 51/255 and is judged under L2 255/255",
        "the model was trained on images of 8 x 8 (1 channel) and is judged on images of 10 x 10 (1 channel)",
    ):
        assert told in model["notes"] and told in " ".join(ran.out.split())


@pytest.mark.parametrize("tool", ["analyze.py", "transfer.py"])
def test_a_second_one_is_refused_while_the_first_lives(shop: Workshop, run: Path, tool: str) -> None:
    config, weights, out = shop.digits(), run / "best.safetensors", shop.folder / "out"
    more = ["--what", "sparsity", "--work-dir", out]
    if tool == "transfer.py":
        more = ["--attacks", shop.write("table.py", ATTACKS), "--out", out]
    with sole_use(out, work="another one"):
        line = shop.run(tool, config, weights, *more, "--subset", 10).error()
        assert f"{out} is being written to by another one (process {os.getpid()}" in line
    assert not out.exists()
    out.mkdir()
    (out / IN_USE).write_text("one that was killed")
    assert shop.run(tool, config, weights, *more, "--subset", 10).code == 0
    assert not (out / IN_USE).exists()


# --- another question's results ---------------------------------------------------------------------------------------


def test_the_default_folder_names_the_checkpoint_and_the_subset(shop: Workshop, run: Path) -> None:
    copy = shutil.copytree(run, shop.folder / "run")
    for weights, arguments, name in (
        ("best", (), "test-table-40"),
        ("last", (), "test-table-last-40"),
        ("last", ("--seed", "3"), "test-table-last-40-seed3"),
    ):
        assert judge(shop, copy / f"{weights}.safetensors", *arguments).code == 0
        settings = json.loads((copy / name / "report.json").read_text())["settings"]
        assert Path(settings["checkpoint"]).stem == weights


def test_a_report_of_another_question_is_not_written_over(shop: Workshop, run: Path) -> None:
    out = ("--out", shop.folder / "out")
    assert judge(shop, run / "best.safetensors", *out).code == 0
    before = (shop.folder / "out" / "report.json").read_bytes()
    smaller = judge(shop, run / "best.safetensors", "--subset", "30", *out).error()
    assert "holds the result of another data" in smaller and "--out" in smaller
    harder = {**ATTACKS, "threat": {"type": "Linf", "eps": 0.3}}
    assert "another threat (Linf 51/255 there" in judge(shop, run / "best.safetensors", *out, attacks=harder).error()
    other = shop.folder / "other.safetensors"
    shutil.copy(run / "best.safetensors", other)
    with other.open("r+b") as file:  # other weights in a file of the same make
        file.seek(-4, 2)
        file.write(b"\0\0\0\0")
    assert "another checkpoint sha256" in judge(shop, other, *out).error()
    assert (shop.folder / "out" / "report.json").read_bytes() == before
    assert judge(shop, run / "best.safetensors", *out).code == 0  # the same question may be asked again


def test_matrices_analyses_and_exports_are_kept_too(shop: Workshop, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.folder)
    config, table = shop.digits(), shop.write("table.py", ATTACKS)
    best, last = shop.folder / "best.safetensors", shop.folder / "last.safetensors"
    shutil.copy(run / "best.safetensors", best)
    shutil.copy(run / "best.safetensors", last)
    with last.open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\0")
    commands = {
        "transfer.py": (["--attacks", table, "--subset", 20], shop.folder / "work_dirs/transfer/transfer.json"),
        "analyze.py": (["--subset", 20, "--what", "weights", "--work-dir", "a"], shop.folder / "a/analysis.json"),
        "export.py": (["--out", "e"], shop.folder / "e/model.safetensors"),
    }
    for tool, (arguments, result) in commands.items():
        assert shop.run(tool, config, best, *arguments).code == 0, tool
        before = result.read_bytes()
        line = shop.run(tool, config, last, *arguments).error()
        assert "holds the result of another" in line or "holds another model" in line
        assert result.read_bytes() == before
        assert shop.run(tool, config, best, *arguments).code == 0, tool
