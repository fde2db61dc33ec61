"""Person re-identification with torchreid models."""

from tasks.reid import datasets, metrics, objectives, sampler
from tasks.reid.task import ReIDTask

__all__ = ["ReIDTask", "datasets", "metrics", "objectives", "sampler"]
