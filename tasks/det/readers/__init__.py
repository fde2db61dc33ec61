"""Readers: how losses and class rows are read from one detector family's raw output, one file each."""

from tasks.det.readers.base import Reader, Targets, reader_for
from tasks.det.readers.ssd import SSDReader

__all__ = ["Reader", "SSDReader", "Targets", "reader_for"]
