"""Dense proposals of a detector: what it says of every prior, which is what DAG and RAP attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.attacks import Victim
from natx.errors import UnsupportedError
from natx.runtime.precision import full_precision
from natx.task import Task
from tasks.det.readers.anchors import AnchorReader


@dataclass
class Dense:
    """A detector's scores and boxes of P proposals in N images.

    Attributes:
        logits: class logits ``[N, P, C + 1]``, the last one background's. Heads with one sigmoid for each class have
            none for background; it is 0 then, so background has the largest logit where no class reaches 0.5.
        probabilities: of the classes ``[N, P, C]``.
        log_background: log-probability of background ``[N, P]``; with sigmoids that of no class at all.
        priors: fixed boxes of the proposals ``[P, 4]``, x1, y1, x2, y2 in pixels of the batch's images.
        offsets: the head's box outputs ``[N, P, 4]``, as it codes them.
        boxes: the boxes that they give ``[N, P, 4]``, in pixels of the batch's images; without gradient.
    """

    logits: Tensor
    probabilities: Tensor
    log_background: Tensor
    priors: Tensor
    offsets: Tensor
    boxes: Tensor


def dense(task: Any, raw: Any) -> Dense:
    """The dense proposals in a raw output of ``task.network``.

    A reader with a method ``dense(raw) -> Dense`` is asked. Otherwise the detector must have one of mmdet's anchor
    heads (SSD, RetinaNet), whose proposals are its priors.

    Raises:
        UnsupportedError: a detector of another kind.
    """
    check_dense(task)
    if hasattr(task.reader, "dense"):
        return task.reader.dense(raw)
    return _of_anchors(task.net.bbox_head, raw)


def check_dense(task: Task) -> None:
    """Raise UnsupportedError where a task is no detector with dense proposals, see :func:`dense`."""
    if hasattr(getattr(task, "reader", None), "dense"):
        return
    if not isinstance(getattr(task, "reader", None), AnchorReader):
        raise UnsupportedError(
            "DAG and RAP attack detectors with fixed priors (SSD, RetinaNet), not "
            f"{type(getattr(task, 'net', task)).__name__}: attack this one with PGD on its losses"
        )


def look(victim: Victim, x: Tensor) -> Dense:
    """The victim's dense proposals at pixels ``x`` (one forward, counted)."""
    victim.cost.forwards += len(x)
    proposals = dense(victim.task, victim.task.network(x, victim.batch))
    victim.tally.logits(torch.isfinite(proposals.logits).flatten(1).all(1), rows=victim.rows)
    return proposals


def _of_anchors(head: Any, raw: dict[str, tuple[Tensor, ...]]) -> Dense:
    """See :func:`dense`; ``raw`` has the class maps ``cls`` and the box maps ``box`` of every level."""
    logits, offsets = _flat(raw["cls"], head.cls_out_channels), _flat(raw["box"], 4)
    if head.use_sigmoid_cls:
        probabilities, log_background = logits.sigmoid(), F.logsigmoid(-logits).sum(2)
        logits = F.pad(logits, (0, 1))
    else:
        # mmdet's background is the last class.
        log_probabilities = logits.log_softmax(2)
        probabilities, log_background = log_probabilities[..., :-1].exp(), log_probabilities[..., -1]
    sizes = [level.shape[-2:] for level in raw["cls"]]
    priors = torch.cat(head.prior_generator.grid_priors(sizes, dtype=offsets.dtype, device=offsets.device))
    boxes = torch.stack([head.bbox_coder.decode(priors, image) for image in offsets.detach()])
    return Dense(logits, probabilities, log_background, priors, offsets, boxes)


def _flat(levels: tuple[Tensor, ...], width: int) -> Tensor:
    """Maps ``[N, A * width, h, w]`` of all levels as ``[N, P, width]``, in the order of mmdet's priors."""
    return torch.cat([full_precision(m).permute(0, 2, 3, 1).reshape(len(m), -1, width) for m in levels], 1)
