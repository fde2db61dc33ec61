"""Networks for small images, as papers on CIFAR have them, by name.

Every net maps normalised pixels ``[N, C, H, W]`` to logits ``[N, num_classes]`` and has timm's
``forward_features``, ``forward_head``, ``get_classifier``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn

from natx.errors import ConfigError

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}


class ConvNet(nn.Module):
    """A convolutional ``body``, global average pooling, the linear classifier ``fc``, and timm's methods.

    ``body`` maps ``[N, in_chans, H, W]`` to ``[N, width, h, w]``. Convolutions start as in He et al. 2015
    (normal, fan-out), biases from zero.
    """

    def __init__(self, body: nn.Sequential, *, width: int, num_classes: int) -> None:
        super().__init__()
        self.body = body
        self.fc = nn.Linear(width, num_classes)
        self.num_classes = num_classes
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.fc.bias)

    def get_classifier(self) -> nn.Linear:
        """Return the last linear layer."""
        return self.fc

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` to the last feature map ``[N, D, h, w]``."""
        return self.body(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool a feature map; return ``[N, D]`` if ``pre_logits`` else logits ``[N, num_classes]``."""
        pooled = x.mean(dim=(2, 3))
        return pooled if pre_logits else self.fc(pooled)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` to logits ``[N, num_classes]``."""
        return self.forward_head(self.forward_features(x))


class PreActBlock(nn.Module):
    """The basic block of WideResNet (Zagoruyko and Komodakis 2016): twice BN, activation, 3x3 convolution."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, act: type[nn.Module]) -> None:
        super().__init__()
        self.bn1, self.act1 = nn.BatchNorm2d(inputs), act()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2, self.act2 = nn.BatchNorm2d(outputs), act()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, inputs, H, W]`` to ``[N, outputs, H/stride, W/stride]``."""
        first = self.act1(self.bn1(x))
        # A projection reads the activated input, an identity the raw one, as in the published WideResNets.
        skip = x if self.shortcut is None else self.shortcut(first)
        return skip + self.conv2(self.act2(self.bn2(self.conv1(first))))


class BasicBlock(nn.Module):
    """The post-activation block of He et al. 2016, with a 1x1 projection where the shape changes."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.first = _conv_bn(inputs, outputs, stride=stride)
        self.second = _conv_bn(outputs, outputs)[:2]
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, inputs, H, W]`` to ``[N, outputs, H/stride, W/stride]``."""
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


def _conv_bn(inputs: int, outputs: int, *, stride: int = 1, bias: bool = False) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _wide_resnet(depth: int, factor: int) -> Callable[..., nn.Module]:
    """Make the builder of WRN-``depth``-``factor``.

    Arranged as in TRADES and Madry et al.: 3x3 stem of 16 channels, three stages of (depth - 4) / 6
    pre-activation blocks of 16, 32, 64 times ``factor`` channels at strides 1, 2, 2, last BN and activation,
    pooling, linear; no dropout. For 10 classes 28-10 has 36,479,194 parameters and 34-10 has 46,160,474.
    """

    def build(*, num_classes: int, activation: str = "relu", in_chans: int = 3) -> nn.Module:
        if activation not in ACTIVATIONS:
            raise ConfigError(f"activation is {activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        act = ACTIVATIONS[activation]
        layers: list[nn.Module] = [nn.Conv2d(in_chans, 16, 3, 1, 1, bias=False)]
        width = 16
        for outputs, stride in ((16 * factor, 1), (32 * factor, 2), (64 * factor, 2)):
            for index in range((depth - 4) // 6):
                layers.append(PreActBlock(width, outputs, stride=stride if index == 0 else 1, act=act))
                width = outputs
        body = nn.Sequential(*layers, nn.BatchNorm2d(width), act())
        return ConvNet(body, width=width, num_classes=num_classes)

    return build


def _vgg11(*, num_classes: int, in_chans: int = 3) -> nn.Module:
    """VGG-11 (Simonyan and Zisserman 2015) with BN and one linear classifier; 32x32 pixels become 1x1."""
    layers: list[nn.Module] = []
    width = in_chans
    for outputs in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        if outputs:
            # The bias does nothing before BN; the usual VGG-11-BN has it (9,231,114 parameters).
            layers.append(_conv_bn(width, outputs, bias=True))
            width = outputs
        else:
            layers.append(nn.MaxPool2d(2))
    return ConvNet(nn.Sequential(*layers), width=width, num_classes=num_classes)


def _narrow_resnet(blocks: int) -> Callable[..., nn.Module]:
    """Make the builder of the narrow ResNet of He et al. 2016, section 4.2, with 6n+2 layers.

    A stem and three stages of 16, 32, 64 times ``width`` channels; the shortcut is a projection where the shape changes
    (their option B; for CIFAR they take A).

    Args:
        blocks: basic blocks a stage (n).
    """

    def build(*, num_classes: int, width: int = 1, in_chans: int = 3) -> nn.Module:
        layers: list[nn.Module] = [_conv_bn(in_chans, 16 * width)]
        for inputs, outputs, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
            layers.append(BasicBlock(inputs * width, outputs * width, stride=stride))
            layers += [BasicBlock(outputs * width, outputs * width, stride=1) for _ in range(blocks - 1)]
        return ConvNet(nn.Sequential(*layers), width=64 * width, num_classes=num_classes)

    return build


def _small_cnn(*, num_classes: int, width: int = 32, in_chans: int = 3) -> nn.Module:
    """Three 3x3 convolutions with BN and ReLU, ``width`` times 1, 2, 4 channels; for CPUs, 8x8 to 32x32."""
    body = nn.Sequential(
        _conv_bn(in_chans, width),
        _conv_bn(width, 2 * width, stride=2),
        _conv_bn(2 * width, 4 * width, stride=2),
    )
    return ConvNet(body, width=4 * width, num_classes=num_classes)


def _small_stem(inputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, 64, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _resnet(name: str) -> Callable[..., nn.Module]:
    def build(*, num_classes: int, in_chans: int = 3, **kwargs: Any) -> nn.Module:
        # timm zeroes the last scale of each block, as for large batches on ImageNet; originals on CIFAR do not. With
        # it an untrained network gives nearly the same logits for all classes: the KL to it would be an entropy.
        kwargs = {"zero_init_last": False, **kwargs}
        net = timm.create_model(name, num_classes=num_classes, in_chans=in_chans, **kwargs)
        net.conv1, net.maxpool = _small_stem(in_chans), nn.Identity()
        return net

    return build


def _densenet121(*, num_classes: int, in_chans: int = 3, **kwargs: Any) -> nn.Module:
    net: Any = timm.create_model("densenet121", num_classes=num_classes, in_chans=in_chans, **kwargs)
    net.features.conv0, net.features.pool0 = _small_stem(in_chans), nn.Identity()
    return net


def _mobilenetv2(*, num_classes: int, in_chans: int = 3, **kwargs: Any) -> nn.Module:
    net: Any = timm.create_model("mobilenetv2_100", num_classes=num_classes, in_chans=in_chans, **kwargs)
    # Of the five stride-2 layers the first two keep the resolution: 4x4 instead of 1x1 at the end for 32x32.
    net.conv_stem.stride = net.blocks[1][0].conv_dw.stride = (1, 1)
    return net


MODELS: dict[str, Callable[..., nn.Module]] = {
    "resnet18_cifar": _resnet("resnet18"),
    "resnet50_cifar": _resnet("resnet50"),
    "wrn_28_10": _wide_resnet(28, 10),
    "wrn_34_10": _wide_resnet(34, 10),
    "wrn_34_20": _wide_resnet(34, 20),
    "mobilenetv2_cifar": _mobilenetv2,
    "densenet121_cifar": _densenet121,
    "vgg11_cifar": _vgg11,
    "resnet8_cifar": _narrow_resnet(1),
    "resnet20_cifar": _narrow_resnet(3),
    "small_cnn": _small_cnn,
}
