"""Image classification with timm models and CIFAR networks."""

from tasks.cls import datasets
from tasks.cls.task import ClassificationTask

__all__ = ["ClassificationTask", "datasets"]
