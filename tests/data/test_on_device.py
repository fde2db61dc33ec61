"""A training set on the device: the same batches, picked there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import run, tiny_config
from workshop import Workshop

from natx.config import fingerprint
from natx.data import Part
from natx.data.on_device import MOST, OnDevice
from natx.errors import ConfigError
from natx.testing import TinyDataset
from natx.training.images import build_loader

CPU = torch.device("cpu")


def test_batches_are_those_of_the_set() -> None:
    part = Part(TinyDataset(30, uint8=True), [5, 3, 29, 7, 11])
    resident = OnDevice(part, CPU)
    for positions in ([0], [4, 1, 1], [2, 0, 3, 4]):
        ours, theirs = resident.__getitems__(positions), part.__getitems__(positions)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) and ours[key].dtype == theirs[key].dtype for key in theirs)
    assert len(resident) == 5 and torch.equal(resident.labels, part.labels)
    assert resident.fingerprint() == part.fingerprint()


def test_a_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    config = tiny_config({"type": "Standard"})
    resident = tiny_config({"type": "Standard"}, data={**config.data, "on_device": True})
    assert fingerprint(config) == fingerprint(resident)  # where images lie decides no weights
    states = [run(one, tmp_path / name) for name, one in (("host", config), ("device", resident))]
    for key, value in states[0]["weights"].items():
        assert torch.equal(value, states[1]["weights"][key])


class Boxes(TinyDataset):
    """Images with annotations that are no tensors."""

    def __getitems__(self, indices: Any) -> Any:
        return {**super().__getitems__(indices), "data_samples": ["a box" for _ in indices]}


class Huge(TinyDataset):
    """More images than would fit."""

    def __len__(self) -> int:
        return MOST


def test_sets_that_cannot_live_there_are_refused(shop: Workshop) -> None:
    with pytest.raises(ConfigError, match="entries are all tensors of one size; data_samples"):
        OnDevice(Boxes(8), CPU)
    with pytest.raises(ConfigError, match="GB of images on the device, more than 4 GB"):
        OnDevice(Huge(8), CPU)
    config = tiny_config({"type": "Standard"})
    config.data.update(on_device=True, num_workers=1)
    with pytest.raises(ConfigError, match="leaves loading processes nothing to load"):
        build_loader(config, TinyDataset(24))


def test_memory_is_pinned_for_a_gpu_alone() -> None:
    config = tiny_config({"type": "Standard"})
    cuda = torch.device("cuda")
    assert build_loader(config, TinyDataset(24), device=cuda).pin_memory
    assert not build_loader(config, TinyDataset(24), device=CPU).pin_memory
    assert not build_loader(config, TinyDataset(24)).pin_memory
