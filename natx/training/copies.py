"""Adversarial copies of training images, made once from a frozen model and kept on disk (offline adversarial training).

Copies are made of the images as the data set hands them out, before any augmentation, and stored as uint8: the
attack must stay on the grid of whole 1/255, which every signed step of k/255 from a stored image does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import barrier, get_dist_info
from torch import Tensor
from torch.utils.data import Dataset

from natx.attacks import Attack
from natx.batch import COPIES, Batch, to_device
from natx.errors import ConfigError, DataError
from natx.evaluation.sets import predict_all
from natx.runtime.files import clear_unfinished, write_atomic, write_json
from natx.runtime.locks import exclusive
from natx.runtime.progress import Meter, silent
from natx.task import Task

BLOCK = 256
GRID_TOLERANCE = 1e-2  # of 1/255; a copy off the grid is off by a good part of a step, rounding by a millionth


class WithCopies(Dataset):
    """A data set whose batches also hold each image's stored copy, under ``copies`` (uint8 ``[N, C, H, W]``).

    Args:
        dataset: the images; a batch's ``index`` finds the copies.
        folder: what :func:`make_copies` wrote.
    """

    def __init__(self, dataset: Any, folder: Path) -> None:
        self.dataset, self.folder = dataset, Path(folder)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch, see :mod:`natx.batch`."""
        batch = self.dataset.__getitems__(indices)
        index = batch["index"].tolist()
        blocks = {number: _read(self.folder, number) for number in {i // BLOCK for i in index}}
        copies = np.stack([blocks[i // BLOCK][i % BLOCK] for i in index])
        return {**batch, COPIES: torch.from_numpy(copies)}

    def __getattr__(self, name: str) -> Any:
        if name in ("dataset", "folder"):
            raise AttributeError(name)
        return getattr(self.dataset, name)


class StandInCopies(WithCopies):
    """A data set whose images stand in for their copies, which do not exist yet: for a rehearsal of a training."""

    def __init__(self, dataset: Any) -> None:
        super().__init__(dataset, Path())

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch, see :mod:`natx.batch`."""
        batch = self.dataset.__getitems__(indices)
        images = batch["inputs"]
        copies = images if images.dtype == torch.uint8 else (images * 255).round().to(torch.uint8)
        return {**batch, COPIES: copies}


def copies_folder(store: Path, *, source: str, settings: dict[str, Any], attack: dict[str, Any], data: str) -> Path:
    """Where copies belong: a folder named after everything they depend on, so that stale ones are never reused.

    Args:
        store: parent folder.
        source: hash of the source model's weights.
        settings: the source model's task config.
        attack: the attack's config.
        data: fingerprint of the data set.
    """
    content = {"source": source, "task": settings, "attack": attack, "data": data, "block": BLOCK}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
    return store / f"copies-{digest[:16]}"


def make_copies(
    task: Task,
    dataset: Any,
    attack: Attack,
    *,
    folder: Path,
    batch_size: int = 64,
    meter: Meter | None = None,
) -> Path:
    """Attack every image of a data set once and store the results in blocks; blocks that exist are kept.

    A killed call goes on with the next block. Processes share the blocks.

    Args:
        task: the frozen source model, on its device.
        dataset: the training set, without augmentation.
        attack: stays in whole 1/255: no random start, eps and step size multiples of 1/255.
        folder: where to write, see :func:`copies_folder`.
        batch_size: images per step.
        meter: progress display.

    Raises:
        ConfigError: the attack leaves the grid of 1/255.
    """
    rank, world_size = get_dist_info()
    meter = meter or silent()
    numbers = range((len(dataset) + BLOCK - 1) // BLOCK)
    with exclusive(folder / ".lock") if rank == 0 else nullcontext():
        barrier()
        missing = [n for n in numbers if not _path(folder, n).exists()]
        barrier()  # every process has looked before the first block appears
        if not missing:
            return folder
        if rank == 0:
            clear_unfinished(folder)
        attack.observe(dataset, predict_all(task, dataset, batch_size=batch_size))
        mine = missing[rank::world_size]
        blocks = {number: range(number * BLOCK, min((number + 1) * BLOCK, len(dataset))) for number in mine}
        meter.begin("adversarial copies", sum(map(len, blocks.values())))
        for number, block in blocks.items():
            parts = [list(block[i : i + batch_size]) for i in range(0, len(block), batch_size)]
            copies = torch.cat([_attacked(task, dataset, attack, part) for part in parts]).numpy()
            write_atomic(_path(folder, number), partial(np.save, arr=copies, allow_pickle=False), size=copies.nbytes)
            meter.advance(len(block))
        meter.end()
        barrier()
        if rank == 0:
            write_json(folder / "copies.json", {"images": len(dataset), "attack": attack.describe()})
    return folder


def _attacked(task: Task, dataset: Any, attack: Attack, positions: list[int]) -> Tensor:
    """Copies of some images as uint8 ``[n, C, H, W]``."""
    batch = to_device(dataset.__getitems__(positions), next(task.parameters()).device)
    levels = attack(task, batch) * 255
    if float((levels - levels.round()).abs().max()) > GRID_TOLERANCE:
        raise ConfigError(
            f"adversarial copies are stored in whole 1/255 and {attack.name} leaves that grid: use uint8 images, "
            "random_start=False, and eps and step_size in whole 1/255"
        )
    return levels.round().to(torch.uint8).cpu()


def _path(folder: Path, number: int) -> Path:
    return folder / f"block-{number:05d}.npy"


def _read(folder: Path, number: int) -> np.ndarray:
    path = _path(folder, number)
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read the adversarial copies {path} ({error}): delete {folder} to make them anew"
        ) from error
