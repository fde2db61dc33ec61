"""Dense heads of every kind (FCOS, ATSS, YOLOX, RTMDet, ...): the rows of their own classification loss."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.detectors import SingleStageDetector
from mmengine.structures import InstanceData
from torch import Tensor, nn

from natx.models.mode import attack_mode
from tasks.det.readers.anchors import Priors, flat
from tasks.det.readers.base import Reader, Targets
from tasks.det.readers.general import GeneralReader, Raw, acting


class DenseReader(Priors, GeneralReader):
    """Losses by mmdet's own ``loss``; a row is a prior or point to which the head's own assigner gives an object.

    One rule for all heads: whatever enters the head's ``loss_cls`` with a class is a row, with that class as its label.
    Which entries of the class maps these are is found by following the loss's input back through the head's reshaping
    (:class:`ClassLoss`), so that no assigner is known by name. ``rows`` is (image, prior), each int64 ``[M]``: an
    adversary with the same priors scores the same ones. Row weight is 1/M.
    """

    def __init__(self, net: nn.Module, num_classes: int) -> None:
        super().__init__(net, num_classes)
        self.link = "sigmoid" if self.head.loss_cls.use_sigmoid else "softmax"

    @staticmethod
    def fits(net: nn.Module) -> bool:
        """Single-stage detectors with class maps of logits, as wide as their classification loss."""
        head: Any = getattr(net, "bbox_head", None)
        loss = getattr(head, "loss_cls", None)
        return (
            GeneralReader.fits(net)
            and isinstance(net, SingleStageDetector)
            and isinstance(head, BaseDenseHead)
            and isinstance(loss, nn.Module)
            and hasattr(loss, "use_sigmoid")
            and hasattr(head, "cls_out_channels")
            and hasattr(head, "prior_generator")
            and not getattr(loss, "activated", False)  # the head's maps are probabilities then
        )

    def class_maps(self, raw: Raw) -> Any:
        """See :meth:`Priors.class_maps`."""
        return self.head(raw)[0]

    def losses_and_rows(self, features: Raw, targets: Targets) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor, Any]]:
        """See :meth:`GeneralReader.losses_and_rows`."""
        followed = torch.is_grad_enabled()
        with torch.enable_grad(), ClassLoss(self.head) as seen:
            losses = self.losses(features, targets)
            logits, labels = flat(seen.maps, self.head.cls_out_channels), seen.labels()
        image, prior = ((labels >= 0) & (labels < self.num_classes)).nonzero(as_tuple=True)
        if not followed:
            losses, logits = {name: loss.detach() for name, loss in losses.items()}, logits.detach()
        return losses, (logits[image, prior], labels[image, prior], (image, prior))

    def score(self, features: Raw, targets: Targets, rows: tuple[Tensor, Tensor]) -> Tensor:
        """See :meth:`GeneralReader.score`."""
        with acting(self.net, features, training=True):
            return flat(self.class_maps(features), self.head.cls_out_channels)[rows]

    def check_adversary(self, other: Reader) -> None:
        """See :meth:`Reader.check_adversary`; the priors must be the same, and the head's loss must show its rows."""
        if not self._shows_rows():
            GeneralReader.check_adversary(self, other)
        Priors.check_adversary(self, other)

    def _shows_rows(self) -> bool:
        """Whether the head gives an object in a blank image a row; some have a ``loss_cls`` and never call it."""
        side, parameter = self.probe_side(), next(self.net.parameters())
        box = parameter.new_tensor([[side / 4, side / 4, 3 * side / 4, 3 * side / 4]])
        one = torch.zeros(1, dtype=torch.int64, device=parameter.device)
        meta = {"img_shape": (side, side), "ori_shape": (side, side), "scale_factor": (1.0, 1.0)}
        meta |= {"pad_shape": (side, side), "batch_input_shape": (side, side)}
        objects, nothing = InstanceData(bboxes=box, labels=one), InstanceData(bboxes=box[:0])
        with attack_mode(self.net), torch.no_grad():
            raw = self.raw(parameter.new_zeros(1, 3, side, side))
            return len(self.read(raw, Targets([objects], [nothing], [meta], [(0, 0)])).logits) > 0


class ClassLoss:
    """Watches a dense head compute its losses: which entry of its class maps gets which label.

    The input of ``loss_cls`` is the head's class maps, reshaped, joined and selected. Its rows are numbered, and the
    gradient of their numbered sum with respect to the maps writes the numbers where the rows came from.

    Args:
        head: an mmdet head whose forward gives its class maps first, one a level ``[N, A * K, h, w]``.
    """

    def __init__(self, head: Any) -> None:
        self.head = head
        self.maps: list[Tensor] = []
        self._calls: list[tuple[Tensor, Tensor]] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> ClassLoss:
        hooks = self.head.register_forward_hook(self._forward), self.head.loss_cls.register_forward_hook(self._loss)
        self._hooks = list(hooks)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for hook in self._hooks:
            hook.remove()

    def labels(self) -> Tensor:
        """Label of each prior, int64 ``[N, P]``; the number of classes for background and what no loss asked for."""
        width, background = self.head.cls_out_channels, self.head.num_classes
        count = sum(level[0].numel() for level in self.maps) // width
        labels = torch.full((len(self.maps[0]), count), background, device=self.maps[0].device)
        for logits, target in self._calls:
            numbers = torch.arange(1, len(logits) + 1, device=logits.device, dtype=torch.float64)
            # A gradient has the type of what it is of: float32 holds whole numbers up to 16 million.
            total = (logits[:, 0].double() * numbers).sum()
            places = torch.autograd.grad(total, self.maps, retain_graph=True, allow_unused=True)
            written = [torch.zeros_like(m) if p is None else p for m, p in zip(self.maps, places)]
            place = flat(written, width)[..., 0].round().to(torch.int64)
            labels = torch.where(place > 0, target[(place - 1).clamp_min(0)], labels)
        return labels

    def _forward(self, head: Any, inputs: Any, outputs: Any) -> Any:
        maps = list(outputs[0])
        if not all(level.requires_grad for level in maps):
            maps = [level.detach().requires_grad_() for level in maps]
        self.maps = maps
        return (maps, *outputs[1:])

    def _loss(self, loss: Any, inputs: Any, value: Tensor) -> None:
        logits, target = inputs[0], inputs[1]
        target = target[0] if isinstance(target, (tuple, list)) else target  # labels beside a quality
        if not logits.requires_grad or logits.dim() != 2 or not len(logits):
            return
        if target.is_floating_point():  # one value for each class, all zero for background
            largest, label = target.max(1)
            target = torch.where(largest > 0, label, self.head.num_classes)
        self._calls.append((logits, target.detach()))
