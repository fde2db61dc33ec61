"""Detection data sets that return ready batches, see :class:`tasks.det.datasets.images.VOCDetection`.

Nothing is downloaded. Data that is missing or wrong raises
:class:`natx.errors.DataError` with one line.
"""

from tasks.det.datasets.generated import GeneratedVOC
from tasks.det.datasets.images import Annotation, VOCDetection
from tasks.det.datasets.voc import VOC_CLASSES, Shot, read_annotations

__all__ = ["VOC_CLASSES", "Annotation", "GeneratedVOC", "Shot", "VOCDetection", "read_annotations"]
