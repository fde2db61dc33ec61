"""Image classification data sets that return ready batches.

Every data set is map-style and has ``__getitems__``, which torch's DataLoader calls with the indices of a
batch; pass a ``collate_fn`` that returns its argument. A batch is ``{'inputs': [N, C, H, W] uint8 or float32,
'data_samples': int64 [N], 'index': int64 [N]}``, where ``index`` is the position in the data set. Nothing is
downloaded unless asked. Data that is missing or wrong raises :class:`natx.errors.DataError` with one line.
"""

from tasks.cls.datasets.cifar import CIFAR10, CIFAR100
from tasks.cls.datasets.digits import Digits
from tasks.cls.datasets.folder import IMAGENET100_LIST, ImageFolder, ImageNet100
from tasks.cls.datasets.npz import NPZ

__all__ = ["CIFAR10", "CIFAR100", "IMAGENET100_LIST", "NPZ", "Digits", "ImageFolder", "ImageNet100"]
