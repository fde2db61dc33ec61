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
from natx.models.hub import FOLDER, HUB
from natx.models.weights import SOURCES, WeightFile, read_weights
from natx.registry import TASKS
from natx.runtime.device import pick_device
from natx.task import Task

CLASSIFIER, LIBRARIES = "ClassificationTask", ("timm", "torchvision")
SHIPPED = ("tasks.cls",)  # adapters whose tasks a file may name; imported when a file names one
ELSEWHERE = (FOLDER, HUB)  # how a name says that a network's description lies in another place
TRANSFORMERS = "ForImageClassification"  # how transformers names its classifiers
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


def load(
    path: str | Path,
    *,
    model: str | dict[str, Any] | nn.Module | None = None,
    num_classes: int | None = None,
    model_args: dict[str, Any] | None = None,
    device: torch.device | str | None = None,
    ema: bool = False,
) -> PixelModel:
    """A classifier from a checkpoint or another program's model, in eval mode; normalisation is inside.

    A file of natx says by itself what it holds (its metadata has the task's settings, or a ``config.json`` of timm's or
    Hugging Face's layout lies beside it), so no config is needed. Only tasks of natx, or those whose module was
    imported before, are built; nothing is unpickled, nothing is downloaded unless ``path`` names the hub, and the
    global random state stays as it was.

    Args:
        path: the folder of a run, of an export, of timm's ``save_for_hf`` or of a Hugging Face image classifier (which
            needs transformers); a ``.safetensors`` file, or a ``.pth`` of tensors alone;
            ``hf-hub:owner/name``, or ``hf-hub:owner/name@revision`` for a branch, a tag or a commit; or a
            library's pretrained network by its name, ``timm:resnet18`` or ``torchvision:resnet18``.
        model: the network, where the file does not say which: a module, which gets the weights, or what a config's
            ``task.model`` takes.
        num_classes: of ``model``, or of a library's network, where it does not show.
        model_args: further arguments of either, such as ``dict(in_chans=1)`` of timm's networks.
        device: where to put it; the CPU by default.
        ema: take the average of the weights that the file holds beside them.

    Raises:
        CheckpointError: no such file, damaged, no task named, a task that is unknown, no classifier or not safe to
            build, or weights that do not fit it.
        ConfigError: a device that this machine does not have, a model that cannot be built, or settings of a model
            where the file says by itself what it is.
    """
    device = pick_device(device or "cpu")
    library, _, name = str(path).partition(":")
    if library in LIBRARIES and model is None:
        if ema:
            raise CheckpointError(
                f"{path} names a library's own weights, which have no average beside them: leave ema out"
            )
        source = name if library == "timm" else str(path)
        arguments = {"num_classes": num_classes, "model_args": model_args, "pretrained": True}
        task = _built({"type": CLASSIFIER, "model": source, **arguments})
        return PixelModel(task, weights=f"pretrained weights of {path}").to(device).eval()
    if model is None and (num_classes is not None or model_args):
        raise ConfigError(
            "num_classes and model_args are of a network that you name: model='resnet18', or leave them out"
        )
    file = read_weights(path, ema=ema)
    if model is not None:
        described = file.meta.get("task")
        part = described.get("logits") if isinstance(described, dict) else None  # of the network's output
        settings = {"model": model, "num_classes": num_classes, "model_args": model_args, "logits": part}
        task = _built({"type": CLASSIFIER, **settings})
    else:
        task = _named_task(file.meta.get("task") or _described_task(file), file.path)
    weights = adopt(task, file)
    return PixelModel(task, weights=weights).to(device).eval()


def _built(settings: dict[str, Any]) -> Task:
    """A task that the caller, and not a file, describes."""
    _import_shipped()
    with torch.random.fork_rng(devices=[]):
        return TASKS.build(settings)


def _described_task(file: WeightFile) -> dict[str, Any] | None:
    """The settings of the classifier that a ``config.json`` of timm or transformers describes; None for others."""
    described = file.described
    if any(str(name).endswith(TRANSFORMERS) for name in described.get("architectures") or ()):
        return {"type": CLASSIFIER, "model": f"{FOLDER}{file.path.parent}"}
    if not isinstance(described.get("architecture"), str) or not isinstance(described.get("num_classes"), int):
        return None
    arguments = {key: value for key, value in (described.get("model_args") or {}).items() if key != "num_classes"}
    size = (described.get("pretrained_cfg") or described).get("input_size")
    return {
        "type": CLASSIFIER,
        "model": described["architecture"],
        "num_classes": described["num_classes"],
        "model_args": arguments,
        **({"image_size": size[-1]} if isinstance(size, list) and size else {}),
    }


def _named_task(settings: Any, path: Path) -> Task:
    """The task that a file's metadata, or the description beside it, gives, without weights."""
    if not isinstance(settings, dict) or not isinstance(settings.get("type"), str):
        raise CheckpointError(
            f"{path} does not say which task it holds: name its network, natx.load(path, model='resnet18'), or export "
            f"it with natx export CONFIG {path.name}"
        )
    name = settings["type"]
    if name not in TASKS.module_dict:
        _import_shipped()
    # Looked up in the table itself: the registry would go on to import a dotted name, which a file must not decide.
    kind = TASKS.module_dict.get(name)
    if kind is None or not kind.per_image_success:
        loadable = ", ".join(sorted(key for key, value in TASKS.module_dict.items() if value.per_image_success))
        raise CheckpointError(f"{path} holds a {name!r}; natx.load knows {loadable}: use natx test with its config")
    network = settings.get("model")
    if isinstance(network, str) and network.startswith(ELSEWHERE) and network != f"{FOLDER}{path.parent}":
        raise CheckpointError(
            f"{path} was not loaded: it says that its network lies elsewhere ({network}); if that is right, "
            f"natx.load(path, model={network!r})"
        )
    if isinstance(network, dict):
        raise CheckpointError(
            f"{path} holds a {network.get('type')}, a class that a file may not import: make it yourself and hand it "
            "over, natx.load(path, model=...)"
        )
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
