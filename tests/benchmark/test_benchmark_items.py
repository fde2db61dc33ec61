from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import natx_bench
from natx.attacks import PGD, Attack, Attacked, Victim
from natx.attacks.base import Success
from natx.benchmark import NotRun, run_item
from natx.benchmark.opponents import Pixels
from natx.benchmark.training import Patterns, recipe, step_units
from natx.cli.bench import main as bench_command
from natx.config import load_config
from natx.errors import ConfigError, DataError
from natx.judging.build import build_attacks
from natx.threat import Linf
from tasks.cls import ClassificationTask

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
MACHINE = {"amx": False, "threads": 1}
SETTING = {"model": "m", "batch_size": 8, "threads": 1, "device": "cpu", "command": "python x", "machine": MACHINE}
ORDER = [
    *("pgd10_vs_bare", "pgd10_vs_torchattacks", "pgd10_vs_foolbox", "pgd10_vs_art", "nat_step_vs_union"),
    *("single_vs_multi_step", "bf16_vs_fp32", "small_maps", "compiled_step", "compiled_step_bf16", "compiled_rest"),
    *("step_overhead", "methods", "columns_any", "columns_last"),
    *("autoattack_vs_pyaa", "worst_case_pool", "attack_memory", "kept_memory"),
    *("reid_ranking", "epoch_times", "recipe_hours"),
    *("mtd_nat_step_vs_union", "mtd_nat_step_vs_mtd", "mtd_nat_bf16_vs_fp32", "mtd_memory"),
    *("det_padding", "det_judging_memory", "det_judging_time", "det_voc_passes", "speed_record"),
]


@pytest.fixture(scope="module")
def items() -> ModuleType:
    return natx_bench


@pytest.fixture
def bench(items: ModuleType) -> Any:
    return items.Bench(CPU, "resnet8_cifar", 2, 1, 2)


def theme(name: str) -> ModuleType:
    return import_module(f"natx_bench.{name}")


def test_the_report_lists_items_in_their_order(items: ModuleType) -> None:
    assert list(items.ITEMS) == ORDER
    files = {path.stem for path in (ROOT / "natx_bench").glob("*.py")}
    assert files == {*items.THEMES, "__init__", "common", "cifar", "fresh", "device_checks"}


def test_two_items_of_one_name_are_refused(items: ModuleType) -> None:
    with pytest.raises(ValueError, match="two items are called attack_memory"):
        theme("common").item("attack_memory", a="a", b="b")(lambda bench: None)
    assert list(items.ITEMS) == ORDER


def test_epoch_times_extrapolate_and_need_a_gpu(items: ModuleType, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_item(items.ITEMS["epoch_times"], bench, SETTING)
    assert "not_run" in found
    epochs = theme("epochs")
    monkeypatch.setattr(epochs, "WARM_UP", 0)
    monkeypatch.setattr(epochs, "stopwatch", lambda device: lambda run: (0.5, run()))
    batch = theme("cifar").images(bench, 3)
    rows = epochs.epoch_rows(bench, models={"resnet8_cifar": {"VT": 1.0, "NAT": 2.0}}, batch=batch, steps=2)
    assert [row["training"] for row in rows] == ["VT", "NAT"]
    assert all(row["fp32, s"] == row["bf16, s"] == 0.5 * (50_000 // 3) for row in rows)


def test_networks_are_reproducible_and_their_norms_are_settled(items: ModuleType, bench: Any) -> None:
    build = theme("cifar").network
    one, other = build(bench), build(bench)
    assert not one.training and all(p.requires_grad for p in one.parameters())
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values()))
    norm = next(m for m in one.modules() if isinstance(m, nn.BatchNorm2d))
    assert norm.momentum == 0.1 and bool((norm.running_mean != 0).all())
    adversary = build(bench, seed=1)
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), adversary.parameters()))
    raw: Tensor = Pixels(one)(torch.rand(1, 3, 32, 32))
    assert raw.shape == (1, 10)


def test_classification_steps_count_as_by_hand(items: ModuleType, bench: Any) -> None:
    """A forward counts 1, the attack's backward 1, a training backward 2."""
    trainer = theme("cifar").trainer
    units = {kind: trainer(bench, kind).units for kind in ("VT", "PGD-AT", "union", "NAT")}
    assert units == {"VT": 3, "PGD-AT": 23, "union": 26, "NAT": 28}

    def task() -> ClassificationTask:
        return ClassificationTask("small_cnn", 10, model_args=dict(width=4))

    single = trainer(bench, "NAT", attack=theme("cifar").n_fgsm())
    assert single.units == 10  # the attack 2, clean and adversarial images 3 each, the adversary 2
    assert step_units(recipe("NAT", attack=PGD(Linf(8 / 255), 10), adversary=task)) == 28
    found = run_item(items.ITEMS["nat_step_vs_union"], bench, SETTING)
    assert found["predicted"] == pytest.approx(28 / 26, rel=1e-4) and found["repeats"] == 1


