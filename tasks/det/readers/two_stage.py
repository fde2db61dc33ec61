"""Faster R-CNN: a region proposal network, and a softmax over classes and background on its proposals."""

from __future__ import annotations

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.losses import CrossEntropyLoss
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.task_modules import PseudoSampler, RandomSampler, SamplingResult
from mmengine.structures import InstanceData
from torch import Tensor, nn

from natx.runtime.precision import full_precision
from natx.task import Output
from tasks.det.readers.anchors import EverySampler, anchor_losses, anchor_targets
from tasks.det.readers.base import Reader, Targets, freeze_masks, seeded

Raw = tuple[Tensor, ...]
Rows = tuple[Tensor, Tensor]


class TwoStageReader(Reader):
    """Losses of mmdet's Faster R-CNN (loss_rpn_cls, loss_rpn_bbox, loss_cls, loss_bbox), with proposals as rows.

    A row is a proposal that the target sampled for its second stage; ``rows`` is (image, box): int64 ``[M]`` and
    ``[M, 4]`` in pixels of the batch's images. An adversary pools its own features in the same boxes, so it needs no
    proposals of its own, nor the same priors. Row weight is the classification loss's normaliser. Per-image losses are
    normalised by the image's own samples (at least 1).

    Both stages sample at random. The draws depend on the image's index (and on the epoch where the batch says it)
    alone, so an attack's objective is the same function at every step and in any batch of the same padded size; the
    global generator is left as it was. The proposals themselves move with the pixels. Of a Mask R-CNN the boxes alone
    are trained and predicted; its mask head keeps its weights.
    """

    dense_by = "proposals"

    def __init__(self, net: nn.Module, num_classes: int) -> None:
        super().__init__(net, num_classes)
        freeze_masks(net)

    @staticmethod
    def fits(net: nn.Module) -> bool:
        """Two-stage detectors with mmdet's ``RPNHead`` and ``StandardRoIHead`` and softmax classes."""
        rpn, roi = getattr(net, "rpn_head", None), getattr(net, "roi_head", None)
        if not (isinstance(net, TwoStageDetector) and isinstance(rpn, RPNHead) and isinstance(roi, StandardRoIHead)):
            return False
        samplers = (getattr(rpn, "sampler", None), roi.bbox_sampler)
        return (
            type(net).loss is TwoStageDetector.loss
            and type(rpn).loss_by_feat is RPNHead.loss_by_feat
            and (type(roi).loss, type(roi).bbox_loss) == (StandardRoIHead.loss, StandardRoIHead.bbox_loss)
            and type(roi.bbox_head).loss is BBoxHead.loss
            and isinstance(roi.bbox_head.loss_cls, CrossEntropyLoss)
            and not roi.bbox_head.loss_cls.use_sigmoid
            and all(type(sampler) in (RandomSampler, PseudoSampler) for sampler in samplers)
        )

    def raw(self, x: Tensor) -> Raw:
        """The feature levels, each ``[N, D, h, w]``; both stages' heads run when they are read."""
        return tuple(self.net.extract_feat(x))

    def read(self, raw: Raw, targets: Targets, *, rows: Rows | None = None) -> Output:
        """See :meth:`Reader.read`."""
        count = len(raw[0])
        if rows is not None:
            logits, _ = self.second_stage(raw, *rows)
            return Output({}, logits, None, rows[0], logits.new_zeros(len(logits)), count, rows=rows)
        maps = self.first_stage(raw)
        sums, normalisers = self._rpn_losses(maps, targets)
        samples = self._sample(maps, targets)
        boxes = torch.cat([s.priors for s in samples])
        sizes = torch.tensor([len(s.priors) for s in samples], device=boxes.device)
        image = torch.arange(count, device=boxes.device).repeat_interleave(sizes, output_size=len(boxes))
        logits, deltas = self.second_stage(raw, image, boxes)
        head = self.net.roi_head.bbox_head
        labels, weights, box_targets, box_weights = head.get_targets(samples, self.net.roi_head.train_cfg)
        cross_entropy = head.loss_cls(logits, labels, weights, reduction_override="none")
        distance = self._box_loss(boxes, deltas, labels, box_targets, box_weights)
        zero = logits.new_zeros(count)
        sums |= {"loss_cls": zero.index_add(0, image, cross_entropy), "loss_bbox": zero.index_add(0, image, distance)}
        # Classification counts the rows that have a weight, the boxes' loss all rows: mmdet's normalisers.
        normalisers |= {"loss_cls": zero.index_add(0, image, (weights > 0).to(zero)), "loss_bbox": sizes.to(zero)}
        return Output(
            losses={name: value.sum() / normalisers[name].sum().clamp_min(1) for name, value in sums.items()},
            logits=logits,
            labels=labels,
            image=image,
            row_weight=weights / normalisers["loss_cls"].sum().clamp_min(1),
            num_images=count,
            rows=(image, boxes),
            image_losses={name: value / normalisers[name].clamp_min(1) for name, value in sums.items()},
        )

    def predict(self, raw: Raw, targets: Targets) -> list[InstanceData]:
        """See :meth:`Reader.predict`."""
        proposals = self.net.rpn_head.predict_by_feat(*self.first_stage(raw), batch_img_metas=targets.metas)
        roi = self.net.roi_head
        return roi.predict_bbox(raw, targets.metas, proposals, rcnn_test_cfg=roi.test_cfg, rescale=True)

    def first_stage(self, raw: Raw) -> list[list[Tensor]]:
        """Objectness maps and box maps of every level, in fp32."""
        return [[full_precision(level) for level in levels] for levels in self.net.rpn_head(raw)]

    def second_stage(self, raw: Raw, image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[M, C+1]`` and box outputs ``[M, 4]`` or ``[M, 4 * C]`` of boxes, in fp32."""
        outputs = self.net.roi_head._bbox_forward(raw, torch.cat([image[:, None].to(boxes), boxes], 1))
        return full_precision(outputs["cls_score"]), full_precision(outputs["bbox_pred"])

    def _rpn_losses(self, maps: list[list[Tensor]], targets: Targets) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The proposal network's losses of each image, and what normalises them, both by name ``[N]``."""
        cls, box = maps
        assigned = anchor_targets(self.net.rpn_head, cls, targets, rpn=True)
        sums = dict(zip(("loss_rpn_cls", "loss_rpn_bbox"), anchor_losses(self.net.rpn_head, cls, box, assigned)))
        return sums, dict.fromkeys(sums, assigned.counts)

    @torch.no_grad()
    def _sample(self, maps: list[list[Tensor]], targets: Targets) -> list[SamplingResult]:
        """Proposals of each image, assigned to its objects and sampled."""
        net = self.net
        settings = net.train_cfg.get("rpn_proposal", net.test_cfg.rpn)
        proposals = net.rpn_head.predict_by_feat(*maps, batch_img_metas=targets.metas, cfg=settings)
        sampler = EverySampler() if targets.every else net.roi_head.bbox_sampler
        samples = []
        for proposed, objects, ignored, (_, seed) in zip(proposals, targets.objects, targets.ignored, targets.seeds):
            priors = InstanceData(priors=proposed.bboxes)
            assigned = net.roi_head.bbox_assigner.assign(priors, objects, ignored)
            with seeded(seed):
                samples.append(sampler.sample(assigned, priors, objects))
        return samples

    def _box_loss(self, boxes: Tensor, deltas: Tensor, labels: Tensor, goals: Tensor, weights: Tensor) -> Tensor:
        """Box loss of every row ``[M]``, zero for background."""
        head = self.net.roi_head.bbox_head
        positive = ((labels >= 0) & (labels < self.num_classes)).nonzero().squeeze(1)
        if head.reg_decoded_bbox:
            deltas = head.bbox_coder.decode(boxes, deltas)
        deltas = deltas.view(len(deltas), deltas.shape[1] // 4, 4)
        deltas = deltas[positive, labels[positive] * (not head.reg_class_agnostic)]
        if len(positive) == 0:  # mmdet's losses are scalars then
            return deltas.new_zeros(len(labels)) + deltas.sum()
        loss = head.loss_bbox(deltas, goals[positive], weights[positive], reduction_override="none")
        return loss.new_zeros(len(labels)).index_add(0, positive, loss.reshape(len(positive), -1).sum(1))
