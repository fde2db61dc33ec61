"""Any mmdet detector: losses and detections by its own ``loss`` and ``predict``, on features computed beforehand."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.dense_heads.detr_head import DETRHead
from mmdet.models.detectors import BaseDetector, DetectionTransformer, SingleStageDetector, TwoStageDetector
from mmdet.models.layers.transformer import DetrTransformerDecoder
from mmdet.models.roi_heads.base_roi_head import BaseRoIHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.dynamic_roi_head import DynamicRoIHead
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from natx.data.base import brief
from natx.errors import ConfigError, DataError
from natx.runtime.precision import full_precision
from natx.task import Output
from tasks.det.readers.base import Reader, Targets, freeze_masks, mask_heads, replaced, seeded

Raw = tuple[Tensor, ...]
# Detectors whose loss and prediction are these methods see the images through their features alone.
BASES = (SingleStageDetector, TwoStageDetector, DetectionTransformer)
LOSSES = "mmdet.models.losses"
# Modules whose forward computes something else in training than in evaluation, normalisation and dropout aside.
FLOW = (BaseDetector, BaseDenseHead, DETRHead, BaseRoIHead, BBoxHead, DetrTransformerDecoder)


class ImageLosses(Mapping[str, Tensor]):
    """Losses of each image by itself ``[N]``, computed when somebody asks for one: training never does.

    Losses of several stages or decoder layers that mmdet tells apart by a prefix (``s0.loss_cls``, ``d3.loss_cls``)
    are added up under the name without it.

    Args:
        images: gives the named losses of each image, as mmdet computes them for a batch of one.
    """

    def __init__(self, images: Any) -> None:
        self._images = images

    @cached_property
    def _losses(self) -> dict[str, Tensor]:
        totals: list[dict[str, Tensor]] = []
        for losses in self._images():
            total: dict[str, Tensor] = {}
            for name, loss in losses.items():
                name = name.rsplit(".", 1)[-1]
                total[name] = total[name] + loss if name in total else loss
            totals.append(total)
        return {name: torch.stack([total[name] for total in totals]) for name in totals[0]}

    def __getitem__(self, name: str) -> Tensor:
        return self._losses[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._losses)

    def __len__(self) -> int:
        return len(self._losses)


class GeneralReader(Reader):
    """Losses of any mmdet detector by its own ``loss``, detections by its own ``predict``; no class rows.

    Training losses have mmdet's names and normalisation. Per-image losses are those of a batch of one image, on the
    whole batch's canvas (:class:`ImageLosses`). What a detector draws at random (samples, denoising queries) is drawn
    from the image's index (for the batch: its first image's) and the epoch. Everything is computed in fp32.

    mmdet's heads and detectors take other paths in training than in evaluation (FCOS scales its boxes, DINO adds
    queries): losses are those of training, detections those of evaluation, whatever mode the network is in, while
    normalisation and dropout keep theirs. Per-image losses take the running statistics of the heads' batch norms, since
    one image has none of its own. Masks are neither trained nor predicted: mask heads keep their weights as they are.
    What some losses remember from call to call (Dynamic R-CNN's thresholds, GHM's running counts) they remember of
    training losses alone: an attack climbs the loss as the last update left it (:func:`remembering`).

    Nasty terms and attacks on class scores need rows, which subclasses give.
    """

    def __init__(self, net: nn.Module, num_classes: int) -> None:
        super().__init__(net, num_classes)
        freeze_masks(net)

    @staticmethod
    def fits(net: nn.Module) -> bool:
        """Detectors that take losses and predictions from one of mmdet's three base classes."""
        return any(type(net).loss is base.loss and type(net).predict is base.predict for base in BASES)  # type: ignore[attr-defined]

    def raw(self, x: Tensor) -> Raw:
        """The feature levels, each ``[N, D, h, w]``; the heads run when they are read.

        Raises:
            DataError: a detector that begins at its best places of an image, and images with fewer places.
        """
        features = tuple(self.net.extract_feat(x))
        places = sum(level.shape[-2] * level.shape[-1] for level in features)
        if getattr(self.net, "as_two_stage", False) and places < self.net.num_queries:
            raise DataError(
                f"images of {x.shape[-2]} x {x.shape[-1]} have {places} places for the {self.net.num_queries} queries "
                f"of {type(self.net).__name__}: take larger images, or set the model's num_queries to {places} at most"
            )
        return features

    def read(self, raw: Raw, targets: Targets, *, rows: Any = None) -> Output:
        """See :meth:`Reader.read`."""
        features, count = tuple(full_precision(level) for level in raw), len(raw[0])
        with torch.autocast(raw[0].device.type, enabled=False):
            if rows is not None:
                logits = self.score(features, targets, rows)
                return Output({}, logits, None, rows[0], logits.new_zeros(len(logits)), count, self.link, rows=rows)
            losses, (logits, labels, rows) = self.losses_and_rows(features, targets)
        image = labels.new_zeros(0) if rows is None else rows[0]
        return Output(
            losses=losses,
            logits=logits,
            labels=labels,
            image=image,
            row_weight=logits.new_full((len(logits),), 1 / max(len(logits), 1)),
            num_images=count,
            link=self.link,
            rows=rows,
            image_losses=ImageLosses(lambda: self._of_images(features, targets)),
        )

    def predict(self, raw: Raw, targets: Targets) -> list[InstanceData]:
        """See :meth:`Reader.predict`."""
        features = tuple(full_precision(level) for level in raw)
        with torch.autocast(raw[0].device.type, enabled=False), acting(self.net, features, training=False):
            return [sample.pred_instances for sample in self.net.predict(None, samples(targets), rescale=True)]

    def memory(self) -> dict[str, Any]:
        """See :meth:`Reader.memory`: Dynamic R-CNN's lists, and the thresholds that it has moved by them."""
        heads = {name: head for name, head in self.net.named_modules() if isinstance(head, DynamicRoIHead)}
        return {name: [getattr(owner, key) for owner, key in _moving(head)] for name, head in heads.items()}

    def recall(self, memory: dict[str, Any]) -> None:
        """See :meth:`Reader.recall`."""
        for name, values in memory.items():
            for (owner, key), value in zip(_moving(self.net.get_submodule(name)), values, strict=True):
                setattr(owner, key, value)

    def check_adversary(self, other: Reader) -> None:
        """See :meth:`Reader.check_adversary`; a detector without class rows takes none."""
        raise ConfigError(
            f"{type(self.net).__name__} with {type(self.head).__name__} gives no class logits a prior or query, which "
            "NAT compares: train it with MTD alone, or choose SSD, Faster R-CNN, a dense head or a DETR"
        )

    # -------------------------------------------------------------------------------------- for subclasses

    link: Any = "softmax"

    @property
    def head(self) -> Any:
        """The head that classifies."""
        return getattr(self.net, "roi_head", None) or self.net.bbox_head

    def losses_and_rows(self, features: Raw, targets: Targets) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor, Any]]:
        """Training losses, and the rows: logits ``[M, C]``, labels ``[M]`` and which they are (None for no rows)."""
        none = features[0].new_zeros(0, self.num_classes), torch.zeros(0, dtype=torch.int64, device=features[0].device)
        return self.losses(features, targets), (*none, None)

    def score(self, features: Raw, targets: Targets, rows: Any) -> Tensor:
        """Logits ``[M, C]`` of given rows."""
        raise NotImplementedError

    def losses(self, features: Raw, targets: Targets) -> dict[str, Tensor]:
        """mmdet's losses by name, levels added up; other scalars left out."""
        seed, learning = targets.seeds[0][0], self.net.training
        with acting(self.net, features, training=True), seeded(seed, device=features[0].device):
            with remembering(self.net, learning=learning):
                named = self.net.loss(None, samples(targets))
        parts = {name: [value] if isinstance(value, Tensor) else value for name, value in named.items()}
        sums = {name: torch.stack([p.mean() for p in ps]).sum() for name, ps in parts.items() if "loss" in name}
        if not all(loss.requires_grad for loss in sums.values()):  # mmdet writes a plain 0 where nothing is positive
            nothing = torch.stack([level.sum() for level in features]).sum() * 0
            sums = {name: loss if loss.requires_grad else loss + nothing for name, loss in sums.items()}
        return sums

    def _of_images(self, features: Raw, targets: Targets) -> Iterator[dict[str, Tensor]]:
        norms = [m for m in self.net.modules() if isinstance(m, _BatchNorm) and m.training]
        for norm in norms:
            norm.training = False
        try:
            with torch.autocast(features[0].device.type, enabled=False):
                for i in range(len(features[0])):
                    yield self.losses(tuple(level[i : i + 1] for level in features), targets.of_image(i))
        finally:
            for norm in norms:
                norm.training = True


