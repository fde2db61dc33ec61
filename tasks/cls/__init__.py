"""Image classification with timm models and CIFAR networks."""

from tasks.cls import datasets
from tasks.cls.cas import CASTask
from tasks.cls.task import ClassificationTask

__all__ = ["CASTask", "ClassificationTask", "datasets"]
