"""Non-maximum suppression under mmcv's names and arguments: hard, soft, and by class.

Boxes are x1, y1, x2, y2 in pixels. Equal scores are taken in the order of the input, on every device.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torchvision import ops

from natx.errors import ConfigError
from tasks.det.compat.missing import REMEDY

SOFT_METHODS = ("linear", "gaussian", "naive")


def _check(boxes: Tensor, scores: Tensor, offset: int) -> None:
    if boxes.dim() != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(f"nms takes N x 4 boxes and N scores; got {tuple(boxes.shape)} and {tuple(scores.shape)}")
    if offset not in (0, 1):
        raise ConfigError(f"offset of nms is 0 or 1; got {offset!r}")


def nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    offset: int = 0,
    score_threshold: float = 0,
    max_num: int = -1,
) -> tuple[Tensor, Tensor]:
    """Drop every box that overlaps a kept one of higher score by more than a threshold; mmcv's argument order.

    Args:
        boxes: N x 4.
        scores: N.
        iou_threshold: largest intersection over union of two kept boxes.
        offset: a box is x2 - x1 + offset wide (1 counts the last pixel in, as older data sets do).
        score_threshold: where positive, only boxes above it enter.
        max_num: where positive, the most boxes kept.

    Returns:
        Kept boxes with their scores, K x 5 (gradients flow to both), and their indices, K int64; falling scores.

    Raises:
        ConfigError: offset is neither 0 nor 1.
        ValueError: shapes do not fit.
    """
    _check(boxes, scores, offset)
    kind = torch.promote_types(torch.promote_types(boxes.dtype, scores.dtype), torch.float32)
    wide, confidence = boxes.detach().to(kind), scores.detach().to(kind)
    if offset:
        # The last pixel counted in is a box one pixel further out: areas and intersections both follow.
        wide = torch.cat([wide[:, :2], wide[:, 2:] + 1], dim=1)
    order = confidence.argsort(descending=True, stable=True)
    if score_threshold > 0:
        order = order[confidence[order] > score_threshold]
    # Ranks in the place of scores: torchvision's own sort need not keep the order of equal scores on a GPU.
    ranks = torch.arange(len(order), 0, -1, dtype=kind, device=boxes.device)
    indices = order[ops.nms(wide[order], ranks, float(iou_threshold))]
    if max_num > 0:
        indices = indices[:max_num]
    return torch.cat([boxes[indices], scores[indices, None]], dim=1), indices


def _overlaps(box: Tensor, others: Tensor, *, offset: int) -> Tensor:
    """Intersection over union of one box (4) with N x 4 others; 0 where the union is empty."""
    low, high = torch.maximum(box[:2], others[:, :2]), torch.minimum(box[2:], others[:, 2:])
    shared = (high - low + offset).clamp(min=0).prod(1)
    union = (box[2:] - box[:2] + offset).prod() + (others[:, 2:] - others[:, :2] + offset).prod(1) - shared
    return torch.where(union > 0, shared / union, torch.zeros_like(shared))


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 1e-3,
    method: str = "linear",
    offset: int = 0,
) -> tuple[Tensor, Tensor]:
    """Lower the scores of boxes that overlap a better one (https://arxiv.org/abs/1704.04503); mmcv's argument order.

    Computed on the CPU in float64, one box after the other, as in mmcv.

    Args:
        boxes: N x 4.
        scores: N.
        iou_threshold: overlap from which ``linear`` and ``naive`` act (from it on, where ``nms`` acts above it).
        sigma: width of the ``gaussian`` decay exp(-iou^2 / sigma).
        min_score: boxes whose score falls below it are dropped; the best box stays in any case.
        method: ``linear`` (times 1 - iou), ``gaussian``, or ``naive`` (times 0).
        offset: a box is x2 - x1 + offset wide.

    Returns:
        Boxes with their lowered scores, K x 5 (no gradient), and their indices, K int64; falling scores.

    Raises:
        ConfigError: unknown method, or offset is neither 0 nor 1.
        ValueError: shapes do not fit.
    """
    _check(boxes, scores, offset)
    if method not in SOFT_METHODS:
        raise ConfigError(f"soft_nms knows the methods {', '.join(SOFT_METHODS)}; got {method!r}")
    coordinates, lowered = boxes.detach().cpu().double(), scores.detach().cpu().double()
    waiting = torch.arange(len(boxes))
    survivors, final = [], []
    while len(waiting):
        best = int(lowered.argmax())
        box = coordinates[waiting[best]]
        survivors.append(int(waiting[best]))
        final.append(float(lowered[best]))
        others = torch.arange(len(waiting)) != best
        waiting, lowered = waiting[others], lowered[others]
        overlap = _overlaps(box, coordinates[waiting], offset=offset)
        if method == "gaussian":
            lowered = lowered * torch.exp(-(overlap**2) / sigma)
        else:
            decay = 1 - overlap if method == "linear" else torch.zeros_like(overlap)
            lowered = torch.where(overlap >= iou_threshold, lowered * decay, lowered)
        stays = lowered >= min_score
        waiting, lowered = waiting[stays], lowered[stays]
    indices = torch.tensor(survivors, dtype=torch.int64, device=boxes.device)
    column = torch.tensor(final, dtype=boxes.dtype, device=boxes.device)[:, None]
    return torch.cat([boxes.detach()[indices], column], dim=1), indices


METHODS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {"nms": nms, "soft_nms": soft_nms}


def _method(kind: Any, options: Mapping[str, Any]) -> Callable[..., tuple[Tensor, Tensor]]:
    """The suppression that a config names, once its options are known to fit."""
    method = kind if callable(kind) else METHODS.get(kind)
    if method is None:
        raise ConfigError(f"nms type {kind!r} is not one of {', '.join(METHODS)}; for mmcv's other types {REMEDY}")
    unknown = sorted(set(options) - set(inspect.signature(method).parameters))
    if unknown:
        raise ConfigError(f"{method.__name__} has no option {', '.join(unknown)}")
    return method


def _apart(boxes: Tensor, groups: Tensor) -> Tensor:
    """Boxes moved so that those of different groups cannot meet; float64, so the move does not round them."""
    if not len(boxes):
        return boxes
    exact = boxes.double()
    stride = exact.detach().max() - exact.detach().min() + 1
    return exact + (groups.to(exact) * stride)[:, None]


def batched_nms(
    boxes: Tensor,
    scores: Tensor,
    idxs: Tensor,
    nms_cfg: Mapping[str, Any] | None,
    class_agnostic: bool = False,
) -> tuple[Tensor, Tensor]:
    """Suppression within each class only, as mmdet's heads call it; mmcv's argument order.

    Two differences from mmcv, both where mmcv errs: boxes of different classes never meet, not even at negative
    coordinates, and ``class_agnostic`` holds from ``split_thr`` boxes on, too.

    Args:
        boxes: N x 4.
        scores: N.
        idxs: class of each box, N.
        nms_cfg: ``type`` (``nms`` or ``soft_nms``) and its options; ``split_thr`` (from so many boxes on, 10000, the
            classes are taken one after the other, to save memory); ``class_agnostic``. None only sorts by score.
        class_agnostic: True lets boxes of all classes compete; the config's entry wins.

    Returns:
        Kept boxes with their scores, K x 5, and their indices, K int64; falling scores.

    Raises:
        ConfigError: the type or an option is unknown.
        ValueError: shapes do not fit.
    """
    if nms_cfg is None:
        order = scores.argsort(descending=True, stable=True)
        return torch.cat([boxes[order], scores[order, None]], dim=1), order
    options = dict(nms_cfg)
    agnostic = options.pop("class_agnostic", class_agnostic)
    split = options.pop("split_thr", 10000)
    method = _method(options.pop("type", "nms"), options)
    if agnostic or len(boxes) < max(split, 1):
        rows, indices = method(boxes if agnostic else _apart(boxes, idxs), scores, **options)
        final = rows[:, -1].to(scores.dtype)
    else:
        most = options.pop("max_num", -1)
        parts = []
        for group in idxs.unique():
            members = (idxs == group).nonzero()[:, 0]
            rows, places = method(boxes[members], scores[members], **options)
            parts.append((members[places], rows[:, -1]))
        indices, final = (torch.cat(column) for column in zip(*parts))
        # By index first, so that equal scores come in the order of the input here, too.
        by_index = indices.argsort()
        order = by_index[final[by_index].argsort(descending=True, stable=True)]
        order = order[:most] if most > 0 else order
        indices, final = indices[order], final[order]
    return torch.cat([boxes[indices], final[:, None]], dim=1), indices
