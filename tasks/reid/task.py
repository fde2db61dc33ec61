"""Person re-identification: a torchreid network with its normalisation inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.batch import Batch
from natx.errors import CheckpointError, ConfigError, DataError
from natx.models.checkpoint import is_counter
from natx.models.weights import named_weights
from natx.registry import TASKS
from natx.runtime.precision import full_precision
from natx.task import Output, Task, channel_values, unit_pixels
from tasks.reid.losses import batch_hard_triplet
from tasks.reid.models import HEAD, create_model, features, load_backbone

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@TASKS.register_module()
class ReIDTask(Task):
    """Identity classification and metric learning; tests rank the gallery by the embedding.

    The defaults are BoT's (Luo et al. 2019; reid-strong-baseline), each switchable. The triplet loss acts on the
    feature before the neck; identity logits, attacks and ranking on the embedding after it. Without ``bnneck`` both
    are the same vector.

    Args:
        model: any torchreid model with one head, by name.
        num_classes: number of training identities C.
        height: of the images in pixels.
        width: of the images in pixels.
        pretrained: take torchreid's ImageNet weights, unless ``checkpoint`` gives others.
        checkpoint: local backbone weights, of torchreid, torchvision, timm or natx.
        checkpoint_ema: take the average of the weights that the file holds beside them.
        new_head: draw a new classifier where that of the file would fit, for other identities of the same number.
        last_stride: 1 for ResNets as in BoT, None to keep torchreid's.
        bnneck: the batch-norm neck.
        label_smoothing: of the identity loss.
        margin: of the batch-hard triplet loss.
        triplet_weight: weight of the triplet loss; 0 trains on identities alone.
        mean: normalisation mean a channel; by default that of the weights' file, where it names one, else ImageNet's.
        std: normalisation standard deviation a channel; likewise.
        flip_test: in eval mode, the embedding is the mean of those of the image and of its mirror image. Attacks climb
            the same mean, so a report stays honest; for tests, at twice the forwards.
        channels_last: run the network in channels-last memory format.
    """

    head = HEAD
    input_size: tuple[int, int, int]
    net: Any  # torchreid's modules are read by attributes that torch's types do not know
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: str,
        num_classes: int,
        *,
        height: int = 256,
        width: int = 128,
        pretrained: bool = False,
        checkpoint: str | Path | None = None,
        checkpoint_ema: bool = False,
        new_head: bool = False,
        last_stride: int | None = None,
        bnneck: bool = True,
        label_smoothing: float = 0.1,
        margin: float = 0.3,
        triplet_weight: float = 1.0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        flip_test: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ConfigError(f"re-identification needs at least 2 identities; got num_classes={num_classes}")
        if not 0 <= label_smoothing < 1 or margin < 0 or triplet_weight < 0:
            raise ConfigError(
                "ReIDTask needs 0 <= label_smoothing < 1, margin >= 0 and triplet_weight >= 0; "
                f"got {label_smoothing}, {margin} and {triplet_weight}"
            )
        self.own_normalisation = bool(mean or std)
        mean, std = tuple(mean or IMAGENET_MEAN), tuple(std or IMAGENET_STD)
        if len(mean) != 3 or len(std) != 3:
            raise ConfigError(f"mean {mean} and std {std} need one value for each of 3 channels")
        weights = named_weights(checkpoint, ema=checkpoint_ema)
        net = create_model(
            model,
            num_classes=num_classes,
            image_size=(height, width),
            pretrained=pretrained,
            weights=weights,
            new_head=new_head,
            last_stride=last_stride,
            bnneck=bnneck,
        )
        if weights is not None and not new_head and len(weights.classes) == num_classes:
            self.classes = weights.classes
        self.model, self.num_classes, self.input_size = model, num_classes, (3, height, width)
        self.label_smoothing, self.margin, self.triplet_weight = label_smoothing, margin, triplet_weight
        self.flip_test = flip_test
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.net = net.to(memory_format=self.memory_format)
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
        """See :meth:`Task.adopt_normalisation`; those of another number of channels are left."""
        if not self.own_normalisation and len(mean) == len(std) == self.mean.shape[1]:
            for buffer, values in ((self.mean, mean), (self.std, std)):
                buffer.copy_(torch.tensor(values).view_as(buffer))

    @property
    def upstream(self) -> nn.Module:
        """torchreid's network; with BNNeck the neck's weights lie beside its own as ``bnneck.*``."""
        return self.net

    def convert(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """See :meth:`Task.convert`; nothing is converted, but weights with or without a neck say which they are.

        Raises:
            CheckpointError: all fits but the neck and the classifier.
        """
        misfits = {name.split(".")[0] for name in tensors.keys() ^ self.net.state_dict().keys() if not is_counter(name)}
        if "bnneck" in misfits and misfits <= {"bnneck", "classifier"}:
            has = "has a batch-norm neck (bnneck.*) and the model none"
            if hasattr(self.net, "bnneck"):
                has = "has no batch-norm neck (bnneck.*) and the model one"
            raise CheckpointError(f"the file {has}: set task.bnneck={not hasattr(self.net, 'bnneck')}")
        return tensors

    def load_backbone(self, tensors: dict[str, Tensor], *, source: str) -> None:
        """See :meth:`Task.load_backbone`."""
        load_backbone(self.net, tensors, source=source, new_head=True)

    def pixels(self, batch: Batch) -> Tensor:
        """See :meth:`Task.pixels`; uint8 is divided by 255. Float64 networks keep float64 pixels.

        Raises:
            DataError: images of another size than the task's, or float pixels outside [0,1].
        """
        inputs = batch["inputs"]
        if tuple(inputs.shape[1:]) != self.input_size:
            raise DataError(
                f"images are {tuple(inputs.shape[1:])}, the task takes {self.input_size} (channels, height, width): "
                "make height and width of the data and of the task agree"
            )
        return unit_pixels(inputs, self.mean.dtype).contiguous(memory_format=self.memory_format)

    def network(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        """``feature`` (before the neck) and ``embedding`` (after it) ``[N, D]``, identity ``logits`` ``[N, C]``."""
        if not self.flip_test or self.training:
            return self._raw(x)
        pair = self._raw(x), self._raw(x.flip(-1))
        return {name: (pair[0][name] + pair[1][name]) / 2 for name in pair[0]}

    def _raw(self, x: Tensor) -> dict[str, Tensor]:
        feature = features(self.net, (x - self.mean) / self.std)
        embedding = self.net.bnneck(feature) if hasattr(self.net, "bnneck") else feature
        return {"feature": feature, "embedding": embedding, "logits": self.net.classifier(embedding)}

    def read(self, raw: dict[str, Tensor], batch: Batch, *, rows: Any = None) -> Output:
        """Identity cross-entropy and triplet loss; a row is an image.

        Images of a test set carry no ``data_samples``, because their identities are no classes of the head: they get
        no losses and no labels.
        """
        logits, labels = full_precision(raw["logits"]), batch.get("data_samples")
        losses = {}
        if labels is not None:
            losses["loss_id"] = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
            if self.triplet_weight:
                triplet = batch_hard_triplet(raw["feature"], labels, margin=self.margin)
                losses["loss_triplet"] = self.triplet_weight * triplet
        n = len(logits)
        return Output(
            losses=losses,
            logits=logits,
            labels=labels,
            image=torch.arange(n, device=logits.device),
            row_weight=logits.new_full((n,), 1 / n),
            num_images=n,
            features=full_precision(raw["embedding"]),
        )

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Embeddings ``[N, D]`` in fp32, not normalised."""
        return full_precision(self.network(self.pixels(batch), batch)["embedding"])

    def classifier(self) -> nn.Linear:
        """See :meth:`Task.classifier`: the identity head, which reads the embedding."""
        return self.net.classifier

    def check_data(self, dataset: Any) -> None:
        """Raise DataError where a training set's identities are not as many as the head's."""
        count = getattr(dataset, "num_classes", self.num_classes)
        if count != self.num_classes:
            raise DataError(
                f"the data set has {count} identities, the head {self.num_classes}: set task.num_classes={count}"
            )