def _moving(head: DynamicRoIHead) -> list[tuple[Any, str]]:
    """What Dynamic R-CNN changes as it trains, as (owner, attribute)."""
    thresholds = [(head.bbox_assigner, key) for key in ("pos_iou_thr", "neg_iou_thr", "min_pos_iou")]
    return [(head, "iou_history"), (head, "beta_history"), *thresholds, (head.bbox_head.loss_bbox, "beta")]


@contextmanager
def remembering(net: Any, *, learning: bool) -> Iterator[None]:
    """Let the losses remember nothing of what they see inside, unless it is a network that is ``learning``.

    What they remember: the buffers of mmdet's losses (GHM, Seesaw), and the lists of Dynamic R-CNN, by which it moves
    its thresholds. Both hang on how many losses are computed, and of how many images.
    """
    if learning:
        yield
        return
    losses = [module for module in net.modules() if type(module).__module__.startswith(LOSSES)]
    buffers = [(buffer, buffer.clone()) for module in losses for buffer in module.buffers(recurse=False)]
    with ExitStack() as stack:
        for head in (module for module in net.modules() if isinstance(module, DynamicRoIHead)):
            histories = dict(iou_history=[*head.iou_history], beta_history=[*head.beta_history])
            stack.enter_context(replaced(head, **histories, update_hyperparameters=lambda: (None, None)))
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)


