"""CAS: classifiers that suppress channels by class (Bai et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn
from torch.nn import functional as F

from natx.batch import Batch
from natx.errors import ConfigError
from natx.registry import TASKS
from natx.runtime.precision import full_precision
from natx.task import Output
from tasks.cls.anatomy import classifier
from tasks.cls.cifar import BasicBlock, ConvNet
from tasks.cls.task import ClassificationTask


def last_stage(net: Any, name: str = "") -> tuple[list[nn.Module], list[nn.Module]]:
    """What comes before the last stage of a residual network, and the blocks of that stage.

    Raises:
        ConfigError: a network of another kind.
    """
    if isinstance(net, ResNet):
        before = ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3")
        return [net.get_submodule(part) for part in before], list(net.get_submodule("layer4").children())
    if isinstance(net, ConvNet):
        layers = list(net.body)
        # A stage begins with the block that changes the shape.
        firsts = [
            i
            for i, layer in enumerate(layers)
            if isinstance(layer, BasicBlock) and not isinstance(layer.shortcut, nn.Identity)
        ]
        if firsts and all(isinstance(layer, BasicBlock) for layer in layers[firsts[-1] :]):
            return layers[: firsts[-1]], layers[firsts[-1] :]
    raise ConfigError(
        f"CAS works on the blocks of a ResNet's last stage; {name or type(net).__name__} has none: use resnet18_cifar, "
        "resnet50_cifar, resnet8_cifar or a timm ResNet"
    )


class CASNet(nn.Module):
    """A residual network whose last blocks' channels are weighed by class.

    Behind each block of the last stage an auxiliary linear layer classifies the pooled channels, and the channels are
    multiplied by its weights of one class: the class that is given, or else the one it finds most probable.

    Args:
        net: the network, one of those of :func:`last_stage`.
        num_classes: number of classes C.
        name: of the network, for errors.
    """

    def __init__(self, net: nn.Module, num_classes: int, *, name: str = "") -> None:
        super().__init__()
        self.net: Any = net
        width = classifier(net).in_features
        self.aux = nn.ModuleList(nn.Linear(width, num_classes) for _ in last_stage(net, name)[1])

    def get_classifier(self) -> nn.Linear:
        """The last linear layer."""
        return classifier(self.net)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map ``[N, D, h, w]`` of normalised pixels, weighed by the most probable classes."""
        return self._features(x, None)[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool a feature map; ``[N, D]`` if ``pre_logits``, else logits ``[N, C]``."""
        return self.net.forward_head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Logits ``[N, C]`` and auxiliary logits ``[N, L, C]`` of the L blocks.

        Args:
            x: normalised pixels ``[N, channels, H, W]``.
            labels: classes by which channels are weighed: int64 ``[N]``, or soft ``[N, C]`` for a weighted mean.
        """
        features, aux = self._features(x, labels)
        return {"logits": self.forward_head(features), "aux": torch.stack(aux, dim=1)}

    def _features(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        before, blocks = last_stage(self.net)
        x, logits = _through(before, x), []
        for block, aux in zip(blocks, self.aux):
            x = block(x)
            logits.append(aux(x.mean(dim=(2, 3))))
            classes = logits[-1].argmax(1) if labels is None else labels
            weight: Tensor = aux.weight  # type: ignore[assignment]  # a ModuleList does not say of what
            mask = classes.to(weight.dtype) @ weight if classes.is_floating_point() else weight[classes]
            x = x * mask[:, :, None, None]
        return x, logits


def _through(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


@TASKS.register_module()
class CASTask(ClassificationTask):
    """Channel-wise activation suppressing: ``CE(z, y) + aux_weight * mean over blocks of CE(aux, y)``.

    In train mode the channels are weighed by the labels, in eval mode, attacks included, by what each auxiliary layer
    finds most probable. Adversarial training of it attacks the same sum, image by image:
    ``attack=dict(type="PGD", objective=dict(type="ImageLoss"), ...)``. The weights are those of the wrapped network
    under ``net.`` and those of the auxiliary layers under ``aux.``.

    Its PGD and C&W numbers deserve suspicion. The argmax that chooses the weights has no gradient, so a gradient attack
    does not see that changing the choice changes the prediction, and training never meets a wrong choice, because there
    the label makes it. What such attacks report is the strength of a masked gradient as much as the model's: in the
    paper's Table 2 C&W accuracy (53.66) is above PGD's (51.38), against the usual order, and AutoAttack
    leaves 46.69. Believe AutoAttack, whose Square needs no gradient.

    Sources: Bai et al. 2021; ``resnet_cas.py`` and ``train.py`` of bymavis/CAS_ICLR2021. Deviations: any number of
    classes (the original's auxiliary layers have 10); pixels are normalised inside the model; the original's wide
    ResNet, which weighs the input of each block, is left out.

    Args:
        model: a ResNet: see :func:`last_stage`.
        num_classes: number of classes C.
        aux_weight: beta of the auxiliary losses; 2 in the original.
        **kwargs: see :class:`~tasks.cls.ClassificationTask`; weights to start from are those of the plain network.

    Raises:
        ConfigError: a weight below 0, or a model that is no such ResNet.
    """

    def __init__(self, model: str, num_classes: int, *, aux_weight: float = 2.0, **kwargs: Any) -> None:
        if not (math.isfinite(aux_weight) and aux_weight >= 0):
            raise ConfigError(f"CASTask needs a finite aux_weight >= 0; got {aux_weight}")
        super().__init__(model, num_classes, **kwargs)
        self.net, self.aux_weight = CASNet(self.net, num_classes, name=model), aux_weight

    def network(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        """See :class:`CASNet`; the labels are looked at in train mode only."""
        return self.net((x - self.mean) / self.std, batch["data_samples"] if self.net.training else None)

    def logits(self, x: Tensor) -> Tensor:
        """See :meth:`Task.logits`; never by labels."""
        return self.net((x - self.mean) / self.std)["logits"]

    def read(self, raw: dict[str, Tensor], batch: Batch, *, rows: Any = None) -> Output:
        """See :meth:`ClassificationTask.read`; adds ``loss_aux``, and both losses of each image."""
        output = super().read(raw["logits"], batch)
        aux, labels = full_precision(raw["aux"]), output.labels
        assert labels is not None  # read() gives every image one
        blocks = aux.unbind(1)
        smoothed = [F.cross_entropy(z, labels, label_smoothing=self.label_smoothing) for z in blocks]
        output.losses["loss_aux"] = self.aux_weight * torch.stack(smoothed).mean()
        images = torch.stack([F.cross_entropy(z, labels, reduction="none") for z in blocks], dim=1)  # [N, L]
        output.image_losses = {
            "loss_ce": F.cross_entropy(output.logits, labels, reduction="none"),
            "loss_aux": self.aux_weight * images.mean(1),
        }
        return output

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Predicted class of each image ``[N]``."""
        return self.logits(self.pixels(batch)).argmax(1)
