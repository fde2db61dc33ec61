"""Object detection: an mmdet detector with its preprocessing inside."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from natx.batch import Batch
from natx.errors import CheckpointError, ConfigError, DataError
from natx.models.weights import named_weights
from natx.registry import TASKS
from natx.runtime.progress import say
from natx.task import Output, Task, channel_values, unit_pixels
from tasks.det.compat import build_detector, shipped_model
from tasks.det.readers import LastTargets, reader_for
from tasks.det.scale import check_scale
from tasks.det.weights import load_backbone, load_detector

PIXEL = 1 / 255  # no difference of normalisations that matters


@TASKS.register_module()
class DetectionTask(Task):
    """Detection with an mmdet detector (:mod:`tasks.det.readers`).

    Pixels are RGB in [0,1]. The detector's own preprocessing becomes a layer: scaling to 0..255, its channel order,
    mean and standard deviation, and the padding reset to mmdet's pad value after that. Padding is never perturbed.

    Args:
        model: the ``model`` dict of an mmdet config, or the name of a config that mmdet ships
            (:func:`tasks.det.compat.shipped_model`).
        num_classes: number of foreground classes C; the heads' counts must agree.
        pretrained: run mmdet's ``init_cfg`` entries that download weights; without it they are taken out.
        checkpoint: local weights of the detector, or of its backbone alone (torchvision's, without the class layer).
            Layers for another number of classes and heads that the file has not are drawn anew, which is told.
        checkpoint_ema: take the average of the weights that the file holds beside them.
        new_head: draw new class layers where those of the file would fit, for other classes of the same number.
        unfrozen: train the whole backbone, its stem, first stages and batch norms too, which many of mmdet's configs
            freeze (``frozen_stages``, ``norm_eval``): what adversarial training starts from has to move.
        channels_last: run the network in channels-last memory format.
    """

    net: Any  # mmdet's modules are read by attributes that torch's types do not know
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: dict[str, Any] | str,
        num_classes: int,
        *,
        pretrained: bool = False,
        checkpoint: str | Path | None = None,
        checkpoint_ema: bool = False,
        new_head: bool = False,
        unfrozen: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        model = shipped_model(model, num_classes=num_classes) if isinstance(model, str) else copy.deepcopy(dict(model))
        preprocessor = dict(model.pop("data_preprocessor", {}))
        if not pretrained:
            _without_downloads(model)
        net = build_detector(model)
        if next(net.parameters()).device.type != "meta":  # there only parameters are counted
            _initialise(net)
        if unfrozen:
            _unfreeze(net.backbone)
        self.num_classes, self.model = num_classes, str(model.get("type"))
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.net = net.to(memory_format=self.memory_format)
        _check_classes(net, num_classes)
        self.reader = reader_for(net, num_classes)
        self.judged_at_once = self.reader.judged_at_once
        if preprocessor.get("batch_augments"):
            raise ConfigError("data_preprocessor.batch_augments is not run: augmentations are the training config's")
        mean, std = preprocessor.get("mean") or (0.0, 0.0, 0.0), preprocessor.get("std") or (1.0, 1.0, 1.0)
        # mmdet's images are BGR: where it turns them round, the network, its mean and its std are RGB.
        self.swap = not (preprocessor.get("bgr_to_rgb") or preprocessor.get("rgb_to_bgr"))
        self.pad_value = float(preprocessor.get("pad_value", 0))
        self.targets = LastTargets(preprocessor.get("pad_size_divisor", 1))
        # Not persistent: checkpoints hold upstream keys only, and the values come from the config.
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.new_heads = pretrained  # on a backbone that has learnt
        self._frozen_as_drawn = {} if pretrained else _frozen_weights(net.backbone)
        if (file := named_weights(checkpoint, ema=checkpoint_ema)) is not None:
            classes, self.new_heads = load_detector(net, file, model=model, new_head=new_head)
            self.classes = classes or None

    @property
    def normalisation(self) -> dict[str, list[float]]:
        """See :attr:`Task.normalisation`; of red, green and blue, whatever the detector's order is."""
        order = -1 if self.swap else 1
        return {"mean": channel_values(self.mean / 255)[::order], "std": channel_values(self.std / 255)[::order]}

    @property
    def upstream(self) -> nn.Module:
        """The mmdet detector."""
        return self.net

    @property
    def backbone(self) -> nn.Module:
        """See :attr:`Task.backbone`."""
        return self.net.backbone

    def adopt_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """See :meth:`Task.adopt_normalisation`; the config's data_preprocessor stays, and a difference is told."""
        values = {"mean": list(mean), "std": list(std)}
        pairs = [pair for key in values for pair in zip(values[key], self.normalisation[key])]
        if any(abs(theirs - ours) > PIXEL for theirs, ours in pairs):
            say(
                f"the weights are of pixels in [0,1] with mean {_rounded(mean)} and std {_rounded(std)}, and the "
                f"detector's data_preprocessor has mean {_rounded(self.normalisation['mean'])} and std "
                f"{_rounded(self.normalisation['std'])}: set it to theirs (times 255)"
            )

    def load_backbone(self, tensors: dict[str, Tensor], *, source: str) -> None:
        """See :meth:`Task.load_backbone`; names may be torchvision's, timm's or mmdet's.

        Raises:
            ConfigError: the detector turns images to BGR, which no classifier does.
            CheckpointError: weights of another architecture.
        """
        if self.swap:
            raise ConfigError(
                "a classifier's backbone takes RGB, the detector BGR: set task.model.data_preprocessor.bgr_to_rgb=True"
            )
        load_backbone(self.net, tensors, source=source)
        self.new_heads = True

    def compiled_parts(self) -> list[nn.Module]:
        """See :meth:`Task.compiled_parts`: backbone, neck and a convolutional head."""
        parts = [getattr(self.net, name, None) for name in ("backbone", "neck", "bbox_head")]
        return [part for part in parts if isinstance(part, nn.Module)]

    def pixels(self, batch: Batch) -> Tensor:
        """See :meth:`Task.pixels`; uint8 is divided by 255.

        Raises:
            DataError: not three channels, or float pixels outside [0,1].
        """
        inputs = batch["inputs"]
        if inputs.shape[1] != 3:
            raise DataError(f"images have {inputs.shape[1]} channels, a detector takes 3")
        return unit_pixels(inputs, self.mean.dtype).contiguous(memory_format=self.memory_format)

    def network(self, x: Tensor, batch: Batch) -> Any:
        """The detector's raw output, see its reader."""
        x = x.flip(1) if self.swap else x
        x = (x * 255 - self.mean) / self.std
        inside = self.perturbable(batch)
        return self.reader.raw(x if inside is None else x.masked_fill(~inside, self.pad_value))

    def read(self, raw: Any, batch: Batch, *, rows: Any = None) -> Output:
        """Losses and class rows, see the reader."""
        return self.reader.read(raw, self.targets(batch), rows=rows)

    def memory(self) -> dict[str, Any]:
        """See :meth:`Task.memory`, and the reader."""
        return self.reader.memory()

    def recall(self, memory: dict[str, Any]) -> None:
        """See :meth:`Task.recall`, and the reader."""
        self.reader.recall(memory)

    def perturbable(self, batch: Batch) -> Tensor | None:
        """Mask ``[N, 1, H, W]`` of the pixels that are no padding, or None where there is none."""
        height, width = batch["inputs"].shape[-2:]
        shapes = [annotation.shape for annotation in batch["data_samples"]]
        if all(shape == (height, width) for shape in shapes):
            return None
        device = batch["inputs"].device
        limits = torch.tensor(shapes, device=device)
        rows = torch.arange(height, device=device)[None] < limits[:, :1]
        columns = torch.arange(width, device=device)[None] < limits[:, 1:]
        return (rows[:, :, None] & columns[:, None, :])[:, None]

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[dict[str, Tensor]]:
        """Per image: ``boxes`` ``[K, 4]`` in pixels of the original image, ``scores`` and ``labels`` ``[K]``.

        An image of which the network's output is not finite has one detection that is not either: mmdet leaves out
        scores that are NaN, as it does low ones, and a damaged network would be one that finds nothing.
        """
        raw = self.network(self.pixels(batch), batch)
        detections = self.reader.predict(raw, self.targets(batch))
        predictions = [
            {"boxes": d.bboxes.cpu(), "scores": d.scores.cpu(), "labels": d.labels.cpu()} for d in detections
        ]
        for i in (~self._finite(raw)).nonzero().flatten().tolist():
            nothing = torch.full((1, 5), torch.nan)
            predictions[i] = {"boxes": nothing[:, :4], "scores": nothing[:, 4], "labels": torch.zeros(1).long()}
        return predictions

    def _finite(self, raw: Any) -> Tensor:
        """Of which images the raw output is finite, bool ``[N]``; of none where weights are not.

        Weights, too, since heads of which the raw output is features alone run when it is read.
        """
        leaves = [torch.isfinite(leaf).flatten(1).all(1) for leaf in tree_leaves(raw) if isinstance(leaf, Tensor)]
        weights = torch.stack([torch.isfinite(parameter).all() for parameter in self.net.parameters()]).all()
        return torch.stack(leaves).all(0) & weights

    def classifier(self) -> nn.Linear:
        """See :meth:`Task.classifier`: the class layer of a two-stage detector's second stage.

        Raises:
            ConfigError: the head is convolutional.
        """
        layer = getattr(getattr(getattr(self.net, "roi_head", None), "bbox_head", None), "fc_cls", None)
        if not isinstance(layer, nn.Linear):
            raise ConfigError(
                f"{self.model} classifies with convolutions on its feature maps: class hyperplanes are those of a "
                "two-stage detector (Faster R-CNN)"
            )
        return layer

    def notes(self) -> list[str]:
        """See :meth:`Task.notes`: a backbone whose first stages are frozen as they were drawn.

        Most of mmdet's configs freeze them, for weights of ImageNet.
        """
        weights = dict(self.net.backbone.named_parameters())
        drawn = self._frozen_as_drawn
        if not drawn or not all(torch.equal(weights[name], value.to(weights[name])) for name, value in drawn.items()):
            return []
        return [
            f"{len(drawn)} layers of the backbone are frozen (frozen_stages) and random, so they stay random: give "
            "weights (task.pretrained=True, task.checkpoint or start), or train them too with task.unfrozen=True"
        ]

    def check_data(self, dataset: Any) -> None:
        """See :meth:`Task.check_data`; a backbone under new heads is tried on images, see :func:`check_scale`.

        Raises:
            DataError: the data set's classes are not as many as the heads'.
        """
        count = getattr(dataset, "num_classes", self.num_classes)
        if count != self.num_classes:
            raise DataError(
                f"the data set has {count} classes, the detector {self.num_classes}: set task.num_classes and the "
                f"heads' num_classes to {count}"
            )
        if self.new_heads:
            self.new_heads = False
            check_scale(self, dataset)

    def check_adversary(self, other: Task) -> None:
        """Raise ConfigError where another model cannot score this detector's rows: another family, other priors."""
        if not isinstance(other, DetectionTask):
            raise ConfigError(f"the adversary is a {type(other).__name__}, the target a detector: both must be one")
        self.reader.check_adversary(other.reader)


def _unfreeze(backbone: Any) -> None:
    """Let every weight of a backbone be trained and its batch norms follow the images."""
    for name, value in (("frozen_stages", -1), ("norm_eval", False)):
        if hasattr(backbone, name):
            setattr(backbone, name, value)
    backbone.requires_grad_(True)


def _frozen_weights(backbone: Any) -> dict[str, Tensor]:
    """Weights that a training leaves as they are, by name; those of normalisation, which are not drawn, left out."""
    frozen = {name: p for name, p in backbone.named_parameters() if not p.requires_grad and p.dim() > 1}
    return {name: parameter.detach().clone() for name, parameter in frozen.items()}


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(value), 3) for value in values]


