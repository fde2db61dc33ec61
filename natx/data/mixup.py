"""Mixup: blends of two images of the batch, with labels blended alike."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from natx.batch import COPIES, Batch
from natx.errors import ConfigError
from natx.registry import AUGMENTS
from natx.runtime.rng import uniform


@AUGMENTS.register_module()
class Mixup:
    """``x <- ratio * x + (1 - ratio) * x_partner``, and soft labels blended alike.

    The training loss and an inner attack on cross-entropy then use the blended labels, so the attack climbs the mixed
    cross-entropy (as in robust_overfitting's mixup). Partners are a random permutation of the batch: the image with
    the k-th smallest draw, keyed by (seed, epoch, image index), is the partner of the one with the k-th smallest
    index. It depends on which images are in the batch and not on their order; an image may be its own partner.

    Put it last among the augmentations: those after it would see blends. Stored adversarial copies are blended as their
    images are.

    Args:
        num_classes: classes C of the labels.
        ratio: share of the image itself; App. K's 0.7, fixed and not drawn from a Beta distribution as in the source.
            1 changes no pixel.

    Raises:
        ConfigError: a ratio outside [0, 1]; in a call, labels that are not one class below C for each image.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization" (ICLR 2018), with the fixed ratio of the paper.
    """

    whole_batch: ClassVar[bool] = True
    mixes_images: ClassVar[bool] = True  # what becomes of an image depends on those beside it
    stream: ClassVar[int] = 106
    num_classes: int
    ratio: float

    def __init__(self, num_classes: int, ratio: float = 0.7) -> None:
        if not isinstance(num_classes, int) or num_classes < 2:
            raise ConfigError(f"Mixup: num_classes must be an integer >= 2; got {num_classes!r}")
        if not isinstance(ratio, Real) or not 0.0 <= ratio <= 1.0:
            raise ConfigError(f"Mixup: ratio must be in [0, 1]; got {ratio!r}")
        self.num_classes, self.ratio = num_classes, float(ratio)

    def __call__(self, batch: Batch, *, seed: int, epoch: int) -> Batch:
        """The batch with blended ``inputs`` (float ``[N, C, H, W]``) and soft ``data_samples`` (float ``[N, C]``)."""
        labels = batch["data_samples"]
        if not isinstance(labels, Tensor) or labels.dim() != 1 or labels.is_floating_point():
            raise ConfigError("Mixup blends one class label per image: remove it from data.augments of this task")
        if len(labels) and int(labels.max()) >= self.num_classes:
            raise ConfigError(f"Mixup has num_classes={self.num_classes} and got a label {int(labels.max())}: set it")
        partner = self.partners(batch["index"].to(labels.device), seed=seed, epoch=epoch)
        images = {key: self._blend(batch[key], partner) for key in ("inputs", COPIES) if key in batch}
        soft = F.one_hot(labels, self.num_classes).to(batch["inputs"].dtype)
        return {**batch, **images, "data_samples": self._blend(soft, partner)}

    def partners(self, index: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Position in the batch of each image's partner, int64 ``[N]``: a permutation of the batch."""
        throws = uniform(index, (), seed=seed, epoch=epoch, stream=self.stream)
        partner = torch.empty_like(index)
        partner[index.argsort(stable=True)] = throws.argsort(stable=True)
        return partner

    def _blend(self, values: Tensor, partner: Tensor) -> Tensor:
        return self.ratio * values + (1 - self.ratio) * values[partner]
