"""Multi-scale deformable attention (https://arxiv.org/abs/2010.04159) from mmcv-lite's own file, in its pure form."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

FILE = "mmcv.ops.multi_scale_deform_attn"


def deformable_attention() -> Any:
    """mmcv's class ``MultiScaleDeformableAttention``, computed by its torch form on every device.

    mmcv's file asks for the compiled operators when it is imported, and takes them on a GPU. Here it gets an empty
    stand-in, and its switches for accelerators are off, so that it always calls ``grid_sample``: the same numbers, with
    more memory (each level's samples are held). The class enters mmengine's registry by itself.

    Raises:
        ImportError: this mmcv has no such file.
    """
    loader: Any = importlib.import_module("mmcv.utils.ext_loader")
    load = loader.load_ext
    loader.load_ext = lambda name, functions: SimpleNamespace()
    try:
        module: Any = importlib.import_module(FILE)
    finally:
        loader.load_ext = load
    module.IS_CUDA_AVAILABLE = module.IS_MLU_AVAILABLE = False
    return module.MultiScaleDeformableAttention
