"""SSD: softmax over classes and background on fixed priors, trained on positives and the hardest negatives."""

from __future__ import annotations

import torch
from mmdet.models.dense_heads import SSDHead
from mmdet.models.losses import smooth_l1_loss
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional as F

from natx.precision import full_precision
from natx.task import Output
from tasks.det.readers.base import Reader, Targets

Raw = dict[str, tuple[Tensor, ...]]


class SSDReader(Reader):
    """Losses of mmdet's ``SSDHead`` (loss_cls, loss_bbox), with the priors they are taken on as rows.

    A row is a prior in the classification loss: a positive, or one of the image's hardest negatives (three for each
    positive), chosen by the target's own loss. Row weight is one over the batch's positives, the classification loss's
    normaliser. ``rows`` is (image, prior), each int64 ``[M]``; an adversary with the same priors scores the same ones.
    Per-image losses are normalised by the image's own positives (at least 1).
    """

    @staticmethod
    def fits(net: nn.Module) -> bool:
        """Single-stage detectors with an SSD head."""
        return isinstance(getattr(net, "bbox_head", None), SSDHead)

    def raw(self, x: Tensor) -> Raw:
        """Class maps ``cls`` and box maps ``box`` of every level, ``[N, A * (C+1), h, w]`` and ``[N, A * 4, h, w]``."""
        scores, boxes = self.net.bbox_head(self.net.extract_feat(x))
        return {"cls": tuple(scores), "box": tuple(boxes)}

    def read(self, raw: Raw, targets: Targets, *, rows: tuple[Tensor, Tensor] | None = None) -> Output:
        """See :meth:`Reader.read`."""
        logits = _flat(raw["cls"], self.num_classes + 1)  # [N, P, C+1]
        count = len(logits)
        if rows is not None:
            image, prior = rows
            weight = logits.new_zeros(len(image))
            return Output({}, logits[image, prior], None, image, weight, count, rows=rows)
        labels, label_weights, box_targets, box_weights, positives = self._targets(raw, targets)
        cross_entropy = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none") * label_weights
        positive = (labels >= 0) & (labels < self.num_classes)
        chosen = positive | self._hardest(cross_entropy.detach(), labels, positive)
        deltas = _flat(raw["box"], 4)
        beta = self.net.bbox_head.train_cfg["smoothl1_beta"]
        distance = smooth_l1_loss(deltas, box_targets, box_weights, beta=beta, reduction="none").sum((1, 2))
        per_image = {"loss_cls": (cross_entropy * chosen).sum(1), "loss_bbox": distance}
        own = positive.sum(1).clamp_min(1)
        image, prior = chosen.nonzero(as_tuple=True)
        return Output(
            losses={name: loss.sum() / positives for name, loss in per_image.items()},
            logits=logits[image, prior],
            labels=labels[image, prior],
            image=image,
            row_weight=logits.new_full((len(image),), 1 / positives),
            num_images=count,
            rows=(image, prior),
            image_losses={name: loss / own for name, loss in per_image.items()},
        )

    def predict(self, raw: Raw, targets: Targets) -> list[InstanceData]:
        """See :meth:`Reader.predict`."""
        scores, boxes = (tuple(full_precision(level) for level in raw[key]) for key in ("cls", "box"))
        return self.net.bbox_head.predict_by_feat(scores, boxes, batch_img_metas=targets.metas, rescale=True)

    def _targets(self, raw: Raw, targets: Targets) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
        """Labels ``[N, P]``, their weights, box targets ``[N, P, 4]``, their weights, and the batch's positives."""
        head, sizes = self.net.bbox_head, [level.shape[-2:] for level in raw["cls"]]
        priors, valid = head.get_anchors(sizes, targets.metas, device=raw["cls"][0].device)
        labels, label_weights, boxes, box_weights, positives = head.get_targets(
            priors,
            valid,
            targets.objects,
            targets.metas,
            batch_gt_instances_ignore=targets.ignored,
            unmap_outputs=True,
        )
        joined = (torch.cat(levels, 1) for levels in (labels, label_weights, boxes, box_weights))
        return (*joined, positives)

    def _hardest(self, loss: Tensor, labels: Tensor, positive: Tensor) -> Tensor:
        """Which negatives count: an image's largest losses, ``neg_pos_ratio`` for each positive; bool ``[N, P]``."""
        ratio = self.net.bbox_head.train_cfg["neg_pos_ratio"]
        negative = labels == self.num_classes
        wanted = torch.minimum(ratio * positive.sum(1), negative.sum(1))
        order = loss.masked_fill(~negative, -torch.inf).argsort(dim=1, descending=True, stable=True)
        place = torch.arange(order.shape[1], device=order.device).expand_as(order)
        return torch.zeros_like(negative).scatter(1, order, place < wanted[:, None])


def _flat(levels: tuple[Tensor, ...], width: int) -> Tensor:
    """Maps ``[N, A * width, h, w]`` of all levels as ``[N, P, width]`` in fp32, in the order of mmdet's priors."""
    return torch.cat([full_precision(m).permute(0, 2, 3, 1).reshape(len(m), -1, width) for m in levels], 1)
