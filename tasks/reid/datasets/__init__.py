"""Re-identification data sets that return ready batches, see :mod:`tasks.reid.datasets.images`.

Nothing is downloaded. Data that is missing or wrong raises :class:`natx.errors.DataError` with one line.
"""

from tasks.reid.datasets.cuhk03 import CUHK03
from tasks.reid.datasets.images import ReIDImages, RetrievalImages, TrainingImages
from tasks.reid.datasets.layout import DISTRACTOR, GALLERY, JUNK, QUERY, TRAIN, Shot
from tasks.reid.datasets.market import Market1501
from tasks.reid.datasets.msmt17 import MSMT17

__all__ = [
    "CUHK03",
    "DISTRACTOR",
    "GALLERY",
    "JUNK",
    "MSMT17",
    "QUERY",
    "TRAIN",
    "Market1501",
    "ReIDImages",
    "RetrievalImages",
    "Shot",
    "TrainingImages",
]
