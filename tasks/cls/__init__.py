"""Image classification with timm models and CIFAR networks."""

from tasks.cls import augment, datasets
from tasks.cls.task import ClassificationTask

__all__ = ["ClassificationTask", "augment", "datasets"]
