"""torchreid networks with the BoT baseline's changes: last stride 1 and the batch-norm neck."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from natx.errors import CheckpointError, ConfigError
from natx.models.checkpoint import is_counter
from natx.models.weights import WeightFile, few
from natx.runtime.progress import say
from tasks.reid.compat import build_model

# The keys of a checkpoint that depend on the number of identities.
HEAD = ("classifier.",)
IMAGENET_CLASSES = 1000  # of the head in torchreid's files of weights that were trained on ImageNet
SINGLE_HEAD = "resnet50, osnet_x1_0 and osnet_x0_25 are among those with one head"


def create_model(
    name: str,
    *,
    num_classes: int,
    image_size: Sequence[int],
    pretrained: bool = False,
    weights: WeightFile | None = None,
    new_head: bool = False,
    last_stride: int | None = None,
    bnneck: bool = True,
) -> nn.Module:
    """A torchreid model with one feature vector and one linear classifier on it.

    Args:
        name: a name in torchreid's model zoo.
        num_classes: number of identities C.
        image_size: (height, width) in pixels.
        pretrained: take torchreid's ImageNet weights where ``weights`` gives none.
        weights: local backbone weights (torchreid's, torchvision's or natx's); its head may be ImageNet's or another
            one's class layer (``fc``), but not a classifier of another number of identities.
        new_head: leave the classifier of the file out.
        last_stride: stride of the last stage; 1 doubles the height and width of its maps (ResNets), None keeps
            torchreid's 2.
        bnneck: batch norm (bias frozen at 0) between the feature and a classifier without bias (BoT, Luo et al.
            2019).

    Raises:
        ConfigError: unknown model, several heads, no last stage to change.
        CheckpointError: the weights do not fit.
    """
    net: Any = build_model(name, num_classes=num_classes, pretrained=pretrained and weights is None)
    if last_stride is not None:
        _set_last_stride(net, last_stride, name)
    width = _feature_width(net, name, num_classes=num_classes, image_size=image_size)
    if bnneck:
        net.classifier = nn.Linear(width, num_classes, bias=False)
        nn.init.normal_(net.classifier.weight, std=0.001)
        net.bnneck = nn.BatchNorm1d(width)
        net.bnneck.bias.requires_grad_(False)
    if weights is not None:
        say(f"backbone weights: {weights.source}")
        load_backbone(net, weights.under(net.state_dict()), source=str(weights.path), new_head=new_head)
    return net


def features(net: nn.Module, x: Tensor) -> Tensor:
    """The feature vector before the neck and the classifier ``[N, D]``, in any mode."""
    raw = net(x)
    # In training torchreid gives (logits, feature), in evaluation the feature alone.
    return raw[1] if isinstance(raw, tuple) else raw


def _feature_width(net: nn.Module, name: str, *, num_classes: int, image_size: Sequence[int]) -> int:
    """D, from running the model on the meta device; raises ConfigError unless it has one feature and one head."""
    probe = copy.deepcopy(net).to("meta")
    x = torch.empty(2, 3, *image_size, device="meta")
    try:
        trained, evaluated = probe.train()(x), probe.eval()(x)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"{name} does not run on images of {tuple(image_size)} (height, width): {first}") from error
    head = getattr(net, "classifier", None)
    single = isinstance(trained, tuple) and len(trained) == 2 and all(isinstance(t, Tensor) for t in trained)
    single = single and isinstance(evaluated, Tensor) and evaluated.shape == trained[1].shape
    if not single or not isinstance(head, nn.Linear) or head.in_features != evaluated.shape[1]:
        raise ConfigError(
            f"{name} has several branches or heads; natx takes models with one feature vector and one linear "
            f"classifier on it ({SINGLE_HEAD})"
        )
    return evaluated.shape[1]


def _set_last_stride(net: nn.Module, stride: int, name: str) -> None:
    stage = getattr(net, "layer4", None)
    if stride not in (1, 2) or not isinstance(stage, nn.Sequential):
        raise ConfigError(f"last_stride=1 is for ResNets, None for other models; got {stride} for {name}")
    strided = [m for m in stage[0].modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    if stride != 1 and not strided:
        raise ConfigError(
            f"{name} has a last stride of 1 by itself, which cannot be made {stride}: leave last_stride out"
        )
    for module in strided:
        module.stride = (stride, stride)


def load_backbone(net: nn.Module, weights: dict[str, Tensor], *, source: str, new_head: bool) -> None:
    """Load all weights but a class layer of other images and a head that is not there.

    Such layers are ``fc`` (torchvision, timm) and ImageNet's 1000 classes in torchreid's own files. A layer ``fc`` of
    the model's own is between its feature maps and its feature (OSNet): a file may lack it, which is told. Batch norm's
    counters may be missing, as they are in files written before torch 0.4.1.

    Raises:
        CheckpointError: the weights do not fit.
    """
    initial = net.state_dict()
    head = weights.get("classifier.weight")
    of_imagenet = head is not None and len(head) == IMAGENET_CLASSES != len(initial["classifier.weight"])
    if of_imagenet and not new_head:
        say(f"the head of {IMAGENET_CLASSES} ImageNet classes in {source} is left out")
    if new_head or of_imagenet:
        weights = {key: value for key, value in weights.items() if not key.startswith(HEAD)}
    optional = (*HEAD, "bnneck.", "fc.")
    wrong = [key for key in initial if key in weights and initial[key].shape != weights[key].shape]
    needed = [key for key in initial if not key.startswith(optional) and not is_counter(key)]
    absent = [key for key in needed if key not in weights]
    unknown = [key for key in weights if key not in initial and not key.startswith(optional)]
    if wrong or absent or unknown:
        misfit = f"{len(absent)} keys missing (e.g. {absent[:2]}), {len(unknown)} unknown (e.g. {unknown[:2]})"
        if wrong:
            key = wrong[0]
            misfit = f"{key} is {tuple(weights[key].shape)}, the model's {tuple(initial[key].shape)}"
        raise CheckpointError(
            f"{source} cannot start this training: {misfit}; it has {few(weights)}; give backbone weights of the "
            "same model, without the classifier of another set of identities"
        )
    if any(key.startswith("fc.") and key not in weights and not is_counter(key) for key in initial):
        say(f"layer fc, which makes the feature, is not in {source}: it begins at random weights")
    net.load_state_dict({key: weights.get(key, value) for key, value in initial.items()})
