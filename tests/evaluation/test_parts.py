"""A judging killed inside AutoAttack goes on with the member it was at."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from natx.attacks.autoattack import LibraryAttack
from natx.attacks.parts import Part
from natx.attacks.remarks import FAINT_AT_LEAST
from natx.errors import ConfigError
from natx.evaluation import evaluate
from natx.evaluation.parts import BlockParts
from natx.evaluation.progress import Progress
from natx.evaluation.robust import Evaluation
from natx.testing import TinyCNNTask, TinyDataset, fit
from natx.threat import Linf

pyautoattack = pytest.importorskip("pyautoattack")
MEMBERS = ["apgd-ce", "apgd-t", "square"]
BLOCK, IMAGES = 10, 30


class Ensemble(LibraryAttack):
    """AutoAttack's way with three short members."""

    members = MEMBERS
    options = {"iterations": 3, "queries": 20}  # noqa: RUF012


@pytest.fixture(scope="module")
def task() -> TinyCNNTask:
    return fit(TinyCNNTask(5, seed=1, width=4), TinyDataset(40, num_classes=5))


def evaluated(task: TinyCNNTask, folder: Path | None) -> Evaluation:
    progress = None if folder is None else Progress(folder, {"of": "these"}, resume=True)
    data = TinyDataset(IMAGES, num_classes=5, seed=5)
    return evaluate(task, data, [Ensemble(Linf(12 / 255), block_size=BLOCK, seed=3)], progress=progress)


def plain(evaluation: Evaluation) -> tuple[Any, ...]:
    _clean, result = evaluation.attacks
    right = {name: one.tolist() for name, one in evaluation.correct.items()}
    return right, result.cost, sorted(result.notes), result.settings


class Calls:
    """Counts calls of the library's members, and kills the process before one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, die_at: int = 0) -> None:
        self.made: list[str] = []
        library = pyautoattack
        kinds = (library.autopgd_base.APGDAttack, library.autopgd_base.APGDAttack_targeted, library.square.SquareAttack)
        for kind in kinds:
            monkeypatch.setattr(kind, "perturb", self.counted(kind.__name__, kind.perturb, die_at))

    def counted(self, name: str, perturb: Any, die_at: int) -> Any:
        def call(member: Any, *arguments: Any, **settings: Any) -> Any:
            if type(member).__name__ == name:  # not what a subclass asks of its base
                self.made.append(name)
                if len(self.made) == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return perturb(member, *arguments, **settings)

        return call


def killed(task: TinyCNNTask, folder: Path, monkeypatch: pytest.MonkeyPatch, die_at: int) -> None:
    """Judge in a process that is killed at a call of a member."""
    process = os.fork()
    if not process:
        try:
            torch.set_num_threads(1)
            Calls(monkeypatch, die_at=die_at)
            evaluated(task, folder)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("progress-*.safetensors"))


def test_members_that_were_through_are_not_run_again(
    task: TinyCNNTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluated(task, None)
    assert 0 < whole.accuracy("Ensemble") < whole.accuracy("Clean")
    killed(task, tmp_path, monkeypatch, 6)  # before Square on the second of three blocks
    assert len(kept(tmp_path)) == 2
    killed(task, tmp_path, monkeypatch, 3)  # before the second member on the third block; Square is through
    assert len(kept(tmp_path)) == 1
    counts = Calls(monkeypatch)
    again = evaluated(task, tmp_path)
    assert counts.made == ["APGDAttack_targeted", "SquareAttack"]
    assert plain(again) == plain(whole)
    assert kept(tmp_path) == []  # a finished block needs them no more


class Rounded(TinyCNNTask):
    """Without gradients to follow."""

    def logits(self, x: Tensor) -> Tensor:
        return super().logits(x).round()


def test_what_members_found_out_is_told_after_a_kill_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's flags, and gradients that its members met."""
    rounded = Rounded(5, seed=1, width=4)
    fit(rounded, TinyDataset(40, num_classes=5), lr=0.0)
    whole = evaluated(rounded, None)
    notes = " ".join(whole.attacks[1].notes)
    assert "zero gradient" in notes and FAINT_AT_LEAST in notes
    for die_at in (3, 4, 4):  # before Square, with all that has gradients done
        killed(rounded, tmp_path, monkeypatch, die_at)
    assert plain(evaluated(rounded, tmp_path)) == plain(whole)


def test_the_time_of_parts_counts(task: TinyCNNTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(task, tmp_path, monkeypatch, 2)
    [path] = kept(tmp_path)
    with safe_open(path, framework="pt") as file:
        [(key, text)] = file.metadata().items()
    save_file(load_file(path), path, metadata={key: json.dumps({**json.loads(text), "seconds": 1000.0})})
    assert 1000 < evaluated(task, tmp_path).attacks[1].seconds < 2000


def test_a_damaged_part_is_told(task: TinyCNNTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(task, tmp_path, monkeypatch, 2)
    [path] = kept(tmp_path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ConfigError, match=r"progress-.*safetensors is damaged .*: delete it, and its part"):
        evaluated(task, tmp_path)


def test_parts_of_other_pixels_or_another_evaluation_are_not_taken(tmp_path: Path) -> None:
    x, part = torch.rand(2, 3, 4, 4), Part(torch.rand(2, 3, 4, 4), 7, 5, torch.tensor([1, 0]), ["a flag"], 2.5)
    progress = Progress(tmp_path, {"seed": 1})
    BlockParts(progress, "AA", [0, 1]).add(0, x, part)
    found = BlockParts(progress, "AA", [0, 1]).stored(0, x)
    assert found is not None and torch.equal(found.x_adv, part.x_adv) and found.at_least.tolist() == [1, 0]
    assert (found.forwards, found.backwards, found.seconds, found.flags) == (7, 5, 2.5, ["a flag"])
    assert BlockParts(progress, "AA", [0, 1]).stored(0, x.flip(0)) is None
    assert BlockParts(progress, "AA", [0, 1]).stored(0, x.reshape(2, 3, 2, 8)) is None
    assert BlockParts(progress, "AA", [0, 1]).stored(1, x) is None
    assert BlockParts(progress, "AA", [0, 2]).stored(0, x) is None
    assert BlockParts(progress, "APGD", [0, 1]).stored(0, x) is None
    progress.evaluation["seed"] = 2
    assert BlockParts(progress, "AA", [0, 1]).stored(0, x) is None
