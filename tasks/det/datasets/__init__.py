"""Detection data sets that return ready batches, see :class:`tasks.det.datasets.images.DetectionImages`.

Nothing is downloaded. Data that is missing or wrong raises
:class:`natx.errors.DataError` with one line.
"""

from tasks.det.datasets.coco import CocoDetection
from tasks.det.datasets.generated import GeneratedVOC
from tasks.det.datasets.images import Annotation, DetectionImages
from tasks.det.datasets.voc import VOC_CLASSES, Shot, read_annotations
from tasks.det.datasets.voc_set import VOCDetection

__all__ = [
    "VOC_CLASSES",
    "Annotation",
    "CocoDetection",
    "DetectionImages",
    "GeneratedVOC",
    "Shot",
    "VOCDetection",
    "read_annotations",
]
