"""mmdet 3.3.0 without mmcv's compiled operators: what mmdet asks of ``mmcv.ops``, on torch and torchvision.

Where full mmcv is installed its own operators are used and nothing is replaced.
"""

from tasks.det.compat.detector import build_detector
from tasks.det.compat.instances import index_on_any_device
from tasks.det.compat.operators import install
from tasks.det.compat.shipped import set_classes, shipped_model
from tasks.det.compat.ssd import fix_ssd_head, fix_ssd_neck, repair

__all__ = [
    "build_detector",
    "fix_ssd_head",
    "fix_ssd_neck",
    "index_on_any_device",
    "install",
    "repair",
    "set_classes",
    "shipped_model",
]
