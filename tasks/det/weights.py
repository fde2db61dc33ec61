"""Weights to start a detector from: another detector's, with its head, another or none, or a classifier's backbone."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from natx.errors import CheckpointError
from natx.models.checkpoint import is_counter, load_into
from natx.models.weights import WeightFile, few
from natx.runtime.progress import say
from tasks.det.compat import build_detector, set_classes

BACKBONE = "backbone."
# timm's deep stem is conv1, of three convolutions, and bn1; mmdet's is one sequence.
DEEP_STEM = {"conv1.": "stem.", "bn1.": "stem.7."}


def load_detector(
    net: Any, file: WeightFile, *, model: Mapping[str, Any], new_head: bool
) -> tuple[tuple[str, ...], bool]:
    """Load a file into a detector and tell what stays as it was drawn.

    These are layers whose shape depends on the number of classes where it is another one in the file (all of them with
    ``new_head``), and heads that the file has not. A file whose names lack ``backbone.`` is one of a backbone alone.

    Args:
        net: the detector.
        file: the weights.
        model: mmdet's config of the detector.
        new_head: draw new class layers where those of the file would fit.

    Returns:
        Names of the file's classes, where its class layers were taken, and whether all heads are as they were drawn.

    Raises:
        CheckpointError: weights of another architecture.
    """
    say(f"detector weights: {file.source}")
    tensors, initial = file.under(net.state_dict()), net.state_dict()
    if not any(key.startswith(BACKBONE) for key in tensors):
        load_backbone(net, file.under(net.backbone.state_dict()), source=str(file.path))
        return (), True
    if not new_head and _fits(initial, tensors):
        load_into(net, tensors, source=str(file.path))
        return file.classes, False
    layers = class_layers(model)
    absent = {key for key in initial.keys() - tensors.keys() if _of_head(key) or key in layers}
    other = {key for key in layers & tensors.keys() if new_head or tensors[key].shape != initial[key].shape}
    kept = {key: initial[key] for key in absent | other}
    foreign = {key for key in tensors.keys() - initial.keys() if _of_head(key)}  # a head of another kind
    load_into(net, {key: tensors[key] for key in tensors.keys() - foreign} | kept, source=str(file.path))
    drawn = sorted({key.rpartition(".")[0] for key in kept if not is_counter(key)})
    if drawn:
        say(f"{file.path.name} has no {few(drawn)} for this detector: drawn anew")
    if foreign:
        say(f"{len(foreign)} weights of the head of {file.path.name} are left out (e.g. {min(foreign)})")
    return () if kept else file.classes, all(key in kept for key in initial if _of_head(key))


def load_backbone(net: Any, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Load a classifier's weights into a detector's backbone; what the backbone has not, as a class layer, stays out.

    Names are those of mmdet's, torchvision's and timm's ResNets, and of torchvision's VGG.

    Args:
        net: the detector.
        tensors: the classifier's state dict.
        source: where it is from, for messages.

    Raises:
        CheckpointError: weights of another architecture.
    """
    initial = net.backbone.state_dict()
    if "stem.0.weight" in initial and "conv1.0.weight" in tensors:
        tensors = {_renamed(key): value for key, value in tensors.items()}
    weights = {key: value for key, value in tensors.items() if key in initial}
    if type(net.backbone).__name__ == "SSDVGG":
        # VGG's own weights lack SSD's last two layers, which stand for fully connected ones: these stay as drawn.
        weights = {**{key: initial[key] for key in list(initial)[-4:]}, **weights}
    try:
        load_into(net.backbone, weights, source=source)
    except CheckpointError as error:
        kind = type(net.backbone).__name__
        raise CheckpointError(
            f"{error}; the detector's backbone is a {kind}, and the classifier is to be one"
        ) from error
    if rest := sorted({key.split(".")[0] for key in tensors.keys() - initial.keys()}):
        say(f"of {source} the detector has no {few(rest)}: left out")


def class_layers(model: Mapping[str, Any]) -> set[str]:
    """Names of the weights whose shape depends on the number of classes."""
    shapes = []
    for more in (1, 2):
        twin = copy.deepcopy(dict(model))
        set_classes(twin, more)
        with torch.device("meta"):
            shapes.append({key: value.shape for key, value in build_detector(twin).state_dict().items()})
    return {key for key, shape in shapes[0].items() if shapes[1].get(key) != shape}


def _fits(initial: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> bool:
    names = {key for key in initial.keys() ^ tensors.keys() if not is_counter(key)}
    return not names and all(tensors[key].shape == value.shape for key, value in initial.items() if key in tensors)


def _of_head(key: str) -> bool:
    return key.split(".")[0].endswith("_head")


def _renamed(key: str) -> str:
    for before, after in DEEP_STEM.items():
        if key.startswith(before):
            return after + key.removeprefix(before)
    return key
