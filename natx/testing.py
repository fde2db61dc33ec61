"""Tiny tasks and data for tests and for trying an idea in seconds: no files, no downloads, no task library.

Name ``natx.testing`` in a config's ``custom_imports`` to use :class:`LinearTask`, :class:`TinyCNNTask` and
:class:`TinyDataset` there. Everything is drawn from its own seed and leaves the global generators alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from natx.batch import Batch
from natx.errors import ConfigError
from natx.registry import DATASETS, TASKS
from natx.runtime.precision import full_precision
from natx.task import Output, Task, unit_pixels


class WrappedTask(Task):
    """Softmax classification of whole images by any network ``[N, C, H, W] -> [N, classes]``.

    Args:
        net: the network; it works in float64 if its first parameter is float64.
        num_classes: number of classes.
        input_size: (channels, height, width) the network expects, None for any.
        mean: subtracted from every pixel before the network.
        std: divides every pixel before the network.
    """

    per_image_success = True

    def __init__(
        self,
        net: nn.Module,
        num_classes: int,
        *,
        input_size: tuple[int, int, int] | None = None,
        mean: float = 0.0,
        std: float = 1.0,
    ) -> None:
        super().__init__()
        self.net, self.num_classes, self.input_size = net, num_classes, input_size
        self.mean, self.std = mean, std

    @property
    def upstream(self) -> nn.Module:
        """See :attr:`Task.upstream`."""
        return self.net

    def pixels(self, batch: Batch) -> Tensor:
        """Pixels in [0,1] ``[N, C, H, W]`` in the network's precision; uint8 is divided by 255."""
        inputs, dtype = batch["inputs"], next(self.net.parameters()).dtype
        return unit_pixels(inputs, dtype if dtype == torch.float64 else torch.float32)

    def network(self, x: Tensor, batch: Batch) -> Tensor:
        """Logits ``[N, C]``."""
        return self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``[N, C]`` of pixels ``x`` ``[N, C, H, W]``."""
        return self.net((x - self.mean) / self.std)

    def classifier(self) -> nn.Linear:
        """See :meth:`Task.classifier`: the network's last layer; raises ConfigError where that is not linear."""
        last = self.net[-1] if isinstance(self.net, nn.Sequential) else self.net
        return last if isinstance(last, nn.Linear) else super().classifier()

    def read(self, raw: Tensor, batch: Batch, *, rows: Any = None) -> Output:
        """Cross-entropy and logits; a row is an image."""
        logits, labels, n = full_precision(raw), batch["data_samples"], len(raw)
        return Output(
            losses={"loss_ce": F.cross_entropy(logits, labels)},
            logits=logits,
            labels=labels,
            image=torch.arange(n, device=raw.device),
            row_weight=logits.new_full((n,), 1 / n),
            num_images=n,
        )

    def correct(self, output: Output) -> Tensor:
        """Which images are classified right, bool ``[N]``."""
        return output.right()

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Predicted classes ``[N]``."""
        return self.logits(self.pixels(batch)).argmax(1)


@TASKS.register_module()
class LinearTask(WrappedTask):
    """``z = W x + b`` on flattened pixels: attacks on it have closed forms.

    Args:
        weight: ``[classes, channels * height * width]``, a tensor (its precision is kept) or nested lists (float32).
        bias: ``[classes]``; zeros by default.
    """

    def __init__(
        self, weight: Tensor | Sequence[Sequence[float]], bias: Tensor | Sequence[float] | None = None
    ) -> None:
        weight = weight if isinstance(weight, Tensor) else torch.tensor(weight, dtype=torch.float32)
        classes, size = weight.shape
        linear = nn.utils.skip_init(nn.Linear, size, classes, dtype=weight.dtype)
        with torch.no_grad():
            linear.weight.copy_(weight)
            linear.bias.copy_(torch.zeros(classes) if bias is None else torch.as_tensor(bias))
        super().__init__(nn.Sequential(nn.Flatten(), linear), classes)


@TASKS.register_module()
class TinyCNNTask(WrappedTask):
    """Two convolutions with batch norm, dropout, average pooling and a linear head (about 1,000 parameters).

    Args:
        num_classes: number of classes.
        channels: channels of the images; any height and width from 4 on.
        width: channels of the first convolution; the second has twice as many.
        batch_norm: with batch norm after each convolution.
        dropout: probability of dropout before the head.
        double: float64 instead of float32.
        seed: seed of the initial weights.
    """

    def __init__(
        self,
        num_classes: int = 5,
        *,
        channels: int = 3,
        width: int = 6,
        batch_norm: bool = True,
        dropout: float = 0.1,
        double: bool = False,
        seed: int = 0,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = nn.Sequential(
                nn.Conv2d(channels, width, 3, padding=1),
                nn.BatchNorm2d(width) if batch_norm else nn.Identity(),
                nn.ReLU(),
                nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
                nn.BatchNorm2d(2 * width) if batch_norm else nn.Identity(),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(2),
                nn.Flatten(),
                nn.Dropout(dropout),
                nn.Linear(8 * width, num_classes),
            )
        super().__init__(net.double() if double else net, num_classes, mean=0.5, std=0.25)


@DATASETS.register_module()
class TinyDataset:
    """Noisy copies of one random pattern a class: a tiny network learns them in some dozen steps.

    Data sets that differ in ``seed`` and ``count`` only have the same patterns, so they can serve as training and test.

    Args:
        count: number of images.
        num_classes: number of classes; labels run 0, 1, ..., 0, 1, ...
        shape: (channels, height, width).
        noise: standard deviation of the pixels' noise around the pattern.
        uint8: pixels as uint8 in 0..255 instead of float32 in [0,1].
        seed: seed of the noise.

    Attributes:
        images: ``[count, channels, height, width]``.
        labels: int64 ``[count]``.
    """

    def __init__(
        self,
        count: int,
        *,
        num_classes: int = 5,
        shape: Sequence[int] = (3, 8, 8),
        noise: float = 0.1,
        uint8: bool = False,
        seed: int = 0,
    ) -> None:
        if count < 1 or num_classes < 2:
            raise ConfigError(f"TinyDataset needs images and at least 2 classes; got {count} and {num_classes}")
        patterns = torch.rand(num_classes, *shape, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
        self.num_classes = num_classes
        self.labels = torch.arange(count) % num_classes
        draw = torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed + 1))
        images = (patterns[self.labels] + noise * draw).clamp_(0, 1)
        self.images = (images * 255).round().to(torch.uint8) if uint8 else images

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch: ``inputs`` ``[N, C, H, W]``, ``data_samples`` (labels) and ``index``, int64 ``[N]``."""
        index = torch.as_tensor(indices, dtype=torch.int64)
        return {"inputs": self.images[index], "data_samples": self.labels[index], "index": index}

    def fingerprint(self) -> str:
        """Hex SHA-256 of labels and pixels."""
        digest = hashlib.sha256(f"{self.images.dtype} {list(self.images.shape)}".encode())
        digest.update(self.labels.numpy().tobytes())
        digest.update(self.images.numpy().tobytes())
        return digest.hexdigest()


def fit(task: Task, dataset: Any, *, steps: int = 40, lr: float = 0.02, seed: int = 0) -> Task:
    """Train a tiny task in place on its whole data set as one batch (Adam), and return it in eval mode."""
    batch, optimiser = dataset.__getitems__(range(len(dataset))), torch.optim.Adam(task.parameters(), lr=lr)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        task.train()
        for _ in range(steps):
            optimiser.zero_grad()
            sum(task(batch).losses.values()).backward()
            optimiser.step()
        optimiser.zero_grad()
    return task.eval()
