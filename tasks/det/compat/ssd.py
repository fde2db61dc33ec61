"""Two faults of SSD in mmdet 3.3.0, put right on a built model."""

from __future__ import annotations

from typing import Any

from torch import nn


def fix_ssd_head(head: Any) -> None:
    """Give an SSD head the attribute whose absence makes its prediction fail; a head that has it is left alone.

    ``SSDHead`` never sets ``loss_cls``, which prediction asks for a custom activation (mmdetection issues 11063 and
    11780). With None there it takes its usual softmax.
    """
    if not hasattr(head, "loss_cls"):
        head.loss_cls = None


def fix_ssd_neck(neck: Any) -> None:
    """Set the weight of the neck's L2 normalisation to its scale (20 in SSD).

    mmdet leaves it as uninitialised memory until ``init_weights`` runs or a checkpoint is loaded, so call this before
    either. A neck without the layer is left alone.
    """
    norm = getattr(neck, "l2_norm", None)
    if norm is not None:
        nn.init.constant_(norm.weight, norm.scale)


def repair(model: nn.Module) -> None:
    """Put right every SSD head and neck of an mmdet model; call it on a model just built, before it gets weights."""
    from mmdet.models.dense_heads import SSDHead  # here, since mmdet's models take seconds to import
    from mmdet.models.necks import SSDNeck

    for module in model.modules():
        if isinstance(module, SSDHead):
            fix_ssd_head(module)
        elif isinstance(module, SSDNeck):
            fix_ssd_neck(module)
