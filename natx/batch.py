"""Batches: plain dicts ``{inputs, data_samples, index}`` whose values all lead with one entry per image.

``inputs`` are pixels (uint8 or float in [0,1]), ``data_samples`` what is to be predicted (a label tensor, or a list of
annotations) and ``index`` the position of each image in its data set, which keys every random draw. Entries may be
added: ``copies`` are adversarial copies of the images made before training (:mod:`natx.training.copies`), ``start``
pixels at which an attack begins (:mod:`natx.methods.free`), ``teacher`` a teacher's logits of the clean images
(:mod:`natx.methods.distillation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

Batch: TypeAlias = dict[str, Any]
COPIES = "copies"
START = "start"
TEACHER = "teacher"


def size(batch: Batch) -> int:
    """Number of images in the batch."""
    return len(batch["index"])


def _select(value: Any, rows: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value[rows.to(value.device)]
    if isinstance(value, (list, tuple)):
        return type(value)(value[i] for i in rows.tolist())
    raise TypeError(f"batch entries are tensors or sequences with one entry per image; got {type(value).__name__}")


def select(batch: Batch, rows: Tensor) -> Batch:
    """The batch of the images at positions ``rows`` (int64 ``[M]``)."""
    return {key: _select(value, rows) for key, value in batch.items()}


def join(batches: Sequence[Batch]) -> Batch:
    """Concatenate batches along the images; all must have the same keys."""
    joined: Batch = {}
    for key, first in batches[0].items():
        values = [batch[key] for batch in batches]
        joined[key] = torch.cat(values) if isinstance(first, Tensor) else [v for value in values for v in value]
    return joined


def to_device(batch: Batch, device: torch.device | str) -> Batch:
    """The batch with its tensors on ``device`` (annotations with a ``to`` method move too)."""

    def move(value: Any) -> Any:
        if hasattr(value, "to"):
            return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value.to(device)
        if isinstance(value, (list, tuple)):
            return type(value)(move(v) for v in value)
        return value

    return {key: move(value) for key, value in batch.items()}
