"""Image classification: a timm or CIFAR network with its normalisation inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.batch import Batch
from natx.errors import ConfigError, DataError
from natx.models.outputs import pick_logits
from natx.models.weights import named_weights
from natx.registry import TASKS
from natx.runtime.precision import full_precision
from natx.task import Output, Task, channel_values, unit_pixels
from tasks.cls import hugging_face
from tasks.cls.anatomy import classifier, described, features, fixed_input_size, input_size, normalisation
from tasks.cls.networks import build_network, head_size, network_name
from tasks.cls.weights import convert, load_backbone

AS_THEY_ARE = (0.0,), (1.0,)  # mean and std of pixels that are not normalised, for any number of channels


@TASKS.register_module()
class ClassificationTask(Task):
    """Softmax classification of whole images.

    Args:
        model: a name from :data:`tasks.cls.cifar.MODELS`, any timm model name, or another source of networks, one's
            own class among them; see :func:`tasks.cls.networks.build_network`.
        num_classes: number of classes C; by default as many as the source's own network has.
        pretrained: take timm's pretrained weights (another head size gets a new head).
        checkpoint: local weights instead: a file, or a folder with a ``config.json``; see
            :func:`natx.models.weights.read_weights`.
        checkpoint_ema: take the average of the weights that the file holds beside them.
        new_head: draw a new class layer where that of the file would fit, for other classes of the same number.
        image_size: input height and width, where the model asks for it (ViT).
        mean: normalisation mean a channel; by default that of the weights' file or folder, where it names one, else
            that of the model's source; a network of one's own takes pixels as they are, unless this says otherwise.
        std: normalisation standard deviation a channel; likewise.
        label_smoothing: of the training loss only.
        logits: which part of the network's output the logits are, where it is no tensor: a key, an attribute or a
            place; by default its ``logits``.
        channels_last: run the network in channels-last memory format (faster for CNNs under bf16 and on GPUs).
        model_args: further keyword arguments of the model.
    """

    per_image_success = True
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: str | dict[str, Any] | nn.Module,
        num_classes: int | None = None,
        *,
        pretrained: bool = False,
        checkpoint: str | Path | None = None,
        checkpoint_ema: bool = False,
        new_head: bool = False,
        image_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        logits: str | int | None = None,
        channels_last: bool = False,
        model_args: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if num_classes is not None and num_classes < 2:
            raise ConfigError(f"classification needs at least 2 classes; got num_classes={num_classes}")
        weights = named_weights(checkpoint, ema=checkpoint_ema)
        net = build_network(
            model,
            num_classes=num_classes,
            pretrained=pretrained,
            weights=weights,
            new_head=new_head,
            image_size=image_size,
            **(model_args or {}),
        )
        self.model, self.label_smoothing, self.output_part = network_name(model), label_smoothing, logits
        self.num_classes = _count(self.model, num_classes, net)
        if weights is not None and not new_head and len(weights.classes) == self.num_classes:
            self.classes = weights.classes
        self.own_normalisation = bool(mean or std)
        if not (mean and std):
            default_mean, default_std = normalisation(net) if described(net) else AS_THEY_ARE
            mean, std = mean or default_mean, std or default_std
        mean, std = tuple(mean), tuple(std)
        self.input_size = input_size(net) if described(net) else None
        self.fixed_size = fixed_input_size(net)
        channels = len(mean) if self.input_size is None else self.input_size[0]
        if not len(mean) == len(std) == channels:
            raise ConfigError(f"mean {mean} and std {std} need one value for each of {channels} channels")
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.net: nn.Module = net.to(memory_format=self.memory_format)
        # Not persistent: checkpoints hold upstream keys only, and the values come from the config.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        if weights is not None and (statistics := weights.normalisation(net.state_dict())) is not None:
            self.adopt_normalisation(*statistics)

    @property
    def normalisation(self) -> dict[str, list[float]]:
        """See :attr:`Task.normalisation`."""
        return {"mean": channel_values(self.mean), "std": channel_values(self.std)}

    def adopt_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """See :meth:`Task.adopt_normalisation`; those of another number of channels than the network takes are left."""
        # A network of one's own does not say how many channels it takes: the one mean that it has by default is of all.
        fits = len(mean) == len(std) and (self.input_size is None or len(mean) == self.mean.shape[1])
        if not self.own_normalisation and fits:
            self.mean, self.std = (self.mean.new_tensor(values).view(1, -1, 1, 1) for values in (mean, std))

    def load_backbone(self, tensors: dict[str, Tensor], *, source: str) -> None:
        """See :meth:`Task.load_backbone`: everything but the class layer."""
        load_backbone(self.net, self.model, tensors, source=source)

    def convert(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """See :meth:`Task.convert`: timm's conversions of older and other programs' files."""
        return convert(self.net, self.model, tensors)

    def library_folder(self) -> dict[str, Any]:
        """See :meth:`Task.library_folder`: of a network of transformers, with its processor."""
        if not hugging_face.theirs(self.net):
            return {}
        return hugging_face.folder_content(self.net, self.classes, self.normalisation)

    @property
    def upstream(self) -> nn.Module:
        """The network as the upstream library knows it; its state dict is what checkpoints hold."""
        return self.net

    def pixels(self, batch: Batch) -> Tensor:
        """See :meth:`Task.pixels`; uint8 is divided by 255. Float64 networks keep float64 pixels.

        Raises:
            DataError: float pixels outside [0,1], or another number of channels than the network takes.
        """
        inputs, channels = batch["inputs"], self.mean.shape[1] if self.input_size is None else self.input_size[0]
        if inputs.shape[1] != channels and (channels, self.input_size) != (1, None):
            raise DataError(f"images have {inputs.shape[1]} channels, {self.model} takes {channels}")
        return unit_pixels(inputs, self.mean.dtype).contiguous(memory_format=self.memory_format)

    def network(self, x: Tensor, batch: Batch) -> Any:
        """Logits ``[N, C]``; raises DataError for images of a size the network cannot take."""
        return self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        """See :meth:`Task.logits`."""
        if self.fixed_size and self.input_size and x.shape[-2:] != self.input_size[1:]:
            raise DataError(
                f"images are {tuple(x.shape[-2:])}, {self.model} takes {self.input_size[1:]} (height, width): "
                "make task.image_size, the data's image_size and the augmentations' agree"
            )
        logits = pick_logits(self.net((x - self.mean) / self.std), self.output_part)
        if logits.shape != (len(x), self.num_classes):
            raise DataError(
                f"{self.model} returns logits {list(logits.shape)} for {len(x)} images, expected "
                f"{[len(x), self.num_classes]}: set task.num_classes, or task.logits to the part that has them"
            )
        return logits

    def read(self, raw: Any, batch: Batch, *, rows: Any = None) -> Output:
        """Cross-entropy and logits; a row is an image. Labels are classes ``[N]`` or soft ``[N, C]`` (mixup).

        Raises:
            DataError: soft labels of another number of classes than the head.
        """
        logits, labels, n = full_precision(raw), batch["data_samples"], len(raw)
        if labels.is_floating_point():
            if labels.shape != logits.shape:
                raise DataError(
                    f"soft labels are {list(labels.shape)}, logits {list(logits.shape)}: set Mixup's num_classes"
                )
            labels = labels.to(logits.dtype)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return Output(
            losses={"loss_ce": loss},
            logits=logits,
            labels=labels,
            image=torch.arange(n, device=raw.device),
            row_weight=logits.new_full((n,), 1 / n),
            num_images=n,
        )

    def correct(self, output: Output) -> Tensor:
        """See :meth:`Task.correct`; of a soft label the most probable class counts."""
        return output.right()

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Predicted class of each image ``[N]``."""
        return self.network(self.pixels(batch), batch).argmax(1)

    @torch.no_grad()
    def embed(self, x: Tensor) -> Tensor:
        """Penultimate features ``[N, D]`` of pixels ``x``."""
        return features(self.net, (x - self.mean) / self.std)

    def classifier(self) -> nn.Linear:
        """See :meth:`Task.classifier`; raises ConfigError for a model that ends otherwise (a 1x1 convolution)."""
        return classifier(self.net)

    def check_data(self, dataset: Any) -> None:
        """Raise DataError where a data set's classes differ from the head's."""
        count = getattr(dataset, "num_classes", self.num_classes)
        if count != self.num_classes:
            raise DataError(
                f"the data set has {count} classes, the head {self.num_classes}: set task.num_classes={count}"
            )


def _count(model: str, num_classes: int | None, net: nn.Module) -> int:
    """The number of classes; raises ConfigError where it is not given and not seen, or is not the network's."""
    outputs = head_size(net)
    if num_classes is None and outputs is None:
        raise ConfigError(f"{model} does not show its number of classes (no linear layer at its end): set num_classes")
    count = num_classes or outputs or 0
    if count < 2:
        raise ConfigError(f"classification needs at least 2 classes; got num_classes={count}")
    return count