def samples(targets: Targets) -> list[DetDataSample]:
    """Targets as mmdet's detectors take them."""
    result = []
    for objects, ignored, meta in zip(targets.objects, targets.ignored, targets.metas):
        height, width = meta["img_shape"]
        # Where the image lies on its canvas: CenterNet and CornerNet ask.
        sample = DetDataSample(metainfo={**meta, "border": (0, height, 0, width)})
        sample.gt_instances, sample.ignored_instances = objects.clone(), ignored.clone()
        result.append(sample)
    return result


@contextmanager
def acting(net: Any, features: Sequence[Tensor], *, training: bool) -> Iterator[None]:
    """Let a detector find ``features`` where it extracts them, take the paths of training or not, and see no masks.

    Where several processes train, mmdet would average its normalisers over them, and wait for those that compute fewer
    losses; inside, each process takes its own, as with the other readers.

    Raises:
        ConfigError: the detector looks for something that is not there, such as masks.
    """
    flow = [(module, module.training) for module in net.modules() if isinstance(module, FLOW)]
    masks = list(mask_heads(net))
    with ExitStack() as stack:
        stack.enter_context(replaced(net, extract_feat=lambda images: features))
        if distributed.is_available() and distributed.is_initialized():
            for space in _averaging(net):
                stack.enter_context(replaced(space, reduce_mean=lambda tensor: tensor))
        try:
            for module, _ in flow:
                module.training = training
            for owner, name, _ in masks:
                setattr(owner, name, None)
            yield
        except (AttributeError, KeyError, NotImplementedError, TypeError) as error:
            raise ConfigError(
                f"{type(net).__name__} asks for more than features, boxes and classes ({brief(error)}): choose another "
                "model"
            ) from error
        finally:
            for module, mode in flow:
                module.training = mode
            for owner, name, head in masks:
                setattr(owner, name, head)


def _averaging(net: nn.Module) -> list[Any]:
    """The files of a detector's classes that average over processes."""
    names = {parent.__module__ for module in net.modules() for parent in type(module).__mro__}
    return [sys.modules[name] for name in sorted(names) if hasattr(sys.modules.get(name), "reduce_mean")]
