"""Puts natx's operators in the place of ``mmcv.ops`` where mmcv's compiled ones are absent."""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from mmengine.registry import MODELS

from natx.errors import ConfigError
from tasks.det.compat.deformable import deformable_attention
from tasks.det.compat.focal import sigmoid_focal_loss
from tasks.det.compat.missing import FUNCTIONS, MODULES, REGISTERED, missing, missing_module
from tasks.det.compat.nms import batched_nms, nms, soft_nms
from tasks.det.compat.roi_align import RoIAlign, roi_align

OPS = "mmcv.ops"
DEFORMABLE = "MultiScaleDeformableAttention"
MARK = "from_natx"  # set on the module that natx supplies, to know it again
SUBSTITUTES: dict[str, Any] = {
    "RoIAlign": RoIAlign,
    "batched_nms": batched_nms,
    "nms": nms,
    "roi_align": roi_align,
    "sigmoid_focal_loss": sigmoid_focal_loss,
    "soft_nms": soft_nms,
}
# The modules below mmcv.ops that mmdet and mmcv import by name, with what they take from each.
SUBMODULES = {
    "carafe": ("CARAFEPack",),
    "modulated_deform_conv": ("ModulatedDeformConv2d",),
    "nms": ("batched_nms", "nms", "nms_match", "soft_nms"),
    "roi_align": ("RoIAlign", "roi_align"),
}
# mmcv-lite's own modules that need nothing compiled, so they are used as they are.
PURE = {
    "corner_pool": ("CornerPool",),
    "merge_cells": ("ConcatCell", "GlobalPoolingCell", "SumCell"),
    "point_sample": ("SimpleRoIAlign", "point_sample", "rel_roi_point_to_rel_img_point"),
}


def _need(name: str) -> Any:
    """A module of the ``det`` extra.

    Raises:
        ConfigError: it is absent, or its version does not fit the others.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, AssertionError) as error:  # mmdet asserts the versions of mmcv and mmengine
        first = " ".join(str(error).split())
        raise ConfigError(f"object detection needs mmdet and mmcv-lite ({first}): pip install -e '.[det]'") from error


def _module(name: str, content: dict[str, Any], *, path: list[str] | None = None) -> ModuleType:
    """A module of given content, entered among the imported ones; ``path`` makes it a package."""
    module = ModuleType(name, "Operators that natx supplies in the place of mmcv's compiled ones.")
    module.__spec__ = ModuleSpec(name, None, is_package=path is not None)
    if path is not None:
        module.__path__ = path
    vars(module).update(content)
    sys.modules[name] = module
    return module


def _pure() -> dict[str, Any]:
    """Operators of mmcv-lite's own Python modules; stand-ins where a version of it has them compiled."""
    content: dict[str, Any] = {}
    for submodule, names in PURE.items():
        try:
            module = importlib.import_module(f"{OPS}.{submodule}")
        except ImportError:
            module = _module(f"{OPS}.{submodule}", {name: missing(name) for name in names})
        content |= {name: getattr(module, name) for name in names}
    return content


def _deformable() -> Any:
    """mmcv-lite's deformable attention; a stand-in where a version of it has none."""
    try:
        return deformable_attention()
    except ImportError:
        return missing(DEFORMABLE)


def _substitute(mmcv: Any) -> None:
    """Supply ``mmcv.ops``."""
    spec = find_spec(OPS)
    content = SUBSTITUTES | {name: missing(name) for name in (*MODULES, *FUNCTIONS)}
    ops = _module(OPS, {**content, MARK: True}, path=list(spec.submodule_search_locations or []) if spec else [])
    for submodule, names in SUBMODULES.items():
        _module(f"{OPS}.{submodule}", {name: content[name] for name in names})
    content[DEFORMABLE] = _deformable()
    vars(ops).update(_pure(), **{DEFORMABLE: content[DEFORMABLE]})
    mmcv.ops = ops
    for name, operator in REGISTERED.items():
        if name not in MODELS.module_dict:
            MODELS.register_module(name=name, module=missing_module(operator))
    transformer: Any = sys.modules.get("mmcv.cnn.bricks.transformer")
    if transformer is not None and not hasattr(transformer, DEFORMABLE):
        # Imported earlier, it has failed to take the name from mmcv.ops, and mmdet takes it from there.
        setattr(transformer, DEFORMABLE, content[DEFORMABLE])


def install() -> str:
    """Make mmdet importable and its models usable, with or without full mmcv; repeating it does nothing.

    Full mmcv (its compiled operators load) is left untouched. Otherwise ``mmcv.ops`` becomes natx's operators: NMS,
    soft NMS, RoIAlign, the focal loss and deformable attention (mmcv's own torch form) compute; every other one that
    mmdet names raises ConfigError when used.

    Returns:
        The operators in use, in words for a report.

    Raises:
        ConfigError: mmdet or mmcv is absent, or their versions do not fit each other.
    """
    mmcv = _need("mmcv")
    try:
        ops = importlib.import_module(OPS)
    except ImportError as error:
        if find_spec("mmcv._ext") is not None:
            warnings.warn(f"mmcv's compiled operators do not load, natx's are used: {error}", stacklevel=2)
        _substitute(mmcv)
        ops = sys.modules[OPS]
    _need("mmdet")
    source = "natx's, on torchvision" if getattr(ops, MARK, False) else "mmcv's"
    return f"mmcv {mmcv.__version__}, operators {source}"
