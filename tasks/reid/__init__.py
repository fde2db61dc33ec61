"""Person re-identification with torchreid models."""

from tasks.reid import datasets, generated, goat, guides, metrics, objectives, sampler
from tasks.reid.task import ReIDTask

__all__ = ["ReIDTask", "datasets", "generated", "goat", "guides", "metrics", "objectives", "sampler"]
