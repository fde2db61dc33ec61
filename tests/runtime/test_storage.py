"""Disks that are full, folders that cannot be written to or are in use: one line, and what was there stays."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from tiny_runs import run as train_tiny
from tiny_runs import tiny_config
from workshop import Workshop, environment

from natx.errors import StorageError
from natx.models.checkpoint import load_state, save_state
from natx.runtime.files import write_atomic, write_json
from natx.runtime.locks import IN_USE, exclusive, sole_use
from natx.training.hooks import ProgressHook


@pytest.fixture
def full_at_100_kB() -> Iterator[None]:
    """Files end at 100,000 bytes, as if the disk were full there; the system's own error, not a pretended one."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def by_torch(file: BinaryIO) -> None:
    torch.save({"x": torch.zeros(100_000)}, file)


def by_numpy(file: BinaryIO) -> None:
    np.save(file, np.zeros(100_000))


def in_pieces(file: BinaryIO) -> None:
    for _ in range(40):
        file.write(b"x" * 10_000)


@pytest.mark.parametrize("write", [by_torch, by_numpy, in_pieces], ids=lambda write: write.__name__)
def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path: Path, write: Any, full_at_100_kB: None) -> None:
    path = tmp_path / "last.pth"
    path.write_bytes(b"before")
    with pytest.raises(StorageError) as error:
        write_atomic(path, write, size=400_000)
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text and "0.4 MB" in text and f"free in {tmp_path}" in text and "before is whole" in text
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_a_state_says_how_large_it_is(tmp_path: Path, full_at_100_kB: None) -> None:
    with pytest.raises(StorageError, match=r"it takes 4\.0 MB"):
        save_state(tmp_path / "last.pth", {"weights": {"a": torch.zeros(500_000), "b": [torch.zeros(500_000)]}})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def mkstemp(**_: Any) -> Any:
        raise OSError(code, os.strerror(code), str(tmp_path / "x"))

    monkeypatch.setattr("natx.runtime.files.tempfile.mkstemp", mkstemp)
    with pytest.raises(StorageError, match=os.strerror(code)):
        write_json(tmp_path / "report.json", {"a": 1})


def test_a_mistake_of_the_program_is_no_matter_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_atomic(tmp_path / "a", lambda file: file.write("text"))  # type: ignore[arg-type]


def test_a_full_disk_ends_a_training_and_keeps_its_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, real = tiny_config({"type": "Standard"}, checkpoint_every=None), save_state

    def save(path: Path, state: dict[str, Any]) -> None:
        if state["meta"]["epoch"] == 2:
            write_atomic(path, lambda file: open("/dev/full", "wb", buffering=0).write(b"x"), size=10)
        real(path, state)

    whole = train_tiny(config, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(StorageError, match="No space left"):
        patch.setattr("natx.training.hooks.checkpoints.save_state", save)
        train_tiny(config, tmp_path / "run")
    assert load_state(tmp_path / "run" / "last.pth")["meta"]["epoch"] == 1
    resumed = train_tiny(config, tmp_path / "run", resume=True)
    assert all(torch.equal(value, whole["weights"][key]) for key, value in resumed["weights"].items())


def during(monkeypatch: pytest.MonkeyPatch, action: Any, *, at: int) -> None:
    """Do something after an iteration."""
    count = ProgressHook.after_train_iter

    def after_train_iter(self: Any, runner: Any, *rest: Any, **named: Any) -> None:
        count(self, runner, *rest, **named)
        if runner.iter == at:
            action()

    monkeypatch.setattr(ProgressHook, "after_train_iter", after_train_iter)


@pytest.mark.parametrize("backends", [[], [{"type": "LocalVisBackend"}]], ids=["checkpoint", "log"])
def test_a_work_dir_that_vanishes_is_told_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backends: list[Any]
) -> None:
    run = tmp_path / "run"
    during(monkeypatch, lambda: run.rename(tmp_path / "elsewhere"), at=5)
    with pytest.raises(StorageError, match="gone"):
        train_tiny(tiny_config({"type": "Standard"}, vis_backends=backends, log_interval=1), run)
    assert not run.exists()
    assert load_state(tmp_path / "elsewhere" / "last.pth")["meta"]["epoch"] == 1


def test_a_log_that_cannot_be_written_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    config = tiny_config({"type": "Standard"}, log_interval=1)
    during(monkeypatch, lambda: monkeypatch.setattr("logging.FileHandler.emit", full), at=5)
    with pytest.raises(StorageError, match="No space left"):
        train_tiny(config, tmp_path / "run")


HOLDER = """
import sys, time
from pathlib import Path
from natx.runtime.locks import sole_use

with sole_use(Path(sys.argv[1]), work="a training"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_while_the_first_lives_and_a_dead_ones_lock_does_not_block(shop: Workshop) -> None:
    folder = shop.folder / "run"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        line = shop.run("train.py", shop.digits(), "--work-dir", folder).error()
        assert f"{folder} is being written to by a training (process {process.pid} on " in line
        assert sorted(path.name for path in folder.iterdir()) == [IN_USE]
    finally:
        process.kill()
        process.wait()
    assert (folder / IN_USE).exists()
    with sole_use(folder, work="a training"):
        assert f"process {os.getpid()}" in (folder / IN_USE).read_text()
    assert not (folder / IN_USE).exists()


def _live_on(pipe: Connection) -> None:
    pipe.send("alive")
    time.sleep(300)


def test_a_process_that_loads_images_holds_no_lock_of_a_dead_one(tmp_path: Path) -> None:
    """It lives on for seconds where its parent was killed, and a run that is started again was refused by it."""
    here, there = multiprocessing.Pipe()
    with exclusive(tmp_path / ".lock"):
        worker = multiprocessing.get_context("fork").Process(target=_live_on, args=(there,))
        worker.start()
    try:
        assert here.recv() == "alive"
        with (tmp_path / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        worker.kill()
        worker.join()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("natx.runtime.locks.fcntl.flock", flock)
    with exclusive(tmp_path / "store" / ".lock"), sole_use(tmp_path / "run", work="a training"):
        assert (tmp_path / "run" / IN_USE).exists()


def test_two_evaluations_do_not_share_a_folder(shop: Workshop) -> None:
    out = shop.folder / "report"
    config = shop.digits(train_cfg={"max_epochs": 1})
    assert shop.run("train.py", config, "--work-dir", shop.folder / "run").code == 0
    attacks = shop.write("attacks.py", {"threat": {"type": "Linf", "eps": 0.1}, "attacks": [{"type": "FGSM"}]})
    arguments = [config, shop.folder / "run" / "last.safetensors", "--attacks", attacks, "--out", out, "--subset", "20"]
    with sole_use(out, work="an evaluation"):
        line = shop.run("test.py", *arguments).error()
    assert "is being written to by an evaluation" in line
    assert not out.exists()  # it was made for nothing
    assert shop.run("test.py", *arguments).code == 0
    assert json.loads((out / "report.json").read_text())["images"] == 20 and not (out / IN_USE).exists()


def test_a_link_stays_one(tmp_path: Path) -> None:
    """Files of a run may lie on another disk, where the folder has links to them."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "last.json").write_text("old")
    link = tmp_path / "last.json"
    link.symlink_to(Path("disk") / "last.json")
    write_json(link, {"new": 1})
    assert link.is_symlink() and json.loads((tmp_path / "disk" / "last.json").read_text()) == {"new": 1}
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["disk", "last.json", "last.json"]
