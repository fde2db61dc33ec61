"""The models of the configs that mmdet ships, by name."""

from __future__ import annotations

import difflib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config

from natx.data.base import brief
from natx.errors import ConfigError


def shipped_model(name: str, *, num_classes: int) -> dict[str, Any]:
    """The ``model`` of a config that mmdet ships, its heads for ``num_classes`` classes.

    Augmentation of batches, which is a training config's, is left out of its preprocessing.

    Args:
        name: the config's path below mmdet's ``configs``, without its suffix, as ``atss/atss_r50_fpn_1x_coco``.
        num_classes: number of foreground classes.

    Raises:
        ConfigError: mmdet ships no such config, or one without a model that can be read.
    """
    spec = find_spec("mmdet")
    folder = Path((spec.submodule_search_locations or ["."])[0] if spec else ".") / ".mim" / "configs"
    path = folder / f"{name}.py"
    if not path.is_file():
        names = [p.relative_to(folder).with_suffix("").as_posix() for p in folder.glob("*/*.py")]
        near = difflib.get_close_matches(name, names, n=1)
        raise ConfigError(
            f"mmdet ships no config {name!r}"
            + (f"; the nearest is {near[0]!r}" if near else f": take one of those in {folder}, without its suffix")
        )
    try:
        model = Config.fromfile(path).model.to_dict()
    except (AttributeError, ImportError, KeyError, OSError, TypeError, ValueError) as error:
        raise ConfigError(f"mmdet's config {name!r} has no model that can be read ({brief(error)})") from error
    model.get("data_preprocessor", {}).pop("batch_augments", None)
    set_classes(model, num_classes)
    return model


def set_classes(node: Any, num_classes: int) -> None:
    """Give every head of a model ``num_classes`` classes, in place; heads that propose regions say none."""
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        set_classes(value, num_classes)
    if isinstance(node, dict) and "num_classes" in node:
        node["num_classes"] = num_classes
