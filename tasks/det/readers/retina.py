"""RetinaNet: one sigmoid for each class on fixed priors, trained with the focal loss on all of them."""

from __future__ import annotations

from mmdet.models.dense_heads import RPNHead, SSDHead
from mmdet.models.dense_heads.anchor_head import AnchorHead
from mmdet.models.losses import FocalLoss
from mmdet.models.task_modules import PseudoSampler
from torch import Tensor, nn

from natx.task import Output
from tasks.det.readers.anchors import AnchorReader, Raw, anchor_losses, anchor_targets, flat
from tasks.det.readers.base import Targets

# What a head must have from AnchorHead itself for its losses to be the ones computed here.
METHODS = ("loss_by_feat", "loss_by_feat_single", "get_anchors", "get_targets", "_get_targets_single")


class RetinaReader(AnchorReader):
    """Losses of mmdet's ``RetinaHead`` (loss_cls, loss_bbox): focal loss on all priors, box loss on the positives.

    A row is a positive prior with its object's class: almost all priors are easy background, whose outputs would drown
    the rest. Rows have one Bernoulli for each class (link 'sigmoid', logits ``[M, C]``). Row weight is one over the
    batch's positives (an image without any counts as one, as in mmdet), the losses' normaliser. Per-image losses are
    normalised by the image's own positives (at least 1).
    """

    @staticmethod
    def fits(net: nn.Module) -> bool:
        """Single-stage detectors with the targets and losses of mmdet's ``AnchorHead`` and a sigmoid focal loss."""
        head = getattr(net, "bbox_head", None)
        return (
            isinstance(head, AnchorHead)
            and not isinstance(head, (SSDHead, RPNHead))
            and all(getattr(type(head), name) is getattr(AnchorHead, name) for name in METHODS)
            and isinstance(head.loss_cls, FocalLoss)
            and not head.loss_cls.activated
            and isinstance(getattr(head, "sampler", None), PseudoSampler)
        )

    def read(self, raw: Raw, targets: Targets, *, rows: tuple[Tensor, Tensor] | None = None) -> Output:
        """See :meth:`Reader.read`."""
        head, logits = self.net.bbox_head, flat(raw["cls"], self.num_classes)  # [N, P, C]
        count = len(logits)
        if rows is not None:
            image, prior = rows
            weight = logits.new_zeros(len(image))
            return Output({}, logits[image, prior], None, image, weight, count, link="sigmoid", rows=rows)
        assigned = anchor_targets(head, raw["cls"], targets)
        per_image = dict(zip(("loss_cls", "loss_bbox"), anchor_losses(head, raw["cls"], raw["box"], assigned)))
        positives = assigned.counts.sum()
        if "rows" not in assigned.derived:
            positive = (assigned.labels >= 0) & (assigned.labels < self.num_classes)
            assigned.derived["rows"] = positive.nonzero(as_tuple=True)
        image, prior = assigned.derived["rows"]
        return Output(
            losses={name: loss.sum() / positives for name, loss in per_image.items()},
            logits=logits[image, prior],
            labels=assigned.labels[image, prior],
            image=image,
            row_weight=assigned.label_weights[image, prior] / positives,
            num_images=count,
            link="sigmoid",
            rows=(image, prior),
            image_losses={name: loss / assigned.counts for name, loss in per_image.items()},
        )
