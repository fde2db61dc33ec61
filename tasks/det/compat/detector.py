"""Builds mmdet detectors from mmdet's config dicts."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping
from typing import Any

from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import nn

from natx.errors import ConfigError
from tasks.det.compat.instances import index_on_any_device
from tasks.det.compat.operators import install
from tasks.det.compat.ssd import repair


def build_detector(config: Mapping[str, Any]) -> nn.Module:
    """An mmdet model with SSD's faults put right; weights are random, and nothing is downloaded.

    Every ``init_cfg`` is kept, so a later ``model.init_weights()`` does what the config says (which may download).

    Args:
        config: the ``model`` dict of an mmdet config, ``type`` included; not changed.

    Raises:
        ConfigError: mmdet is absent, or it cannot build the config.
    """
    install()
    index_on_any_device()
    importlib.import_module("mmdet.models")  # fills the registry; here, since it takes seconds
    from mmdet.registry import MODELS

    try:
        # mmdet's own parts look names up in mmengine's registries, which find mmdet's classes in this scope only.
        with DefaultScope.overwrite_default_scope("mmdet"):
            model = MODELS.build(ConfigDict(copy.deepcopy(dict(config))))
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        first = (" ".join(str(error).split()) or type(error).__name__).split(". Please check")[0]
        raise ConfigError(f"mmdet cannot build {config.get('type')!r}: {first}") from error
    repair(model)
    return model
