"""Studies that judge the same weights by several attack configs, each on images of its own number."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from workshop import Workshop, nat, write_config

from natx.errors import ConfigError
from natx.evaluation.outcomes import packed, unpacked
from natx.report.intervals import over_what
from natx.study.content import machines, threats_text
from natx.study.joined import joined, with_worst_case_of_all
from natx.study.rivals import Rivals, differences, rivals_reading, rivals_table
from natx.study.rows import Row, load_study
from natx.study.run import RowReports, row_reports, train_row
from natx.study.times import recipe_of, step_times

SHORT = {"train_cfg": {"max_epochs": 1}}
PGD: dict[str, Any] = {"type": "PGD", "steps": 2, "step_size": 0.1}
THREAT = {"type": "Linf", "eps": 0.2}


def study_file(shop: Workshop, **changes: Any) -> Path:
    """Two judgings of a vanilla net and of NAT, whose rival it is."""
    vt = shop.digits("vt.py", **SHORT)
    at = shop.digits("nat.py", **SHORT, amp="bfloat16", method=nat({"config": str(vt)}))
    one = shop.write("one.py", {"threat": THREAT, "attacks": [{**PGD, "name": "PGD"}]})
    two = shop.write("two.py", {"threat": THREAT, "attacks": [{**PGD, "steps": 3, "name": "AA"}]})
    content = {
        "title": "Digits",
        "seeds": [0],
        "attacks": [{"config": str(one)}, {"config": str(two), "subset": 30}],
        "sparsity": {"adversary": "vt", "images": 20, "confidence": 0.3},
        "plot": {"x": "minutes", "y": "AA (30)"},
        "rows": {
            "vt": {"name": "VT", "config": str(vt)},
            "nat": {"name": "NAT", "config": str(at), "adversary": "vt", "rival": "vt"},
        },
        **changes,
    }
    text = write_config(shop.folder / "x.py", content).read_text()
    path = shop.folder / "study.py"
    path.write_text(f"# What it asks.\n# Command: none.\n{text}")
    return path


def report(work: Path, row: str, judging: str) -> dict[str, Any]:
    return json.loads((work / "seed0" / row / "report" / judging / "report.json").read_text())


def test_rows_are_trained_first_and_judged_in_parts(shop: Workshop) -> None:
    few_at_once = [{"config": "one.py"}, {"config": "two.py", "subset": 30, "batch_size": 15}]
    few_at_once = [{**entry, "config": str(shop.folder / entry["config"])} for entry in few_at_once]
    study, work = study_file(shop, attacks=few_at_once, batch_size=25), shop.folder / "work"
    first = shop.run("study.py", study, "--work-dir", work, "--train-only")
    assert first.code == 0, first.err
    assert not [*work.rglob("report.json")] and len([*work.rglob("done.json")]) == 2
    assert shop.run("study.py", study, "--train-only", "--report").code == 2  # one or the other
    assert shop.run("study.py", study, "--work-dir", work, "--rows", "vt").code == 0
    shutil.rmtree(work / "seed0" / "vt" / "report" / "two-30")  # as a killed study leaves it
    part = shop.run("study.py", study, "--work-dir", work, "--report")
    assert re.search(r"\| VT \| 1 \| \d+\.\d\d \| \d+\.\d\d \|\n", part.out)  # no worst case without all parts
    assert "in brackets; no worst case, which takes every attack config" in part.out
    kept = (work / "seed0" / "vt" / "report" / "one-all" / "report.json").stat().st_mtime_ns
    ran = shop.run("study.py", study, "--work-dir", work)
    assert ran.code == 0, ran.err
    assert (work / "seed0" / "vt" / "report" / "one-all" / "report.json").stat().st_mtime_ns == kept

    whole, few = report(work, "nat", "one-all"), report(work, "nat", "two-30")
    count = whole["images"]
    assert (count > 100, few["images"]) == (True, 30)
    assert (whole["settings"]["batch_size"], few["settings"]["batch_size"]) == (25, 15)
    text = (work / "study.md").read_text()
    assert f"| | seeds | Clean ({count:,}) | PGD ({count:,}) | AA (30) | Worst case |" in text
    right = [unpacked(column["outcomes"], column["images"])[:30] for part in (whole, few) for column in part["columns"]]
    worst = 100 * float(torch.stack(right).all(0).double().mean())
    cells = [column["accuracy"] for column in (*whole["columns"], few["columns"][1])]
    assert f"| NAT | 1 | {' | '.join(f'{cell:.2f}' for cell in cells)} | {worst:.2f} |" in text
    # Against the rival, on each column's images, image by image.
    vt = {part: report(work, "vt", part) for part in ("one-all", "two-30")}
    ours, theirs = (unpacked(part["columns"][1]["outcomes"], 30).int() for part in (few, vt["two-30"]))
    points = 100 * float((ours - theirs).double().mean())
    assert re.search(rf"\| NAT against VT \|.*\| {re.escape(f'{points:+.2f}')}, p \S+ \|", text)
    assert "- NAT against VT (1 epochs both, 1 seed): " in text
    assert "on the 30 images of all columns" in text
    # What the trainings took, and what the outputs look like.
    assert whole["training"]["epochs"] == 1 and whole["training"]["minutes"] > 0
    assert "nasty_share" in whole["training"]["last_epoch"]
    measured = report(work, "nat", "sparsity")
    assert measured["views"]["clean"]["kl"] > 0 and report(work, "vt", "sparsity")["views"]["clean"]["kl"] == 0
    assert 0 < measured["views"]["adversarial"]["matched_entropy"] < 1
    assert "### What the outputs look like" in text or "## What the outputs look like" in text
    assert (work / "study.png").read_bytes().startswith(b"\x89PNG") and "study.png)" in text
    assert "minutes of training |" in text
    assert {"Rows against their rivals", "In short"} <= {*re.findall(r">([^<>]+)<", (work / "study.html").read_text())}

    # Minutes by steps that were measured in one run; a training that is not among them keeps its own clock.
    recipes = [{"config": "nat", "batch": 40, "step, s": 3.0}]
    times = shop.folder / "times.json"
    times.write_text(json.dumps({"items": [{"name": "recipe_hours", "details": {"recipes": recipes}}]}))
    study_file(shop, attacks=few_at_once, batch_size=25, step_times=str(times))
    assert shop.run("study.py", study, "--work-dir", work, "--report").code == 0
    minutes = whole["training"]["images"] / 40 * 3 / 60
    text = (work / "study.md").read_text()
    assert re.search(rf"\| NAT \| .* forwards, .* backwards \| {minutes:.2f} \|", text)
    assert "minutes are of the steps alone, a step's processor time" in text and "or processor time" in text


def test_studies_that_cannot_be_meant_are_refused(shop: Workshop) -> None:
    assert "each has a subset of its own" in shop.run("study.py", study_file(shop, subset=20)).error()
    one = {"config": str(shop.folder / "one.py"), "subset": 10}
    assert "one on the same images twice" in shop.run("study.py", study_file(shop, attacks=[one, one])).error()
    assert "the checks compare columns" in shop.run("study.py", study_file(shop, audit={"images": 5})).error()
    line = shop.run("study.py", study_file(shop, sparsity={"adversary": "plain"})).error()
    assert "the adversary of the sparsity is plain, which is no row" in line
    row = {"name": "VT", "config": str(shop.folder / "vt.py")}
    line = shop.run("study.py", study_file(shop, rows={"vt": row, "again": row}, sparsity=None)).error()
    assert "several rows are called VT: give each a name of its own" in line
    for seeds in ([], [0, 0]):
        assert f"each another; got {seeds}" in shop.run("study.py", study_file(shop, seeds=seeds)).error()


def test_outputs_of_other_weights_are_not_shown(shop: Workshop) -> None:
    """A training that was removed and made anew leaves what was measured of the one before."""
    study, work = load_study(study_file(shop)), shop.folder / "work"
    path, weights = (work / "seed0" / "vt" / part for part in ("report/sparsity/report.json", "best.safetensors"))
    path.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    measured = {
        "asked": vars(study.sparsity),
        "checkpoints": [hashlib.sha256(b"weights").hexdigest(), "the adversary's"],
    }
    path.write_text(json.dumps(measured))
    assert row_reports(study, study.row("vt"), work, options=None).sparsity == [measured]
    weights.write_bytes(b"others")
    result = row_reports(study, study.row("vt"), work, options=None)
    assert (
        result.sparsity == [None]
        and "is of other weights than best.safetensors has now: not shown" in result.remarks[0]
    )


def test_outputs_that_were_measured_otherwise_are_neither_used_nor_shown(shop: Workshop) -> None:
    study, work = load_study(study_file(shop)), shop.folder / "work"
    row = study.row("vt")
    path = work / "seed0" / "vt" / "report" / "sparsity" / "report.json"
    path.parent.mkdir(parents=True)
    measured = {"asked": vars(study.sparsity)}
    path.write_text(json.dumps(measured))
    assert row_reports(study, row, work, options=None).sparsity == [measured]
    for other in ({"asked": {**vars(study.sparsity), "images": 15}}, {**measured, "question": "another attack"}):
        path.write_text(json.dumps(other))
        result = row_reports(study, row, work, options=None)
        assert result.sparsity == [None] and "otherwise than the study asks now: not shown" in result.remarks[0]
        with pytest.raises(ConfigError, match="otherwise than the study asks now: remove it"):
            train_row(study, row, work, seed=0, device=torch.device("cpu"), options=None)


def test_what_a_study_asks_is_said_by_its_first_comment_alone(tmp_path: Path) -> None:
    rows = """title = "Own"
