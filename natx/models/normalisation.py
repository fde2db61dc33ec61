"""Whether a network that says how its images are normalised is given plain pixels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from natx.models.mode import attack_mode
from natx.models.wrap import ModuleTask
from natx.runtime.device import forked_rng
from natx.task import Task

DESCRIBED = ("pretrained_cfg", "default_cfg")  # how timm's networks, and those of its older versions, call it


def normalisation_remarks(task: ModuleTask, images: Tensor) -> list[str]:
    """A remark where a network names the mean and std of its images and sees pixels that nobody normalised.

    timm's networks do: they normalise outside of the module. What tells is what the first layer with weights gets, so a
    module that normalises around such a network, or within it, is none of these, however it does so. Takes a forward of
    two made images, where a part of the module names a mean and std at all.

    Args:
        task: the wrapped module; nothing is said of one whose mean and std were given, nor of what
            :func:`natx.load` returns.
        images: of the size that the module takes ``[N, C, H, W]``.
    """
    if task.mean is not None:
        return []
    networks = list(_described(task.module))
    if not networks:
        return []
    # All of [0,1]: whatever is taken off makes some of it negative, whatever it is divided by makes some too large.
    shape = images.shape[1:]
    probe = torch.linspace(0, 1, shape.numel(), dtype=task.dtype, device=task.anchor.device).view(1, *shape)
    plain = _sees_pixels(networks, lambda: task.raw_logits(probe.expand(2, -1, -1, -1)), task=task)
    return [] if plain is None else [_remark(plain, channels=shape[0])]


def _described(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost parts that name a mean and std; none within a task, which normalises by itself."""
    if isinstance(module, Task):
        return
    if _description(module):
        yield module
        return
    for child in module.children():
        yield from _described(child)


def _description(module: nn.Module) -> Mapping[str, Any]:
    """What a module says of its weights, where that names a mean and std of pixels that are no plain ones; or empty."""
    for name in DESCRIBED:
        named = getattr(module, name, None)
        described = named if isinstance(named, Mapping) else getattr(named, "__dict__", {})
        mean, std = described.get("mean"), described.get("std")
        if isinstance(mean, (list, tuple)) and isinstance(std, (list, tuple)) and mean and std:
            return {} if set(mean) == {0} and set(std) == {1} else described
    return {}


def _sees_pixels(networks: list[nn.Module], forward: Callable[[], Any], *, task: ModuleTask) -> nn.Module | None:
    """The first of the networks whose first layer with weights gets nothing outside of [0,1] in a forward."""
    inside: dict[nn.Module, bool] = {}

    def looking(network: nn.Module) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def look(_: nn.Module, given: tuple[Any, ...]) -> None:
            x = given[0] if given else None
            if network not in inside and isinstance(x, Tensor) and x.is_floating_point():
                inside[network] = bool(((x >= 0) & (x <= 1)).all())

        return look

    handles = [
        part.register_forward_pre_hook(looking(network))
        for network in networks
        for part in network.modules()
        if _has_weights(part)
    ]
    device = task.anchor.device
    try:
        with (
            attack_mode(task),
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
            forked_rng(device),
            _eager(),
        ):
            forward()
    finally:
        for handle in handles:
            handle.remove()
    return next((network for network, plain in inside.items() if plain), None)


def _has_weights(part: nn.Module) -> bool:
    """Whether a part is a layer with weights; one whose weights are made of others has parts too."""
    single = next(part.children(), None) is None
    return is_parametrized(part) or (single and next(part.parameters(recurse=False), None) is not None)


def _eager() -> AbstractContextManager[Any]:
    """Without torch.compile, which would keep the hooks in what it compiles; free where nobody imported it."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def _remark(network: nn.Module, *, channels: int) -> str:
    described = _description(network)
    # As timm's loader does: statistics of colours mean nothing for other channels, and their mean stands for each.
    mean, std = ([fmean(v)] if len(v) != channels else v for v in (described["mean"], described["std"]))
    name = ".".join(filter(None, (described.get("architecture"), described.get("tag"))))
    ready = f", or take natx.load('timm:{name}')" if name else ""
    return (
        f"the network says that it takes images normalised by mean={_listed(mean)}, std={_listed(std)}, and sees "
        f"pixels in [0,1]: give them, mean=..., std=... (mean=0, std=1 for one that was trained on plain pixels){ready}"
    )


def _listed(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in values)}]"
