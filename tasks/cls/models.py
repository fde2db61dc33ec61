"""Image classifiers: our CIFAR nets by name, any other name from timm.

Every net maps normalised pixels ``[N, C, H, W]`` to logits ``[N, num_classes]`` and has timm's
``forward_features``, ``forward_head``, ``get_classifier``; ``pretrained_cfg`` has mean, std, input size.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from statistics import fmean
from typing import Any

import timm
from timm.models import get_pretrained_cfg
from torch import nn

from natx.errors import ConfigError
from natx.models.weights import WeightFile
from tasks.cls.anatomy import classifier, head_weights, input_size, pretrained_cfg
from tasks.cls.cifar import CIFAR_MEAN, CIFAR_STD, MODELS
from tasks.cls.weights import from_hub, take_weights

COLOURS = 3


def create_model(
    name: str,
    *,
    num_classes: int,
    pretrained: bool = False,
    weights: WeightFile | None = None,
    new_head: bool = False,
    image_size: int | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Build a classifier of ``num_classes`` outputs: one of ``MODELS``, else the timm model of that name.

    ``weights`` (a local file) go before ``pretrained`` (timm's weights from the hub). timm's own conversions of foreign
    files are applied. A head of another number of classes, and any with ``new_head``, stays newly initialised; all else
    must fit, but for position embeddings, which timm resamples to ``image_size``, and the first convolution where
    ``in_chans`` is not that of the file. Pixels are normalised as the file says, where it says so; those of other
    channels than colours by the mean over colours, where the weights are of colour images. ``image_size`` is
    passed on only to models of a fixed input size. Other keywords go to the builder.

    Raises ConfigError for a name, size or keyword that does not fit, CheckpointError for weights that cannot
    be had: never a silent random start.
    """
    if num_classes < 1:
        raise ConfigError(f"num_classes is {num_classes}, expected at least 1")
    if name not in MODELS:
        kwargs = _timm_kwargs(name, image_size, kwargs)
    builder = MODELS.get(name) or _timm_builder(name)
    try:
        net: Any = builder(num_classes=num_classes, **kwargs)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ConfigError(f"model {name!r} cannot be built: {_one_line(error)}") from error
    if (outputs := classifier(net).out_features) != num_classes:
        raise ConfigError(f"model {name!r} has {outputs} outputs, expected num_classes={num_classes}")
    of_colour = pretrained
    if weights is not None:
        of_colour = take_weights(net, name, weights, new_head=new_head)
    elif pretrained:
        drawn = head_weights(net) if new_head else {}
        net = from_hub(net, name, kwargs)
        net.load_state_dict(drawn, strict=False)
    colour = pretrained_cfg(net)
    net = _describe(net, cifar=name in MODELS, in_chans=kwargs.get("in_chans", 3), image_size=image_size)
    channels, named = input_size(net)[0], None if weights is None else weights.normalisation(net.state_dict())
    if of_colour and channels != COLOURS:
        # The first convolution has the sum over colours, so pixels are to be normalised as those were: by their mean,
        # as timm's loader does.
        mean, std = named or (colour["mean"], colour["std"])
        named = (fmean(mean),) * channels, (fmean(std),) * channels
    if named is not None and len(named[0]) == channels:
        net.pretrained_cfg = net.default_cfg = {**pretrained_cfg(net), "mean": named[0], "std": named[1]}
    return net


def own_classes(name: str) -> int:
    """The classes that timm's pretrained weights of a model have; ConfigError for one that is natx's own."""
    cfg = None if name in MODELS else _timm_cfg(name)
    if cfg is None or not cfg.num_classes:
        raise ConfigError(f"model {name!r} has no number of classes by itself: set task.num_classes")
    return cfg.num_classes


def _timm_builder(name: str) -> Callable[..., nn.Module]:
    def build(*, num_classes: int, **kwargs: Any) -> nn.Module:
        return timm.create_model(name, num_classes=num_classes, **kwargs)

    return build


def _timm_kwargs(name: str, image_size: int | None, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Check a timm model name; add ``img_size`` where timm says that the model is tied to its input size."""
    cfg = _timm_cfg(name)
    if cfg is None or image_size is None or not cfg.fixed_input_size or image_size == cfg.input_size[-1]:
        return kwargs
    return {"img_size": image_size, **kwargs}


def _timm_cfg(name: str) -> Any:
    """What timm says of a model's pretrained weights, None where nothing; raises ConfigError for an unknown name."""
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, [*MODELS, *timm.list_models()], n=3)
        raise ConfigError(f"unknown model {name!r}" + (f"; close: {', '.join(close)}" if close else ""))
    try:
        return get_pretrained_cfg(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown model {name!r}: {_one_line(error)}") from error


def _describe(net: Any, *, cifar: bool, in_chans: int, image_size: int | None) -> nn.Module:
    """Set mean, std (of ``in_chans`` values) and input size in ``net.pretrained_cfg``, and return ``net``."""
    cfg: dict[str, Any] = dict(mean=CIFAR_MEAN, std=CIFAR_STD, input_size=(3, 32, 32)) if cifar else pretrained_cfg(net)
    if in_chans != COLOURS:
        # Statistics per colour mean nothing for other channels.
        cfg.update(mean=(0.5,) * in_chans, std=(0.5,) * in_chans)
    height, width = (image_size, image_size) if image_size else cfg.get("input_size", (COLOURS, 224, 224))[1:]
    cfg["input_size"] = (in_chans, height, width)
    net.pretrained_cfg = net.default_cfg = cfg
    return net


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
