"""Task and Output: the whole contract between the core and the adapters of task libraries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from natx.batch import Batch
from natx.errors import ConfigError, DataError
from natx.expect import expect

Link = Literal["softmax", "sigmoid"]
ROUNDING = 1e-4  # as far as rounding takes pixels that were normalised and taken back


@dataclass
class Output:
    """What a task reads from a network's raw output.

    Attributes:
        losses: named training losses, each 0-dim; the total is their sum.
        logits: class logits of the scored rows ``[M, C]`` (rows are images, anchors or proposals).
        labels: target of each row, int64 ``[M]`` or soft ``[M, C]``; None where the images are of no class of the head
            (a retrieval test set).
        image: image that each row belongs to, int64 ``[M]``.
        row_weight: weight of each row in the classification loss, ``[M]``; 1/N for plain classification.
        num_images: number of images N behind the rows.
        link: 'softmax' for one distribution per row, 'sigmoid' for one Bernoulli per class.
        image_losses: optional losses of each image by itself, by name ``[N]``: what an attack climbs where the training
            losses are normalised over the batch (detection).
        features: optional embedding ``[N, D]``.
        rows: which rows were scored (opaque to the core; None where a row is an image).
    """

    losses: dict[str, Tensor]
    logits: Tensor
    labels: Tensor | None
    image: Tensor
    row_weight: Tensor
    num_images: int
    link: Link = "softmax"
    features: Tensor | None = None
    image_losses: Mapping[str, Tensor] = field(default_factory=dict)
    rows: Any = field(default=None, repr=False)

    def finite(self) -> Tensor:
        """Which images have numbers alone in their logits and features, bool ``[N]``."""
        rows = torch.isfinite(self.logits).flatten(1).all(1)
        if self.rows is not None or len(rows) != self.num_images:
            spoilt = torch.zeros(self.num_images, dtype=torch.int64, device=rows.device)
            rows = spoilt.index_add(0, self.image, (~rows).to(torch.int64)) == 0
        return rows if self.features is None else rows & torch.isfinite(self.features).flatten(1).all(1)

    def right(self) -> Tensor:
        """Which rows have their label as the largest logit, bool ``[M]``; of a soft label the most probable class.

        A row with logits that are NaN or infinite is never right: argmax would take it for class 0.
        """
        assert self.labels is not None  # a task that can be right gives every row one
        labels = self.labels if self.labels.dim() == 1 else self.labels.argmax(1)
        return torch.eq(self.logits.argmax(1), labels) & torch.isfinite(self.logits).all(1)

    def per_image(self, row_scores: Tensor) -> Tensor:
        """Sum a score ``[M]`` over the rows of each image: ``[N]``."""
        if self.rows is None and row_scores.shape[0] == self.num_images:
            return row_scores
        total = row_scores.new_zeros(self.num_images)
        return total.index_add(0, self.image, row_scores)


class Task(nn.Module):
    """A model together with the reading of its output; normalisation is a layer inside ``network``.

    Attributes:
        num_classes: number of classes C.
        input_size: (channels, height, width) the network expects, or None where any size will do.
        per_image_success: whether an image by itself is predicted right or wrong (classification), which lets an
            evaluation count broken images; set-level tasks (retrieval, detection) report metrics instead.
        head: key prefixes of the weights that depend on the number of classes and that a test can do without.
        classes: names of the classes in label order, where a data set or a checkpoint has said them.
        judged_at_once: images a step when it is judged, where nobody says how many.
    """

    num_classes: int
    input_size: tuple[int, int, int] | None = None
    per_image_success: bool = False
    head: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    judged_at_once: int = 250

    @property
    def upstream(self) -> nn.Module:
        """The wrapped library's module; checkpoints hold its state dict under its own keys."""
        raise NotImplementedError

    def compiled_parts(self) -> list[nn.Module]:
        """Modules of ``upstream`` that :meth:`network` calls and a compiler may take, largest first.

        Those of a detector's second stage, whose number of rows changes from call to call, are not among them.
        """
        return [self.upstream]

    @property
    def normalisation(self) -> dict[str, list[float]] | None:
        """``mean`` and ``std`` a channel, with which ``network`` normalises pixels of [0,1]; None where it does not."""
        return None

    def adopt_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take a weight file's own mean and std a channel, of pixels in [0,1], unless the config has named others."""

    @property
    def backbone(self) -> nn.Module:
        """The part of ``upstream`` that :meth:`load_backbone` fills; names of weights are those inside it."""
        return self.upstream

    def load_backbone(self, tensors: dict[str, Tensor], *, source: str) -> None:
        """Load the weights of a classifier, under the names of ``backbone``, without its class layer.

        Args:
            tensors: a state dict.
            source: where it is from, for messages.

        Raises:
            ConfigError: the task has no such part.
            CheckpointError: weights of another architecture.
        """
        raise ConfigError(f"a {type(self).__name__} has no backbone that a classifier's weights could start")

    def convert(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """A foreign file's weights under the names of ``upstream``, where the library knows how; else as they are."""
        return tensors

    def library_folder(self) -> dict[str, Any]:
        """What the network's own library reads it from, where that is not timm's layout: an export writes it.

        By file name: for ``model.safetensors`` tensors by name, for others the content of a JSON. Empty elsewhere.
        """
        return {}

    def check_data(self, dataset: Any) -> None:
        """Raise DataError where a data set does not fit the model (class count, ...)."""

    def notes(self) -> list[str]:
        """What should be known of the model before a training begins, a line each."""
        return []

    def check_adversary(self, other: Task) -> None:
        """Raise ConfigError where another task cannot score this one's rows, beyond classes and input size."""

    def pixels(self, batch: Batch) -> Tensor:
        """The batch's images as float32 in [0,1], ``[N, C, H, W]``; raises DataError outside [0,1]."""
        raise NotImplementedError

    def network(self, x: Tensor, batch: Batch) -> Any:
        """Raw network output of pixels ``x`` in [0,1]: a pytree of tensors that all lead with dimension N."""
        raise NotImplementedError

    def read(self, raw: Any, batch: Batch, *, rows: Any = None) -> Output:
        """Losses and class logits of a raw output; ``rows`` makes it score given rows instead of its own."""
        raise NotImplementedError

    def memory(self) -> dict[str, Any]:
        """What training losses remember from step to step beside weights and buffers: plain values, to resume with."""
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        """Take what :meth:`memory` gave."""

    def perturbable(self, batch: Batch) -> Tensor | None:
        """Mask ``[N, 1, H, W]`` of the pixels an attack may change, or None for all."""
        return None

    def logits(self, x: Tensor) -> Tensor:
        """Class logits ``[N, C]`` of whole images, without labels; only where an image has one class."""
        raise NotImplementedError(f"{type(self).__name__} gives no single class per image")

    def classifier(self) -> nn.Linear:
        """The linear layer whose output :meth:`read` gives as class logits, for analyses of its weights and inputs.

        Raises:
            ConfigError: the class logits come from something else.
        """
        raise ConfigError(f"{type(self).__name__} names no linear class layer, so it has no class hyperplanes")

    def correct(self, output: Output) -> Tensor:
        """Which images are predicted right, bool ``[N]``; only where :attr:`per_image_success`.

        Where a row is an image that is :meth:`Output.right`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no per-image success")

    def predict(self, batch: Batch) -> Any:
        """Predictions for a metric, without gradients."""
        raise NotImplementedError

    def forward(self, batch: Batch, x: Tensor | None = None) -> Output:
        """``read(network(x))``: the output for pixels ``x`` (the batch's own by default)."""
        x = self.pixels(batch) if x is None else x
        return self.read(self.network(x, batch), batch)


def channel_values(statistic: Tensor) -> list[float]:
    """A mean or standard deviation a channel, as numbers for reports and files."""
    return [float(value) for value in statistic.flatten()]


def unit_pixels(inputs: Tensor, dtype: torch.dtype) -> Tensor:
    """Pixels in [0,1] of a floating type: uint8 is divided by 255, floats are checked (raises DataError outside)."""
    if inputs.dtype == torch.uint8:
        return inputs.to(dtype).div_(255)
    x = inputs.to(dtype)
    if x.numel() == 0:
        return x
    low, high = x.aminmax()
    expect((low >= 0) & (high <= 1), _outside, low, high)
    return x


def _outside(low: float, high: float) -> DataError:
    if low >= -ROUNDING and high <= 1 + ROUNDING:
        return DataError(f"pixels must be in [0,1]; got {low:g}..{high:.9g}: rounding has moved some, so clamp them")
    return DataError(f"pixels must be in [0,1]; got {low:g}..{high:g}: divide by 255, do not normalise")


def slice_raw(raw: Any, start: int, stop: int) -> Any:
    """Rows ``start:stop`` of a raw output: every tensor in the pytree leads with the images."""
    return tree_map(lambda t: t[start:stop] if isinstance(t, Tensor) else t, raw)


def concat_pixels(views: Sequence[Tensor]) -> Tensor:
    """Concatenate views along the images and keep their memory format."""
    joined = torch.cat(list(views))
    if views[0].is_contiguous(memory_format=torch.channels_last) and views[0].dim() == 4:
        return joined.contiguous(memory_format=torch.channels_last)
    return joined
