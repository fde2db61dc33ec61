"""mmdet's anchor heads: their priors, what each prior is to learn, and the losses of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from mmdet.models.task_modules import PseudoSampler, SamplingResult
from mmengine.structures import InstanceData
from torch import Tensor, nn

from natx.errors import ConfigError
from natx.models.mode import attack_mode
from natx.runtime.precision import full_precision
from tasks.det.readers.base import Reader, Targets, replaced, seeded

Raw = dict[str, tuple[Tensor, ...]]


@dataclass
class AnchorTargets:
    """What the priors of N images are to learn; readers share it, so nothing of it is changed in place.

    Attributes:
        priors: boxes of the priors in pixels of the batch's images ``[P, 4]``; the same for every image.
        labels: int64 ``[N, P]``; the head's number of classes for background and for what is not asked for.
        label_weights: 0 where the label does not count, ``[N, P]``.
        boxes: regression targets ``[N, P, 4]``.
        box_weights: 1 for positives, else 0, ``[N, P, 4]``.
        counts: number that normalises the losses of each image by itself, ``[N]``; their sum is the batch's.
        derived: what readers have worked out from all this, whatever the pixels.
    """

    priors: Tensor
    labels: Tensor
    label_weights: Tensor
    boxes: Tensor
    box_weights: Tensor
    counts: Tensor
    derived: dict[str, Any] = field(default_factory=dict, repr=False)


class EverySampler(PseudoSampler):
    """All boxes, objects and background, which together normalise the losses as those that mmdet's samplers draw do."""

    def sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        """See mmdet's :class:`PseudoSampler`, which counts objects alone."""
        result = super().sample(*args, **kwargs)
        result.avg_factor = result.num_pos + result.num_neg
        return result


def anchor_targets(head: Any, maps: Sequence[Tensor], targets: Targets, *, rpn: bool = False) -> AnchorTargets:
    """Assign objects to the priors of an mmdet ``AnchorHead``, image by image; once for the same targets and levels.

    Args:
        head: the head.
        maps: one map a level ``[N, _, h, w]``, for the levels' sizes.
        targets: the images' objects.
        rpn: the head proposes regions: all objects are of one class, and each image's first seed draws its samples.
    """
    sizes = tuple((level.shape[-2], level.shape[-1]) for level in maps)
    key = (head, sizes, maps[0].device, rpn)
    if key not in targets.assigned:
        targets.assigned[key] = _assign(head, sizes, targets, device=maps[0].device, rpn=rpn)
    return targets.assigned[key]


@torch.no_grad()
def _assign(
    head: Any, sizes: Sequence[tuple[int, int]], targets: Targets, *, device: torch.device, rpn: bool
) -> AnchorTargets:
    priors, valid = head.get_anchors(sizes, targets.metas, device=device)
    objects = targets.objects
    if rpn:
        objects = [InstanceData(bboxes=o.bboxes, labels=torch.zeros_like(o.labels)) for o in objects]
    parts: list[list[Tensor]] = []
    counts = []
    sampling = {"sampler": EverySampler()} if targets.every and rpn else {}
    for i, meta in enumerate(targets.metas):
        with replaced(head, **sampling), seeded(targets.seeds[i][0] if rpn else None):
            *levels, count = head.get_targets(
                [priors[i]],
                [valid[i]],
                [objects[i]],
                [meta],
                batch_gt_instances_ignore=[targets.ignored[i]],
                unmap_outputs=True,
            )
        parts.append([torch.cat(values, 1) for values in levels])
        counts.append(count)
    labels, label_weights, boxes, box_weights = (torch.cat(values) for values in zip(*parts))
    return AnchorTargets(
        torch.cat(priors[0]), labels, label_weights, boxes, box_weights, counts=label_weights.new_tensor(counts)
    )


def anchor_losses(
    head: Any, cls: Sequence[Tensor], box: Sequence[Tensor], targets: AnchorTargets
) -> tuple[Tensor, Tensor]:
    """Classification and box loss of each image as ``AnchorHead`` computes them, not normalised: two tensors ``[N]``.

    Args:
        head: the head, whose ``loss_cls`` and ``loss_bbox`` are called.
        cls: class maps of every level ``[N, A * K, h, w]``.
        box: box maps of every level ``[N, A * 4, h, w]``.
        targets: see :func:`anchor_targets`.
    """
    n = len(cls[0])
    logits, deltas = flat(cls, head.cls_out_channels), flat(box, 4)
    classes = head.loss_cls(
        logits.reshape(-1, head.cls_out_channels),
        targets.labels.reshape(-1),
        targets.label_weights.reshape(-1),
        reduction_override="none",
    )
    if head.reg_decoded_bbox:
        deltas = head.bbox_coder.decode(targets.priors.repeat(n, 1), deltas.reshape(-1, 4))
    distance = head.loss_bbox(
        deltas.reshape(-1, 4),
        targets.boxes.reshape(-1, 4),
        targets.box_weights.reshape(-1, 4),
        reduction_override="none",
    )
    # Where the batch has no positive, mmdet's IoU losses are one zero.
    distance = distance.expand(n) if distance.dim() == 0 else distance
    return classes.reshape(n, -1).sum(1), distance.reshape(n, -1).sum(1)


