"""The check of a GPU runs where there is none: on the CPU, with small networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from workshop import Workshop

from natx_bench import device_checks as checks


def test_the_tiny_check_runs_on_the_cpu(shop: Workshop, tmp_path: Path) -> None:
    out = tmp_path / "check.json"
    ran = shop.run("gpu_check.py", "--tiny", "--out", out)
    assert ran.code == 0, ran.err
    found = json.loads(out.read_text())
    lines = {line["check"]: line for line in found["lines"]}
    for task in ("classification", "re-identification", "detection"):
        step = lines.get(f"{task}: loss of a training step, CPU / device")
        if step is None:  # its library is not installed
            assert lines[task]["value"].startswith("not run: ")
            continue
        assert step["met"] is True and lines[f"{task}: pixels of a judged batch that differ from the CPU's"]["met"]
    assert sum(check.startswith("seconds an epoch") for check in lines) == 2
    assert any(check.startswith("single_vs_multi_step: ") for check in lines)
    assert any("refilled batches" in check for check in lines)
    assert not [line for line in lines.values() if line["value"].startswith("not run: ") and line["met"] is not None]
    assert "| classification: loss" in out.with_suffix(".md").read_text() and "# GPU check" in ran.out


@pytest.mark.parametrize(
    ("model", "device", "counts"),
    [("resnet8_cifar", "cpu", False), ("resnet8_cifar", "cuda", False), ("resnet18_cifar", "cuda", True)],
)
def test_only_the_whole_check_on_a_gpu_judges_times(
    model: str, device: str, counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny check takes a few milliseconds a step: a slow moment of the machine is no fault of the device."""
    slow = {"ratio": {"median": 0.7, "min": 0.6, "max": 0.9}, "limit": 0.4, "bound": "at most", "met": False}
    monkeypatch.setattr(checks, "run_item", lambda *arguments: slow)
    monkeypatch.setattr(checks, "trainer", lambda *arguments, **options: lambda batch: None)
    monkeypatch.setattr(checks, "images", lambda bench: {})
    monkeypatch.setattr(checks, "stopwatch", lambda place: lambda work: (1000.0, work()))
    bench = checks.Bench(torch.device(device), model, 4, 1, 2)
    lines = [*checks.ratio("single_vs_multi_step", bench, {}), *checks.epoch("PGD-10", bench, steps=1)]
    assert [line.met for line in lines] == ([False, False] if counts else [None, None])
    assert [line.wanted for line in lines] == ["at most 0.4", "at most 12 s on an H200-class card"]
    others = [*checks.ratio("nat_step_vs_union", bench, {})]
    assert [(line.met, line.wanted) for line in others] == [(None, "")]


def test_without_a_gpu_the_whole_check_is_refused(shop: Workshop, tmp_path: Path) -> None:
    assert "--device cpu --tiny" in shop.run("gpu_check.py").error()
    assert "--out ends with .json" in shop.run("gpu_check.py", "--tiny", "--out", tmp_path / "x.txt").error()


def test_a_device_that_computes_something_else_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is off is a NO, and so are pixels that went elsewhere."""
    bench = checks.Bench(torch.device("cpu"), "resnet8_cifar", 2, 1, 2)
    subject = checks.subjects(bench, tiny=True)["classification"]
    calls, images = [], subject.images

    def other() -> dict:
        calls.append(1)
        batch = images()
        return {**batch, "inputs": 1 - batch["inputs"]} if len(calls) > 2 else batch  # the first settles batch norm

    lines = [*checks.on_both("x", checks.Subject(subject.config, subject.attack, other), torch.device("cpu"))]
    assert [line.met for line in lines] == [False, False]


def test_what_would_begin_too_late_says_so() -> None:
    lines = checks.run_checks(torch.device("cpu"), tiny=True, seconds=-1, setting={})
    assert lines and all(line["value"] == "not run: the time was used up" for line in lines)
