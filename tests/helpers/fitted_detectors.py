"""Tiny detectors that have learnt a batch somewhat, for tests of attacks."""

from __future__ import annotations

from typing import Any

import torch
from detectors import detector

from natx.batch import Batch
from tasks.det import DetectionTask


def faint(batch: Batch) -> Batch:
    """The batch with its colours near grey: attacks of 8/255 find little to do in the bright ones."""
    inputs = batch["inputs"] // 6 + 100
    for image, shot in zip(inputs, batch["data_samples"]):
        image[:, shot.shape[0] :] = 0
        image[:, :, shot.shape[1] :] = 0
    return {**batch, "inputs": inputs}


def fitted(config: dict[str, Any], batch: Batch, *, steps: int = 60) -> DetectionTask:
    """A detector that has learnt the batch, in eval mode throughout; in double precision."""
    task = detector(config).eval()
    optimizer = torch.optim.Adam(task.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(task(batch).losses.values()).backward()
        optimizer.step()
    optimizer.zero_grad()
    return task.double()
