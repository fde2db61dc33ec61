"""Re-identification data sets that return ready batches, see :mod:`tasks.reid.datasets.images`.

Nothing is downloaded. Data that is missing or wrong raises :class:`natx.errors.DataError` with one line.
"""

from tasks.reid.datasets.images import ReIDImages, RetrievalImages, TrainingImages
from tasks.reid.datasets.layout import DISTRACTOR, GALLERY, JUNK, QUERY, TRAIN, Shot
from tasks.reid.datasets.market import Market1501

__all__ = [
    "DISTRACTOR",
    "GALLERY",
    "JUNK",
    "QUERY",
    "TRAIN",
    "Market1501",
    "ReIDImages",
    "RetrievalImages",
    "Shot",
    "TrainingImages",
]
