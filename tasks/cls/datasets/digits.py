"""scikit-learn's handwritten digits."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from natx.data.base import InMemory, brief
from natx.errors import ConfigError
from natx.registry import DATASETS


@DATASETS.register_module()
class Digits(InMemory):
    """The 8x8 handwritten digits that ship with scikit-learn: 1797 grey images, 10 classes, float32.

    The split is stratified and fixed (``train_test_split`` with ``random_state=0``; 1437 train and 360 test
    images at the default fraction); within a part the images keep scikit-learn's order. Grey levels 0..16
    are divided by 16.

    Args:
        train: the training part, else the test part.
        test_fraction: share of the images in the test part.
        upscale: whole factor of a nearest-neighbour enlargement (4 gives 32x32).

    Raises:
        ConfigError: a fraction that leaves a part without every class, or upscale < 1.

    Source: Alpaydin & Kaynak, UCI "Optical Recognition of Handwritten Digits" (test set), via scikit-learn.
    """

    def __init__(self, train: bool = True, test_fraction: float = 0.2, *, upscale: int = 1) -> None:
        if not isinstance(upscale, int) or upscale < 1:
            raise ConfigError(f"Digits: upscale must be an integer >= 1; got {upscale!r}")
        if not 0.0 < test_fraction < 1.0:
            raise ConfigError(f"Digits: test_fraction must be between 0 and 1; got {test_fraction!r}")
        pixels, target = load_digits(return_X_y=True)
        try:
            parts = train_test_split(np.arange(len(target)), test_size=test_fraction, stratify=target, random_state=0)
        except ValueError as error:  # a part smaller than the number of classes
            raise ConfigError(f"Digits: test_fraction={test_fraction!r} does not work: {brief(error)}") from error
        positions = np.sort(parts[0 if train else 1])
        images = torch.from_numpy(pixels[positions].astype(np.float32) / 16.0).reshape(-1, 1, 8, 8)
        images = images.repeat_interleave(upscale, dim=2).repeat_interleave(upscale, dim=3)
        super().__init__(images, torch.from_numpy(target[positions]), classes=[str(d) for d in range(10)])