seeds = [0]
attacks = "attacks/linf8_quick"
rows = dict(a=dict(name="A", config="cls/digits_vt"))"""
    path = tmp_path / "own.py"
    path.write_text(f"# Does it help?\n{rows}\n# a remark\n")
    assert load_study(path).about == "Does it help?"
    path.write_text(f"# Does it\n# help?\n# Command: none.\n{rows}\n")
    assert load_study(path).about == "Does it\nhelp?"


# --- one report of several --------------------------------------------------------------------------------------------


def judged(seed: int = 0, *, epochs: int = 8, **columns: np.ndarray) -> dict[str, Any]:
    """A report with outcomes, as far as studies read it."""
    images = len(next(iter(columns.values())))
    entries = [
        {
            "name": name.replace("_", "-"),
            "accuracy": 100 * float(right.mean()),
            "correct": int(right.sum()),
            "images": images,
            "outcomes": packed(torch.from_numpy(right)),
        }
        for name, right in columns.items()
    ]
    settings = {
        "data": f"CIFAR10, the first {images} of 900 test images",
        "images_fingerprint": f"f{images}",
        "training_seed": seed,
    }
    kinds = {"AA": "AutoAttack", "Clean": "Clean"}
    attacks = [
        {"columns": [entry["name"]], "seconds": 1.0, "settings": {"type": kinds.get(entry["name"], "PGD")}}
        for entry in entries
    ]
    return {
        "images": images,
        "columns": entries,
        "attacks": attacks,
        "settings": settings,
        "training": {"epochs": epochs},
    }


def whole(generator: np.random.Generator, *, aa: float, pgd: float, seed: int = 0) -> dict[str, Any]:
    draw = generator.random(900)
    large = judged(seed, Clean=draw < 0.8, PGD_20=draw < pgd)
    small = judged(seed, Clean=draw[:500] < 0.8, AA=draw[:500] < aa)
    together = joined([large, small], of=2)
    assert together is not None
    return together


def test_columns_keep_the_most_images_and_the_worst_case_the_shared_ones() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random(900) < 0.5, generator.random(500) < 0.5
    clean = np.ones(900, dtype=bool)
    parts = [judged(Clean=clean, PGD_20=a), judged(Clean=clean[:500], AA=b)]
    together = joined(parts, of=2)
    assert together is not None
    assert [(column["name"], column["images"]) for column in together["columns"]] == [
        *(("Clean (900)", 900), ("PGD-20 (900)", 900), ("AA (500)", 500))
    ]
    assert together["worst_case"] == pytest.approx(100 * (a[:500] & b).mean())
    assert (unpacked(together["worst_case_outcomes"], 500).numpy() == (a[:500] & b)).all()
    assert [attack["columns"] for attack in together["attacks"]] == [["Clean (900)"], ["PGD-20 (900)"], ["AA (500)"]]
    assert "worst_case" not in (joined(parts[:1], of=2) or {})
    spaced = judged(Clean=clean[:500], AA=b)
    spaced["settings"]["data"] = "Folder, 500 evenly spaced of 900 test images"
    assert "worst_case" not in (joined([parts[0], spaced], of=2) or {})  # not among the first 900
    assert joined([], of=2) is None


def test_a_worst_case_that_only_some_have_is_nobodys() -> None:
    """Beside rows without, it would decide between the few that have it, whatever all were judged by."""
    right = np.ones(40, dtype=bool)
    parts = [judged(Clean=right, PGD=right), judged(Clean=right[:20], AA=right[:20])]
    every, some = joined(parts, of=2), joined(parts[:1], of=2)
    assert every is not None and "worst_case" in every
    assert with_worst_case_of_all([[every, None], [every]]) == [[every, None], [every]]
    (one, missing), (other,) = with_worst_case_of_all([[every, None], [some]])
    assert missing is None and other == some and one is not None
    assert {*every} - {*one} == {"worst_case", "worst_case_interval", "worst_case_outcomes"}


def test_judgings_under_two_threat_models_have_no_worst_case_and_say_both() -> None:
    right = np.ones(40, dtype=bool)
    parts = [judged(Clean=right, PGD=right), judged(Clean=right[:20], AA=right[:20])]
    parts[0] |= {"threat": "Linf 4/255", "success": "last"}
    parts[1] |= {"threat": "Linf 8/255", "success": "any"}
    together = joined(parts, of=2)
    assert together is not None and "worst_case" not in together
    assert (together["threat"], together["success"]) == ("Linf 4/255, Linf 8/255", "last, any")


def test_attacks_of_one_name_under_two_threat_models_are_two_columns() -> None:
    right = np.ones(40, dtype=bool)
    parts = [judged(Clean=right, AA=right), judged(Clean=right, AA=np.arange(40) < 10)]
    for part, eps in zip(parts, (4, 8)):
        part["threat"] = f"Linf {eps}/255"
    together = joined(parts, of=2)
    assert together is not None
    assert {column["name"]: column["accuracy"] for column in together["columns"]} == {
        **{"Clean (40)": 100.0, "AA (40, Linf 4/255)": 100.0, "AA (40, Linf 8/255)": 25.0}
    }


def test_what_every_judging_says_is_in_the_joined_report() -> None:
    """Attacks of a judging of the worst case alone have no columns; remarks are of any of them."""
    right, broken = np.ones(40, dtype=bool), np.arange(20) < 5
    parts = [judged(Clean=right, PGD=right), judged(Clean=right[:20])]
    parts[0]["notes"] = ["one", "both"]
    parts[1] |= {"notes": ["both", "other"], "not_applicable": {"AA": "3 classes"}, "pool": True}
    parts[1]["worst_case_outcomes"] = packed(torch.from_numpy(broken))
    together = joined(parts, of=2)
    assert together is not None and together["notes"] == ["one", "both", "other"]
    assert together["not_applicable"] == {"AA (20)": "3 classes"}
    assert together["worst_case"] == 25.0


def test_a_table_names_the_threat_models_of_its_rows() -> None:
    rows = [RowReports(Row(name, name, "x"), [{"threat": threat}, None]) for name, threat in (("A", "p"), ("B", "q"))]
    assert threats_text(rows[:1] * 2) == "p" and threats_text(rows) == "p (A); q (B)"


def test_rivals_are_held_against_each_other_column_by_column() -> None:
    generator = np.random.default_rng(1)
    ours, theirs = whole(generator, aa=0.3, pgd=0.5), whole(generator, aa=0.3, pgd=0.3)
    table = rivals_table(differences([Rivals("NAT", "AT", [ours], [theirs])]), count=4)
    assert table is not None and table.head[1:] == ["Clean (900)", "PGD-20 (900)", "AA (500)", "Worst case"]
    p = []
    for column, images in (("Clean (900)", 900), ("PGD-20 (900)", 900), ("AA (500)", 500), ("AA (500)", 500)):
        x, y = (
            unpacked(next(c["outcomes"] for c in one["columns"] if c["name"] == column), images).numpy()
            for one in (ours, theirs)
        )
        plus, minus = int((x & ~y).sum()), int((y & ~x).sum())
        p.append(float(binomtest(plus, plus + minus).pvalue))
    ranked, largest, adjusted = sorted(range(4), key=p.__getitem__), 0.0, [0.0] * 4
    for rank, place in enumerate(ranked):
        largest = max(largest, min(1.0, (4 - rank) * p[place]))
        adjusted[place] = largest
    for cell, expected in zip(table.rows[0].cells[1:], adjusted):
        assert cell.endswith(f"p {expected:.2g}")


@pytest.mark.parametrize(
    ("aa", "pgd", "verdict"),
    [
        (0.5, 0.5, "its gain survives AA ("),
        (0.3, 0.5, "its gain under PGD-20 (900) +"),
        (0.1, 0.5, "it is below its rival under AA ("),
        (0.3, 0.3, "no gain beyond chance under any attack ("),
    ],
)
def test_what_a_reading_says_of_a_gain(aa: float, pgd: float, verdict: str) -> None:
    generator = np.random.default_rng(2)
    ours = [whole(generator, aa=aa, pgd=pgd, seed=seed) for seed in (0, 1)]
    theirs = [whole(generator, aa=0.3, pgd=0.3, seed=seed) for seed in (0, 1)]
    (sentence,) = rivals_reading(differences([Rivals("NAT", "AT", ours, theirs)]))
    assert sentence.startswith(f"NAT against AT (8 epochs both, 2 seeds): {verdict}")
    if (aa, pgd) == (0.3, 0.5):
        assert "is not seen beyond chance under AA" in sentence


def test_autoattack_decides_wherever_it_stands_and_else_the_worst_case() -> None:
    """A gain under an attack that comes after AutoAttack, such as Square alone, is none."""
    right, half = np.ones(60, dtype=bool), np.arange(60) < 30
    ours, theirs = judged(Clean=right, AA=half, Square=right), judged(Clean=right, AA=half, Square=half)
    (sentence,) = rivals_reading(differences([Rivals("NAT", "AT", [ours], [theirs])]))
    assert "its gain under Square +50.00" in sentence
    assert "is not seen beyond chance under AA (AA +0.00, p 1, by seed +0.00)" in sentence
    ours, theirs = judged(Clean=right, PGD=half, Square=right), judged(Clean=right, PGD=half, Square=half)
    for report in (ours, theirs):
        report |= {"worst_case": 50.0, "worst_case_outcomes": packed(torch.from_numpy(half))}
    (sentence,) = rivals_reading(differences([Rivals("NAT", "AT", [ours], [theirs])]))
    assert "is not seen beyond chance in the worst case (Worst case +0.00, p 1" in sentence


def test_seeds_are_those_that_both_rows_have() -> None:
    generator = np.random.default_rng(4)
    ours = [whole(generator, aa=0.3, pgd=0.3, seed=seed) for seed in (0, 1)]
    theirs = [whole(generator, aa=0.3, pgd=0.3, seed=seed) for seed in (0, 1)]
    (sentence,) = rivals_reading(differences([Rivals("NAT", "AT", ours, theirs[:1])]))
    assert sentence.startswith("NAT against AT (8 epochs both, 1 seed): ")
    right = generator.random(900) < 0.3
    theirs[1] = joined([judged(1, Clean=right, PGD_20=right)], of=2) or {}  # its AutoAttack has not been run
    (sentence,) = rivals_reading(differences([Rivals("NAT", "AT", ours, theirs)]))
    assert "(8 epochs both, 2 seeds; 1 seed under AA (500) and in the worst case): " in sentence


def test_columns_on_fewer_seeds_are_told_by_their_number() -> None:
    half = np.arange(60) < 30

    def row(*columns: str, seed: int) -> dict[str, Any]:
        return judged(seed, **dict.fromkeys(columns, half))

    names = ("Clean", "PGD", "CW", "AA"), ("Clean", "PGD"), ("PGD",)
    ours, theirs = ([row(*columns, seed=seed) for seed, columns in enumerate(names)] for _ in range(2))
    (sentence,) = rivals_reading(differences([Rivals("NAT", "AT", ours, theirs)]))
    assert "(8 epochs both, 3 seeds; 1 seed under CW and AA; 2 seeds in Clean): " in sentence


def test_rows_of_one_name_in_two_sections_are_not_taken_for_each_other() -> None:
    right, half = np.ones(60, dtype=bool), np.arange(60) < 30
    high, low = judged(Clean=right, PGD=right), judged(Clean=right, PGD=half)
    tested = differences(
        [Rivals("NAT", "AT", [high], [low], group="one"), Rivals("NAT", "AT", [low], [high], group="two")]
    )
    first, second = rivals_reading(tested)
    assert first.startswith("one: NAT against AT (") and "its gain survives PGD" in first and "PGD +50.00" in first
    assert second.startswith("two: NAT against AT (") and "it is below its rival" in second and "PGD -50.00" in second
    table = rivals_table(tested[:1], count=4)
    assert table is not None and "for all 4 comparisons" in table.caption
    # The two-sided tail of 30 tosses, for the smallest of four p-values.
    assert table.rows[0].cells[-1] == f"+50.00, p {4 * 2 * 0.5**30:.2g}"


def test_rankings_on_other_numbers_of_queries_are_held_against_each_other() -> None:
    def ranked(queries: int, name: str, gain: float) -> dict[str, Any]:
        scores, groups = [50.0 + gain] * queries, [query // 2 for query in range(queries)]
        column = {"name": name, "values": {"mAP": 50.0 + gain}, "scores": {"mAP": scores}}
        settings = {"data": "Market1501, all", "images_fingerprint": f"q{queries}", "training_seed": 0}
        of_one = {"worst_case_scores": {"mAP": scores}, "query_groups": groups}
        attacks = [{"columns": [name], "seconds": 1.0}]
        return {"cell": ["mAP"], "images": 90, "attacked": queries, "columns": [column], "attacks": attacks} | {
            **of_one,
            "settings": settings,
        }

    both = [[ranked(8, "SMA", gain), ranked(12, "FNA", gain)] for gain in (3.0, 0.0)]
    ours, theirs = (joined(parts, of=2) for parts in both)
    assert ours is not None and theirs is not None
    table = rivals_table(differences([Rivals("NAT", "AMD", [ours], [theirs])]), count=2)
    # Of four people two of 16 sign patterns are as far out, of six two of 64; Holm takes the smaller one twice.
    assert table is not None and table.head[1:] == ["SMA (8)", "FNA (12)"]
    assert table.rows[0].cells[1:] == [f"+3.00, p {2 / 16:.2g}", f"+3.00, p {2 * 2 / 64:.2g}"]
    assert "points of mAP" in table.caption and "a paired permutation test on the queries" in table.caption
    assert over_what(ours).startswith("Intervals are over the 4 or 6 people, whose queries are drawn together")


def test_every_machine_and_version_is_said() -> None:
    packages = {"python": "3.11.7", "natx": "0.6.0"}
    one = {"device": "x86_64 CPU", "threads": 1, "packages": packages}
    other = {"device": "CUDA", "threads": 1, "packages": {**packages, "natx": "0.7.0", "timm": "1.0"}}
    assert machines([one, one]) == "Run on x86_64 CPU, 1 thread(s); python 3.11.7, natx 0.6.0."
    assert machines([one, other, one]) == (
        "Run on x86_64 CPU or CUDA, 1 thread(s); python 3.11.7, natx 0.6.0 or 0.7.0, timm 1.0."
    )
    assert machines([]) == ""


def test_other_epochs_are_said() -> None:
    generator = np.random.default_rng(3)
    ours, theirs = whole(generator, aa=0.3, pgd=0.3), whole(generator, aa=0.3, pgd=0.3)
    theirs["training"]["epochs"] = 3
    (sentence,) = rivals_reading(differences([Rivals("NAT", "AT", [ours], [theirs])]))
    assert "(8 epochs against 3 epochs, 1 seed)" in sentence


def test_a_step_of_the_benchmark_is_no_other_networks_methods_or_precisions(shop: Workshop) -> None:
    method = {"type": "Adversarial", "attack": {**PGD, "threat": THREAT}, "views": ["adv"]}
    config = str(shop.digits("at.py", amp="bfloat16", method=method))
    times = {"at": {"config": "at", "batch": 40, "step, s": 3.0}}

    def found(options: dict[str, Any]) -> bool:
        return recipe_of(Row("at", "AT", config, options=options), times, options=None) is not None

    assert found({}) and found({"train_cfg.max_epochs": 1, "method.attack.step_size": 0.05})
    assert (
        not found({"method.attack.steps": 4}) and not found({"amp": None}) and not found({"task.model_args.width": 3})
    )
    assert not found({"data.batch_size": 32})
    assert recipe_of(Row("vt", "VT", str(shop.digits("vt.py"))), times, options=None) is None


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON"])
def test_step_times_are_a_results_file_of_the_benchmark(tmp_path: Path, text: str) -> None:
    (tmp_path / "times.json").write_text(text)
    with pytest.raises(ConfigError, match="is no results file of natx bench"):
        step_times(tmp_path / "times.json")
    assert step_times(tmp_path / "nowhere.json") == {}
