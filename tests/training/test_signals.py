"""A training that a scheduler ends: one line, an exit code to requeue on, and nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_runs import equal
from workshop import DIGITS, PGD, ROOT, environment, merged, write_config

from natx.config import load_config
from natx.training.run import train

# Named in custom_imports: iterations last long enough to be hit, and the process says when it trains.
SLOW = """
import time
from natx.training.hooks import ProgressHook

count = ProgressHook.after_train_iter


def after_train_iter(self, runner, batch_idx, *rest, **named):
    count(self, runner, batch_idx, *rest, **named)
    if runner.iter >= 8:
        print("training", flush=True)
        time.sleep(0.3)


ProgressHook.after_train_iter = after_train_iter
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGUSR1], ids=lambda sent: sent.name)
def test_a_training_that_is_told_to_stop_goes_on_as_if_it_had_not_been(tmp_path: Path, sent: signal.Signals) -> None:
    (tmp_path / "natx_test_slow.py").write_text(SLOW)
    """The signal goes to all processes of the job, those that load images among them, as schedulers send it."""
    method = {"type": "Adversarial", "views": ("adv",), "attack": PGD}
    config = merged(DIGITS, {"method": method, "data": {"heldout": 0}, "train_cfg": {"max_epochs": 2}})
    plain = write_config(tmp_path / "digits.py", config)
    (tmp_path / "slow").mkdir()
    slow = write_config(
        tmp_path / "slow" / "digits.py",
        merged(config, {"custom_imports": {"imports": ["tasks.cls", "natx_test_slow"]}, "data": {"num_workers": 1}}),
    )
    command = [sys.executable, str(ROOT / "tools" / "train.py"), str(slow), "--work-dir", str(tmp_path / "run")]
    process = subprocess.Popen(
        [*command, "--device", "cpu", "--threads", "1"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("training"):
            break
    time.sleep(0.4)
    os.killpg(process.pid, sent)
    _, errors = process.communicate()
    assert process.returncode == 75, errors
    (error,) = [line for line in errors.splitlines() if line.startswith("error:")]
    assert errors.rstrip().endswith(error) and "Traceback" not in errors
    assert f"stopped by {sent.name} in epoch 2" in error and "--resume" in error
    saved = torch.load(tmp_path / "run" / "last.pth", weights_only=True)
    assert saved["meta"]["epoch"] == 1 and saved["meta"]["batches"] > 0
    ends = []
    for folder, resume in (("run", True), ("whole", False)):
        settings = load_config(plain)
        settings.custom_imports.imports = ["tasks.cls", "natx_test_slow"]  # the same run, at full speed
        train(settings, tmp_path / folder, device=torch.device("cpu"), resume=resume)
        ends.append(torch.load(tmp_path / folder / "last.pth", weights_only=True))
    for part in ("weights", "optimizer", "schedulers", "best", "processes"):
        assert equal(ends[0][part], ends[1][part]), part
