"""A run killed anywhere and resumed ends with the weights of a run that was never killed (design, section 9, test 5)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from workshop import DIGITS, ROOT, Workshop, merged, nat, write_config

from natx.checkpoint import read_meta

# Named in custom_imports: kills its own process (SIGKILL) at the moment that NATX_TEST_KILL names.
KILLER = '''
import os, pathlib, signal

moment = os.environ.get("NATX_TEST_KILL", "")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


if moment.startswith("step"):
    from natx.hooks import NonFiniteGuard

    step, after = NonFiniteGuard.after_train_iter, moment.split()[1:]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        step(self, runner, batch_idx, data_batch, outputs)
        if [runner.cfg.train_cfg.role, str(runner.epoch + 1), str(batch_idx + 1)] == after:
            die()

    NonFiniteGuard.after_train_iter = after_train_iter

if moment.startswith("write"):
    sync, (_, wanted, count), seen = os.fsync, moment.split(), []

    def fsync(handle):
        name = os.readlink(f"/proc/self/fd/{handle}")
        if f"/{wanted}." in name.replace("/.", "/"):
            seen.append(name)
            if len(seen) == int(count):
                os.ftruncate(handle, os.fstat(handle).st_size // 2)
                die()
        sync(handle)

    os.fsync = fsync
'''

# Where each process dies; the next one resumes. Epochs and files are counted per process.
DEATHS = [
    ("step adversary 2 3", "in the middle of an epoch of the adversary"),
    ("step target 2 4", "in the middle of an epoch of the target"),
    ("write last.pth 1", "half of last.pth written, best and last weights of that epoch already in place"),
    ("write best.safetensors 2", "half of the best weights written"),
]
EPOCHS = 4


def train(config: Path, work_dir: Path, *arguments: str, kill: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "train.py"), str(config), "--work-dir", str(work_dir)]
    return subprocess.run(
        [*command, "--device", "cpu", "--threads", "1", *arguments],
        env={**os.environ, "NATX_TEST_KILL": kill, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(config.parent)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run that was never killed, and one that died at each moment of DEATHS; both train their own adversary."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "natx_test_killer.py").write_text(KILLER)
    imports = {"imports": ["tasks.cls", "natx_test_killer"]}
    schedule = {"param_scheduler": [{"type": "CosineAnnealingLR", "T_max": EPOCHS, "by_epoch": True}]}
    adversary = merged(DIGITS, {"custom_imports": imports, "seed": 7})
    write_config(folder / "adversary.py", adversary)
    method = nat({"config": str(folder / "adversary.py")})
    target = merged(DIGITS, {"custom_imports": imports, "train_cfg": {"max_epochs": EPOCHS}, "method": method})
    config = write_config(folder / "target.py", {**target, **schedule})
    whole = train(config, folder / "whole" / "run")
    assert whole.returncode == 0, whole.stderr
    killed = []
    for moment, _ in DEATHS:
        died = train(config, folder / "killed" / "run", "--resume", kill=moment)
        temporary = [path.name for path in (folder / "killed" / "run").glob(".*.tmp")]
        killed.append((died, temporary))
    final = train(config, folder / "killed" / "run", "--resume")
    return {"folder": folder, "config": config, "whole": whole, "killed": killed, "final": final}


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def equal(first: Any, second: Any) -> bool:
    """Bit for bit, through containers."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second
