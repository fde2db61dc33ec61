"""The undefended module that an audit without a config holds a judged one against."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from natx.data.base import InMemory
from natx.data.classes import check_classes
from natx.errors import DataError
from natx.models.load import PixelModel
from natx.models.normalisation import normalisation_remarks
from natx.models.wrap import ModuleTask, class_names, on_device, wrap
from natx.task import channel_values


@contextmanager
def undefended(
    vanilla: nn.Module | None, task: ModuleTask, dataset: InMemory, *, model: nn.Module, batch_size: int
) -> Iterator[tuple[ModuleTask | None, list[str]]]:
    """The undefended module as a task on the judged one's device, and remarks on it; it is moved back on any exit.

    It takes images and gives logits as the judged one does; what :func:`natx.load` returns normalises by itself.

    Args:
        vanilla: the module, which may be the judged one itself; None without.
        task: the judged module, wrapped.
        dataset: the images.
        model: the judged module.
        batch_size: images per step.

    Raises:
        DataError: it does not take the images (:func:`natx.models.wrap.wrap`), or has other classes.
    """
    if vanilla is None or vanilla is model:
        yield (None if vanilla is None else task), []
        return
    check_classes(dataset, class_names(vanilla), owner="vanilla", remedy="give an undefended model of these classes")
    images, device = dataset.images[:batch_size], task.anchor.device
    given: dict[str, Any] = {}
    if not isinstance(vanilla, PixelModel):
        statistics = {"mean": task.mean, "std": task.std}
        given = {name: None if values is None else channel_values(values) for name, values in statistics.items()}
        given["logits"] = task.output_part
    with on_device(vanilla, device):
        other, _, notes = wrap(vanilla, images, device=device, **given)
        if other.num_classes != task.num_classes:
            raise DataError(
                f"vanilla has {other.num_classes} classes, the model has {task.num_classes}: give an undefended model "
                "of the same classes"
            )
        yield other, [f"vanilla: {note}" for note in (*notes, *normalisation_remarks(other, images))]
