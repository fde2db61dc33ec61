"""Readers: how losses and class rows are read from one detector family's raw output, one file each.

The families' files import mmdet's models, which takes seconds: :func:`reader_for` does so when a detector is there.
"""

from tasks.det.readers.base import LastTargets, Reader, Targets, reader_for

__all__ = ["LastTargets", "Reader", "Targets", "reader_for"]
