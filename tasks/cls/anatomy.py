"""What a classifier says of itself: how its images are to be, its last layer, and what that reads."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from natx.errors import ConfigError


def normalisation(net: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std per channel, of pixels in [0, 1], of ``net``; ConfigError if unknown."""
    cfg = pretrained_cfg(net)
    if not cfg.get("mean") or not cfg.get("std"):
        raise ConfigError(f"{type(net).__name__} has no mean and std in its pretrained_cfg")
    return tuple(float(value) for value in cfg["mean"]), tuple(float(value) for value in cfg["std"])


def input_size(net: nn.Module) -> tuple[int, int, int]:
    """Return (channels, height, width) of the images that ``net`` was made for; ConfigError if unknown."""
    size = pretrained_cfg(net).get("input_size")
    if not size:
        raise ConfigError(f"{type(net).__name__} has no input_size in its pretrained_cfg")
    channels, height, width = size
    return int(channels), int(height), int(width)


def described(net: nn.Module) -> bool:
    """Whether ``net`` says how its images are to be (``pretrained_cfg``), as all do but one's own."""
    return bool(pretrained_cfg(net))


def fixed_input_size(net: nn.Module) -> bool:
    """Whether the net takes images of :func:`input_size` only (ViTs), not of any size (convolutional nets)."""
    return bool(pretrained_cfg(net).get("fixed_input_size", False))


def classifier(net: Any) -> nn.Linear:
    """Return the last linear layer of ``net``; ConfigError for other heads (two heads, a 1x1 convolution).

    Of a network without timm's ``get_classifier`` it is the last layer that has weights.
    """
    head = net.get_classifier() if hasattr(net, "get_classifier") else _last_layer(net)
    if not isinstance(head, nn.Linear):
        raise ConfigError(f"{type(net).__name__} ends with {type(head).__name__}, expected one linear layer")
    return head


def _last_layer(net: nn.Module) -> nn.Module:
    """The last layer that has weights; the network itself where none has."""
    layers = [module for module in net.modules() if next(module.children(), None) is None]
    return next((layer for layer in reversed(layers) if next(layer.parameters(), None) is not None), net)


def head_weights(net: Any) -> dict[str, Tensor]:
    """The weights of the class layer under their names in the network; empty where it has no linear one."""
    if not hasattr(net, "get_classifier") and not isinstance(_last_layer(net), nn.Linear):
        return {}
    head = classifier(net)
    prefix = next(key for key, module in net.named_modules() if module is head)
    return {f"{prefix}.{key}".removeprefix("."): value for key, value in head.state_dict().items()}


def features(net: Any, x: Tensor) -> Tensor:
    """Map images ``[N, C, H, W]`` to what the classifier reads, ``[N, D]``."""
    if hasattr(net, "forward_head"):
        return net.forward_head(net.forward_features(x), pre_logits=True).flatten(1)
    read: list[Tensor] = []
    hook = classifier(net).register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    try:
        net(x)
    finally:
        hook.remove()
    return read[-1].flatten(1)


def pretrained_cfg(net: nn.Module) -> dict[str, Any]:
    """A copy of what timm's networks say under this name; empty where it has none."""
    cfg: Any = getattr(net, "pretrained_cfg", None) or {}
    return dict(cfg) if isinstance(cfg, dict) else cfg.to_dict()
