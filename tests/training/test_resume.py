"""A run killed anywhere and resumed ends with the weights of a run that was never killed."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from forks import Fork, run_tool
from safetensors.torch import load_file
from workshop import DIGITS, Workshop, merged, nat, write_config

from natx.models.weights import read_meta

# Named in custom_imports: kills its own process (SIGKILL) at the moment that NATX_TEST_KILL names.
KILLER = """
import os, signal

moment = os.environ.get("NATX_TEST_KILL", "").split()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


if moment[:1] == ["step"]:
    from natx.training.hooks import LogValues

    check = LogValues.after_train_iter

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        check(self, runner, batch_idx, data_batch, outputs)
        who = "adversary" if "adversaries" in runner.work_dir else "target"
        if [who, str(runner.epoch + 1), str(batch_idx + 1)] == moment[1:]:
            die()

    LogValues.after_train_iter = after_train_iter

if moment[:1] == ["write"]:
    sync, seen = os.fsync, []

    def fsync(handle):
        name = os.path.basename(os.readlink(f"/proc/self/fd/{handle}"))
        if name.startswith(f".{moment[1]}."):
            seen.append(name)
            if len(seen) == int(moment[2]):
                os.ftruncate(handle, os.fstat(handle).st_size // 2)
                die()
        sync(handle)

    os.fsync = fsync
"""

# Where each process dies, what it was doing, and what the next one finds. Files are counted per process.
DEATHS = [
    ("step adversary 2 3", "in the middle of an epoch of the adversary", "1 of 2 epochs done"),
    ("step target 2 4", "in the middle of an epoch of the target", "1 of 4 epochs done"),
    ("write last.pth 1", "half of last.pth written, the weights of epoch 2 in place already", "1 of 4 epochs done"),
]
EPOCHS = 4


def train(config: Path, work_dir: Path, *arguments: str, kill: str = "") -> Fork:
    words = (config, "--work-dir", work_dir, *arguments)
    return run_tool("train.py", *words, folders=(config.parent,), NATX_TEST_KILL=kill)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run that was never killed, and one that died at each moment of DEATHS; both train their own adversary."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "natx_test_killer.py").write_text(KILLER)
    imports = {"imports": ["tasks.cls", "natx.testing", "natx_test_killer"]}
    # Dropout, so that the state of the random generators counts too.
    task = {"type": "TinyCNNTask", "num_classes": 10, "channels": 1, "dropout": 0.3}
    schedule = {"param_scheduler": [{"type": "CosineAnnealingLR", "T_max": EPOCHS, "by_epoch": True}]}
    adversary = merged(DIGITS, {"custom_imports": imports, "task": task, "seed": 7})
    write_config(folder / "adversary.py", adversary)
    method = nat({"config": str(folder / "adversary.py")})
    target = merged(
        DIGITS, {"custom_imports": imports, "task": task, "train_cfg": {"max_epochs": EPOCHS}, "method": method}
    )
    config = write_config(folder / "target.py", {**target, **schedule})
    whole = train(config, folder / "whole" / "run")
    assert whole.returncode == 0, whole.stderr
    killed = [train(config, folder / "killed" / "run", "--resume", kill=moment) for moment, *_ in DEATHS]
    left = sorted(path.name for path in (folder / "killed" / "run").glob(".*.tmp"))
    final = train(config, folder / "killed" / "run", "--resume")
    return {"folder": folder, "config": config, "killed": killed, "left": left, "final": final}


@pytest.fixture
def shop(shop: Workshop, history: dict[str, Any]) -> Workshop:
    shop.monkeypatch.syspath_prepend(history["folder"])  # where natx_test_killer is
    return shop


def equal(first: Any, second: Any) -> bool:
    """Bit for bit, through containers."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


@pytest.mark.parametrize("number", range(len(DEATHS)), ids=[doing for _, doing, _ in DEATHS])
def test_each_process_died_where_it_was_meant_to(history: dict[str, Any], number: int) -> None:
    died, following = (*history["killed"], history["final"])[number : number + 2]
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert DEATHS[number][2] in following.stdout


def test_a_half_written_file_has_another_name_and_is_removed_on_resume(history: dict[str, Any]) -> None:
    assert len(history["left"]) == 1 and history["left"][0].startswith(".last.pth.")
    assert not list((history["folder"] / "killed" / "run").glob(".*.tmp"))


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
def test_weights_equal_those_of_a_run_that_was_not_killed(history: dict[str, Any], name: str) -> None:
    assert history["final"].returncode == 0, history["final"].stderr
    whole, killed = (history["folder"] / way / "run" / name for way in ("whole", "killed"))
    assert equal(load_file(whole), load_file(killed))
    assert read_meta(whole)["epoch"] == read_meta(killed)["epoch"]
    assert read_meta(whole)["best"] == read_meta(killed)["best"]
    if name == "last.safetensors":
        assert read_meta(killed)["epoch"] == EPOCHS


def test_optimiser_and_schedule_are_equal_too(history: dict[str, Any]) -> None:
    whole, killed = (
        torch.load(history["folder"] / way / "run" / "last.pth", weights_only=True) for way in ("whole", "killed")
    )
    assert whole["optimizer"]["state"]  # momentum is there
    for part in ("weights", "method", "optimizer", "schedulers", "best"):
        assert equal(whole[part], killed[part]), part


def test_the_adversary_is_equal_too_and_was_finished_once(history: dict[str, Any]) -> None:
    files = [list((history["folder"] / way / "adversaries").glob("*/best.safetensors")) for way in ("whole", "killed")]
    assert [len(found) for found in files] == [1, 1]
    assert equal(load_file(files[0][0]), load_file(files[1][0]))
    assert read_meta(files[0][0])["seed"] == 7


def test_resuming_a_finished_run_changes_nothing(history: dict[str, Any], shop: Workshop) -> None:
    run = history["folder"] / "killed" / "run"
    names = ("best.safetensors", "last.safetensors", "last.pth", "done.json")
    before = {name: (run / name).read_bytes() for name in names}
    ran = shop.run("train.py", history["config"], "--work-dir", run, "--resume")
    assert ran.code == 0, ran.err
    assert {name: (run / name).read_bytes() for name in before} == before


def test_resume_finds_the_run_when_its_folder_moved(history: dict[str, Any], shop: Workshop) -> None:
    moved = shop.folder / "elsewhere"
    shutil.copytree(history["folder"] / "killed", moved)
    ran = shop.run("train.py", history["config"], "--work-dir", moved / "run", "--resume")
    assert ran.code == 0, ran.err
    assert f"{EPOCHS} of {EPOCHS} epochs done" in ran.out


def test_resume_refuses_another_config(history: dict[str, Any], shop: Workshop) -> None:
    run = history["folder"] / "whole" / "run"
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert run / "target.py" in before
    lr = "optim_wrapper.optimizer.lr=0.01"
    ran = shop.run("train.py", history["config"], "--work-dir", run, "--resume", "--cfg-options", lr)
    assert "another config" in ran.error()
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_used_folder_is_refused_without_resume(history: dict[str, Any], shop: Workshop) -> None:
    run = history["folder"] / "whole" / "run"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    ran = shop.run("train.py", history["config"], "--work-dir", run)
    assert "--resume" in ran.error()
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