def flat(levels: Sequence[Tensor], width: int) -> Tensor:
    """Maps ``[N, A * width, h, w]`` of all levels as ``[N, P, width]`` in fp32, in the order of mmdet's priors."""
    return torch.cat([full_precision(m).permute(0, 2, 3, 1).reshape(len(m), -1, width) for m in levels], 1)


def where_true(mask: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """``mask.nonzero(as_tuple=True)`` of a mask ``[N, P]`` with ``total`` true entries, without asking the device."""
    entries = mask.flatten()
    slots = torch.where(entries, entries.cumsum(0) - 1, total)  # what is false falls into one slot behind the others
    places = torch.arange(len(entries), device=mask.device)
    places = places.new_empty(total + 1).scatter_(0, slots, places)[:total]
    return places // mask.shape[1], places % mask.shape[1]


class Priors(Reader):
    """Base of the readers whose rows are fixed priors: an adversary must have the same ones."""

    def __init__(self, net: nn.Module, num_classes: int) -> None:
        super().__init__(net, num_classes)
        self._sizes: dict[int, list[tuple[int, int]]] = {}

    def class_maps(self, raw: Any) -> Sequence[Tensor]:
        """The class maps in a raw output, one a level ``[N, A * K, h, w]``."""
        raise NotImplementedError

    def check_adversary(self, other: Reader) -> None:
        """See :meth:`Reader.check_adversary`; the priors must be the same boxes on levels of the same sizes."""
        Reader.check_adversary(self, other)
        assert isinstance(other, Priors)  # as the base has checked
        side = self.probe_side()
        priors, others = self.priors(side), other.priors(side)
        equal = [a.shape == b.shape and torch.allclose(a, b) for a, b in zip(priors, others)]
        if len(priors) != len(others) or not all(equal):
            raise ConfigError(
                f"the adversary's priors are not the target's ({[*map(len, others)]} and {[*map(len, priors)]} "
                f"by level at {side} x {side} pixels): both must have the same anchor_generator and feature levels"
            )

    def priors(self, side: int) -> list[Tensor]:
        """Every level's priors on images of ``side`` x ``side`` pixels, boxes or points ``[P, 2 or 4]``, on the CPU."""
        return self.net.bbox_head.prior_generator.grid_priors(self._level_sizes(side), device="cpu")

    def probe_side(self) -> int:
        """A side that the detector can take: SSD's own, else twice its largest stride."""
        generator = self.net.bbox_head.prior_generator
        side = getattr(generator, "input_size", None)
        return side if isinstance(side, int) else 2 * max(max(stride) for stride in generator.strides)

    def _level_sizes(self, side: int) -> list[tuple[int, int]]:
        """Heights and widths of the feature levels; they are the network's doing, so one forward finds them out."""
        if side not in self._sizes:
            parameter = next(self.net.parameters())
            with attack_mode(self.net), torch.no_grad():
                levels = self.class_maps(self.raw(parameter.new_zeros(1, 3, side, side)))
            self._sizes[side] = [(level.shape[-2], level.shape[-1]) for level in levels]
        return self._sizes[side]


class AnchorReader(Priors):
    """Base of the readers of single-stage detectors with anchors, whose losses are computed here.

    ``rows`` is (image, prior), each int64 ``[M]``: an adversary with the same priors scores the same ones.
    """

    dense_by = "anchors"

    def raw(self, x: Tensor) -> Raw:
        """Class maps ``cls`` and box maps ``box`` of every level, ``[N, A * K, h, w]`` and ``[N, A * 4, h, w]``."""
        scores, boxes = self.net.bbox_head(self.net.extract_feat(x))
        return {"cls": tuple(scores), "box": tuple(boxes)}

    def predict(self, raw: Raw, targets: Targets) -> list[InstanceData]:
        """See :meth:`Reader.predict`."""
        scores, boxes = (tuple(full_precision(level) for level in raw[key]) for key in ("cls", "box"))
        return self.net.bbox_head.predict_by_feat(scores, boxes, batch_img_metas=targets.metas, rescale=True)

    def class_maps(self, raw: Raw) -> Sequence[Tensor]:
        """See :meth:`Priors.class_maps`."""
        return raw["cls"]
