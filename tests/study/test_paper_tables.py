"""The paper's tables as data: each row has a config or is quoted, and the numbers agree with each other."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from natx.config import frozen_models, load_config, plain_dict, with_options
from natx.errors import ConfigError
from natx.judging.build import build_attacks
from natx.study import Judging, load_table, printed_row, table_names
from natx.testing import TinyCNNTask

ROOT = Path(__file__).resolve().parents[2]
TABLES: dict[str, Any] = json.loads((ROOT / "configs" / "paper" / "tables.json").read_text())["tables"]
PRINTED = r"\d+(\.\d{1,2})?"
# Printed averages that are not the mean of the printed cells.
MISPRINTED = {
    ("table1", "cifar10/las_awp"): "58.80",
    ("table1", "cifar100/nat_best"): "39.22",
    ("table2", "cifar100/nat_best"): "39.26",
    ("table7", "ensemble"): "67.64",
}


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def entries(*names: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(table, group, row) of some tables, or of all."""
    for name in names or TABLES:
        for group in TABLES[name]["groups"]:
            for row in group["rows"]:
                yield name, group, row


def configs(row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The configs of a row by scale, each with its options."""
    given = {scale: row.get(scale) for scale in ("paper", "small")}
    whole = {scale: {"config": one} if isinstance(one, str) else one for scale, one in given.items() if one}
    return {scale: {"options": {}, **one} for scale, one in whole.items()}


def test_all_tables_are_there() -> None:
    assert table_names() == [*(f"table{i}" for i in range(1, 12)), "figure2", "controls", "methods"]
    counted = {name: len(list(entries(name))) for name in table_names()}
    assert counted == {
        **{"table1": 16, "table2": 22, "table3": 44, "table4": 4, "table5": 14, "table6": 12, "table7": 5},
        **{"table8": 5, "table9": 14, "table10": 6, "table11": 8, "figure2": 7, "controls": 10, "methods": 11},
    }


def test_every_row_is_quoted_or_has_a_config_that_exists() -> None:
    for name, _, row in entries():
        where = f"{name} {row['key']}"
        if row.get("quoted"):
            assert "paper" not in row and "small" not in row and row["cells"], where
            continue
        assert row["paper"], where
        assert "small" in row, where
        for scale, given in configs(row).items():
            assert (ROOT / given["config"]).is_file(), where
            assert Path(given["config"]).name.startswith("r8_") == (scale == "small"), where


@pytest.mark.parametrize("name", TABLES)
def test_options_of_rows_fit_their_configs(name: str) -> None:
    """Options are applied, and every config that they bring in is there."""
    for _, _, row in entries(name):
        for given in configs(row).values():
            if not given["options"]:
                continue
            config = with_options(load_config(given["config"]), given["options"])
            for key, value in given["options"].items():
                node: Any = plain_dict(config)
                for part in key.split("."):
                    node = node[int(part)] if isinstance(node, list) else node[part]
                expected = {k: v for k, v in value.items() if k != "_delete_"} if isinstance(value, dict) else value
                assert node == expected
            for entry in frozen_models(config):
                assert "config" not in entry or (ROOT / entry["config"]).is_file()


def test_rows_of_one_folder_are_one_training() -> None:
    """All tables share a work dir."""
    seen: dict[str, Any] = {}
    for name in TABLES:
        for scale in ("paper", "small"):
            for row in load_table(name, scale=scale).rows:
                if row.config is not None:
                    assert seen.setdefault(row.folder, (row.config, row.options)) == (row.config, row.options)
    assert {"r18_cifar10_nat", "r8_cifar10_nat-weight=0.02", "r8_cifar10_nat-adversary=random"} <= set(seen)
    assert {"r18_cifar10_ard_at-config=wrn34_10_cifar10_trades", "r18_cifar10_nat-model=mobilenetv2_cifar"} <= set(seen)


def test_keys_are_unique() -> None:
    for name in TABLES:
        keys = [row["key"] for _, _, row in entries(name)]
        assert len(set(keys)) == len(keys), name


def test_cells_are_numbers_as_printed() -> None:
    for name, _, row in entries():
        assert len(row["cells"]) == len(TABLES[name]["columns"]) or (row["cells"] == [] and not row.get("quoted"))
        assert all(re.fullmatch(PRINTED, cell) for cell in row["cells"]), row
        for cell, mean in zip(row["cells"], row.get("mean", [])):
            if mean:
                found = re.fullmatch(rf"({PRINTED}) ± ({PRINTED})", mean)
                assert found, row
                assert float(found[1]) <= float(cell) <= float(found[1]) + 3 * float(found[3]), row


def test_printed_averages_are_the_means_of_their_rows() -> None:
    wrong = {}
    for name, _, row in entries():
        own = list(TABLES[name]["columns"].values())
        if "average" not in own or not row["cells"]:
            continue
        assert own[-1] == "average"
        *cells, average = row["cells"]
        if abs(statistics.fmean(map(float, cells)) - float(average)) > 0.0101:
            wrong[name, row["key"]] = average
    assert wrong == MISPRINTED


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if table["attacks"]])
def test_columns_are_those_of_the_attack_config(name: str) -> None:
    table = TABLES[name]
    assert load_table(name).missing() is None
    columns = {"average", "Clean", "Worst case"}
    for group in table["groups"]:
        config = with_options(load_config(table["attacks"]), group.get("attack_options", {}).get("paper", {}))
        for entry in frozen_models(config):  # built without its weights
            entry.clear()
            entry.update(task=dict(type=TinyCNNTask.__name__, num_classes=10), state="random")
        columns |= {column for attack in build_attacks(config) for column in attack.columns()}
    assert set(table["columns"].values()) <= columns


def test_adversaries_of_table_6_are_those_of_nat() -> None:
    for _, group, row in entries("table6"):
        for scale, given in configs(row).items():
            options = group["attack_options"][scale]
            objective = with_options(load_config(TABLES["table6"]["attacks"]), options).attacks[0].objective
            assert objective.adversary.checkpoint is None  # given by the tool, of the row's seed
            assert (ROOT / objective.adversary.config).is_file()
            if row["key"].endswith("/nat"):
                nasty = load_config(given["config"]).method.terms[1]
                assert objective.adversary.config == nasty.adversary.config
                assert (objective.weight, objective.temperature) == (nasty.weight, nasty.temperature)
            if row["key"].endswith("/vt"):
                assert objective.adversary.config == given["config"]


def test_surrogates_of_table_5_are_trained_adversarially_and_are_no_targets() -> None:
    surrogates = {"paper": "configs/cls/r50_cifar10_pgd_at.py", "small": "configs/cls/cnn_cifar10_pgd_at.py"}
    for _, group, row in entries("table5"):
        for scale, given in configs(row).items():
            config = with_options(load_config(TABLES["table5"]["attacks"]), group["attack_options"][scale])
            pgd, cw, square = config.attacks
            assert square.queries == 5000
            for attack in (pgd, cw):
                assert attack.source == {"config": surrogates[scale], "checkpoint": None}  # given by the tool
            theirs, ours = load_config(surrogates[scale]), load_config(given["config"])
            assert (theirs.method.type, tuple(theirs.method.views)) == ("Adversarial", ("adv",))
            assert theirs.task.model != ours.task.model
            assert (pgd.attack.steps, pgd.attack.step_size) == (20, 2 / 255)
            assert (cw.attack.objective.type, cw.attack.steps) == ("Margin", 30)


# The numbers in the headers of configs were copied from the paper by others: columns, as they are called there.
CALLED = {"clean": "Clean", "PGD-20": "PGD-20", "C&W": "C&W", "AA": "AA"}


def said(config: str, number: str) -> dict[str, dict[str, str]]:
    """Cells that the header of a config quotes from a table, for 'best' and 'last' where it tells them apart."""
    header = " ".join(line.lstrip("# ") for line in (ROOT / config).read_text().splitlines() if line.startswith("#"))
    found = re.search(rf"Paper's number \((?:Table \d+ and )?{number}\b[^)]*\):(.*?)\.(?: |$)", header)
    if not found:
        return {}
    best, _, last = found[1].partition("; last:")
    first = {called: value for called in CALLED if (value := _value(best, called))}
    order = list(first)  # "last: 61.80, 34.43, ..." repeats no names
    rest = dict(zip(order, re.findall(r"\d+\.\d+", last)))
    return {"best": first, **({"last": rest} if rest else {})}


def _value(text: str, called: str) -> str | None:
    found = re.search(rf"{re.escape(called)} (\d+\.\d+)", text)
    return found[1] if found else None


@pytest.mark.parametrize("number", [1, 2, 3, 4, 7, 8, 10, 11])
def test_headers_of_configs_quote_the_same_numbers(number: int) -> None:
    compared = 0
    for name, _, row in entries(f"table{number}"):
        if row.get("quoted") or not row["cells"] or configs(row)["paper"]["options"]:
            continue
        if (name, row["key"]) == ("table1", "cifar100/sat"):  # trained as PGD-AT, whose header has PGD-AT's numbers
            continue
        quotes = said(configs(row)["paper"]["config"], f"Table {number}")
        columns = {own: cell for own, cell in zip(TABLES[name]["columns"].values(), row["cells"])}
        for called, value in quotes.get(row.get("checkpoint", "best"), {}).items():
            assert float(columns[CALLED[called]]) == float(value), (name, row["key"], called)
            compared += 1
    assert compared >= 4


# --- what a table becomes -------------------------------------------------------------------------------------------


def test_a_row_becomes_its_best_and_its_last_checkpoint() -> None:
    study = load_table("table2")
    rows = {row.name: row for row in study.rows if row.group.startswith("CIFAR-10,")}
    best, last = rows["TRADES, best"], rows["TRADES, last"]
    assert (best.checkpoint, best.report) == ("best", "report-linf8_table")
    assert (last.checkpoint, last.report) == ("last", "report-linf8_table-last")
    assert best.folder == last.folder == "r18_cifar10_trades"
    assert best.printed == [] and [line["name"] for line in last.printed] == ["paper: TRADES"]
    assert last.printed[0]["cells"]["AA"] == "48.41"
    assert last.printed[0]["cells"]["Avg."] == "55.00"
    nat = rows["NAT (last)"]
    assert (nat.checkpoint, nat.folder) == ("last", "r18_cifar10_nat")
    assert nat.printed[1] == {
        "name": "paper: NAT (last), mean",
        "cells": dict(zip([*study.columns, "Avg."], TABLES["table2"]["groups"][0]["rows"][-1]["mean"])),
    }
    again = rows["AGAIN-AWP"]
    assert (again.config, again.reason) == (None, "quoted")
    assert study.seeds == [0, 1, 2] and study.judgings[0].subset is None and study.average == "Avg."


def test_the_small_scale_says_what_it_leaves_out() -> None:
    study = load_table("table2", scale="small", seeds=1, subset=40)
    rows = {(row.group, row.name): row for row in study.rows}
    assert rows["CIFAR-10, ResNet-18", "CAS, last"].config == "configs/cls/r8_cifar10_cas.py"
    assert rows["CIFAR-10, ResNet-18", "CAS, last"].report == "report-linf8_table-40-last"
    assert rows["CIFAR-100, ResNet-18", "CAS"].config is None
    assert rows["CIFAR-100, ResNet-18", "CAS"].reason == "no small version"
    assert (study.seeds, study.judgings) == ([0], [Judging("configs/attacks/linf8_table.py", 40)])
    assert "small" in study.title and "ResNet-8" in study.about


def test_another_attack_config_has_reports_of_its_own() -> None:
    study = load_table("table1", attacks="configs/attacks/linf8_quick.py")
    assert study.judgings == [Judging("configs/attacks/linf8_quick.py")]
    assert {row.report for row in study.rows if row.config} == {"report-linf8_quick", "report-linf8_quick-last"}
    timed = load_table("table9", attacks="configs/attacks/linf8_quick.py")
    assert timed.judgings == [] and timed.columns == ["s/epoch"]


def test_rows_are_chosen_by_pattern() -> None:
    study = load_table("table2")
    assert {row.key for row in study.chosen(["cifar100/nat_*", "*/cas"])} == {
        *("cifar10/cas", "cifar100/cas", "cifar100/nat_best", "cifar100/nat_last")
    }
    with pytest.raises(ConfigError, match="no row is called cifar10/nta; the rows are cifar10/pgd_at, "):
        study.chosen(["cifar10/nta"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "no table is called other; there are tiny"),
        ({"cells": ["1.0", "2.0"]}, "vt has 2 cells in a table of 1 columns"),
    ],
)
def test_tables_that_are_not_in_order(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    row = {"key": "vt", "name": "VT", "cells": ["1.0"], "paper": "configs/cls/digits_vt.py", "small": None, **change}
    scales = {"seeds": {"paper": 1, "small": 1}, "subset": {"paper": None, "small": None}}
    table = {"title": "", **scales, "attacks": None, "columns": {"s": "s"}}
    content = {"tables": {"tiny": {**table, "groups": [{"name": "", "rows": [row]}]}}}
    (tmp_path / "tables.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_table("tiny" if change else "other", path=tmp_path / "tables.json")


def test_a_file_that_holds_no_tables(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tables at .*gone.json: the shipped ones are in configs/paper"):
        table_names(tmp_path / "gone.json")
    for text, message in (("{", "is no JSON file"), ("[]", "should be a dict"), ("{}", "lacks tables")):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ConfigError, match=f"bad.json.* {message}"):
            table_names(tmp_path / "bad.json")
    with pytest.raises(ConfigError, match="--seeds and --subset must be at least 1; got 0 and None"):
        load_table("table1", seeds=0)


def test_config_of_table_6_is_complete_by_itself() -> None:
    config = Config(plain_dict(load_config("configs/attacks/table6_adaptive.py")))
    (adversary,) = frozen_models(config)
    assert adversary["checkpoint"] == "work_dirs/r18_cifar10_vt/best.safetensors"


def test_the_papers_row_of_a_shipped_config_under_a_shipped_attack_config() -> None:
    attacks = load_config("configs/attacks/linf8_table.py")
    found = printed_row(load_config("configs/cls/r18_cifar10_pgd_at.py"), attacks)
    assert found is not None and found["name"] == "paper, Table 2: PGD-AT"
    assert (found["cells"]["Clean"], found["cells"]["C&W"], found["cells"]["AA"]) == ("84.25", "45.75", "41.69")
    black_box = load_config("configs/attacks/table5_blackbox.py")
    found = printed_row(load_config("configs/cls/r18_cifar10_nat.py"), black_box)
    assert found is not None and found["cells"] == {"PGD_S": "67.19", "CW": "66.77", "Square": "60.23"}
    assert printed_row(load_config("configs/cls/r8_cifar10_pgd_at.py"), attacks) is None  # small: the paper has none
    quick = load_config("configs/attacks/linf8_quick.py")
    assert printed_row(load_config("configs/cls/r18_cifar10_pgd_at.py"), quick) is None  # of no table
    assert printed_row(Config({"task": {}}), attacks) is None
