"""Object detection with mmdet models; importing it makes mmdet usable on plain wheels (see ``tasks.det.compat``)."""

from tasks.det import compat

compat.install()

from tasks.det import attacks, augment, augment_ssd, datasets, metrics  # noqa: E402  mmdet's models need the operators that install() supplies
from tasks.det.task import DetectionTask  # noqa: E402

__all__ = ["DetectionTask", "attacks", "augment", "augment_ssd", "compat", "datasets", "metrics"]
