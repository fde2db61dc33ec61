"""A checkpoint as a torch module on pixels: what it is, is read from the file itself, and nothing in it is executed."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from natx.config import shadow
from natx.errors import CheckpointError, ConfigError
from natx.models.checkpoint import adopt
from natx.models.weights import SOURCES, WeightFile, read_weights
from natx.registry import TASKS
from natx.runtime.device import pick_device
from natx.task import Task

SHIPPED = ("tasks.cls",)  # adapters whose tasks a file may name; imported when a file names one
# Settings that could make an adapter's library read another file, download one, or build an object by its name.
UNSAFE = re.compile(r"(^|_)(pretrained|checkpoint|file|url|cache|hub)(_|$)|(^|(?<!drop)_)path$|^type$", re.IGNORECASE)


class PixelModel(nn.Module):
    """A classification task as a plain module: pixels in [0,1] in, logits out.

    Attributes:
        task: the task; ``task.upstream`` is the library's own module, which takes normalised pixels.
        classes: names of the classes in label order, where the checkpoint names them.
        weights: which entry of which file the weights are.
    """

    def __init__(self, task: Task, *, weights: str = "") -> None:
        super().__init__()
        self.task, self.weights = task, weights
        self.classes = task.classes

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of pixels ``[N, C, H, W]`` in [0,1], or uint8; gradients reach ``x``.

        Raises:
            DataError: pixels outside [0,1], or another number of channels or another size than the network takes.
        """
        return self.task.logits(self.task.pixels({"inputs": x}))


def load(path: str | Path, *, device: torch.device | str | None = None, ema: bool = False) -> PixelModel:
    """A classifier from a natx checkpoint, in eval mode; normalisation is inside.

    The file says by itself what it holds (its metadata has the task's settings, or a ``config.json`` of timm's layout
    lies beside it), so no config is needed. Only tasks
    of natx, or those whose module was imported before, are built; nothing is unpickled or downloaded, and the global
    random state stays as it was.

    Args:
        path: ``best.safetensors`` or ``last.safetensors`` of a run, or the folder of an export or of timm's
            ``save_for_hf``.
        device: where to put it; the CPU by default.
        ema: take the average of the weights that the file holds beside them.

    Raises:
        CheckpointError: no such file, damaged, no task named, a task that is unknown, no classifier or not safe to
            build, or weights that do not fit it.
        ConfigError: a device that this machine does not have.
    """
    device = pick_device(device or "cpu")
    file = read_weights(path, ema=ema)
    task = _named_task(file.meta.get("task") or _described_task(file), file.path)
    weights = adopt(task, file)
    return PixelModel(task, weights=weights).to(device).eval()


def _described_task(file: WeightFile) -> dict[str, Any] | None:
    """The settings of the timm classifier that a ``config.json`` describes; None where it describes none."""
    described = file.described
    if not isinstance(described.get("architecture"), str) or not isinstance(described.get("num_classes"), int):
        return None
    arguments = {key: value for key, value in (described.get("model_args") or {}).items() if key != "num_classes"}
    size = (described.get("pretrained_cfg") or described).get("input_size")
    return {
        "type": "ClassificationTask",
        "model": described["architecture"],
        "num_classes": described["num_classes"],
        "model_args": arguments,
        **({"image_size": size[-1]} if isinstance(size, list) and size else {}),
    }


def _named_task(settings: Any, path: Path) -> Task:
    """The task that a file's metadata describes, without weights."""
    if not isinstance(settings, dict) or not isinstance(settings.get("type"), str):
        raise CheckpointError(
            f"{path} does not say which task it holds: export it with natx export CONFIG {path.name}, or load it "
            "with the library it comes from"
        )
    name = settings["type"]
    if name not in TASKS.module_dict:
        _import_shipped()
    # Looked up in the table itself: the registry would go on to import a dotted name, which a file must not decide.
    kind = TASKS.module_dict.get(name)
    if kind is None or not kind.per_image_success:
        loadable = ", ".join(sorted(key for key, value in TASKS.module_dict.items() if value.per_image_success))
        raise CheckpointError(f"{path} holds a {name!r}; natx.load knows {loadable}: use natx test with its config")
    arguments = {key: value for key, value in settings.items() if key != "type" and key not in SOURCES}
    if unsafe := _unsafe(arguments):
        raise CheckpointError(f"{path} was not loaded: its task sets {unsafe}, which could read or run something else")
    try:
        with torch.random.fork_rng(devices=[]):
            return TASKS.build({"type": name, **arguments})
    except ConfigError as error:
        raise CheckpointError(f"{path} names a task that cannot be built: {error}") from error


def _import_shipped() -> None:
    """Register the tasks of natx's own adapters; raises ConfigError where other files hide them."""
    try:
        for module in SHIPPED:
            import_module(module)
    except ImportError as error:
        if (reason := shadow()) is None:
            raise
        raise ConfigError(reason) from error


def _unsafe(settings: Any) -> str | None:
    """The first key, at any depth, that :data:`UNSAFE` describes."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            setting = str(key) if UNSAFE.search(str(key)) else _unsafe(value)
            if setting is not None:
                return setting
    elif isinstance(settings, list):
        return next((setting for value in settings if (setting := _unsafe(value)) is not None), None)
    return None
