"""The loop over epochs, which may begin inside one: where a run that was stopped had got to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, cast

import torch
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader


class ResumableLoop(EpochBasedTrainLoop):
    """mmengine's loop over epochs; the first one may begin after some of its batches.

    What is left of that epoch comes in the order that the whole epoch has, and the batches that are done are not read
    again. The generators go on from where they were, see :meth:`go_on`.
    """

    def __init__(self, runner: Any, dataloader: DataLoader, max_epochs: int, **settings: Any) -> None:
        super().__init__(runner, dataloader, max_epochs, **settings)
        self._batches = 0
        self._set_generators: Callable[[], None] | None = None

    def go_on(self, *, epoch: int, batches: int, iteration: int, generators: Callable[[], None] | None) -> None:
        """Begin in an epoch (from 0) after some of its batches.

        Args:
            epoch: epochs that are done.
            batches: batches of the next epoch that are done.
            iteration: iterations that are done.
            generators: sets the random generators to where they were after the last iteration.
        """
        self._epoch, self._iter, self._batches = epoch, iteration, batches
        self._set_generators = generators

    def run_epoch(self) -> None:
        """Run an epoch, or what is left of it."""
        done, self._batches = self._batches, 0
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        if self._set_generators is not None:
            self._set_generators()
            self._set_generators = None
        with torch.random.fork_rng(devices=[]):  # a loader that starts processes draws a seed for them
            batches = iter(_remaining(self.dataloader, done) if done else self.dataloader)
        for number, batch in enumerate(batches, start=done):
            self.run_iter(number, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1


def _remaining(loader: DataLoader, done: int) -> DataLoader:
    """A loader of the batches of this epoch after the first ``done``."""
    batches = list(islice(cast(Iterable[list[int]], loader.batch_sampler), done, None))
    return DataLoader(
        loader.dataset,
        batch_sampler=batches,
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
    )
