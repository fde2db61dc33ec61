"""Task-independent data handling."""

from natx.data.loader import build_dataset, train_loader
from natx.data.mixed import Mixed, MixedSampler
from natx.data.split import Part, hold_out, some_positions, subset

__all__ = ["Mixed", "MixedSampler", "Part", "build_dataset", "hold_out", "some_positions", "subset", "train_loader"]
