"""Learner: the only class that mmengine's Runner sees."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor, BaseModel, is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from natx.batch import COPIES, Batch
from natx.errors import ConfigError, NonFiniteError
from natx.expect import expect, together
from natx.methods.base import Method
from natx.registry import AUGMENTS
from natx.runtime.rng import keys_in_batch
from natx.runtime.small_maps import side_by_side
from natx.task import Task


class Learner(BaseModel):
    """A task and the method that trains it.

    The adversarial step lives in ``forward(mode='loss')``, because mmengine's distributed wrapper calls the wrapped
    model's forward and skips its ``train_step``.

    Args:
        task: the model to train.
        method: the recipe.
        augments: configs of augmentations of the whole batch (float pixels in, float pixels out), drawn from
            (seed, epoch, image index).
        seed: the run's seed.
        amp: None for fp32, or 'bfloat16' to run the whole step, attack included, under autocast.
        small_maps: run bfloat16 convolutions of small maps side by side (:mod:`natx.runtime.small_maps`); by default
            where the CPU has AMX.

    Attributes:
        epoch: set by :class:`natx.training.hooks.SeedHook` before each epoch.
        method_generator: the state of torch's generator before the method was built, for one that takes its place.
    """

    method_generator: Tensor

    def __init__(
        self,
        task: Task,
        method: Method,
        *,
        augments: Sequence[dict[str, Any]] = (),
        seed: int = 0,
        amp: str | None = None,
        small_maps: bool | None = None,
    ) -> None:
        super().__init__(data_preprocessor=BaseDataPreprocessor(non_blocking=True))  # copies need not be waited for
        if amp not in (None, "bfloat16"):
            raise ConfigError(f"amp is None or 'bfloat16' (no loss scaling is needed there); got {amp!r}")
        self.task, self.method = task, method
        self.augments = [AUGMENTS.build(a) if isinstance(a, dict) else a for a in augments]
        self.seed, self.amp, self.small_maps, self.epoch = seed, amp, small_maps, 0
        self._is_init = True  # weights come from the task: mmengine must not initialise them again

    def forward(self, inputs: Tensor, index: Tensor, mode: str = "tensor", **entries: Any) -> Any:
        """mmengine's entry: 'loss' gives named scalars, 'predict' predictions, 'tensor' the raw network output.

        Raises:
            NonFiniteError: a loss that is NaN or infinite; nothing was updated by it.
        """
        batch: Batch = {"inputs": inputs, "index": index, **entries}
        half = torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=self.amp is not None)
        with half, side_by_side(inputs.device, wanted=self.small_maps if self.amp else False):
            if mode == "loss":
                # Detectors that sample proposals draw anew each epoch.
                batch |= {"epoch": torch.full_like(index, self.epoch), "seed": torch.full_like(index, self.seed)}
                with together():  # one wait for the device a step
                    scalars = self.method(self.task, self.augmented(batch), epoch=self.epoch)
                    for name, value in scalars.items():
                        if "loss" in name:
                            expect(torch.isfinite(value), partial(_not_finite, name), value)
                return scalars
            if mode == "predict":
                return self.task.predict(batch)
            return self.task.network(self.task.pixels(batch), batch)

    def moved(self, x: Tensor, *, index: Tensor, epoch: int) -> Tensor:
        """``x`` ``[N, C, H, W]``, of any values, moved as the augmentations move the images' pixels.

        Raises:
            ConfigError: an augmentation that resizes, or that needs the whole batch.
        """
        for augment in self.augments:
            if getattr(augment, "whole_batch", False) or not getattr(augment, "picks_pixels", True):
                raise ConfigError(
                    f"{type(augment).__name__} does more than picking pixels, so what an image keeps in its own frame "
                    "cannot follow it: use RandomCrop and RandomFlip"
                )
            if getattr(augment, "moves_pixels", False):
                x = augment(x, index=keys_in_batch(index), seed=self.seed, epoch=epoch)
        return x

    def augmented(self, batch: Batch) -> Batch:
        """The batch with float pixels after all augmentations.

        Stored adversarial copies are augmented as their images are: the draws depend on the image alone. An image that
        the batch repeats (:class:`IdentitySampler`'s small identities) is augmented anew each time. An
        augmentation with ``whole_batch`` gets the batch, because it changes annotations with the pixels; one that only
        moves pixels is refused where images have annotations. One that changes the images' size has ``held_out``, which
        gives those that choose the best epoch, and are not augmented, the same size.
        """
        keys = [key for key in ("inputs", COPIES) if key in batch]
        index = keys_in_batch(batch["index"]) if self.augments else batch["index"]
        result = {**batch, **{key: self.task.pixels({**batch, "inputs": batch[key]}) for key in keys}}
        for augment in self.augments:
            if getattr(augment, "moves_pixels", False) and not isinstance(batch["data_samples"], Tensor):
                raise ConfigError(
                    f"{type(augment).__name__} moves pixels and not the boxes annotated on them: use the task's own "
                    "(BoxFlip, BoxZoom)"
                )
            if getattr(augment, "whole_batch", False):
                result = augment(result, seed=self.seed, epoch=self.epoch)
                continue
            for key in keys:
                result[key] = augment(result[key], index=index, seed=self.seed, epoch=self.epoch)
        return result


def _not_finite(name: str, value: float) -> NonFiniteError:
    return NonFiniteError(f"{name}={value}")


def learner_of(runner: Runner) -> Learner:
    """The learner that a runner trains, without the wrapper of a distributed training."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
