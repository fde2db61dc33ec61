"""A judging of a detector that is killed and gone on with reports what one that was never stopped does."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from detector_runs import THREAT, base
from forks import Fork
from mmengine.config import Config

from natx.attacks import Attack
from natx.evaluation.progress import clear_progress
from natx.evaluation.set_progress import SetProgress
from natx.judging.judge import judge
from natx.models.checkpoint import save_weights
from natx.registry import DATASETS, TASKS

IMAGES, BATCH = 5, 2
BLOCKS = 3  # of a column
ATTACKS = [
    {"type": "PGD", "steps": 2, "step_size": 4 / 255, "name": name, "objective": {"type": "ImageLoss", "name": loss}}
    for name, loss in (("loss_cls", "loss_cls"), ("loss_loc", "loss_bbox"))
]


def judged(root: str, progress: str | None, *, pictures: str | None = None) -> dict[str, Any]:
    """The report of the weights in a folder beside its set; goes on with what ``progress`` holds."""
    torch.set_num_threads(1)
    config = Config(base(Path(root) / "voc"))
    table = Config({"threat": THREAT, "attacks": ATTACKS})
    folder = None if progress is None else Path(progress)
    return judge(
        config,
        Path(root) / "ssd.safetensors",
        table,
        device=torch.device("cpu"),
        batch_size=BATCH,
        progress=folder,
        resume=folder is not None,
        pictures=None if pictures is None else Path(pictures),
    )


def dying(root: str, progress: str, call: int, torn: bool) -> None:
    """Judge, and kill this process when a block is to be kept for the given time, or in the middle of its file."""
    add, sync, calls = SetProgress.add, os.fsync, []

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(self: SetProgress, name: str, block: Any) -> None:
        calls.append(name)
        if len(calls) == call and not torn:
            die()
        add(self, name, block)

    def half(handle: int) -> None:
        if len(calls) == call:
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            die()
        sync(handle)

    SetProgress.add = counted  # type: ignore[method-assign]
    if torn:
        os.fsync = half
    judged(root, progress)


def numbers(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what may differ: times and where it was made."""
    attacks = [{key: value for key, value in attack.items() if key != "seconds"} for attack in report["attacks"]]
    return json.loads(json.dumps({**report, "attacks": attacks, "provenance": None}))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a generated set of five test images and weights of a small SSD, as they were drawn."""
    folder = tmp_path_factory.mktemp("detector")
    config = base(folder / "voc")
    DATASETS.build(config["data"]["test"])
    torch.manual_seed(0)
    save_weights(folder / "ssd.safetensors", TASKS.build(config["task"]), meta={})
    return folder


def test_a_judging_killed_again_and_again_gives_the_same_report(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, whole = tmp_path / "work", judged(str(root), None, pictures=str(tmp_path / "whole"))
    kept = []
    # In the clean pass; in the first attack, half of a file written; between the end of a later block and its file.
    for call, torn in ((2, False), (4, True), (3, False)):
        fork = Fork(dying, str(root), str(work), call, torn, folders=(Path(__file__).parent,)).wait()
        assert fork.returncode == -signal.SIGKILL, fork.stderr
        kept.append(len(list(work.glob("progress-*.safetensors"))))
    assert kept == [1, 4, 6]
    judge_one, images = Attack.judge, []

    def noting(self: Attack, task: Any, batch: Any, **settings: Any) -> Any:
        images.append((self.name, len(batch["index"])))
        return judge_one(self, task, batch, **settings)

    monkeypatch.setattr(Attack, "judge", noting)
    resumed = judged(str(root), str(work), pictures=str(work))
    assert images == [("loss_loc", 2), ("loss_loc", 2), ("loss_loc", 1)]  # nothing is judged twice
    assert numbers(resumed) == numbers(whole)
    for name in whole["pictures"].values():
        assert (work / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(list(work.glob("progress-*.safetensors"))) == BLOCKS * (1 + len(ATTACKS))
    clear_progress(work)
    assert {path.name for path in work.iterdir()} == set(whole["pictures"].values())
