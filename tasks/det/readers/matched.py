"""DETR and its descendants: queries that are matched to objects."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.dense_heads.detr_head import DETRHead
from mmdet.models.detectors import DetectionTransformer
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.structures import InstanceData
from torch import Tensor, nn

from natx.errors import ConfigError
from tasks.det.readers.base import Reader, Targets
from tasks.det.readers.general import GeneralReader, Raw


class MatchedReader(GeneralReader):
    """Losses by mmdet's own ``loss``; a row is an object, scored by the query that the last layer matches to it.

    Queries are no fixed places, and two networks use theirs differently. So ``rows`` is (image, object), each int64
    ``[M]``, and an adversary scores an object by the query that its own matching gives it. Images with more objects
    than queries have no rows. Row weight is 1/M.
    """

    def __init__(self, net: nn.Module, num_classes: int) -> None:
        super().__init__(net, num_classes)
        self.link = "sigmoid" if self.head.loss_cls.use_sigmoid else "softmax"

    @staticmethod
    def fits(net: nn.Module) -> bool:
        """mmdet's detection transformers with a head that matches queries."""
        head = getattr(net, "bbox_head", None)
        return (
            GeneralReader.fits(net)
            and isinstance(net, DetectionTransformer)
            and isinstance(head, DETRHead)
            and hasattr(head, "assigner")
        )

    def losses_and_rows(self, features: Raw, targets: Targets) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor, Any]]:
        """See :meth:`GeneralReader.losses_and_rows`."""
        losses, scores, boxes = self._run(features, targets)
        device = scores.device
        counts = torch.tensor([len(o) if len(o) <= scores.shape[1] else 0 for o in targets.objects], device=device)
        image = torch.arange(len(counts), device=device).repeat_interleave(counts)
        place = torch.cat([torch.arange(int(count), device=device) for count in counts])
        labels = torch.cat([o.labels[: int(count)] for o, count in zip(targets.objects, counts)]).to(device)
        rows = image, place
        return losses, (scores[image, self._queries(scores, boxes, targets, rows)], labels, rows)

    def score(self, features: Raw, targets: Targets, rows: tuple[Tensor, Tensor]) -> Tensor:
        """See :meth:`GeneralReader.score`."""
        _, scores, boxes = self._run(features, targets)
        return scores[rows[0], self._queries(scores, boxes, targets, rows)]

    def check_adversary(self, other: Reader) -> None:
        """See :meth:`Reader.check_adversary`; both must have as many queries and score classes alike."""
        Reader.check_adversary(self, other)
        assert isinstance(other, MatchedReader)  # as the base has checked
        mine, theirs = ((reader.net.num_queries, reader.link) for reader in (self, other))
        if mine != theirs:
            raise ConfigError(
                f"the adversary has {theirs[0]} queries with {theirs[1]} classes, the target {mine[0]} with {mine[1]}: "
                "both must have as many queries and the same kind of classification loss"
            )

    def _run(self, features: Raw, targets: Targets) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Losses, and the last layer's class logits ``[N, Q, K]`` and boxes ``[N, Q, 4]`` of the matched queries."""
        outputs: list[Tensor] = []
        hook = self.head.register_forward_hook(lambda head, inputs, layers: outputs.extend(layers[:2]))
        try:
            losses = self.losses(features, targets)
        finally:
            hook.remove()
        # Denoising queries, where there are any, come first.
        scores, boxes = (layers[-1][:, -self.net.num_queries :] for layers in outputs[:2])
        return losses, scores, boxes

    @torch.no_grad()
    def _queries(self, scores: Tensor, boxes: Tensor, targets: Targets, rows: tuple[Tensor, Tensor]) -> Tensor:
        """The query of each row, by the head's own matching."""
        queries = torch.zeros_like(rows[0])
        for i in rows[0].unique().tolist():
            height, width = targets.metas[i]["img_shape"]
            corners = bbox_cxcywh_to_xyxy(boxes[i].detach()) * boxes.new_tensor([width, height, width, height])
            predicted = InstanceData(scores=scores[i].detach(), bboxes=corners)
            objects = self.head.assigner.assign(
                pred_instances=predicted, gt_instances=targets.objects[i], img_meta=targets.metas[i]
            ).gt_inds
            query = torch.zeros(len(targets.objects[i]) + 1, dtype=torch.int64, device=scores.device)
            query[objects] = torch.arange(len(objects), device=scores.device)
            mask = rows[0] == i
            queries[mask] = query[rows[1][mask] + 1]
        return queries
