"""A small data set that lives on the device: no batch waits for the host or for a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from natx.batch import Batch, join
from natx.errors import ConfigError

MOST = 4 * 2**30  # bytes
PART = 1000  # images read at once


class OnDevice(Dataset):
    """All entries of a data set as tensors on a device; batches are picked there.

    What else the set has (labels, class names, fingerprint) stays its own, on the CPU.

    Args:
        dataset: a set whose entries are tensors alone, the same whenever they are read: none with
            ``drawn_entries``.
        device: where they are to live.

    Raises:
        ConfigError: entries that are no tensors or are drawn for each batch, or a set of more than :data:`MOST` bytes.
    """

    def __init__(self, dataset: Any, device: torch.device) -> None:
        first = dataset.__getitems__([0])
        others = [key for key, value in first.items() if not isinstance(value, Tensor)]
        if others or hasattr(dataset, "collate"):
            raise ConfigError(
                f"data.on_device is for sets whose entries are all tensors of one size; {', '.join(others) or 'these'} "
                "are not: leave it out"
            )
        if drawn := getattr(dataset, "drawn_entries", ()):
            raise ConfigError(
                f"data.on_device keeps every entry as it is read once, and {', '.join(drawn)} are drawn anew for each "
                "batch: leave it out"
            )
        size = len(dataset) * sum(value.numel() * value.element_size() for value in first.values())
        if size > MOST:
            raise ConfigError(
                f"data.on_device would keep {size / 2**30:.1f} GB of images on the device, more than "
                f"{MOST / 2**30:.0f} GB: leave it out, and set data.num_workers"
            )
        self.dataset, self.device = dataset, device
        blocks = [range(begin, min(begin + PART, len(dataset))) for begin in range(0, len(dataset), PART)]
        parts = [dataset.__getitems__(list(block)) for block in blocks]
        self.entries: Batch = {key: value.to(device) for key, value in join(parts).items()}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch on the device in the order of ``indices``, see :mod:`natx.batch`."""
        rows = torch.as_tensor(indices, dtype=torch.int64).to(self.device, non_blocking=True)
        return {key: value.index_select(0, rows) for key, value in self.entries.items()}

    def __getattr__(self, name: str) -> Any:
        if name in ("dataset", "device", "entries"):
            raise AttributeError(name)
        return getattr(self.dataset, name)
