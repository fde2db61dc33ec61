"""Data loaders: datasets hand out ready batches, samplers draw from (seed, epoch)."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import Any

from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from natx.batch import Batch
from natx.data.replay import Order, ReplaySampler, held_images
from natx.errors import ConfigError
from natx.registry import DATASETS, SAMPLERS
from natx.runtime.stop import leave_stops_to_the_main_process


def ready(batch: Batch) -> Batch:
    """Collate function of datasets that hand out whole batches through ``__getitems__``."""
    return batch


def build_dataset(config: Any) -> Any:
    """A dataset from its config (or the dataset itself); raises DataError where it cannot be read or is empty."""
    dataset = DATASETS.build(config) if isinstance(config, dict) else config
    if len(dataset) == 0:
        raise ConfigError(f"the data set {config} is empty")
    return dataset


def train_loader(
    dataset: Any,
    batch_size: int,
    *,
    seed: int,
    num_workers: int = 0,
    sampler: dict[str, Any] | None = None,
    replays: int = 1,
    fresh: float = 0.0,
    pin_memory: bool = False,
) -> DataLoader:
    """Shuffled batches of ``batch_size`` images on each process; an incomplete last batch is left out.

    The order depends on (seed, epoch) only; processes see disjoint parts.

    Args:
        dataset: the training images.
        batch_size: images a step and process.
        seed: the run's seed.
        num_workers: loading processes.
        sampler: config of a sampler that is given the data set, batch size and seed (identities); shuffled by default.
        replays: steps in a row that show the same images, see :class:`~natx.data.replay.ReplaySampler`.
        fresh: share of a batch that is new at each of these steps.
        pin_memory: hand out batches in memory from which they are copied to a GPU while it works.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1; got {batch_size}")
    if sampler is None:
        order: Order = DefaultSampler(dataset, shuffle=True, seed=seed)
    else:
        held = held_images(batch_size, fresh)
        # Replayed and fresh images are both made of whole hands of the sampler.
        hand = gcd(held, batch_size - held)
        order = SAMPLERS.build(dict(sampler, dataset=dataset, batch_size=hand, seed=seed))
    if len(order) < batch_size:
        raise ConfigError(
            f"batch_size={batch_size} is larger than the {len(order)} training images of each process: lower it"
        )
    if replays != 1 or fresh:
        order = ReplaySampler(order, batch_size, replays=replays, fresh=fresh)
    collate: Callable[[Any], Batch] = getattr(dataset, "collate", ready)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=order,
        drop_last=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=pin_memory,
        collate_fn=collate,
        worker_init_fn=leave_stops_to_the_main_process,
    )
