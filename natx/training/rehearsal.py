"""A rehearsal: everything that a training will build is built, without training, downloading or writing anything."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from natx.batch import Batch
from natx.config import frozen_models, plain_dict
from natx.errors import ConfigError, DataError
from natx.models.weights import DONE, SOURCES
from natx.runtime.device import forked_rng
from natx.training.build import build_runner
from natx.training.frozen_models import (
    adversary_recipe,
    adversary_store,
    needs_training,
    stored_folder,
)
from natx.training.guard import Guard
from natx.training.hooks import Checkpoints
from natx.training.learner import Learner
from natx.training.runner import NatxRunner
from natx.training.selection import Selection

WARM_UP, STEPS = 2, 3  # the first steps allocate memory and choose kernels
LONG = 10.0  # seconds of steps after which the last one that was taken has to do


@dataclass
class Rehearsal:
    """A training that has been built.

    Attributes:
        config: what was asked for.
        folder: where it will train.
        runner: built, with models that are not trained yet in place of those that it needs.
        depth: 0 for the run itself, 1 for a model that is trained first for it, 2 for one that this needs, ...
        compiling: seconds that the first step took more than the others, where the network is compiled; known once
            steps were timed.
    """

    config: Config
    folder: Path
    runner: NatxRunner
    depth: int = 0
    compiling: float = 0.0

    @property
    def learner(self) -> Learner:
        """What trains."""
        return self.runner.model

    @property
    def selection(self) -> Selection | None:
        """How the best epoch is chosen."""
        return self._checkpoints.selection

    @property
    def guard(self) -> Guard | None:
        """What looks for catastrophic overfitting."""
        return self._checkpoints.guard

    @property
    def _checkpoints(self) -> Checkpoints:
        return next(hook for hook in self.runner.hooks if isinstance(hook, Checkpoints))

    def looks(self) -> float:
        """Forwards and backwards of one image that all looks at held-out images take."""
        if self.selection is None:
            return 0
        epochs = self.runner.max_epochs
        scored = -(-epochs // self.selection.every)
        passes = scored * self.selection.cost() * (2 if self._checkpoints.ema is not None else 1)
        if self.guard is None:
            return passes
        return passes + sum(n * self.guard.cost(scored=s) for n, s in ((scored, True), (epochs - scored, False)))

    def first_batch(self, *, images: int) -> Batch:
        """The first images of the first epoch, as the loader hands them out."""
        loader = self.runner.train_dataloader
        return loader.collate_fn(loader.dataset.__getitems__(list(islice(loader.sampler, images))))

    def seconds_per_step(self) -> float:
        """The time of one training step, the median of a few (one where they are long); the model trains a little."""
        runner, times = self.runner, []
        runner.optim_wrapper.initialize_count_status(runner.model, 0, runner.max_iters)
        runner.model.train()
        batches = chain.from_iterable(repeat(runner.train_dataloader))
        started = time.perf_counter()
        for batch in islice(batches, WARM_UP + STEPS):
            runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
            if runner.device.type != "cpu":
                torch.accelerator.synchronize(runner.device)
            times.append(time.perf_counter() - started)
            if len(times) > 1 and sum(times) > LONG:
                break
            started = time.perf_counter()
        timed = sorted(times[WARM_UP:] or times[-1:])
        step = timed[len(timed) // 2]
        self.compiling = max(0.0, times[0] - step) if self.config.get("compile") else 0.0
        return step

    def seconds(self) -> float:
        """The time of the training: its steps, compiling, and the looks at the held-out images by counting passes."""
        step, runner = self.seconds_per_step(), self.runner
        forwards, backwards = self.learner.method.cost()
        per_pass = step / (runner.train_dataloader.batch_size * (forwards + backwards))
        return self.compiling + step * runner.max_iters + self.looks() * per_pass


@dataclass
class FrozenModel:
    """A model that a training needs: where it lies, or will lie once it is trained; ``depth`` is that training's."""

    config: Config
    folder: Path
    finished: bool
    depth: int = 0


def _deeper(name: str, parts: Iterator[Rehearsal | FrozenModel]) -> Iterator[Rehearsal | FrozenModel]:
    """What a frozen model takes, one level down; what is wrong there says whose it is."""
    try:
        for part in parts:
            part.depth += 1
            yield part
    except (ConfigError, DataError) as error:
        raise type(error)(f"{name}, which is to be trained first: {error}") from error


def rehearse(config: Config, work_dir: Path, *, device: torch.device) -> Iterator[Rehearsal | FrozenModel]:
    """Build the trainings that a config needs, in the order in which they are trained, and its own last.

    A model that is trained first is named before what it takes. Each training is taken down before the next one is
    built.

    Args:
        config: a training config; it is not changed.
        work_dir: where it will train.
        device: where to build.

    Raises:
        UserError: anything in the config or data, or in those of the models that are trained first, that does not fit.
    """
    with _everything_as_it_was():
        yield from _rehearse(config, work_dir, device=device, seen=set())


def _rehearse(
    config: Config, work_dir: Path, *, device: torch.device, seen: set[Path]
) -> Iterator[Rehearsal | FrozenModel]:
    copy = Config(plain_dict(config), filename=config.filename)
    store = adversary_store(config, work_dir)
    for entry in frozen_models(copy):
        if not needs_training(entry):
            continue
        recipe = adversary_recipe(config, entry, store)
        folder = stored_folder(recipe, store)
        if folder not in seen:
            seen.add(folder)
            yield FrozenModel(recipe, folder, finished=(folder / DONE).exists())
            if not (folder / DONE).exists():
                yield from _deeper(entry["config"], _rehearse(recipe, folder, device=device, seen=seen))
        for key in ("config", "options"):
            entry.pop(key, None)
        entry.update(task=plain_dict(recipe.task), state="random")
    with _built(copy, work_dir, device=device) as runner:
        yield Rehearsal(config, work_dir, runner)


@contextmanager
def _built(config: Config, work_dir: Path, *, device: torch.device) -> Iterator[NatxRunner]:
    """The runner of a config, all of it built, in a folder that goes with it."""
    config = Config(plain_dict(config), filename=config.filename)
    config.launcher = "none"  # the process group of a distributed training waits for all, a rehearsal for nobody
    if "pretrained" in config.task:
        config.task.pretrained = False
    with TemporaryDirectory() as folder:
        runner = build_runner(config, Path(folder) / work_dir.name, device=device, rehearsal=True)
        try:
            runner.build_everything()
            yield runner
        finally:
            runner.visualizer.close()  # its writers would go on in a folder that is gone
            for handler in runner.logger.handlers:
                handler.close()
            for kind in (MMLogger, MessageHub, Visualizer, DefaultScope):  # else they would be the current ones
                kind._instance_dict.pop(runner.experiment_name, None)


@contextmanager
def _everything_as_it_was() -> Iterator[None]:
    """Put the generators, which mmengine seeds when it builds a runner, back on exit."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    try:
        with forked_rng(*([] if accelerator is None else [accelerator])):
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def without_weights(config: Config) -> Config:
    """A copy of the config whose task is built without reading or downloading weights."""
    config = Config(plain_dict(config), filename=config.filename)
    config.task.update({key: value for key, value in SOURCES.items() if key in config.task})
    return config


__all__ = ["FrozenModel", "Rehearsal", "rehearse", "without_weights"]
