"""Stand-ins for the operators of full mmcv that natx has no substitute for: importable, but using one is an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from torch import nn

from natx.errors import ConfigError

REMEDY = "install full mmcv (mmcv>=2.0,<2.2) in place of mmcv-lite"

# What mmdet 3.3.0 imports from mmcv.ops, and the region layers it looks up there by name.
MODULES = (
    "BezierAlign",
    "BorderAlign",
    "CARAFEPack",
    "DeformConv2d",
    "DeformRoIPool",
    "DeformRoIPoolPack",
    "MaskedConv2d",
    "ModulatedDeformConv2d",
    "ModulatedDeformRoIPoolPack",
    "PrRoIPool",
    "RiRoIAlignRotated",
    "RoIAlignRotated",
    "RoIPool",
)
FUNCTIONS = ("deform_conv2d", "nms_match", "nms_quadri", "nms_rotated")
# Layers that configs name in mmengine's registry of models, which full mmcv fills when its operators are imported.
REGISTERED = {
    "DCN": "DeformConv2dPack",
    "DCNv2": "ModulatedDeformConv2dPack",
    "MMSyncBN": "SyncBatchNorm",
    "SAC": "SAConv2d",
    "carafe": "CARAFEPack",
}


def refuse(name: str) -> NoReturn:
    """Say that an operator needs full mmcv.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(
        f"mmcv.ops.{name} needs mmcv's compiled operators, which mmcv-lite lacks: {REMEDY}, or choose another model"
    )


def missing_module(name: str) -> type[nn.Module]:
    """A class of a given name that raises ConfigError when it is built."""

    def build(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        refuse(name)

    return type(name, (nn.Module,), {"__init__": build, "__doc__": "Needs full mmcv.", "__module__": __name__})


def missing_function(name: str) -> Callable[..., NoReturn]:
    """A function of a given name that raises ConfigError when it is called."""

    def call(*args: Any, **kwargs: Any) -> NoReturn:
        refuse(name)

    call.__name__ = call.__qualname__ = name
    return call


def missing(name: str) -> Any:
    """The stand-in for an operator; mmcv writes modules with a capital and functions without."""
    return missing_module(name) if name[0].isupper() else missing_function(name)
