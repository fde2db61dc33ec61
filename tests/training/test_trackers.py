"""Trackers get a training's numbers by one key of the config; a missing one is a line, and a dry run tells none."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tiny_runs import run, tiny_config

from natx.errors import ConfigError
from natx.training.plan import describe_plan

Calls = list[tuple[str, tuple[Any, ...], dict[str, Any]]]


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What is asked of a stand-in for wandb, in order."""
    calls: Calls = []

    class Part(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *args, **kwargs: calls.append((name, args, kwargs)) or self

    part = Part("wandb")
    part.__spec__ = ModuleSpec("wandb", None)
    part.config = Part("config")
    part.run = Part("run")
    monkeypatch.setitem(sys.modules, "wandb", part)
    return calls


def tracked(**settings: Any) -> Any:
    return tiny_config({"type": "Standard"}, vis_backends=[settings])


def test_numbers_reach_the_tracker(wandb: Calls, tmp_path: Path) -> None:
    run(tracked(type="WandbVisBackend", init_kwargs={"project": "natx"}), tmp_path)
    begun = [kwargs for name, _, kwargs in wandb if name == "init"]
    assert [kwargs["project"] for kwargs in begun] == ["natx"]
    logged = {key for name, args, _ in wandb if name == "log" for key in args[0]}
    assert {"loss", "acc_clean", "top2_gap_clean", "select/clean"} <= logged


def test_a_dry_run_begins_no_run_with_a_tracker(wandb: Calls, tmp_path: Path) -> None:
    assert describe_plan(tracked(type="WandbVisBackend"), tmp_path, device=torch.device("cpu"))
    assert not wandb
    with pytest.raises(ConfigError, match="projekt"):
        describe_plan(tracked(type="WandbVisBackend", projekt="a"), tmp_path, device=torch.device("cpu"))


def test_a_tracker_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("natx.training.runner.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="MLflowVisBackend needs mlflow: pip install mlflow"):
        run(tracked(type="MLflowVisBackend"), tmp_path / "run")
    assert not list(tmp_path.rglob("*.safetensors"))
