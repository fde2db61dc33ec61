"""Dense proposals of a detector: what it says of every prior or proposal, which is what DAG and RAP attack."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from natx.attacks import Victim
from natx.batch import Batch
from natx.errors import UnsupportedError
from natx.runtime.precision import full_precision
from natx.task import Task

Stage = Literal["first", "last"]
PROPOSALS = "proposals"  # entry of a batch: boxes of the proposals of each clean image [N, P, 4], empty ones last
OVERLAP, MOST = 0.9, 3000  # of DAG's proposals: IoU from which they are suppressed, and how many there are at most


@dataclass
class Dense:
    """A detector's scores and boxes of P proposals in N images.

    Attributes:
        logits: class logits ``[N, P, C + 1]``, the last one background's. Heads with one sigmoid for each class have
            none for background; it is 0 then, so background has the largest logit where no class reaches 0.5.
        probabilities: of the classes ``[N, P, C]``.
        log_background: log-probability of background ``[N, P]``; with sigmoids that of no class at all.
        priors: fixed boxes of the proposals ``[P, 4]`` or ``[N, P, 4]``, corners in pixels of the batch's images.
        offsets: the head's box outputs ``[N, P, 4]``, as it codes them; zero where the second stage is asked.
        boxes: the boxes that they give ``[N, P, 4]``, in pixels of the batch's images; without gradient.
    """

    logits: Tensor
    probabilities: Tensor
    log_background: Tensor
    priors: Tensor
    offsets: Tensor
    boxes: Tensor


def can_look(task: Task) -> bool:
    """Whether a task is a detector with dense proposals, see :func:`dense`."""
    reader = getattr(task, "reader", None)
    return hasattr(reader, "dense") or getattr(reader, "dense_by", None) is not None


def check_dense(task: Task) -> None:
    """Raise UnsupportedError where a task is no detector with dense proposals, see :func:`dense`."""
    if not can_look(task):
        raise UnsupportedError(
            "DAG and RAP attack the priors of SSD and RetinaNet and the proposals of Faster R-CNN, not "
            f"{type(getattr(task, 'net', task)).__name__}: attack this one with PGD on its losses"
        )


def dense(task: Any, raw: Any, *, stage: Stage = "last", proposals: Tensor | None = None) -> Dense:
    """The dense proposals in a raw output of ``task.network``.

    A reader with a method ``dense(raw) -> Dense`` is asked. Otherwise the detector has one of mmdet's anchor heads
    (SSD, RetinaNet), whose proposals are its priors, or two stages: the first one's proposals are the anchors of its
    region proposal network, objects against background; the last one's are given boxes.

    Args:
        task: the detector.
        raw: its raw output for N images.
        stage: which of two stages is asked.
        proposals: boxes for the second stage ``[N, P, 4]`` in pixels of the batch's images; those of no area are not
            looked at, and their logits are 0.

    Raises:
        UnsupportedError: a detector of another kind.
    """
    check_dense(task)
    if hasattr(task.reader, "dense"):
        return task.reader.dense(raw)
    if task.reader.dense_by == "anchors":
        return _of_anchors(task.net.bbox_head, raw)
    if stage == "first":
        cls, box = task.reader.first_stage(raw)
        return _of_anchors(task.net.rpn_head, {"cls": tuple(cls), "box": tuple(box)})
    assert proposals is not None
    return _of_proposals(task.reader, raw, proposals)


def proposed(victim: Victim) -> Victim:
    """The victim with its clean proposals in its batch, which DAG attacks from the first step to the last.

    Of a two-stage detector these are the boxes that its first stage proposes for the clean images (one forward,
    counted), suppressed at an IoU of 0.9 and at most 3000, so that they are dense (Xie et al. 2017 raise the threshold
    of 0.7 to that, for some 3000 boxes instead of 300); other victims stay as they are.
    """
    task: Any = victim.task
    if getattr(task.reader, "dense_by", None) != "proposals":
        return victim
    victim.cost.forwards += len(victim)
    settings = copy.deepcopy(task.net.test_cfg.rpn)
    settings.nms.iou_threshold, settings.max_per_img = OVERLAP, MOST
    with torch.no_grad():
        maps = task.reader.first_stage(task.network(victim.x, victim.batch))
        found = task.net.rpn_head.predict_by_feat(*maps, batch_img_metas=task.targets(victim.batch).metas, cfg=settings)
    boxes = [image.bboxes for image in found]
    padded = torch.nn.utils.rnn.pad_sequence(boxes, batch_first=True)
    return victim.alike({PROPOSALS: padded})


def look(victim: Victim, x: Tensor, *, stage: Stage = "last") -> Dense:
    """The victim's dense proposals at pixels ``x`` (one forward, counted)."""
    victim.cost.forwards += len(x)
    raw = victim.task.network(x, victim.batch)
    proposals = dense(victim.task, raw, stage=stage, proposals=victim.batch.get(PROPOSALS))
    victim.tally.logits(torch.isfinite(proposals.logits).flatten(1).all(1), rows=victim.rows)
    return proposals


@torch.no_grad()
def logits_at(task: Any, batch: Batch, *, x: Tensor, boxes: Sequence[Tensor]) -> list[Tensor]:
    """Class logits ``[n, C]`` of each image's boxes, in pixels of the original images (one forward).

    Of a two-stage detector what its second stage says of the boxes, of others what the prior says whose box is nearest.
    """
    raw = task.network(x, batch)
    resized = [at * at.new_tensor(a.scale * 2) for at, a in zip(boxes, batch["data_samples"])]
    if getattr(task.reader, "dense_by", None) == "proposals":
        padded = torch.nn.utils.rnn.pad_sequence(resized, batch_first=True)
        return [logits[: len(at), :-1] for logits, at in zip(dense(task, raw, proposals=padded).logits, resized)]
    proposals = dense(task, raw)
    nearest = [box_iou(at.to(own.dtype), own).argmax(1) for at, own in zip(resized, proposals.boxes)]
    return [logits[rows, :-1] for logits, rows in zip(proposals.logits, nearest)]


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


def _of_proposals(reader: Any, raw: Any, boxes: Tensor) -> Dense:
    """What the second stage says of boxes ``[N, P, 4]``."""
    present = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
    rows = present.nonzero(as_tuple=True)
    boxes = boxes.to(raw[0].dtype)
    scores, _ = reader.second_stage(raw, rows[0], boxes[rows])
    logits = scores.new_zeros(*present.shape, scores.shape[1]).index_put(rows, scores)
    log_probabilities = logits.log_softmax(2)
    priors = boxes.to(logits.dtype)
    probabilities, log_background = log_probabilities[..., :-1].exp(), log_probabilities[..., -1]
    return Dense(logits, probabilities, log_background, priors, torch.zeros_like(priors), priors)


def _flat(levels: tuple[Tensor, ...], width: int) -> Tensor:
    """Maps ``[N, A * width, h, w]`` of all levels as ``[N, P, width]``, in the order of mmdet's priors."""
    return torch.cat([full_precision(m).permute(0, 2, 3, 1).reshape(len(m), -1, width) for m in levels], 1)
