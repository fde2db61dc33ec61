"""Memory that does not suffice: an evaluation goes on with fewer images at a time, a training says what to lower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import run as train_tiny
from tiny_runs import tiny_config

from natx.attacks import PGD
from natx.errors import MemoryShortage
from natx.evaluation import evaluate
from natx.evaluation.pieces import Pieces
from natx.evaluation.progress import Block
from natx.runtime.memory import explained
from natx.testing import TinyCNNTask, TinyDataset, fit
from natx.threat import Linf

CPU_SAYS = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
)


class Small(TinyCNNTask):
    """A network for which memory suffices up to so many images."""

    most = 1000

    def network(self, x: Any, batch: Any) -> Any:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().network(x, batch)


@pytest.mark.parametrize("most", [7, 3, 1])
def test_an_evaluation_halves_its_batch_and_finds_the_same(most: int) -> None:
    task = fit(Small(batch_norm=False, dropout=0.0, double=True), TinyDataset(40), steps=60)
    attack = PGD(Linf(0.03), 4, step_size=0.01)
    whole = evaluate(task, TinyDataset(23, seed=5, noise=0.3), [attack], batch_size=10)
    task.most = most
    pieces = evaluate(task, TinyDataset(23, seed=5, noise=0.3), [attack], batch_size=10)
    assert {name: column.tolist() for name, column in pieces.correct.items()} == {
        name: column.tolist() for name, column in whole.correct.items()
    }
    assert pieces.attacks[1].cost == whole.attacks[1].cost
    assert 0 < int(whole.correct[attack.name].sum()) < 23
    notes = [note for note in pieces.attacks[0].notes if "images at a time" in note]
    assert notes and all(int(note.split()[3]) <= max(most, 1) for note in notes)


def test_a_single_image_that_does_not_fit_is_one_line() -> None:
    task = Small()
    task.most = 0
    with pytest.raises(MemoryShortage, match="a single image does not fit"):
        evaluate(task, TinyDataset(6), [PGD(Linf(0.1), 2)], batch_size=4)


def test_what_belongs_together_is_not_taken_apart() -> None:
    def judge(images: list[int]) -> Block:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(MemoryShortage, match="block_size"):
        Pieces(judge, divisible=False)([1, 2, 3])


def test_other_errors_pass() -> None:
    def judge(images: list[int]) -> Block:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        Pieces(judge)([1, 2])


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError(f"{CPU_SAYS} 9 bytes."), MemoryError()]
)
def test_a_training_says_what_to_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def network(self: Any, x: Any, batch: Any) -> Any:
        raise error

    monkeypatch.setattr(TinyCNNTask, "network", network)
    with pytest.raises(MemoryShortage) as shortage:
        train_tiny(tiny_config({"type": "Standard"}), tmp_path / "run")
    text = str(shortage.value)
    assert "out of memory" in text and "data.batch_size (now 12" in text and "\n" not in text


def test_a_loading_process_that_the_system_killed() -> None:
    with (
        pytest.raises(MemoryShortage, match=r"data.num_workers \(now 8\)"),
        explained(lower="data.batch_size", workers=8),
    ):
        raise RuntimeError("DataLoader worker (pid 4242) is killed by signal: Killed. ")


def test_memory_that_really_does_not_suffice() -> None:
    with pytest.raises(MemoryShortage), explained(lower="data.batch_size"):
        torch.empty(1 << 50)
