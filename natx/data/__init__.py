"""Task-independent data handling."""

from natx.data.loader import build_dataset, train_loader
from natx.data.split import Part, hold_out, subset

__all__ = ["Part", "build_dataset", "hold_out", "subset", "train_loader"]
