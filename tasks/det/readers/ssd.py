"""SSD: softmax over classes and background on fixed priors, trained on positives and the hardest negatives."""

from __future__ import annotations

import torch
from mmdet.models.dense_heads import SSDHead
from mmdet.models.losses import smooth_l1_loss
from torch import Tensor, nn
from torch.nn import functional as F

from natx.task import Output
from tasks.det.readers.anchors import AnchorReader, Raw, anchor_targets, flat, where_true
from tasks.det.readers.base import Targets


class SSDReader(AnchorReader):
    """Losses of mmdet's ``SSDHead`` (loss_cls, loss_bbox), with the priors they are taken on as rows.

    A row is a prior in the classification loss: a positive, or one of the image's hardest negatives (three for each
    positive), chosen by the target's own loss. Row weight is one over the batch's positives (an image without any
    counts as one, as in mmdet), the classification loss's normaliser. Per-image losses are normalised by the image's
    own positives (at least 1).
    """

    judged_at_once = 32

    @staticmethod
    def fits(net: nn.Module) -> bool:
        """Single-stage detectors with an SSD head."""
        return isinstance(getattr(net, "bbox_head", None), SSDHead)

    def read(self, raw: Raw, targets: Targets, *, rows: tuple[Tensor, Tensor] | None = None) -> Output:
        """See :meth:`Reader.read`."""
        head, logits = self.net.bbox_head, flat(raw["cls"], self.num_classes + 1)  # [N, P, C+1]
        count = len(logits)
        if rows is not None:
            image, prior = rows
            weight = logits.new_zeros(len(image))
            return Output({}, logits[image, prior], None, image, weight, count, rows=rows)
        assigned = anchor_targets(head, raw["cls"], targets)
        labels, counts, positives = assigned.labels, assigned.counts, assigned.counts.sum()
        cross_entropy = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none") * assigned.label_weights
        positive = (labels >= 0) & (labels < self.num_classes)
        hardest = self._negatives(labels, positive, every=targets.every)
        scored = positive | self._hardest(cross_entropy.detach(), labels, hardest)
        if "rows" not in assigned.derived:
            assigned.derived["rows"] = int(positive.sum() + hardest.sum())
        deltas = flat(raw["box"], 4)
        if head.reg_decoded_bbox:
            deltas = head.bbox_coder.decode(assigned.priors.repeat(count, 1), deltas.reshape(-1, 4)).view_as(deltas)
        distance = smooth_l1_loss(
            deltas, assigned.boxes, assigned.box_weights, beta=head.train_cfg["smoothl1_beta"], reduction="none"
        )
        per_image = {"loss_cls": (cross_entropy * scored).sum(1), "loss_bbox": distance.sum((1, 2))}
        image, prior = where_true(scored, assigned.derived["rows"])
        return Output(
            losses={name: loss.sum() / positives for name, loss in per_image.items()},
            logits=logits[image, prior],
            labels=labels[image, prior],
            image=image,
            row_weight=assigned.label_weights[image, prior] / positives,
            num_images=count,
            rows=(image, prior),
            image_losses={name: loss / counts for name, loss in per_image.items()},
        )

    def _negatives(self, labels: Tensor, positive: Tensor, *, every: bool) -> Tensor:
        """How many negatives of each image count: ``neg_pos_ratio`` for each positive, where there are as many."""
        present, ratio = (labels == self.num_classes).sum(1), self.net.bbox_head.train_cfg["neg_pos_ratio"]
        return present if every else torch.minimum(ratio * positive.sum(1), present)

    def _hardest(self, loss: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
        """Which negatives count: the ``counts`` largest losses of each image; bool ``[N, P]``."""
        negative = labels == self.num_classes
        order = loss.masked_fill(~negative, -torch.inf).argsort(dim=1, descending=True, stable=True)
        place = torch.arange(order.shape[1], device=order.device).expand_as(order)
        return torch.zeros_like(negative).scatter(1, order, place < counts[:, None])
