"""Task-independent data handling."""

from natx.data.loader import build_dataset, train_loader
from natx.data.mixed import Mixed, MixedSampler
from natx.data.split import Part, hold_out, subset

__all__ = ["Mixed", "MixedSampler", "Part", "build_dataset", "hold_out", "subset", "train_loader"]
