"""Weights of files and of timm's hub for classifiers: converted, with or without their class layer."""

from __future__ import annotations

import inspect
import logging
import sys
from typing import Any

import timm
from timm.models import adapt_input_conv, model_entrypoint
from torch import Tensor, nn

from natx.errors import CheckpointError
from natx.models.checkpoint import load_into
from natx.models.weights import WeightFile
from natx.runtime.progress import say
from tasks.cls import hugging_face
from tasks.cls.anatomy import classifier, head_weights, pretrained_cfg
from tasks.cls.cifar import MODELS

# What timm's modules call their converters of foreign checkpoints.
CONVERTERS = ("checkpoint_filter_fn", "checkpoint_filter_fn_classifier", "_filter_torchvision_pretrained", "_filter_fn")


def take_weights(net: Any, name: str, weights: WeightFile, *, new_head: bool) -> bool:
    """Load a file's weights; every key must fit, but for a head of another number of classes or one not wanted.

    Returns:
        Whether they are of colour images and the network takes others: the first convolution was adapted.
    """
    tensors = convert(net, name, weights.under(net.state_dict()))
    head = head_weights(net)
    say(f"model {name}: weights of {weights.source}")
    if head and (new_head or _outputs(tensors, head) != _outputs(head, head)):
        say(f"model {name}: new head of {_outputs(head, head)} classes, not that of {weights.path.name}")
        tensors |= head
    adapted = {} if name in MODELS else _first_convolutions(net, tensors)
    tensors |= adapted
    try:
        load_into(net, tensors, source=str(weights.path))
    except CheckpointError as error:
        raise CheckpointError(f"model {name!r}: {error}") from error
    return bool(adapted)


def load_backbone(net: Any, name: str, tensors: dict[str, Tensor], *, source: str) -> None:
    """Load a classifier's weights but for its class layer; raises CheckpointError where anything else does not fit."""
    load_into(net, {**convert(net, name, tensors), **head_weights(net)}, source=source)


def convert(net: Any, name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A foreign file's weights as timm or transformers convert them for their models; as they are for others."""
    if hugging_face.theirs(net):
        return hugging_face.convert(net, tensors)
    if name in MODELS or not timm.is_model(name):
        return tensors
    module = sys.modules[model_entrypoint(name).__module__]
    converter = next((vars(module)[key] for key in CONVERTERS if key in vars(module)), None)
    if converter is None:
        return tensors
    takes = inspect.signature(converter).parameters
    arguments = {key: value for key, value in {"model": net, "adapt_layer_scale": True}.items() if key in takes}
    try:
        return dict(converter(dict(tensors), **arguments))
    except Exception:  # of a file that is none of theirs timm's converters may raise anything: loading then says why
        return tensors


def from_hub(net: nn.Module, name: str, kwargs: dict[str, Any]) -> nn.Module:
    """Return the timm model with the hub's weights; ``net`` tells which those are."""
    cfg = pretrained_cfg(net)
    source = cfg.get("hf_hub_id") or cfg.get("url")
    local = "give task.checkpoint=<path to a local .safetensors>"
    if name in MODELS or not source:
        raise CheckpointError(f"there are no pretrained weights for model {name!r}: {local}")
    chatter = logging.getLogger("huggingface_hub")  # a line for each of its retries
    level = chatter.level
    chatter.setLevel(logging.CRITICAL)
    try:
        return timm.create_model(name, num_classes=classifier(net).out_features, pretrained=True, **kwargs)
    except Exception as error:  # which error a failed download raises depends on the http client underneath
        remedy = f"connect to the internet so that timm downloads {source}, or {local}"
        raise CheckpointError(f"no pretrained weights for {name!r}: {remedy} ({type(error).__name__})") from error
    finally:
        chatter.setLevel(level)


def _outputs(tensors: dict[str, Tensor], head: dict[str, Tensor]) -> int | None:
    """How many classes the first weight of a class layer has in some tensors; None where it is not among them."""
    weight = tensors.get(next(iter(head)))
    return None if weight is None else weight.shape[0]


def _first_convolutions(net: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The first convolutions of a file for colour images, for a timm model of images with other channels."""
    names = pretrained_cfg(net).get("first_conv") or ()
    adapted = {}
    for name in [names] if isinstance(names, str) else names:
        channels, weight = net.get_submodule(name).weight.shape[1], tensors.get(f"{name}.weight")
        if weight is not None and weight.dim() == 4 and weight.shape[1] == 3 != channels:
            adapted[f"{name}.weight"] = adapt_input_conv(channels, weight)
    return adapted