def _initialise(net: Any) -> None:
    """Draw the weights, and download those that ``init_cfg`` names; raises CheckpointError where that fails."""
    try:
        with _quiet():
            net.init_weights()
    except OSError as error:  # no network, no such file
        raise CheckpointError(
            f"cannot get the weights that the model's init_cfg names ({error}): connect to the internet, or set "
            "task.pretrained=False and task.checkpoint=<local weights of the detector or of its backbone>"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep mmengine from logging a line for every parameter that it initialises."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _without_downloads(node: Any) -> None:
    """Take every ``init_cfg`` that loads a file or address out of an mmdet config, in place."""
    if isinstance(node, dict):
        init = node.get("init_cfg")
        if isinstance(init, dict) and init.get("type") == "Pretrained":
            node["init_cfg"] = None
        for value in node.values():
            _without_downloads(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _without_downloads(value)


def _check_classes(net: nn.Module, num_classes: int) -> None:
    """Raise ConfigError where a head has another number of classes."""
    for name, module in net.named_modules():
        count = getattr(module, "num_classes", num_classes)
        if "bbox_head" in name.split(".")[-2:] and isinstance(count, int) and count != num_classes:
            raise ConfigError(f"{name} has num_classes={count}, the task {num_classes}: set both to the data set's")
