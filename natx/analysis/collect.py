"""What a class head says of a set of images, clean and attacked, and what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from natx.analysis.boundary import input_margins
from natx.attacks import Attack
from natx.attacks.remarks import merged
from natx.batch import Batch, to_device
from natx.errors import ConfigError, DataError
from natx.models.mode import attack_mode
from natx.runtime.precision import exact_float32
from natx.runtime.progress import Meter, silent
from natx.task import Task

CLEAN, ADVERSARIAL = "clean", "adversarial"
# How far a float32 layer's own output may be from the logits, relative to their size: else it is not that layer's.
TOLERANCE = 1e-3


@dataclass
class View:
    """The head's rows for one set of pixels, on the CPU. A row is an image, or a box of a detector.

    Attributes:
        logits: ``[M, K]``; K is above the number of classes where there is a background class.
        labels: int64 ``[M]``; rows of the background are left out.
        features: what the class layer reads ``[M, D]``; None without a linear class layer.
        margins: estimated distance in pixels ``[M]``, see :func:`natx.analysis.boundary.input_margins`; None where it
            was not asked for or a row is no image.
        adversary: another model's logits on the same pixels ``[M, K]``; None without one, or where a row is no image.
    """

    logits: Tensor
    labels: Tensor
    features: Tensor | None = None
    margins: Tensor | None = None
    adversary: Tensor | None = None

    @property
    def correct(self) -> Tensor:
        """Which rows are classified right, bool ``[M]``."""
        return self.logits.argmax(1) == self.labels


@dataclass
class Collected:
    """Views of one model by name, and its class layer.

    Attributes:
        views: :data:`CLEAN`, and :data:`ADVERSARIAL` where there was an attack.
        weight: of the class layer ``[K, D]``, or None.
        bias: ``[K]``, or None.
        notes: why something is not there.
    """

    views: dict[str, View]
    weight: Tensor | None = None
    bias: Tensor | None = None
    notes: list[str] = field(default_factory=list)


@contextmanager
def inputs_of(layer: nn.Module | None) -> Iterator[list[Tensor]]:
    """A list that fills with what a layer is given, call by call; nothing stays on the layer afterwards."""
    seen: list[Tensor] = []
    if layer is None:
        yield seen
        return
    handle = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    try:
        yield seen
    finally:
        handle.remove()


def collect(
    task: Task,
    dataset: Any,
    attack: Attack | None = None,
    *,
    linear: bool = True,
    pixel_margins: bool = False,
    adversary: Task | None = None,
    batch_size: int = 250,
    meter: Meter | None = None,
    name: str = "analysis",
) -> Collected:
    """Run a model over a data set, in eval mode and fp32; its modes, gradient flags and hooks are restored.

    Every image is attacked, those that are misclassified anyway too, and with all steps: what the figures show is the
    attack's last step.

    Args:
        task: the model.
        dataset: anything with ``__len__`` and ``__getitems__(positions) -> batch``.
        attack: makes the adversarial view; None for a clean view alone.
        linear: also what the class layer reads, where the task has one (:meth:`Task.classifier`).
        pixel_margins: also the margins in pixel space (some ten forwards and backwards an image and view).
        adversary: another model, to be asked about the same pixels.
        batch_size: images per step.
        meter: progress display.
        name: what it calls this.

    Raises:
        DataError: images of no class of the head, or no rows.
        ConfigError: a head without one distribution over the classes.
    """
    meter, notes, layer = meter or silent(), [], None
    met: list[list[str]] = []  # by the attack
    if attack is not None:
        attack.check(task)
        met.append([f"{attack.name}: {note}" for note in attack.shortfalls()])
    if linear:
        try:
            layer = task.classifier()
        except ConfigError as error:
            notes.append(str(error))
    device = next(task.parameters()).device
    parts: dict[str, list[View]] = {CLEAN: [], **({ADVERSARIAL: []} if attack is not None else {})}
    meter.begin(name, len(dataset))
    with ExitStack() as modes:
        for model in (task, adversary):
            if model is not None:
                modes.enter_context(attack_mode(model))
        modes.enter_context(torch.autocast(device.type, enabled=False))
        modes.enter_context(exact_float32())
        for start in range(0, len(dataset), batch_size):
            positions = list(range(start, min(start + batch_size, len(dataset))))
            batch = to_device(dataset.__getitems__(positions), device)
            for name, batches in parts.items():
                x = task.pixels(batch)
                if attack is not None and name == ADVERSARIAL:
                    x = attack(task, batch)
                    met.append([] if attack.tally is None else attack.tally.notes())
                view = _view(task, batch, x, layer=layer, pixel_margins=pixel_margins)
                view.adversary = None if adversary is None else _other_logits(adversary, batch, x, view=view)
                batches.append(view)
            meter.advance(len(positions))
    meter.end()
    notes += merged(met)
    views = {name: _joined(batches, name) for name, batches in parts.items()}
    if layer is None:
        return Collected(views, notes=notes)
    bias = None if layer.bias is None else layer.bias.detach().cpu()
    return Collected(views, layer.weight.detach().cpu(), bias, notes)


def _view(task: Task, batch: Batch, x: Tensor, *, layer: nn.Linear | None, pixel_margins: bool) -> View:
    with torch.no_grad(), inputs_of(layer) as seen:
        output = task.read(task.network(x, batch), batch)
    if output.labels is None:
        raise DataError(
            "these images are of no class of the head (a retrieval test set): analyse training images (--data train)"
        )
    if output.link != "softmax":
        raise ConfigError(
            f"{type(task).__name__} has one probability for each class by itself ({output.link}): sparsity and class "
            "boundaries are of heads with one softmax over the classes"
        )
    labels = output.labels if output.labels.dim() == 1 else output.labels.argmax(1)
    foreground = labels < task.num_classes
    features = None if layer is None else _features(seen, layer, output.logits)[foreground].cpu()
    margins = None
    if pixel_margins and output.rows is None:
        margins = input_margins(task, batch, x=x).cpu()
    return View(output.logits[foreground].cpu(), labels[foreground].cpu(), features, margins)


def _other_logits(model: Task, batch: Batch, x: Tensor, *, view: View) -> Tensor | None:
    """Another model's logits for a view's rows; None where its rows are not the view's, as those of boxes."""
    with torch.no_grad():
        output = model.read(model.network(x, batch), batch)
    logits = output.logits.cpu()
    return logits if output.rows is None and logits.shape == view.logits.shape else None