def test_overhead_is_a_step_less_a_bare_one(items: ModuleType, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    overhead = theme("overhead")
    steps, bare = iter([9.0, 3.5, 3.9]), iter([9.0, 3.0, 3.2])  # the first are the warm-up
    monkeypatch.setattr(overhead, "natx_step", lambda bench: next(steps))
    monkeypatch.setattr(overhead, "bare_step", lambda bench: next(bare))
    found = run_item(items.ITEMS["step_overhead"], replace(bench, repeats=2), SETTING)
    assert found["a_values"] == pytest.approx([0.5, 0.7]) and found["b_values"] == [0.5, 0.5]
    assert found["met"] is False and found["details"]["step of natx, ms"] == pytest.approx(3.7)


def test_replayed_batches_count_as_steps_of_a_recipe() -> None:
    recipes = import_module("natx_bench.recipes")
    steps = {
        name: recipes.training_steps(recipes.without_files(recipes.FOLDER / f"r20_cifar10_{name}.py"), 48_976)
        for name in ("free", "fast_at")
    }
    assert steps == {"free": 2 * 8 * (48_976 // 128), "fast_at": 15 * (48_976 // 128)}


def test_the_speed_record_is_a_study(
    items: ModuleType, bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One row on images that are at hand; without the data the item says what is missing."""
    speed = theme("speed")

    def absent(bench: Any) -> Any:
        raise DataError("nothing under data/")

    with monkeypatch.context() as patch:
        patch.setattr(speed, "record", absent)
        assert "needs CIFAR-10: nothing under data/" in run_item(items.ITEMS["speed_record"], bench, SETTING)["not_run"]
    attacks = "threat = dict(type='Linf', eps=0.2)\nattacks = [dict(type='PGD', steps=1, step_size=0.2, name='AA')]\n"
    (tmp_path / "a.py").write_text(attacks)
    (tmp_path / "s.py").write_text(
        f"title = 'S'\nseeds = [0]\nsubset = 20\nattacks = {str(tmp_path / 'a.py')!r}\n"
        "beside = ['units', 'minutes']\nplot = dict(x='minutes', y='AA')\n"
        "rows = dict(vt=dict(name='VT', config='configs/cls/digits_vt.py', options={'train_cfg.max_epochs': 1}))\n"
    )
    for name, value in {"STUDY": str(tmp_path / "s.py"), "WORK": tmp_path / "w", "OUT": tmp_path / "o.md"}.items():
        monkeypatch.setattr(speed, name, value)
    (row,) = [row for row in speed.record(bench) if row["method"] == "VT"]
    assert (row["units"], float(row["minutes"]) >= 0) == ("3", True) and 0 <= float(row["AA"]) <= 100
    assert (tmp_path / "o.png").exists() and "| VT | 1 | 3 |" in (tmp_path / "o.md").read_text()


def test_both_kinds_of_steps_are_timed(items: ModuleType, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    overhead = theme("overhead")
    monkeypatch.setattr(overhead, "EPOCHS", 1)
    assert overhead.natx_step(bench) > 0 and overhead.bare_step(bench) > 0


# ------------------------------------------------------------------------------------------------ judging


class Breaks(Attack):
    """Breaks some images, at the cost of so many forwards an image."""

    def __init__(self, name: str, forwards: int, broken: set[int], *, block_size: int | None = None) -> None:
        super().__init__(Linf(8 / 255), name=name)
        self.forwards, self.broken, self.block_size = forwards, broken, block_size

    def cost_per_image(self) -> tuple[float, float]:
        return (self.forwards, 0)

    def run_judged(self, victim: Victim, *, success: Success) -> Attacked:
        victim.cost.forwards += self.forwards * len(victim)
        broken = torch.tensor([i in self.broken for i in victim.batch["index"].tolist()])
        return Attacked(victim.x.clone(), {self.name: broken})


@pytest.fixture
def row(items: ModuleType, bench: Any, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """natx_bench/whole_row.py with an untrained net that gets all of its eight images right."""
    module, data = theme("whole_row"), Patterns(8)
    task = theme("cifar").network(bench, model="resnet8_cifar")
    with torch.no_grad():
        data.labels = task.logits(data.images).argmax(1)
    monkeypatch.setattr(module, "trained", lambda bench: (task, data, "a net"))
    return module


def test_a_pool_saves_what_is_counted(row: ModuleType, items: ModuleType, bench: Any, monkeypatch: Any) -> None:
    attacks = [Breaks("dear", 100, {0, 1, 2}, block_size=4), Breaks("cheap", 10, {1, 2, 3})]
    monkeypatch.setattr(row, "attacks", lambda: attacks)
    found = run_item(items.ITEMS["worst_case_pool"], replace(bench, images=8), SETTING)
    each, pooled = 8 + 8 * 100 + 8 * 10, 8 + 8 * 10 + 5 * 100  # the clean pass included
    assert found["predicted"] == pytest.approx(each / pooled, rel=1e-4) and found["repeats"] == 1
    assert (found["limit"], found["bound"]) == (1.05, "at least")
    details = found["details"]
    assert details["worst case of A and B, %"] == [50, 50] and details["images with the same outcome"] == 1
    assert [line["attack"] for line in details["spent"]] == ["Clean", "cheap", "dear"]
    dear = details["spent"][2]
    assert dear["A, forwards + backwards"] == "800 + 0" and dear["B, forwards + backwards"] == "500 + 0"
    assert dear["B"] == "ran on the 5 images still right then, left 4 right"


def test_autoattack_is_that_of_the_library(row: ModuleType, items: ModuleType, bench: Any, monkeypatch: Any) -> None:
    """With eps this large its first member breaks every image, and with eps 0 none would."""
    monkeypatch.setattr(row, "EPS", 0.5)
    state = torch.get_rng_state()
    found = run_item(items.ITEMS["autoattack_vs_pyaa"], bench, SETTING)
    assert torch.equal(torch.get_rng_state(), state)
    (line,) = found["details"]["accuracy"]
    assert line == {"column": "AA", "natx %": 0, "pyautoattack %": 0, "same outcome": 1}
    assert found["details"]["columns in which natx leaves more images right"] == "none"
    assert found["limit"] == 1.03 and found["predicted"] == 1.0


def test_the_row_is_that_of_the_attack_config(row: ModuleType) -> None:
    shipped = build_attacks(load_config(ROOT / "configs/attacks/linf8_table.py"))
    assert [attack.describe() for attack in row.attacks()] == [attack.describe() for attack in shipped]
    assert [attack.name for attack in row.attacks()] == [attack.name for attack in shipped]


# ------------------------------------------------------------------------------------------------ detection


@pytest.fixture
def det(items: ModuleType) -> ModuleType:
    pytest.importorskip("mmdet")
    return theme("det")


def test_detection_steps_count_as_by_hand(det: ModuleType, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """MTD: two attacks of a forward and a backward, a forward each to compare them, then forward and backward."""
    attack = 2 * (1 + 1) + 2
    counted = {"std": 3, "mtd": attack + 3, "mtd_union": attack + 2 * 3, "mtd_nat": attack + 2 * 3 + 2}
    monkeypatch.setattr(det, "BATCH", 2)
    for kind, units in counted.items():
        trainer = det.trainer(bench, kind)
        assert trainer.units == units
        header = (ROOT / f"configs/det/ssd_digits_{kind}.py").read_text()
        forwards, backwards = map(int, re.search(r"Cost: (\d+) forwards? and (\d+) backwards?", header).groups())
        assert units == forwards + backwards + len(trainer.learner.method.views)


def test_a_detection_item_says_its_own_setting_and_prediction(
    items: ModuleType, det: ModuleType, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(det, "BATCH", 2)
    found = run_item(items.ITEMS["mtd_nat_step_vs_mtd"], bench, SETTING)
    assert found["model"].startswith("small SSD") and found["batch_size"] == 16
    assert found["predicted"] == pytest.approx(14 / 9, rel=1e-4)
    assert found["limit"] is None and found["met"] is None and found["ratio"]["median"] > 0
    assert items.ITEMS["mtd_nat_step_vs_union"].limit == 1.25 and items.ITEMS["mtd_memory"].limit == 1.3


def test_scenes_are_boxes_inside_random_images(det: ModuleType, bench: Any) -> None:
    batch, again = det.scenes(bench, 6), det.scenes(bench, 6)
    assert batch["inputs"].shape == (6, 3, 160, 160) and torch.equal(batch["inputs"], again["inputs"])
    assert [len(shot.boxes) for shot in batch["data_samples"]] == [1, 2, 3, 4, 1, 2]
    for shot, other in zip(batch["data_samples"], again["data_samples"]):
        sides = shot.boxes[:, 2:] - shot.boxes[:, :2]
        assert torch.equal(shot.boxes, other.boxes) and shot.boxes.min() >= 0 and shot.boxes.max() <= 160
        assert sides.min() >= 24 and sides.max() <= 72 and not shot.difficult.any()


def test_detectors_are_the_configs_and_the_adversary_is_another(det: ModuleType, bench: Any) -> None:
    learner = det.trainer(bench, "mtd_nat", channels_last=False).learner
    adversary = learner.method.terms[1].adversary.tasks[0]
    config = load_config(ROOT / "configs/det/ssd_digits_mtd_nat.py")
    assert learner.task.net.bbox_head.in_channels == tuple(config.task.model.bbox_head.in_channels)
    assert learner.method.terms[1].controller.share == config.method.terms[1].share
    assert learner.task.memory_format == torch.contiguous_format and learner.amp is None
    assert any(not torch.equal(a, b) for a, b in zip(learner.task.parameters(), adversary.parameters()))
    assert not adversary.training and not any(p.requires_grad for p in adversary.parameters())


def test_without_mmdet_detection_items_say_what_to_install(
    items: ModuleType, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mmdet", None)
    for name in ("mtd_nat_step_vs_union", "mtd_memory"):
        with pytest.raises(NotRun, match=r"pip install natx\[det\]"):
            items.ITEMS[name].run(bench)


# ------------------------------------------------------------------------------------------------ fresh processes


def test_memory_is_measured_by_the_tool_itself(
    items: ModuleType, bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, fake = theme("fresh"), tmp_path / "tool.py"
    assert fresh.COMMAND == (sys.executable, "-m", "natx", "bench")
    works = {"attack", "train", "reid", "det_mtd", "det_std", "det_judging", "det_judging_before"}
    assert set(items.WORKS) == works
    monkeypatch.setattr(fresh, "COMMAND", (sys.executable, str(fake)))
    fake.write_text(
        "import json, os, sys\n"
        "print('a warning')\n"
        "own = os.environ['MALLOC_MMAP_THRESHOLD_'] == os.environ['MALLOC_TRIM_THRESHOLD_'] == '65536'\n"
        "wanted = '--memory-worker train --model resnet8_cifar --batch-size 2 --device cpu --threads 1'.split()\n"
        "print(json.dumps({'MB': 1.5})) if own and sys.argv[1:] == wanted else sys.exit('not that')\n"
    )
    assert fresh.in_fresh_process(bench, "train") == 1.5
    with pytest.raises(RuntimeError, match="the memory measurement failed: (?s:.*)not that"):
        fresh.in_fresh_process(bench, "attack")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux' /proc")
def test_the_memory_worker_sees_the_feature_maps(items: ModuleType, bench: Any) -> None:
    one_map = 64 * 16 * 32 * 32 * 4 / 1e6  # of ResNet-8's first stage, whose layers keep several for the backward
    found = theme("fresh").in_fresh_process(replace(bench, batch_size=64), "train")
    assert 3 * one_map < found < 50 * one_map


def test_kept_memory_is_measured_in_fresh_processes(
    items: ModuleType, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both workers run, with the C library's own settings whatever this process has; a GPU has none of it."""
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1000")
    found = run_item(items.ITEMS["kept_memory"], bench, SETTING)
    if platform.libc_ver()[0] == "glibc":
        assert found["repeats"] == 1 and min(found["a_values"] + found["b_values"]) > 0
    else:
        assert "needs the GNU C library" in found["not_run"]
    found = run_item(items.ITEMS["kept_memory"], replace(bench, device=torch.device("meta")), SETTING)
    assert "needs --device cpu" in found["not_run"]
    monkeypatch.setattr(theme("allocator"), "WORKER", "raise SystemExit('no such thing')")
    with pytest.raises(RuntimeError, match="the measurement failed: no such thing"):
        theme("allocator").in_fresh_process(bench, "keep")


# ------------------------------------------------------------------------------------------------ the command line


@pytest.fixture
def command_line(items: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Runs `natx bench` with arguments in an empty folder, which it returns."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Path:
        monkeypatch.setattr(sys, "argv", ["natx", "bench", *arguments])
        bench_command(arguments)
        return tmp_path

    return run


def test_chosen_items_go_to_the_file(command_line: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = command_line("--only", "epoch_times", "--out", "b.json", "--threads", "1", "--model", "resnet8_cifar")
    assert "epoch_times ...\n  not run: epoch times need a GPU" in capsys.readouterr().out
    (found,) = json.loads((folder / "b.json").read_text())["items"]
    assert (found["name"], found["threads"], found["model"]) == ("epoch_times", 1, "resnet8_cifar")
    assert found["command"].startswith("natx bench --only epoch_times --out b.json")
    assert "not run: epoch times" in (folder / "b.md").read_text()


@pytest.mark.parametrize("name", ["batch-size", "repeats", "images"])
def test_counts_are_at_least_one(command_line: Callable[..., Path], name: str) -> None:
    with pytest.raises(ConfigError, match=f"--{name} must be at least 1; got 0"):
        command_line(f"--{name}", "0")


def test_an_unknown_item_is_refused_with_all_names(command_line: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="mtd_memory.*got speed"):
        command_line("--only", "speed")
