"""Image classifiers: our CIFAR nets by name, any other name from timm.

Every net maps normalised pixels ``[N, C, H, W]`` to logits ``[N, num_classes]`` and has timm's
``forward_features``, ``forward_head``, ``get_classifier``; ``pretrained_cfg`` has mean, std, input size.
"""

from __future__ import annotations

import difflib
import inspect
import logging
import sys
from collections.abc import Callable
from typing import Any

import timm
import torch
from timm.models import adapt_input_conv, get_pretrained_cfg, model_entrypoint
from torch import Tensor, nn

from natx.errors import CheckpointError, ConfigError
from natx.models.checkpoint import load_into
from natx.models.weights import WeightFile
from natx.runtime.progress import say
from tasks.cls import hugging_face

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}
# What timm's modules call their converters of foreign checkpoints.
CONVERTERS = ("checkpoint_filter_fn", "checkpoint_filter_fn_classifier", "_filter_torchvision_pretrained", "_filter_fn")


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


def create_model(
    name: str,
    *,
    num_classes: int,
    pretrained: bool = False,
    weights: WeightFile | None = None,
    new_head: bool = False,
    image_size: int | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Build a classifier of ``num_classes`` outputs: one of ``MODELS``, else the timm model of that name.

    ``weights`` (a local file) go before ``pretrained`` (timm's weights from the hub). timm's own conversions of foreign
    files are applied. A head of another number of classes, and any with ``new_head``, stays newly initialised; all else
    must fit, but for position embeddings, which timm resamples to ``image_size``, and the first convolution where
    ``in_chans`` is not that of the file. Pixels are normalised as the file says, where it says so. ``image_size`` is
    passed on only to models of a fixed input size. Other keywords go to the builder.

    Raises ConfigError for a name, size or keyword that does not fit, CheckpointError for weights that cannot
    be had: never a silent random start.
    """
    if num_classes < 1:
        raise ConfigError(f"num_classes is {num_classes}, expected at least 1")
    if name not in MODELS:
        kwargs = _timm_kwargs(name, image_size, kwargs)
    builder = MODELS.get(name) or _timm_builder(name)
    try:
        net: Any = builder(num_classes=num_classes, **kwargs)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ConfigError(f"model {name!r} cannot be built: {_one_line(error)}") from error
    if (outputs := classifier(net).out_features) != num_classes:
        raise ConfigError(f"model {name!r} has {outputs} outputs, expected num_classes={num_classes}")
    if weights is not None:
        take_weights(net, name, weights, new_head=new_head)
    elif pretrained:
        net = _from_hub(net, name, kwargs)
    net = _describe(net, cifar=name in MODELS, in_chans=kwargs.get("in_chans", 3), image_size=image_size)
    statistics = None if weights is None else weights.normalisation
    if statistics is not None and len(statistics[0]) == input_size(net)[0]:
        net.pretrained_cfg = net.default_cfg = {**_cfg(net), "mean": statistics[0], "std": statistics[1]}
    return net


def normalisation(net: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std per channel, of pixels in [0, 1], of ``net``; ConfigError if unknown."""
    cfg = _cfg(net)
    if not cfg.get("mean") or not cfg.get("std"):
        raise ConfigError(f"{type(net).__name__} has no mean and std in its pretrained_cfg")
    return tuple(float(value) for value in cfg["mean"]), tuple(float(value) for value in cfg["std"])


def input_size(net: nn.Module) -> tuple[int, int, int]:
    """Return (channels, height, width) of the images that ``net`` was made for; ConfigError if unknown."""
    size = _cfg(net).get("input_size")
    if not size:
        raise ConfigError(f"{type(net).__name__} has no input_size in its pretrained_cfg")
    channels, height, width = size
    return int(channels), int(height), int(width)


def described(net: nn.Module) -> bool:
    """Whether ``net`` says how its images are to be (``pretrained_cfg``), as all do but one's own."""
    return bool(_cfg(net))


def fixed_input_size(net: nn.Module) -> bool:
    """Whether the net takes images of :func:`input_size` only (ViTs), not of any size (convolutional nets)."""
    return bool(_cfg(net).get("fixed_input_size", False))


def classifier(net: Any) -> nn.Linear:
    """Return the last linear layer of ``net``; ConfigError for other heads (two heads, a 1x1 convolution).

    Of a network without timm's ``get_classifier`` it is the last layer that has weights.
    """
    head = net.get_classifier() if hasattr(net, "get_classifier") else _last_layer(net)
    if not isinstance(head, nn.Linear):
        raise ConfigError(f"{type(net).__name__} ends with {type(head).__name__}, expected one linear layer")
    return head


def _last_layer(net: nn.Module) -> nn.Module:
    """The last layer that has weights; the network itself where none has."""
    layers = [module for module in net.modules() if next(module.children(), None) is None]
    return next((layer for layer in reversed(layers) if next(layer.parameters(), None) is not None), net)


def features(net: Any, x: Tensor) -> Tensor:
    """Map images ``[N, C, H, W]`` to what the classifier reads, ``[N, D]``."""
    if hasattr(net, "forward_head"):
        return net.forward_head(net.forward_features(x), pre_logits=True).flatten(1)
    read: list[Tensor] = []
    hook = classifier(net).register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    try:
        net(x)
    finally:
        hook.remove()
    return read[-1].flatten(1)


def own_classes(name: str) -> int:
    """The classes that timm's pretrained weights of a model have; ConfigError for one that is natx's own."""
    cfg = None if name in MODELS else _timm_cfg(name)
    if cfg is None or not cfg.num_classes:
        raise ConfigError(f"model {name!r} has no number of classes by itself: set task.num_classes")
    return cfg.num_classes


def _timm_builder(name: str) -> Callable[..., nn.Module]:
    def build(*, num_classes: int, **kwargs: Any) -> nn.Module:
        return timm.create_model(name, num_classes=num_classes, **kwargs)

    return build


def _timm_kwargs(name: str, image_size: int | None, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Check a timm model name; add ``img_size`` where timm says that the model is tied to its input size."""
    cfg = _timm_cfg(name)
    if cfg is None or image_size is None or not cfg.fixed_input_size or image_size == cfg.input_size[-1]:
        return kwargs
    return {"img_size": image_size, **kwargs}


def _timm_cfg(name: str) -> Any:
    """What timm says of a model's pretrained weights, None where nothing; raises ConfigError for an unknown name."""
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, [*MODELS, *timm.list_models()], n=3)
        raise ConfigError(f"unknown model {name!r}" + (f"; close: {', '.join(close)}" if close else ""))
    try:
        return get_pretrained_cfg(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown model {name!r}: {_one_line(error)}") from error


def convert(net: Any, name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A foreign file's weights as timm or transformers convert them for their models; as they are for others."""
    if hugging_face.theirs(net):
        return hugging_face.convert(net, tensors)
    if name in MODELS or not timm.is_model(name):
        return tensors
    module = sys.modules[model_entrypoint(name).__module__]
    converter = next((vars(module)[key] for key in CONVERTERS if key in vars(module)), None)
    if converter is None:
        return tensors
    takes = inspect.signature(converter).parameters
    arguments = {key: value for key, value in {"model": net, "adapt_layer_scale": True}.items() if key in takes}
    try:
        return dict(converter(dict(tensors), **arguments))
    except Exception:  # of a file that is none of theirs timm's converters may raise anything: loading then says why
        return tensors


def take_weights(net: Any, name: str, weights: WeightFile, *, new_head: bool) -> None:
    """Load a file's weights; every key must fit, but for a head of another number of classes or one not wanted."""
    tensors = convert(net, name, weights.under(net.state_dict()))
    head = _head(net)
    say(f"model {name}: weights of {weights.source}")
    if head and (new_head or _outputs(tensors, head) != _outputs(head, head)):
        say(f"model {name}: new head of {_outputs(head, head)} classes, not that of {weights.path.name}")
        tensors |= head
    if name not in MODELS:
        tensors |= _first_convolutions(net, tensors)
    try:
        load_into(net, tensors, source=str(weights.path))
    except CheckpointError as error:
        raise CheckpointError(f"model {name!r}: {error}") from error


def load_backbone(net: Any, name: str, tensors: dict[str, Tensor], *, source: str) -> None:
    """Load a classifier's weights but for its class layer; raises CheckpointError where anything else does not fit."""
    load_into(net, {**convert(net, name, tensors), **_head(net)}, source=source)


def _outputs(tensors: dict[str, Tensor], head: dict[str, Tensor]) -> int | None:
    """How many classes the first weight of a class layer has in some tensors; None where it is not among them."""
    weight = tensors.get(next(iter(head)))
    return None if weight is None else weight.shape[0]


def _head(net: Any) -> dict[str, Tensor]:
    """The weights of the class layer under their names in the network; empty where it has no linear one."""
    if not hasattr(net, "get_classifier") and not isinstance(_last_layer(net), nn.Linear):
        return {}
    head = classifier(net)
    prefix = next(key for key, module in net.named_modules() if module is head)
    return {f"{prefix}.{key}".removeprefix("."): value for key, value in head.state_dict().items()}


def _first_convolutions(net: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The first convolutions of a file for colour images, for a timm model of images with other channels."""
    names = _cfg(net).get("first_conv") or ()
    adapted = {}
    for name in [names] if isinstance(names, str) else names:
        channels, weight = net.get_submodule(name).weight.shape[1], tensors.get(f"{name}.weight")
        if weight is not None and weight.dim() == 4 and weight.shape[1] == 3 != channels:
            adapted[f"{name}.weight"] = adapt_input_conv(channels, weight)
    return adapted


def _from_hub(net: nn.Module, name: str, kwargs: dict[str, Any]) -> nn.Module:
    """Return the timm model with the hub's weights; ``net`` tells which those are."""
    cfg = _cfg(net)
    source = cfg.get("hf_hub_id") or cfg.get("url")
    local = "give task.checkpoint=<path to a local .safetensors>"
    if name in MODELS or not source:
        raise CheckpointError(f"there are no pretrained weights for model {name!r}: {local}")
    chatter = logging.getLogger("huggingface_hub")  # a line for each of its retries
    level = chatter.level
    chatter.setLevel(logging.CRITICAL)
    try:
        return _timm_builder(name)(num_classes=classifier(net).out_features, pretrained=True, **kwargs)
    except Exception as error:  # which error a failed download raises depends on the http client underneath
        remedy = f"connect to the internet so that timm downloads {source}, or {local}"
        raise CheckpointError(f"no pretrained weights for {name!r}: {remedy} ({type(error).__name__})") from error
    finally:
        chatter.setLevel(level)


def _describe(net: Any, *, cifar: bool, in_chans: int, image_size: int | None) -> nn.Module:
    """Set mean, std (of ``in_chans`` values) and input size in ``net.pretrained_cfg``, and return ``net``."""
    cfg: dict[str, Any] = dict(mean=CIFAR_MEAN, std=CIFAR_STD, input_size=(3, 32, 32)) if cifar else _cfg(net)
    if in_chans != 3:
        # Statistics per colour mean nothing for other channels.
        cfg.update(mean=(0.5,) * in_chans, std=(0.5,) * in_chans)
    height, width = (image_size, image_size) if image_size else cfg.get("input_size", (3, 224, 224))[1:]
    cfg["input_size"] = (in_chans, height, width)
    net.pretrained_cfg = net.default_cfg = cfg
    return net


def _cfg(net: nn.Module) -> dict[str, Any]:
    cfg: Any = getattr(net, "pretrained_cfg", None) or {}
    return dict(cfg) if isinstance(cfg, dict) else cfg.to_dict()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
