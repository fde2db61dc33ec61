"""Data loaders: datasets hand out ready batches, samplers draw from (seed, epoch)."""

from __future__ import annotations

from typing import Any

from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from natx.batch import Batch
from natx.errors import ConfigError
from natx.registry import DATASETS


def ready(batch: Batch) -> Batch:
    """Collate function of datasets that hand out whole batches through ``__getitems__``."""
    return batch


def build_dataset(config: Any) -> Any:
    """A dataset from its config (or the dataset itself); raises DataError where it cannot be read or is empty."""
    dataset = DATASETS.build(config) if isinstance(config, dict) else config
    if len(dataset) == 0:
        raise ConfigError(f"the data set {config} is empty")
    return dataset


def train_loader(dataset: Any, batch_size: int, *, seed: int, num_workers: int = 0) -> DataLoader:
    """Shuffled batches of ``batch_size`` images on each process; an incomplete last batch is left out.

    The order depends on (seed, epoch) only; processes see disjoint parts.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1; got {batch_size}")
    sampler = DefaultSampler(dataset, shuffle=True, seed=seed)
    if len(sampler) < batch_size:
        raise ConfigError(
            f"batch_size={batch_size} is larger than the {len(sampler)} training images of each process: lower it"
        )
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        collate_fn=getattr(dataset, "collate", ready),
    )
