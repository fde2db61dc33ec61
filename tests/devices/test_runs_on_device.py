"""Whole trainings on the pretended device: waits between two lines of the log, averaging, resuming, exporting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from device_steps import CPU
from mmengine.config import Config
from pretended_device import counted
from safetensors.torch import load_file
from tiny_runs import Stopped, tiny_config
from workshop import Workshop

from natx.export.weights import export
from natx.judging.judge import judge
from natx.models.checkpoint import load_state
from natx.training.hooks import LogValues
from natx.training.run import train

PGD = {"type": "PGD", "threat": {"type": "Linf", "eps": 8 / 255}, "steps": 2}
AT = {"type": "Adversarial", "views": ("clean", "adv"), "attack": PGD}
CLIPPED = {
    "type": "OptimWrapper",
    "optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9},
    "clip_grad": {"max_norm": 1.0},
}


LINF = PGD["threat"]
FREE = {"type": "FreeTraining", "threat": LINF, "replays": 2}


def averaged(method: dict[str, Any] = AT, **changes: Any) -> Config:
    return tiny_config(method, ema={"decay": 0.9}, optim_wrapper=CLIPPED, **changes)


def test_an_iteration_between_two_lines_of_the_log_waits_once(device: torch.device, tmp_path: Path) -> None:
    totals = []
    for count in (48, 84):  # 4 and 7 iterations in the epoch; no images are held out, whose judging waits as it must
        images = {"type": "TinyDataset", "num_classes": 5, "uint8": True}
        data = {"train": {**images, "count": count}, "test": {**images, "count": 10}, "heldout": 0, "batch_size": 12}
        config = averaged(data=data, train_cfg={"max_epochs": 1}, log_interval=50)
        with counted() as waits:
            train(config, tmp_path / str(count), device=device)
        totals.append(waits)
    assert totals[1].total - totals[0].total == 3, f"{totals[0]}\n\n{totals[1]}"


def test_a_run_has_the_cpus_weights(device: torch.device, tmp_path: Path) -> None:
    states = []
    for place in (CPU, device):
        train(averaged(), tmp_path / place.type, device=place)
        states.append(load_file(tmp_path / place.type / "best.safetensors"))
    assert all(torch.allclose(value, states[1][key], atol=1e-5) for key, value in states[0].items())


@pytest.mark.parametrize("method", [AT, FREE], ids=["attack", "free"])
def test_a_resumed_run_equals_an_unbroken_one(
    method: dict[str, Any], device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Any, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if (runner.epoch, batch_idx) == (1, 2):
            raise Stopped

    config = averaged(method, checkpoint_every=0.0001)  # inside the epoch, after every step
    train(config, tmp_path / "whole", device=device)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(LogValues, "after_train_iter", stop)
        train(config, tmp_path / "broken", device=device)
    train(config, tmp_path / "broken", device=device, resume=True)
    whole, broken = (load_state(tmp_path / name / "last.pth") for name in ("whole", "broken"))
    for part in ("weights", "live"):
        assert all(torch.equal(value, broken[part][key]) for key, value in whole[part].items())


def test_a_run_is_judged_and_exported(device: torch.device, shop: Workshop) -> None:
    config, folder = shop.load(train_cfg={"max_epochs": 1}, ema={"decay": 0.5}), shop.folder / "run"
    best = train(config, folder, device=device)
    attacks = Config({"threat": {"type": "Linf", "eps": 16 / 255}, "attacks": [{"type": "PGD", "steps": 2}]})
    reports = [judge(config, best, attacks, device=place, subset_size=40) for place in (CPU, device)]
    assert reports[0]["columns"] == reports[1]["columns"]
    written = export(config, best, shop.folder / "exported")
    assert load_file(written[0]).keys() == load_file(best).keys()