def _features(seen: list[Tensor], layer: nn.Linear, logits: Tensor) -> Tensor:
    """What the layer read for these logits; raises ConfigError where they are not its output on it."""
    if len(seen) == 1 and seen[0].dim() == 2 and len(seen[0]) == len(logits):
        output = torch.nn.functional.linear(seen[0], layer.weight, layer.bias)
        slack = TOLERANCE * (1 + float(logits.abs().max() if logits.numel() else 0))
        if output.shape == logits.shape and bool(((output - logits).abs() <= slack).all()):
            return seen[0].to(logits.dtype)
    raise ConfigError(
        "the task's class logits are not what its classifier() gives in one call a forward: its weights are no "
        "hyperplanes of these classes; leave out boundaries, weights and umap"
    )


def _joined(parts: list[View], name: str) -> View:
    def cat(values: list[Tensor | None]) -> Tensor | None:
        present = [value for value in values if value is not None]
        return torch.cat(present) if len(present) == len(values) else None

    view = View(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.labels for part in parts]),
        cat([part.features for part in parts]),
        cat([part.margins for part in parts]),
        cat([part.adversary for part in parts]),
    )
    if len(view.labels) == 0:
        raise DataError(f"no row of the {name} images is of a class of the head: use more images")
    if not bool(torch.isfinite(view.logits).all()):
        raise DataError("the model gives NaN or infinite logits: its weights are damaged, nothing was analysed")
    return view
