"""Any torch classifier on [0,1] pixels as a task: what attacks and evaluation need, and no config."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.batch import Batch
from natx.errors import ConfigError, DataError
from natx.models.half import HALF, in_float32
from natx.models.mode import attack_mode
from natx.models.outputs import pick_logits
from natx.runtime.device import forked_rng
from natx.runtime.precision import full_precision
from natx.task import Output, Task, unit_pixels

# How far two answers may differ by rounding alone, of the largest logit.
KERNELS, COARSE = 1e-3, 0.1
LONGEST = 200  # letters of a module's own error
RANDOM = (
    "the model answers the same images differently each time: attacks that follow one answer are weak against it, so "
    "accuracies may be too high; average over its draws"
)
BATCH = (
    "the model's answer to an image changes with the images beside it (batch norm on the batch's own statistics?): "
    "accuracies hold for this batch_size and order only"
)


def class_names(module: nn.Module) -> tuple[str, ...] | None:
    """Names of a module's classes in label order, where it has them (``module.classes``)."""
    names = getattr(module, "classes", None)
    listed = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    return tuple(names) if listed and names else None


class ModuleTask(Task):
    """Softmax classification of whole images by a module that maps pixels in [0,1] to logits.

    Attacks work on float32 pixels (float64 for a float64 module).

    Args:
        module: maps pixels ``[N, C, H, W]`` to logits ``[N, num_classes]``; normalisation is inside.
        num_classes: number of classes.
        device: where the images go; the module's own by default.
        logits: which part of the output the logits are, see :func:`natx.models.outputs.pick_logits`.
        mean: subtracted a channel before the module sees the pixels, for one that takes normalised images.
        std: divided by, likewise.

    Raises:
        ConfigError: mean without std, or of another length.
    """

    per_image_success = True
    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        module: nn.Module,
        num_classes: int,
        *,
        device: torch.device | None = None,
        logits: str | int | None = None,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
    ) -> None:
        super().__init__()
        statistics = [None if values is None else torch.as_tensor(values).flatten() for values in (mean, std)]
        if len({None if values is None else len(values) for values in statistics}) > 1:
            raise ConfigError(f"mean and std go together, a value a channel each; got mean={mean} and std={std}")
        self.module, self.num_classes, self.output_part = module, num_classes, logits
        self.classes = class_names(module)
        tensors = [*module.parameters(), *module.buffers()]
        # Where the images go, also for a module without parameters: an evaluation asks a task's first one.
        device = device or (tensors[0].device if tensors else torch.device("cpu"))
        self.anchor = nn.Parameter(torch.empty(0, device=device), requires_grad=False)
        for name, values in zip(("mean", "std"), statistics):
            tensor = None if values is None else values.to(device, copy=True).view(1, -1, 1, 1)
            self.register_buffer(name, tensor, persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the module's first weight or buffer; float32 where it has none."""
        tensors = (*self.module.parameters(), *self.module.buffers())
        return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)

    @property
    def upstream(self) -> nn.Module:
        """The module as it was given."""
        return self.module

    def pixels(self, batch: Batch) -> Tensor:
        """See :meth:`Task.pixels`; uint8 is divided by 255."""
        return unit_pixels(batch["inputs"], torch.float64 if self.dtype == torch.float64 else torch.float32)

    def network(self, x: Tensor, batch: Batch) -> Tensor:
        """Logits ``[N, C]``."""
        return self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        """See :meth:`Task.logits`; float32 or float64."""
        return full_precision(self.raw_logits(x))

    def raw_logits(self, x: Tensor) -> Tensor:
        """The logits in the precision that the module gives them; raises DataError where its output has none."""
        # A copy: a module may normalise its input in place, which must change neither the images nor an iterate.
        x = x.to(self.dtype, copy=True)
        if self.mean is not None and self.std is not None:
            x = (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)
        return pick_logits(self.module(x), self.output_part)

    def read(self, raw: Tensor, batch: Batch, *, rows: Any = None) -> Output:
        """Cross-entropy and logits; a row is an image."""
        labels, n = batch["data_samples"], len(raw)
        return Output(
            losses={"loss_ce": F.cross_entropy(raw, labels)},
            logits=raw,
            labels=labels,
            image=torch.arange(n, device=raw.device),
            row_weight=raw.new_full((n,), 1 / n),
            num_images=n,
        )

    def correct(self, output: Output) -> Tensor:
        """See :meth:`Task.correct`."""
        return output.right()

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Predicted class of each image ``[N]``."""
        return self.logits(self.pixels(batch)).argmax(1)


def answer_remarks(task: ModuleTask, images: Tensor, logits: Tensor) -> list[str]:
    """Remarks on a module whose answer to an image hangs on more than the image; takes two forwards.

    Args:
        task: the wrapped module.
        images: the images that ``logits`` answer, as :func:`wrap` got them.
        logits: ``[N, C]``.
    """
    x = task.pixels({"inputs": images.to(task.anchor.device)})
    with attack_mode(task), torch.no_grad(), torch.autocast(x.device.type, enabled=False), forked_rng(x.device):
        again, alone = task.logits(x), task.raw_logits(x[:1])
    tolerance = (COARSE if alone.dtype in HALF else KERNELS) * float(logits.abs().max())
    if float((again - logits).abs().max()) > tolerance:
        return [RANDOM]
    return [BATCH] if float((alone - logits[:1]).abs().max()) > tolerance else []


def wrap(
    module: nn.Module,
    images: Tensor,
    *,
    device: torch.device | None = None,
    logits: str | int | None = None,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
) -> tuple[ModuleTask, Tensor, list[str]]:
    """A module as a task, its logits ``[N, C]`` of some images, from one forward in eval mode, and remarks on both.

    A module in half precision is wrapped as a float32 copy (:func:`natx.models.half.in_float32`).

    Args:
        module: the classifier; its modes and gradient flags are restored.
        images: pixels in [0,1] ``[N, C, H, W]`` or uint8.
        device: see :class:`ModuleTask`.
        logits: likewise.
        mean: likewise.
        std: likewise.

    Raises:
        DataError: pixels outside [0,1], images that the module does not take, weights that can have no gradients behind
            them, an output that is not finite logits ``[N, C]`` with at least 2 classes, or a module in half precision
            that does not run in float32.
    """
    if any(weight.is_inference() for weight in module.parameters()):
        raise DataError(
            "the model's weights were made under torch.inference_mode, so nothing behind them has a gradient: build or "
            "load the model outside of it"
        )
    task, notes = in_float32(ModuleTask(module, 0, device=device, logits=logits, mean=mean, std=std))
    device = task.anchor.device
    with attack_mode(task), torch.no_grad(), torch.autocast(device.type, enabled=False):
        x = task.pixels({"inputs": images.to(device)})
        try:
            output = task.raw_logits(x)
        except (RuntimeError, ValueError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            reason = str(error).strip().splitlines()[0][:LONGEST]
            if not notes:
                raise DataError(
                    f"the model does not take images {list(x.shape[1:])} ({reason}): check their channels and size"
                ) from error
            raise DataError(
                f"{notes[0]}, and that does not run ({reason}): take casts to half precision out of its forward"
            ) from error
    if output.dim() != 2 or len(output) != len(images) or output.shape[1] < 2:
        raise DataError(
            f"the model returns {list(output.shape)} for {len(images)} images, expected logits [N, classes] with at "
            "least 2 classes"
        )
    if not bool(torch.isfinite(output).all()):
        raise DataError("the model returns NaN or infinite logits for clean images: check its weights and its input")
    task.num_classes = output.shape[1]
    if output.dtype in HALF:
        kind = str(output.dtype).removeprefix("torch.")
        notes.append(
            f"the model computes in {kind} of itself (autocast in its forward?): gradients may vanish, so accuracies "
            "may be too high; take it out"
        )
    return task, full_precision(output), notes


@contextmanager
def on_device(module: nn.Module, device: torch.device | None) -> Iterator[None]:
    """The module on a device, and back where it was on any exit; None leaves it there."""
    home = next((tensor.device for tensor in (*module.parameters(), *module.buffers())), None)
    if device is None or home is None or device == home:
        yield
        return
    try:
        module.to(device)
        yield
    finally:
        module.to(home)
